//! Namespaces that are being deleted: everything in them goes, then they do.

use super::{Config, Watched, due, settle};
use api::resource::NAMESPACES;
use api::view::Owned;
use client::{DeleteOptions, Error, Key, ListOptions, Propagation, Queue, Target, WriteOptions};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// How soon the rest is looked at again; what is left waits for finalizers or nodes.
const AGAIN: Duration = Duration::from_millis(500);

pub(super) async fn run(config: Config) {
    let mut namespaces: Watched<Owned> = Watched::new(&config.cluster, &NAMESPACES, |object| object.view().ok());
    let mut queue: Queue<Key> = Queue::new();
    loop {
        tokio::select! {
            changes = namespaces.changed() => changes.into_iter().for_each(|change| queue.add(change.key)),
            () = due(&queue) => {}
        }
        while let Some(key) = queue.take(Instant::now()) {
            let going = namespaces.cache.value(&key).is_some_and(|one| one.metadata.deletion_timestamp.is_some());
            let mut left = 0;
            let outcome = if going { empty(&config, &key.name).await.map(|count| left = count) } else { Ok(()) };
            settle(&mut queue, &key, "namespace", outcome);
            if left > 0 {
                queue.add_at(key, Instant::now() + AGAIN);
            }
        }
    }
}

/// Deletes the content; how much of it is left.
async fn empty(config: &Config, namespace: &str) -> Result<usize, Error> {
    let cluster = &config.cluster;
    let mut left = 0;
    let kinds =
        api::kinds::builtin().iter().filter(|kind| kind.namespaced && kind.has_verb("list") && kind.has_verb("delete"));
    for kind in kinds {
        let found = cluster.list(&kind.resource, Some(namespace), ListOptions::default()).await?;
        for object in &found.items {
            let target = Target::namespaced(&kind.resource, namespace, object.name());
            // Said outright: what is left to itself here would wait for a namespace that is gone.
            let options = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
            match cluster.delete(target, options).await {
                Ok(None) => {}
                Ok(Some(_)) => left += 1,
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
    }
    if left == 0 {
        let target = Target::cluster(&NAMESPACES, namespace);
        let mut tree = cluster.get(target).await?.tree();
        let finalizers = api::object::edit::list(&tree, &["spec", "finalizers"]);
        let others: Vec<_> = finalizers.iter().filter(|known| *known != "kubernetes").cloned().collect();
        api::object::edit::set(&mut tree, &["spec", "finalizers"], json!(others));
        cluster.update(target.subresource("finalize"), tree, WriteOptions::by("namespace-controller")).await?;
    }
    Ok(left)
}
