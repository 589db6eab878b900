//! Guests that answer requests. Each request has an instance of its own: what one does, or breaks, no other sees.
//!
//! A request is answered in the task that brings it, and its instance lives as long as the body of the answer is read:
//! most requests wake nobody. A guest that computes for long moves to other threads, see `work`.

use super::command::trap;
use super::guest::{Guest, Guests, State};
use super::work::Work;
use super::{Entry, Exit, end};
use crate::{Body, BoxError};
use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot, watch};
use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p3;
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::{Error as HttpError, WasiBody, WasiHttpView};

/// How long a guest may go on after the end of its response, or after the client went away.
const AFTER_RESPONSE_MAX: Duration = Duration::from_secs(600);

/// One HTTP workload.
pub(super) struct Server {
    guests: Guests,
    entry: Entry,
    slots: Semaphore,
    exited: watch::Sender<Option<Exit>>,
}

type Answer = Result<Response<WasiBody>, HttpError>;

/// A request, and where its answer goes.
struct Asked {
    request: Request<WasiBody>,
    answer: oneshot::Sender<Answer>,
}

/// The body of a response, with the guest that writes it.
struct Written {
    body: WasiBody,
    work: Work,
}

// === impl Server ===

impl Server {
    pub(super) fn new(guests: Guests, entry: Entry, exited: watch::Sender<Option<Exit>>) -> Server {
        let slots = Semaphore::new(guests.config.requests_max);
        Server { guests, entry, slots, exited }
    }

    /// Makes an instance and throws it away.
    pub(super) async fn try_once(&self) -> Result<(), Exit> {
        let made = async {
            let Guest { mut store, exceeded } = self.guests.guest(self.guests.pace()).await?;
            let made = match &self.entry {
                Entry::HttpP2(pre) => pre.instantiate_async(&mut store).await.map(drop),
                Entry::HttpP3(pre) => pre.instantiate_async(&mut store).await.map(drop),
                Entry::CommandP2(_) | Entry::CommandP3(_) => Err(wasmtime::Error::msg("it answers no requests")),
            };
            Ok::<_, wasmtime::Error>((made, exceeded.load(Ordering::Relaxed)))
        };
        match made.await {
            Ok((Ok(()), _)) => Ok(()),
            Ok((Err(_), true)) => Err(Exit::OutOfMemory),
            Ok((Err(error), false)) | Err(error) => Err(Exit::Trap(trap(&error))),
        }
    }

    /// # Errors
    /// When the guest traps, or ends without an answer.
    pub(super) async fn handle(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let _slot = self.slots.acquire().await?;
        let (answer, answered) = oneshot::channel();
        let mut work = self.begin(request, answer);
        match tokio::time::timeout(self.guests.config.request_deadline, first(&mut work, answered)).await {
            Ok(Ok(Ok(response))) => Ok(response.map(|body| Written { body, work }.boxed_unsync())),
            Ok(Ok(Err(error))) => Err(error.into()),
            Ok(Err(_)) => Err("the guest ended without an answer".into()),
            Err(_) => {
                let mut late =
                    Response::new(http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync());
                *late.status_mut() = StatusCode::GATEWAY_TIMEOUT;
                Ok(late)
            }
        }
    }

    fn begin(&self, request: Request<Body>, answer: oneshot::Sender<Answer>) -> Work {
        let body = |body: Body| body.map_err(|error| HttpError::InternalError(Some(error.to_string()))).boxed_unsync();
        let asked = Asked { request: request.map(body), answer };
        let (guests, entry, exited) = (self.guests.clone(), self.entry.clone(), self.exited.clone());
        let (pace, batch) = (guests.pace(), Arc::clone(&guests.engine.0.batch));
        let clock = Arc::clone(&pace);
        let run = async move {
            let (ran, exceeded) = match guests.guest(clock).await {
                Ok(guest) => {
                    let exceeded = Arc::clone(&guest.exceeded);
                    (asked.put_to(guest, entry).await, exceeded.load(Ordering::Relaxed))
                }
                Err(error) => (Err(error), false),
            };
            let Err(error) = ran else { return };
            if exceeded {
                end(&exited, Exit::OutOfMemory);
            }
            // With the guest's own stack, if it has one, and not with this process's.
            guests.config.stderr.write(format!("request failed: {error:#}\n").as_bytes());
        };
        Work::new(Box::pin(run), pace, batch)
    }
}

/// The answer, as soon as the guest has given it.
async fn first(work: &mut Work, mut answered: oneshot::Receiver<Answer>) -> Result<Answer, oneshot::error::RecvError> {
    std::future::poll_fn(|context| {
        if !work.is_done() {
            // Ended or not: what counts is whether it has answered.
            let _ = Pin::new(&mut *work).poll(context);
        }
        Pin::new(&mut answered).poll(context)
    })
    .await
}

// === impl Asked ===

impl Asked {
    async fn put_to(self, guest: Guest, entry: Entry) -> wasmtime::Result<()> {
        match entry {
            Entry::HttpP2(pre) => self.put_to_p2(guest.store, pre).await,
            Entry::HttpP3(pre) => self.put_to_p3(guest.store, pre).await,
            Entry::CommandP2(_) | Entry::CommandP3(_) => Err(wasmtime::Error::msg("it answers no requests")),
        }
    }

    async fn put_to_p2(self, mut store: Store<State>, pre: ProxyPre<State>) -> wasmtime::Result<()> {
        let proxy = pre.instantiate_async(&mut store).await?;
        let mut view = store.data_mut().http();
        let request = view.new_incoming_request(Scheme::Http, self.request)?;
        let out = view.new_response_outparam_from_callback(move |given| {
            // Nobody may be waiting any more.
            let _ = self.answer.send(given.map_err(HttpError::from));
        })?;
        proxy.wasi_http_incoming_handler().call_handle(&mut store, request, out).await
    }

    async fn put_to_p3(self, mut store: Store<State>, pre: ServicePre<State>) -> wasmtime::Result<()> {
        let service = pre.instantiate_async(&mut store).await?;
        let (request, sent) = p3::Request::from_http(store.data_mut().http().hooks, self.request);
        let ran = store.run_concurrent(async |accessor| {
            let given = match service.handle(accessor, request).await? {
                Ok(response) => Ok(accessor.with(|store| response.into_http(store, sent))?),
                Err(code) => Err(HttpError::from(code)),
            };
            // Nobody may be waiting any more.
            let _ = self.answer.send(given);
            // The guest goes on with its body, and with what it does after that.
            std::future::poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
            wasmtime::Result::<()>::Ok(())
        });
        ran.await?
    }
}

// === impl Written ===

impl http_body::Body for Written {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !self.work.is_done() {
            let _ = Pin::new(&mut self.work).poll(context);
        }
        Pin::new(&mut self.body).poll_frame(context).map_err(BoxError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Written {
    /// Read to its end, or not: the guest may have more to do.
    fn drop(&mut self) {
        if !self.work.is_done()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(tokio::time::timeout(AFTER_RESPONSE_MAX, self.work.take()));
        }
    }
}
