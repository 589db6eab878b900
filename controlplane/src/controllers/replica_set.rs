//! ReplicaSets, and ReplicationControllers, which are the same under an older name: as many pods of one template as
//! asked for.

use super::claim::Maker;
use super::pods::{self, BURST_MAX, Found, Pods, is_active, is_terminating};
use super::rank;
use super::{Config, Pace, Watched, available_in, due, or_null, patch_status, settle};
use api::object::edit;
use api::resource::{REPLICA_SETS, REPLICATION_CONTROLLERS};
use api::selector::Labels;
use api::time::{self, Timestamp};
use api::view::{Condition, Pod, ReplicaSet, ReplicaSetStatus};
use api::{Object, Tree};
use client::{Change, Error, Key, Queue, Recorder};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;

pub(super) static MAKER: Maker = Maker {
    resource: REPLICA_SETS,
    api_version: "apps/v1",
    kind: "ReplicaSet",
    component: "replicaset-controller",
    finalizer: None,
};
static OLD_MAKER: Maker = Maker {
    resource: REPLICATION_CONTROLLERS,
    api_version: "v1",
    kind: "ReplicationController",
    component: "replication-controller",
    finalizer: None,
};
const FAILURE: &str = "ReplicaFailure";

/// What to do for one ReplicaSet.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    create: usize,
    delete: Vec<Key>,
}

/// Pure: what is missing, and what is too much. `pods` are the set's own; `related` counts, for each node, the active
/// pods there of all sets with the same owner.
fn plan(set: &ReplicaSet, pods: &[Found], related: &HashMap<String, usize>, now: Timestamp) -> Plan {
    if set.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    let wanted = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0);
    let mut active: Vec<&Found> = pods.iter().filter(|(_, pod)| is_active(pod)).collect();
    let create = wanted.saturating_sub(active.len()).min(BURST_MAX);
    let excess = active.len().saturating_sub(wanted).min(BURST_MAX);
    if excess > 0 {
        let beside = |pod: &Pod| related.get(&pod.spec.node_name).copied().unwrap_or(0);
        active.sort_by_cached_key(|(_, pod)| rank::usefulness(pod, beside(pod), now));
    }
    Plan { create, delete: active.into_iter().take(excess).map(|(key, _)| key.clone()).collect() }
}

/// Pure: the status that the pods add up to. `failure` is why pods could not be made or deleted just now.
fn status(set: &ReplicaSet, pods: &[Found], failure: Option<(&str, String)>, now: Timestamp) -> ReplicaSetStatus {
    let active: Vec<&Pod> = pods.iter().map(|(_, pod)| &**pod).filter(|pod| is_active(pod)).collect();
    let count =
        |is: &dyn Fn(&Pod) -> bool| i32::try_from(active.iter().filter(|pod| is(pod)).count()).unwrap_or(i32::MAX);
    let labels = api::object::edit::at(&set.spec.template, &["metadata", "labels"]).and_then(Tree::as_object);
    let is_labelled = |pod: &Pod| {
        labels.is_none_or(|labels| {
            labels.iter().all(|(key, value)| pod.metadata.labels.get(key).map(String::as_str) == value.as_str())
        })
    };
    let mut conditions = set.status.conditions.clone();
    match failure {
        None => conditions.retain(|known| known.kind != FAILURE),
        Some(_) if conditions.iter().any(|known| known.kind == FAILURE) => {}
        Some((reason, message)) => conditions.push(Condition {
            kind: FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: Some(now),
            ..Condition::default()
        }),
    }
    ReplicaSetStatus {
        observed_generation: set.metadata.generation,
        replicas: count(&|_| true),
        fully_labeled_replicas: count(&is_labelled),
        ready_replicas: count(&|pod| pod.is_ready()),
        available_replicas: count(&|pod| pod.is_available(set.spec.min_ready_seconds, now)),
        conditions,
    }
}

struct Controller {
    maker: &'static Maker,
    config: Config,
    sets: Watched<ReplicaSet>,
    pods: Pods,
}

pub(super) async fn run(config: Config, events: Recorder) {
    let controller = Controller {
        maker: &MAKER,
        sets: Watched::new(&config.cluster, &REPLICA_SETS, |object| object.view().ok()),
        pods: Pods::new(&MAKER, &config.cluster, &events, |object| pods::parse(object, &MAKER)),
        config,
    };
    follow(controller, "replicaset").await;
}

pub(super) async fn run_old(config: Config, events: Recorder) {
    let controller = Controller {
        maker: &OLD_MAKER,
        sets: Watched::new(&config.cluster, &REPLICATION_CONTROLLERS, of_old),
        pods: Pods::new(&OLD_MAKER, &config.cluster, &events, |object| pods::parse(object, &OLD_MAKER)),
        config,
    };
    follow(controller, "replicationcontroller").await;
}

