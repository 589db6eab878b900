//! The data path of Services: which pod answers a request, and how the request gets there.
//!
//! Everything here works from one immutable [`Table`], handed in through a `watch` channel by whoever follows the API;
//! this crate cannot reach the API itself, so it serves on while the node is cut off. A pod of this node is called as
//! a function, a pod of another node through one mutually authenticated tunnel, and anything else through [`egress`].

pub mod egress;
pub mod name;
pub mod network;
pub mod node_port;
pub mod pick;
pub mod table;
pub mod tunnel;

pub use network::{Caller, Handler, Network};
pub use table::{Inputs, Table};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

/// What a body's stream may fail with, wherever it comes from.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The one body type of the data path; guests, sockets and tunnels all convert to it once.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body of known bytes.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A plain-text answer of the proxy itself, marked as such so that it is not mistaken for the guest's.
#[must_use]
pub fn answer(status: http::StatusCode, text: &str) -> http::Response<Body> {
    let mut response = http::Response::new(full(format!("{text}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(http::header::SERVER, http::HeaderValue::from_static("coracle"));
    response
}
