//! The replicated store that takes etcd's place: revisions, transactions and watches over Raft and RocksDB.
//!
//! Knows no Kubernetes: keys and values are bytes. A write goes from [`Store`] over a bounded queue to the one thread
//! that writes (`task`), which hands it to the state machine of this member (`member`): through the Raft library
//! (`driver`) to the rules (`state`), and into one durable batch (`disk`); the watchers then find it in the `history`.

pub mod archive;
pub mod figures;
pub mod group;
pub mod kv;
pub mod memory;

mod apply;
mod base;
mod changes;
mod command;
mod digest;
mod disk;
mod driver;
mod flaw;
mod garbage;
mod history;
mod identity;
mod journal;
mod keys;
mod ledger;
mod lessor;
mod log;
mod look;
mod medium;
mod member;
mod notice;
mod open;
mod past;
mod proposals;
mod queue;
mod recent;
mod record;
mod segment;
mod space;
pub(crate) mod state;
mod task;
mod trace;
mod view;

pub use identity::OpenError;
pub use kv::{Kv, Leases};

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use command::Command;
use disk::Disk;
use driver::{Driver, Setup};
use figures::Figures;
use flaw::Planted;
use group::{Carrier, Letter, MemberChange, Members, Question, SnapshotData};
use history::History;
use kv::{Changes, Error, Granted, Lease, Range, Ranged, Txn, TxnDone, Watch};
use member::{Ask, Member};
use space::Space;
use state::{Staged, Versions as _};
use task::{Event, Reader, Task, Writer};
use view::View;

/// Writes and linearizable reads that wait for the disk or for a quorum; more callers wait before the queue.
const QUEUE_MAX: usize = 4096;

/// How long the leader is asked, and looked for; etcd's limit for a request.
const LEADER_LIMIT: Duration = Duration::from_secs(5);
const LEADER_RETRY: Duration = Duration::from_millis(100);

/// What a store is opened with.
#[derive(Clone)]
pub struct Config {
    /// The folder; made if it is not there.
    pub dir: PathBuf,
    /// How long an old revision can be read and watched from: five minutes, as in a Kubernetes cluster on etcd.
    pub window: Duration,
    /// Memory for blocks of the database. Reads are rare, because the layer above holds what is current.
    pub cache_bytes: usize,
    /// Memory for the newest changes; who watches from further back reads the disk.
    pub history_bytes_max: usize,
    /// Keeps a log even for a sole member, so that tests and measurements see what several members do.
    pub keeps_log: bool,
    /// Takes messages to other members.
    pub carrier: Arc<dyn Carrier>,
    /// Free bytes on the folder's disk, if it is not to be asked itself.
    pub free_bytes: Option<FreeBytes>,
    /// Where nothing was stored yet: what to become a member of, in place of beginning a new cluster.
    pub join: Option<Join>,
}

/// Tells how much room a disk has.
pub type FreeBytes = Arc<dyn Fn() -> std::io::Result<u64> + Send + Sync>;

/// A place in a cluster that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Join {
    pub cluster: u64,
    /// Never another's, nor one that this or another folder had before.
    pub member: u64,
}

/// How a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The last entry that is applied here, and the last that is known to be settled.
    pub applied: u64,
    pub settled: u64,
    /// Of all that was ever applied.
    pub digest: u64,
    /// On disk and in buffers.
    pub bytes: u64,
}

/// A hash of all versions that can be read at a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashed {
    pub hash: u64,
    pub compacted: u64,
    /// The revision of the store.
    pub revision: u64,
}

/// There is nobody to carry anything to.
struct Alone;

/// A handle of an open store; clones share it. It is closed by [`Store::close`], or when the last clone goes.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    events: queue::Sender,
    queue: Arc<Semaphore>,
    disk: Arc<Disk>,
    history: Arc<History>,
    /// Nobody else takes part, so whatever was acknowledged is applied here.
    is_sole: Arc<AtomicBool>,
    members: watch::Sender<Members>,
    swept: watch::Receiver<u64>,
    carrier: Arc<dyn Carrier>,
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
            history_bytes_max: 4 * 1024 * 1024,
            keeps_log: false,
            carrier: Arc::new(Alone),
            free_bytes: None,
            join: None,
        }
    }

    /// Is there no store in the folder yet? Otherwise `join` has no effect.
    #[must_use]
    pub fn begins_anew(&self) -> bool {
        match identity::Identity::load(&self.dir) {
            Ok(found) => found.is_none_or(|identity| identity.phase == identity::Phase::Creating),
            // What is wrong with it is said when it is opened.
            Err(_) => false,
        }
    }
}

