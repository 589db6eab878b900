//! The replicated store that takes etcd's place: revisions, transactions and watches over Raft and RocksDB.
//!
//! Knows no Kubernetes: keys and values are bytes.

pub mod kv;
pub mod memory;

mod state;
mod history;

pub use kv::Kv;

#[cfg(test)]
mod tests;
