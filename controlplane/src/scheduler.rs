//! The scheduler: puts pods on nodes.
//!
//! Sees the API through `client` alone, as any program outside could. Where a pod goes is a pure function of a
//! snapshot (`place`); what was decided counts at once, so that the next pod is placed knowing it, while the bindings
//! go out side by side.

mod place;

use crate::controllers::{Watched, patch_status};
use api::object::edit;
use api::resource::{EVENTS, NODES, PODS};
use api::time;
use api::view::{Node, Pod};
use client::{Clock, Error, Handle, Key, Target, WriteOptions};
use place::{Placement, Snapshot};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The name that pods ask for; others are left to other schedulers.
const NAME: &str = "default-scheduler";
/// Bindings that are under way at one time.
const BINDINGS_MAX: usize = 64;

struct Scheduler {
    cluster: Handle,
    clock: Clock,
    pods: Watched<Pod>,
    nodes: Watched<Node>,
    /// Pods that wait for a node.
    waiting: BTreeSet<Key>,
    /// Pods that found none; tried again when something changes.
    stuck: HashMap<Key, String>,
    snapshot: Snapshot,
}

/// What came of a binding.
type Bound = (Key, Result<(), Error>);

/// Places pods until `stop`.
pub async fn run(cluster: Handle, clock: Clock, stop: CancellationToken) {
    let mut scheduler = Scheduler {
        pods: Watched::new(&cluster, &PODS, |object| object.read().ok()),
        nodes: Watched::new(&cluster, &NODES, |object| object.read().ok()),
        waiting: BTreeSet::new(),
        stuck: HashMap::new(),
        snapshot: Snapshot::default(),
        cluster,
        clock,
    };
    let mut bindings: JoinSet<Bound> = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changes = scheduler.pods.changed() => changes.into_iter().for_each(|change| scheduler.pod(&change)),
            changes = scheduler.nodes.changed() => changes.into_iter().for_each(|change| scheduler.node(&change)),
            Some(Ok(bound)) = bindings.join_next() => scheduler.bound(bound),
        }
        if scheduler.pods.is_synced && scheduler.nodes.is_synced {
            scheduler.place(&mut bindings).await;
        }
    }
}

impl Scheduler {
    fn pod(&mut self, change: &client::Change<Pod>) {
        let key = &change.key;
        match change.new.as_deref() {
            Some(pod) if is_waiting(pod) => {
                if !self.snapshot.is_assumed(key) && !self.stuck.contains_key(key) {
                    self.waiting.insert(key.clone());
                }
            }
            Some(pod) => {
                self.forget(key);
                let ended = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
                if ended || pod.spec.node_name.is_empty() {
                    self.freed(key)
                } else {
                    self.snapshot.put_pod(key, pod, &pod.spec.node_name)
                }
            }
            None => {
                self.forget(key);
                self.freed(key);
            }
        }
    }

    fn forget(&mut self, key: &Key) {
        self.waiting.remove(key);
        self.stuck.remove(key);
    }

    /// A pod that is gone made room: those that found none may fit now.
    fn freed(&mut self, key: &Key) {
        if self.snapshot.remove_pod(key) {
            self.retry();
        }
    }

    fn retry(&mut self) {
        self.waiting.extend(self.stuck.keys().cloned());
    }

    fn node(&mut self, change: &client::Change<Node>) {
        match change.new.as_deref() {
            Some(node) => {
                if self.snapshot.put_node(node) {
                    self.retry();
                }
            }
            None => self.snapshot.remove_node(&change.key.name),
        }
    }

    fn bound(&mut self, (key, result): Bound) {
        match result {
            Ok(()) => {}
            Err(error) if error.is_not_found() || error.is_conflict() => {
                tracing::debug!(pod = %key, %error, "the pod was not bound");
                if self.pods.cache.value(&key).is_none_or(|pod| pod.spec.node_name.is_empty()) {
                    self.snapshot.remove_pod(&key);
                }
            }
            Err(error) => {
                tracing::warn!(pod = %key, %error, "the binding is tried again");
                self.snapshot.remove_pod(&key);
                self.waiting.insert(key);
            }
        }
    }

    async fn place(&mut self, bindings: &mut JoinSet<Bound>) {
        while bindings.len() < BINDINGS_MAX
            && let Some(key) = self.waiting.pop_first()
        {
            let Some(pod) = self.pods.cache.value(&key).filter(|pod| is_waiting(pod)).cloned() else { continue };
            match self.snapshot.place(&pod) {
                Placement::Node(node) => {
                    self.stuck.remove(&key);
                    self.snapshot.put_pod(&key, &pod, &node);
                    bindings.spawn(bind(self.cluster.clone(), key, pod.metadata.uid.clone(), node));
                }
                Placement::Nowhere(why) => {
                    let told = self.stuck.insert(key.clone(), why.clone());
                    if told.as_ref() != Some(&why) {
                        bindings.spawn(refuse(self.cluster.clone(), self.clock.clone(), key, pod, why));
                    }
                }
            }
        }
    }
}

fn is_waiting(pod: &Pod) -> bool {
    let ours = pod.spec.scheduler_name == NAME || pod.spec.scheduler_name.is_empty();
    let ended = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
    ours && pod.spec.node_name.is_empty()
        && pod.metadata.deletion_timestamp.is_none()
        && !ended
        && pod.spec.scheduling_gates.is_empty()
}

async fn bind(cluster: Handle, key: Key, uid: String, node: String) -> Bound {
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": { "name": key.name, "namespace": key.namespace, "uid": uid },
        "target": { "apiVersion": "v1", "kind": "Node", "name": node },
    });
    let target = Target::namespaced(&PODS, &key.namespace, &key.name).subresource("binding");
    let result = cluster.create(target, binding, WriteOptions::by(NAME)).await.map(|_| ());
    (key, result)
}

/// Says on the pod, and as an event, why it has no node.
async fn refuse(cluster: Handle, clock: Clock, key: Key, pod: Arc<Pod>, why: String) -> Bound {
    let at = time::seconds(clock.now());
    let told = tell(&cluster, &key, &pod, &why, &at).await;
    if let Err(error) = told {
        tracing::debug!(pod = %key, %error, "the reason is not told");
    }
    (key, Ok(()))
}

async fn tell(cluster: &Handle, key: &Key, pod: &Pod, why: &str, at: &str) -> Result<(), Error> {
    let live = cluster.get(Target::namespaced(&PODS, &key.namespace, &key.name)).await?.tree();
    let mut conditions = edit::list(&live, &["status", "conditions"]).to_vec();
    conditions.retain(|one| edit::text(one, &["type"]) != "PodScheduled");
    conditions.push(json!({
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why,
        "lastProbeTime": null, "lastTransitionTime": at,
    }));
    patch_status(cluster, &PODS, key, json!({ "conditions": conditions })).await?;
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": { "generateName": format!("{}.", key.name), "namespace": key.namespace },
        "involvedObject": {
            "apiVersion": "v1", "kind": "Pod", "namespace": key.namespace, "name": key.name, "uid": pod.metadata.uid,
        },
        "reason": "FailedScheduling", "message": why, "type": "Warning", "count": 1,
        "source": { "component": NAME }, "reportingComponent": NAME, "reportingInstance": "",
        "firstTimestamp": at, "lastTimestamp": at,
    });
    cluster.create(Target::namespaced(&EVENTS, &key.namespace, ""), event, WriteOptions::by(NAME)).await.map(|_| ())
}
