//! The scheduler: puts pods on nodes.
//!
//! Sees the API through `client` alone, as any program outside could. Where a pod goes is a pure function of a
//! snapshot (`place`); what was decided counts at once, so that the next pod is placed knowing it, while the bindings
//! go out side by side.

mod place;

use crate::controllers::Watched;
use api::resource::{NODES, PODS};
use api::time;
use api::view::{Node, Pod};
use client::{About, Clock, Error, Handle, Happened, Key, Patch, Recorder, Target, WriteOptions};
use place::{Placement, Snapshot};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
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
    events: Recorder,
}

/// What came of a binding.
struct Bound {
    key: Key,
    node: String,
    result: Result<(), Error>,
}

/// Places pods until `stop`.
pub async fn run(cluster: Handle, clock: Clock, stop: CancellationToken) {
    let mut scheduler = Scheduler {
        pods: Watched::new(&cluster, &PODS, |object| object.view().ok()),
        nodes: Watched::new(&cluster, &NODES, |object| object.view().ok()),
        waiting: BTreeSet::new(),
        stuck: HashMap::new(),
        snapshot: Snapshot::default(),
        events: Recorder::start(cluster.clone(), clock.clone(), ""),
        cluster,
        clock,
    };
    let mut bindings: JoinSet<Option<Bound>> = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changes = scheduler.pods.changed() => changes.into_iter().for_each(|change| scheduler.pod(&change)),
            changes = scheduler.nodes.changed() => changes.into_iter().for_each(|change| scheduler.node(&change)),
            Some(Ok(bound)) = bindings.join_next() => bound.into_iter().for_each(|bound| scheduler.bound(bound)),
        }
        if scheduler.pods.is_synced && scheduler.nodes.is_synced {
            scheduler.place(&mut bindings);
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

    fn bound(&mut self, Bound { key, node, result }: Bound) {
        match result {
            Ok(()) => {
                if let Some(pod) = self.pods.cache.value(&key) {
                    let message = format!("Successfully assigned {key} to {node}");
                    self.events.tell(Happened::normal(NAME, About::pod(&pod.metadata), "Scheduled", message));
                }
            }
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

    fn place(&mut self, bindings: &mut JoinSet<Option<Bound>>) {
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
                        let about = About::pod(&pod.metadata);
                        self.events.tell(Happened::warning(NAME, about, "FailedScheduling", why.clone()));
                        bindings.spawn(refuse(self.cluster.clone(), self.clock.clone(), key, why));
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

async fn bind(cluster: Handle, key: Key, uid: String, node: String) -> Option<Bound> {
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": { "name": key.name, "namespace": key.namespace, "uid": uid },
        "target": { "apiVersion": "v1", "kind": "Node", "name": node },
    });
    let target = Target::namespaced(&PODS, &key.namespace, &key.name).subresource("binding");
    let result = cluster.create(target, binding, WriteOptions::by(NAME)).await.map(|_| ());
    Some(Bound { key, node, result })
}

/// Says on the pod why it has no node.
async fn refuse(cluster: Handle, clock: Clock, key: Key, why: String) -> Option<Bound> {
    let condition = json!({
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why,
        "lastProbeTime": null, "lastTransitionTime": time::seconds(clock.now()),
    });
    let target = Target::namespaced(&PODS, &key.namespace, &key.name).subresource("status");
    let patch = Patch::Strategic(json!({ "status": { "conditions": [condition] } }));
    if let Err(error) = cluster.patch(target, patch, WriteOptions::by(NAME)).await {
        tracing::debug!(pod = %key, %error, "the reason is not told");
    }
    None
}
