//! Defaults of pods and of the pod templates in other kinds.

use crate::Tree;
use crate::quantity::Quantity;
use crate::walk::{Members, child, each, fill, find, has, make, put, word};
use serde_json::json;

const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
const SECRET_MODE: i32 = 0o644;

/// A pod has some defaults that a template does not: they would change the hash of every template.
pub(super) fn pod(object: &mut Members) {
    if let Some(status) = child(object, "status") {
        addresses(status);
    }
    let Some(spec) = child(object, "spec") else { return };
    self::spec(spec);
    put(spec, "enableServiceLinks", true);
    let on_host = spec.get("hostNetwork").and_then(Tree::as_bool).unwrap_or(false);
    for list in ["initContainers", "containers"] {
        for container in each(spec, list) {
            requests_from_limits(container);
            if on_host {
                host_ports(container);
            }
        }
    }
}

/// The one address and the list of them, as a node of old or of now tells them: where they differ, the one is right.
fn addresses(status: &mut Members) {
    let one = word(status, "podIP").to_owned();
    let first = status.get("podIPs").and_then(|all| all.get(0)).and_then(|first| first.get("ip")).cloned();
    match first {
        Some(first) if one.is_empty() => {
            status.insert("podIP".to_owned(), first);
        }
        first if !one.is_empty() && first != Some(one.as_str().into()) => {
            status.insert("podIPs".to_owned(), json!([{"ip": one}]));
        }
        _ => {}
    }
}

pub(super) fn spec(spec: &mut Members) {
    fill(spec, "restartPolicy", "Always");
    put(spec, "terminationGracePeriodSeconds", 30);
    fill(spec, "dnsPolicy", "ClusterFirst");
    service_account(spec);
    put(spec, "securityContext", json!({}));
    fill(spec, "schedulerName", "default-scheduler");
    for volume in each(spec, "volumes") {
        self::volume(volume);
    }
    for list in CONTAINERS {
        each(spec, list).for_each(container);
    }
    if let Some(resources) = child(spec, "resources") {
        self::resources(resources);
    }
    if let Some(overhead) = child(spec, "overhead") {
        resource_list(overhead);
    }
}

pub(super) fn admit(spec: &mut Members) {
    fill(spec, "serviceAccountName", "default");
    service_account(spec);
    put(spec, "priority", 0);
    put(spec, "preemptionPolicy", "PreemptLowerPriority");
    put(spec, "tolerations", json!([]));
    let Some(tolerations) = spec.get_mut("tolerations").and_then(Tree::as_array_mut) else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covers = |one: &Tree| {
            let told = |key: &str| one.get(key).and_then(Tree::as_str).unwrap_or_default();
            (told("key") == key || told("key").is_empty()) && matches!(told("effect"), "" | "NoExecute")
        };
        if !tolerations.iter().any(covers) {
            let added = json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
            tolerations.push(added);
        }
    }
}

/// The deprecated field always says the same as its successor.
fn service_account(spec: &mut Members) {
    let old = word(spec, "serviceAccount").to_owned();
    if !old.is_empty() {
        fill(spec, "serviceAccountName", old);
    }
    let name = word(spec, "serviceAccountName").to_owned();
    if !name.is_empty() {
        spec.insert("serviceAccount".to_owned(), name.into());
    }
}