// === impl Alone ===

impl Carrier for Alone {
    fn send(&self, letter: Letter) {
        tracing::error!(to = letter.to, "a message for another member, and there is no way to any");
    }

    fn ask(&self, to: u64, _: Question) -> BoxFuture<'static, Result<u64, Error>> {
        std::future::ready(Err(Error::Unavailable(format!("there is no way to member {to:x}")))).boxed()
    }
}

// === impl Store ===

impl Store {
    /// Opens the folder, or begins a new cluster of one member if nothing was ever there.
    pub fn open(config: Config) -> Result<Store, OpenError> {
        let opened = open::open(&config)?;
        let database = |cause| OpenError::Database { dir: config.dir.clone(), cause };
        let (cluster, member) = (opened.identity.cluster, opened.identity.member);
        let disk = opened.disk;
        let history = Arc::new(opened.history);
        let (events, came) = queue::new();
        let setup = Setup { keeps_log: config.keeps_log, ..Setup::new(member, rand::random()) };
        let driver = Driver::new(setup, opened.log, opened.record.applied).map_err(database)?;
        let is_sole = Arc::new(AtomicBool::new(driver.is_sole()));
        let members = Members::new(&opened.record, &driver.conf(), None, driver.term());
        let members = watch::Sender::new(members);
        let dir = config.dir.clone();
        let free: FreeBytes = config.free_bytes.clone().unwrap_or_else(|| Arc::new(move || space::free(&dir)));
        let space = Space::new(&config.dir, free);
        let on_disk = (Arc::clone(&disk), opened.record);
        let mut task = Task {
            member: Member::new(driver, on_disk, (member, rand::random()), Planted::default()),
            disk: Arc::clone(&disk),
            history: Arc::clone(&history),
            events: came,
            window: config.window,
            is_sole: Arc::clone(&is_sole),
            carrier: Arc::clone(&config.carrier),
            space,
            members: members.clone(),
            is_to_sweep: false,
            swept: watch::Sender::new(0),
        };
        let swept = task.swept.subscribe();
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
        let carrier = config.carrier;
        Ok(Store(Arc::new(Shared {
            events,
            queue,
            disk,
            history,
            is_sole,
            members,
            swept,
            carrier,
            cluster,
            member,
            thread,
        })))
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

    /// Takes a snapshot of all data, with some small files beside them, to be written to where [`archive::restore`]
    /// reads it. Blocks.
    ///
    /// # Errors
    /// The data cannot be used.
    pub fn take_snapshot(&self, beside: &BTreeMap<String, Vec<u8>>) -> Result<archive::Taken, archive::Error> {
        archive::take(&self.0.disk, self.0.cluster, beside)
    }

    /// The members, as far as this one knows, and every change of them.
    #[must_use]
    pub fn members(&self) -> watch::Receiver<Members> {
        self.0.members.subscribe()
    }

    /// Changes who takes part; done when the group has settled it. Only the leader can begin that.
    ///
    /// # Errors
    /// Unavailable: another change is under way, or this member does not lead. Not ready: a learner has not caught up,
    /// or too few would be left. Unknown: it was proposed, and the group has not settled it in time.
    pub async fn change_members(&self, change: MemberChange) -> Result<(), Error> {
        let ask = |ticket| Event::Change { change, ticket };
        self.0.propose(ask).await.map(drop)
    }

    /// Asks another member to lead in place of this one.
    pub fn transfer_leadership(&self, to: u64) {
        self.0.tell(Event::Transfer { to });
    }

    /// Takes a message of another member, with the data of the snapshot if it brings one.
    ///
    /// # Errors
    /// It is no message, not from that member, or for another one than this.
    pub fn receive(&self, from: u64, message: &[u8], snapshot: Option<SnapshotData>) -> Result<(), Error> {
        use prost::Message as _;
        let message = raft::eraftpb::Message::decode(message)
            .map_err(|error| Error::Invalid(format!("a message of another member is garbled: {error}")))?;
        if message.from != from {
            return Err(Error::Invalid(format!("member {from:x} brings a message of member {:x}", message.from)));
        }
        if message.to != self.0.member {
            return Err(Error::Invalid(format!("a message for member {:x} came to {:x}", message.to, self.0.member)));
        }
        self.0.tell(Event::Receive { message, image: snapshot.map(|data| data.0) });
        Ok(())
    }

    /// An empty folder for the files of a snapshot that comes in. Blocks for a moment.
    ///
    /// # Errors
    /// The disk is full, or worse.
    pub fn receive_snapshot(&self) -> std::io::Result<SnapshotData> {
        self.0.disk.receiving().map(SnapshotData)
    }

    /// The data of a snapshot have reached a member, or not.
    pub fn snapshot_sent(&self, to: u64, is_sent: bool) {
        self.0.tell(Event::SnapshotSent { to, is_sent });
    }

    /// What another member asks. Unavailable: this one does not lead.
    ///
    /// # Errors
    /// As of [`Leases::keep_alive`].
    pub async fn answer(&self, question: Question) -> Result<u64, Error> {
        self.0.ask(question.into()).await
    }

    /// A member could not be reached.
    pub fn unreachable(&self, to: u64) {
        self.0.tell(Event::Unreachable { to });
    }

    /// Waits until all that anyone was told is applied here.
    ///
    /// # Errors
    /// Unavailable: most of the members cannot be reached.
    pub async fn catch_up(&self) -> Result<(), Error> {
        self.0.catch_up().await
    }

    /// How this member is.
    ///
    /// # Errors
    /// Unavailable: its data cannot be read.
    pub async fn status(&self) -> Result<Status, Error> {
        let read = |disk: &Disk| {
            let bytes = disk.bytes()?;
            disk.snapshot(|view, _| {
                let record = view.record()?.unwrap_or_default();
                Ok(Status { applied: record.applied, settled: record.commit, digest: record.digest, bytes })
            })
        };
        self.0.blocking(read).await
    }

    /// What this member counts of itself.
    ///
    /// # Errors
    /// As of [`Store::status`].
    pub async fn figures(&self) -> Result<Figures, Error> {
        let Status { applied, settled, bytes, .. } = self.status().await?;
        let counts = &self.0.disk.counts;
        let leader = self.0.members.borrow().leader;
        Ok(Figures {
            has_leader: leader.is_some(),
            is_leader: leader == Some(self.0.member),
            leader_changes: counts.leader_changes(),
            committed: settled,
            applied,
            pending: QUEUE_MAX.saturating_sub(self.0.queue.available_permits()) as u64,
            failed: counts.failed.load(Ordering::Relaxed),
            bytes,
            put_bytes: self.0.history.put_bytes(),
            log_bytes: counts.log_bytes.load(Ordering::Relaxed),
            syncs: counts.syncs(),
        })
    }

    /// A hash of all versions that can be read at a revision (0: the newest): the same on members with the same data,
    /// whatever each has removed of what nobody can read.
    ///
    /// # Errors
    /// Compacted, or in the future.
    pub async fn hash(&self, revision: u64) -> Result<Hashed, Error> {
        let read = move |disk: &Disk| {
            disk.snapshot(|view, head| {
                state::check_revision(head, revision)?;
                let at = if revision == 0 { head.revision } else { revision };
                let hash = view.hash(head.compacted, at)?;
                Ok(Hashed { hash, compacted: head.compacted, revision: head.revision })
            })
        };
        self.0.blocking(read).await
    }

    /// Waits until this member has removed what was compacted up to a revision.
    ///
    /// # Errors
    /// Unavailable: it is closing.
    pub async fn swept(&self, revision: u64) -> Result<(), Error> {
        let mut swept = self.0.swept.clone();
        self.0.tell(Event::Sweep);
        swept.wait_for(|swept| *swept >= revision).await.map(drop).map_err(|_| closing())
    }

    /// Gives back to the file system what deleted and replaced versions still take.
    ///
    /// # Errors
    /// Unavailable: it is closing.
    pub async fn defragment(&self) -> Result<(), Error> {
        self.0.blocking(Disk::defragment).await
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
            if txn.is_read() {
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

impl Leases for Store {
    fn grant(&self, id: i64, ttl: u64) -> BoxFuture<'_, Result<Granted, Error>> {
        async move {
            let (id, ttl) = lessor::check(id, ttl)?;
            let done = self.0.write(Command::Grant { id, ttl }).await?;
            Ok(Granted { id, ttl, revision: done.revision })
        }
        .boxed()
    }

    fn revoke(&self, id: i64) -> BoxFuture<'_, Result<u64, Error>> {
        async move { self.0.write(Command::Revoke(id)).await.map(|done| done.revision) }.boxed()
    }

    fn keep_alive(&self, id: i64) -> BoxFuture<'_, Result<u64, Error>> {
        self.0.of_leader(Question::Renew(id)).boxed()
    }

    fn lease(&self, id: i64, keys: bool) -> BoxFuture<'_, Result<Lease, Error>> {
        async move {
            let left = self.0.of_leader(Question::Left(id)).await?;
            if !self.0.leads() {
                // What is attached to it is here as well, as soon as this member is up to date.
                self.0.catch_up().await?;
            }
            let read = move |disk: &Disk| {
                disk.snapshot(|view, _| {
                    let granted = view.lease(id)?.ok_or(Error::NoLease(id))?;
                    let keys = if keys { view.attached(id)?.into_iter().collect() } else { Vec::new() };
                    Ok(Lease { id, granted, left, keys })
                })
            };
            self.0.blocking(read).await
        }
        .boxed()
    }

