//! The API over HTTPS: `Cluster` for whoever lives in another process than the server.
//!
//! Knows URLs, media types and how failures look on the wire; keeps no state besides the connection pool.

use crate::cluster::{
    Cluster, DeleteOptions, Error, Events, Handle, List, ListOptions, Patch, Target, WatchOptions, WriteOptions,
};
use api::rejected::Reason;
use api::{Object, Rejected, Resource, Tree};
use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::client::Body;
use std::sync::Arc;
use std::time::Duration;

mod wire;

/// A connection that takes longer is given up: the server is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A plain call that takes longer is given up; the server's own limit is 60 s, but nobody here waits that long.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A watch that is silent for so long is taken for a half-open connection; servers send a bookmark each minute.
const WATCH_SILENCE_MAX: Duration = Duration::from_secs(150);
/// A line of a watch longer than this is no object (stored objects end at 1.5 MiB).
const LINE_BYTES_MAX: usize = 8 << 20;

/// Where the API is and who calls.
#[derive(Clone)]
pub struct Config {
    /// Such as `https://127.0.0.1:6443`.
    pub server: String,
    /// PEM; `None` trusts the system's roots.
    pub ca_pem: Option<String>,
    pub credentials: Credentials,
    /// Told in the `User-Agent`.
    pub user_agent: String,
    /// True only to fetch the CA itself, which is then checked against a pin.
    pub insecure: bool,
}

/// How the caller proves who it is.
#[derive(Clone)]
pub enum Credentials {
    Anonymous,
    Token(String),
    /// PEM, chain and private key.
    Certificate {
        chain_pem: String,
        key_pem: String,
    },
}

/// A configuration that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the server address {0:?} is no URL; give it as https://HOST:PORT")]
    Address(String),
    #[error("the CA is not PEM: {0}")]
    Ca(String),
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(String),
    #[error("the TLS client cannot be built: {0}")]
    Tls(String),
}

/// One API as one user. Whoever has a handle or a clone shares the pool of connections, and the credentials, which can
/// be replaced while all of them are in use.
#[derive(Clone)]
pub struct Connection(Arc<Http>);

/// Plain HTTPS with the same TLS and credentials, for what is not the object API: images, `/cacerts`.
#[derive(Clone)]
pub struct Plain(Arc<Http>);

/// The cluster and user that a kubeconfig's current context names.
pub async fn from_kubeconfig(path: &std::path::Path) -> Result<Handle, ConfigError> {
    let kubeconfig =
        kube::config::Kubeconfig::read_from(path).map_err(|error| ConfigError::Kubeconfig(error.to_string()))?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default())
        .await
        .map_err(|error| ConfigError::Kubeconfig(error.to_string()))?;
    Ok(Arc::new(Http::new(config)?))
}

// === impl Connection ===

impl Connection {
    /// No packet is sent until the first call.
    ///
    /// # Errors
    /// When the address, the CA or the credentials cannot be used.
    pub fn new(config: Config) -> Result<Connection, ConfigError> {
        Ok(Connection(Arc::new(Http::new(kube_config(config)?)?)))
    }

    #[must_use]
    pub fn handle(&self) -> Handle {
        self.0.clone()
    }

    #[must_use]
    pub fn plain(&self) -> Plain {
        Plain(self.0.clone())
    }

    /// Calls from now on are made as `config` says. Those under way, and watches, end as they began.
    ///
    /// # Errors
    /// As of `new`; then nothing has changed.
    pub fn renew(&self, config: Config) -> Result<(), ConfigError> {
        self.0.client.store(Arc::new(client(kube_config(config)?)?));
        Ok(())
    }
}

// === impl Plain ===

impl Plain {
    /// One GET; any status is an answer. A body longer than `bytes_max` is an error.
    pub async fn get(
        &self,
        path: &str,
        headers: &[(&'static str, String)],
        bytes_max: usize,
    ) -> Result<Response<Bytes>, Error> {
        self.send(Method::GET, path, headers, Bytes::new(), bytes_max).await
    }

    /// One request; any status is an answer. An answer longer than `bytes_max` is an error, and nothing says whether
    /// what failed otherwise was done.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: Bytes,
        bytes_max: usize,
    ) -> Result<Response<Bytes>, Error> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let body = if body.is_empty() { Body::empty() } else { Body::from(body.to_vec()) };
        let request = request.body(body).map_err(|error| Error::Unreachable(error.to_string()))?;
        let sent = tokio::time::timeout(CALL_TIMEOUT, self.0.client().send(request)).await;
        let response = sent
            .map_err(|_| Error::Unreachable("no answer within 30 s".to_owned()))?
            .map_err(|error| Error::Unreachable(wire::chain(&error)))?;
        let (parts, body) = response.into_parts();
        let mut chunks = body.into_data_stream();
        let mut bytes = BytesMut::new();
        loop {
            match tokio::time::timeout(CALL_TIMEOUT, chunks.next()).await {
                Ok(None) => return Ok(Response::from_parts(parts, bytes.freeze())),
                Ok(Some(Ok(chunk))) if bytes.len() + chunk.len() <= bytes_max => bytes.extend_from_slice(&chunk),
                Ok(Some(Ok(_))) => return Err(Error::Unknown(format!("the answer is longer than {bytes_max} bytes"))),
                Ok(Some(Err(error))) => return Err(Error::Unreachable(error.to_string())),
                Err(_) => return Err(Error::Unreachable("the answer stopped half way".to_owned())),
            }
        }
    }
}

