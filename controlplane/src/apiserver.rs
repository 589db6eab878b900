//! The HTTP face of the registry: the Kubernetes API as clients speak it, and what else stands on the API port.
//!
//! Knows HTTP, TLS, media types and the shape of paths. Adds no semantics: what an object may be, and what happens
//! when it is written, is the registry's.

pub mod body;
pub mod discovery;
pub mod openapi;
pub mod link;
pub mod oci;

pub use link::Links;

use crate::pki::Pki;
use client::Clock;
use std::sync::Arc;
use tokio::net::TcpListener;

/// What the server needs from outside.
#[derive(Debug)]
pub struct Config {
    /// Bound already: its address may have been chosen by the system.
    pub listener: TcpListener,
    pub pki: Arc<Pki>,
    pub authentication: Authentication,
    pub clock: Clock,
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
