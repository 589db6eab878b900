//! The links that nodes keep open to this server: over one of them the server asks a node for logs and the like.
//!
//! A node dials the API port and asks for an upgrade; then the roles turn: this side is the HTTP/2 client. So the
//! server never dials a node, and nodes may stand behind any firewall.

use super::body::{Body, BoxError};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

/// The protocol name in the `Upgrade` header.
pub const PROTOCOL: &str = "coracle-link";

/// A dead link is found after at most the sum of both.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// The nodes that are connected to this member. Cheap to clone.
#[derive(Clone, Default)]
pub struct Links(Arc<Mutex<HashMap<String, Link>>>);

struct Link {
    sender: SendRequest<Body>,
    /// Tells one link from the one that replaced it.
    number: u64,
    replaced: CancellationToken,
}

/// Why a node did not answer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("node {0:?} is not connected to this server")]
    NotConnected(String),
    #[error("node {node:?} did not answer")]
    Broken {
        node: String,
        #[source]
        source: BoxError,
    },
}

// === impl Links ===

impl Links {
    #[must_use]
    pub fn new() -> Links {
        Links::default()
    }

    /// The names of the nodes that are connected, in no order.
    #[must_use]
    pub fn connected(&self) -> Vec<String> {
        self.0.lock().keys().cloned().collect()
    }

    #[must_use]
    pub fn is_connected(&self, node: &str) -> bool {
        self.0.lock().contains_key(node)
    }

    /// Sends a request to a node. Its URI needs only path and query.
    pub async fn request(&self, node: &str, request: Request<Body>) -> Result<Response<Incoming>, LinkError> {
        let sender = self.0.lock().get(node).map(|link| link.sender.clone());
        let mut sender = sender.ok_or_else(|| LinkError::NotConnected(node.to_owned()))?;
        let broken = |source: hyper::Error| LinkError::Broken { node: node.to_owned(), source: source.into() };
        sender.ready().await.map_err(broken)?;
        sender.send_request(request).await.map_err(broken)
    }

    /// Serves a link from its upgrade to its end. A newer link of the same node ends an older one; none outlives the
    /// certificate that it was opened with.
    pub(super) async fn run(&self, node: String, upgrade: OnUpgrade, valid_for: Duration, shutdown: CancellationToken) {
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => return debug!(node, %error, "a link was not upgraded"),
        };
        let handshake = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .handshake(upgraded)
            .await;
        let (sender, connection) = match handshake {
            Ok(both) => both,
            Err(error) => return debug!(node, %error, "a link's handshake failed"),
        };
        let replaced = CancellationToken::new();
        let number = self.add(&node, sender, replaced.clone());
        info!(node, "a node connected its link");
        tokio::select! {
            ended = connection => debug!(node, error = ended.err().map(tracing::field::display), "a link ended"),
            () = replaced.cancelled() => debug!(node, "a link was replaced by a newer one"),
            () = tokio::time::sleep(valid_for) => debug!(node, "a link's certificate has expired"),
            () = shutdown.cancelled() => {}
        }
        self.remove(&node, number);
    }

    fn add(&self, node: &str, sender: SendRequest<Body>, replaced: CancellationToken) -> u64 {
        let mut links = self.0.lock();
        let number = links.get(node).map_or(0, |older| older.number + 1);
        if let Some(older) = links.insert(node.to_owned(), Link { sender, number, replaced }) {
            older.replaced.cancel();
        }
        number
    }

    fn remove(&self, node: &str, number: u64) {
        let mut links = self.0.lock();
        if links.get(node).is_some_and(|link| link.number == number) {
            links.remove(node);
        }
    }
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Links").field(&self.connected()).finish()
    }
}
