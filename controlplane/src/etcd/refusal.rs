//! etcd's errors, with its gRPC codes and its words: clients compare both.

use tonic::{Code, Status};

use super::call::MESSAGE_BYTES_MAX;
use crate::store::kv::Error;

pub(super) fn empty_key() -> Status {
    Status::invalid_argument("etcdserver: key is not provided")
}

/// Also what etcd says of an operation that is none.
pub(super) fn key_not_found() -> Status {
    Status::invalid_argument("etcdserver: key not found")
}

pub(super) fn value_provided() -> Status {
    Status::invalid_argument("etcdserver: value is provided")
}

pub(super) fn lease_provided() -> Status {
    Status::invalid_argument("etcdserver: lease is provided")
}

pub(super) fn too_many_operations() -> Status {
    Status::invalid_argument("etcdserver: too many operations in txn request")
}

pub(super) fn invalid_sort_option() -> Status {
    Status::invalid_argument("etcdserver: invalid sort option")
}

pub(super) fn ttl_too_large() -> Status {
    Status::out_of_range("etcdserver: too large lease TTL")
}

pub(super) fn no_leader() -> Status {
    Status::unavailable("etcdserver: no leader")
}

pub(super) fn not_leader() -> Status {
    Status::failed_precondition("etcdserver: not leader")
}

pub(super) fn bad_transferee() -> Status {
    Status::failed_precondition("etcdserver: bad leader transferee")
}

pub(super) fn too_many_snapshots() -> Status {
    Status::resource_exhausted("etcdserver: too many snapshots are under way")
}

pub(super) fn stopped() -> Status {
    Status::unavailable("etcdserver: server stopped")
}

pub(super) fn member_not_found() -> Status {
    Status::not_found("etcdserver: member not found")
}

pub(super) fn bad_member_urls() -> Status {
    Status::invalid_argument("etcdserver: given member URLs are invalid")
}

/// etcd takes several, and some without TLS.
pub(super) fn one_member_url() -> Status {
    Status::invalid_argument("etcdserver: given member URLs are invalid: a member has one, https://HOST:PORT")
}

pub(super) fn peer_url_exists() -> Status {
    Status::failed_precondition("etcdserver: Peer URLs already exists")
}

pub(super) fn not_a_learner() -> Status {
    Status::failed_precondition("etcdserver: can only promote a learner member")
}

pub(super) fn learner_not_ready() -> Status {
    Status::failed_precondition("etcdserver: can only promote a learner member which is in sync with leader")
}

pub(super) fn not_enough_started() -> Status {
    Status::failed_precondition("etcdserver: re-configuration failed due to not enough started members")
}

pub(super) fn unhealthy() -> Status {
    Status::unavailable("etcdserver: unhealthy cluster")
}

pub(super) fn oversized(length: usize) -> Status {
    Status::resource_exhausted(format!("grpc: received message larger than max ({length} vs. {MESSAGE_BYTES_MAX})"))
}

/// Of a stream's request over the limit, the library says something else than etcd's does.
pub(super) fn of_stream(status: Status) -> Status {
    if status.code() == Code::OutOfRange && status.message().starts_with("Error, decoded message length too large") {
        return Status::resource_exhausted(format!("grpc: received message larger than max ({MESSAGE_BYTES_MAX})"));
    }
    status
}

pub(super) fn unknown_service(service: &str) -> Status {
    Status::unimplemented(format!("unknown service {service}"))
}

pub(super) fn unknown_method(service: &str, method: &str) -> Status {
    Status::unimplemented(format!("unknown method {method} for service {service}"))
}

pub(super) fn auth_not_enabled() -> Status {
    Status::failed_precondition("etcdserver: authentication is not enabled")
}

/// Said where etcd would know what to do; the rest of the text is ours.
pub(super) fn not_served(what: &str) -> Status {
    Status::unimplemented(format!("etcdserver: {what}"))
}

pub(super) const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

/// What the store refuses.
pub(super) fn of(error: Error) -> Status {
    match error {
        Error::Compacted { .. } => Status::out_of_range(COMPACTED),
        Error::Future { .. } => Status::out_of_range("etcdserver: mvcc: required revision is a future revision"),
        Error::TooLarge(_) => Status::invalid_argument("etcdserver: request is too large"),
        Error::Twice => Status::invalid_argument("etcdserver: duplicate key given in txn request"),
        Error::NoKey(_) => key_not_found(),
        Error::NoLease(_) => Status::not_found("etcdserver: requested lease not found"),
        Error::LeaseExists(_) => Status::failed_precondition("etcdserver: lease already exists"),
        Error::Invalid(why) => Status::invalid_argument(format!("etcdserver: {why}")),
        Error::NoSpace => Status::resource_exhausted("etcdserver: mvcc: database space exceeded"),
        Error::Unavailable(why) => Status::unavailable(format!("etcdserver: {why}")),
        Error::NotReady(_) => unhealthy(),
        // As etcd's "corrupt cluster".
        Error::Damaged(why) => Status::data_loss(format!("etcdserver: {why}")),
        // Clients know this one as a write that may have been done.
        Error::Unknown(_) => Status::unavailable("etcdserver: request timed out"),
    }
}
