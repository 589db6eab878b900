//! One random history on our stores and on a real etcd, beside each other: the same answers, and the same changes.

use std::time::Duration;

use futures::StreamExt as _;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::contract::{everything, next};
use super::etcd::Etcd;
use super::open_with_log;
use super::random::{Act, act};
use crate::remote::Remote;
use crate::store::kv::{Change, Changes, Compared, Error, Kv, Leases, Op, Range, Txn, Watch};
use crate::store::memory::Memory;

const ACTS: usize = 2000;
/// Watches that are open at a time.
const WATCHES_MAX: usize = 8;

/// For what is under way already.
const LIMIT: Duration = Duration::from_secs(20);

/// The same watch on both.
struct Both {
    watch: Watch,
    ours: Changes,
    theirs: Changes,
    told: u64,
}

/// Revisions close to the newest one in place of small ones.
fn near(act: &mut Act, newest: u64) {
    fn rebase(revision: &mut u64, newest: u64) {
        if *revision != 0 {
            *revision = (newest + 4).saturating_sub(*revision).max(1);
        }
    }
    fn txn(it: &mut Txn, newest: u64) {
        for compare in &mut it.compares {
            if let Compared::CreateRevision(revision) | Compared::ModRevision(revision) = &mut compare.what {
                rebase(revision, newest);
            }
        }
        for op in it.success.iter_mut().chain(&mut it.failure) {
            match op {
                Op::Range(range) => rebase(&mut range.revision, newest),
                Op::Txn(inner) => txn(inner, newest),
                Op::Put(_) | Op::Delete(_) => {}
            }
        }
    }
    match act {
        Act::Txn(it) => txn(it, newest),
        Act::Read(range) => rebase(&mut range.revision, newest),
        Act::Compact(revision) => rebase(revision, newest),
        Act::Grant(_) | Act::Revoke(_) | Act::Restart => {}
    }
}

/// etcd does not say which part of a transaction it was.
fn plain<T>(answer: Result<T, Error>) -> Result<T, Error> {
    answer.map_err(|error| match error {
        Error::NoKey(_) => Error::NoKey("".into()),
        Error::NoLease(_) => Error::NoLease(0),
        Error::Compacted { oldest, .. } => Error::Compacted { wanted: 0, oldest },
        Error::Future { newest, .. } => Error::Future { wanted: 0, newest },
        error => error,
    })
}

async fn drain(whose: &str, changes: &mut Changes, from: u64, to: u64) -> Vec<Change> {
    let mut all = Vec::new();
    let mut told = from - 1;
    while told < to {
        let batch = tokio::time::timeout(LIMIT, changes.next()).await;
        let batch = batch.unwrap_or_else(|_| panic!("{whose}: no batch after {told}, up to {to}"));
        let batch = batch.expect("not over").unwrap();
        told = batch.revision;
        all.extend(batch.changes);
    }
    all
}

impl Both {
    async fn open(ours: &impl Kv, theirs: &Remote, watch: Watch) -> Both {
        // Nothing was written at the first revision.
        let told = (watch.from - 1).max(1);
        let (ours, theirs) = (ours.watch(watch.clone()).await.unwrap(), theirs.watch(watch.clone()).await.unwrap());
        Both { watch, ours, theirs, told }
    }

    /// Both have told the same up to a revision. What a compacted revision replaced may be gone.
    async fn compare(&mut self, newest: u64, compacted: u64) {
        let from = self.told + 1;
        let mut ours = drain("ours", &mut self.ours, from, newest).await;
        let theirs = drain("etcd's", &mut self.theirs, from, newest).await;
        for (our, their) in ours.iter_mut().zip(&theirs) {
            if their.previous.is_none() && their.kv.mod_revision <= compacted {
                our.previous = None;
            }
        }
        assert_eq!(ours, theirs, "{:?} from {from} to {newest}", self.watch);
        self.told = newest;
    }
}

async fn same<K: Kv + Leases>(ours: &K, theirs: &Remote, seed: u64) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let mut draw = |newest: u64| {
        let mut drawn = act().new_tree(&mut runner).unwrap().current();
        near(&mut drawn, newest);
        drawn
    };
    let mut compacted = 0;
    let mut watches: Vec<Both> = Vec::new();
    for index in 0..ACTS {
        let newest = ours.revision();
        let drawn = draw(newest);
        let what = format!("CORACLE_SEED={seed}, act {index}: {drawn:?}");
        match drawn {
            Act::Txn(txn) => {
                let (our, their) = (ours.txn(txn.clone()).await, theirs.txn(txn).await);
                assert_eq!(plain(our), plain(their), "{what}");
            }
            Act::Read(range) => {
                let (our, their) = (ours.range(range.clone()).await, theirs.range(range.clone()).await);
                assert_eq!(our, their, "{what}");
                if range.revision > compacted && range.revision <= newest && watches.len() < WATCHES_MAX {
                    let watch = Watch { keys: range.keys, from: range.revision, previous: !range.keys_only };
                    watches.push(Both::open(ours, theirs, watch).await);
                }
            }
            Act::Compact(revision) => {
                for watch in &mut watches {
                    watch.compare(newest, compacted).await;
                }
                // The oldest ones make room.
                watches.drain(..watches.len() / 2);
                let (our, their) = (ours.compact(revision).await, theirs.compact(revision).await);
                compacted = if our.is_ok() { revision } else { compacted };
                assert_eq!(our, their, "{what}");
            }
            Act::Grant(id) => assert_eq!(ours.grant(id, 1000).await, theirs.grant(id, 1000).await, "{what}"),
            Act::Revoke(id) => assert_eq!(ours.revoke(id).await, theirs.revoke(id).await, "{what}"),
            Act::Restart => {
                let (our, their) = (ours.leases().await, theirs.leases().await);
                assert_eq!(our, their, "{what}");
                for id in our.unwrap() {
                    let (our, their) = (ours.lease(id, true).await.unwrap(), theirs.lease(id, true).await.unwrap());
                    assert_eq!((our.granted, our.keys), (their.granted, their.keys), "{what}");
                }
            }
        }
        assert_eq!(ours.revision(), theirs.revision(), "{what}");
    }
    let newest = ours.revision();
    for watch in &mut watches {
        watch.compare(newest, compacted).await;
    }
    for revision in compacted.max(1)..=newest {
        let range = Range { revision, ..Range::newest(everything()) };
        assert_eq!(ours.range(range.clone()).await, theirs.range(range).await, "CORACLE_SEED={seed}");
    }
}

