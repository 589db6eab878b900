//! A control plane and two nodes, each a process with an address and a folder of its own.

use crate::process::{Process, Server, eventually, free_port, get};
use std::collections::BTreeSet;
use std::net::IpAddr;
use tempfile::TempDir;

struct Member {
    process: Process,
    address: IpAddr,
    arguments: Vec<String>,
    _folder: TempDir,
}

impl Member {
    /// Joins with a token of the server's. Each node has a loopback address of its own, as a machine would.
    fn join(server: &Server, name: &str, address: &str) -> Member {
        let token = server.ok("coracle", &["token", "create"]);
        let folder = tempfile::tempdir().expect("a folder");
        let listen = format!("{address}:{}", free_port(address));
        let arguments = [
            "node",
            "--server",
            &server.url,
            "--node-name",
            name,
            "--node-listen",
            &listen,
            "--nodeport-address",
            address,
        ];
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let mut with_token: Vec<&str> = arguments.iter().map(String::as_str).collect();
        with_token.extend(["--token", token.trim()]);
        let process = Process::start(folder.path(), &with_token);
        Member { process, address: address.parse().expect("an address"), arguments, _folder: folder }
    }

    /// Starts again, from what is on its disk.
    fn restart(&mut self) {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let folder = self.process.folder.clone();
        self.process = Process::start(&folder, &arguments);
    }
}

#[test]
fn pods_spread_call_each_other_across_nodes_and_outlive_the_server() {
    let mut server = Server::start("server", free_port("127.0.0.1"), &[]);
    let (one, mut two) = (Member::join(&server, "one", "127.0.0.21"), Member::join(&server, "two", "127.0.0.22"));
    server.push("hello", "hello:v1");
    server.push("counter", "counter:v1");
    server
        .ok("coracle", &["apply", "--wait", "-f", "examples/hello/hello.yaml", "-f", "examples/counter/counter.yaml"]);
    let (hello, counter) = (server.node_port("hello"), server.node_port("counter-front"));
    for member in [&one, &two] {
        let mut names = BTreeSet::new();
        eventually("answers from all three pods on each node's port", || {
            let (status, text) = get(member.address, hello, "/")?;
            (status == 200).then(|| names.insert(text));
            (names.len() == 3).then_some(())
        });
    }
    let mut pairs = BTreeSet::new();
    eventually("a call from a pod of one node to a pod of the other", || {
        let (status, text) = get(one.address, counter, "/?n=40")?;
        (status == 200).then(|| pairs.insert(text));
        // Two front pods on two nodes, two back pods on two nodes: all four ways.
        (pairs.len() == 4).then_some(())
    });
    let pods = server.ok("coracle", &["get", "pods", "-o", "name"]);
    eventually("the Service table on the node's disk", || {
        let table = std::fs::read_to_string(two.process.folder.join("node/services.json")).ok()?;
        pods.lines().all(|pod| table.contains(pod.trim_start_matches("pod/"))).then_some(())
    });
    server.process.kill();
    two.process.kill();
    two.restart();
    eventually("a node that starts without its server serves from its own disk", || {
        get(two.address, hello, "/").filter(|(status, _)| *status == 200)
    });
}

#[test]
fn a_node_may_touch_only_what_is_its_own() {
    let server = Server::start("server", free_port("127.0.0.1"), &[]);
    let node = Member::join(&server, "own", "127.0.0.23");
    let pki = node.process.folder.join("pki");
    let kubeconfig = node.process.folder.join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: '{}', \
         certificate-authority: '{}'}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, \
         user: {{client-certificate: '{}', client-key: '{}'}}}}]\n",
        server.url,
        pki.join("node-ca.pem").display(),
        pki.join("node-client.pem").display(),
        pki.join("node-client.pem").display(),
    );
    std::fs::write(&kubeconfig, text).expect("written");
    let as_node = |arguments: &[&str]| {
        let output =
            crate::process::coracle().args(arguments).env("KUBECONFIG", &kubeconfig).output().expect("it runs");
        (output.status.success(), crate::process::text(&output.stderr))
    };
    assert!(as_node(&["get", "node", "own"]).0);
    let (allowed, said) = as_node(&["get", "secrets", "-n", "kube-system"]);
    assert!(!allowed && said.contains("system:node:own") && said.contains("cannot list"), "{said}");
    let (allowed, said) = as_node(&["delete", "node", "other"]);
    assert!(!allowed && said.contains("cannot delete"), "{said}");
}

#[test]
fn a_node_that_dies_is_unknown_its_pods_are_replaced_and_it_comes_back() {
    let server = Server::start("server", free_port("127.0.0.1"), &["--node-monitor-grace-period", "15"]);
    let (one, mut two) = (Member::join(&server, "one", "127.0.0.24"), Member::join(&server, "two", "127.0.0.25"));
    server.push("hello", "hello:v1");
    let file = server.process.folder.join("hello.yaml");
    let yaml = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/hello/hello.yaml"))
        .expect("it is there");
    let tolerations = "    spec:\n      tolerations:\n        - {key: node.kubernetes.io/unreachable, operator: Exists, \
                       effect: NoExecute, tolerationSeconds: 1}\n      containers:";
    std::fs::write(&file, yaml.replace("    spec:\n      containers:", tolerations)).expect("written");
    server.ok("coracle", &["apply", "--wait", "-f", file.to_str().expect("utf-8")]);
    let port = server.node_port("hello");
    eventually("an answer on the node that stays", || get(one.address, port, "/").filter(|(status, _)| *status == 200));
    two.process.kill();
    // No request fails for good while the other node's pods are still in the table.
    for _ in 0..20 {
        let (status, text) = get(one.address, port, "/").expect("the node port listens");
        assert_eq!(status, 200, "{text}");
    }
    let ready = |name: &str| {
        let json = server.ok("coracle", &["get", "node", name, "-o", "json"]);
        let tree: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let conditions = tree["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().find(|one| one["type"] == "Ready").and_then(|one| one["status"].as_str().map(str::to_owned))
    };
    eventually("Unknown", || (ready("two").as_deref() == Some("Unknown")).then_some(()));
    assert_eq!(ready("one").as_deref(), Some("True"));
    eventually("three pods on the node that is left", || {
        let pods = server.ok("coracle", &["get", "pods", "-o", "wide"]);
        let here = pods.lines().filter(|line| line.contains("Running") && line.contains(" one ")).count();
        (here == 3).then_some(())
    });
    two.restart();
    eventually("Ready again", || (ready("two").as_deref() == Some("True")).then_some(()));
    eventually("the end of the pods that were replaced", || {
        let pods = server.ok("coracle", &["get", "pods", "-o", "name"]);
        (pods.lines().count() == 3).then_some(())
    });
}
