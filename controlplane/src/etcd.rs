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

use std::future;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
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

/// An answer that is on its way.
pub(crate) type Answered = BoxFuture<'static, http::Response<Body>>;

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

    /// Answers one call. What it takes to wait is in memory of its own, as much as that call needs.
    pub(crate) fn answer<B>(self: Arc<Self>, request: http::Request<B>) -> Answered
    where
        B: HttpBody<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        let wants_leader = request.headers().get("hasleader").is_some_and(|value| value == "true");
        if wants_leader && self.members.borrow().leader.is_none() {
            return at_once(refusal::no_leader());
        }
        let uri = request.uri().clone();
        let path = uri.path().trim_start_matches('/');
        let (service, method) = path.split_once('/').unwrap_or((path, ""));
        match (service.strip_prefix("etcdserverpb.").unwrap_or_default(), method) {
            ("KV", method) => self.answer_kv(method, request),
            ("Watch", "Watch") => conversation(request, |requests| watch::watch(self, requests, wants_leader)),
            ("Watch", _) => unknown(service, method),
            ("Lease", method) => self.answer_lease(method, request),
            ("Maintenance", method) => self.answer_maintenance(method, request),
            ("Cluster", method) => self.answer_cluster(method, request),
            ("Auth", method) => self.answer_auth(method, request),
            _ => at_once(refusal::unknown_service(service)),
        }
    }

    fn answer_kv<B>(self: Arc<Self>, method: &str, request: http::Request<B>) -> Answered
    where
        B: HttpBody<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        match method {
            "Range" => unary(request, |asked| kv::range(self, asked)),
            "Put" => unary(request, |asked| kv::put(self, asked)),
            "DeleteRange" => unary(request, |asked| kv::delete(self, asked)),
            "Txn" => unary(request, |asked| kv::txn(self, asked)),
            "Compact" => unary(request, |asked| kv::compact(self, asked)),
            _ => unknown("etcdserverpb.KV", method),
        }
    }

    fn answer_lease<B>(self: Arc<Self>, method: &str, request: http::Request<B>) -> Answered
    where
        B: HttpBody<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        match method {
            "LeaseGrant" => unary(request, |asked| lease::grant(self, asked)),
            "LeaseRevoke" => unary(request, |asked| lease::revoke(self, asked)),
            "LeaseKeepAlive" => streaming(request, |requests| lease::keep_alive(self, requests)),
            "LeaseTimeToLive" => unary(request, |asked| lease::time_to_live(self, asked)),
            "LeaseLeases" => unary(request, |asked| lease::leases(self, asked)),
            _ => unknown("etcdserverpb.Lease", method),
        }
    }

    fn answer_cluster<B>(self: Arc<Self>, method: &str, request: http::Request<B>) -> Answered
    where
        B: HttpBody<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        match method {
            "MemberList" => unary(request, |asked| cluster::list(self, asked)),
            "MemberAdd" => unary(request, |asked| cluster::add(self, asked)),
            "MemberRemove" => unary(request, |asked| cluster::remove(self, asked)),
            "MemberPromote" => unary(request, |asked| cluster::promote(self, asked)),
            "MemberUpdate" => unary(request, |asked| cluster::update(self, asked)),
            _ => unknown("etcdserverpb.Cluster", method),
        }
    }

    fn answer_auth<B>(self: Arc<Self>, method: &str, request: http::Request<B>) -> Answered
    where
        B: HttpBody<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        match method {
            "AuthStatus" => unary(request, |asked| auth::status(self, asked)),
            "UserList" | "RoleList" | "AuthDisable" => unary(request, |asked| auth::nothing(self, asked)),
            "Authenticate" => unary(request, |asked| auth::not_enabled(self, asked)),
            _ => unary(request, |asked| auth::not_here(self, asked)),
        }
    }

    fn answer_maintenance<B>(self: Arc<Self>, method: &str, request: http::Request<B>) -> Answered
    where
        B: HttpBody<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<BoxError> + Send,
    {
        match method {
            "Status" => unary(request, |asked| maintenance::status(self, asked)),
            "Alarm" => unary(request, |asked| maintenance::alarm(self, asked)),
            "Defragment" => unary(request, |asked| maintenance::defragment(self, asked)),
            "Hash" => unary(request, |asked| maintenance::hash(self, asked)),
            "HashKV" => unary(request, |asked| maintenance::hash_kv(self, asked)),
            "MoveLeader" => unary(request, |asked| maintenance::move_leader(self, asked)),
            "Snapshot" => answers(request, |asked| snapshot::snapshot(self, asked)),
            "Downgrade" => unary(request, |asked| maintenance::downgrade(self, asked)),
            _ => unknown("etcdserverpb.Maintenance", method),
        }
    }
}

fn unknown(service: &str, method: &str) -> Answered {
    at_once(refusal::unknown_method(service, method))
}

fn at_once(refusal: Status) -> Answered {
    future::ready(refusal.into_http()).boxed()
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
