//! Cells of Services, their endpoints, configuration and events.

use super::{Now, age, count, labels, name, number, or_none, since};
use api::Tree;
use api::kinds::Kind;
use api::object::edit;
use std::collections::BTreeSet;

/// Endpoints that a row names before it says how many more there are.
const SHOWN_MAX: usize = 3;

pub(super) fn cells(kind: &Kind, tree: &Tree, now: &Now) -> Option<Vec<Tree>> {
    Some(match (kind.group(), kind.kind.as_str()) {
        ("", "Service") => service(tree, now),
        ("", "Endpoints") => vec![name(tree), endpoints(tree).into(), age(tree, now)],
        ("discovery.k8s.io", "EndpointSlice") => slice(tree, now),
        ("", "ConfigMap") => {
            let entries = count(tree, &["data"]) + count(tree, &["binaryData"]);
            vec![name(tree), entries.into(), age(tree, now)]
        }
        ("", "Secret") => {
            vec![name(tree), edit::text(tree, &["type"]).into(), count(tree, &["data"]).into(), age(tree, now)]
        }
        ("", "ServiceAccount") => vec![name(tree), count(tree, &["secrets"]).into(), age(tree, now)],
        ("", "Event") => event(tree, now, "involvedObject", "message"),
        ("events.k8s.io", "Event") => event(tree, now, "regarding", "note"),
        ("coordination.k8s.io", "Lease") => {
            vec![name(tree), edit::text(tree, &["spec", "holderIdentity"]).into(), age(tree, now)]
        }
        ("networking.k8s.io", "Ingress") => ingress(tree, now),
        _ => return None,
    })
}

fn service(tree: &Tree, now: &Now) -> Vec<Tree> {
    let kind = edit::text(tree, &["spec", "type"]);
    let mut external = balanced(tree);
    external.extend(edit::list(tree, &["spec", "externalIPs"]).iter().filter_map(|ip| ip.as_str().map(str::to_owned)));
    if kind != "LoadBalancer" {
        external.drain(..balanced(tree).len());
    }
    let external = match (kind, external.is_empty()) {
        ("ExternalName", _) => edit::text(tree, &["spec", "externalName"]).to_owned(),
        ("LoadBalancer", true) => "<pending>".to_owned(),
        (_, true) => "<none>".to_owned(),
        (_, false) => external.join(","),
    };
    let ports = edit::list(tree, &["spec", "ports"]).iter().map(|port| {
        let (number, protocol) = (number(port, &["port"]), edit::text(port, &["protocol"]));
        match edit::integer(port, &["nodePort"]).filter(|port| *port != 0) {
            Some(node) => format!("{number}:{node}/{protocol}"),
            None => format!("{number}/{protocol}"),
        }
    });
    let ports = ports.collect::<Vec<_>>().join(",");
    vec![
        name(tree),
        kind.into(),
        or_none(tree, &["spec", "clusterIP"]),
        external.into(),
        if ports.is_empty() { "<none>".into() } else { ports.into() },
        age(tree, now),
        labels(tree, &["spec", "selector"]).into(),
    ]
}

/// What a load balancer answers at; a set.
fn balanced(tree: &Tree) -> Vec<String> {
    let ingress = edit::list(tree, &["status", "loadBalancer", "ingress"]);
    let place = |one: &Tree| match edit::text(one, &["ip"]) {
        "" => edit::text(one, &["hostname"]).to_owned(),
        ip => ip.to_owned(),
    };
    let places: BTreeSet<String> = ingress.iter().map(place).filter(|place| !place.is_empty()).collect();
    places.into_iter().collect()
}

fn endpoints(tree: &Tree) -> String {
    let mut all = Vec::new();
    for subset in edit::list(tree, &["subsets"]) {
        let ports = edit::list(subset, &["ports"]);
        for address in edit::list(subset, &["addresses"]) {
            let ip = edit::text(address, &["ip"]);
            if ports.is_empty() {
                all.push(ip.to_owned());
            }
            all.extend(ports.iter().map(|port| match number(port, &["port"]) {
                port if ip.contains(':') => format!("[{ip}]:{port}"),
                port => format!("{ip}:{port}"),
            }));
        }
    }
    shortened(&all)
}

