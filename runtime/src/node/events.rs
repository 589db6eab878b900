//! Kubernetes Events about pods: told when there is time, and never worth waiting for.

use api::resource::EVENTS;
use api::time;
use api::view;
use client::{Clock, Handle, Patch, Target, WriteOptions};
use serde_json::json;
use std::collections::{HashMap, VecDeque};
use tokio::sync::mpsc;

/// Events that wait; more are dropped.
const EVENTS_MAX: usize = 8192;
/// Repetitions are counted for so many different events.
const REMEMBERED_MAX: usize = 4096;
const COMPONENT: &str = "kubelet";

/// One thing that happened to a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Happened {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) uid: String,
    /// `spec.containers{NAME}` or empty.
    pub(super) field_path: String,
    pub(super) is_warning: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// Where events are told. Cheap to clone.
#[derive(Clone)]
pub(super) struct Recorder {
    tx: mpsc::Sender<Happened>,
}

struct Told {
    name: String,
    count: u32,
}

// === impl Happened ===

impl Happened {
    pub(super) fn new(pod: &view::Pod, is_warning: bool, reason: &'static str, message: String) -> Happened {
        let meta = &pod.metadata;
        Happened {
            namespace: meta.namespace.clone(),
            pod: meta.name.clone(),
            uid: meta.uid.clone(),
            field_path: String::new(),
            is_warning,
            reason,
            message,
        }
    }
}

// === impl Recorder ===

impl Recorder {
    pub(super) fn start(cluster: Handle, clock: Clock, node: String) -> Recorder {
        let (tx, rx) = mpsc::channel(EVENTS_MAX);
        tokio::spawn(run(cluster, clock, node, rx));
        Recorder { tx }
    }

    pub(super) fn tell(&self, happened: Happened) {
        if self.tx.try_send(happened).is_err() {
            tracing::debug!("an event was dropped: too many wait");
        }
    }
}

async fn run(cluster: Handle, clock: Clock, node: String, mut rx: mpsc::Receiver<Happened>) {
    let mut told: HashMap<Happened, Told> = HashMap::new();
    let mut order: VecDeque<Happened> = VecDeque::new();
    let mut number = 0_u64;
    while let Some(happened) = rx.recv().await {
        let now = clock.now();
        if let Some(before) = told.get_mut(&happened) {
            before.count += 1;
            let patch = json!({ "count": before.count, "lastTimestamp": time::seconds(now) });
            let target = Target::namespaced(&EVENTS, &happened.namespace, &before.name);
            let outcome = cluster.patch(target, Patch::Merge(patch), WriteOptions::by(COMPONENT)).await;
            if outcome.is_ok() {
                continue;
            }
            // It has expired: it is told anew.
            told.remove(&happened);
        }
        number += 1;
        let name = format!("{}.{:x}", happened.pod, now.as_nanosecond() + i128::from(number));
        let event = event(&happened, &name, &node, &time::seconds(now));
        let target = Target { name: "", ..Target::namespaced(&EVENTS, &happened.namespace, "") };
        if let Err(error) = cluster.create(target, event, WriteOptions::by(COMPONENT)).await {
            tracing::debug!(%error, pod = happened.pod, reason = happened.reason, "an event was not told");
            continue;
        }
        if happened.is_warning {
            order.push_back(happened.clone());
            told.insert(happened, Told { name, count: 1 });
        }
        while order.len() > REMEMBERED_MAX {
            order.pop_front().map(|oldest| told.remove(&oldest));
        }
    }
}

fn event(happened: &Happened, name: &str, node: &str, now: &str) -> api::Tree {
    let mut involved = json!({
        "kind": "Pod", "namespace": happened.namespace, "name": happened.pod, "uid": happened.uid, "apiVersion": "v1",
    });
    if !happened.field_path.is_empty() {
        involved.as_object_mut().expect("just made").insert("fieldPath".to_owned(), happened.field_path.clone().into());
    }
    json!({
        "kind": "Event", "apiVersion": "v1",
        "metadata": { "name": name, "namespace": happened.namespace },
        "involvedObject": involved,
        "reason": happened.reason,
        "message": happened.message,
        "source": { "component": COMPONENT, "host": node },
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "type": if happened.is_warning { "Warning" } else { "Normal" },
        "eventTime": null,
        "reportingComponent": COMPONENT,
        "reportingInstance": node,
    })
}
