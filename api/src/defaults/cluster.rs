//! Defaults of the kinds that pods use and that clusters are run with.

use super::pod::{old_sources, resource_list};
use crate::Tree;
use crate::walk::{Members, child, each, fill, find, has, make, put, word};
use base64::Engine as _;
use serde_json::json;

const RBAC: &str = "rbac.authorization.k8s.io";

/// `stringData` is folded into `data`, and wins.
pub(super) fn secret(object: &mut Members) {
    fill(object, "type", "Opaque");
    let Some(Tree::Object(plain)) = object.shift_remove("stringData") else { return };
    let Some(data) = make(object, "data") else { return };
    for (key, value) in plain {
        let bytes = value.as_str().unwrap_or_default();
        data.insert(key, base64::engine::general_purpose::STANDARD.encode(bytes).into());
    }
}

pub(super) fn namespace(object: &mut Members) {
    if let Some(metadata) = child(object, "metadata") {
        let name = word(metadata, "name").to_owned();
        if let Some(labels) = make(metadata, "labels").filter(|_| !name.is_empty()) {
            labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
        }
    }
    if let Some(status) = make(object, "status") {
        fill(status, "phase", "Active");
    }
}

pub(super) fn node(object: &mut Members) {
    if let Some(spec) = child(object, "spec") {
        pod_networks(spec);
    }
    let Some(status) = child(object, "status") else { return };
    for list in ["capacity", "allocatable"] {
        if let Some(list) = child(status, list) {
            resource_list(list);
        }
    }
    if let Some(capacity) = status.get("capacity").cloned() {
        put(status, "allocatable", capacity);
    }
}

/// The one network and the list of them: the first of the list is the one, and where they differ, the one is right.
fn pod_networks(spec: &mut Members) {
    let one = word(spec, "podCIDR").to_owned();
    let listed = spec.get("podCIDRs").and_then(Tree::as_array).filter(|all| !all.is_empty());
    match listed.map(|all| all[0].clone()) {
        Some(first) if one.is_empty() => {
            spec.insert("podCIDR".to_owned(), first);
        }
        first if !one.is_empty() && first != Some(one.as_str().into()) => {
            spec.insert("podCIDRs".to_owned(), json!([one]));
        }
        _ => {}
    }
}

pub(super) fn volume(object: &mut Members) {
    if let Some(spec) = child(object, "spec") {
        fill(spec, "persistentVolumeReclaimPolicy", "Retain");
        put(spec, "volumeMode", "Filesystem");
        if let Some(host) = child(spec, "hostPath") {
            put(host, "type", "");
        }
        old_sources(spec);
    }
    if let Some(status) = make(object, "status") {
        fill(status, "phase", "Pending");
    }
}

/// Also a StatefulSet's `volumeClaimTemplates`.
pub(super) fn claim(object: &mut Members) {
    if let Some(spec) = child(object, "spec") {
        put(spec, "volumeMode", "Filesystem");
    }
    if let Some(status) = make(object, "status") {
        fill(status, "phase", "Pending");
    }
}

/// A container's default limit is its maximum, and its default request is its default limit, else its minimum.
pub(super) fn limit_range(object: &mut Members) {
    let Some(spec) = child(object, "spec") else { return };
    for item in each(spec, "limits").filter(|item| word(item, "type") == "Container") {
        for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
            let Some(source) = item.get(from).and_then(Tree::as_object).cloned() else { continue };
            let Some(target) = make(item, to) else { continue };
            for (key, value) in source {
                put(target, &key, value);
            }
        }
    }
}

pub(super) fn role_binding(object: &mut Members) {
    if let Some(role) = make(object, "roleRef") {
        fill(role, "apiGroup", RBAC);
    }
    for subject in each(object, "subjects") {
        if matches!(word(subject, "kind"), "User" | "Group") {
            fill(subject, "apiGroup", RBAC);
        }
    }
}

pub(super) fn network_policy(object: &mut Members) {
    let Some(spec) = child(object, "spec") else { return };
    for direction in ["ingress", "egress"] {
        for rule in each(spec, direction) {
            for port in each(rule, "ports") {
                put(port, "protocol", "TCP");
            }
        }
    }
    if !has(spec, "policyTypes") {
        let has_egress = spec.get("egress").and_then(Tree::as_array).is_some_and(|all| !all.is_empty());
        let types = if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        spec.insert("policyTypes".to_owned(), types);
    }
}

pub(super) fn ingress_class(object: &mut Members) {
    if let Some(parameters) = find(object, &["spec", "parameters"]) {
        put(parameters, "scope", "Cluster");
    }
}

pub(super) fn storage_class(object: &mut Members) {
    put(object, "reclaimPolicy", "Delete");
    put(object, "volumeBindingMode", "Immediate");
}

pub(super) fn csi_driver(object: &mut Members) {
    let Some(spec) = child(object, "spec") else { return };
    put(spec, "attachRequired", true);
    for key in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
        put(spec, key, false);
    }
    put(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    put(spec, "volumeLifecycleModes", json!(["Persistent"]));
}

pub(super) fn admission_registration(object: &mut Members, kind: &str) {
    let is_mutating = kind == "MutatingWebhookConfiguration";
    for webhook in each(object, "webhooks") {
        put(webhook, "failurePolicy", "Fail");
        matching(webhook);
        put(webhook, "timeoutSeconds", 10);
        if is_mutating {
            put(webhook, "reinvocationPolicy", "Never");
        }
        each(webhook, "rules").for_each(|rule| put(rule, "scope", "*"));
        if let Some(service) = find(webhook, &["clientConfig", "service"]) {
            put(service, "port", 443);
        }
    }
    let Some(spec) = child(object, "spec") else { return };
    if kind.ends_with("AdmissionPolicy") {
        put(spec, "failurePolicy", "Fail");
    }
    for constraints in ["matchConstraints", "matchResources"] {
        let Some(constraints) = child(spec, constraints) else { continue };
        matching(constraints);
        for rules in ["resourceRules", "excludeResourceRules"] {
            each(constraints, rules).for_each(|rule| put(rule, "scope", "*"));
        }
    }
}

fn matching(owner: &mut Members) {
    put(owner, "matchPolicy", "Equivalent");
    put(owner, "namespaceSelector", json!({}));
    put(owner, "objectSelector", json!({}));
}

pub(super) fn custom_resource(object: &mut Members) {
    let Some(spec) = child(object, "spec") else { return };
    if let Some(names) = child(spec, "names") {
        let kind = word(names, "kind").to_owned();
        if !kind.is_empty() {
            fill(names, "singular", kind.to_lowercase());
            fill(names, "listKind", format!("{kind}List"));
        }
    }
    if let Some(conversion) = make(spec, "conversion") {
        fill(conversion, "strategy", "None");
        if let Some(service) = find(conversion, &["webhook", "clientConfig", "service"]) {
            put(service, "port", 443);
        }
    }
}
