//! One question, one answer.

use super::*;
use crate::etcd::wire::Request;
use crate::etcd::{Config, Security, serve};

fn everything() -> RangeRequest {
    RangeRequest { key: bytes("\0"), range_end: bytes("\0"), ..RangeRequest::default() }
}

fn of_p() -> RangeRequest {
    RangeRequest { key: bytes("p/"), range_end: bytes("p0"), ..RangeRequest::default() }
}

fn put_op(key: &str, value: &str) -> RequestOp {
    let put = PutRequest { key: bytes(key), value: bytes(value), ..PutRequest::default() };
    RequestOp { request: Some(Request::Put(put)) }
}

#[tokio::test]
async fn ranges_are_sorted_filtered_and_limited() {
    let client = Client::new();
    for (key, value) in [("p/a", "3"), ("p/b", "1"), ("p/c", "2"), ("p/a", "4"), ("q", "0")] {
        client.put(key, value).await;
    }
    let shown = async |request: RangeRequest| {
        let response = client.range(request).await.unwrap();
        (show(&response.kvs), response.count, response.more)
    };
    let sorted = |target: SortTarget, order: SortOrder| RangeRequest {
        sort_target: target as i32,
        sort_order: order as i32,
        ..of_p()
    };
    let answer = |text: &str, count: i64, more: bool| (text.to_owned(), count, more);
    assert_eq!(shown(everything()).await, answer("p/a=4 p/b=1 p/c=2 q=0", 4, false));
    assert_eq!(shown(RangeRequest { key: bytes("p/b"), ..RangeRequest::default() }).await, answer("p/b=1", 1, false));
    assert_eq!(shown(RangeRequest { limit: 2, ..of_p() }).await, answer("p/a=4 p/b=1", 3, true));
    assert_eq!(shown(RangeRequest { limit: 3, ..of_p() }).await, answer("p/a=4 p/b=1 p/c=2", 3, false));
    assert_eq!(shown(RangeRequest { keys_only: true, ..of_p() }).await, answer("p/a= p/b= p/c=", 3, false));
    assert_eq!(shown(RangeRequest { count_only: true, ..of_p() }).await, answer("", 3, false));
    assert_eq!(shown(RangeRequest { revision: 3, ..of_p() }).await, answer("p/a=3 p/b=1", 2, false));
    assert_eq!(shown(RangeRequest { serializable: true, ..of_p() }).await, answer("p/a=4 p/b=1 p/c=2", 3, false));
    let descending = sorted(SortTarget::Key, SortOrder::Descend);
    assert_eq!(shown(descending.clone()).await, answer("p/c=2 p/b=1 p/a=4", 3, false));
    assert_eq!(shown(RangeRequest { limit: 1, ..descending }).await, answer("p/c=2", 3, true));
    assert_eq!(shown(sorted(SortTarget::Value, SortOrder::None)).await, answer("p/b=1 p/c=2 p/a=4", 3, false));
    let names = RangeRequest { keys_only: true, ..sorted(SortTarget::Value, SortOrder::Descend) };
    assert_eq!(shown(names).await, answer("p/a= p/c= p/b=", 3, false));
    assert_eq!(shown(sorted(SortTarget::Mod, SortOrder::Descend)).await, answer("p/a=4 p/c=2 p/b=1", 3, false));
    assert_eq!(shown(sorted(SortTarget::Create, SortOrder::Ascend)).await, answer("p/a=4 p/b=1 p/c=2", 3, false));
    assert_eq!(shown(sorted(SortTarget::Version, SortOrder::Descend)).await.0, "p/a=4 p/b=1 p/c=2");
    assert_eq!(shown(RangeRequest { min_mod_revision: 4, ..of_p() }).await, answer("p/a=4 p/c=2", 3, false));
    assert_eq!(shown(RangeRequest { max_mod_revision: 4, ..of_p() }).await, answer("p/b=1 p/c=2", 3, false));
    assert_eq!(shown(RangeRequest { min_create_revision: 3, limit: 1, ..of_p() }).await, answer("p/b=1", 3, true));
    assert_eq!(shown(RangeRequest { max_create_revision: 2, ..of_p() }).await, answer("p/a=4", 3, false));
    let found = client.range(of_p()).await.unwrap();
    let first = &found.kvs[0];
    assert_eq!((first.create_revision, first.mod_revision, first.version), (2, 5, 2));
    let header = found.header.unwrap();
    assert_eq!((header.revision, header.cluster_id), (6, client.store.cluster_id()));
    assert_eq!((header.member_id, header.raft_term > 0), (client.store.member_id(), true));
}

