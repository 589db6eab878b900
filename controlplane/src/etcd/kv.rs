//! The KV service: ranges, puts, deletions, transactions, compaction.

use std::cmp::Ordering;
use std::sync::Arc;

use bytes::Bytes;
use tonic::Status;

use super::wire::{
    CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest, DeleteRangeResponse, Done, KeyValue,
    PutRequest, PutResponse, RangeRequest, RangeResponse, Request, RequestOp, Response, ResponseHeader, ResponseOp,
    SortOrder, SortTarget, TargetUnion, TxnRequest, TxnResponse,
};
use super::{Face, refusal, signed, unsigned};
use crate::store::Kv as _;
use crate::store::kv::{self, Compared, Comparison, Delete, KeyRange, Op, OpDone, Put, Range, Ranged, Txn, TxnDone};

/// Operations in one list of a transaction; etcd's default, and what the store takes.
const OPS_MAX: usize = 128;

pub(super) async fn range(face: Arc<Face>, request: RangeRequest) -> Result<RangeResponse, Status> {
    check_range(&request)?;
    let ranged = face.store.range(store_range(&request)).await.map_err(|error| face.refused(error))?;
    let header = face.header(ranged.revision);
    Ok(range_response(header, &request, ranged))
}

pub(super) async fn put(face: Arc<Face>, request: PutRequest) -> Result<PutResponse, Status> {
    let op = store_put(request)?;
    let done =
        face.store.txn(Txn { success: vec![op], ..Txn::default() }).await.map_err(|error| face.refused(error))?;
    let revision = done.revision;
    let Some(OpDone::Put { previous }) = done.results.into_iter().next() else { return Err(mixed_up()) };
    Ok(put_response(face.header(revision), previous))
}

pub(super) async fn delete(face: Arc<Face>, request: DeleteRangeRequest) -> Result<DeleteRangeResponse, Status> {
    let op = store_delete(request)?;
    let done =
        face.store.txn(Txn { success: vec![op], ..Txn::default() }).await.map_err(|error| face.refused(error))?;
    let revision = done.revision;
    let Some(OpDone::Delete { deleted, previous }) = done.results.into_iter().next() else { return Err(mixed_up()) };
    Ok(delete_response(face.header(revision), deleted, previous))
}

pub(super) async fn txn(face: Arc<Face>, request: TxnRequest) -> Result<TxnResponse, Status> {
    let txn = store_txn(&request, OPS_MAX)?;
    let done = face.store.txn(txn).await.map_err(|error| face.refused(error))?;
    let header = face.header(done.revision);
    txn_response(header, &request, done)
}

pub(super) async fn compact(face: Arc<Face>, request: CompactionRequest) -> Result<Done, Status> {
    let revision = unsigned(request.revision);
    face.store.compact(revision).await.map_err(|error| face.refused(error))?;
    if request.physical {
        face.store.swept(revision).await.map_err(|error| face.refused(error))?;
    }
    Ok(Done { header: face.header(face.store.revision()) })
}

/// The store has answered another question than was asked.
fn mixed_up() -> Status {
    Status::internal("etcdserver: the store's answer does not fit the request")
}

/// No end is one key.
pub(super) fn key_range(start: Bytes, end: Bytes) -> KeyRange {
    KeyRange { start, end: (!end.is_empty()).then_some(end) }
}

pub(super) fn key_value(kv: kv::KeyValue) -> KeyValue {
    KeyValue {
        key: kv.key,
        create_revision: signed(kv.create_revision),
        mod_revision: signed(kv.mod_revision),
        version: signed(kv.version),
        value: kv.value,
        lease: kv.lease,
    }
}

// --- ranges ---

fn check_range(request: &RangeRequest) -> Result<(), Status> {
    if request.key.is_empty() {
        return Err(refusal::empty_key());
    }
    if SortOrder::from_i32(request.sort_order).is_none() || SortTarget::from_i32(request.sort_target).is_none() {
        return Err(refusal::invalid_sort_option());
    }
    Ok(())
}

