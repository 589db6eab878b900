//! Deployments: one ReplicaSet for each version of the template, and the way from one to the next.

use super::{Config, Pace, Watched, due, or_null, owner, patch, patch_status, settle};
use api::Tree;
use api::object::edit;
use api::resource::{DEPLOYMENTS, REPLICA_SETS};
use api::time::{self, SignedDuration, Timestamp};
use api::view::{Condition, Deployment, DeploymentStatus, ReplicaSet};
use client::{About, DeleteOptions, Error, Happened, Key, Propagation, Queue, Recorder, Target, WriteOptions};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

const COMPONENT: &str = "deployment-controller";
const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const HASH_CHARS: usize = 10;
const HASH_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// What to do for one Deployment.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    /// The ReplicaSet of the template, to be made with so many replicas.
    create: Option<i32>,
    /// New sizes.
    scale: Vec<(Key, i32)>,
    /// Sets of old versions that the history no longer holds.
    delete: Vec<Key>,
    /// The revision that the set of the template is to have.
    revision: i64,
}

/// A version of the Deployment.
#[derive(Debug, Clone, Copy)]
struct Version<'a> {
    key: &'a Key,
    set: &'a ReplicaSet,
}

impl Version<'_> {
    fn wanted(&self) -> i32 {
        self.set.spec.replicas.unwrap_or(1)
    }

    fn revision(&self) -> i64 {
        self.set.metadata.annotations.get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// Pure: the next step. `versions` are the Deployment's own sets, `new` the one of its template.
fn plan(deployment: &Deployment, versions: &[Version<'_>], new: Option<Version<'_>>) -> Plan {
    let old: Vec<Version<'_>> =
        versions.iter().filter(|version| new.is_none_or(|new| new.key != version.key)).copied().collect();
    let newest_old = old.iter().map(Version::revision).max().unwrap_or(0);
    let revision = new.map_or(0, |new| new.revision());
    let mut plan = Plan { revision: if revision > newest_old { revision } else { newest_old + 1 }, ..Plan::default() };
    if deployment.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let total = deployment.spec.replicas.unwrap_or(1);
    if deployment.spec.paused {
        // Only a change of size goes on while it is paused.
        if let [one] = versions.iter().filter(|version| version.wanted() > 0).collect::<Vec<_>>().as_slice() {
            resize(&mut plan, **one, total);
        }
        plan.revision = revision.max(1);
        return plan;
    }
    if deployment.spec.strategy.kind == "Recreate" {
        recreate(&mut plan, total, &old, new);
    } else {
        roll(&mut plan, deployment, total, &old, new);
    }
    history(&mut plan, deployment, &old);
    plan
}

fn resize(plan: &mut Plan, version: Version<'_>, replicas: i32) {
    if version.wanted() != replicas {
        plan.scale.push((version.key.clone(), replicas));
    }
}

fn recreate(plan: &mut Plan, total: i32, old: &[Version<'_>], new: Option<Version<'_>>) {
    for version in old {
        resize(plan, *version, 0);
    }
    let empty = old.iter().all(|version| version.set.status.replicas == 0);
    match new {
        None => plan.create = Some(if empty { total } else { 0 }),
        Some(new) if empty => resize(plan, new, total),
        Some(_) => {}
    }
}

/// Surge and unavailability, as numbers; never both 0.
fn bounds(deployment: &Deployment, total: i32) -> (i32, i32) {
    let rolling = deployment.spec.strategy.rolling_update.clone().unwrap_or_default();
    let surge = amount(rolling.max_surge.as_ref(), total, true);
    let unavailable = amount(rolling.max_unavailable.as_ref(), total, false).min(total);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// A number, or a percentage of the total; a quarter without either.
fn amount(value: Option<&Tree>, total: i32, rounds_up: bool) -> i32 {
    let percent = match value {
        None | Some(Tree::Null) => 25,
        Some(Tree::String(text)) => text.trim_end_matches('%').parse().unwrap_or(25),
        Some(number) => return number.as_i64().and_then(|number| i32::try_from(number).ok()).unwrap_or(0),
    };
    let hundredths = total.saturating_mul(percent);
    if rounds_up { (hundredths + 99) / 100 } else { hundredths / 100 }
}

fn roll(plan: &mut Plan, deployment: &Deployment, total: i32, old: &[Version<'_>], new: Option<Version<'_>>) {
    let (surge, unavailable) = bounds(deployment, total);
    let old_wanted: i32 = old.iter().map(Version::wanted).sum();
    let now = new.map_or(0, |new| new.wanted());
    let room = (total + surge - old_wanted - now).max(0);
    let next = if now > total { total } else { now + room.min(total - now) };
    match new {
        None => plan.create = Some(next),
        Some(new) => resize(plan, new, next),
    }
    let Some(new) = new else { return };
    let least = total - unavailable;
    let missing_new = (new.wanted() - new.set.status.available_replicas).max(0);
    let mut budget = old_wanted + new.wanted() - least - missing_new;
    let mut sizes: Vec<(Version<'_>, i32)> = old.iter().map(|version| (*version, version.wanted())).collect();
    sizes.sort_by_key(|(version, _)| version.set.metadata.creation_timestamp);
    // Pods that answer nobody go first, whatever the budget for the others.
    for (version, size) in &mut sizes {
        let broken = (*size - version.set.status.available_replicas).clamp(0, budget.max(0));
        *size -= broken;
        budget -= broken;
    }
    let available: i32 = old.iter().map(|version| version.set.status.available_replicas).sum::<i32>()
        + new.set.status.available_replicas;
    let mut spare = (available - least).max(0).min(budget.max(0));
    for (_, size) in &mut sizes {
        let cut = (*size).min(spare);
        *size -= cut;
        spare -= cut;
    }
    for (version, size) in sizes {
        resize(plan, version, size);
    }
}

fn history(plan: &mut Plan, deployment: &Deployment, old: &[Version<'_>]) {
    let keep = usize::try_from(deployment.spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
    let is_idle = |version: &&Version<'_>| {
        version.wanted() == 0 && version.set.status.replicas == 0 && version.set.metadata.deletion_timestamp.is_none()
    };
    let mut idle: Vec<&Version<'_>> = old.iter().filter(is_idle).collect();
    idle.sort_by_key(|version| version.revision());
    let excess = idle.len().saturating_sub(keep);
    plan.delete.extend(idle.into_iter().take(excess).map(|version| version.key.clone()));
}

/// The status that the sets add up to.
fn status(
    deployment: &Deployment,
    versions: &[Version<'_>],
    new: Option<Version<'_>>,
    now: Timestamp,
) -> DeploymentStatus {
    let sum = |of: fn(&ReplicaSet) -> i32| versions.iter().map(|version| of(version.set)).sum::<i32>();
    let replicas = sum(|set| set.status.replicas);
    let available = sum(|set| set.status.available_replicas);
    let total = deployment.spec.replicas.unwrap_or(1);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas,
        updated_replicas: new.map_or(0, |new| new.set.status.replicas),
        ready_replicas: sum(|set| set.status.ready_replicas),
        available_replicas: available,
        unavailable_replicas: (total.max(replicas) - available).max(0),
        ..deployment.status.clone()
    };
    let (_, unavailable) = bounds(deployment, total);
    let (is, reason, message) = if available >= total - unavailable {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set_condition(&mut status.conditions, "Available", is, reason, message.to_owned(), now);
    progress(deployment, new, &mut status, now);
    status
}

fn progress(deployment: &Deployment, new: Option<Version<'_>>, status: &mut DeploymentStatus, now: Timestamp) {
    let total = deployment.spec.replicas.unwrap_or(1);
    let name = new.map_or(&*deployment.metadata.name, |new| &*new.key.name);
    let done = status.updated_replicas == total && status.replicas == total && status.available_replicas == total;
    let before = &deployment.status;
    let moved = status.updated_replicas != before.updated_replicas
        || status.available_replicas > before.available_replicas
        || status.ready_replicas > before.ready_replicas
        || status.replicas != before.replicas;
    let known = before.conditions.iter().find(|condition| condition.kind == "Progressing");
    let deadline = SignedDuration::from_secs(deployment.spec.progress_deadline_seconds.unwrap_or(600).into());
    let late = known.and_then(|known| known.last_update_time).is_some_and(|at| now.duration_since(at) > deadline);
    let (is, reason, message) = if done {
        let message = format!("ReplicaSet \"{name}\" has successfully progressed.");
        ("True", "NewReplicaSetAvailable", message)
    } else if deployment.spec.paused {
        ("Unknown", "DeploymentPaused", "Deployment is paused".to_owned())
    } else if known.is_none() || new.is_none() {
        ("True", "NewReplicaSetCreated", format!("Created new replica set \"{name}\""))
    } else if moved
        || known.is_some_and(|known| known.reason == "NewReplicaSetAvailable" || known.reason == "DeploymentPaused")
    {
        ("True", "ReplicaSetUpdated", format!("ReplicaSet \"{name}\" is progressing."))
    } else if late {
        ("False", "ProgressDeadlineExceeded", format!("ReplicaSet \"{name}\" has timed out progressing."))
    } else {
        return;
    };
    set_condition(&mut status.conditions, "Progressing", is, reason, message, now);
    if moved
        && !done
        && let Some(condition) = status.conditions.iter_mut().find(|condition| condition.kind == "Progressing")
    {
        condition.last_update_time = Some(now);
    }
}

fn set_condition(all: &mut Vec<Condition>, kind: &str, is: &str, reason: &str, message: String, now: Timestamp) {
    let known = all.iter_mut().find(|condition| condition.kind == kind);
    match known {
        Some(known) if known.status == is && known.reason == reason && known.message == message => {}
        Some(known) => {
            if known.status != is {
                known.last_transition_time = Some(now);
            }
            known.last_update_time = Some(now);
            is.clone_into(&mut known.status);
            reason.clone_into(&mut known.reason);
            known.message = message;
        }
        None => all.push(Condition {
            kind: kind.to_owned(),
            status: is.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: Some(now),
            last_update_time: Some(now),
            last_heartbeat_time: None,
        }),
    }
}

fn conditions(all: &[Condition]) -> Tree {
    let text = |at: Option<Timestamp>| at.map(time::seconds);
    let one = |condition: &Condition| {
        json!({
            "type": condition.kind, "status": condition.status, "lastUpdateTime": text(condition.last_update_time),
            "lastTransitionTime": text(condition.last_transition_time), "reason": condition.reason,
            "message": condition.message,
        })
    };
    all.iter().map(one).collect()
}

/// The name part that a template's content gives, without vowels.
fn hash(template: &Tree, collisions: i32) -> String {
    let digest = Sha256::digest(format!("{template}{collisions}"));
    digest
        .iter()
        .take(HASH_CHARS)
        .map(|byte| char::from(HASH_ALPHABET[usize::from(*byte) % HASH_ALPHABET.len()]))
        .collect()
}

/// A set's template, without the label that tells the sets apart.
fn unhashed(template: &Tree) -> Tree {
    let mut template = template.clone();
    edit::remove(&mut template, &["metadata", "labels", HASH]);
    template
}

struct Controller {
    config: Config,
    deployments: Watched<Deployment>,
    sets: Watched<ReplicaSet>,
    events: Recorder,
}

pub(super) async fn run(config: Config, events: Recorder) {
    let mut controller = Controller {
        deployments: Watched::new(&config.cluster, &DEPLOYMENTS, |object| object.read().ok()),
        sets: Watched::new(&config.cluster, &REPLICA_SETS, |object| object.read().ok()),
        events,
        config,
    };
    let mut queue: Queue<Key> = Queue::new();
    let mut pace = Pace::default();
    loop {
        tokio::select! {
            changes = controller.deployments.changed() => changes.into_iter().for_each(|change| queue.add(change.key)),
            changes = controller.sets.changed() => {
                for change in changes {
                    for set in [&change.old, &change.new].into_iter().flatten() {
                        if let Some(owner) = set.metadata.controller().filter(|owner| &*owner.kind == "Deployment") {
                            pace.add(&mut queue, Key::new(&change.key.namespace, &owner.name));
                        }
                    }
                }
            }
            () = due(&queue) => {}
        }
        if !controller.deployments.is_synced || !controller.sets.is_synced {
            continue;
        }
        while let Some(key) = queue.take(Instant::now()) {
            let outcome = controller.sync(&key, &mut queue).await;
            settle(&mut queue, &key, "deployment", outcome);
        }
    }
}

impl Controller {
    async fn sync(&mut self, key: &Key, queue: &mut Queue<Key>) -> Result<(), Error> {
        let Some(deployment) = self.deployments.cache.value(key).cloned() else { return Ok(()) };
        let uid = deployment.metadata.uid.clone();
        let sets: Vec<(Key, std::sync::Arc<ReplicaSet>)> = self
            .sets
            .cache
            .namespace(&key.namespace)
            .filter(|(_, entry)| entry.value.metadata.controller().is_some_and(|owner| *owner.uid == *uid))
            .map(|(key, entry)| (key.clone(), entry.value.clone()))
            .collect();
        let versions: Vec<Version<'_>> = sets.iter().map(|(key, set)| Version { key, set }).collect();
        let template = &deployment.spec.template;
        let same = versions.iter().filter(|version| unhashed(&version.set.spec.template) == *template);
        let new = same.min_by_key(|version| version.set.metadata.creation_timestamp).copied();
        let plan = plan(&deployment, &versions, new);
        let changed = plan.create.is_some() || !plan.scale.is_empty();
        if let Some(replicas) = plan.create {
            self.create(key, &deployment, replicas, plan.revision).await?;
        }
        for (set, replicas) in &plan.scale {
            let before = versions.iter().find(|version| version.key == set).map_or(0, Version::wanted);
            let written = patch(&self.config.cluster, &REPLICA_SETS, set, self.sized(&deployment, *replicas)).await?;
            self.sets.wrote(&written);
            self.told_scaling(&deployment, &set.name, before, *replicas);
        }
        for set in &plan.delete {
            let target =
                Target { resource: &REPLICA_SETS, namespace: set.namespace(), name: &set.name, subresource: None };
            let options = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
            self.config.cluster.delete(target, options).await?;
        }
        self.tell(key, &deployment, &versions, new, plan.revision).await?;
        if changed {
            queue.add_at(key.clone(), Instant::now());
        }
        Ok(())
    }

    fn told_scaling(&self, deployment: &Deployment, set: &str, from: i32, to: i32) {
        let way = if from < to { "up" } else { "down" };
        let message = format!("Scaled {way} replica set {set} from {from} to {to}");
        let about = About::of("apps/v1", "Deployment", &deployment.metadata);
        self.events.tell(Happened::normal(COMPONENT, about, "ScalingReplicaSet", message));
    }

    fn sized(&self, deployment: &Deployment, replicas: i32) -> Tree {
        let total = deployment.spec.replicas.unwrap_or(1);
        let (surge, _) = bounds(deployment, total);
        let annotations = json!({ DESIRED: total.to_string(), MAX: (total + surge).to_string() });
        json!({ "metadata": { "annotations": annotations }, "spec": { "replicas": replicas } })
    }

    async fn create(&mut self, key: &Key, deployment: &Deployment, replicas: i32, revision: i64) -> Result<(), Error> {
        let meta = &deployment.metadata;
        let collisions = deployment.status.collision_count.unwrap_or(0);
        let hash = hash(&deployment.spec.template, collisions);
        let mut template = deployment.spec.template.clone();
        edit::set(&mut template, &["metadata", "labels", HASH], hash.as_str());
        let mut set = self.sized(deployment, replicas);
        let labels = edit::at(&template, &["metadata", "labels"]).cloned().unwrap_or_default();
        for (name, value) in meta.annotations.iter().filter(|(name, _)| *name != LAST_APPLIED && *name != REVISION) {
            edit::set(&mut set, &["metadata", "annotations", name], value.as_str());
        }
        edit::set(&mut set, &["metadata", "annotations", REVISION], revision.to_string());
        edit::set(&mut set, &["metadata", "name"], format!("{}-{hash}", meta.name));
        edit::set(&mut set, &["metadata", "namespace"], &*key.namespace);
        edit::set(&mut set, &["metadata", "labels"], labels);
        let owner = owner("apps/v1", "Deployment", &meta.name, &meta.uid);
        edit::set(&mut set, &["metadata", "ownerReferences"], json!([owner]));
        edit::set(&mut set, &["spec", "minReadySeconds"], deployment.spec.min_ready_seconds);
        let object = self.deployments.cache.get(key).map(|entry| entry.object.tree()).unwrap_or_default();
        let mut selector = edit::at(&object, &["spec", "selector"]).cloned().unwrap_or_default();
        edit::set(&mut selector, &["matchLabels", HASH], hash.as_str());
        edit::set(&mut set, &["spec", "selector"], selector);
        edit::set(&mut set, &["spec", "template"], template);
        let target = Target { resource: &REPLICA_SETS, namespace: key.namespace(), name: "", subresource: None };
        match self.config.cluster.create(target, set, WriteOptions::by(COMPONENT)).await {
            Ok(made) => {
                self.sets.wrote(&made);
                if replicas > 0 {
                    self.told_scaling(deployment, made.name(), 0, replicas);
                }
                Ok(())
            }
            Err(error) if error.is_already_exists() => {
                // Another template has the same hash, or an own write is not seen yet: the next look tells.
                let tree = json!({ "collisionCount": collisions + 1 });
                patch_status(&self.config.cluster, &DEPLOYMENTS, key, tree).await.map(|_| ())
            }
            Err(error) => Err(error),
        }
    }

    /// Writes revisions and status, where they are not as they should be.
    async fn tell(
        &mut self,
        key: &Key,
        deployment: &Deployment,
        versions: &[Version<'_>],
        new: Option<Version<'_>>,
        revision: i64,
    ) -> Result<(), Error> {
        if let Some(new) = new {
            let annotation = json!({ "metadata": { "annotations": { REVISION: revision.to_string() } } });
            if new.revision() != revision {
                let written = patch(&self.config.cluster, &REPLICA_SETS, new.key, annotation.clone()).await?;
                self.sets.wrote(&written);
            }
            if deployment.metadata.annotations.get(REVISION) != Some(&revision.to_string()) {
                let written = patch(&self.config.cluster, &DEPLOYMENTS, key, annotation).await?;
                self.deployments.wrote(&written);
            }
        }
        let status = status(deployment, versions, new, self.config.clock.now());
        if status == deployment.status {
            return Ok(());
        }
        let tree = json!({
            "observedGeneration": status.observed_generation,
            "replicas": or_null(status.replicas),
            "updatedReplicas": or_null(status.updated_replicas),
            "readyReplicas": or_null(status.ready_replicas),
            "availableReplicas": or_null(status.available_replicas),
            "unavailableReplicas": or_null(status.unavailable_replicas),
            "conditions": conditions(&status.conditions),
        });
        let written = patch_status(&self.config.cluster, &DEPLOYMENTS, key, tree).await?;
        self.deployments.wrote(&written);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(replicas: i32) -> Deployment {
        let json = json!({"spec": {"replicas": replicas, "strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}});
        serde_json::from_value(json).expect("a deployment")
    }

    fn set(wanted: i32, available: i32, revision: i64) -> ReplicaSet {
        let json = json!({"metadata": {"annotations": {REVISION: revision.to_string()}}, "spec": {"replicas": wanted},
            "status": {"replicas": wanted, "availableReplicas": available}});
        serde_json::from_value(json).expect("a set")
    }

    #[test]
    fn the_first_version_is_made_whole() {
        let plan = plan(&deployment(3), &[], None);
        assert_eq!((plan.create, plan.revision), (Some(3), 1));
    }

    #[test]
    fn a_new_version_surges_by_one_and_old_pods_go_as_new_ones_answer() {
        let (old_key, new_key) = (Key::new("a", "old"), Key::new("a", "new"));
        let old = set(3, 3, 1);
        let first = plan(&deployment(3), &[Version { key: &old_key, set: &old }], None);
        assert_eq!((first.create, first.revision), (Some(1), 2));
        let new = set(1, 0, 2);
        let versions = [Version { key: &old_key, set: &old }, Version { key: &new_key, set: &new }];
        assert!(plan(&deployment(3), &versions, Some(versions[1])).scale.is_empty(), "nothing until it is available");
        let new = set(1, 1, 2);
        let versions = [Version { key: &old_key, set: &old }, Version { key: &new_key, set: &new }];
        assert_eq!(plan(&deployment(3), &versions, Some(versions[1])).scale, [(old_key.clone(), 2)]);
    }

    #[test]
    fn going_back_gives_the_old_set_a_new_revision() {
        let (one, two) = (Key::new("a", "one"), Key::new("a", "two"));
        let (first, second) = (set(0, 0, 1), set(3, 3, 2));
        let versions = [Version { key: &one, set: &first }, Version { key: &two, set: &second }];
        assert_eq!(plan(&deployment(3), &versions, Some(versions[0])).revision, 3);
    }

    #[test]
    fn percentages_round_in_favour_of_going_on() {
        assert_eq!(amount(Some(&json!("25%")), 10, true), 3);
        assert_eq!(amount(Some(&json!("25%")), 10, false), 2);
        assert_eq!(amount(None, 3, true), 1);
        assert_eq!(amount(Some(&json!(2)), 3, true), 2);
    }
}