#[tokio::test]
async fn puts_and_deletions_tell_what_was_there_if_asked() {
    let client = Client::new();
    let put = async |request: PutRequest| client.ask::<_, PutResponse>("KV/Put", request).await;
    let request = PutRequest { key: bytes("a"), value: bytes("1"), prev_kv: true, ..PutRequest::default() };
    assert_eq!(put(request.clone()).await.unwrap().prev_kv, None);
    let done = put(PutRequest { value: bytes("2"), ..request.clone() }).await.unwrap();
    assert_eq!((show(&[done.prev_kv.unwrap()]).as_str(), done.header.unwrap().revision), ("a=1", 3));
    let done = put(PutRequest { prev_kv: false, ..request.clone() }).await.unwrap();
    assert_eq!(done.prev_kv, None);
    let kept = PutRequest { value: Bytes::new(), ignore_value: true, ..request.clone() };
    put(kept.clone()).await.unwrap();
    assert_eq!(show(&client.range(everything()).await.unwrap().kvs), "a=1");
    let invalid = Code::InvalidArgument;
    is_refused(put(PutRequest { key: bytes("b"), ..kept.clone() }).await, invalid, "etcdserver: key not found");
    let both = PutRequest { value: bytes("x"), ..kept.clone() };
    is_refused(put(both).await, invalid, "etcdserver: value is provided");
    let both = PutRequest { ignore_lease: true, lease: 5, ..request.clone() };
    is_refused(put(both).await, invalid, "etcdserver: lease is provided");
    let unknown = PutRequest { lease: 5, ..request.clone() };
    is_refused(put(unknown).await, Code::NotFound, "etcdserver: requested lease not found");
    let nameless = PutRequest { key: Bytes::new(), ..request.clone() };
    is_refused(put(nameless).await, invalid, "etcdserver: key is not provided");
    let heavy = PutRequest { value: vec![0; 1_600_000].into(), ..request };
    is_refused(put(heavy).await, invalid, "etcdserver: request is too large");
    client.put("b", "1").await;
    let delete = DeleteRangeRequest { key: bytes("a"), range_end: bytes("c"), prev_kv: true };
    let gone: DeleteRangeResponse = client.ask("KV/DeleteRange", delete.clone()).await.unwrap();
    assert_eq!((show(&gone.prev_kvs).as_str(), gone.deleted, gone.header.unwrap().revision), ("a=1 b=1", 2, 7));
    let gone: DeleteRangeResponse = client.ask("KV/DeleteRange", delete).await.unwrap();
    assert_eq!((gone.deleted, gone.header.unwrap().revision), (0, 7));
}

#[tokio::test]
async fn revisions_that_cannot_be_read() {
    let client = Client::new();
    for value in ["1", "2", "3"] {
        client.put("a", value).await;
    }
    let at = |revision: i64| RangeRequest { revision, ..everything() };
    let future = "etcdserver: mvcc: required revision is a future revision";
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    is_refused(client.range(at(9)).await, Code::OutOfRange, future);
    is_refused(client.compact(9).await, Code::OutOfRange, future);
    client.compact(3).await.unwrap();
    is_refused(client.compact(3).await, Code::OutOfRange, compacted);
    is_refused(client.range(at(2)).await, Code::OutOfRange, compacted);
    assert_eq!(show(&client.range(at(3)).await.unwrap().kvs), "a=2");
    assert_eq!(show(&client.range(at(-1)).await.unwrap().kvs), "a=3");
    let wrong = RangeRequest { sort_order: 7, ..everything() };
    is_refused(client.range(wrong).await, Code::InvalidArgument, "etcdserver: invalid sort option");
    let nameless = RangeRequest::default();
    is_refused(client.range(nameless).await, Code::InvalidArgument, "etcdserver: key is not provided");
}

