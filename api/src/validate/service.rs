//! Services.

use super::findings::Findings;
use super::meta::labels;
use super::place::Place;
use super::{shown, values};
use crate::{Tree, names};
use serde_json::json;
use std::collections::HashSet;
use std::net::IpAddr;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const AFFINITIES: &[&str] = &["ClientIP", "None"];
const POLICIES: &[&str] = &["Cluster", "Local"];
const FAMILIES: &[&str] = &["IPv4", "IPv6"];
const AFFINITY_MAX: i64 = 86_400;
const ONCE: &str = "may not change once set";

/// The addresses of a service: clients may give the list, or only the first of it.
pub(super) struct Addresses<'t> {
    first: &'t str,
    all: Vec<&'t str>,
}

impl<'t> Addresses<'t> {
    fn of(spec: &Place<'_, 't>) -> Addresses<'t> {
        let first = spec.get("clusterIP").text();
        let listed: Vec<&str> = spec.get("clusterIPs").texts().collect();
        let all = if listed.is_empty() && !first.is_empty() { vec![first] } else { listed };
        Addresses { first, all }
    }

    fn is_headless(&self) -> bool {
        self.all == ["None"]
    }

    fn shown(&self) -> Tree {
        if self.all.is_empty() { Tree::Null } else { self.all.clone().into() }
    }
}

pub(super) fn service(root: &Place<'_, '_>, found: &mut Findings) {
    let spec = root.get("spec");
    let kind = spec.get("type");
    let addresses = Addresses::of(&spec);
    let ports = spec.get("ports");
    if ports.is_empty() && !addresses.is_headless() && kind.text() != "ExternalName" {
        found.required(&ports, "");
    }
    of_type(&spec, &addresses, found);
    let mut seen = HashSet::new();
    for one in ports.each() {
        port(&one, ports.len() > 1, &mut seen, found);
    }
    labels(&spec.get("selector"), found);
    affinity(&spec, found);
    if kind.text() != "ExternalName" {
        cluster_addresses(&spec, &addresses, found);
    }
    for one in spec.get("externalIPs").each() {
        if names::ip_address(one.text()).is_empty() {
            values::reachable_address(&one, found);
        } else {
            values::address(&one, found);
        }
    }
    found.one_of(&kind, TYPES);
    duplicate_ports(&spec, found);
    let ranges = spec.get("loadBalancerSourceRanges");
    if !ranges.is_empty() {
        let ranges = spec.alias("LoadBalancerSourceRanges", &ranges);
        if kind.text() != "LoadBalancer" {
            found.forbidden(&ranges, "may only be used when `type` is 'LoadBalancer'");
        }
        for range in ranges.each().filter(|range| values::network(range.text().trim()).is_none()) {
            let why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            found.invalid_as(&range, range.text().trim(), why);
        }
    }
    let allocates = spec.get("allocateLoadBalancerNodePorts");
    if allocates.is_given() && kind.text() != "LoadBalancer" {
        found.forbidden(&allocates, "may only be used when `type` is 'LoadBalancer'");
    }
    traffic(&spec, found);
}

fn of_type(spec: &Place<'_, '_>, addresses: &Addresses<'_>, found: &mut Findings) {
    let listed = spec.get("clusterIPs");
    match spec.get("type").text() {
        kind @ ("LoadBalancer" | "NodePort") if addresses.is_headless() => {
            let why = format!("may not be set to 'None' for {kind} services");
            found.invalid_as(&listed.index(0), addresses.first, why);
        }
        "ExternalName" => {
            if !addresses.all.is_empty() {
                found.forbidden(&listed, "may not be set for ExternalName services");
            }
            for key in ["ipFamilies", "ipFamilyPolicy"].iter().filter(|key| spec.has(key)) {
                found.forbidden(&spec.get(key), "may not be set for ExternalName services");
            }
            let name = spec.get("externalName");
            let text = name.text().strip_suffix('.').unwrap_or(name.text());
            if text.is_empty() {
                found.required(&name, "");
            }
            names::dns_subdomain(text)
                .into_iter()
                .filter(|_| !text.is_empty())
                .for_each(|why| found.invalid_as(&name, text, why));
        }
        _ => {}
    }
}