/// The order that a request asks for, unless that is the order of the keys.
fn order(request: &RangeRequest) -> Option<(SortTarget, SortOrder)> {
    match (request.sort_target(), request.sort_order()) {
        (SortTarget::Key, SortOrder::None | SortOrder::Ascend) => None,
        (target, SortOrder::None) => Some((target, SortOrder::Ascend)),
        asked => Some(asked),
    }
}

fn is_filtered(request: &RangeRequest) -> bool {
    let RangeRequest { min_mod_revision, max_mod_revision, min_create_revision, max_create_revision, .. } = request;
    [min_mod_revision, max_mod_revision, min_create_revision, max_create_revision].into_iter().any(|bound| *bound != 0)
}

/// What the store is asked: all of it, if the answer is ordered or filtered here.
fn store_range(request: &RangeRequest) -> Range {
    let is_finished_here = order(request).is_some() || is_filtered(request);
    let limit = usize::try_from(request.limit).unwrap_or(0);
    Range {
        keys: key_range(request.key.clone(), request.range_end.clone()),
        revision: unsigned(request.revision),
        limit: if is_finished_here { 0 } else { limit },
        keys_only: request.keys_only && request.sort_target() != SortTarget::Value,
        count_only: request.count_only,
        uncounted: false,
        serializable: request.serializable,
    }
}

