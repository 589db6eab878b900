//! A node may touch only what is its own: Kubernetes' node authorizer and NodeRestriction, over the wire.

use crate::fleet::{Fleet, Member};
use crate::process::{Server, coracle, eventually, text};
use crate::wire::{Identity, Wire, tls_as};
use base64::Engine as _;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::ClientConfig;
use serde_json::{Value, json};
use std::sync::Arc;

/// A pod on each of the nodes `own` and `other`, and secrets that one of them, or none, refers to.
const OBJECTS: &str = r#"
{apiVersion: v1, kind: Secret, metadata: {name: of-mine}}
---
{apiVersion: v1, kind: Secret, metadata: {name: of-theirs}}
---
{apiVersion: v1, kind: Secret, metadata: {name: of-nobody}}
---
apiVersion: v1
kind: Pod
metadata: {name: mine, labels: {app: mine}}
spec:
  nodeName: own
  containers: [{name: c, image: none:v1, envFrom: [{secretRef: {name: of-mine}}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: theirs, labels: {app: theirs}}
spec:
  nodeName: other
  containers: [{name: c, image: none:v1, envFrom: [{secretRef: {name: of-theirs}}]}]
"#;

const PODS: &str = "/api/v1/namespaces/default/pods";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const NODES: &str = "/api/v1/nodes";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// The API as a node sees it.
struct AsNode<'a> {
    server: &'a Server,
    tls: Arc<ClientConfig>,
}

impl AsNode<'_> {
    fn new<'a>(fleet: &'a Fleet, node: &Member) -> AsNode<'a> {
        let identity = Identity::of_node(&node.process, "node-client.pem");
        AsNode { server: &fleet.server, tls: tls_as(&fleet.server, Some(identity), &["http/1.1"]) }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
        let kind = if method == "PATCH" { "application/strategic-merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        // One for each: a refusal that comes before the body was read may end the connection.
        let mut wire = Wire::open(self.server, &self.tls);
        let answer = wire.ask(method, path, &format!("Content-Type: {kind}\r\n"), body.as_bytes());
        (answer.status, answer.body)
    }

    fn check(&self, expected: u16, method: &str, path: &str, body: &Value) {
        let (status, text) = self.ask(method, path, body);
        assert_eq!(status, expected, "{method} {path} {body}: {text}");
    }
}

