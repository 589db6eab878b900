//! What a start finds after an end that was not clean, and what it refuses.

use std::path::Path;
use std::time::Duration;

use super::contract::{a_put, delete, everything, next, one, put, show_batch, write};
use super::{open, open_with_log};
use crate::store::kv::{KeyRange, Kv, Leases as _, Op, Put, Range, Watch};
use crate::store::medium::{Batch as _, Medium as _};
use crate::store::{Config, OpenError, Store};

/// A folder as a power cut would leave it: copied file by file while the store is running.
pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

async fn survives_without_a_close(open: fn(&Path) -> Store) {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..4_u64 {
        let store = open(dir.path());
        assert_eq!(store.revision(), 1 + round * 20);
        for index in 0..20 {
            write(&store, vec![put(&format!("{round}/{index}"), "1")]).await;
            if index % 7 == 0 {
                let copied = tempfile::tempdir().unwrap();
                copy(dir.path(), copied.path());
                let again = open(copied.path());
                assert_eq!(again.revision(), store.revision());
                assert!(one(&again, &format!("{round}/{index}")).await.is_some());
                assert_eq!((again.cluster_id(), again.member_id()), (store.cluster_id(), store.member_id()));
                // The copy goes on by itself.
                write(&again, vec![put("other", "1")]).await;
            }
        }
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_without_a_close() {
    survives_without_a_close(open).await;
}

#[tokio::test]
async fn so_it_does_with_a_log() {
    survives_without_a_close(open_with_log).await;
}

#[tokio::test]
async fn a_log_can_be_kept_or_not_from_start_to_start() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..6 {
        let store = if round % 2 == 0 { open_with_log(dir.path()) } else { open(dir.path()) };
        for index in 0..10 {
            write(&store, vec![put(&format!("{round}/{index}"), "1")]).await;
        }
        assert_eq!(store.range(Range::newest(everything())).await.unwrap().count, (round + 1) * 10);
        let entries = store.0.disk.with(|view| view.entries(0)).unwrap().len();
        assert_eq!(entries > 0, round % 2 == 0, "{entries} entries on disk in round {round}");
    }
}

#[tokio::test]
async fn watches_go_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store, vec![put("a", "1"), put("b", "1")]).await;
    write(&store, vec![put("a", "2")]).await;
    store.compact(3).await.unwrap();
    write(&store, vec![delete(KeyRange::prefix("a"))]).await;
    store.close().await;
    let store = open(dir.path());
    assert!(store.watch(Watch { keys: everything(), from: 2, previous: true }).await.is_err());
    let mut changes = store.watch(Watch { keys: everything(), from: 3, previous: true }).await.unwrap();
    let batch = next(&mut changes).await.unwrap();
    assert_eq!(show_batch(&batch), "a=2@3 -a@4");
    assert_eq!(batch.changes[1].previous.as_ref().unwrap().value, "2");
    write(&store, vec![put("c", "1")]).await;
    assert_eq!(show_batch(&next(&mut changes).await.unwrap()), "c=1@5");
}

#[tokio::test]
async fn a_watch_reads_from_the_disk_what_the_memory_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { history_bytes_max: 10_000, ..Config::new(dir.path()) };
    let store = Store::open(config).unwrap();
    let mut slow = store.watch(Watch { keys: everything(), from: 2, previous: true }).await.unwrap();
    for index in 0..3000 {
        write(&store, vec![put("a", &index.to_string()), put("b", "1")]).await;
    }
    let mut late = store.watch(Watch { keys: KeyRange::key("a"), from: 2, previous: false }).await.unwrap();
    let (mut seen, mut values) = (1, 0);
    while seen < store.revision() {
        let batch = next(&mut slow).await.unwrap();
        for change in &batch.changes {
            assert!(change.kv.mod_revision == seen || change.kv.mod_revision == seen + 1, "a gap after {seen}");
            seen = change.kv.mod_revision;
            let previous = change.previous.as_ref().map(|kv| kv.value.clone());
            let before = (seen > 2).then(|| if change.kv.key == "a" { (seen - 3).to_string() } else { "1".to_owned() });
            assert_eq!(previous, before.map(Into::into), "{change:?}");
        }
    }
    while values < 3000 {
        for change in next(&mut late).await.unwrap().changes {
            assert_eq!((&*change.kv.key, &*change.kv.value), (&b"a"[..], values.to_string().as_bytes()));
            assert!(change.previous.is_none());
            values += 1;
        }
    }
    write(&store, vec![put("a", "last")]).await;
    assert_eq!(show_batch(&next(&mut late).await.unwrap()), "a=last@3002");
}

#[tokio::test]
async fn old_versions_go_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { window: Duration::from_millis(50), ..Config::new(dir.path()) };
    let store = Store::open(config).unwrap();
    for index in 0..1500 {
        write(&store, vec![put("a", &index.to_string()), put("b", "1")]).await;
    }
    write(&store, vec![delete(KeyRange::key("b"))]).await;
    let newest = store.revision();
    let range = Range { revision: newest - 1, ..Range::newest(everything()) };
    let versions = || {
        let count =
            |view: &mut crate::store::view::View<'_>| view.changes_from((0, 0), usize::MAX).map(|found| found.len());
        store.0.disk.with(count).unwrap()
    };
    for _ in 0..200 {
        if versions() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(versions(), 1, "a watch can begin at the compacted revision");
    assert!(store.range(range).await.is_err());
    assert_eq!(store.range(Range::newest(everything())).await.unwrap().count, 1);
    assert_eq!(store.0.disk.with(|view| view.versions()).unwrap(), 1, "only the newest version of the one key is left");
}

