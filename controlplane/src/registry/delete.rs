//! delete: at once, or marked so that finalizers and nodes can do their part first.

use super::{Call, Deleted, Page, Registry, definitions, keys, namespace};
use api::kinds::Kind;
use api::object::edit;
use api::time::{self, SignedDuration, Timestamp};
use api::{Object, Rejected, Resource, Tree};
use client::{DeleteOptions, ListOptions, Propagation};
use std::sync::Arc;

const TRIES: usize = 16;
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What a delete makes of an object; pure.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Remove,
    /// The object with its deletion marked.
    Mark(Tree),
    /// The same, and nothing has to happen before it goes: watchers see the mark, then the end.
    MarkAndRemove(Tree),
    /// It is being deleted already, and nothing changes.
    Wait,
}

/// How much time an object is given to end.
enum Grace {
    /// Its kind knows none.
    None,
    Seconds(i64),
    /// It has been given time before, and not less is wanted now.
    Pending,
}

impl Registry {
    pub async fn delete(&self, call: Call<'_>, options: DeleteOptions) -> Result<Deleted, Rejected> {
        let asked = call.kind;
        let stored = api::convert::stored(asked).unwrap_or(asked);
        let mut options = options;
        if asked.kind == "CronJob" && !Arc::ptr_eq(stored, asked) {
            // In its old version, its Jobs stay where nobody says otherwise.
            options.propagation = options.propagation.or(Some(Propagation::Orphan));
        }
        Ok(match self.delete_stored(Call { kind: stored, ..call }, options).await? {
            // Of a custom resource that is gone, nobody is shown more than its name.
            Deleted::Gone(object) if asked.is_custom() => Deleted::Gone(object),
            Deleted::Gone(object) => Deleted::Gone(self.out(asked, &object).await?),
            Deleted::Stays(object) => Deleted::Stays(self.out(asked, &object).await?),
        })
    }

