//! ReplicaSets: as many pods of one template as asked for.

use super::{Config, Pace, Watched, due, or_null, owner, patch_status, pod_from, settle};
use api::resource::{PODS, REPLICA_SETS};
use api::time::{SignedDuration, Timestamp};
use api::view::{Pod, ReplicaSet, ReplicaSetStatus};
use client::{DeleteOptions, Error, Key, Queue, Target, WriteOptions};
use futures::{FutureExt, StreamExt, stream};
use serde_json::json;
use std::cmp::Reverse;
use std::collections::HashSet;
use tokio::time::Instant;

/// Pods made or deleted in one go, and at one time.
const BURST_MAX: usize = 500;
const IN_FLIGHT_MAX: usize = 64;

/// What to do for one ReplicaSet.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    create: usize,
    delete: Vec<Key>,
    status: ReplicaSetStatus,
    /// When a pod becomes available by having been ready long enough.
    again: Option<SignedDuration>,
}

/// Pure: what is missing, what is too much, and what there is. `pods` are the set's own.
pub(super) fn plan(set: &ReplicaSet, pods: &[(&Key, &Pod)], now: Timestamp) -> Plan {
    let wanted = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0);
    let mut active: Vec<_> = pods.iter().filter(|(_, pod)| is_active(pod)).collect();
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let ready = active.iter().filter(|(_, pod)| ready_since(pod).is_some()).count();
    let least = SignedDuration::from_secs(set.spec.min_ready_seconds);
    let waits = active.iter().filter_map(|(_, pod)| Some(least - now.duration_since(ready_since(pod)?)));
    let again = waits.filter(SignedDuration::is_positive).min();
    let available = active.iter().filter_map(|(_, pod)| ready_since(pod)).filter(|at| now.duration_since(*at) >= least);
    let status = ReplicaSetStatus {
        observed_generation: set.metadata.generation,
        replicas: count(active.len()),
        fully_labeled_replicas: count(active.len()),
        ready_replicas: count(ready),
        available_replicas: count(available.count()),
        conditions: set.status.conditions.clone(),
    };
    if set.metadata.deletion_timestamp.is_some() {
        return Plan { status, again, ..Plan::default() };
    }
    let create = wanted.saturating_sub(active.len()).min(BURST_MAX);
    let excess = active.len().saturating_sub(wanted).min(BURST_MAX);
    // The least useful first: not bound, not running, not ready, youngest.
    active.sort_by_key(|(_, pod)| {
        let is_bound = !pod.spec.node_name.is_empty();
        let is_running = pod.status.phase == "Running";
        let deletion_cost = pod.metadata.annotations.get("controller.kubernetes.io/pod-deletion-cost");
        let cost: i32 = deletion_cost.and_then(|cost| cost.parse().ok()).unwrap_or(0);
        (is_bound, is_running, ready_since(pod).is_some(), cost, Reverse(pod.metadata.creation_timestamp))
    });
    let delete = active.iter().take(excess).map(|(key, _)| (*key).clone()).collect();
    Plan { create, delete, status, again }
}

fn is_active(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && !matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")
}

/// Since when the pod is ready, if it is.
pub(super) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = pod.status.conditions.iter().find(|condition| condition.kind == "Ready")?;
    (ready.status == "True").then(|| ready.last_transition_time.unwrap_or(Timestamp::UNIX_EPOCH))
}

struct Controller {
    config: Config,
    sets: Watched<ReplicaSet>,
    pods: Watched<Pod>,
    /// Uids of pods whose deletion was answered and whose event has not come yet.
    gone: HashSet<String>,
}

pub(super) async fn run(config: Config) {
    let mut controller = Controller {
        sets: Watched::new(&config.cluster, &REPLICA_SETS, |object| object.read().ok()),
        pods: Watched::new(&config.cluster, &PODS, |object| object.read().ok()),
        gone: HashSet::new(),
        config,
    };
    let mut queue: Queue<Key> = Queue::new();
    let mut pace = Pace::default();
    loop {
        tokio::select! {
            changes = controller.sets.changed() => changes.into_iter().for_each(|change| queue.add(change.key)),
            changes = controller.pods.changed() => {
                for change in changes {
                    if let (Some(old), None) = (&change.old, &change.new) {
                        controller.gone.remove(&old.metadata.uid);
                    }
                    for pod in [&change.old, &change.new].into_iter().flatten() {
                        let of = pod.metadata.controller().filter(|owner| &*owner.kind == "ReplicaSet");
                        if let Some(of) = of {
                            pace.add(&mut queue, Key::new(&change.key.namespace, &of.name));
                        }
                    }
                }
            }
            () = due(&queue) => {}
        }
        if !controller.sets.is_synced || !controller.pods.is_synced {
            continue;
        }
        while let Some(key) = queue.take(Instant::now()) {
            let outcome = controller.sync(&key, &mut queue).await;
            settle(&mut queue, &key, "replicaset", outcome);
        }
    }
}

