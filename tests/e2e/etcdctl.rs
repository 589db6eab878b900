//! etcd's API with the stock client: what etcdctl says of our store is what it says of a real etcd, beside it in the
//! same test.

use crate::process::{LIMIT, Process, Server, coracle, eventually, free_port, text};
use crate::wire::Identity;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use tempfile::TempDir;

/// A server that nothing but the test writes to.
const QUIET: [&str; 2] = ["--disable", "controllers,scheduler"];

/// A cluster that etcdctl can ask.
pub(crate) struct Etcd {
    access: Vec<String>,
    /// Its revision before the test wrote anything.
    base: i64,
    /// The leases that the test has seen, by what takes their place in commands and outputs.
    leases: BTreeMap<String, String>,
    _held: Held,
}

enum Held {
    Ours { _server: Box<Server> },
    Real { child: Child, _folder: TempDir },
    Elsewhere,
}

/// What came of a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) succeeded: bool,
    pub(crate) out: String,
    pub(crate) error: String,
}

// === impl Held ===

impl Drop for Held {
    fn drop(&mut self) {
        if let Held::Real { child, .. } = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The etcdctl under test: `CORACLE_ETCDCTL`, or the one on PATH.
pub(crate) fn program() -> String {
    std::env::var("CORACLE_ETCDCTL").unwrap_or_else(|_| "etcdctl".to_owned())
}

// === impl Etcd ===

impl Etcd {
    fn ours() -> Etcd {
        let port = free_port("127.0.0.1");
        let listen = format!("127.0.0.1:{port}");
        let mut arguments = vec!["--etcd-listen", &listen, "--etcd-insecure"];
        arguments.extend(QUIET);
        let server = Server::start("server", free_port("127.0.0.1"), &arguments);
        Etcd::new(vec![format!("--endpoints=http://{listen}")], Held::Ours { _server: Box::new(server) })
    }

    /// Debian's, if it is installed.
    fn real() -> Option<Etcd> {
        if Command::new("etcd").arg("--version").output().is_err() {
            eprintln!("skipped: no etcd to compare with; `cargo xtask setup` installs etcd-server");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let client = format!("http://127.0.0.1:{}", free_port("127.0.0.1"));
        let peer = format!("http://127.0.0.1:{}", free_port("127.0.0.1"));
        let log = fs::File::create(folder.path().join("log")).expect("a log file");
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(folder.path().join("data"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}")]);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("etcd starts");
        Some(Etcd::new(vec![format!("--endpoints={client}")], Held::Real { child, _folder: folder }))
    }

    /// Some members of a cluster, by their URLs.
    pub(crate) fn at(urls: &[&str]) -> Etcd {
        Etcd::new(vec![format!("--endpoints={}", urls.join(","))], Held::Elsewhere)
    }

    fn new(access: Vec<String>, held: Held) -> Etcd {
        let mut etcd = Etcd { access, base: 0, leases: BTreeMap::new(), _held: held };
        etcd.base = eventually("an answer", || {
            let said = etcd.run(&["get", "none", "-w", "json"], "");
            let tree: serde_json::Value = serde_json::from_str(&said.out).ok()?;
            tree.pointer("/header/revision")?.as_i64()
        });
        etcd
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.env("ETCDCTL_API", "3").args(&self.access);
        // `+2` is the second revision of the test, `LEASE` the lease that was granted as such.
        command.args(arguments.iter().map(|argument| {
            let revision = argument.strip_prefix('+').and_then(|number| number.parse::<i64>().ok());
            match (revision, self.leases.get(*argument)) {
                (Some(number), _) => (self.base + number).to_string(),
                (None, Some(lease)) => lease.clone(),
                (None, None) => (*argument).to_owned(),
            }
        }));
        command
    }

    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Said {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("etcdctl starts: `cargo xtask setup` installs etcd-client");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        // Before that line, it logs its attempts.
        let errors = text(&output.stderr);
        let error = errors.lines().filter(|line| line.starts_with("Error: ")).collect::<Vec<_>>().join("\n");
        Said { succeeded: output.status.success(), out: text(&output.stdout), error }
    }

    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments, "");
        assert!(said.succeeded, "{arguments:?}: {said:?}");
        said.out
    }

    /// Grants a lease, which `name` stands for from now on.
    fn grant(&mut self, name: &str, ttl: &str) -> String {
        let out = self.ok(&["lease", "grant", ttl]);
        let id = out.split_whitespace().nth(1).expect("lease ID granted with TTL").to_owned();
        self.leases.insert(name.to_owned(), id);
        self.plain(&out)
    }

    /// Without what differs between two clusters.
    fn plain(&self, out: &str) -> String {
        let mut out = out.to_owned();
        for (name, id) in &self.leases {
            out = out.replace(id, name);
        }
        match serde_json::from_str::<serde_json::Value>(&out) {
            Ok(mut tree) if tree.is_object() => {
                self.flatten(&mut tree);
                tree.to_string()
            }
            _ => out.replace(&format!("compacted revision {}", self.base + COMPACTED), "compacted revision"),
        }
    }

    fn flatten(&self, tree: &mut serde_json::Value) {
        match tree {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    match (name.as_str(), value.as_i64()) {
                        ("cluster_id" | "member_id" | "raft_term", _) => *value = 0.into(),
                        ("revision" | "create_revision" | "mod_revision", Some(revision)) => {
                            *value = (revision - self.base).into();
                        }
                        _ => self.flatten(value),
                    }
                }
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(|item| self.flatten(item)),
            _ => {}
        }
    }

    fn says(&self, arguments: &[&str], input: &str) -> Said {
        let said = self.run(arguments, input);
        Said { out: self.plain(&said.out), ..said }
    }

    /// A command that goes on.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("etcdctl starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let input = child.stdin.take().expect("a pipe");
        let (send, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Running { child, input, lines }
    }

    /// The first lines of a command that goes on.
    fn begins(&self, arguments: &[&str], lines: usize) -> Vec<String> {
        let running = self.begin(arguments);
        (0..lines).map(|_| self.plain(&running.line())).collect()
    }
}

/// Ended when it is dropped.
pub(crate) struct Running {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

// === impl Running ===

impl Running {
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(LIMIT).expect("it prints a line in time")
    }

