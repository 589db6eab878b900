//! What this member must do next for the group to agree: the Raft library as a state machine without I/O.
//!
//! Knows no disk, no clock, no network and no commands of the store: it is told what happened, and [`Driver::next`] tells what has
//! to be sent, written and applied. The caller does it and says so with [`Driver::written`].
//!
//! # One member
//! With a single voter and no learner, an entry is committed as soon as it is durable, and nobody will ever ask for it
//! again. So its effect and the new applied index are written in the very batch that would have held the entry, with
//! one fsync, and the log on disk stays empty. As soon as there is a second member, entries are written first and
//! applied when a quorum has them.

use std::collections::{HashMap, HashSet, VecDeque};

use raft::eraftpb::{ConfChangeV2, ConfState, Entry, EntryType, HardState, Message, MessageType, Snapshot};
use raft::{Config, ProgressState, RawNode, ReadState, Ready, SnapshotStatus, StateRole, Storage};

use super::flaw::{Flaw, Planted};
use super::group::{MemberChange, can_spare};
use super::kv::Error;
use super::log::{Kept, Log, Position};
use super::notice::{Notices, is_notice};
use super::recent::GENERATION_MAX;

/// Bytes of entries in one message to a follower.
const MESSAGE_BYTES_MAX: u64 = 1024 * 1024;
/// Messages with entries that a follower has not yet answered.
const MESSAGES_IN_FLIGHT_MAX: usize = 128;
/// Batches of proposals that a leader has under way; what comes meanwhile goes with the next. More would each be
/// smaller, and take as many messages and syncs.
const ROUNDS_MAX: usize = 2;
/// Bytes of proposals that are not committed; more are refused.
const UNCOMMITTED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of entries that are applied in one go.
const APPLY_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// A follower campaigns after 10 to 20 ticks without a leader.
pub(super) const ELECTION_TICKS: usize = 10;
const HEARTBEAT_TICKS: usize = 2;
/// A member that was not heard of for so long is not up.
const UP_TICKS: u64 = 2 * ELECTION_TICKS as u64;
/// A learner that is no further behind may become a voter.
const BEHIND_MAX: u64 = 1_000;
/// What is kept of the log for followers that lag; those further behind get a snapshot.
const KEPT: Kept = Kept { entries: 10_000, bytes: 32 * 1024 * 1024 };
/// Nobody lags behind a sole member.
const NOTHING_KEPT: Kept = Kept { entries: 0, bytes: 0 };

/// How a driver is set up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    pub(super) id: u64,
    /// Decides the election timeouts.
    pub(super) seed: u64,
    /// Entries are written before they are applied even by a sole member.
    pub(super) keeps_log: bool,
    pub(super) kept: Kept,
    /// Keys that a member knows without asking its disk; twice as many.
    pub(super) remembered: usize,
    pub(super) planted: Planted,
}

pub(super) struct Driver {
    node: RawNode<Log>,
    setup: Setup,
    applied: u64,
    ticks: u64,
    /// When other members were last heard of.
    heard: HashMap<u64, u64>,
    /// To be proposed together.
    gathered: Vec<Entry>,
    /// The last entry of each batch that was proposed here, as the leader of others, and is not settled yet.
    rounds: VecDeque<u64>,
    notices: Notices,
}

/// What must be done before the driver can go on.
pub(super) struct Step {
    ready: Ready,
    /// To send at once.
    pub(super) messages: Vec<Message>,
    /// To install before anything is written: all that was settled up to its index.
    pub(super) snapshot: Option<Snapshot>,
    /// To write first, all or nothing.
    pub(super) entries: Vec<Entry>,
    /// The log on disk may go on after these entries, with others that they replace.
    pub(super) replaces: bool,
    pub(super) hard: Option<HardState>,
    /// To apply, in the same batch.
    pub(super) settled: Settled,
    /// The last of them.
    settles: Option<Position>,
    pub(super) must_sync: bool,
    pub(super) reads: Vec<ReadState>,
}

