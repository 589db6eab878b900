//! What Services hold: addresses of the cluster's range, and ports of its nodes.
//!
//! A Service's address or port is a key of its own in the store, taken in the transaction that writes the Service.
//! Which it gets, keeps and gives back is upstream's allocation (1.36), for a cluster of one family of addresses.

use super::write::{Claims, Put};
use super::{Registry, keys};
use api::kinds::Kind;
use api::object::edit;
use api::rejected::Cause;
use api::{Rejected, Tree};
use bytes::Bytes;
use rand::Rng;
use serde_json::json;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Random draws before a range is searched from its start.
const DRAWS: usize = 16;

/// The port that tells load balancers of a node's health is one of TCP.
const HEALTH: &str = "TCP";

/// Which ports of the nodes are taken, by protocol and number.
type Ports = HashSet<(String, u16)>;

pub(super) fn is_service(kind: &Kind) -> bool {
    kind.group().is_empty() && kind.kind == "Service"
}

/// The claims that an object holds, to be given up with it.
pub(super) fn claims_of(kind: &Kind, tree: &Tree) -> Vec<Bytes> {
    if !is_service(kind) {
        return Vec::new();
    }
    let mut claims: Vec<Bytes> = addresses(tree).into_iter().map(keys::address).collect();
    claims.extend(node_ports(tree).iter().map(|(protocol, port)| keys::node_port(protocol, *port)));
    claims
}

/// Pure: the two ways of telling the addresses agree, what a client leaves out of a change stays, and what its new type
/// has no use for goes.
pub(super) fn prepare(old: Option<&Tree>, new: &mut Tree) {
    let first = |tree: &Tree| edit::text(tree, &["spec", "clusterIP"]).to_owned();
    let all = |tree: &Tree| edit::list(tree, &["spec", "clusterIPs"]).to_vec();
    let (now, listed) = (first(new), all(new));
    match old {
        None if !now.is_empty() && listed.is_empty() => edit::set(new, &["spec", "clusterIPs"], json!([now])),
        Some(old) if now != first(old) && listed == all(old) => {
            if now.is_empty() {
                edit::remove(new, &["spec", "clusterIPs"]);
            } else {
                edit::set(new, &["spec", "clusterIPs"], json!([now]));
            }
        }
        _ => {}
    }
    let Some(old) = old else { return };
    keep(old, new);
    drop_useless(old, new);
}

fn keep(old: &Tree, new: &mut Tree) {
    if has_address(old) && has_address(new) {
        let first = edit::text(old, &["spec", "clusterIP"]);
        if edit::text(new, &["spec", "clusterIP"]).is_empty() {
            edit::set(new, &["spec", "clusterIP"], first);
        }
        if edit::text(new, &["spec", "clusterIP"]) == first && edit::list(new, &["spec", "clusterIPs"]).is_empty() {
            copy(old, new, "clusterIPs");
        }
        for key in ["ipFamilies", "ipFamilyPolicy"] {
            if edit::at(new, &["spec", key]).is_none() {
                copy(old, new, key);
            }
        }
    }
    if has_node_ports(old) && has_node_ports(new) {
        let mut told: HashSet<i64> = ports(new).iter().filter_map(|port| edit::integer(port, &["nodePort"])).collect();
        for port in edit::list_mut(new, &["spec", "ports"]) {
            if edit::integer(port, &["nodePort"]).unwrap_or(0) != 0 {
                continue;
            }
            let is_same = |other: &&Tree| {
                ["port", "protocol"].iter().all(|key| edit::at(other, &[key]) == edit::at(port, &[key]))
            };
            let had = ports(old).iter().find(is_same).and_then(|old| edit::integer(old, &["nodePort"]));
            if let Some(had) = had.filter(|had| told.insert(*had)) {
                edit::set(port, &["nodePort"], had);
            }
        }
    }
    let has_none = edit::integer(new, &["spec", "healthCheckNodePort"]).unwrap_or(0) == 0;
    if has_health_port(old) && has_health_port(new) && has_none {
        copy(old, new, "healthCheckNodePort");
    }
}