fn seed() -> u64 {
    match std::env::var("CORACLE_SEED") {
        Ok(seed) => seed.parse().expect("CORACLE_SEED is a number"),
        Err(_) => rand::random(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_etcd_agree() {
    let Some(etcd) = Etcd::start() else { return };
    let theirs = etcd.remote("").await;
    same(&Memory::new(), &theirs, seed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_and_etcd_agree() {
    let Some(etcd) = Etcd::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let theirs = etcd.remote("/own").await;
    same(&open_with_log(dir.path()), &theirs, seed()).await;
}

/// Writes on, while etcd is killed and comes back; what it said to have is told by the watch, without gap or repeat.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_after_etcd_was_away() {
    let Some(mut etcd) = Etcd::start() else { return };
    let remote = etcd.remote("/own").await;
    let mut changes = remote.watch(Watch { keys: everything(), from: 2, previous: false }).await.unwrap();
    let mut written = Vec::new();
    for round in 0..3 {
        for _ in 0..20 {
            let txn = Txn { success: vec![Op::put("a", round.to_string())], ..Txn::default() };
            written.push(remote.txn(txn).await.unwrap().revision);
        }
        etcd.kill();
        let away = remote.txn(Txn { success: vec![Op::put("b", "1")], ..Txn::default() }).await;
        assert!(matches!(away, Err(Error::Unavailable(_) | Error::Unknown(_))), "{away:?}");
        assert!(matches!(remote.range(Range::newest(everything())).await, Err(Error::Unavailable(_))));
        etcd.start_again();
        tokio::time::timeout(Duration::from_secs(20), async {
            while remote.range(Range::newest(everything())).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("etcd is reached again");
    }
    let newest = *written.last().unwrap();
    let told = drain("etcd's", &mut changes, 2, newest).await;
    let of_a = told.iter().filter(|change| change.kv.key == "a").map(|change| change.kv.mod_revision);
    assert_eq!(of_a.collect::<Vec<_>>(), written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_that_are_not_read_for_a_while_cost_no_write() {
    const WRITES: u64 = 600;
    let Some(etcd) = Etcd::start() else { return };
    let remote = etcd.remote("/own").await;
    let mut watches = Vec::new();
    for _ in 0..40 {
        watches.push(remote.watch(Watch { keys: everything(), from: 2, previous: false }).await.unwrap());
    }
    for revision in 2..WRITES + 2 {
        let done = remote.txn(Txn { success: vec![Op::put("a", "1")], ..Txn::default() }).await.unwrap();
        assert_eq!(done.revision, revision);
    }
    for changes in &mut watches {
        let told = drain("etcd's", changes, 2, WRITES + 1).await;
        let revisions: Vec<u64> = told.iter().map(|change| change.kv.mod_revision).collect();
        assert_eq!(revisions, (2..WRITES + 2).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_others_write_is_not_ours() {
    let Some(etcd) = Etcd::start() else { return };
    let (ours, others) = (etcd.remote("/ours").await, etcd.remote("/others").await);
    let mut changes = ours.watch(Watch { keys: everything(), from: 2, previous: false }).await.unwrap();
    let put = |key: &'static str| Txn { success: vec![Op::put(key, "1")], ..Txn::default() };
    others.txn(put("a")).await.unwrap();
    let batch = next(&mut changes).await.unwrap();
    assert_eq!((batch.changes.len(), batch.revision), (0, 2), "but its revision counts as seen");
    let revision = ours.txn(put("b")).await.unwrap().revision;
    let batch = next(&mut changes).await.unwrap();
    assert_eq!((&*batch.changes[0].kv.key, batch.revision), (&b"b"[..], revision));
    assert_eq!(ours.range(Range::newest(everything())).await.unwrap().count, 1);
    ours.txn(Txn { success: vec![Op::delete(everything())], ..Txn::default() }).await.unwrap();
    assert_eq!(others.range(Range::newest(everything())).await.unwrap().count, 1);
}

/// The first of the endpoints is not there.
#[tokio::test]
async fn another_endpoint_is_asked_where_one_is_away() {
    let Some(etcd) = Etcd::start() else { return };
    let away = crate::ports::free_port("127.0.0.1");
    let endpoints = vec![format!("http://127.0.0.1:{away}"), etcd.client().to_owned()];
    let secret = crate::remote::Secret::default();
    let remote = Remote::new(crate::remote::Config { endpoints, secret, prefix: String::new() }).unwrap();
    for _ in 0..10 {
        remote.txn(Txn { success: vec![Op::put("a", "1")], ..Txn::default() }).await.unwrap();
    }
    assert_eq!(remote.revision(), 11);
}
