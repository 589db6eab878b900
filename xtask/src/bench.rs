//! Measurements of the release binary, beside its peers where they are installed.

use crate::{guests, kube_apiserver, setup, shell};
use anyhow::Result;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build the programs that stand beside ours in the table, once, and end
    #[arg(long)]
    install_peers: bool,
    /// What to measure [default: all]
    what: Option<What>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    /// The API server
    Api,
    /// Pods: their answers, their start, their memory
    Pods,
    /// The store beside etcd
    Store,
}

/// Something from crates.io that does the same work as a part of ours.
struct Peer {
    krate: &'static str,
    version: &'static str,
    features: &'static str,
}

/// The engine's own server, of the version that is in our binary, with what serving an HTTP component takes.
const PEERS: &[Peer] = &[Peer {
    krate: "wasmtime-cli",
    version: "48.0.8",
    features: "run,serve,cranelift,component-model,component-model-async,pooling-allocator,parallel-compilation",
}];

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.install_peers {
        return install();
    }
    setup::run()?;
    let guests = guests::build()?;
    let mut cargo = shell::cargo();
    cargo.env("CORACLE_GUESTS", guests).env("CORACLE_PEERS", folder().join("bin")).args([
        "test",
        "--release",
        "--locked",
        "--package",
        "coracle",
        "--test",
        "bench",
    ]);
    // One after the other: two at once would measure each other.
    cargo.args(["--", "--ignored", "--nocapture", "--test-threads=1"]);
    cargo.args(args.what.map(|what| match what {
        What::Api => "apiserver::",
        What::Pods => "pods",
        What::Store => "store::",
    }));
    shell::run(&mut cargo)?;
    eprintln!("figures worth keeping go to docs/benchmarks.md, with date and machine");
    Ok(())
}

/// Where peers are kept from one run to the next.
fn folder() -> PathBuf {
    shell::target().join("peers")
}

/// Builds the peers the way that our release binary is built.
fn install() -> Result<()> {
    for peer in PEERS {
        let mut cargo = shell::cargo();
        cargo.env("CARGO_PROFILE_RELEASE_LTO", "fat").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
        cargo.env("CARGO_TARGET_DIR", folder().join("build"));
        cargo.args(["install", "--locked", "--no-default-features", "--features", peer.features]);
        cargo.args(["--version", peer.version, peer.krate, "--root"]);
        shell::run(cargo.arg(folder()))?;
    }
    kube_apiserver::install(&folder().join("build"), &folder().join("bin"))
}