/// Somebody who changes the type alone does not mean what belonged to the old one.
fn drop_useless(old: &Tree, new: &mut Tree) {
    let mut drop = |is_of: fn(&Tree) -> bool, keys: &[&str]| {
        if is_of(old) && !is_of(new) {
            for key in keys
                .iter()
                .filter(|key| edit::at(old, &["spec", key]) == edit::at(new, &["spec", key]))
                .collect::<Vec<_>>()
            {
                edit::remove(new, &["spec", key]);
            }
        }
    };
    drop(has_address, &["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]);
    drop(has_health_port, &["healthCheckNodePort"]);
    drop(is_reachable, &["externalTrafficPolicy"]);
    drop(is_balanced, &["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    if has_node_ports(old) && !has_node_ports(new) && node_ports(old) == node_ports(new) {
        for port in edit::list_mut(new, &["spec", "ports"]) {
            edit::remove(port, &["nodePort"]);
        }
    }
}

fn copy(old: &Tree, new: &mut Tree, key: &str) {
    if let Some(value) = edit::at(old, &["spec", key]) {
        edit::set(new, &["spec", key], value.clone());
    }
}

/// Gives a valid Service the addresses and ports that it is to have, and takes back those that it no longer wants.
pub(super) fn allocate(registry: &Registry, old: Option<&Tree>, put: &mut Put) -> Result<(), Rejected> {
    let had_addresses = old.map(addresses).unwrap_or_default();
    let had_ports = old.map(node_ports).unwrap_or_default();
    let (base, _) = registry.0.config.service_cidr;
    if has_address(&put.tree) {
        families(base, &mut put.tree)?;
        if edit::text(&put.tree, &["spec", "clusterIP"]) != "None" {
            address(registry, &mut put.tree, &mut put.claims, &had_addresses)?;
        }
    }
    self::allocate_ports(registry, &mut put.tree, &mut put.claims, &had_ports)?;
    let now = addresses(&put.tree);
    put.claims.free.extend(had_addresses.into_iter().filter(|ip| !now.contains(ip)).map(keys::address));
    let now = node_ports(&put.tree);
    let freed = had_ports.iter().filter(|port| !now.contains(*port));
    put.claims.free.extend(freed.map(|(protocol, port)| keys::node_port(protocol, *port)));
    if edit::at(&put.tree, &["status"]).is_none() {
        edit::set(&mut put.tree, &["status", "loadBalancer"], json!({}));
    }
    Ok(())
}

/// Which families of addresses the Service has; pure.
fn families(base: IpAddr, tree: &mut Tree) -> Result<(), Rejected> {
    let (own, other) = if base.is_ipv6() { ("IPv6", "IPv4") } else { ("IPv4", "IPv6") };
    let is_headless = edit::text(tree, &["spec", "clusterIP"]) == "None";
    // Whoever writes the endpoints of a Service without a selector knows best which families they are of.
    let is_free =
        is_headless && edit::at(tree, &["spec", "selector"]).and_then(Tree::as_object).is_none_or(|all| all.is_empty());
    if edit::text(tree, &["spec", "ipFamilyPolicy"]).is_empty() {
        edit::set(tree, &["spec", "ipFamilyPolicy"], if is_free { "RequireDualStack" } else { "SingleStack" });
    }
    let policy = edit::text(tree, &["spec", "ipFamilyPolicy"]).to_owned();
    let mut causes = Vec::new();
    let mut wrong = |field: &str, value: &Tree, why: &str| causes.push(Cause::invalid(field, value, why));
    let listed = edit::list(tree, &["spec", "clusterIPs"]).to_vec();
    let mut families: Vec<String> = edit::list(tree, &["spec", "ipFamilies"])
        .iter()
        .filter_map(|family| family.as_str().map(str::to_owned))
        .collect();
    if policy == "SingleStack" {
        for (count, what) in [(listed.len(), "cluster IPs"), (families.len(), "IP families")] {
            if count == 2 {
                let why = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
                wrong("spec.ipFamilyPolicy", &json!(policy), &why);
            }
        }
    }
    for (index, ip) in addresses(tree).into_iter().enumerate().skip(families.len()) {
        let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
        if family == own {
            families.push(family.to_owned());
        } else {
            let why = format!("{family} is not configured on this cluster");
            wrong(&format!("spec.clusterIPs[{index}]"), &json!(listed), &why);
        }
    }
    if is_free && families.is_empty() {
        families.push(own.to_owned());
    }
    if is_free && families.len() == 1 && policy != "SingleStack" {
        let second = if families[0] == own { other } else { own };
        families.push(second.to_owned());
    } else if !is_free {
        if policy == "RequireDualStack" {
            wrong("spec.ipFamilyPolicy", &json!(policy), "this cluster is not configured for dual-stack services");
        }
        for (index, family) in families.iter().enumerate().filter(|(_, family)| *family != own) {
            wrong(&format!("spec.ipFamilies[{index}]"), &json!(family), "not configured on this cluster");
        }
        if families.is_empty() {
            families.push(own.to_owned());
        }
    }
    if causes.is_empty() {
        edit::set(tree, &["spec", "ipFamilies"], json!(families));
        return Ok(());
    }
    Err(Rejected::invalid("", "Service", edit::text(tree, &["metadata", "name"]), causes))
}

fn address(registry: &Registry, tree: &mut Tree, claims: &mut Claims, had: &[IpAddr]) -> Result<(), Rejected> {
    let (base, bits) = registry.0.config.service_cidr;
    let ip = match addresses(tree).first() {
        Some(ip) if had.contains(ip) => return Ok(()),
        Some(ip) if !contains(base, bits, *ip) => {
            return Err(wrong_address(tree, *ip, "the provided network does not match the current range"));
        }
        Some(ip) => {
            if registry.services().iter().any(|other| addresses(other).contains(ip)) {
                return Err(wrong_address(tree, *ip, "provided IP is already allocated"));
            }
            *ip
        }
        None => draw_address(registry)?,
    };
    claims.take.push(keys::address(ip));
    edit::set(tree, &["spec", "clusterIP"], ip.to_string());
    edit::set(tree, &["spec", "clusterIPs"], json!([ip.to_string()]));
    Ok(())
}

fn wrong_address(tree: &Tree, ip: IpAddr, why: &str) -> Rejected {
    let name = edit::text(tree, &["metadata", "name"]);
    let why = format!("failed to allocate IP {ip}: {why}");
    let cause = Cause::invalid("spec.clusterIPs", &json!(edit::list(tree, &["spec", "clusterIPs"])), why);
    Rejected::invalid("", "Service", name, vec![cause])
}

fn draw_address(registry: &Registry) -> Result<IpAddr, Rejected> {
    let (base, bits) = registry.0.config.service_cidr;
    let used: HashSet<IpAddr> = registry.services().iter().flat_map(addresses).collect();
    let size = size(base, bits);
    let mut rng = rand::rng();
    // The first address is the API's own, the network's and the broadcast address are nobody's.
    let drawn = (0..DRAWS).map(|_| rng.random_range(2..size.max(4) - 1));
    let mut candidates = drawn.chain(2..size.saturating_sub(1)).map(|offset| nth(base, offset));
    candidates
        .find(|ip| !used.contains(ip))
        .ok_or_else(|| Rejected::internal("failed to allocate a serviceIP: range is full"))
}

fn allocate_ports(registry: &Registry, tree: &mut Tree, claims: &mut Claims, had: &Ports) -> Result<(), Rejected> {
    let name = edit::text(tree, &["metadata", "name"]).to_owned();
    let draws = has_node_ports(tree)
        && !(is_balanced(tree)
            && edit::at(tree, &["spec", "allocateLoadBalancerNodePorts"]) == Some(&Tree::Bool(false)));
    let mut pool = Pool { registry, had, taken: node_ports(tree), others: None };
    if has_node_ports(tree) {
        for (index, port) in edit::list_mut(tree, &["spec", "ports"]).iter_mut().enumerate() {
            let protocol = edit::text(port, &["protocol"]).to_owned();
            match number(port, "nodePort") {
                0 if draws => edit::set(port, &["nodePort"], pool.draw(&protocol, claims)?),
                0 => {}
                given => pool.take(&protocol, given, claims).map_err(|why| {
                    let cause = Cause::invalid(format!("spec.ports[{index}].nodePort"), &json!(given), why);
                    Rejected::invalid("", "Service", &name, vec![cause])
                })?,
            }
        }
    }
    if has_health_port(tree) {
        match edit::at(tree, &["spec"]).map_or(0, |spec| number(spec, "healthCheckNodePort")) {
            0 => edit::set(tree, &["spec", "healthCheckNodePort"], pool.draw(HEALTH, claims)?),
            given => pool.take(HEALTH, given, claims).map_err(|why| {
                Rejected::internal(format!("failed to allocate requested HealthCheck NodePort {given}: {why}"))
            })?,
        }
    }
    Ok(())
}

/// The ports of the nodes, and who has them.
struct Pool<'a> {
    registry: &'a Registry,
    had: &'a Ports,
    taken: Ports,
    /// Those of other Services, once they are asked for.
    others: Option<Ports>,
}

impl Pool<'_> {
    fn others(&mut self) -> &Ports {
        let all = || self.registry.services().iter().flat_map(node_ports).collect();
        self.others.get_or_insert_with(all)
    }

    fn take(&mut self, protocol: &str, port: u16, claims: &mut Claims) -> Result<(), String> {
        let wanted = (protocol.to_owned(), port);
        if self.had.contains(&wanted) {
            return Ok(());
        }
        let range = &self.registry.0.config.node_port_range;
        if !range.contains(&port) {
            let (first, last) = (range.start(), range.end());
            return Err(format!("provided port is not in the valid range. The range of valid ports is {first}-{last}"));
        }
        if self.others().contains(&wanted) {
            return Err("provided port is already allocated".to_owned());
        }
        claims.take.push(keys::node_port(protocol, port));
        Ok(())
    }

    fn draw(&mut self, protocol: &str, claims: &mut Claims) -> Result<u16, Rejected> {
        let range = self.registry.0.config.node_port_range.clone();
        let mut rng = rand::rng();
        let drawn: Vec<u16> = (0..DRAWS).map(|_| rng.random_range(range.clone())).collect();
        for port in drawn.into_iter().chain(range) {
            let wanted = (protocol.to_owned(), port);
            if !self.taken.contains(&wanted) && !self.others().contains(&wanted) {
                claims.take.push(keys::node_port(protocol, port));
                self.taken.insert(wanted);
                return Ok(port);
            }
        }
        Err(Rejected::internal("failed to allocate a nodePort: range is full"))
    }
}

impl Registry {
    /// All Services, as the memory has them.
    fn services(&self) -> Vec<Tree> {
        let shelf = self.0.memory.shelf(&keys::collection(&api::resource::SERVICES));
        let (all, _) = shelf.range("", || 0);
        all.iter().map(|stored| stored.object.tree()).collect()
    }
}

fn kind(service: &Tree) -> &str {
    edit::text(service, &["spec", "type"])
}

fn has_address(service: &Tree) -> bool {
    kind(service) != "ExternalName"
}

fn is_balanced(service: &Tree) -> bool {
    kind(service) == "LoadBalancer"
}

fn has_node_ports(service: &Tree) -> bool {
    matches!(kind(service), "NodePort" | "LoadBalancer")
}

fn has_health_port(service: &Tree) -> bool {
    is_balanced(service) && edit::text(service, &["spec", "externalTrafficPolicy"]) == "Local"
}

fn is_reachable(service: &Tree) -> bool {
    has_node_ports(service) || has_address(service) && !edit::list(service, &["spec", "externalIPs"]).is_empty()
}

fn ports(service: &Tree) -> &[Tree] {
    edit::list(service, &["spec", "ports"])
}

fn addresses(service: &Tree) -> Vec<IpAddr> {
    let several = edit::list(service, &["spec", "clusterIPs"]);
    let one = edit::at(service, &["spec", "clusterIP"]);
    let mut found: Vec<IpAddr> = several.iter().chain(one).filter_map(|ip| ip.as_str()?.parse().ok()).collect();
    let mut seen = HashSet::new();
    found.retain(|ip| seen.insert(*ip));
    found
}

fn node_ports(service: &Tree) -> Ports {
    let of = |port: &Tree| Some((edit::text(port, &["protocol"]).to_owned(), number(port, "nodePort")));
    let health = edit::at(service, &["spec"]).map(|spec| (HEALTH.to_owned(), number(spec, "healthCheckNodePort")));
    ports(service).iter().filter_map(of).chain(health).filter(|(_, number)| *number != 0).collect()
}

fn number(tree: &Tree, key: &str) -> u16 {
    edit::integer(tree, &[key]).and_then(|port| u16::try_from(port).ok()).unwrap_or(0)
}

fn contains(base: IpAddr, bits: u8, ip: IpAddr) -> bool {
    let first = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)).checked_shr(32 - u32::from(bits)),
        IpAddr::V6(ip) => u128::from(ip).checked_shr(128 - u32::from(bits)),
    };
    base.is_ipv4() == ip.is_ipv4() && first(base).unwrap_or(0) == first(ip).unwrap_or(0)
}

