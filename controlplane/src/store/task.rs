//! The thread that owns a member: it takes what comes in, lets the member decide, and does what comes out.
//!
//! It is a thread of its own, because an fsync blocks. With a clock only when there are others to hear from, or leases to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prost::Message as _;
use raft::eraftpb::Message;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::Instant;

use super::command::Command;
use super::disk::{Disk, Image};
use super::group::{Carrier, Letter, MemberChange, Members, SnapshotData};
use super::history::History;
use super::kv::{Error, TxnDone};
use super::member::{Ask, Effect, Fatal, Member};
use super::queue::{Receiver, Sleep};
use super::space::{LOOK_EVERY, Space};

/// Events that share one batch.
const BATCH_MAX: usize = 1024;
/// Between two sweeps, while there is more to sweep.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);
/// What the Raft library calls a tick.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// All that can wake the thread, besides time.
pub(super) enum Event {
    Write {
        command: Command,
        ticket: Writer,
    },
    Read {
        asks: Ask,
        ticket: Reader,
    },
    Receive {
        message: Message,
        image: Option<Image>,
    },
    SnapshotSent {
        to: u64,
        is_sent: bool,
    },
    Unreachable {
        to: u64,
    },
    Change {
        change: MemberChange,
        ticket: Writer,
    },
    Transfer {
        to: u64,
    },
    /// Somebody waits for what was compacted to be gone.
    Sweep,
    Close,
}

/// Waits for the outcome of a write; keeps its place in the queue until then.
pub(super) struct Writer {
    pub(super) done: oneshot::Sender<Result<TxnDone, Error>>,
    pub(super) _permit: OwnedSemaphorePermit,
}

/// Waits for the outcome of a read; keeps its place in the queue until then, also if nobody wants it any more.
pub(super) struct Reader {
    pub(super) done: oneshot::Sender<Result<u64, Error>>,
    pub(super) _permit: OwnedSemaphorePermit,
}

pub(super) struct Task {
    pub(super) member: Member<Disk, Writer, Reader>,
    pub(super) disk: Arc<Disk>,
    pub(super) history: Arc<History>,
    pub(super) events: Receiver,
    pub(super) window: Duration,
    /// Nobody else takes part; read by those who would otherwise ask the leader.
    pub(super) is_sole: Arc<AtomicBool>,
    pub(super) carrier: Arc<dyn Carrier>,
    pub(super) space: Space,
    /// Who the members are, for those who ask.
    pub(super) members: watch::Sender<Members>,
    pub(super) is_to_sweep: bool,
    /// The revision up to which all garbage is gone here.
    pub(super) swept: watch::Sender<u64>,
}

// === impl Task ===

impl Task {
    /// Elects a sole member and writes what follows, so that the store is usable at once.
    pub(super) fn start(&mut self) -> Result<(), Fatal> {
        if self.member.driver.is_sole() {
            self.member.driver.campaign();
        }
        self.flush()
    }

    pub(super) fn run(&mut self) -> Result<(), Fatal> {
        let mut house_at = Instant::now() + self.window / 10;
        let mut tick_at = Instant::now() + TICK;
        loop {
            // A sole member has nobody to hear from; its clock goes for the leases.
            let is_still = self.member.driver.is_sole() && !self.member.has_leases();
            let mut wake_at = if is_still { house_at } else { house_at.min(tick_at) };
            if self.member.is_alarmed() {
                wake_at = wake_at.min(Instant::now() + LOOK_EVERY);
            }
            let is_sole = self.member.driver.is_sole();
            if self.events.is_empty() {
                self.notify();
            }
            let sleep =
                Sleep { through_reads: self.member.is_asking(), through_writes: self.member.driver.is_holding() };
            let came = self.events.receive(wake_at, sleep, is_sole, BATCH_MAX);
            let now = Instant::now();
            if self.space.is_time(now) {
                // Before anything is written: the disk may have become full since.
                let is_low = self.space.is_low(now);
                self.member.alarm(is_low);
                self.flush()?;
            }
            let is_open = self.take(came)?;
            if now >= tick_at {
                // A thread that was held up does not make up for it: it would only campaign for no reason.
                tick_at = now + TICK;
                let (history, carrier, members) = (&self.history, &*self.carrier, &self.members);
                self.member.tick(&mut |effect| perform(history, carrier, members, effect));
            }
            self.flush()?;
            if !is_open {
                return Ok(());
            }
            if now >= house_at || std::mem::take(&mut self.is_to_sweep) {
                house_at = now + self.keep_house()?;
            }
        }
    }