/// What a step that is durable leads to.
pub(super) struct Written {
    pub(super) messages: Vec<Message>,
    /// To apply next.
    pub(super) settled: Settled,
}

/// Entries to apply, in order.
pub(super) struct Settled {
    pub(super) entries: Vec<Entry>,
    /// Those from this index on are nowhere on the disk, and need not be.
    pub(super) unlogged_from: u64,
}

// === impl Settled ===

impl Settled {
    fn logged(entries: Vec<Entry>) -> Settled {
        Settled { entries, unlogged_from: u64::MAX }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn take(&mut self) -> Settled {
        Settled { entries: std::mem::take(&mut self.entries), unlogged_from: self.unlogged_from }
    }

    pub(super) fn end(&self) -> Option<Position> {
        self.entries.last().map(|last| Position { index: last.index, term: last.term })
    }
}

// === impl Setup ===

impl Setup {
    pub(super) fn new(id: u64, seed: u64) -> Setup {
        Setup { id, seed, keeps_log: false, kept: KEPT, remembered: GENERATION_MAX, planted: Planted::default() }
    }
}

// === impl Driver ===

impl Driver {
    /// A member that was at `applied` when it stopped.
    pub(super) fn new(setup: Setup, log: Log, applied: u64) -> Result<Driver, String> {
        let config = Config {
            id: setup.id,
            applied,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            max_inflight_msgs: MESSAGES_IN_FLIGHT_MAX,
            max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
            max_committed_size_per_ready: APPLY_BYTES_MAX,
            check_quorum: true,
            pre_vote: true,
            // See `notices`.
            skip_bcast_commit: true,
            ..Config::default()
        };
        let logger = slog::Logger::root(super::trace::Forward, slog::o!());
        let node = RawNode::new(&config, log, &logger).map_err(|error| error.to_string())?;
        let (gathered, rounds, notices) = (Vec::new(), VecDeque::new(), Notices::default());
        let mut driver = Driver { node, setup, applied, gathered, rounds, notices, ticks: 0, heard: HashMap::new() };
        driver.node.mut_store().planted = setup.planted;
        driver.settle_timeout();
        Ok(driver)
    }

    /// See [`Setup::remembered`].
    pub(super) fn remembered(&self) -> usize {
        self.setup.remembered
    }

    pub(super) fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// The leader of the present term as far as this member knows.
    pub(super) fn leader(&self) -> Option<u64> {
        (self.node.raft.leader_id != raft::INVALID_ID).then_some(self.node.raft.leader_id)
    }

    pub(super) fn term(&self) -> u64 {
        self.node.raft.term
    }

    /// Nobody else takes part, so what is durable here is committed.
    pub(super) fn is_sole(&self) -> bool {
        let voters = self.node.raft.prs().conf().voters();
        voters.is_singleton() && voters.contains(self.setup.id) && self.node.raft.prs().iter().count() == 1
    }

    /// Does this member take part, as a voter or a learner?
    pub(super) fn is_member(&self) -> bool {
        self.node.raft.prs().get(self.setup.id).is_some()
    }

    /// The membership that is in effect.
    pub(super) fn conf(&self) -> ConfState {
        self.node.raft.prs().conf().to_conf_state()
    }

    /// What is settled here is at once applied, so the log need not be on disk.
    pub(super) fn leaves_no_log(&self) -> bool {
        self.is_sole() && !self.setup.keeps_log
    }

    /// What is submitted now is settled and applied before anybody can ask for its entry, which then needs no data.
    fn settles_now(&self) -> bool {
        let is_all_applied = self.last() == self.applied || self.setup.planted.is(Flaw::DataLeftOut);
        self.is_leader() && self.leaves_no_log() && is_all_applied
    }

