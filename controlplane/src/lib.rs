//! The server side: store, registry, API server, controllers and scheduler.
//!
//! Inside, arrows point down only: `apiserver` to `registry` to `store`; `remote`, `peers`, `members` and `etcd` to
//! `store`;
//! `controllers` and `scheduler` see `client` and `api` alone. `tests/tidy.rs` checks it.

pub mod folder;
pub mod images;
pub mod registry;
pub mod store;
pub mod remote;
pub mod peers;
pub mod members;
pub mod etcd;
pub mod pki;
mod ahead;
mod listener;
mod pieces;
pub mod apiserver;
pub mod controllers;
pub mod scheduler;
// What the end-to-end tests have: no crate depends on them.
#[cfg(test)]
#[path = "../../tests/e2e/ports.rs"]
mod ports;