#[tokio::test]
async fn a_compacted_revision_with_many_changes_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { window: Duration::from_millis(50), ..Config::new(dir.path()) };
    let store = Store::open(config).unwrap();
    store.grant(1, 1000).await.unwrap();
    let attach = |index: u64| Op::Put(Put { lease: Some(1), ..a_put(&format!("k{index:04}"), "1") });
    for first in (0..2000).step_by(100) {
        write(&store, (first..first + 100).map(attach).collect()).await;
    }
    store.revoke(1).await.unwrap();
    write(&store, vec![put("a", "1")]).await;
    store.compact(store.revision() - 1).await.unwrap();
    let versions = || store.0.disk.with(|view| view.versions()).unwrap();
    // What one revision deleted leaves no trace.
    let swept = async {
        while versions() != 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), swept).await.unwrap();
}

#[tokio::test]
async fn a_folder_in_use_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = Store::open(Config::new(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("process {}", std::process::id())) && text.contains("data folder"), "{text}");
    store.close().await;
    open(dir.path()).close().await;
}

#[tokio::test]
async fn another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close().await;
    let mut identity = crate::store::identity::Identity::load(dir.path()).unwrap().unwrap();
    let mut refusal = |format: u32| {
        identity.format = format;
        identity.store(dir.path()).unwrap();
        Store::open(Config::new(dir.path())).unwrap_err()
    };
    let newer = refusal(7);
    assert!(matches!(newer, OpenError::Newer { found: 7, .. }), "{newer}");
    let older = refusal(1);
    assert!(matches!(older, OpenError::Older { found: 1, .. }), "{older}");
    assert!(older.to_string().contains("save a snapshot with that version"), "{older}");
}

#[tokio::test]
async fn the_folder_of_a_removed_member_is_refused() {
    use prost::Message as _;
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close().await;
    let opened = crate::store::open::open(&Config::new(dir.path())).unwrap();
    let mut record = opened.record.clone();
    let conf = record.conf.as_mut().unwrap();
    conf.voters = conf.voters.iter().map(|id| id + 1).collect();
    let mut batch = crate::store::changes::Changes::default();
    batch.put(crate::store::keys::RECORD, &record.encode_to_vec());
    opened.disk.write(batch, record.head(), true).unwrap();
    drop(opened);
    let error = Store::open(Config::new(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::Removed { .. }), "{error}");
}

#[tokio::test]
async fn a_lost_part_is_never_made_anew() {
    let lose = async |what: &str| {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        write(&store, vec![put("a", "1")]).await;
        store.close().await;
        let path = dir.path().join(what);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap()
        } else {
            std::fs::remove_file(path).unwrap()
        }
        let error = Store::open(Config::new(dir.path())).unwrap_err();
        assert!(matches!(error, OpenError::Amnesia { .. }), "{what}: {error}");
    };
    lose("identity").await;
    lose("db").await;
    lose("db/CURRENT").await;
}

#[tokio::test]
async fn a_crash_while_the_folder_is_made_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut identity = crate::store::identity::Identity::new(None);
    identity.phase = crate::store::identity::Phase::Creating;
    identity.store(dir.path()).unwrap();
    std::fs::create_dir(dir.path().join("db")).unwrap();
    std::fs::write(dir.path().join("db/CURRENT"), "half").unwrap();
    let store = open(dir.path());
    assert_ne!(store.cluster_id(), identity.cluster, "nothing was promised, so it begins anew");
    write(&store, vec![put("a", "1")]).await;
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut changes = store.watch(Watch { keys: everything(), from: 0, previous: false }).await.unwrap();
    let other = store.clone();
    store.close().await;
    assert!(next(&mut changes).await.is_err());
    assert!(other.range(Range::newest(everything())).await.is_err());
    assert!(other.txn(crate::store::kv::Txn { success: vec![put("a", "1")], ..Default::default() }).await.is_err());
    // The folder is free, although a handle lives.
    open(dir.path()).close().await;
}

/// Set for the child of the test below: the folder to write to.
const CHILD: &str = "CORACLE_STORE_CRASH_DIR";

/// Not a test by itself: what the child does until it is killed.
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let store = open(Path::new(&dir));
    for index in 0.. {
        let ops = vec![put(&format!("k{index}"), "1"), put("last", &index.to_string())];
        let done = write(&store, ops).await;
        println!("acknowledged {index} {}", done.revision);
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_to_sigkill() {
    use std::io::{BufRead, BufReader};
    let name = "store::tests::crash::child_that_writes_until_it_is_killed";
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=5 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let child = child.args([name, "--exact", "--nocapture"]).env(CHILD, dir.path());
        let mut child = child.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let acknowledged = |line: String| {
            let mut words = line.strip_prefix("acknowledged ")?.split(' ').map(|word| word.parse::<u64>().unwrap());
            Some((words.next()?, words.next()?))
        };
        let mut last = lines.by_ref().filter_map(acknowledged).nth(round * 37).expect("the child writes");
        child.kill().unwrap();
        child.wait().unwrap();
        last = lines.filter_map(acknowledged).last().unwrap_or(last);
        let store = open(dir.path());
        let (index, revision) = last;
        assert!(store.revision() >= revision, "revision {} after {revision}", store.revision());
        let kept = one(&store, "last").await.unwrap();
        let written: u64 = std::str::from_utf8(&kept.value).unwrap().parse().unwrap();
        assert!(written >= index, "{written} after {index}");
        let both = one(&store, &format!("k{written}")).await.unwrap();
        assert_eq!(both.mod_revision, kept.mod_revision, "a transaction is whole");
        store.close().await;
    }
}