/// One API reached over HTTPS as one user.
struct Http {
    client: ArcSwap<kube::Client>,
}

fn kube_config(config: Config) -> Result<kube::Config, ConfigError> {
    let address = || ConfigError::Address(config.server.clone());
    let uri: http::Uri = config.server.parse().map_err(|_| address())?;
    // The client below takes these for granted.
    if !matches!(uri.scheme_str(), Some("https" | "http")) || uri.host().is_none() {
        return Err(address());
    }
    let mut kube = kube::Config::new(uri);
    if let Some(pem) = &config.ca_pem {
        kube.root_cert = Some(wire::certificates(pem).map_err(ConfigError::Ca)?);
    }
    kube.accept_invalid_certs = config.insecure;
    if let Ok(agent) = http::HeaderValue::from_str(&config.user_agent) {
        kube.headers.push((http::header::USER_AGENT, agent));
    }
    match config.credentials {
        Credentials::Anonymous => {}
        Credentials::Token(token) => kube.auth_info.token = Some(token.into()),
        Credentials::Certificate { chain_pem, key_pem } => {
            kube.auth_info.client_certificate_data = Some(wire::base64(chain_pem.as_bytes()));
            kube.auth_info.client_key_data = Some(wire::base64(key_pem.as_bytes()).into());
        }
    }
    Ok(kube)
}

fn client(mut config: kube::Config) -> Result<kube::Client, ConfigError> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // A read limit would cut quiet watches; calls and watches have their own limits here.
    config.read_timeout = None;
    config.write_timeout = None;
    config.default_retry = false;
    kube::Client::try_from(config).map_err(|error| ConfigError::Tls(error.to_string()))
}

// === impl Http ===

impl Http {
    fn new(config: kube::Config) -> Result<Http, ConfigError> {
        Ok(Http { client: ArcSwap::from_pointee(client(config)?) })
    }

    fn client(&self) -> Arc<kube::Client> {
        self.client.load_full()
    }

    async fn send(
        &self,
        method: Method,
        path: String,
        content_type: Option<&'static str>,
        body: Bytes,
    ) -> Result<Response<Body>, Error> {
        let reads = method == Method::GET;
        let mut request = Request::builder().method(method).uri(path).header(http::header::ACCEPT, "application/json");
        if let Some(content_type) = content_type {
            request = request.header(http::header::CONTENT_TYPE, content_type);
        }
        let request = request.body(Body::from(body.to_vec())).map_err(|error| Error::Unreachable(error.to_string()))?;
        match tokio::time::timeout(CALL_TIMEOUT, self.client().send(request)).await {
            Ok(Ok(response)) => Ok(response),
            // Whether a failed write was sent is told by what failed: without a connection nothing was done.
            Ok(Err(error)) if reads || wire::is_connect(&error) => Err(Error::Unreachable(wire::chain(&error))),
            Ok(Err(error)) => Err(Error::Unknown(wire::chain(&error))),
            Err(_) if reads => Err(Error::Unreachable("no answer within 30 s".to_owned())),
            Err(_) => Err(Error::Unknown("no answer within 30 s".to_owned())),
        }
    }

    /// The whole body of a success; a failure as the `Status` it carries.
    async fn call(
        &self,
        method: Method,
        path: String,
        content_type: Option<&'static str>,
        body: Bytes,
    ) -> Result<Bytes, Error> {
        let response = self.send(method, path, content_type, body).await?;
        let status = response.status();
        let body = collect(response).await?;
        if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
    }

    async fn object(
        &self,
        method: Method,
        path: String,
        content_type: Option<&'static str>,
        body: Bytes,
    ) -> Result<Arc<Object>, Error> {
        let body = self.call(method, path, content_type, body).await?;
        Object::from_json(body).map(Arc::new).map_err(malformed)
    }

    async fn open_watch(&self, path: String) -> Result<Events, Error> {
        let response = self.send(Method::GET, path, None, Bytes::new()).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(refused(status, &collect(response).await?));
        }
        let chunks = response.into_body().into_data_stream().map_err(|error| Error::Unreachable(error.to_string()));
        Ok(events(chunks.boxed()))
    }
}

impl Cluster for Http {
    fn get<'a>(&'a self, target: Target<'a>) -> BoxFuture<'a, Result<Arc<Object>, Error>> {
        Box::pin(self.object(Method::GET, target.path(), None, Bytes::new()))
    }