    /// What is told of the object is in the version that is stored.
    pub(super) async fn delete_stored(&self, call: Call<'_>, options: DeleteOptions) -> Result<Deleted, Rejected> {
        let call = Call { subresource: None, dry_run: call.dry_run || options.dry_run, ..call };
        let resource = &call.kind.resource;
        // What this call has marked: if it is gone then, its node was told and was faster.
        let mut mine: Option<Arc<Object>> = None;
        for _ in 0..TRIES {
            let stored = self.stored(&call);
            if let Some(marked) = mine.take_if(|mine| stored.as_ref().is_none_or(|now| now.object.uid() != mine.uid()))
            {
                return Ok(Deleted::Gone(marked));
            }
            let Some(stored) = stored else {
                self.refresh().await?;
                if self.stored(&call).is_some() {
                    continue;
                }
                return Err(Rejected::not_found(resource, call.name));
            };
            let old = &stored.object;
            check(&call, old, &options)?;
            let is_namespace = call.kind.group().is_empty() && call.kind.kind == "Namespace";
            let now = self.clock().now();
            let step = if is_namespace {
                self.check_mortal(&call)?;
                namespace::delete(old.tree(), &options, now)
            } else {
                step(call.kind, old.tree(), &options, now)
            };
            match step {
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
                Step::MarkAndRemove(tree) => {
                    let Some(marked) = self.put_marked(&call, old, tree).await? else { continue };
                    if call.dry_run {
                        return Ok(Deleted::Gone(marked));
                    }
                    if let Some(gone) = self.remove(&call, &marked, &marked.tree()).await? {
                        return Ok(Deleted::Gone(gone));
                    }
                    mine = Some(marked);
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
        mut tree: Tree,
    ) -> Result<Option<Arc<Object>>, Rejected> {
        use crate::store::kv::{Compare, Op, Txn};
        // In the version that it is stored in: no webhook can hold a deletion up.
        let bytes = super::encoded::marked(&mut tree, call.kind);
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

/// The caller's preconditions. Upstream names the kind here where it names the resource elsewhere.
pub(super) fn check(call: &Call<'_>, object: &Object, options: &DeleteOptions) -> Result<(), Rejected> {
    let named = Resource::new(call.kind.group().to_owned(), "", call.kind.kind.clone());
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != object.uid()) {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been \
             deleted and then recreated",
            object.uid()
        );
        return Err(Rejected::conflict(&named, call.name, why));
    }
    if let Some(revision) = options.revision.filter(|revision| *revision != object.revision()) {
        let why = format!(
            "the ResourceVersion in the precondition ({revision}) does not match the ResourceVersion in record ({}). \
             The object might have been modified",
            object.revision()
        );
        return Err(Rejected::conflict(&named, call.name, why));
    }
    Ok(())
}

fn step(kind: &Kind, mut tree: Tree, options: &DeleteOptions, now: Timestamp) -> Step {
    let before = tree.clone();
    let is_pod = kind.group().is_empty() && kind.kind == "Pod";
    if definitions::is_definition(kind) && edit::text(&tree, &["metadata", "deletionTimestamp"]).is_empty() {
        definitions::end(&mut tree, now);
        return Step::Mark(tree);
    }
    let grace = if is_pod { give_time(&mut tree, options, now) } else { Grace::None };
    if matches!(grace, Grace::Pending) {
        return Step::Wait;
    }
    let propagation = propagation(kind, &tree, options);
    set_finalizers(&mut tree, propagation);
    let held = !edit::list(&tree, &["metadata", "finalizers"]).is_empty();
    match grace {
        Grace::None if !held => return Step::Remove,
        Grace::None => mark(&mut tree, now),
        Grace::Seconds(0) if !held => return Step::MarkAndRemove(tree),
        Grace::Seconds(_) | Grace::Pending => {}
    }
    if tree == before { Step::Wait } else { Step::Mark(tree) }
}

/// Marks an object that knows no grace: what holds it may go on at once.
fn mark(tree: &mut Tree, now: Timestamp) {
    let marked = time::parse(edit::text(tree, &["metadata", "deletionTimestamp"]));
    if marked.is_none() {
        count_generation(tree);
    }
    if marked.is_none_or(|marked| marked > now) {
        edit::set(tree, &["metadata", "deletionTimestamp"], time::seconds(now));
    }
    edit::set(tree, &["metadata", "deletionGracePeriodSeconds"], 0);
}

/// Gives a pod its time to end. Once given, it may only become shorter.
fn give_time(pod: &mut Tree, options: &DeleteOptions, now: Timestamp) -> Grace {
    let wanted = options.grace_period_seconds.map(|wanted| if wanted < 0 { 1 } else { wanted });
    let Some(marked) = time::parse(edit::text(pod, &["metadata", "deletionTimestamp"])) else {
        let grace = pod_grace(pod, wanted);
        let at = now + SignedDuration::from_secs(grace);
        edit::set(pod, &["metadata", "deletionTimestamp"], time::seconds(at));
        edit::set(pod, &["metadata", "deletionGracePeriodSeconds"], grace);
        count_generation(pod);
        return Grace::Seconds(grace);
    };
    let given = edit::integer(pod, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0);
    if given == 0 {
        return Grace::None;
    }
    let Some(mut grace) = wanted.filter(|wanted| *wanted < given) else { return Grace::Pending };
    let mut at = marked - SignedDuration::from_secs(given) + SignedDuration::from_secs(grace);
    if at < now {
        // The shorter time is over already; whoever ends the pod is still to be told.
        at = now;
        grace = grace.min(1);
    }
    edit::set(pod, &["metadata", "deletionTimestamp"], time::seconds(at));
    edit::set(pod, &["metadata", "deletionGracePeriodSeconds"], grace);
    Grace::Seconds(grace)
}

/// A pod that no node runs needs no time to end.
fn pod_grace(pod: &Tree, wanted: Option<i64>) -> i64 {
    let unbound = edit::text(pod, &["spec", "nodeName"]).is_empty();
    let ended = matches!(edit::text(pod, &["status", "phase"]), "Succeeded" | "Failed");
    if unbound || ended {
        return 0;
    }
    let own = edit::integer(pod, &["spec", "terminationGracePeriodSeconds"]);
    match wanted.or(own).unwrap_or(0) {
        grace if grace < 0 => 1,
        grace => grace,
    }
}

fn count_generation(tree: &mut Tree) {
    if let Some(generation) = edit::integer(tree, &["metadata", "generation"]).filter(|generation| *generation > 0) {
        edit::set(tree, &["metadata", "generation"], generation + 1);
    }
}

/// What happens to the dependents: as the caller says, else as finalizers say that are there, else as the kind's
/// version has it since before there was a garbage collector.
fn propagation(kind: &Kind, tree: &Tree, options: &DeleteOptions) -> Propagation {
    if kind.kind == "Event" && matches!(kind.group(), "" | "events.k8s.io") {
        return Propagation::Background;
    }
    let has = |finalizer: &str| edit::list(tree, &["metadata", "finalizers"]).iter().any(|known| known == finalizer);
    let own = match (kind.group(), kind.version(), kind.kind.as_str()) {
        ("batch", "v1", "Job") | ("", "v1", "ReplicationController") => Propagation::Orphan,
        _ => Propagation::Background,
    };
    match options.propagation {
        Some(wanted) => wanted,
        None if has(ORPHAN) => Propagation::Orphan,
        None if has(FOREGROUND) => Propagation::Foreground,
        None => own,
    }
}

pub(super) fn set_finalizers(tree: &mut Tree, propagation: Propagation) {
    let wanted = match propagation {
        Propagation::Orphan => Some(ORPHAN),
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Background => None,
    };
    let is_ours = |known: &Tree| known == ORPHAN || known == FOREGROUND;
    let known = edit::list(tree, &["metadata", "finalizers"]);
    if known.iter().filter(|known| is_ours(known)).map(Tree::as_str).eq(wanted.map(Some)) {
        return;
    }
    let mut kept: Vec<Tree> = known.iter().filter(|known| !is_ours(known)).cloned().collect();
    kept.extend(wanted.map(Tree::from));
    if kept.is_empty() {
        edit::remove(tree, &["metadata", "finalizers"]);
    } else {
        edit::set(tree, &["metadata", "finalizers"], kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::resource::{CONFIG_MAPS, PODS};
    use serde_json::json;

    fn now() -> Timestamp {
        time::parse("2026-01-01T00:01:00Z").expect("a time")
    }

    fn stepped(resource: &Resource, tree: Tree, options: &DeleteOptions) -> Step {
        step(api::kinds::find(resource).expect("built in"), tree, options, now())
    }

    fn with_grace(seconds: i64) -> DeleteOptions {
        DeleteOptions { grace_period_seconds: Some(seconds), ..DeleteOptions::default() }
    }

    fn propagated(propagation: Propagation) -> DeleteOptions {
        DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() }
    }

    #[test]
    fn a_pod_has_time_to_end_and_never_more_than_before() {
        let bound =
            json!({"metadata": {"generation": 1}, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}});
        let given = |tree: Tree, options: &DeleteOptions| match stepped(&PODS, tree, options) {
            Step::Mark(tree) => {
                let at = edit::text(&tree, &["metadata", "deletionTimestamp"]).to_owned();
                (edit::integer(&tree, &["metadata", "deletionGracePeriodSeconds"]), at)
            }
            Step::MarkAndRemove(_) => (Some(0), "gone".to_owned()),
            Step::Remove => (None, "removed".to_owned()),
            Step::Wait => (None, "waits".to_owned()),
        };
        let marked = |given: i64, at: &str| {
            let mut tree = bound.clone();
            edit::set(&mut tree, &["metadata", "deletionTimestamp"], at);
            edit::set(&mut tree, &["metadata", "deletionGracePeriodSeconds"], given);
            tree
        };
        let soon = "2026-01-01T00:01:20Z";
        for (tree, options, grace, at) in [
            (bound.clone(), DeleteOptions::default(), Some(30), "2026-01-01T00:01:30Z"),
            (bound.clone(), with_grace(-1), Some(1), "2026-01-01T00:01:01Z"),
            (bound.clone(), with_grace(0), Some(0), "gone"),
            (json!({"spec": {}}), DeleteOptions::default(), Some(0), "gone"),
            (marked(30, soon), DeleteOptions::default(), None, "waits"),
            (marked(30, soon), with_grace(60), None, "waits"),
            (marked(30, soon), with_grace(15), Some(15), "2026-01-01T00:01:05Z"),
            // Of the five seconds nothing is left; the node is told all the same.
            (marked(30, soon), with_grace(5), Some(1), "2026-01-01T00:01:00Z"),
            (marked(30, soon), with_grace(0), Some(0), "gone"),
            (marked(0, soon), DeleteOptions::default(), None, "removed"),
        ] {
            assert_eq!(given(tree.clone(), &options), (grace, at.to_owned()), "{tree} {options:?}");
        }
    }

    #[test]
    fn finalizers_follow_the_propagation_policy() {
        let finalizers = |tree: Tree, options: &DeleteOptions| match stepped(&CONFIG_MAPS, tree, options) {
            Step::Mark(tree) => edit::list(&tree, &["metadata", "finalizers"]).to_vec(),
            Step::Remove => vec!["removed".into()],
            Step::MarkAndRemove(_) | Step::Wait => vec!["waits".into()],
        };
        let map = |finalizers: &[&str]| json!({"metadata": {"finalizers": finalizers}});
        let marked = json!({"metadata": {"finalizers": ["a/b", "foregroundDeletion"],
            "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0}});
        for (tree, options, expected) in [
            (map(&[]), DeleteOptions::default(), &["removed"][..]),
            (map(&[]), propagated(Propagation::Orphan), &["orphan"]),
            (map(&["a/b"]), propagated(Propagation::Foreground), &["a/b", "foregroundDeletion"]),
            (map(&["orphan"]), propagated(Propagation::Background), &["removed"]),
            (marked.clone(), DeleteOptions::default(), &["waits"]),
            (marked, propagated(Propagation::Background), &["a/b"]),
        ] {
            assert_eq!(finalizers(tree.clone(), &options), expected, "{tree} {options:?}");
        }
        let jobs = Resource::new("batch", "v1", "jobs");
        let Step::Mark(job) = stepped(&jobs, json!({"metadata": {}}), &DeleteOptions::default()) else {
            panic!("a Job of batch/v1 orphans its pods")
        };
        assert_eq!(edit::list(&job, &["metadata", "finalizers"]), ["orphan"]);
    }
}
