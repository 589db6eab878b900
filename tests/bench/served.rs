//! A Kubernetes API that is served: by our binary, or by kube-apiserver and etcd.

use crate::kube_apiserver::{self, KubeApiserver, TOKEN};
use crate::process::{Process, eventually, free_port};
use crate::{cores, machine};
use std::fs;
use std::future::Future;
use std::net::TcpStream;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) struct Served {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    pub(crate) token: String,
    by: By,
    folder: TempDir,
}

enum By {
    Ours(Option<Process>),
    Kubernetes(KubeApiserver, Etcd),
}

/// Ends with its kube-apiserver.
struct Etcd(Child);

impl Served {
    /// The API alone: what controllers and a scheduler would do with the objects is not measured.
    pub(crate) fn ours() -> Served {
        let folder = folder();
        let port = free_port("127.0.0.1");
        let mut served = Served { name: "ours", port, token: TOKEN.to_owned(), by: By::Ours(None), folder };
        served.begin();
        served
    }

    /// `None`: it is not installed.
    pub(crate) fn kubernetes() -> Option<Served> {
        let program = kube_apiserver::program()?;
        if Command::new("etcd").arg("--version").output().is_err() {
            return None;
        }
        let folder = folder();
        let [client, peer] = [(); 2].map(|()| free_port("127.0.0.1"));
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let mut etcd = Command::new("etcd");
        etcd.arg("--data-dir").arg(folder.path().join("etcd"));
        etcd.args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)]);
        etcd.args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)]);
        etcd.args(["--initial-cluster", &format!("default={}", url(peer))]);
        let etcd = Etcd(etcd.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("etcd starts"));
        let api = KubeApiserver::start(&program, &url(client), folder.path());
        let port = api.port;
        let by = By::Kubernetes(api, etcd);
        let served = Served { name: "kube-apiserver", port, token: TOKEN.to_owned(), by, folder };
        served.settle();
        Some(served)
    }

    fn begin(&mut self) {
        let (listen, tokens) = (format!("127.0.0.1:{}", self.port), self.folder.path().join("tokens.csv"));
        let mut arguments = vec!["server", "--listen", &listen, "--disable", "controllers,scheduler"];
        arguments.extend(["--disable-admission-plugins", "ServiceAccount", "--token-auth-file"]);
        arguments.push(tokens.to_str().expect("utf-8"));
        let data = self.folder.path().join("data");
        fs::create_dir_all(&data).expect("a folder");
        self.by = By::Ours(Some(Process::start(&data, &arguments)));
        self.settle();
    }

    /// Waits until it serves, on a processor of its own.
    fn settle(&self) {
        eventually("the API listens", || TcpStream::connect(("127.0.0.1", self.port)).ok());
        eventually("it is ready", || {
            let url = format!("https://127.0.0.1:{}/readyz", self.port);
            let mut curl = Command::new("curl");
            let output = curl.args(["-sk", "-H", &format!("Authorization: Bearer {TOKEN}"), &url]).output().ok()?;
            (output.stdout == b"ok").then_some(())
        });
        for pid in self.processes() {
            cores::pin(pid, cores::SERVERS);
        }
    }

    /// Kills our server and starts it again; the time from its start until `done` is.
    pub(crate) async fn restart(
        &mut self,
        done: impl FnOnce(u16, String) -> Pin<Box<dyn Future<Output = ()>>>,
    ) -> Duration {
        if let By::Ours(process) = &mut self.by {
            process.take().expect("it runs").kill();
        }
        let began = Instant::now();
        self.begin();
        done(self.port, self.token.clone()).await;
        began.elapsed()
    }

    fn processes(&self) -> Vec<u32> {
        match &self.by {
            By::Ours(process) => process.iter().map(Process::id).collect(),
            By::Kubernetes(api, etcd) => vec![api.child.id(), etcd.0.id()],
        }
    }

    /// Processor seconds of all its processes so far.
    pub(crate) fn cpu(&self) -> f64 {
        self.processes().into_iter().map(machine::cpu).sum()
    }

    pub(crate) fn resident(&self) -> u64 {
        self.processes().into_iter().map(machine::resident).sum()
    }
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("tokens.csv"), kube_apiserver::tokens()).expect("written");
    folder
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
