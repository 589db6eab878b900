//! The etcd face of the store: etcd's gRPC API, version 3, for etcdctl, kube-apiserver and other clients of etcd.
//!
//! Knows gRPC and etcd's words; adds no semantics to the store. It shows the whole store, also what the registry keeps
//! there, so whoever uses it is an administrator of the cluster.

mod authority;
mod call;
mod cluster;
mod kv;
mod lease;
mod listen;
mod maintenance;
mod refusal;
mod snapshot;
mod watch;
pub mod wire;

pub use listen::{Config, Security, serve};

use std::sync::Arc;
use std::time::Duration;

use http_body::Body as HttpBody;
use tokio::sync::Semaphore;
use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;

use crate::store::Store;
use crate::store::group::Members;
use crate::store::kv::Error;
use call::{answers, streaming, unary};
use wire::ResponseHeader;

/// How long a change of the leader may take until whoever asked for it is told that it did not come.
const LEADER_MOVED_MAX: Duration = Duration::from_secs(10);

/// What every call sees. Shared, because a call costs little more than a copy of this would.
#[derive(Debug, Clone)]
pub(crate) struct Face {
    store: Store,
    members: Receiver<Members>,
    /// Where clients reach this member.
    url: String,
    progress_every: Duration,
    /// A place for each snapshot that is under way.
    snapshots: Arc<Semaphore>,
    stop: CancellationToken,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

// === impl Face ===

impl Face {
    pub(crate) fn new(store: Store, url: String, stop: CancellationToken) -> Face {
        let members = store.members();
        let snapshots = Arc::new(Semaphore::new(snapshot::SNAPSHOTS_MAX));
        Face { store, members, url, progress_every: watch::PROGRESS_EVERY, snapshots, stop }
    }

    fn header(&self, revision: u64) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            cluster_id: self.store.cluster_id(),
            member_id: self.store.member_id(),
            revision: signed(revision),
            raft_term: self.members.borrow().term,
        })
    }

    /// What the store refuses, in etcd's words.
    fn refused(&self, error: Error) -> Status {
        match error {
            Error::Unavailable(_) if self.members.borrow().leader.is_none() => refusal::no_leader(),
            error => refusal::of(error),
        }
    }

    /// Answers one call.
    pub(crate) async fn answer<B>(self: Arc<Self>, request: http::Request<B>) -> http::Response<Body>
    where
        B: HttpBody<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        let wants_leader = request.headers().get("hasleader").is_some_and(|value| value == "true");
        if wants_leader && self.members.borrow().leader.is_none() {
            return refusal::no_leader().into_http();
        }
        let Some(path) = request.uri().path().strip_prefix("/etcdserverpb.") else {
            return Status::unimplemented("only etcd's own services are served").into_http();
        };
        match path.to_owned().split_once('/') {
            Some(("KV", method)) => self.answer_kv(method, request).await,
            Some(("Watch", "Watch")) => streaming(request, |requests| watch::watch(self, requests, wants_leader)).await,
            Some(("Lease", method)) => self.answer_lease(method, request).await,
            Some(("Maintenance", method)) => self.answer_maintenance(method, request).await,
            Some(("Cluster", "MemberList")) => unary(request, |asked| cluster::members(self, asked)).await,
            Some(("Cluster", _)) => unary(request, |asked| cluster::not_here(self, asked)).await,
            Some(("Auth", "AuthStatus")) => unary(request, |asked| cluster::auth_status(self, asked)).await,
            Some(("Auth", "UserList" | "RoleList")) => unary(request, |asked| cluster::nobody(self, asked)).await,
            Some(("Auth", _)) => unary(request, |asked| cluster::no_auth(self, asked)).await,
            _ => unknown(),
        }
    }

    async fn answer_kv<B>(self: Arc<Self>, method: &str, request: http::Request<B>) -> http::Response<Body>
    where
        B: HttpBody<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        match method {
            "Range" => unary(request, |asked| kv::range(self, asked)).await,
            "Put" => unary(request, |asked| kv::put(self, asked)).await,
            "DeleteRange" => unary(request, |asked| kv::delete(self, asked)).await,
            "Txn" => unary(request, |asked| kv::txn(self, asked)).await,
            "Compact" => unary(request, |asked| kv::compact(self, asked)).await,
            _ => unknown(),
        }
    }

    async fn answer_lease<B>(self: Arc<Self>, method: &str, request: http::Request<B>) -> http::Response<Body>
    where
        B: HttpBody<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        match method {
            "LeaseGrant" => unary(request, |asked| lease::grant(self, asked)).await,
            "LeaseRevoke" => unary(request, |asked| lease::revoke(self, asked)).await,
            "LeaseKeepAlive" => streaming(request, |requests| lease::keep_alive(self, requests)).await,
            "LeaseTimeToLive" => unary(request, |asked| lease::time_to_live(self, asked)).await,
            "LeaseLeases" => unary(request, |asked| lease::leases(self, asked)).await,
            _ => unknown(),
        }
    }

    async fn answer_maintenance<B>(self: Arc<Self>, method: &str, request: http::Request<B>) -> http::Response<Body>
    where
        B: HttpBody<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        match method {
            "Status" => unary(request, |asked| maintenance::status(self, asked)).await,
            "Alarm" => unary(request, |asked| maintenance::alarm(self, asked)).await,
            "Defragment" => unary(request, |asked| maintenance::defragment(self, asked)).await,
            "Hash" => unary(request, |asked| maintenance::hash(self, asked)).await,
            "HashKV" => unary(request, |asked| maintenance::hash_kv(self, asked)).await,
            "MoveLeader" => unary(request, |asked| maintenance::move_leader(self, asked)).await,
            "Snapshot" => answers(request, |asked| snapshot::snapshot(self, asked)).await,
            "Downgrade" => unary(request, |asked| maintenance::downgrade(self, asked)).await,
            _ => unknown(),
        }
    }
}

fn unknown() -> http::Response<Body> {
    Status::unimplemented("etcd has no such method").into_http()
}

/// On the wire, revisions and counts are signed.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A negative revision means the newest, as 0 does.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests;
