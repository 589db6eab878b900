//! What this member must do next for the group to agree: the Raft library as a state machine without I/O.
//!
//! Knows no disk, no clock, no network and no commands: it is told what happened, and [`Driver::next`] tells what has
//! to be written and applied. The caller does it and says so with [`Driver::written`].
//!
//! # One member
//! With a single voter and no learner, an entry is committed as soon as it is durable, and nobody will ever ask for it
//! again. So its effect and the new applied index are written in the very batch that would have held the entry, with
//! one fsync, and the log on disk stays empty. As soon as there is a second member, entries are written first and
//! applied when a quorum has them.

use std::collections::HashSet;

use raft::eraftpb::{ConfChange, ConfChangeV2, ConfState, Entry, EntryType, HardState};
use raft::{Config, RawNode, ReadState, Ready, StateRole};

use super::log::{Kept, Log, Position};

/// Bytes of entries in one message to a follower.
const MESSAGE_BYTES_MAX: u64 = 1024 * 1024;
/// Messages with entries that a follower has not yet answered.
const MESSAGES_IN_FLIGHT_MAX: usize = 128;
/// Bytes of proposals that are not committed; more are refused.
const UNCOMMITTED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of entries that are applied in one go.
const APPLY_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// A follower campaigns after 10 to 20 ticks without a leader.
const ELECTION_TICKS: usize = 10;
const HEARTBEAT_TICKS: usize = 2;
/// What is kept of the log for followers that lag; those further behind get a snapshot.
const KEPT: Kept = Kept { entries: 10_000, bytes: 32 * 1024 * 1024 };
/// Nobody lags behind a sole member.
const NOTHING_KEPT: Kept = Kept { entries: 0, bytes: 0 };

pub(super) struct Driver {
    node: RawNode<Log>,
    seed: u64,
    applied: u64,
    keeps_log: bool,
}

/// What must be done before the driver can go on.
pub(super) struct Step {
    ready: Ready,
    /// To write first, all or nothing.
    pub(super) entries: Vec<Entry>,
    pub(super) hard: Option<HardState>,
    /// To apply, in the same batch.
    pub(super) settled: Vec<Entry>,
    pub(super) must_sync: bool,
    pub(super) reads: Vec<ReadState>,
}

// === impl Driver ===

impl Driver {
    /// A member that was at `applied` when it stopped. `seed` decides its election timeouts. With `keeps_log`, entries
    /// are written before they are applied even by a sole member.
    pub(super) fn new(id: u64, seed: u64, (log, applied): (Log, u64), keeps_log: bool) -> Result<Driver, String> {
        let config = Config {
            id,
            applied,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            max_inflight_msgs: MESSAGES_IN_FLIGHT_MAX,
            max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
            max_committed_size_per_ready: APPLY_BYTES_MAX,
            check_quorum: true,
            pre_vote: true,
            ..Config::default()
        };
        let logger = slog::Logger::root(super::trace::Forward, slog::o!());
        let node = RawNode::new(&config, log, &logger).map_err(|error| error.to_string())?;
        let mut driver = Driver { node, seed, applied, keeps_log };
        driver.settle_timeout();
        Ok(driver)
    }

    pub(super) fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// Nobody else takes part, so what is durable here is committed.
    pub(super) fn is_sole(&self) -> bool {
        let conf = self.node.raft.prs().conf().to_conf_state();
        conf.voters == [self.node.raft.id] && conf.voters_outgoing.is_empty() && conf.learners.is_empty()
    }

    /// What is settled here is at once applied, so the log need not be on disk.
    pub(super) fn leaves_no_log(&self) -> bool {
        self.is_sole() && !self.keeps_log
    }

    /// Stands for election now. A sole member wins at once.
    pub(super) fn campaign(&mut self) {
        // A refusal means that it leads already or may not vote; either is fine.
        let _ = self.node.campaign();
        self.settle_timeout();
    }

