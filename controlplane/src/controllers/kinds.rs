//! Which namespaced kinds there are: the built-in ones, and those that definitions add.

use api::Resource;
use api::object::edit;
use api::resource::CUSTOM_RESOURCE_DEFINITIONS;
use client::{Error, Handle, ListOptions};
use std::collections::BTreeMap;

/// All that can be listed and deleted in a namespace, each in one version, by group and plural.
pub(super) async fn namespaced(cluster: &Handle) -> Result<Vec<Resource>, Error> {
    let mut found: BTreeMap<(String, String), Resource> = BTreeMap::new();
    let built_in = api::kinds::builtin().iter();
    for kind in built_in.filter(|kind| kind.namespaced && kind.has_verb("list") && kind.has_verb("delete")) {
        let resource = &kind.resource;
        let name = (resource.group.to_string(), resource.plural.to_string());
        found.entry(name).or_insert_with(|| resource.clone());
    }
    let definitions = cluster.list(&CUSTOM_RESOURCE_DEFINITIONS, None, ListOptions::default()).await?;
    for definition in &definitions.items {
        let tree = definition.tree();
        let (group, plural) = (edit::text(&tree, &["spec", "group"]), edit::text(&tree, &["spec", "names", "plural"]));
        let versions = edit::list(&tree, &["spec", "versions"]);
        let Some(version) = versions.iter().find(|version| edit::is_true(version, &["served"])) else { continue };
        if edit::text(&tree, &["spec", "scope"]) == "Namespaced" {
            let resource = Resource::new(group, edit::text(version, &["name"]), plural);
            found.entry((group.to_owned(), plural.to_owned())).or_insert(resource);
        }
    }
    Ok(found.into_values().collect())
}
