//! Three members of the control plane, each on a host of its own, and what can happen to them.

use crate::etcd::Client;
use crate::hosts::{Host, Lab};
use crate::process::{Process, coracle, eventually, text};
use controlplane::etcd::wire::{Empty, StatusResponse};
use rand::Rng as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

pub(crate) const MEMBERS: usize = 3;
const PORT: u16 = 6443;
const ETCD_PORT: u16 = 2379;
/// A member that stands still takes a hundred connections or so, and then none.
const DIAL_LIMIT: Duration = Duration::from_millis(200);

pub(crate) struct Voters {
    pub(crate) hosts: Arc<Vec<Host>>,
    processes: Vec<Process>,
    folders: Vec<TempDir>,
    lab: Lab,
}

/// What happens to them; each ends by [`Voters::heal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Kill(usize),
    /// It stands still, and goes on as if nothing had been.
    Stop(usize),
    /// Nothing that the first one sends reaches the second.
    OneWay(usize, usize),
    TwoWays(usize, usize),
    /// Its cable is pulled.
    Isolate(usize),
    /// It is heard by the others, and hears nobody.
    Deafen(usize),
    /// It hears the others, and nobody hears it.
    Mute(usize),
}

/// What happens to a member, or between it and another one.
type Make = fn(usize, usize) -> Fault;

const TO_PROCESSES: [Make; 2] = [|member, _| Fault::Kill(member), |member, _| Fault::Stop(member)];
const TO_LINKS: [Make; 6] = [
    |member, other| Fault::OneWay(member, other),
    |member, other| Fault::OneWay(other, member),
    |member, other| Fault::TwoWays(member, other),
    |member, _| Fault::Isolate(member),
    |member, _| Fault::Deafen(member),
    |member, _| Fault::Mute(member),
];

/// All that can happen, to the member that leads and to another one, in any order; then all of it again.
pub(crate) struct Deck {
    can_cut: bool,
    left: Vec<(Make, bool)>,
}

// === impl Deck ===

impl Deck {
    /// `can_cut`: also to links.
    pub(crate) fn new(can_cut: bool) -> Deck {
        Deck { can_cut, left: Vec::new() }
    }

    pub(crate) fn draw(&mut self, random: &mut SmallRng, leader: usize) -> Fault {
        if self.left.is_empty() {
            let links: &[Make] = if self.can_cut { &TO_LINKS } else { &[] };
            let makes = TO_PROCESSES.iter().chain(links);
            self.left = makes.flat_map(|make| [(*make, true), (*make, false)]).collect();
            self.left.shuffle(random);
        }
        let (make, is_leader) = self.left.pop().expect("it was filled");
        let away = random.random_range(1..MEMBERS);
        let member = if is_leader { leader } else { (leader + away) % MEMBERS };
        make(member, (member + random.random_range(1..MEMBERS)) % MEMBERS)
    }
}

// === impl Fault ===

impl Fault {
    /// What it is called in counts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::Kill(_) => "kill",
            Fault::Stop(_) => "stop",
            Fault::OneWay(..) => "one way cut",
            Fault::TwoWays(..) => "both ways cut",
            Fault::Isolate(_) => "isolated",
            Fault::Deafen(_) => "deafened",
            Fault::Mute(_) => "muted",
        }
    }

    /// Does it strike this member, rather than others or the way to it?
    pub(crate) fn strikes(self, wanted: usize) -> bool {
        match self {
            Fault::Kill(member)
            | Fault::Stop(member)
            | Fault::Isolate(member)
            | Fault::Deafen(member)
            | Fault::Mute(member) => member == wanted,
            Fault::OneWay(from, to) | Fault::TwoWays(from, to) => from == wanted || to == wanted,
        }
    }

    fn ways(self) -> Vec<(usize, usize)> {
        let others = |member: usize| (0..MEMBERS).filter(move |other| *other != member);
        match self {
            Fault::OneWay(from, to) => vec![(from, to)],
            Fault::TwoWays(one, other) => vec![(one, other), (other, one)],
            Fault::Deafen(member) => others(member).map(|other| (other, member)).collect(),
            Fault::Mute(member) => others(member).map(|other| (member, other)).collect(),
            Fault::Kill(_) | Fault::Stop(_) | Fault::Isolate(_) => Vec::new(),
        }
    }
}

// === impl Voters ===

impl Voters {
    pub(crate) fn start() -> Voters {
        let lab = Lab::new();
        let hosts = Arc::new((0..MEMBERS).map(|member| lab.host(&format!("m{member}"))).collect());
        let mut voters = Voters { hosts, processes: Vec::new(), folders: Vec::new(), lab };
        for member in 0..MEMBERS {
            voters.folders.push(tempfile::tempdir().expect("a folder"));
            let more = if member == 0 { Vec::new() } else { voters.invitation(0) };
            voters.processes.push(voters.process(member, &more));
        }
        voters.settled(0);
        voters
    }

    /// False, and said so, where links cannot be cut.
    pub(crate) fn can_cut(&self) -> bool {
        self.lab.can_cut("cut links between members")
    }

    fn arguments(&self, member: usize, more: &[String]) -> Vec<String> {
        let host = &self.hosts[member];
        let (listen, etcd) = (SocketAddr::new(host.address, PORT).to_string(), etcd_address(host).to_string());
        let arguments = ["server", "--listen", &listen, "--etcd-listen", &etcd, "--etcd-insecure"];
        // Nobody writes but the test.
        let quiet = ["--disable", "controllers,scheduler"];
        arguments.iter().chain(&quiet).map(|word| (*word).to_owned()).chain(more.iter().cloned()).collect()
    }

