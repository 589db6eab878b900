//! The Service table: an immutable picture of Services, their endpoints and the nodes, and how it is kept up to date.
//!
//! Pure. [`Inputs`] takes objects one at a time and rebuilds only the entries they touch; endpoints keep their identity
//! (and so their load counters) from one table to the next.

use api::view::{EndpointSlice, Node, Service, SlicePort};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `namespace`, `name`.
pub type Key = (String, String);

/// Everything a request needs to find its pod.
#[derive(Debug, Clone, Default)]
pub struct Table {
    services: HashMap<Key, Arc<Entry>>,
    by_ip: HashMap<IpAddr, Arc<Entry>>,
    node_ports: BTreeMap<u16, (Arc<Entry>, usize)>,
    nodes: HashMap<String, Peer>,
}

/// One Service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entry {
    pub namespace: String,
    pub name: String,
    /// Empty for a headless Service.
    pub cluster_ips: Vec<IpAddr>,
    /// Set for `type: ExternalName` alone.
    pub external_name: Option<String>,
    pub affinity_by_client: bool,
    /// NodePort traffic stays on the node that took it.
    pub external_local: bool,
    /// Traffic from pods stays on their node.
    pub internal_local: bool,
    pub ports: Vec<Port>,
}

/// One port of a Service, with the endpoints behind it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Port {
    pub name: String,
    pub port: u16,
    /// 0: none.
    pub node_port: u16,
    pub https: bool,
    pub endpoints: Vec<Backend>,
}

/// An endpoint as one Service port sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    pub endpoint: Arc<Endpoint>,
    pub port: u16,
    pub state: State,
}

/// What the endpoint's conditions allow (KEP-1669).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Ready,
    /// Used only when no endpoint is ready.
    Terminating,
}

/// One pod address. The same value is shared by all tables in which the address lives on.
#[derive(Debug, Default)]
pub struct Endpoint {
    pub ip: Option<IpAddr>,
    /// Empty when the endpoint is no pod, such as the API server's own.
    pub node: String,
    in_flight: AtomicUsize,
}

/// Another node, as the tunnel reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The node's own port on its internal address; `None` until it has told both.
    pub address: Option<SocketAddr>,
    pub pods: Option<Cidr>,
}

/// An address range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    base: IpAddr,
    bits: u8,
}

/// The objects behind a [`Table`], and the table itself.
#[derive(Debug, Default)]
pub struct Inputs {
    services: HashMap<Key, Service>,
    slices: HashMap<Key, BTreeMap<String, EndpointSlice>>,
    endpoints: HashMap<IpAddr, Arc<Endpoint>>,
    dirty: BTreeSet<Key>,
    table: Table,
}

/// Holds one request against an endpoint's load until it is dropped.
#[derive(Debug)]
pub struct Load(Arc<Endpoint>);

// === impl Table ===

impl Table {
    #[must_use]
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Arc<Entry>> {
        // A borrowed pair cannot look up an owned one; the two short strings cost less than a second index.
        self.services.get(&(namespace.to_owned(), name.to_owned()))
    }

    #[must_use]
    pub fn service_at(&self, ip: IpAddr) -> Option<&Arc<Entry>> {
        self.by_ip.get(&ip)
    }

    #[must_use]
    pub fn node_port(&self, port: u16) -> Option<(&Arc<Entry>, &Port)> {
        let (entry, index) = self.node_ports.get(&port)?;
        Some((entry, entry.ports.get(*index)?))
    }

    /// The ports to listen on.
    pub fn node_ports(&self) -> impl Iterator<Item = u16> {
        self.node_ports.keys().copied()
    }

    #[must_use]
    pub fn peer(&self, node: &str) -> Option<&Peer> {
        self.nodes.get(node)
    }

    /// The node whose range holds a pod's address.
    #[must_use]
    pub fn node_of(&self, ip: IpAddr) -> Option<&str> {
        let holds = |peer: &Peer| peer.pods.is_some_and(|range| range.contains(ip));
        self.nodes.iter().find(|(_, peer)| holds(peer)).map(|(name, _)| name.as_str())
    }
}

// === impl Entry ===