fn shortened(all: &[String]) -> String {
    match all.len() {
        0 => "<none>".to_owned(),
        1..=SHOWN_MAX => all.join(","),
        more => format!("{} + {} more...", all[..SHOWN_MAX].join(","), more - SHOWN_MAX),
    }
}

fn slice(tree: &Tree, now: &Now) -> Vec<Tree> {
    // A port without a number stands for all of them.
    let told = |port: &Tree| edit::integer(port, &["port"]).map_or_else(|| "*".to_owned(), |port| port.to_string());
    let ports = edit::list(tree, &["ports"]);
    let ports = match ports.len() {
        0 => "<unset>".to_owned(),
        _ => shortened(&ports.iter().map(told).collect::<Vec<_>>()),
    };
    let all = edit::list(tree, &["endpoints"]).iter().flat_map(|one| edit::list(one, &["addresses"]));
    let all: Vec<String> = all.filter_map(|ip| ip.as_str().map(str::to_owned)).collect();
    let all = if all.is_empty() { "<unset>".to_owned() } else { shortened(&all) };
    vec![name(tree), edit::text(tree, &["addressType"]).into(), ports.into(), all.into(), age(tree, now)]
}

fn event(tree: &Tree, now: &Now, about: &str, message: &str) -> Vec<Tree> {
    let when = |keys: &[&[&str]]| {
        let key = keys.iter().find(|key| !edit::text(tree, key).is_empty());
        key.map_or_else(|| "<unknown>".to_owned(), |key| since(tree, key, now))
    };
    let first: [&[&str]; 3] = [&["firstTimestamp"], &["deprecatedFirstTimestamp"], &["eventTime"]];
    let last: [&[&str]; 3] = [&["series", "lastObservedTime"], &["lastTimestamp"], &["deprecatedLastTimestamp"]];
    let last = last.into_iter().chain(first).collect::<Vec<_>>();
    let either = |paths: &[&[&str]]| paths.iter().map(|path| edit::text(tree, path)).find(|text| !text.is_empty());
    let kind = edit::text(tree, &[about, "kind"]).to_lowercase();
    let object = match edit::text(tree, &[about, "name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let component = either(&[
        &["source", "component"],
        &["deprecatedSource", "component"],
        &["reportingComponent"],
        &["reportingController"],
    ]);
    let instance = either(&[&["source", "host"], &["deprecatedSource", "host"], &["reportingInstance"]]);
    let source: Vec<&str> = component.or(Some("")).into_iter().chain(instance).collect();
    let times = match edit::at(tree, &["series"]).filter(|series| !series.is_null()) {
        Some(series) => number(series, &["count"]),
        None => (number(tree, &["count"]) + number(tree, &["deprecatedCount"])).max(1),
    };
    vec![
        when(&last).into(),
        edit::text(tree, &["type"]).into(),
        edit::text(tree, &["reason"]).into(),
        object.into(),
        edit::text(tree, &[about, "fieldPath"]).into(),
        source.join(", ").into(),
        edit::text(tree, &[message]).trim().into(),
        when(&first).into(),
        times.into(),
        name(tree),
    ]
}

fn ingress(tree: &Tree, now: &Now) -> Vec<Tree> {
    let hosts = edit::list(tree, &["spec", "rules"]).iter().map(|rule| edit::text(rule, &["host"]));
    let hosts: Vec<String> = hosts.filter(|host| !host.is_empty()).map(str::to_owned).collect();
    let hosts = if hosts.is_empty() { "*".to_owned() } else { shortened(&hosts) };
    let ports = if edit::list(tree, &["spec", "tls"]).is_empty() { "80" } else { "80, 443" };
    vec![
        name(tree),
        or_none(tree, &["spec", "ingressClassName"]),
        hosts.into(),
        balanced(tree).join(",").into(),
        ports.into(),
        age(tree, now),
    ]
}
