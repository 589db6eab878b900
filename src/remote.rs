//! The API as a command of this binary reaches it: server and credentials from a kubeconfig, requests as they are on
//! the wire, refusals in the server's own words.

use crate::args::Access;
use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use std::path::PathBuf;

/// JSON, as it is sent and asked for.
pub(crate) const JSON: &str = "application/json";

pub(crate) struct Remote {
    client: kube::Client,
    /// Its URL.
    pub(crate) server: String,
    /// The namespace of the kubeconfig's context.
    pub(crate) namespace: String,
    /// The authority that the kubeconfig trusts, PEM.
    pub(crate) ca_pem: Option<Vec<u8>>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

// === impl Remote ===

impl Remote {
    pub(crate) async fn open(access: &Access) -> Result<Remote> {
        let path = kubeconfig(access)?;
        let named = || format!("kubeconfig {}", path.display());
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read the {}", named()))?;
        let file = Kubeconfig::from_yaml(&text).with_context(|| format!("cannot use the {}", named()))?;
        let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
        let config = config.with_context(|| format!("cannot use the {}", named()))?;
        let ca_pem = config.root_cert.as_ref().and_then(|certificates| certificates.first()).map(|der| pem(der));
        let (namespace, server) = (config.default_namespace.clone(), config.cluster_url.to_string());
        let client = kube::Client::try_from(config);
        let client = client.with_context(|| format!("the credentials of the {} are not usable", named()))?;
        Ok(Remote { client, server, namespace, ca_pem })
    }

    /// One request, whatever its status.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Body::from(body.into().to_vec());
        let response = self.client.send(request.body(body)?).await.map_err(|error| self.unreachable(&error))?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| anyhow!("the answer broke off: {error}"))?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    /// One request of the Kubernetes API; anything but success is an error in the server's words.
    pub(crate) async fn json(&self, method: Method, path: &str, accept: &str, body: Option<&Value>) -> Result<Value> {
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let content = if method == Method::PATCH { "application/merge-patch+json" } else { JSON };
        let headers = [(header::ACCEPT.as_str(), accept), (header::CONTENT_TYPE.as_str(), content)];
        self.send(method, path, &headers, bytes).await?.success()?.json()
    }

    /// A response that goes on, in pieces.
    pub(crate) async fn stream(&self, path: &str) -> Result<Body> {
        let response = self.client.send(Request::get(path).body(Body::empty())?).await;
        let response = response.map_err(|error| self.unreachable(&error))?;
        let (parts, body) = response.into_parts();
        if parts.status.is_success() {
            return Ok(body);
        }
        let body = body.collect().await.map_err(|error| anyhow!("the answer broke off: {error}"))?.to_bytes();
        let refused = Answer { status: parts.status, headers: parts.headers, body }.success();
        refused.and_then(|_| bail!("the server refused without a reason"))
    }

    /// The innermost cause says what happened; those around it repeat it.
    fn unreachable(&self, error: &kube::Error) -> anyhow::Error {
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let server = self.server.trim_end_matches('/');
        anyhow!("the API server {server} does not answer: {cause}; is it running, and is this its kubeconfig?")
    }
}

/// Where the kubeconfig is: as said, `~/.kube/config`, or the one that `coracle up` wrote.
fn kubeconfig(access: &Access) -> Result<PathBuf> {
    if let Some(path) = &access.kubeconfig {
        return Ok(path.clone());
    }
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"));
    let own = crate::folder::default().ok().map(|folder| folder.join("admin.kubeconfig"));
    let found = [own, home].into_iter().flatten().find(|path| path.is_file());
    found.context(
        "no kubeconfig: start a cluster with `coracle up`, or name the kubeconfig of one with --kubeconfig or KUBECONFIG",
    )
}

fn pem(der: &[u8]) -> Vec<u8> {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem.into_bytes()
}

// === impl Answer ===

impl Answer {
    pub(crate) fn success(self) -> Result<Answer> {
        if self.status.is_success() {
            return Ok(self);
        }
        let tree: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let kubernetes = tree["message"].as_str();
        let registry = tree["errors"][0]["message"].as_str();
        let text = kubernetes
            .or(registry)
            .map_or_else(|| String::from_utf8_lossy(&self.body).trim().to_owned(), str::to_owned);
        let reason = tree["reason"].as_str().or(self.status.canonical_reason()).unwrap_or("an error");
        Err(anyhow!("the server answered {reason}: {text}"))
    }

    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).context("the server's answer is not JSON")
    }

    pub(crate) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
