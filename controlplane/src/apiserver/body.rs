//! The body of an answer: bytes at once, parts one after the other, or a stream; and the bounded reading of requests.

use api::Rejected;
use api::rejected::Reason;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited, StreamBody};

/// The most that a request may send; as kube-apiserver.
pub(super) const REQUEST_BYTES_MAX: usize = 3 * 1024 * 1024;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the server answers with and sends over node links.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

pub(super) fn empty() -> Body {
    full(Bytes::new())
}

pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Each item is sent as soon as it comes.
pub(super) fn stream(parts: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    StreamBody::new(parts.map(|part| Ok(Frame::data(part)))).boxed_unsync()
}

/// Reads a whole request body.
pub(super) async fn read<B>(body: B) -> Result<Bytes, Rejected>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    match Limited::new(body, REQUEST_BYTES_MAX).collect().await {
        Ok(read) => Ok(read.to_bytes()),
        Err(why) if why.is::<LengthLimitError>() => {
            let message = format!("Request entity too large: limit is {REQUEST_BYTES_MAX}");
            Err(Rejected::new(Reason::RequestEntityTooLarge, message))
        }
        Err(why) => Err(Rejected::bad_request(format!("the request body could not be read: {why}"))),
    }
}
