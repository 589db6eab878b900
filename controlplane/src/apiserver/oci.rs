//! The HTTP face of the embedded image registry: the OCI distribution specification 1.1 under `/v2/`.
//!
//! Knows paths, headers and status codes; what is on disk is the business of `images`. Who may write was decided
//! before.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};

use crate::images::Images;

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Answers one request under `/v2/`. `writer`: the user may push and delete, not only pull.
pub async fn handle<B>(images: &Arc<Images>, writer: bool, request: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (_, _, _) = (images, writer, request);
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
