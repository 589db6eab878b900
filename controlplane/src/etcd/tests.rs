//! etcd's API as a client sees it, without a socket: what is answered, and in which words it is refused.

mod calls;
mod members;
mod snapshots;
mod strange;
mod watches;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::mpsc::UnboundedSender;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codec::Streaming;
use tonic::{Code, Request, Status};

use super::Face;
use super::call::Prost;
use super::wire::*;
use crate::members::Membership;
use crate::store::{Config, Store};

/// A client that calls the face as if there were a connection.
struct Client {
    face: Arc<Face>,
    store: Store,
    _dir: tempfile::TempDir,
}

struct Direct(Arc<Face>);

impl GrpcService<Body> for Direct {
    type ResponseBody = Body;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let face = self.0.clone();
        Box::pin(async { Ok(face.answer(request).await) })
    }
}

/// Of a store that nobody else takes part in.
fn alone(store: &Store) -> Membership {
    let dial = |url: &str| client::http::Config {
        server: url.to_owned(),
        ca_pem: None,
        credentials: client::http::Credentials::Anonymous,
        user_agent: String::new(),
        insecure: false,
    };
    Membership::new(store.clone(), Arc::new(dial))
}

fn path(method: &str) -> http::uri::PathAndQuery {
    format!("/etcdserverpb.{method}").parse().unwrap()
}

impl Client {
    fn new() -> Client {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(Config::new(dir.path())).unwrap();
        let mut face = Face::new(store.clone(), alone(&store), CancellationToken::new());
        face.progress_every = Duration::from_millis(50);
        Client { face: Arc::new(face), store, _dir: dir }
    }

    async fn ask<Q, A>(&self, method: &str, question: Q) -> Result<A, Status>
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = Grpc::new(Direct(self.face.clone()));
        let answer = grpc.unary(Request::new(question), path(method), Prost::<Q, A>::new()).await;
        answer.map(tonic::Response::into_inner)
    }

    async fn stream<Q, A>(&self, method: &str) -> (UnboundedSender<Q>, Streaming<A>)
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let (questions, asked) = tokio::sync::mpsc::unbounded_channel();
        let mut grpc = Grpc::new(Direct(self.face.clone()));
        let mut asked = Request::new(UnboundedReceiverStream::new(asked));
        asked.metadata_mut().insert("hasleader", "true".parse().unwrap());
        let answers = grpc.streaming(asked, path(method), Prost::<Q, A>::new()).await.unwrap();
        (questions, answers.into_inner())
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        self.ask("KV/Range", request).await
    }

    /// The revision of the put.
    async fn put(&self, key: &str, value: &str) -> i64 {
        let request = PutRequest { key: bytes(key), value: bytes(value), ..PutRequest::default() };
        let response: PutResponse = self.ask("KV/Put", request).await.unwrap();
        response.header.unwrap().revision
    }

    async fn delete(&self, key: &str) -> i64 {
        let request = DeleteRangeRequest { key: bytes(key), ..DeleteRangeRequest::default() };
        let response: DeleteRangeResponse = self.ask("KV/DeleteRange", request).await.unwrap();
        response.header.unwrap().revision
    }

    async fn compact(&self, revision: i64) -> Result<Done, Status> {
        self.ask("KV/Compact", CompactionRequest { revision, physical: true }).await
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn show(kvs: &[KeyValue]) -> String {
    let kv = |kv: &KeyValue| format!("{}={}", kv.key.escape_ascii(), kv.value.escape_ascii());
    kvs.iter().map(kv).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn is_refused<A: std::fmt::Debug>(answer: Result<A, Status>, code: Code, message: &str) {
    let status = answer.expect_err("it is refused");
    assert_eq!((status.code(), status.message()), (code, message));
}
