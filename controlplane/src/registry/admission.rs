//! What a write sets off beside the object itself: defaults that depend on the cluster, and the addresses and ports
//! that a Service holds. Named after the admission plugins of kube-apiserver that do the same.

use super::write::{Claims, Put};
use super::{Call, Registry, keys};
use api::kinds::Kind;
use api::object::edit;
use api::rejected::{Cause, Reason};
use api::{Rejected, Tree};
use bytes::Bytes;
use rand::Rng;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const UNREACHABLE: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const TOLERATED_SECONDS: i64 = 300;
/// Random draws before a range is searched from its start.
const DRAWS: usize = 16;

impl Registry {
    /// NamespaceLifecycle: nothing new in a namespace that is not there or is going away.
    pub(super) fn check_namespace(&self, call: &Call<'_>, tree: &Tree) -> Result<(), Rejected> {
        let Some(namespace) = call.namespace.filter(|_| !self.is_disabled("NamespaceLifecycle")) else { return Ok(()) };
        let shelf = self.0.memory.shelf(&keys::collection(&api::resource::NAMESPACES));
        let Some(stored) = shelf.get(namespace) else {
            return Err(Rejected::not_found(&api::resource::NAMESPACES, namespace));
        };
        if stored.object.head().is_deleting {
            let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
            let name = edit::text(tree, &["metadata", "name"]);
            let mut rejected = Rejected::forbidden(&call.kind.resource, name, why);
            rejected.details.causes = vec![Cause {
                reason: "NamespaceTerminating".to_owned(),
                message: format!("namespace {namespace} is being terminated"),
                field: "metadata.namespace".to_owned(),
            }];
            return Err(rejected);
        }
        Ok(())
    }

    pub(super) fn is_disabled(&self, plugin: &str) -> bool {
        self.0.config.disabled_admission.iter().any(|disabled| disabled == plugin)
    }

    fn is_claimed(&self, collection: &str, is: impl Fn(&Tree) -> bool) -> bool {
        let shelf = self.0.memory.shelf(collection);
        let (all, _) = shelf.range("", || 0);
        all.iter().any(|stored| is(&stored.object.tree()))
    }
}

pub(super) fn create(registry: &Registry, kind: &Kind, put: &mut Put) -> Result<(), Rejected> {
    match (kind.group(), kind.kind.as_str()) {
        ("", "Pod") => pod(registry, &mut put.tree),
        ("", "Service") => service(registry, None, put),
        ("batch", "Job") => {
            api::defaults::select_job(&mut put.tree);
            Ok(())
        }
        _ => Ok(()),
    }
}

pub(super) fn update(registry: &Registry, kind: &Kind, old: &Tree, put: &mut Put) -> Result<(), Rejected> {
    match (kind.group(), kind.kind.as_str()) {
        ("", "Service") => service(registry, Some(old), put),
        _ => Ok(()),
    }
}

/// The claims that an object holds, to be given up with it.
pub(super) fn claims_of(kind: &Kind, tree: &Tree) -> Vec<Bytes> {
    if !(kind.group().is_empty() && kind.kind == "Service") {
        return Vec::new();
    }
    let mut claims: Vec<Bytes> = addresses(tree).into_iter().map(keys::address).collect();
    claims.extend(node_ports(tree).iter().map(|(protocol, port)| keys::node_port(protocol, *port)));
    claims
}

/// ServiceAccount, Priority and DefaultTolerationSeconds.
fn pod(registry: &Registry, tree: &mut Tree) -> Result<(), Rejected> {
    if !registry.is_disabled("ServiceAccount") && edit::text(tree, &["spec", "serviceAccountName"]).is_empty() {
        edit::set(tree, &["spec", "serviceAccountName"], "default");
        edit::set(tree, &["spec", "serviceAccount"], "default");
    }
    if !registry.is_disabled("Priority") {
        priority(registry, tree)?;
    }
    if !registry.is_disabled("DefaultTolerationSeconds") {
        for key in UNREACHABLE {
            let covers = |toleration: &Tree| {
                let of = |name: &str| edit::text(toleration, &[name]).to_owned();
                (of("key") == key || of("key").is_empty()) && matches!(of("effect").as_str(), "NoExecute" | "")
            };
            if !edit::list(tree, &["spec", "tolerations"]).iter().any(covers) {
                let toleration = json!({
                    "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATED_SECONDS,
                });
                edit::push(tree, &["spec", "tolerations"], toleration);
            }
        }
    }
    Ok(())
}

