//! `coracle node`: a machine that joins a control plane, or comes back to it.

use crate::args::Node as Args;
use crate::command::print;
use crate::folder;
use crate::host::{Node, host_name};
use crate::keys::{Keys, Pairs, Source};
use crate::up::{Signals, finish_within};
use anyhow::{Context, Result};
use client::Clock;
use client::http::Connection;
use proxy::tunnel;
use runtime::node::join;
use tokio_util::sync::CancellationToken;

pub(crate) async fn node(args: &Args) -> Result<()> {
    let stop = CancellationToken::new();
    let clock = Clock::system();
    let data = folder::open(args.data.data_dir.as_deref())?;
    let _lock = folder::lock(&data)?;
    let pki = data.join("pki");
    folder::make(&pki)?;
    let name = args.host.node_name.clone().unwrap_or_else(host_name);
    let server = args.server.trim_end_matches('/').to_owned();
    let config = join::Config {
        server: server.clone(),
        node: name.clone(),
        dir: pki,
        serving_name: tunnel::server_name(&name),
        clock: clock.clone(),
    };
    let token = args.token.as_deref().map(join::Token::parse).transpose().context("--token")?;
    let client = join::join(&config, token.as_ref()).await?;
    let cluster = Connection::new(client.http(&server))?.handle();
    let serving = join::serving(&config, &cluster, &client.ca_pem).await?;
    let pairs = Pairs { client, serving };
    let keys = Keys::new(&server, &pairs)?;
    let cluster = keys.api.handle();
    let mut node = Node::start(&args.host, &name, &keys, cluster.clone(), &data, clock, &stop).await?;
    node.also(keys.keep(Source::Cluster(config, cluster), pairs, stop.clone()));
    let mut signals = Signals::listen()?;
    print(&format!("coracle node {name} is ready\n  server      {server}\n"))?;
    let ended = tokio::select! {
        () = signals.next() => Ok(()),
        error = node.failed() => Err(error),
    };
    stop.cancel();
    finish_within(node.finish(), Some(signals)).await;
    ended
}
