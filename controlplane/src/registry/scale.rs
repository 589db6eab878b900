//! The `scale` subresource: `autoscaling/v1.Scale` made of a workload, and its number of replicas put back.

use super::Call;
use api::object::edit;
use api::{Object, Rejected, Tree};
use serde_json::json;
use std::sync::Arc;

/// The Scale of a workload, as an object.
pub(super) fn object(workload: &Object) -> Result<Arc<Object>, Rejected> {
    Object::from_tree(&of(&workload.tree())).map(Arc::new).map_err(Rejected::internal)
}

/// What an applied Scale says about the workload: its fields have their owners there.
pub(super) fn into_applied(call: &Call<'_>, scale: &Tree) -> Result<Tree, Rejected> {
    let (version, kind) = (edit::text(scale, &["apiVersion"]), edit::text(scale, &["kind"]));
    if (version, kind) != ("autoscaling/v1", "Scale") {
        let slash = if version.contains('/') { "" } else { "/" };
        return Err(Rejected::bad_request(format!("invalid object type: {slash}{version}, Kind={kind}")));
    }
    let mut applied = json!({"kind": call.kind.kind, "apiVersion": call.kind.api_version()});
    for path in [&["metadata"][..], &["spec", "replicas"]] {
        if let Some(value) = edit::at(scale, path) {
            edit::set(&mut applied, path, value.clone());
        }
    }
    Ok(applied)
}

/// The Scale of a workload.
pub(super) fn of(workload: &Tree) -> Tree {
    let meta = |key: &str| edit::at(workload, &["metadata", key]).cloned().unwrap_or_default();
    let selector = edit::at(workload, &["spec", "selector", "matchLabels"]);
    let selector = selector.or_else(|| edit::at(workload, &["spec", "selector"])).and_then(Tree::as_object);
    let selector = selector.map(|labels| {
        let mut pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={}", text(value))).collect();
        pairs.sort();
        pairs.join(",")
    });
    let replicas = edit::integer(workload, &["spec", "replicas"]).unwrap_or(1);
    let spec = if replicas == 0 { json!({}) } else { json!({ "replicas": replicas }) };
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": meta("name"), "namespace": meta("namespace"), "uid": meta("uid"),
            "resourceVersion": meta("resourceVersion"), "creationTimestamp": meta("creationTimestamp"),
        },
        "spec": spec,
        "status": {
            "replicas": edit::integer(workload, &["status", "replicas"]).unwrap_or(0),
            "selector": selector.unwrap_or_default(),
        },
    })
}

/// The workload with the number of replicas that a Scale asks for.
pub(super) fn put(workload: &Tree, scale: &Tree) -> Result<Tree, Rejected> {
    let replicas = edit::integer(scale, &["spec", "replicas"]).unwrap_or(0);
    if replicas < 0 {
        let name = edit::text(workload, &["metadata", "name"]);
        let cause =
            api::rejected::Cause::invalid("spec.replicas", &Tree::from(replicas), "must be greater than or equal to 0");
        return Err(Rejected::invalid("autoscaling", "Scale", name, vec![cause]));
    }
    let mut workload = workload.clone();
    edit::set(&mut workload, &["spec", "replicas"], replicas);
    if let Some(revision) = edit::at(scale, &["metadata", "resourceVersion"]) {
        edit::set(&mut workload, &["metadata", "resourceVersion"], revision.clone());
    }
    Ok(workload)
}

fn text(value: &Tree) -> String {
    value.as_str().map(str::to_owned).unwrap_or_default()
}
