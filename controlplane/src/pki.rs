//! The cluster's certificate authority and signing keys, on disk under `DIR/pki`, and what is signed with them.
//!
//! Knows certificates, keys and files; knows no HTTP and no request. Who may have a certificate is decided elsewhere.

pub mod certificate;
mod files;
pub mod kubeconfig;
pub mod token;

pub use certificate::{Names, Pair, Signer};
pub use token::{Claims, TokenKey};

use arc_swap::ArcSwap;
use certificate::{Authority, Place};
use client::Clock;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Serving and component certificates; renewed when less than a third is left.
const LEAF_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
const LEAF_RENEW_BEFORE: Duration = Duration::from_secs(120 * 24 * 3600);

const CA: Place = Place { subject: "coracle-ca", certificate: "ca.crt", key: "ca.key" };
const TOKEN_KEY: &str = "sa.key";
/// Vouches for this server to API servers that extend it, and for nobody else.
const FRONT_PROXY: Place =
    Place { subject: "coracle-front-proxy-ca", certificate: "front-proxy-ca.crt", key: "front-proxy-ca.key" };

/// The certificate authority of one cluster, and the keys of this member.
#[derive(Debug)]
pub struct Pki {
    dir: PathBuf,
    clock: Clock,
    names: Names,
    authority: Authority,
    front_proxy: Authority,
    tokens: TokenKey,
    /// What the TLS server shows; replaced by `renew`.
    serving: Arc<Serving>,
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {what} {}", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} holds no usable {what}: {why}; move it away to have a new one made", path.display())]
    Malformed { what: &'static str, path: PathBuf, why: String },
    #[error("cannot make a certificate for {subject:?}: {why}")]
    Sign { subject: String, why: String },
    #[error("the certificate signing request is malformed: {0}")]
    Request(String),
    #[error("the TLS configuration is refused: {0}")]
    Tls(String),
}

/// What all members of a control plane have in common. Whoever has it is the cluster.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub struct ClusterKeys {
    ca_certificate: String,
    ca_key: String,
    token_key: String,
    /// Clusters that are older have none; each of their members makes its own.
    #[serde(default)]
    front_proxy: Option<FrontProxy>,
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct FrontProxy {
    certificate: String,
    key: String,
}

#[derive(Debug)]
struct Serving(ArcSwap<CertifiedKey>);

// === impl Pki ===

impl Pki {
    /// Reads the keys under `dir`, and makes those that are missing. The serving certificate covers `names` and the
    /// names that every cluster's API has.
    pub fn open_or_create(dir: &Path, names: Names, clock: Clock) -> Result<Pki, Error> {
        files::private_dir(dir)?;
        let names = names.with_usual();
        let authority = Authority::open_or_create(dir, &CA, clock.now())?;
        let front_proxy = Authority::open_or_create(dir, &FRONT_PROXY, clock.now())?;
        let tokens = TokenKey::open_or_create(&dir.join(TOKEN_KEY))?;
        let pair = serving_pair(dir, &authority, &names, &clock)?;
        let serving = Arc::new(Serving(ArcSwap::from_pointee(certified(&pair)?)));
        Ok(Pki { dir: dir.to_owned(), clock, names, authority, front_proxy, tokens, serving })
    }

    /// What a new member needs.
    pub fn cluster_keys(&self) -> Result<ClusterKeys, Error> {
        let read = |name: &str| {
            let path = self.dir.join(name);
            let missing = || Error::Malformed { what: "key", path: path.clone(), why: "it is missing".to_owned() };
            files::read(&path)?.ok_or_else(missing)
        };
        let front_proxy = FrontProxy { certificate: read(FRONT_PROXY.certificate)?, key: read(FRONT_PROXY.key)? };
        Ok(ClusterKeys {
            ca_certificate: read(CA.certificate)?,
            ca_key: read(CA.key)?,
            token_key: read(TOKEN_KEY)?,
            front_proxy: Some(front_proxy),
        })
    }

    /// The certificate authority's certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// `sha256:<hex>` of the authority's public key: what a join token pins.
    #[must_use]
    pub fn spki_pin(&self) -> String {
        self.authority.spki_pin()
    }

    /// Signs and checks service-account tokens.
    #[must_use]
    pub fn tokens(&self) -> &TokenKey {
        &self.tokens
    }

    /// A client certificate for a user (`cn`) of at most one group (`organization`).
    pub fn client_certificate(&self, cn: &str, organization: Option<&str>) -> Result<Pair, Error> {
        self.authority.client(cn, organization, self.clock.now(), LEAF_LIFETIME)
    }

    /// The certificate of the authority whose clients speak for others, in request headers.
    #[must_use]
    pub fn front_proxy_ca_pem(&self) -> &str {
        self.front_proxy.pem()
    }

