//! The way from a pod's address to its containers, and how many requests are on it.

use super::{Handler, HttpHandler};
use crate::{Body, BoxError};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::watch;

/// Served where an HTTP container declares no port.
const PORT_DEFAULT: u16 = 8080;

/// One pod's requests.
pub(super) struct Router {
    routes: parking_lot::RwLock<BTreeMap<u16, HttpHandler>>,
    under_way: watch::Sender<usize>,
}

/// Counts a request until its response body has ended or is dropped.
struct UnderWay(Arc<Router>);

struct Counted {
    body: Body,
    _under_way: UnderWay,
}

// === impl Router ===

impl Router {
    pub(super) fn new() -> Arc<Router> {
        Arc::new(Router { routes: parking_lot::RwLock::default(), under_way: watch::Sender::new(0) })
    }

    /// From now on a container answers on its ports.
    pub(super) fn open(&self, ports: &[u16], handler: &HttpHandler) {
        let mut routes = self.routes.write();
        for port in effective(ports) {
            routes.insert(port, Arc::clone(handler));
        }
    }

    pub(super) fn close(&self, ports: &[u16]) {
        let mut routes = self.routes.write();
        for port in effective(ports) {
            routes.remove(&port);
        }
    }

    pub(super) fn is_open(&self, port: u16) -> bool {
        self.routes.read().contains_key(&port)
    }

    /// What the proxy calls.
    pub(super) fn handler(self: &Arc<Router>) -> Handler {
        let router = Arc::clone(self);
        Arc::new(move |request, port| Box::pin(Arc::clone(&router).call(request, port)))
    }

    /// Resolves when no request is under way.
    pub(super) async fn idle(&self) {
        let mut under_way = self.under_way.subscribe();
        // The sender lives in `self`: this cannot fail.
        let _ = under_way.wait_for(|count| *count == 0).await;
    }

    pub(super) async fn call(self: Arc<Router>, request: Request<Body>, port: u16) -> Result<Response<Body>, BoxError> {
        let handler = self.routes.read().get(&port).cloned();
        let Some(handler) = handler else { return Err(format!("nothing listens on port {port} of the pod").into()) };
        self.under_way.send_modify(|count| *count += 1);
        let under_way = UnderWay(self);
        let response = handler(request).await?;
        Ok(response.map(|body| Counted { body, _under_way: under_way }.boxed_unsync()))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.send_modify(|count| *count -= 1);
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The ports that a container is reached on.
pub(super) fn effective(ports: &[u16]) -> Vec<u16> {
    if ports.is_empty() { vec![PORT_DEFAULT] } else { ports.to_vec() }
}
