//! DaemonSets: one pod on each node that fits.

mod plan;
mod pod;

use super::claim::Maker;
use super::history::{self, HASH, History, Wanted};
use super::pods::{self, BURST_MAX, Pods, is_terminating};
use super::{Config, Pace, Watched, due, hash, or_null, patch_status, settle};
use api::Tree;
use api::resource::{DAEMON_SETS, NODES};
use api::selector::Labels;
use api::time::{SignedDuration, Timestamp};
use api::view::{DaemonSet, DaemonSetStatus, Node, Pod};
use client::{Change, Error, Happened, Key, Queue, Recorder};
use plan::Plan;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;

static MAKER: Maker = Maker {
    resource: DAEMON_SETS,
    api_version: "apps/v1",
    kind: "DaemonSet",
    component: "daemonset-controller",
    finalizer: None,
};
/// The waits before a pod that failed on a node is replaced: the first, doubled each time, up to the last (upstream's).
const WAIT_MIN: SignedDuration = SignedDuration::from_secs(1);
const WAIT_MAX: SignedDuration = SignedDuration::from_mins(15);

/// A node on which pods of a set failed: how long to wait after a failure, and until when this time.
struct Failing {
    wait: SignedDuration,
    until: Timestamp,
}

struct Controller {
    config: Config,
    sets: Watched<DaemonSet>,
    nodes: Watched<Node>,
    pods: Pods,
    history: History,
    events: Recorder,
    /// By set's uid and node.
    failing: HashMap<(String, String), Failing>,
}

pub(super) async fn run(config: Config, events: Recorder) {
    let cluster = &config.cluster;
    let mut controller = Controller {
        sets: Watched::new(cluster, &DAEMON_SETS, |object| object.view().ok()),
        nodes: Watched::new(cluster, &NODES, |object| object.view().ok()),
        pods: Pods::new(&MAKER, cluster, &events, |object| pods::parse(object, &MAKER)),
        history: History::new(&MAKER, cluster),
        events,
        failing: HashMap::new(),
        config,
    };
    let mut queue: Queue<Key> = Queue::new();
    let mut pace = Pace::default();
    loop {
        tokio::select! {
            changes = controller.sets.changed() => changes.into_iter().for_each(|change| queue.add(change.key)),
            changes = controller.nodes.changed() => {
                if changes.iter().any(matters) {
                    let all: Vec<Key> = controller.sets.cache.iter().map(|(key, _)| key.clone()).collect();
                    all.into_iter().for_each(|key| pace.add(&mut queue, key));
                }
            }
            changes = controller.pods.changed() => {
                for change in changes {
                    let owners = super::owners(&change, |pod| pod.metadata.controller(), &MAKER);
                    owners.into_iter().for_each(|key| pace.add(&mut queue, key));
                    controller.adopting(&change).into_iter().for_each(|key| pace.add(&mut queue, key));
                }
            }
            changes = controller.history.changed() => {
                for change in changes {
                    let owners = super::owners(&change, |revision| revision.metadata.controller(), &MAKER);
                    owners.into_iter().for_each(|key| queue.add(key));
                }
            }
            () = due(&queue) => {}
        }
        let is_synced = controller.sets.is_synced && controller.nodes.is_synced && controller.pods.is_synced();
        if !(is_synced && controller.history.is_synced()) {
            continue;
        }
        while let Some(key) = queue.take(Instant::now()) {
            let outcome = controller.sync(&key, &mut queue).await;
            settle(&mut queue, &key, "daemonset", outcome);
        }
    }
}

/// Whether a node may now have other pods: signs of life do not matter.
fn matters(change: &Change<Node>) -> bool {
    fn seen(node: &Node) -> impl PartialEq {
        (&node.metadata.labels, &node.spec.taints, node.spec.unschedulable)
    }
    change.old.as_deref().map(seen) != change.new.as_deref().map(seen)
}

impl Controller {
    /// The sets that a free pod may belong to.
    fn adopting(&self, change: &Change<Pod>) -> Vec<Key> {
        let Some(pod) = change.new.as_ref().filter(|pod| pod.metadata.controller().is_none()) else {
            return Vec::new();
        };
        let label = |key: &str| pod.metadata.labels.get(key).map(String::as_str);
        let all = self.sets.cache.namespace(&change.key.namespace);
        let selecting = all.filter(|(_, entry)| Labels::from_view(&entry.value.spec.selector).matches(label));
        selecting.map(|(key, _)| key.clone()).collect()
    }

