//! `coracle up` and `coracle server`: a control plane, and in the first a node beside it in the same process.

use crate::args::{Part, Server, Up};
use crate::command::print;
use crate::control::{ControlPlane, JoinAs};
use crate::host::{Node, host_name};
use crate::keys::{Keys, OwnNode, Source};
use anyhow::{Context, Result};
use client::Clock;
use controlplane::pki::Names;
use controlplane::registry::{Local, User};
use proxy::tunnel;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What asks a process that is ready to stop: SIGINT and SIGTERM. Until it listens they end it at once, which loses
/// nothing either; so it has to listen before it says that it is ready, and a start that waits for others can be ended.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

/// After a second signal, or when a part does not end by then, the process ends as it is; nothing is lost by that.
const STOP_LIMIT: Duration = Duration::from_secs(10);

pub(crate) async fn up(args: &Up) -> Result<()> {
    let stop = CancellationToken::new();
    let clock = Clock::system();
    let mut control = ControlPlane::start(&args.control, &args.data, args.listen, None, clock.clone(), &stop).await?;
    let mut node = None;
    let mut signals = None;
    let ended = async {
        if !args.control.disable.contains(&Part::Node) {
            node = Some(start_node(args, &control, clock, &stop).await?);
        }
        let signals = signals.insert(Signals::listen()?);
        ready(&control)?;
        tokio::select! {
            () = signals.next() => Ok(()),
            error = control.failed() => Err(error),
            error = async { match &mut node { Some(node) => node.failed().await, None => std::future::pending().await } } => Err(error),
        }
    };
    let ended = ended.await;
    stop.cancel();
    let finish = async {
        if let Some(node) = node {
            node.finish().await;
        }
        control.finish().await;
    };
    finish_within(finish, signals).await;
    ended
}

pub(crate) async fn server(args: &Server) -> Result<()> {
    let stop = CancellationToken::new();
    let join = args.join.as_deref().map(|server| JoinAs { server, token: args.token.as_deref() });
    let mut control = ControlPlane::start(&args.control, &args.data, args.listen, join, Clock::system(), &stop).await?;
    let mut signals = None;
    let ended = async {
        let signals = signals.insert(Signals::listen()?);
        ready(&control)?;
        tokio::select! {
            () = signals.next() => Ok(()),
            error = control.failed() => Err(error),
        }
    };
    let ended = ended.await;
    if ended.is_ok() {
        control.resign().await;
    }
    stop.cancel();
    finish_within(control.finish(), signals).await;
    ended
}

async fn start_node(args: &Up, control: &ControlPlane, clock: Clock, stop: &CancellationToken) -> Result<Node> {
    let name = args.host.node_name.clone().unwrap_or_else(host_name);
    let names = Names { dns: vec![tunnel::server_name(&name)], ips: Vec::new() };
    let own = OwnNode { name: name.clone(), names, clock: clock.clone() };
    let pairs = own.pairs(&control.pki)?;
    let keys = Keys::new(&control.url, &pairs)?;
    let cluster = Arc::new(Local::new(control.registry.clone(), User::node(&name)));
    let mut node = Node::start(&args.host, &name, &keys, cluster, &control.folder, clock, stop).await?;
    node.also(keys.keep(Source::Own(control.pki.clone(), own), pairs, stop.clone()));
    Ok(node)
}

/// What a new user sees first: that it runs, where, and what to type next.
fn ready(control: &ControlPlane) -> Result<()> {
    let (kubeconfig, url) = (control.kubeconfig.display(), &control.url);
    print(&format!(
        "coracle is ready\n  API         {url}\n  kubeconfig  {kubeconfig}\n\nIn another terminal:\n  \
         export KUBECONFIG={kubeconfig}\n  kubectl get nodes\n"
    ))
}

// === impl Signals ===

impl Signals {
    pub(crate) fn listen() -> Result<Signals> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Signals { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for one that has not been waited for.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        tracing::info!("stopping");
    }
}

/// `signals`: none where it never was ready.
pub(crate) async fn finish_within(finish: impl Future<Output = ()>, signals: Option<Signals>) {
    let signalled = async {
        match signals {
            Some(mut signals) => signals.next().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        done = tokio::time::timeout(STOP_LIMIT, finish) => {
            if done.is_err() {
                tracing::warn!("some parts did not end in time");
            }
        }
        () = signalled => {}
    }
}
