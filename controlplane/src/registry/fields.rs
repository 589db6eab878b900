//! Which fields of which kinds a field selector may name, and what an object has there.
//!
//! The table is upstream's (1.36). Pods' node and phase are kept beside the object; all else is read from its bytes,
//! since nobody watches by it.

use super::shelf::Stored;
use api::object::edit;
use api::{Rejected, Tree};
use std::borrow::Cow;

/// Label, place in the tree, and what an absent value counts as.
type Row = (&'static str, &'static [&'static str], &'static str);

const PODS: &[Row] = &[
    ("spec.nodeName", &["spec", "nodeName"], ""),
    ("spec.restartPolicy", &["spec", "restartPolicy"], ""),
    ("spec.schedulerName", &["spec", "schedulerName"], ""),
    ("spec.serviceAccountName", &["spec", "serviceAccountName"], ""),
    ("spec.hostNetwork", &["spec", "hostNetwork"], "false"),
    ("status.phase", &["status", "phase"], ""),
    ("status.podIP", &["status", "podIP"], ""),
    ("status.podIPs", &["status", "podIP"], ""),
    ("status.nominatedNodeName", &["status", "nominatedNodeName"], ""),
];
const EVENTS: &[Row] = &[
    ("involvedObject.kind", &["involvedObject", "kind"], ""),
    ("involvedObject.namespace", &["involvedObject", "namespace"], ""),
    ("involvedObject.name", &["involvedObject", "name"], ""),
    ("involvedObject.uid", &["involvedObject", "uid"], ""),
    ("involvedObject.apiVersion", &["involvedObject", "apiVersion"], ""),
    ("involvedObject.resourceVersion", &["involvedObject", "resourceVersion"], ""),
    ("involvedObject.fieldPath", &["involvedObject", "fieldPath"], ""),
    ("regarding.kind", &["involvedObject", "kind"], ""),
    ("regarding.namespace", &["involvedObject", "namespace"], ""),
    ("regarding.name", &["involvedObject", "name"], ""),
    ("regarding.uid", &["involvedObject", "uid"], ""),
    ("regarding.apiVersion", &["involvedObject", "apiVersion"], ""),
    ("regarding.resourceVersion", &["involvedObject", "resourceVersion"], ""),
    ("regarding.fieldPath", &["involvedObject", "fieldPath"], ""),
    ("reason", &["reason"], ""),
    ("reportingComponent", &["reportingComponent"], ""),
    ("reportingController", &["reportingComponent"], ""),
    ("source", &["source", "component"], ""),
    ("type", &["type"], ""),
];

fn rows(collection: &str) -> &'static [Row] {
    match collection {
        "core/pods" => PODS,
        "core/events" => EVENTS,
        "core/nodes" => &[("spec.unschedulable", &["spec", "unschedulable"], "false")],
        "core/namespaces" => &[("status.phase", &["status", "phase"], "")],
        "core/secrets" => &[("type", &["type"], "")],
        "core/services" => &[("spec.clusterIP", &["spec", "clusterIP"], ""), ("spec.type", &["spec", "type"], "")],
        "core/replicationcontrollers" | "apps/replicasets" => &[("status.replicas", &["status", "replicas"], "0")],
        "batch/jobs" => &[("status.successful", &["status", "succeeded"], "0")],
        "certificates.k8s.io/certificatesigningrequests" => &[("spec.signerName", &["spec", "signerName"], "")],
        _ => &[],
    }
}

/// Refuses a label that the kind does not know.
pub(super) fn check(collection: &str, label: &str) -> Result<(), Rejected> {
    let is_known = matches!(label, "metadata.name" | "metadata.namespace")
        || rows(collection).iter().any(|(known, ..)| *known == label);
    if is_known { Ok(()) } else { Err(Rejected::bad_request(format!("field label not supported: {label}"))) }
}

/// What the object has at a label that passed `check`.
pub(super) fn value<'a>(collection: &str, label: &str, stored: &'a Stored) -> Cow<'a, str> {
    match label {
        "metadata.name" => return Cow::Borrowed(stored.object.name()),
        "metadata.namespace" => return Cow::Borrowed(stored.object.namespace()),
        "spec.nodeName" => return Cow::Borrowed(&stored.node),
        "status.phase" if collection == "core/pods" => return Cow::Borrowed(&stored.phase),
        _ => {}
    }
    let Some((_, path, absent)) = rows(collection).iter().find(|(known, ..)| *known == label) else {
        return Cow::Borrowed("");
    };
    let tree = stored.object.tree();
    match edit::at(&tree, path) {
        None | Some(Tree::Null) => Cow::Borrowed(*absent),
        Some(Tree::String(text)) => Cow::Owned(text.clone()),
        Some(other) => Cow::Owned(other.to_string()),
    }
}
