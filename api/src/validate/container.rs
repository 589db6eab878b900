//! One container: image, ports, mounts, resources, probes and hooks.

use super::findings::Findings;
use super::place::Place;
use super::volume::{Source, Volumes};
use super::{environment, resources, security, values};
use crate::names;
use std::collections::HashSet;

const SUCCESSES: &str = "must be 1";
const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
/// What a container that is added to a running pod cannot have.
const NOT_EPHEMERAL: [&str; 8] = [
    "ports",
    "resources",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "resizePolicy",
    "restartPolicy",
];

/// What the pod around it says.
pub(super) struct Context<'c, 't> {
    pub(super) volumes: &'c Volumes<'t>,
    /// How long the pod has to end, in seconds.
    pub(super) grace: Option<i64>,
}

/// What all containers have to be.
pub(super) fn common(at: &Place<'_, '_>, context: &Context<'_, '_>, found: &mut Findings) {
    found.name(&at.get("name"), names::dns_label);
    if at.get("image").is_empty() {
        found.required(&at.get("image"), "");
    }
    found.one_of(&at.get("terminationMessagePolicy"), &["File", "FallbackToLogsOnError"]);
    ports(&at.get("ports"), found);
    environment::variables(&at.get("env"), found);
    environment::sources(&at.get("envFrom"), found);
    mounts(at, context, found);
    devices(&at.get("volumeDevices"), context, found);
    found.one_of(&at.get("imagePullPolicy"), &["Always", "IfNotPresent", "Never"]);
    resources::requirements(&at.get("resources"), found);
    security::container(&at.get("securityContext"), found);
}

/// Templates may have spaces around it, for the sake of old ones.
pub(super) fn trimmed_image(at: &Place<'_, '_>, found: &mut Findings) {
    let image = at.get("image");
    if image.text().trim() != image.text() {
        found.invalid(&image, "must not have leading or trailing whitespace");
    }
}

pub(super) fn lifecycle_and_probes(at: &Place<'_, '_>, context: &Context<'_, '_>, found: &mut Findings) {
    for hook in ["postStart", "preStop"] {
        let lifecycle = at.get("lifecycle");
        if lifecycle.has(hook) {
            handler(&lifecycle.get(hook), &["exec", "httpGet", "tcpSocket", "sleep"], context, found);
        }
    }
    for key in PROBES {
        let one = at.get(key);
        if one.is_given() {
            probe(&one, key, context, found);
        }
    }
    found.optional_one_of(&at.get("restartPolicy"), &["Always", "Never", "OnFailure"]);
}

/// A container of the start: only one that goes on running can be probed.
pub(super) fn of_start(at: &Place<'_, '_>, context: &Context<'_, '_>, found: &mut Findings) {
    if at.get("restartPolicy").text() == "Always" {
        return lifecycle_and_probes(at, context, found);
    }
    found.optional_one_of(&at.get("restartPolicy"), &["Always", "Never", "OnFailure"]);
    for key in ["lifecycle"].iter().chain(&PROBES).filter(|key| at.has(key)) {
        found.forbidden(&at.get(key), "may not be set for init containers without restartPolicy=Always");
    }
}

/// A container that was added to a running pod, to look into it.
pub(super) fn ephemeral(at: &Place<'_, '_>, found: &mut Findings) {
    const WHY: &str = "cannot be set for an Ephemeral Container";
    for key in
        NOT_EPHEMERAL.iter().filter(|key| at.has(key) && (at.get(key).value().is_number() || !at.get(key).is_empty()))
    {
        found.forbidden(&at.get(key), WHY);
    }
    for mount in at.get("volumeMounts").each() {
        for key in ["subPath", "subPathExpr"].iter().filter(|key| !mount.get(key).is_empty()) {
            found.forbidden(&mount.get(key), WHY);
        }
    }
}

fn ports(all: &Place<'_, '_>, found: &mut Findings) {
    let mut seen = HashSet::new();
    for one in all.each() {
        let name = one.get("name");
        if !name.is_empty() {
            let wrong = names::port_name(name.text());
            if wrong.is_empty() && !seen.insert(name.text()) {
                found.duplicate(&name);
            }
            wrong.into_iter().for_each(|why| found.invalid(&name, why));
        }
        let (own, host) = (one.get("containerPort"), one.get("hostPort"));
        if own.number() == 0 {
            found.required(&own, "");
        } else {
            values::port(&own, found);
        }
        if host.number() != 0 {
            values::port(&host, found);
        }
        found.one_of(&one.get("protocol"), values::PROTOCOLS);
    }
}

/// Two containers of a pod cannot have the same port of the node.
pub(super) fn host_ports(at: &Place<'_, '_>, seen: &mut HashSet<String>, found: &mut Findings) {
    for one in at.get("ports").each() {
        let port = one.get("hostPort").number();
        if port == 0 {
            continue;
        }
        let told = format!("{}/{}/{port}", one.get("protocol").text(), one.get("hostIP").text());
        if !seen.insert(told.clone()) {
            found.duplicate_as(&one.get("hostPort"), told);
        }
    }
}

