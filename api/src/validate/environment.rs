//! The environment of a container: variables, and what they are taken from.

use super::findings::Findings;
use super::place::Place;
use super::values;
use crate::names;

/// The fields of a pod that a variable may show.
const SHOWN: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields of a pod that exist, but cannot be shown everywhere.
const HIDDEN: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase"];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const DIVISORS: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

pub(super) fn variables(all: &Place<'_, '_>, found: &mut Findings) {
    for one in all.each() {
        found.name(&one.get("name"), names::environment_name);
        if one.has("valueFrom") {
            value_from(&one.get("valueFrom"), one.get("value").is_empty(), found);
        }
    }
}

fn value_from(at: &Place<'_, '_>, has_no_value: bool, found: &mut Findings) {
    let kinds = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let mut given = 0;
    for kind in kinds.into_iter().filter(|kind| at.has(kind)) {
        given += 1;
        let one = at.get(kind);
        match kind {
            "fieldRef" => field(&one, SHOWN, found),
            "resourceFieldRef" => resource(&one, false, found),
            "configMapKeyRef" | "secretKeyRef" => {
                found.test(&one.get("name"), names::dns_subdomain);
                found.name(&one.get("key"), names::config_key);
            }
            _ => {}
        }
    }
    if given == 0 {
        let why =
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        found.invalid_as(at, "", why);
    } else if !has_no_value {
        found.invalid_as(at, "", "may not be specified when `value` is not empty");
    } else if given > 1 {
        found.invalid_as(at, "", "may not have more than one field specified at a time");
    }
}

/// A field of the pod.
pub(super) fn field(at: &Place<'_, '_>, shown: &[&str], found: &mut Findings) {
    let path = at.get("fieldPath");
    if at.get("apiVersion").is_empty() {
        return found.required(&at.get("apiVersion"), "");
    }
    if path.is_empty() {
        return found.required(&path, "");
    }
    let text = path.text();
    let subscript = text.strip_suffix("']").and_then(|text| text.split_once("['")).filter(|(name, _)| !name.is_empty());
    match subscript {
        Some(("metadata.annotations", key)) => {
            names::qualified_name(&key.to_lowercase())
                .into_iter()
                .for_each(|why| found.invalid_as(at, key.to_lowercase(), why));
        }
        Some(("metadata.labels", key)) => {
            names::qualified_name(key).into_iter().for_each(|why| found.invalid_as(at, key, why));
        }
        Some(_) => {
            let why = format!("error converting fieldPath: field label does not support subscript: {text}");
            found.invalid(&path, why);
        }
        None if shown.contains(&text) => {}
        None if SHOWN.contains(&text) || HIDDEN.contains(&text) => found.unsupported(&path, shown),
        None => found.invalid(&path, format!("error converting fieldPath: field label not supported: {text}")),
    }
}

/// A resource of a container, in a unit.
pub(super) fn resource(at: &Place<'_, '_>, is_volume: bool, found: &mut Findings) {
    let name = at.get("resource");
    let is_pages = ["requests.hugepages-", "limits.hugepages-"].iter().any(|head| name.text().starts_with(head));
    if is_volume && at.get("containerName").is_empty() {
        found.required(&at.get("containerName"), "");
    } else if name.is_empty() {
        found.required(&name, "");
    } else if !is_pages && !RESOURCES.contains(&name.text()) {
        found.unsupported(&name, RESOURCES);
    }
    let divisor = at.get("divisor");
    let Ok(amount) = values::quantity(divisor.value()) else { return };
    if amount.is_zero() {
        return;
    }
    let unit = amount.to_string();
    let (is_fitting, kind) = match name.text() {
        "limits.cpu" | "requests.cpu" => {
            (matches!(unit.as_str(), "1m" | "1"), "values 1m and 1 are supported with the cpu")
        }
        text => {
            let kind = if is_pages {
                "hugepages"
            } else if text.ends_with(".memory") {
                "memory"
            } else {
                "local ephemeral storage"
            };
            (DIVISORS.contains(&unit.as_str()), kind)
        }
    };
    if !is_fitting && kind.starts_with("values") {
        found.invalid_as(&divisor, name.text(), format!("only divisor's {kind} resource"));
    } else if !is_fitting && !name.is_empty() {
        let why = format!("only divisor's values {} are supported with the {kind} resource", DIVISORS.join(", "));
        found.invalid_as(&divisor, name.text(), why);
    }
}

pub(super) fn sources(all: &Place<'_, '_>, found: &mut Findings) {
    for one in all.each() {
        found.optional_name(&one.get("prefix"), names::environment_name);
        let mut given = 0;
        for kind in ["configMapRef", "secretRef"].into_iter().filter(|kind| one.has(kind)) {
            given += 1;
            found.name(&one.get(kind).get("name"), names::dns_subdomain);
        }
        // Upstream names the list here, not the element.
        match given {
            0 => found.invalid_as(all, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => found.invalid_as(all, "", "may not have more than one field specified at a time"),
        }
    }
}
