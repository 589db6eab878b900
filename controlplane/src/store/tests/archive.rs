//! Snapshots as files: what comes back, and what is refused.

use std::collections::BTreeMap;
use std::path::Path;

use super::contract::{delete, everything, one, put, write};
use super::open;
use crate::store::archive::{self, Error};
use crate::store::kv::{self, KeyRange, Kv as _, Range, Watch};

async fn saved(dir: &Path, to: &Path) -> archive::Manifest {
    let store = open(dir);
    for index in 0..50 {
        write(&store, vec![put(&format!("k{index}"), "old")]).await;
        write(&store, vec![put(&format!("k{index}"), "new")]).await;
    }
    write(&store, vec![delete(KeyRange::key("k7"))]).await;
    let beside = BTreeMap::from([("keys.json".to_owned(), b"{}".to_vec())]);
    let taken = store.take_snapshot(&beside).unwrap();
    // What comes later is not in it.
    write(&store, vec![put("later", "1")]).await;
    let bytes = taken.bytes();
    let manifest = taken.write(std::fs::File::create_new(to).unwrap()).unwrap();
    assert_eq!(std::fs::metadata(to).unwrap().len(), bytes + 32, "its size was known before, but for the checksum");
    assert_eq!((manifest.revision, manifest.keys), (102, 49));
    assert_eq!(manifest.cluster, format!("{:x}", store.cluster_id()));
    store.close().await;
    manifest
}

#[tokio::test]
async fn a_snapshot_comes_back_as_another_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let (old, file, new) = (dir.path().join("old"), dir.path().join("file"), dir.path().join("new"));
    let manifest = saved(&old, &file).await;
    // etcd's tools take it for whole by its length.
    assert_eq!(std::fs::metadata(&file).unwrap().len() % 512, 32);
    assert_eq!(archive::status(&file).unwrap(), manifest);
    let (restored, beside) = archive::restore(&file, &new, 1_000).unwrap();
    assert_eq!((restored, beside["keys.json"].as_slice()), (manifest.clone(), b"{}".as_slice()));
    let store = open(&new);
    assert_ne!(manifest.cluster, format!("{:x}", store.cluster_id()));
    assert_eq!(store.revision(), 1_102);
    assert_eq!(one(&store, "k8").await.unwrap().value, "new");
    assert!(one(&store, "k7").await.is_none() && one(&store, "later").await.is_none());
    // Nobody goes on watching as if nothing had happened.
    let watch = store.watch(Watch { keys: everything(), from: 103, previous: false }).await;
    assert!(matches!(watch.err(), Some(kv::Error::Compacted { .. })));
    let past = store.range(Range { revision: 102, ..Range::newest(everything()) }).await;
    assert!(matches!(past, Err(kv::Error::Compacted { .. })), "{past:?}");
    write(&store, vec![put("k8", "newer")]).await;
    assert_eq!(one(&store, "k8").await.unwrap().mod_revision, 1_103);
    store.close().await;
    assert!(matches!(archive::restore(&file, &new, 1_000), Err(Error::InUse)));
    assert!(matches!(archive::restore(&file, &old, 1_000), Err(Error::InUse)));
}

#[tokio::test]
async fn a_snapshot_with_any_damage_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (old, file, bad) = (dir.path().join("old"), dir.path().join("file"), dir.path().join("bad"));
    saved(&old, &file).await;
    let whole = std::fs::read(&file).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        std::fs::write(&bad, bytes).unwrap();
        assert!(matches!(archive::status(&bad), Err(Error::Damaged)), "{what}");
        let to = dir.path().join("to");
        assert!(matches!(archive::restore(&bad, &to, 0), Err(Error::Damaged)), "{what}");
        assert!(!to.exists(), "{what}");
    };
    for cut in (0..whole.len()).step_by(997).chain(whole.len() - 40..whole.len()) {
        refused(&whole[..cut], &format!("cut at {cut}"));
    }
    for bit in (0..whole.len()).step_by(499) {
        let mut bytes = whole.clone();
        bytes[bit] ^= 1 << (bit % 8);
        refused(&bytes, &format!("bit of byte {bit}"));
    }
}
