use super::*;
use serde_json::json;
use std::sync::Arc;

fn now() -> Timestamp {
    "2026-01-01T00:01:00Z".parse().expect("a time")
}

fn set(spec: &Tree) -> DaemonSet {
    let meta = json!({ "name": "ds", "namespace": "a", "uid": "set" });
    let mut tree = json!({ "metadata": meta, "spec": { "template": {} } });
    for (key, value) in spec.as_object().into_iter().flatten() {
        edit::set(&mut tree, &["spec", key], value.clone());
    }
    serde_json::from_value(tree).expect("a set")
}

fn node(name: &str, spec: Tree) -> Node {
    serde_json::from_value(json!({ "metadata": { "name": name, "labels": { "disk": name } }, "spec": spec }))
        .expect("a node")
}

fn nodes() -> Vec<Node> {
    ["a", "b", "c"].map(|name| node(name, json!({}))).to_vec()
}

/// A pod `name@node:version`, ready unless the version ends with `?`.
fn pod(text: &str) -> Found {
    let (name, rest) = text.split_once('@').expect("a node");
    let (node, version) = rest.split_once(':').expect("a version");
    let ready = if version.ends_with('?') { "False" } else { "True" };
    let condition = json!({ "type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let tree = json!({
        "metadata": { "name": name, "labels": { HASH: version.trim_end_matches('?') } },
        "spec": { "nodeName": node }, "status": { "phase": "Running", "conditions": [condition] },
    });
    (Key::new("a", name), Arc::new(serde_json::from_value(tree).expect("a pod")))
}

/// What is done, in short: `+a` makes a pod on node a, `-1` deletes pod 1.
fn shown(plan: Plan) -> String {
    let made = plan.make.into_iter().map(|node| format!("+{node}"));
    let failed = plan.failed.into_iter().map(|(key, _)| key);
    let gone = plan.delete.into_iter().chain(failed).map(|key| format!("-{}", key.name));
    made.chain(gone).collect::<Vec<_>>().join(" ")
}

fn managed(spec: &Tree, nodes: &[Node], pods: &[&str]) -> String {
    let (set, pods) = (set(spec), pods.iter().map(|text| pod(text)).collect::<Vec<_>>());
    let nodes: Vec<&Node> = nodes.iter().collect();
    shown(manage(&set, &spots(&set, &nodes, &pods)))
}

fn rolled(strategy: Tree, pods: &[&str]) -> String {
    let set = set(&json!({ "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": strategy } }));
    let (nodes, pods) = (nodes(), pods.iter().map(|text| pod(text)).collect::<Vec<_>>());
    let nodes: Vec<&Node> = nodes.iter().collect();
    shown(roll(&set, &spots(&set, &nodes, &pods), "new", now()))
}

#[test]
fn each_node_that_fits_has_one_pod() {
    assert_eq!(managed(&json!({}), &nodes(), &["1@a:new"]), "+b +c");
    assert_eq!(managed(&json!({}), &nodes(), &["1@a:new", "2@a:new", "3@b:new", "4@c:new"]), "-2");
    let chosen = json!({ "template": { "spec": { "nodeSelector": { "disk": "b" } } } });
    assert_eq!(managed(&chosen, &nodes(), &["1@a:new"]), "+b -1");
}

#[test]
fn taints_keep_away_and_some_drive_out() {
    let taint = |key: &str, effect: &str| node("a", json!({ "taints": [{ "key": key, "effect": effect }] }));
    let keeps_away = [taint("x", "NoSchedule")];
    assert_eq!(managed(&json!({}), &keeps_away, &[]), "");
    assert_eq!(managed(&json!({}), &keeps_away, &["1@a:new"]), "");
    assert_eq!(managed(&json!({}), &[taint("x", "NoExecute")], &["1@a:new"]), "-1");
    let ailing = [taint("node.kubernetes.io/not-ready", "NoExecute")];
    assert_eq!(managed(&json!({}), &ailing, &[]), "+a", "daemons run on nodes that ail");
    let tolerant = json!({ "template": { "spec": { "tolerations": [{ "operator": "Exists" }] } } });
    assert_eq!(managed(&tolerant, &keeps_away, &[]), "+a");
}

#[test]
fn old_pods_go_as_far_as_nodes_may_be_without() {
    let old = ["1@a:old", "2@b:old", "3@c:old"];
    assert_eq!(rolled(json!({ "maxUnavailable": 1 }), &old), "-1");
    assert_eq!(rolled(json!({ "maxUnavailable": "50%" }), &old), "-1 -2");
    assert_eq!(rolled(json!({ "maxUnavailable": 1 }), &["1@a:new?", "2@b:old", "3@c:old"]), "");
    assert_eq!(rolled(json!({ "maxUnavailable": 1 }), &["1@a:new", "2@b:old?", "3@c:old"]), "-2");
    assert_eq!(rolled(json!({ "maxUnavailable": 1 }), &["1@a:new", "2@b:new", "3@c:new"]), "");
}

#[test]
fn a_surge_has_the_new_before_the_old_goes() {
    let surge = || json!({ "maxUnavailable": 0, "maxSurge": 1 });
    assert_eq!(rolled(surge(), &["1@a:old", "2@b:old", "3@c:old"]), "+a");
    assert_eq!(rolled(surge(), &["1@a:old", "4@a:new?", "2@b:old", "3@c:old"]), "");
    assert_eq!(rolled(surge(), &["1@a:old", "4@a:new", "2@b:old", "3@c:new"]), "+b -1");
}

#[test]
fn the_status_counts_nodes() {
    let set = set(&json!({}));
    let all = [
        node("a", json!({})),
        node("b", json!({})),
        node("c", json!({ "taints": [{ "key": "x", "effect": "NoSchedule" }] })),
    ];
    let nodes: Vec<&Node> = all.iter().collect();
    let pods = [pod("1@a:new"), pod("2@b:old?"), pod("3@c:new")];
    let status = status(&set, &spots(&set, &nodes, &pods), "new", 0, now());
    let counts = (status.desired_number_scheduled, status.current_number_scheduled, status.number_misscheduled);
    assert_eq!(counts, (2, 2, 1));
    let states =
        (status.number_ready, status.updated_number_scheduled, status.number_available, status.number_unavailable);
    assert_eq!(states, (1, 1, 1, 1));
}

#[test]
fn a_pod_is_bound_to_its_node_by_affinity() {
    let set = set(&json!({ "template": { "metadata": { "labels": { "app": "x" } } } }));
    let tree = super::super::pod::pod(&set, "a", "h");
    assert_eq!(edit::text(&tree, &["metadata", "labels", HASH]), "h");
    let pod: Pod = serde_json::from_value(tree).expect("a pod");
    assert_eq!((pod.spec.destined(), pod.spec.tolerations.len()), (Some("a"), 6));
    assert_eq!(node_of(&pod), "a");
}
