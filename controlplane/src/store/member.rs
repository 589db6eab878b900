//! One member of the group: what it does with writes, reads, messages and time, as a state machine.
//!
//! It owns the rules from a proposal to its answer, and writes to a [`Medium`]; it has no clock, no network and no
//! thread. What it wants done comes out as [`Effect`]s, in order. The thread of a real member
//! ([`task`](super::task)) and the simulation run the same code.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use raft::eraftpb::{ConfChangeV2, ConfState, Entry, EntryType, HardState, Message, MessageType, Snapshot};

use super::apply::{Applying, Logged, Told};
use super::command::Command;
use super::driver::{self, Driver, Settled};
use super::flaw::{Flaw, Planted};
use super::garbage::{Garbage, SWEEP_MAX};
use super::group::{MemberChange, Members, Question};
use super::history::Recorded;
use super::keys;
use super::kv::{Error, TxnDone};
use super::lessor::Lessor;
use super::log::Position;
use super::medium::{Batch, Medium, Promise};
use super::proposals::{Proposals, Proposed, Waiting};
use super::recent::{Recent, Remembered};
use super::record::Record;
use super::state::{Failure, Head, Staged};

/// A write without an answer is given up after five seconds: it may still come to stand.
const WRITE_TICKS_MAX: u64 = 50;
/// A read is asked again after half a second, as often as fits into five.
const READ_TICKS: u64 = 5;
/// A question that is under way for so long may be lost, and the next one does not wait for it.
const READ_APART_TICKS: u64 = 2;
const READ_TICKS_MAX: u64 = 50;
/// How often it is noted how much of the log is settled.
const PROMISE_TICKS: u64 = 50;

/// The disk failed or contradicts itself, or the group does. Nothing more may be promised.
#[derive(Debug)]
pub(super) struct Fatal(pub(super) String);

/// What a member wants done, in this order.
pub(super) enum Effect<W, R, I> {
    /// A message for another member; with a snapshot come its data.
    Send(Box<Message>, Option<I>),
    /// Revisions that are settled, and what was compacted with them: who looks finds them.
    Recorded(Vec<Recorded>, Option<u64>),
    /// Those who wait for revisions are to look.
    Told,
    /// The data are those of another member now; what lies between is not known here.
    Restored(Head),
    Answered(W, Result<TxnDone, Error>),
    /// What is applied shows all that was acknowledged before the read was asked. What was asked about a lease, in
    /// seconds; 0 if nothing was.
    Readable(R, Result<u64, Error>),
    /// Who takes part now.
    Changed(Members),
    /// This member was removed from the group. It goes on answering: the others may need its vote once more, to learn
    /// that the removal was settled.
    Removed,
}

pub(super) struct Member<M: Medium, W, R> {
    pub(super) driver: Driver,
    medium: Arc<M>,
    record: Record,
    id: u64,
    ticks: u64,
    proposals: Proposals<W>,
    /// Reads that nobody was asked about yet.
    unasked: Vec<Reader<R>>,
    reading: BTreeMap<u64, Reading<R>>,
    recent: Recent,
    /// The leases, and in which term this member counts their time as the leader.
    lessor: Option<(u64, Lessor)>,
    garbage: Garbage,
    is_log_on_disk: bool,
    /// The digests of some revisions, to compare with the leader's.
    checks: VecDeque<(u64, u64)>,
    /// The newest revision whose digest was sent round.
    checked: u64,
    /// The data of the snapshot that is offered to others.
    outgoing: Option<M::Image>,
    /// The data of a snapshot that came in, until the library has taken it or not.
    incoming: Option<M::Image>,
    promised: Promise,
    promise_at: u64,
    /// Somebody joined or left since that was last asked.
    is_changed: bool,
    planted: Planted,
}

struct Reader<R> {
    ticket: R,
    until: u64,
    asks: Ask,
}

/// What a reader wants to know as soon as it is sure that this member is up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// That it is.
    Point,
    /// A lease is to live for its whole time from now on.
    Renew(i64),
    /// What a lease has left.
    Left(i64),
}

impl From<Question> for Ask {
    fn from(question: Question) -> Ask {
        match question {
            Question::Renew(id) => Ask::Renew(id),
            Question::Left(id) => Ask::Left(id),
        }
    }
}

