//! What any implementation must do.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;

use crate::store::kv::{ChangeBatch, Changes, Compare, Compared, Comparison, Delete, Error, KeyRange, KeyValue, Kv};
use crate::store::kv::{Leases, Op, OpDone, Put, Range, Ranged, Txn, TxnDone, Watch};

pub(super) fn put(key: &str, value: &str) -> Op {
    Op::Put(Put { previous: true, ..a_put(key, value) })
}

pub(super) fn a_put(key: &str, value: &str) -> Put {
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
    Put { key, value: Some(value), lease: Some(0), previous: false }
}

fn attach(key: &str, value: &str, lease: i64) -> Op {
    Op::Put(Put { lease: Some(lease), ..a_put(key, value) })
}

pub(super) fn delete(keys: KeyRange) -> Op {
    Op::Delete(Delete { keys, previous: true })
}

pub(super) async fn write(kv: &impl Kv, ops: Vec<Op>) -> TxnDone {
    kv.txn(Txn { success: ops, ..Txn::default() }).await.unwrap()
}

pub(super) async fn one(kv: &impl Kv, key: &str) -> Option<KeyValue> {
    kv.range(Range::newest(KeyRange::key(key.to_owned()))).await.unwrap().items.pop()
}

async fn all(kv: &impl Kv, revision: u64) -> Result<Ranged, Error> {
    kv.range(Range { revision, ..Range::newest(everything()) }).await
}

pub(super) fn everything() -> KeyRange {
    KeyRange::prefix("")
}

fn show(ranged: &Ranged) -> String {
    let item = |kv: &KeyValue| format!("{}={}", kv.key.escape_ascii(), kv.value.escape_ascii());
    ranged.items.iter().map(item).collect::<Vec<_>>().join(" ")
}

pub(super) fn show_batch(batch: &ChangeBatch) -> String {
    let change = |change: &crate::store::kv::Change| {
        let key = change.kv.key.escape_ascii();
        let revision = change.kv.mod_revision;
        match change.is_delete {
            true => format!("-{key}@{revision}"),
            false => format!("{key}={}@{revision}", change.kv.value.escape_ascii()),
        }
    };
    batch.changes.iter().map(change).collect::<Vec<_>>().join(" ")
}

pub(super) async fn next(changes: &mut Changes) -> Result<ChangeBatch, Error> {
    tokio::time::timeout(Duration::from_secs(5), changes.next()).await.expect("a batch comes").expect("not over")
}

pub(super) async fn begins_at_revision_one(kv: &impl Kv) {
    assert_eq!(kv.revision(), 1);
    let ranged = all(kv, 0).await.unwrap();
    assert_eq!((ranged.count, ranged.revision), (0, 1));
    assert_eq!(write(kv, vec![put("a", "1")]).await.revision, 2);
    assert_eq!(kv.revision(), 2);
}

pub(super) async fn puts_count_versions(kv: &impl Kv) {
    write(kv, vec![put("a", "1")]).await;
    let done = write(kv, vec![put("a", "2")]).await;
    let OpDone::Put { previous: Some(previous) } = &done.results[0] else { panic!("{done:?}") };
    assert_eq!((&*previous.value, previous.version, previous.mod_revision), (&b"1"[..], 1, 2));
    let kv = one(kv, "a").await.unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 3, 2));
}

pub(super) async fn a_deletion_is_a_version(kv: &impl Kv) {
    write(kv, vec![put("a", "1"), put("ab", "1"), put("b", "1")]).await;
    let done = write(kv, vec![delete(KeyRange::prefix("a"))]).await;
    let OpDone::Delete { deleted: 2, previous } = &done.results[0] else { panic!("{done:?}") };
    assert_eq!(previous.len(), 2);
    assert!(one(kv, "a").await.is_none());
    assert_eq!(show(&all(kv, 0).await.unwrap()), "b=1");
    assert_eq!(show(&all(kv, 2).await.unwrap()), "a=1 ab=1 b=1");
    write(kv, vec![put("a", "2")]).await;
    let again = one(kv, "a").await.unwrap();
    assert_eq!((again.create_revision, again.version), (4, 1));
}

