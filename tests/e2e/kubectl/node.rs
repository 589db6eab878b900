//! Taint, cordon, drain: a node is taken out of use and put back.

use super::{Kubectl, rows};

#[test]
fn a_node_is_tainted_cordoned_and_drained() {
    let Some(kubectl) = Kubectl::with_hello() else { return };
    assert_eq!(kubectl.ok("taint node here a=b:NoSchedule"), "node/here tainted\n");
    assert!(kubectl.ok("describe node here").contains("a=b:NoSchedule"));
    assert_eq!(kubectl.ok("taint node here a-"), "node/here untainted\n");
    assert_eq!(kubectl.ok("cordon here"), "node/here cordoned\n");
    let nodes = rows(&kubectl.ok("get nodes"));
    assert!(nodes[1].starts_with("here Ready,SchedulingDisabled <none> "), "{nodes:?}");
    let drained = kubectl.ok("drain here --timeout=60s");
    let evicted = |line: &&str| line.starts_with("pod/") && line.ends_with(" evicted");
    assert_eq!(drained.lines().filter(evicted).count(), 3, "{drained}");
    let done = if kubectl.since(23) { "drained" } else { "evicted" };
    assert!(drained.ends_with(&format!("node/here {done}\n")), "{drained}");
    assert_eq!(kubectl.ok("get deployment hello -o jsonpath={.status.readyReplicas}"), "");
    assert_eq!(kubectl.ok("uncordon here"), "node/here uncordoned\n");
    kubectl.ok("rollout status deployment/hello --timeout=60s");
}
