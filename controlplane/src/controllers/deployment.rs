//! Deployments: one ReplicaSet for each version of the template, and the way from one to the next.

mod plan;
mod status;

use super::claim::{Claim, Maker, claim};
use super::{Config, MANAGER, Pace, Watched, due, hash, or_null, patch, patch_status, replica_set, settle};
use api::object::edit;
use api::resource::{DEPLOYMENTS, PODS, REPLICA_SETS};
use api::selector::Labels;
use api::view::{Deployment, DeploymentStatus, Meta, ReplicaSet};
use api::{Object, Tree};
use client::{DeleteOptions, Error, Happened, Key, Patch, Propagation, Queue, Recorder, Target, WriteOptions};
use plan::{DESIRED, MAX, Plan, REVISION, Version, bounds, plan, total};
use serde::Deserialize;
use serde_json::json;
use status::NewSet;
use std::sync::Arc;
use tokio::time::Instant;

static MAKER: Maker = Maker {
    resource: DEPLOYMENTS,
    api_version: "apps/v1",
    kind: "Deployment",
    component: "deployment-controller",
    finalizer: None,
};
const HASH: &str = "pod-template-hash";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The revisions that a set had before, by comma.
const REVISIONS: &str = "deployment.kubernetes.io/revision-history";
/// Annotations of a Deployment that are not its sets'.
const OWN_ANNOTATIONS: &[&str] =
    &[LAST_APPLIED, REVISION, REVISIONS, DESIRED, MAX, "deprecated.deployment.rollback.to"];
/// A set's template, without the label that tells the sets apart.
fn unhashed(template: &Tree) -> Tree {
    let mut template = template.clone();
    edit::remove(&mut template, &["metadata", "labels", HASH]);
    template
}

