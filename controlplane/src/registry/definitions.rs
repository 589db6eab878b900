//! CustomResourceDefinitions at work: their status, and the end of their objects.
//!
//! Every member does this for all definitions, since each is one write that holds only if the definition is as it was
//! read: whoever comes second finds nothing to do. What to do is decided in `api::custom`.

use super::shelf::Stored;
use super::{Call, MASTERS, Registry, User, served, write};
use api::custom::names::{self, condition};
use api::kinds::Kind;
use api::object::edit;
use api::resource::CUSTOM_RESOURCE_DEFINITIONS;
use api::time::Timestamp;
use api::{Rejected, Tree};
use client::DeleteOptions;
use serde_json::json;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Holds a definition until its objects are gone.
pub(super) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
/// Who writes the status, as upstream.
pub(super) const MANAGER: &str = "kube-apiserver";
/// How soon a definition is looked at again whose objects wait for their own finalizers, or whose write failed.
const AGAIN: Duration = Duration::from_millis(500);

impl Registry {
    /// Looks after the definitions for as long as somebody holds the registry; once before it is used, so that what every
    /// cluster has is there.
    pub(super) async fn keep_definitions(&self) {
        self.settle_definitions().await;
        let registry = Arc::downgrade(&self.0);
        tokio::spawn(keep(registry));
    }

    /// One look at all definitions; true if something is left to do.
    async fn settle_definitions(&self) -> bool {
        let Some(kind) = api::kinds::find(&CUSTOM_RESOURCE_DEFINITIONS) else { return false };
        let (all, _) = self.0.memory.shelf(&served::collection()).range("", || 0);
        let trees: Vec<Tree> = all.iter().map(|stored| stored.object.tree()).collect();
        let user = User { name: "system:apiserver".to_owned(), groups: vec![MASTERS.to_owned()], ..User::default() };
        let mut is_left = false;
        if let Err(rejected) = self.settle_api_services(&user).await {
            tracing::warn!(%rejected, "the APIServices cannot be settled");
            is_left = true;
        }
        for (stored, tree) in all.iter().zip(&trees) {
            let call = Call { name: stored.object.name(), field_manager: MANAGER, ..Call::new(&user, kind) };
            let done = if stored.object.head().is_deleting {
                self.empty_definition(&call, tree).await
            } else {
                let others = trees.iter().filter(|other| !std::ptr::eq(*other, tree));
                self.settle_definition(&call, stored, others).await.map(|()| false)
            };
            match done {
                Ok(left) => is_left |= left,
                Err(rejected) if rejected.is_not_found() || rejected.is_conflict() => {}
                Err(rejected) => {
                    tracing::warn!(definition = stored.object.name(), %rejected, "a definition cannot be settled");
                    is_left = true;
                }
            }
        }
        is_left
    }

    async fn settle_definition<'t>(
        &self,
        call: &Call<'_>,
        stored: &Stored,
        others: impl Iterator<Item = &'t Tree>,
    ) -> Result<(), Rejected> {
        let tree = stored.object.tree();
        let Some(status) = names::settle(&tree, others, self.clock().now()) else { return Ok(()) };
        self.put_status(call, &tree, status).await
    }

    /// Writes the status, if the definition is still as it was read.
    async fn put_status(&self, call: &Call<'_>, tree: &Tree, status: Tree) -> Result<(), Rejected> {
        let mut new = tree.clone();
        edit::set(&mut new, &["status"], status);
        let below = Call { subresource: Some("status"), ..*call };
        self.change(&below, |_| Ok(new.clone()), write::Owners::Record).await.map(|_| ())
    }

    /// Deletes the objects of a definition that is deleted, and lets it go when there are none; true if some are left.
    async fn empty_definition(&self, call: &Call<'_>, tree: &Tree) -> Result<bool, Rejected> {
        let finalizers = edit::list(tree, &["metadata", "finalizers"]);
        if !finalizers.iter().any(|one| one == CLEANUP) {
            return Ok(false);
        }
        if self.delete_objects(call.user, tree).await? > 0 {
            self.tell_ending(call, tree, true, "InstanceDeletionInProgress", "CustomResource deletion is in progress")
                .await?;
            return Ok(true);
        }
        let mut new = tree.clone();
        let kept: Vec<&Tree> = finalizers.iter().filter(|one| **one != CLEANUP).collect();
        edit::set(&mut new, &["metadata", "finalizers"], json!(kept));
        self.change(call, |_| Ok(new.clone()), write::Owners::Record).await?;
        Ok(false)
    }

    async fn tell_ending(
        &self,
        call: &Call<'_>,
        tree: &Tree,
        is_true: bool,
        reason: &str,
        message: &str,
    ) -> Result<(), Rejected> {
        let mut status = tree.get("status").cloned().unwrap_or_default();
        names::put(&mut status, condition("Terminating", is_true, reason, message), self.clock().now());
        if tree.get("status") == Some(&status) { Ok(()) } else { self.put_status(call, tree, status).await }
    }

    /// How many are left, waiting for finalizers.
    async fn delete_objects(&self, user: &User, tree: &Tree) -> Result<usize, Rejected> {
        let versions = api::custom::Definition::read(tree, 0).kinds;
        let Some(kind) = versions.first() else { return Ok(0) };
        self.refresh().await?;
        let (all, _) = self.0.memory.shelf(&super::keys::collection(&kind.resource)).range("", || 0);
        let mut left = 0;
        for stored in all {
            let namespace = Some(stored.object.namespace()).filter(|namespace| !namespace.is_empty());
            let call = Call { namespace, name: stored.object.name(), field_manager: MANAGER, ..Call::new(user, kind) };
            match self.delete_stored(call, DeleteOptions::default()).await {
                Ok(super::Deleted::Stays(_)) => left += 1,
                Ok(super::Deleted::Gone(_)) => {}
                Err(rejected) if rejected.is_not_found() => {}
                Err(rejected) => return Err(rejected),
            }
        }
        Ok(left)
    }
}

