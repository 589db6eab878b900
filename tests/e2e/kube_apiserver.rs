//! A stock kube-apiserver on any etcd, or what serves its API.

use crate::process::{eventually, free_port};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Of the group `system:masters`.
pub(crate) const TOKEN: &str = "test-token";

/// It is killed when this is dropped.
pub(crate) struct KubeApiserver {
    pub(crate) child: Child,
    pub(crate) port: u16,
}

/// Where `cargo xtask bench --install-peers` put it, or `CORACLE_PEERS` has it; `None`, and said so, where it is not.
pub(crate) fn program() -> Option<PathBuf> {
    let kept = || {
        let target = Path::new(env!("CARGO_BIN_EXE_coracle")).parent().and_then(Path::parent).expect("a target folder");
        target.join("peers/bin")
    };
    let program = std::env::var_os("CORACLE_PEERS").map_or_else(kept, PathBuf::from).join("kube-apiserver");
    if program.is_file() {
        return Some(program);
    }
    eprintln!("skipped: no kube-apiserver (cargo xtask bench --install-peers builds one)");
    None
}

/// A line of its token file.
pub(crate) fn tokens() -> String {
    format!("{TOKEN},admin,admin,system:masters\n")
}

impl KubeApiserver {
    /// Its keys and its log are in the folder.
    pub(crate) fn start(program: &Path, etcd: &str, folder: &Path) -> KubeApiserver {
        let port = free_port("127.0.0.1");
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let file = |name: &str, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).expect("it is written");
            path
        };
        let (private, public) = (file("sa.key", key.serialize_pem()), file("sa.pub", key.public_key_pem()));
        let mut command = Command::new(program);
        command.args(["--etcd-servers", etcd, "--secure-port", &port.to_string(), "--bind-address", "127.0.0.1"]);
        command.arg("--cert-dir").arg(folder.join("certs"));
        command.arg("--token-auth-file").arg(file("tokens.csv", tokens()));
        command.arg("--service-account-signing-key-file").arg(private).arg("--service-account-key-file").arg(public);
        command.args(["--service-account-issuer", "https://kubernetes.default.svc", "--authorization-mode", "RBAC"]);
        command.args(["--service-cluster-ip-range", "10.0.0.0/24", "--disable-admission-plugins", "ServiceAccount"]);
        let log = fs::File::create(folder.join("kube-apiserver.log")).expect("a log");
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("kube-apiserver starts");
        KubeApiserver { child, port }
    }

    /// Waits until it serves.
    pub(crate) fn settle(&self) {
        eventually("the API listens", || TcpStream::connect(("127.0.0.1", self.port)).ok());
        eventually("it is ready", || (self.curl("/readyz", &[]) == "ok").then_some(()));
    }

    /// What it answers.
    pub(crate) fn curl(&self, path: &str, arguments: &[&str]) -> String {
        let mut curl = Command::new("curl");
        curl.args(["-sk", "--max-time", "20", "-H", &format!("Authorization: Bearer {TOKEN}")]).args(arguments);
        let output = curl.arg(format!("https://127.0.0.1:{}{path}", self.port)).output().expect("curl runs");
        crate::process::text(&output.stdout)
    }
}

impl Drop for KubeApiserver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