/// A ReplicationController as a ReplicaSet: its selector is a map of labels.
fn of_old(object: &Object) -> Option<Arc<ReplicaSet>> {
    let mut tree = object.tree();
    if let Some(labels) = edit::remove(&mut tree, &["spec", "selector"]) {
        edit::set(&mut tree, &["spec", "selector", "matchLabels"], labels);
    }
    api::object::read_tree(&tree).ok().map(Arc::new)
}

async fn follow(mut controller: Controller, name: &'static str) {
    let mut queue: Queue<Key> = Queue::new();
    let mut pace = Pace::default();
    loop {
        tokio::select! {
            changes = controller.sets.changed() => changes.into_iter().for_each(|change| queue.add(change.key)),
            changes = controller.pods.changed() => {
                for change in changes {
                    controller.touched(&change).into_iter().for_each(|key| pace.add(&mut queue, key));
                }
            }
            () = due(&queue) => {}
        }
        if !controller.sets.is_synced || !controller.pods.is_synced() {
            continue;
        }
        while let Some(key) = queue.take(Instant::now()) {
            let outcome = controller.sync(&key, &mut queue).await;
            settle(&mut queue, &key, name, outcome);
        }
    }
}

impl Controller {
    /// The sets that a changed pod matters to.
    fn touched(&self, change: &Change<Pod>) -> Vec<Key> {
        let namespace = &change.key.namespace;
        let versions = [&change.old, &change.new].into_iter().flatten();
        let owners = versions.filter_map(|pod| pod.metadata.controller());
        let mut keys: Vec<Key> = owners.map(|owner| Key::new(namespace, &owner.name)).collect();
        keys.dedup();
        if let Some(pod) = change.new.as_ref().filter(|pod| pod.metadata.controller().is_none()) {
            let sets = self.sets.cache.namespace(namespace).filter(|(_, entry)| {
                Labels::from_view(&entry.value.spec.selector)
                    .matches(|key| pod.metadata.labels.get(key).map(String::as_str))
            });
            keys.extend(sets.map(|(key, _)| key.clone()));
        }
        keys
    }

    async fn sync(&mut self, key: &Key, queue: &mut Queue<Key>) -> Result<(), Error> {
        let Some(set) = self.sets.cache.value(key).cloned() else { return Ok(()) };
        let selector = Labels::from_view(&set.spec.selector);
        let pods = self.pods.claimed(&set.metadata, &selector).await?;
        let now = self.config.clock.now();
        let plan = plan(&set, &pods, &self.related(key, &set, &pods), now);
        let (failure, failed) = self.perform(&set, plan).await;
        // What was just made and deleted counts already: one write instead of two.
        let pods: Vec<Found> = self
            .pods
            .of(&set.metadata.uid)
            .into_iter()
            .filter(|(_, pod)| selector.matches(|key| pod.metadata.labels.get(key).map(String::as_str)))
            .collect();
        let status = status(&set, &pods, failure, now);
        if status != set.status {
            let written = patch_status(&self.config.cluster, &self.maker.resource, key, shown(&status)).await?;
            self.sets.wrote(&written);
        }
        if let Some(again) = available_in(set.spec.min_ready_seconds, &pods, now) {
            queue.add_at(key.clone(), Instant::now() + again.unsigned_abs());
        }
        failed.map_or(Ok(()), Err)
    }

    async fn perform(&mut self, set: &ReplicaSet, plan: Plan) -> (Option<(&'static str, String)>, Option<Error>) {
        let trees = vec![self.maker.pod(&set.spec.template, &set.metadata); plan.create];
        let (_, failed) = self.pods.make(&set.metadata, trees).await;
        // A namespace that goes takes the set with it.
        if let Some(error) = failed.filter(|error| !is_terminating(error)) {
            return (Some(("FailedCreate", error.to_string())), Some(error));
        }
        match self.pods.unmake(&set.metadata, &plan.delete).await {
            Ok(()) => (None, None),
            Err(error) => (Some(("FailedDelete", error.to_string())), Some(error)),
        }
    }

    /// The active pods of each node, of all sets with the same owner; only counted where some have to go.
    fn related(&self, key: &Key, set: &ReplicaSet, pods: &[Found]) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        let wanted = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0);
        if pods.len() <= wanted {
            return counts;
        }
        let uids: Vec<String> = match set.metadata.controller() {
            None => vec![set.metadata.uid.clone()],
            Some(owner) => {
                let all = self.sets.cache.namespace(&key.namespace).map(|(_, entry)| &entry.value.metadata);
                let siblings = all.filter(|meta| meta.controller().is_some_and(|one| one.uid == owner.uid));
                siblings.map(|meta| meta.uid.clone()).collect()
            }
        };
        for (_, pod) in uids.iter().flat_map(|uid| self.pods.of(uid)).filter(|(_, pod)| is_active(pod)) {
            *counts.entry(pod.spec.node_name.clone()).or_default() += 1;
        }
        counts
    }
}

