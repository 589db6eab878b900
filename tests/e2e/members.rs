//! Three members that keep the cluster's state: what one takes, all have, and any one of them may go.

use crate::process::{Process, Server, coracle, eventually, free_port, text};
use std::path::PathBuf;
use std::process::{Command, Output};

/// The members of one control plane, each in a folder of its own.
pub(crate) struct Group {
    members: Vec<Server>,
    ports: Vec<u16>,
    /// Beside the address, for each of them.
    more: Vec<Vec<String>>,
}

impl Group {
    pub(crate) fn start(size: usize) -> Group {
        Group::start_with(vec![Vec::new(); size])
    }

    /// With arguments for each.
    pub(crate) fn start_with(more: Vec<Vec<String>>) -> Group {
        let size = more.len();
        let mut group = Group { members: Vec::new(), ports: Vec::new(), more };
        for _ in 0..size {
            group.add();
        }
        group.settled(size);
        group
    }

    /// One more, with a token of its own.
    fn add(&mut self) {
        let port = free_port("127.0.0.1");
        let mut arguments = self.more.get(self.members.len()).cloned().unwrap_or_default();
        if !self.members.is_empty() {
            let (server, token) = self.invitation();
            arguments.extend(["--join".to_owned(), server, "--token".to_owned(), token]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.members.push(Server::start("server", port, &arguments));
        self.ports.push(port);
    }

    /// URL and token of the command that `member add` prints.
    fn invitation(&self) -> (String, String) {
        let line = self.members[0].ok("coracle", &["member", "add"]);
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((words[..3].to_vec(), words[4]), (vec!["coracle", "server", "--join"], "--token"), "{line}");
        (words[3].to_owned(), words[5].to_owned())
    }

    /// Waits until so many vote and one leads.
    pub(crate) fn settled(&self, size: usize) {
        eventually("members that vote, and one that leads", || {
            let roles = self.roles(0)?;
            let count = |wanted: &str| roles.iter().filter(|(_, role)| role == wanted).count();
            (count("leader") == 1 && count("voter") == size - 1).then_some(())
        });
    }

    /// URL and role of each, as a member says; `None` if it says nothing.
    fn roles(&self, asked: usize) -> Option<Vec<(String, String)>> {
        let output = self.members[asked].run(coracle().args(["member", "list"]));
        let out = text(&output.stdout);
        let cells = |line: &str| {
            let cells: Vec<&str> = line.split_whitespace().collect();
            (cells[2].to_owned(), cells[3].to_owned())
        };
        output.status.success().then(|| out.lines().skip(1).map(cells).collect())
    }

    pub(crate) fn id(&self, member: usize, asked: usize) -> String {
        let out = self.members[asked].ok("coracle", &["member", "list"]);
        let line = out.lines().find(|line| line.contains(&self.members[member].url)).expect("it is a member");
        line.split_whitespace().next().expect("a line").to_owned()
    }

    pub(crate) fn leader(&self, asked: usize) -> Option<usize> {
        let roles = self.roles(asked)?;
        let (url, _) = roles.iter().find(|(_, role)| role == "leader")?;
        self.members.iter().position(|member| member.url == *url)
    }

    pub(crate) fn kill(&mut self, member: usize) {
        self.members[member].process.kill();
    }

    pub(crate) fn url(&self, member: usize) -> &str {
        &self.members[member].url
    }

    /// Waits until it ends by itself; its exit status.
    pub(crate) fn wait(&mut self, member: usize) -> Option<i32> {
        self.members[member].process.wait()
    }

    pub(crate) fn id_of_process(&self, member: usize) -> u32 {
        self.members[member].process.id()
    }

    pub(crate) fn kubeconfig(&self, member: usize) -> PathBuf {
        self.members[member].kubeconfig()
    }

    pub(crate) fn restart(&mut self, member: usize) {
        let listen = format!("127.0.0.1:{}", self.ports[member]);
        let folder = self.folder(member);
        let mut arguments = vec!["server", "--listen", &listen];
        arguments.extend(self.more.get(member).into_iter().flatten().map(String::as_str));
        self.members[member].process = Process::start(&folder, &arguments);
    }

    fn folder(&self, member: usize) -> PathBuf {
        self.members[member].process.folder.clone()
    }

    pub(crate) fn kubectl(&self, member: usize, arguments: &[&str]) -> Output {
        self.members[member].run(Command::new("kubectl").args(arguments))
    }

    /// Writes by a member, which may have to wait for a leader.
    fn write(&self, member: usize, name: &str) {
        eventually("a write that is taken", || {
            let output = self.kubectl(member, &["create", "configmap", name]);
            // One whose outcome was unknown may have been done.
            let is_there = text(&output.stderr).contains("AlreadyExists");
            (output.status.success() || is_there).then_some(())
        });
    }

    fn names(&self, member: usize) -> Vec<String> {
        let output = self.kubectl(member, &["get", "configmaps", "-o", "name"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).lines().map(|line| line.trim_start_matches("configmap/").to_owned()).collect()
    }
}

#[test]
fn what_one_member_takes_all_have_and_the_leader_may_go() {
    let mut group = Group::start(3);
    let mut written = Vec::new();
    for member in 0..3 {
        written.push(format!("by-{member}"));
        group.write(member, &written[member]);
        // Whoever is asked next knows of it.
        for other in 0..3 {
            let names = group.names(other);
            assert!(written.iter().all(|name| names.contains(name)), "{other}: {names:?} of {written:?}");
        }
    }
    let leader = group.leader(0).expect("one leads");
    let other = (leader + 1) % 3;
    group.members[leader].process.kill();
    group.write(other, "after-kill");
    group.restart(leader);
    assert!(group.names(leader).contains(&"after-kill".to_owned()));
    // One that stops hands over first.
    let leader = group.leader(other).expect("one leads");
    let other = (leader + 1) % 3;
    assert_eq!(group.members[leader].process.terminate(), Some(0));
    let next = group.leader(other).expect("another one leads at once");
    assert_ne!(next, leader);
    group.write(other, "after-stop");
    group.restart(leader);
    assert!(group.names(leader).contains(&"after-stop".to_owned()));
    // Without most of them nothing is promised, and nothing is lost.
    group.members[other].process.kill();
    group.members[leader].process.kill();
    let last = 3 - leader - other;
    let refused = group.kubectl(last, &["create", "configmap", "alone"]);
    assert!(!refused.status.success(), "a member alone takes nothing");
    group.restart(other);
    assert!(group.names(other).contains(&"after-stop".to_owned()));
}

#[test]
fn a_snapshot_becomes_another_cluster_with_the_same_keys() {
    let mut group = Group::start(1);
    group.write(0, "kept");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("snapshot");
    let file = file.to_str().expect("utf-8");
    let saved = group.members[0].ok("coracle", &["snapshot", "save", file]);
    assert!(saved.starts_with(&format!("{file} is saved\nCLUSTER")), "{saved}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).expect("it is there").permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(saved.ends_with(&group.members[0].ok("coracle", &["snapshot", "status", file])), "{saved}");
    group.write(0, "lost");
    let before = revision(&group, 0);
    // Whoever has credentials of the old cluster has them for the new one.
    let credentials = std::fs::read(group.members[0].kubeconfig()).expect("it is there");
    let to = folder.path().join("restored");
    let to = to.to_str().expect("utf-8");
    let restore = || coracle().args(["snapshot", "restore", file, "--data-dir", to]).output().expect("it starts");
    let restored = restore();
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    assert!(!restore().status.success(), "a folder that holds something is left alone");
    group.members[0].process.kill();
    let listen = format!("127.0.0.1:{}", group.ports[0]);
    group.members[0].process = Process::start(to.as_ref(), &["server", "--listen", &listen]);
    std::fs::write(group.members[0].kubeconfig(), credentials).expect("written");
    let names = group.names(0);
    assert!(names.contains(&"kept".to_owned()) && !names.contains(&"lost".to_owned()), "{names:?}");
    assert!(revision(&group, 0) > before + 900_000_000);
    group.write(0, "after");
    group.add();
    group.settled(2);
    assert!(group.names(1).contains(&"after".to_owned()));
}

fn revision(group: &Group, member: usize) -> u64 {
    let output = group.kubectl(member, &["get", "--raw", "/api/v1/configmaps"]);
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a list");
    list["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a revision")
}

#[test]
fn members_are_added_once_and_removed_for_good() {
    let mut group = Group::start(1);
    group.write(0, "before");
    let (server, token) = group.invitation();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("utf-8");
    let listen = format!("127.0.0.1:{}", free_port("127.0.0.1"));
    let join = |token: &str, path: &str| {
        let command = ["server", "--listen", &listen, "--data-dir", path, "--join", &server, "--token", token];
        let output = coracle().args(command).output().expect("it starts");
        (output.status.code(), text(&output.stderr))
    };
    // A node's token is none for a member.
    let node = group.members[0].ok("coracle", &["token", "create"]);
    let (status, said) = join(node.trim(), path);
    assert!(status == Some(1) && said.contains("member"), "{said}");
    let port = free_port("127.0.0.1");
    group.members.push(Server::start("server", port, &["--join", &server, "--token", &token]));
    group.ports.push(port);
    group.settled(2);
    assert!(group.names(1).contains(&"before".to_owned()));
    let (status, said) = join(&token, path);
    assert!(status == Some(1) && said.contains("401"), "a token is good for one: {said}");
    group.add();
    group.settled(3);
    // Any member is asked for any change, also the one that leads for its own removal.
    let leader = group.leader(0).expect("one leads");
    let (asked, id) = ((leader + 1) % 3, group.id(leader, 0));
    group.members[asked].ok("coracle", &["member", "remove", &id]);
    let status = group.members[leader].process.wait();
    assert_eq!(status, Some(1));
    eventually("two members that go on", || (group.roles(asked)?.len() == 2).then_some(()));
    group.write(asked, "after");
    let folder = group.folder(leader);
    let listen = format!("127.0.0.1:{}", group.ports[leader]);
    let output = coracle().args(["server", "--listen", &listen, "--data-dir"]).arg(folder).output().expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("was removed from its cluster"), "{}", text(&output.stderr));
    let unknown = group.members[asked].run(coracle().args(["member", "remove", &id]));
    assert!(text(&unknown.stderr).contains("is not one of the members"), "{}", text(&unknown.stderr));
}