pub(super) async fn compares(kv: &(impl Kv + Leases)) {
    kv.grant(9, 1000).await.unwrap();
    write(kv, vec![attach("a", "1", 9)]).await;
    write(kv, vec![put("b", "1")]).await;
    let check = async |key: &str, what: Compared, is: Comparison, wanted: bool| {
        let compares = vec![Compare { keys: KeyRange::key(key.to_owned()), what: what.clone(), is }];
        let done = kv.txn(Txn { compares, ..Txn::default() }).await.unwrap();
        assert_eq!(done.succeeded, wanted, "{key} {what:?} {is:?}");
    };
    check("a", Compared::CreateRevision(2), Comparison::Equal, true).await;
    check("a", Compared::ModRevision(1), Comparison::Greater, true).await;
    check("a", Compared::ModRevision(2), Comparison::Less, false).await;
    check("a", Compared::Version(1), Comparison::NotEqual, false).await;
    check("a", Compared::Value("1".into()), Comparison::Equal, true).await;
    check("a", Compared::Lease(9), Comparison::Equal, true).await;
    check("none", Compared::CreateRevision(0), Comparison::Equal, true).await;
    check("none", Compared::Version(0), Comparison::Greater, false).await;
    check("none", Compared::Value("".into()), Comparison::Equal, false).await;
    check("none", Compared::Value("x".into()), Comparison::NotEqual, false).await;
    let create = Txn { compares: vec![Compare::absent("a")], success: vec![put("a", "2")], failure: vec![] };
    let done = kv.txn(create).await.unwrap();
    assert_eq!((done.succeeded, done.revision), (false, 3));
    let update = Txn { compares: vec![Compare::unchanged("a", 2)], success: vec![put("a", "2")], failure: vec![] };
    assert!(kv.txn(update.clone()).await.unwrap().succeeded);
    assert!(!kv.txn(update).await.unwrap().succeeded);
}

pub(super) async fn one_revision_for_a_transaction(kv: &impl Kv) {
    let done = write(kv, vec![put("a", "1"), put("b", "2"), put("c", "3")]).await;
    assert_eq!(done.revision, 2);
    let ranged = all(kv, 0).await.unwrap();
    assert!(ranged.items.iter().all(|kv| kv.mod_revision == 2), "{ranged:?}");
}

pub(super) async fn a_transaction_sees_itself(kv: &impl Kv) {
    write(kv, vec![put("a", "1"), put("c", "1")]).await;
    let read = || Op::Range(Range::newest(everything()));
    let done = write(kv, vec![read(), put("b", "2"), read(), delete(KeyRange::key("c")), read()]).await;
    let shown = |index: usize| match &done.results[index] {
        OpDone::Range(ranged) => show(ranged),
        other => panic!("{other:?}"),
    };
    assert_eq!([shown(0), shown(2), shown(4)], ["a=1 c=1", "a=1 b=2 c=1", "a=1 b=2"]);
}

pub(super) async fn ranges_are_ordered_and_limited(kv: &impl Kv) {
    for key in ["p/c", "p/a", "q", "p/b", "o"] {
        write(kv, vec![put(key, "1")]).await;
    }
    let range = Range { limit: 2, ..Range::newest(KeyRange::prefix("p/")) };
    let ranged = kv.range(range.clone()).await.unwrap();
    assert_eq!((show(&ranged).as_str(), ranged.count, ranged.more), ("p/a=1 p/b=1", 3, true));
    let ranged = kv.range(Range { limit: 3, ..range.clone() }).await.unwrap();
    assert_eq!((ranged.items.len(), ranged.more), (3, false));
    let ranged = kv.range(Range { count_only: true, ..range.clone() }).await.unwrap();
    assert_eq!((ranged.items.len(), ranged.count), (0, 3));
    let ranged = kv.range(Range { keys_only: true, ..range }).await.unwrap();
    assert_eq!(show(&ranged), "p/a= p/b=");
    let upside_down = KeyRange { start: "z".into(), end: Some("a".into()) };
    assert_eq!(kv.range(Range::newest(upside_down)).await.unwrap().count, 0);
}

