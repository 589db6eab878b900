//! The node's one stream to the server, over which the server asks for logs and pods: no node is ever dialled.

use std::sync::Arc;

/// Where to dial, and as whom.
#[derive(Clone)]
pub struct Config {
    /// `HOST:PORT` of the API.
    pub server: String,
    /// Trusts the cluster's CA and carries the node's client certificate; must offer `http/1.1` alone.
    pub tls: Arc<rustls::ClientConfig>,
}
