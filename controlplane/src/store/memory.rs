//! The store in memory: the same rules over a map, for tests of the rooms above and for simulations.
//!
//! Knows no disk and no log: what it holds is gone with the process.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::history::{History, Recorded};
use super::kv::{Changes, Error, Kv, Range, Ranged, Txn, TxnDone, Watch};
use super::state::{self, Failure, Head, Staged, Table};

/// Bytes of changes that are kept for watches.
const HISTORY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A handle; clones share the data. The watches end when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    data: Mutex<Data>,
    history: Arc<History>,
}

#[derive(Debug)]
struct Data {
    head: Head,
    table: Table,
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
        Memory(Arc::new(Inner { data: Mutex::new(Data { head, table: Table::default() }), history }))
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

// === impl Inner ===

impl Inner {
    fn range(&self, range: &Range) -> Result<Ranged, Error> {
        state::check_range(&range.keys)?;
        let mut data = self.data.lock();
        let head = data.head;
        state::read(&mut data.table, head, range).map_err(error)
    }

    fn txn(&self, txn: &Txn) -> Result<TxnDone, Error> {
        state::check(txn)?;
        let mut data = self.data.lock();
        let head = data.head;
        let mut staged = Staged::new(&mut data.table, head);
        let (done, changes) = staged.txn(txn).map_err(error)?;
        let (head, fresh) = staged.into_fresh();
        data.head = head;
        for (key, versions) in fresh.0 {
            data.table.0.entry(key).or_default().extend(versions);
        }
        if !changes.is_empty() {
            self.history.extend(vec![Recorded { revision: head.revision, changes }]);
        }
        Ok(done)
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
        self.0.retain(|_, versions| {
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
