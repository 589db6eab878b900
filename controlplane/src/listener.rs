//! A port's connections: bounded, each by itself, and ended in time after a stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long connections may go on after a stop.
const DRAIN: Duration = Duration::from_secs(5);
/// Out of file descriptors, most often: some connections have to end first.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// Has `connect` serve each connection, at most `connections_max` at a time, until `stop`; more wait in the kernel's
/// queue. `port` is its name in the log.
pub(crate) async fn serve<F, E>(
    listener: TcpListener,
    port: &'static str,
    connections_max: usize,
    stop: CancellationToken,
    connect: impl Fn(TcpStream) -> F,
) where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Display,
{
    let slots = Arc::new(Semaphore::new(connections_max));
    let mut connections = JoinSet::new();
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let accepted: std::io::Result<(TcpStream, SocketAddr)> = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, client)) => {
                let connection = connect(tcp);
                connections.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(port, %client, %error, "connection ended");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(port, %error, "a port cannot accept");
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
    let _ = tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
}
