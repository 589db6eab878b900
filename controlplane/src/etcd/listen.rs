//! The etcd port: TLS, who may ask, and what a connection may cost.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use client::Clock;
use futures::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::authority::Tolerant;
use super::cork::Cork;
use super::strand::Strand;
use super::{BoxError, Face, at_once};
use crate::ahead::Ahead;
use crate::listener;
use crate::members::Membership;
use crate::pki::certificate::Subject;
use crate::store::Store;

/// Whose certificate may use the whole store.
const ADMINISTRATORS: &str = "system:masters";
/// Clients at a time.
const CONNECTIONS_MAX: usize = 4096;
/// Calls and watches of one connection at a time.
const STREAMS_MAX: u32 = 10_000;
/// Streams that a client may begin and reset before they are looked at (CVE-2023-44487, "rapid reset").
const RESETS_PENDING_MAX: usize = 100;
const HEADER_BYTES_MAX: u32 = 16 * 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Who may not ask is told so, and does not hold a place for longer.
const REFUSED_MAX: Duration = Duration::from_secs(10);
/// A client that is gone without a word is noticed after two of these.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// What the etcd port needs from outside.
pub struct Config {
    /// Bound already: its address may have been chosen by the system.
    pub listener: TcpListener,
    pub membership: Membership,
    pub security: Security,
    pub clock: Clock,
}

/// How clients prove who they are.
pub enum Security {
    /// By a client certificate that this configuration accepts, of the group of administrators.
    Tls(Arc<ServerConfig>),
    /// Not at all. For a loopback address alone, where whoever can connect can run programs on this machine.
    None,
}

/// Serves etcd's API until `stop`, then lets calls that are under way end.
///
/// # Errors
/// The address is not a loopback one, and would be served without security.
pub async fn serve(config: Config, store: Store, stop: CancellationToken) -> Result<(), std::io::Error> {
    let Config { listener, membership, security, clock } = config;
    let address = listener.local_addr()?;
    let acceptor = match security {
        Security::Tls(tls) => {
            let mut tls = ServerConfig::clone(&tls);
            tls.alpn_protocols = vec![b"h2".to_vec()];
            Some(TlsAcceptor::from(Arc::new(tls)))
        }
        Security::None if address.ip().is_loopback() => None,
        Security::None => {
            let why = format!("the whole store would be open to everybody who reaches {address}");
            return Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, why));
        }
    };
    let face = Arc::new(Face::new(store, membership, stop.clone()));
    let connect = |tcp| connect(Arc::clone(&face), acceptor.clone(), clock.clone(), tcp);
    listener::serve(listener, "etcd", CONNECTIONS_MAX, stop, connect).await;
    Ok(())
}

async fn connect(face: Arc<Face>, acceptor: Option<TlsAcceptor>, clock: Clock, tcp: TcpStream) -> Result<(), BoxError> {
    tcp.set_nodelay(true)?;
    let stream = Ahead::new(tcp);
    let Some(acceptor) = acceptor else { return converse(face, stream, None, Duration::MAX).await };
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
    let stream = handshake.await.map_err(|_| "no TLS handshake in time")??;
    let certificates = stream.get_ref().1.peer_certificates();
    let subject = certificates.and_then(|chain| chain.first()).and_then(Subject::of);
    let valid_for = subject.as_ref().map_or(Duration::MAX, |subject| subject.valid_for(clock.now()));
    let refused = refused(subject.as_ref());
    let valid_for = if refused.is_some() { valid_for.min(REFUSED_MAX) } else { valid_for };
    converse(face, stream, refused, valid_for).await
}

/// Why a client may not use the store, if so.
fn refused(subject: Option<&Subject>) -> Option<String> {
    match subject {
        Some(subject) if subject.groups.iter().any(|group| group == ADMINISTRATORS) => None,
        Some(subject) => Some(format!("{:?} is not of the group {ADMINISTRATORS}", subject.name)),
        None => Some(format!("a client certificate of the group {ADMINISTRATORS} is needed")),
    }
}

/// Answers what one client asks, or refuses all of it, until either side ends the connection.
async fn converse(
    face: Arc<Face>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    refused: Option<String>,
    valid_for: Duration,
) -> Result<(), BoxError> {
    let stop = face.stop.clone();
    let service = service_fn(move |request: http::Request<Incoming>| {
        let answered = match &refused {
            Some(why) => at_once(Status::permission_denied(format!("etcdserver: permission denied: {why}"))),
            None => Arc::clone(&face).answer(request),
        };
        answered.map(Ok::<_, Infallible>)
    });
    let strand = Strand::default();
    let mut builder = http2::Builder::new(strand.clone());
    builder
        .timer(TokioTimer::new())
        // Nobody asks an etcd for the time, which would be looked up and encoded for each call.
        .auto_date_header(false)
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(Some(KEEP_ALIVE));
    let cork = Cork::new(Tolerant::new(stream));
    let serving = builder.serve_connection(TokioIo::new(cork.clone()), service);
    strand
        .drive(&cork, async {
            let mut serving = std::pin::pin!(serving);
            tokio::select! {
                done = serving.as_mut() => return Ok(done?),
                () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
                // What comes later has to be asked for with a certificate that is valid then.
                () = tokio::time::sleep(valid_for) => serving.as_mut().graceful_shutdown(),
            }
            Ok(serving.await?)
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_group_of_administrators_gets_in() {
        let subject = |name: &str, groups: &[&str]| Subject {
            name: name.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            until: Clock::system().now(),
        };
        assert_eq!(refused(Some(&subject("root", &["dev", "system:masters"]))), None);
        assert!(refused(Some(&subject("system:node:a", &["system:nodes"]))).is_some_and(|why| why.contains("node:a")));
        assert!(refused(Some(&subject("system:masters", &[]))).is_some(), "a name is no group");
        assert!(refused(None).is_some());
    }
}
