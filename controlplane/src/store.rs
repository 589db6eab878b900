//! The replicated store that takes etcd's place: revisions, transactions and watches over Raft and RocksDB.
//!
//! Knows no Kubernetes: keys and values are bytes. A write goes from [`Store`] over a bounded queue to the one thread
//! that writes (`task`), through the Raft library (`driver`), to the rules (`state`), and into one durable batch
//! (`disk`); the watchers then find it in the `history`.

pub mod kv;
pub mod memory;

mod command;
mod disk;
mod driver;
mod history;
mod identity;
mod keys;
mod log;
mod open;
mod state;
mod task;
mod trace;

pub use identity::OpenError;
pub use kv::Kv;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use command::Command;
use disk::Disk;
use driver::Driver;
use history::History;
use kv::{Changes, Error, Op, Range, Ranged, Txn, TxnDone, Watch};
use state::Staged;
use task::{Event, Task};

/// Writes and linearizable reads that wait for the disk or for a quorum; more callers wait before the queue.
const QUEUE_MAX: usize = 4096;

/// What a store is opened with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder; made if it is not there.
    pub dir: PathBuf,
    /// How long an old revision can be read and watched from: five minutes, as in a Kubernetes cluster on etcd.
    pub window: Duration,
    /// Memory for blocks of the database. Reads are rare, because the layer above holds what is current.
    pub cache_bytes: usize,
    /// Memory for changes that may still be watched; the oldest go first.
    pub history_bytes_max: usize,
    /// Keeps a log even for a sole member, so that tests and measurements see what several members do.
    pub keeps_log: bool,
}

/// A handle of an open store; clones share it. It is closed by [`Store::close`], or when the last clone goes.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    events: Sender<Event>,
    queue: Arc<Semaphore>,
    disk: Arc<Disk>,
    history: Arc<History>,
    /// Nobody else takes part, so whatever was acknowledged is applied here.
    is_sole: AtomicBool,
    cluster: u64,
    member: u64,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

// === impl Config ===

impl Config {
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Config {
        Config {
            dir: dir.into(),
            window: Duration::from_secs(300),
            cache_bytes: 16 * 1024 * 1024,
            history_bytes_max: 32 * 1024 * 1024,
            keeps_log: false,
        }
    }
}

// === impl Store ===

impl Store {
    /// Opens the folder, or begins a new cluster of one member if nothing was ever there.
    pub fn open(config: Config) -> Result<Store, OpenError> {
        let opened = open::open(&config)?;
        let database = |cause| OpenError::Database { dir: config.dir.clone(), cause };
        let (cluster, member) = (opened.identity.cluster, opened.identity.member);
        let disk = Arc::new(opened.disk);
        let history = Arc::new(opened.history);
        let (events, queue) = std::sync::mpsc::channel();
        let driver = Driver::new(member, rand::random(), (opened.log, opened.record.applied), config.keeps_log)
            .map_err(database)?;
        let is_sole = AtomicBool::new(driver.is_sole());
        let on_disk = (Arc::clone(&disk), opened.record);
        let mut task = Task::new(driver, on_disk, Arc::clone(&history), queue, config.window);
        task.start().map_err(|fatal| database(fatal.0))?;
        let lock = opened.lock;
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || {
            // A broken rule is as bad as a broken disk, and a store without its writer must not look alive.
            let ended = catch_unwind(AssertUnwindSafe(|| task.run()));
            task.history.close();
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(fatal)) => die(&fatal.0),
                Err(_) => die("a rule of the store was broken"),
            }
            task.disk.close();
            drop(lock);
        });
        let thread = thread.map_err(|error| database(error.to_string()))?;
        let thread = Mutex::new(Some(thread));
        let queue = Arc::new(Semaphore::new(QUEUE_MAX));
        Ok(Store(Arc::new(Shared { events, queue, disk, history, is_sole, cluster, member, thread })))
    }

    /// Finishes what was begun, ends the watches and lets go of the folder. What comes later is refused.
    pub async fn close(self) {
        // The thread may have ended already.
        let _ = self.0.events.send(Event::Close);
        let thread = self.0.thread.lock().take();
        if let Some(thread) = thread {
            // Joining blocks, if only for one last batch.
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the store's thread ended badly");
            }
        }
    }

    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.0.cluster
    }

    #[must_use]
    pub fn member_id(&self) -> u64 {
        self.0.member
    }
}