pub(super) async fn ranges_read_the_past(kv: &impl Kv) {
    for value in 0..20 {
        write(kv, vec![put("a", &value.to_string()), put("b", &value.to_string())]).await;
    }
    for revision in 2..=21 {
        let value = revision - 2;
        assert_eq!(show(&all(kv, revision).await.unwrap()), format!("a={value} b={value}"));
    }
    assert_eq!(show(&all(kv, 1).await.unwrap()), "");
    assert_eq!(all(kv, 22).await, Err(Error::Future { wanted: 22, newest: 21 }));
}

pub(super) async fn keys_with_any_bytes(kv: &impl Kv) {
    let keys: [&[u8]; 8] = [b"\0", b"\0\0", b"\0\x01", b"a", b"a\0", b"a\0b", b"a\xff", b"\xff\xff"];
    let mut ops: Vec<Op> = keys.iter().map(|key| Op::put(Bytes::from_static(key), "1")).collect();
    ops.reverse();
    write(kv, ops).await;
    let found: Vec<Bytes> = all(kv, 0).await.unwrap().items.into_iter().map(|kv| kv.key).collect();
    assert_eq!(found, keys);
    let prefixed = kv.range(Range::newest(KeyRange::prefix("a"))).await.unwrap();
    assert_eq!(prefixed.count, 4);
    let exact = KeyRange { start: Bytes::from_static(b"a\0"), end: Some(Bytes::from_static(b"a\0c")) };
    assert_eq!(kv.range(Range::newest(exact)).await.unwrap().count, 2);
}

pub(super) async fn limits(kv: &impl Kv) {
    let refused = async |ops: Vec<Op>| kv.txn(Txn { success: ops, ..Txn::default() }).await.unwrap_err();
    assert!(matches!(refused(vec![put("", "1")]).await, Error::Invalid(_)));
    assert!(matches!(refused(vec![put("a", &"x".repeat(2 * 1024 * 1024))]).await, Error::TooLarge(_)));
    let many = (0..10_000).map(|index| put(&index.to_string(), "")).collect();
    assert!(matches!(refused(many).await, Error::TooLarge(_)));
    assert_eq!(refused(vec![put("a", "1"), put("a", "2")]).await, Error::Twice);
    assert_eq!(refused(vec![put("a", "1"), delete(KeyRange::prefix("a"))]).await, Error::Twice);
    assert!(matches!(kv.range(Range::newest(KeyRange::key(""))).await, Err(Error::Invalid(_))) || kv.revision() == 1);
    assert_eq!(kv.revision(), 1);
}

pub(super) async fn compaction(kv: &impl Kv) {
    write(kv, vec![put("a", "1"), put("b", "1")]).await;
    write(kv, vec![put("a", "2")]).await;
    write(kv, vec![delete(KeyRange::key("b"))]).await;
    write(kv, vec![put("a", "3")]).await;
    assert_eq!(kv.compact(9).await, Err(Error::Future { wanted: 9, newest: 5 }));
    kv.compact(4).await.unwrap();
    assert_eq!(kv.compact(4).await, Err(Error::Compacted { wanted: 4, oldest: 4 }));
    assert_eq!(all(kv, 3).await, Err(Error::Compacted { wanted: 3, oldest: 4 }));
    assert_eq!(show(&all(kv, 4).await.unwrap()), "a=2");
    assert_eq!(show(&all(kv, 5).await.unwrap()), "a=3");
    let past = Op::Range(Range { revision: 2, ..Range::newest(everything()) });
    let done = kv.txn(Txn { success: vec![put("c", "1"), past], ..Txn::default() }).await;
    assert_eq!(done, Err(Error::Compacted { wanted: 2, oldest: 4 }));
    assert!(one(kv, "c").await.is_none(), "a refused transaction does nothing");
}

