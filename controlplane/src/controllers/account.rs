//! What every namespace has: the service account `default`, and the cluster's CA as the ConfigMap `kube-root-ca.crt`.

use super::{Config, MANAGER, Watched, due, settle};
use api::resource::{CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS};
use api::view::Owned;
use api::{Resource, Tree};
use client::{Error, Key, Queue, Target, WriteOptions};
use serde_json::json;
use std::sync::Arc;
use tokio::time::Instant;

const ACCOUNT: &str = "default";
const ROOT_CA: &str = "kube-root-ca.crt";

pub(super) async fn run(config: Config) {
    let cluster = &config.cluster;
    let mut namespaces: Watched<Owned> = Watched::new(cluster, &NAMESPACES, |object| object.view().ok());
    let mut accounts: Watched<()> =
        Watched::new(cluster, &SERVICE_ACCOUNTS, |object| (object.name() == ACCOUNT).then(Arc::default));
    let mut maps: Watched<()> =
        Watched::new(cluster, &CONFIG_MAPS, |object| (object.name() == ROOT_CA).then(Arc::default));
    let mut queue: Queue<Key> = Queue::new();
    loop {
        tokio::select! {
            changes = namespaces.changed() => changes.into_iter().for_each(|change| queue.add(change.key)),
            changes = accounts.changed() => changes.iter().for_each(|change| queue.add(Key::new("", &change.key.namespace))),
            changes = maps.changed() => changes.iter().for_each(|change| queue.add(Key::new("", &change.key.namespace))),
            () = due(&queue) => {}
        }
        if !(namespaces.is_synced && accounts.is_synced && maps.is_synced) {
            continue;
        }
        while let Some(key) = queue.take(Instant::now()) {
            let lives = namespaces.cache.value(&key).is_some_and(|one| one.metadata.deletion_timestamp.is_none());
            let has_account = accounts.cache.value(&Key::new(&key.name, ACCOUNT)).is_some();
            let has_map = maps.cache.value(&Key::new(&key.name, ROOT_CA)).is_some();
            let outcome = if lives { ensure(&config, &key.name, has_account, has_map).await } else { Ok(()) };
            settle(&mut queue, &key, "serviceaccount", outcome);
        }
    }
}

async fn ensure(config: &Config, namespace: &str, has_account: bool, has_map: bool) -> Result<(), Error> {
    if !has_account {
        make(config, &SERVICE_ACCOUNTS, namespace, json!({ "metadata": { "name": ACCOUNT } })).await?;
    }
    if !has_map {
        let map = json!({ "metadata": { "name": ROOT_CA }, "data": { "ca.crt": config.ca_pem } });
        make(config, &CONFIG_MAPS, namespace, map).await?;
    }
    Ok(())
}

async fn make(config: &Config, resource: &Resource, namespace: &str, tree: Tree) -> Result<(), Error> {
    let target = Target::namespaced(resource, namespace, "");
    match config.cluster.create(target, tree, WriteOptions::by(MANAGER)).await {
        Err(error) if !error.is_already_exists() => Err(error),
        _ => Ok(()),
    }
}