impl Kv for Store {
    fn range(&self, range: Range) -> BoxFuture<'_, Result<Ranged, Error>> {
        async move {
            state::check_range(&range.keys)?;
            if !range.serializable {
                self.0.catch_up().await?;
            }
            match range.keys.end {
                // One key is found in microseconds; a long range would hold up the other tasks of this thread.
                None => self.0.disk.range(&range),
                Some(_) => self.0.blocking(move |disk| disk.range(&range)).await,
            }
        }
        .boxed()
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnDone, Error>> {
        async move {
            state::check(&txn)?;
            if is_read(&txn) {
                self.0.catch_up().await?;
                return self.0.blocking(move |disk| disk.snapshot(|view, head| read(view, head, &txn))).await;
            }
            self.0.write(Command::Txn(txn)).await
        }
        .boxed()
    }

    fn watch(&self, watch: Watch) -> BoxFuture<'_, Result<Changes, Error>> {
        async move { self.0.history.watch(watch) }.boxed()
    }

    fn compact(&self, revision: u64) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.0.write(Command::Compact(revision)).await.map(drop) }.boxed()
    }

    fn revision(&self) -> u64 {
        self.0.history.revision()
    }
}

/// Writes nothing, whichever way the compares go.
fn is_read(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| matches!(op, Op::Range(_)))
}

fn read(view: &mut disk::View<'_>, head: state::Head, txn: &Txn) -> Result<TxnDone, state::Failure> {
    Staged::new(view, head).txn(txn).map(|(done, _)| done)
}

/// After a failed write, what is on disk is not known, and asking again would not tell: the kernel may have dropped
/// the pages. Only a new start reads what is really there.
fn die(cause: &str) -> ! {
    tracing::error!(cause, "the store failed; the process ends, so that nothing false is promised");
    std::process::exit(1)
}

// === impl Shared ===

impl Shared {
    async fn write(&self, command: Command) -> Result<TxnDone, Error> {
        let permit = Arc::clone(&self.queue).acquire_owned().await.map_err(|_| closing())?;
        let (done, answer) = oneshot::channel();
        self.events.send(Event::Write { command, done, permit }).map_err(|_| closing())?;
        answer.await.unwrap_or_else(|_| Err(Error::Unknown("the store closed before the write was settled".into())))
    }

    /// Waits until all that anyone was told is applied here.
    async fn catch_up(&self) -> Result<(), Error> {
        if self.is_sole.load(Ordering::Acquire) {
            return Ok(());
        }
        let _permit = self.queue.acquire().await.map_err(|_| closing())?;
        let (done, answer) = oneshot::channel();
        self.events.send(Event::Read { done }).map_err(|_| closing())?;
        answer.await.unwrap_or_else(|_| Err(closing()))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Disk) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let disk = Arc::clone(&self.disk);
        tokio::task::spawn_blocking(move || act(&disk)).await.unwrap_or_else(|_| Err(closing()))
    }
}

impl Drop for Shared {
    /// Whoever drops the last handle can open the folder again at once.
    fn drop(&mut self) {
        let _ = self.events.send(Event::Close);
        if let Some(thread) = self.thread.get_mut().take() {
            let _ = thread.join();
        }
    }
}

fn closing() -> Error {
    Error::Unavailable("it is closing".into())
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("cluster", &self.0.cluster).field("member", &self.0.member).finish()
    }
}

#[cfg(test)]
mod tests;