pub(super) async fn watches_from_the_past_and_on(kv: &impl Kv) {
    write(kv, vec![put("a", "1")]).await;
    write(kv, vec![put("a", "2"), put("b", "1")]).await;
    let mut changes = kv.watch(Watch { keys: everything(), from: 2, previous: true }).await.unwrap();
    let batch = next(&mut changes).await.unwrap();
    assert_eq!((show_batch(&batch).as_str(), batch.revision), ("a=1@2 a=2@3 b=1@3", 3));
    assert_eq!(batch.changes[1].previous.as_ref().unwrap().value, "1");
    write(kv, vec![delete(KeyRange::key("a"))]).await;
    let batch = next(&mut changes).await.unwrap();
    assert_eq!(show_batch(&batch), "-a@4");
    assert_eq!(batch.changes[0].previous.as_ref().unwrap().value, "2");
    let mut later = kv.watch(Watch { keys: everything(), from: 0, previous: false }).await.unwrap();
    let mut future = kv.watch(Watch { keys: everything(), from: 6, previous: false }).await.unwrap();
    write(kv, vec![put("a", "5")]).await;
    write(kv, vec![put("a", "6")]).await;
    let first = next(&mut later).await.unwrap();
    assert!(show_batch(&first).starts_with("a=5@5") && first.changes[0].previous.is_none());
    assert_eq!(show_batch(&next(&mut future).await.unwrap()), "a=6@6");
}

pub(super) async fn watches_of_a_key_skip_the_rest(kv: &impl Kv) {
    let mut changes = kv.watch(Watch { keys: KeyRange::key("a"), from: 0, previous: false }).await.unwrap();
    write(kv, vec![put("b", "1")]).await;
    let batch = next(&mut changes).await.unwrap();
    assert_eq!((batch.changes.len(), batch.revision), (0, 2), "progress alone");
    write(kv, vec![put("a", "1"), put("b", "2")]).await;
    assert_eq!(show_batch(&next(&mut changes).await.unwrap()), "a=1@3");
}

pub(super) async fn watches_from_a_compacted_revision_end(kv: &impl Kv) {
    for value in ["1", "2", "3"] {
        write(kv, vec![put("a", value)]).await;
    }
    let watch = |from| Watch { keys: everything(), from, previous: false };
    let gone = Err(Error::Compacted { wanted: 2, oldest: 3 });
    let mut slow = kv.watch(watch(2)).await.unwrap();
    kv.compact(3).await.unwrap();
    // What was on its way already is told.
    match next(&mut slow).await {
        Ok(batch) => assert_eq!(show_batch(&batch), "a=1@2 a=2@3 a=3@4"),
        error => {
            assert_eq!(error, gone);
            assert!(slow.next().await.is_none());
        }
    }
    // Said at once, or in place of the first batch.
    match kv.watch(watch(2)).await {
        Ok(mut late) => {
            assert_eq!(next(&mut late).await, gone);
            assert!(late.next().await.is_none());
        }
        Err(error) => assert_eq!(Err(error), gone),
    }
    let mut good = kv.watch(watch(3)).await.unwrap();
    assert_eq!(show_batch(&next(&mut good).await.unwrap()), "a=2@3 a=3@4");
}

