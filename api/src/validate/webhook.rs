//! Configurations of admission webhooks.

use super::findings::Findings;
use super::place::Place;
use super::values;
use crate::names;
use std::collections::HashSet;

const FORM: &str = "desired format: https://host[/path]";

pub(super) fn configuration(root: &Place<'_, '_>, is_mutating: bool, found: &mut Findings) {
    let mut seen = HashSet::new();
    for hook in root.get("webhooks").each() {
        let name = hook.get("name");
        if name.is_empty() {
            found.required(&name, "");
        }
        for (shown, why) in names::domain_name(name.text(), 3).into_iter().filter(|_| !name.is_empty()) {
            found.invalid_as(&name, shown, why);
        }
        hook.get("rules").each().for_each(|one| rule(&one, found));
        found.optional_one_of(&hook.get("failurePolicy"), &["Fail", "Ignore"]);
        found.optional_one_of(&hook.get("matchPolicy"), &["Equivalent", "Exact"]);
        let effects = hook.get("sideEffects");
        if effects.is_given() {
            found.member(&effects, &["None", "NoneOnDryRun"]);
        } else {
            found.required(&effects, "must specify one of None, NoneOnDryRun");
        }
        let seconds = hook.get("timeoutSeconds");
        if seconds.integer().is_some_and(|seconds| !(1..=30).contains(&seconds)) {
            found.invalid(&seconds, "the timeout value must be between 1 and 30 seconds");
        }
        values::selector(&hook.get("namespaceSelector"), found);
        values::selector(&hook.get("objectSelector"), found);
        if is_mutating {
            found.optional_one_of(&hook.get("reinvocationPolicy"), &["IfNeeded", "Never"]);
        }
        client(&hook.get("clientConfig"), found);
        versions(&hook.get("admissionReviewVersions"), found);
        if !name.is_empty() && !seen.insert(name.text()) {
            found.duplicate(&name);
        }
    }
}

fn client(at: &Place<'_, '_>, found: &mut Findings) {
    match (at.has("url"), at.has("service")) {
        (true, false) => url(&at.get("url"), found),
        (false, true) => service(&at.get("service"), found),
        _ => found.required(at, "exactly one of url or service is required"),
    }
}

fn url(at: &Place<'_, '_>, found: &mut Findings) {
    let Some((scheme, rest)) = at.text().split_once("://") else {
        return found.invalid_as(at, "", format!("'https' is the only allowed URL scheme; {FORM}"));
    };
    if scheme != "https" {
        found.invalid_as(at, scheme, format!("'https' is the only allowed URL scheme; {FORM}"));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, rest) = rest.split_at(end);
    if host.is_empty() {
        found.invalid_as(at, "", format!("host must be specified; {FORM}"));
    }
    if let Some((user, _)) = host.rsplit_once('@') {
        found.invalid_as(at, user, "user information is not permitted in the URL");
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    if !fragment.is_empty() {
        found.invalid_as(at, fragment, "fragments are not permitted in the URL");
    }
    if let Some((_, query)) = rest.split_once('?') {
        found.invalid_as(at, query, "query parameters are not permitted in the URL");
    }
}

fn service(at: &Place<'_, '_>, found: &mut Findings) {
    for (key, why) in [("name", "service name is required"), ("namespace", "service namespace is required")] {
        if at.get(key).is_empty() {
            found.required(&at.get(key), why);
        }
    }
    let port = at.get("port");
    if port.integer().is_some_and(|port| !(1..=65_535).contains(&port)) {
        found.invalid(&port, "port is not valid: must be between 1 and 65535, inclusive");
    }
    let path = at.get("path");
    if !path.is_empty() && !path.text().starts_with('/') {
        found.invalid(&path, "must start with a '/'");
    }
}

fn versions(all: &Place<'_, '_>, found: &mut Findings) {
    if all.is_empty() {
        return found.required(all, "must specify one of v1, v1beta1");
    }
    let mut seen = HashSet::new();
    for one in all.each() {
        if !seen.insert(one.text()) {
            found.duplicate(&one);
            continue;
        }
        found.test(&one, names::dns_label_1035);
    }
    if !all.texts().any(|one| matches!(one, "v1" | "v1beta1")) {
        found.invalid(all, "must include at least one of v1, v1beta1");
    }
}

fn rule(at: &Place<'_, '_>, found: &mut Findings) {
    const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    for (key, word) in [("operations", "operations"), ("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let all = at.get(key);
        if all.is_empty() {
            found.required(&all, "");
        }
        if all.len() > 1 && all.texts().any(|one| one == "*") {
            found.invalid(&all, format!("if '*' is present, must not specify other {word}"));
        }
        match key {
            "operations" => all.each().for_each(|one| found.member(&one, OPERATIONS)),
            "apiVersions" => {
                all.each().filter(Place::is_empty).for_each(|one| found.required(&one, ""));
            }
            _ => {}
        }
    }
    resources(&at.get("resources"), found);
    found.optional_one_of(&at.get("scope"), &["*", "Cluster", "Namespaced"]);
}

fn resources(all: &Place<'_, '_>, found: &mut Findings) {
    if all.is_empty() {
        found.required(all, "");
    }
    let whole: Vec<&str> = all.texts().filter_map(|one| one.strip_suffix("/*")).filter(|one| *one != "*").collect();
    let parts: Vec<&str> = all.texts().filter_map(|one| one.strip_prefix("*/")).filter(|one| *one != "*").collect();
    for (position, one) in all.each().enumerate() {
        if one.is_empty() {
            found.required(&one, "");
        }
        if let Some((resource, part)) =
            one.text().split_once('/').filter(|(resource, part)| *resource != "*" && *part != "*")
        {
            if whole.contains(&resource) {
                found.invalid(&one, format!("if '{resource}/*' is present, must not specify {}", one.text()));
            }
            if parts.contains(&part) {
                found.invalid(&one, format!("if '*/{part}' is present, must not specify {}", one.text()));
            }
        }
        if all.texts().take(position).any(|other| other == one.text()) {
            found.duplicate(&one);
        }
    }
    if all.len() > 1 && all.texts().any(|one| one == "*/*") {
        found.invalid(all, "if '*/*' is present, must not specify other resources");
    }
    if all.texts().any(|one| one == "*") && all.texts().any(|one| one != "*" && !one.contains('/')) {
        found.invalid(all, "if '*' is present, must not specify other resources without subresources");
    }
}