    /// A client certificate of that authority.
    pub fn front_proxy(&self, cn: &str) -> Result<Pair, Error> {
        self.front_proxy.client(cn, None, self.clock.now(), LEAF_LIFETIME)
    }

    /// A serving certificate for other names than this member's own.
    pub fn server_certificate(&self, cn: &str, names: &Names) -> Result<Pair, Error> {
        self.authority.server(cn, names, self.clock.now(), LEAF_LIFETIME)
    }

    /// Signs a PEM request for one of the built-in signers; the answer is the PEM certificate.
    pub fn sign_csr(&self, request_pem: &str, signer: Signer, lifetime: Duration) -> Result<String, Error> {
        self.authority.sign_request(request_pem, signer, self.clock.now(), lifetime)
    }

    /// Writes `DIR/admin.kubeconfig` (0600) for the user `kubernetes-admin` of `system:masters`.
    pub fn write_admin_kubeconfig(&self, path: &Path, server_url: &str) -> Result<(), Error> {
        let admin = self.client_certificate("kubernetes-admin", Some("system:masters"))?;
        let text = kubeconfig::render(server_url, self.ca_pem(), "kubernetes-admin", &admin);
        files::write_private(path, text.as_bytes())
    }

    /// TLS for the API port and its protocols: client certificates of this authority (or of `client_cas`, PEM) are
    /// verified if they are shown.
    pub fn server_tls(&self, client_cas: Option<&[u8]>, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, Error> {
        let tls = |why: &dyn std::fmt::Display| Error::Tls(why.to_string());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).map_err(|why| tls(&why))?;
        for certificate in CertificateDer::pem_slice_iter(client_cas.unwrap_or_default()) {
            roots.add(certificate.map_err(|why| tls(&why))?).map_err(|why| tls(&why))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|why| tls(&why))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|why| tls(&why))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&self.serving) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// Replaces the serving certificate if its end is near; running servers show the new one. Call it now and then.
    pub fn renew(&self) -> Result<(), Error> {
        let pair = serving_pair(&self.dir, &self.authority, &self.names, &self.clock)?;
        self.serving.0.store(Arc::new(certified(&pair)?));
        Ok(())
    }
}

// === impl ClusterKeys ===

impl ClusterKeys {
    /// As a file beside a snapshot.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("keys are plain text")
    }

    pub fn from_json(bytes: &[u8]) -> Result<ClusterKeys, Error> {
        serde_json::from_slice(bytes).map_err(|error| Error::Request(error.to_string()))
    }

    /// Puts them where `open_or_create` finds them. The certificate comes last: a folder without it is no member's.
    pub fn store(&self, dir: &Path) -> Result<(), Error> {
        files::private_dir(dir)?;
        files::write_private(&dir.join(TOKEN_KEY), self.token_key.as_bytes())?;
        if let Some(FrontProxy { certificate, key }) = &self.front_proxy {
            files::write_private(&dir.join(FRONT_PROXY.key), key.as_bytes())?;
            files::write_private(&dir.join(FRONT_PROXY.certificate), certificate.as_bytes())?;
        }
        files::write_private(&dir.join(CA.key), self.ca_key.as_bytes())?;
        files::write_private(&dir.join(CA.certificate), self.ca_certificate.as_bytes())
    }
}

impl std::fmt::Debug for ClusterKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterKeys(…)")
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn serving_pair(dir: &Path, authority: &Authority, names: &Names, clock: &Clock) -> Result<Pair, Error> {
    let (certificate, key) = (dir.join("serving.crt"), dir.join("serving.key"));
    if let (Some(certificate_pem), Some(key_pem)) = (files::read(&certificate)?, files::read(&key)?) {
        let pair = Pair { certificate_pem, key_pem };
        let until = clock.now() + LEAF_RENEW_BEFORE;
        if certificate::serves(&pair.certificate_pem, names, until, authority) && certified(&pair).is_ok() {
            return Ok(pair);
        }
    }
    let pair = authority.server("coracle-apiserver", names, clock.now(), LEAF_LIFETIME)?;
    files::write_private(&key, pair.key_pem.as_bytes())?;
    files::write_private(&certificate, pair.certificate_pem.as_bytes())?;
    Ok(pair)
}

fn certified(pair: &Pair) -> Result<CertifiedKey, Error> {
    let tls = |why: &dyn std::fmt::Display| Error::Tls(why.to_string());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pair.certificate_pem.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).map_err(|why| tls(&why))?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain.map_err(|why| tls(&why))?, key, &provider).map_err(|why| tls(&why))
}

#[cfg(test)]
mod tests;
