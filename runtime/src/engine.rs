//! The Wasm engine: compiles components, and runs them as HTTP workloads or commands within limits.
//!
//! Knows WebAssembly, WASI and HTTP; knows nothing of pods or Kubernetes. An HTTP workload that nobody calls holds no
//! instance: one is made for each request from a pre-linked image in a pooled, copy-on-write memory, which takes
//! microseconds.

#![allow(unsafe_code, reason = "compiled code is read back from the cache; wasmtime marks that unsafe")]

mod batch;
mod cache;
mod command;
mod compile;
mod guest;
mod http;
mod names;
mod ticker;
mod work;

pub use compile::CompileError;
pub use guest::{LogSink, Network, Preopen, Resolver, Sender};

use crate::{Body, BoxError};
use ::http::{Request, Response};
use bytes::Bytes;
use guest::State;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use wasmtime::component::{InstancePre, Linker};
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};
use wasmtime_wasi::p2::bindings::CommandPre as CommandP2;
use wasmtime_wasi::p3::bindings::CommandPre as CommandP3;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p3::bindings::ServicePre;

/// Of the engine in this binary, as the workspace's manifest pins it.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// Bytes of a used memory that stay with its slot instead of going back to the kernel: most small guests touch no
/// more, and so cost no page fault the second time.
const KEEP_RESIDENT_BYTES: usize = 64 << 10;
/// Slots that may hold such bytes while nobody uses them.
const WARM_SLOTS_MAX: u32 = 32;
/// Memories that a component may have beside its main one (adapters, linked modules).
const CORE_INSTANCES_PER_GUEST: u32 = 4;

/// The engine's limits.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Where compiled code is kept; made private to its owner.
    pub cache_dir: PathBuf,
    /// Guests that can be live at one time: running commands, and requests in HTTP workloads.
    pub instances_max: u32,
}

/// Compiles and runs guests; clones share it.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

struct Shared {
    wasm: wasmtime::Engine,
    linker: Linker<State>,
    cache: cache::Cache,
    // One compilation at a time: it uses all cores by itself.
    compiling: Semaphore,
    ticker: ticker::Ticker,
    /// Of the pooling allocator; who comes when all are taken waits.
    places: Arc<Semaphore>,
    batch: Arc<batch::Batch>,
}

/// A guest that is compiled, linked and ready to run.
#[derive(Clone)]
pub struct Artifact {
    /// `sha256:…` of the Wasm file.
    pub digest: Arc<str>,
    entry: Entry,
}

#[derive(Clone)]
enum Entry {
    HttpP2(ProxyPre<State>),
    HttpP3(ServicePre<State>),
    CommandP2(CommandP2<State>),
    CommandP3(CommandP3<State>),
}

/// What a guest is, by what it exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `wasi:http/incoming-handler` (0.2) or `wasi:http/handler` (0.3): answers requests.
    Http,
    /// `wasi:cli/run`, or a core module's `_start`: runs until it returns.
    Command,
}

/// What one workload may see and use.
#[derive(Clone)]
pub struct InstanceConfig {
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub preopens: Vec<Preopen>,
    /// Linear memory of one instance, bytes; `None`: as much as the engine allows.
    pub memory_max: Option<u64>,
    /// How long one request may take until its response begins.
    pub request_deadline: Duration,
    /// Requests that run at one time; more wait.
    pub requests_max: usize,
    pub stdout: Arc<dyn LogSink>,
    pub stderr: Arc<dyn LogSink>,
    pub network: Network,
}

/// How a workload ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    /// The guest's own fault, in the engine's words.
    Trap(String),
    /// It wanted more memory than it may have.
    OutOfMemory,
    /// `Workload::stop` ended it.
    Stopped,
}

/// Why the engine cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("the Wasm engine cannot be configured for this machine: {0}")]
    Configuration(String),
    #[error("cannot use the folder {} for compiled code: {source}", path.display())]
    CacheFolder { path: PathBuf, source: std::io::Error },
}

/// A running guest.
#[derive(Clone)]
pub struct Workload {
    http: Option<Arc<http::Server>>,
    stop: tokio_util::sync::CancellationToken,
    exit: watch::Receiver<Option<Exit>>,
}

// === impl Engine ===

