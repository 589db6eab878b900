//! ClusterRoles that are made up of others: their rules are those of all roles that bear one of their labels.

use super::{Config, Watched, due, patch, settle};
use api::resource::CLUSTER_ROLES;
use api::selector::Labels;
use api::view::{LabelSelector, Meta};
use api::{Object, Tree};
use client::{Cache, Error, Key, Queue};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use tokio::time::Instant;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Role {
    metadata: Meta,
    /// `null` where a role has none.
    rules: Option<Vec<Tree>>,
    aggregation_rule: Option<Aggregation>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Aggregation {
    cluster_role_selectors: Vec<LabelSelector>,
}

pub(super) async fn run(config: Config) {
    let mut roles: Watched<Role> = Watched::new(&config.cluster, &CLUSTER_ROLES, parse);
    let mut queue: Queue<Key> = Queue::new();
    loop {
        tokio::select! {
            changes = roles.changed() => {
                if changes.is_empty() {
                    continue;
                }
                // Any role may be a part of any other.
                let aggregated = roles.cache.iter().filter(|(_, role)| role.value.aggregation_rule.is_some());
                aggregated.for_each(|(key, _)| queue.add(key.clone()));
            }
            () = due(&queue) => {}
        }
        while let Some(key) = queue.take(Instant::now()).filter(|_| roles.is_synced) {
            let outcome = match plan(&roles.cache, &key) {
                Some(rules) => write(&config, &mut roles, &key, rules).await,
                None => Ok(()),
            };
            settle(&mut queue, &key, "clusterrole", outcome);
        }
    }
}

fn parse(object: &Object) -> Option<Arc<Role>> {
    object.read().ok().map(Arc::new)
}

async fn write(config: &Config, roles: &mut Watched<Role>, key: &Key, rules: Vec<Tree>) -> Result<(), Error> {
    let written = patch(&config.cluster, &CLUSTER_ROLES, key, json!({ "rules": rules })).await?;
    roles.wrote(&written);
    Ok(())
}

/// The rules that a role is to have, where it has others.
fn plan(roles: &Cache<Role>, key: &Key) -> Option<Vec<Tree>> {
    let role = roles.value(key)?;
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.iter();
    let selectors: Vec<Labels> = selectors.map(Labels::from_view).collect();
    let is_part = |part: &Role| {
        let label = |key: &str| part.metadata.labels.get(key).map(String::as_str);
        selectors.iter().any(|selector| selector.matches(label))
    };
    let mut parts: Vec<(&Key, &Arc<Role>)> = roles.iter().map(|(key, entry)| (key, &entry.value)).collect();
    parts.retain(|(other, part)| *other != key && is_part(part));
    parts.sort_by_key(|(key, _)| *key);
    let mut rules: Vec<Tree> = Vec::new();
    for rule in parts.iter().flat_map(|(_, part)| part.rules.iter().flatten()) {
        if !rules.contains(rule) {
            rules.push(rule.clone());
        }
    }
    (rules != role.rules.as_deref().unwrap_or_default()).then_some(rules)
}
