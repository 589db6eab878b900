//! Ingresses and their classes.

use super::findings::Findings;
use super::place::Place;
use super::values;
use crate::names;
use std::net::IpAddr;

const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];
const CONTROLLER_MAX: usize = 250;

pub(super) fn ingress(root: &Place<'_, '_>, found: &mut Findings) {
    let spec = root.get("spec");
    let (rules, default) = (spec.get("rules"), spec.get("defaultBackend"));
    if rules.is_empty() && !default.is_given() {
        found.invalid_as(&spec, rules.value().clone(), "either `defaultBackend` or `rules` must be specified");
    }
    if default.is_given() {
        backend(&default, found);
    }
    for rule in rules.each() {
        let host = rule.get("host");
        if host.text().parse::<IpAddr>().is_ok() {
            found.invalid(&host, "must be a DNS name, not an IP address");
        }
        self::host(&host, found);
        if rule.has("http") {
            let http = rule.get("http");
            paths(&http.get("paths"), found);
        }
    }
    for one in spec.get("tls").each() {
        one.get("hosts").each().for_each(|host| self::host(&host, found));
        found.optional_name(&one.get("secretName"), names::dns_subdomain);
    }
    let class = spec.get("ingressClassName");
    if class.is_given() {
        found.test(&class, names::dns_subdomain);
    }
}

/// What a new one may not say twice.
pub(super) fn created(root: &Place<'_, '_>, found: &mut Findings) {
    let said = root.get("metadata").get("annotations").get("kubernetes.io/ingress.class").value();
    let class = root.get("spec").get("ingressClassName").value();
    if !said.is_null() && !class.is_null() && said != class {
        let annotations = root.get("annotations");
        let at = annotations.get("kubernetes.io/ingress.class").holding(said);
        found.invalid(&at, "must match `ingressClassName` when both are specified");
    }
}

fn host(at: &Place<'_, '_>, found: &mut Findings) {
    if at.text().contains('*') {
        found.test(at, names::wildcard_subdomain);
    } else {
        found.optional_name(at, names::dns_subdomain);
    }
}

fn paths(all: &Place<'_, '_>, found: &mut Findings) {
    if all.is_empty() {
        found.required(all, "");
    }
    for one in all.each() {
        let (kind, path) = (one.get("pathType"), one.get("path"));
        let is_relative = !path.text().starts_with('/');
        match kind.text() {
            _ if !kind.is_given() => {
                found.required(&kind, "pathType must be specified");
                continue;
            }
            "Exact" | "Prefix" => {
                if is_relative {
                    found.invalid_as(&path, path.text(), "must be an absolute path");
                }
                for part in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|part| path.text().contains(**part)) {
                    found.invalid(&path, format!("must not contain '{part}'"));
                }
                for end in ["/..", "/."].iter().filter(|end| path.text().ends_with(**end)) {
                    found.invalid(&path, format!("cannot end with '{end}'"));
                }
            }
            "ImplementationSpecific" => {
                if is_relative && !path.is_empty() {
                    found.invalid(&path, "must be an absolute path");
                }
            }
            _ => found.unsupported(&kind, PATH_TYPES),
        }
        backend(&one.get("backend"), found);
    }
}

fn backend(at: &Place<'_, '_>, found: &mut Findings) {
    match (at.has("resource"), at.has("service")) {
        (true, true) => found.invalid_as(at, "", "cannot set both resource and service backends"),
        (true, false) => reference(&at.get("resource"), found),
        (false, true) => {
            let service = at.get("service");
            found.name(&service.get("name"), names::dns_label_1035);
            let port = service.get("port");
            let (name, number) = (port.get("name"), port.get("number"));
            match (name.is_empty(), number.number() == 0) {
                (false, false) => found.invalid_as(at, "", "cannot set both port name & port number"),
                (false, true) => found.test(&name, names::port_name),
                (true, false) => values::port(&number, found),
                (true, true) => found.required(at, "port name or number is required"),
            }
        }
        (false, false) => found.invalid_as(at, "", "resource or service backend is required"),
    }
}

fn reference(at: &Place<'_, '_>, found: &mut Findings) {
    if at.has("apiGroup") {
        found.test(&at.get("apiGroup"), names::dns_subdomain);
    }
    found.name(&at.get("kind"), names::path_segment);
    found.name(&at.get("name"), names::path_segment);
}

pub(super) fn class(root: &Place<'_, '_>, found: &mut Findings) {
    let spec = root.get("spec");
    let controller = spec.get("controller");
    if controller.len() > CONTROLLER_MAX {
        found.too_long(&controller, CONTROLLER_MAX);
    }
    match controller.text().split_once('/') {
        _ if controller.is_empty() => found.required(&controller, ""),
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => {
            names::dns_subdomain(domain).into_iter().for_each(|why| found.invalid_as(&controller, domain, why));
            names::http_path(path).into_iter().for_each(|why| found.invalid_as(&controller, path, why));
        }
        _ => found.invalid(&controller, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
    let parameters = spec.get("parameters");
    if !parameters.is_given() {
        return;
    }
    reference(&parameters, found);
    let (scope, namespace) = (parameters.get("scope"), parameters.get("namespace"));
    match scope.text() {
        _ if !scope.is_given() => found.required(&scope, ""),
        "Namespace" if !namespace.is_given() => found.required(&namespace, "`parameters.scope` is set to 'Namespace'"),
        "Namespace" => found.test(&namespace, names::dns_label),
        "Cluster" if namespace.is_given() => found.forbidden(&namespace, "`parameters.scope` is set to 'Cluster'"),
        "Cluster" => {}
        _ => found.unsupported(&scope, &["Cluster", "Namespace"]),
    }
}
