//! What a store can do: etcd's data model as one trait.
//!
//! Two things implement it: our own replicated store, and a client of an existing etcd cluster. The contract tests
//! run on both, so nothing here may promise more than etcd does.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// A revisioned key-value store. Every write has a revision, larger than all before; keys order as bytes.
pub trait Kv: Send + Sync + 'static {
    /// Reads a range of keys. Linearizable unless `Range::serializable`.
    fn range(&self, range: Range) -> BoxFuture<'_, Result<Ranged, Error>>;

    /// Checks `compares`, and does `success` if all hold, else `failure`: atomically, under one revision.
    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnDone, Error>>;

    /// All changes of a key range from a revision on, in order, without gap or repeat. Ends only with an error
    /// (compacted, the watcher was too slow, the store is closing).
    fn watch(&self, watch: Watch) -> BoxFuture<'_, Result<Changes, Error>>;

    /// Forgets versions that were superseded at or before `revision`.
    fn compact(&self, revision: u64) -> BoxFuture<'_, Result<(), Error>>;

    /// The newest revision that is applied here.
    fn revision(&self) -> u64;
}

/// Leases: what is attached to one goes when its owner no longer says that it lives.
///
/// Who is told that a lease lives may rely on it for its time to live, counted from when it asked. It may live longer:
/// a new leader gives each lease its whole time anew.
pub trait Leases: Send + Sync + 'static {
    /// Begins a lease. Its number is drawn if `id` is 0; its time may become longer than was asked.
    fn grant(&self, id: i64, ttl: u64) -> BoxFuture<'_, Result<Granted, Error>>;

    /// Ends a lease and deletes its keys, in order, under one revision, which comes back.
    fn revoke(&self, id: i64) -> BoxFuture<'_, Result<u64, Error>>;

    /// The lease lives for its whole time from now on; that time in seconds comes back. The leader alone can say so;
    /// other members ask it.
    fn keep_alive(&self, id: i64) -> BoxFuture<'_, Result<u64, Error>>;

    /// How long a lease lives if nobody keeps it alive, and with `keys`, what is attached to it. The leader alone can
    /// say so; other members ask it.
    fn lease(&self, id: i64, keys: bool) -> BoxFuture<'_, Result<Lease, Error>>;

    /// All leases, in order.
    fn leases(&self) -> BoxFuture<'_, Result<Vec<i64>, Error>>;
}

/// A lease that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    pub id: i64,
    /// Seconds.
    pub ttl: u64,
    /// The revision of the store.
    pub revision: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub id: i64,
    /// Its whole time, in seconds.
    pub granted: u64,
    /// What is left of it.
    pub left: u64,
    pub keys: Vec<Bytes>,
}

/// The batches of a watch.
pub type Changes = BoxStream<'static, Result<ChangeBatch, Error>>;

