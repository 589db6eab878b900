//! What to do for one StatefulSet, pure: its pods by their places, one after the other or all at once
//! (upstream's `stateful_set_control.go`, 1.34).

use super::pod::{Version, identity, ordinal, pod};
use crate::controllers::amount;
use crate::controllers::history::HASH;
use crate::controllers::pods::Found;
use api::Tree;
use api::time::Timestamp;
use api::view::{Pod, StatefulSet, StatefulSetStatus};
use client::Key;

/// One thing to do.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Make the pod of this place, and first the claims that it lacks.
    Make {
        ordinal: i32,
        pod: Tree,
    },
    /// Make the claims that the waiting pod of this place lacks.
    Claims {
        ordinal: i32,
    },
    /// Give a pod the labels of its place.
    Label {
        key: Key,
        ordinal: i32,
    },
    Delete(Key),
}

/// The revisions that the set moves between.
pub(super) struct Versions<'a> {
    pub(super) current: Version<'a>,
    pub(super) update: Version<'a>,
}

/// The pods of a set by their places.
struct Places<'a> {
    /// From the first ordinal on; a place may be empty.
    replicas: Vec<(i32, Option<&'a Found>)>,
    /// Pods beyond the last place, the highest first.
    condemned: Vec<&'a Found>,
}

pub(super) fn wanted(set: &StatefulSet) -> i32 {
    set.spec.replicas.unwrap_or(1).max(0)
}

pub(super) fn is_wanted(set: &StatefulSet, ordinal: i32) -> bool {
    let start = set.spec.ordinals.start;
    (start..start.saturating_add(wanted(set))).contains(&ordinal)
}

/// The steps of one look. In order, a step that others wait for is the last.
pub(super) fn plan(set: &StatefulSet, pods: &[Found], versions: &Versions<'_>, now: Timestamp) -> Vec<Step> {
    if set.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let places = places(set, pods);
    let in_order = set.spec.pod_management_policy != "Parallel";
    let mut steps = Vec::new();
    for (ordinal, found) in &places.replicas {
        let waits = replica(set, versions, *ordinal, *found, now, &mut steps);
        if waits && in_order {
            return steps;
        }
    }
    let unhealthy = first_unhealthy(set, &places, now);
    for found in &places.condemned {
        let (key, pod) = *found;
        let is_first = unhealthy.is_some_and(|first| first.0 == *key);
        if pod.is_deleting() {
            if in_order {
                return steps;
            }
        } else if in_order && !is_available(set, pod, now) && !is_first {
            return steps;
        } else {
            steps.push(Step::Delete(key.clone()));
            if in_order {
                return steps;
            }
        }
    }
    if steps.is_empty() && set.spec.update_strategy.kind != "OnDelete" {
        roll(set, &places, versions.update.name, now, &mut steps);
    }
    steps
}

/// What one place needs; true if the next places have to wait for it.
fn replica(
    set: &StatefulSet,
    versions: &Versions<'_>,
    ordinal: i32,
    found: Option<&Found>,
    now: Timestamp,
    steps: &mut Vec<Step>,
) -> bool {
    let Some((key, there)) = found else {
        let version = if is_kept_back(set, ordinal) { &versions.current } else { &versions.update };
        steps.push(Step::Make { ordinal, pod: pod(set, version, ordinal) });
        return true;
    };
    // Also one that succeeded: how a pod that was stopped from outside ended says nothing (kubernetes#120731).
    if there.is_finished() {
        if !there.is_deleting() {
            steps.push(Step::Delete(key.clone()));
        }
        return true;
    }
    if there.status.phase == "Pending" && !set.spec.volume_claim_templates.is_empty() {
        steps.push(Step::Claims { ordinal });
    }
    if there.is_deleting() || !is_available(set, there, now) {
        return true;
    }
    let is_labelled = |(key, value): &(&str, String)| there.metadata.labels.get(*key) == Some(value);
    if !identity(&set.metadata, ordinal).iter().all(is_labelled) {
        steps.push(Step::Label { key: key.clone(), ordinal });
    }
    false
}