    fn list<'a>(
        &'a self,
        resource: &'a Resource,
        namespace: Option<&'a str>,
        options: ListOptions,
    ) -> BoxFuture<'a, Result<List, Error>> {
        let path = wire::list_path(resource, namespace, &options);
        Box::pin(async move {
            let body = self.call(Method::GET, path, None, Bytes::new()).await?;
            wire::list(&body).map_err(malformed)
        })
    }

    fn watch<'a>(
        &'a self,
        resource: &'a Resource,
        namespace: Option<&'a str>,
        options: WatchOptions,
    ) -> BoxFuture<'a, Result<Events, Error>> {
        Box::pin(self.open_watch(wire::watch_path(resource, namespace, &options)))
    }

    fn create<'a>(
        &'a self,
        target: Target<'a>,
        object: Tree,
        options: WriteOptions,
    ) -> BoxFuture<'a, Result<Arc<Object>, Error>> {
        let path = wire::write_path(&target, &options, false);
        Box::pin(self.object(Method::POST, path, Some("application/json"), Bytes::from(object.to_string())))
    }

    fn update<'a>(
        &'a self,
        target: Target<'a>,
        object: Tree,
        options: WriteOptions,
    ) -> BoxFuture<'a, Result<Arc<Object>, Error>> {
        let path = wire::write_path(&target, &options, false);
        Box::pin(self.object(Method::PUT, path, Some("application/json"), Bytes::from(object.to_string())))
    }

    fn patch<'a>(
        &'a self,
        target: Target<'a>,
        patch: Patch,
        options: WriteOptions,
    ) -> BoxFuture<'a, Result<Arc<Object>, Error>> {
        let force = matches!(&patch, Patch::Apply { force: true, .. });
        let path = wire::write_path(&target, &options, force);
        let (content_type, body) = match patch {
            Patch::Json(tree) => ("application/json-patch+json", Bytes::from(tree.to_string())),
            Patch::Merge(tree) => ("application/merge-patch+json", Bytes::from(tree.to_string())),
            Patch::Strategic(tree) => ("application/strategic-merge-patch+json", Bytes::from(tree.to_string())),
            Patch::Apply { body, .. } => ("application/apply-patch+yaml", body),
        };
        Box::pin(self.object(Method::PATCH, path, Some(content_type), body))
    }

    fn delete<'a>(
        &'a self,
        target: Target<'a>,
        options: DeleteOptions,
    ) -> BoxFuture<'a, Result<Option<Arc<Object>>, Error>> {
        let body = Bytes::from(wire::delete_body(&options).to_string());
        Box::pin(async move {
            let answer = self.call(Method::DELETE, target.path(), Some("application/json"), body).await?;
            let object = Object::from_json(answer).map_err(malformed)?;
            // What is gone is answered with a Status or with its last state; only a deletion mark says that it stays.
            Ok(Some(object).filter(|object| object.head().is_deleting).map(Arc::new))
        })
    }
}

async fn collect(response: Response<Body>) -> Result<Bytes, Error> {
    let body = response.into_body().collect();
    match tokio::time::timeout(CALL_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(Error::Unknown(error.to_string())),
        Err(_) => Err(Error::Unknown("the answer stopped half way".to_owned())),
    }
}

/// The lines of a watch as events. The stream ends with the body, or with the first failure.
fn events(chunks: futures::stream::BoxStream<'static, Result<Bytes, Error>>) -> Events {
    let state = (chunks, BytesMut::new());
    let stream = futures::stream::try_unfold(state, |(mut chunks, mut buffer)| async move {
        loop {
            if let Some(line) = wire::take_line(&mut buffer) {
                if line.is_empty() {
                    continue;
                }
                let event = wire::event(&line)?;
                return Ok(Some((event, (chunks, buffer))));
            }
            if buffer.len() > LINE_BYTES_MAX {
                return Err(Error::Unreachable("a line of the watch has no end".to_owned()));
            }
            match tokio::time::timeout(WATCH_SILENCE_MAX, chunks.next()).await {
                Ok(Some(chunk)) => buffer.extend_from_slice(&chunk?),
                Ok(None) => return Ok(None),
                Err(_) => return Err(Error::Unreachable("the watch went silent".to_owned())),
            }
        }
    });
    stream.boxed()
}

fn refused(status: StatusCode, body: &[u8]) -> Error {
    let tree = serde_json::from_slice::<Tree>(body).ok();
    let rejected = tree.as_ref().and_then(Rejected::from_status).unwrap_or_else(|| {
        let text = String::from_utf8_lossy(&body[..body.len().min(200)]).trim().to_owned();
        let mut rejected = Rejected::new(Reason::Unknown, format!("the server answered {status}: {text}"));
        rejected.code = status.as_u16();
        rejected
    });
    Error::Rejected(rejected)
}

fn malformed(error: impl std::fmt::Display) -> Error {
    Error::Unknown(format!("the server's answer cannot be read: {error}"))
}
