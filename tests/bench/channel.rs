//! Calls of etcd's API over one HTTP/2 connection, with no more than a client has to do: the servers are measured.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::convert::Infallible;
use tokio::net::TcpStream;

/// Of a gRPC message: whether it is compressed, and how long it is.
const PREFIX_BYTES: usize = 5;
const WINDOW_BYTES: u32 = 8 * 1024 * 1024;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A connection to a member; clones share it.
#[derive(Clone)]
pub(crate) struct Channel {
    send: SendRequest<Body>,
    port: u16,
}

/// The answers of a call that goes on.
pub(crate) struct Answers {
    body: Incoming,
    buffer: BytesMut,
}

fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("a message"));
    message.encode(&mut bytes).expect("there is room");
    bytes.freeze()
}

impl Channel {
    pub(crate) async fn open(port: u16) -> Channel {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.expect("the member listens");
        tcp.set_nodelay(true).expect("a socket");
        let mut builder = Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
        let (send, connection) = builder.handshake(TokioIo::new(tcp)).await.expect("it speaks HTTP/2");
        // It ends with the server, or with the last handle.
        tokio::spawn(async move { drop(connection.await) });
        Channel { send, port }
    }

    async fn send(&self, method: &str, body: Body) -> http::Response<Incoming> {
        let uri = format!("http://127.0.0.1:{}/etcdserverpb.{method}", self.port);
        let request = http::Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
        self.send.clone().send_request(request.body(body).expect("a request")).await.expect("an answer")
    }

    /// A question and its answer.
    pub(crate) async fn call<A: Message + Default>(&self, method: &str, question: &impl Message) -> A {
        let answer = self.send(method, Full::new(frame(question)).boxed_unsync()).await;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("a whole answer");
        let status = body.trailers().unwrap_or(&head.headers).get("grpc-status").cloned();
        assert!(status.is_some_and(|status| status == "0"), "{method}: {:?} {:?}", head.headers, body.trailers());
        let mut bytes = body.to_bytes();
        bytes.advance(PREFIX_BYTES);
        A::decode(bytes).expect("the answer")
    }

    /// Questions whose answers come until this side has enough.
    pub(crate) async fn ask<Q: Message>(&self, method: &str, questions: &[Q]) -> Answers {
        let frames: Vec<_> = questions.iter().map(|question| Ok(Frame::data(frame(question)))).collect();
        let body = StreamBody::new(stream::iter(frames).chain(stream::pending())).boxed_unsync();
        Answers { body: self.send(method, body).await.into_body(), buffer: BytesMut::new() }
    }
}

impl Answers {
    pub(crate) async fn next<A: Message + Default>(&mut self) -> A {
        loop {
            if self.buffer.len() >= PREFIX_BYTES {
                let length = (&self.buffer[1..PREFIX_BYTES]).get_u32() as usize;
                if self.buffer.len() >= PREFIX_BYTES + length {
                    let mut message = self.buffer.split_to(PREFIX_BYTES + length).freeze();
                    message.advance(PREFIX_BYTES);
                    return A::decode(message).expect("an answer");
                }
            }
            let frame = self.body.frame().await.expect("the stream goes on").expect("the server lives");
            self.buffer.extend_from_slice(&frame.into_data().expect("data"));
        }
    }
}