    /// A tenth of a second has gone by.
    pub(super) fn tick(&mut self) {
        self.ticks += 1;
        self.node.tick();
        self.settle_timeout();
    }

    /// Stands for election now. A sole member wins at once.
    pub(super) fn campaign(&mut self) {
        // A refusal means that it leads already or may not vote; either is fine.
        let _ = self.node.campaign();
        self.settle_timeout();
    }

    /// Stops leading, so that the others elect one of them; it still gives them its vote.
    pub(super) fn step_down(&mut self) {
        let term = self.term();
        self.node.raft.become_follower(term, raft::INVALID_ID);
        self.settle_timeout();
    }

    /// Why this member, if it leads, does not begin a change of who takes part.
    pub(super) fn refuses(&self, change: &MemberChange) -> Option<Error> {
        if !self.is_leader() {
            return None;
        }
        let conf = self.conf();
        if let Some(why) = change.contradicts(&conf) {
            return Some(Error::Invalid(why));
        }
        match change {
            // Until it had caught up, nothing could be settled without it.
            MemberChange::Promote(id) if !self.may_promote(*id, BEHIND_MAX) => {
                Some(Error::NotReady(format!("member {id:x} has not caught up yet")))
            }
            MemberChange::Remove(id) if !can_spare(&conf.voters, *id, |voter| self.is_up(voter)) => {
                Some(Error::NotReady(format!("without member {id:x}, too few of those that vote are up")))
            }
            _ => None,
        }
    }

    /// Does a learner take what it is sent, has it been heard of lately, and is it at most `behind` entries behind?
    pub(super) fn may_promote(&self, id: u64, behind: u64) -> bool {
        let progress = self.node.raft.prs().get(id);
        // One that was only just added counts as heard of, and in a young group as close, but has nothing yet.
        let is_following = progress.is_some_and(|known| known.state == ProgressState::Replicate && known.recent_active);
        self.is_leader() && is_following && progress.is_some_and(|known| known.matched + behind >= self.last())
    }

    /// Is a member this one, or was it heard of lately?
    fn is_up(&self, id: u64) -> bool {
        id == self.setup.id || self.heard.get(&id).is_some_and(|at| at + UP_TICKS > self.ticks)
    }

    /// Asks another member to lead; nothing happens if it is not up to date in time.
    pub(super) fn transfer(&mut self, to: u64) {
        self.node.transfer_leader(to);
    }

    /// Takes a message of another member. The error: this member lacks what it had confirmed, and may not go on.
    pub(super) fn receive(&mut self, mut message: Message) -> Result<(), String> {
        if is_local(message.msg_type()) || self.is_stale_reject(&message) || self.is_misled(&message) {
            return Ok(());
        }
        self.heard.insert(message.from, self.ticks);
        let last = self.last();
        if message.msg_type() == MessageType::MsgHeartbeat && message.term >= self.term() && message.commit > last {
            if !self.setup.planted.is(Flaw::AmnesiaIgnored) {
                let commit = message.commit;
                return Err(format!("the leader knows that entry {commit} is here, but the log ends at {last}"));
            }
            message.commit = last;
        }
        self.count_learner(&mut message);
        let wants_no_answer = is_notice(&message);
        // What comes from somebody who is not a member, or not any more, is refused; that is no fault of ours.
        let _ = self.node.step(message);
        if wants_no_answer {
            self.node.raft.msgs.retain(|answer| !is_notice(answer));
        }
        self.settle_timeout();
        Ok(())
    }

    /// Was it meant for a leader that is none any more? The library would pass it on in the name of who asked, and nobody
    /// takes a message in another's name. Whoever asked asks again.
    fn is_misled(&self, message: &Message) -> bool {
        let is_asked = matches!(message.msg_type(), MessageType::MsgPropose | MessageType::MsgReadIndex);
        is_asked && !self.is_leader()
    }

