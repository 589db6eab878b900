//! The HTTP face of the registry: the Kubernetes API as clients speak it, and what else stands on the API port.
//!
//! Knows HTTP, TLS, media types and the shape of paths. Adds no semantics: what an object may be, and what happens
//! when it is written, is the registry's.

pub mod aggregator;
mod answer;
mod authn;
pub mod body;
mod connection;
mod decode;
mod dial;
pub mod discovery;
mod documents;
mod impersonate;
pub mod link;
pub mod members;
mod made;
mod media;
mod metrics;
mod node;
pub mod oci;
pub mod openapi;
mod options;
mod request;
mod stream;
mod table;
mod tokens;
mod verbs;

pub use link::Links;

use crate::images::Images;
use crate::listener;
use crate::members::Membership;
use crate::peers::{self, Inbox};
use crate::pki::Pki;
use crate::pki::certificate::Subject;
use crate::registry::{Attributes, Registry, User};
use aggregator::Aggregator;
use api::Rejected;
use arc_swap::ArcSwap;
use authn::Authenticator;
use body::Body;
use client::Clock;
use dial::Dialer;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use made::Made;
use openapi::OpenApi;
use parking_lot::Mutex;
use request::{Info, Query};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use verbs::header_text;

/// Clients at a time.
const CONNECTIONS_MAX: usize = 16_384;

/// What the server needs from outside.
pub struct Config {
    /// Bound already: its address may have been chosen by the system.
    pub listener: TcpListener,
    pub pki: Arc<Pki>,
    pub authentication: Authentication,
    pub images: Arc<Images>,
    pub links: Links,
    pub backing: Backing,
    pub clock: Clock,
}

/// What keeps the state that the API shows.
pub enum Backing {
    /// Our own store, of which this process is a member.
    Member {
        membership: Membership,
        /// Takes what other members say.
        inbox: Inbox,
    },
    /// An etcd.
    Etcd {
        /// Its addresses, for people.
        place: String,
    },
}

/// What every connection sees. Other members are heard before there is an API: it may need them.
struct Front {
    server: OnceLock<Arc<Server>>,
    inbox: Option<Inbox>,
    clock: Clock,
    shutdown: CancellationToken,
}

/// What every request sees.
struct Server {
    registry: Registry,
    pki: Arc<Pki>,
    authenticator: Authenticator,
    images: Arc<Images>,
    links: Links,
    aggregator: Arc<Aggregator>,
    /// Else, where the etcd is that has the state.
    membership: Result<Membership, String>,
    /// Of the kinds that were served when it was last asked for.
    openapi: ArcSwap<OpenApi>,
    made: Arc<Made>,
    issuer: String,
    clock: Clock,
    shutdown: CancellationToken,
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
}

