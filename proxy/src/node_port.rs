//! The Services' node ports: one listener on the host for each, as the table says.

use crate::network::Network;
use crate::{Body, BoxError};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Clients of one node port at a time; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 16_384;
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a port that another process holds is tried again.
const BUSY_RETRY: Duration = Duration::from_secs(5);

/// Told when a port cannot be listened on, once for each time that it begins.
pub type Report = Arc<dyn Fn(u16, &io::Error) + Send + Sync>;

/// What to do after a change of the table; pure.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    pub open: Vec<u16>,
    pub close: Vec<u16>,
}

/// The step from the ports that are listened on to those that should be.
#[must_use]
pub fn plan(wanted: &BTreeSet<u16>, open: &BTreeSet<u16>) -> Step {
    Step { open: wanted.difference(open).copied().collect(), close: open.difference(wanted).copied().collect() }
}

/// Listens as the table says until `shutdown`; then lets connections end for up to `drain`.
pub async fn serve(network: Network, address: IpAddr, report: Report, shutdown: CancellationToken, drain: Duration) {
    let mut tables = network.tables();
    let mut listeners: BTreeMap<u16, CancellationToken> = BTreeMap::new();
    let mut busy: BTreeSet<u16> = BTreeSet::new();
    let mut tasks = JoinSet::new();
    loop {
        let wanted: BTreeSet<u16> = tables.borrow_and_update().node_ports().collect();
        let step = plan(&wanted, &listeners.keys().copied().collect());
        for port in step.close {
            if let Some(stop) = listeners.remove(&port) {
                stop.cancel();
            }
        }
        busy.retain(|port| wanted.contains(port));
        for port in step.open {
            match TcpListener::bind(SocketAddr::new(address, port)).await {
                Ok(listener) => {
                    busy.remove(&port);
                    let stop = shutdown.child_token();
                    tasks.spawn(listen(listener, port, network.clone(), stop.clone(), drain));
                    listeners.insert(port, stop);
                }
                Err(error) => {
                    if busy.insert(port) {
                        report(port, &error);
                    }
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = tasks.join_next() => {}
            changed = tables.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(BUSY_RETRY), if !busy.is_empty() => {}
        }
    }
    shutdown.cancelled().await;
    while tasks.join_next().await.is_some() {}
}

async fn listen(listener: TcpListener, port: u16, network: Network, stop: CancellationToken, drain: Duration) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = slots.clone().acquire_owned() => slot,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, client)) => {
                let (network, stop) = (network.clone(), stop.clone());
                connections.spawn(async move {
                    if let Err(error) = connection(tcp, client, port, network, stop).await {
                        tracing::debug!(%client, port, %error, "connection ended");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(port, %error, "node port cannot accept");
                // Out of file descriptors, most often: let some connections end first.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(drain, async { while connections.join_next().await.is_some() {} }).await;
}

async fn connection(
    tcp: TcpStream,
    client: SocketAddr,
    port: u16,
    network: Network,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    tcp.set_nodelay(true)?;
    let service = service_fn(move |request| one(network.clone(), port, client, request));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(HEADERS_TIMEOUT));
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(tcp), service));
    tokio::select! {
        done = connection.as_mut() => return done,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

async fn one(
    network: Network,
    port: u16,
    client: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
    Ok(network.serve_outside(port, client, request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_difference_is_opened_and_closed() {
        let wanted = BTreeSet::from([30001, 30002]);
        let open = BTreeSet::from([30002, 30003]);
        assert_eq!(plan(&wanted, &open), Step { open: vec![30001], close: vec![30003] });
    }
}
