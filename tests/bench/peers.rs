//! Programs that do the same work, measured in the same run, by the same clients, on the same machine.

use crate::process::{Server, eventually, free_port, guests};
use crate::{load, row};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Each takes its turn in each round, so that what else the machine does falls on all; the middle round counts.
const ROUNDS: usize = 3;

/// `wasmtime serve` as it comes, and with the memory settings of our engine.
const WASMTIME: &[(&str, &[&str])] = &[
    ("`wasmtime serve` 48.0.8", &[]),
    (
        "`wasmtime serve` 48.0.8 with our engine's memory settings",
        &["-Opooling-memory-keep-resident=65536", "-Opooling-table-keep-resident=8192"],
    ),
];

/// A server that is not ours; killed when it is dropped.
struct Peer {
    process: Child,
    port: u16,
}

impl Peer {
    fn wasmtime(program: &Path, options: &[&str]) -> Peer {
        let port = free_port("127.0.0.1");
        let mut command = Command::new(program);
        command.args(["serve", "-Scli", "--env", "POD_NAME=hello", "--addr", &format!("127.0.0.1:{port}")]);
        command.args(options).arg(guests().join("hello.wasm")).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("the peer starts");
        eventually("the peer listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        Peer { process, port }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where `cargo xtask bench --install-peers` put a program.
fn installed(program: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("CORACLE_PEERS")?);
    Some(folder.join(program)).filter(|file| file.is_file())
}

/// The Service `hello` through its node port, and the same component in `wasmtime serve`.
pub(crate) fn hello(server: &Server) {
    let port = server.node_port("hello");
    let Some(wasmtime) = installed("wasmtime") else {
        load::run(server.process.id(), port).show("hello through the node port");
        row("`wasmtime serve`", "skipped: not installed (cargo xtask bench --install-peers)");
        return;
    };
    let peers: Vec<_> = WASMTIME.iter().map(|(name, options)| (*name, Peer::wasmtime(&wasmtime, options))).collect();
    let mut servers = vec![("hello through the node port", server.process.id(), port)];
    servers.extend(peers.iter().map(|(name, peer)| (*name, peer.process.id(), peer.port)));
    let mut rounds = vec![Vec::new(); servers.len()];
    for _ in 0..ROUNDS {
        for (done, (_, pid, port)) in rounds.iter_mut().zip(&servers) {
            done.push(load::run(*pid, *port));
        }
    }
    let ours = load::middle(&mut rounds[0]).work;
    for (done, (name, ..)) in rounds.iter_mut().zip(&servers) {
        load::middle(done).show(name);
    }
    for (done, (name, ..)) in rounds.iter_mut().zip(&servers).skip(1) {
        row(&format!("work for each CPU-second, ours to {name}"), &format!("{:.2}", ours / load::middle(done).work));
    }
}
