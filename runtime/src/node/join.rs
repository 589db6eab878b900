//! How a machine becomes a node: from a join token to a certificate of its own, and from that one to the next.
//!
//! The token carries the pin of the cluster's CA, so that nothing is trusted that the operator did not hand over.

mod token;

pub use token::Token;

use api::resource::CERTIFICATE_SIGNING_REQUESTS as REQUESTS;
use api::time::Timestamp;
use base64::Engine as _;
use client::http::{Config as HttpConfig, Connection, Credentials};
use client::{Clock, Event, Handle, Target, WatchOptions, WriteOptions};
use futures::StreamExt;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";
/// Somebody may have to approve by hand on a stock cluster; after so long it is asked for anew.
const SIGNED_WITHIN: Duration = Duration::from_secs(15 * 60);
const CA_BYTES_MAX: usize = 1 << 20;
/// A certificate is renewed when so much of its life is over, in percent.
const RENEW_FROM: u64 = 70;
const RENEW_SPREAD: u64 = 20;
/// Between two attempts that fail.
pub const RENEW_RETRY: Duration = Duration::from_secs(60);
const RENEW_RETRY_MIN: Duration = Duration::from_secs(1);
/// The clock is looked at so often: it may be set, or the machine may sleep, while a timer only counts.
const CLOCK_PERIOD: Duration = Duration::from_secs(600);

/// What a node needs in order to join.
#[derive(Clone)]
pub struct Config {
    /// `https://HOST:PORT` of the API.
    pub server: String,
    pub node: String,
    /// Where key and certificates are kept, as files for their owner alone.
    pub dir: PathBuf,
    /// What the serving certificate is for.
    pub serving_name: String,
    pub clock: Clock,
}

/// A key with its certificate, and the CA that both sides trust.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    pub ca_pem: String,
    pub chain_pem: String,
    pub key_pem: String,
}

/// Why a machine did not become a node.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the join token is not of the form ID.SECRET::sha256:HEX; make one with `coracle token create`")]
    Token,
    #[error(
        "{server} shows a CA that the token does not name: got sha256:{got}; check the address, and that nobody is in between"
    )]
    Pin { server: String, got: String },
    #[error("the node has no certificate yet, or it has expired; give a join token (--token)")]
    NoIdentity,
    #[error("the server did not sign the node's certificate: {0}")]
    Refused(String),
    #[error(transparent)]
    Api(#[from] client::Error),
    #[error("the node's key or certificate cannot be made or read: {0}")]
    Crypto(String),
    #[error("the folder {path:?} cannot be used: {source}")]
    Disk { path: PathBuf, source: std::io::Error },
}

/// The two certificates of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Shown to the API server and to nodes that are called.
    Client,
    /// Shown to nodes that call.
    Serving,
}

/// The node's identity: the one on disk while it is valid, else a new one for the token.
pub async fn join(config: &Config, token: Option<&Token>) -> Result<Identity, Error> {
    if let Some(identity) = load(config, Purpose::Client)? {
        return Ok(identity);
    }
    let token = token.ok_or(Error::NoIdentity)?;
    let ca_pem = pinned_ca(&config.server, token).await?;
    let bootstrap = bearing(&config.server, &ca_pem, token)?;
    request(config, &bootstrap.handle(), ca_pem, Purpose::Client).await
}

/// The certificate that the node shows to other nodes; the one on disk while it is valid.
pub async fn serving(config: &Config, cluster: &Handle, ca_pem: &str) -> Result<Identity, Error> {
    match load(config, Purpose::Serving)? {
        Some(identity) => Ok(identity),
        None => request(config, cluster, ca_pem.to_owned(), Purpose::Serving).await,
    }
}

/// The next certificate, in the name of the one before, once that is due. A server that is away or refuses is asked
/// again and again.
pub async fn renewed(config: &Config, cluster: &Handle, identity: &Identity, purpose: Purpose) -> Identity {
    identity.due(&config.node, &config.clock).await;
    loop {
        match request(config, cluster, identity.ca_pem.clone(), purpose).await {
            Ok(renewed) => return renewed,
            Err(error) => tracing::warn!(?purpose, %error, "the node's certificate is not renewed"),
        }
        tokio::time::sleep(retry_after(identity, config.clock.now())).await;
    }
}

// === impl Identity ===

impl Identity {
    /// How to reach the API as this node.
    #[must_use]
    pub fn http(&self, server: &str) -> HttpConfig {
        HttpConfig {
            server: server.to_owned(),
            ca_pem: Some(self.ca_pem.clone()),
            credentials: Credentials::Certificate { chain_pem: self.chain_pem.clone(), key_pem: self.key_pem.clone() },
            user_agent: user_agent(),
            insecure: false,
        }
    }

