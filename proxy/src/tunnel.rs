//! The way to pods of other nodes: one HTTP/2 connection to each node, mutually authenticated TLS, both ends proven by
//! certificates of the cluster's CA.
//!
//! A request keeps its own URI; where it goes is in the `coracle-endpoint` header. A node that does not answer is left
//! alone by [`crate::pick`] until a connection in the background succeeds again.

use crate::network::{Failure, Network, repeatable};
use crate::{Body, BoxError, answer};
use arc_swap::ArcSwapOption;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls_pki_types::{CertificateDer, ServerName};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

/// The TLS application protocol of the tunnel.
pub const ALPN: &[u8] = b"coracle-tunnel";

const ENDPOINT: &str = "coracle-endpoint";
/// Set on answers of the tunnel itself: the pod has not seen the request.
const UNSENT: &str = "coracle-unsent";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that is silent for both together is gone.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(10);
const WINDOW_BYTES: u32 = 1 << 20;
const STREAMS_MAX: u32 = 4096;
const CONNECTIONS_MAX: usize = 4096;

/// What a node's certificate as a server is for. No host is called so: a node that is given one for its own name cannot
/// pass for the API server, or for anything else that trusts the cluster's CA.
#[must_use]
pub fn server_name(node: &str) -> String {
    format!("{node}.nodes.coracle.internal")
}

/// This node's certificate as a client, once it has one; replaced when it is renewed.
pub type ClientTls = Arc<ArcSwapOption<rustls::ClientConfig>>;

/// This node's certificate as a server.
pub type ServerTls = Arc<ArcSwapOption<rustls::ServerConfig>>;

/// Tells the node that a client certificate belongs to; `None` refuses it.
pub type Identify = Arc<dyn Fn(&CertificateDer<'_>) -> Option<Peer> + Send + Sync>;

/// A node that opened a tunnel to this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub node: String,
    /// What is left of its certificate's life; the tunnel ends with it, and is opened anew with the next one.
    pub valid_for: Duration,
}

/// The connections to other nodes; clones share them.
#[derive(Clone)]
pub struct Peers(Arc<Shared>);

struct Shared {
    tls: ClientTls,
    links: Mutex<HashMap<String, Arc<Link>>>,
}

struct Link {
    node: String,
    address: SocketAddr,
    // Held across a connect only: whoever comes meanwhile waits for the same connection.
    open: tokio::sync::Mutex<Option<Open>>,
    down: AtomicBool,
}

struct Open {
    sender: SendRequest<Body>,
    /// What it was opened with.
    tls: Arc<rustls::ClientConfig>,
}

// === impl Peers ===

impl Peers {
    #[must_use]
    pub fn new(tls: ClientTls) -> Peers {
        Peers(Arc::new(Shared { tls, links: Mutex::default() }))
    }

    /// Reaches nobody: for a node that is alone.
    #[must_use]
    pub fn unconnected() -> Peers {
        Peers::new(ClientTls::default())
    }

    /// `false` while connections to the node fail.
    #[must_use]
    pub fn reachable(&self, node: &str) -> bool {
        self.0.links.lock().get(node).is_none_or(|link| !link.down.load(Ordering::Relaxed))
    }

    pub(crate) async fn send(
        &self,
        node: &str,
        address: SocketAddr,
        to: SocketAddr,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        let link = self.link(node, address);
        for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
            request.headers_mut().remove(name);
        }
        let endpoint = HeaderValue::try_from(to.to_string()).map_err(|error| Failure::Lost(error.into()))?;
        request.headers_mut().insert(ENDPOINT, endpoint);
        *request.version_mut() = http::Version::HTTP_2;
        let mut again = repeatable(&request).then(|| copy(&request));
        let mut is_second = false;
        loop {
            let mut sender = match self.connected(&link).await {
                Ok(sender) => sender,
                Err(error) => {
                    self.mark_down(&link);
                    request.headers_mut().remove(ENDPOINT);
                    let error = format!("node {node} at {address}: {error}").into();
                    return Err(Failure::Unsent(Box::new(request), error));
                }
            };
            let mut failed = match sender.try_send_request(request).await {
                Ok(response) => return answered(response, again, node, to),
                Err(failed) => failed,
            };
            let has_ended = link.forget_ended().await;
            match (failed.take_message(), again) {
                // The connection was about to end: the next one is as good.
                (Some(unsent), kept) if !is_second => (request, again, is_second) = (unsent, kept, true),
                (unsent, kept) => {
                    if has_ended {
                        self.mark_down(&link);
                    }
                    let error: BoxError = format!("node {node}: {}", failed.into_error()).into();
                    return Err(match unsent.or(kept) {
                        Some(request) => Failure::Unsent(Box::new(request), error),
                        None => Failure::Lost(error),
                    });
                }
            }
        }
    }

    fn link(&self, node: &str, address: SocketAddr) -> Arc<Link> {
        let mut links = self.0.links.lock();
        if let Some(link) = links.get(node).filter(|link| link.address == address) {
            return link.clone();
        }
        let (node, down) = (node.to_owned(), AtomicBool::new(false));
        let link = Arc::new(Link { node: node.clone(), address, open: tokio::sync::Mutex::default(), down });
        links.insert(node, link.clone());
        link
    }

    async fn connected(&self, link: &Arc<Link>) -> Result<SendRequest<Body>, BoxError> {
        let tls = self.0.tls.load_full().ok_or("this node has no certificate yet")?;
        let mut slot = link.open.lock().await;
        // The peer ends a connection with the certificate that it was opened with. So a new certificate has a new
        // connection; the one before goes on for the requests that it has.
        if let Some(open) = slot.as_ref().filter(|open| !open.sender.is_closed() && Arc::ptr_eq(&open.tls, &tls)) {
            link.down.store(false, Ordering::Relaxed);
            return Ok(open.sender.clone());
        }
        let connecting = connect(tls.clone(), &link.node, link.address);
        let sender = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| "no answer in time")??;
        link.down.store(false, Ordering::Relaxed);
        Ok(slot.insert(Open { sender, tls }).sender.clone())
    }

    /// Until a connection succeeds again, nobody picks the node by choice.
    fn mark_down(&self, link: &Arc<Link>) {
        if link.down.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::warn!(node = %link.node, address = %link.address, "node is not reachable");
        let (peers, link) = (self.clone(), link.clone());
        tokio::spawn(async move {
            let mut wait = RETRY_FIRST;
            while peers.current(&link) && peers.connected(&link).await.is_err() {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY_MAX);
            }
            if !link.down.load(Ordering::Relaxed) {
                tracing::info!(node = %link.node, address = %link.address, "node is reachable again");
            }
        });
    }

    fn current(&self, link: &Arc<Link>) -> bool {
        let links = self.0.links.lock();
        // The map and the task itself hold one each; a link with another address has replaced this one.
        links.get(&link.node).is_some_and(|known| Arc::ptr_eq(known, link))
    }
}