/// Reads that share one question.
struct Reading<R> {
    readers: Vec<Reader<R>>,
    asked: u64,
    /// The entry that has to be applied first, once that is known.
    index: Option<u64>,
}

/// A command that is settled.
struct Job<W> {
    command: Command,
    /// The entry that it was decoded from, if that is on the disk.
    logged: Option<Logged>,
    /// Somebody here waits for the answer.
    ticket: Option<W>,
}

/// What there is to tell of a batch when it is durable.
struct Done<W> {
    answers: Vec<(W, Result<TxnDone, Error>)>,
    told: Told,
}

// === impl Member ===

impl<M: Medium, W, R> Member<M, W, R> {
    /// `life` must never have been another member's, nor this one's before.
    pub(super) fn new(
        driver: Driver,
        (medium, record): (Arc<M>, Record),
        (id, life): (u64, u64),
        planted: Planted,
    ) -> Member<M, W, R> {
        Member {
            recent: Recent::new(driver.remembered()),
            driver,
            medium,
            record,
            id,
            ticks: 0,
            proposals: Proposals::new(life),
            unasked: Vec::new(),
            reading: BTreeMap::new(),
            lessor: None,
            garbage: Garbage::default(),
            is_log_on_disk: true,
            checks: VecDeque::new(),
            checked: 0,
            outgoing: None,
            incoming: None,
            promised: Promise::default(),
            promise_at: 0,
            is_changed: true,
            planted,
        }
    }

    #[cfg(test)]
    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// A tenth of a second has gone by.
    pub(super) fn tick(&mut self, out: &mut impl FnMut(Effect<W, R, M::Image>)) {
        self.ticks += 1;
        self.driver.tick();
        let now = self.ticks;
        for waiting in self.proposals.late(now) {
            if self.planted.is(Flaw::ProposedTwice)
                && let Proposed::Command(command) = waiting.proposed
            {
                self.propose(command, waiting.ticket, out);
                continue;
            }
            let lost = "the group did not settle the write in time; it has no leader, or lost one";
            out(Effect::Answered(waiting.ticket, Err(Error::Unknown(lost.into()))));
        }
        let is_to_be_asked_again = |_: &u64, reading: &mut Reading<R>| {
            let is_unheard = reading.index.is_none() && now >= reading.asked + READ_TICKS;
            is_unheard || now >= reading.asked + READ_TICKS_MAX
        };
        for (_, reading) in self.reading.extract_if(.., is_to_be_asked_again) {
            self.unasked.extend(reading.readers);
        }
        for late in self.unasked.extract_if(.., |reader| reader.until <= now) {
            let why = "no leader confirmed the read in time";
            out(Effect::Readable(late.ticket, Err(Error::Unavailable(why.into()))));
        }
        self.end_leases();
    }

    /// Proposes the end of leases that have lived their time.
    fn end_leases(&mut self) {
        let (is_leader, term, now) = (self.driver.is_leader(), self.driver.term(), self.ticks);
        let Some((_, lessor)) = self.lessor.as_mut().filter(|(since, _)| is_leader && *since == term) else { return };
        for id in lessor.ended(now) {
            let number = self.proposals.number();
            // What is not taken is proposed again.
            self.driver.propose(self.proposals.context(number), Command::Revoke(id).encode());
        }
    }

    /// Begins or stops to count the time of leases.
    fn keep_leases(&mut self) -> Result<(), Fatal> {
        let term = self.driver.is_leader().then(|| self.driver.term());
        if self.lessor.as_ref().map(|(term, _)| *term) == term {
            return Ok(());
        }
        if self.planted.is(Flaw::LeaseTimeFromBefore)
            && let Some((since, _)) = &mut self.lessor
        {
            *since = term.unwrap_or(*since);
            return Ok(());
        }
        self.lessor = None;
        if let Some(term) = term {
            let leases = self.medium.with(|view| view.leases()).map_err(|failure| Fatal(failure.cause()))?;
            self.lessor = Some((term, Lessor::new(leases, self.ticks)));
        }
        Ok(())
    }

    /// Does this member count the time of any lease?
    pub(super) fn has_leases(&self) -> bool {
        self.lessor.as_ref().is_some_and(|(_, lessor)| !lessor.is_empty())
    }

    /// Takes a message of another member, and the data of the snapshot if it brings one.
    pub(super) fn receive(&mut self, message: Message, image: Option<M::Image>) -> Result<(), Fatal> {
        if message.msg_type() == MessageType::MsgSnapshot {
            if image.is_none() {
                return Ok(());
            }
            self.incoming = image;
        }
        self.driver.receive(message).map_err(Fatal)
    }

