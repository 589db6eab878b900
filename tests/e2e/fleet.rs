//! A cluster of processes: a control plane and its nodes, each on a host of its own, with a folder of its own.

use crate::hosts::{Host, Lab};
use crate::process::{Process, Server, coracle, eventually, get, text};
use std::net::IpAddr;
use tempfile::TempDir;

/// A control plane, and the network that nodes join it over.
pub(crate) struct Fleet {
    pub(crate) server: Server,
    pub(crate) host: Host,
    pub(crate) lab: Lab,
}

/// A pod, as the API tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) node: String,
    /// The id of its container, which another run does not have.
    pub(crate) container: String,
    pub(crate) is_running: bool,
    pub(crate) is_deleted: bool,
}

/// One `hello` on a node, with a Service of its name that has a node port.
pub(crate) fn hello_on(node: &str, name: &str, tolerations: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      nodeSelector: {{kubernetes.io/hostname: {node}}}
      tolerations: [{tolerations}]
      containers:
        - name: hello
          image: hello:v1
          ports: [{{name: http, containerPort: 8080}}]
          env: [{{name: POD_NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]
          readinessProbe: {{httpGet: {{path: /healthz, port: http}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  type: NodePort
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: http}}]
---
"#
    )
}

/// `examples/hello`, whose pods leave a node that cannot be reached after a second.
pub(crate) fn hello_that_leaves() -> String {
    let yaml = std::fs::read_to_string("examples/hello/hello.yaml");
    let tolerations = "    spec:\n      tolerations:\n        - {key: node.kubernetes.io/unreachable, operator: Exists, \
                       effect: NoExecute, tolerationSeconds: 1}\n      containers:";
    yaml.expect("it is there").replace("    spec:\n      containers:", tolerations)
}

/// A node; it ends when it is dropped.
pub(crate) struct Member {
    pub(crate) process: Process,
    pub(crate) host: Host,
    arguments: Vec<String>,
    _folder: TempDir,
}

// === impl Fleet ===

impl Fleet {
    /// `coracle server` with further arguments.
    pub(crate) fn start(more: &[&str]) -> Fleet {
        let lab = Lab::new();
        let host = lab.host("server");
        let folder = tempfile::tempdir().expect("a folder");
        let listen = format!("{}:6443", host.address);
        let process = host.start(folder.path(), &[&["server", "--listen", &listen], more].concat());
        Fleet { server: Server::new(process, &listen, folder), host, lab }
    }

    /// A node on a host of that name, joined with a token of the server's.
    pub(crate) fn join(&self, name: &str) -> Member {
        let token = self.server.ok("coracle", &["token", "create"]);
        let host = self.lab.host(name);
        let mut arguments = ["node", "--server", &self.server.url, "--node-name", name].map(str::to_owned).to_vec();
        arguments.extend(host.node_arguments());
        let folder = tempfile::tempdir().expect("a folder");
        let mut first: Vec<&str> = arguments.iter().map(String::as_str).collect();
        first.extend(["--token", token.trim()]);
        let process = host.start(folder.path(), &first);
        Member { process, host, arguments, _folder: folder }
    }

    /// The pods with a label `app`.
    pub(crate) fn pods(&self, app: &str) -> Vec<Pod> {
        let json = self.server.ok("coracle", &["get", "pods", "-l", &format!("app={app}"), "-o", "json"]);
        let list: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        list["items"].as_array().expect("a list").iter().map(Pod::read).collect()
    }

    /// Has the one pod of `hello_on` write a line, by its node port at an address, and waits for it in the log.
    pub(crate) fn eventually_logs(&self, app: &str, address: IpAddr) {
        let port = self.server.node_port(app);
        eventually("a line in the log", || get(address, port, "/log").filter(|(status, _)| *status == 200));
        let pod = self.pods(app).remove(0).name;
        eventually("the line from outside", || {
            let output = self.server.run(coracle().args(["logs", &pod]));
            // Not alone: a call that was broken off leaves a line of its own.
            text(&output.stdout).contains("asked for /log\n").then_some(())
        });
    }

    /// The status of a node's condition Ready.
    pub(crate) fn ready(&self, node: &str) -> String {
        let json = self.server.ok("coracle", &["get", "node", node, "-o", "json"]);
        let tree: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let conditions = tree["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|one| one["type"] == "Ready");
        ready.and_then(|one| one["status"].as_str()).unwrap_or_default().to_owned()
    }

    /// Applies the text of a manifest.
    pub(crate) fn apply(&self, yaml: &str) {
        let file = self.server.process.folder.join("applied.yaml");
        std::fs::write(&file, yaml).expect("written");
        self.server.ok("coracle", &["apply", "--wait", "-f", file.to_str().expect("utf-8")]);
    }
}

// === impl Pod ===

impl Pod {
    fn read(tree: &serde_json::Value) -> Pod {
        let text = |path: &str| tree.pointer(path).and_then(|text| text.as_str()).unwrap_or_default().to_owned();
        Pod {
            name: text("/metadata/name"),
            uid: text("/metadata/uid"),
            node: text("/spec/nodeName"),
            container: text("/status/containerStatuses/0/containerID"),
            is_running: text("/status/phase") == "Running",
            is_deleted: !text("/metadata/deletionTimestamp").is_empty(),
        }
    }
}

// === impl Member ===

impl Member {
    /// Starts again, from what is on its disk.
    pub(crate) fn restart(&mut self) {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let folder = self.process.folder.clone();
        self.process = self.host.start(&folder, &arguments);
    }
}
