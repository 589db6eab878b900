//! The command line: what can be said, and the defaults. Where kube-apiserver or the kubelet has a flag for the same
//! thing, ours has its name.

use anyhow::{Context, Result, bail};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use controlplane::remote::endpoint;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Kubernetes for WebAssembly pods at the edge, in one binary.
#[derive(Debug, Parser)]
#[command(name = "coracle", version, max_term_width = 110, args_override_self = true, after_help = START)]
pub(crate) struct Coracle {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const START: &str = "\
Start with `coracle up`. `coracle COMMAND --help` has the options of each command; every option of up, server and node
is also an environment variable (--data-dir is CORACLE_DATA_DIR) and a line of the file that --config names.";

/// How a command that keeps running tells what it does.
#[derive(Debug, Args)]
pub(crate) struct Logging {
    /// How log lines on standard error look
    #[arg(long, env = "CORACLE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
    /// Which log lines are written, as in `info` or `warn,proxy=debug`
    #[arg(long, env = "CORACLE_LOG", default_value = "info,kube_client=off", value_name = "FILTER")]
    pub(crate) log: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything in one process: control plane, node and proxy
    Up(Box<Up>),
    /// Run a control plane
    Server(Box<Server>),
    /// Run a node that joins a control plane
    Node(Box<Node>),
    /// Make, list and revoke join tokens
    #[command(subcommand)]
    Token(Token),
    /// List, add, promote and remove the members that keep the cluster's state
    #[command(subcommand)]
    Member(Member),
    /// Save, check and restore the cluster's state
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Push, pull, list, inspect and remove images of the embedded registry
    #[command(subcommand)]
    Image(Image),
    /// Create or change the objects of a file
    Apply(Apply),
    /// Show objects
    Get(Get),
    /// Print a container's output
    Logs(Logs),
    /// Delete objects
    Delete(Delete),
    /// Print a script that lets a shell complete commands and options
    Completion {
        /// As in `source <(coracle completion bash)`
        shell: clap_complete::Shell,
    },
    /// Print the version, and those of what is inside
    Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Parts that `--disable` turns off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Scheduler,
    Controllers,
    Node,
    Proxy,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Where the API listens
    #[arg(long, env = "CORACLE_LISTEN", value_name = "ADDR:PORT", default_value = "127.0.0.1:6443")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten, next_help_heading = "Control plane")]
    pub(crate) control: Control,
    #[command(flatten, next_help_heading = "Node")]
    pub(crate) host: Host,
    #[command(flatten, next_help_heading = "Log")]
    pub(crate) logging: Logging,
}

#[derive(Debug, Args)]
pub(crate) struct Server {
    /// Where the API listens
    #[arg(long, env = "CORACLE_LISTEN", value_name = "ADDR:PORT", default_value = "0.0.0.0:6443")]
    pub(crate) listen: SocketAddr,
    /// A member of the cluster to become a member of, as in https://192.0.2.1:6443; without effect once it is one
    #[arg(long, env = "CORACLE_JOIN", value_name = "URL")]
    pub(crate) join: Option<String>,
    /// The token for that, from `coracle member add`
    #[arg(long, env = "CORACLE_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten, next_help_heading = "Control plane")]
    pub(crate) control: Control,
    #[command(flatten, next_help_heading = "Log")]
    pub(crate) logging: Logging,
}

#[derive(Debug, Args)]
pub(crate) struct Node {
    /// The API server to join, as in https://192.0.2.1:6443
    #[arg(long, env = "CORACLE_SERVER", value_name = "URL")]
    pub(crate) server: String,
    /// A join token from `coracle token create`; needed until the node has its certificate
    #[arg(long, env = "CORACLE_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten, next_help_heading = "Node")]
    pub(crate) host: Host,
    #[command(flatten, next_help_heading = "Log")]
    pub(crate) logging: Logging,
}

/// Where state is kept.
#[derive(Debug, Args)]
pub(crate) struct Data {
    /// The folder of everything that must outlive the process [default: /var/lib/coracle as root,
    /// $XDG_DATA_HOME/coracle otherwise]
    #[arg(long, env = "CORACLE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Further options as YAML, `name: value`; the command line wins
    #[arg(long, env = "CORACLE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// The control plane's options.
#[derive(Debug, Args)]
pub(crate) struct Control {
    /// The address that nodes and pods reach the API at [default: the listening one, or this host's]
    #[arg(long, env = "CORACLE_ADVERTISE_ADDRESS", value_name = "IP")]
    pub(crate) advertise_address: Option<IpAddr>,
    /// More names and addresses for the API's certificate
    #[arg(long, env = "CORACLE_TLS_SAN", value_delimiter = ',', value_name = "NAME")]
    pub(crate) tls_san: Vec<String>,
    /// CSV of `token,user,uid,"group,group"`
    #[arg(long, env = "CORACLE_TOKEN_AUTH_FILE", value_name = "FILE")]
    pub(crate) token_auth_file: Option<PathBuf>,
    /// PEM of further authorities for client certificates
    #[arg(long, env = "CORACLE_CLIENT_CA_FILE", value_name = "FILE")]
    pub(crate) client_ca_file: Option<PathBuf>,
    /// Whether a request without credentials is the user system:anonymous, or refused
    #[arg(long, env = "CORACLE_ANONYMOUS_AUTH", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) anonymous_auth: bool,
    /// Where Service addresses come from
    #[arg(long, env = "CORACLE_SERVICE_CLUSTER_IP_RANGE", value_name = "CIDR", default_value = "10.96.0.0/12")]
    pub(crate) service_cluster_ip_range: String,
    /// Where node ports come from
    #[arg(long, env = "CORACLE_SERVICE_NODE_PORT_RANGE", value_name = "A-B", default_value = "30000-32767")]
    pub(crate) service_node_port_range: String,
    /// What decides on requests, in order: Node, RBAC, AlwaysAllow, AlwaysDeny
    #[arg(
        long,
        env = "CORACLE_AUTHORIZATION_MODE",
        value_delimiter = ',',
        default_value = "Node,RBAC",
        value_name = "MODE"
    )]
    pub(crate) authorization_mode: Vec<String>,
    /// Admission plugins to turn off, by their Kubernetes names
    #[arg(long, env = "CORACLE_DISABLE_ADMISSION_PLUGINS", value_delimiter = ',', value_name = "NAME")]
    pub(crate) disable_admission_plugins: Vec<String>,
    /// How long a node may be silent before its pods are given up
    #[arg(
        long,
        env = "CORACLE_NODE_MONITOR_GRACE_PERIOD",
        value_name = "TIME",
        default_value = "40s",
        value_parser = duration
    )]
    pub(crate) node_monitor_grace_period: Duration,
    /// How long the certificates of nodes last; nodes renew theirs between 70 and 90 % of it
    #[arg(
        long,
        env = "CORACLE_CLUSTER_SIGNING_DURATION",
        value_name = "TIME",
        default_value = "8760h",
        value_parser = duration
    )]
    pub(crate) cluster_signing_duration: Duration,
    /// Serve etcd's API, version 3, for etcdctl and other clients of etcd, which see the whole store: with TLS, for
    /// client certificates of the group system:masters, such as DIR/etcd-client.crt [default: it is not served]
    #[arg(long, env = "CORACLE_ETCD_LISTEN", value_name = "ADDR:PORT")]
    pub(crate) etcd_listen: Option<SocketAddr>,
    /// Serve etcd's API in the clear and to everybody on this machine; for a loopback address alone
    #[arg(
        long,
        env = "CORACLE_ETCD_INSECURE",
        value_name = "BOOL",
        default_value_t = false,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set
    )]
    pub(crate) etcd_insecure: bool,
    #[command(flatten)]
    pub(crate) etcd: Etcd,
    /// Parts to leave out
    #[arg(long, env = "CORACLE_DISABLE", value_delimiter = ',', value_name = "PART")]
    pub(crate) disable: Vec<Part>,
}

