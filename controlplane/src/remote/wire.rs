//! The store's words in etcd's: keys with the prefix before them, and numbers with a sign.

use bytes::Bytes;

use crate::etcd::wire::{
    self, CompareResult, CompareTarget, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, Request,
    RequestOp, Response, TargetUnion, TxnRequest, TxnResponse,
};
use crate::store::kv::{
    Compare, Compared, Comparison, KeyRange, KeyValue, Op, OpDone, Put, Range, Ranged, Txn, TxnDone,
};

/// etcd's first key, and in the place of an end, that there is none.
pub(super) const FIRST: Bytes = Bytes::from_static(b"\0");

/// What all keys begin with.
pub(super) struct Prefix {
    prefix: Bytes,
    /// Where a range ends that has no end of its own.
    end: Bytes,
}

/// etcd's revisions, counts and seconds are never negative.
pub(super) fn number(signed: i64) -> u64 {
    u64::try_from(signed).unwrap_or_default()
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

// === impl Prefix ===

impl Prefix {
    pub(super) fn new(prefix: String) -> Prefix {
        let end = KeyRange::prefix(prefix.clone()).end.unwrap_or_default();
        Prefix { prefix: prefix.into(), end }
    }

    pub(super) fn key(&self, key: &[u8]) -> Bytes {
        [&self.prefix, key].concat().into()
    }

    /// The key as we know it; `None` for others' keys.
    pub(super) fn own(&self, key: &Bytes) -> Option<Bytes> {
        key.starts_with(&self.prefix).then(|| key.slice(self.prefix.len()..))
    }

    /// Start and end; the end is empty for a single key.
    fn keys(&self, keys: &KeyRange) -> (Bytes, Bytes) {
        let start = self.key(&keys.start);
        let Some(end) = &keys.end else { return (start, Bytes::new()) };
        // For etcd there is no empty key, and the first one is this.
        let start = if start.is_empty() { FIRST } else { start };
        let end = match &**end {
            [0] => self.end.clone(),
            // An empty end would make it a single key; what is meant is a range that holds none.
            [] if self.prefix.is_empty() => start.clone(),
            end => self.key(end),
        };
        (start, end)
    }

    pub(super) fn range(&self, range: &Range) -> RangeRequest {
        let (key, range_end) = self.keys(&range.keys);
        RangeRequest {
            key,
            range_end,
            limit: i64::try_from(range.limit).unwrap_or(i64::MAX),
            revision: signed(range.revision),
            serializable: range.serializable,
            keys_only: range.keys_only,
            count_only: range.count_only,
            ..RangeRequest::default()
        }
    }

    pub(super) fn txn(&self, txn: &Txn) -> TxnRequest {
        let ops = |ops: &[Op]| ops.iter().map(|op| RequestOp { request: Some(self.op(op)) }).collect();
        TxnRequest {
            compare: txn.compares.iter().map(|compare| self.compare(compare)).collect(),
            success: ops(&txn.success),
            failure: ops(&txn.failure),
        }
    }

    fn compare(&self, compare: &Compare) -> wire::Compare {
        let (key, range_end) = self.keys(&compare.keys);
        let result = match compare.is {
            Comparison::Equal => CompareResult::Equal,
            Comparison::NotEqual => CompareResult::NotEqual,
            Comparison::Greater => CompareResult::Greater,
            Comparison::Less => CompareResult::Less,
        };
        let (target, union) = match &compare.what {
            Compared::CreateRevision(it) => (CompareTarget::Create, TargetUnion::CreateRevision(signed(*it))),
            Compared::ModRevision(it) => (CompareTarget::Mod, TargetUnion::ModRevision(signed(*it))),
            Compared::Version(it) => (CompareTarget::Version, TargetUnion::Version(signed(*it))),
            Compared::Value(it) => (CompareTarget::Value, TargetUnion::Value(it.clone())),
            Compared::Lease(it) => (CompareTarget::Lease, TargetUnion::Lease(*it)),
        };
        wire::Compare { result: result.into(), target: target.into(), key, target_union: Some(union), range_end }
    }

    fn op(&self, op: &Op) -> Request {
        match op {
            Op::Put(put) => Request::Put(self.put(put)),
            Op::Delete(delete) => {
                let (key, range_end) = self.keys(&delete.keys);
                Request::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv: delete.previous })
            }
            Op::Range(range) => Request::Range(self.range(range)),
            Op::Txn(txn) => Request::Txn(self.txn(txn)),
        }
    }

    fn put(&self, put: &Put) -> PutRequest {
        PutRequest {
            key: self.key(&put.key),
            value: put.value.clone().unwrap_or_default(),
            lease: put.lease.unwrap_or_default(),
            prev_kv: put.previous,
            ignore_value: put.value.is_none(),
            ignore_lease: put.lease.is_none(),
        }
    }

    pub(super) fn key_value(&self, kv: wire::KeyValue) -> Option<KeyValue> {
        Some(KeyValue {
            key: self.own(&kv.key)?,
            value: kv.value,
            create_revision: number(kv.create_revision),
            mod_revision: number(kv.mod_revision),
            version: number(kv.version),
            lease: kv.lease,
        })
    }

    pub(super) fn ranged(&self, answer: RangeResponse) -> Ranged {
        let revision = answer.header.map_or(0, |header| number(header.revision));
        let items = answer.kvs.into_iter().filter_map(|kv| self.key_value(kv)).collect();
        Ranged { items, count: number(answer.count), more: answer.more, revision }
    }

    pub(super) fn txn_done(&self, answer: TxnResponse) -> TxnDone {
        let revision = answer.header.as_ref().map_or(0, |header| number(header.revision));
        let mut done = self.txn_results(answer);
        // etcd gives a revision to the outer transaction alone.
        let before = revision.saturating_sub(u64::from(writes(&done.results)));
        inner_revisions(&mut done.results, before, &mut false);
        done.revision = revision;
        done
    }

    fn txn_results(&self, answer: TxnResponse) -> TxnDone {
        let results = answer.responses.into_iter().filter_map(|result| {
            Some(match result.response? {
                Response::Put(put) => OpDone::Put { previous: put.prev_kv.and_then(|kv| self.key_value(kv)) },
                Response::DeleteRange(delete) => {
                    let previous = delete.prev_kvs.into_iter().filter_map(|kv| self.key_value(kv)).collect();
                    OpDone::Delete { deleted: number(delete.deleted), previous }
                }
                Response::Range(range) => OpDone::Range(self.ranged(range)),
                Response::Txn(inner) => OpDone::Txn(self.txn_results(inner)),
            })
        });
        TxnDone { succeeded: answer.succeeded, revision: 0, results: results.collect() }
    }
}

