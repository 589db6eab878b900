//! Roles and bindings, nodes, claims, leases and custom resource definitions.

use super::{Findings, at, list, text, values};
use crate::{Kind, Tree, names};
use std::collections::HashSet;

const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) fn role(kind: &Kind, tree: &Tree, found: &mut Findings) {
    for (at, rule) in list(tree, &["rules"]).iter().enumerate() {
        let path = format!("rules[{at}]");
        if list(rule, &["verbs"]).is_empty() {
            found.required(format!("{path}.verbs"), "verbs must contain at least one value");
        }
        let urls = list(rule, &["nonResourceURLs"]);
        if !urls.is_empty() {
            let shown = Tree::Array(urls.to_vec());
            if kind.namespaced {
                let why = "namespaced rules cannot apply to non-resource URLs";
                found.invalid(format!("{path}.nonResourceURLs"), &shown, why);
            }
            if !list(rule, &["apiGroups"]).is_empty() || !list(rule, &["resources"]).is_empty() {
                let why = "rules cannot apply to both regular resources and non-resource URLs";
                found.invalid(format!("{path}.nonResourceURLs"), &shown, why);
            }
            continue;
        }
        if list(rule, &["apiGroups"]).is_empty() {
            found.required(format!("{path}.apiGroups"), "resource rules must supply at least one api group");
        }
        if list(rule, &["resources"]).is_empty() {
            found.required(format!("{path}.resources"), "resource rules must supply at least one resource");
        }
    }
    for (at, one) in list(tree, &["aggregationRule", "clusterRoleSelectors"]).iter().enumerate() {
        values::selector(&format!("aggregationRule.clusterRoleSelectors[{at}]"), one, found);
    }
}

pub(super) fn role_binding(kind: &Kind, tree: &Tree, found: &mut Findings) {
    if text(tree, &["roleRef", "apiGroup"]) != RBAC {
        found.unsupported("roleRef.apiGroup", &text(tree, &["roleRef", "apiGroup"]).into(), &[RBAC]);
    }
    let kinds: &[&str] = if kind.namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&text(tree, &["roleRef", "kind"])) {
        found.unsupported("roleRef.kind", &text(tree, &["roleRef", "kind"]).into(), kinds);
    }
    found.name("roleRef.name", text(tree, &["roleRef", "name"]), names::path_segment);
    for (at, subject) in list(tree, &["subjects"]).iter().enumerate() {
        let path = format!("subjects[{at}]");
        if text(subject, &["name"]).is_empty() {
            found.required(format!("{path}.name"), "");
        }
        let group = text(subject, &["apiGroup"]);
        let expected = match text(subject, &["kind"]) {
            "ServiceAccount" => {
                found.optional_name(&format!("{path}.name"), text(subject, &["name"]), names::dns_subdomain);
                if text(subject, &["namespace"]).is_empty() {
                    found.required(format!("{path}.namespace"), "");
                }
                ""
            }
            "User" | "Group" => RBAC,
            other => {
                found.unsupported(format!("{path}.kind"), &other.into(), &["ServiceAccount", "User", "Group"]);
                continue;
            }
        };
        if group != expected {
            found.unsupported(format!("{path}.apiGroup"), &group.into(), &[expected]);
        }
    }
}

pub(super) fn node(tree: &Tree, found: &mut Findings) {
    let mut seen = HashSet::new();
    for (at, taint) in list(tree, &["spec", "taints"]).iter().enumerate() {
        let path = format!("spec.taints[{at}]");
        let (key, effect) = (text(taint, &["key"]), text(taint, &["effect"]));
        for why in names::qualified_name(key) {
            found.invalid(format!("{path}.key"), &key.into(), why);
        }
        for why in names::label_value(text(taint, &["value"])) {
            found.invalid(format!("{path}.value"), &text(taint, &["value"]).into(), why);
        }
        match effect {
            "" => found.required(format!("{path}.effect"), ""),
            "NoSchedule" | "PreferNoSchedule" | "NoExecute" => {}
            other => found.unsupported(
                format!("{path}.effect"),
                &other.into(),
                &["NoSchedule", "PreferNoSchedule", "NoExecute"],
            ),
        }
        if !seen.insert((key, effect)) {
            found.duplicate(&path, taint);
        }
    }
}

pub(super) fn claim(tree: &Tree, found: &mut Findings) {
    if list(tree, &["spec", "accessModes"]).is_empty() {
        found.required("spec.accessModes", "at least 1 access mode is required");
    }
    match at(tree, &["spec", "resources", "requests", "storage"]) {
        None => found.required("spec.resources[storage]", ""),
        Some(amount) => match values::quantity(amount) {
            Err(why) => found.invalid("spec.resources[storage]", amount, why),
            Ok(size) if size.is_zero() || size.is_negative() => {
                found.invalid("spec.resources[storage]", amount, "must be greater than zero");
            }
            Ok(_) => {}
        },
    }
}

pub(super) fn lease(tree: &Tree, found: &mut Findings) {
    values::at_least("spec.leaseDurationSeconds", tree, &["spec", "leaseDurationSeconds"], 1, found);
    values::at_least("spec.leaseTransitions", tree, &["spec", "leaseTransitions"], 0, found);
}

pub(super) fn custom_resource(tree: &Tree, found: &mut Findings) {
    let group = text(tree, &["spec", "group"]);
    let plural = text(tree, &["spec", "names", "plural"]);
    found.name("spec.group", group, names::dns_subdomain);
    found.name("spec.names.plural", plural, names::dns_label_1035);
    if text(tree, &["spec", "names", "kind"]).is_empty() {
        found.required("spec.names.kind", "");
    }
    let name = text(tree, &["metadata", "name"]);
    if name != format!("{plural}.{group}") {
        found.invalid("metadata.name", &name.into(), "must be spec.names.plural+\".\"+spec.group");
    }
    if !matches!(text(tree, &["spec", "scope"]), "Namespaced" | "Cluster") {
        let scope = text(tree, &["spec", "scope"]).into();
        found.unsupported("spec.scope", &scope, &["Cluster", "Namespaced"]);
    }
    let versions = list(tree, &["spec", "versions"]);
    let stored = versions.iter().filter(|one| one.get("storage").and_then(Tree::as_bool) == Some(true)).count();
    if stored != 1 {
        let shown = Tree::Array(versions.iter().filter_map(|one| one.get("name").cloned()).collect());
        found.invalid("spec.versions", &shown, "must have exactly one version marked as storage version");
    }
    for (at, version) in versions.iter().enumerate() {
        found.name(&format!("spec.versions[{at}].name"), text(version, &["name"]), names::dns_label_1035);
        if version.get("schema").and_then(|schema| schema.get("openAPIV3Schema")).is_none() {
            found.required(format!("spec.versions[{at}].schema.openAPIV3Schema"), "schemas are required");
        }
    }
}