    async fn sync(&mut self, key: &Key, queue: &mut Queue<Key>) -> Result<(), Error> {
        let Some(set) = self.sets.cache.value(key).cloned() else {
            return Ok(());
        };
        let selector = Labels::from_view(&set.spec.selector);
        if selector.is_empty() {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.".to_owned();
            self.told(&set, true, "SelectingAll", message);
            return Ok(());
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let pods = self.pods.claimed(&set.metadata, &selector).await?;
        let mut revisions = self.history.claimed(&set.metadata, &selector).await?;
        let mut collisions = set.status.collision_count.unwrap_or(0);
        let wanted = Wanted {
            data: history::data(&set.spec.template),
            hash: hash::of_revision,
            labels: history::labels(&set.spec.template),
            hash_label: HASH,
        };
        let (_, current) = self.history.newest(&set.metadata, &mut revisions, &wanted, &mut collisions).await?;
        let hash = current.metadata.labels.get(HASH).cloned().unwrap_or_default();
        let now = self.config.clock.now();
        let nodes: Vec<Arc<Node>> = self.nodes.cache.iter().map(|(_, entry)| entry.value.clone()).collect();
        let nodes: Vec<&Node> = nodes.iter().map(|node| &**node).collect();
        let spots = plan::spots(&set, &nodes, &pods);
        let mut plan = plan::manage(&set, &spots);
        let again = self.hold_back(&set, &mut plan, now);
        if plan.is_empty() {
            plan = plan::roll(&set, &spots, &hash, now);
        }
        let done = self.perform(&set, plan, &hash).await;
        let pods = self.pods.of(&set.metadata.uid);
        let status = plan::status(&set, &plan::spots(&set, &nodes, &pods), &hash, collisions, now);
        if status != set.status {
            let written = patch_status(&self.config.cluster, &DAEMON_SETS, key, shown(&status)).await?;
            self.sets.wrote(&written);
        }
        let available = super::available_in(set.spec.min_ready_seconds, &pods, now);
        for again in again.into_iter().chain(available) {
            queue.add_at(key.clone(), Instant::now() + again.unsigned_abs());
        }
        done?;
        let is_live = |(_, revision): &history::Found| {
            let named = revision.metadata.labels.get(HASH);
            named.is_some_and(|name| *name == hash)
                || pods.iter().any(|(_, pod)| pod.metadata.labels.get(HASH) == named && named.is_some())
        };
        self.history.truncate(&revisions, set.spec.revision_history_limit, is_live).await
    }

    /// A pod that failed is replaced at once the first time, and later each time: takes out of the plan what has to
    /// wait, and tells how long.
    fn hold_back(&mut self, set: &DaemonSet, plan: &mut Plan, now: Timestamp) -> Option<SignedDuration> {
        let mut soonest: Option<SignedDuration> = None;
        let uid = &set.metadata.uid;
        let mut told = Vec::new();
        plan.failed.retain(|(key, node)| {
            let place = (uid.clone(), node.clone());
            let failing = self.failing.get(&place).filter(|known| now.duration_since(known.until) < WAIT_MAX);
            if let Some(known) = failing.filter(|known| known.until > now) {
                let left = known.until.duration_since(now);
                soonest = Some(soonest.map_or(left, |soonest| soonest.min(left)));
                return false;
            }
            let wait = failing.map_or(WAIT_MIN, |known| (known.wait * 2).min(WAIT_MAX));
            self.failing.insert(place, Failing { wait, until: now + wait });
            told.push((key.clone(), node.clone()));
            true
        });
        self.failing.retain(|_, known| now.duration_since(known.until) < WAIT_MAX);
        for (key, node) in told {
            let message = format!("Found failed daemon pod {key} on node {node}, will try to kill it");
            self.told(set, true, "FailedDaemonPod", message);
        }
        soonest
    }

    async fn perform(&mut self, set: &DaemonSet, plan: Plan, hash: &str) -> Result<(), Error> {
        let trees = plan.make.iter().take(BURST_MAX).map(|node| pod::pod(set, node, hash)).collect();
        let (_, failed) = self.pods.make(&set.metadata, trees).await;
        if let Some(error) = failed.filter(|error| !is_terminating(error)) {
            return Err(error);
        }
        let failed = plan.failed.into_iter().map(|(key, _)| key);
        let keys: Vec<Key> = failed.chain(plan.delete).take(BURST_MAX).collect();
        self.pods.unmake(&set.metadata, &keys).await
    }

    fn told(&self, set: &DaemonSet, is_warning: bool, reason: &'static str, message: String) {
        let about = MAKER.about(&set.metadata);
        self.events.tell(Happened { about, component: MAKER.component, is_warning, reason, message });
    }
}

fn shown(status: &DaemonSetStatus) -> Tree {
    json!({
        "currentNumberScheduled": status.current_number_scheduled,
        "numberMisscheduled": status.number_misscheduled,
        "desiredNumberScheduled": status.desired_number_scheduled,
        "numberReady": status.number_ready,
        "observedGeneration": status.observed_generation,
        "updatedNumberScheduled": or_null(status.updated_number_scheduled),
        "numberAvailable": or_null(status.number_available),
        "numberUnavailable": or_null(status.number_unavailable),
        "collisionCount": status.collision_count,
    })
}
