//! The replicated store that takes etcd's place: revisions, transactions and watches over Raft and RocksDB.
//!
//! Knows no Kubernetes.

pub mod kv;

pub use kv::Kv;
