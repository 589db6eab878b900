//! A real etcd of the test's own, to run the contract on.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::contract::everything;
use crate::remote::{Config, Remote, Secret};
use crate::store::kv::{Kv, Range};

/// Killed when it is dropped.
pub(super) struct Etcd {
    child: Child,
    folder: TempDir,
    client: String,
    peer: String,
}

fn free() -> String {
    format!("http://127.0.0.1:{}", crate::ports::free_port("127.0.0.1"))
}

// === impl Etcd ===

impl Etcd {
    /// `None` where none is installed.
    pub(super) fn start() -> Option<Etcd> {
        if Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_err() {
            eprintln!("skipped: no etcd to run on; `cargo xtask setup` installs etcd-server");
            return None;
        }
        let (folder, client, peer) = (tempfile::tempdir().unwrap(), free(), free());
        let child = spawn(&folder, &client, &peer);
        Some(Etcd { child, folder, client, peer })
    }

    /// A client that has asked for something already.
    pub(super) async fn remote(&self, prefix: &str) -> Remote {
        let endpoints = vec![self.client.clone()];
        let config = Config { endpoints, secret: Secret::default(), prefix: prefix.to_owned() };
        let remote = Remote::new(config).unwrap();
        remote.range(Range::newest(everything())).await.unwrap();
        remote
    }

    pub(super) fn client(&self) -> &str {
        &self.client
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// With the same data, on the same ports.
    pub(super) fn start_again(&mut self) {
        self.child = spawn(&self.folder, &self.client, &self.peer);
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until it serves.
fn spawn(folder: &TempDir, client: &str, peer: &str) -> Child {
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(folder.path().join("data"));
    command.args(["--listen-client-urls", client, "--advertise-client-urls", client]);
    command.args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]);
    command.args(["--initial-cluster", &format!("default={peer}")]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut said = Vec::new();
    let ready = log.any(|line| {
        said.push(line);
        said.last().is_some_and(|line| line.contains("ready to serve client requests"))
    });
    assert!(ready, "etcd ended with {}: {said:#?}", child.wait().unwrap());
    // Read on, so that it never waits for a full pipe.
    std::thread::spawn(move || log.for_each(drop));
    child
}
