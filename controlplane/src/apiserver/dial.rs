//! How this server asks others over HTTPS: webhooks, and API servers that extend this one.
//!
//! An address is dialled, and its certificate checked against the destination's `caBundle`. A pod of a node is asked over
//! the link that its node keeps open, which both sides have proven themselves on: pods speak plain HTTP there. What a
//! destination may cost is bounded: calls at a time, connections that wait, time, and the bytes of an answer.

mod tls;

use super::body::{self, Body, BoxError};
use super::link::Links;
use crate::pki::Pki;
use crate::registry::{Destination, WEBHOOK_LIMIT, Way};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use rand::seq::SliceRandom;
use std::collections::VecDeque;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tls::Connector;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Of a webhook's answer; as many bytes as a review has, and room for what a version adds.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Reviews that one webhook is asked at a time. More wait, within their time.
const CALLS_MAX: usize = 8;
/// Destinations whose connections are kept.
const CLIENTS_MAX: usize = 64;
/// How long a client's connections may go on with the certificates that it was made with.
const CLIENT_LIFE: Duration = Duration::from_secs(24 * 3600);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_MAX: usize = 8;

/// The header that tells a node which pod is meant.
const ENDPOINT: &str = "coracle-endpoint";
/// Who this server says it is to what extends it: the one name that stands for the request-header authority.
pub(super) const FRONT_PROXY: &str = "front-proxy-client";

/// Asks others. Clones share their connections.
#[derive(Clone)]
pub(super) struct Dialer(Arc<Shared>);

struct Shared {
    links: Links,
    /// Who vouches for this server, where it is to show a certificate.
    identity: Option<Arc<Pki>>,
    /// The one that was used last is at the end.
    clients: Mutex<VecDeque<Client>>,
}

#[derive(Clone)]
struct Client {
    destination: Destination,
    http: legacy::Client<Connector, Body>,
    calls: Arc<Semaphore>,
    made: Instant,
}

// === impl Dialer ===

impl Dialer {
    /// With `identity`, it shows the certificate of the front proxy.
    #[must_use]
    pub(super) fn new(links: Links, identity: Option<Arc<Pki>>) -> Dialer {
        Dialer(Arc::new(Shared { links, identity, clients: Mutex::default() }))
    }

    /// As the registry asks webhooks.
    #[must_use]
    pub(super) fn ask(&self) -> crate::registry::Ask {
        let dialer = self.clone();
        Arc::new(move |to, review| {
            let dialer = dialer.clone();
            async move { dialer.post(&to, review).await }.boxed()
        })
    }

    /// Sends JSON; the answer, or what failed in the words of Go's client.
    async fn post(&self, to: &Destination, json: Bytes) -> Result<Bytes, String> {
        let mark = if to.path.contains('?') { '&' } else { '?' };
        let path = format!("{}{mark}timeout={}s", to.path, WEBHOOK_LIMIT.as_secs());
        let url = format!("https://{}{path}", to.authority);
        let failed = |why: String| format!("Post {url:?}: {why}");
        let client = self.client(to).map_err(failed)?;
        let asking = async {
            let _call = client.calls.acquire().await.map_err(|closed| failed(closed.to_string()))?;
            let request = Request::post(&path)
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::ACCEPT, "application/json, */*")
                .body(body::full(json));
            let request = request.map_err(|why| failed(why.to_string()))?;
            let response = self.send_by(&client, to, request).await.map_err(|why| failed(why.to_string()))?;
            let status = response.status();
            let answer = read(response).await.map_err(failed)?;
            if status.is_success() { Ok(answer) } else { Err(unsuccessful(status.as_u16(), &answer)) }
        };
        let done = tokio::time::timeout(WEBHOOK_LIMIT, asking).await;
        done.unwrap_or_else(|_| Err(failed("context deadline exceeded".to_owned())))
    }

    /// Sends a request whose URI is a path. No time limit; the answer's body comes as it does.
    ///
    /// # Errors
    /// When no connection comes about, or it breaks before the answer's head.
    pub(super) async fn send(&self, to: &Destination, request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        self.send_by(&self.client(to)?, to, request).await
    }

    async fn send_by(
        &self,
        client: &Client,
        to: &Destination,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, BoxError> {
        let scheme = if to.is_dialled() { Scheme::HTTPS } else { Scheme::HTTP };
        *request.uri_mut() = absolute(request.uri(), scheme, &to.authority)?;
        request.headers_mut().insert(header::HOST, HeaderValue::try_from(&to.authority)?);
        if to.is_dialled() {
            *request.version_mut() = http::Version::HTTP_11;
            return client.http.request(request).await.map_err(|error| explain(&error).into());
        }
        for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::HOST] {
            request.headers_mut().remove(name);
        }
        let (node, endpoint) = self.node(to)?;
        request.headers_mut().insert(ENDPOINT, HeaderValue::try_from(endpoint)?);
        Ok(self.0.links.request(&node, request).await?)
    }

    /// A node that is connected here and has what is behind the destination.
    fn node(&self, to: &Destination) -> Result<(String, String), BoxError> {
        let mut ways: Vec<&Way> = to.ways.iter().collect();
        ways.shuffle(&mut rand::rng());
        let mut missing = String::new();
        for way in ways {
            let Way::Node { node, endpoint } = way else { continue };
            if self.0.links.is_connected(node) {
                return Ok((node.clone(), endpoint.to_string()));
            }
            missing.clone_from(node);
        }
        Err(format!("node {missing:?} is not connected to this server").into())
    }

    /// The client of a destination: one for each way of checking it, however many ask.
    fn client(&self, to: &Destination) -> Result<Client, String> {
        let mut clients = self.0.clients.lock();
        clients.retain(|client| client.made.elapsed() < CLIENT_LIFE);
        let known = clients.iter().position(|client| client.destination == *to);
        let client = match known.and_then(|at| clients.remove(at)) {
            Some(client) => client,
            None => Client::new(to, self.0.identity.as_deref())?,
        };
        if clients.len() >= CLIENTS_MAX {
            clients.pop_front();
        }
        clients.push_back(client.clone());
        Ok(client)
    }
}