/// How many addresses the range has, capped: nobody runs out of a million.
fn size(base: IpAddr, bits: u8) -> u64 {
    let whole: u32 = if base.is_ipv4() { 32 } else { 128 };
    1_u64 << (whole - u32::from(bits)).min(20)
}

/// The address at an offset of the range.
pub(super) fn nth(base: IpAddr, offset: u64) -> IpAddr {
    match base {
        IpAddr::V4(base) => Ipv4Addr::from(u32::from(base).wrapping_add(u32::try_from(offset).unwrap_or(0))).into(),
        IpAddr::V6(base) => Ipv6Addr::from(u128::from(base).wrapping_add(offset.into())).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_their_addresses_only() {
        let base: IpAddr = "10.96.0.0".parse().expect("an address");
        assert!(contains(base, 12, "10.111.255.255".parse().expect("an address")));
        assert!(!contains(base, 12, "10.112.0.0".parse().expect("an address")));
        assert_eq!(nth(base, 257).to_string(), "10.96.1.1");
        assert_eq!(size(base, 24), 256);
    }

    fn prepared(old: &Tree, new: &Tree) -> Tree {
        let (old, mut new) = (json!({"spec": old}), json!({"spec": new}));
        prepare(Some(&old), &mut new);
        new["spec"].take()
    }

    #[test]
    fn what_a_change_leaves_out_stays_and_what_its_type_has_no_use_for_goes() {
        let families = json!(["IPv4"]);
        let port = |node: u16| json!([{"port": 80, "protocol": "TCP", "nodePort": node}]);
        let plain = json!([{"port": 80, "protocol": "TCP"}]);
        let node = json!({"type": "NodePort", "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"], "ipFamilies": families,
            "ipFamilyPolicy": "SingleStack", "externalTrafficPolicy": "Cluster", "ports": port(30001)});
        assert_eq!(
            prepared(&node, &json!({"type": "NodePort", "externalTrafficPolicy": "Cluster", "ports": plain})),
            node
        );
        let mut cluster = node.clone();
        cluster["type"] = "ClusterIP".into();
        let expected = json!({"type": "ClusterIP", "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"],
            "ipFamilies": families, "ipFamilyPolicy": "SingleStack", "ports": plain});
        assert_eq!(prepared(&node, &cluster), expected);
        // Another port is a wish, which the type does not allow: validation says so.
        cluster["ports"] = port(30002);
        assert_eq!(prepared(&node, &cluster)["ports"], port(30002));
        let mut name = expected.clone();
        name["type"] = "ExternalName".into();
        assert_eq!(prepared(&expected, &name), json!({"type": "ExternalName", "ports": plain}));
        // The first address alone is changed, or taken away.
        let mut other = expected.clone();
        other["clusterIP"] = "10.0.0.6".into();
        assert_eq!(prepared(&expected, &other)["clusterIPs"], json!(["10.0.0.6"]));
        other["clusterIP"] = "".into();
        assert_eq!(prepared(&expected, &other), expected);
    }

    #[test]
    fn families_follow_the_cluster() {
        let base: IpAddr = "10.0.0.0".parse().expect("an address");
        let of = |spec: Tree| {
            let mut tree = json!({"metadata": {"name": "s"}, "spec": spec});
            families(base, &mut tree)
                .map(|()| (tree["spec"]["ipFamilyPolicy"].take(), tree["spec"]["ipFamilies"].take()))
        };
        let single = (json!("SingleStack"), json!(["IPv4"]));
        assert_eq!(of(json!({})).expect("fine"), single);
        assert_eq!(of(json!({"clusterIP": "None", "selector": {"a": "b"}})).expect("fine"), single);
        assert_eq!(
            of(json!({"clusterIP": "None"})).expect("fine"),
            (json!("RequireDualStack"), json!(["IPv4", "IPv6"]))
        );
        let prefer = json!({"ipFamilyPolicy": "PreferDualStack"});
        assert_eq!(of(prefer).expect("fine"), (json!("PreferDualStack"), json!(["IPv4"])));
        for (spec, field, why) in [
            (json!({"ipFamilyPolicy": "RequireDualStack"}), "spec.ipFamilyPolicy", "not configured for dual-stack"),
            (json!({"ipFamilies": ["IPv6"]}), "spec.ipFamilies[0]", "not configured on this cluster"),
            (json!({"clusterIPs": ["fd00::1"]}), "spec.clusterIPs[0]", "IPv6 is not configured on this cluster"),
        ] {
            let rejected = of(spec).expect_err("refused");
            assert_eq!(rejected.details.causes[0].field, field);
            assert!(rejected.message.contains(why), "{}", rejected.message);
        }
    }
}
