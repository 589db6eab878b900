//! StatefulSets: pods with a place, a name and claims of their own, made and replaced in order.

mod claims;
mod plan;
mod pod;

use super::claim::Maker;
use super::history::{self, HASH, History, Wanted};
use super::pods::{self, Found, Pods, is_terminating};
use super::{Config, Watched, due, hash, or_null, patch_status, settle};
use api::resource::{PODS, STATEFUL_SETS};
use api::selector::Labels;
use api::view::{StatefulSet, StatefulSetStatus};
use api::{Tree, object::edit};
use claims::Claims;
use client::{Change, Error, Happened, Key, Queue, Recorder};
use plan::{Step, Versions};
use pod::Version;
use serde_json::json;
use tokio::time::Instant;

static MAKER: Maker = Maker {
    resource: STATEFUL_SETS,
    api_version: "apps/v1",
    kind: "StatefulSet",
    component: "statefulset-controller",
    finalizer: None,
};
/// The label of a revision's own hash.
const REVISION_HASH: &str = "controller.kubernetes.io/hash";

struct Controller {
    config: Config,
    sets: Watched<StatefulSet>,
    pods: Pods,
    claims: Claims,
    history: History,
    events: Recorder,
}

pub(super) async fn run(config: Config, events: Recorder) {
    let cluster = &config.cluster;
    let mut controller = Controller {
        sets: Watched::new(cluster, &STATEFUL_SETS, |object| object.view().ok()),
        pods: Pods::new(&MAKER, cluster, &events, |object| pods::parse(object, &MAKER)),
        claims: Claims::new(cluster),
        history: History::new(&MAKER, cluster),
        events,
        config,
    };
    let mut queue: Queue<Key> = Queue::new();
    loop {
        tokio::select! {
            changes = controller.sets.changed() => changes.into_iter().for_each(|change| queue.add(change.key)),
            changes = controller.pods.changed() => {
                for change in changes {
                    let owners = super::owners(&change, |pod| pod.metadata.controller(), &MAKER);
                    owners.into_iter().for_each(|key| queue.add(key));
                    controller.adopting(&change).into_iter().for_each(|key| queue.add(key));
                }
            }
            changes = controller.history.changed() => {
                for change in changes {
                    let owners = super::owners(&change, |revision| revision.metadata.controller(), &MAKER);
                    owners.into_iter().for_each(|key| queue.add(key));
                }
            }
            () = controller.claims.changed() => {}
            () = due(&queue) => {}
        }
        let is_synced = controller.sets.is_synced && controller.pods.is_synced() && controller.claims.is_synced();
        if !(is_synced && controller.history.is_synced()) {
            continue;
        }
        while let Some(key) = queue.take(Instant::now()) {
            let outcome = controller.sync(&key, &mut queue).await;
            settle(&mut queue, &key, "statefulset", outcome);
        }
    }
}

impl Controller {
    /// The sets that a free pod may belong to.
    fn adopting(&self, change: &Change<api::view::Pod>) -> Vec<Key> {
        let Some(pod) = change.new.as_ref().filter(|pod| pod.metadata.controller().is_none()) else {
            return Vec::new();
        };
        let label = |key: &str| pod.metadata.labels.get(key).map(String::as_str);
        let all = self.sets.cache.namespace(&change.key.namespace);
        let selecting = all.filter(|(_, entry)| Labels::from_view(&entry.value.spec.selector).matches(label));
        selecting.map(|(key, _)| key.clone()).collect()
    }

