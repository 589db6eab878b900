//! How a server becomes one of the members that keep the cluster's state.

use crate::keys;
use anyhow::{Context, Result, bail};
use arc_swap::ArcSwap;
use client::http::Config;
use controlplane::apiserver::members::{Joined, Joining, PATH};
use controlplane::members::Dial;
use controlplane::peers;
use controlplane::pki::Pki;
use controlplane::store::Join;
use http::Method;
use runtime::node::join::{self, Identity, Token};
use std::path::Path;
use std::sync::Arc;

const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Asks to be added as a learner, and keeps the cluster's keys under `pki`.
pub(crate) async fn join(server: &str, token: &str, own: &Joining, pki: &Path) -> Result<Join> {
    let server = server.trim_end_matches('/');
    let token = Token::parse(token).context("--token")?;
    let refused = || format!("{server} did not add this server as a member");
    let ca_pem = join::pinned_ca(server, &token).await.with_context(refused)?;
    let api = join::bearing(server, &ca_pem, &token).with_context(refused)?.plain();
    let headers = [("content-type", "application/json".to_owned())];
    let body = serde_json::to_vec(own)?.into();
    let answer = api.send(Method::POST, PATH, &headers, body, ANSWER_BYTES_MAX).await;
    let answer = answer.with_context(refused)?;
    if !answer.status().is_success() {
        let status: serde_json::Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        let why = status["message"].as_str().unwrap_or_default();
        bail!("{}: {} {why}", refused(), answer.status());
    }
    let joined: Joined = serde_json::from_slice(answer.body()).context("the answer is malformed")?;
    joined.keys.store(pki)?;
    Ok(Join { cluster: joined.cluster, member: joined.member })
}

/// What this member shows to the others.
pub(crate) struct Credentials {
    identity: ArcSwap<Identity>,
    /// To dial them.
    pub(crate) tls: peers::Tls,
    member: u64,
}

// === impl Credentials ===

impl Credentials {
    pub(crate) fn new(pki: &Pki, member: u64) -> Result<Arc<Credentials>> {
        let identity = sign(pki, member)?;
        let tls = Arc::new(ArcSwap::from_pointee(keys::client_config(&identity, peers::ALPN)?));
        Ok(Arc::new(Credentials { identity: ArcSwap::from_pointee(identity), tls, member }))
    }

    /// Connections from now on are made with a new certificate.
    pub(crate) fn renew(&self, pki: &Pki) -> Result<()> {
        let identity = sign(pki, self.member)?;
        self.tls.store(Arc::new(keys::client_config(&identity, peers::ALPN)?));
        self.identity.store(Arc::new(identity));
        Ok(())
    }

    /// How to call another member's API.
    pub(crate) fn dial(self: &Arc<Self>) -> Dial {
        let own = Arc::clone(self);
        Arc::new(move |url: &str| -> Config { own.identity.load().http(url) })
    }
}

fn sign(pki: &Pki, member: u64) -> Result<Identity> {
    let pair = pki.client_certificate(&peers::user_name(member), Some(peers::MEMBERS))?;
    Ok(Identity { ca_pem: pki.ca_pem().to_owned(), chain_pem: pair.certificate_pem, key_pem: pair.key_pem })
}
