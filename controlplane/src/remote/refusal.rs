//! What etcd's errors mean: by its gRPC codes and its words, which are the same since version 3.4.

use std::error::Error as _;

use tonic::{Code, ConnectError, Status};

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    Compacted,
    Future,
    NoKey,
    NoLease,
    LeaseExists,
    Twice,
    NoSpace,
    TooLarge(String),
    Invalid(String),
    /// Nothing was done.
    Away(String),
    /// It may have been done.
    Cut(String),
}

pub(super) fn of(status: &Status) -> Refusal {
    let words = status.message();
    let Some(said) = words.strip_prefix("etcdserver: ") else { return untold(status) };
    match (status.code(), said) {
        (Code::OutOfRange, "mvcc: required revision has been compacted") => Refusal::Compacted,
        (Code::OutOfRange, "mvcc: required revision is a future revision") => Refusal::Future,
        (Code::InvalidArgument, "key not found") => Refusal::NoKey,
        (Code::InvalidArgument, "duplicate key given in txn request") => Refusal::Twice,
        (Code::InvalidArgument, "request is too large" | "too many operations in txn request") => {
            Refusal::TooLarge(said.to_owned())
        }
        (Code::NotFound, "requested lease not found") => Refusal::NoLease,
        (Code::FailedPrecondition, "lease already exists") => Refusal::LeaseExists,
        (Code::ResourceExhausted, "mvcc: database space exceeded") => Refusal::NoSpace,
        (Code::InvalidArgument | Code::OutOfRange, _) => Refusal::Invalid(said.to_owned()),
        // Said before anything is proposed to the other members.
        (Code::ResourceExhausted, "too many requests")
        | (Code::Unavailable, "no leader" | "not capable" | "rpc not supported for learner")
        | (Code::PermissionDenied | Code::Unauthenticated | Code::FailedPrecondition, _) => {
            Refusal::Away(words.to_owned())
        }
        _ => Refusal::Cut(words.to_owned()),
    }
}

/// Said by the layers below.
fn untold(status: &Status) -> Refusal {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return Refusal::Away(deepest(error));
        }
        source = error.source();
    }
    match status.code() {
        Code::ResourceExhausted if status.message().contains("larger than max") => {
            Refusal::TooLarge(status.message().to_owned())
        }
        // There is no etcd that speaks version 3 of the API, or one that forbids it.
        Code::Unimplemented | Code::PermissionDenied => Refusal::Away(status.message().to_owned()),
        _ => Refusal::Cut(status.source().map_or_else(|| status.message().to_owned(), deepest)),
    }
}

/// The innermost error says what happened; those around it, that it did.
pub(super) fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_done_is_told_from_what_was_not() {
        let of = |code: Code, words: &str| of(&Status::new(code, words));
        let is_cut = |code: Code, words: &str| matches!(of(code, words), Refusal::Cut(_));
        let is_away = |code: Code, words: &str| matches!(of(code, words), Refusal::Away(_));
        assert!(is_away(Code::Unavailable, "etcdserver: no leader"));
        assert!(is_away(Code::ResourceExhausted, "etcdserver: too many requests"));
        assert!(is_cut(Code::Unavailable, "etcdserver: request timed out"));
        assert!(is_cut(Code::Unavailable, "etcdserver: request timed out, possibly due to connection lost"));
        assert!(is_cut(Code::Unavailable, "etcdserver: server stopped"));
        assert!(is_cut(Code::Unavailable, "etcdserver: leader changed"));
        assert!(is_cut(Code::Unavailable, "transport is closing"), "nobody knows when it closed");
        assert!(is_cut(Code::Unknown, "transport error"));
        assert_eq!(of(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted"), Refusal::Compacted);
        assert_eq!(of(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"), Refusal::NoSpace);
        let refused = Status::from_error(Box::new(ConnectError("nobody is there".into())));
        assert_eq!(super::of(&refused), Refusal::Away("nobody is there".into()));
    }
}
