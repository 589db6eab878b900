//! Members that keep one store: ours, or etcd's from Debian; or one that keeps nothing.

use crate::bare::Bare;
use crate::etcd::Client;
use crate::process::{Server, eventually, free_port};
use crate::{cores, machine};
use controlplane::etcd::wire::{Empty, StatusResponse};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

pub(crate) struct Group {
    pub(crate) name: &'static str,
    /// Where each serves etcd's API.
    ports: Vec<u16>,
    members: Members,
}

enum Members {
    Ours(Vec<Server>),
    Etcd(Vec<Child>, #[allow(dead_code, reason = "held until the members end")] TempDir),
    Bare(Child),
}

impl Group {
    pub(crate) fn ours(size: usize) -> Group {
        let mut servers: Vec<Server> = Vec::new();
        let mut ports = Vec::new();
        for _ in 0..size {
            let port = free_port("127.0.0.1");
            let listen = format!("127.0.0.1:{port}");
            let mut arguments = vec!["--etcd-listen", &listen, "--etcd-insecure"];
            // What `member add` prints is the command of the new member.
            let line = servers.first().map(|first| first.ok("coracle", &["member", "add"]));
            let words: Vec<&str> = line.iter().flat_map(|line| line.split_whitespace()).collect();
            arguments.extend(words.iter().skip(2));
            servers.push(Server::start("server", free_port("127.0.0.1"), &arguments));
            ports.push(port);
        }
        if size > 1 {
            eventually("members that vote", || {
                let list = servers[0].ok("coracle", &["member", "list"]);
                let voting = list.lines().filter(|line| line.contains(" leader") || line.contains(" voter"));
                (voting.count() == size).then_some(())
            });
        }
        Group::new("ours", ports, Members::Ours(servers))
    }

    /// `None`: it is not installed.
    pub(crate) fn etcd(size: usize) -> Option<Group> {
        Command::new("etcd").arg("--version").output().ok()?;
        let folder = tempfile::tempdir().expect("a folder");
        let client: Vec<u16> = (0..size).map(|_| free_port("127.0.0.1")).collect();
        let peer: Vec<u16> = (0..size).map(|_| free_port("127.0.0.1")).collect();
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        // As members of ours do, they speak TLS with each other.
        let peer_url = |port: u16| format!("https://127.0.0.1:{port}");
        let all: Vec<String> = peer.iter().enumerate().map(|(i, port)| format!("m{i}={}", peer_url(*port))).collect();
        let start = |(i, (client, peer)): (usize, (&u16, &u16))| {
            let mut command = Command::new("etcd");
            command.args(["--name", &format!("m{i}"), "--data-dir"]).arg(folder.path().join(format!("m{i}")));
            command.args(["--listen-client-urls", &url(*client), "--advertise-client-urls", &url(*client)]);
            command.args(["--listen-peer-urls", &peer_url(*peer), "--initial-advertise-peer-urls", &peer_url(*peer)]);
            command.args(["--peer-auto-tls", "--initial-cluster", &all.join(",")]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("etcd starts")
        };
        let children = client.iter().zip(&peer).enumerate().map(start).collect();
        Some(Group::new("etcd", client, Members::Etcd(children, folder)))
    }

    /// Takes puts by the HTTP/2 library, and keeps nothing of them that could be read.
    pub(crate) fn bare(what: Bare) -> Group {
        let port = free_port("127.0.0.1");
        Group::new("HTTP/2 alone", vec![port], Members::Bare(what.start(port)))
    }

    fn new(name: &'static str, ports: Vec<u16>, members: Members) -> Group {
        let group = Group { name, ports, members };
        for port in &group.ports {
            eventually("the member listens", || TcpStream::connect(("127.0.0.1", *port)).ok());
        }
        for pid in group.processes() {
            cores::pin(pid, cores::SERVERS);
        }
        group
    }

    pub(crate) fn processes(&self) -> Vec<u32> {
        match &self.members {
            Members::Ours(servers) => servers.iter().map(|server| server.process.id()).collect(),
            Members::Etcd(children, _) => children.iter().map(Child::id).collect(),
            Members::Bare(child) => vec![child.id()],
        }
    }

    /// Processor seconds of all members so far.
    pub(crate) fn cpu(&self) -> f64 {
        self.processes().into_iter().map(machine::cpu).sum()
    }

    /// The most memory that a member has now.
    pub(crate) fn resident(&self) -> u64 {
        self.processes().into_iter().map(machine::resident).max().expect("a member")
    }

    /// Where the member that leads serves.
    pub(crate) async fn leader(&self) -> u16 {
        if let (Members::Bare(_), [port]) = (&self.members, &*self.ports) {
            return *port;
        }
        for port in &self.ports {
            let status: StatusResponse =
                dial(*port).await.call("Maintenance/Status", &Empty {}).await.expect("a status");
            if status.header.is_some_and(|header| header.member_id == status.leader) {
                return *port;
            }
        }
        panic!("nobody leads");
    }
}

/// A connection to a member.
pub(crate) async fn dial(port: u16) -> Client {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the member listens");
    Client::over(stream).await.expect("it speaks HTTP/2")
}

impl Drop for Group {
    fn drop(&mut self) {
        let children = match &mut self.members {
            Members::Ours(_) => return,
            Members::Etcd(children, _) => children.as_mut_slice(),
            Members::Bare(child) => std::slice::from_mut(child),
        };
        for child in children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
