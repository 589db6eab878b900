//! Which kinds are served: the built-in ones, and those that definitions add.

use api::custom::Definition;
use api::resource::CUSTOM_RESOURCE_DEFINITIONS;
use api::{Kind, Resource};
use client::{Error, Handle, ListOptions};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The kinds of all definitions, in all versions; of each definition first the one that is stored, which no webhook has
/// to make.
pub(super) async fn custom(cluster: &Handle) -> Result<Vec<Arc<Kind>>, Error> {
    let definitions = cluster.list(&CUSTOM_RESOURCE_DEFINITIONS, None, ListOptions::default()).await?;
    let kinds = definitions.items.iter().flat_map(|one| {
        let mut kinds = Definition::read(&one.tree(), one.revision()).kinds;
        kinds.sort_by_key(|kind| kind.custom.as_ref().is_some_and(|custom| custom.stored.is_some()));
        kinds
    });
    Ok(kinds.collect())
}

/// One kind for each collection: its versions hold the same objects.
pub(super) fn collections(kinds: &[Arc<Kind>]) -> impl Iterator<Item = &Arc<Kind>> {
    let is_first = |(at, kind): &(usize, &Arc<Kind>)| {
        let is_same = |other: &Arc<Kind>| {
            other.resource.group == kind.resource.group && other.resource.plural == kind.resource.plural
        };
        !kinds[..*at].iter().any(is_same)
    };
    kinds.iter().enumerate().filter(is_first).map(|(_, kind)| kind)
}

/// All that can be listed and deleted in a namespace, each in one version, by group and plural.
pub(super) async fn namespaced(cluster: &Handle) -> Result<Vec<Resource>, Error> {
    let mut found: BTreeMap<(String, String), Resource> = BTreeMap::new();
    let custom = custom(cluster).await?;
    let all = api::kinds::builtin().iter().chain(&custom);
    for kind in all.filter(|kind| kind.namespaced && kind.has_verb("list") && kind.has_verb("delete")) {
        let resource = &kind.resource;
        let name = (resource.group.to_string(), resource.plural.to_string());
        found.entry(name).or_insert_with(|| resource.clone());
    }
    Ok(found.into_values().collect())
}
