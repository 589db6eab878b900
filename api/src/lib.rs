//! What a Kubernetes object is: its tree, its kind, its codecs, patches and rules.
//!
//! Pure: no I/O, no clock, no async runtime. Whoever needs the time passes it in.

pub mod cel;
pub mod codec;
pub mod convert;
pub mod custom;
pub mod defaults;
pub mod fields;
pub mod indexes;
pub mod kinds;
pub mod managed_fields;
pub mod names;
pub mod patch;
pub mod object;
pub mod resource;
pub mod quantity;
pub mod quota;
pub mod rejected;
pub mod schedule;
pub mod schema;
pub mod selector;
pub mod strategy;
pub mod time;
pub mod validate;
pub mod view;
mod walk;

pub use kinds::Kind;
pub use object::{Head, Object, Owner, Tree};
pub use rejected::Rejected;
pub use resource::Resource;

/// The Kubernetes release whose API this is.
pub const KUBERNETES_VERSION: &str = "1.36.0";
