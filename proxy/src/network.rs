//! The virtual network of one node: the pods attached to it, and the way from a request to the pod that answers.
//!
//! A pod of this node is a function call. No socket, no copy of the body, no wake-up of another core.

use crate::egress::Egress;
use crate::name::{self, Meaning};
use crate::pick::{self, From, Want};
use crate::table::{Backend, Entry, Load, Port, Table};
use crate::tunnel::Peers;
use crate::{Body, BoxError, answer};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::watch;

/// Answers a request that came in on one of the pod's ports.
pub type Handler =
    Arc<dyn Fn(Request<Body>, u16) -> BoxFuture<'static, Result<Response<Body>, BoxError>> + Send + Sync>;

/// A pod that calls out.
#[derive(Debug, Clone)]
pub struct Caller {
    pub namespace: String,
    pub ip: IpAddr,
}

/// Endpoints that one request may be offered to before the client hears of it.
const ATTEMPTS_MAX: usize = 4;

/// How many proxies a request may pass before it is taken for a loop.
const HOPS_MAX: u32 = 8;

const HOPS: &str = "coracle-hops";

/// Handle to the network; clones share it.
#[derive(Clone)]
pub struct Network(Arc<Shared>);

struct Shared {
    node: String,
    table: watch::Receiver<Arc<Table>>,
    pods: RwLock<HashMap<IpAddr, Pod>>,
    peers: Peers,
    egress: Egress,
}

#[derive(Clone)]
struct Pod {
    ports: Arc<[u16]>,
    handler: Handler,
}

/// Why a request got no answer from the endpoint it was offered to.
pub(crate) enum Failure {
    /// The endpoint never saw it: another one may.
    Unsent(Box<Request<Body>>, BoxError),
    /// It may have been acted on.
    Lost(BoxError),
}

// === impl Network ===

impl Network {
    #[must_use]
    pub fn new(node: &str, table: watch::Receiver<Arc<Table>>, peers: Peers, egress: Egress) -> Network {
        let pods = RwLock::default();
        Network(Arc::new(Shared { node: node.to_owned(), table, pods, peers, egress }))
    }

    /// Puts a pod on the network; a second call replaces the first.
    pub fn attach(&self, ip: IpAddr, ports: &[u16], handler: Handler) {
        self.0.pods.write().insert(ip, Pod { ports: ports.into(), handler });
    }

    /// Takes it off. Requests that it has already are not disturbed.
    pub fn detach(&self, ip: IpAddr) {
        self.0.pods.write().remove(&ip);
    }

    /// The table as it is now.
    #[must_use]
    pub fn table(&self) -> Arc<Table> {
        self.0.table.borrow().clone()
    }

    /// Told of every new table.
    #[must_use]
    pub fn tables(&self) -> watch::Receiver<Arc<Table>> {
        self.0.table.clone()
    }

    /// A request that arrived on a NodePort of this node.
    pub async fn serve_outside(&self, node_port: u16, client: SocketAddr, request: Request<Body>) -> Response<Body> {
        let table = self.table();
        let Some((entry, port)) = table.node_port(node_port) else {
            return answer(StatusCode::SERVICE_UNAVAILABLE, "no Service has this node port any more");
        };
        let request = absolute(request, entry);
        let want = Want { from: From::Outside, node: &self.0.node, client: Some(client.ip()), tried: &[] };
        self.forward(&table, entry, port, want, request).await
    }