    /// The next line that it prints, or none so far.
    pub(crate) fn soon(&self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// Ctrl-C.
    pub(crate) fn stop(&mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill runs").success());
        self.child.wait().expect("it ends");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The revision that the script compacts.
const COMPACTED: i64 = 4;

/// What is asked, and what is typed into it. The revisions count from the first write of the test.
const SCRIPT: &[(&[&str], &str)] = &[
    (&["put", "t/a", "1"], ""),
    (&["put", "t/a", "2", "--prev-kv"], ""),
    (&["put", "t/b"], "from standard input"),
    (&["put", "t/c", "3", "-w", "json"], ""),
    (&["get", "t/a"], ""),
    (&["get", "t/a", "-w", "json"], ""),
    (&["get", "t/none"], ""),
    (&["get", "t/a", "--rev", "+1"], ""),
    (&["get", "t/a", "--rev", "+99"], ""),
    (&["get", "--prefix", "t/", "-w", "json"], ""),
    (&["get", "--prefix", "t/", "--limit", "2", "-w", "json"], ""),
    (&["get", "--prefix", "t/", "--keys-only"], ""),
    (&["get", "--prefix", "t/", "--print-value-only"], ""),
    (&["get", "--prefix", "t/", "--order", "DESCEND", "--sort-by", "KEY"], ""),
    (&["get", "--prefix", "t/", "--order", "DESCEND", "--sort-by", "MODIFY", "--limit", "1", "-w", "json"], ""),
    (&["get", "--prefix", "t/", "--sort-by", "VALUE"], ""),
    (&["get", "--prefix", "t/", "--sort-by", "CREATE", "--order", "ASCEND"], ""),
    (&["get", "--prefix", "t/", "--sort-by", "VERSION", "--order", "DESCEND"], ""),
    (&["get", "t/a", "t/c"], ""),
    (&["get", "--prefix", "t/", "--consistency", "s"], ""),
    (&["get", ""], ""),
    (&["put", "t/a", "--ignore-value", "--lease", "1234"], ""),
    (&["put", "t/none", "--ignore-value"], ""),
    (&["put", "t/a", "--ignore-value", "--prev-kv", "-w", "json"], ""),
    (&["put", "t/a", "3", "--ignore-lease"], ""),
    (&["txn"], "mod(\"t/a\") > \"0\"\n\nput t/d 4\nget t/a\n\nget t/b\n\n"),
    (&["txn", "-w", "json"], "create(\"t/a\") = \"0\"\n\nput t/d 5\n\ndel t/d\nget --prefix t/\n\n"),
    (&["txn"], "value(\"t/a\") = \"3\"\nver(\"t/a\") > \"2\"\n\nget t/a\n\n\n"),
    (&["txn"], "\nput t/e 1\nput t/e 2\n\n\n"),
    (&["txn"], "\nput t/e 1\ndel --prefix t/\n\n\n"),
    (&["del", "t/b", "--prev-kv"], ""),
    (&["del", "t/b"], ""),
    (&["del", "--prefix", "t/c", "-w", "json"], ""),
    (&["lease", "timetolive", "7f"], ""),
    (&["lease", "revoke", "7f"], ""),
    (&["lease", "keep-alive", "--once", "7f"], ""),
    (&["alarm", "list"], ""),
    (&["alarm", "disarm"], ""),
    (&["compaction", "+4"], ""),
    (&["compaction", "+4"], ""),
    (&["compaction", "+999"], ""),
    (&["get", "t/a", "--rev", "+3"], ""),
    (&["get", "t/a", "--rev", "+4", "-w", "json"], ""),
    (&["watch", "t/a", "--rev", "+3"], ""),
    (&["user", "list"], ""),
    (&["role", "list"], ""),
    (&["auth", "disable"], ""),
    (&["member", "remove", "7f"], ""),
    (&["member", "promote", "7f"], ""),
    (&["member", "update", "7f", "--peer-urls=https://127.0.0.1:1"], ""),
    (&["member", "add", "other", "--peer-urls=https://127.0.0.1"], ""),
    (&["lease", "grant", "9223372036854775807"], ""),
    (&["move-leader", "1"], ""),
    (&["get", "--prefix", "t/", "-w", "json"], ""),
];

#[test]
fn etcdctl_says_of_our_store_what_it_says_of_etcd() {
    let ours = Etcd::ours();
    let real = Etcd::real();
    for (arguments, input) in SCRIPT {
        let said = ours.says(arguments, input);
        println!("{arguments:?}: {said:?}");
        if let Some(real) = &real {
            assert_eq!(said, real.says(arguments, input), "{arguments:?} {input:?} (ours, etcd's)");
        }
    }
}

#[test]
fn leases_end_with_what_is_attached_to_them() {
    let script = |mut etcd: Etcd| {
        let mut said = vec![etcd.grant("LEASE", "600"), etcd.grant("LEAST", "1")];
        let run = |etcd: &Etcd, arguments: &[&str]| etcd.plain(&etcd.ok(arguments));
        said.push(run(&etcd, &["put", "t/b", "1", "--lease", "LEASE"]));
        let look = run(&etcd, &["lease", "timetolive", "LEASE", "--keys"]);
        let (before, left) = look.split_once("remaining(").expect("it says what is left");
        said.extend([before.to_owned(), left.split_once("s)").expect("seconds").1.to_owned()]);
        said.push(run(&etcd, &["put", "t/a", "1", "--lease", "LEASE"]));
        // Long enough to be there for the next call, on a machine that has much else to do.
        said.push(etcd.grant("SHORT", "3"));
        said.push(run(&etcd, &["put", "t/c", "1", "--lease", "SHORT"]));
        said.push(run(&etcd, &["lease", "keep-alive", "--once", "LEASE"]));
        said.extend(etcd.begins(&["lease", "keep-alive", "LEASE"], 1));
        eventually("the end of a lease", || etcd.ok(&["get", "t/c"]).is_empty().then_some(()));
        said.push(run(&etcd, &["lease", "timetolive", "SHORT"]));
        said.push(run(&etcd, &["lease", "list"]));
        said.push(run(&etcd, &["lease", "revoke", "LEASE"]));
        said.push(run(&etcd, &["get", "--prefix", "t/", "-w", "json"]));
        // What goes with a lease goes in order, and in one revision.
        said.extend(etcd.begins(&["watch", "--prefix", "t/", "--rev", "+4", "--prev-kv"], 15));
        said
    };
    let said = script(Etcd::ours());
    println!("{said:#?}");
    if let Some(real) = Etcd::real() {
        assert_eq!(said, script(real), "ours, etcd's");
    }
}

#[test]
fn watches_tell_what_was_there_before() {
    let script = |etcd: Etcd| {
        etcd.ok(&["put", "t/a", "1"]);
        etcd.ok(&["put", "t/b", "1"]);
        etcd.ok(&["put", "t/a", "2"]);
        etcd.ok(&["del", "--prefix", "t/"]);
        let all = etcd.begins(&["watch", "--prefix", "t/", "--rev", "+1", "--prev-kv"], 21);
        let one = etcd.begins(&["watch", "t/a", "--rev", "+2"], 6);
        let mut several = etcd.begin(&["watch", "-i"]);
        several.input.write_all(b"watch t/x\nwatch --prefix t/y\nprogress\n").expect("it reads");
        let is_progress = |line: &String| line.starts_with("progress notify:");
        while !is_progress(&several.line()) {}
        etcd.ok(&["put", "t/x", "9"]);
        // Both watches tell of the progress that was asked for once.
        let lines = std::iter::repeat_with(|| several.line());
        let told: Vec<String> = lines.filter(|line| !is_progress(line)).take(3).collect();
        (all, one, told)
    };
    let said = script(Etcd::ours());
    println!("{said:#?}");
    if let Some(real) = Etcd::real() {
        assert_eq!(said, script(real), "ours, etcd's");
    }
}

#[test]
fn elections_and_locks_are_handed_on() {
    let etcd = Etcd::ours();
    let mut first = etcd.begin(&["elect", "t/post", "first"]);
    assert!(first.line().starts_with("t/post/"));
    assert_eq!(first.line(), "first");
    let mut second = etcd.begin(&["elect", "t/post", "second"]);
    let waiters = |prefix: &str| etcd.ok(&["get", "--prefix", prefix, "--keys-only"]).split_whitespace().count();
    eventually("a second candidate", || (waiters("t/post/") == 2).then_some(()));
    assert_eq!(etcd.begins(&["elect", "-l", "t/post"], 2)[1], "first");
    first.stop();
    while second.line() != "second" {}
    second.stop();
    let mut holder = etcd.begin(&["lock", "t/lock"]);
    assert!(holder.line().starts_with("t/lock/"));
    let mut waiting = etcd.begin(&["lock", "t/lock", "echo", "mine"]);
    eventually("a second one at the lock", || (waiters("t/lock/") == 2).then_some(()));
    holder.stop();
    assert_eq!(waiting.line(), "mine");
    assert!(waiting.child.wait().expect("it ends").success());
    assert_eq!(etcd.ok(&["get", "--prefix", "t/"]), "", "what held them is gone");
}

#[test]
fn the_member_is_shown_and_looked_after() {
    let etcd = Etcd::ours();
    let members = etcd.ok(&["member", "list"]);
    let fields: Vec<&str> = members.trim().split(", ").collect();
    assert_eq!((fields[1], fields[5]), ("started", "false"), "{members}");
    let endpoint = etcd.access[0].strip_prefix("--endpoints=").expect("it is given").to_owned();
    assert_eq!(fields[4], endpoint);
    let status = etcd.ok(&["endpoint", "status"]);
    let shown: Vec<&str> = status.trim().split(", ").map(str::trim).collect();
    assert_eq!((shown[0], shown[1], shown[4], shown[5]), (&*endpoint, fields[0], "true", "false"), "{status}");
    let health = etcd.run(&["endpoint", "health", "--cluster"], "");
    assert!(health.succeeded, "{health:?}");
    let hash = etcd.ok(&["endpoint", "hashkv"]);
    assert!(hash.starts_with(&endpoint), "{hash}");
    assert!(etcd.ok(&["defrag"]).starts_with("Finished defragmenting"));
    assert_eq!(etcd.ok(&["endpoint", "hashkv"]), hash, "it changes nothing that can be read");
    let refused = etcd.run(&["member", "add", "other", "--peer-urls=http://127.0.0.1:1"], "");
    assert!(!refused.succeeded && refused.error.contains("coracle member add"), "{refused:?}");
    for command in [&["auth", "enable"][..], &["user", "add", "root:secret"]] {
        let refused = etcd.run(command, "");
        assert!(!refused.succeeded && refused.error.contains("etcd-client.crt"), "{command:?}: {refused:?}");
    }
}

#[test]
fn what_etcdctl_saves_is_restored() {
    let etcd = Etcd::ours();
    etcd.ok(&["put", "t/kept", "1"]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("utf-8").to_owned();
    let (file, to) = (path("snapshot"), path("restored"));
    let saved = etcd.ok(&["snapshot", "save", &file]);
    assert!(saved.contains(&format!("Snapshot saved at {file}")), "{saved}");
    etcd.ok(&["put", "t/lost", "1"]);
    // It reads etcd's own files alone.
    let status = etcd.run(&["snapshot", "status", &file], "");
    assert!(!status.succeeded && status.error.contains("invalid database"), "{status:?}");
    let run = |arguments: &[&str]| {
        let output = coracle().args(arguments).output().expect("it starts");
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (succeeded, out, error) = run(&["snapshot", "status", &file]);
    assert!(succeeded && out.starts_with("CLUSTER"), "{out}{error}");
    let (succeeded, out, error) = run(&["snapshot", "restore", &file, "--data-dir", &to]);
    // The keys are for members and administrators, and not for whoever reaches this port.
    assert!(succeeded && error.contains("holds no keys"), "{out}{error}");
    assert!(!fs::exists(path("restored/pki")).expect("a folder"));
    let port = free_port("127.0.0.1");
    let (api, listen) = (format!("127.0.0.1:{}", free_port("127.0.0.1")), format!("127.0.0.1:{port}"));
    let mut arguments = vec!["server", "--listen", &api, "--etcd-listen", &listen, "--etcd-insecure"];
    arguments.extend(QUIET);
    let _restored = Process::start(to.as_ref(), &arguments);
    let again = Etcd { access: vec![format!("--endpoints=http://{listen}")], ..etcd };
    assert_eq!(again.ok(&["get", "--prefix", "t/"]), "t/kept\n1\n");
}

#[test]
fn only_an_administrator_gets_in() {
    let port = free_port("127.0.0.1");
    let listen = format!("127.0.0.1:{port}");
    let mut arguments = vec!["--etcd-listen", &listen];
    arguments.extend(QUIET);
    let server = Server::start("server", free_port("127.0.0.1"), &arguments);
    let folder = server.process.folder.clone();
    let file = |name: &str| folder.join(name).to_str().expect("utf-8").to_owned();
    let run = |access: &[String], arguments: &[&str]| {
        let mut command = Command::new(program());
        command.env("ETCDCTL_API", "3").args(access).args(arguments).arg("--command-timeout=5s");
        let output = command.output().expect("etcdctl starts");
        (output.status.success(), text(&output.stderr))
    };
    let ask = |access: &[String]| run(access, &["get", "t/a"]);
    let (endpoint, ca) = (format!("--endpoints=https://{listen}"), format!("--cacert={}", file("etcd-ca.crt")));
    let own = [format!("--cert={}", file("etcd-client.crt")), format!("--key={}", file("etcd-client.key"))];
    let administrator = [vec![endpoint.clone(), ca.clone()], own.to_vec()].concat();
    let (succeeded, said) = ask(&administrator);
    assert!(succeeded, "{said}");
    let (succeeded, said) = run(&administrator, &["endpoint", "status"]);
    assert!(succeeded, "{said}");
    let (succeeded, said) = ask(&[endpoint.clone(), ca.clone()]);
    assert!(!succeeded && said.contains("a client certificate of the group system:masters is needed"), "{said}");
    // Of the same authority, but for a server.
    let other = [format!("--cert={}", file("pki/serving.crt")), format!("--key={}", file("pki/serving.key"))];
    let (succeeded, said) = ask(&[vec![endpoint, ca], other.to_vec()].concat());
    assert!(!succeeded, "{said}");
    // Of another authority, which has the same name.
    let (chain, key) = Identity::foreign_pem("here", "system:masters");
    for (name, pem) in [("foreign.crt", chain), ("foreign.key", key)] {
        fs::write(file(name), pem).expect("written");
    }
    let foreign = [format!("--cert={}", file("foreign.crt")), format!("--key={}", file("foreign.key"))];
    let (succeeded, said) = ask(&[administrator[..2].to_vec(), foreign.to_vec()].concat());
    assert!(!succeeded && !said.contains("permission denied"), "it is refused before it can ask: {said}");
    let (succeeded, said) = ask(&[format!("--endpoints=http://{listen}")]);
    assert!(!succeeded, "{said}");
    let mode = fs::metadata(file("etcd-client.key")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_store_is_not_opened_to_everybody_by_mistake() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = coracle();
    command.args(["server", "--listen", "127.0.0.1:0", "--etcd-listen", "0.0.0.0:0", "--etcd-insecure"]);
    let output = command.arg("--data-dir").arg(folder.path()).output().expect("the binary starts");
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("--etcd-insecure") && said.contains("0.0.0.0"), "{said}");
}
