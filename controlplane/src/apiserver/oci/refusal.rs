//! What went wrong, in the words of the distribution specification.

use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::LengthLimitError;
use serde_json::json;

use super::super::body::{Body, BoxError, full};
use crate::images::Error;

#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// How much of an upload or a blob there is, as a `Range` says it.
    range: Option<(header::HeaderName, String)>,
}

// === impl Refusal ===

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { status, code, message: message.into(), range: None }
    }

    pub(super) fn denied() -> Refusal {
        Refusal::new(StatusCode::FORBIDDEN, "DENIED", "this user may not change images")
    }

    pub(super) fn not_found(path: &str) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, "NAME_INVALID", format!("nothing is at {path:?}"))
    }

    pub(super) fn method(method: &Method) -> Refusal {
        Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", format!("{method} means nothing here"))
    }

    pub(super) fn digest(message: &str) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message)
    }

    pub(super) fn range(bytes: u64) -> Refusal {
        let message = format!("the blob has {bytes} bytes");
        let refusal = Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", message);
        Refusal { range: Some((header::CONTENT_RANGE, format!("bytes */{bytes}"))), ..refusal }
    }

    /// The body of the request did not arrive.
    pub(super) fn unread(error: BoxError) -> Refusal {
        match error.is::<LengthLimitError>() {
            true => Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", "the manifest is too large"),
            false => Refusal::new(StatusCode::BAD_REQUEST, "SIZE_INVALID", format!("the body ended early: {error}")),
        }
    }

    /// The cause is for us, not for the client.
    pub(super) fn internal(error: &(dyn std::error::Error + 'static)) -> Refusal {
        tracing::error!(error, "an image could not be served");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "the registry cannot use its disk")
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let body = json!({ "errors": [{ "code": self.code, "message": self.message, "detail": null }] });
        let mut response = Response::new(full(body.to_string()));
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some((name, range)) = self.range
            && let Ok(range) = HeaderValue::try_from(range)
        {
            response.headers_mut().insert(name, range);
        }
        response
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        let message = error.to_string();
        let (status, code) = match &error {
            Error::Io { .. } => return Refusal::internal(&error),
            Error::Name(text) if text.contains("digest") => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            Error::Name(_) => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
            Error::Unknown(what) => (StatusCode::NOT_FOUND, unknown(what)),
            Error::DigestMismatch { .. } => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            Error::OutOfOrder { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID"),
            Error::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"),
            Error::Manifest(_) => (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
            Error::Missing(_) => (StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN"),
        };
        let range = match error {
            Error::OutOfOrder { at } => Some((header::RANGE, format!("0-{}", at.saturating_sub(1)))),
            _ => None,
        };
        Refusal { range, ..Refusal::new(status, code, message) }
    }
}

impl From<http::Error> for Refusal {
    fn from(error: http::Error) -> Refusal {
        Refusal::internal(&error)
    }
}

fn unknown(what: &str) -> &'static str {
    match what.split(' ').next() {
        Some("manifest") => "MANIFEST_UNKNOWN",
        Some("upload") => "BLOB_UPLOAD_UNKNOWN",
        Some("repository") => "NAME_UNKNOWN",
        _ => "BLOB_UNKNOWN",
    }
}