    fn leases(&self) -> BoxFuture<'_, Result<Vec<i64>, Error>> {
        async move {
            self.0.catch_up().await?;
            let leases = self.0.blocking(|disk| disk.snapshot(|view, _| view.leases())).await?;
            Ok(leases.into_iter().map(|(id, _)| id).collect::<BTreeSet<_>>().into_iter().collect())
        }
        .boxed()
    }
}

fn read(view: &mut View<'_>, head: state::Head, txn: &Txn) -> Result<TxnDone, state::Failure> {
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
        self.propose(|ticket| Event::Write { command, ticket }).await
    }

    /// A store that is closing hears nothing more.
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    async fn propose(&self, ask: impl FnOnce(Writer) -> Event) -> Result<TxnDone, Error> {
        let permit = Arc::clone(&self.queue).acquire_owned().await.map_err(|_| closing())?;
        let (done, answer) = oneshot::channel();
        let ticket = Writer { done, _permit: permit };
        self.events.send(ask(ticket)).map_err(|_| closing())?;
        let answer = answer.await;
        let answer =
            answer.unwrap_or_else(|_| Err(Error::Unknown("the store closed before the write was settled".into())));
        if matches!(answer, Err(Error::Unknown(_) | Error::Unavailable(_))) {
            self.disk.counts.failed.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    /// Waits until all that anyone was told is applied here.
    async fn catch_up(&self) -> Result<(), Error> {
        if self.is_sole.load(Ordering::Acquire) {
            return Ok(());
        }
        self.ask(Ask::Point).await.map(drop)
    }

    fn leads(&self) -> bool {
        self.members.borrow().leader == Some(self.member)
    }

    /// Asks whoever leads; while nobody does, or does not answer, until it takes too long.
    async fn of_leader(&self, question: Question) -> Result<u64, Error> {
        let until = Instant::now() + LEADER_LIMIT;
        let mut members = self.members.subscribe();
        loop {
            let known = timeout_at(until, members.wait_for(|known| known.leader.is_some())).await;
            let leader = known.ok().and_then(|known| known.ok()?.leader);
            let leader = leader.ok_or_else(|| Error::Unavailable("there is no leader".into()))?;
            let answer = match leader == self.member {
                true => self.ask(question.into()).await,
                false => self.carrier.ask(leader, question).await,
            };
            match answer {
                Err(Error::Unavailable(_)) if Instant::now() < until => {
                    // Another one may lead already.
                    let _ = timeout(LEADER_RETRY, members.changed()).await;
                }
                answer => return answer,
            }
        }
    }

    /// Asks the member when it is sure to be up to date.
    async fn ask(&self, asks: Ask) -> Result<u64, Error> {
        let permit = Arc::clone(&self.queue).acquire_owned().await.map_err(|_| closing())?;
        let (done, answer) = oneshot::channel();
        let ticket = Reader { done, _permit: permit };
        self.events.send(Event::Read { asks, ticket }).map_err(|_| closing())?;
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
mod sim;
#[cfg(test)]
mod tests;