impl Controller {
    async fn sync(&mut self, key: &Key, queue: &mut Queue<Key>) -> Result<(), Error> {
        let Some(set) = self.sets.cache.value(key).cloned() else { return Ok(()) };
        let uid = set.metadata.uid.as_str();
        let mine = |pod: &Pod| pod.metadata.controller().is_some_and(|owner| &*owner.uid == uid);
        let pods = self.pods.cache.namespace(&key.namespace).map(|(key, entry)| (key, &*entry.value));
        let pods: Vec<_> = pods.filter(|(_, pod)| mine(pod) && !self.gone.contains(&pod.metadata.uid)).collect();
        let plan = plan(&set, &pods, self.config.clock.now());
        let failed = self.make(key, &set, plan.create).await;
        self.unmake(&plan.delete).await?;
        if plan.status != set.status {
            let status = &plan.status;
            let tree = json!({
                "observedGeneration": status.observed_generation,
                "replicas": status.replicas,
                "fullyLabeledReplicas": or_null(status.fully_labeled_replicas),
                "readyReplicas": or_null(status.ready_replicas),
                "availableReplicas": or_null(status.available_replicas),
            });
            let written = patch_status(&self.config.cluster, &REPLICA_SETS, key, tree).await?;
            self.sets.wrote(&written);
        }
        if plan.create > 0 || !plan.delete.is_empty() {
            // The status of what was just made or deleted.
            queue.add_at(key.clone(), Instant::now());
        }
        if let Some(again) = plan.again {
            queue.add_at(key.clone(), Instant::now() + again.unsigned_abs());
        }
        failed.map_or(Ok(()), Err)
    }

    /// Makes pods; the first failure, if there was one.
    async fn make(&mut self, key: &Key, set: &ReplicaSet, count: usize) -> Option<Error> {
        let meta = &set.metadata;
        let owner = owner("apps/v1", "ReplicaSet", &meta.name, &meta.uid);
        let pod = pod_from(&set.spec.template, &key.namespace, &meta.name, owner);
        let cluster = &self.config.cluster;
        let target = Target { resource: &PODS, namespace: key.namespace(), name: "", subresource: None };
        let calls: Vec<_> = (0..count)
            .map(|_| cluster.create(target, pod.clone(), WriteOptions::by("replicaset-controller")))
            .collect();
        let made: Vec<_> = stream::iter(calls).buffer_unordered(IN_FLIGHT_MAX).collect().await;
        let mut failed = None;
        for result in made {
            match result {
                Ok(pod) => self.pods.wrote(&pod),
                Err(error) => failed = Some(error),
            }
        }
        failed
    }

    async fn unmake(&mut self, keys: &[Key]) -> Result<(), Error> {
        let mut calls = Vec::new();
        for key in keys {
            let cluster = self.config.cluster.clone();
            let uid = self.pods.cache.value(key).map(|pod| pod.metadata.uid.clone());
            let key = key.clone();
            let call = async move {
                let target = Target { resource: &PODS, namespace: key.namespace(), name: &key.name, subresource: None };
                let options = DeleteOptions { uid: uid.clone(), ..DeleteOptions::default() };
                let result = cluster.delete(target, options).await;
                (uid, result)
            };
            calls.push(call.boxed());
        }
        let deleted: Vec<_> = stream::iter(calls).buffer_unordered(IN_FLIGHT_MAX).collect().await;
        for (uid, result) in deleted {
            match result {
                Ok(Some(pod)) => self.pods.wrote(&pod),
                Ok(None) => self.gone.extend(uid),
                Err(error) if error.is_not_found() => self.gone.extend(uid),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(replicas: i32) -> ReplicaSet {
        let mut set = ReplicaSet::default();
        set.spec.replicas = Some(replicas);
        set
    }

    fn pod(node: &str, phase: &str, ready: bool) -> Pod {
        let status = if ready { "True" } else { "False" };
        let json = json!({"spec": {"nodeName": node}, "status": {"phase": phase,
            "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        serde_json::from_value(json).expect("a pod")
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_too_much_goes_least_useful_first() {
        let now = "2026-01-01T00:01:00Z".parse().expect("a time");
        assert_eq!(plan(&set(3), &[], now).create, 3);
        let pods = [
            pod("n", "Running", true),
            pod("n", "Pending", false),
            pod("", "Pending", false),
            pod("n", "Failed", false),
        ];
        let keys: Vec<Key> = (0..4).map(|index| Key::new("a", &index.to_string())).collect();
        let pods: Vec<_> = keys.iter().zip(&pods).collect();
        let plan_down = plan(&set(1), &pods, now);
        assert_eq!(plan_down.delete, [keys[2].clone(), keys[1].clone()]);
        assert_eq!((plan_down.status.replicas, plan_down.status.ready_replicas), (3, 1));
    }

    #[test]
    fn a_pod_is_available_when_it_was_ready_long_enough() {
        let now = "2026-01-01T00:00:04Z".parse().expect("a time");
        let mut set = set(1);
        set.spec.min_ready_seconds = 10;
        let key = Key::new("a", "p");
        let pod = pod("n", "Running", true);
        let plan = plan(&set, &[(&key, &pod)], now);
        assert_eq!((plan.status.ready_replicas, plan.status.available_replicas), (1, 0));
        assert_eq!(plan.again, Some(SignedDuration::from_secs(6)));
    }
}
