//! A node, wired: engine, images, network, agent, tunnel, node ports.

use crate::args::Host;
use crate::control::own_address;
use crate::{folder, services};
use anyhow::{Context, Result, bail};
use client::Clock;
use futures::FutureExt;
use proxy::egress::Egress;
use proxy::tunnel::{self, ClientTls, Peers, ServerTls};
use proxy::{Caller, Network, node_port};
use runtime::engine::{Engine, EngineConfig};
use runtime::image::Images;
use runtime::node::{self, Capacity, Handler, Networks, Pods, Wasm};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Guests that run at one time: commands, and requests in HTTP workloads.
const INSTANCES_MAX: u32 = 2000;
/// How long a deleted pod goes on answering, so that every proxy has heard of its end.
const DRAIN_MIN: Duration = Duration::from_secs(1);
/// How long connections may go on after a stop.
const DRAIN: Duration = Duration::from_secs(2);

/// Who the node is, and how it reaches the server.
pub(crate) struct Identity {
    pub(crate) name: String,
    /// `https://HOST:PORT`.
    pub(crate) server: String,
    pub(crate) ca_pem: String,
    /// PEM chain and key of the node's client certificate.
    pub(crate) client: (String, String),
    /// PEM chain and key of the certificate that it shows to other nodes.
    pub(crate) serving: (String, String),
}

/// A running node.
pub(crate) struct Node {
    tasks: JoinSet<Result<()>>,
}

struct Attached(Network);

// === impl Node ===

impl Node {
    pub(crate) async fn start(
        args: &Host,
        identity: Identity,
        cluster: client::Handle,
        data: &Path,
        clock: Clock,
        stop: &CancellationToken,
    ) -> Result<Node> {
        let folder = data.join("node");
        folder::make(&folder)?;
        let listener = TcpListener::bind(args.node_listen).await.with_context(|| {
            format!("cannot listen on {}: choose another address with --node-listen", args.node_listen)
        })?;
        let local = listener.local_addr()?;
        let ca = CertificateDer::from_pem_slice(identity.ca_pem.as_bytes()).context("the cluster's CA is malformed")?;
        let tables = services::follow(&cluster, &folder, stop.clone());
        let client_tls = ClientTls::default();
        client_tls.store(Some(Arc::new(client_config(&ca, &identity.client, &[tunnel::ALPN])?)));
        let network = Network::new(&identity.name, tables, Peers::new(client_tls), Egress::new(Some(ca.clone())));
        let engine = Engine::new(&EngineConfig { cache_dir: folder.join("code"), instances_max: INSTANCES_MAX })?;
        let images = Images::open(folder.join("images"), Some(remote(&identity)))?;
        let sandbox = Wasm::new(engine, images, networks(&network));
        let config = node::Config {
            cluster,
            clock,
            name: identity.name.clone(),
            labels: labels(&args.node_labels)?,
            taints: taints(&args.register_with_taints)?,
            data_dir: folder,
            sandbox: Arc::new(sandbox),
            pods: Arc::new(Attached(network.clone())),
            address: own_address(local.ip()),
            port: local.port(),
            capacity: Capacity { pods: args.max_pods, ..Capacity::of_machine() },
            drain_min: DRAIN_MIN,
            link: Some(node::link::Config {
                server: identity.server.trim_start_matches("https://").to_owned(),
                tls: Arc::new(client_config(&ca, &identity.client, &[b"http/1.1"])?),
            }),
        };
        let mut tasks = JoinSet::new();
        let agent_stop = stop.clone();
        tasks.spawn(async move { node::run(config, agent_stop).await.context("the node agent failed") });
        let server_tls = ServerTls::default();
        server_tls.store(Some(Arc::new(server_config(&ca, &identity.serving)?)));
        let identify = Arc::new(node_of);
        let tunnels = tunnel::serve(listener, server_tls, identify, network.clone(), stop.clone(), DRAIN);
        tasks.spawn(tunnels.map(Ok));
        let report = Arc::new(|port: u16, error: &std::io::Error| {
            tracing::error!(port, %error, "a node port cannot be opened: another process has it, or permission is missing");
        });
        tasks.spawn(node_port::serve(network, args.nodeport_address, report, stop.clone(), DRAIN).map(Ok));
        Ok(Node { tasks })
    }

    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => anyhow::anyhow!(error).context("a part of the node broke"),
            Some(Ok(Ok(()))) | None => anyhow::anyhow!("a part of the node ended"),
        }
    }

    pub(crate) async fn finish(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Pods for Attached {
    fn attach(&self, ip: IpAddr, ports: &[u16], handler: Handler) {
        self.0.attach(ip, ports, handler);
    }

    fn detach(&self, ip: IpAddr) {
        self.0.detach(ip);
    }
}

fn networks(network: &Network) -> Networks {
    let network = network.clone();
    Arc::new(move |caller: node::Caller| {
        let (network, caller) = (network.clone(), Caller { namespace: caller.namespace, ip: caller.ip });
        runtime::engine::Network {
            send: Arc::new(move |request| {
                let (network, caller) = (network.clone(), caller.clone());
                async move { network.serve_guest(&caller, request).await }.boxed()
            }),
        }
    })
}

fn remote(identity: &Identity) -> client::http::Config {
    let (chain_pem, key_pem) = identity.client.clone();
    client::http::Config {
        server: identity.server.clone(),
        ca_pem: Some(identity.ca_pem.clone()),
        credentials: client::http::Credentials::Certificate { chain_pem, key_pem },
        user_agent: format!("coracle-node/{}", env!("CARGO_PKG_VERSION")),
        insecure: false,
    }
}

fn client_config(
    ca: &CertificateDer<'static>,
    pair: &(String, String),
    alpn: &[&[u8]],
) -> Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.clone())?;
    let (chain, key) = parse(pair)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_client_auth_cert(chain, key)?;
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