fn mounts(container: &Place<'_, '_>, context: &Context<'_, '_>, found: &mut Findings) {
    let all = container.get("volumeMounts");
    let devices = container.get("volumeDevices");
    let mut seen = HashSet::new();
    for one in all.each() {
        let (name, path) = (one.get("name"), one.get("mountPath"));
        if name.is_empty() {
            found.required(&name, "");
        }
        if !context.volumes.contains_key(name.text()) {
            found.not_found(&name, "");
        }
        if path.is_empty() {
            found.required(&path, "");
        }
        if !seen.insert(path.text()) {
            found.invalid_as(&path, path.text(), "must be unique");
        }
        for device in devices.each() {
            if device.get("name").text() == name.text() {
                found.invalid(&name, "must not already exist in volumeDevices");
            }
            if device.get("devicePath").text() == path.text() {
                found.invalid(&path, "must not already exist as a path in volumeDevices");
            }
        }
        // Upstream names the list here, not the element.
        let (below, pattern) = (one.get("subPath"), one.get("subPathExpr"));
        if !below.is_empty() {
            values::path_below(&all.alias("subPath", &below), found);
        }
        if !pattern.is_empty() {
            if !below.is_empty() {
                found.invalid(&pattern, "subPathExpr and subPath are mutually exclusive");
            }
            values::path_below(&all.alias("subPathExpr", &pattern), found);
        }
        propagation(&all.alias("mountPropagation", &one.get("mountPropagation")), container, found);
    }
}

fn propagation(at: &Place<'_, '_>, container: &Place<'_, '_>, found: &mut Findings) {
    found.optional_one_of(at, &["Bidirectional", "HostToContainer", "None"]);
    if at.text() == "Bidirectional" && !container.get("securityContext").get("privileged").is_true() {
        found.forbidden(at, "Bidirectional mount propagation is available only to privileged containers");
    }
}

fn devices(all: &Place<'_, '_>, context: &Context<'_, '_>, found: &mut Findings) {
    let (mut names, mut paths) = (HashSet::new(), HashSet::new());
    for one in all.each() {
        let (name, path) = (one.get("name"), one.get("devicePath"));
        if name.is_empty() {
            found.required(&name, "");
        } else if !names.insert(name.text()) {
            found.invalid(&name, "must be unique");
        }
        match context.volumes.get(name.text()) {
            None => found.not_found(&name, ""),
            Some(Source::Claim) => {}
            Some(Source::Other) => {
                let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                found.invalid(&name, why);
            }
        }
        if path.is_empty() {
            found.required(&path, "");
        } else if path.text().split('/').any(|part| part == "..") {
            found.invalid(&path, "can not contain backsteps ('..')");
        } else if !paths.insert(path.text()) {
            found.invalid(&path, "must be unique");
        }
    }
}

fn probe(at: &Place<'_, '_>, kind: &str, context: &Context<'_, '_>, found: &mut Findings) {
    handler(at, &["exec", "httpGet", "tcpSocket", "grpc"], context, found);
    let counts = ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
    found.naturals(at, &counts);
    let (threshold, grace) = (at.get("successThreshold"), at.get("terminationGracePeriodSeconds"));
    if grace.integer().is_some_and(|seconds| seconds <= 0) {
        found.invalid(&grace, "must be greater than 0");
    }
    if kind == "readinessProbe" {
        if grace.is_given() {
            found.invalid(&grace, "must not be set for readinessProbes");
        }
    } else if threshold.number() != 1 {
        found.invalid_as(&threshold, threshold.number(), SUCCESSES);
    }
}

/// Exactly one way to act, of several. The order is upstream's: the first that is given counts.
fn handler(at: &Place<'_, '_>, kinds: &[&str], context: &Context<'_, '_>, found: &mut Findings) {
    let mut given = kinds.iter().filter(|kind| at.has(kind));
    let Some(first) = given.next() else { return found.required(at, "must specify a handler type") };
    let one = at.get(first);
    match *first {
        "exec" if one.get("command").is_empty() => found.required(&one.get("command"), ""),
        "httpGet" => http_get(&one, found),
        "tcpSocket" | "grpc" => values::port_or_name(&one.get("port"), found),
        "sleep" => {
            let seconds = one.get("seconds").number();
            if let Some(grace) = context.grace.filter(|grace| !(0..=*grace).contains(&seconds)) {
                let why = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                found.invalid_as(&one, seconds, why);
            }
        }
        _ => {}
    }
    for extra in given {
        found.forbidden(&at.get(extra), "may not specify more than 1 handler type");
    }
}

fn http_get(at: &Place<'_, '_>, found: &mut Findings) {
    if at.get("path").is_empty() {
        found.required(&at.get("path"), "");
    }
    values::port_or_name(&at.get("port"), found);
    found.member(&at.get("scheme"), &["HTTP", "HTTPS"]);
    let headers = at.get("httpHeaders");
    for header in headers.each() {
        for why in names::http_header_name(header.get("name").text()) {
            found.invalid_as(&headers, header.get("name").text(), why);
        }
    }
}
