//! Where what extends the API is: a webhook at its URL, and whatever is behind a Service.
//!
//! Knows Services and their endpoints as the memory has them, and opens no connection. Messages are those of
//! kube-apiserver's resolver.

use super::{Registry, keys};
use api::Object;
use api::object::edit;
use api::resource::{ENDPOINT_SLICES, SERVICES};
use api::view::{ClientConfig, EndpointSlice, Service, ServicePort, ServiceReference};
use base64::Engine;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The label that names a slice's Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const HTTPS: u16 = 443;

/// Somebody who is asked over HTTPS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The name that its certificate is for.
    pub host: String,
    /// The same with the port, as in a URL.
    pub authority: String,
    pub path: String,
    pub trust: Trust,
    /// Any of them leads there.
    pub ways: Vec<Way>,
}

/// Why there is no way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Nowhere {
    #[error("service {0:?} not found")]
    NoService(String),
    #[error("no service port {port} found for service {service:?}")]
    NoPort { service: String, port: u16 },
    #[error("no endpoints available for service {service:?}")]
    NoEndpoints { service: String, port: String },
    /// What says where it is cannot be read.
    #[error("{0}")]
    Malformed(String),
}

/// Whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Those of these authorities, in PEM.
    Bundle(Vec<u8>),
    /// Those that the host believes.
    Host,
    /// Anybody's.
    Anyone,
}

/// How a connection gets there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// Over the network of this host.
    Dial { host: String, port: u16 },
    /// Over the link of a node, which has the pod.
    Node { node: String, endpoint: SocketAddr },
}

impl Registry {
    /// Where a webhook is.
    ///
    /// # Errors
    /// When there is no way to it, told as kube-apiserver tells it.
    pub fn webhook(&self, client: &ClientConfig) -> Result<Destination, Nowhere> {
        let trust = trust(&client.ca_bundle)?;
        if let Some(service) = &client.service {
            return self.service(service, trust);
        }
        let url = client.url.as_deref().unwrap_or_default();
        let uri: http::Uri =
            url.parse().map_err(|why| Nowhere::Malformed(format!("the URL {url:?} cannot be read: {why}")))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(HTTPS);
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let ways = vec![Way::Dial { host: host.clone(), port }];
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        Ok(Destination { host, authority, path, trust, ways })
    }

    /// What is behind a Service.
    ///
    /// # Errors
    /// As of `webhook`.
    pub fn service(&self, reference: &ServiceReference, trust: Trust) -> Result<Destination, Nowhere> {
        let ServiceReference { namespace, name, .. } = reference;
        let memory = &self.0.memory;
        let service = memory.shelf(&keys::collection(&SERVICES)).get(&keys::place(Some(namespace), name));
        let service = service.and_then(|stored| stored.object.view::<Service>().ok());
        let service = service.ok_or_else(|| Nowhere::NoService(name.clone()))?;
        let (slices, _) = memory.shelf(&keys::collection(&ENDPOINT_SLICES)).range(&format!("{namespace}/"), || 0);
        let own = slices.iter().filter(|stored| stored.object.label(SERVICE_NAME) == Some(name));
        let slices: Vec<Arc<EndpointSlice>> = own.filter_map(|stored| stored.object.view().ok()).collect();
        let endpoints = memory.shelf("core/endpoints").get(&keys::place(Some(namespace), name));
        let endpoints = endpoints.filter(|_| slices.is_empty());
        let ways = ways(reference, &service, &slices, endpoints.as_ref().map(|stored| &*stored.object))?;
        let path = match reference.path.as_str() {
            "" => "/".to_owned(),
            path if path.starts_with('/') => path.to_owned(),
            path => format!("/{path}"),
        };
        let authority = format!("{}:{}", reference.host(), reference.port());
        Ok(Destination { host: reference.host(), authority, path, trust, ways })
    }
}

/// Whom a `caBundle` says to believe.
///
/// # Errors
/// When it is not base64.
pub fn trust(bundle: &str) -> Result<Trust, Nowhere> {
    match bundle {
        "" => Ok(Trust::Host),
        bundle => {
            let pem = base64::engine::general_purpose::STANDARD.decode(bundle);
            pem.map(Trust::Bundle).map_err(|why| Nowhere::Malformed(format!("the caBundle is no base64: {why}")))
        }
    }
}

/// The ways to what is behind a Service: of Services without slices, as their Endpoints say.
fn ways(
    reference: &ServiceReference,
    service: &Service,
    slices: &[Arc<EndpointSlice>],
    endpoints: Option<&Object>,
) -> Result<Vec<Way>, Nowhere> {
    let (name, port) = (&reference.name, reference.port());
    if service.spec.kind == "ExternalName" {
        return Ok(vec![Way::Dial { host: service.spec.external_name.clone(), port }]);
    }
    let found = service.spec.ports.iter().find(|one| one.port == port);
    let found = found.ok_or_else(|| Nowhere::NoPort { service: name.clone(), port })?;
    let is_any = service.spec.publish_not_ready_addresses;
    let mut ways: Vec<Way> = slices.iter().flat_map(|slice| of_slice(slice, found, is_any)).collect();
    ways.extend(endpoints.into_iter().flat_map(|endpoints| of_endpoints(endpoints, found)));
    ways.sort();
    ways.dedup();
    if ways.is_empty() {
        Err(Nowhere::NoEndpoints { service: name.clone(), port: found.name.clone() })
    } else {
        Ok(ways)
    }
}