#[tokio::test]
async fn transactions() {
    let client = Client::new();
    let txn = async |request: TxnRequest| client.ask::<_, TxnResponse>("KV/Txn", request).await;
    let compare = |target: CompareTarget, result: CompareResult, with: TargetUnion| Compare {
        key: bytes("a"),
        target: target as i32,
        result: result as i32,
        target_union: Some(with),
        range_end: Bytes::new(),
    };
    let range = RequestOp { request: Some(Request::Range(everything())) };
    let absent = compare(CompareTarget::Create, CompareResult::Equal, TargetUnion::CreateRevision(0));
    let create = TxnRequest {
        compare: vec![absent.clone()],
        success: vec![put_op("a", "1"), range.clone()],
        failure: vec![range.clone()],
    };
    let done = txn(create.clone()).await.unwrap();
    assert!(done.succeeded && done.responses.len() == 2);
    let Some(Response::Range(ranged)) = &done.responses[1].response else { panic!("{done:?}") };
    assert_eq!((show(&ranged.kvs).as_str(), ranged.header.as_ref().unwrap().revision), ("a=1", 2));
    let done = txn(create).await.unwrap();
    assert!(!done.succeeded && done.responses.len() == 1);
    for (target, result, with, holds) in [
        (CompareTarget::Version, CompareResult::Equal, TargetUnion::Version(1), true),
        (CompareTarget::Mod, CompareResult::Greater, TargetUnion::ModRevision(2), false),
        (CompareTarget::Mod, CompareResult::Greater, TargetUnion::ModRevision(-5), true),
        (CompareTarget::Mod, CompareResult::Less, TargetUnion::ModRevision(-5), false),
        (CompareTarget::Value, CompareResult::NotEqual, TargetUnion::Value(bytes("2")), true),
        (CompareTarget::Value, CompareResult::Less, TargetUnion::Value(bytes("2")), true),
        (CompareTarget::Lease, CompareResult::Equal, TargetUnion::Lease(0), true),
    ] {
        let request = TxnRequest { compare: vec![compare(target, result, with.clone())], ..TxnRequest::default() };
        assert_eq!(txn(request).await.unwrap().succeeded, holds, "{target:?} {result:?} {with:?}");
    }
    let inner =
        TxnRequest { compare: vec![absent], success: vec![put_op("b", "new")], failure: vec![put_op("b", "old")] };
    let outer = TxnRequest {
        success: vec![put_op("a", "2"), RequestOp { request: Some(Request::Txn(inner)) }],
        ..TxnRequest::default()
    };
    let done = txn(outer).await.unwrap();
    let Some(Response::Txn(inner)) = &done.responses[1].response else { panic!("{done:?}") };
    assert_eq!((inner.succeeded, inner.responses.len()), (false, 1));
    assert_eq!(show(&client.range(everything()).await.unwrap().kvs), "a=2 b=old");
    let invalid = Code::InvalidArgument;
    let twice = TxnRequest { success: vec![put_op("a", "1"), put_op("a", "2")], ..TxnRequest::default() };
    is_refused(txn(twice).await, invalid, "etcdserver: duplicate key given in txn request");
    let many = (0..10_000).map(|index| put_op(&index.to_string(), "")).collect();
    let many = TxnRequest { failure: many, ..TxnRequest::default() };
    is_refused(txn(many).await, invalid, "etcdserver: too many operations in txn request");
    let nameless = TxnRequest { success: vec![put_op("", "1")], ..TxnRequest::default() };
    is_refused(txn(nameless).await, invalid, "etcdserver: key is not provided");
    let empty = TxnRequest { success: vec![RequestOp { request: None }], ..TxnRequest::default() };
    is_refused(txn(empty).await, invalid, "etcdserver: key not found");
    assert_eq!(show(&client.range(everything()).await.unwrap().kvs), "a=2 b=old");
}

#[tokio::test]
async fn leases() {
    let client = Client::new();
    let grant = async |id: i64, ttl: i64| {
        client.ask::<_, LeaseGrantResponse>("Lease/LeaseGrant", LeaseGrantRequest { id, ttl }).await
    };
    let drawn = grant(0, 0).await.unwrap();
    assert!(drawn.id != 0 && drawn.ttl == 2, "{drawn:?}");
    assert_eq!(grant(5, 60).await.unwrap().ttl, 60);
    is_refused(grant(5, 60).await, Code::FailedPrecondition, "etcdserver: lease already exists");
    is_refused(grant(6, i64::MAX).await, Code::OutOfRange, "etcdserver: too large lease TTL");
    let put = PutRequest { key: bytes("a"), value: bytes("1"), lease: 5, ..PutRequest::default() };
    let _: PutResponse = client.ask("KV/Put", put).await.unwrap();
    let (signs, mut answers) = client.stream::<LeaseRequest, LeaseKeepAliveResponse>("Lease/LeaseKeepAlive").await;
    for (id, ttl) in [(5, 60), (99, 0), (5, 60)] {
        signs.send(LeaseRequest { id }).unwrap();
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!((answer.id, answer.ttl), (id, ttl));
    }
    drop(signs);
    assert_eq!(answers.message().await.unwrap(), None);
    let look = async |id: i64| {
        let request = LeaseTimeToLiveRequest { id, keys: true };
        client.ask::<_, LeaseTimeToLiveResponse>("Lease/LeaseTimeToLive", request).await.unwrap()
    };
    let lease = look(5).await;
    assert_eq!((lease.granted_ttl, lease.keys), (60, vec![bytes("a")]));
    assert!((50..=60).contains(&lease.ttl), "{}", lease.ttl);
    let none = look(99).await;
    assert_eq!((none.id, none.ttl, none.granted_ttl), (99, -1, 0));
    let revoke = async |id: i64| client.ask::<_, Done>("Lease/LeaseRevoke", LeaseRequest { id }).await;
    assert_eq!(revoke(5).await.unwrap().header.unwrap().revision, 3);
    is_refused(revoke(5).await, Code::NotFound, "etcdserver: requested lease not found");
    assert_eq!(client.range(everything()).await.unwrap().count, 0);
    let all: LeaseLeasesResponse = client.ask("Lease/LeaseLeases", Empty {}).await.unwrap();
    assert_eq!(all.leases, [LeaseRequest { id: drawn.id }]);
}

