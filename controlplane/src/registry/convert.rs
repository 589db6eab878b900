//! One stored object under the several kinds that serve it: Events of two groups, autoscalers of two versions, and the
//! versions of a custom resource.

use api::kinds::Kind;
use api::object::edit;
use api::{Object, Rejected, Tree, custom};
use std::sync::Arc;

/// Places of an Event in `v1`, and in `events.k8s.io/v1`.
const EVENT: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("source", "deprecatedSource"),
    ("reportingComponent", "reportingController"),
];

/// The object as the kind that was asked for.
pub(super) fn out(kind: &Kind, object: &Arc<Object>) -> Result<Arc<Object>, Rejected> {
    let is_of_version = is_version(kind, &object.head().api_version) || object.head().api_version.is_empty();
    match &kind.custom {
        // What was stored under another schema is shown as this one has it.
        Some(custom) if !is_of_version || object.revision() < custom.since => {
            let mut tree = object.tree();
            edit::set(&mut tree, &["apiVersion"], kind.api_version());
            custom::fit(&custom.schema, &mut tree);
            Object::from_tree(&api::codec::canonical(tree, kind)).map(Arc::new).map_err(Rejected::internal)
        }
        _ if is_of_version => Ok(Arc::clone(object)),
        _ => {
            let mut tree = object.tree();
            rename(&mut tree, kind.group() == "events.k8s.io");
            edit::set(&mut tree, &["apiVersion"], kind.api_version());
            Object::from_tree(&api::codec::canonical(tree, kind)).map(Arc::new).map_err(Rejected::internal)
        }
    }
}

fn is_version(kind: &Kind, api_version: &str) -> bool {
    match api_version.rsplit_once('/') {
        Some((group, version)) => kind.group() == group && kind.version() == version,
        None => kind.group().is_empty() && kind.version() == api_version,
    }
}

/// A tree that came in, as the kind that is stored.
pub(super) fn into_stored(kind: &Kind, tree: &mut Tree) -> Option<&'static Arc<Kind>> {
    if kind.group() != "events.k8s.io" {
        return None;
    }
    rename(tree, false);
    edit::set(tree, &["apiVersion"], "v1");
    api::kinds::find(&api::resource::EVENTS)
}

fn rename(tree: &mut Tree, to_new: bool) {
    if edit::text(tree, &["kind"]) != "Event" {
        return;
    }
    for (core, new) in EVENT {
        let (from, to) = if to_new { (core, new) } else { (new, core) };
        if let Some(value) = edit::remove(tree, &[from]) {
            edit::set(tree, &[to], value);
        }
    }
}