    pub(super) fn propose(&mut self, command: Command, ticket: W, out: &mut impl FnMut(Effect<W, R, M::Image>)) {
        // It would be refused where it is applied, too, but the log would have grown.
        if !self.record.alarms.is_empty() && command.adds() {
            return out(Effect::Answered(ticket, Err(Error::NoSpace)));
        }
        let number = self.proposals.number();
        let is_taken = self.driver.propose(self.proposals.context(number), Vec::new());
        self.expect(is_taken, number, Proposed::Command(command), ticket, out);
    }

    /// Changes who takes part, if this member leads.
    pub(super) fn change(&mut self, change: MemberChange, ticket: W, out: &mut impl FnMut(Effect<W, R, M::Image>)) {
        let conf = self.driver.conf();
        if let Some(error) = self.driver.refuses(&change) {
            return out(Effect::Answered(ticket, Err(error)));
        }
        if change == MemberChange::Remove(self.id) {
            let why = "this member leads, and a leader is not removed: let another one lead first";
            return out(Effect::Answered(ticket, Err(Error::Unavailable(why.into()))));
        }
        self.propose_conf(change.into_conf(&conf), ticket, out);
    }

    pub(super) fn propose_conf(
        &mut self,
        change: ConfChangeV2,
        ticket: W,
        out: &mut impl FnMut(Effect<W, R, M::Image>),
    ) {
        let number = self.proposals.number();
        let is_taken = self.driver.propose_conf(self.proposals.context(number), change);
        self.expect(is_taken, number, Proposed::Members, ticket, out);
    }

    pub(super) fn members(&self) -> Members {
        Members::new(&self.record, &self.driver.conf(), self.driver.leader(), self.driver.term())
    }

    /// Did the membership change since this was last asked?
    pub(super) fn is_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// Proposes what came since, all at once.
    fn submit(&mut self, out: &mut impl FnMut(Effect<W, R, M::Image>)) {
        for context in self.driver.submit(|context| self.proposals.data_of(context)) {
            if let Some(waiting) = self.proposals.take(&context) {
                let why = "too much is waiting for a quorum, or another member is about to lead";
                out(Effect::Answered(waiting.ticket, Err(Error::Unavailable(why.into()))));
            }
        }
    }

    fn expect(
        &mut self,
        is_taken: bool,
        number: u64,
        proposed: Proposed,
        ticket: W,
        out: &mut impl FnMut(Effect<W, R, M::Image>),
    ) {
        if is_taken {
            let until = self.ticks + WRITE_TICKS_MAX;
            let term = self.driver.term();
            self.proposals.expect(number, Waiting { proposed, ticket, until, term });
            return;
        }
        let why = match self.driver.leader() {
            None => "there is no leader; most of the members cannot be reached",
            Some(_) => "another change of the members is under way, or this member does not lead",
        };
        out(Effect::Answered(ticket, Err(Error::Unavailable(why.into()))));
    }

    /// Asks for a linearizable point to read at.
    pub(super) fn read(&mut self, asks: Ask, ticket: R, out: &mut impl FnMut(Effect<W, R, M::Image>)) {
        if asks != Ask::Point && !self.driver.is_leader() {
            return out(Effect::Readable(ticket, Err(self.leads_not())));
        }
        if asks != Ask::Point && self.planted.is(Flaw::RenewedWithoutQuorum) {
            let answer = self.answer(asks);
            return out(Effect::Readable(ticket, answer));
        }
        self.unasked.push(Reader { ticket, until: self.ticks + READ_TICKS_MAX, asks });
    }

    fn leads_not(&self) -> Error {
        Error::Unavailable(match self.driver.leader() {
            Some(leader) => format!("this member does not lead; ask member {leader:x}"),
            None => "there is no leader; most of the members cannot be reached".into(),
        })
    }

    /// What a reader asks, now that this member is known to have led when it asked, and to be up to date.
    fn answer(&mut self, asks: Ask) -> Result<u64, Error> {
        let (is_leader, term, now) = (self.driver.is_leader(), self.driver.term(), self.ticks);
        let lessor = self.lessor.as_mut().filter(|(since, _)| is_leader && *since == term);
        match (asks, lessor) {
            (Ask::Point, _) => Ok(0),
            (Ask::Renew(id), Some((_, lessor))) => lessor.renew(id, now),
            (Ask::Left(id), Some((_, lessor))) => lessor.left(id, now),
            (Ask::Renew(_) | Ask::Left(_), None) => Err(self.leads_not()),
        }
    }

