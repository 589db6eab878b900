//! Roles, and what binds them to users.

use super::findings::Findings;
use super::place::Place;
use super::{shown, values};
use crate::{Kind, names};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn role(kind: &Kind, root: &Place<'_, '_>, found: &mut Findings) {
    root.get("rules").each().for_each(|rule| self::rule(&rule, kind.namespaced, found));
    if !kind.namespaced {
        let aggregation = root.get("aggregationRule");
        let selectors = aggregation.get("clusterRoleSelectors");
        if aggregation.is_given() && selectors.is_empty() {
            found.required(&selectors, "at least one clusterRoleSelector required if aggregationRule is non-nil");
        }
        for selector in selectors.each() {
            values::selector(&selector, found);
        }
    }
}

fn rule(at: &Place<'_, '_>, is_namespaced: bool, found: &mut Findings) {
    let required = |key: &str, why: &str, found: &mut Findings| {
        if at.get(key).is_empty() {
            found.required(&at.get(key), why);
        }
    };
    required("verbs", "verbs must contain at least one value", found);
    let urls = at.get("nonResourceURLs");
    if urls.is_empty() {
        required("apiGroups", "resource rules must supply at least one api group", found);
        required("resources", "resource rules must supply at least one resource", found);
        return;
    }
    if is_namespaced {
        found.invalid(&urls, "namespaced rules cannot apply to non-resource URLs");
    }
    if ["apiGroups", "resources", "resourceNames"].iter().any(|key| !at.get(key).is_empty()) {
        found.invalid(&urls, "rules cannot apply to both regular resources and non-resource URLs");
    }
}

pub(super) fn binding(kind: &Kind, root: &Place<'_, '_>, found: &mut Findings) {
    let role = root.get("roleRef");
    found.member(&role.get("apiGroup"), &[GROUP]);
    let kinds: &[&str] = if kind.namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    found.member(&role.get("kind"), kinds);
    found.name(&role.get("name"), names::path_segment);
    root.get("subjects").each().for_each(|subject| self::subject(&subject, kind.namespaced, found));
}

fn subject(at: &Place<'_, '_>, is_namespaced: bool, found: &mut Findings) {
    let (name, group) = (at.get("name"), at.get("apiGroup"));
    if name.is_empty() {
        found.required(&name, "");
    }
    match at.get("kind").text() {
        "ServiceAccount" => {
            found.optional_name(&name, names::dns_subdomain);
            found.member(&group, &[""]);
            if !is_namespaced && at.get("namespace").is_empty() {
                found.required(&at.get("namespace"), "");
            }
        }
        "User" | "Group" => found.member(&group, &[GROUP]),
        other => found.unsupported_as(&at.get("kind"), other, &["ServiceAccount", "User", "Group"]),
    }
}

pub(super) fn binding_update(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    let role = new.get("roleRef");
    if role.value() != old.get("roleRef").value() {
        found.invalid_as(&role, shown::internal("rbac/v1", "RoleRef", role.value()), "cannot change roleRef");
    }
}