/// An etcd that keeps the state.
#[derive(Debug, Args)]
pub(crate) struct Etcd {
    /// Keep the state in this etcd (3.4 or newer) in place of the own store: its members, as in https://192.0.2.1:2379
    #[arg(
        long = "etcd-servers",
        id = "etcd_servers",
        env = "CORACLE_ETCD_SERVERS",
        value_delimiter = ',',
        value_name = "URL"
    )]
    pub(crate) servers: Vec<String>,
    /// PEM of the authorities for that etcd's certificates [default: those that this machine trusts]
    #[arg(long = "etcd-cafile", id = "etcd_cafile", env = "CORACLE_ETCD_CAFILE", value_name = "FILE")]
    pub(crate) cafile: Option<PathBuf>,
    /// PEM of the certificate to show to that etcd
    #[arg(long = "etcd-certfile", id = "etcd_certfile", env = "CORACLE_ETCD_CERTFILE", value_name = "FILE")]
    pub(crate) certfile: Option<PathBuf>,
    /// PEM of its key
    #[arg(long = "etcd-keyfile", id = "etcd_keyfile", env = "CORACLE_ETCD_KEYFILE", value_name = "FILE")]
    pub(crate) keyfile: Option<PathBuf>,
    /// What the keys in that etcd begin with; servers with the same one are the same cluster
    #[arg(
        long = "etcd-prefix",
        id = "etcd_prefix",
        env = "CORACLE_ETCD_PREFIX",
        value_name = "PREFIX",
        default_value = "/coracle"
    )]
    pub(crate) prefix: String,
}