    async fn sync(&mut self, key: &Key, queue: &mut Queue<Key>) -> Result<(), Error> {
        let Some(set) = self.sets.cache.value(key).cloned() else { return Ok(()) };
        let selector = Labels::from_view(&set.spec.selector);
        if selector.is_empty() {
            return Ok(());
        }
        let is_member =
            |pod: &api::view::Pod| !pod.is_finished() && pod::ordinal(&set.metadata, &pod.metadata.name).is_some();
        let pods = self.pods.claimed_if(&set.metadata, &selector, is_member).await?;
        let mut revisions = self.history.claimed(&set.metadata, &selector).await?;
        let mut collisions = set.status.collision_count.unwrap_or(0);
        let wanted = Wanted {
            data: history::data(&set.spec.template),
            hash: hash::of_revision,
            labels: history::labels(&set.spec.template),
            hash_label: REVISION_HASH,
        };
        let update = self.history.newest(&set.metadata, &mut revisions, &wanted, &mut collisions).await?;
        let named = revisions.iter().find(|(key, _)| *key.name == *set.status.current_revision);
        let current = named.cloned().unwrap_or_else(|| update.clone());
        let versions = Versions {
            current: Version { name: &current.0.name, template: history::template(&current.1.data) },
            update: Version { name: &update.0.name, template: history::template(&update.1.data) },
        };
        let now = self.config.clock.now();
        let steps = plan::plan(&set, &pods, &versions, now);
        let done = self.perform(&set, steps).await;
        let pods: Vec<Found> = self.pods.of(&set.metadata.uid);
        self.claims.retain(&set, &pods).await?;
        let names = (&*current.0.name, &*update.0.name);
        let status = plan::status(&set, &pods, names, collisions, now);
        if status != set.status {
            let written = patch_status(&self.config.cluster, &STATEFUL_SETS, key, shown(&status)).await?;
            self.sets.wrote(&written);
        }
        if let Some(again) = super::available_in(set.spec.min_ready_seconds, &pods, now) {
            queue.add_at(key.clone(), Instant::now() + again.unsigned_abs());
        }
        done?;
        let is_live = |(key, _): &history::Found| {
            let is_named = |name: &str| *key.name == *name;
            let in_use = pods.iter().any(|(_, pod)| pod.metadata.labels.get(HASH).is_some_and(|name| is_named(name)));
            in_use || is_named(&status.current_revision) || is_named(&status.update_revision)
        };
        self.history.truncate(&revisions, set.spec.revision_history_limit, is_live).await
    }

    async fn perform(&mut self, set: &StatefulSet, steps: Vec<Step>) -> Result<(), Error> {
        for step in steps {
            match step {
                Step::Make { ordinal, pod } => {
                    self.claim(set, ordinal).await?;
                    let name = pod::name(&set.metadata, ordinal);
                    let made = self.pods.make_one(&set.metadata, pod).await;
                    self.told(set, "SuccessfulCreate", "FailedCreate", &format!("create Pod {name}"), &made);
                    made?;
                }
                Step::Claims { ordinal } => self.claim(set, ordinal).await?,
                Step::Label { key, ordinal } => {
                    let mut tree = json!({});
                    for (label, value) in pod::identity(&set.metadata, ordinal) {
                        edit::set(&mut tree, &["metadata", "labels", label], value);
                    }
                    super::patch(&self.config.cluster, &PODS, &key, tree).await?;
                }
                Step::Delete(key) => {
                    let gone = self.pods.unmake_one(&key).await;
                    self.told(set, "SuccessfulDelete", "FailedDelete", &format!("delete Pod {}", key.name), &gone);
                    gone?;
                }
            }
        }
        Ok(())
    }

    /// The claims of a place, where they are missing.
    async fn claim(&mut self, set: &StatefulSet, ordinal: i32) -> Result<(), Error> {
        let pod = pod::name(&set.metadata, ordinal);
        for (name, claim) in pod::claims(set, ordinal) {
            if let Some(made) = self.claims.make(set, &name, claim).await {
                let what = format!("create Claim {name} Pod {pod}");
                self.told(set, "SuccessfulCreate", "FailedCreate", &what, &made);
                made?;
            }
        }
        Ok(())
    }

    /// An event in upstream's words, which differ for claims (`success`).
    fn told(
        &self,
        set: &StatefulSet,
        done: &'static str,
        failed: &'static str,
        what: &str,
        result: &Result<(), Error>,
    ) {
        let name = &set.metadata.name;
        let ends = if what.contains(" Claim ") { "success" } else { "successful" };
        let (is_warning, reason, message) = match result {
            Ok(()) => (false, done, format!("{what} in StatefulSet {name} {ends}")),
            Err(error) if is_terminating(error) => return,
            Err(error) => (true, failed, format!("{what} in StatefulSet {name} failed error: {error}")),
        };
        let about = MAKER.about(&set.metadata);
        self.events.tell(Happened { about, component: MAKER.component, is_warning, reason, message });
    }
}

fn shown(status: &StatefulSetStatus) -> Tree {
    json!({
        "observedGeneration": status.observed_generation,
        "replicas": status.replicas,
        "readyReplicas": or_null(status.ready_replicas),
        "currentReplicas": or_null(status.current_replicas),
        "updatedReplicas": or_null(status.updated_replicas),
        "availableReplicas": status.available_replicas,
        "currentRevision": status.current_revision,
        "updateRevision": status.update_revision,
        "collisionCount": status.collision_count,
    })
}
