//! The one thread that writes: it drains what is waiting, and makes all of it durable at once.
//!
//! It owns the driver and is the only writer of the disk. Whoever comes while the disk is busy is in the next batch,
//! so the busier the store, the more writes share an fsync. It runs on a thread of its own, because an fsync blocks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use raft::eraftpb::{Entry, EntryType, HardState};
use rocksdb::WriteBatch;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::command::Command;
use super::disk::{Disk, Record, cause};
use super::driver::Driver;
use super::history::{History, Recorded};
use super::keys;
use super::kv::{Change, Error, TxnDone};
use super::log::Position;
use super::state::{Failure, Staged};

/// Writes that share one batch.
const BATCH_MAX: usize = 1024;
/// Changes whose garbage is removed at once; a write waits that long at most.
const SWEEP_MAX: usize = 512;
/// Between two of those, while there is more.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// All that can wake the thread, besides time.
pub(super) enum Event {
    Write { command: Command, done: Answer, permit: OwnedSemaphorePermit },
    Read { done: oneshot::Sender<Result<(), Error>> },
    Close,
}

type Answer = oneshot::Sender<Result<TxnDone, Error>>;

/// The disk failed, or contradicts itself. Nothing more may be promised.
#[derive(Debug)]
pub(super) struct Fatal(pub(super) String);

struct Waiting {
    command: Command,
    done: Answer,
    _permit: OwnedSemaphorePermit,
}

/// A command that is settled.
enum Job {
    /// Somebody here waits for the answer.
    Proposed(Waiting),
    Logged(Command),
}

struct Reading {
    done: oneshot::Sender<Result<(), Error>>,
    /// The entry that has to be applied first, once that is known.
    index: Option<u64>,
}

pub(super) struct Task {
    pub(super) driver: Driver,
    pub(super) disk: Arc<Disk>,
    pub(super) history: Arc<History>,
    pub(super) record: Record,
    pub(super) events: Receiver<Event>,
    pub(super) window: Duration,
    /// Proposals by the number in their context. The other half of a context is drawn at each start, so an entry of
    /// an earlier life is never taken for one of this.
    waiting: HashMap<u64, Waiting>,
    reading: HashMap<u64, Reading>,
    life: u64,
    last_number: u64,
    /// Changes up to this revision have left no garbage.
    swept: u64,
    is_log_on_disk: bool,
}

/// What a batch has to tell when it is durable.
#[derive(Default)]
struct Told {
    answers: Vec<(Waiting, Result<TxnDone, Error>)>,
    recorded: Vec<Recorded>,
    compacted: Option<u64>,
}

// === impl Task ===

impl Task {
    pub(super) fn new(
        driver: Driver,
        (disk, record): (Arc<Disk>, Record),
        history: Arc<History>,
        events: Receiver<Event>,
        window: Duration,
    ) -> Task {
        let (waiting, reading) = (HashMap::new(), HashMap::new());
        Task {
            driver,
            disk,
            history,
            record,
            events,
            window,
            waiting,
            reading,
            life: rand::random(),
            last_number: 0,
            swept: 0,
            is_log_on_disk: true,
        }
    }

    /// Elects a sole member and writes what follows, so that the store is usable at once.
    pub(super) fn start(&mut self) -> Result<(), Fatal> {
        if self.driver.is_sole() {
            self.driver.campaign();
        }
        self.flush()
    }

    pub(super) fn run(&mut self) -> Result<(), Fatal> {
        let mut house_at = Instant::now() + self.window / 10;
        loop {
            let is_open = match self.events.recv_timeout(house_at.saturating_duration_since(Instant::now())) {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => true,
                Err(RecvTimeoutError::Disconnected) => false,
            };
            self.flush()?;
            if !is_open {
                return Ok(());
            }
            if Instant::now() >= house_at {
                house_at = Instant::now() + self.keep_house()?;
            }
        }
    }

    /// Takes what is waiting, without waiting for more. False: it is time to close.
    fn take(&mut self, first: Event) -> bool {
        let mut event = Some(first);
        for _ in 0..BATCH_MAX {
            match event.take().or_else(|| self.events.try_recv().ok()) {
                Some(Event::Write { command, done, permit }) => {
                    self.propose(Waiting { command, done, _permit: permit });
                }
                Some(Event::Read { done }) => self.read(done),
                Some(Event::Close) => return false,
                None => return true,
            }
        }
        true
    }

