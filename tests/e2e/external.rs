//! The state in a real etcd: servers that keep nothing themselves, and an etcd that goes away under them.

use crate::process::{LIMIT, Process, Server, coracle, eventually, free_port, text};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use tempfile::TempDir;

/// Killed when it is dropped.
struct Etcd {
    child: Child,
    folder: TempDir,
    arguments: Vec<String>,
    client: String,
}

/// Certificates of one authority, as files.
struct Papers {
    folder: TempDir,
}

// === impl Etcd ===

impl Etcd {
    /// Debian's, if it is installed.
    fn start() -> Option<Etcd> {
        Etcd::start_with("http", &[])
    }

    fn start_with(scheme: &str, more: &[String]) -> Option<Etcd> {
        let peer = url("http");
        let mut etcd = is_installed().then(|| Etcd::new(scheme, ("here", &peer), &format!("here={peer}"), more))?;
        serve(&mut etcd.child);
        Some(etcd)
    }

    /// The members of one cluster.
    fn start_three() -> Option<Vec<Etcd>> {
        let peers = ["one", "two", "three"].map(|name| (name, url("http")));
        let cluster = peers.iter().map(|(name, peer)| format!("{name}={peer}")).collect::<Vec<_>>().join(",");
        let new = |(name, peer): &(&str, String)| Etcd::new("http", (name, peer), &cluster, &[]);
        let mut members: Vec<Etcd> = is_installed().then(|| peers.iter().map(new).collect())?;
        // None of them does before most of them are there.
        members.iter_mut().for_each(|member| serve(&mut member.child));
        Some(members)
    }

    fn new(scheme: &str, (name, peer): (&str, &str), cluster: &str, more: &[String]) -> Etcd {
        let folder = tempfile::tempdir().expect("a folder");
        let client = url(scheme);
        let data = folder.path().join("data");
        let mut arguments: Vec<String> = [
            ["--name", name],
            ["--data-dir", data.to_str().expect("utf-8")],
            ["--listen-client-urls", &client],
            ["--advertise-client-urls", &client],
            ["--listen-peer-urls", peer],
            ["--initial-advertise-peer-urls", peer],
            ["--initial-cluster", cluster],
        ]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
        arguments.extend_from_slice(more);
        Etcd { child: spawn(&arguments), folder, arguments, client }
    }

    fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it has ended");
    }

    /// With the same data, on the same ports.
    fn start_again(&mut self) {
        self.child = spawn(&self.arguments);
        serve(&mut self.child);
    }

    fn signal(&self, name: &str) {
        let done = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(done.expect("kill runs").success());
    }

    /// Its keys below a prefix.
    fn keys(&self, prefix: &str) -> Vec<String> {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").arg(format!("--endpoints={}", self.client));
        let output = command.args(["get", "--prefix", "--keys-only", prefix]).output().expect("etcdctl starts");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_installed() -> bool {
    let is_installed = Command::new("etcd").arg("--version").output().is_ok();
    if !is_installed {
        eprintln!("skipped: no etcd to run on; `cargo xtask setup` installs etcd-server");
    }
    is_installed
}

fn url(scheme: &str) -> String {
    format!("{scheme}://127.0.0.1:{}", free_port("127.0.0.1"))
}

fn spawn(arguments: &[String]) -> Child {
    Command::new("etcd").args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("etcd starts")
}

/// Waits until it serves.
fn serve(child: &mut Child) {
    let mut log = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    assert!(log.any(|line| line.contains("ready to serve client requests")), "etcd serves");
    // Read on, so that it never waits for a full pipe.
    std::thread::spawn(move || log.for_each(drop));
}

// === impl Papers ===

impl Papers {
    fn new(authority: &str) -> Papers {
        let folder = tempfile::tempdir().expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, authority);
        let ca = params.self_signed(&key).expect("signed");
        fs::write(folder.path().join("ca.crt"), ca.pem()).expect("written");
        let issuer = Issuer::new(params, key);
        for (name, purpose) in
            [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)]
        {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
            params.distinguished_name.push(DnType::CommonName, name);
            // etcd calls itself with the server's.
            params.extended_key_usages = vec![purpose, ExtendedKeyUsagePurpose::ClientAuth];
            let certificate = params.signed_by(&key, &issuer).expect("signed");
            fs::write(folder.path().join(format!("{name}.crt")), certificate.pem()).expect("written");
            fs::write(folder.path().join(format!("{name}.key")), key.serialize_pem()).expect("written");
        }
        Papers { folder }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("utf-8").to_owned()
    }
}

