//! The `scale` subresource: `autoscaling/v1.Scale` made of a workload, and its number of replicas put back.
//!
//! A custom resource's definition says where the numbers are.

use super::Call;
use api::custom::definition::Scale;
use api::kinds::Kind;
use api::object::edit;
use api::{Object, Rejected, Tree};
use serde_json::json;
use std::sync::Arc;

/// The Scale of a workload, as an object.
pub(super) fn object(kind: &Kind, workload: &Object) -> Result<Arc<Object>, Rejected> {
    Object::from_tree(&of(kind, &workload.tree())).map(Arc::new).map_err(Rejected::internal)
}

/// What an applied Scale says about the workload: its fields have their owners there.
pub(super) fn into_applied(call: &Call<'_>, scale: &Tree) -> Result<Tree, Rejected> {
    let (version, kind) = (edit::text(scale, &["apiVersion"]), edit::text(scale, &["kind"]));
    if (version, kind) != ("autoscaling/v1", "Scale") {
        let slash = if version.contains('/') { "" } else { "/" };
        return Err(Rejected::bad_request(format!("invalid object type: {slash}{version}, Kind={kind}")));
    }
    let mut applied = json!({"kind": call.kind.kind, "apiVersion": call.kind.api_version()});
    let wanted = wanted(call.kind);
    for (from, to) in [(&["metadata"][..], &["metadata"][..]), (&["spec", "replicas"], &wanted)] {
        if let Some(value) = edit::at(scale, from) {
            edit::set(&mut applied, to, value.clone());
        }
    }
    Ok(applied)
}

/// The Scale of a workload.
pub(super) fn of(kind: &Kind, workload: &Tree) -> Tree {
    let meta = |key: &str| edit::at(workload, &["metadata", key]).cloned().unwrap_or_default();
    let (replicas, running, selector) = match custom(kind) {
        Some(scale) => (
            integer(workload, &scale.wanted).unwrap_or(0),
            integer(workload, &scale.running).unwrap_or(0),
            scale.selector.as_ref().map(|path| edit::text(workload, &keys(path)).to_owned()).unwrap_or_default(),
        ),
        None => (
            edit::integer(workload, &["spec", "replicas"]).unwrap_or(1),
            edit::integer(workload, &["status", "replicas"]).unwrap_or(0),
            selector(workload),
        ),
    };
    let spec = if replicas == 0 { json!({}) } else { json!({ "replicas": replicas }) };
    let mut scale = json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": meta("name"), "namespace": meta("namespace"), "uid": meta("uid"),
            "resourceVersion": meta("resourceVersion"), "creationTimestamp": meta("creationTimestamp"),
        },
        "spec": spec,
        "status": { "replicas": running, "selector": selector },
    });
    if kind.is_custom() && selector.is_empty() {
        edit::remove(&mut scale, &["status", "selector"]);
    }
    if !kind.namespaced {
        edit::remove(&mut scale, &["metadata", "namespace"]);
    }
    scale
}

/// The workload with the number of replicas that a Scale asks for.
pub(super) fn put(kind: &Kind, workload: &Tree, scale: &Tree) -> Result<Tree, Rejected> {
    let replicas = edit::integer(scale, &["spec", "replicas"]).unwrap_or(0);
    // What a custom resource may have, its validation says.
    if replicas < 0 && !kind.is_custom() {
        let name = edit::text(workload, &["metadata", "name"]);
        let cause =
            api::rejected::Cause::invalid("spec.replicas", &Tree::from(replicas), "must be greater than or equal to 0");
        return Err(Rejected::invalid("autoscaling", "Scale", name, vec![cause]));
    }
    let mut workload = workload.clone();
    edit::set(&mut workload, &wanted(kind), replicas);
    // Without a version it changes whatever is there.
    let revision = edit::text(scale, &["metadata", "resourceVersion"]);
    if !revision.is_empty() {
        edit::set(&mut workload, &["metadata", "resourceVersion"], revision);
    }
    Ok(workload)
}

/// Where a definition says that the numbers are.
fn custom(kind: &Kind) -> Option<&Scale> {
    kind.custom.as_ref().and_then(|custom| custom.scale.as_ref())
}

/// Where a kind keeps how many it wants.
fn wanted(kind: &Kind) -> Vec<&str> {
    custom(kind).map_or_else(|| vec!["spec", "replicas"], |scale| keys(&scale.wanted))
}

fn keys(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

fn integer(workload: &Tree, path: &[String]) -> Option<i64> {
    edit::integer(workload, &keys(path))
}

/// The labels of a workload's selector, as text.
fn selector(workload: &Tree) -> String {
    let selector = edit::at(workload, &["spec", "selector", "matchLabels"]);
    let selector = selector.or_else(|| edit::at(workload, &["spec", "selector"])).and_then(Tree::as_object);
    let mut pairs: Vec<String> =
        selector.into_iter().flatten().map(|(key, value)| format!("{key}={}", text(value))).collect();
    pairs.sort();
    pairs.join(",")
}

fn text(value: &Tree) -> String {
    value.as_str().map(str::to_owned).unwrap_or_default()
}
