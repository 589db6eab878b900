//! All objects in memory, as the store's watch tells them: one task writes, everybody reads.
//!
//! Never reads ahead of the store and never takes a shortcut from a write: what is here is what every member has.

use super::served::{self, Definitions, Served};
use super::shelf::{Incoming, Shelf};
use super::{encoded, keys};
use crate::store::Kv;
use crate::store::kv::{self, ChangeBatch, KeyRange, Range, Watch};
use api::rejected::{Cause, Reason};
use api::{Object, Rejected};
use client::Clock;
use futures::StreamExt;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a read waits for the memory to show what it asks for.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// How long a write waits for the memory to show it; it stands all the same.
pub(super) const SHOWN_MAX: Duration = Duration::from_secs(30);
/// Between two attempts to follow a store that is away.
const RETRY: Duration = Duration::from_millis(100);
/// Objects that are read together.
const PAGE_OBJECTS: usize = 1000;
/// How often the history of collections that nobody writes to is looked at.
const FORGET_EVERY: Duration = Duration::from_secs(30);

pub(super) struct Memory {
    shelves: RwLock<HashMap<Box<str>, Arc<Shelf>>>,
    applied: AtomicU64,
    /// Since when no change was missed; a collection that had nothing then has all of its history.
    unbroken: AtomicU64,
    waiters: Mutex<Waiters>,
    definitions: Definitions,
    clock: Clock,
    /// The store is about to close, which then is no error.
    is_closing: AtomicBool,
}

/// Who waits for which revision; ordered, so that a batch wakes only those it serves.
#[derive(Default)]
struct Waiters {
    by_revision: BTreeMap<(u64, u64), oneshot::Sender<()>>,
    next: u64,
}

/// An object at its place on a shelf.
type Placed = (Arc<str>, Arc<Object>);

/// All objects as they were at one revision of the store.
#[derive(Default)]
struct All {
    revision: u64,
    objects: Vec<(String, Arc<str>, Arc<Object>)>,
}

// === impl Memory ===

impl Memory {
    /// Reads everything, and starts the task that follows the store for as long as the memory lives.
    pub(super) async fn open(kv: &Arc<dyn Kv>, clock: Clock) -> Result<Arc<Memory>, kv::Error> {
        let all = All::read(&**kv).await?;
        let memory = Arc::new(Memory {
            shelves: RwLock::default(),
            applied: AtomicU64::new(all.revision),
            unbroken: AtomicU64::new(all.revision),
            waiters: Mutex::default(),
            definitions: Definitions::new(),
            clock,
            is_closing: AtomicBool::new(false),
        });
        memory.fill(all);
        tokio::spawn(follow(Arc::downgrade(&memory), Arc::clone(kv)));
        tokio::spawn(forget(Arc::downgrade(&memory)));
        Ok(memory)
    }

    /// From now on nothing new is shown.
    pub(super) fn close(&self) {
        self.is_closing.store(true, Ordering::Release);
    }

    pub(super) fn shelf(&self, collection: &str) -> Arc<Shelf> {
        if let Some(shelf) = self.shelves.read().get(collection) {
            return Arc::clone(shelf);
        }
        let mut shelves = self.shelves.write();
        let unbroken = self.unbroken.load(Ordering::Acquire);
        let shelf = || Arc::new(Shelf::new(unbroken, self.applied()));
        Arc::clone(shelves.entry(collection.into()).or_insert_with(shelf))
    }

    /// The kinds that are served, as the newest definitions here have them.
    pub(super) fn served(&self) -> Arc<Served> {
        self.definitions.served()
    }

    /// Everything up to this revision is in.
    pub(super) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Waits until everything up to `revision` is in.
    pub(super) async fn wait(&self, revision: u64) -> Result<(), Rejected> {
        if self.shows(revision, WAIT_MAX).await { Ok(()) } else { Err(too_large(revision, self.applied())) }
    }

    /// Waits at most `time`; true if the memory shows the revision.
    pub(super) async fn shows(&self, revision: u64, time: Duration) -> bool {
        let Some(waiter) = self.waiter(revision) else { return true };
        tokio::time::timeout(time, waiter).await.is_ok_and(|told| told.is_ok())
    }

    fn waiter(&self, revision: u64) -> Option<oneshot::Receiver<()>> {
        let mut waiters = self.waiters.lock();
        // Looked at under the lock: `advance` takes it after it has moved the revision.
        if self.applied() >= revision {
            return None;
        }
        let (tx, rx) = oneshot::channel();
        let number = waiters.next;
        waiters.next += 1;
        waiters.by_revision.insert((revision, number), tx);
        Some(rx)
    }

