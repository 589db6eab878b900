//! One client's connection, from the TLS handshake to its end, and what it may cost: time, streams and headers.
//!
//! Every step that waits for the client has a limit, so that clients that send slowly, or nothing, hold no slot for
//! long. Limits on bodies are `body`'s.

use super::body::{Body, BoxError};
use super::{Front, answer};
use crate::ahead::Ahead;
use crate::peers;
use crate::pki::certificate::Subject;
use api::Rejected;
use api::rejected::Reason;
use http::Response;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// Requests and watches of one HTTP/2 connection at a time; Go clients put all they have on one.
const STREAMS_MAX: u32 = 1000;
/// Streams that a client may begin and reset before they are looked at (CVE-2023-44487, "rapid reset").
const RESETS_PENDING_MAX: usize = 100;
/// The head of one request: room for a long token and a long selector, not for a flood of headers.
const HEADER_BYTES_MAX: u32 = 64 * 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the first request after the handshake, and for the head of each HTTP/1.1 request.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves what one client asks, until either side ends the connection.
pub(super) async fn serve(front: Arc<Front>, acceptor: TlsAcceptor, tcp: TcpStream) -> Result<(), BoxError> {
    tcp.set_nodelay(true)?;
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(Ahead::new(tcp)));
    let stream = handshake.await.map_err(|_| "no TLS handshake in time")??;
    let session = stream.get_ref().1;
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    let certificates = session.peer_certificates();
    let peer = certificates.and_then(|chain| chain.first()).and_then(Subject::of).map(Arc::new);
    let valid_for = peer.as_ref().map_or(Duration::MAX, |peer| peer.valid_for(front.clock.now()));
    let (shutdown, began) = (front.shutdown.clone(), Arc::new(Notify::new()));
    if let Some(inbox) = front.inbox.as_ref().filter(|_| session.alpn_protocol() == Some(peers::ALPN)) {
        return tokio::select! {
            done = inbox.serve(stream, peer.as_deref()) => Ok(done?),
            () = shutdown.cancelled() => Ok(()),
            () = tokio::time::sleep(valid_for) => Ok(()),
        };
    }
    let asked = Arc::clone(&began);
    let service = service_fn(move |request| {
        asked.notify_one();
        let (front, peer) = (Arc::clone(&front), peer.clone());
        async move {
            Ok::<_, Infallible>(match front.server.get() {
                Some(server) => server.handle(request, peer.as_deref()).await,
                None => starting(),
            })
        }
    });
    let builder = builder(is_http2);
    let mut serving = std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    tokio::select! {
        done = serving.as_mut() => return done,
        () = began.notified() => {}
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(HEADERS_TIMEOUT) => return Err("no request in time".into()),
    }
    tokio::select! {
        done = serving.as_mut() => return done,
        () = shutdown.cancelled() => serving.as_mut().graceful_shutdown(),
        // What comes later has to be asked for with a certificate that is valid then.
        () = tokio::time::sleep(valid_for) => serving.as_mut().graceful_shutdown(),
    }
    serving.await
}

/// Until there is something to serve.
fn starting() -> Response<Body> {
    let why = "the API server is starting: it waits until the store can be reached";
    let mut rejected = Rejected::new(Reason::ServiceUnavailable, why);
    rejected.details.retry_after_seconds = 1;
    answer::refusal(&rejected, "", false)
}

/// The version is what the handshake agreed on: guessing it from the first bytes would wait for them without end.
fn builder(is_http2: bool) -> auto::Builder<TokioExecutor> {
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut builder = if is_http2 { builder.http2_only() } else { builder.http1_only() };
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(Some(HEADERS_TIMEOUT));
    builder
}
