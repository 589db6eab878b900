//! Guests that answer requests. Each request of a WASI 0.2 guest has an instance of its own; a WASI 0.3 guest may
//! take several at a time and one after the other, as its world allows.

use super::command::trap;
use super::guest::{Guests, State};
use super::{Entry, Exit};
use crate::{Body, BoxError};
use ::http::{Request, Response};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};
use tokio::time::Sleep;
use wasmtime::component::GuestTaskId;
use wasmtime::{Store, StoreContextMut};
use wasmtime_wasi_http::handler::{
    ExpirationError, HandlerState, Instance, Proxy, ProxyHandler, ProxyPre, ShouldAccept, WorkerExpiration,
    WorkerState, WorkerStatus,
};
use wasmtime_wasi_http::{Error as HttpError, WasiHttpView};

/// Requests of one instance at a time, and over its life, where the guest's world allows more than one.
const CONCURRENT_MAX: usize = 16;
const REUSE_MAX: usize = 128;
/// How long an instance without requests waits for the next.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// How long a guest may go on after its response.
const AFTER_RESPONSE_MAX: Duration = Duration::from_secs(600);

/// One HTTP workload.
pub(super) struct Server {
    handler: ProxyHandler<Maker>,
    slots: Semaphore,
}

struct Maker {
    guests: Guests,
    entry: Entry,
    exited: watch::Sender<Option<Exit>>,
}

/// What the handler asks about one instance.
struct Worker {
    reusable: bool,
    deadline: Duration,
    exceeded: Arc<AtomicBool>,
    exited: watch::Sender<Option<Exit>>,
    stderr: Arc<dyn super::LogSink>,
}

struct Expiration {
    deadline: Duration,
    timer: Pin<Box<Sleep>>,
    set_for: Option<(WorkerStatus, Instant)>,
}

// === impl Server ===

impl Server {
    pub(super) fn new(guests: Guests, entry: Entry, exited: watch::Sender<Option<Exit>>) -> Server {
        let slots = Semaphore::new(guests.config.requests_max);
        Server { handler: ProxyHandler::new(Maker { guests, entry, exited }), slots }
    }

    /// Makes an instance and throws it away.
    pub(super) async fn try_once(&self) -> Result<(), Exit> {
        let maker = self.handler.state();
        let made = async {
            let (mut store, exceeded) = maker.guests.store()?;
            let made = maker.instance(&mut store).await.map(|_| ());
            Ok::<_, wasmtime::Error>((made, exceeded.load(Ordering::Relaxed)))
        };
        match made.await {
            Ok((Ok(()), _)) => Ok(()),
            Ok((Err(_), true)) => Err(Exit::OutOfMemory),
            Ok((Err(error), false)) | Err(error) => Err(Exit::Trap(trap(&error))),
        }
    }

    pub(super) async fn handle(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let _slot = self.slots.acquire().await?;
        let request =
            request.map(|body| body.map_err(|error| HttpError::InternalError(Some(error.to_string()))).boxed_unsync());
        match self.handler.handle((), request).await {
            Ok(response) => Ok(response.map(|body| body.map_err(BoxError::from).boxed_unsync())),
            Err(error) if error.downcast_ref::<ExpirationError>().is_some() => {
                let mut late =
                    Response::new(http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync());
                *late.status_mut() = ::http::StatusCode::GATEWAY_TIMEOUT;
                Ok(late)
            }
            Err(error) => Err(trap(&error).into()),
        }
    }
}

impl Maker {
    async fn instance(&self, store: &mut Store<State>) -> wasmtime::Result<Proxy> {
        match &self.entry {
            Entry::HttpP2(pre) => ProxyPre::P2(pre.clone()).instantiate_async(store).await,
            Entry::HttpP3(pre) => ProxyPre::P3(pre.clone()).instantiate_async(store).await,
            Entry::CommandP2(_) | Entry::CommandP3(_) => Err(wasmtime::Error::msg("it answers no requests")),
        }
    }
}

impl HandlerState for Maker {
    type StoreData = State;
    type WorkerExpiration = Expiration;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Instance<State, Expiration, Worker>> {
        let (mut store, exceeded) = self.guests.store()?;
        let proxy = self.instance(&mut store).await?;
        let config = &self.guests.config;
        let expiration = Expiration {
            deadline: config.request_deadline,
            timer: Box::pin(tokio::time::sleep(config.request_deadline)),
            set_for: None,
        };
        let state = Worker {
            reusable: matches!(self.entry, Entry::HttpP3(_)),
            deadline: config.request_deadline,
            exceeded,
            exited: self.exited.clone(),
            stderr: config.stderr.clone(),
        };
        Ok(Instance { store, proxy, view: <State as WasiHttpView>::http, expiration, state })
    }
}

impl WorkerState for Worker {
    type StoreData = State;
    type RequestData = ();

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        match (self.reusable, concurrent, total) {
            (_, _, 0) => ShouldAccept::Yes,
            (false, ..) => ShouldAccept::Never,
            (true, _, REUSE_MAX..) => ShouldAccept::Never,
            (true, CONCURRENT_MAX.., _) => ShouldAccept::No,
            (true, ..) => ShouldAccept::Yes,
        }
    }

    fn on_request_start(
        &self,
        _store: StoreContextMut<'_, State>,
        (): (),
        _task: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        Box::pin(tokio::time::sleep(self.deadline))
    }

    fn drop(&self, store: Store<State>, result: Result<(), wasmtime::Error>) {
        drop(store);
        let Err(error) = result else { return };
        if self.exceeded.load(Ordering::Relaxed) {
            self.exited.send_if_modified(|known| known.is_none().then(|| *known = Some(Exit::OutOfMemory)).is_some());
        }
        self.stderr.write(format!("request failed: {error:?}\n").as_bytes());
    }
}

impl WorkerExpiration for Expiration {
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>, status: WorkerStatus, start: Instant) -> Poll<()> {
        if self.set_for != Some((status, start)) {
            let limit = match status {
                WorkerStatus::Idle => IDLE_MAX,
                WorkerStatus::Requests => self.deadline,
                WorkerStatus::PostReturn => AFTER_RESPONSE_MAX,
            };
            self.timer.as_mut().reset((start + limit).into());
            self.set_for = Some((status, start));
        }
        self.timer.as_mut().poll(context)
    }
}