    fn fill(&self, all: All) {
        let mut shelves: HashMap<String, Vec<Placed>> = HashMap::new();
        for (collection, place, object) in all.objects {
            shelves.entry(collection).or_default().push((place, object));
        }
        if let Some(definitions) = shelves.get(&served::collection()) {
            self.definitions.learn(definitions.iter().map(|(place, object)| (Arc::clone(place), Some(&**object))));
        }
        for (collection, objects) in shelves {
            self.shelf(&collection).fill(objects);
        }
    }

    fn apply(&self, batch: ChangeBatch) {
        let mut shelves: HashMap<String, Vec<Incoming>> = HashMap::new();
        for change in batch.changes {
            let Some((collection, place)) = keys::parse(&change.kv.key) else { continue };
            let revision = change.kv.mod_revision;
            let object = if change.is_delete {
                None
            } else {
                let Some((_, _, object)) = read(&change.kv.key, &change.kv.value, revision) else { continue };
                Some(object)
            };
            let incoming = Incoming { place: place.into(), revision, object };
            shelves.entry(collection.to_owned()).or_default().push(incoming);
        }
        if let Some(definitions) = shelves.get(&served::collection()) {
            let told = definitions.iter().map(|change| (Arc::clone(&change.place), change.object.as_deref()));
            self.definitions.learn(told);
        }
        let now = self.clock.now();
        for (collection, changes) in shelves {
            self.shelf(&collection).apply(changes, batch.revision, now);
        }
        self.advance(batch.revision);
    }

    fn advance(&self, revision: u64) {
        self.applied.fetch_max(revision, Ordering::AcqRel);
        let mut waiters = self.waiters.lock();
        let later = waiters.by_revision.split_off(&(revision + 1, 0));
        for (_, waiter) in std::mem::replace(&mut waiters.by_revision, later) {
            let _ = waiter.send(());
        }
    }

    /// Takes the newest state where the changes that led to it are lost.
    fn catch_up(&self, all: All) {
        // Watches that are open see the way from there to here; nobody else may begin on it.
        self.unbroken.store(all.revision, Ordering::Release);
        for shelf in self.shelves.read().values() {
            shelf.begin_at(all.revision);
        }
        let mut changes: HashMap<String, BTreeMap<Arc<str>, Option<Arc<Object>>>> = HashMap::new();
        for (collection, shelf) in self.shelves.read().iter() {
            let gone = shelf.places().into_iter().map(|(place, _)| (place, None)).collect();
            changes.insert(collection.to_string(), gone);
        }
        for (collection, place, object) in all.objects {
            changes.entry(collection).or_default().insert(place, Some(object));
        }
        if let Some(definitions) = changes.get(&served::collection()) {
            self.definitions.learn(definitions.iter().map(|(place, object)| (Arc::clone(place), object.as_deref())));
        }
        let now = self.clock.now();
        for (collection, changes) in changes {
            // In order of revision: watches pass each other's events in that order. What is gone went last.
            let told = |(place, object): (Arc<str>, Option<Arc<Object>>)| {
                let revision = object.as_ref().map_or(all.revision, |object| object.revision());
                Incoming { place, revision, object }
            };
            let mut changes: Vec<Incoming> = changes.into_iter().map(told).collect();
            changes.sort_by_key(|change| (change.revision, change.object.is_none()));
            self.shelf(&collection).apply(changes, all.revision, now);
        }
        self.advance(all.revision);
    }
}

// === impl All ===

impl All {
    /// Reads them in pages. An object is not what is stored, byte by byte; so what a page had is let go before the next one
    /// comes, and a start does not take twice the memory.
    async fn read(kv: &dyn Kv) -> Result<All, kv::Error> {
        'anew: loop {
            let mut all = All::default();
            let mut range = Range { limit: PAGE_OBJECTS, uncounted: true, ..Range::newest(keys::all()) };
            loop {
                let page = match kv.range(range.clone()).await {
                    // It took so long that the revision is compacted.
                    Err(kv::Error::Compacted { .. }) if range.revision != 0 => continue 'anew,
                    page => page?,
                };
                if range.revision == 0 {
                    (all.revision, range.revision) = (page.revision, page.revision);
                }
                let found = page.items.iter().filter_map(|item| read(&item.key, &item.value, item.mod_revision));
                all.objects.extend(found);
                match page.items.last() {
                    Some(last) if page.more => range.keys.start = [&*last.key, &[0]].concat().into(),
                    _ => return Ok(all),
                }
            }
        }
    }
}

/// Lets the histories go that nobody may ask for any more, until the memory is dropped.
async fn forget(memory: Weak<Memory>) {
    loop {
        tokio::time::sleep(FORGET_EVERY).await;
        let Some(memory) = memory.upgrade() else { return };
        let shelves: Vec<_> = memory.shelves.read().values().cloned().collect();
        for shelf in shelves {
            shelf.forget(memory.clock.now());
        }
    }
}