    /// Does all that the driver wants done.
    pub(super) fn flush(&mut self, out: &mut impl FnMut(Effect<W, R, M::Image>)) -> Result<(), Fatal> {
        self.keep_leases()?;
        self.ask();
        self.submit(out);
        while let Some(mut step) = self.driver.next() {
            self.send(std::mem::take(&mut step.messages), out);
            if let Some(hard) = &step.hard {
                self.take_hard(hard);
            }
            if let Some(snapshot) = step.snapshot.take() {
                self.restore(&snapshot, out)?;
            }
            if self.planted.is(Flaw::ConfWhenWritten) {
                self.configure_early(&step.entries)?;
            }
            // A commit index alone goes to disk with what is applied because of it.
            if step.must_sync || !step.entries.is_empty() || !step.settled.is_empty() {
                let settled = step.settled.take();
                self.write((&step.entries, step.replaces), settled, step.must_sync, out)?;
            }
            for read in &step.reads {
                if let Some(number) = self.proposals.number_of(&read.request_ctx) {
                    self.reading.entry(number).and_modify(|reading| reading.index = Some(read.index));
                }
            }
            let written = self.driver.written(step);
            self.send(written.messages, out);
            let settled = written.settled.end();
            if settled.is_some() {
                // The entries are durable on a quorum, and would be applied again after a crash.
                self.write((&[], false), written.settled, false, out)?;
            }
            self.driver.applied(settled);
            self.finish_reads(out);
            self.ask();
            self.offer()?;
            // What was held back until now.
            self.submit(out);
        }
        self.incoming = None;
        if self.driver.offered().is_none() {
            self.outgoing = None;
        }
        Ok(())
    }

    fn send(&mut self, messages: Vec<Message>, out: &mut impl FnMut(Effect<W, R, M::Image>)) {
        for message in messages {
            let image = match message.msg_type() {
                MessageType::MsgSnapshot => self.outgoing.clone(),
                _ => None,
            };
            out(Effect::Send(Box::new(message), image));
        }
    }

    /// Is a question under way that the next reads wait for?
    pub(super) fn is_asking(&self) -> bool {
        let is_new = |reading: &Reading<R>| self.ticks < reading.asked + READ_APART_TICKS;
        self.reading.values().any(|reading| reading.index.is_none() && is_new(reading))
    }

    /// One question for all reads that came while the one before was under way: each takes a message to every member
    /// and back.
    fn ask(&mut self) {
        if self.unasked.is_empty() || self.is_asking() {
            return;
        }
        let readers = std::mem::take(&mut self.unasked);
        let number = match self.planted.is(Flaw::ReadContextReused) {
            true => 0,
            false => self.proposals.number(),
        };
        self.driver.read_index(self.proposals.context(number));
        let asked = self.ticks;
        let reading = self.reading.entry(number).or_insert(Reading { readers: Vec::new(), asked, index: None });
        reading.readers.extend(readers);
    }

    fn finish_reads(&mut self, out: &mut impl FnMut(Effect<W, R, M::Image>)) {
        let applied = match self.planted.is(Flaw::ReadBeforeApplied) {
            true => u64::MAX,
            false => self.record.applied,
        };
        let is_shown = |_: &u64, reading: &mut Reading<R>| reading.index.is_some_and(|index| index <= applied);
        let shown: Vec<_> = self.reading.extract_if(.., is_shown).collect();
        for reader in shown.into_iter().flat_map(|(_, reading)| reading.readers) {
            let answer = self.answer(reader.asks);
            out(Effect::Readable(reader.ticket, answer));
        }
    }

    fn take_hard(&mut self, hard: &HardState) {
        (self.record.term, self.record.vote) = (hard.term, hard.vote);
        if !self.planted.is(Flaw::CommitNotKept) {
            self.record.commit = self.record.commit.max(hard.commit);
        }
    }

