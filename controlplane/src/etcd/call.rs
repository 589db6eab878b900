//! gRPC calls with messages of [`wire`](super::wire): framing is tonic's, encoding is prost's.

use std::future::{Future, Ready, ready};
use std::marker::PhantomData;

use futures::future::MapOk;
use futures::{Stream, TryFutureExt};
use http_body::Body as HttpBody;
use prost::Message;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::server::{Grpc, ServerStreamingService, StreamingService, UnaryService};
use tonic::{Request, Response, Status};

use super::refusal;

/// What a request may weigh: etcd's limit, and half a mebibyte for what surrounds keys and values.
pub(super) const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Encodes `A` and decodes `Q`.
pub(super) struct Prost<A, Q>(PhantomData<(A, Q)>);

/// What one call does; it is done once.
struct Call<F>(Option<F>);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A question and an answer.
pub(super) async fn unary<Q, A, F, T, B>(request: http::Request<B>, act: F) -> http::Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + 'static,
    F: FnOnce(Q) -> T,
    T: Future<Output = Result<A, Status>>,
    B: HttpBody + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    let mut grpc = Grpc::new(Prost::<A, Q>::new()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let response = grpc.unary(Call(Some(act)), request).await;
    match Status::from_header_map(response.headers()) {
        Some(status) => refusal::oversized(status).into_http(),
        None => response,
    }
}

/// A question, and a stream of answers.
pub(super) async fn answers<Q, A, F, T, S, B>(request: http::Request<B>, act: F) -> http::Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + 'static,
    F: FnOnce(Q) -> T,
    T: Future<Output = Result<S, Status>>,
    S: Stream<Item = Result<A, Status>> + Send + 'static,
    B: HttpBody + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    let mut grpc = Grpc::new(Prost::<A, Q>::new()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    grpc.server_streaming(Call(Some(act)), request).await
}

/// Questions and answers in streams that live as long as either side wants.
pub(super) async fn streaming<Q, A, F, S, B>(request: http::Request<B>, act: F) -> http::Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + 'static,
    F: FnOnce(Streaming<Q>) -> S + Send,
    S: Stream<Item = Result<A, Status>> + Send + 'static,
    B: HttpBody + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    let mut grpc = Grpc::new(Prost::<A, Q>::new()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    grpc.streaming(Call(Some(act)), request).await
}

// === impl Call ===

impl<Q, A, F, T> UnaryService<Q> for Call<F>
where
    F: FnOnce(Q) -> T,
    T: Future<Output = Result<A, Status>>,
{
    type Response = A;
    type Future = MapOk<T, fn(A) -> Response<A>>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let act = self.0.take().expect("a call is made once");
        act(request.into_inner()).map_ok(Response::new)
    }
}

impl<Q, A, F, T, S> ServerStreamingService<Q> for Call<F>
where
    F: FnOnce(Q) -> T,
    T: Future<Output = Result<S, Status>>,
    S: Stream<Item = Result<A, Status>>,
{
    type Response = A;
    type ResponseStream = S;
    type Future = MapOk<T, fn(S) -> Response<S>>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let act = self.0.take().expect("a call is made once");
        act(request.into_inner()).map_ok(Response::new)
    }
}

impl<Q, A, F, S> StreamingService<Q> for Call<F>
where
    F: FnOnce(Streaming<Q>) -> S,
    S: Stream<Item = Result<A, Status>>,
{
    type Response = A;
    type ResponseStream = S;
    type Future = Ready<Result<Response<S>, Status>>;

    fn call(&mut self, request: Request<Streaming<Q>>) -> Self::Future {
        let act = self.0.take().expect("a call is made once");
        ready(Ok(Response::new(act(request.into_inner()))))
    }
}

// === impl Prost ===

impl<A, Q> Prost<A, Q> {
    pub(super) fn new() -> Prost<A, Q> {
        Prost(PhantomData)
    }
}

impl<A: Message + 'static, Q: Message + Default + 'static> Codec for Prost<A, Q> {
    type Encode = A;
    type Decode = Q;
    type Encoder = Prost<A, ()>;
    type Decoder = Prost<(), Q>;

    fn encoder(&mut self) -> Prost<A, ()> {
        Prost::new()
    }

    fn decoder(&mut self) -> Prost<(), Q> {
        Prost::new()
    }
}

impl<A: Message> Encoder for Prost<A, ()> {
    type Item = A;
    type Error = Status;

    fn encode(&mut self, item: A, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(to).map_err(|error| Status::internal(error.to_string()))
    }
}

impl<Q: Message + Default> Decoder for Prost<(), Q> {
    type Item = Q;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Q>, Status> {
        Q::decode(from).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