fn range_response(header: Option<ResponseHeader>, request: &RangeRequest, ranged: Ranged) -> RangeResponse {
    let mut more = ranged.more;
    let mut kvs: Vec<KeyValue> = ranged.items.into_iter().map(key_value).collect();
    if is_filtered(request) {
        let is_within =
            |revision: i64, min: i64, max: i64| (min == 0 || revision >= min) && (max == 0 || revision <= max);
        kvs.retain(|kv| {
            is_within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
                && is_within(kv.create_revision, request.min_create_revision, request.max_create_revision)
        });
    }
    if let Some((target, order)) = order(request) {
        kvs.sort_by(|one, other| match order {
            SortOrder::Descend => compare(target, other, one),
            SortOrder::None | SortOrder::Ascend => compare(target, one, other),
        });
    }
    let limit = usize::try_from(request.limit).unwrap_or(0);
    if limit > 0 && kvs.len() > limit {
        kvs.truncate(limit);
        more = true;
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    RangeResponse { header, kvs, more, count: signed(ranged.count) }
}

fn compare(target: SortTarget, one: &KeyValue, other: &KeyValue) -> Ordering {
    match target {
        SortTarget::Key => one.key.cmp(&other.key),
        SortTarget::Version => one.version.cmp(&other.version),
        SortTarget::Create => one.create_revision.cmp(&other.create_revision),
        SortTarget::Mod => one.mod_revision.cmp(&other.mod_revision),
        SortTarget::Value => one.value.cmp(&other.value),
    }
}

// --- puts and deletions ---

fn store_put(request: PutRequest) -> Result<Op, Status> {
    if request.key.is_empty() {
        return Err(refusal::empty_key());
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(refusal::value_provided());
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(refusal::lease_provided());
    }
    Ok(Op::Put(Put {
        key: request.key,
        value: (!request.ignore_value).then_some(request.value),
        lease: (!request.ignore_lease).then_some(request.lease),
        previous: request.prev_kv,
    }))
}

fn put_response(header: Option<ResponseHeader>, previous: Option<kv::KeyValue>) -> PutResponse {
    PutResponse { header, prev_kv: previous.map(key_value) }
}

fn store_delete(request: DeleteRangeRequest) -> Result<Op, Status> {
    if request.key.is_empty() {
        return Err(refusal::empty_key());
    }
    Ok(Op::Delete(Delete { keys: key_range(request.key, request.range_end), previous: request.prev_kv }))
}

fn delete_response(header: Option<ResponseHeader>, deleted: u64, previous: Vec<kv::KeyValue>) -> DeleteRangeResponse {
    let prev_kvs = previous.into_iter().map(key_value).collect();
    DeleteRangeResponse { header, deleted: signed(deleted), prev_kvs }
}

// --- transactions ---

fn store_txn(request: &TxnRequest, ops_max: usize) -> Result<Txn, Status> {
    let longest = request.compare.len().max(request.success.len()).max(request.failure.len());
    if longest > ops_max {
        return Err(refusal::too_many_operations());
    }
    let ops = |ops: &[RequestOp]| ops.iter().map(|op| store_op(op, ops_max - longest)).collect::<Result<_, _>>();
    Ok(Txn {
        compares: request.compare.iter().map(store_compare).collect::<Result<_, _>>()?,
        success: ops(&request.success)?,
        failure: ops(&request.failure)?,
    })
}

fn store_op(op: &RequestOp, ops_max: usize) -> Result<Op, Status> {
    match &op.request {
        Some(Request::Range(request)) => check_range(request).map(|()| Op::Range(store_range(request))),
        Some(Request::Put(request)) => store_put(request.clone()),
        Some(Request::DeleteRange(request)) => store_delete(request.clone()),
        Some(Request::Txn(request)) => store_txn(request, ops_max).map(Op::Txn),
        None => Err(refusal::key_not_found()),
    }
}

fn store_compare(compare: &Compare) -> Result<kv::Compare, Status> {
    if compare.key.is_empty() {
        return Err(refusal::empty_key());
    }
    let is = match compare.result() {
        CompareResult::Equal => Comparison::Equal,
        CompareResult::Greater => Comparison::Greater,
        CompareResult::Less => Comparison::Less,
        CompareResult::NotEqual => Comparison::NotEqual,
    };
    let number = match compare.target_union {
        Some(TargetUnion::Version(n) | TargetUnion::CreateRevision(n) | TargetUnion::ModRevision(n)) => n,
        _ => 0,
    };
    let (is, number) = against(is, number);
    let (what, is) = match (compare.target(), &compare.target_union) {
        (CompareTarget::Version, _) => (Compared::Version(number), is),
        (CompareTarget::Create, _) => (Compared::CreateRevision(number), is),
        (CompareTarget::Mod, _) => (Compared::ModRevision(number), is),
        (CompareTarget::Value, Some(TargetUnion::Value(value))) => (Compared::Value(value.clone()), is),
        (CompareTarget::Value, _) => (Compared::Value(Bytes::new()), is),
        (CompareTarget::Lease, Some(TargetUnion::Lease(lease))) => (Compared::Lease(*lease), is),
        (CompareTarget::Lease, _) => (Compared::Lease(0), is),
    };
    Ok(kv::Compare { keys: key_range(compare.key.clone(), compare.range_end.clone()), what, is })
}

/// All numbers of a key are greater than a negative one; none is as large as the largest.
fn against(is: Comparison, number: i64) -> (Comparison, u64) {
    match (u64::try_from(number), is) {
        (Ok(number), is) => (is, number),
        (Err(_), Comparison::Equal | Comparison::Less) => (Comparison::Equal, u64::MAX),
        (Err(_), Comparison::NotEqual | Comparison::Greater) => (Comparison::NotEqual, u64::MAX),
    }
}

fn txn_response(header: Option<ResponseHeader>, request: &TxnRequest, done: TxnDone) -> Result<TxnResponse, Status> {
    let asked = if done.succeeded { &request.success } else { &request.failure };
    let mut responses = Vec::with_capacity(asked.len());
    for (op, result) in asked.iter().zip(done.results) {
        let response = match (&op.request, result) {
            (Some(Request::Range(request)), OpDone::Range(ranged)) => {
                Response::Range(range_response(inner_header(ranged.revision), request, ranged))
            }
            (Some(Request::Put(_)), OpDone::Put { previous }) => {
                Response::Put(put_response(inner_header(done.revision), previous))
            }
            (Some(Request::DeleteRange(_)), OpDone::Delete { deleted, previous }) => {
                Response::DeleteRange(delete_response(inner_header(done.revision), deleted, previous))
            }
            (Some(Request::Txn(request)), OpDone::Txn(inner)) => {
                Response::Txn(txn_response(inner_header(0), request, inner)?)
            }
            _ => return Err(mixed_up()),
        };
        responses.push(ResponseOp { response: Some(response) });
    }
    Ok(TxnResponse { header, succeeded: done.succeeded, responses })
}

/// Within a transaction, etcd tells the revision alone.
fn inner_header(revision: u64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision: signed(revision), ..ResponseHeader::default() })
}