impl Entry {
    /// The port that a client named by number.
    #[must_use]
    pub fn port(&self, number: u16) -> Option<&Port> {
        self.ports.iter().find(|port| port.port == number)
    }

    /// A headless Service has no address of its own: its name stands for its pods.
    #[must_use]
    pub fn is_headless(&self) -> bool {
        self.cluster_ips.is_empty() && self.external_name.is_none()
    }
}

// === impl Endpoint ===

impl Endpoint {
    #[must_use]
    pub fn new(ip: IpAddr, node: &str) -> Endpoint {
        Endpoint { ip: Some(ip), node: node.to_owned(), in_flight: AtomicUsize::new(0) }
    }

    /// Requests that this proxy has sent it and that are not answered yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// Two endpoints are the same where a request would go to the same place, whatever their load.
impl PartialEq for Endpoint {
    fn eq(&self, other: &Endpoint) -> bool {
        self.ip == other.ip && self.node == other.node
    }
}

// === impl Load ===

impl Load {
    #[must_use]
    pub fn on(endpoint: &Arc<Endpoint>) -> Load {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Load(endpoint.clone())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Cidr ===

impl Cidr {
    /// `10.64.0.0/20`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Cidr> {
        let (base, bits) = text.split_once('/')?;
        let (base, bits) = (base.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?);
        (bits <= if base.is_ipv4() { 32 } else { 128 }).then_some(Cidr { base, bits })
    }

    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.base, ip) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                u32::from(base) & mask == u32::from(ip) & mask
            }
            (IpAddr::V6(base), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                u128::from(base) & mask == u128::from(ip) & mask
            }
            _ => false,
        }
    }
}

// === impl Inputs ===

impl Inputs {
    /// A Service as it is now; `None` once it is deleted.
    pub fn service(&mut self, namespace: &str, name: &str, service: Option<Service>) {
        let key = (namespace.to_owned(), name.to_owned());
        self.dirty.insert(key.clone());
        match service {
            Some(service) => self.services.insert(key, service),
            None => self.services.remove(&key),
        };
    }

    /// A slice of the Service that its label names; `slice: None` once the slice is deleted.
    pub fn slice(&mut self, namespace: &str, service: &str, name: &str, slice: Option<EndpointSlice>) {
        let key = (namespace.to_owned(), service.to_owned());
        self.dirty.insert(key.clone());
        let slices = self.slices.entry(key.clone()).or_default();
        match slice {
            Some(slice) => slices.insert(name.to_owned(), slice),
            None => slices.remove(name),
        };
        if slices.is_empty() {
            self.slices.remove(&key);
        }
    }

    /// A node as it is now; `None` once it is deleted.
    pub fn node(&mut self, name: &str, node: Option<&Node>) {
        match node {
            Some(node) => self.table.nodes.insert(name.to_owned(), Peer::of(node)),
            None => self.table.nodes.remove(name),
        };
    }

    /// The table after all changes so far. Costs what changed, plus one copy of the index.
    pub fn table(&mut self) -> Arc<Table> {
        for key in std::mem::take(&mut self.dirty) {
            self.rebuild(&key);
        }
        Arc::new(self.table.clone())
    }

    fn rebuild(&mut self, key: &Key) {
        if let Some(old) = self.table.services.remove(key) {
            for ip in &old.cluster_ips {
                self.table.by_ip.remove(ip);
            }
            self.table.node_ports.retain(|_, (entry, _)| !Arc::ptr_eq(entry, &old));
        }
        self.forget_unused_endpoints();
        let Some(service) = self.services.get(key) else { return };
        let ports = service.spec.ports.iter().map(|port| self.port(key, service, port)).collect();
        let ports: Vec<(Port, Vec<Found>)> = ports;
        let ports = ports.into_iter().map(|(port, found)| self.fill(port, found)).collect();
        let entry = Arc::new(Entry::of(key, &self.services[key], ports));
        for ip in &entry.cluster_ips {
            self.table.by_ip.insert(*ip, entry.clone());
        }
        for (index, port) in entry.ports.iter().enumerate().filter(|(_, port)| port.node_port != 0) {
            self.table.node_ports.insert(port.node_port, (entry.clone(), index));
        }
        self.table.services.insert(key.clone(), entry);
    }

