//! Namespaces that are being deleted: everything in them goes, pods first, then they do (upstream 1.34).

use super::{Config, MANAGER, Watched, due, kinds, patch_status, settle};
use api::resource::{NAMESPACES, PODS};
use api::time::{self, Timestamp};
use api::view::{Condition, Meta};
use api::{Object, Tree};
use client::{DeleteOptions, Error, Key, ListOptions, Propagation, Queue, Target, WriteOptions};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How soon the rest is looked at again; what is left waits for finalizers or nodes.
const AGAIN: Duration = Duration::from_millis(500);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Namespace {
    metadata: Meta,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    conditions: Vec<Condition>,
}

/// What a pass over a namespace has left there.
#[derive(Debug, Default)]
struct Left {
    /// By `plural.group`.
    objects: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
    failed: Vec<String>,
}

impl Left {
    fn is_nothing(&self) -> bool {
        self.objects.is_empty() && self.failed.is_empty()
    }

    fn put(&mut self, resource: &api::Resource, object: &Object) {
        *self.objects.entry(format!("{}.{}", resource.plural, resource.group)).or_default() += 1;
        let meta: Option<Arc<api::view::Owned>> = object.view().ok();
        for finalizer in meta.iter().flat_map(|owned| &owned.metadata.finalizers) {
            *self.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
    }

    /// The namespace's conditions, in upstream's order and words; those that say the same stay as they are.
    fn conditions(&self, known: &[Condition], now: Timestamp) -> Vec<Condition> {
        let counted = |counts: &BTreeMap<String, usize>, what: &str| {
            let one = |(name, count): (&String, &usize)| format!("{name} {what} {count} resource instances");
            counts.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        let told = |kind: &str, wrong: Option<(&str, String)>, (reason, message): (&str, &str)| {
            let (status, reason, message) = match wrong {
                Some((reason, message)) => ("True", reason, message),
                None => ("False", reason, message.to_owned()),
            };
            let is_same = |one: &&Condition| {
                one.kind == kind && one.status == status && one.reason == reason && one.message == message
            };
            known.iter().find(is_same).cloned().unwrap_or_else(|| Condition {
                kind: kind.to_owned(),
                status: status.to_owned(),
                reason: reason.to_owned(),
                message: message.clone(),
                last_transition_time: Some(now),
                ..Condition::default()
            })
        };
        let failed = (!self.failed.is_empty()).then(|| {
            let (count, why) = (self.objects.values().sum::<usize>(), self.failed.join(", "));
            ("ContentDeletionFailed", format!("Failed to delete all resource types, {count} remaining: {why}"))
        });
        let objects = (!self.objects.is_empty()).then(|| {
            let objects = counted(&self.objects, "has");
            ("SomeResourcesRemain", format!("Some resources are remaining: {objects}"))
        });
        let finalizers = (!self.finalizers.is_empty()).then(|| {
            let finalizers = counted(&self.finalizers, "in");
            let message = format!("Some content in the namespace has finalizers remaining: {finalizers}");
            ("SomeFinalizersRemain", message)
        });
        vec![
            told(
                "NamespaceDeletionDiscoveryFailure",
                None,
                ("ResourcesDiscovered", "All resources successfully discovered"),
            ),
            told(
                "NamespaceDeletionGroupVersionParsingFailure",
                None,
                ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
            ),
            told(
                "NamespaceDeletionContentFailure",
                failed,
                ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
            ),
            told("NamespaceContentRemaining", objects, ("ContentRemoved", "All content successfully removed")),
            told(
                "NamespaceFinalizersRemaining",
                finalizers,
                ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
            ),
        ]
    }
}

pub(super) async fn run(config: Config) {
    let mut namespaces: Watched<Namespace> = Watched::new(&config.cluster, &NAMESPACES, |object| object.view().ok());
    let mut queue: Queue<Key> = Queue::new();
    loop {
        tokio::select! {
            changes = namespaces.changed() => {
                let going = changes.into_iter().filter(|change| {
                    let is_going = |one: &Namespace| one.metadata.deletion_timestamp.is_some();
                    change.new.as_deref().is_some_and(is_going) && !change.old.as_deref().is_some_and(is_going)
                });
                going.for_each(|change| queue.add(change.key));
            }
            () = due(&queue) => {}
        }
        while let Some(key) = queue.take(Instant::now()) {
            let mut is_left = false;
            let outcome = match namespaces.cache.value(&key).cloned() {
                Some(namespace) => sync(&config, &mut namespaces, &key, &namespace).await.map(|left| is_left = left),
                None => Ok(()),
            };
            settle(&mut queue, &key, "namespace", outcome);
            if is_left {
                queue.add_at(key, Instant::now() + AGAIN);
            }
        }
    }
}

/// One pass over a namespace; true if something is left.
async fn sync(
    config: &Config,
    namespaces: &mut Watched<Namespace>,
    key: &Key,
    namespace: &Namespace,
) -> Result<bool, Error> {
    let left = empty(config, &key.name).await?;
    if left.is_nothing() {
        let target = Target::cluster(&NAMESPACES, &key.name);
        let mut tree = config.cluster.get(target).await?.tree();
        let finalizers = api::object::edit::list(&tree, &["spec", "finalizers"]);
        let others: Vec<Tree> = finalizers.iter().filter(|known| *known != "kubernetes").cloned().collect();
        api::object::edit::set(&mut tree, &["spec", "finalizers"], others);
        config.cluster.update(target.subresource("finalize"), tree, WriteOptions::by(MANAGER)).await?;
        return Ok(false);
    }
    let known = &namespace.status.conditions;
    let conditions = left.conditions(known, config.clock.now());
    if conditions != *known {
        let tree = json!({ "conditions": shown(&conditions) });
        let written = patch_status(&config.cluster, &NAMESPACES, key, tree).await?;
        namespaces.wrote(&written);
    }
    Ok(true)
}

/// Deletes the content. Pods go before all else: what they still need to end well (KEP-5080, on since 1.33).
async fn empty(config: &Config, namespace: &str) -> Result<Left, Error> {
    let mut left = Left::default();
    clear(config, namespace, &PODS, &mut left).await?;
    if !left.is_nothing() {
        return Ok(left);
    }
    for resource in kinds::namespaced(&config.cluster).await? {
        clear(config, namespace, &resource, &mut left).await?;
    }
    Ok(left)
}

async fn clear(config: &Config, namespace: &str, resource: &api::Resource, left: &mut Left) -> Result<(), Error> {
    let cluster = &config.cluster;
    let found = match cluster.list(resource, Some(namespace), ListOptions::default()).await {
        Ok(found) => found,
        // A kind that went since it was looked up has taken its objects with it.
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => {
            left.failed.push(error.to_string());
            return Ok(());
        }
    };
    for object in &found.items {
        let target = Target::namespaced(resource, namespace, object.name());
        // Said outright: what is left to itself here would wait for a namespace that is gone.
        let options = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        match cluster.delete(target, options).await {
            Ok(None) => {}
            Ok(Some(stays)) => left.put(resource, &stays),
            Err(error) if error.is_not_found() => {}
            Err(error @ Error::Rejected(_)) => {
                left.put(resource, object);
                left.failed.push(error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn shown(all: &[Condition]) -> Vec<Tree> {
    let one = |condition: &Condition| {
        json!({
            "type": condition.kind, "status": condition.status, "reason": condition.reason,
            "message": condition.message, "lastTransitionTime": condition.last_transition_time.map(time::seconds),
        })
    };
    all.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::resource::{CONFIG_MAPS, DEPLOYMENTS};

    #[test]
    fn what_is_left_is_told() {
        let object = |finalizers: Tree| {
            Object::from_tree(&json!({ "metadata": { "name": "a", "finalizers": finalizers } })).expect("an object")
        };
        let mut left = Left::default();
        left.put(&CONFIG_MAPS, &object(json!(["e.com/f"])));
        left.put(&CONFIG_MAPS, &object(json!(["e.com/f", "e.com/g"])));
        left.put(&DEPLOYMENTS, &object(json!([])));
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let conditions = left.conditions(&[], now);
        let messages: Vec<&str> = conditions.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(messages[2], "All content successfully deleted, may be waiting on finalization");
        let objects = "Some resources are remaining: configmaps. has 2 resource instances, \
            deployments.apps has 1 resource instances";
        assert_eq!(messages[3], objects);
        let finalizers = "Some content in the namespace has finalizers remaining: e.com/f in 2 resource instances, \
            e.com/g in 1 resource instances";
        assert_eq!(messages[4], finalizers);
        let later = now + time::SignedDuration::from_secs(1);
        assert_eq!(left.conditions(&conditions, later), conditions, "times stay where nothing changes");
        let done = Left::default().conditions(&conditions, later);
        assert_eq!((done[3].status.as_str(), done[3].last_transition_time), ("False", Some(later)));
    }
}
