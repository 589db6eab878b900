//! One stored object under the several versions and groups that serve it.
//!
//! Knows which kind an object is stored as, and both ways between the trees: Events of two groups, autoscalers of two
//! versions, and the versions that kubectl 1.20 asks for without looking (`generated/legacy.txt`). Upstream's
//! conversions, as far as two versions differ in more than their name; ownership of fields goes along as it is, because
//! what clients own keeps its path in all but a few places.

mod autoscaler;
mod definition;
mod ingress;

use crate::object::edit;
use crate::resource::EVENTS;
use crate::walk::{Members, child, each, find, make, put, word};
use crate::{Kind, Resource, Tree, kinds};
use serde_json::json;
use std::sync::Arc;

/// Places of an Event in `v1`, and in `events.k8s.io`.
const EVENT: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("source", "deprecatedSource"),
    ("reportingComponent", "reportingController"),
];

/// What upstream makes of an empty selector of `policy/v1beta1`, which selects nothing, while one of `v1` selects all.
const EMPTY_SELECTOR: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";

const ZONE: &str = "topology.kubernetes.io/zone";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// The kind that an object of this one is stored as; `None` if as what it is, which costs next to nothing to know.
#[must_use]
pub fn stored(kind: &Kind) -> Option<&'static Arc<Kind>> {
    let version = match (kind.group(), kind.version()) {
        _ if kind.is_custom() => return None,
        ("events.k8s.io", _) => return kinds::find(&EVENTS),
        ("extensions", _) => {
            return kinds::find(&Resource::new("networking.k8s.io", "v1", kind.resource.plural.clone()));
        }
        ("autoscaling", "v1" | "v2beta2") => "v2",
        (_, "v1beta1") => "v1",
        _ => return None,
    };
    kinds::find(&Resource::new(kind.group().to_owned(), version, kind.resource.plural.clone()))
}

/// Makes a tree of `kind` one of the kind that is stored, which is told if it is another.
pub fn into_stored(kind: &Kind, tree: &mut Tree) -> Option<&'static Arc<Kind>> {
    let stored = stored(kind)?;
    if let Some(object) = tree.as_object_mut() {
        change(kind, object, Way::In);
    }
    edit::set(tree, &["apiVersion"], stored.api_version());
    Some(stored)
}

/// Makes a tree of the stored kind one of `kind`.
pub fn out_of_stored(kind: &Kind, tree: &mut Tree) {
    if let Some(object) = tree.as_object_mut().filter(|_| stored(kind).is_some()) {
        change(kind, object, Way::Out);
    }
    edit::set(tree, &["apiVersion"], kind.api_version());
}

/// Which way a tree is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To what is stored.
    In,
    /// To what was asked for.
    Out,
}

fn change(kind: &Kind, object: &mut Members, way: Way) {
    match (kind.group(), kind.kind.as_str()) {
        ("events.k8s.io", "Event") => event(object, way),
        ("autoscaling", _) if kind.version() == "v1" => autoscaler::change(object, way),
        ("policy", "PodDisruptionBudget") => budget(object, way),
        ("discovery.k8s.io", "EndpointSlice") => each(object, "endpoints").for_each(|one| endpoint(one, way)),
        ("networking.k8s.io" | "extensions", "Ingress") => ingress::change(object, way),
        ("certificates.k8s.io", "CertificateSigningRequest") if way == Way::In => request(object),
        ("authorization.k8s.io", "SubjectAccessReview" | "LocalSubjectAccessReview") => {
            let (from, to) = if way == Way::In { ("group", "groups") } else { ("groups", "group") };
            child(object, "spec").into_iter().for_each(|spec| rename(spec, from, to));
        }
        ("apiextensions.k8s.io", _) => definition::change(object, way),
        _ => {}
    }
}

fn rename(map: &mut Members, from: &str, to: &str) {
    if let Some(value) = map.shift_remove(from) {
        map.insert(to.to_owned(), value);
    }
}

fn event(object: &mut Members, way: Way) {
    for (core, new) in EVENT {
        let (from, to) = if way == Way::In { (new, core) } else { (core, new) };
        rename(object, from, to);
    }
}

fn budget(object: &mut Members, way: Way) {
    let Some(selector) = find(object, &["spec", "selector"]) else { return };
    let requires = |operator: &str| json!({"matchExpressions": [{"key": EMPTY_SELECTOR, "operator": operator}]});
    let (nothing, all) = (requires("Exists"), requires("DoesNotExist"));
    let mut tree = Tree::Object(std::mem::take(selector));
    let is_empty = tree == json!({});
    match way {
        Way::In if is_empty => tree = nothing,
        Way::In if tree == all => tree = json!({}),
        Way::Out if is_empty => tree = all,
        Way::Out if tree == nothing => tree = json!({}),
        _ => {}
    }
    if let Tree::Object(tree) = tree {
        *selector = tree;
    }
}

/// Where an endpoint is was a map of labels, of which two have become fields.
fn endpoint(one: &mut Members, way: Way) {
    match way {
        Way::In => {
            let Some(Tree::Object(mut topology)) = one.shift_remove("topology") else { return };
            if let Some(zone) = topology.shift_remove(ZONE) {
                one.insert("zone".to_owned(), zone);
            }
            if topology.get(HOSTNAME).is_some_and(|host| one.get("nodeName").is_none_or(|name| name == host)) {
                let host = topology.shift_remove(HOSTNAME);
                host.into_iter().for_each(|host| put(one, "nodeName", host));
            }
            if !topology.is_empty() {
                one.insert("deprecatedTopology".to_owned(), Tree::Object(topology));
            }
        }
        Way::Out => {
            rename(one, "deprecatedTopology", "topology");
            let (zone, node) = (one.shift_remove("zone"), one.get("nodeName").cloned());
            for (label, value) in [(ZONE, zone), (HOSTNAME, node)] {
                if let Some(value) = value
                    && let Some(topology) = make(one, "topology")
                {
                    topology.insert(label.to_owned(), value);
                }
            }
        }
    }
}

/// What `v1` requires of a certificate request, and `v1beta1` did not.
fn request(object: &mut Members) {
    if let Some(spec) = child(object, "spec") {
        put(spec, "signerName", "kubernetes.io/legacy-unknown");
        put(spec, "usages", json!(["digital signature", "key encipherment"]));
    }
    if let Some(status) = child(object, "status") {
        for condition in each(status, "conditions") {
            if word(condition, "status").is_empty() {
                condition.insert("status".to_owned(), "True".into());
            }
        }
    }
}

#[cfg(test)]
mod tests;