    /// A request that a guest of this node sends.
    ///
    /// # Errors
    /// When the destination cannot be reached; the guest sees it as a failed connection.
    pub async fn serve_guest(&self, caller: &Caller, mut request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let table = self.table();
        let (host, port) = destination(request.uri())?;
        count_hop(&mut request)?;
        match name::resolve(&table, &caller.namespace, &host) {
            Meaning::Service(entry) => {
                let name = format!("{}/{}", entry.namespace, entry.name);
                let Some(target) = entry.port(port) else {
                    return Err(format!("service {name} has no port {port}").into());
                };
                let want = Want { from: From::Pod, node: &self.0.node, client: Some(caller.ip), tried: &[] };
                Ok(self.forward(&table, &entry, target, want, request).await)
            }
            Meaning::Address(ip) => self.to_address(&table, ip, port, request).await,
            Meaning::Loopback => self.to_address(&table, caller.ip, port, request).await,
            Meaning::Nothing => Err(format!("no Service is named {host}").into()),
            Meaning::Outside(name) => {
                if name != host {
                    let authority = format!("{name}:{port}");
                    *request.uri_mut() = with_authority(request.uri(), &authority)?;
                }
                self.0.egress.send(request).await
            }
        }
    }

    /// A request that another node sent through the tunnel for a pod of this one.
    pub(crate) async fn serve_peer(&self, to: SocketAddr, request: Request<Body>) -> Result<Response<Body>, Failure> {
        self.to_local(to.ip(), to.port(), request).await
    }

    /// A request that the server sends over the node's link to a pod of this node.
    ///
    /// # Errors
    /// When no such pod is here, or it fails to answer.
    pub async fn serve_server(&self, to: SocketAddr, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        self.to_local(to.ip(), to.port(), request).await.map_err(|failure| match failure {
            Failure::Unsent(_, error) | Failure::Lost(error) => error,
        })
    }

    /// The addresses that a guest's name look-up is answered with.
    ///
    /// # Errors
    /// When the name is of no Service and the host's resolver does not know it either.
    pub async fn look_up(&self, caller: &Caller, host: &str) -> Result<Vec<IpAddr>, String> {
        let table = self.table();
        match name::addresses(&table, &caller.namespace, caller.ip, host) {
            Ok(addresses) if addresses.is_empty() => Err(format!("no Service is named {host}")),
            Ok(addresses) => Ok(addresses),
            Err(outside) => {
                let found = tokio::net::lookup_host((outside.as_str(), 0)).await;
                found.map(|found| found.map(|at| at.ip()).collect()).map_err(|error| format!("{outside}: {error}"))
            }
        }
    }

    async fn forward(
        &self,
        table: &Table,
        entry: &Arc<Entry>,
        port: &Port,
        want: Want<'_>,
        mut request: Request<Body>,
    ) -> Response<Body> {
        let mut tried: Vec<IpAddr> = Vec::new();
        while tried.len() < ATTEMPTS_MAX {
            let want = Want { tried: &tried, ..want };
            let reachable = |node: &str| node == self.0.node || self.0.peers.reachable(node);
            let Some(backend) = pick::pick(entry, port, want, reachable, &mut rand::rng()) else { break };
            let load = Load::on(&backend.endpoint);
            match self.deliver(table, backend, request).await {
                Ok(response) => return response.map(|body| Counted { body, _load: load }.boxed_unsync()),
                Err(Failure::Unsent(back, error)) => {
                    tracing::debug!(service = %entry.name, namespace = %entry.namespace, %error, "endpoint passed over");
                    tried.extend(backend.endpoint.ip);
                    request = *back;
                }
                Err(Failure::Lost(error)) => {
                    tracing::debug!(service = %entry.name, namespace = %entry.namespace, %error, "request failed");
                    return answer(StatusCode::BAD_GATEWAY, "the pod failed to answer the request");
                }
            }
        }
        let name = format!("service {}/{}", entry.namespace, entry.name);
        let text = match tried.len() {
            0 => format!("{name} has no ready endpoints"),
            count => format!("{name}: none of {count} endpoints could be reached"),
        };
        answer(StatusCode::SERVICE_UNAVAILABLE, &text)
    }

