//! What a guest's neighbours notice of one that computes for ever.

use crate::process::{Server, eventually, get};
use crate::{load, row};
use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Requests that spin at one time: more than any machine of the field has cores to spare.
const SPINNING: usize = 4;
const LOAD: Duration = Duration::from_secs(5);
/// The guests go on spinning for as long as both loads take.
const TIMEOUT: &str = "20s";

const SPIN: &str = "
apiVersion: v1
kind: Pod
metadata: {name: spin, labels: {app: spin}, annotations: {coracle.dev/request-timeout: TIMEOUT}}
spec: {containers: [{name: c, image: 'spin:v1'}]}
---
apiVersion: v1
kind: Service
metadata: {name: spin}
spec: {type: NodePort, selector: {app: spin}, ports: [{port: 80, targetPort: 8080}]}
";

/// `hello` alone, and beside guests that spin.
pub(crate) fn notice(server: &Server) {
    server.push("spin", "spin:v1");
    let file = server.process.folder.join("spin.yaml");
    std::fs::write(&file, SPIN.replace("TIMEOUT", TIMEOUT)).expect("written");
    server.ok("coracle", &["apply", "--wait", "-f", file.to_str().expect("utf-8")]);
    let (hello, spin) = (server.node_port("hello"), server.node_port("spin"));
    eventually("the spinner's first answer", || get(HERE, spin, "/").filter(|(status, _)| *status == 200));
    for clients in [1, 8] {
        let alone = load::latency(hello, clients, LOAD);
        let beside = thread::scope(|scope| {
            let spinning: Vec<_> = (0..SPINNING).map(|_| scope.spawn(|| get(HERE, spin, "/spin"))).collect();
            let beside = load::latency(hello, clients, LOAD);
            assert!(spinning.iter().all(|one| !one.is_finished()), "the guests spun all along");
            beside
        });
        let text = format!("alone {alone}; beside {SPINNING} guests that spin {beside}");
        row(&format!("hello through the node port, {clients} clients: time of an answer"), &text);
    }
}
