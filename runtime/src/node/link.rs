//! The node's one stream to the server, over which the server asks for logs and pods: no node is ever dialled. What the
//! server has to ask a pod itself, as a webhook, comes this way too, with the pod's address in a header.
//!
//! The node dials the API port and asks for an upgrade; then the roles turn, and this side is the HTTP/2 server.

use super::Pods;
use super::log::{Logs, Options, Whose};
use crate::{Body, BoxError};
use api::time::SignedDuration;
use api::{Object, view};
use arc_swap::ArcSwap;
use bytes::Bytes;
use client::Clock;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rand::Rng;
use rustls_pki_types::ServerName;
use serde_json::json;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// The protocol's name in the `Upgrade` header.
const PROTOCOL: &str = "coracle-link";
/// The header of a request that is for a pod.
const ENDPOINT: &str = "coracle-endpoint";
/// A dial that takes longer is given up.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Waits between dials; doubled up to the maximum, with jitter against storms.
const WAIT_MIN: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(15);
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// Replaced when the node's certificate is renewed.
pub type Tls = Arc<ArcSwap<rustls::ClientConfig>>;

/// Where to dial, and as whom.
#[derive(Clone)]
pub struct Config {
    /// `HOST:PORT` of the API.
    pub server: String,
    /// Trusts the cluster's CA and carries the node's client certificate; must offer `http/1.1` alone, or no ALPN.
    pub tls: Tls,
}

/// What is served.
pub(super) struct Served {
    pub(super) node: String,
    pub(super) clock: Clock,
    pub(super) logs: Logs,
    pub(super) pods: Arc<dyn Fn() -> Vec<Arc<Object>> + Send + Sync>,
    pub(super) network: Arc<dyn Pods>,
}

/// Keeps the link up until `shutdown`.
pub(super) async fn run(config: Config, served: Arc<Served>, shutdown: CancellationToken) {
    let mut wait = WAIT_MIN;
    loop {
        let outcome = tokio::select! {
            () = shutdown.cancelled() => return,
            outcome = session(&config, &served) => outcome,
        };
        match outcome {
            Ok(()) => wait = WAIT_MIN,
            Err(error) => tracing::debug!(%error, server = config.server, "the link to the server is down"),
        }
        let jittered = wait.mul_f64(rand::rng().random_range(0.5..1.5));
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(jittered) => {}
        }
        wait = (wait * 2).min(WAIT_MAX);
    }
}

/// One link from its dial to its end; an error if it never came up.
async fn session(config: &Config, served: &Arc<Served>) -> Result<(), BoxError> {
    let upgraded = tokio::time::timeout(DIAL_TIMEOUT, dial(config, &served.node)).await??;
    tracing::info!(server = config.server, "the link to the server is up");
    let service = service_fn({
        let served = Arc::clone(served);
        move |request: Request<hyper::body::Incoming>| {
            let served = Arc::clone(&served);
            async move {
                Ok::<_, Infallible>(match request.headers().contains_key(ENDPOINT) {
                    true => call(&served, request).await,
                    false => answer(&served, request.method(), request.uri()),
                })
            }
        }
    });
    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(upgraded, service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "the link to the server ended");
    }
    Ok(())
}

async fn dial(config: &Config, node: &str) -> Result<hyper::upgrade::Upgraded, BoxError> {
    let host = config.server.rsplit_once(':').map_or(config.server.as_str(), |(host, _)| host);
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
    let stream = TcpStream::connect(&config.server).await?;
    stream.set_nodelay(true)?;
    let stream = tokio_rustls::TlsConnector::from(config.tls.load_full()).connect(name, stream).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    let request = Request::builder()
        .uri(format!("/apis/coracle.dev/v1/nodes/{node}/link"))
        .header(header::HOST, &config.server)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, PROTOCOL)
        .body(http_body_util::Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(format!("the server answered {} to the link", response.status()).into());
    }
    Ok(hyper::upgrade::on(response).await?)
}

/// The kubelet's paths.
fn answer(served: &Served, method: &Method, uri: &http::Uri) -> Response<Body> {
    if method != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not served by nodes"));
    }
    let parts: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["healthz"] => plain(StatusCode::OK, "ok".to_owned()),
        ["pods"] => pods(served),
        ["stats", "summary"] => stats(served),
        ["containerLogs", namespace, pod, container] => {
            logs(served, (namespace, pod, container), uri.query().unwrap_or_default())
        }
        _ => plain(StatusCode::NOT_FOUND, format!("a node serves no {}", uri.path())),
    }
}

