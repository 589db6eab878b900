//! Defaults of Services and endpoints.

use crate::walk::{Members, child, each, fill, make, put, word};

const AFFINITY_SECONDS: i32 = 10_800;

pub(super) fn service(object: &mut Members) {
    let Some(spec) = child(object, "spec") else { return };
    for port in each(spec, "ports") {
        fill(port, "protocol", "TCP");
        if let Some(number) = port.get("port").cloned() {
            fill(port, "targetPort", number);
        }
    }
    fill(spec, "type", "ClusterIP");
    fill(spec, "sessionAffinity", "None");
    affinity(spec);
    let is_external_name = word(spec, "type") == "ExternalName";
    let is_balanced = word(spec, "type") == "LoadBalancer";
    let has_external = spec.get("externalIPs").and_then(|all| all.as_array()).is_some_and(|all| !all.is_empty());
    let is_reachable = is_balanced || word(spec, "type") == "NodePort" || (!is_external_name && has_external);
    if is_balanced {
        put(spec, "allocateLoadBalancerNodePorts", true);
    }
    if is_reachable {
        fill(spec, "externalTrafficPolicy", "Cluster");
    }
    if !is_external_name {
        put(spec, "internalTrafficPolicy", "Cluster");
    }
}

fn affinity(spec: &mut Members) {
    if word(spec, "sessionAffinity") != "ClientIP" {
        spec.shift_remove("sessionAffinityConfig");
        return;
    }
    let by_client = make(spec, "sessionAffinityConfig").and_then(|config| make(config, "clientIP"));
    if let Some(by_client) = by_client {
        put(by_client, "timeoutSeconds", AFFINITY_SECONDS);
    }
}

pub(super) fn endpoints(object: &mut Members) {
    for subset in each(object, "subsets") {
        for port in each(subset, "ports") {
            fill(port, "protocol", "TCP");
        }
    }
}

pub(super) fn endpoint_slice(object: &mut Members) {
    for port in each(object, "ports") {
        put(port, "name", "");
        put(port, "protocol", "TCP");
    }
}
