//! A real etcd of the test's own, to run the contract on.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::contract::everything;
use crate::remote::{Config, Remote, Secret};
use crate::store::kv::{Kv, Range};

/// How often another process may take the ports that were free a moment ago.
const STARTS: usize = 5;

/// Killed when it is dropped.
pub(super) struct Etcd {
    child: Child,
    folder: TempDir,
    client: String,
    peer: String,
}

fn free() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

// === impl Etcd ===

impl Etcd {
    /// `None` where none is installed.
    pub(super) fn start() -> Option<Etcd> {
        if Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_err() {
            eprintln!("skipped: no etcd to run on; `cargo xtask setup` installs etcd-server");
            return None;
        }
        let begun = (0..STARTS).find_map(|_| {
            let (folder, client, peer) = (tempfile::tempdir().unwrap(), free(), free());
            let child = spawn(&folder, &client, &peer)?;
            Some(Etcd { child, folder, client, peer })
        });
        Some(begun.expect("etcd starts"))
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
        self.child = spawn(&self.folder, &self.client, &self.peer).expect("etcd starts again");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until it serves. `None` if it ends before that.
fn spawn(folder: &TempDir, client: &str, peer: &str) -> Option<Child> {
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(folder.path().join("data"));
    command.args(["--listen-client-urls", client, "--advertise-client-urls", client]);
    command.args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]);
    command.args(["--initial-cluster", &format!("default={peer}")]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    if !log.any(|line| line.contains("ready to serve client requests")) {
        child.wait().unwrap();
        return None;
    }
    // Read on, so that it never waits for a full pipe.
    std::thread::spawn(move || log.for_each(drop));
    Some(child)
}
