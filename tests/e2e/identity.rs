//! A node may touch only what is its own.

use crate::fleet::Fleet;
use crate::process::{coracle, eventually, text};

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