fn shown(status: &ReplicaSetStatus) -> Tree {
    let condition = |one: &Condition| {
        json!({
            "type": one.kind, "status": one.status, "reason": one.reason, "message": one.message,
            "lastTransitionTime": one.last_transition_time.map(time::seconds),
        })
    };
    let conditions: Vec<Tree> = status.conditions.iter().map(condition).collect();
    json!({
        "observedGeneration": status.observed_generation,
        "replicas": status.replicas,
        "fullyLabeledReplicas": or_null(status.fully_labeled_replicas),
        "readyReplicas": or_null(status.ready_replicas),
        "availableReplicas": or_null(status.available_replicas),
        "conditions": if conditions.is_empty() { Tree::Null } else { conditions.into() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::time::SignedDuration;

    fn set(replicas: i32) -> ReplicaSet {
        let mut set = ReplicaSet::default();
        set.spec.replicas = Some(replicas);
        set.spec.template = json!({"metadata": {"labels": {"app": "web"}}});
        set
    }

    fn pods(all: &[Tree]) -> Vec<Found> {
        let pod = |json: &Tree| Arc::new(serde_json::from_value::<Pod>(json.clone()).expect("a pod"));
        all.iter().enumerate().map(|(index, json)| (Key::new("a", &index.to_string()), pod(json))).collect()
    }

    fn pod(phase: &str, ready: bool) -> Tree {
        let status = if ready { "True" } else { "False" };
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"nodeName": "n"}, "status": {"phase": phase,
            "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn what_is_missing_is_made_and_what_has_ended_or_goes_does_not_count() {
        let now = at("2026-01-01T00:01:00Z");
        let none = HashMap::new();
        assert_eq!(plan(&set(3), &[], &none, now).create, 3);
        assert_eq!(plan(&set(501), &[], &none, now).create, BURST_MAX);
        let mut going = pod("Running", true);
        api::object::edit::set(&mut going, &["metadata", "deletionTimestamp"], "2026-01-01T00:00:30Z");
        let pods = pods(&[pod("Running", true), going, pod("Failed", false), pod("Succeeded", false)]);
        assert_eq!(plan(&set(3), &pods, &none, now), Plan { create: 2, delete: vec![] });
        assert_eq!(plan(&set(1), &pods, &none, now), Plan::default());
        let mut deleted = set(3);
        deleted.metadata.deletion_timestamp = Some(now);
        assert_eq!(plan(&deleted, &pods, &none, now), Plan::default());
    }

    #[test]
    fn a_replication_controller_is_a_set_that_selects_by_labels() {
        let tree = json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "a", "uid": "u"},
            "spec": {"replicas": 2, "selector": {"app": "web"}, "template": {"spec": {}}}, "status": {"replicas": 1}});
        let set = of_old(&Object::from_tree(&tree).expect("an object")).expect("it reads well");
        assert_eq!((set.spec.replicas, set.status.replicas), (Some(2), 1));
        let selects = |app: &str| Labels::from_view(&set.spec.selector).matches(|key| (key == "app").then_some(app));
        assert!(selects("web") && !selects("db"));
    }

    #[test]
    fn the_least_useful_go_first() {
        let now = at("2026-01-01T00:01:00Z");
        let mut unbound = pod("Pending", false);
        api::object::edit::set(&mut unbound, &["spec", "nodeName"], "");
        let pods = pods(&[pod("Running", true), pod("Pending", false), unbound]);
        assert_eq!(plan(&set(1), &pods, &HashMap::new(), now).delete, [pods[2].0.clone(), pods[1].0.clone()]);
    }

    #[test]
    fn the_status_counts_active_pods() {
        let now = at("2026-01-01T00:01:00Z");
        let mut bare = pod("Running", false);
        api::object::edit::set(&mut bare, &["metadata", "labels"], json!({}));
        let pods = pods(&[pod("Running", true), bare, pod("Failed", false)]);
        let status = status(&set(3), &pods, None, now);
        let counts = (status.replicas, status.fully_labeled_replicas, status.ready_replicas, status.available_replicas);
        assert_eq!(counts, (2, 1, 1, 1));
    }

    #[test]
    fn a_failure_is_a_condition_until_it_is_over() {
        let now = at("2026-01-01T00:01:00Z");
        let mut set = set(1);
        set.status = status(&set, &[], Some(("FailedCreate", "no room".to_owned())), now);
        let known = &set.status.conditions[0];
        assert_eq!(
            (known.kind.as_str(), known.reason.as_str(), known.message.as_str()),
            (FAILURE, "FailedCreate", "no room")
        );
        let later = status(&set, &[], Some(("FailedCreate", "still no room".to_owned())), now);
        assert_eq!(later.conditions, set.status.conditions, "upstream keeps the first message");
        assert!(status(&set, &[], None, now).conditions.is_empty());
    }

    #[test]
    fn a_pod_is_available_when_it_was_ready_long_enough() {
        let now = at("2026-01-01T00:00:04Z");
        let mut set = set(1);
        set.spec.min_ready_seconds = 10;
        let pods = pods(&[pod("Running", true)]);
        let status = status(&set, &pods, None, now);
        assert_eq!((status.ready_replicas, status.available_replicas), (1, 0));
        assert_eq!(available_in(10, &pods, now), Some(SignedDuration::from_secs(6)));
    }
}