// === impl Link ===

impl Link {
    /// False if the connection goes on: then one request alone has failed.
    async fn forget_ended(&self) -> bool {
        let mut slot = self.open.lock().await;
        slot.take_if(|open| open.sender.is_closed());
        slot.is_none()
    }
}

fn answered(
    response: Response<Incoming>,
    again: Option<Request<Body>>,
    node: &str,
    to: SocketAddr,
) -> Result<Response<Body>, Failure> {
    match again {
        Some(request) if response.headers().contains_key(UNSENT) => {
            let error = format!("node {node} no longer runs the pod at {to}").into();
            Err(Failure::Unsent(Box::new(request), error))
        }
        _ => Ok(response.map(|body| body.map_err(BoxError::from).boxed_unsync())),
    }
}

async fn connect(
    tls: Arc<rustls::ClientConfig>,
    node: &str,
    address: SocketAddr,
) -> Result<SendRequest<Body>, BoxError> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(server_name(node))?;
    let stream = TlsConnector::from(tls).connect(name, tcp).await?;
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "tunnel ended");
        }
    });
    Ok(sender)
}

fn copy(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(crate::full(""));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy.headers_mut().remove(ENDPOINT);
    copy
}

/// Takes the tunnels of other nodes until `shutdown`; connections get up to `drain` to end.
pub async fn serve(
    listener: TcpListener,
    tls: ServerTls,
    identify: Identify,
    network: Network,
    shutdown: CancellationToken,
    drain: Duration,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((tcp, from)) = accepted else {
            // Out of file descriptors, most often: let some connections end first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let Some(tls) = tls.load_full() else { continue };
        let (identify, network, shutdown) = (identify.clone(), network.clone(), shutdown.clone());
        connections.spawn(async move {
            if let Err(error) = connection(tcp, tls, &identify, network, shutdown).await {
                tracing::debug!(%from, %error, "tunnel refused or broken");
            }
            drop(slot);
        });
    }
    let _ = tokio::time::timeout(drain, async { while connections.join_next().await.is_some() {} }).await;
}

async fn connection(
    tcp: TcpStream,
    tls: Arc<rustls::ServerConfig>,
    identify: &Identify,
    network: Network,
    shutdown: CancellationToken,
) -> Result<(), BoxError> {
    tcp.set_nodelay(true)?;
    let accepting = TlsAcceptor::from(tls).accept(tcp);
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, accepting).await.map_err(|_| "no handshake in time")??;
    let session = stream.get_ref().1;
    if session.alpn_protocol() != Some(ALPN) {
        return Err("the client does not speak coracle-tunnel".into());
    }
    let certificate = session.peer_certificates().and_then(|chain| chain.first());
    let peer = certificate.and_then(|certificate| identify(certificate)).ok_or("the client is not a node")?;
    tracing::debug!(node = peer.node, "tunnel open");
    let service = service_fn(move |request| serve_one(network.clone(), request));
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(Some(PING_INTERVAL * 10))
        .keep_alive_timeout(PING_TIMEOUT * 5);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        done = connection.as_mut() => return Ok(done?),
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
        () = tokio::time::sleep(peer.valid_for) => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

async fn serve_one(network: Network, mut request: Request<Incoming>) -> Result<Response<Body>, BoxError> {
    let to = request.headers_mut().remove(ENDPOINT);
    let Some(to) = to.and_then(|to| to.to_str().ok()?.parse::<SocketAddr>().ok()) else {
        return Ok(answer(StatusCode::BAD_REQUEST, "the request names no endpoint"));
    };
    let request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
    match network.serve_peer(to, request).await {
        Ok(response) => Ok(response),
        Err(Failure::Unsent(_, error)) => {
            let mut response = answer(StatusCode::BAD_GATEWAY, &error.to_string());
            response.headers_mut().insert(UNSENT, HeaderValue::from_static("1"));
            Ok(response)
        }
        Err(Failure::Lost(error)) => {
            tracing::debug!(%to, %error, "request failed");
            Ok(answer(StatusCode::BAD_GATEWAY, "the pod failed to answer the request"))
        }
    }
}
