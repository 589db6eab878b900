//! Claims and volumes that are deleted while they are used go when they are used no more (upstream's pvc-protection and
//! pv-protection controllers): the finalizer that admission gave them is taken off then.

use super::{Config, Watched, due, patch, settle};
use api::object::edit;
use api::resource::{PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS};
use api::view::Owned;
use api::{Object, Resource};
use client::{Error, Key, Queue};
use serde_json::json;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::time::Instant;

const OF_CLAIMS: &str = "kubernetes.io/pvc-protection";
const OF_VOLUMES: &str = "kubernetes.io/pv-protection";

pub(super) async fn run(config: Config) {
    let cluster = &config.cluster;
    let mut pods: Watched<HashSet<String>> = Watched::new(cluster, &PODS, used);
    let mut claims: Watched<Owned> =
        Watched::new(cluster, &PERSISTENT_VOLUME_CLAIMS, |object| waiting(object, OF_CLAIMS));
    let mut volumes: Watched<Owned> = Watched::new(cluster, &PERSISTENT_VOLUMES, |object| {
        waiting(object, OF_VOLUMES).filter(|_| edit::text(&object.tree(), &["status", "phase"]) != "Bound")
    });
    let mut queue: Queue<Key> = Queue::new();
    loop {
        tokio::select! {
            changes = pods.changed() => for change in changes {
                let names = change.old.iter().flat_map(|names| names.iter());
                names.for_each(|name| queue.add(Key::new(&change.key.namespace, name)));
            },
            changes = claims.changed() => changes.into_iter().for_each(|change| queue.add(change.key)),
            changes = volumes.changed() => changes.into_iter().for_each(|change| queue.add(change.key)),
            () = due(&queue) => {}
        }
        if !(pods.is_synced && claims.is_synced && volumes.is_synced) {
            continue;
        }
        while let Some(key) = queue.take(Instant::now()) {
            let is_used = pods.cache.namespace(&key.namespace).any(|(_, entry)| entry.value.contains(&*key.name));
            let outcome = if key.namespace.is_empty() {
                release(&config, &PERSISTENT_VOLUMES, &key, volumes.cache.value(&key), OF_VOLUMES).await
            } else {
                let claim = claims.cache.value(&key).filter(|_| !is_used);
                release(&config, &PERSISTENT_VOLUME_CLAIMS, &key, claim, OF_CLAIMS).await
            };
            settle(&mut queue, &key, "protection", outcome);
        }
    }
}

/// The claims that a pod uses; none once it has ended.
fn used(pod: &Object) -> Option<Arc<HashSet<String>>> {
    let tree = pod.tree();
    let has_ended = matches!(edit::text(&tree, &["status", "phase"]), "Succeeded" | "Failed");
    let of = |volume: &api::Tree| {
        let ephemeral = edit::at(volume, &["ephemeral"]);
        let own = ephemeral.map(|_| format!("{}-{}", pod.name(), edit::text(volume, &["name"])));
        own.or_else(|| edit::at(volume, &["persistentVolumeClaim", "claimName"])?.as_str().map(str::to_owned))
    };
    let names: HashSet<String> = edit::list(&tree, &["spec", "volumes"]).iter().filter_map(of).collect();
    (!has_ended && !names.is_empty()).then(|| Arc::new(names))
}

/// An object that is deleted, and held by the finalizer.
fn waiting(object: &Object, finalizer: &str) -> Option<Arc<Owned>> {
    let view: Arc<Owned> = object.head().is_deleting.then(|| object.view().ok())??;
    view.metadata.finalizers.iter().any(|known| known == finalizer).then_some(view)
}

async fn release(
    config: &Config,
    resource: &Resource,
    key: &Key,
    object: Option<&Arc<Owned>>,
    finalizer: &str,
) -> Result<(), Error> {
    let Some(object) = object else { return Ok(()) };
    let meta = &object.metadata;
    let left: Vec<&String> = meta.finalizers.iter().filter(|known| *known != finalizer).collect();
    let change = json!({ "metadata": { "resourceVersion": meta.resource_version, "finalizers": left } });
    patch(&config.cluster, resource, key, change).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(tree: &api::Tree) -> Object {
        Object::from_tree(tree).expect("an object")
    }

    #[test]
    fn what_pods_use_and_what_waits() {
        let pod = |phase: &str| {
            let volumes =
                json!([{"name": "a", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "e", "ephemeral": {}}]);
            object(&json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "spec": {"volumes": volumes},
                "status": {"phase": phase}}))
        };
        let names = used(&pod("Running")).expect("uses claims");
        assert!(names.contains("c") && names.contains("p-e") && names.len() == 2);
        assert!(used(&pod("Succeeded")).is_none());
        let claim = |marked: &str, finalizer: &str| {
            let meta = json!({"name": "c", "deletionTimestamp": marked, "finalizers": [finalizer]});
            let meta = if marked.is_empty() { json!({"name": "c", "finalizers": [finalizer]}) } else { meta };
            object(&json!({"kind": "PersistentVolumeClaim", "apiVersion": "v1", "metadata": meta}))
        };
        assert!(waiting(&claim("2026-01-01T00:00:00Z", OF_CLAIMS), OF_CLAIMS).is_some());
        assert!(waiting(&claim("", OF_CLAIMS), OF_CLAIMS).is_none());
        assert!(waiting(&claim("2026-01-01T00:00:00Z", "other"), OF_CLAIMS).is_none());
    }
}
