//! Machines for the tests: network namespaces, each with an address of its own, joined by a bridge that the tests reach
//! them over. Where these cannot be had, the hosts are loopback addresses, which cannot be cut off.

use crate::process::{Process, text};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Once;

/// Where `ip netns` keeps the names.
const NAMESPACES: &str = "/run/netns";
const LINKS: &str = "/sys/class/net";
/// The state of such a socket in the kernel's table.
const LISTENING: &str = "0A";
/// The last byte of the first host's address.
const FIRST_HOST: u8 = 10;

/// One network of hosts, which are gone when it is dropped.
pub(crate) struct Lab {
    number: Number,
    network: Network,
    hosts: Cell<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    /// 198.18.N.0/24 of the range for benchmarks (RFC 2544), which nobody routes.
    Bridge,
    /// 127.18.N.0/24.
    Loopback,
}

/// A number that no other lab has. The kernel takes it back however the process ends.
struct Number {
    number: u8,
    _claim: UnixListener,
}

/// One machine.
pub(crate) struct Host {
    pub(crate) address: IpAddr,
    own: Option<Own>,
}

/// A network of the host's own.
struct Own {
    namespace: String,
    /// The end of its cable that is on the bridge.
    port: String,
}

// === impl Lab ===

impl Lab {
    pub(crate) fn new() -> Lab {
        clear_after_the_dead();
        let number = (1..=u8::MAX).find_map(Number::claim).expect("a number is free");
        clear(number.number);
        let network = match bridge(number.number) {
            Ok(()) => Network::Bridge,
            Err(why) => {
                static SAID: Once = Once::new();
                SAID.call_once(|| {
                    say(&format!("skipped: network namespaces ({why}); the hosts are loopback addresses"))
                });
                Network::Loopback
            }
        };
        Lab { number, network, hosts: Cell::new(0) }
    }

    pub(crate) fn host(&self, name: &str) -> Host {
        let (count, number) = (self.hosts.get(), self.number.number);
        self.hosts.set(count + 1);
        let address = |first: u8| Ipv4Addr::new(first, 18, number, FIRST_HOST + count);
        match self.network {
            Network::Loopback => Host { address: address(127).into(), own: None },
            Network::Bridge => {
                let own =
                    Own { namespace: format!("coracle{number}-{name}"), port: format!("coracle{number}-{count}") };
                own.connect(number, address(198)).expect("a namespace joins the bridge");
                Host { address: address(198).into(), own: Some(own) }
            }
        }
    }

    /// False, and said so, where hosts cannot be cut off.
    pub(crate) fn can_cut(&self, wanted_for: &str) -> bool {
        let can = self.network == Network::Bridge;
        if !can {
            say(&format!("skipped: {wanted_for} (the hosts are loopback addresses, which cannot be cut off)"));
        }
        can
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        clear(self.number.number);
    }
}

// === impl Number ===

impl Number {
    /// `None` if another lab lives under it.
    fn claim(number: u8) -> Option<Number> {
        // Names of abstract sockets are of one network, as bridges are, and end with the process that has them.
        let name = SocketAddr::from_abstract_name(format!("coracle-lab-{number}")).ok()?;
        Some(Number { number, _claim: UnixListener::bind_addr(&name).ok()? })
    }
}

// === impl Host ===

impl Host {
    /// What a node on this host has to be told beside its server.
    pub(crate) fn node_arguments(&self) -> Vec<String> {
        match &self.own {
            // A machine of its own: the defaults have to do.
            Some(_) => Vec::new(),
            None => {
                ["--node-listen", &format!("{}:10250", self.address), "--nodeport-address", &self.address.to_string()]
                    .map(str::to_owned)
                    .to_vec()
            }
        }
    }

    /// Starts a process on this host.
    pub(crate) fn start(&self, folder: &Path, arguments: &[&str]) -> Process {
        Process::start_by(|command| self.within(|| command.spawn()), folder, arguments)
    }