    fn propose(&mut self, waiting: Waiting) {
        let number = self.number();
        if self.driver.propose(self.context(number), waiting.command.encode()) {
            self.waiting.insert(number, waiting);
            return;
        }
        let why = if self.driver.is_leader() { "too much is waiting for a quorum" } else { "there is no leader here" };
        // The caller may have stopped waiting.
        let _ = waiting.done.send(Err(Error::Unavailable(why.into())));
    }

    fn read(&mut self, done: oneshot::Sender<Result<(), Error>>) {
        let number = self.number();
        self.driver.read_index(self.context(number));
        self.reading.insert(number, Reading { done, index: None });
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn context(&self, number: u64) -> Vec<u8> {
        [self.life.to_be_bytes(), number.to_be_bytes()].concat()
    }

    /// The number of a context of this life.
    fn number_of(&self, context: &[u8]) -> Option<u64> {
        let (life, number) = context.split_first_chunk::<8>()?;
        (*life == self.life.to_be_bytes()).then(|| number.try_into().ok().map(u64::from_be_bytes))?
    }

    /// Does all that the driver wants done.
    fn flush(&mut self) -> Result<(), Fatal> {
        while let Some(step) = self.driver.next() {
            self.write(&step.entries, step.hard.as_ref(), &step.settled, step.must_sync)?;
            for read in &step.reads {
                if let Some(number) = self.number_of(&read.request_ctx) {
                    self.reading.entry(number).and_modify(|reading| reading.index = Some(read.index));
                }
            }
            let settled = self.driver.written(step);
            if !settled.is_empty() {
                // The entries are durable on a quorum, and would be applied again after a crash.
                self.write(&[], None, &settled, false)?;
            }
            self.driver.applied(&settled);
            self.finish_reads();
        }
        if !self.driver.is_leader() {
            for (_, waiting) in self.waiting.drain() {
                let lost = Error::Unknown("the leader changed before the write was settled".into());
                let _ = waiting.done.send(Err(lost));
            }
        }
        Ok(())
    }

    fn finish_reads(&mut self) {
        let applied = self.record.applied;
        for (_, reading) in self.reading.extract_if(|_, reading| reading.index.is_some_and(|index| index <= applied)) {
            let _ = reading.done.send(Ok(()));
        }
    }

    /// One batch: the entries to keep, the effects of those that are settled, and where that leaves this member.
    fn write(
        &mut self,
        entries: &[Entry],
        hard: Option<&HardState>,
        settled: &[Entry],
        must_sync: bool,
    ) -> Result<(), Fatal> {
        let mut batch = WriteBatch::default();
        for entry in entries {
            self.is_log_on_disk = true;
            batch.put(keys::entry(entry.index), entry.encode_to_vec());
        }
        if let Some(hard) = hard {
            (self.record.term, self.record.vote) = (hard.term, hard.vote);
            self.record.commit = self.record.commit.max(hard.commit);
        }
        let told = self.apply(settled, &mut batch)?;
        self.move_log(settled, &mut batch);
        batch.put(keys::RECORD, self.record.encode_to_vec());
        self.disk.write(batch, must_sync).map_err(Fatal)?;
        // Watchers and readers know before the writer does, so whoever has its answer finds its write.
        self.history.extend(told.recorded);
        if let Some(compacted) = told.compacted {
            self.history.compact(compacted);
        }
        for (waiting, answer) in told.answers {
            let _ = waiting.done.send(answer);
        }
        Ok(())
    }

    /// Applies settled entries: their changes go into the batch, and what to tell comes back.
    fn apply(&mut self, settled: &[Entry], batch: &mut WriteBatch) -> Result<Told, Fatal> {
        let mut told = Told::default();
        if settled.is_empty() {
            return Ok(told);
        }
        let jobs = self.jobs(settled)?;
        let head = self.record.head();
        let staged = self.disk.with(|view| {
            let mut staged = Staged::new(view, head);
            for job in jobs {
                let answer = match job.command() {
                    Command::Txn(txn) => staged.txn(txn).map(|(done, changes)| {
                        told.record(done.revision, changes, batch);
                        done
                    }),
                    Command::Compact(revision) => staged.compact(*revision).map(|()| {
                        told.compacted = Some(*revision);
                        TxnDone { succeeded: true, revision: head.revision, results: Vec::new() }
                    }),
                };
                let answer = match answer {
                    Ok(done) => Ok(done),
                    Err(Failure::Refused(error)) => Err(error),
                    Err(broken) => return Err(broken),
                };
                if let Job::Proposed(waiting) = job {
                    told.answers.push((waiting, answer));
                }
            }
            Ok(staged.head())
        });
        let head = staged.map_err(|failure| Fatal(cause(failure)))?;
        (self.record.revision, self.record.compacted) = (head.revision, head.compacted);
        Ok(told)
    }

    /// The commands of entries: as they were proposed here, or else decoded. Membership changes take effect.
    fn jobs(&mut self, settled: &[Entry]) -> Result<Vec<Job>, Fatal> {
        let mut jobs = Vec::with_capacity(settled.len());
        for entry in settled {
            assert_eq!(entry.index, self.record.applied + 1, "entries are applied in order, each once");
            self.record.applied = entry.index;
            self.record.commit = self.record.commit.max(entry.index);
            if entry.entry_type() != EntryType::EntryNormal {
                self.record.conf = Some(self.driver.configure(entry).map_err(Fatal)?);
                continue;
            }
            if entry.data.is_empty() {
                continue;
            }
            let waiting = self.number_of(&entry.context).and_then(|number| self.waiting.remove(&number));
            jobs.push(match waiting {
                Some(waiting) => Job::Proposed(waiting),
                None => Job::Logged(Command::decode(Bytes::copy_from_slice(&entry.data)).map_err(Fatal)?),
            });
        }
        Ok(jobs)
    }

    /// Settled entries leave the log when nobody will ask for them.
    fn move_log(&mut self, settled: &[Entry], batch: &mut WriteBatch) {
        let before = match settled.last() {
            Some(last) if self.driver.leaves_no_log() => Position { index: last.index, term: last.term },
            _ => self.driver.log_begins_after(),
        };
        if before.index <= self.record.before_index {
            return;
        }
        (self.record.before_index, self.record.before_term) = (before.index, before.term);
        // A sole member has entries on disk only from a time with more members.
        if self.is_log_on_disk {
            batch.delete_range(keys::entry(0), keys::entry(before.index + 1));
            self.is_log_on_disk = !self.driver.leaves_no_log();
        }
    }

    /// Compacts what is older than the window and removes a little garbage. Returns when to come again.
    fn keep_house(&mut self) -> Result<Duration, Fatal> {
        let old = self.history.older_than(self.window).filter(|revision| *revision > self.record.compacted);
        if let (Some(revision), true) = (old, self.driver.is_leader()) {
            let number = self.number();
            self.driver.propose(self.context(number), Command::Compact(revision).encode());
            self.flush()?;
        }
        let found = self.sweep().map_err(|failure| Fatal(cause(failure)))?;
        Ok(if found == SWEEP_MAX { SWEEP_PAUSE } else { self.window / 10 })
    }

    /// Removes versions that nobody can read any more. Each member does it by itself: it changes no answer, so it is
    /// neither in the log nor synced.
    fn sweep(&mut self) -> Result<usize, Failure> {
        if self.swept >= self.record.compacted {
            return Ok(0);
        }
        let mut found = self.disk.with(|view| view.changes_from(self.swept + 1, SWEEP_MAX))?;
        let is_partial = found.len() == SWEEP_MAX;
        found.retain(|touched| touched.revision <= self.record.compacted);
        let mut batch = WriteBatch::default();
        for touched in &found {
            if touched.replaced != 0 {
                batch.delete(keys::version(&touched.key, touched.replaced));
            }
            if touched.is_delete {
                batch.delete(keys::version(&touched.key, touched.revision));
            }
            batch.delete(keys::change(touched.revision, touched.position));
        }
        self.disk.write(batch, false).map_err(Failure::Broken)?;
        self.swept = match found.last() {
            Some(last) if is_partial => last.revision - 1,
            _ => self.record.compacted,
        };
        Ok(if is_partial { SWEEP_MAX } else { found.len() })
    }
}

// === impl Job ===

impl Job {
    fn command(&self) -> &Command {
        match self {
            Job::Proposed(waiting) => &waiting.command,
            Job::Logged(command) => command,
        }
    }
}

// === impl Told ===

impl Told {
    fn record(&mut self, revision: u64, changes: Vec<Change>, batch: &mut WriteBatch) {
        if changes.is_empty() {
            return;
        }
        let mut value = Vec::new();
        for (position, change) in (0_u32..).zip(&changes) {
            let replaced = change.previous.as_ref().map_or(0, |kv| kv.mod_revision);
            value.clear();
            keys::put_value(&mut value, &change.kv, change.is_delete);
            batch.put(keys::version(&change.kv.key, revision), &value);
            let touched = keys::change_value(&change.kv.key, replaced, change.is_delete);
            batch.put(keys::change(revision, position), touched);
        }
        self.recorded.push(Recorded { revision, changes });
    }
}