fn port<'t>(at: &Place<'_, 't>, is_one_of_many: bool, seen: &mut HashSet<&'t str>, found: &mut Findings) {
    let name = at.get("name");
    if name.is_empty() {
        if is_one_of_many {
            found.required(&name, "");
        }
    } else {
        found.test(&name, names::dns_label);
        if !seen.insert(name.text()) {
            found.duplicate(&name);
        }
    }
    values::port(&at.get("port"), found);
    found.one_of(&at.get("protocol"), values::PROTOCOLS);
    values::port_or_name(&at.get("targetPort"), found);
    let protocol = at.get("appProtocol");
    if protocol.is_given() {
        found.test(&protocol, names::qualified_name);
    }
}

fn affinity(spec: &Place<'_, '_>, found: &mut Findings) {
    const WHEN: &str = "when session affinity type is ClientIP";
    let (kind, config) = (spec.get("sessionAffinity"), spec.get("sessionAffinityConfig"));
    found.one_of(&kind, AFFINITIES);
    match kind.text() {
        "ClientIP" => {
            let client = config.get("clientIP");
            let seconds = client.get("timeoutSeconds");
            match [&config, &client, &seconds].into_iter().find(|part| !part.is_given()) {
                Some(missing) => found.required(missing, WHEN),
                None if !(1..=AFFINITY_MAX).contains(&seconds.number()) => {
                    found.invalid(&seconds, format!("must be greater than 0 and less than {AFFINITY_MAX}"));
                }
                None => {}
            }
        }
        "None" if config.is_given() => found.forbidden(&config, "must not be set when session affinity is None"),
        _ => {}
    }
}

fn cluster_addresses(spec: &Place<'_, '_>, addresses: &Addresses<'_>, found: &mut Findings) {
    let (listed, families) = (spec.get("clusterIPs"), spec.get("ipFamilies"));
    if addresses.first.is_empty() && !addresses.all.is_empty() {
        found.invalid(&listed, "must be empty when `clusterIP` is not specified");
    } else if addresses.all.first().is_some_and(|first| *first != addresses.first) {
        found.invalid(&listed, "first value must match `clusterIP`");
    }
    let mut seen = HashSet::new();
    for family in families.each() {
        found.member(&family, FAMILIES);
        if !seen.insert(family.text()) {
            found.duplicate(&family);
        }
    }
    found.optional_one_of(&spec.get("ipFamilyPolicy"), &["PreferDualStack", "RequireDualStack", "SingleStack"]);
    let before = found.causes.len();
    for (position, address) in addresses.all.iter().enumerate() {
        if position == 0 && *address == "None" {
            if addresses.all.len() > 1 {
                found.invalid(&listed, "'None' must be the first and only value");
            }
            continue;
        }
        let at = listed.index(position);
        names::ip_address(address).into_iter().for_each(|why| found.invalid_as(&at, *address, why));
    }
    let is_good = found.causes.len() == before;
    if addresses.all.len() > 2 {
        found.invalid(&listed, "may only hold up to 2 values");
    }
    let parsed: Vec<IpAddr> = addresses.all.iter().filter_map(|address| address.parse().ok()).collect();
    if !is_good || addresses.is_headless() {
        return;
    }
    if let [first, second, ..] = parsed[..]
        && first.is_ipv4() == second.is_ipv4()
    {
        found.invalid(&listed, "may specify no more than one IP for each IP family");
    }
    for (position, (address, family)) in parsed.iter().zip(families.texts()).enumerate() {
        if FAMILIES.contains(&family) && address.is_ipv4() != (family == "IPv4") {
            let why = format!("expected an {family} value as indicated by `ipFamilies[{position}]`");
            found.invalid_as(&listed.index(position), addresses.all[position], why);
        }
    }
}

