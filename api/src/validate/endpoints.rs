//! Endpoints and slices of them.

use super::findings::Findings;
use super::place::Place;
use super::values::{self, PROTOCOLS};
use crate::names;
use std::collections::HashSet;
use std::net::IpAddr;

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;

/// Whether these are the addresses of the API itself, which may be those of this machine alone: a server for one machine
/// listens there, while upstream refuses to start with such an address.
fn are_of_the_api(root: &Place<'_, '_>) -> bool {
    let meta = root.get("metadata");
    (meta.get("namespace").text(), meta.get("name").text()) == ("default", "kubernetes")
}

pub(super) fn endpoints(root: &Place<'_, '_>, found: &mut Findings) {
    let is_reachable = !are_of_the_api(root);
    for subset in root.get("subsets").each() {
        let (ready, unready, ports) = (subset.get("addresses"), subset.get("notReadyAddresses"), subset.get("ports"));
        if ready.is_empty() && unready.is_empty() {
            found.required(&subset, "must specify `addresses` or `notReadyAddresses`");
        }
        for one in ready.each().chain(unready.each()) {
            values::address(&one.get("ip"), found);
            found.optional_name(&one.get("hostname"), names::dns_label);
            if one.has("nodeName") {
                found.test(&one.get("nodeName"), names::dns_subdomain);
            }
            if is_reachable {
                values::reachable_address(&one.get("ip"), found);
            }
        }
        for one in ports.each() {
            if ports.len() > 1 && one.get("name").is_empty() {
                found.required(&one.get("name"), "");
            }
            found.optional_name(&one.get("name"), names::dns_label);
            values::port(&one.get("port"), found);
            found.one_of(&one.get("protocol"), PROTOCOLS);
            app_protocol(&one.get("appProtocol"), found);
        }
    }
}

fn app_protocol(at: &Place<'_, '_>, found: &mut Findings) {
    if at.is_given() {
        found.test(at, names::qualified_name);
    }
}

pub(super) fn slice(root: &Place<'_, '_>, found: &mut Findings) {
    let kind = root.get("addressType");
    found.one_of(&kind, &["FQDN", "IPv4", "IPv6"]);
    let all = root.get("endpoints");
    if all.len() > ENDPOINTS_MAX {
        found.too_many(&all, all.len(), ENDPOINTS_MAX);
    } else {
        let is_reachable = !are_of_the_api(root);
        all.each().for_each(|one| endpoint(&one, kind.text(), is_reachable, found));
    }
    let ports = root.get("ports");
    if ports.len() > PORTS_MAX {
        return found.too_many(&ports, ports.len(), PORTS_MAX);
    }
    let mut seen = HashSet::new();
    for one in ports.each() {
        let name = one.get("name");
        found.optional_name(&name, names::dns_label);
        if !seen.insert(name.text()) {
            found.duplicate_as(&name, name.text());
        }
        found.one_of(&one.get("protocol"), PROTOCOLS);
        app_protocol(&one.get("appProtocol"), found);
    }
}

fn endpoint(at: &Place<'_, '_>, kind: &str, is_reachable: bool, found: &mut Findings) {
    let addresses = at.get("addresses");
    if addresses.is_empty() {
        found.required(&addresses, "must contain at least 1 address");
    } else if addresses.len() > ADDRESSES_MAX {
        found.too_many(&addresses, addresses.len(), ADDRESSES_MAX);
    }
    for address in addresses.each() {
        let parsed = address.text().parse::<IpAddr>();
        match (kind, parsed) {
            ("IPv4" | "IPv6", Err(_)) => values::address(&address, found),
            ("IPv4", Ok(IpAddr::V6(_))) => found.invalid(&address, "must be an IPv4 address"),
            ("IPv6", Ok(IpAddr::V4(_))) => found.invalid(&address, "must be an IPv6 address"),
            ("FQDN", _) => names::domain_name(address.text(), 2)
                .into_iter()
                .for_each(|(shown, why)| found.invalid_as(&address, shown, why)),
            _ => {}
        }
        if is_reachable && matches!(kind, "IPv4" | "IPv6") {
            values::reachable_address(&address, found);
        }
    }
    if at.has("nodeName") {
        found.test(&at.get("nodeName"), names::dns_subdomain);
    }
    super::meta::labels(&at.alias("topology", &at.get("deprecatedTopology")), found);
    if at.has("hostname") {
        found.test(&at.get("hostname"), names::dns_label);
    }
}