    /// A rejection that was overtaken by a later confirmation would set back what is sent next to before what is
    /// known to match (raft-rs #557, not in 0.7.0).
    fn is_stale_reject(&self, message: &Message) -> bool {
        if message.msg_type() != MessageType::MsgAppendResponse || !message.reject {
            return false;
        }
        let progress = self.node.raft.prs().get(message.from);
        progress.is_some_and(|known| message.index <= known.matched || message.reject_hint < known.matched)
    }

    fn count_learner(&self, message: &mut Message) {
        if self.setup.planted.is(Flaw::LearnerCounts) && message.msg_type() == MessageType::MsgAppendResponse {
            let conf = self.conf();
            if conf.learners.contains(&message.from) {
                message.from = conf.voters.iter().copied().find(|id| *id != self.setup.id).unwrap_or(message.from);
            }
        }
    }

    /// Takes a command for the log, which [`Driver::submit`] proposes; it is asked for data that are not given here.
    /// False: there is no leader to propose it to. On another member than the leader it is handed on, and may be lost on
    /// the way.
    pub(super) fn propose(&mut self, context: Vec<u8>, data: Vec<u8>) -> bool {
        let has_leader = self.leader().is_some();
        if has_leader {
            self.gathered.push(Entry { context, data, ..Entry::default() });
        }
        has_leader
    }

    /// Proposes what was gathered, in as few messages as it fits into: each would be sent on by itself. Gives back the
    /// contexts of what was not taken. `data_of` says what belongs to a context.
    pub(super) fn submit(&mut self, data_of: impl Fn(&[u8]) -> Vec<u8>) -> Vec<Vec<u8>> {
        let settled = self.node.raft.raft_log.committed;
        self.rounds.retain(|last| *last > settled);
        if !self.is_leader() {
            self.rounds.clear();
        }
        if self.gathered.is_empty() || self.is_holding() {
            return Vec::new();
        }
        let mut refused = Vec::new();
        let mut gathered = std::mem::take(&mut self.gathered);
        if !self.settles_now() {
            let lack = gathered.iter_mut().filter(|entry| entry.data.is_empty());
            lack.for_each(|entry| entry.data = data_of(&entry.context));
            // What is left was given up meanwhile.
            gathered.retain(|entry| !entry.data.is_empty());
        }
        let mut gathered = gathered.into_iter().peekable();
        while gathered.peek().is_some() {
            let mut room = MESSAGE_BYTES_MAX;
            let mut fits = |entry: &Entry| {
                let is_first = room == MESSAGE_BYTES_MAX;
                let bytes = (entry.data.len() + entry.context.len()) as u64;
                let fits = is_first || bytes <= room;
                room = room.saturating_sub(bytes.max(1));
                fits
            };
            let entries: Vec<Entry> = std::iter::from_fn(|| gathered.next_if(&mut fits)).collect();
            let contexts: Vec<Vec<u8>> = entries.iter().map(|entry| entry.context.clone()).collect();
            let mut message = Message { from: self.setup.id, entries, ..Message::default() };
            message.set_msg_type(MessageType::MsgPropose);
            if self.node.raft.step(message).is_err() {
                refused.extend(contexts);
            }
        }
        if self.is_leader() && !self.is_sole() {
            self.rounds.push_back(self.last());
        }
        refused
    }

    /// Does what is proposed wait until something is settled?
    pub(super) fn is_holding(&self) -> bool {
        self.rounds.len() >= ROUNDS_MAX
    }

    /// Proposes another membership; false if another change is under way, or this member does not lead.
    pub(super) fn propose_conf(&mut self, context: Vec<u8>, change: ConfChangeV2) -> bool {
        self.is_leader()
            && !self.node.raft.has_pending_conf()
            && self.conf().voters_outgoing.is_empty()
            && self.node.propose_conf_change(context, change).is_ok()
    }