fn of_slice(slice: &EndpointSlice, service: &ServicePort, is_any: bool) -> Vec<Way> {
    let port = slice.ports.iter().find(|port| port.name == service.name).map(|port| port.port);
    let Some(port) = port.filter(|port| *port > 0) else { return Vec::new() };
    let ready = slice.endpoints.iter().filter(|one| is_any || one.conditions.ready != Some(false));
    let way = |address: &str, node: Option<&str>| way(address, port, node);
    ready.filter_map(|one| way(one.addresses.first()?, one.node_name.as_deref())).collect()
}

fn of_endpoints(endpoints: &Object, service: &ServicePort) -> Vec<Way> {
    let tree = endpoints.tree();
    let of_subset = |subset: &api::Tree| {
        let mut ports = edit::list(subset, &["ports"]).iter();
        let port = ports.find(|port| edit::text(port, &["name"]) == service.name);
        let port = port.and_then(|port| u16::try_from(edit::integer(port, &["port"])?).ok());
        let addresses = edit::list(subset, &["addresses"]).iter();
        let one = |address: &api::Tree| {
            let node = Some(edit::text(address, &["nodeName"])).filter(|node| !node.is_empty());
            way(edit::text(address, &["ip"]), port?, node)
        };
        addresses.filter_map(one).collect::<Vec<Way>>()
    };
    edit::list(&tree, &["subsets"]).iter().flat_map(of_subset).collect()
}

/// The pod of a node is reached over the node's link; any other address is one of the network.
fn way(address: &str, port: u16, node: Option<&str>) -> Option<Way> {
    Some(match node.filter(|node| !node.is_empty()) {
        Some(node) => {
            Way::Node { node: node.to_owned(), endpoint: SocketAddr::new(address.parse::<IpAddr>().ok()?, port) }
        }
        None => Way::Dial { host: address.to_owned(), port },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(service: &api::Tree, slices: &[api::Tree], endpoints: Option<&api::Tree>) -> Result<Vec<Way>, Nowhere> {
        let reference = ServiceReference { namespace: "a".into(), name: "s".into(), ..ServiceReference::default() };
        let service: Service = api::object::read_tree(&json!({"spec": service})).expect("a Service");
        let read = |slice: &api::Tree| Arc::new(api::object::read_tree(slice).expect("a slice"));
        let slices: Vec<Arc<EndpointSlice>> = slices.iter().map(read).collect();
        let endpoints = endpoints.map(|tree| Object::from_tree(tree).expect("an object"));
        ways(&reference, &service, &slices, endpoints.as_ref())
    }

    fn dial(host: &str, port: u16) -> Way {
        Way::Dial { host: host.to_owned(), port }
    }

    #[test]
    fn services_lead_to_their_ready_endpoints() {
        let service = json!({"ports": [{"name": "web", "port": 80}, {"name": "https", "port": 443}]});
        let slice = json!({
            "ports": [{"name": "web", "port": 8080}, {"name": "https", "port": 9443}],
            "endpoints": [
                {"addresses": ["192.0.2.1"]}, {"addresses": ["192.0.2.2"], "conditions": {"ready": false}},
                {"addresses": ["10.64.0.7"], "nodeName": "n", "conditions": {"ready": true}},
            ],
        });
        let node = Way::Node { node: "n".into(), endpoint: "10.64.0.7:9443".parse().expect("an address") };
        let found = check(&service, std::slice::from_ref(&slice), None);
        assert_eq!(found, Ok(vec![dial("192.0.2.1", 9443), node]));
        let all = json!({"ports": [{"name": "https", "port": 443}], "publishNotReadyAddresses": true});
        assert_eq!(check(&all, &[slice], None).map(|ways| ways.len()), Ok(3));
        let endpoints = json!({"subsets": [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 9443}]}]});
        let one = json!({"ports": [{"port": 443}]});
        assert_eq!(check(&one, &[], Some(&endpoints)), Ok(vec![dial("127.0.0.1", 9443)]));
        let outside = json!({"type": "ExternalName", "externalName": "example.com"});
        assert_eq!(check(&outside, &[], None), Ok(vec![dial("example.com", 443)]));
    }

    #[test]
    fn why_a_service_leads_nowhere() {
        let none = check(&json!({"ports": [{"port": 443}]}), &[], None);
        let told = |found: Result<Vec<Way>, Nowhere>| found.map_err(|why| why.to_string()).expect_err("no way");
        assert_eq!(told(none), r#"no endpoints available for service "s""#);
        let other = check(&json!({"ports": [{"port": 80}]}), &[], None);
        assert_eq!(told(other), r#"no service port 443 found for service "s""#);
    }
}