    /// One batch: the entries to keep (and whether they replace others), the effects of those that are settled, and
    /// where that leaves this member.
    fn write(
        &mut self,
        (entries, replaces): (&[Entry], bool),
        settled: Settled,
        must_sync: bool,
        out: &mut impl FnMut(Effect<W, R, M::Image>),
    ) -> Result<(), Fatal> {
        let mut batch = M::Batch::default();
        if let Some(first) = entries.first().filter(|_| replaces && !self.planted.is(Flaw::TailKept)) {
            batch.delete_range(&keys::entry(first.index), &keys::entry(u64::MAX));
        }
        for entry in entries {
            self.is_log_on_disk = true;
            batch.put_apart(&keys::entry(entry.index), &keys::entry_head(entry), &entry.data, None);
        }
        let end = settled.end();
        let Done { answers, told } = self.apply(settled, &mut batch, out)?;
        self.move_log(end, &mut batch);
        let must_sync = must_sync && !(self.planted.is(Flaw::VoteNotSynced) && entries.is_empty());
        if self.planted.is(Flaw::AppliedApart) {
            self.medium.write(std::mem::take(&mut batch), self.record.head(), must_sync).map_err(Fatal)?;
        }
        batch.put(keys::RECORD, &self.record.encode_to_vec());
        self.medium.write(batch, self.record.head(), must_sync).map_err(Fatal)?;
        self.promise()?;
        // It can be found before the writer knows, so whoever has its answer finds its write. But nobody is woken before
        // the writer: it waits for this alone.
        let is_new = !told.recorded.is_empty();
        if is_new || told.compacted.is_some() {
            out(Effect::Recorded(told.recorded, told.compacted));
        }
        for (ticket, answer) in answers {
            out(Effect::Answered(ticket, answer));
        }
        if is_new {
            out(Effect::Told);
        }
        Ok(())
    }

    /// Notes apart from the data what they must not lose: each vote, and now and then how much is settled.
    fn promise(&mut self) -> Result<(), Fatal> {
        let Record { term, vote, .. } = self.record;
        let is_vote_new = (term, vote) != (self.promised.term, self.promised.vote);
        if self.driver.leaves_no_log() || !is_vote_new && self.ticks < self.promise_at {
            return Ok(());
        }
        let promise = Promise { term, vote, settled: self.record.commit };
        self.promise_at = self.ticks + PROMISE_TICKS;
        if promise != self.promised {
            self.promised = promise;
            self.medium.promise(promise).map_err(Fatal)?;
        }
        Ok(())
    }

    /// Applies settled entries: their changes go into the batch, and what to tell comes back.
    fn apply(
        &mut self,
        settled: Settled,
        batch: &mut M::Batch,
        out: &mut impl FnMut(Effect<W, R, M::Image>),
    ) -> Result<Done<W>, Fatal> {
        let mut done = Done { answers: Vec::new(), told: Told::default() };
        if settled.is_empty() {
            return Ok(done);
        }
        let term = settled.end().map_or(0, |end| end.term);
        let jobs = self.jobs(settled, out)?;
        let mut head = self.record.head();
        if self.planted.is(Flaw::RevisionFromClock) {
            head.revision += self.ticks % 2;
        }
        let medium = Arc::clone(&self.medium);
        let mut applying = Applying {
            batch,
            digest: &mut self.record.digest,
            alarms: &mut self.record.alarms,
            checks: &mut self.checks,
            lessor: self.lessor.as_mut().map(|(_, lessor)| lessor),
            now: self.ticks,
            planted: self.planted,
            told: Told::default(),
        };
        let recent = &mut self.recent;
        let staged = medium.with(|view| {
            let mut settled = Remembered::new(view, recent);
            let mut staged = Staged::new(&mut settled, head);
            for Job { command, logged, ticket } in jobs {
                let answer = match applying.apply(&command, logged.as_ref(), &mut staged) {
                    Ok(done) => Ok(done),
                    Err(Failure::Refused(error)) => Err(error),
                    Err(broken) => return Err(broken),
                };
                done.answers.extend(ticket.map(|ticket| (ticket, answer)));
            }
            Ok(staged.head())
        });
        let head = staged.map_err(|failure| Fatal(failure.cause()))?;
        done.told = applying.told;
        for recorded in &done.told.recorded {
            self.recent.note(&recorded.changes);
        }
        (self.record.revision, self.record.compacted) = (head.revision, head.compacted);
        done.answers.extend(self.overtaken(term));
        if done.told.are_alarms_new {
            out(Effect::Changed(self.members()));
        }
        Ok(done)
    }

