//! The etcd face of the store: etcd's gRPC API, version 3, for etcdctl, kube-apiserver and other clients of etcd.
//!
//! Knows gRPC and etcd's words; adds no semantics to the store. It shows the whole store, also what the registry keeps
//! there, so whoever uses it is an administrator of the cluster.

mod auth;
mod authority;
pub(crate) mod call;
mod cluster;
mod cork;
mod kv;
mod lease;
mod listen;
mod maintenance;
mod refusal;
mod snapshot;
mod strand;
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

use crate::members::Membership;
use crate::store::Store;
use crate::store::group::Members;
use crate::store::kv::Error;
use call::{answers, conversation, streaming, unary};
use wire::ResponseHeader;

/// How long a change of the leader may take until whoever asked for it is told that it did not come.
const LEADER_MOVED_MAX: Duration = Duration::from_secs(10);

/// What every call sees. Shared, because a call costs little more than a copy of this would.
#[derive(Clone)]
pub(crate) struct Face {
    store: Store,
    membership: Membership,
    members: Receiver<Members>,
    progress_every: Duration,
    /// A place for each snapshot that is under way.
    snapshots: Arc<Semaphore>,
    stop: CancellationToken,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

// === impl Face ===

impl Face {
    pub(crate) fn new(store: Store, membership: Membership, stop: CancellationToken) -> Face {
        let members = store.members();
        let snapshots = Arc::new(Semaphore::new(snapshot::SNAPSHOTS_MAX));
        Face { store, membership, members, progress_every: watch::PROGRESS_EVERY, snapshots, stop }
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
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let (service, method) = path.split_once('/').unwrap_or((&path, ""));
        match (service.strip_prefix("etcdserverpb.").unwrap_or_default(), method) {
            ("KV", method) => self.answer_kv(method, request).await,
            ("Watch", "Watch") => conversation(request, |requests| watch::watch(self, requests, wants_leader)),
            ("Watch", _) => unknown(service, method),
            ("Lease", method) => self.answer_lease(method, request).await,
            ("Maintenance", method) => self.answer_maintenance(method, request).await,
            ("Cluster", method) => self.answer_cluster(method, request).await,
            ("Auth", method) => self.answer_auth(method, request).await,
            _ => refusal::unknown_service(service).into_http(),
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
            _ => unknown("etcdserverpb.KV", method),
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
            _ => unknown("etcdserverpb.Lease", method),
        }
    }

    async fn answer_cluster<B>(self: Arc<Self>, method: &str, request: http::Request<B>) -> http::Response<Body>
    where
        B: HttpBody<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        match method {
            "MemberList" => unary(request, |asked| cluster::list(self, asked)).await,
            "MemberAdd" => unary(request, |asked| cluster::add(self, asked)).await,
            "MemberRemove" => unary(request, |asked| cluster::remove(self, asked)).await,
            "MemberPromote" => unary(request, |asked| cluster::promote(self, asked)).await,
            "MemberUpdate" => unary(request, |asked| cluster::update(self, asked)).await,
            _ => unknown("etcdserverpb.Cluster", method),
        }
    }

    async fn answer_auth<B>(self: Arc<Self>, method: &str, request: http::Request<B>) -> http::Response<Body>
    where
        B: HttpBody<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        match method {
            "AuthStatus" => unary(request, |asked| auth::status(self, asked)).await,
            "UserList" | "RoleList" | "AuthDisable" => unary(request, |asked| auth::nothing(self, asked)).await,
            "Authenticate" => unary(request, |asked| auth::not_enabled(self, asked)).await,
            _ => unary(request, |asked| auth::not_here(self, asked)).await,
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
            _ => unknown("etcdserverpb.Maintenance", method),
        }
    }
}

fn unknown(service: &str, method: &str) -> http::Response<Body> {
    refusal::unknown_method(service, method).into_http()
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
