//! What a host name means inside the cluster: the names of Services, as DNS for Services and Pods
//! (kubernetes/dns, specification 1.1) gives them, resolved without DNS.

use crate::table::{Entry, State, Table};
use std::net::IpAddr;
use std::sync::Arc;

/// The suffix of every name of the cluster.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// What a host stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    Service(Arc<Entry>),
    /// One pod of a Service, or an address that no Service has.
    Address(IpAddr),
    /// The caller itself: a pod has its own loopback.
    Loopback,
    /// A name outside of the cluster.
    Outside(String),
    /// A name of the cluster's domain that nothing has.
    Nothing,
}

/// Resolves `host` for a caller in `namespace`: `hello`, `hello.shop`, `hello.shop.svc`,
/// `hello.shop.svc.cluster.local`, or an address.
#[must_use]
pub fn resolve(table: &Table, namespace: &str, host: &str) -> Meaning {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    if let Ok(ip) = host.parse::<IpAddr>() {
        return address(table, ip);
    }
    let host = host.to_ascii_lowercase();
    if host == "localhost" {
        return Meaning::Loopback;
    }
    let (short, ours) = shorten(&host);
    let found = match short.split('.').collect::<Vec<_>>().as_slice() {
        [name] => table.service(namespace, name).cloned(),
        [name, namespace] => table.service(namespace, name).cloned(),
        [pod, name, namespace] if ours => return pod_of(table, pod, name, namespace),
        _ => None,
    };
    match found {
        Some(entry) => match &entry.external_name {
            Some(external) => Meaning::Outside(external.clone()),
            None => Meaning::Service(entry),
        },
        None if ours => Meaning::Nothing,
        None => Meaning::Outside(host),
    }
}

/// The addresses that a name look-up answers with; an outside name is `Err` with the name to ask the host's resolver.
pub fn addresses(table: &Table, namespace: &str, caller: IpAddr, host: &str) -> Result<Vec<IpAddr>, String> {
    match resolve(table, namespace, host) {
        Meaning::Service(entry) if entry.is_headless() => Ok(ready_pods(&entry)),
        Meaning::Service(entry) => Ok(entry.cluster_ips.clone()),
        Meaning::Address(ip) => Ok(vec![ip]),
        Meaning::Loopback => Ok(vec![caller]),
        Meaning::Nothing => Ok(Vec::new()),
        Meaning::Outside(name) => Err(name),
    }
}

fn address(table: &Table, ip: IpAddr) -> Meaning {
    match table.service_at(ip) {
        Some(entry) => Meaning::Service(entry.clone()),
        None if ip.is_loopback() || ip.is_unspecified() => Meaning::Loopback,
        None => Meaning::Address(ip),
    }
}

/// Cuts the cluster's suffix off; says whether the name can only be the cluster's.
fn shorten(host: &str) -> (&str, bool) {
    let cluster = host.strip_suffix(CLUSTER_DOMAIN).and_then(|rest| rest.strip_suffix('.'));
    let rest = cluster.unwrap_or(host);
    match rest.strip_suffix(".svc") {
        Some(short) => (short, true),
        None => (rest, cluster.is_some()),
    }
}

/// `10-64-0-7.hello.shop.svc…`: the name of one endpoint of a headless Service.
fn pod_of(table: &Table, pod: &str, name: &str, namespace: &str) -> Meaning {
    let wanted = pod.replace('-', ".").parse::<IpAddr>().ok();
    let entry = table.service(namespace, name);
    let known = |ip: &IpAddr| entry.is_some_and(|entry| ready_pods(entry).contains(ip));
    wanted.filter(known).map_or(Meaning::Nothing, Meaning::Address)
}

fn ready_pods(entry: &Entry) -> Vec<IpAddr> {
    let mut ips: Vec<IpAddr> = Vec::new();
    for backend in entry.ports.iter().flat_map(|port| &port.endpoints).filter(|b| b.state == State::Ready) {
        if let Some(ip) = backend.endpoint.ip
            && !ips.contains(&ip)
        {
            ips.push(ip);
        }
    }
    ips
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::{inputs, slice};

    fn table() -> Arc<Table> {
        let mut inputs = inputs();
        inputs.slice("shop", "hello", "hello-1", Some(slice("hello", &[("10.64.0.7", "a", true)])));
        inputs.slice("shop", "db", "db-1", Some(slice("db", &[("10.64.0.9", "a", true)])));
        inputs.table()
    }

    #[test]
    fn a_service_has_all_its_names_and_its_address() {
        let table = table();
        let named = |host: &str, namespace: &str| match resolve(&table, namespace, host) {
            Meaning::Service(entry) => entry.name.clone(),
            other => format!("{other:?}"),
        };
        for host in ["hello", "HELLO.", "hello.shop", "hello.shop.svc", "hello.shop.svc.cluster.local.", "10.96.0.20"] {
            assert_eq!(named(host, "shop"), "hello", "{host}");
        }
        assert_eq!(named("hello.shop", "default"), "hello");
        assert_eq!(resolve(&table, "default", "hello"), Meaning::Outside("hello".into()));
        assert_eq!(resolve(&table, "default", "gone.shop.svc.cluster.local"), Meaning::Nothing);
        assert_eq!(resolve(&table, "shop", "example.com"), Meaning::Outside("example.com".into()));
        assert_eq!(resolve(&table, "shop", "127.0.0.1"), Meaning::Loopback);
        assert_eq!(resolve(&table, "shop", "[::1]"), Meaning::Loopback);
    }

    #[test]
    fn a_headless_name_stands_for_its_pods() {
        let table = table();
        let me = IpAddr::from([10, 64, 0, 1]);
        let pod = IpAddr::from([10, 64, 0, 9]);
        assert_eq!(addresses(&table, "shop", me, "db"), Ok(vec![pod]));
        assert_eq!(addresses(&table, "shop", me, "localhost"), Ok(vec![me]));
        assert_eq!(resolve(&table, "x", "10-64-0-9.db.shop.svc.cluster.local"), Meaning::Address(pod));
        assert_eq!(resolve(&table, "x", "10-64-0-8.db.shop.svc.cluster.local"), Meaning::Nothing);
    }
}
