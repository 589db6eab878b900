//! ControllerRevisions: the versions of a set's template by number, kept so that a rollout can be undone (upstream's
//! `controller/history`, 1.34).

use super::claim::{Claim, Maker, claim};
use super::{MANAGER, Watched, hash, owner, patch};
use api::Tree;
use api::object::edit;
use api::resource::CONTROLLER_REVISIONS;
use api::selector::Labels;
use api::view::{ControllerRevision, Meta};
use client::{Change, DeleteOptions, Error, Handle, Key, Target, WriteOptions};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The label of pods and revisions that names their version.
pub(super) const HASH: &str = "controller-revision-hash";

/// A revision, as a look at its owner sees it.
pub(super) type Found = (Key, Arc<ControllerRevision>);

pub(super) struct History {
    maker: &'static Maker,
    cluster: Handle,
    watched: Watched<ControllerRevision>,
}

/// A version that is to be there.
pub(super) struct Wanted {
    pub(super) data: Tree,
    /// What its name ends with, for each number of collisions.
    pub(super) hash: fn(&Tree, i32) -> String,
    pub(super) labels: BTreeMap<String, String>,
    /// The label that takes the hash.
    pub(super) hash_label: &'static str,
}

/// The patch that gives a set this template back, as `kubectl rollout undo` applies it.
pub(super) fn data(template: &Tree) -> Tree {
    let mut template = template.clone();
    edit::set(&mut template, &["$patch"], "replace");
    hash::sorted(&json!({ "spec": { "template": template } }))
}

/// The template of a revision.
pub(super) fn template(data: &Tree) -> Tree {
    let mut template = edit::at(data, &["spec", "template"]).cloned().unwrap_or_default();
    edit::remove(&mut template, &["$patch"]);
    template
}

/// Pure: the revision with this content, the newest of several.
fn same<'a>(all: &'a [Found], data: &Tree) -> Option<&'a Found> {
    all.iter().rev().find(|(_, revision)| revision.data == *data)
}

/// Pure: the oldest revisions beyond the limit that no pod and no status names.
fn excess(all: &[Found], limit: usize, is_live: impl Fn(&Found) -> bool) -> Vec<Key> {
    let old: Vec<&Found> = all.iter().filter(|one| !is_live(one)).collect();
    let count = old.len().saturating_sub(limit);
    old.into_iter().take(count).map(|(key, _)| key.clone()).collect()
}

// === impl History ===

impl History {
    pub(super) fn new(maker: &'static Maker, cluster: &Handle) -> History {
        let watched = Watched::new(cluster, &CONTROLLER_REVISIONS, |object| object.view().ok());
        History { maker, cluster: cluster.clone(), watched }
    }

    pub(super) fn is_synced(&self) -> bool {
        self.watched.is_synced
    }

    pub(super) async fn changed(&mut self) -> Vec<Change<ControllerRevision>> {
        self.watched.changed().await
    }

    /// The owner's revisions, the oldest first; free ones are adopted.
    pub(super) async fn claimed(&mut self, owner: &Meta, selector: &Labels) -> Result<Vec<Found>, Error> {
        let all = self.watched.cache.namespace(&owner.namespace);
        let all: Vec<Found> = all.map(|(key, entry)| (key.clone(), entry.value.clone())).collect();
        let mut mine = Vec::new();
        for (key, revision) in all {
            match claim(owner, selector, &revision.metadata) {
                Claim::Mine => mine.push((key, revision)),
                // What was made for the set stays its own whatever its labels say now.
                Claim::Release => mine.push((key, revision)),
                Claim::Foreign => {}
                Claim::Adopt => {
                    let target = (&key, revision.metadata.uid.as_str());
                    let adopted = self.maker.adopt(&self.cluster, owner, &CONTROLLER_REVISIONS, target).await?;
                    if let Some(adopted) = adopted {
                        self.watched.wrote(&adopted);
                        mine.push((key, revision));
                    }
                }
            }
        }
        mine.sort_by_key(|(key, revision)| (revision.revision, revision.metadata.creation_timestamp, key.clone()));
        Ok(mine)
    }