fn server_config(ca: &CertificateDer<'static>, pair: &(String, String)) -> Result<rustls::ServerConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let (chain, key) = parse(pair)?;
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
    config.alpn_protocols = vec![tunnel::ALPN.to_vec()];
    Ok(config)
}

fn parse((chain, key): &(String, String)) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.context("the node's certificate is malformed")?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).context("the node's key is malformed")?;
    Ok((chain, key))
}

/// The node that a certificate of the cluster's CA belongs to.
fn node_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let (name, groups) = controlplane::pki::certificate::subject(certificate)?;
    let is_node = groups.iter().any(|group| group == "system:nodes");
    name.strip_prefix("system:node:").filter(|_| is_node).map(str::to_owned)
}

/// The name of this host, as a node's default name: lower case, and only what a name may have.
pub(crate) fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let plain = plain.trim_matches(['-', '.']);
    if plain.is_empty() { "node".to_owned() } else { plain.to_owned() }
}

fn labels(wanted: &[String]) -> Result<BTreeMap<String, String>> {
    let parse = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        if key.is_empty() {
            bail!("--node-labels {text:?} is not of the form key=value");
        }
        Ok((key.to_owned(), value.to_owned()))
    };
    wanted.iter().map(parse).collect()
}

fn taints(wanted: &[String]) -> Result<Vec<api::view::Taint>> {
    let parse = |text: &String| {
        let (pair, effect) = text.rsplit_once(':').unwrap_or((text, ""));
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if key.is_empty() || !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            bail!("--register-with-taints {text:?} is not of the form key=value:NoSchedule");
        }
        Ok(api::view::Taint {
            key: key.to_owned(),
            value: value.to_owned(),
            effect: effect.to_owned(),
            time_added: None,
        })
    };
    wanted.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_taints_have_their_forms() {
        let found = labels(&["site=harbour".to_owned(), "flag".to_owned()]).expect("well formed");
        assert_eq!(found["site"], "harbour");
        assert!(labels(&["=x".to_owned()]).is_err());
        let found = taints(&["dedicated=gpu:NoSchedule".to_owned()]).expect("well formed");
        assert_eq!((found[0].key.as_str(), found[0].effect.as_str()), ("dedicated", "NoSchedule"));
        assert!(taints(&["a=b".to_owned()]).is_err());
    }
}
