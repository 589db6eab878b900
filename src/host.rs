//! A node, wired: engine, images, network, agent, tunnel, node ports.

use crate::args::Host;
use crate::control::own_address;
use crate::keys::Keys;
use crate::{folder, services};
use anyhow::{Context, Result, bail};
use client::Clock;
use controlplane::pki::certificate::Subject;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use proxy::egress::Egress;
use proxy::tunnel::{self, Peer, Peers};
use proxy::{Body, BoxError, Caller, Network, node_port};
use runtime::engine::{Engine, EngineConfig};
use runtime::image::Images;
use runtime::node::{self, Capacity, Handler, Networks, Pods, Wasm};
use rustls_pki_types::CertificateDer;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
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

/// A running node.
pub(crate) struct Node {
    tasks: JoinSet<Result<()>>,
}

struct Attached(Network);

// === impl Node ===

impl Node {
    pub(crate) async fn start(
        args: &Host,
        name: &str,
        keys: &Keys,
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
        let tables = services::follow(&cluster, &folder, stop.clone());
        let network = Network::new(name, tables, Peers::new(keys.tunnel.clone()), Egress::new(Some(keys.ca.clone())));
        let engine = Engine::new(&EngineConfig { cache_dir: folder.join("code"), instances_max: INSTANCES_MAX })?;
        let images = Images::open(folder.join("images"), Some(keys.api.plain()))?;
        let sandbox = Wasm::new(engine, images, networks(&network));
        let config = node::Config {
            cluster,
            clock: clock.clone(),
            name: name.to_owned(),
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
                server: keys.server.trim_start_matches("https://").to_owned(),
                tls: keys.link.clone(),
            }),
        };
        let mut tasks = JoinSet::new();
        let agent_stop = stop.clone();
        tasks.spawn(async move { node::run(config, agent_stop).await.context("the node agent failed") });
        let identify = Arc::new(move |certificate: &CertificateDer<'_>| peer(certificate, &clock));
        let tunnels = tunnel::serve(listener, keys.serving.clone(), identify, network.clone(), stop.clone(), DRAIN);
        tasks.spawn(tunnels.map(Ok));
        let report = Arc::new(|port: u16, error: &std::io::Error| {
            tracing::error!(port, %error, "a node port cannot be opened: another process has it, or permission is missing");
        });
        tasks.spawn(node_port::serve(network, args.nodeport_address, report, stop.clone(), DRAIN).map(Ok));
        Ok(Node { tasks })
    }

    /// Something else that ends when the node does.
    pub(crate) fn also(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task.map(Ok));
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

    fn call(&self, to: SocketAddr, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
        let network = self.0.clone();
        async move { network.serve_server(to, request).await }.boxed()
    }
}

fn networks(network: &Network) -> Networks {
    let network = network.clone();
    Arc::new(move |caller: node::Caller| {
        let caller = Caller { namespace: caller.namespace, ip: caller.ip };
        let (sender, resolver) = ((network.clone(), caller.clone()), (network.clone(), caller));
        runtime::engine::Network {
            send: Arc::new(move |request| {
                let (network, caller) = sender.clone();
                async move { network.serve_guest(&caller, request).await }.boxed()
            }),
            look_up: Arc::new(move |name| {
                let (network, caller) = resolver.clone();
                async move { network.look_up(&caller, &name).await }.boxed()
            }),
        }
    })
}

/// The node that a certificate of the cluster's CA belongs to.
fn peer(certificate: &CertificateDer<'_>, clock: &Clock) -> Option<Peer> {
    let subject = Subject::of(certificate)?;
    let is_node = subject.groups.iter().any(|group| group == "system:nodes");
    let node = subject.name.strip_prefix("system:node:").filter(|_| is_node)?.to_owned();
    Some(Peer { node, valid_for: subject.valid_for(clock.now()) })
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
        if !api::view::Node::may_label_itself(key) {
            bail!(
                "--node-labels {text:?}: a node cannot give itself this label of Kubernetes'; use kubectl label node"
            );
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
        assert!(labels(&["node-role.kubernetes.io/edge".to_owned()]).is_err(), "the server would refuse the node");
        let found = taints(&["dedicated=gpu:NoSchedule".to_owned()]).expect("well formed");
        assert_eq!((found[0].key.as_str(), found[0].effect.as_str()), ("dedicated", "NoSchedule"));
        assert!(taints(&["a=b".to_owned()]).is_err());
    }
}