    /// Asks for a point from which a read is linearizable; it comes in [`Step::reads`], or never. Each attempt has
    /// to have a context of its own: the library would answer a repeated one with the older point.
    pub(super) fn read_index(&mut self, context: Vec<u8>) {
        if self.setup.planted.is(Flaw::ReadWithoutQuorum) && self.is_leader() {
            let index = self.node.raft.raft_log.committed;
            self.node.raft.read_states.push(ReadState { index, request_ctx: context });
            return;
        }
        self.node.read_index(context);
    }

    pub(super) fn report_snapshot(&mut self, to: u64, is_sent: bool) {
        self.node.report_snapshot(to, if is_sent { SnapshotStatus::Finish } else { SnapshotStatus::Failure });
    }

    pub(super) fn report_unreachable(&mut self, to: u64) {
        self.heard.remove(&to);
        self.node.report_unreachable(to);
    }

    /// Messages for followers that do not know yet how much is settled, and have nothing else to hear. For the time when
    /// there is nothing else to do.
    pub(super) fn notices(&mut self) -> Vec<Message> {
        self.notices.due(&self.node.raft, self.setup.planted)
    }

    pub(super) fn next(&mut self) -> Option<Step> {
        if !self.node.has_ready() {
            return None;
        }
        let mut ready = self.node.ready();
        let snapshot = ready.snapshot();
        let mut step = Step {
            snapshot: (!snapshot.is_empty()).then(|| snapshot.clone()),
            messages: ready.take_messages(),
            hard: ready.hs().cloned(),
            must_sync: ready.must_sync(),
            reads: ready.take_read_states(),
            settled: Settled::logged(ready.take_committed_entries()),
            entries: ready.take_entries(),
            settles: None,
            replaces: false,
            ready,
        };
        if self.setup.planted.is(Flaw::AnswersBeforeSync) {
            step.messages.append(&mut step.ready.take_persisted_messages());
        }
        if let Some(snapshot) = &step.snapshot {
            let metadata = snapshot.get_metadata();
            let before = Position { index: metadata.index, term: metadata.term };
            self.node.mut_store().restore(before, metadata.get_conf_state().clone());
            self.applied = metadata.index;
        }
        self.notices.note(&step.messages);
        let last = self.node.store().last();
        step.replaces = step.entries.first().is_some_and(|entry| entry.index <= last);
        let settled = step.settled.end().map_or(self.applied, |end| end.index);
        let at_once = self.settles_at_once(&step.entries, settled);
        let is_left_out = |entry: &Entry| entry.data.is_empty() && !entry.context.is_empty();
        assert!(at_once || !step.entries.iter().any(is_left_out), "others may ask for an entry that has no data");
        if at_once {
            let mut hard = self.node.raft.hard_state();
            hard.commit = step.entries.last().map_or(hard.commit, |entry| entry.index.max(hard.commit));
            step.hard = Some(hard);
            step.settled.unlogged_from = settled + 1;
            self.node.mut_store().append(step.entries.clone());
            step.settled.entries.append(&mut step.entries);
        }
        step.settles = step.settled.end();
        Some(step)
    }

    /// The step is durable, and its settled entries are applied.
    pub(super) fn written(&mut self, step: Step) -> Written {
        self.note_applied(step.settles);
        self.node.mut_store().append(step.entries);
        let mut ready = step.ready;
        let mut messages = ready.take_persisted_messages();
        let mut light = self.node.advance_append(ready);
        messages.append(&mut light.take_messages());
        self.notices.note(&messages);
        let applied = self.applied;
        let mut settled = light.take_committed_entries();
        settled.retain(|entry| entry.index > applied);
        Written { messages, settled: Settled::logged(settled) }
    }

