//! `coracle token`: join tokens, kept by the cluster as bootstrap-token Secrets (Kubernetes' own form, so that
//! kubeadm's tools see them too), printed with the pin of the cluster's CA.

use super::{columns, print};
use crate::args::Token;
use crate::remote::{JSON, Remote};
use anyhow::{Context, Result};
use api::time::{self, Timestamp};
use base64::Engine;
use client::Clock;
use http::Method;
use rand::Rng;
use serde_json::{Value, json};
use std::time::Duration;

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
const KIND: &str = "bootstrap.kubernetes.io/token";
/// Who joins as a node.
const NODE: &str = "system:bootstrappers:coracle:node";
const ID_CHARS: usize = 6;
const SECRET_CHARS: usize = 16;

pub(crate) async fn run(command: &Token) -> Result<()> {
    match command {
        Token::Create { access, ttl, description } => {
            let remote = Remote::open(access).await?;
            print(&format!("{}\n", create(&remote, NODE, *ttl, description).await?))
        }
        Token::List { access } => list(&Remote::open(access).await?).await,
        Token::Revoke { access, id } => {
            let remote = Remote::open(access).await?;
            let id = id.split('.').next().unwrap_or_default();
            remote.json(Method::DELETE, &format!("{SECRETS}/bootstrap-token-{id}"), JSON, None).await?;
            print(&format!("token {id} is revoked\n"))
        }
    }
}

/// A new token for those in `group`.
pub(super) async fn create(remote: &Remote, group: &str, ttl: Duration, description: &str) -> Result<String> {
    let expires = expiry(ttl)?;
    let ca = remote.ca_pem.as_deref().context("the kubeconfig names no certificate authority to pin")?;
    let pin =
        controlplane::pki::certificate::spki_pin(ca).context("the kubeconfig's certificate authority is malformed")?;
    let (id, secret) = (random(ID_CHARS), random(SECRET_CHARS));
    let mut data = json!({
        "token-id": id,
        "token-secret": secret,
        "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
        "auth-extra-groups": group,
    });
    if let Some(at) = expires {
        data["expiration"] = time::seconds(at).into();
    }
    if !description.is_empty() {
        data["description"] = description.into();
    }
    let name = format!("bootstrap-token-{id}");
    let object =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": KIND, "stringData": data});
    remote.json(Method::POST, SECRETS, JSON, Some(&object)).await?;
    Ok(format!("{id}.{secret}::{pin}"))
}

async fn list(remote: &Remote) -> Result<()> {
    let found = remote.json(Method::GET, &format!("{SECRETS}?fieldSelector=type%3D{KIND}"), JSON, None).await?;
    let mut lines = vec![["ID", "EXPIRES", "DESCRIPTION"].map(str::to_owned).to_vec()];
    for secret in found["items"].as_array().into_iter().flatten() {
        let field = |name: &str| text(&secret["data"][name]);
        let expires = field("expiration").unwrap_or_else(|| "never".to_owned());
        lines.push(vec![field("token-id").unwrap_or_default(), expires, field("description").unwrap_or_default()]);
    }
    print(&columns(&lines))
}

fn text(encoded: &Value) -> Option<String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded.as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

fn random(chars: usize) -> String {
    const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut rng = rand::rng();
    (0..chars).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}

/// No time at all: never.
fn expiry(ttl: Duration) -> Result<Option<Timestamp>> {
    if ttl.is_zero() {
        return Ok(None);
    }
    let end = Clock::system().now().checked_add(ttl).with_context(|| format!("--ttl {ttl:?} has no end"))?;
    Ok(Some(end))
}
