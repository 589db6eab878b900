//! The store in memory: the same rules over a map, for tests of the rooms above and for simulations.
//!
//! Knows no disk and no log: what it holds is gone with the process. Without a thread, too: a lease that has lived its
//! time ends when something is asked next.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::history::{History, Recorded};
use super::kv::{Change, Changes, Error, Granted, Kv, Lease, Leases, Range, Ranged, Txn, TxnDone, Watch};
use super::lessor::{self, Lessor};
use super::state::{self, Failure, Head, Staged, Table, Versions};
use super::task::TICK;

/// Bytes of changes that are kept for watches.
const HISTORY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A handle; clones share the data. The watches end when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    data: Mutex<Data>,
    history: Arc<History>,
    began: Instant,
}

#[derive(Debug)]
struct Data {
    head: Head,
    table: Table,
    lessor: Lessor,
}

// === impl Memory ===

impl Memory {
    /// An empty store.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "an empty store is a thing that is made, not a default value")]
    pub fn new() -> Memory {
        Memory::with_history(HISTORY_BYTES_MAX)
    }

    /// An empty store that forgets changes beyond `history_bytes_max`, so that watches can be overtaken.
    #[must_use]
    pub fn with_history(history_bytes_max: usize) -> Memory {
        let head = Head { revision: 1, compacted: 0 };
        let history = Arc::new(History::new(head, history_bytes_max, None));
        let data = Data { head, table: Table::default(), lessor: Lessor::default() };
        Memory(Arc::new(Inner { data: Mutex::new(data), history, began: Instant::now() }))
    }

    /// Ends all watches, as a store that is closing does.
    pub fn close(&self) {
        self.0.history.close();
    }
}

impl Kv for Memory {
    fn range(&self, range: Range) -> BoxFuture<'_, Result<Ranged, Error>> {
        async move { self.0.range(&range) }.boxed()
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnDone, Error>> {
        async move { self.0.txn(&txn) }.boxed()
    }

    fn watch(&self, watch: Watch) -> BoxFuture<'_, Result<Changes, Error>> {
        async move { self.0.history.watch(watch) }.boxed()
    }

    fn compact(&self, revision: u64) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.0.compact(revision) }.boxed()
    }

    fn revision(&self) -> u64 {
        self.0.history.revision()
    }
}

impl Leases for Memory {
    fn grant(&self, id: i64, ttl: u64) -> BoxFuture<'_, Result<Granted, Error>> {
        async move { lessor::check(id, ttl).and_then(|(id, ttl)| self.0.grant(id, ttl)) }.boxed()
    }

    fn revoke(&self, id: i64) -> BoxFuture<'_, Result<u64, Error>> {
        async move { self.0.end(&mut self.0.data().0, id) }.boxed()
    }

    fn keep_alive(&self, id: i64) -> BoxFuture<'_, Result<u64, Error>> {
        async move {
            let (mut data, now) = self.0.data();
            data.lessor.renew(id, now)
        }
        .boxed()
    }

    fn lease(&self, id: i64, keys: bool) -> BoxFuture<'_, Result<Lease, Error>> {
        async move { self.0.lease(id, keys) }.boxed()
    }

    fn leases(&self) -> BoxFuture<'_, Result<Vec<i64>, Error>> {
        async move { Ok(self.0.data().0.table.leases.keys().copied().collect()) }.boxed()
    }
}

// === impl Inner ===

impl Inner {
    fn range(&self, range: &Range) -> Result<Ranged, Error> {
        state::check_range(&range.keys)?;
        let (mut data, _) = self.data();
        let head = data.head;
        state::read(&mut data.table, head, range).map_err(error)
    }

    fn txn(&self, txn: &Txn) -> Result<TxnDone, Error> {
        state::check(txn)?;
        let (mut data, _) = self.data();
        let head = data.head;
        let mut staged = Staged::new(&mut data.table, head);
        let (done, changes) = staged.txn(txn).map_err(error)?;
        let staged = staged.into_fresh();
        self.settle(&mut data, staged, changes);
        Ok(done)
    }

    /// What was staged is there from now on, and told.
    fn settle(&self, data: &mut Data, (head, fresh): (Head, Table), changes: Vec<Change>) {
        data.head = head;
        data.table.merge(fresh);
        if !changes.is_empty() {
            self.history.extend(vec![Recorded { revision: head.revision, changes }]);
            self.history.tell();
        }
    }

    /// The data, after the leases that have lived their time have ended; how often the clock has ticked.
    fn data(&self) -> (MutexGuard<'_, Data>, u64) {
        let mut data = self.data.lock();
        let now = u64::try_from(self.began.elapsed().as_millis() / TICK.as_millis()).unwrap_or(u64::MAX);
        loop {
            let ended = data.lessor.ended(now);
            if ended.is_empty() {
                return (data, now);
            }
            for id in ended {
                // It was granted, or the lessor would not know it.
                let _ = self.end(&mut data, id);
            }
        }
    }

    fn grant(&self, id: i64, ttl: u64) -> Result<Granted, Error> {
        let (mut data, now) = self.data();
        let Data { head, table, lessor } = &mut *data;
        let mut staged = Staged::new(table, *head);
        staged.grant(id, ttl).map_err(error)?;
        let (_, fresh) = staged.into_fresh();
        table.merge(fresh);
        lessor.granted(id, ttl, now);
        Ok(Granted { id, ttl, revision: head.revision })
    }

    fn end(&self, data: &mut Data, id: i64) -> Result<u64, Error> {
        let head = data.head;
        let mut staged = Staged::new(&mut data.table, head);
        let (revision, changes) = staged.revoke(id).map_err(error)?;
        let staged = staged.into_fresh();
        self.settle(data, staged, changes);
        data.lessor.revoked(id);
        Ok(revision)
    }

    fn lease(&self, id: i64, keys: bool) -> Result<Lease, Error> {
        let (mut data, now) = self.data();
        let left = data.lessor.left(id, now)?;
        let granted = data.table.lease(id).map_err(error)?.ok_or(Error::NoLease(id))?;
        let keys = if keys { data.table.attached(id).map_err(error)?.into_iter().collect() } else { Vec::new() };
        Ok(Lease { id, granted, left, keys })
    }

    fn compact(&self, revision: u64) -> Result<(), Error> {
        let mut data = self.data.lock();
        let head = data.head;
        let mut staged = Staged::new(&mut data.table, head);
        staged.compact(revision).map_err(error)?;
        data.head = staged.head();
        data.table.compact(revision);
        self.history.compact(revision);
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.history.close();
    }
}

// === impl Table ===

impl Table {
    fn compact(&mut self, revision: u64) {
        self.versions.retain(|_, versions| {
            let superseded = versions.iter().rposition(|(at, _)| *at <= revision);
            if let Some(newest) = superseded {
                let is_deleted = versions[newest].1.is_none();
                versions.drain(..newest + usize::from(is_deleted));
            }
            !versions.is_empty()
        });
    }
}

fn error(failure: Failure) -> Error {
    match failure {
        Failure::Refused(error) => error,
        Failure::Broken(cause) => Error::Unavailable(cause),
    }
}
