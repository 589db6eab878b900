//! `coracle node`: a machine that joins a control plane, or comes back to it.

use crate::args::Node as Args;
use crate::command::print;
use crate::control::own_address;
use crate::folder;
use crate::host::{Identity, Node, host_name};
use crate::up::{finish_within, signalled};
use anyhow::{Context, Result};
use client::Clock;
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
        addresses: vec![own_address(args.host.node_listen.ip())],
        clock: clock.clone(),
    };
    let token = args.token.as_deref().map(join::Token::parse).transpose().context("--token")?;
    let client = join::join(&config, token.as_ref()).await?;
    let cluster = client::http::connect(client.http(&server))?;
    let serving = join::serving(&config, &cluster, &client.ca_pem).await?;
    let identity = Identity {
        name: name.clone(),
        server: server.clone(),
        ca_pem: client.ca_pem,
        client: (client.chain_pem, client.key_pem),
        serving: (serving.chain_pem, serving.key_pem),
    };
    let mut node = Node::start(&args.host, identity, cluster, &data, clock, &stop).await?;
    print(&format!("coracle node {name} is ready\n  server      {server}\n"))?;
    let ended = tokio::select! {
        () = signalled() => Ok(()),
        error = node.failed() => Err(error),
    };
    stop.cancel();
    finish_within(node.finish()).await;
    ended
}