pub(super) async fn batches_are_whole_revisions(kv: &impl Kv) {
    const REVISIONS: u64 = 1200;
    let mut live = kv.watch(Watch { keys: everything(), from: 2, previous: true }).await.unwrap();
    let large = "x".repeat(20_000);
    for revision in 0..REVISIONS {
        // Together, more than one answer of etcd holds; and some revisions are large by themselves.
        let ops = match revision % 100 {
            0 => (0..60).map(|key| put(&format!("k{key}"), &large)).collect(),
            _ => vec![put("k1", "1"), put("k2", "1"), put("k3", "1")],
        };
        write(kv, ops).await;
    }
    let past = kv.watch(Watch { keys: everything(), from: 2, previous: true }).await.unwrap();
    let mut key = kv.watch(Watch { keys: KeyRange::key("k2"), from: 2, previous: false }).await.unwrap();
    let last = REVISIONS + 1;
    for changes in [&mut live, &mut { past }] {
        let mut told = 1;
        while told < last {
            let batch = next(changes).await.unwrap();
            let mut counts = std::collections::BTreeMap::new();
            for change in &batch.changes {
                *counts.entry(change.kv.mod_revision).or_insert(0) += 1;
            }
            let whole = |revision: u64| (revision, if (revision - 2).is_multiple_of(100) { 60 } else { 3 });
            assert_eq!(
                counts.into_iter().collect::<Vec<_>>(),
                (told + 1..=batch.revision).map(whole).collect::<Vec<_>>()
            );
            told = batch.revision;
        }
    }
    let mut told = Vec::new();
    while told.len() < 1200 {
        told.extend(next(&mut key).await.unwrap().changes.into_iter().map(|change| change.kv.mod_revision));
    }
    assert_eq!(told, (2..=last).collect::<Vec<_>>());
}

pub(super) async fn nothing_written_means_no_revision(kv: &impl Kv) {
    write(kv, vec![put("a", "1")]).await;
    assert_eq!(write(kv, vec![]).await.revision, 2);
    assert_eq!(write(kv, vec![delete(KeyRange::key("none"))]).await.revision, 2);
    assert_eq!(kv.revision(), 2);
}

pub(super) async fn writers_at_once_lose_nothing(kv: &impl Kv) {
    let mut changes = kv.watch(Watch { keys: everything(), from: 2, previous: false }).await.unwrap();
    let writes =
        (0..300).map(|index| write(kv, vec![put(&format!("k{index:03}"), "1"), put(&format!("l{index}"), "")]));
    let mut revisions: Vec<u64> =
        futures::future::join_all(writes).await.into_iter().map(|done| done.revision).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (2..302).collect::<Vec<_>>());
    let mut seen = 1;
    while seen < 301 {
        for change in next(&mut changes).await.unwrap().changes {
            assert!(change.kv.mod_revision == seen || change.kv.mod_revision == seen + 1, "a gap after {seen}");
            seen = change.kv.mod_revision;
        }
    }
    assert_eq!(all(kv, 0).await.unwrap().count, 600);
}

pub(super) async fn previous_versions_only_if_asked(kv: &impl Kv) {
    write(kv, vec![put("a", "1"), put("b", "1")]).await;
    let quiet = Op::Put(a_put("a", "2"));
    assert_eq!(write(kv, vec![quiet]).await.results, [OpDone::Put { previous: None }]);
    let gone = write(kv, vec![Op::delete(everything())]).await;
    assert_eq!(gone.results, [OpDone::Delete { deleted: 2, previous: vec![] }]);
}

pub(super) async fn a_put_can_keep_what_is_there(kv: &(impl Kv + Leases)) {
    kv.grant(7, 1000).await.unwrap();
    kv.grant(8, 1000).await.unwrap();
    let keeps_value = |lease| Op::Put(Put { value: None, lease, ..a_put("a", "") });
    let refused = kv.txn(Txn { success: vec![put("b", "1"), keeps_value(Some(7))], ..Txn::default() }).await;
    assert_eq!(refused, Err(Error::NoKey("a".into())));
    assert!(one(kv, "b").await.is_none(), "a refused transaction does nothing");
    write(kv, vec![put("a", "1")]).await;
    write(kv, vec![keeps_value(Some(7))]).await;
    let found = one(kv, "a").await.unwrap();
    assert_eq!((&*found.value, found.lease, found.version), (&b"1"[..], 7, 2));
    write(kv, vec![Op::Put(Put { lease: None, ..a_put("a", "2") })]).await;
    let found = one(kv, "a").await.unwrap();
    assert_eq!((&*found.value, found.lease), (&b"2"[..], 7));
    write(kv, vec![keeps_value(Some(8))]).await;
    kv.revoke(7).await.unwrap();
    assert_eq!(one(kv, "a").await.unwrap().value, "2");
}

