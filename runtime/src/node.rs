//! The node agent: makes the pods bound to this node run, and tells the API what became of them.
//!
//! Knows Kubernetes and nothing of WebAssembly: containers are started through `Sandbox`, reached through `Pods`, and
//! the API is a `client::Handle`. One task (`agent`) owns all pods; what to do about a pod is decided in `pod`.

mod agent;
mod disk;
mod env;
mod events;
mod ips;
pub mod join;
pub mod link;
mod log;
mod pod;
mod probe;
mod register;
mod sources;
mod status;
mod tokens;
mod traffic;
mod volumes;
mod wasm;

use crate::{Body, BoxError};
use futures::future::BoxFuture;
use http::{Request, Response};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use agent::run;
pub use log::Writer as LogWriter;
pub use wasm::{Caller, Networks, Wasm};

/// Answers a request to one port of a pod.
pub type Handler =
    Arc<dyn Fn(Request<Body>, u16) -> BoxFuture<'static, Result<Response<Body>, BoxError>> + Send + Sync>;

/// Where the agent says which pod answers at which address; the proxy listens.
pub trait Pods: Send + Sync + 'static {
    /// From now on `handler` answers for `ip`. A second call replaces the first.
    fn attach(&self, ip: IpAddr, ports: &[u16], handler: Handler);
    /// From now on nobody answers for `ip`.
    fn detach(&self, ip: IpAddr);
    /// Asks a pod of this node, on behalf of the server.
    fn call(&self, to: SocketAddr, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>>;
}

/// What runs containers. The one in production is the Wasm engine; tests have a scripted one.
pub trait Sandbox: Send + Sync + 'static {
    /// Makes an image's code ready to start.
    fn pull(&self, pull: Pull) -> BoxFuture<'static, Result<Image, PullError>>;
    /// Starts a container of an image that `pull` returned.
    fn start(&self, start: Start) -> BoxFuture<'static, Result<Started, String>>;
}

/// An image that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    pub reference: String,
    pub policy: PullPolicy,
    /// The `.dockerconfigjson` (or `.dockercfg`) texts of the pod's imagePullSecrets.
    pub credentials: Vec<String>,
}

/// `imagePullPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// An image that is on this node and compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub reference: String,
    /// `sha256:…` of the manifest, or of the file where there is none.
    pub digest: String,
    /// 0 where it is not known.
    pub bytes: u64,
    /// True if it was here already and nothing was fetched.
    pub cached: bool,
}

/// Why an image is not ready, as the waiting reason that Kubernetes has for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    /// `InvalidImageName`.
    #[error("{0}")]
    InvalidName(String),
    /// `ErrImageNeverPull`.
    #[error("container image {0:?} is not present with pull policy of Never")]
    NeverPull(String),
    /// `ErrImagePull`: the registry was not reached, or said no.
    #[error("{0}")]
    Failed(String),
    /// `CreateContainerError`: the bytes came, but they are no program that this engine runs.
    #[error("{0}")]
    Unusable(String),
}

/// Everything that a container is started with.
pub struct Start {
    pub namespace: String,
    pub pod: String,
    pub pod_uid: String,
    pub container: String,
    pub pod_ip: IpAddr,
    pub image: Image,
    /// The program's name first, if `command` was given; then the arguments.
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub mounts: Vec<Mount>,
    pub memory_bytes_max: Option<u64>,
    pub cpu_millis: Option<u32>,
    /// Until the answer to a request begins; `None`: the engine's own.
    pub request_timeout: Option<Duration>,
    pub stdout: LogWriter,
    pub stderr: LogWriter,
}

/// A folder of the node that a container sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub host_path: PathBuf,
    pub guest_path: String,
    pub read_only: bool,
}

/// A container that runs.
pub struct Started {
    /// `None` for a command; it is no server.
    pub http: Option<HttpHandler>,
    /// Resolves once, when the container ended, by itself or stopped.
    pub exit: BoxFuture<'static, Exit>,
    /// Asks the container to end within the time given; `exit` tells when it did.
    pub stop: Arc<dyn Fn(Duration) + Send + Sync>,
}

/// Answers a request to one container.
pub type HttpHandler = Arc<dyn Fn(Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>> + Send + Sync>;

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    /// A Wasm trap; reported as exit code 134 (SIGABRT) with the message.
    Trap(String),
    /// Reported as exit code 137, `OOMKilled`.
    OutOfMemory,
    /// Ended because the agent asked for it.
    Stopped,
}

/// Everything the agent is told at its start.
#[derive(Clone)]
pub struct Config {
    pub cluster: client::Handle,
    pub clock: client::Clock,
    pub name: String,
    /// Besides `kubernetes.io/{hostname,os,arch}`, which the agent sets itself.
    pub labels: BTreeMap<String, String>,
    /// Registered with a new Node object; later changes are the cluster's.
    pub taints: Vec<api::view::Taint>,
    pub data_dir: PathBuf,
    pub sandbox: Arc<dyn Sandbox>,
    pub pods: Arc<dyn Pods>,
    /// The node's InternalIP.
    pub address: IpAddr,
    /// The node port (10250), told as `daemonEndpoints.kubeletEndpoint`.
    pub port: u16,
    pub capacity: Capacity,
    /// How long a deleted pod at least goes on answering, so that every proxy has heard of its end.
    pub drain_min: Duration,
    /// Where the node is reached from the server; `None` serves nobody.
    pub link: Option<link::Config>,
}

/// What the node offers to the scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    pub pods: u32,
}

/// Why the agent could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the node's local store in {path:?} cannot be used: {source}; check the disk and its permissions")]
    Disk { path: PathBuf, source: std::io::Error },
}

// === impl Capacity ===

impl Capacity {
    /// The machine's processors and memory, and as many pods as fit into 500 KiB of it each, at most 4000.
    #[must_use]
    pub fn of_machine() -> Capacity {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let info = rustix::system::sysinfo();
        let memory_bytes = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit.max(1)));
        let pods = u32::try_from(memory_bytes / (500 << 10)).unwrap_or(u32::MAX).clamp(110, 4000);
        Capacity { cpu_millis: cpus * 1000, memory_bytes, pods }
    }
}
