//! Random histories, on the store in memory and on the one on disk: the same answers, and the same state.

use std::path::Path;

use proptest::prelude::*;

use super::contract::{everything, next};
use super::{open, open_with_log};
use crate::store::Store;
use crate::store::command::Command;
use crate::store::kv::{Compare, Compared, Comparison, Delete, KeyRange, Kv, Leases, Op, Put, Range, Txn, Watch};
use crate::store::memory::Memory;

#[derive(Debug, Clone)]
pub(super) enum Act {
    Txn(Txn),
    Read(Range),
    Compact(u64),
    Grant(i64),
    Revoke(i64),
    Restart,
}

fn key() -> impl Strategy<Value = String> {
    "[ab\0]{1,3}"
}

fn keys() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        key().prop_map(KeyRange::key),
        key().prop_map(KeyRange::prefix),
        (key(), key()).prop_map(|(start, end)| KeyRange { start: start.into(), end: Some(end.into()) }),
        Just(everything()),
    ]
}

fn range() -> impl Strategy<Value = Range> {
    (keys(), 0..30_u64, 0..4_usize, any::<bool>(), any::<bool>()).prop_map(|(keys, revision, limit, values, count)| {
        let count_only = count && values;
        Range { keys, revision, limit, keys_only: !values, count_only, uncounted: false, serializable: count }
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (key(), "[xyz]{0,2}", 0..3_i64, any::<bool>()).prop_map(|(key, value, lease, previous)| {
            Op::Put(Put { key: key.into(), value: Some(value.into()), lease: Some(lease), previous })
        }),
        1 => (key(), any::<bool>(), any::<bool>()).prop_map(|(key, value, lease)| Op::Put(Put {
            key: key.into(),
            value: value.then(|| "v".into()),
            lease: lease.then_some(0),
            previous: value,
        })),
        1 => (keys(), any::<bool>()).prop_map(|(keys, previous)| Op::Delete(Delete { keys, previous })),
        1 => range().prop_map(Op::Range),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let inner = (compare(), op(), op()).prop_map(|(compare, success, failure)| {
        Op::Txn(Txn { compares: vec![compare], success: vec![success], failure: vec![failure] })
    });
    proptest::collection::vec(prop_oneof![6 => op(), 1 => inner], 0..4)
}

fn compare() -> impl Strategy<Value = Compare> {
    let what = prop_oneof![
        (0..20_u64).prop_map(Compared::CreateRevision),
        (0..20_u64).prop_map(Compared::ModRevision),
        (0..4_u64).prop_map(Compared::Version),
        (0..3_i64).prop_map(Compared::Lease),
        "[xyz]{0,2}".prop_map(|value| Compared::Value(value.into())),
    ];
    let is = prop_oneof![
        Just(Comparison::Equal),
        Just(Comparison::NotEqual),
        Just(Comparison::Greater),
        Just(Comparison::Less)
    ];
    (keys(), what, is).prop_map(|(keys, what, is)| Compare { keys, what, is })
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    let txn = (proptest::collection::vec(compare(), 0..2), ops(), ops());
    prop_oneof![
        10 => txn.prop_map(|(compares, success, failure)| Act::Txn(Txn { compares, success, failure })),
        4 => range().prop_map(Act::Read),
        1 => (1..30_u64).prop_map(Act::Compact),
        2 => (1..3_i64).prop_map(Act::Grant),
        1 => (1..3_i64).prop_map(Act::Revoke),
        1 => Just(Act::Restart),
    ]
}

async fn changes(kv: &impl Kv, from: u64) -> Vec<crate::store::kv::Change> {
    if from > kv.revision() {
        return Vec::new();
    }
    let mut watch = kv.watch(Watch { keys: everything(), from, previous: true }).await.unwrap();
    next(&mut watch).await.unwrap().changes
}

async fn same(open: fn(&Path) -> Store, acts: Vec<Act>) {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::new();
    let mut disk = open(dir.path());
    let mut compacted = 0;
    for act in acts {
        match act {
            Act::Txn(txn) => assert_eq!(disk.txn(txn.clone()).await, memory.txn(txn).await),
            Act::Read(range) => assert_eq!(disk.range(range.clone()).await, memory.range(range).await),
            Act::Compact(revision) => {
                let done = memory.compact(revision).await;
                assert_eq!(disk.compact(revision).await, done);
                compacted = if done.is_ok() { revision } else { compacted };
            }
            Act::Grant(id) => assert_eq!(disk.grant(id, 1000).await, memory.grant(id, 1000).await),
            Act::Revoke(id) => assert_eq!(disk.revoke(id).await, memory.revoke(id).await),
            Act::Restart => {
                drop(disk);
                disk = open(dir.path());
            }
        }
        assert_eq!(disk.revision(), memory.revision());
    }
    assert_eq!(disk.leases().await, memory.leases().await);
    for id in disk.leases().await.unwrap() {
        assert_eq!(disk.lease(id, true).await.unwrap().keys, memory.lease(id, true).await.unwrap().keys);
    }
    for revision in compacted.max(1)..=memory.revision() {
        let range = Range { revision, ..Range::newest(everything()) };
        assert_eq!(disk.range(range.clone()).await, memory.range(range).await);
    }
    // What the compacted revision replaced is gone, sooner or later.
    let from = compacted.max(2);
    let told = [changes(&disk, from).await, changes(&memory, from).await].map(|mut changes| {
        let first = changes.iter_mut().filter(|change| change.kv.mod_revision == compacted);
        first.for_each(|change| change.previous = None);
        changes
    });
    assert_eq!(told[0], told[1]);
}

/// In the log, a range is read where it is applied; nobody has to be asked.
fn as_logged(txn: &mut Txn) {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match op {
            Op::Range(range) => range.serializable = true,
            Op::Txn(inner) => as_logged(inner),
            Op::Put(_) | Op::Delete(_) => {}
        }
    }
}

/// What other members make of a command.
fn logged(command: &Command) -> Command {
    Command::decode(command.encode().into()).unwrap()
}

#[test]
fn commands_of_each_kind_pass_the_log() {
    let put = Op::put("a", "1");
    let check = Command::Check { revision: 7, digest: u64::MAX };
    let mut deepest = Txn { success: vec![put], ..Txn::default() };
    while crate::store::state::check(&deepest).is_ok() {
        let command = Command::Txn(deepest.clone());
        assert_eq!(logged(&command), command, "what is allowed can be read back");
        deepest = Txn { success: vec![Op::Txn(deepest)], ..Txn::default() };
    }
    for command in [check, Command::Compact(9), Command::Grant { id: -3, ttl: 60 }, Command::Revoke(i64::MIN)] {
        assert_eq!(logged(&command), command);
    }
}

proptest! {
    #[test]
    fn transactions_pass_the_log(compares in proptest::collection::vec(compare(), 0..3), success in ops(), failure in ops()) {
        let mut txn = Txn { compares, success, failure };
        as_logged(&mut txn);
        let command = Command::Txn(txn);
        prop_assert_eq!(logged(&command), command);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn memory_and_disk_agree(keeps_log in any::<bool>(), acts in proptest::collection::vec(act(), 1..40)) {
        let open = if keeps_log { open_with_log } else { open };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(same(open, acts));
    }
}