pub(super) async fn a_compare_of_a_range_is_about_each_key(kv: &impl Kv) {
    write(kv, vec![put("p/a", "1"), put("p/b", "1")]).await;
    write(kv, vec![put("p/b", "2")]).await;
    let check = async |keys: KeyRange, what: Compared, wanted: bool| {
        let compares = vec![Compare { keys: keys.clone(), what: what.clone(), is: Comparison::Equal }];
        let done = kv.txn(Txn { compares, ..Txn::default() }).await.unwrap();
        assert_eq!(done.succeeded, wanted, "{keys:?} {what:?}");
    };
    check(KeyRange::prefix("p/"), Compared::CreateRevision(2), true).await;
    check(KeyRange::prefix("p/"), Compared::Version(1), false).await;
    check(KeyRange::prefix("q/"), Compared::Version(0), true).await;
    check(KeyRange::prefix("q/"), Compared::Value("".into()), false).await;
}

pub(super) async fn transactions_within_each_other(kv: &impl Kv) {
    write(kv, vec![put("a", "1")]).await;
    let is_new = |key: &'static str, then: Op, or: Op| {
        Op::Txn(Txn { compares: vec![Compare::absent(key)], success: vec![then], failure: vec![or] })
    };
    // The inner compare of "b" does not see the outer put of it.
    let done = write(
        kv,
        vec![
            put("b", "1"),
            is_new("b", put("c", "new"), put("c", "old")),
            is_new("a", put("d", "new"), put("d", "old")),
        ],
    )
    .await;
    assert_eq!((show(&all(kv, 0).await.unwrap()).as_str(), done.revision), ("a=1 b=1 c=new d=old", 3));
    let inner: Vec<bool> = done
        .results
        .iter()
        .filter_map(|result| if let OpDone::Txn(done) = result { Some(done.succeeded) } else { None })
        .collect();
    assert_eq!(inner, [true, false]);
    let refused = async |ops: Vec<Op>| kv.txn(Txn { success: ops, ..Txn::default() }).await.unwrap_err();
    let twice = is_new("x", put("e", "1"), put("f", "1"));
    assert_eq!(refused(vec![put("f", "1"), twice.clone()]).await, Error::Twice);
    assert_eq!(refused(vec![twice.clone(), delete(KeyRange::key("e"))]).await, Error::Twice);
    assert_eq!(refused(vec![twice, is_new("x", delete(everything()), put("g", "1"))]).await, Error::Twice);
    write(kv, vec![is_new("x", put("e", "1"), delete(KeyRange::key("e")))]).await;
    let deep = (0..100).fold(put("z", "1"), |inner, _| Op::Txn(Txn { success: vec![inner], ..Txn::default() }));
    assert!(matches!(refused(vec![deep]).await, Error::TooLarge(_)));
    let future = Op::Range(Range { revision: 99, ..Range::newest(everything()) });
    let refused = refused(vec![put("z", "1"), is_new("x", future, put("y", "1"))]).await;
    assert_eq!((refused, one(kv, "z").await), (Error::Future { wanted: 99, newest: 4 }, None));
}

pub(super) async fn leases_begin_and_end(kv: &(impl Kv + Leases)) {
    let granted = kv.grant(5, 60).await.unwrap();
    assert_eq!((granted.id, granted.ttl, granted.revision), (5, 60, 1));
    assert_eq!(kv.grant(5, 60).await, Err(Error::LeaseExists(5)));
    assert!(matches!(kv.grant(6, u64::MAX).await, Err(Error::Invalid(_))));
    let drawn = kv.grant(0, 1).await.unwrap();
    assert!(drawn.id > 0 && drawn.ttl >= 1, "{drawn:?}");
    let mut all = vec![5, drawn.id];
    all.sort_unstable();
    assert_eq!(kv.leases().await, Ok(all));
    assert_eq!(kv.keep_alive(5).await, Ok(60));
    let lease = kv.lease(5, true).await.unwrap();
    assert_eq!((lease.granted, lease.keys.len()), (60, 0));
    assert!((50..=60).contains(&lease.left), "{lease:?}");
    assert_eq!(kv.revoke(5).await, Ok(1), "nothing was attached, so no revision");
    assert_eq!(kv.revoke(5).await, Err(Error::NoLease(5)));
    assert_eq!(kv.keep_alive(5).await, Err(Error::NoLease(5)));
    assert_eq!(kv.lease(5, true).await, Err(Error::NoLease(5)));
    assert_eq!(kv.leases().await, Ok(vec![drawn.id]));
}

