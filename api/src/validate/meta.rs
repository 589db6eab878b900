//! `metadata`: names, labels, annotations, owners and finalizers, and what an update may not change.

use super::{Findings, at, list, text};
use crate::walk::members;
use crate::{Kind, Tree, names};

const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
const IMMUTABLE: &str = "field is immutable";

pub(super) fn create(kind: &Kind, tree: &Tree, found: &mut Findings) {
    let name = text(tree, &["metadata", "name"]);
    let base = text(tree, &["metadata", "generateName"]);
    let test = name_test(kind);
    if name.is_empty() && base.is_empty() {
        found.required("metadata.name", "name or generateName is required");
    }
    // The server appends to the base, so a dash at its end is fine.
    let probe = base.strip_suffix('-').map(|base| format!("{base}a"));
    for why in test(probe.as_deref().unwrap_or(base)).into_iter().filter(|_| !base.is_empty()) {
        found.invalid("metadata.generateName", &base.into(), why);
    }
    found.optional_name("metadata.name", name, test);
    let namespace = text(tree, &["metadata", "namespace"]);
    if kind.namespaced {
        found.name("metadata.namespace", namespace, names::dns_label);
    } else if !namespace.is_empty() {
        found.forbidden("metadata.namespace", "not allowed on this type");
    }
    if let Some(map) = at(tree, &["metadata", "labels"]) {
        labels("metadata.labels", map, found);
    }
    annotations("metadata.annotations", at(tree, &["metadata", "annotations"]), found);
    owners(tree, found);
    for (at, finalizer) in list(tree, &["metadata", "finalizers"]).iter().enumerate() {
        for why in names::qualified_name(finalizer.as_str().unwrap_or_default()) {
            found.invalid(format!("metadata.finalizers[{at}]"), finalizer, why);
        }
    }
}

fn name_test(kind: &Kind) -> fn(&str) -> Vec<String> {
    match (kind.group(), kind.kind.as_str()) {
        ("", "Service") => names::dns_label_1035,
        ("", "Namespace") => names::dns_label,
        ("rbac.authorization.k8s.io" | "apiregistration.k8s.io", _) => names::path_segment,
        _ => names::dns_subdomain,
    }
}

pub(super) fn labels(path: &str, map: &Tree, found: &mut Findings) {
    for (key, value) in members(map, &[]) {
        for why in names::qualified_name(key) {
            found.invalid(path, &key.as_str().into(), why);
        }
        for why in names::label_value(value.as_str().unwrap_or_default()) {
            found.invalid(path, value, why);
        }
    }
}

pub(super) fn annotations(path: &str, map: Option<&Tree>, found: &mut Findings) {
    let Some(map) = map else { return };
    let mut bytes = 0;
    for (key, value) in members(map, &[]) {
        bytes += key.len() + value.as_str().unwrap_or_default().len();
        for why in names::qualified_name(&key.to_lowercase()) {
            found.invalid(path, &key.as_str().into(), why);
        }
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        found.too_long(path, ANNOTATIONS_BYTES_MAX);
    }
}

fn owners(tree: &Tree, found: &mut Findings) {
    let mut controller: Option<&str> = None;
    for (at, owner) in list(tree, &["metadata", "ownerReferences"]).iter().enumerate() {
        let path = format!("metadata.ownerReferences[{at}]");
        for (key, word) in [("apiVersion", "version"), ("kind", "kind"), ("name", "name"), ("uid", "uid")] {
            if text(owner, &[key]).is_empty() {
                found.invalid(format!("{path}.{key}"), &"".into(), format!("{word} must not be empty"));
            }
        }
        if owner.get("controller").and_then(Tree::as_bool) == Some(true) {
            let name = text(owner, &["name"]);
            if let Some(other) = controller.replace(name) {
                let why = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {other} and \
                     {name}"
                );
                found.invalid("metadata.ownerReferences", &list(tree, &["metadata", "ownerReferences"]).into(), why);
            }
        }
    }
}

pub(super) fn update(new: &Tree, old: &Tree, found: &mut Findings) {
    for key in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (new, old) = (at(new, &["metadata", key]), at(old, &["metadata", key]));
        // What the client left out, the registry fills in from the old object.
        if let (Some(new), true) = (new, new != old) {
            found.invalid(format!("metadata.{key}"), new, IMMUTABLE);
        }
    }
    if at(old, &["metadata", "deletionTimestamp"]).is_some() {
        let before = list(old, &["metadata", "finalizers"]);
        let added = list(new, &["metadata", "finalizers"]).iter().filter(|one| !before.contains(one));
        let added: Vec<String> = added.map(ToString::to_string).collect();
        if !added.is_empty() {
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            );
            found.forbidden("metadata.finalizers", &why);
        }
    }
}
