//! A disk that fills up: nothing more is taken, what is there can be read and deleted, and it goes on with new room.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::contract::{delete, one, put, write};
use crate::store::kv::{Error, KeyRange, Kv as _, Leases as _, Txn};
use crate::store::{Config, FreeBytes, Store};

const MIB: u64 = 1 << 20;

fn open(dir: &Path, free: &Arc<AtomicU64>) -> Store {
    let free = Arc::clone(free);
    let free_bytes: FreeBytes = Arc::new(move || Ok(free.load(Ordering::Relaxed)));
    Store::open(Config { free_bytes: Some(free_bytes), ..Config::new(dir) }).unwrap()
}

async fn told(store: &Store, is_alarmed: bool) {
    let mut members = store.members();
    members.wait_for(|known| known.alarms.is_empty() != is_alarmed).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_takes_deletions_alone() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(500 * MIB));
    let store = open(dir.path(), &free);
    write(&store, vec![put("a", "1"), put("b", "1")]).await;
    free.store(20 * MIB, Ordering::Relaxed);
    // It is looked at while something is written.
    let txn = || Txn { success: vec![put("c", "1")], ..Txn::default() };
    while store.txn(txn()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    told(&store, true).await;
    assert_eq!(store.txn(txn()).await, Err(Error::NoSpace));
    assert_eq!(store.grant(1, 10).await.unwrap_err(), Error::NoSpace);
    assert_eq!(store.members().borrow().alarms, [store.member_id()]);
    assert_eq!(one(&store, "a").await.unwrap().value, "1");
    write(&store, vec![delete(KeyRange::key("b"))]).await;
    store.close().await;
    // It is not forgotten, and noticed without a write when there is room.
    let store = open(dir.path(), &free);
    assert_eq!(store.txn(txn()).await, Err(Error::NoSpace));
    free.store(500 * MIB, Ordering::Relaxed);
    told(&store, false).await;
    write(&store, vec![put("c", "2")]).await;
    assert!(one(&store, "b").await.is_none());
}