/// How callers prove who they are, beside the cluster's own client certificates and tokens.
#[derive(Debug, Clone)]
pub struct Authentication {
    /// The text of `--token-auth-file`: CSV lines `token,user,uid,"group,group"`.
    pub token_file: Option<String>,
    /// PEM certificates of further authorities (`--client-ca-file`) for client certificates.
    pub client_cas: Option<Vec<u8>>,
    /// Whether requests without credentials are `system:anonymous` (true in Kubernetes) or refused.
    pub anonymous: bool,
    /// `iss` of service-account tokens, and their default audience.
    pub issuer: String,
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Pki(#[from] crate::pki::Error),
    #[error("the token file is malformed in line {line}: {why}")]
    TokenFile { line: usize, why: &'static str },
    #[error("the API port cannot be used")]
    Listen(#[from] std::io::Error),
}

impl Default for Authentication {
    fn default() -> Authentication {
        Authentication {
            token_file: None,
            client_cas: None,
            anonymous: true,
            issuer: "https://kubernetes.default.svc".to_owned(),
        }
    }
}

/// Serves the API, once there is a registry, until `shutdown`; then lets requests that are under way end.
///
/// # Errors
/// When the settings are of no use; a single connection's trouble is its own.
pub async fn serve(
    config: Config,
    registry: oneshot::Receiver<Registry>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let (membership, inbox) = match config.backing {
        Backing::Member { membership, inbox } => (Ok(membership), Some(inbox)),
        Backing::Etcd { place } => (Err(place), None),
    };
    let mut protocols: Vec<&[u8]> = vec![b"h2", b"http/1.1"];
    protocols.extend(inbox.is_some().then_some(peers::ALPN));
    let tls = config.pki.server_tls(config.authentication.client_cas.as_deref(), &protocols)?;
    let acceptor = TlsAcceptor::from(tls);
    let issuer = config.authentication.issuer.clone();
    let client_cas = config.authentication.client_cas.clone();
    let front =
        Arc::new(Front { server: OnceLock::new(), inbox, clock: config.clock.clone(), shutdown: shutdown.clone() });
    let authenticator = Authenticator::new(config.authentication, Arc::clone(&config.pki))?;
    let aggregator = Arc::new(Aggregator::new(config.links.clone(), Arc::clone(&config.pki)));
    let (learning, pki, stop) = (Arc::clone(&aggregator), Arc::clone(&config.pki), shutdown.clone());
    let links = config.links.clone();
    let server = |registry: Registry| Server {
        openapi: ArcSwap::from_pointee(OpenApi::new(registry.served())),
        authenticator,
        registry,
        pki: config.pki,
        images: config.images,
        links: config.links,
        aggregator: Arc::clone(&aggregator),
        membership,
        made: Arc::default(),
        issuer,
        clock: config.clock,
        shutdown: shutdown.clone(),
        requests: Mutex::default(),
    };
    let opening = Arc::clone(&front);
    let opened = async move {
        if let Ok(registry) = registry.await {
            registry.ask_by(Dialer::new(links, None).ask());
            let _ = opening.server.set(Arc::new(server(registry.clone())));
            learning.learn(registry, &pki, client_cas.as_deref(), stop).await;
        }
    };
    let connect = |tcp| connection::serve(Arc::clone(&front), acceptor.clone(), tcp);
    tokio::join!(
        async {
            tokio::select! { () = opened => {}, () = shutdown.cancelled() => {} }
        },
        listener::serve(config.listener, "API", CONNECTIONS_MAX, shutdown.clone(), connect),
    );
    Ok(())
}

// === impl Server ===

impl Server {
    async fn handle(&self, request: Request<Incoming>, peer: Option<&Subject>) -> Response<Body> {
        let verb = counted(request.method());
        let zip = header_text(request.headers(), header::ACCEPT_ENCODING).contains("gzip");
        let accept = header_text(request.headers(), header::ACCEPT).to_owned();
        let pretty = verbs::is_pretty(&Query::parse(request.uri().query()), request.headers());
        let audit = audit_id(request.headers());
        let mut response = match self.route(request, peer).await {
            Ok(response) => response,
            Err(rejected) => answer::refusal(&rejected, &accept, pretty),
        };
        let headers = response.headers_mut();
        headers.extend(audit.map(|id| (HeaderName::from_static("audit-id"), id)));
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
        *self.requests.lock().entry((verb, response.status().as_u16())).or_default() += 1;
        answer::compress(response, zip).await
    }

    async fn route(&self, request: Request<Incoming>, peer: Option<&Subject>) -> Result<Response<Body>, Rejected> {
        let path = request.uri().path().to_owned();
        if path == "/cacerts" {
            // Public by its nature: what a joining node checks against the pin of its token.
            return Ok(answer::bytes_of(StatusCode::OK, self.pki.ca_pem().to_owned(), "application/x-pem-file"));
        }
        let user = self.authenticator.user(&self.registry, peer, request.headers()).await?;
        if path == "/v2" || path.starts_with("/v2/") {
            return self.images(&user, request).await;
        }
        if let Some(node) = path.strip_prefix("/apis/coracle.dev/v1/nodes/").and_then(|rest| rest.strip_suffix("/link"))
        {
            let valid_for = peer.map_or(Duration::MAX, |peer| peer.valid_for(self.clock.now()));
            return self.link(&user, node, valid_for, request);
        }
        if let Some(rest) = path.strip_prefix(members::PATH).filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            return self.members(&user, rest, request).await;
        }
        if let Some(service) = self.extension(&path) {
            return self.proxy(&user, &service, request).await;
        }
        if let Some(info) = Info::parse(&path) {
            return self.resource(user, info, request).await;
        }
        let verb = request.method().as_str().to_lowercase();
        self.registry.check(&user, &Attributes { verb: &verb, path: Some(&path), ..Attributes::default() })?;
        if path == "/metrics" {
            return Ok(self.metrics().await);
        }
        match self.document(&request).await? {
            Some(response) => Ok(response),
            None => Ok(answer::nothing_there()),
        }
    }

    /// The documents of the kinds that are served now.
    fn openapi(&self) -> Arc<OpenApi> {
        let (served, openapi) = (self.registry.served(), self.openapi.load_full());
        if openapi.is_of(&served) {
            return openapi;
        }
        let openapi = Arc::new(openapi.again(served));
        self.openapi.store(Arc::clone(&openapi));
        openapi
    }

    /// The embedded registry: every known user may pull, and push who may create `images.coracle.dev`.
    async fn images(&self, user: &User, request: Request<Incoming>) -> Result<Response<Body>, Rejected> {
        if user.is_in(crate::registry::UNAUTHENTICATED) {
            return Err(authn::unauthorized());
        }
        let push = Attributes { verb: "create", group: "coracle.dev", resource: "images", ..Attributes::default() };
        let writer = self.registry.authorize(user, &push).allowed;
        Ok(oci::handle(&self.images, writer, request).await)
    }
}

/// What names the request in the logs of both sides: the client's name for it, or a new one.
fn audit_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let given = headers.get("audit-id").filter(|id| !id.is_empty()).cloned();
    given.or_else(|| HeaderValue::try_from(uuid::Uuid::new_v4().to_string()).ok())
}

/// A method's name in the metrics. Clients may invent methods, and each would be a series of its own for ever.
fn counted(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}