fn container(container: &mut Members) {
    let policy = pull_policy(word(container, "image"));
    fill(container, "imagePullPolicy", policy);
    fill(container, "terminationMessagePath", "/dev/termination-log");
    fill(container, "terminationMessagePolicy", "File");
    put(container, "resources", json!({}));
    for port in each(container, "ports") {
        fill(port, "protocol", "TCP");
    }
    for variable in each(container, "env") {
        if let Some(field) = find(variable, &["valueFrom", "fieldRef"]) {
            fill(field, "apiVersion", "v1");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = child(container, name) {
            self::probe(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(get) = find(container, &["lifecycle", hook, "httpGet"]) {
            http_get(get);
        }
    }
    if let Some(resources) = child(container, "resources") {
        self::resources(resources);
    }
}

/// `Always` for an image without a tag and digest, or with the tag `latest`.
fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        Some((_, tag)) if tag != "latest" => "IfNotPresent",
        _ => "Always",
    }
}

fn probe(probe: &mut Members) {
    fill(probe, "timeoutSeconds", 1);
    fill(probe, "periodSeconds", 10);
    fill(probe, "successThreshold", 1);
    fill(probe, "failureThreshold", 3);
    if let Some(get) = child(probe, "httpGet") {
        http_get(get);
    }
    if let Some(grpc) = child(probe, "grpc") {
        put(grpc, "service", "");
    }
}

fn http_get(get: &mut Members) {
    fill(get, "path", "/");
    fill(get, "scheme", "HTTP");
}

fn resources(resources: &mut Members) {
    for list in ["limits", "requests"] {
        if let Some(list) = child(resources, list) {
            resource_list(list);
        }
    }
}

/// Amounts are kept to a thousandth.
pub(super) fn resource_list(list: &mut Members) {
    for amount in list.values_mut() {
        let Some(parsed) = amount.as_str().and_then(|text| Quantity::parse(text).ok()) else { continue };
        if let (true, Ok(milli)) = (parsed.has_more_than_milli(), i64::try_from(parsed.milli())) {
            *amount = Quantity::from_milli(milli).to_string().into();
        }
    }
}

fn requests_from_limits(container: &mut Members) {
    let Some(resources) = child(container, "resources") else { return };
    let Some(limits) = resources.get("limits").and_then(Tree::as_object).cloned() else { return };
    let Some(requests) = make(resources, "requests") else { return };
    for (name, amount) in limits {
        put(requests, &name, amount);
    }
}

fn host_ports(container: &mut Members) {
    for port in each(container, "ports") {
        if let Some(number) = port.get("containerPort").cloned() {
            fill(port, "hostPort", number);
        }
    }
}

fn volume(volume: &mut Members) {
    if volume.keys().all(|key| key == "name") {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = child(volume, source) {
            put(source, "defaultMode", SECRET_MODE);
        }
    }
    if let Some(source) = child(volume, "downwardAPI") {
        downward_items(source);
    }
    if let Some(projected) = child(volume, "projected") {
        for source in each(projected, "sources") {
            if let Some(token) = child(source, "serviceAccountToken") {
                put(token, "expirationSeconds", 3600);
            }
            if let Some(downward) = child(source, "downwardAPI") {
                downward_items(downward);
            }
        }
    }
    if let Some(host) = child(volume, "hostPath") {
        put(host, "type", "");
    }
    if let Some(claim) = find(volume, &["ephemeral", "volumeClaimTemplate", "spec"]) {
        put(claim, "volumeMode", "Filesystem");
    }
    if let Some(image) = child(volume, "image") {
        let policy = pull_policy(word(image, "reference"));
        fill(image, "pullPolicy", policy);
    }
    old_sources(volume);
}

fn downward_items(source: &mut Members) {
    for item in each(source, "items") {
        if let Some(field) = child(item, "fieldRef") {
            fill(field, "apiVersion", "v1");
        }
    }
}

/// Sources that no node of ours mounts; a stock kubelet may.
pub(super) fn old_sources(volume: &mut Members) {
    let defaults: [(&str, &[(&str, Tree)]); 4] = [
        ("iscsi", &[("iscsiInterface", json!("default"))]),
        ("rbd", &[("pool", json!("rbd")), ("user", json!("admin")), ("keyring", json!("/etc/ceph/keyring"))]),
        (
            "azureDisk",
            &[
                ("cachingMode", json!("ReadWrite")),
                ("fsType", json!("ext4")),
                ("readOnly", json!(false)),
                ("kind", json!("Shared")),
            ],
        ),
        ("scaleIO", &[("storageMode", json!("ThinProvisioned")), ("fsType", json!("xfs"))]),
    ];
    for (name, members) in defaults {
        let Some(source) = child(volume, name).filter(|source| !source.is_empty()) else { continue };
        for (key, value) in members {
            if !has(source, key) {
                source.insert((*key).to_owned(), value.clone());
            }
        }
    }
}