    /// Takes what came. False: it is time to close.
    fn take(&mut self, came: Vec<Event>) -> Result<bool, Fatal> {
        for event in came {
            let (history, carrier, members) = (&self.history, &*self.carrier, &self.members);
            let mut out = |effect| perform(history, carrier, members, effect);
            match event {
                Event::Write { command, ticket } => self.member.propose(command, ticket, &mut out),
                Event::Change { change, ticket } => self.member.change(change, ticket, &mut out),
                Event::Read { asks, ticket } => self.member.read(asks, ticket, &mut out),
                Event::Receive { message, image } => self.member.receive(message, image)?,
                Event::SnapshotSent { to, is_sent } => self.member.driver.report_snapshot(to, is_sent),
                Event::Unreachable { to } => self.member.driver.report_unreachable(to),
                Event::Transfer { to } => self.member.driver.transfer(to),
                Event::Sweep => self.is_to_sweep = true,
                Event::Close => return Ok(false),
            }
        }
        Ok(true)
    }

    fn flush(&mut self) -> Result<(), Fatal> {
        let (history, carrier, members) = (&self.history, &*self.carrier, &self.members);
        self.member.flush(&mut |effect| perform(history, carrier, members, effect))?;
        self.is_sole.store(self.member.driver.is_sole(), Ordering::Release);
        self.member.driver.leader().into_iter().for_each(|leader| self.disk.counts.lead(leader));
        self.members.send_if_modified(|known| {
            let driver = &self.member.driver;
            let is_same = (known.leader, known.term) == (driver.leader(), driver.term()) && !self.member.is_changed();
            if !is_same {
                *known = self.member.members();
            }
            !is_same
        });
        Ok(())
    }

    /// Tells the others what is settled. While more comes in, what is sent because of that will say it.
    fn notify(&mut self) {
        for message in self.member.driver.notices() {
            perform(&self.history, &*self.carrier, &self.members, Effect::Send(Box::new(message), None));
        }
    }

    /// Compacts what is older than the window, compares digests and removes a little garbage. Returns when to come
    /// again.
    fn keep_house(&mut self) -> Result<Duration, Fatal> {
        if let Some(revision) = self.history.older_than(self.window) {
            self.member.compact(revision);
        }
        self.member.check();
        self.flush()?;
        let is_more = self.member.sweep()?;
        self.swept.send_replace(self.member.swept_for());
        Ok(if is_more { SWEEP_PAUSE } else { self.window / 10 })
    }
}

/// Tells those who wait. Who has stopped waiting is not told.
fn perform(
    history: &History,
    carrier: &dyn Carrier,
    members: &watch::Sender<Members>,
    effect: Effect<Writer, Reader, Image>,
) {
    match effect {
        Effect::Send(message, image) => {
            let snapshot = image.map(SnapshotData);
            carrier.send(Letter { to: message.to, message: message.encode_to_vec().into(), snapshot });
        }
        Effect::Recorded(recorded, compacted) => {
            history.extend(recorded);
            if let Some(compacted) = compacted {
                history.compact(compacted);
            }
        }
        Effect::Told => history.tell(),
        Effect::Restored(head) => history.restart(head),
        Effect::Answered(writer, answer) => drop(writer.done.send(answer)),
        Effect::Readable(reader, answer) => drop(reader.done.send(answer)),
        Effect::Changed(known) => drop(members.send_replace(known)),
        Effect::Removed => tracing::warn!("this member was removed from the group"),
    }
}