/// Keys from `start` up to but without `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    pub start: Bytes,
    /// `None`: the key `start` alone.
    pub end: Option<Bytes>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    pub keys: KeyRange,
    /// 0: the newest.
    pub revision: u64,
    /// 0: all.
    pub limit: usize,
    pub keys_only: bool,
    pub count_only: bool,
    /// Keys beyond the limit are not counted.
    pub uncounted: bool,
    /// True: whatever this member has applied, without asking the leader.
    pub serializable: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranged {
    pub items: Vec<KeyValue>,
    /// How many keys are in the range, whatever the limit, unless they are not to be counted.
    pub count: u64,
    pub more: bool,
    /// The revision of the store when the range was read.
    pub revision: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Bytes,
    pub value: Bytes,
    pub create_revision: u64,
    pub mod_revision: u64,
    /// 1 at creation, one more with each put.
    pub version: u64,
    /// 0: none.
    pub lease: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    pub compares: Vec<Compare>,
    pub success: Vec<Op>,
    pub failure: Vec<Op>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    /// Of a range, all keys have to be so. Where there is no key, one that was never written is compared.
    pub keys: KeyRange,
    pub what: Compared,
    pub is: Comparison,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// 0: the key must not exist.
    CreateRevision(u64),
    ModRevision(u64),
    Version(u64),
    Value(Bytes),
    Lease(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Greater,
    Less,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Put(Put),
    Delete(Delete),
    Range(Range),
    /// Its compares see what was there before the outer transaction; what it writes has the same revision.
    Txn(Txn),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    pub key: Bytes,
    /// `None`: the key, which has to be there, keeps its value.
    pub value: Option<Bytes>,
    /// The lease that the key is attached to from now on; 0: to none. `None`: it keeps the one that it has.
    pub lease: Option<i64>,
    /// Is the version that is replaced wanted in the answer?
    pub previous: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    pub keys: KeyRange,
    /// Are the versions that are deleted wanted in the answer?
    pub previous: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TxnDone {
    /// True: the compares held and `success` was done.
    pub succeeded: bool,
    /// The revision of the write; the current one if nothing was written.
    pub revision: u64,
    /// One for each operation that was done.
    pub results: Vec<OpDone>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpDone {
    /// The previous version, if it was asked for.
    Put {
        previous: Option<KeyValue>,
    },
    Delete {
        deleted: u64,
        previous: Vec<KeyValue>,
    },
    Range(Ranged),
    Txn(TxnDone),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    pub keys: KeyRange,
    /// The first revision that is wanted; 0: whatever comes next.
    pub from: u64,
    pub previous: bool,
}

/// All changes of one or more whole revisions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeBatch {
    pub changes: Vec<Change>,
    /// Nothing of the range up to this revision is still to come. A batch without changes tells progress alone.
    pub revision: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// For a deletion: the key, an empty value, and the revision of the deletion as `mod_revision`.
    pub kv: KeyValue,
    pub is_delete: bool,
    /// What was there before, if the watch asked for it.
    pub previous: Option<KeyValue>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("revision {wanted} was compacted; the oldest that is kept is {oldest}")]
    Compacted { wanted: u64, oldest: u64 },
    #[error("revision {wanted} is in the future; the newest is {newest}")]
    Future { wanted: u64, newest: u64 },
    #[error("the request is malformed: {0}")]
    Invalid(String),
    #[error("a key is written twice in one transaction")]
    Twice,
    #[error("the request is too large: {0}")]
    TooLarge(String),
    /// The key was to keep what it has.
    #[error("there is no key {0:?}")]
    NoKey(Bytes),
    #[error("there is no lease {0:x}")]
    NoLease(i64),
    #[error("there is a lease {0:x} already")]
    LeaseExists(i64),
    /// Nothing was done; reads and deletions are.
    #[error("the store takes no more, because a member's disk is nearly full: make room there, or delete objects")]
    NoSpace,
    /// Nothing was done: no leader, no space, closing. Worth trying again.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// A part of what is asked for cannot be read here any more, and trying again does not help.
    #[error(
        "the store's data are damaged: {0}; replace this member by a new one in an empty folder, or restore a snapshot"
    )]
    Damaged(String),
    /// Nothing was done: who takes part is not changed while the members are not fit for that.
    #[error("{0}")]
    NotReady(String),
    /// The write may or may not stand; read before trying again.
    #[error("the outcome of the write is unknown: {0}")]
    Unknown(String),
}

// === impl KeyRange ===

impl KeyRange {
    #[must_use]
    pub fn key(key: impl Into<Bytes>) -> KeyRange {
        KeyRange { start: key.into(), end: None }
    }