    /// Waits until the certificate is to be replaced: at a point between 70 and 90 % of its life, which follows from
    /// the node's name, so that nodes that joined together spread out.
    pub async fn due(&self, node: &str, clock: &Clock) {
        // One that cannot be read has no use: the next one is due.
        let Ok(at) = renew_at(self, node) else { return };
        loop {
            let left = at.duration_since(clock.now());
            if !left.is_positive() {
                return;
            }
            tokio::time::sleep(left.unsigned_abs().min(CLOCK_PERIOD)).await;
        }
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// The API in the name of a token.
pub fn bearing(server: &str, ca_pem: &str, token: &Token) -> Result<Connection, Error> {
    let config = http(server, Some(ca_pem.to_owned()), Credentials::Token(token.bearer()));
    Connection::new(config).map_err(|error| Error::Crypto(error.to_string()))
}

fn http(server: &str, ca_pem: Option<String>, credentials: Credentials) -> HttpConfig {
    let insecure = ca_pem.is_none();
    HttpConfig { server: server.to_owned(), ca_pem, credentials, user_agent: user_agent(), insecure }
}

fn user_agent() -> String {
    concat!("coracle-node/", env!("CARGO_PKG_VERSION")).to_owned()
}

/// The cluster's CA, fetched from anybody and believed because of the pin.
pub async fn pinned_ca(server: &str, token: &Token) -> Result<String, Error> {
    let anybody = Connection::new(http(server, None, Credentials::Anonymous));
    let anybody = anybody.map_err(|error| Error::Crypto(error.to_string()))?;
    let answer = anybody.plain().get("/cacerts", &[], CA_BYTES_MAX).await?;
    if !answer.status().is_success() {
        return Err(Error::Refused(format!("GET /cacerts was answered with {}", answer.status())));
    }
    let pem = String::from_utf8_lossy(answer.body()).into_owned();
    let mut got = String::new();
    for certificate in certificates(&pem)? {
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&certificate).map_err(|error| Error::Crypto(error.to_string()))?;
        got = hex::encode(Sha256::digest(parsed.tbs_certificate.subject_pki.raw));
        if token.pins(&got) {
            // Only this one: others in the answer were not handed over.
            return Ok(pem_of(&certificate));
        }
    }
    Err(Error::Pin { server: server.to_owned(), got })
}

/// A new key, a request for it, and the certificate once it is signed; both on disk before they are returned.
async fn request(config: &Config, cluster: &Handle, ca_pem: String, purpose: Purpose) -> Result<Identity, Error> {
    let crypto = |error: rcgen::Error| Error::Crypto(error.to_string());
    let key = KeyPair::generate().map_err(crypto)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{}", config.node));
    if purpose == Purpose::Serving {
        let name = rcgen::string::Ia5String::try_from(config.serving_name.clone()).map_err(crypto)?;
        params.subject_alt_names = vec![SanType::DnsName(name)];
    }
    let pem = params.serialize_request(&key).and_then(|request| request.pem()).map_err(crypto)?;
    let chain_pem = signed(cluster, &pem, purpose).await?;
    let identity = Identity { ca_pem, chain_pem, key_pem: key.serialize_pem() };
    let (owned, kept) = (config.clone(), identity.clone());
    // A disk that is slow to sync must not hold up what the node serves meanwhile.
    let saved = tokio::task::spawn_blocking(move || save(&owned, purpose, &kept)).await;
    saved.map_err(|error| Error::Disk { path: config.dir.clone(), source: error.into() })??;
    Ok(identity)
}

async fn signed(cluster: &Handle, request_pem: &str, purpose: Purpose) -> Result<String, Error> {
    let (signer, usage) = match purpose {
        Purpose::Client => (CLIENT_SIGNER, "client auth"),
        Purpose::Serving => (SERVING_SIGNER, "server auth"),
    };
    let object = json!({
        "kind": "CertificateSigningRequest", "apiVersion": "certificates.k8s.io/v1",
        "metadata": { "generateName": "csr-" },
        "spec": { "request": base64::engine::general_purpose::STANDARD.encode(request_pem),
            "signerName": signer, "usages": ["digital signature", usage] },
    });
    let created = cluster.create(Target::cluster(&REQUESTS, ""), object, WriteOptions::default()).await?;
    let wait = async {
        loop {
            if let Some(chain) = answered(cluster, created.name()).await? {
                return Ok(chain);
            }
        }
    };
    let timed = tokio::time::timeout(SIGNED_WITHIN, wait).await;
    timed.unwrap_or_else(|_| Err(Error::Refused(format!("nobody approved the request {:?}", created.name()))))
}

/// One watch of a request: its certificate, or `None` if the watch ended before.
async fn answered(cluster: &Handle, name: &str) -> Result<Option<String>, Error> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Request {
        status: Status,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Status {
        certificate: Option<String>,
        conditions: Vec<api::view::Condition>,
    }
    let options = WatchOptions { field_selector: format!("metadata.name={name}"), ..WatchOptions::default() };
    let mut events = cluster.watch(&REQUESTS, None, options).await?;
    while let Some(event) = events.next().await {
        let (Event::Added(object) | Event::Modified(object)) = event? else { continue };
        let request: Request = object.read().map_err(|error| Error::Crypto(error.to_string()))?;
        if let Some(no) = request.status.conditions.iter().find(|one| matches!(one.kind.as_str(), "Denied" | "Failed"))
        {
            return Err(Error::Refused(format!("{}: {}", no.reason, no.message)));
        }
        if let Some(certificate) = request.status.certificate {
            let pem = base64::engine::general_purpose::STANDARD.decode(certificate);
            let pem = pem.map_err(|error| Error::Crypto(error.to_string()))?;
            return Ok(Some(String::from_utf8_lossy(&pem).into_owned()));
        }
    }
    Ok(None)
}

fn renew_at(identity: &Identity, node: &str) -> Result<Timestamp, Error> {
    let (from, to) = validity(&identity.chain_pem)?;
    let spread = u64::from(Sha256::digest(node.as_bytes())[0]) * RENEW_SPREAD / 255;
    let share = i64::try_from(RENEW_FROM + spread).unwrap_or(80);
    let at = from + (to - from) * share / 100;
    Timestamp::from_second(at).map_err(|error| Error::Crypto(error.to_string()))
}

/// Some attempts have to fit into what is left of the certificate's life: without one the node can ask no more.
fn retry_after(identity: &Identity, now: Timestamp) -> Duration {
    let left = validity(&identity.chain_pem).map_or(0, |(_, until)| until - now.as_second());
    RENEW_RETRY.min(Duration::from_secs(u64::try_from(left).unwrap_or(0)) / 4).max(RENEW_RETRY_MIN)
}

/// Seconds since 1970.
fn validity(chain_pem: &str) -> Result<(i64, i64), Error> {
    let chain = certificates(chain_pem)?;
    let leaf = chain.first().ok_or_else(|| Error::Crypto("the certificate file is empty".to_owned()))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|error| Error::Crypto(error.to_string()))?;
    let validity = parsed.validity();
    Ok((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    all.map_err(|error| Error::Crypto(error.to_string()))
}

fn pem_of(certificate: &CertificateDer<'_>) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

// One file for key and chain, so that a power cut never leaves a key beside another's certificate.
fn path(config: &Config, purpose: Purpose) -> PathBuf {
    let name = match purpose {
        Purpose::Client => "node-client.pem",
        Purpose::Serving => "node-serving.pem",
    };
    config.dir.join(name)
}

fn load(config: &Config, purpose: Purpose) -> Result<Option<Identity>, Error> {
    let (path, ca_path) = (path(config, purpose), config.dir.join("node-ca.pem"));
    let read = |path: &Path| match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Disk { path: path.to_owned(), source }),
    };
    let (Some(both), Some(ca_pem)) = (read(&path)?, read(&ca_path)?) else { return Ok(None) };
    let Some(at) = both.find("-----BEGIN CERTIFICATE-----") else { return Ok(None) };
    let identity = Identity { ca_pem, key_pem: both[..at].to_owned(), chain_pem: both[at..].to_owned() };
    let (_, until) = validity(&identity.chain_pem)?;
    Ok(Some(identity).filter(|_| config.clock.now().as_second() < until))
}

fn save(config: &Config, purpose: Purpose, identity: &Identity) -> Result<(), Error> {
    let disk = |source: std::io::Error| Error::Disk { path: config.dir.clone(), source };
    std::fs::create_dir_all(&config.dir).map_err(disk)?;
    let ca_path = config.dir.join("node-ca.pem");
    // Once: it is the same for both certificates, which are replaced at the same time.
    if std::fs::read_to_string(&ca_path).ok().as_deref() != Some(&identity.ca_pem) {
        write_private(&ca_path, &identity.ca_pem).map_err(disk)?;
    }
    let both = format!("{}{}", identity.key_pem, identity.chain_pem);
    write_private(&path(config, purpose), &both).map_err(disk)
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    std::fs::File::open(path.parent().unwrap_or(path))?.sync_all()
}

#[cfg(test)]
mod tests;