fn writes(results: &[OpDone]) -> bool {
    results.iter().any(|result| match result {
        OpDone::Put { .. } => true,
        OpDone::Delete { deleted, .. } => *deleted > 0,
        OpDone::Txn(inner) => writes(&inner.results),
        OpDone::Range(_) => false,
    })
}

/// An inner transaction is at the revision of the outer one as soon as something was written.
fn inner_revisions(results: &mut [OpDone], before: u64, wrote: &mut bool) {
    for result in results {
        if let OpDone::Txn(inner) = result {
            inner_revisions(&mut inner.results, before, wrote);
            inner.revision = before + u64::from(*wrote);
        } else {
            *wrote |= writes(std::slice::from_ref(result));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_under_the_prefix() {
        let check = |prefix: &str, keys: KeyRange, start: &[u8], end: &[u8]| {
            let (found, ends) = Prefix::new(prefix.to_owned()).keys(&keys);
            assert_eq!((&*found, &*ends), (start, end), "{prefix} {keys:?}");
        };
        let range = |start: &'static str, end: &'static str| KeyRange { start: start.into(), end: Some(end.into()) };
        check("/p", KeyRange::key("/a"), b"/p/a", b"");
        check("/p", KeyRange::prefix(""), b"/p", b"/q");
        check("/p", KeyRange::prefix("/a/"), b"/p/a/", b"/p/a0");
        check("/p", range("b", ""), b"/pb", b"/p");
        check("", KeyRange::prefix(""), b"\0", b"\0");
        check("", range("", "b"), b"\0", b"b");
        check("", range("b", ""), b"b", b"b");
        let prefix = Prefix::new("/p".to_owned());
        assert_eq!(prefix.own(&"/p/a".into()), Some("/a".into()));
        assert_eq!(prefix.own(&"/other".into()), None);
    }
}
