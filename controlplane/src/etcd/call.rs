//! gRPC calls with messages of [`wire`](super::wire): encoding is prost's, and the framing of streams tonic's.

use std::future::{self, Future, Ready};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::future::MapOk;
use futures::{FutureExt as _, Stream, TryFutureExt as _};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt as _;
use prost::Message;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::server::{Grpc, ServerStreamingService, StreamingService};
use tonic::{Request, Response, Status};

use super::{Answered, at_once, refusal};

/// What a request may weigh: etcd's limit, and half a mebibyte for what surrounds keys and values.
pub(super) const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Encodes `A` and decodes `Q`.
pub(crate) struct Prost<A, Q>(PhantomData<(A, Q)>);

/// What one call does; it is done once.
struct Call<F>(Option<F>);

/// A message, and after it that all went well.
struct Answer {
    message: Option<Bytes>,
    is_over: bool,
}

/// Messages that are framed already, and after them how it went.
struct Answers<S> {
    frames: Pin<Box<S>>,
    is_over: bool,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Of a message: whether it is compressed, and how long it is.
const PREFIX_BYTES: usize = 5;

/// A question and an answer. By hand, because most calls are of this kind and of a few microseconds, to which tonic's
/// buffers of 8 KiB for each message would add as many.
pub(super) fn unary<Q, A, F, T, B>(request: http::Request<B>, act: F) -> Answered
where
    Q: Message + Default + 'static,
    A: Message + 'static,
    F: FnOnce(Q) -> T + Send + 'static,
    T: Future<Output = Result<A, Status>> + Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    if let Err(status) = check_encoding(request.headers()) {
        return at_once(status);
    }
    // The rest of the request is not needed any more, and is not kept until the answer comes.
    let body = request.into_body();
    let answered = async move {
        let question = Q::decode(message(body).await?);
        act(question.map_err(|error| Status::internal(format!("grpc: the request is garbled: {error}")))?).await
    };
    let respond = |answered: Result<A, Status>| match answered {
        Ok(answer) => respond(Answer::new(&answer)),
        Err(status) => status.into_http(),
    };
    answered.map(respond).boxed()
}

/// No client of etcd compresses unless it is told to.
fn check_encoding(headers: &HeaderMap) -> Result<(), Status> {
    match headers.get("grpc-encoding") {
        None => Ok(()),
        Some(encoding) if encoding == "identity" => Ok(()),
        Some(encoding) => Err(Status::unimplemented(format!("grpc: compression with {encoding:?} is not offered"))),
    }
}

/// The one message of a body, in memory of its own: what is kept of it must not keep the connection's buffers.
async fn message<B>(body: B) -> Result<Bytes, Status>
where
    B: HttpBody<Data = Bytes> + Send,
    B::Error: Into<BoxError> + Send,
{
    let mut body = std::pin::pin!(body);
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::from_error(error.into()))?;
        let Ok(data) = frame.into_data() else { continue };
        // In most cases all of it comes at once, and is copied once.
        if bytes.is_empty()
            && let Some(message) = whole(&data)?
        {
            return Ok(Bytes::copy_from_slice(message));
        }
        bytes.extend_from_slice(&data);
        if let Some(message) = whole(&bytes)? {
            return Ok(Bytes::copy_from_slice(message));
        }
    }
    Err(Status::internal("grpc: the request ended before its message did"))
}

/// The message that the bytes begin with, if all of it is there.
fn whole(bytes: &[u8]) -> Result<Option<&[u8]>, Status> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err(Status::unimplemented("grpc: a compressed message without an encoding"));
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(refusal::oversized(length));
    }
    Ok(rest.get(..length))
}

/// A question, and a stream of answers.
pub(super) fn answers<Q, A, F, T, S, B>(request: http::Request<B>, act: F) -> Answered
where
    Q: Message + Default + 'static,
    A: Message + 'static,
    F: FnOnce(Q) -> T + Send + 'static,
    T: Future<Output = Result<S, Status>> + Send + 'static,
    S: Stream<Item = Result<A, Status>> + Send + 'static,
    B: HttpBody + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    let mut grpc = Grpc::new(Prost::<A, Q>::new()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    async move { grpc.server_streaming(Call(Some(act)), request).await }.boxed()
}

/// Questions and answers in streams that live as long as either side wants.
pub(super) fn streaming<Q, A, F, S, B>(request: http::Request<B>, act: F) -> Answered
where
    Q: Message + Default + 'static,
    A: Message + 'static,
    F: FnOnce(Streaming<Q>) -> S + Send + 'static,
    S: Stream<Item = Result<A, Status>> + Send + 'static,
    B: HttpBody + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    let mut grpc = Grpc::new(Prost::<A, Q>::new()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    async move { grpc.streaming(Call(Some(act)), request).await }.boxed()
}

/// Questions one by one, and answers that are framed already, as many at a time as there are.
pub(super) fn conversation<Q, F, S, B>(request: http::Request<B>, act: F) -> Answered
where
    Q: Message + Default + 'static,
    F: FnOnce(Streaming<Q>) -> S,
    S: Stream<Item = Result<Bytes, Status>> + Send + 'static,
    B: HttpBody + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    if let Err(status) = check_encoding(request.headers()) {
        return at_once(status);
    }
    let decoder = Prost::<(), Q>::new();
    let questions = Streaming::new_request(decoder, request.into_body(), None, Some(MESSAGE_BYTES_MAX));
    future::ready(respond(Answers { frames: Box::pin(act(questions)), is_over: false })).boxed()
}

fn respond(body: impl HttpBody<Data = Bytes, Error = Status> + Send + 'static) -> http::Response<Body> {
    let mut response = http::Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// Adds a message and what precedes it.
pub(super) fn frame(message: &impl Message, to: &mut Vec<u8>) {
    let length = message.encoded_len();
    to.reserve(PREFIX_BYTES + length);
    begin_frame(length, to);
    message.encode(to).expect("there is room");
}

/// Adds what precedes a message of so many bytes.
pub(super) fn begin_frame(length: usize, to: &mut Vec<u8>) {
    to.put_u8(0);
    to.put_u32(u32::try_from(length).expect("an answer is less than 4 GiB"));
}

// === impl Answer ===

impl Answer {
    fn new(message: &impl Message) -> Answer {
        let mut bytes = Vec::new();
        frame(message, &mut bytes);
        Answer { message: Some(bytes.into()), is_over: false }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if std::mem::replace(&mut self.is_over, true) {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::trailers(all_well()))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

fn all_well() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    trailers
}

// === impl Answers ===

impl<S: Stream<Item = Result<Bytes, Status>>> HttpBody for Answers<S> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let trailers = match ready!(self.frames.as_mut().poll_next(ctx)) {
            Some(Ok(frames)) => return Poll::Ready(Some(Ok(Frame::data(frames)))),
            Some(Err(status)) => {
                let mut trailers = HeaderMap::new();
                status.add_header(&mut trailers)?;
                trailers
            }
            None => all_well(),
        };
        self.is_over = true;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

// === impl Call ===

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
        future::ready(Ok(Response::new(act(request.into_inner()))))
    }
}

// === impl Prost ===

impl<A, Q> Prost<A, Q> {
    pub(crate) fn new() -> Prost<A, Q> {
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
