//! Services and Ingresses.

use super::meta::labels;
use super::{Findings, at, list, text, values};
use crate::walk::integer;
use crate::{Tree, names};
use serde_json::json;
use std::collections::HashSet;

pub(super) fn service(tree: &Tree, found: &mut Findings) {
    let Some(spec) = at(tree, &["spec"]) else { return found.required("spec.ports", "") };
    let kind = text(spec, &["type"]);
    let address = text(spec, &["clusterIP"]);
    let is_headless = address == "None";
    let ports = list(spec, &["ports"]);
    if ports.is_empty() && !is_headless && kind != "ExternalName" {
        found.required("spec.ports", "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if is_headless => {
            let why = format!("may not be set to 'None' for {kind} services");
            found.invalid("spec.clusterIPs[0]", &address.into(), why);
        }
        "ExternalName" => {
            if !address.is_empty() {
                found.forbidden("spec.clusterIPs", "may not be set when `type` is 'ExternalName'");
            }
            let name = text(spec, &["externalName"]);
            found.name("spec.externalName", name.strip_suffix('.').unwrap_or(name), names::dns_subdomain);
        }
        "" => found.required("spec.type", ""),
        _ => {}
    }
    if !is_headless {
        found.optional_name("spec.clusterIPs[0]", address, names::ip_address);
    }
    for (at, one) in list(spec, &["externalIPs"]).iter().enumerate() {
        found.name(&format!("spec.externalIPs[{at}]"), one.as_str().unwrap_or_default(), names::ip_address);
    }
    if let Some(selector) = at(spec, &["selector"]) {
        labels("spec.selector", selector, found);
    }
    if let Some(seconds) = integer(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"])
        && !(1..=86_400).contains(&seconds)
    {
        let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        found.invalid(field, &seconds.into(), "must be greater than 0 and less than 86400");
    }
    self::ports(ports, kind, found);
}

fn ports(ports: &[Tree], kind: &str, found: &mut Findings) {
    let (mut by_name, mut by_number, mut by_node) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (at, one) in ports.iter().enumerate() {
        let path = format!("spec.ports[{at}]");
        let (name, protocol) = (text(one, &["name"]), text(one, &["protocol"]));
        if name.is_empty() && ports.len() > 1 {
            found.required(format!("{path}.name"), "");
        }
        found.optional_name(&format!("{path}.name"), name, names::dns_label);
        if !name.is_empty() && !by_name.insert(name) {
            found.duplicate(format!("{path}.name"), &name.into());
        }
        let number = integer(one, &["port"]).unwrap_or(0);
        values::port(&format!("{path}.port"), &number.into(), found);
        if protocol.is_empty() {
            found.required(format!("{path}.protocol"), "");
        }
        if let Some(target) = one.get("targetPort").filter(|target| !target.is_null()) {
            values::port_or_name(&format!("{path}.targetPort"), target, found);
        }
        if !by_number.insert((protocol, number)) {
            let shown = json!({
                "Name": "", "Protocol": protocol, "AppProtocol": null, "Port": number, "TargetPort": 0, "NodePort": 0
            });
            found.duplicate(&path, &shown);
        }
        let node = integer(one, &["nodePort"]).unwrap_or(0);
        if node == 0 {
            continue;
        }
        if matches!(kind, "ClusterIP" | "ExternalName") {
            let why = format!("may not be used when `type` is '{kind}'");
            found.forbidden(format!("{path}.nodePort"), &why);
        } else if !by_node.insert((protocol, node)) {
            found.duplicate(format!("{path}.nodePort"), &node.into());
        }
    }
}

pub(super) fn ingress(tree: &Tree, found: &mut Findings) {
    let rules = list(tree, &["spec", "rules"]);
    if rules.is_empty() && at(tree, &["spec", "defaultBackend"]).is_none() {
        let spec = tree.get("spec").cloned().unwrap_or_else(|| json!({}));
        found.invalid("spec", &spec, "either `defaultBackend` or `rules` must be specified");
    }
    for (at, rule) in rules.iter().enumerate() {
        let shown = format!("spec.rules[{at}]");
        let host = text(rule, &["host"]);
        let plain = host.strip_prefix("*.").unwrap_or(host);
        found.optional_name(&format!("{shown}.host"), plain, names::dns_subdomain);
        for (at, path) in list(rule, &["http", "paths"]).iter().enumerate() {
            let shown = format!("{shown}.http.paths[{at}]");
            let value = text(path, &["path"]);
            match text(path, &["pathType"]) {
                "" => found.required(format!("{shown}.pathType"), "pathType must be specified"),
                "Exact" | "Prefix" if !value.starts_with('/') => {
                    found.invalid(format!("{shown}.path"), &value.into(), "must be an absolute path");
                }
                _ => {}
            }
        }
    }
}