impl Engine {
    /// # Errors
    /// When neither the pooling nor the plain allocator works here, or the cache folder cannot be made.
    pub fn new(config: &EngineConfig) -> Result<Engine, EngineError> {
        let wasm = match wasmtime::Engine::new(&settings(Some(config.instances_max))) {
            Ok(wasm) => wasm,
            Err(error) => {
                // Little address space, most often: slower instances are better than none.
                tracing::warn!(error = %format!("{error:#}"), "the pooling allocator is not used");
                let plain = wasmtime::Engine::new(&settings(None));
                plain.map_err(|error| EngineError::Configuration(format!("{error:#}")))?
            }
        };
        let linker = guest::linker(&wasm).map_err(|error| EngineError::Configuration(format!("{error:#}")))?;
        let cache = cache::Cache::open(&config.cache_dir, &wasm)
            .map_err(|source| EngineError::CacheFolder { path: config.cache_dir.clone(), source })?;
        let ticker = ticker::Ticker::start(wasm.clone());
        let compiling = Semaphore::new(1);
        let places = Arc::new(Semaphore::new(config.instances_max as usize));
        Ok(Engine(Arc::new(Shared { wasm, linker, cache, compiling, ticker, places, batch: Arc::default() })))
    }

    /// Starts a guest. An HTTP workload is instantiated once for trial, so that one that cannot start ends at once.
    #[must_use]
    pub fn start(&self, artifact: &Artifact, config: InstanceConfig) -> Workload {
        let stop = tokio_util::sync::CancellationToken::new();
        let (exited, exit) = watch::channel(None);
        let guests = guest::Guests::new(self.clone(), config);
        let http = match &artifact.entry {
            Entry::HttpP2(_) | Entry::HttpP3(_) => {
                let server = Arc::new(http::Server::new(guests, artifact.entry.clone(), exited.clone()));
                let (trial, stop) = (server.clone(), stop.clone());
                tokio::spawn(async move {
                    if let Err(exit) = trial.try_once().await {
                        end(&exited, exit);
                    }
                    stop.cancelled().await;
                    end(&exited, Exit::Stopped);
                });
                Some(server)
            }
            entry => {
                let (work, stop) = (command::begin(guests, entry.clone(), exited.clone()), stop.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = work => {}
                        () = stop.cancelled() => end(&exited, Exit::Stopped),
                    }
                });
                None
            }
        };
        Workload { http, stop, exit }
    }
}

/// The first end counts.
fn end(exited: &watch::Sender<Option<Exit>>, exit: Exit) {
    exited.send_if_modified(|known| known.is_none().then(|| *known = Some(exit)).is_some());
}

/// `instances`: for the pooling allocator; `None` for the plain one.
fn settings(instances: Option<u32>) -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    config.wasm_component_model_async(true);
    config.epoch_interruption(true);
    // Saves a registration with the unwinder for each module; Wasm frames are walked by frame pointers.
    config.native_unwind_info(false);
    config.memory_init_cow(true);
    if let Some(instances) = instances {
        let mut pool = PoolingAllocationConfig::default();
        pool.total_component_instances(instances)
            .total_core_instances(instances * CORE_INSTANCES_PER_GUEST)
            .total_memories(instances)
            .total_tables(instances * CORE_INSTANCES_PER_GUEST)
            .total_stacks(instances * 2)
            .total_gc_heaps(0)
            .max_unused_warm_slots(WARM_SLOTS_MAX)
            .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
            .table_keep_resident(KEEP_RESIDENT_BYTES / 8);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

// === impl Artifact ===

impl Artifact {
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.entry {
            Entry::HttpP2(_) | Entry::HttpP3(_) => Kind::Http,
            Entry::CommandP2(_) | Entry::CommandP3(_) => Kind::Command,
        }
    }
}

impl Entry {
    fn of(pre: InstancePre<State>) -> Result<Entry, CompileError> {
        if let Ok(service) = ServicePre::new(pre.clone()) {
            return Ok(Entry::HttpP3(service));
        }
        if let Ok(proxy) = ProxyPre::new(pre.clone()) {
            return Ok(Entry::HttpP2(proxy));
        }
        if let Ok(command) = CommandP3::new(pre.clone()) {
            return Ok(Entry::CommandP3(command));
        }
        CommandP2::new(pre).map(Entry::CommandP2).map_err(|_| CompileError::NoEntry)
    }
}

// === impl Workload ===

impl Workload {
    /// Hands a request to an HTTP workload.
    ///
    /// # Errors
    /// When the guest traps, takes too long, or is no HTTP workload.
    pub async fn handle(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        match &self.http {
            Some(server) => server.handle(request).await,
            None => Err("the container runs a command and answers no requests".into()),
        }
    }

    /// How it ended, once it has.
    pub async fn wait(&self) -> Exit {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or(Exit::Stopped),
            Err(_) => Exit::Stopped,
        }
    }

    /// Ends it. Requests that an HTTP workload has already are answered still.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

/// The bytes of a Wasm file, by their digest.
#[must_use]
pub fn digest(wasm: &Bytes) -> String {
    use sha2::{Digest, Sha256};
    format!("sha256:{}", hex::encode(Sha256::digest(wasm)))
}

#[cfg(test)]
mod tests;
