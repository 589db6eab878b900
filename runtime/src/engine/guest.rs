//! One guest's store: what it may see of the host, what it may use, and where its output goes.

use super::ticker::Pace;
use super::{Engine, InstanceConfig};
use crate::{Body, BoxError};
use ::http::{Request, Response};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::filesystem::FsPerms;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    Error as HttpError, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

/// Tables are small; a guest that wants more elements than this is broken.
const TABLE_ELEMENTS_MAX: usize = 1 << 20;
/// Bytes that a guest may write to its output in one call.
const OUTPUT_CHUNK: usize = 64 << 10;
/// Waits without a limit of their own end here.
const OUTGOING_TIMEOUT: Duration = Duration::from_secs(600);

/// Takes a guest's output, in pieces of any size. Must not block for long.
pub trait LogSink: Send + Sync {
    fn write(&self, bytes: &[u8]);
}

/// Sends a guest's outgoing requests; knows who the guest is.
pub type Sender = dyn Fn(Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>> + Send + Sync;

/// What a name stands for, where the guest is; the error says why it stands for nothing.
pub type Resolver = dyn Fn(String) -> BoxFuture<'static, Result<Vec<IpAddr>, String>> + Send + Sync;

/// The way out of a guest.
#[derive(Clone)]
pub struct Network {
    pub send: Arc<Sender>,
    pub look_up: Arc<Resolver>,
}

/// A folder of the host that a guest may open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preopen {
    pub host: PathBuf,
    pub guest: String,
    pub read_only: bool,
}

/// Makes the guests of one workload.
#[derive(Clone)]
pub(super) struct Guests {
    pub(super) engine: Engine,
    pub(super) config: Arc<InstanceConfig>,
}

/// One guest: what it has, and what tells of it from outside.
pub(super) struct Guest {
    pub(super) store: Store<State>,
    /// It wanted more memory than it may have.
    pub(super) exceeded: Arc<AtomicBool>,
}

/// What belongs to one instance.
pub(super) struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    hooks: Hooks,
    limits: Limits,
    pace: Arc<Pace>,
    _place: OwnedSemaphorePermit,
}

struct Limits {
    memory_max: usize,
    exceeded: Arc<AtomicBool>,
}

struct Hooks {
    network: Network,
}

/// A sink as both WASI versions want it.
#[derive(Clone)]
struct Output(Arc<dyn LogSink>);

/// The interfaces of WASI 0.2 and 0.3 that every guest may import.
pub(super) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    super::names::add_to_linker(&mut linker)?;
    Ok(linker)
}

// === impl Guests ===

impl Guests {
    /// The clock of a guest to be.
    pub(super) fn pace(&self) -> Arc<Pace> {
        Arc::new(self.engine.0.ticker.pace())
    }

    pub(super) fn new(engine: Engine, config: InstanceConfig) -> Guests {
        Guests { engine, config: Arc::new(config) }
    }

    /// A guest that has not begun, as soon as the engine has room for it.
    pub(super) async fn guest(&self, pace: Arc<Pace>) -> wasmtime::Result<Guest> {
        let place = Arc::clone(&self.engine.0.places).acquire_owned().await?;
        let config = &self.config;
        let mut wasi = WasiCtxBuilder::new();
        wasi.args(&config.args).envs(&config.env);
        wasi.stdout(Output(config.stdout.clone())).stderr(Output(config.stderr.clone()));
        for preopen in &config.preopens {
            let perms = if preopen.read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
            wasi.preopened_dir(&preopen.host, &preopen.guest, perms)?;
        }
        let exceeded = Arc::new(AtomicBool::new(false));
        let memory_max = config.memory_max.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
        let state = State {
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            table: ResourceTable::new(),
            hooks: Hooks { network: config.network.clone() },
            limits: Limits { memory_max, exceeded: exceeded.clone() },
            pace,
            _place: place,
        };
        let mut store = Store::new(&self.engine.0.wasm, state);
        store.limiter(|state| &mut state.limits);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| {
            let computes = store.data().pace.tick();
            Ok(if computes { UpdateDeadline::Yield(1) } else { UpdateDeadline::Continue(1) })
        });
        Ok(Guest { store, exceeded })
    }
}

// === impl State ===

impl State {
    pub(super) fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    /// Asks what a name stands for.
    pub(super) fn look_up(&self, name: String) -> BoxFuture<'static, Result<Vec<IpAddr>, String>> {
        (self.hooks.network.look_up)(name)
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, _now: usize, wanted: usize, _most: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = wanted <= self.memory_max;
        if !allowed {
            self.exceeded.store(true, Ordering::Relaxed);
        }
        Ok(allowed)
    }

    fn table_growing(&mut self, _now: usize, wanted: usize, _most: Option<usize>) -> wasmtime::Result<bool> {
        Ok(wanted <= TABLE_ELEMENTS_MAX)
    }
}

impl WasiHttpHooks for Hooks {
    fn default_scheme(&mut self) -> Option<::http::uri::Scheme> {
        Some(::http::uri::Scheme::HTTP)
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _done: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, HttpError>> + Send> {
        let request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
        let limit = options.and_then(|options| options.first_byte_timeout).unwrap_or(OUTGOING_TIMEOUT);
        let sending = (self.network.send)(request);
        Box::new(async move {
            let answered = tokio::time::timeout(limit, sending).await;
            let response = answered.map_err(|_| HttpError::ConnectionReadTimeout)?.map_err(internal)?;
            let response = response.map(|body| body.map_err(internal).boxed_unsync());
            let done: Box<dyn Future<Output = Result<(), HttpError>> + Send> = Box::new(async { Ok(()) });
            Ok((response, done))
        })
    }
}

type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<(), HttpError>> + Send>);

fn internal(error: BoxError) -> HttpError {
    HttpError::InternalError(Some(error.to_string()))
}

// === impl Output ===

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(OUTPUT_CHUNK)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.0.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