    /// What was proposed in an earlier term than that of settled entries, and is not among them, was lost with the
    /// leader of its time; unless it is still under way to the next one, so nobody can say. Sooner than its time limit,
    /// because whoever asked can find out now.
    fn overtaken(&mut self, term: u64) -> Vec<(W, Result<TxnDone, Error>)> {
        let term = if self.planted.is(Flaw::ProposedTwice) { 0 } else { term };
        let lost = || Error::Unknown("the leader changed before the write was settled".into());
        self.proposals.before(term).into_iter().map(|waiting| (waiting.ticket, Err(lost()))).collect()
    }

    /// The commands of entries: as they were proposed here, or else decoded. Membership changes take effect.
    fn jobs(&mut self, settled: Settled, out: &mut impl FnMut(Effect<W, R, M::Image>)) -> Result<Vec<Job<W>>, Fatal> {
        let mut jobs = Vec::with_capacity(settled.entries.len());
        let unlogged_from = settled.unlogged_from;
        for entry in settled.entries {
            assert_eq!(entry.index, self.record.applied + 1, "entries are applied in order, each once");
            self.record.applied = entry.index;
            if !self.planted.is(Flaw::CommitNotKept) {
                self.record.commit = self.record.commit.max(entry.index);
            }
            let waiting = self.proposals.take(&entry.context);
            if entry.entry_type() != EntryType::EntryNormal {
                self.configure(&entry, out)?;
                out(Effect::Changed(self.members()));
                if let Some(waiting) = waiting {
                    let revision = self.record.revision;
                    let done = TxnDone { succeeded: true, revision, results: Vec::new() };
                    out(Effect::Answered(waiting.ticket, Ok(done)));
                }
                continue;
            }
            let (ticket, proposed) = match waiting {
                Some(Waiting { proposed: Proposed::Command(command), ticket, .. }) => (Some(ticket), Some(command)),
                _ if entry.data.is_empty() => continue,
                _ => (None, None),
            };
            jobs.push(match proposed {
                Some(command) if entry.index >= unlogged_from => Job { command, logged: None, ticket },
                _ => {
                    let (index, data) = (entry.index, Bytes::from(entry.data));
                    let command = Command::decode(data.clone()).map_err(Fatal)?;
                    let logged = (index < unlogged_from).then_some(Logged { index, data });
                    Job { command, logged, ticket }
                }
            });
        }
        Ok(jobs)
    }

    fn configure(&mut self, entry: &Entry, out: &mut impl FnMut(Effect<W, R, M::Image>)) -> Result<(), Fatal> {
        let was_member = self.driver.is_member();
        let conf = match self.planted.is(Flaw::ConfWhenWritten) {
            true => self.driver.conf(),
            false => self.driver.configure(entry).map_err(Fatal)?,
        };
        self.record.conf = Some(conf);
        self.is_changed = true;
        let change = driver::conf_change(entry).map_err(Fatal)?;
        MemberChange::apply(&mut self.record.members, &change).map_err(Fatal)?;
        let conf = self.driver.conf();
        self.record.alarms.retain(|id| conf.voters.contains(id) || conf.learners.contains(id));
        if was_member && !self.driver.is_member() {
            out(Effect::Removed);
        }
        if self.driver.is_leader() && !self.driver.is_member() {
            self.driver.step_down();
        }
        Ok(())
    }

    fn configure_early(&mut self, entries: &[Entry]) -> Result<(), Fatal> {
        for entry in entries.iter().filter(|entry| entry.entry_type() != EntryType::EntryNormal) {
            self.driver.configure(entry).map_err(Fatal)?;
        }
        Ok(())
    }

    /// Settled entries leave the log when nobody will ask for them.
    fn move_log(&mut self, settled: Option<Position>, batch: &mut M::Batch) {
        let before = match settled {
            Some(last) if self.driver.leaves_no_log() => last,
            _ => self.driver.log_begins_after(),
        };
        if before.index <= self.record.before_index {
            return;
        }
        let first = self.record.before_index + 1;
        (self.record.before_index, self.record.before_term) = (before.index, before.term);
        // A sole member has entries on disk only from a time with more members.
        if self.is_log_on_disk {
            batch.delete_range(&keys::entry(first), &keys::entry(before.index + 1));
            self.is_log_on_disk = !self.driver.leaves_no_log();
        }
    }

