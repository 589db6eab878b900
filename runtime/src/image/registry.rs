//! One registry on the wire: manifests, blobs, bearer tokens and redirects, as the distribution specification says.

use super::name::{Reference, is_digest};
use super::store::sha256;
use base64::Engine as _;
use bytes::Bytes;
use client::http::{Config, Connection, Credentials, Plain};
use http::{Response, StatusCode, header};
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::BTreeMap;

const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";
const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// Blob storages redirect once or twice.
const REDIRECTS_MAX: usize = 4;

pub(super) enum Failure {
    /// The registry is away: what is on this node may do.
    Unreachable(String),
    Refused(String),
}

/// What a name stands for.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) digest: String,
    pub(super) layer: Layer,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Layer {
    #[serde(default)]
    media_type: String,
    pub(super) digest: String,
    #[serde(default)]
    pub(super) size: u64,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
    /// Of an index.
    #[serde(default)]
    manifests: Vec<Layer>,
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DockerAuth {
    auth: String,
    username: String,
    password: String,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(alias = "access_token")]
    token: String,
}

pub(super) struct Registry {
    plain: Plain,
    /// `user:password` in base64.
    basic: Option<String>,
    /// What the registry wanted to see in the last answer.
    authorization: Mutex<Option<String>>,
}

// === impl Registry ===

impl Registry {
    pub(super) fn new(name: &Reference, embedded: Option<&Plain>, credentials: &[String]) -> Result<Registry, String> {
        let plain = match (&name.host, embedded) {
            (None, Some(plain)) => plain.clone(),
            (None, None) => return Err("this node has no embedded registry; name a host, as in ghcr.io/…".to_owned()),
            (Some(host), _) => outside(host)?,
        };
        let basic = name.host.as_deref().and_then(|host| basic_for(host, credentials));
        let authorization = Mutex::new(basic.as_ref().map(|basic| format!("Basic {basic}")));
        Ok(Registry { plain, basic, authorization })
    }

    /// The manifest of a name, and its Wasm layer.
    pub(super) async fn resolve(&self, name: &Reference) -> Result<Found, Failure> {
        let (digest, manifest) = self.manifest(name, &name.version).await?;
        if manifest.manifests.is_empty() {
            return Ok(Found { digest, layer: wasm_layer(manifest.layers)? });
        }
        let is_wasm = |one: &Layer| one.platform.as_ref().is_some_and(|platform| platform.architecture == "wasm");
        let chosen = manifest.manifests.iter().find(|one| is_wasm(one)).or(manifest.manifests.first());
        let chosen = chosen.map(|one| one.digest.clone()).unwrap_or_default();
        let (_, manifest) = self.manifest(name, &chosen).await?;
        Ok(Found { digest, layer: wasm_layer(manifest.layers)? })
    }

    pub(super) async fn blob(&self, name: &Reference, digest: &str, bytes_max: usize) -> Result<Bytes, Failure> {
        let path = format!("/v2/{}/blobs/{digest}", name.repository);
        let response = self.get(&path, "application/octet-stream, */*", bytes_max).await?;
        let bytes = success(&path, response)?;
        let got = sha256(&bytes);
        if got != digest {
            return Err(Failure::Refused(format!("the blob {digest} came with the digest {got}")));
        }
        Ok(bytes)
    }

    async fn manifest(&self, name: &Reference, version: &str) -> Result<(String, Manifest), Failure> {
        let path = format!("/v2/{}/manifests/{version}", name.repository);
        let body = success(&path, self.get(&path, ACCEPT, MANIFEST_BYTES_MAX).await?)?;
        let digest = sha256(&body);
        if is_digest(version) && version != digest {
            return Err(Failure::Refused(format!("the manifest {version} came with the digest {digest}")));
        }
        let manifest = serde_json::from_slice(&body);
        Ok((digest, manifest.map_err(|error| Failure::Refused(format!("the manifest cannot be read: {error}")))?))
    }