    /// Makes `wanted` the newest revision: the one that has its content, with a new number if need be, or a new one.
    /// A name that something else has counts as a collision.
    pub(super) async fn newest(
        &mut self,
        owner: &Meta,
        all: &mut Vec<Found>,
        wanted: &Wanted,
        collisions: &mut i32,
    ) -> Result<Found, Error> {
        let next = all.last().map_or(1, |(_, newest)| newest.revision + 1);
        if let Some((key, known)) = same(all, &wanted.data).cloned() {
            if known.revision + 1 == next {
                return Ok((key, known));
            }
            let raised = json!({ "revision": next });
            let written = patch(&self.cluster, &CONTROLLER_REVISIONS, &key, raised).await?;
            self.watched.wrote(&written);
            let found = self.watched.cache.value(&key).cloned().unwrap_or(known);
            all.retain(|(other, _)| *other != key);
            all.push((key.clone(), found.clone()));
            return Ok((key, found));
        }
        loop {
            let hash = (wanted.hash)(&wanted.data, *collisions);
            let key = Key::new(&owner.namespace, &format!("{}-{hash}", owner.name));
            let tree = self.tree(owner, wanted, &key.name, &hash, next);
            let target = Target::namespaced(&CONTROLLER_REVISIONS, &owner.namespace, "");
            match self.cluster.create(target, tree, WriteOptions::by(MANAGER)).await {
                Ok(written) => {
                    self.watched.wrote(&written);
                    let Some(found) = self.watched.cache.value(&key).cloned() else { continue };
                    all.push((key.clone(), found.clone()));
                    return Ok((key, found));
                }
                Err(error) if error.is_already_exists() => {
                    let target = Target::namespaced(&CONTROLLER_REVISIONS, &owner.namespace, &key.name);
                    let there = self.cluster.get(target).await?;
                    self.watched.wrote(&there);
                    let is_ours = there.head().controller().is_some_and(|one| *one.uid == *owner.uid);
                    let found: Option<Arc<ControllerRevision>> = there.view().ok();
                    if let Some(found) = found.filter(|found| is_ours && found.data == wanted.data) {
                        all.push((key.clone(), found.clone()));
                        return Ok((key, found));
                    }
                    *collisions += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Deletes the oldest revisions beyond the owner's limit, but none that is in use.
    pub(super) async fn truncate(
        &mut self,
        all: &[Found],
        limit: Option<i32>,
        is_live: impl Fn(&Found) -> bool,
    ) -> Result<(), Error> {
        let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
        for key in excess(all, limit, is_live) {
            let target = Target::namespaced(&CONTROLLER_REVISIONS, &key.namespace, &key.name);
            match self.cluster.delete(target, DeleteOptions::default()).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn tree(&self, of: &Meta, wanted: &Wanted, name: &str, hash: &str, number: i64) -> Tree {
        let mut labels = json!(wanted.labels);
        edit::set(&mut labels, &[wanted.hash_label], hash);
        let mut meta = json!({
            "name": name, "namespace": of.namespace, "labels": labels,
            "ownerReferences": [owner(self.maker.api_version, self.maker.kind, &of.name, &of.uid)],
        });
        if !of.annotations.is_empty() {
            edit::set(&mut meta, &["annotations"], json!(of.annotations));
        }
        json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": meta, "data": wanted.data,
            "revision": number,
        })
    }
}

/// Those of a template, which its revisions have, too.
pub(super) fn labels(template: &Tree) -> BTreeMap<String, String> {
    let labels = edit::at(template, &["metadata", "labels"]);
    labels.and_then(|labels| api::object::read_tree(labels).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(name: &str, number: i64, image: &str) -> Found {
        let template = json!({ "spec": { "containers": [{ "image": image }] } });
        let revision = ControllerRevision { data: data(&template), revision: number, ..ControllerRevision::default() };
        (Key::new("a", name), Arc::new(revision))
    }

    #[test]
    fn a_revision_is_a_patch_that_replaces_the_template() {
        let template_ = json!({ "spec": { "b": 1, "a": 2 }, "metadata": { "labels": { "app": "x" } } });
        let data = data(&template_);
        let text =
            r#"{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"app":"x"}},"spec":{"a":2,"b":1}}}}"#;
        assert_eq!(data.to_string(), text);
        assert_eq!(template(&data), template_);
    }

    #[test]
    fn the_same_content_is_the_same_revision() {
        let all = [revision("one", 1, "x"), revision("two", 2, "y"), revision("three", 3, "x")];
        let x = data(&json!({ "spec": { "containers": [{ "image": "x" }] } }));
        assert_eq!(same(&all, &x).map(|(key, _)| &*key.name), Some("three"));
        assert_eq!(same(&all[..2], &x).map(|(key, _)| &*key.name), Some("one"));
    }

    #[test]
    fn the_oldest_that_nobody_uses_go() {
        let all = [revision("one", 1, "x"), revision("two", 2, "y"), revision("three", 3, "z")];
        let live = |(key, _): &Found| &*key.name == "one";
        assert_eq!(excess(&all, 1, live), [Key::new("a", "two")]);
        assert_eq!(excess(&all, 2, live), []);
    }
}