    /// Takes over what another member had settled.
    fn restore(&mut self, snapshot: &Snapshot, out: &mut impl FnMut(Effect<W, R, M::Image>)) -> Result<(), Fatal> {
        let metadata = snapshot.get_metadata();
        let theirs =
            Record::decode(&*snapshot.data).map_err(|error| Fatal(format!("a snapshot is garbled: {error}")))?;
        let image = self.incoming.take();
        let image = image.ok_or_else(|| Fatal("a snapshot was taken whose data did not come".into()))?;
        self.record = Record {
            folder: std::mem::take(&mut self.record.folder),
            term: self.record.term,
            vote: self.record.vote,
            commit: self.record.commit.max(metadata.index),
            applied: metadata.index,
            before_index: metadata.index,
            before_term: metadata.term,
            conf: Some(metadata.get_conf_state().clone()),
            ..theirs
        };
        if self.planted.is(Flaw::SnapshotWithoutConf) {
            self.record.conf = Some(ConfState { voters: vec![self.id], ..ConfState::default() });
        }
        if self.planted.is(Flaw::SnapshotMarkedEarly) {
            let mut batch = M::Batch::default();
            batch.put(keys::RECORD, &self.record.encode_to_vec());
            self.medium.write(batch, self.record.head(), true).map_err(Fatal)?;
        }
        self.medium.install(image, &self.record).map_err(Fatal)?;
        self.garbage = Garbage::default();
        if !self.planted.is(Flaw::RememberedTooLong) {
            self.recent.forget();
        }
        self.is_changed = true;
        self.checks.clear();
        self.is_log_on_disk = true;
        out(Effect::Restored(self.record.head()));
        Ok(())
    }

    /// Makes the snapshot that somebody waits for.
    fn offer(&mut self) -> Result<(), Fatal> {
        if !self.driver.wants_snapshot() {
            return Ok(());
        }
        let Some(term) = self.driver.term_of(self.record.applied) else { return Ok(()) };
        self.outgoing = Some(self.medium.image().map_err(Fatal)?);
        let mut snapshot = Snapshot { data: self.record.encode_to_vec(), ..Snapshot::default() };
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = (self.record.applied, term);
        metadata.conf_state = self.record.conf.clone();
        self.driver.offer_snapshot(snapshot);
        Ok(())
    }

    /// Tells the group that this member's disk is nearly full, or not any more, unless it knows.
    pub(super) fn alarm(&mut self, is_raised: bool) {
        if self.record.alarms.contains(&self.id) != is_raised && self.driver.is_member() {
            let number = self.proposals.number();
            let alarm = Command::Alarm { member: self.id, is_raised };
            // Lost, if there is no leader; whoever asked asks again.
            self.driver.propose(self.proposals.context(number), alarm.encode());
        }
    }

    /// Has any member said that its disk is nearly full?
    pub(super) fn is_alarmed(&self) -> bool {
        !self.record.alarms.is_empty()
    }

    /// Asks the others whether they have the same data, if enough was written since.
    pub(super) fn check(&mut self) {
        if !self.driver.is_leader() || self.driver.is_sole() {
            return;
        }
        let newest = self.checks.front().copied().filter(|(revision, _)| *revision > self.checked);
        let Some((revision, digest)) = newest else { return };
        self.checked = revision;
        let number = self.proposals.number();
        self.driver.propose(self.proposals.context(number), Command::Check { revision, digest }.encode());
    }

    /// Forgets the past up to a revision, if this member leads; the others follow.
    pub(super) fn compact(&mut self, revision: u64) {
        if revision > self.record.compacted && self.driver.is_leader() {
            let number = self.proposals.number();
            self.driver.propose(self.proposals.context(number), Command::Compact(revision).encode());
        }
    }

    /// All is gone that was garbage when this revision was compacted.
    pub(super) fn swept_for(&self) -> u64 {
        self.garbage.swept_for()
    }

    /// Removes versions that nobody can read any more, a few at a time, and gives back their room; true if there is more
    /// to do.
    pub(super) fn sweep(&mut self) -> Result<bool, Fatal> {
        let found = self.garbage.sweep(&*self.medium, self.record.head()).map_err(Fatal)?;
        let is_more = self.medium.reclaim().map_err(Fatal)?;
        Ok(found == SWEEP_MAX || is_more)
    }
}
