//! A client of etcd's API that is quick, and says exactly what is known of each call that failed.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use controlplane::etcd::wire::{WatchRequest, WatchResponse};
use futures::StreamExt as _;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::convert::Infallible;

/// Before each message: whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;
/// The code for what is not served now, and what it says of a write that may have been done.
const UNAVAILABLE: &str = "14";
const TIMED_OUT: &str = "timed%20out";

/// One connection; clones share it.
#[derive(Clone)]
pub(crate) struct Client {
    calls: SendRequest<BoxBody<Bytes, Infallible>>,
}

/// The changes that a member tells of, in order.
pub(crate) struct Watch {
    body: Incoming,
    read: BytesMut,
    _client: Client,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing was done.
    Refused(String),
    /// Nobody can say whether anything was done.
    Unknown(String),
}

// === impl Failure ===

impl Failure {
    fn unknown(error: impl std::fmt::Display) -> Failure {
        Failure::Unknown(error.to_string())
    }
}

// === impl Client ===

impl Client {
    pub(crate) async fn over(stream: std::net::TcpStream) -> Result<Client, Failure> {
        stream.set_nonblocking(true).map_err(Failure::unknown)?;
        stream.set_nodelay(true).map_err(Failure::unknown)?;
        let stream = tokio::net::TcpStream::from_std(stream).map_err(Failure::unknown)?;
        let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (calls, connection) = made.map_err(Failure::unknown)?;
        // It ends with the last handle.
        tokio::spawn(connection);
        Ok(Client { calls })
    }

    async fn begin(&mut self, method: &str, body: BoxBody<Bytes, Infallible>) -> Result<Incoming, Failure> {
        let request = hyper::Request::post(format!("http://member/etcdserverpb.{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(body)
            .map_err(Failure::unknown)?;
        self.calls.ready().await.map_err(Failure::unknown)?;
        let answer = self.calls.send_request(request).await.map_err(Failure::unknown)?;
        check(answer.headers())?;
        Ok(answer.into_body())
    }

    /// One question, one answer.
    pub(crate) async fn call<A: Message + Default>(
        &mut self,
        method: &str,
        asked: &impl Message,
    ) -> Result<A, Failure> {
        let answer = self.begin(method, Full::new(framed(asked)).boxed()).await?;
        let answer = answer.collect().await.map_err(Failure::unknown)?;
        check(answer.trailers().unwrap_or(&hyper::HeaderMap::new()))?;
        let mut bytes = answer.to_bytes();
        if bytes.len() < HEAD_BYTES {
            return Err(Failure::unknown("the answer is cut short"));
        }
        bytes.advance(HEAD_BYTES);
        A::decode(bytes).map_err(Failure::unknown)
    }

    /// As many watches as are asked for, on one stream.
    pub(crate) async fn watch(mut self, asked: &[WatchRequest]) -> Result<Watch, Failure> {
        let frames: Vec<_> = asked.iter().map(|asked| Ok(Frame::data(framed(asked)))).collect();
        // Whoever ends the questions ends the watches.
        let asked = futures::stream::iter(frames).chain(futures::stream::pending());
        let body = self.begin("Watch/Watch", BodyExt::boxed(StreamBody::new(asked))).await?;
        Ok(Watch { body, read: BytesMut::new(), _client: self })
    }
}

// === impl Watch ===

impl Watch {
    /// An error is the end of it.
    pub(crate) async fn next(&mut self) -> Result<WatchResponse, Failure> {
        loop {
            if let Some(mut head) = self.read.get(..HEAD_BYTES) {
                head.advance(1);
                let length = usize::try_from(head.get_u32()).map_err(Failure::unknown)?;
                if self.read.len() >= HEAD_BYTES + length {
                    self.read.advance(HEAD_BYTES);
                    return WatchResponse::decode(self.read.split_to(length)).map_err(Failure::unknown);
                }
            }
            let frame = self.body.frame().await.ok_or_else(|| Failure::unknown("the watch ended"))?;
            if let Ok(data) = frame.map_err(Failure::unknown)?.into_data() {
                self.read.extend_from_slice(&data);
            }
        }
    }
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(HEAD_BYTES + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("a message is small"));
    message.encode(&mut bytes).expect("there is room");
    bytes.freeze()
}

/// The status of a call, in its head or behind its answer.
fn check(headers: &hyper::HeaderMap) -> Result<(), Failure> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let said = text("grpc-message").unwrap_or_default();
    match text("grpc-status").as_deref() {
        None | Some("0") => Ok(()),
        Some(UNAVAILABLE) if said.contains(TIMED_OUT) => Err(Failure::Unknown(said)),
        Some(UNAVAILABLE) => Err(Failure::Refused(said)),
        Some(other) => panic!("status {other}: {said}"),
    }
}