fn priority(registry: &Registry, tree: &mut Tree) -> Result<(), Rejected> {
    let name = edit::text(tree, &["spec", "priorityClassName"]).to_owned();
    let mut value = 0;
    let mut policy = "PreemptLowerPriority".to_owned();
    if !name.is_empty() {
        let shelf = registry.0.memory.shelf(&keys::collection(&api::resource::PRIORITY_CLASSES));
        let Some(class) = shelf.get(&name) else {
            let pod = edit::text(tree, &["metadata", "name"]);
            let why = format!("no PriorityClass with name {name} was found");
            return Err(Rejected::forbidden(&api::resource::PODS, pod, why));
        };
        let class = class.object.tree();
        value = edit::integer(&class, &["value"]).unwrap_or(0);
        let own = edit::text(&class, &["preemptionPolicy"]);
        if !own.is_empty() {
            own.clone_into(&mut policy);
        }
    }
    edit::set(tree, &["spec", "priority"], value);
    if edit::text(tree, &["spec", "preemptionPolicy"]).is_empty() {
        edit::set(tree, &["spec", "preemptionPolicy"], policy);
    }
    Ok(())
}

/// Gives a Service the addresses and ports that it is to have, and takes back those that it no longer wants.
fn service(registry: &Registry, old: Option<&Tree>, put: &mut Put) -> Result<(), Rejected> {
    let kind = edit::text(&put.tree, &["spec", "type"]).to_owned();
    let had_addresses = old.map(addresses).unwrap_or_default();
    let had_ports = old.map(node_ports).unwrap_or_default();
    if kind == "ExternalName" {
        for key in ["clusterIP", "clusterIPs"] {
            edit::remove(&mut put.tree, &["spec", key]);
        }
    } else {
        if let Some(old) = old.filter(|_| edit::text(&put.tree, &["spec", "clusterIP"]).is_empty()) {
            // A client that leaves the address out means the one that is there.
            for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if let Some(value) = edit::at(old, &["spec", key]) {
                    edit::set(&mut put.tree, &["spec", key], value.clone());
                }
            }
        }
        address(registry, &mut put.tree, &mut put.claims, &had_addresses)?;
    }
    ports(registry, &kind, old, &mut put.tree, &mut put.claims, &had_ports)?;
    let now = addresses(&put.tree);
    put.claims.free.extend(had_addresses.into_iter().filter(|ip| !now.contains(ip)).map(keys::address));
    let now = node_ports(&put.tree);
    let freed = had_ports.iter().filter(|port| !now.contains(port));
    put.claims.free.extend(freed.map(|(protocol, port)| keys::node_port(protocol, *port)));
    if edit::at(&put.tree, &["status"]).is_none() {
        edit::set(&mut put.tree, &["status", "loadBalancer"], json!({}));
    }
    Ok(())
}

fn address(registry: &Registry, tree: &mut Tree, claims: &mut Claims, had: &[IpAddr]) -> Result<(), Rejected> {
    let wanted = edit::text(tree, &["spec", "clusterIP"]).to_owned();
    let (base, bits) = registry.0.config.service_cidr;
    let ip = match wanted.as_str() {
        "None" => None,
        "" => {
            let ip = draw_address(registry)?;
            claims.take.push(keys::address(ip));
            Some(ip)
        }
        text => {
            let ip: IpAddr = text.parse().map_err(|_| wrong_address(tree, text, "must be a valid IP address"))?;
            if !had.contains(&ip) {
                if !contains(base, bits, ip) {
                    let why =
                        "failed to allocate IP ".to_owned() + text + ": the provided IP is not in the valid range";
                    return Err(wrong_address(tree, text, &why));
                }
                let service = keys::collection(&api::resource::SERVICES);
                if registry.is_claimed(&service, |other| addresses(other).contains(&ip)) {
                    let why = format!("failed to allocate IP {text}: provided IP is already allocated");
                    return Err(wrong_address(tree, text, &why));
                }
                claims.take.push(keys::address(ip));
            }
            Some(ip)
        }
    };
    let text = ip.map_or_else(|| "None".to_owned(), |ip| ip.to_string());
    edit::set(tree, &["spec", "clusterIP"], text.as_str());
    edit::set(tree, &["spec", "clusterIPs"], json!([text]));
    if edit::list(tree, &["spec", "ipFamilies"]).is_empty() {
        let family = if base.is_ipv6() { "IPv6" } else { "IPv4" };
        edit::set(tree, &["spec", "ipFamilies"], json!([family]));
    }
    if edit::text(tree, &["spec", "ipFamilyPolicy"]).is_empty() {
        edit::set(tree, &["spec", "ipFamilyPolicy"], "SingleStack");
    }
    Ok(())
}

fn wrong_address(tree: &Tree, value: &str, why: &str) -> Rejected {
    let name = edit::text(tree, &["metadata", "name"]);
    let cause = Cause::invalid("spec.clusterIPs", &json!([value]), why);
    Rejected::invalid("", "Service", name, vec![cause])
}