/// Follows the store until the memory is dropped.
async fn follow(memory: Weak<Memory>, kv: Arc<dyn Kv>) {
    while let Some(from) = memory.upgrade().map(|memory| memory.applied() + 1) {
        // All keys, not only the objects': every revision of the store then counts as seen.
        let watch = Watch { keys: KeyRange::prefix(""), from, previous: false };
        let error = match kv.watch(watch).await {
            Ok(mut changes) => loop {
                match changes.next().await {
                    Some(Ok(batch)) => {
                        let Some(memory) = memory.upgrade() else { return };
                        memory.apply(batch);
                    }
                    Some(Err(error)) => break error,
                    None => break kv::Error::Unavailable("the watch has ended".to_owned()),
                }
            },
            Err(error) => error,
        };
        if memory.upgrade().is_none_or(|memory| memory.is_closing.load(Ordering::Acquire)) {
            return;
        }
        tracing::warn!(%error, from, "following the store is interrupted");
        if matches!(error, kv::Error::Compacted { .. }) {
            match All::read(&*kv).await {
                Ok(all) => {
                    let Some(memory) = memory.upgrade() else { return };
                    memory.catch_up(all);
                    continue;
                }
                Err(error) => tracing::warn!(%error, "the store cannot be read"),
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn read(key: &[u8], value: &[u8], revision: u64) -> Option<(String, Arc<str>, Arc<Object>)> {
    let (collection, place) = keys::parse(key)?;
    let object = encoded::at_revision(value, revision);
    if object.is_none() {
        tracing::error!(collection, place, revision, "a stored value is no object");
    }
    Some((collection.to_owned(), place.into(), object?))
}

/// The 504 that client-go and the kubelet know how to treat.
fn too_large(wanted: u64, current: u64) -> Rejected {
    let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
    let mut rejected = Rejected::new(Reason::Timeout, message);
    rejected.details.retry_after_seconds = 1;
    rejected.details.causes = vec![Cause {
        reason: "ResourceVersionTooLarge".to_owned(),
        message: "Too large resource version".to_owned(),
        field: String::new(),
    }];
    rejected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::kv::{Changes, Op, Ranged, Txn, TxnDone};
    use crate::store::memory::Memory as Stored;
    use futures::FutureExt as _;
    use futures::future::BoxFuture;

    const COLLECTION: &str = "core/configmaps";

    /// Between the first page and the second, somebody writes, and perhaps the store is compacted.
    struct Moving {
        kv: Stored,
        asked: AtomicU64,
        compacts: bool,
    }

    async fn put(kv: &Stored, names: impl Iterator<Item = String>) {
        let object = |name: &String| format!(r#"{{"metadata":{{"name":"{name}","resourceVersion":"1"}}}}"#);
        let put = |name: String| Op::put(keys::object(COLLECTION, &name), object(&name));
        let ops: Vec<Op> = names.map(put).collect();
        for success in ops.chunks(100) {
            kv.txn(Txn { success: success.to_vec(), ..Txn::default() }).await.unwrap();
        }
    }

    impl Kv for Moving {
        fn range(&self, range: Range) -> BoxFuture<'_, Result<Ranged, kv::Error>> {
            async move {
                if self.asked.fetch_add(1, Ordering::Relaxed) == 1 {
                    put(&self.kv, std::iter::once("a-late-one".to_owned())).await;
                    if self.compacts {
                        self.kv.compact(self.kv.revision()).await?;
                    }
                }
                self.kv.range(range).await
            }
            .boxed()
        }

        fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnDone, kv::Error>> {
            self.kv.txn(txn)
        }

        fn watch(&self, watch: Watch) -> BoxFuture<'_, Result<Changes, kv::Error>> {
            self.kv.watch(watch)
        }

        fn compact(&self, revision: u64) -> BoxFuture<'_, Result<(), kv::Error>> {
            self.kv.compact(revision)
        }

        fn revision(&self) -> u64 {
            self.kv.revision()
        }
    }

    #[tokio::test]
    async fn pages_are_of_one_revision_even_if_it_is_compacted_meanwhile() {
        let count = 2 * PAGE_OBJECTS + 7;
        for compacts in [false, true] {
            let kv = Moving { kv: Stored::new(), asked: AtomicU64::new(0), compacts };
            put(&kv.kv, (0..count).map(|number| format!("map-{number:05}"))).await;
            let before = kv.revision();
            let all = All::read(&kv).await.unwrap();
            // One that sorts before all others, which a page of another revision would lack.
            assert_eq!(all.objects.iter().any(|(_, place, _)| place.ends_with("a-late-one")), compacts);
            assert_eq!(all.objects.len(), count + usize::from(compacts));
            assert_eq!(all.revision, before + u64::from(compacts));
            let mut places: Vec<_> = all.objects.iter().map(|(_, place, _)| Arc::clone(place)).collect();
            places.dedup();
            assert_eq!(places.len(), all.objects.len(), "none comes twice");
        }
    }
}