    async fn deliver(
        &self,
        table: &Table,
        backend: &Backend,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        let Some(ip) = backend.endpoint.ip else {
            return Err(Failure::Unsent(Box::new(request), "the endpoint has no address".into()));
        };
        let node = backend.endpoint.node.as_str();
        if node == self.0.node {
            return self.to_local(ip, backend.port, request).await;
        }
        if node.is_empty() {
            let to = SocketAddr::new(ip, backend.port);
            let uri = with_authority(request.uri(), &to.to_string()).map_err(Failure::Lost)?;
            *request.uri_mut() = uri;
            return self.0.egress.send(request).await.map_err(Failure::Lost);
        }
        self.to_peer(table, node, SocketAddr::new(ip, backend.port), request).await
    }

    async fn to_address(
        &self,
        table: &Table,
        ip: IpAddr,
        port: u16,
        request: Request<Body>,
    ) -> Result<Response<Body>, BoxError> {
        let result = if self.0.pods.read().contains_key(&ip) {
            self.to_local(ip, port, request).await
        } else if let Some(node) = table.node_of(ip) {
            self.to_peer(table, node, SocketAddr::new(ip, port), request).await
        } else {
            return self.0.egress.send(request).await;
        };
        result.map_err(|failure| match failure {
            Failure::Unsent(_, error) | Failure::Lost(error) => error,
        })
    }

    async fn to_local(&self, ip: IpAddr, port: u16, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let pod = self.0.pods.read().get(&ip).cloned();
        let Some(pod) = pod else {
            return Err(Failure::Unsent(Box::new(request), format!("no pod has the address {ip} any more").into()));
        };
        if !pod.ports.is_empty() && !pod.ports.contains(&port) {
            return Err(Failure::Unsent(
                Box::new(request),
                format!("the pod at {ip} does not listen on port {port}").into(),
            ));
        }
        (pod.handler)(request, port).await.map_err(Failure::Lost)
    }

    async fn to_peer(
        &self,
        table: &Table,
        node: &str,
        to: SocketAddr,
        request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        let Some(address) = table.peer(node).and_then(|peer| peer.address) else {
            return Err(Failure::Unsent(Box::new(request), format!("node {node} has told no address").into()));
        };
        self.0.peers.send(node, address, to, request).await
    }
}

/// Whether a request may be sent twice: it changes nothing, and nothing of it is used up.
pub(crate) fn repeatable(request: &Request<Body>) -> bool {
    let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    safe && request.body().is_end_stream()
}

/// Host and port that a guest names; the port defaults to the scheme's.
fn destination(uri: &Uri) -> Result<(String, u16), BoxError> {
    let host = uri.host().ok_or("the request names no host")?;
    let default = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    Ok((host.to_owned(), uri.port_u16().unwrap_or(default)))
}

/// Pods that call each other in a circle would otherwise go on until memory ends.
fn count_hop(request: &mut Request<Body>) -> Result<(), BoxError> {
    let before = request.headers().get(HOPS).and_then(|value| value.to_str().ok()?.parse::<u32>().ok()).unwrap_or(0);
    if before >= HOPS_MAX {
        return Err(format!("the request passed {HOPS_MAX} pods already: a loop").into());
    }
    request.headers_mut().insert(HOPS, HeaderValue::from(before + 1));
    Ok(())
}

/// A guest sees where the client meant to go, and HTTP/2 needs it: scheme and authority become part of the URI.
fn absolute(mut request: Request<Body>, entry: &Entry) -> Request<Body> {
    if request.uri().authority().is_none() {
        let host = request.headers().get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let authority = host.or_else(|| format!("{}.{}", entry.name, entry.namespace).parse().ok());
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = authority;
        parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    }
    request
}

fn with_authority(uri: &Uri, authority: &str) -> Result<Uri, BoxError> {
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(authority.parse()?);
    parts.scheme.get_or_insert(Scheme::HTTP);
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    Ok(Uri::from_parts(parts)?)
}

/// A response body that counts as load until its end.
struct Counted {
    body: Body,
    _load: Load,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
