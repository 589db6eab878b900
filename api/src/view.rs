//! Narrow, typed, read-only views of objects: what our own code acts on.
//!
//! A view names the fields that some decision reads and nothing else; it is parsed straight from an object's bytes
//! (`Object::read`), is never written back, and so cannot lose what it does not know. Add a field when a decision
//! needs it; add a file when a kind does.

mod batch;
mod extension;
mod meta;
mod pod;
mod node;
mod placement;
mod policy;
mod service;
mod workload;

pub use batch::*;
pub use extension::*;
pub use meta::{Condition, LabelSelector, LabelSelectorRequirement, Meta, Owned};
pub use node::{Address, Node, NodeSpec, NodeStatus, Taint};
pub use pod::*;
pub use policy::*;
pub use service::*;
pub use workload::*;

use serde::{Deserialize, Deserializer};

/// Reads null as empty: what lists that are always printed are when there is nothing in them.
pub fn empty_if_null<'de, D, T>(source: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(source).map(Option::unwrap_or_default)
}