/// A request for a pod of this node.
async fn call(served: &Served, request: Request<hyper::body::Incoming>) -> Response<Body> {
    let (mut parts, incoming) = request.into_parts();
    let endpoint = parts.headers.remove(ENDPOINT).and_then(|value| value.to_str().ok()?.parse().ok());
    let Some(to) = endpoint else {
        return plain(StatusCode::BAD_REQUEST, format!("{ENDPOINT} must be an address and a port"));
    };
    let request = Request::from_parts(parts, incoming.map_err(BoxError::from).boxed_unsync());
    match served.network.call(to, request).await {
        Ok(response) => response,
        Err(error) => plain(StatusCode::BAD_GATEWAY, error.to_string()),
    }
}

fn pods(served: &Served) -> Response<Body> {
    let items: Vec<api::Tree> = (served.pods)().iter().map(|object| object.tree()).collect();
    json(&json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items }))
}

/// Only what this node measures; fields without a measurement are left out.
fn stats(served: &Served) -> Response<Body> {
    let reference = |object: &Arc<Object>| json!({ "podRef": { "name": object.name(), "namespace": object.namespace(), "uid": object.uid() } });
    let pods: Vec<api::Tree> = (served.pods)().iter().map(reference).collect();
    json(&json!({ "node": { "nodeName": served.node }, "pods": pods }))
}

fn logs(served: &Served, (namespace, pod, container): (&str, &str, &str), query: &str) -> Response<Body> {
    let all = (served.pods)();
    let Some(object) = all.iter().find(|object| object.namespace() == namespace && object.name() == pod) else {
        return plain(StatusCode::NOT_FOUND, format!("pod {pod:?} in namespace {namespace:?} not found"));
    };
    let view: view::Pod = object.read().unwrap_or_default();
    let mut names = view.spec.containers.iter().chain(&view.spec.init_containers).map(|one| &one.name);
    if !names.any(|name| name == container) {
        return plain(StatusCode::NOT_FOUND, format!("container {container:?} not found in pod {pod:?}"));
    }
    let options = match options(query, &served.clock) {
        Ok(options) => options,
        Err(message) => return plain(StatusCode::BAD_REQUEST, message),
    };
    let previous = options.previous;
    let whose = Whose { namespace, pod, uid: object.uid(), container };
    let Some(pieces) = served.logs.read(whose, options) else {
        let message = if previous {
            format!("previous terminated container {container:?} in pod {pod:?} not found")
        } else {
            format!("container {container:?} in pod {pod:?} is waiting to start: ContainerCreating")
        };
        return plain(StatusCode::BAD_REQUEST, message);
    };
    let frames = pieces.map(|piece| Ok::<_, BoxError>(Frame::data(piece)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain"));
    response
}

fn options(query: &str, clock: &Clock) -> Result<Options, String> {
    let decode = |text: &str| percent_decoded(text);
    let all: BTreeMap<&str, String> =
        query.split('&').filter_map(|pair| pair.split_once('=')).map(|(key, value)| (key, decode(value))).collect();
    let is_set = |key: &str| all.get(key).is_some_and(|value| value == "true" || value == "1");
    let number = |key: &str| match all.get(key).map(|value| value.parse::<u32>()) {
        None => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => Err(format!("{key} must be a number")),
    };
    let seconds = number("sinceSeconds")?.map(|seconds| clock.now() - SignedDuration::from_secs(seconds.into()));
    let since = match all.get("sinceTime") {
        Some(text) => Some(api::time::parse(text).ok_or("sinceTime must be a time as in RFC 3339")?),
        None => seconds,
    };
    Ok(Options {
        follow: is_set("follow"),
        previous: is_set("previous"),
        timestamps: is_set("timestamps"),
        tail_lines: number("tailLines")?.map(|lines| lines as usize),
        since,
        limit_bytes: number("limitBytes")?.map(|bytes| bytes as usize),
    })
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match (first, code.and_then(|code| u8::from_str_radix(code, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn json(tree: &api::Tree) -> Response<Body> {
    let mut response = plain(StatusCode::OK, tree.to_string());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn plain(status: StatusCode, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
