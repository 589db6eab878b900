//! What namespaces have beyond other objects: a phase, finalizers of their own, and three that nobody may delete.

use super::delete::{Step, set_finalizers};
use super::{Call, Registry};
use api::object::edit;
use api::rejected::Cause;
use api::time::{self, Timestamp};
use api::{Rejected, Tree, names};
use client::DeleteOptions;
use serde_json::json;

/// Held until the content is gone.
pub(super) const FINALIZER: &str = "kubernetes";
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];
/// Finalizers that need no domain before them.
const STANDARD: [&str; 3] = [FINALIZER, "orphan", "foregroundDeletion"];

impl Registry {
    /// NamespaceLifecycle, for deletions.
    pub(super) fn check_mortal(&self, call: &Call<'_>) -> Result<(), Rejected> {
        if self.is_disabled("NamespaceLifecycle") || !IMMORTAL.contains(&call.name) {
            return Ok(());
        }
        Err(Rejected::forbidden(&call.kind.resource, call.name, "this namespace may not be deleted"))
    }
}

/// The first delete marks a namespace, whatever it holds; a later one removes it if nothing holds it any more.
pub(super) fn delete(mut tree: Tree, options: &DeleteOptions, now: Timestamp) -> Step {
    let is_held = [&["metadata", "finalizers"][..], &["spec", "finalizers"]];
    if !edit::text(&tree, &["metadata", "deletionTimestamp"]).is_empty() {
        let is_held = is_held.iter().any(|path| !edit::list(&tree, path).is_empty());
        return if is_held { Step::Wait } else { Step::Remove };
    }
    edit::set(&mut tree, &["metadata", "deletionTimestamp"], time::seconds(now));
    edit::set(&mut tree, &["status", "phase"], "Terminating");
    if let Some(propagation) = options.propagation {
        set_finalizers(&mut tree, propagation);
    }
    Step::Mark(tree)
}

/// A new namespace is held by the finalizer of its content.
pub(super) fn hold(tree: &mut Tree) {
    let has = edit::list(tree, &["spec", "finalizers"]).iter().any(|known| known == FINALIZER);
    if !has {
        edit::push(tree, &["spec", "finalizers"], FINALIZER);
    }
}

/// What is wrong with a write to `status` or `finalize`.
pub(super) fn check(subresource: &str, tree: &Tree) -> Vec<Cause> {
    match subresource {
        "status" => check_phase(tree),
        "finalize" => {
            let all = edit::list(tree, &["spec", "finalizers"]).iter().enumerate();
            all.flat_map(|(at, one)| check_finalizer(at, one.as_str().unwrap_or_default())).collect()
        }
        _ => Vec::new(),
    }
}

fn check_phase(tree: &Tree) -> Vec<Cause> {
    let phase = edit::text(tree, &["status", "phase"]);
    let is_deleted = !edit::text(tree, &["metadata", "deletionTimestamp"]).is_empty();
    let (only, when) = if is_deleted { ("Terminating", "is not empty") } else { ("Active", "is empty") };
    if phase == only {
        return Vec::new();
    }
    vec![Cause::invalid("status.Phase", &json!(phase), format!("may only be '{only}' if `deletionTimestamp` {when}"))]
}

fn check_finalizer(at: usize, finalizer: &str) -> Vec<Cause> {
    let field = format!("spec.finalizers[{at}]");
    let invalid = |why: String| Cause::invalid(field.as_str(), &json!(finalizer), why);
    let mut causes: Vec<Cause> = names::qualified_name(finalizer).into_iter().map(invalid).collect();
    if !finalizer.contains('/') && !STANDARD.contains(&finalizer) {
        let why = "name is neither a standard finalizer name nor is it fully qualified";
        causes.push(Cause::invalid(field.as_str(), &json!(finalizer), why));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phase_and_finalizers_have_their_rules() {
        let fields = |subresource: &str, tree: Tree| {
            check(subresource, &tree).into_iter().map(|cause| cause.field).collect::<Vec<_>>()
        };
        assert_eq!(fields("status", json!({"status": {"phase": "Terminating"}})), ["status.Phase"]);
        assert!(fields("status", json!({"status": {"phase": "Active"}})).is_empty());
        let finalizers = json!({"spec": {"finalizers": ["kubernetes", "a.b/c", "bad one", "plain"]}});
        let expected = ["spec.finalizers[2]", "spec.finalizers[2]", "spec.finalizers[3]"];
        assert_eq!(fields("finalize", finalizers), expected);
    }
}