// === impl Client ===

impl Client {
    fn new(to: &Destination, identity: Option<&Pki>) -> Result<Client, String> {
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .build(Connector::new(to, identity)?);
        let calls = Arc::new(Semaphore::new(CALLS_MAX));
        Ok(Client { destination: to.clone(), http, calls, made: Instant::now() })
    }
}

// === impl Destination ===

impl Destination {
    /// Whether it is reached over the network: what has an address there is asked first.
    fn is_dialled(&self) -> bool {
        self.ways.iter().any(|way| matches!(way, Way::Dial { .. }))
    }
}

pub(super) async fn read(response: Response<Incoming>) -> Result<Bytes, String> {
    match Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await {
        Ok(read) => Ok(read.to_bytes()),
        Err(why) if why.is::<LengthLimitError>() => Err(format!("the answer has more than {ANSWER_BYTES_MAX} bytes")),
        Err(why) => Err(why.to_string()),
    }
}

/// As Go's client tells an answer that is no success: what it says, if that is a Status or short.
fn unsuccessful(code: u16, answer: &[u8]) -> String {
    let status = serde_json::from_slice(answer).ok();
    if let Some(rejected) = status.as_ref().and_then(api::Rejected::from_status) {
        return rejected.message;
    }
    let text: String = String::from_utf8_lossy(answer).trim().chars().take(2048).collect();
    match code {
        404 => "the server could not find the requested resource".to_owned(),
        500.. => format!("an error on the server ({text:?}) has prevented the request from succeeding"),
        code => format!("the server answered {code}: {text:?}"),
    }
}

fn absolute(uri: &Uri, scheme: Scheme, authority: &str) -> Result<Uri, BoxError> {
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(scheme);
    parts.authority = Some(Authority::try_from(authority)?);
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    Ok(Uri::from_parts(parts)?)
}

/// The innermost cause says what happened; what is around it, only where.
pub(super) fn explain(error: &(dyn Error + 'static)) -> String {
    let mut innermost: &(dyn Error + 'static) = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// A connection under way.
type Connecting = BoxFuture<'static, Result<tls::Secured, BoxError>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_no_success() {
        assert_eq!(unsuccessful(404, b"x"), "the server could not find the requested resource");
        let expect = r#"an error on the server ("gone") has prevented the request from succeeding"#;
        assert_eq!(unsuccessful(503, b"gone\n"), expect);
        let status = br#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","code":403}"#;
        assert_eq!(unsuccessful(403, status), "no");
    }

    #[test]
    fn uris_get_their_authority() {
        let uri = absolute(&"/a?b=c".parse().unwrap(), Scheme::HTTPS, "s.n.svc:443").unwrap();
        assert_eq!(uri.to_string(), "https://s.n.svc:443/a?b=c");
    }
}