#[tokio::test]
async fn how_the_member_is() {
    let client = Client::new();
    client.put("a", "1").await;
    let status: StatusResponse = client.ask("Maintenance/Status", Empty {}).await.unwrap();
    let own = client.store.member_id();
    assert_eq!((status.leader, status.raft_index, status.errors.len()), (own, status.raft_applied_index, 0));
    assert!(status.raft_applied_index > 0 && status.db_size > 0 && !status.is_learner, "{status:?}");
    let alarms: AlarmResponse = client.ask("Maintenance/Alarm", AlarmRequest::default()).await.unwrap();
    assert_eq!(alarms.alarms, []);
    let _: Done = client.ask("Maintenance/Defragment", Empty {}).await.unwrap();
    let move_to =
        async |target_id: u64| client.ask::<_, Done>("Maintenance/MoveLeader", MoveLeaderRequest { target_id }).await;
    is_refused(move_to(1).await, Code::FailedPrecondition, "etcdserver: bad leader transferee");
    move_to(own).await.unwrap();
    let auth: AuthStatusResponse = client.ask("Auth/AuthStatus", Empty {}).await.unwrap();
    assert!(!auth.enabled);
    let refused = client.ask::<_, Empty>("Auth/Authenticate", Empty {}).await;
    is_refused(refused, Code::FailedPrecondition, "etcdserver: authentication is not enabled");
    for (method, why) in [
        ("Auth/UserAdd", "etcd-client.crt"),
        ("Auth/AuthEnable", "system:masters"),
        ("Maintenance/Downgrade", "no older version"),
        ("KV/RangeStream", "unknown method RangeStream for service etcdserverpb.KV"),
        ("Watch/Nothing", "unknown method Nothing for service etcdserverpb.Watch"),
        ("Nothing/Nothing", "unknown service etcdserverpb.Nothing"),
    ] {
        let refused = client.ask::<_, Empty>(method, Empty {}).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{method}");
        assert!(refused.message().contains(why), "{method}: {refused}");
    }
}

#[tokio::test]
async fn the_same_data_have_the_same_hash() {
    let (one, other) = (Client::new(), Client::new());
    let hash = async |client: &Client, revision: i64| {
        let request = HashKvRequest { revision };
        let hash: HashResponse = client.ask("Maintenance/HashKV", request).await.unwrap();
        (hash.hash, hash.compact_revision)
    };
    for client in [&one, &other] {
        for value in ["1", "2", "3"] {
            client.put("a", value).await;
            client.put("b", value).await;
        }
        client.delete("b").await;
    }
    assert_eq!(hash(&one, 0).await, hash(&other, 0).await);
    let before = hash(&one, 7).await;
    assert_ne!(before, hash(&one, 0).await);
    one.put("a", "4").await;
    assert_eq!(hash(&one, 7).await, before, "later writes do not change it");
    assert_ne!(hash(&one, 0).await, hash(&other, 0).await);
    other.put("a", "4").await;
    for client in [&one, &other] {
        client.compact(8).await.unwrap();
    }
    let after = hash(&one, 0).await;
    assert_eq!((after, after.1), (hash(&other, 0).await, 8));
    let request = HashKvRequest { revision: 3 };
    let refused = one.ask::<_, HashResponse>("Maintenance/HashKV", request).await;
    is_refused(refused, Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");
}

#[tokio::test]
async fn nothing_is_served_in_the_clear_beyond_this_machine() {
    let client = Client::new();
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let clock = client::Clock::system();
    let config = Config { listener, membership: alone(&client.store), security: Security::None, clock };
    let refused = serve(config, client.store.clone(), CancellationToken::new()).await.unwrap_err();
    assert!(refused.to_string().contains("0.0.0.0"), "{refused}");
}
