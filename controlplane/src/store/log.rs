//! The tail of the Raft log, in memory, as the Raft library wants to read it.
//!
//! Pure: what of it has to be on disk, and when, is told by the driver. A follower that needs older entries than
//! these gets a snapshot.

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError, util};

/// Where a log ends that was cut at its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) index: u64,
    pub(super) term: u64,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    /// What the library reads once, at its start.
    pub(super) hard: HardState,
    pub(super) conf: ConfState,
    /// The last entry that is not here any more.
    before: Position,
    entries: VecDeque<Entry>,
}

// === impl Log ===

impl Log {
    pub(super) fn new(hard: HardState, conf: ConfState, before: Position, entries: Vec<Entry>) -> Log {
        Log { hard, conf, before, entries: entries.into() }
    }

    pub(super) fn before(&self) -> Position {
        self.before
    }

    fn last(&self) -> u64 {
        self.before.index + self.entries.len() as u64
    }

    /// Adds entries; those that were there from the first index of these on are replaced.
    pub(super) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.before.index, "entry {} of the log is settled and cannot be replaced", first.index);
        assert!(first.index <= self.last() + 1, "entry {} would leave a gap in the log", first.index);
        self.entries.truncate(self.position(first.index));
        self.entries.extend(entries.iter().cloned());
    }

    /// Forgets the entries up to and with `index`; the caller has applied them.
    pub(super) fn cut(&mut self, index: u64) -> Position {
        if index > self.before.index {
            assert!(index <= self.last(), "the log ends before entry {index}");
            let gone = self.position(index + 1);
            let term = self.entries[gone - 1].term;
            self.entries.drain(..gone);
            self.before = Position { index, term };
        }
        self.before
    }

    fn position(&self, index: u64) -> usize {
        usize::try_from(index - self.before.index - 1).expect("a log in memory is shorter than the address space")
    }
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState { hard_state: self.hard.clone(), conf_state: self.conf.clone() })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.before.index {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last() + 1 {
            return Err(StorageError::Unavailable.into());
        }
        let mut entries: Vec<Entry> = self.entries.range(self.position(low)..self.position(high)).cloned().collect();
        util::limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        match index {
            index if index == self.before.index => Ok(self.before.term),
            index if index < self.before.index => Err(StorageError::Compacted.into()),
            index if index > self.last() => Err(StorageError::Unavailable.into()),
            index => Ok(self.entries[self.position(index)].term),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.before.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        Err(StorageError::SnapshotTemporarilyUnavailable.into())
    }
}
