//! The pod of a DaemonSet on one node: bound by affinity, and tolerant of what ails nodes (upstream 1.34). Pure.

use super::MAKER;
use crate::controllers::history::HASH;
use api::Tree;
use api::object::edit;
use api::view::DaemonSet;
use serde_json::json;

/// Taints that a daemon's pod stays through: key and effect.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const NO_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");
/// The template's generation, from times before revisions.
const GENERATION: &str = "deprecated.daemonset.template.generation";
const POD_GENERATION: &str = "pod-template-generation";
const REQUIRED: [&str; 4] = ["spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"];

/// The tolerations that are added to those of a template.
fn tolerate(pod: &mut Tree) {
    let has_host_network = edit::is_true(pod, &["spec", "hostNetwork"]);
    for (key, effect) in TOLERATED.into_iter().chain(has_host_network.then_some(NO_NETWORK)) {
        let toleration = json!({ "key": key, "operator": "Exists", "effect": effect });
        let is_same = |one: &Tree| edit::text(one, &["key"]) == key && edit::text(one, &["effect"]) == effect;
        let known = edit::list_mut(pod, &["spec", "tolerations"]).iter_mut().find(|one| is_same(one));
        match known {
            Some(known) => *known = toleration,
            None => edit::push(pod, &["spec", "tolerations"], toleration),
        }
    }
}

/// The pod, without a node yet: what decides whether a node fits.
pub(super) fn unbound(set: &DaemonSet) -> Tree {
    let mut pod = MAKER.pod(&set.spec.template, &set.metadata);
    tolerate(&mut pod);
    pod
}

pub(super) fn pod(set: &DaemonSet, node: &str, hash: &str) -> Tree {
    let mut pod = unbound(set);
    edit::set(&mut pod, &["metadata", "labels", HASH], hash);
    if let Some(generation) = set.metadata.annotations.get(GENERATION) {
        edit::set(&mut pod, &["metadata", "labels", POD_GENERATION], generation.as_str());
    }
    let field = json!({ "key": "metadata.name", "operator": "In", "values": [node] });
    edit::set(&mut pod, &REQUIRED, json!({ "nodeSelectorTerms": [{ "matchFields": [field] }] }));
    pod
}
