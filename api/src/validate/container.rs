//! One container: image, ports, environment, mounts, probes and hooks.

use super::{Findings, at, list, text, values};
use crate::walk::integer;
use crate::{Tree, names};
use serde_json::json;
use std::collections::HashSet;

/// The fields of a pod that an environment variable may show.
const POD_FIELDS: [&str; 9] = [
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

pub(super) fn container(path: &str, tree: &Tree, volumes: &HashSet<&str>, found: &mut Findings) {
    found.name(&format!("{path}.name"), text(tree, &["name"]), names::dns_label);
    let image = text(tree, &["image"]);
    if image.is_empty() {
        found.required(format!("{path}.image"), "");
    } else if image.trim() != image {
        found.invalid(format!("{path}.image"), &image.into(), "must not have leading or trailing whitespace");
    }
    ports(path, tree, found);
    for (at, one) in list(tree, &["env"]).iter().enumerate() {
        variable(&format!("{path}.env[{at}]"), one, found);
    }
    for (at, one) in list(tree, &["envFrom"]).iter().enumerate() {
        source(&format!("{path}.envFrom[{at}]"), one, found);
    }
    mounts(path, tree, volumes, found);
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(one) = at(tree, &[key]) {
            probe(&format!("{path}.{key}"), one, key, found);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(one) = at(tree, &["lifecycle", hook]) {
            handler(&format!("{path}.lifecycle.{hook}"), one, &["exec", "httpGet", "tcpSocket", "sleep"], found);
        }
    }
    if let Some(resources) = at(tree, &["resources"]) {
        values::resources(&format!("{path}.resources"), resources, found);
    }
}

fn ports(path: &str, tree: &Tree, found: &mut Findings) {
    let mut seen = HashSet::new();
    for (at, one) in list(tree, &["ports"]).iter().enumerate() {
        let path = format!("{path}.ports[{at}]");
        let name = text(one, &["name"]);
        found.optional_name(&format!("{path}.name"), name, names::port_name);
        if !name.is_empty() && !seen.insert(name) {
            found.duplicate(format!("{path}.name"), &name.into());
        }
        match integer(one, &["containerPort"]).unwrap_or(0) {
            0 => found.required(format!("{path}.containerPort"), ""),
            number => values::port(&format!("{path}.containerPort"), &number.into(), found),
        }
        if let Some(number) = integer(one, &["hostPort"]).filter(|number| *number != 0) {
            values::port(&format!("{path}.hostPort"), &number.into(), found);
        }
        if text(one, &["protocol"]).is_empty() {
            found.required(format!("{path}.protocol"), "");
        }
    }
}

/// Two containers of a pod cannot have the same port of the node.
pub(super) fn host_ports(path: &str, tree: &Tree, seen: &mut HashSet<String>, found: &mut Findings) {
    for (at, one) in list(tree, &["ports"]).iter().enumerate() {
        let Some(port) = integer(one, &["hostPort"]).filter(|port| *port != 0) else { continue };
        let told = format!("{}/{}/{port}", text(one, &["protocol"]), text(one, &["hostIP"]));
        if !seen.insert(told.clone()) {
            found.duplicate(format!("{path}.ports[{at}].hostPort"), &told.into());
        }
    }
}

fn variable(path: &str, tree: &Tree, found: &mut Findings) {
    found.name(&format!("{path}.name"), text(tree, &["name"]), names::environment_name);
    let Some(from) = at(tree, &["valueFrom"]) else { return };
    let shown = format!("{path}.valueFrom");
    let kinds = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let given: Vec<_> = kinds.into_iter().filter(|kind| at(from, &[kind]).is_some()).collect();
    if given.is_empty() {
        let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or \
                   `fileKeyRef`";
        found.invalid(&shown, &"".into(), why);
    } else if !text(tree, &["value"]).is_empty() {
        found.invalid(&shown, &"".into(), "may not be specified when `value` is not empty");
    } else if given.len() > 1 {
        found.invalid(&shown, &"".into(), "may not have more than one field specified at a time");
    }
    for kind in given {
        let Some(one) = at(from, &[kind]) else { continue };
        let shown = format!("{shown}.{kind}");
        match kind {
            "fieldRef" => field_reference(&shown, one, found),
            "resourceFieldRef" if text(one, &["resource"]).is_empty() => {
                found.required(format!("{shown}.resource"), "");
            }
            "configMapKeyRef" | "secretKeyRef" => {
                if text(one, &["name"]).is_empty() {
                    found.required(format!("{shown}.name"), "");
                }
                found.name(&format!("{shown}.key"), text(one, &["key"]), names::config_key);
            }
            _ => {}
        }
    }
}

fn field_reference(path: &str, tree: &Tree, found: &mut Findings) {
    let field = text(tree, &["fieldPath"]);
    let is_subscript = ["metadata.labels['", "metadata.annotations['"].iter().any(|one| field.starts_with(one));
    if field.is_empty() {
        found.required(format!("{path}.fieldPath"), "");
    } else if !(POD_FIELDS.contains(&field) || is_subscript && field.ends_with("']")) {
        found.unsupported(format!("{path}.fieldPath"), &field.into(), &POD_FIELDS);
    }
}

fn source(path: &str, tree: &Tree, found: &mut Findings) {
    found.optional_name(&format!("{path}.prefix"), text(tree, &["prefix"]), names::environment_name);
    let given: Vec<_> = ["configMapRef", "secretRef"].into_iter().filter(|kind| at(tree, &[kind]).is_some()).collect();
    match given[..] {
        [] => found.invalid(path, &"".into(), "must specify one of: `configMapRef` or `secretRef`"),
        [kind] => found.name(&format!("{path}.{kind}.name"), text(tree, &[kind, "name"]), names::dns_subdomain),
        _ => found.invalid(path, &"".into(), "may not have more than one field specified at a time"),
    }
}

fn mounts(path: &str, tree: &Tree, volumes: &HashSet<&str>, found: &mut Findings) {
    let mut seen = HashSet::new();
    for (at, one) in list(tree, &["volumeMounts"]).iter().enumerate() {
        let path = format!("{path}.volumeMounts[{at}]");
        let (name, mount) = (text(one, &["name"]), text(one, &["mountPath"]));
        if name.is_empty() {
            found.required(format!("{path}.name"), "");
        } else if !volumes.contains(name) {
            found.not_found(format!("{path}.name"), &name.into());
        }
        if mount.is_empty() {
            found.required(format!("{path}.mountPath"), "");
        } else if !seen.insert(mount) {
            found.invalid(format!("{path}.mountPath"), &mount.into(), "must be unique");
        }
        let below = text(one, &["subPath"]);
        if below.starts_with('/') {
            found.invalid(format!("{path}.subPath"), &below.into(), "must be a relative path");
        }
        if below.split('/').any(|part| part == "..") {
            found.invalid(format!("{path}.subPath"), &below.into(), "must not contain '..'");
        }
    }
}

fn probe(path: &str, tree: &Tree, kind: &str, found: &mut Findings) {
    handler(path, tree, &["exec", "httpGet", "tcpSocket", "grpc"], found);
    for key in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        found.natural(format!("{path}.{key}"), at(tree, &[key]));
    }
    if kind != "readinessProbe"
        && let Some(threshold) = integer(tree, &["successThreshold"]).filter(|threshold| *threshold != 1)
    {
        found.invalid(format!("{path}.successThreshold"), &threshold.into(), "must be 1");
    }
    if let Some(grace) = integer(tree, &["terminationGracePeriodSeconds"]) {
        if kind == "readinessProbe" {
            let why = "must not be set for readinessProbes";
            found.invalid(format!("{path}.terminationGracePeriodSeconds"), &grace.into(), why);
        } else if grace <= 0 {
            found.invalid(format!("{path}.terminationGracePeriodSeconds"), &grace.into(), "must be greater than 0");
        }
    }
}

fn handler(path: &str, tree: &Tree, kinds: &[&str], found: &mut Findings) {
    let given: Vec<_> = kinds.iter().filter(|kind| at(tree, &[kind]).is_some()).collect();
    if given.is_empty() {
        found.required(path, "must specify a handler type");
    }
    for extra in given.iter().skip(1) {
        found.forbidden(format!("{path}.{extra}"), "may not specify more than 1 handler type");
    }
    let zero = json!(0);
    for kind in ["httpGet", "tcpSocket", "grpc"] {
        let Some(one) = at(tree, &[kind]) else { continue };
        values::port_or_name(&format!("{path}.{kind}.port"), one.get("port").unwrap_or(&zero), found);
        if kind == "httpGet" && text(one, &["path"]).is_empty() {
            found.required(format!("{path}.httpGet.path"), "");
        }
    }
    if at(tree, &["exec"]).is_some() && list(tree, &["exec", "command"]).is_empty() {
        found.required(format!("{path}.exec.command"), "");
    }
}