    /// Endpoints live as long as some table or request holds them.
    fn forget_unused_endpoints(&mut self) {
        const SWEEP_ABOVE: usize = 4096;
        if self.endpoints.len() > SWEEP_ABOVE {
            self.endpoints.retain(|_, endpoint| Arc::strong_count(endpoint) > 1);
        }
    }

    fn port(&self, key: &Key, service: &Service, port: &api::view::ServicePort) -> (Port, Vec<Found>) {
        let https = port.app_protocol.as_deref() == Some("https") || port.name == "https";
        let made =
            Port { name: port.name.clone(), port: port.port, node_port: port.node_port, https, endpoints: Vec::new() };
        let not_ready_too = service.spec.publish_not_ready_addresses;
        let slices = self.slices.get(key).into_iter().flat_map(BTreeMap::values);
        let found = slices.flat_map(|slice| endpoints_of(slice, &port.name, not_ready_too)).collect();
        (made, found)
    }

    fn fill(&mut self, mut port: Port, found: Vec<Found>) -> Port {
        for Found { ip, node, number, state } in found {
            let same = self.endpoints.get(&ip).filter(|endpoint| endpoint.node == node);
            let endpoint = if let Some(endpoint) = same {
                endpoint.clone()
            } else {
                let endpoint = Arc::new(Endpoint::new(ip, &node));
                self.endpoints.insert(ip, endpoint.clone());
                endpoint
            };
            let backend = Backend { endpoint, port: number, state };
            // While a pod moves from one slice to another it may be in both.
            if !port.endpoints.iter().any(|known| known.endpoint.ip == Some(ip) && known.port == number) {
                port.endpoints.push(backend);
            }
        }
        port
    }
}

/// An endpoint of a slice, before it has its shared identity.
struct Found {
    ip: IpAddr,
    node: String,
    number: u16,
    state: State,
}

fn endpoints_of(slice: &EndpointSlice, port: &str, not_ready_too: bool) -> Vec<Found> {
    let Some(SlicePort { port: number, .. }) = slice.ports.iter().find(|candidate| candidate.name == port) else {
        return Vec::new();
    };
    let usable = slice.endpoints.iter().filter_map(|endpoint| {
        let conditions = &endpoint.conditions;
        let ready = conditions.ready.unwrap_or(true) || not_ready_too;
        let terminating = conditions.terminating.unwrap_or(false) && conditions.serving.unwrap_or(false);
        let state = if ready {
            State::Ready
        } else if terminating {
            State::Terminating
        } else {
            return None;
        };
        let ip = endpoint.addresses.first()?.parse().ok()?;
        Some(Found { ip, node: endpoint.node_name.clone().unwrap_or_default(), number: *number, state })
    });
    usable.collect()
}

impl Entry {
    fn of(key: &Key, service: &Service, ports: Vec<Port>) -> Entry {
        let spec = &service.spec;
        let several =
            if spec.cluster_ips.is_empty() { std::slice::from_ref(&spec.cluster_ip) } else { &spec.cluster_ips };
        Entry {
            namespace: key.0.clone(),
            name: key.1.clone(),
            cluster_ips: several.iter().filter_map(|ip| ip.parse().ok()).collect(),
            external_name: (spec.kind == "ExternalName").then(|| spec.external_name.clone()),
            affinity_by_client: spec.session_affinity == "ClientIP",
            external_local: spec.external_traffic_policy == "Local",
            internal_local: spec.internal_traffic_policy == "Local",
            ports,
        }
    }
}

impl Peer {
    fn of(node: &Node) -> Peer {
        let internal = node.status.addresses.iter().find(|address| address.kind == "InternalIP");
        let ip = internal.and_then(|address| address.address.parse::<IpAddr>().ok());
        let port = node.status.daemon_endpoints.kubelet_endpoint.port;
        Peer {
            address: ip.filter(|_| port != 0).map(|ip| SocketAddr::new(ip, port)),
            pods: Cidr::parse(&node.spec.pod_cidr),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
