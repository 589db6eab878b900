//! The body of an answer: bytes at once, parts one after the other, or a stream; and the bounded reading of requests.

use api::Rejected;
use api::rejected::Reason;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited, StreamBody};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The most that a request may send; as kube-apiserver.
pub(super) const REQUEST_BYTES_MAX: usize = 3 * 1024 * 1024;
/// How long a client may take to send a body; kube-apiserver's limit for a request.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// What is read of a body that is too large, so that its sender sees the answer.
const DISCARDED_BYTES_MAX: usize = 2 * REQUEST_BYTES_MAX;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the server answers with and sends over node links.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

pub(super) fn empty() -> Body {
    full(Bytes::new())
}

pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Parts that are made when it is their turn to be sent; `length` is what they come to.
pub(super) fn parts(length: usize, parts: impl Iterator<Item = Bytes> + Send + Unpin + 'static) -> Body {
    Parts { left: length as u64, parts }.boxed_unsync()
}

struct Parts<I> {
    left: u64,
    parts: I,
}

impl<I: Iterator<Item = Bytes> + Unpin> http_body::Body for Parts<I> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = self.parts.next();
        if let Some(part) = &next {
            self.left = self.left.saturating_sub(part.len() as u64);
        }
        Poll::Ready(next.map(|part| Ok(Frame::data(part))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Each item is sent as soon as it comes.
pub(super) fn stream(parts: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    StreamBody::new(parts.map(|part| Ok(Frame::data(part)))).boxed_unsync()
}

/// Reads a whole request body, of which never more than the limit is held.
pub(super) async fn read<B>(body: B) -> Result<Bytes, Rejected>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut body = std::pin::pin!(body);
    if body.size_hint().lower() > REQUEST_BYTES_MAX as u64 {
        return Err(too_large(body).await);
    }
    let read = Limited::new(body.as_mut(), REQUEST_BYTES_MAX).collect();
    match tokio::time::timeout(READ_TIMEOUT, read).await {
        Ok(Ok(read)) => Ok(read.to_bytes()),
        Ok(Err(why)) if why.is::<LengthLimitError>() => Err(too_large(body).await),
        Ok(Err(why)) => Err(Rejected::bad_request(format!("the request body could not be read: {why}"))),
        Err(_) => Err(Rejected::new(Reason::Timeout, "request did not complete within the allotted timeout")),
    }
}

async fn too_large<B>(body: B) -> Rejected
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    discard(body).await;
    let message = format!("Request entity too large: limit is {REQUEST_BYTES_MAX}");
    Rejected::new(Reason::RequestEntityTooLarge, message)
}

/// Reads on a little without keeping it: a client that is still sending would not read the answer, and over HTTP/1.1 the
/// connection would end with the request, unannounced.
pub(super) async fn discard<B>(mut body: B)
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let mut left = DISCARDED_BYTES_MAX;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // Whether it came to the end or not, the answer is the same.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, reading).await;
}
