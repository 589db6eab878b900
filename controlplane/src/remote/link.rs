//! The way to one member of an etcd cluster: calls and streams, with etcd's own messages.

use std::time::Duration;

use futures::Stream;
use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::Streaming;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::ConfigError;
use super::secret::Secret;
use crate::etcd::call::Prost;

const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Signs of life on a connection that is in use. etcd closes those that ask more often than every five seconds.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_LIMIT: Duration = Duration::from_secs(5);

/// Bytes of one stream that wait to be read here; then etcd waits.
const STREAM_WINDOW: u32 = 512 * 1024;
/// The same for all streams together. h2 takes a peer for hostile, and ends the connection, when too many small pieces
/// wait to be read, as those of a watch are that is not read for a while; how many depends on this.
const CONNECTION_WINDOW: u32 = 32 * 1024 * 1024;

/// Clones share the connections, which are made when they are first used.
#[derive(Clone)]
pub(super) struct Link {
    calls: Channel,
    /// Apart, so that a watch that cannot keep up costs no write its outcome.
    streams: Channel,
}

/// Where a member serves, from `https://HOST:PORT` or `http://HOST:PORT`.
pub fn endpoint(url: &str) -> Result<http::Uri, ConfigError> {
    let has_scheme = url.starts_with("https://") || url.starts_with("http://");
    let uri = url.parse::<http::Uri>().ok().filter(|_| has_scheme);
    let uri = uri.filter(|uri| uri.host().is_some_and(|host| !host.is_empty()) && uri.port_u16().is_some());
    uri.ok_or_else(|| ConfigError::Endpoint { endpoint: url.to_owned() })
}

// === impl Link ===

impl Link {
    pub(super) fn new(url: &str, secret: &Secret) -> Result<Link, ConfigError> {
        let uri = endpoint(url)?;
        let is_secure = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
        let mut endpoint = Endpoint::from(uri)
            .connect_timeout(CONNECT_LIMIT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_LIMIT)
            // etcd takes signs of life without requests for abuse.
            .keep_alive_while_idle(false);
        if is_secure {
            let unusable = |error: tonic::transport::Error| ConfigError::Unusable {
                endpoint: url.to_owned(),
                cause: super::refusal::deepest(&error),
            };
            endpoint = endpoint.tls_config(secret.tls()).map_err(unusable)?;
        }
        Ok(Link { calls: endpoint.connect_lazy(), streams: endpoint.connect_lazy() })
    }

    /// A question and an answer.
    pub(super) async fn call<A, Q>(self, method: &'static str, ask: A) -> Result<Q, Status>
    where
        A: Message + 'static,
        Q: Message + Default + 'static,
    {
        let mut grpc = grpc(self.calls).await?;
        let path = PathAndQuery::from_static(method);
        grpc.unary(request(ask), path, Prost::<A, Q>::new()).await.map(tonic::Response::into_inner)
    }

    /// Answers for as long as there are questions.
    pub(super) async fn stream<A, Q>(
        self,
        method: &'static str,
        asks: impl Stream<Item = A> + Send + 'static,
    ) -> Result<Streaming<Q>, Status>
    where
        A: Message + 'static,
        Q: Message + Default + 'static,
    {
        let mut grpc = grpc(self.streams).await?;
        let path = PathAndQuery::from_static(method);
        grpc.streaming(request(asks), path, Prost::<A, Q>::new()).await.map(tonic::Response::into_inner)
    }
}

async fn grpc(channel: Channel) -> Result<Grpc<Channel>, Status> {
    // What is read may be all there is: the limits are etcd's.
    let mut grpc = Grpc::new(channel).max_decoding_message_size(usize::MAX);
    grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
    Ok(grpc)
}

/// A member that is cut off from the others is to say so at once.
fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    request
}