    /// Runs something on this host: the sockets that it opens and the processes that it starts are the host's.
    pub(crate) fn within<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        let Some(own) = &self.own else { return run() };
        let namespace = File::open(Path::new(NAMESPACES).join(&own.namespace)).expect("the namespace is there");
        std::thread::scope(|scope| {
            // A thread moves alone, and is not used again.
            let inside = scope.spawn(|| {
                let moved = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network));
                moved.expect("a thread of root may move");
                run()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The TCP ports that somebody on this host listens on.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        let tables =
            self.within(|| ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}"))));
        let lines = tables.into_iter().flatten().flat_map(|table| table.lines().map(str::to_owned).collect::<Vec<_>>());
        let listening = lines.filter_map(|line| {
            let cells: Vec<&str> = line.split_whitespace().collect();
            let (address, port) = cells.get(1)?.rsplit_once(':')?;
            let is_here = self.own.is_some() || u32::from_str_radix(address, 16) == Ok(self.address_in_memory());
            (cells.get(3) == Some(&LISTENING) && is_here).then(|| u16::from_str_radix(port, 16).ok())?
        });
        listening.collect()
    }

    /// As the kernel prints it.
    fn address_in_memory(&self) -> u32 {
        match self.address {
            IpAddr::V4(address) => u32::from_ne_bytes(address.octets()),
            IpAddr::V6(_) => 0,
        }
    }

    /// Pulls its cable: nothing comes in or goes out, and nothing on the host ends.
    pub(crate) fn cut(&self) {
        let own = self.own.as_ref().expect("the lab can cut");
        ip(None, &format!("link set {} down", own.port)).expect("the link goes down");
    }

    pub(crate) fn restore(&self) {
        let own = self.own.as_ref().expect("the lab can cut");
        ip(None, &format!("link set {} up", own.port)).expect("the link comes up");
    }

    /// From now on nothing that this host sends reaches the other; it is not told, as with a cable that is damaged.
    pub(crate) fn lose(&self, other: &Host) {
        let own = self.own.as_ref().expect("the lab can cut");
        // A card that nobody has.
        let line = format!("neigh replace {} lladdr 02:00:c6:12:00:ff dev eth0 nud permanent", other.address);
        ip(Some(&own.namespace), &line).expect("the entry is made");
    }

    pub(crate) fn find(&self, other: &Host) {
        let own = self.own.as_ref().expect("the lab can cut");
        ip(Some(&own.namespace), &format!("neigh del {} dev eth0", other.address)).expect("the entry goes");
    }

    /// Has it a loopback address of its own?
    pub(crate) fn has_network(&self) -> bool {
        self.own.is_some()
    }

    /// From now on nothing on this host can open a connection to the other, which can open some to `port` here.
    pub(crate) fn only_answers(&self, other: &Host, port: u16) {
        let own = self.own.as_ref().expect("the lab can cut");
        let to = other.address;
        let rules = format!(
            "rule add to {to} ipproto tcp sport {port} lookup main priority 100\nrule add to {to} prohibit priority 101"
        );
        ip(Some(&own.namespace), &rules).expect("the rules are made");
    }
}

// === impl Own ===

impl Own {
    fn connect(&self, number: u8, address: Ipv4Addr) -> Result<(), String> {
        let Own { namespace, port } = self;
        let outside = format!(
            "netns add {namespace}\nlink add {port} type veth peer name eth0 netns {namespace}\n\
             link set {port} master coracle{number} up"
        );
        ip(None, &outside)?;
        let inside = format!(
            "addr add {address}/24 dev eth0\nlink set lo up\nlink set eth0 up\nroute add default via 198.18.{number}.1"
        );
        ip(Some(namespace), &inside)
    }
}

/// A bridge of which the tests hold an end; an error where namespaces are refused.
fn bridge(number: u8) -> Result<(), String> {
    let name = format!("coracle{number}");
    ip(None, &format!("netns add {name}-try\nnetns del {name}-try"))?;
    // An address of its own: a bridge without one takes that of a port, and changes it as ports come and go.
    let lines = format!(
        "link add {name} address 02:00:c6:12:{number:02x}:01 type bridge\naddr add 198.18.{number}.1/24 dev {name}\n\
         link set {name} up"
    );
    ip(None, &lines)
}

/// Removes the labs of processes that were killed.
fn clear_after_the_dead() {
    let numbers = names(LINKS).filter_map(|link| link.strip_prefix("coracle")?.parse().ok());
    for dead in numbers.filter_map(Number::claim) {
        clear(dead.number);
    }
}

/// Removes whatever a lab has made.
fn clear(number: u8) {
    let prefix = format!("coracle{number}-");
    for namespace in names(NAMESPACES).filter(|name| name.starts_with(&prefix)) {
        // A namespace lives on in its processes. They outlive a test that was killed.
        let pids = Command::new("ip").args(["netns", "pids", &namespace]).output();
        for pid in pids.map(|output| text(&output.stdout)).unwrap_or_default().split_whitespace() {
            let _ = Command::new("kill").args(["-KILL", pid]).stderr(Stdio::null()).status();
        }
        let _ = ip(None, &format!("netns del {namespace}"));
    }
    for link in names(LINKS).filter(|name| name.starts_with(&prefix) || *name == format!("coracle{number}")) {
        // A cable is gone with its namespace, if that was quicker.
        let _ = ip(None, &format!("link del {link}"));
    }
}

fn names(folder: &str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// Lines of `ip -batch`, in a namespace or here; what it said if one of them failed.
fn ip(namespace: Option<&str>, lines: &str) -> Result<(), String> {
    let mut command = Command::new("ip");
    command.args(namespace.iter().flat_map(|name| ["-n", name])).args(["-batch", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("ip does not run: {error}"))?;
    // If it ends before it has read all, its status says so.
    let _ = child.stdin.take().map(|mut input| writeln!(input, "{lines}"));
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = text(&output.stderr);
    Err(said.lines().next().unwrap_or("ip failed").to_owned())
}

/// A line that is seen although the test passes: what was not tested is said.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
