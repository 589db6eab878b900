//! Pod specs, alone or in a template.

use super::meta::{annotations, labels};
use super::{Findings, at, container, list, text, values, volume};
use crate::walk::integer;
use crate::{Tree, names};
use std::collections::HashSet;

/// Says what is wrong with a text.
type Test = fn(&str) -> Vec<String>;

/// A pod template below `path`.
pub(super) fn template(tree: &Tree, path: &[&str], found: &mut Findings) {
    let Some(template) = at(tree, path) else { return found.required(path.join("."), "") };
    let shown = path.join(".");
    if let Some(map) = at(template, &["metadata", "labels"]) {
        labels(&format!("{shown}.metadata.labels"), map, found);
    }
    annotations(&format!("{shown}.metadata.annotations"), at(template, &["metadata", "annotations"]), found);
    spec(tree, &[path, &["spec"]].concat(), found);
}

/// The pod spec at `path`.
pub(super) fn spec(tree: &Tree, path: &[&str], found: &mut Findings) {
    let shown = path.join(".");
    let empty = Tree::Object(serde_json::Map::new());
    let spec = at(tree, path).unwrap_or(&empty);
    let volumes = volume::all(&format!("{shown}.volumes"), list(spec, &["volumes"]), found);
    containers(spec, &shown, &volumes, found);
    if text(spec, &["restartPolicy"]).is_empty() {
        found.required(format!("{shown}.restartPolicy"), "");
    }
    found.natural(format!("{shown}.terminationGracePeriodSeconds"), at(spec, &["terminationGracePeriodSeconds"]));
    if let Some(deadline) = integer(spec, &["activeDeadlineSeconds"])
        && !(1..=i64::from(i32::MAX)).contains(&deadline)
    {
        let why = "must be between 1 and 2147483647, inclusive";
        found.invalid(format!("{shown}.activeDeadlineSeconds"), &deadline.into(), why);
    }
    if let Some(selector) = at(spec, &["nodeSelector"]) {
        labels(&format!("{shown}.nodeSelector"), selector, found);
    }
    let tests: [(&str, Test); 6] = [
        ("serviceAccountName", names::dns_subdomain),
        ("nodeName", names::dns_subdomain),
        ("hostname", names::dns_label),
        ("subdomain", names::dns_label),
        ("priorityClassName", names::dns_subdomain),
        ("runtimeClassName", names::dns_subdomain),
    ];
    for (key, test) in tests {
        found.optional_name(&format!("{shown}.{key}"), text(spec, &[key]), test);
    }
    for (at, alias) in list(spec, &["hostAliases"]).iter().enumerate() {
        found.name(&format!("{shown}.hostAliases[{at}].ip"), text(alias, &["ip"]), names::ip_address);
    }
    tolerations(spec, &format!("{shown}.tolerations"), found);
    spread(spec, &format!("{shown}.topologySpreadConstraints"), found);
}

fn containers(spec: &Tree, shown: &str, volumes: &HashSet<&str>, found: &mut Findings) {
    if list(spec, &["containers"]).is_empty() {
        found.required(format!("{shown}.containers"), "");
    }
    let (mut seen, mut ports) = (HashSet::new(), HashSet::new());
    for key in ["containers", "initContainers", "ephemeralContainers"] {
        for (at, one) in list(spec, &[key]).iter().enumerate() {
            let path = format!("{shown}.{key}[{at}]");
            let name = text(one, &["name"]);
            if !name.is_empty() && !seen.insert(name) {
                found.duplicate(format!("{path}.name"), &name.into());
            }
            container::container(&path, one, volumes, found);
            // Each init container has the ports for itself while it runs.
            if key == "containers" {
                container::host_ports(&path, one, &mut ports, found);
            }
        }
    }
}

fn tolerations(spec: &Tree, path: &str, found: &mut Findings) {
    for (at, one) in list(spec, &["tolerations"]).iter().enumerate() {
        let path = format!("{path}[{at}]");
        let (key, operator, value) = (text(one, &["key"]), text(one, &["operator"]), text(one, &["value"]));
        found.optional_name(&format!("{path}.key"), key, names::qualified_name);
        if key.is_empty() && operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            found.invalid(format!("{path}.operator"), &operator.into(), why);
        }
        let is_timed = integer(one, &["tolerationSeconds"]).is_some();
        if is_timed && text(one, &["effect"]) != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            found.invalid(format!("{path}.effect"), &text(one, &["effect"]).into(), why);
        }
        match operator {
            "" | "Equal" => found.optional_name(&format!("{path}.operator"), value, |value| {
                names::label_value(value).into_iter().take(1).collect()
            }),
            "Exists" if !value.is_empty() => {
                let why = "value must be empty when `operator` is 'Exists'";
                found.invalid(format!("{path}.operator"), &value.into(), why);
            }
            _ => {}
        }
    }
}

fn spread(spec: &Tree, path: &str, found: &mut Findings) {
    for (at, one) in list(spec, &["topologySpreadConstraints"]).iter().enumerate() {
        let path = format!("{path}[{at}]");
        if integer(one, &["maxSkew"]).unwrap_or(0) < 1 {
            let value = integer(one, &["maxSkew"]).unwrap_or(0).into();
            found.invalid(format!("{path}.maxSkew"), &value, "must be greater than zero");
        }
        if text(one, &["topologyKey"]).is_empty() {
            found.required(format!("{path}.topologyKey"), "can not be empty");
        }
        if let Some(selector) = one.get("labelSelector") {
            values::selector(&format!("{path}.labelSelector"), selector, found);
        }
    }
}