pub(super) async fn what_is_attached_goes_with_its_lease(kv: &(impl Kv + Leases)) {
    kv.grant(1, 1000).await.unwrap();
    kv.grant(2, 1000).await.unwrap();
    let mut changes = kv.watch(Watch { keys: everything(), from: 6, previous: true }).await.unwrap();
    write(kv, vec![attach("c", "1", 1), attach("a", "1", 1), attach("b", "1", 1), put("d", "1")]).await;
    write(kv, vec![attach("b", "2", 2)]).await;
    write(kv, vec![put("c", "2")]).await;
    write(kv, vec![attach("c", "3", 1), delete(KeyRange::key("a"))]).await;
    assert_eq!(kv.lease(1, true).await.unwrap().keys, ["c"]);
    write(kv, vec![attach("aa", "1", 1), attach("a\0", "1", 1)]).await;
    assert_eq!(kv.lease(1, true).await.unwrap().keys, ["a\0", "aa", "c"]);
    assert_eq!(kv.lease(1, false).await.unwrap().keys.len(), 0);
    assert_eq!(kv.revoke(1).await, Ok(7));
    assert_eq!(show(&all(kv, 0).await.unwrap()), "b=2 d=1");
    assert_eq!(kv.lease(2, true).await.unwrap().keys, ["b"]);
    let mut seen = Vec::new();
    while seen.last().is_none_or(|change: &crate::store::kv::Change| change.kv.mod_revision < 7) {
        seen.extend(next(&mut changes).await.unwrap().changes);
    }
    let gone: Vec<_> = seen.iter().filter(|change| change.kv.mod_revision == 7).collect();
    assert!(gone.iter().all(|change| change.is_delete && change.previous.is_some()), "{gone:?}");
    let keys: Vec<_> = gone.iter().map(|change| change.kv.key.clone()).collect();
    assert_eq!(keys, ["a\0", "aa", "c"], "in order, under one revision");
    let unknown = kv.txn(Txn { success: vec![put("x", "1"), attach("y", "1", 1)], ..Txn::default() }).await;
    assert_eq!((unknown, one(kv, "x").await), (Err(Error::NoLease(1)), None));
}

pub(super) async fn a_lease_that_nobody_keeps_ends(kv: &(impl Kv + Leases)) {
    // Before the store can have begun to count.
    let began = tokio::time::Instant::now();
    let (kept, left) = (kv.grant(1, 2).await.unwrap(), kv.grant(2, 2).await.unwrap());
    write(kv, vec![attach("kept", "1", kept.id), attach("left", "1", left.id)]).await;
    let mut gone =
        kv.watch(Watch { keys: KeyRange::key("left"), from: kv.revision() + 1, previous: false }).await.unwrap();
    let mut sign_of_life = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            batch = next(&mut gone) => if let Some(change) = batch.unwrap().changes.first() {
                assert!(change.is_delete);
                break;
            },
            _ = sign_of_life.tick() => drop(kv.keep_alive(kept.id).await.unwrap()),
        }
    }
    assert!(one(kv, "left").await.is_none());
    assert!(began.elapsed() > Duration::from_millis(1900), "it ended after {:?}", began.elapsed());
    assert_eq!(kv.keep_alive(left.id).await, Err(Error::NoLease(left.id)));
    assert!(one(kv, "kept").await.is_some());
    assert_eq!(kv.leases().await, Ok(vec![kept.id]));
}
