//! Large values in the journal: they last as long as somebody needs them, wherever they lie, and no longer.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::contract::{delete, everything, one, put, write};
use super::crash::copy;
use crate::store::disk::Disk;
use crate::store::kv::{Error, KeyRange, Kv as _, Range};
use crate::store::medium::Medium as _;
use crate::store::{Config, Store};

const MIB: u64 = 1 << 20;
const VALUE_BYTES: usize = 64 * 1024;
const FIRST_SEGMENT: &str = "db/journal-0000000000000001";

fn config(dir: &Path, keeps_log: bool) -> Config {
    // The past goes when the test says so.
    Config { keeps_log, window: Duration::from_secs(3600), ..Config::new(dir) }
}

/// A value that no other write has.
fn value(number: u64) -> String {
    let mut value = format!("{number} ");
    while value.len() < VALUE_BYTES {
        value.push_str("what takes room ");
    }
    value
}

async fn values(store: &Store) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let all = store.range(Range::newest(everything())).await.unwrap();
    all.items.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect()
}

/// Bytes of the journal's files.
fn journal_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir.join("db")).unwrap().map(Result::unwrap);
    let files = files.filter(|file| file.file_name().to_string_lossy().starts_with("journal-"));
    files.map(|file| file.metadata().unwrap().len()).sum()
}

/// Changes a bit of the first place in the first segment that has these bytes.
fn damage(dir: &Path, what: &[u8]) {
    let segment = dir.join(FIRST_SEGMENT);
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(what.len()).position(|window| window == what).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
}

/// Gives back what can be: as the thread of a store does it now and then.
fn reclaim(disk: &Disk) {
    while disk.reclaim().unwrap() {}
}

async fn room_comes_back(keeps_log: bool) {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = BTreeMap::new();
    let mut store = Store::open(config(dir.path(), keeps_log)).unwrap();
    let mut number = 0;
    for round in 0..3 {
        // A few keys of each segment stay, the others are written over and over: 60 MiB in all.
        for _ in 0..16 {
            for key in ["hot-1", "hot-2", "hot-3"].map(str::to_owned).into_iter().chain([format!("cold-{number}")]) {
                for _ in 0..5 {
                    number += 1;
                    expected.insert(key.clone(), value(number));
                    write(&store, vec![put(&key, &value(number))]).await;
                }
            }
        }
        write(&store, vec![delete(KeyRange::key("hot-3"))]).await;
        expected.remove("hot-3");
        let revision = store.revision();
        store.compact(revision).await.unwrap();
        store.swept(revision).await.unwrap();
        if round == 1 {
            let view = store.clone();
            let reading = tokio::spawn(async move { values(&view).await });
            store.defragment().await.unwrap();
            assert_eq!(reading.await.unwrap(), expected, "who reads meanwhile sees all");
        } else {
            reclaim(&store.0.disk);
        }
        assert_eq!(values(&store).await, expected, "round {round}");
        // A copy that takes a while shows one moment only if nothing changes meanwhile: no table is written, and so none makes
        // a segment free.
        let quiet = async {
            while !store.0.disk.is_quiet() || store.0.disk.reclaim().unwrap() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), quiet).await.unwrap();
        let copied = tempfile::tempdir().unwrap();
        copy(dir.path(), copied.path());
        let again = Store::open(config(copied.path(), keeps_log)).unwrap();
        assert_eq!(values(&again).await, expected, "round {round}, after a crash");
        if round == 0 {
            store.close().await;
            store = Store::open(config(dir.path(), keeps_log)).unwrap();
            assert_eq!(values(&store).await, expected);
        }
    }
    let (journal, needed) = (journal_bytes(dir.path()), expected.values().map(|value| value.len() as u64).sum::<u64>());
    // The log keeps 32 MiB for members that lag, and a quarter more.
    let kept = if keeps_log { 48 * MIB } else { 0 };
    // As much garbage as is needed, a segment that is written to, and those that the tables may be behind by.
    assert!(journal <= 2 * needed + kept + 48 * MIB, "{journal} bytes for {needed}");
    assert!(needed > 3 * MIB, "some of the first round are still needed: {needed}");
}

#[tokio::test]
async fn room_comes_back_to_a_sole_member() {
    room_comes_back(false).await;
}

#[tokio::test]
async fn room_comes_back_to_a_member_with_a_log() {
    room_comes_back(true).await;
}

#[tokio::test]
async fn an_idle_journal_is_given_back_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(dir.path(), false)).unwrap();
    for number in 0..800 {
        write(&store, vec![put("hot", &value(number))]).await;
    }
    let revision = store.revision();
    store.compact(revision).await.unwrap();
    store.swept(revision).await.unwrap();
    store.defragment().await.unwrap();
    write(&store, vec![put("small", "1")]).await;
    reclaim(&store.0.disk);
    let bytes = journal_bytes(dir.path());
    assert!(bytes <= 2 * 8 * MIB, "{bytes} of 50 MiB");
    assert_eq!(one(&store, "hot").await.unwrap().value, value(799));
}

#[tokio::test]
async fn what_is_beyond_a_limit_is_counted_and_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(dir.path(), false)).unwrap();
    for number in 0..4 {
        write(&store, vec![put(&format!("key-{number}"), &value(number))]).await;
    }
    damage(dir.path(), b"3 what takes");
    let range = |limit, uncounted| Range { limit, uncounted, ..Range::newest(everything()) };
    assert!(matches!(store.range(range(4, false)).await, Err(Error::Damaged(_))), "the last one cannot be read");
    for (uncounted, count) in [(false, 4), (true, 2)] {
        let ranged = store.range(range(2, uncounted)).await.unwrap();
        assert_eq!((ranged.items.len(), ranged.count, ranged.more), (2, count, true));
        assert_eq!(ranged.items[1].value, value(1));
    }
}

#[tokio::test]
async fn a_lost_or_damaged_segment_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(dir.path(), false)).unwrap();
    for number in 0..300 {
        write(&store, vec![put(&format!("key-{number}"), &value(number))]).await;
    }
    store.close().await;
    damage(dir.path(), b"takes");
    let store = Store::open(config(dir.path(), false)).unwrap();
    let error = store.range(Range::newest(KeyRange::key("key-0"))).await.unwrap_err();
    assert!(matches!(error, Error::Damaged(_)), "{error}");
    let wanted = "b\"key-0\" at revision 2: a value in segment 1 of the journal is damaged; replace this member";
    assert!(error.to_string().contains(wanted), "{error}");
    assert_eq!(one(&store, "key-1").await.unwrap().value, value(1), "the others are there");
    store.close().await;
    std::fs::remove_file(dir.path().join(FIRST_SEGMENT)).unwrap();
    let error = Store::open(config(dir.path(), false)).unwrap_err().to_string();
    assert!(error.contains("segment 1 of the journal is missing, in which values lie"), "{error}");
}