#[test]
fn a_node_may_touch_only_what_is_its_own() {
    let fleet = Fleet::start(&[]);
    let (own, _other) = (fleet.join("own"), fleet.join("other"));
    fleet.apply(OBJECTS);
    let uid = |app: &str| fleet.pods(app).remove(0).uid;
    let (mine, theirs) = (uid("mine"), uid("theirs"));
    let node = AsNode::new(&fleet, &own);
    let nothing = Value::Null;
    let label = |key: &str| json!({"metadata": {"labels": {key: "x"}}});
    let condition = json!({"status": {"conditions": [{"type": "Checked", "status": "True"}]}});
    let lease = |name: &str| json!({"metadata": {"name": name}, "spec": {"holderIdentity": "own"}});
    let another = json!({"metadata": {"name": "third"}});
    let token = |pod: &str, uid: &str| {
        let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": pod, "uid": uid});
        json!({"spec": {"audiences": [], "boundObjectRef": bound}})
    };
    let account = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let matrix = [
        (200, "GET", format!("{NODES}/other"), nothing.clone()),
        (200, "PATCH", format!("{NODES}/own/status"), condition.clone()),
        (403, "PATCH", format!("{NODES}/other/status"), condition.clone()),
        (200, "PATCH", format!("{NODES}/own"), label("example.com/site")),
        (403, "PATCH", format!("{NODES}/other"), label("example.com/site")),
        (403, "PATCH", format!("{NODES}/own"), label("node-restriction.kubernetes.io/trusted")),
        (403, "PATCH", format!("{NODES}/own/status"), label("node-restriction.kubernetes.io/trusted")),
        (403, "PATCH", format!("{NODES}/own"), json!({"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}})),
        (403, "POST", NODES.to_owned(), another.clone()),
        (403, "DELETE", format!("{NODES}/own"), nothing.clone()),
        (403, "DELETE", format!("{NODES}/other"), nothing.clone()),
        (200, "PATCH", format!("{LEASES}/own"), lease("own")),
        (403, "PATCH", format!("{LEASES}/other"), lease("other")),
        (403, "GET", format!("{LEASES}/other"), nothing.clone()),
        (403, "POST", LEASES.to_owned(), lease("third")),
        (200, "GET", format!("{SECRETS}/of-mine"), nothing.clone()),
        (403, "GET", format!("{SECRETS}/of-theirs"), nothing.clone()),
        (403, "GET", format!("{SECRETS}/of-nobody"), nothing.clone()),
        (403, "GET", SECRETS.to_owned(), nothing.clone()),
        (403, "GET", format!("{SECRETS}?fieldSelector=metadata.name%3Dof-theirs"), nothing.clone()),
        (403, "PATCH", format!("{SECRETS}/of-mine"), label("a")),
        (200, "GET", format!("{PODS}/mine"), nothing.clone()),
        (403, "GET", format!("{PODS}/theirs"), nothing.clone()),
        (200, "GET", format!("{PODS}?fieldSelector=spec.nodeName%3Down"), nothing.clone()),
        (403, "GET", format!("{PODS}?fieldSelector=spec.nodeName%3Dother"), nothing.clone()),
        (403, "GET", PODS.to_owned(), nothing.clone()),
        (200, "PATCH", format!("{PODS}/mine/status"), condition.clone()),
        (403, "PATCH", format!("{PODS}/theirs/status"), condition.clone()),
        (403, "PATCH", format!("{PODS}/mine/status"), label("app")),
        (403, "PATCH", format!("{PODS}/mine"), label("app")),
        (403, "DELETE", format!("{PODS}/theirs"), nothing.clone()),
        (403, "POST", PODS.to_owned(), another),
        (201, "POST", account.to_owned(), token("mine", &mine)),
        (403, "POST", account.to_owned(), token("theirs", &theirs)),
        (403, "POST", account.to_owned(), json!({"spec": {"audiences": []}})),
    ];
    for (expected, method, path, body) in &matrix {
        node.check(*expected, method, path, body);
    }
}

#[test]
fn a_node_is_told_what_it_may_not_do() {
    let fleet = Fleet::start(&[]);
    let node = fleet.join("own");
    let pki = node.process.folder.join("pki");
    let kubeconfig = node.process.folder.join("kubeconfig");
    let yaml = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: '{}', \
         certificate-authority: '{}'}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, \
         user: {{client-certificate: '{}', client-key: '{}'}}}}]\n",
        fleet.server.url,
        pki.join("node-ca.pem").display(),
        pki.join("node-client.pem").display(),
        pki.join("node-client.pem").display(),
    );
    std::fs::write(&kubeconfig, yaml).expect("written");
    let as_node = |arguments: &[&str]| {
        let output = coracle().args(arguments).env("KUBECONFIG", &kubeconfig).output().expect("it runs");
        (output.status.success(), text(&output.stderr))
    };
    eventually("the node itself", || as_node(&["get", "node", "own"]).0.then_some(()));
    let (allowed, said) = as_node(&["get", "secrets", "-n", "kube-system"]);
    assert!(!allowed && said.contains("system:node:own") && said.contains("cannot list"), "{said}");
    let (allowed, said) = as_node(&["delete", "node", "other"]);
    assert!(!allowed && said.contains("cannot delete"), "{said}");
}

/// A request for a certificate in somebody's name, for servers of these names.
fn request(user: &str, signer: &str, names: &[&str]) -> Value {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let usage = if names.is_empty() { "client auth" } else { "server auth" };
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, user);
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    let pem = params.serialize_request(&KeyPair::generate().expect("a key")).expect("a request").pem().expect("PEM");
    json!({
        "metadata": {"generateName": "csr-"},
        "spec": {"request": base64::engine::general_purpose::STANDARD.encode(pem),
            "signerName": format!("kubernetes.io/{signer}"), "usages": ["digital signature", usage]},
    })
}

#[test]
fn a_node_gets_certificates_in_its_own_name_alone() {
    let fleet = Fleet::start(&[]);
    let own = fleet.join("own");
    let node = AsNode::new(&fleet, &own);
    let (client, serving) = ("kube-apiserver-client-kubelet", "kubelet-serving");
    let server = fleet.host.address.to_string();
    let wanted = [
        (true, request("system:node:own", client, &[])),
        (true, request("system:node:own", serving, &["own.nodes.coracle.internal"])),
        (false, request("system:node:other", client, &[])),
        (false, request("system:node:own", serving, &["other.nodes.coracle.internal"])),
        (false, request("system:node:own", serving, &["kubernetes.default.svc"])),
        (false, request("system:node:own", serving, &["own.nodes.coracle.internal", &server])),
    ];
    for (is_good, request) in wanted {
        let (status, created) = node.ask("POST", REQUESTS, &request);
        assert_eq!(status, 201, "{created}");
        let created: Value = serde_json::from_str(&created).expect("JSON");
        let path = format!("{REQUESTS}/{}", created["metadata"]["name"].as_str().expect("a name"));
        let answer = eventually("a certificate or a refusal", || {
            let answer: Value = serde_json::from_str(&node.ask("GET", &path, &Value::Null).1).expect("JSON");
            let failed = answer["status"]["conditions"].as_array()?.iter().any(|one| one["type"] == "Failed");
            (failed || answer["status"]["certificate"].is_string()).then_some((!failed, answer))
        });
        assert_eq!(answer.0, is_good, "{}", answer.1["status"]);
    }
}