    /// Follows a challenge for a token once, and redirects.
    async fn get(&self, path: &str, accept: &str, bytes_max: usize) -> Result<Response<Bytes>, Failure> {
        let mut response = self.ask(path, accept, bytes_max).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let challenge = response.headers().get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
            if let Some(token) = self.token(challenge.unwrap_or_default()).await? {
                *self.authorization.lock() = Some(format!("Bearer {token}"));
                response = self.ask(path, accept, bytes_max).await?;
            }
        }
        for _ in 0..REDIRECTS_MAX {
            let Some(to) = response.status().is_redirection().then(|| location(&response)).flatten() else { break };
            // Without the credentials: they are the registry's, not the storage's.
            let (host, path) = split_url(&to)?;
            let plain = outside(&host).map_err(Failure::Refused)?;
            response = plain.get(&path, &[], bytes_max).await.map_err(failure)?;
        }
        Ok(response)
    }

    async fn ask(&self, path: &str, accept: &str, bytes_max: usize) -> Result<Response<Bytes>, Failure> {
        let mut headers = vec![("accept", accept.to_owned())];
        headers.extend(self.authorization.lock().clone().map(|value| ("authorization", value)));
        self.plain.get(path, &headers, bytes_max).await.map_err(failure)
    }

    /// Gets a token from where `Bearer realm="…",service="…",scope="…"` says.
    async fn token(&self, challenge: &str) -> Result<Option<String>, Failure> {
        let Some(parameters) = challenge.strip_prefix("Bearer ") else { return Ok(None) };
        let pairs = parameters.split("\",").filter_map(|pair| pair.split_once('='));
        let all: BTreeMap<&str, &str> =
            pairs.map(|(key, value)| (key.trim().trim_start_matches(','), value.trim_matches('"'))).collect();
        let Some(realm) = all.get("realm") else { return Ok(None) };
        let (host, mut path) = split_url(realm)?;
        let mut mark = if path.contains('?') { '&' } else { '?' };
        for key in ["service", "scope"] {
            if let Some(value) = all.get(key) {
                path.push_str(&format!("{mark}{key}={}", value.replace(' ', "%20")));
                mark = '&';
            }
        }
        let headers: Vec<_> = self.basic.iter().map(|basic| ("authorization", format!("Basic {basic}"))).collect();
        let plain = outside(&host).map_err(Failure::Refused)?;
        let body = success(&path, plain.get(&path, &headers, MANIFEST_BYTES_MAX).await.map_err(failure)?)?;
        let answer: TokenAnswer = serde_json::from_slice(&body)
            .map_err(|error| Failure::Refused(format!("the registry's token cannot be read: {error}")))?;
        Ok(Some(answer.token))
    }
}

/// A registry on the internet; one on this machine may speak plain HTTP, as registries for tests do.
fn outside(host: &str) -> Result<Plain, String> {
    let name = host.split(':').next().unwrap_or_default();
    let scheme = if matches!(name, "localhost" | "127.0.0.1") { "http" } else { "https" };
    let config = Config {
        server: format!("{scheme}://{host}"),
        ca_pem: None,
        credentials: Credentials::Anonymous,
        user_agent: concat!("coracle/", env!("CARGO_PKG_VERSION")).to_owned(),
        insecure: false,
    };
    Connection::new(config).map(|connection| connection.plain()).map_err(|error| error.to_string())
}

fn wasm_layer(layers: Vec<Layer>) -> Result<Layer, Failure> {
    let at = layers.iter().position(|layer| layer.media_type.contains("wasm"));
    let at = at.or((layers.len() == 1 && !layers[0].media_type.contains("tar")).then_some(0));
    let mut layers = layers;
    match at {
        Some(at) if is_digest(&layers[at].digest) => Ok(layers.swap_remove(at)),
        Some(at) => Err(Failure::Refused(format!("the layer's digest {:?} is no sha256", layers[at].digest))),
        None => Err(Failure::Refused(
            "the image has no WebAssembly layer: it is a container image, which this node does not run".to_owned(),
        )),
    }
}

fn success(path: &str, response: Response<Bytes>) -> Result<Bytes, Failure> {
    match response.status() {
        StatusCode::OK => Ok(response.into_body()),
        StatusCode::NOT_FOUND => Err(Failure::Refused(format!("{path}: not found"))),
        status if status.is_server_error() => {
            Err(Failure::Unreachable(format!("{path}: the registry answered {status}")))
        }
        status => Err(Failure::Refused(format!("{path}: the registry answered {status}"))),
    }
}

fn failure(error: client::Error) -> Failure {
    match error {
        client::Error::Unreachable(why) => Failure::Unreachable(why),
        client::Error::Unknown(why) => Failure::Refused(why),
        client::Error::Rejected(why) => Failure::Refused(why.to_string()),
    }
}

fn location(response: &Response<Bytes>) -> Option<String> {
    Some(response.headers().get(header::LOCATION)?.to_str().ok()?.to_owned())
}

/// Host with port, and path with query. Only TLS is followed.
fn split_url(url: &str) -> Result<(String, String), Failure> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://localhost").map(|_| &url[7..]));
    let rest = rest.ok_or_else(|| Failure::Refused(format!("the registry leads to {url:?}, which is not https")))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    Ok((host.to_owned(), format!("/{path}")))
}

fn basic_for(host: &str, credentials: &[String]) -> Option<String> {
    let parsed = credentials.iter().filter_map(|text| {
        let config = serde_json::from_str::<DockerConfig>(text).ok().map(|config| config.auths);
        config.filter(|auths| !auths.is_empty()).or_else(|| serde_json::from_str(text).ok())
    });
    let bare = |name: &str| {
        let name = name.trim_start_matches("https://").trim_start_matches("http://");
        name.split('/').next().unwrap_or_default().to_owned()
    };
    let mut all = parsed.flatten();
    let (_, found) = all.find(|(name, _)| bare(name) == host)?;
    if !found.auth.is_empty() {
        return Some(found.auth);
    }
    Some(base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", found.username, found.password)))
}