/// Places below the partition have the version that the set had before.
fn is_kept_back(set: &StatefulSet, ordinal: i32) -> bool {
    if set.spec.update_strategy.kind == "OnDelete" {
        return false;
    }
    let place = ordinal - set.spec.ordinals.start;
    match &set.spec.update_strategy.rolling_update {
        Some(rolling) => place < rolling.partition,
        None => place < set.status.current_replicas,
    }
}

/// The highest place with another version goes first, and the next one once it is back.
fn roll(set: &StatefulSet, places: &Places<'_>, update: &str, now: Timestamp, steps: &mut Vec<Step>) {
    let rolling = set.spec.update_strategy.rolling_update.clone().unwrap_or_default();
    let least = usize::try_from(rolling.partition).unwrap_or(0);
    let unavailable = rolling.max_unavailable.as_ref().map_or(1, |most| amount(most, wanted(set), false).max(1));
    let mut budget = unavailable;
    for (_, found) in places.replicas.iter().skip(least).rev() {
        let Some((key, pod)) = found else { return };
        let is_gone = pod.is_deleting() || !is_available(set, pod, now);
        if version_of(pod) != update && !pod.is_deleting() {
            steps.push(Step::Delete(key.clone()));
            budget -= 1;
        } else if is_gone {
            budget -= 1;
        }
        if budget <= 0 {
            return;
        }
    }
}

fn places<'a>(set: &StatefulSet, pods: &'a [Found]) -> Places<'a> {
    let start = set.spec.ordinals.start;
    let mut replicas: Vec<(i32, Option<&Found>)> = (0..wanted(set)).map(|place| (start + place, None)).collect();
    let mut condemned = Vec::new();
    for found in pods {
        let Some(at) = ordinal(&set.metadata, &found.0.name) else { continue };
        match usize::try_from(at - start).ok().and_then(|place| replicas.get_mut(place)) {
            Some(place) => place.1 = Some(found),
            None => condemned.push((at, found)),
        }
    }
    condemned.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    Places { replicas, condemned: condemned.into_iter().map(|(_, found)| found).collect() }
}

fn first_unhealthy<'a>(set: &StatefulSet, places: &Places<'a>, now: Timestamp) -> Option<&'a Found> {
    let is_unhealthy = |found: &&'a Found| found.1.is_deleting() || !is_available(set, &found.1, now);
    let replicas = places.replicas.iter().filter_map(|(_, found)| *found).find(is_unhealthy);
    replicas.or_else(|| places.condemned.iter().rev().copied().find(is_unhealthy))
}

fn is_ready(pod: &Pod) -> bool {
    pod.status.phase == "Running" && pod.is_ready()
}

fn is_available(set: &StatefulSet, pod: &Pod, now: Timestamp) -> bool {
    is_ready(pod) && pod.is_available(set.spec.min_ready_seconds, now)
}

fn version_of(pod: &Pod) -> &str {
    pod.metadata.labels.get(HASH).map_or("", String::as_str)
}

/// The status that the pods add up to.
pub(super) fn status(
    set: &StatefulSet,
    pods: &[Found],
    (current, update): (&str, &str),
    collisions: i32,
    now: Timestamp,
) -> StatefulSetStatus {
    let members =
        || pods.iter().map(|(_, pod)| &**pod).filter(|pod| ordinal(&set.metadata, &pod.metadata.name).is_some());
    let count = |is: &dyn Fn(&Pod) -> bool| i32::try_from(members().filter(|pod| is(pod)).count()).unwrap_or(i32::MAX);
    let mut status = StatefulSetStatus {
        observed_generation: set.metadata.generation,
        replicas: count(&|_| true),
        ready_replicas: count(&is_ready),
        available_replicas: count(&|pod| is_available(set, pod, now)),
        current_replicas: count(&|pod| !pod.is_deleting() && version_of(pod) == current),
        updated_replicas: count(&|pod| !pod.is_deleting() && version_of(pod) == update),
        current_revision: current.to_owned(),
        update_revision: update.to_owned(),
        collision_count: Some(collisions),
    };
    let wanted = wanted(set);
    let is_rolling = set.spec.update_strategy.kind != "OnDelete";
    if is_rolling && [status.updated_replicas, status.ready_replicas, status.replicas] == [wanted; 3] {
        status.current_replicas = status.updated_replicas;
        status.current_revision.clone_from(&status.update_revision);
    }
    status
}

#[cfg(test)]
mod tests;
