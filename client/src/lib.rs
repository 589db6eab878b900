//! How to reach the API: one trait, the same from another process (HTTPS) and within one (straight into the registry).
//!
//! Everything above is an ordinary client: scheduler, controllers, node agent and command line see only `Cluster`.

pub mod cluster;
pub mod cache;
pub mod clock;
pub mod events;
pub mod follow;
pub mod http;
pub mod queue;

pub use cache::{Cache, Change, Key};
pub use clock::Clock;
pub use cluster::{
    Cluster, DeleteOptions, Error, Event, Events, Handle, List, ListOptions, Patch, Propagation, Target, WatchOptions,
    WriteOptions,
};
pub use events::{About, Happened, Recorder};
pub use follow::{Followed, follow};
pub use queue::Queue;