    /// All keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>) -> KeyRange {
        let start: Bytes = prefix.into();
        let mut end = start.to_vec();
        while end.last() == Some(&0xff) {
            end.pop();
        }
        if let Some(last) = end.last_mut() {
            *last += 1;
        } else {
            // A prefix of 0xff bytes alone (or an empty one) has no end; etcd writes that as one zero byte.
            end.push(0);
        }
        KeyRange { start, end: Some(end.into()) }
    }

    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            None => self.start == key,
            Some(end) if **end == [0] => *self.start <= *key,
            Some(end) => *self.start <= *key && *key < **end,
        }
    }

    /// The smallest range that has this one and another in it.
    #[must_use]
    pub fn hull(&self, other: &KeyRange) -> KeyRange {
        if self == other {
            return self.clone();
        }
        // Where a range ends; nowhere, if it has all keys from its start on.
        let end = |keys: &KeyRange| match &keys.end {
            None => Some(Bytes::from([&*keys.start, &[0]].concat())),
            Some(end) if **end == [0] => None,
            Some(end) => Some(end.clone()),
        };
        let last = end(self).zip(end(other)).map(|(one, other)| one.max(other));
        KeyRange {
            start: self.start.clone().min(other.start.clone()),
            end: Some(last.unwrap_or_else(|| Bytes::from_static(&[0]))),
        }
    }
}

// === impl KeyValue ===

impl KeyValue {
    /// What a deletion leaves.
    #[must_use]
    pub fn gone(key: Bytes, revision: u64) -> KeyValue {
        KeyValue { key, value: Bytes::new(), create_revision: 0, mod_revision: revision, version: 0, lease: 0 }
    }
}

// === impl Range ===

impl Range {
    /// The newest state of some keys, linearizable.
    #[must_use]
    pub fn newest(keys: KeyRange) -> Range {
        Range {
            keys,
            revision: 0,
            limit: 0,
            keys_only: false,
            count_only: false,
            uncounted: false,
            serializable: false,
        }
    }
}

// === impl Txn ===

impl Txn {
    /// Does it put anything, whichever way the compares go?
    #[must_use]
    pub fn adds(&self) -> bool {
        self.success.iter().chain(&self.failure).any(|op| match op {
            Op::Put(_) => true,
            Op::Txn(txn) => txn.adds(),
            Op::Delete(_) | Op::Range(_) => false,
        })
    }

    /// Does it write nothing, whichever way the compares go?
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| match op {
            Op::Range(_) => true,
            Op::Txn(txn) => txn.is_read(),
            Op::Put(_) | Op::Delete(_) => false,
        })
    }

    /// What is done if the compares hold, or if not.
    #[must_use]
    pub fn branch(&self, succeeds: bool) -> &[Op] {
        if succeeds { &self.success } else { &self.failure }
    }
}

// === impl Op ===

impl Op {
    /// Puts a value; the key is attached to no lease.
    #[must_use]
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Op {
        Op::Put(Put { key: key.into(), value: Some(value.into()), lease: Some(0), previous: false })
    }

    #[must_use]
    pub fn delete(keys: KeyRange) -> Op {
        Op::Delete(Delete { keys, previous: false })
    }
}

// === impl Compare ===

impl Compare {
    #[must_use]
    pub fn absent(key: impl Into<Bytes>) -> Compare {
        Compare { keys: KeyRange::key(key), what: Compared::CreateRevision(0), is: Comparison::Equal }
    }

    #[must_use]
    pub fn unchanged(key: impl Into<Bytes>, mod_revision: u64) -> Compare {
        Compare { keys: KeyRange::key(key), what: Compared::ModRevision(mod_revision), is: Comparison::Equal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hull_has_both_ranges_in_it_and_no_more() {
        let range = |start: &'static str, end: &'static str| KeyRange { start: start.into(), end: Some(end.into()) };
        let (a, c) = (KeyRange::key("a"), KeyRange::key("c"));
        assert_eq!(a.hull(&a), a);
        assert_eq!(c.hull(&a), range("a", "c\0"));
        assert_eq!(range("a", "d").hull(&c), range("a", "d"));
        assert_eq!(range("b", "c").hull(&range("a", "b")), range("a", "c"));
        assert_eq!(range("b", "\0").hull(&a), range("a", "\0"));
    }
}