async fn keep(registry: Weak<super::Shared>) {
    loop {
        let Some(registry) = registry.upgrade().map(Registry) else { return };
        let shelf = registry.definitions();
        let mut changed = std::pin::pin!(shelf.changed().notified());
        changed.as_mut().enable();
        let is_left = registry.settle_definitions().await;
        drop(registry);
        if is_left {
            tokio::time::sleep(AGAIN).await;
        } else {
            changed.await;
        }
    }
}

/// A definition whose deletion begins: it waits for its objects, and says so.
pub(super) fn end(tree: &mut Tree, now: Timestamp) {
    edit::set(tree, &["metadata", "deletionTimestamp"], api::time::seconds(now));
    if !edit::list(tree, &["metadata", "finalizers"]).iter().any(|one| one == CLEANUP) {
        edit::push(tree, &["metadata", "finalizers"], CLEANUP);
    }
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    let mut status = tree.get("status").cloned().unwrap_or_default();
    names::put(&mut status, condition("Terminating", true, "InstanceDeletionPending", message), now);
    edit::set(tree, &["status"], status);
}

/// The versions in which objects of a definition may be stored: the one that is now, beside those that were.
pub(super) fn note_stored(tree: &mut Tree) {
    let is_stored = |version: &&Tree| edit::is_true(version, &["storage"]);
    let Some(name) =
        edit::list(tree, &["spec", "versions"]).iter().find(is_stored).map(|one| edit::text(one, &["name"]).to_owned())
    else {
        return;
    };
    if !edit::list(tree, &["status", "storedVersions"]).iter().any(|one| *one == *name) {
        edit::push(tree, &["status", "storedVersions"], name);
    }
}

/// Whether a kind is that of the definitions.
pub(super) fn is_definition(kind: &Kind) -> bool {
    kind.resource == CUSTOM_RESOURCE_DEFINITIONS
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Local};
    use super::*;
    use crate::store::{Kv, memory};
    use api::{Object, Resource};
    use client::cluster::{Cluster, ListOptions, Target, WriteOptions};
    use client::{Clock, Patch};
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(30);

    fn definition(spec: &Tree) -> Tree {
        let version = |name: &str, is_stored: bool| {
            json!({
                "name": name, "served": true, "storage": is_stored, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
            })
        };
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "things.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
                "versions": [version("v1", true), version("v2", false)],
            },
        })
    }

    async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
        let wait = async {
            while !is_so() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("{what} takes too long"));
    }

    async fn open(kv: &Arc<dyn Kv>) -> (Registry, Local) {
        let registry = Registry::open(Arc::clone(kv), Config::default(), Clock::system()).await.expect("it opens");
        (registry.clone(), Local::new(registry, User::system_admin()))
    }

    #[tokio::test]
    async fn objects_come_and_go_with_their_definition() {
        let kv: Arc<dyn Kv> = Arc::new(memory::Memory::new());
        let (registry, local) = open(&kv).await;
        let definitions = Target::cluster(&CUSTOM_RESOURCE_DEFINITIONS, "things.example.com");
        let spec = json!({"type": "object", "properties": {"a": {"type": "integer", "default": 1}}});
        local
            .create(Target { name: "", ..definitions }, definition(&spec), WriteOptions::default())
            .await
            .expect("taken");
        let (v1, v2) = (Resource::new("example.com", "v1", "things"), Resource::new("example.com", "v2", "things"));
        eventually("the definition", || registry.find(&v1).is_some()).await;

        let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t", "finalizers": ["e.com/f"]},
            "spec": {"b": 2}});
        let at = |resource| Target::namespaced(resource, "default", "t");
        let made = local.create(Target { name: "", ..at(&v1) }, thing, WriteOptions::default()).await.expect("made");
        assert_eq!(made.tree()["spec"]["a"], 1, "the default is filled in");
        let other: Arc<Object> = local.get(at(&v2)).await.expect("it is served in both versions");
        assert_eq!((&*other.head().api_version, other.revision()), ("example.com/v2", made.revision()));

        // Another schema: what is stored is read as it has it, also by a server that starts later.
        let patch = json!({"spec": definition(&json!({"type": "object", "properties": {"c": {"type": "integer", "default": 3}}}))["spec"]});
        local.patch(definitions, Patch::Merge(patch), WriteOptions::default()).await.expect("changed");
        let (_, later) = open(&kv).await;
        for local in [&local, &later] {
            assert_eq!(local.get(at(&v1)).await.expect("there").tree()["spec"], json!({"c": 3}));
        }

        local.delete(definitions, DeleteOptions::default()).await.expect("it ends");
        let refused = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "u"}});
        let refused = local.create(Target { name: "", ..at(&v1) }, refused, WriteOptions::default()).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("terminating")));
        let free = json!({"metadata": {"finalizers": null}});
        local.patch(at(&v1), Patch::Merge(free), WriteOptions::default()).await.expect("nothing holds it any more");
        eventually("the end", || registry.find(&v1).is_none()).await;
        let left = local.list(&CUSTOM_RESOURCE_DEFINITIONS, None, ListOptions::default()).await.expect("a list");
        assert!(left.items.is_empty());
    }
}
