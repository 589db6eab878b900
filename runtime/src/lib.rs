//! The node's side: the agent that keeps pods running, and the Wasm engine that they run in.

pub mod engine;
pub mod image;
mod keyed;
pub mod node;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

/// What a body's stream may fail with, wherever it comes from.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The one body type between guests and the network.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;
