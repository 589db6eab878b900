//! The keys that a node shows to the server and to other nodes: in use, and replaced while they are.

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use client::http::Connection;
use client::{Clock, Handle};
use controlplane::pki::{Names, Pki};
use proxy::tunnel::{self, ClientTls, ServerTls};
use runtime::node::join::{self, Identity, Purpose};
use runtime::node::link;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Everything of one node that holds its keys. Clones share it.
#[derive(Clone)]
pub(crate) struct Keys {
    /// `https://HOST:PORT` of the API.
    pub(crate) server: String,
    /// The cluster's.
    pub(crate) ca: CertificateDer<'static>,
    /// To the API and the embedded registry.
    pub(crate) api: Connection,
    pub(crate) link: link::Tls,
    pub(crate) tunnel: ClientTls,
    pub(crate) serving: ServerTls,
}

/// Where the next certificate comes from.
pub(crate) enum Source {
    /// The cluster signs it.
    Cluster(join::Config, Handle),
    /// The authority is in this process.
    Own(Arc<Pki>, OwnNode),
}

/// The node beside a control plane in one process.
#[derive(Clone)]
pub(crate) struct OwnNode {
    pub(crate) name: String,
    pub(crate) names: Names,
    pub(crate) clock: Clock,
}

/// The two certificates of a node.
pub(crate) struct Pairs {
    pub(crate) client: Identity,
    pub(crate) serving: Identity,
}

// === impl Keys ===

impl Keys {
    pub(crate) fn new(server: &str, pairs: &Pairs) -> Result<Keys> {
        let keys = Keys {
            server: server.to_owned(),
            ca: certificates(&pairs.client.ca_pem)?.into_iter().next().context("the cluster's CA is empty")?,
            api: Connection::new(pairs.client.http(server))?,
            link: Arc::new(ArcSwap::from_pointee(client_config(&pairs.client, b"http/1.1")?)),
            tunnel: ClientTls::default(),
            serving: ServerTls::default(),
        };
        keys.put(Purpose::Client, &pairs.client)?;
        keys.put(Purpose::Serving, &pairs.serving)?;
        Ok(keys)
    }

    /// From now on connections are opened, or taken, with this one.
    fn put(&self, purpose: Purpose, identity: &Identity) -> Result<()> {
        match purpose {
            Purpose::Client => {
                self.api.renew(identity.http(&self.server))?;
                self.link.store(Arc::new(client_config(identity, b"http/1.1")?));
                self.tunnel.store(Some(Arc::new(client_config(identity, tunnel::ALPN)?)));
            }
            Purpose::Serving => self.serving.store(Some(Arc::new(server_config(identity)?))),
        }
        Ok(())
    }

    /// Replaces each certificate when it is due, until `stop`.
    pub(crate) async fn keep(self, source: Source, pairs: Pairs, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep_one(&source, Purpose::Client, pairs.client) => {}
            () = self.keep_one(&source, Purpose::Serving, pairs.serving) => {}
        }
    }

    async fn keep_one(&self, source: &Source, purpose: Purpose, mut identity: Identity) {
        loop {
            identity = source.next(purpose, &identity).await;
            match self.put(purpose, &identity) {
                Ok(()) => tracing::info!(?purpose, "the node's certificate is renewed"),
                Err(error) => tracing::error!(?purpose, error = format!("{error:#}"), "a new certificate has no use"),
            }
        }
    }
}

// === impl Source ===

impl Source {
    async fn next(&self, purpose: Purpose, before: &Identity) -> Identity {
        match self {
            Source::Cluster(config, cluster) => join::renewed(config, cluster, before, purpose).await,
            Source::Own(pki, node) => loop {
                before.due(&node.name, &node.clock).await;
                match node.sign(pki, purpose) {
                    Ok(identity) => return identity,
                    Err(error) => {
                        tracing::error!(?purpose, error = format!("{error:#}"), "no certificate for the own node");
                        tokio::time::sleep(join::RENEW_RETRY).await;
                    }
                }
            },
        }
    }
}

// === impl OwnNode ===

impl OwnNode {
    pub(crate) fn pairs(&self, pki: &Pki) -> Result<Pairs> {
        Ok(Pairs { client: self.sign(pki, Purpose::Client)?, serving: self.sign(pki, Purpose::Serving)? })
    }

    fn sign(&self, pki: &Pki, purpose: Purpose) -> Result<Identity> {
        let subject = format!("system:node:{}", self.name);
        let pair = match purpose {
            Purpose::Client => pki.client_certificate(&subject, Some("system:nodes"))?,
            Purpose::Serving => pki.server_certificate(&subject, &self.names)?,
        };
        let (chain_pem, key_pem) = (pair.certificate_pem, pair.key_pem);
        Ok(Identity { ca_pem: pki.ca_pem().to_owned(), chain_pem, key_pem })
    }
}

pub(crate) fn client_config(identity: &Identity, protocol: &[u8]) -> Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (chain, key) = parse(identity)?;
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots(identity)?).with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

fn server_config(identity: &Identity) -> Result<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(roots(identity)?);
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()?;
    let (chain, key) = parse(identity)?;
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
    config.alpn_protocols = vec![tunnel::ALPN.to_vec()];
    Ok(config)
}

fn roots(identity: &Identity) -> Result<rustls::RootCertStore> {
    let mut roots = rustls::RootCertStore::empty();
    for one in certificates(&identity.ca_pem).context("the cluster's CA is malformed")? {
        roots.add(one)?;
    }
    Ok(roots)
}

fn parse(identity: &Identity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = certificates(&identity.chain_pem).context("the node's certificate is malformed")?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).context("the node's key is malformed")?;
    Ok((chain, key))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    Ok(CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>()?)
}
