//! What to do for one DaemonSet, pure: which nodes lack their pod, which pods are on the wrong node, and which old
//! ones may go (upstream's `daemon_controller.go` and `update.go`, 1.34).

use super::pod;
use crate::controllers::amount;
use crate::controllers::history::HASH;
use crate::controllers::pods::Found;
use api::Tree;
use api::object::edit;
use api::time::Timestamp;
use api::view::{DaemonSet, DaemonSetStatus, Node, Pod, PodSpec};
use client::Key;
use std::collections::BTreeMap;

#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Nodes that get a pod.
    pub(super) make: Vec<String>,
    pub(super) delete: Vec<Key>,
    /// Pods that ended by themselves, and their nodes: deleted, so that they are replaced.
    pub(super) failed: Vec<(Key, String)>,
}

/// A node, or the name of one that is gone, and the set's pods there.
pub(super) struct Spot<'a> {
    node: String,
    pub(super) runs: Runs,
    pods: Vec<&'a Found>,
}

/// What a node may have of the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Runs {
    /// A pod.
    Wanted,
    /// The pod that it has, but no new one: a taint came that drives nobody out.
    Kept,
    Nothing,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        *self == Plan::default()
    }
}

/// All nodes, and after them those that are gone and still have pods.
pub(super) fn spots<'a>(set: &DaemonSet, nodes: &[&Node], pods: &'a [Found]) -> Vec<Spot<'a>> {
    let tree = pod::unbound(set);
    let spec: PodSpec =
        edit::at(&tree, &["spec"]).and_then(|spec| api::object::read_tree(spec).ok()).unwrap_or_default();
    let mut by_node: BTreeMap<&str, Vec<&Found>> = BTreeMap::new();
    for found in pods {
        by_node.entry(node_of(&found.1)).or_default().push(found);
    }
    let mut spots: Vec<Spot<'_>> = Vec::new();
    for node in nodes {
        let name = node.metadata.name.as_str();
        let mut pods = by_node.remove(name).unwrap_or_default();
        pods.sort_by_key(|(key, pod)| (pod.metadata.creation_timestamp, key.clone()));
        spots.push(Spot { node: name.to_owned(), runs: runs(&spec, node), pods });
    }
    // Pods that wait for a node that is no more; those that ran there are the node's own business.
    for (name, pods) in by_node.into_iter().filter(|(name, _)| !name.is_empty()) {
        let waiting = pods.into_iter().filter(|(_, pod)| pod.spec.node_name.is_empty()).collect();
        spots.push(Spot { node: name.to_owned(), runs: Runs::Nothing, pods: waiting });
    }
    spots
}

fn node_of(pod: &Pod) -> &str {
    if pod.spec.node_name.is_empty() { pod.spec.destined().unwrap_or_default() } else { &pod.spec.node_name }
}

fn runs(spec: &PodSpec, node: &Node) -> Runs {
    let is_named = spec.node_name.is_empty() || spec.node_name == node.metadata.name;
    if !is_named || !spec.selects(&node.metadata.labels, &node.metadata.name) {
        return Runs::Nothing;
    }
    if node.untolerated(spec).any(|taint| taint.effect == "NoExecute") {
        return Runs::Nothing;
    }
    if node.untolerated(spec).next().is_some() { Runs::Kept } else { Runs::Wanted }
}