    /// False: nothing was proposed.
    pub(super) fn propose(&mut self, context: Vec<u8>, data: Vec<u8>) -> bool {
        self.is_leader() && self.node.propose(context, data).is_ok()
    }

    /// Asks for a point from which a read is linearizable; it comes in [`Step::reads`], or never. Each attempt has
    /// to have a context of its own: the library would answer a repeated one with the older point.
    pub(super) fn read_index(&mut self, context: Vec<u8>) {
        self.node.read_index(context);
    }

    pub(super) fn next(&mut self) -> Option<Step> {
        if !self.node.has_ready() {
            return None;
        }
        let mut ready = self.node.ready();
        assert!(ready.snapshot().metadata.is_none(), "a snapshot arrived, and no member could have sent one");
        let mut step = Step {
            hard: ready.hs().cloned(),
            must_sync: ready.must_sync(),
            reads: ready.take_read_states(),
            settled: ready.take_committed_entries(),
            entries: ready.take_entries(),
            ready,
        };
        self.node.mut_store().append(&step.entries);
        if self.settles_at_once(&step.entries) {
            let mut hard = self.node.raft.hard_state();
            hard.commit = step.entries.last().map_or(hard.commit, |entry| entry.index.max(hard.commit));
            step.hard = Some(hard);
            step.settled.append(&mut step.entries);
        }
        Some(step)
    }

    /// The step is durable, and its settled entries are applied. Returns what is settled by that, to apply next.
    pub(super) fn written(&mut self, step: Step) -> Vec<Entry> {
        self.note_applied(&step.settled);
        let mut light = self.node.advance_append(step.ready);
        let applied = self.applied;
        let mut settled = light.take_committed_entries();
        settled.retain(|entry| entry.index > applied);
        settled
    }

    /// All that was to be applied is; the log in memory may be cut.
    pub(super) fn applied(&mut self, settled: &[Entry]) {
        self.note_applied(settled);
        self.node.advance_apply_to(self.applied);
        let kept = if self.leaves_no_log() { NOTHING_KEPT } else { KEPT };
        let floor = self.node.store().floor(self.applied, kept);
        self.node.mut_store().cut(floor);
        self.settle_timeout();
    }

    /// The last entry that the log need not have any more.
    pub(super) fn log_begins_after(&self) -> Position {
        self.node.store().before()
    }

    /// Applies a change of the membership.
    pub(super) fn configure(&mut self, entry: &Entry) -> Result<ConfState, String> {
        use prost::Message as _;
        let conf = match entry.entry_type() {
            EntryType::EntryConfChange => {
                let change = ConfChange::decode(&*entry.data).map_err(|error| error.to_string())?;
                self.node.apply_conf_change(&change)
            }
            EntryType::EntryConfChangeV2 => {
                let change = ConfChangeV2::decode(&*entry.data).map_err(|error| error.to_string())?;
                self.node.apply_conf_change(&change)
            }
            EntryType::EntryNormal => return Err("an ordinary entry changes no membership".into()),
        };
        conf.map_err(|error| error.to_string())
    }

    fn note_applied(&mut self, settled: &[Entry]) {
        self.applied = settled.last().map_or(self.applied, |entry| entry.index);
    }

    fn settles_at_once(&self, entries: &[Entry]) -> bool {
        let kinds: HashSet<EntryType> = entries.iter().map(Entry::entry_type).collect();
        self.is_leader()
            && self.leaves_no_log()
            && entries.last().is_some_and(|entry| entry.term == self.node.raft.term)
            && kinds == HashSet::from([EntryType::EntryNormal])
    }

    /// The library draws its timeout from the thread's random numbers; this makes it a function of the state, so
    /// that a simulation can be repeated.
    fn settle_timeout(&mut self) {
        let raft = &mut self.node.raft;
        let mut mixed = self.seed ^ raft.id.rotate_left(32) ^ raft.term.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^= mixed >> 31;
        let spread = usize::try_from(mixed % ELECTION_TICKS as u64).unwrap_or(0);
        raft.set_randomized_election_timeout(ELECTION_TICKS + spread);
    }
}