    fn process(&self, member: usize, more: &[String]) -> Process {
        let arguments = self.arguments(member, more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.hosts[member].start(self.folders[member].path(), &arguments)
    }

    /// What a newcomer has to be told.
    fn invitation(&self, asked: usize) -> Vec<String> {
        let output = self.command(asked, &["member", "add"]);
        let line = text(&output.stdout);
        assert!(output.status.success(), "{line}{}", text(&output.stderr));
        line.split_whitespace().skip(2).map(str::to_owned).collect()
    }

    fn command(&self, asked: usize, arguments: &[&str]) -> Output {
        let kubeconfig = self.folders[asked].path().join("admin.kubeconfig");
        coracle().args(arguments).env("KUBECONFIG", kubeconfig).output().expect("it starts")
    }

    /// Id, URL and role of each, as a member says; empty if it says nothing.
    fn list(&self, asked: usize) -> Vec<[String; 3]> {
        let out = text(&self.command(asked, &["member", "list"]).stdout);
        let cells = |line: &str| {
            let cells: Vec<&str> = line.split_whitespace().collect();
            [cells[0], cells[2], cells[3]].map(str::to_owned)
        };
        out.lines().skip(1).map(cells).collect()
    }

    /// Waits until all vote.
    fn settled(&self, asked: usize) {
        eventually("members that vote, and one that leads", || {
            let list = self.list(asked);
            let count = |wanted: &str| list.iter().filter(|[.., role]| role == wanted).count();
            (count("leader") == 1 && count("voter") == MEMBERS - 1).then_some(())
        });
    }

    pub(crate) fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(member) => self.processes[member].kill(),
            Fault::Stop(member) => self.signal(member, "-STOP"),
            Fault::Isolate(member) => self.hosts[member].cut(),
            Fault::OneWay(..) | Fault::TwoWays(..) | Fault::Deafen(_) | Fault::Mute(_) => {
                for (from, to) in fault.ways() {
                    self.hosts[from].lose(&self.hosts[to]);
                }
            }
        }
    }

    pub(crate) fn heal(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(member) => self.processes[member] = self.process(member, &[]),
            Fault::Stop(member) => self.signal(member, "-CONT"),
            Fault::Isolate(member) => self.hosts[member].restore(),
            Fault::OneWay(..) | Fault::TwoWays(..) | Fault::Deafen(_) | Fault::Mute(_) => {
                for (from, to) in fault.ways() {
                    self.hosts[from].find(&self.hosts[to]);
                }
            }
        }
    }

    fn signal(&self, member: usize, name: &str) {
        let id = self.processes[member].id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().expect("kill runs").success());
    }

    /// A member's disk is lost, and `meanwhile` goes on; then another one takes its place.
    pub(crate) fn lose_disk(&mut self, member: usize, meanwhile: impl Fn()) {
        let asked = (member + 1) % MEMBERS;
        self.processes[member].kill();
        // With its keys alone it would pass for a cluster without data.
        let path = self.folders[member].path();
        std::fs::remove_dir_all(path.join("store")).expect("it goes");
        let arguments = self.arguments(member, &[]);
        let run = || coracle().args(&arguments).arg("--data-dir").arg(path).output().expect("it starts");
        let refused = self.hosts[member].within(run);
        let said = text(&refused.stderr);
        assert!(refused.status.code() == Some(1) && said.contains("not its store"), "{said}");
        meanwhile();
        let url = format!("https://{}", SocketAddr::new(self.hosts[member].address, PORT));
        let list = self.list(asked);
        let [id, ..] = list.iter().find(|[_, known, _]| *known == url).expect("it is still a member");
        let removed = self.command(asked, &["member", "remove", id]);
        assert!(removed.status.success(), "{}", text(&removed.stderr));
        meanwhile();
        self.folders[member] = tempfile::tempdir().expect("a folder");
        self.processes[member] = self.process(member, &self.invitation(asked));
        self.settled(asked);
    }

    /// Who leads, as a member says that knows it.
    pub(crate) fn leader(&self, runtime: &tokio::runtime::Runtime) -> usize {
        let status = |host: &Host| {
            runtime.block_on(async {
                let mut client = Client::over(dial(host)?).await.ok()?;
                let asked = Empty::default();
                let status = client.call("Maintenance/Status", &asked);
                let status: StatusResponse = tokio::time::timeout(crate::process::LIMIT, status).await.ok()?.ok()?;
                Some((status.header.as_ref()?.member_id, status.leader))
            })
        };
        eventually("a member that leads", || {
            let known: Vec<_> = self.hosts.iter().filter_map(status).collect();
            let leads = |(id, leader): &(u64, u64)| id == leader;
            (known.len() == MEMBERS).then(|| known.iter().position(leads)).flatten()
        })
    }
}

/// On a network of its own, a host has the loopback address for itself.
fn etcd_address(host: &Host) -> SocketAddr {
    let address = if host.has_network() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { host.address };
    SocketAddr::new(address, ETCD_PORT)
}

/// A connection within a host, which no cut link breaks; `None` if nobody takes it.
pub(crate) fn dial(host: &Host) -> Option<TcpStream> {
    host.within(|| TcpStream::connect_timeout(&etcd_address(host), DIAL_LIMIT).ok())
}