fn duplicate_ports(spec: &Place<'_, '_>, found: &mut Findings) {
    let ports = spec.get("ports");
    if spec.get("type").text() == "ClusterIP" {
        for node in ports.each().filter(|port| port.get("nodePort").number() != 0) {
            found.forbidden(&node.get("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
    let mut seen = HashSet::new();
    for one in ports.each().filter(|port| port.get("nodePort").number() != 0) {
        let node = one.get("nodePort");
        if !seen.insert((one.get("protocol").text(), node.number())) {
            found.duplicate(&node);
        }
    }
    seen.clear();
    for one in ports.each() {
        let (protocol, number) = (one.get("protocol").text(), one.get("port").number());
        if !seen.insert((protocol, number)) {
            let key = json!({"protocol": protocol, "port": number});
            found.duplicate_as(&one, shown::internal("core/v1", "ServicePort", &key));
        }
    }
}

fn traffic(spec: &Place<'_, '_>, found: &mut Findings) {
    let kind = spec.get("type").text();
    let is_external =
        matches!(kind, "LoadBalancer" | "NodePort") || kind == "ClusterIP" && !spec.get("externalIPs").is_empty();
    let policy = spec.get("externalTrafficPolicy");
    if is_external {
        found.one_of(&policy, POLICIES);
    } else if !policy.is_empty() {
        found.invalid(&policy, "may only be set for externally-accessible services");
    }
    let check = spec.get("healthCheckNodePort");
    if check.number() != 0 {
        if kind == "LoadBalancer" && policy.text() == "Local" {
            values::port(&check, found);
        } else {
            let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            found.invalid(&check, why);
        }
    }
    found.optional_one_of(&spec.get("internalTrafficPolicy"), POLICIES);
    let wishes = ["PreferClose", "PreferSameNode", "PreferSameZone"];
    found.optional_one_of(&spec.get("trafficDistribution"), &wishes);
}

/// Addresses stay, unless the service was or becomes a mere name.
pub(super) fn update(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    let (new, old) = (new.get("spec"), old.get("spec"));
    let is_name = |spec: &Place<'_, '_>| spec.get("type").text() == "ExternalName";
    if is_name(&new) || is_name(&old) {
        return;
    }
    let (now, before) = (Addresses::of(&new), Addresses::of(&old));
    if now.is_headless() && before.is_headless() {
        return;
    }
    let listed = new.get("clusterIPs");
    let value = now.shown();
    let changed = |found: &mut Findings, position| found.invalid_as(&listed.index(position), value.clone(), ONCE);
    if now.all.len() == before.all.len() {
        for (position, _) in before.all.iter().zip(&now.all).enumerate().filter(|(_, (before, now))| before != now) {
            changed(found, position);
        }
    } else {
        if now.all.is_empty() {
            found.invalid_as(&listed.index(0), value.clone(), "primary clusterIP can not be unset");
        }
        if now.all.first().zip(before.all.first()).is_some_and(|(now, before)| now != before) {
            changed(found, 0);
        }
        if before.all.len() > now.all.len() && now.all.len() == 1 {
            let policy = new.get("ipFamilyPolicy");
            if policy.text() != "SingleStack" {
                let why = "must be set to 'SingleStack' when releasing the secondary clusterIP";
                found.invalid(&policy, why);
            }
        }
    }
    if now.is_headless() != before.is_headless() {
        return;
    }
    let family = |spec: &Place<'_, '_>| spec.get("ipFamilies").texts().next().map(str::to_owned);
    if family(&new).zip(family(&old)).is_some_and(|(new, old)| new != old) {
        let at = new.get("ipFamilies");
        found.invalid_as(&at.index(0), at.value().clone(), ONCE);
    }
    let class = new.get("loadBalancerClass");
    let is_balanced = |spec: &Place<'_, '_>| spec.get("type").text() == "LoadBalancer";
    if is_balanced(&new) && is_balanced(&old) && class.value() != old.get("loadBalancerClass").value() {
        found.invalid(&class, ONCE);
    }
}
