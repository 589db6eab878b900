//! Volumes of a pod: a name, and exactly one source.

use super::{Findings, at, list, text};
use crate::{Tree, names};
use std::collections::HashSet;

/// What each source must name.
const REQUIRED: [(&str, &str); 6] = [
    ("hostPath", "path"),
    ("secret", "secretName"),
    ("configMap", "name"),
    ("persistentVolumeClaim", "claimName"),
    ("nfs", "server"),
    ("csi", "driver"),
];

/// Checks them all, and gives the names that mounts may use.
pub(super) fn all<'t>(path: &str, volumes: &'t [Tree], found: &mut Findings) -> HashSet<&'t str> {
    let mut seen = HashSet::new();
    for (at, one) in volumes.iter().enumerate() {
        let path = format!("{path}[{at}]");
        let name = text(one, &["name"]);
        found.name(&format!("{path}.name"), name, names::dns_label);
        if !name.is_empty() && !seen.insert(name) {
            found.duplicate(format!("{path}.name"), &name.into());
        }
        source(&path, one, found);
    }
    seen
}

fn source(path: &str, volume: &Tree, found: &mut Findings) {
    let is_given = |(key, value): &(&String, &Tree)| *key != "name" && !value.is_null();
    let given: Vec<_> = volume.as_object().into_iter().flatten().filter(is_given).map(|(key, _)| key).collect();
    if given.is_empty() {
        found.required(path, "must specify a volume type");
    }
    for extra in given.iter().skip(1) {
        found.forbidden(format!("{path}.{extra}"), "may not specify more than 1 volume type");
    }
    for (kind, key) in REQUIRED {
        if let Some(one) = at(volume, &[kind])
            && text(one, &[key]).is_empty()
        {
            found.required(format!("{path}.{kind}.{key}"), "");
        }
    }
    let host = text(volume, &["hostPath", "path"]);
    if host.split('/').any(|part| part == "..") {
        found.invalid(format!("{path}.hostPath.path"), &host.into(), "must not contain '..'");
    }
    for kind in ["secret", "configMap", "downwardAPI"] {
        for (at, item) in list(volume, &[kind, "items"]).iter().enumerate() {
            let shown = format!("{path}.{kind}.items[{at}]");
            if kind != "downwardAPI" && text(item, &["key"]).is_empty() {
                found.required(format!("{shown}.key"), "");
            }
            relative(&format!("{shown}.path"), text(item, &["path"]), found);
        }
    }
}

/// The path of a projected file stays inside the volume.
fn relative(field: &str, path: &str, found: &mut Findings) {
    if path.is_empty() {
        found.required(field, "");
    } else if path.starts_with('/') {
        found.invalid(field, &path.into(), "must be a relative path");
    } else if path.split('/').any(|part| part == "..") {
        found.invalid(field, &path.into(), "must not contain '..'");
    } else if path.starts_with("..") {
        found.invalid(field, &path.into(), "must not start with '..'");
    }
}
