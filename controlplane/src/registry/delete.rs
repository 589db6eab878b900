//! delete: at once, or marked so that finalizers and nodes can do their part first.

use super::{Call, Deleted, Page, Registry, convert, keys};
use api::object::edit;
use api::time::{self, SignedDuration};
use api::{Object, Rejected, Tree};
use client::{DeleteOptions, ListOptions, Propagation};
use std::sync::Arc;

const TRIES: usize = 16;
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What a delete makes of an object; pure.
enum Step {
    Remove,
    /// The object with its deletion marked.
    Mark(Tree),
    /// It is being deleted already, and nothing changes.
    Wait,
}

impl Registry {
    pub async fn delete(&self, call: Call<'_>, options: DeleteOptions) -> Result<Deleted, Rejected> {
        let asked = call.kind;
        let Some(stored) = api::convert::stored(asked) else { return self.delete_stored(call, options).await };
        let mut options = options;
        if asked.kind == "CronJob" {
            // In its old version, its Jobs stay where nobody says otherwise.
            options.propagation = options.propagation.or(Some(Propagation::Orphan));
        }
        Ok(match self.delete_stored(Call { kind: stored, ..call }, options).await? {
            Deleted::Gone(object) => Deleted::Gone(convert::out(asked, &object)?),
            Deleted::Stays(object) => Deleted::Stays(convert::out(asked, &object)?),
        })
    }

    async fn delete_stored(&self, call: Call<'_>, options: DeleteOptions) -> Result<Deleted, Rejected> {
        let call = Call { subresource: None, dry_run: call.dry_run || options.dry_run, ..call };
        let resource = &call.kind.resource;
        for _ in 0..TRIES {
            let Some(stored) = self.stored(&call) else {
                self.refresh().await?;
                if self.stored(&call).is_some() {
                    continue;
                }
                return Err(Rejected::not_found(resource, call.name));
            };
            let old = &stored.object;
            check(&call, old, &options)?;
            match step(&call, old.tree(), &options, self.clock().now()) {
                Step::Wait => return Ok(Deleted::Stays(Arc::clone(old))),
                Step::Remove => {
                    if let Some(gone) = self.remove(&call, old, &old.tree()).await? {
                        return Ok(Deleted::Gone(gone));
                    }
                }
                Step::Mark(tree) => {
                    if let Some(marked) = self.put_marked(&call, old, tree).await? {
                        return Ok(Deleted::Stays(marked));
                    }
                }
            }
        }
        Err(Rejected::modified(resource, call.name))
    }

    /// Deletes what the list options select, and tells what it was.
    pub async fn delete_collection(
        &self,
        call: Call<'_>,
        which: ListOptions,
        options: DeleteOptions,
    ) -> Result<Page, Rejected> {
        let page = self.list(call, which).await?;
        for object in &page.items {
            let namespace = Some(object.namespace()).filter(|namespace| !namespace.is_empty());
            let one = Call { name: object.name(), namespace, ..call };
            match self.delete(one, options.clone()).await {
                Err(rejected) if !rejected.is_not_found() => return Err(rejected),
                _ => {}
            }
        }
        Ok(page)
    }

    async fn put_marked(
        &self,
        call: &Call<'_>,
        old: &Arc<Object>,
        tree: Tree,
    ) -> Result<Option<Arc<Object>>, Rejected> {
        use crate::store::kv::{Compare, Op, Txn};
        let bytes = super::encoded::encode(tree, call.kind)?;
        if call.dry_run {
            return Ok(super::encoded::at_revision(&bytes, old.revision()));
        }
        let key = keys::object(&keys::collection(&call.kind.resource), &keys::place(call.namespace, call.name));
        let txn = Txn {
            compares: vec![Compare::unchanged(key.clone(), old.revision())],
            success: vec![Op::put(key, bytes.clone())],
            failure: Vec::new(),
        };
        let done = self.0.kv.txn(txn).await.map_err(|error| super::failed(&error))?;
        self.0.memory.shows(done.revision, super::SHOWN_MAX).await;
        if !done.succeeded {
            self.refresh().await?;
            return Ok(None);
        }
        Ok(super::encoded::at_revision(&bytes, done.revision))
    }
}

/// The caller's preconditions.
pub(super) fn check(call: &Call<'_>, object: &Object, options: &DeleteOptions) -> Result<(), Rejected> {
    // Upstream has the kind at hand here, where it means the resource.
    let resource = api::Resource { plural: call.kind.kind.clone().into(), ..call.kind.resource.clone() };
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != object.uid()) {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been \
             deleted and then recreated",
            object.uid()
        );
        return Err(Rejected::conflict(&resource, call.name, why));
    }
    if let Some(revision) = options.revision.filter(|revision| *revision != object.revision()) {
        let why = format!(
            "the ResourceVersion in the precondition ({revision}) does not match the ResourceVersion in record ({}). The \
             object might have been modified",
            object.revision()
        );
        return Err(Rejected::conflict(&resource, call.name, why));
    }
    Ok(())
}

fn step(call: &Call<'_>, mut tree: Tree, options: &DeleteOptions, now: time::Timestamp) -> Step {
    let before = tree.clone();
    let is_pod = call.kind.group().is_empty() && call.kind.kind == "Pod";
    let is_namespace = call.kind.group().is_empty() && call.kind.kind == "Namespace";
    finalizers(&mut tree, options.propagation);
    let grace = if is_pod { pod_grace(&tree, options) } else { 0 };
    let held = !edit::list(&tree, &["metadata", "finalizers"]).is_empty();
    let full = is_namespace && !edit::list(&tree, &["spec", "finalizers"]).is_empty();
    if grace == 0 && !held && !full {
        return Step::Remove;
    }
    let marked = edit::text(&tree, &["metadata", "deletionTimestamp"]);
    let left = edit::integer(&tree, &["metadata", "deletionGracePeriodSeconds"]);
    if marked.is_empty() || left.is_some_and(|left| grace < left) {
        let at = now + SignedDuration::from_secs(grace);
        edit::set(&mut tree, &["metadata", "deletionTimestamp"], time::seconds(at));
        edit::set(&mut tree, &["metadata", "deletionGracePeriodSeconds"], grace);
        if let Some(generation) = edit::integer(&tree, &["metadata", "generation"]) {
            edit::set(&mut tree, &["metadata", "generation"], generation + 1);
        }
    }
    if is_namespace {
        edit::set(&mut tree, &["status", "phase"], "Terminating");
    }
    if tree == before { Step::Wait } else { Step::Mark(tree) }
}

/// A pod that no node runs needs no time to end.
fn pod_grace(pod: &Tree, options: &DeleteOptions) -> i64 {
    let unbound = edit::text(pod, &["spec", "nodeName"]).is_empty();
    let ended = matches!(edit::text(pod, &["status", "phase"]), "Succeeded" | "Failed");
    if unbound || ended {
        return 0;
    }
    let own = edit::integer(pod, &["spec", "terminationGracePeriodSeconds"]).unwrap_or(30);
    options.grace_period_seconds.map_or(own, i64::from).max(0)
}

fn finalizers(tree: &mut Tree, propagation: Option<Propagation>) {
    let wanted = match propagation {
        Some(Propagation::Orphan) => Some(ORPHAN),
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Background) | None => None,
    };
    let Some(wanted) = wanted else { return };
    let has = edit::list(tree, &["metadata", "finalizers"]).iter().any(|known| known == wanted);
    if !has {
        edit::push(tree, &["metadata", "finalizers"], wanted);
    }
}