/// Pure: the annotations that the template's set lacks.
fn annotations(deployment: &Meta, set: &Meta, revision: i64) -> Vec<(String, String)> {
    let own = deployment.annotations.iter().filter(|(name, _)| !OWN_ANNOTATIONS.contains(&name.as_str()));
    let mut all: Vec<(String, String)> = own
        .filter(|(name, value)| set.annotations.get(*name) != Some(value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let had = set.annotations.get(REVISION);
    if had.and_then(|had| had.parse::<i64>().ok()).is_none_or(|had| had < revision) {
        all.push((REVISION.to_owned(), revision.to_string()));
        if let Some(had) = had {
            let earlier = set.annotations.get(REVISIONS).map_or_else(String::new, |earlier| format!("{earlier},"));
            all.push((REVISIONS.to_owned(), format!("{earlier}{had}")));
        }
    }
    all
}

/// A pod that may still run, and the set that it is of.
struct Running {
    set: Box<str>,
}

#[derive(Deserialize)]
struct Phase {
    status: PhaseStatus,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PhaseStatus {
    phase: String,
}

fn running(object: &Object) -> Option<Running> {
    let owner = object.head().controller().filter(|owner| replica_set::MAKER.is(owner))?;
    let phase: Phase = object.read().ok()?;
    (!matches!(phase.status.phase.as_str(), "Succeeded" | "Failed")).then(|| Running { set: owner.uid.clone() })
}

struct Controller {
    config: Config,
    deployments: Watched<Deployment>,
    sets: Watched<ReplicaSet>,
    pods: Watched<Running>,
    events: Recorder,
}

type Sets = Vec<(Key, Arc<ReplicaSet>)>;

pub(super) async fn run(config: Config, events: Recorder) {
    let mut controller = Controller {
        deployments: Watched::new(&config.cluster, &DEPLOYMENTS, |object| object.view().ok()),
        sets: Watched::new(&config.cluster, &REPLICA_SETS, |object| object.view().ok()),
        pods: Watched::new(&config.cluster, &PODS, |object| running(object).map(Arc::new)),
        events,
        config,
    };
    let mut queue: Queue<Key> = Queue::new();
    let mut pace = Pace::default();
    loop {
        tokio::select! {
            changes = controller.deployments.changed() => changes.into_iter().for_each(|change| queue.add(change.key)),
            changes = controller.sets.changed() => {
                let keys: Vec<Key> = changes.iter().flat_map(|change| controller.touched(change)).collect();
                keys.into_iter().for_each(|key| pace.add(&mut queue, key));
            }
            changes = controller.pods.changed() => {
                for ended in changes.iter().filter(|change| change.new.is_none()) {
                    controller.recreated(ended).into_iter().for_each(|key| pace.add(&mut queue, key));
                }
            }
            () = due(&queue) => {}
        }
        if !(controller.deployments.is_synced && controller.sets.is_synced && controller.pods.is_synced) {
            continue;
        }
        while let Some(key) = queue.take(Instant::now()) {
            let outcome = controller.sync(&key, &mut queue).await;
            settle(&mut queue, &key, "deployment", outcome);
        }
    }
}

impl Controller {
    /// The Deployments that a changed set matters to.
    fn touched(&self, change: &client::Change<ReplicaSet>) -> Vec<Key> {
        let namespace = &change.key.namespace;
        let versions = [&change.old, &change.new].into_iter().flatten();
        let owners = versions.filter_map(|set| set.metadata.controller()).filter(|owner| MAKER.is(owner));
        let mut keys: Vec<Key> = owners.map(|owner| Key::new(namespace, &owner.name)).collect();
        keys.dedup();
        if let Some(free) = change.new.as_ref().filter(|set| set.metadata.controller().is_none()) {
            let label = |key: &str| free.metadata.labels.get(key).map(String::as_str);
            let all = self.deployments.cache.namespace(namespace);
            let selecting = all.filter(|(_, entry)| Labels::from_view(&entry.value.spec.selector).matches(label));
            keys.extend(selecting.map(|(key, _)| key.clone()));
        }
        keys
    }

    /// The Deployment that waited for the end of a pod before it makes new ones.
    fn recreated(&self, ended: &client::Change<Running>) -> Option<Key> {
        let uid = &ended.old.as_ref()?.set;
        let mut sets = self.sets.cache.namespace(&ended.key.namespace);
        let (_, set) = sets.find(|(_, entry)| *entry.value.metadata.uid == **uid)?;
        let key = Key::new(&ended.key.namespace, &set.value.metadata.controller()?.name);
        self.deployments.cache.value(&key).filter(|deployment| plan::is_recreated(deployment))?;
        Some(key)
    }

    async fn sync(&mut self, key: &Key, queue: &mut Queue<Key>) -> Result<(), Error> {
        let Some(deployment) = self.deployments.cache.value(key).cloned() else { return Ok(()) };
        let selector = Labels::from_view(&deployment.spec.selector);
        if selector.is_empty() {
            let message = "This deployment is selecting all pods. A non-empty selector is required.".to_owned();
            self.told(&deployment, true, "SelectingAll", message);
            return Ok(());
        }
        let sets = self.claimed(&deployment.metadata, &selector, key).await?;
        let versions: Vec<Version<'_>> = sets.iter().map(|(key, set)| Version { key, set }).collect();
        let template = &deployment.spec.template;
        let same = versions.iter().filter(|version| unhashed(&version.set.spec.template) == *template);
        let new = same.min_by_key(|version| version.set.metadata.creation_timestamp).copied();
        let old_runs = plan::is_recreated(&deployment) && self.runs(key, &plan::older(&versions, new));
        let plan = plan(&deployment, &versions, new, old_runs);
        let made = self.perform(key, &deployment, &versions, new, &plan).await?;
        let now = self.config.clock.now();
        // A set that its controller has not looked at since says nothing about its pods: what is told of the
        // Deployment stays until it has, so that whoever sees its generation observed sees the counts for it.
        let is_behind = |version: &Version<'_>| {
            let set = self.sets.cache.value(version.key);
            set.is_some_and(|set| set.status.observed_generation < set.metadata.generation)
        };
        let is_unseen = matches!(made, NewSet::Created(_)) || versions.iter().any(is_behind);
        let mut status =
            if is_unseen { deployment.status.clone() } else { status::counted(&deployment, &versions, new, now) };
        status::pause(&deployment, &mut status, now);
        if plan.rolls {
            status::made(&deployment, &mut status, &made, new.map(|new| &*new.key.name), now);
            if !is_unseen {
                status::judge(&deployment, &mut status, &versions, new, now);
            }
        }
        self.tell(key, &deployment, &status).await?;
        if let Some(late) = status::late_in(&deployment, &status, now) {
            queue.add_at(key.clone(), Instant::now() + late.unsigned_abs());
        }
        match made {
            NewSet::Failed(why) => Err(Error::Unknown(why)),
            NewSet::Known | NewSet::Created(_) => Ok(()),
        }
    }

    /// The sets that are the Deployment's; free ones are adopted, strangers let go.
    async fn claimed(&mut self, owner: &Meta, selector: &Labels, key: &Key) -> Result<Sets, Error> {
        let all = self.sets.cache.namespace(&key.namespace).map(|(key, entry)| (key.clone(), entry.value.clone()));
        let all: Vec<_> = all.map(|(key, set)| (claim(owner, selector, &set.metadata), key, set)).collect();
        let mut mine = Vec::new();
        for (claim, key, set) in all {
            let target = (&key, set.metadata.uid.as_str());
            let cluster = &self.config.cluster;
            let written = match claim {
                Claim::Foreign => continue,
                Claim::Mine => {
                    mine.push((key, set));
                    continue;
                }
                Claim::Adopt => MAKER.adopt(cluster, owner, &REPLICA_SETS, target).await?,
                Claim::Release => Some(MAKER.release(cluster, owner, &REPLICA_SETS, target).await?),
            };
            if let Some(written) = written {
                self.sets.wrote(&written);
            }
            let is_mine = |set: &&Arc<ReplicaSet>| set.metadata.controller().is_some_and(|one| *one.uid == *owner.uid);
            mine.extend(self.sets.cache.value(&key).filter(is_mine).cloned().map(|set| (key, set)));
        }
        Ok(mine)
    }

    /// Whether pods of these versions have not ended.
    fn runs(&self, key: &Key, versions: &[Version<'_>]) -> bool {
        let is_of = |running: &Running| versions.iter().any(|version| *version.set.metadata.uid == *running.set);
        self.pods.cache.namespace(&key.namespace).any(|(_, entry)| is_of(&entry.value))
    }

    /// Does what was planned; what came of the set of the template.
    async fn perform(
        &mut self,
        key: &Key,
        deployment: &Deployment,
        versions: &[Version<'_>],
        new: Option<Version<'_>>,
        plan: &Plan,
    ) -> Result<NewSet, Error> {
        if let Some(new) = new {
            self.freshen(key, deployment, new, plan::revision(versions, Some(new))).await?;
        }
        let mut made = NewSet::Known;
        if let Some(replicas) = plan.create {
            made = self.create(key, deployment, replicas, plan::revision(versions, None)).await?;
        }
        for (set, replicas) in &plan.scale {
            let Some(before) = versions.iter().find(|version| version.key == set) else { continue };
            if before.wanted() == *replicas && before.annotation(DESIRED) == Some(total(deployment)) {
                continue;
            }
            let written = patch(&self.config.cluster, &REPLICA_SETS, set, sized(deployment, *replicas)).await?;
            self.sets.wrote(&written);
            self.scaled(deployment, &set.name, before.wanted(), *replicas);
        }
        for set in &plan.delete {
            let target = Target::namespaced(&REPLICA_SETS, &set.namespace, &set.name);
            let options = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
            match self.config.cluster.delete(target, options).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(made)
    }

    /// The set of the template says what the Deployment says, and both the revision.
    async fn freshen(
        &mut self,
        key: &Key,
        deployment: &Deployment,
        new: Version<'_>,
        revision: i64,
    ) -> Result<(), Error> {
        let mut tree = json!({});
        for (name, value) in annotations(&deployment.metadata, &new.set.metadata, revision) {
            edit::set(&mut tree, &["metadata", "annotations", &name], value);
        }
        if new.set.spec.min_ready_seconds != deployment.spec.min_ready_seconds {
            edit::set(&mut tree, &["spec", "minReadySeconds"], deployment.spec.min_ready_seconds);
        }
        if tree != json!({}) {
            let written = patch(&self.config.cluster, &REPLICA_SETS, new.key, tree).await?;
            self.sets.wrote(&written);
        }
        if deployment.metadata.annotations.get(REVISION) != Some(&revision.to_string()) {
            let annotation = json!({ "metadata": { "annotations": { REVISION: revision.to_string() } } });
            // As upstream does it: a new annotation counts as a new generation, but not by way of the status.
            let target =
                Target { subresource: Some("status"), ..Target::namespaced(&DEPLOYMENTS, &key.namespace, &key.name) };
            let by = WriteOptions::by(MANAGER);
            let written = self.config.cluster.patch(target, Patch::Merge(annotation), by).await?;
            self.deployments.wrote(&written);
        }
        Ok(())
    }

    async fn create(
        &mut self,
        key: &Key,
        deployment: &Deployment,
        replicas: i32,
        revision: i64,
    ) -> Result<NewSet, Error> {
        let collisions = deployment.status.collision_count.unwrap_or(0);
        let hash = hash::of_template(&deployment.spec.template, collisions);
        let object = self.deployments.cache.get(key).map(|entry| entry.object.tree()).unwrap_or_default();
        let selector = edit::at(&object, &["spec", "selector"]).cloned().unwrap_or_default();
        let set = set(deployment, selector, &hash, replicas, revision);
        let target = Target::namespaced(&REPLICA_SETS, &key.namespace, "");
        let name = format!("{}-{hash}", deployment.metadata.name);
        match self.config.cluster.create(target, set, WriteOptions::by(MANAGER)).await {
            Ok(made) => {
                self.sets.wrote(&made);
                if replicas > 0 {
                    self.scaled(deployment, made.name(), 0, replicas);
                }
                Ok(NewSet::Created(name))
            }
            Err(error) if error.is_already_exists() => {
                let target = Target::namespaced(&REPLICA_SETS, &key.namespace, &name);
                let live = self.config.cluster.get(target).await?;
                let is_own = live.head().controller().is_some_and(|one| *one.uid == *deployment.metadata.uid)
                    && live
                        .read::<ReplicaSet>()
                        .is_ok_and(|set| unhashed(&set.spec.template) == deployment.spec.template);
                if !is_own {
                    // Another template has this hash: the next look tries another one.
                    let tree = json!({ "collisionCount": collisions + 1 });
                    let written = patch_status(&self.config.cluster, &DEPLOYMENTS, key, tree).await?;
                    self.deployments.wrote(&written);
                }
                Err(error)
            }
            Err(error) if super::pods::is_terminating(&error) => Ok(NewSet::Known),
            Err(error @ Error::Rejected(_)) => {
                let why = format!("Failed to create new replica set \"{name}\": {error}");
                self.told(deployment, true, "ReplicaSetCreateError", why.clone());
                Ok(NewSet::Failed(why))
            }
            Err(error) => Err(error),
        }
    }

    fn scaled(&self, deployment: &Deployment, set: &str, from: i32, to: i32) {
        if from != to {
            let way = if from < to { "up" } else { "down" };
            let message = format!("Scaled {way} replica set {set} from {from} to {to}");
            self.told(deployment, false, "ScalingReplicaSet", message);
        }
    }

    fn told(&self, deployment: &Deployment, is_warning: bool, reason: &'static str, message: String) {
        let about = MAKER.about(&deployment.metadata);
        self.events.tell(Happened { about, component: MAKER.component, is_warning, reason, message });
    }

    async fn tell(&mut self, key: &Key, deployment: &Deployment, status: &DeploymentStatus) -> Result<(), Error> {
        if *status == deployment.status {
            return Ok(());
        }
        let tree = json!({
            "observedGeneration": if status.observed_generation == 0 { Tree::Null } else { status.observed_generation.into() },
            "replicas": or_null(status.replicas),
            "updatedReplicas": or_null(status.updated_replicas),
            "readyReplicas": or_null(status.ready_replicas),
            "availableReplicas": or_null(status.available_replicas),
            "unavailableReplicas": or_null(status.unavailable_replicas),
            "conditions": status::shown(&status.conditions),
        });
        let written = patch_status(&self.config.cluster, &DEPLOYMENTS, key, tree).await?;
        self.deployments.wrote(&written);
        Ok(())
    }
}

/// A set's size, and for which total it is.
fn sized(deployment: &Deployment, replicas: i32) -> Tree {
    let total = total(deployment);
    let (surge, _) = bounds(deployment);
    let annotations = json!({ DESIRED: total.to_string(), MAX: (total + surge).to_string() });
    json!({ "metadata": { "annotations": annotations }, "spec": { "replicas": replicas } })
}

/// The set of the Deployment's template.
fn set(deployment: &Deployment, mut selector: Tree, hash: &str, replicas: i32, revision: i64) -> Tree {
    let meta = &deployment.metadata;
    let mut template = deployment.spec.template.clone();
    edit::set(&mut template, &["metadata", "labels", HASH], hash);
    edit::set(&mut selector, &["matchLabels", HASH], hash);
    let mut set = sized(deployment, replicas);
    for (name, value) in annotations(meta, &Meta::default(), revision) {
        edit::set(&mut set, &["metadata", "annotations", &name], value);
    }
    let labels = edit::at(&template, &["metadata", "labels"]).cloned().unwrap_or_default();
    edit::set(&mut set, &["metadata", "name"], format!("{}-{hash}", meta.name));
    edit::set(&mut set, &["metadata", "namespace"], meta.namespace.as_str());
    edit::set(&mut set, &["metadata", "labels"], labels);
    edit::set(&mut set, &["metadata", "ownerReferences"], json!([MAKER.reference(meta)]));
    edit::set(&mut set, &["spec", "minReadySeconds"], deployment.spec.min_ready_seconds);
    edit::set(&mut set, &["spec", "selector"], selector);
    edit::set(&mut set, &["spec", "template"], template);
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_has_one_name_and_another_after_a_collision() {
        let template = json!({"spec": {"containers": [{"name": "a", "image": "a:v1"}]}});
        let name = hash::of_template(&template, 0);
        assert_eq!(name, hash::of_template(&template, 0));
        assert_ne!(name, hash::of_template(&template, 1));
        let labelled = json!({"metadata": {"labels": {HASH: "x"}}, "spec": {}});
        assert_eq!(unhashed(&labelled), json!({"metadata": {"labels": {}}, "spec": {}}));
    }

    #[test]
    fn the_set_is_told_what_the_deployment_is_told_but_for_what_is_its_own() {
        let meta = |annotations: Tree| {
            serde_json::from_value::<Meta>(json!({ "annotations": annotations })).expect("metadata")
        };
        let deployment = meta(json!({LAST_APPLIED: "x", REVISION: "7", "kubernetes.io/change-cause": "faster"}));
        let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let cause = text("kubernetes.io/change-cause", "faster");
        assert_eq!(annotations(&deployment, &meta(json!({})), 1), [cause.clone(), text(REVISION, "1")]);
        let known = meta(json!({REVISION: "1", "kubernetes.io/change-cause": "faster"}));
        assert!(annotations(&deployment, &known, 1).is_empty());
        let back = annotations(&deployment, &known, 3);
        assert_eq!(back, [text(REVISION, "3"), text(REVISIONS, "1")], "it remembers what it was");
    }
}