/// Each node has the one pod that it is to have.
pub(super) fn manage(set: &DaemonSet, spots: &[Spot<'_>]) -> Plan {
    let mut plan = Plan::default();
    let surges = surge(set, spots) > 0;
    for spot in spots {
        if spot.runs == Runs::Nothing {
            let alive = spot.pods.iter().filter(|(_, pod)| !pod.is_deleting());
            plan.delete.extend(alive.map(|(key, _)| key.clone()));
            continue;
        }
        if spot.pods.is_empty() {
            plan.make.extend((spot.runs == Runs::Wanted).then(|| spot.node.clone()));
            continue;
        }
        let alive = spot.pods.iter().filter(|(_, pod)| !pod.is_deleting());
        let (ended, running): (Vec<&&Found>, Vec<&&Found>) = alive.partition(|(_, pod)| pod.is_finished());
        plan.failed.extend(ended.iter().map(|(key, _)| (key.clone(), spot.node.clone())));
        // A surge has two for a while, the old one and its replacement; otherwise the oldest stays.
        let most = if surges { 2 } else { 1 };
        plan.delete.extend(running.iter().skip(most).map(|(key, _)| key.clone()));
    }
    plan
}

/// Replaces pods of another version, as far as the strategy allows.
pub(super) fn roll(set: &DaemonSet, spots: &[Spot<'_>], hash: &str, now: Timestamp) -> Plan {
    if set.spec.update_strategy.kind == "OnDelete" {
        return Plan::default();
    }
    match surge(set, spots) {
        0 => replace(set, spots, hash, now),
        surge => outgrow(set, spots, hash, now, surge),
    }
}

fn is_available(set: &DaemonSet, found: &Found, now: Timestamp) -> bool {
    found.1.is_available(set.spec.min_ready_seconds, now)
}

/// The old and the new pod of a node that are not on their way out.
fn versions<'a>(spot: &Spot<'a>, hash: &str) -> (Option<&'a Found>, Option<&'a Found>) {
    let alive = || spot.pods.iter().copied().filter(|(_, pod)| !pod.is_deleting());
    let is_new = |found: &&Found| found.1.metadata.labels.get(HASH).is_some_and(|label| label == hash);
    (alive().find(|found| !is_new(found)), alive().find(is_new))
}

/// Deletes old pods, so many that no more nodes are without than may be.
fn replace(set: &DaemonSet, spots: &[Spot<'_>], hash: &str, now: Timestamp) -> Plan {
    let one = Tree::from(1);
    let rolling = set.spec.update_strategy.rolling_update.as_ref();
    let most = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&one);
    let mut budget = amount(most, desired(spots), true);
    let mut plan = Plan::default();
    let mut candidates = Vec::new();
    for spot in spots.iter().filter(|spot| spot.runs != Runs::Nothing && !spot.pods.is_empty()) {
        match versions(spot, hash) {
            (None, None) | (Some(_), Some(_)) => budget -= 1,
            (None, Some(new)) => budget -= i32::from(!is_available(set, new, now)),
            (Some(old), None) if is_available(set, old, now) => candidates.push(old.0.clone()),
            // It answers nobody anyway.
            (Some(old), None) => {
                budget -= 1;
                plan.delete.push(old.0.clone());
            }
        }
    }
    plan.delete.extend(candidates.into_iter().take(usize::try_from(budget).unwrap_or(0)));
    plan
}

/// Makes new pods beside the old ones, and deletes an old one when its successor answers.
fn outgrow(set: &DaemonSet, spots: &[Spot<'_>], hash: &str, now: Timestamp, surge: i32) -> Plan {
    let mut plan = Plan::default();
    let mut budget = surge;
    let mut candidates = Vec::new();
    for spot in spots.iter().filter(|spot| spot.runs != Runs::Nothing && !spot.pods.is_empty()) {
        match versions(spot, hash) {
            (None, _) => {}
            (Some(old), None) if is_available(set, old, now) => candidates.push(spot.node.clone()),
            (Some(_), None) => plan.make.push(spot.node.clone()),
            (Some(old), Some(new)) if is_available(set, new, now) || !is_available(set, old, now) => {
                plan.delete.push(old.0.clone());
            }
            (Some(_), Some(_)) => budget -= 1,
        }
    }
    plan.make.extend(candidates.into_iter().take(usize::try_from(budget).unwrap_or(0)));
    plan
}

fn surge(set: &DaemonSet, spots: &[Spot<'_>]) -> i32 {
    let rolling = set.spec.update_strategy.rolling_update.as_ref();
    rolling.and_then(|rolling| rolling.max_surge.as_ref()).map_or(0, |most| amount(most, desired(spots), true))
}

fn desired(spots: &[Spot<'_>]) -> i32 {
    count(spots.iter().filter(|spot| spot.runs == Runs::Wanted).count())
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The status that the nodes add up to.
pub(super) fn status(
    set: &DaemonSet,
    spots: &[Spot<'_>],
    hash: &str,
    collisions: i32,
    now: Timestamp,
) -> DaemonSetStatus {
    let on = |runs: Runs| spots.iter().filter(move |spot| spot.runs == runs && !spot.pods.is_empty());
    let first = |is: &dyn Fn(&Found) -> bool| count(on(Runs::Wanted).filter(|spot| is(spot.pods[0])).count());
    let desired = desired(spots);
    let available = first(&|found| is_available(set, found, now));
    let is_updated = |found: &Found| found.1.metadata.labels.get(HASH).is_some_and(|label| label == hash);
    DaemonSetStatus {
        observed_generation: set.metadata.generation,
        desired_number_scheduled: desired,
        current_number_scheduled: count(on(Runs::Wanted).count()),
        number_misscheduled: count(on(Runs::Kept).count() + on(Runs::Nothing).count()),
        number_ready: first(&|(_, pod)| pod.is_ready()),
        updated_number_scheduled: count(
            on(Runs::Wanted).filter(|spot| spot.pods.iter().any(|found| is_updated(found))).count(),
        ),
        number_available: available,
        number_unavailable: desired - available,
        collision_count: (collisions > 0).then_some(collisions),
    }
}

#[cfg(test)]
mod tests;