fn draw_address(registry: &Registry) -> Result<IpAddr, Rejected> {
    let (base, bits) = registry.0.config.service_cidr;
    let (all, _) = registry.0.memory.shelf(&keys::collection(&api::resource::SERVICES)).range("", || 0);
    let used: std::collections::HashSet<IpAddr> = all.iter().flat_map(|s| addresses(&s.object.tree())).collect();
    let size = size(base, bits);
    let mut rng = rand::rng();
    // The first address is the API's own, the network's and the broadcast address are nobody's.
    let drawn = (0..DRAWS).map(|_| rng.random_range(2..size.max(4) - 1));
    let mut candidates = drawn.chain(2..size.saturating_sub(1)).map(|offset| nth(base, offset));
    candidates
        .find(|ip| !used.contains(ip))
        .ok_or_else(|| Rejected::internal("failed to allocate a serviceIP: range is full"))
}

fn ports(
    registry: &Registry,
    kind: &str,
    old: Option<&Tree>,
    tree: &mut Tree,
    claims: &mut Claims,
    had: &[(String, u16)],
) -> Result<(), Rejected> {
    let wants = matches!(kind, "NodePort" | "LoadBalancer");
    let range = registry.0.config.node_port_range.clone();
    let name = edit::text(tree, &["metadata", "name"]).to_owned();
    let old_ports = old.map(|old| edit::list(old, &["spec", "ports"]).to_vec()).unwrap_or_default();
    let mut taken = node_ports(tree);
    for (index, port) in edit::list_mut(tree, &["spec", "ports"]).iter_mut().enumerate() {
        if !wants {
            edit::remove(port, &["nodePort"]);
            continue;
        }
        let protocol = edit::text(port, &["protocol"]).to_owned();
        let given = edit::integer(port, &["nodePort"]).and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
        let same = |other: &&Tree| edit::integer(other, &["port"]) == edit::integer(port, &["port"]);
        let kept = old_ports.iter().find(same).and_then(|old| edit::integer(old, &["nodePort"]));
        let kept = kept.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
        let number = match (given, kept) {
            (0, Some(kept)) => kept,
            (0, None) => draw_port(registry, &protocol, &taken)?,
            (given, _) => given,
        };
        let field = format!("spec.ports[{index}].nodePort");
        let is_new = !had.contains(&(protocol.clone(), number));
        if is_new && given != 0 {
            let wrong = |why: String| {
                Err(Rejected::invalid("", "Service", &name, vec![Cause::invalid(field.as_str(), &json!(given), why)]))
            };
            if !range.contains(&number) {
                let (first, last) = (range.start(), range.end());
                return wrong(format!(
                    "provided port is not in the valid range. The range of valid ports is {first}-{last}"
                ));
            }
            let services = keys::collection(&api::resource::SERVICES);
            if registry.is_claimed(&services, |other| node_ports(other).contains(&(protocol.clone(), number))) {
                return wrong("provided port is already allocated".to_owned());
            }
        }
        if is_new {
            claims.take.push(keys::node_port(&protocol, number));
        }
        taken.push((protocol, number));
        edit::set(port, &["nodePort"], number);
    }
    Ok(())
}

fn draw_port(registry: &Registry, protocol: &str, taken: &[(String, u16)]) -> Result<u16, Rejected> {
    let (all, _) = registry.0.memory.shelf(&keys::collection(&api::resource::SERVICES)).range("", || 0);
    let mut used: Vec<(String, u16)> = all.iter().flat_map(|stored| node_ports(&stored.object.tree())).collect();
    used.extend_from_slice(taken);
    let range = registry.0.config.node_port_range.clone();
    let mut rng = rand::rng();
    let drawn = (0..DRAWS).map(|_| rng.random_range(range.clone())).collect::<Vec<_>>();
    let is_free = |port: &u16| !used.iter().any(|(other, number)| other == protocol && number == port);
    let found = drawn.into_iter().chain(range).find(is_free);
    found.ok_or_else(|| Rejected::new(Reason::InternalError, "failed to allocate a nodePort: range is full"))
}

fn addresses(service: &Tree) -> Vec<IpAddr> {
    let several = edit::list(service, &["spec", "clusterIPs"]);
    let one = edit::at(service, &["spec", "clusterIP"]);
    let mut found: Vec<IpAddr> = several.iter().chain(one).filter_map(|ip| ip.as_str()?.parse().ok()).collect();
    found.dedup();
    found
}

fn node_ports(service: &Tree) -> Vec<(String, u16)> {
    let of = |port: &Tree| {
        let number = u16::try_from(edit::integer(port, &["nodePort"])?).ok().filter(|number| *number != 0)?;
        Some((edit::text(port, &["protocol"]).to_owned(), number))
    };
    edit::list(service, &["spec", "ports"]).iter().filter_map(of).collect()
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
}