/// The node's options.
#[derive(Debug, Args)]
pub(crate) struct Host {
    /// The node's name [default: the host's]
    #[arg(long, env = "CORACLE_NODE_NAME", value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// Where other nodes reach this one's pods; an unspecified address stands for the one that the host reaches the
    /// server from
    #[arg(long, env = "CORACLE_NODE_LISTEN", value_name = "ADDR:PORT", default_value = "0.0.0.0:10250")]
    pub(crate) node_listen: SocketAddr,
    /// The address that node ports are opened on
    #[arg(long, env = "CORACLE_NODEPORT_ADDRESS", value_name = "IP", default_value = "0.0.0.0")]
    pub(crate) nodeport_address: IpAddr,
    /// Labels of the node, as in `site=harbour,disk=flash`
    #[arg(long, env = "CORACLE_NODE_LABELS", value_delimiter = ',', value_name = "KEY=VALUE")]
    pub(crate) node_labels: Vec<String>,
    /// Taints that the node registers with, as in `key=value:NoSchedule`
    #[arg(long, env = "CORACLE_REGISTER_WITH_TAINTS", value_delimiter = ',', value_name = "TAINT")]
    pub(crate) register_with_taints: Vec<String>,
    /// The most pods the node takes
    #[arg(long, env = "CORACLE_MAX_PODS", value_name = "COUNT", default_value_t = 2000)]
    pub(crate) max_pods: u32,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Print a new join token
    Create {
        #[command(flatten)]
        access: Access,
        /// How long it may be used, as in `24h` or `30m`; `0` for ever
        #[arg(long, default_value = "24h", value_name = "TIME", value_parser = duration)]
        ttl: Duration,
        /// What it is for
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        description: String,
    },
    /// List join tokens, without their secrets
    List {
        #[command(flatten)]
        access: Access,
    },
    /// Make a join token useless
    Revoke {
        #[command(flatten)]
        access: Access,
        /// The part before the dot
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Snapshot {
    /// Write the state, and the cluster's keys, to a file; keep it as secret as the cluster
    Save {
        #[command(flatten)]
        access: Access,
        /// A new file, readable by its owner alone
        file: PathBuf,
    },
    /// Check a file, and show what it holds
    Status { file: PathBuf },
    /// Begin a new cluster with the state of a file, in an empty data folder; then start a server in it
    Restore {
        file: PathBuf,
        #[command(flatten)]
        data: Data,
        /// How far the revision jumps ahead: more than was written since the snapshot, so that no client takes the new
        /// cluster for the old one
        #[arg(long, default_value_t = 1_000_000_000, value_name = "COUNT")]
        bump_revision: u64,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Member {
    /// Show the members, and which of them leads
    List {
        #[command(flatten)]
        access: Access,
    },
    /// Print the command that adds a server, with a token that is good for one
    Add {
        #[command(flatten)]
        access: Access,
        /// How long the token may be used
        #[arg(long, default_value = "1h", value_name = "TIME", value_parser = duration)]
        ttl: Duration,
    },
    /// Let a learner vote now; one that has caught up does so by itself
    Promote {
        #[command(flatten)]
        access: Access,
        /// As `coracle member list` shows it
        id: String,
    },
    /// Remove a member for good; its process ends
    Remove {
        #[command(flatten)]
        access: Access,
        /// As `coracle member list` shows it
        id: String,
    },
}

/// How a command reaches the API.
#[derive(Debug, Clone, Args)]
pub(crate) struct Access {
    /// Server and credentials [default: $KUBECONFIG, what `coracle up` wrote, or ~/.kube/config]
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// Which namespace a command is about.
#[derive(Debug, Clone, Args)]
pub(crate) struct Scope {
    #[command(flatten)]
    pub(crate) access: Access,
    /// The namespace [default: the kubeconfig's, or `default`]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Push a Wasm file
    #[command(after_help = "Example: coracle image push hello.wasm hello:v1")]
    Push {
        #[command(flatten)]
        access: Access,
        /// A component or a core module
        file: PathBuf,
        /// What pods name it by, as in `hello:v1`
        #[arg(value_name = "NAME:TAG")]
        reference: String,
    },
    /// Write an image's Wasm to a file
    Pull {
        #[command(flatten)]
        access: Access,
        #[arg(value_name = "NAME:TAG")]
        reference: String,
        /// Where it goes; `-` for standard output
        file: PathBuf,
    },
    /// List the images
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        access: Access,
    },
    /// Show what an image consists of
    Inspect {
        #[command(flatten)]
        access: Access,
        #[arg(value_name = "NAME:TAG")]
        reference: String,
    },
    /// Remove images; pods that run go on
    Rm {
        #[command(flatten)]
        access: Access,
        #[arg(value_name = "NAME:TAG", required = true)]
        references: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    pub(crate) scope: Scope,
    /// YAML or JSON, or a folder of such files; `-` for standard input
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
    /// Return once the Deployments among the objects are rolled out
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait, in seconds
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    pub(crate) timeout: u32,
    /// Take over fields that others have set
    #[arg(long)]
    pub(crate) force_conflicts: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Table,
    Wide,
    Json,
    Yaml,
    Name,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) scope: Scope,
    /// `pods`, `deploy`, `services`, …, or `pod/NAME`
    pub(crate) resource: String,
    /// Which ones; all of them without a name
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Those of all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Those with such labels, as in `app=hello,tier!=test`
    #[arg(short = 'l', long, default_value = "", hide_default_value = true)]
    pub(crate) selector: String,
    /// How they are shown
    #[arg(short, long, value_enum, default_value_t = Output::Table, value_name = "SHAPE")]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) scope: Scope,
    /// The pod's name
    pub(crate) pod: String,
    /// Which of its containers, if it has several
    #[arg(short, long, default_value = "", hide_default_value = true, value_name = "NAME")]
    pub(crate) container: String,
    /// Go on with what is written from now on
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// The output before the last restart
    #[arg(short, long)]
    pub(crate) previous: bool,
    /// Only the last lines
    #[arg(long, value_name = "LINES")]
    pub(crate) tail: Option<u32>,
    /// Each line with the time that it was written
    #[arg(long)]
    pub(crate) timestamps: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) scope: Scope,
    /// `pods`, `deploy`, `services`, …
    pub(crate) resource: String,
    /// Which ones
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// A time as in Go's flags, `1h30m` or `40s`, or a number of seconds.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    api::time::duration(text).ok_or_else(|| "not a time as in 1h30m, 40s or 500ms".to_owned())
}

/// Parses; on wrong usage the process says so and ends with status 2.
pub(crate) fn parse(arguments: Vec<OsString>) -> Coracle {
    let matches = command().get_matches_from(arguments);
    Coracle::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// The command line as a whole. Which environment variables there are is said once, not beside each option.
pub(crate) fn command() -> clap::Command {
    fn quiet(command: clap::Command) -> clap::Command {
        command.mut_args(|argument| argument.hide_env(true)).mut_subcommands(quiet)
    }
    quiet(Coracle::command())
}

// === impl Command ===

impl Command {
    /// How it logs, if it keeps running.
    pub(crate) fn logging(&self) -> Option<&Logging> {
        match self {
            Command::Up(args) => Some(&args.logging),
            Command::Server(args) => Some(&args.logging),
            Command::Node(args) => Some(&args.logging),
            _ => None,
        }
    }

    /// Options that make no sense together.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Command::Up(args) => args.control.check(None),
            Command::Server(args) => args.control.check(args.join.as_deref()),
            _ => Ok(()),
        }
    }
}

// === impl Control ===

impl Control {
    fn check(&self, join: Option<&str>) -> Result<()> {
        let Etcd { servers, cafile, certfile, keyfile, prefix } = &self.etcd;
        if servers.is_empty() {
            let files = [("--etcd-cafile", cafile), ("--etcd-certfile", certfile), ("--etcd-keyfile", keyfile)];
            return match files.iter().find(|(_, file)| file.is_some()) {
                Some((option, _)) => bail!("{option} is for an etcd that --etcd-servers names"),
                None => Ok(()),
            };
        }
        if join.is_some() {
            bail!("--join and --etcd-servers exclude each other: members keep the state themselves");
        }
        if self.etcd_listen.is_some() {
            bail!("--etcd-listen and --etcd-servers exclude each other: ask that etcd itself");
        }
        if certfile.is_some() != keyfile.is_some() {
            bail!("--etcd-certfile and --etcd-keyfile need each other");
        }
        for server in servers {
            endpoint(server).context("--etcd-servers")?;
        }
        if !prefix.starts_with('/') || prefix.ends_with('/') {
            bail!("--etcd-prefix {prefix:?} is not of the form /NAME");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn times_are_gos_or_seconds() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("40s"), Ok(Duration::from_secs(40)));
        assert_eq!(duration("40"), Ok(Duration::from_secs(40)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for wrong in ["", "h", "2w", "-1h", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_etcd_goes_without_members() {
        let check = |line: &str| {
            let parsed = Coracle::try_parse_from(["coracle"].into_iter().chain(line.split(' '))).expect("it is valid");
            parsed.command.check().map_err(|error| format!("{error:#}"))
        };
        assert_eq!(check("server --etcd-servers http://a:1,http://b:1"), Ok(()));
        assert_eq!(check("up --etcd-listen 127.0.0.1:1"), Ok(()));
        for (wrong, said) in [
            ("server --etcd-servers http://a:1 --join https://b:1", "--join"),
            ("server --etcd-servers http://a:1 --etcd-listen 127.0.0.1:1", "--etcd-listen"),
            ("up --etcd-servers http://a:1 --etcd-certfile c", "--etcd-keyfile"),
            ("up --etcd-cafile c", "--etcd-servers"),
            ("up --etcd-servers http://a:1 --etcd-prefix coracle", "/NAME"),
            ("up --etcd-servers http://a:1,nonsense", "\"nonsense\""),
            ("up --etcd-servers a:1", "https://HOST:PORT"),
        ] {
            assert!(check(wrong).is_err_and(|error| error.contains(said)), "{wrong}");
        }
    }

    #[test]
    fn later_options_win_so_that_the_command_line_beats_the_file() {
        let parsed = Coracle::try_parse_from(["coracle", "up", "--listen", "127.0.0.1:1", "--listen", "127.0.0.1:2"]);
        let Command::Up(up) = parsed.expect("both are valid").command else { panic!("not up") };
        assert_eq!(up.listen.port(), 2);
    }
}