    /// All that was to be applied is; the log in memory may be cut.
    pub(super) fn applied(&mut self, settled: Option<Position>) {
        self.note_applied(settled);
        self.node.advance_apply_to(self.applied);
        let kept = if self.leaves_no_log() { NOTHING_KEPT } else { self.setup.kept };
        let store = self.node.store();
        let floor = store.floor(self.applied, kept);
        // Who takes the snapshot needs what comes after it; beyond reason that is another snapshot.
        let most = store.floor(self.applied, Kept { entries: kept.entries * 4, bytes: kept.bytes * 4 });
        let floor = store.offered().map_or(floor, |offered| floor.min(offered).max(most));
        self.node.mut_store().cut(floor);
        if self.node.raft.prs().iter().all(|(_, progress)| progress.state != ProgressState::Snapshot) {
            self.node.mut_store().withdraw();
        }
        self.settle_timeout();
    }

    /// Does a member wait for a snapshot that is not there?
    pub(super) fn wants_snapshot(&self) -> bool {
        self.node.store().take_wish() && !self.setup.planted.is(Flaw::LogCutTooFar)
    }

    /// From now on this is what a member far behind gets.
    pub(super) fn offer_snapshot(&mut self, snapshot: Snapshot) {
        self.node.mut_store().offer(snapshot);
    }

    /// The last entry of the log.
    pub(super) fn last(&self) -> u64 {
        self.node.raft.raft_log.last_index()
    }

    /// The term of a settled entry that is still known.
    pub(super) fn term_of(&self, index: u64) -> Option<u64> {
        self.node.store().term(index).ok()
    }

    /// The index of the snapshot that is offered.
    pub(super) fn offered(&self) -> Option<u64> {
        self.node.store().offered()
    }

    /// The last entry that the log need not have any more.
    pub(super) fn log_begins_after(&self) -> Position {
        self.node.store().before()
    }

    /// Applies a change of the membership.
    pub(super) fn configure(&mut self, entry: &Entry) -> Result<ConfState, String> {
        let change = conf_change(entry)?;
        self.node.apply_conf_change(&change).map_err(|error| error.to_string())
    }

    fn note_applied(&mut self, settled: Option<Position>) {
        self.applied = settled.map_or(self.applied, |end| end.index);
    }

    /// Entries from an earlier life that lie before these go the long way, and so do these.
    fn settles_at_once(&self, entries: &[Entry], settled: u64) -> bool {
        let kinds: HashSet<EntryType> = entries.iter().map(Entry::entry_type).collect();
        self.is_leader()
            && self.leaves_no_log()
            && entries.first().is_some_and(|entry| entry.index == settled + 1)
            && entries.last().is_some_and(|entry| entry.term == self.node.raft.term)
            && kinds == HashSet::from([EntryType::EntryNormal])
    }

    /// The library draws its timeout from the thread's random numbers; this makes it a function of the state, so
    /// that a simulation can be repeated.
    fn settle_timeout(&mut self) {
        let raft = &mut self.node.raft;
        let mut mixed = self.setup.seed ^ raft.id.rotate_left(32) ^ raft.term.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^= mixed >> 31;
        let spread = usize::try_from(mixed % ELECTION_TICKS as u64).unwrap_or(0);
        raft.set_randomized_election_timeout(ELECTION_TICKS + spread);
    }
}

/// Kinds that a member tells only itself.
fn is_local(kind: MessageType) -> bool {
    use MessageType::{MsgBeat, MsgCheckQuorum, MsgHup, MsgSnapStatus, MsgUnreachable};
    matches!(kind, MsgHup | MsgBeat | MsgUnreachable | MsgSnapStatus | MsgCheckQuorum)
}

/// The change of membership that an entry holds. Only the second form was ever written.
pub(super) fn conf_change(entry: &Entry) -> Result<ConfChangeV2, String> {
    use prost::Message as _;
    match entry.entry_type() {
        EntryType::EntryConfChangeV2 => ConfChangeV2::decode(&*entry.data).map_err(|error| error.to_string()),
        kind => Err(format!("an entry of kind {kind:?} changes no membership in a way that this version knows")),
    }
}