fn start(etcd: &Etcd, more: &[&str]) -> Server {
    let mut arguments = vec!["--etcd-servers", &etcd.client];
    arguments.extend(more);
    Server::start("server", free_port("127.0.0.1"), &arguments)
}

/// kubectl; whether it was done, and what was said.
fn kubectl(server: &Server, arguments: &[&str]) -> (bool, String) {
    let output = server.run(Command::new("kubectl").args(arguments).arg("--request-timeout=10s"));
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// Lines that a server logged with some words in them.
fn logged(folder: &Path, words: &str) -> usize {
    log(folder).lines().filter(|line| line.contains(words)).count()
}

#[test]
fn a_server_keeps_nothing_itself() {
    let Some(etcd) = Etcd::start() else { return };
    let mut server = start(&etcd, &[]);
    server.ok("kubectl", &["create", "configmap", "kept", "--from-literal=a=1"]);
    server.ok("kubectl", &["create", "service", "clusterip", "web", "--tcp=80"]);
    assert!(!server.process.folder.join("store").exists());
    let keys = etcd.keys("");
    assert!(keys.iter().all(|key| key.starts_with("/coracle/")), "{keys:?}");
    assert!(keys.contains(&"/coracle/objects/core/configmaps/default/kept".to_owned()), "{keys:?}");
    let place = format!("this server keeps its data in etcd at {}", etcd.client);
    let file = etcd.folder.path().join("snapshot");
    let file = file.to_str().expect("utf-8");
    for command in [&["member", "list"][..], &["member", "remove", "1"], &["snapshot", "save", file]] {
        let output = server.run(coracle().args(command));
        assert!(!output.status.success() && text(&output.stderr).contains(&place), "{}", text(&output.stderr));
    }
    assert!(!Path::new(file).exists());
    server.process.kill();
    let listen = server.url.strip_prefix("https://").expect("a URL").to_owned();
    let folder = server.process.folder.clone();
    server.process = Process::start(&folder, &["server", "--listen", &listen, "--etcd-servers", &etcd.client]);
    assert_eq!(server.field("configmap", "kept", "/data/a"), "1");
    server.ok("kubectl", &["delete", "configmap", "kept"]);
    assert!(!etcd.keys("").contains(&"/coracle/objects/core/configmaps/default/kept".to_owned()));
}

#[test]
fn an_etcd_may_go_away_and_come_back() {
    let Some(mut etcd) = Etcd::start() else { return };
    etcd.kill();
    // It starts without: it says so once, and waits.
    let folder = tempfile::tempdir().expect("a folder");
    let listen = format!("127.0.0.1:{}", free_port("127.0.0.1"));
    let (path, client, at) = (folder.path().to_path_buf(), etcd.client.clone(), listen.clone());
    let starting =
        std::thread::spawn(move || Process::start(&path, &["server", "--listen", &at, "--etcd-servers", &client]));
    eventually("a word about it", || (logged(folder.path(), "etcd is not reached") == 1).then_some(()));
    etcd.start_again();
    let process = starting.join().expect("it is ready once etcd is");
    assert_eq!(logged(folder.path(), "etcd is not reached"), 1, "{}", log(folder.path()));
    let server = Server::new(process, &listen, folder);
    let folder = server.process.folder.clone();
    server.ok("kubectl", &["create", "configmap", "before"]);
    assert_eq!(kubectl(&server, &["get", "--raw", "/readyz"]), (true, "ok".to_owned()));
    let mut watch = Lines::of(&server, &["get", "configmaps", "--watch", "-o", "name"]);
    assert!(watch.any(|line| line == "configmap/before"));
    etcd.kill();
    let (is_ready, said) = kubectl(&server, &["get", "--raw", "/readyz"]);
    assert!(!is_ready && said.contains("[-]etcd failed"), "{said}");
    let (is_alive, said) = kubectl(&server, &["get", "--raw", "/livez"]);
    assert!(is_alive, "{said}");
    for command in [&["create", "configmap", "meanwhile"][..], &["get", "configmaps"]] {
        let (is_done, said) = kubectl(&server, command);
        assert!(!is_done && said.contains("etcd is not reached"), "{said}");
    }
    etcd.start_again();
    eventually("a server that is ready", || kubectl(&server, &["get", "--raw", "/readyz"]).0.then_some(()));
    server.ok("kubectl", &["create", "configmap", "after"]);
    assert!(watch.any(|line| line == "configmap/after"), "a watch goes on");
    // Those that start, and those that were cut: each time once.
    assert_eq!(logged(&folder, "etcd is not reached"), 2, "{}", log(&folder));
}

#[test]
fn a_member_of_etcd_may_go_away_or_stop_answering() {
    let Some(mut etcds) = Etcd::start_three() else { return };
    let servers = etcds.iter().map(|etcd| etcd.client.as_str()).collect::<Vec<_>>().join(",");
    let server = Server::start("server", free_port("127.0.0.1"), &["--etcd-servers", &servers]);
    let mut watch = Lines::of(&server, &["get", "configmaps", "--watch", "-o", "name"]);
    let mut goes_on = |name: &str| {
        eventually("a write that is settled", || {
            let (is_done, said) = kubectl(&server, &["create", "configmap", name]);
            (is_done || said.contains("already exists")).then_some(())
        });
        assert!(watch.any(|line| line == format!("configmap/{name}")), "a watch goes on: {name}");
    };
    goes_on("all-are-there");
    // Each is the one that is asked at some time, and one of them leads.
    for (at, etcd) in etcds.iter_mut().enumerate() {
        etcd.kill();
        goes_on(&format!("without-{at}"));
        etcd.start_again();
        goes_on(&format!("again-with-{at}"));
        etcd.signal("-STOP");
        goes_on(&format!("frozen-{at}"));
        etcd.signal("-CONT");
    }
    let names = server.ok("kubectl", &["get", "configmaps", "-o", "name"]);
    assert_eq!(names.lines().filter(|name| !name.ends_with("kube-root-ca.crt")).count(), 10, "{names}");
}

/// The output of a kubectl that goes on; killed when it is dropped.
struct Lines {
    child: Child,
    lines: Receiver<String>,
}

// === impl Lines ===

impl Lines {
    fn of(server: &Server, arguments: &[&str]) -> Lines {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", server.kubeconfig()).args(arguments).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("kubectl starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (send, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Lines { child, lines }
    }

    /// One such line comes in time.
    fn any(&mut self, is_it: impl Fn(&str) -> bool) -> bool {
        while let Ok(line) = self.lines.recv_timeout(LIMIT) {
            if is_it(&line) {
                return true;
            }
        }
        false
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder with the keys of another server's cluster.
fn beside(server: &Server) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let copied = Command::new("cp").arg("-a").arg(server.process.folder.join("pki")).arg(folder.path()).status();
    assert!(copied.expect("cp runs").success());
    folder
}

const DEPLOYMENT: &str = "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"NAME\"},\
    \"spec\":{\"replicas\":1,\"selector\":{\"matchLabels\":{\"app\":\"NAME\"}},\"template\":{\"metadata\":\
    {\"labels\":{\"app\":\"NAME\"}},\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"none\"}]}}}}";

/// Controllers make exactly one ReplicaSet of a Deployment.
fn deploy(server: &Server, name: &str) {
    let file = server.process.folder.join(format!("{name}.json"));
    fs::write(&file, DEPLOYMENT.replace("NAME", name)).expect("written");
    server.ok("kubectl", &["apply", "-f", file.to_str().expect("utf-8")]);
    let sets = || server.ok("kubectl", &["get", "replicasets", "-l", &format!("app={name}"), "-o", "name"]);
    let made = eventually("a ReplicaSet", || Some(sets()).filter(|sets| !sets.is_empty()));
    assert_eq!(made.lines().count(), 1, "{made}");
}

#[test]
fn servers_that_share_an_etcd_are_one_cluster() {
    let Some(etcd) = Etcd::start() else { return };
    let mut first = start(&etcd, &[]);
    let folder = beside(&first);
    let listen = format!("127.0.0.1:{}", free_port("127.0.0.1"));
    let process = Process::start(folder.path(), &["server", "--listen", &listen, "--etcd-servers", &etcd.client]);
    let second = Server::new(process, &listen, folder);
    let mut seen = Lines::of(&second, &["get", "configmaps", "--watch", "-o", "name"]);
    first.ok("kubectl", &["create", "configmap", "by-the-first"]);
    assert!(seen.any(|line| line == "configmap/by-the-first"), "the other one's watch tells of it");
    let mut seen = Lines::of(&first, &["get", "configmaps", "--watch", "-o", "name"]);
    second.ok("kubectl", &["create", "configmap", "by-the-second"]);
    assert!(seen.any(|line| line == "configmap/by-the-second"));
    // What one gave out, the other one takes: they have the same keys.
    let token = first.ok("kubectl", &["create", "token", "default"]);
    let ca = second.process.folder.join("pki/ca.crt");
    let mut whoami = Command::new("kubectl");
    whoami.args(["--kubeconfig", "/dev/null", "--server", &second.url, "--token", token.trim()]);
    let output = whoami.arg("--certificate-authority").arg(ca).args(["auth", "whoami"]).output().expect("it starts");
    assert!(text(&output.stdout).contains("system:serviceaccount:default:default"), "{}", text(&output.stderr));
    deploy(&second, "both");
    assert_eq!(etcd.keys("/coracle/leader").len(), 1);
    // The first one stops, and the other one does its work.
    assert_eq!(first.process.terminate(), Some(0));
    deploy(&second, "second");
    // And the other way round, when the one that is elected is killed.
    let listen = first.url.strip_prefix("https://").expect("a URL").to_owned();
    let folder: PathBuf = first.process.folder.clone();
    first.process = Process::start(&folder, &["server", "--listen", &listen, "--etcd-servers", &etcd.client]);
    drop(second);
    deploy(&first, "first");
}

#[test]
fn certificates_are_shown_to_an_etcd_and_asked_of_it() {
    let papers = Papers::new("an authority");
    let tls = [("--cert-file", "server.crt"), ("--key-file", "server.key"), ("--trusted-ca-file", "ca.crt")];
    let mut arguments: Vec<String> =
        tls.iter().flat_map(|(option, file)| [(*option).to_owned(), papers.file(file)]).collect();
    arguments.push("--client-cert-auth".to_owned());
    let Some(etcd) = Etcd::start_with("https", &arguments) else { return };
    let (ca, certificate, key) = (papers.file("ca.crt"), papers.file("client.crt"), papers.file("client.key"));
    let good = ["--etcd-cafile", &ca, "--etcd-certfile", &certificate, "--etcd-keyfile", &key];
    let server = start(&etcd, &good);
    server.ok("kubectl", &["create", "configmap", "kept"]);
    // What is wrong is one line of the log, and the server waits.
    let others = Papers::new("another authority");
    let (other_ca, other_certificate, other_key) =
        (others.file("ca.crt"), others.file("client.crt"), others.file("client.key"));
    for (wrong, words) in [
        (vec!["--etcd-cafile", &other_ca, "--etcd-certfile", &certificate, "--etcd-keyfile", &key], "UnknownIssuer"),
        (vec!["--etcd-cafile", &ca], "ertificate"),
        (vec!["--etcd-cafile", &ca, "--etcd-certfile", &other_certificate, "--etcd-keyfile", &other_key], "ertificate"),
    ] {
        let said = refused(&etcd.client, &wrong);
        println!("{said}");
        assert!(said.contains(words) && said.contains(&etcd.client), "{wrong:?}: {said}");
    }
    let said = refused(&etcd.client.replace("https", "http"), &[]);
    assert!(said.contains("https://"), "{said}");
}

/// The one line about an etcd that is not reached.
fn refused(endpoint: &str, more: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = coracle();
    command.args(["server", "--listen", "127.0.0.1:0", "--etcd-servers", endpoint, "--data-dir"]).arg(folder.path());
    let mut child = command.args(more).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    let line = lines.next().expect("it says something");
    child.kill().expect("it waits");
    child.wait().expect("it has ended");
    assert!(line.contains("etcd is not reached"), "{line}");
    line
}

#[test]
fn what_makes_no_sense_with_an_etcd_is_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let none = folder.path().join("none");
    let none = none.to_str().expect("utf-8");
    let says = |arguments: &[&str]| {
        let mut command = coracle();
        command.args(["server", "--listen", "127.0.0.1:0", "--data-dir"]).arg(folder.path()).args(arguments);
        let output = command.output().expect("it starts");
        let said = text(&output.stderr);
        assert_eq!(said.lines().count(), 1, "{said}");
        (output.status.code(), said)
    };
    let etcd = ["--etcd-servers", "https://127.0.0.1:1"];
    let with = |more: &[&'static str]| says(&[&etcd, more].concat());
    let (status, said) = with(&["--join", "https://127.0.0.1:2", "--token", "a"]);
    assert!(status == Some(2) && said.contains("--join"), "{said}");
    let (status, said) = with(&["--etcd-listen", "127.0.0.1:0"]);
    assert!(status == Some(2) && said.contains("--etcd-listen"), "{said}");
    let (status, said) = says(&[&etcd[..], &["--etcd-cafile", none]].concat());
    assert!(status == Some(1) && said.contains(none), "{said}");
    for wrong in ["127.0.0.1:2379", "ftp://127.0.0.1:1", "https://", "http://a b:1", "http://127.0.0.1"] {
        let (status, said) = says(&["--etcd-servers", wrong]);
        assert!(status == Some(2) && said.contains("https://HOST:PORT"), "{wrong}: {said}");
    }
}
