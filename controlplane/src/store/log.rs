//! The tail of the Raft log, in memory, as the Raft library wants to read it.
//!
//! Pure: what of it has to be on disk, and when, is told by the driver. A follower that needs older entries than
//! these gets a snapshot.

use std::cell::Cell;
use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError, util};

use super::flaw::{Flaw, Planted};

/// Where a log ends that was cut at its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) index: u64,
    pub(super) term: u64,
}

/// How much of a log is kept although it is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    /// What the library reads once, at its start.
    pub(super) hard: HardState,
    pub(super) conf: ConfState,
    /// The last entry that is not here any more.
    before: Position,
    entries: VecDeque<Entry>,
    /// Of the data of all entries.
    bytes: u64,
    /// What a follower that needs older entries gets; its data are sent beside it.
    offered: Option<Snapshot>,
    /// Somebody asked for one that is not there.
    is_wanted: Cell<bool>,
    pub(super) planted: Planted,
}

// === impl Log ===

impl Log {
    pub(super) fn new(hard: HardState, conf: ConfState, before: Position, entries: Vec<Entry>) -> Log {
        let bytes = entries.iter().map(size).sum();
        Log {
            hard,
            conf,
            before,
            entries: entries.into(),
            bytes,
            offered: None,
            is_wanted: Cell::new(false),
            planted: Planted::default(),
        }
    }

    /// Is a snapshot asked for? Asks once for each wish.
    pub(super) fn take_wish(&self) -> bool {
        self.is_wanted.replace(false)
    }

    pub(super) fn offer(&mut self, snapshot: Snapshot) {
        self.offered = Some(snapshot);
    }

    pub(super) fn withdraw(&mut self) {
        self.offered = None;
    }

    /// The last entry that the offered snapshot stands for.
    pub(super) fn offered(&self) -> Option<u64> {
        self.offered.as_ref().map(|snapshot| snapshot.get_metadata().index)
    }

    /// Begins anew after a snapshot from another member.
    pub(super) fn restore(&mut self, before: Position, conf: ConfState) {
        assert!(before.index > self.before.index, "a snapshot that is older than the log was taken");
        (self.before, self.conf, self.bytes, self.offered) = (before, conf, 0, None);
        self.entries.clear();
    }

    pub(super) fn before(&self) -> Position {
        self.before
    }

    /// The last entry; what the library has not handed out yet does not count.
    pub(super) fn last(&self) -> u64 {
        self.before.index + self.entries.len() as u64
    }

    /// Adds entries; those that were there from the first index of these on are replaced.
    pub(super) fn append(&mut self, entries: Vec<Entry>) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.before.index, "entry {} of the log is settled and cannot be replaced", first.index);
        assert!(first.index <= self.last() + 1, "entry {} would leave a gap in the log", first.index);
        let replaced = self.entries.drain(self.position(first.index)..);
        self.bytes -= replaced.map(|entry| size(&entry)).sum::<u64>();
        self.bytes += entries.iter().map(size).sum::<u64>();
        self.entries.extend(entries);
    }

    /// The last entry that can go when `applied` are applied. It moves seldom and far: each move leaves a mark in the
    /// database that reads have to look at.
    pub(super) fn floor(&self, applied: u64, kept: Kept) -> u64 {
        let mut floor = self.before.index;
        let mut bytes = self.bytes;
        let is_over = |is: u64, kept: u64| is > kept + kept / 4;
        if !is_over(applied.saturating_sub(floor), kept.entries) && !is_over(bytes, kept.bytes) {
            return floor;
        }
        for entry in self.entries.iter().take_while(|entry| entry.index <= applied) {
            if applied - floor <= kept.entries && bytes <= kept.bytes {
                break;
            }
            floor = entry.index;
            bytes -= size(entry);
        }
        floor
    }

    /// Forgets the entries up to and with `index`; the caller has applied them.
    pub(super) fn cut(&mut self, index: u64) -> Position {
        if index > self.before.index {
            assert!(index <= self.last(), "the log ends before entry {index}");
            let gone = self.position(index + 1);
            let term = self.entries[gone - 1].term;
            self.bytes -= self.entries.drain(..gone).map(|entry| size(&entry)).sum::<u64>();
            self.before = Position { index, term };
        }
        self.before
    }

    fn position(&self, index: u64) -> usize {
        usize::try_from(index - self.before.index - 1).expect("a log in memory is shorter than the address space")
    }
}

fn size(entry: &Entry) -> u64 {
    (entry.data.len() + entry.context.len()) as u64
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
            index if index == self.before.index && !self.planted.is(Flaw::TermForgotten) => Ok(self.before.term),
            index if index == self.before.index => Err(StorageError::Compacted.into()),
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

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        match &self.offered {
            Some(offered) if offered.get_metadata().index >= request_index.max(self.before.index) => {
                Ok(offered.clone())
            }
            _ => {
                self.is_wanted.set(true);
                Err(StorageError::SnapshotTemporarilyUnavailable.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index, term, data: vec![0; 10], ..Entry::default() }
    }

    fn log(indexes: std::ops::RangeInclusive<u64>) -> Log {
        let before = Position { index: indexes.start() - 1, term: 1 };
        Log::new(HardState::default(), ConfState::default(), before, indexes.map(|index| entry(index, 1)).collect())
    }

    fn terms(log: &Log) -> Vec<u64> {
        let (first, last) = (log.first_index().unwrap(), log.last_index().unwrap());
        (first - 1..=last).map(|index| log.term(index).unwrap()).collect()
    }

    #[test]
    fn what_the_library_relies_on() {
        let mut log = log(5..=8);
        assert_eq!(log.term(3), Err(StorageError::Compacted.into()));
        assert_eq!(log.term(9), Err(StorageError::Unavailable.into()));
        log.append(vec![entry(7, 2), entry(8, 2), entry(9, 3)]);
        assert_eq!(terms(&log), [1, 1, 1, 2, 2, 3]);
        assert_eq!(log.cut(7), Position { index: 7, term: 2 });
        assert_eq!(terms(&log), [2, 2, 3]);
        assert_eq!(log.cut(5), Position { index: 7, term: 2 });
        let context = || GetEntriesContext::empty(false);
        assert_eq!(log.entries(8, 10, None, context()).unwrap().len(), 2);
        assert_eq!(log.entries(8, 10, 1, context()).unwrap().len(), 1, "one at least, however small the limit");
        assert_eq!(log.entries(7, 9, None, context()), Err(StorageError::Compacted.into()));
        assert_eq!(log.cut(9), Position { index: 9, term: 3 });
        assert_eq!((terms(&log), log.bytes), (vec![3], 0));
    }

    #[test]
    fn what_is_kept() {
        let log = log(1..=10);
        let check = |applied, entries, bytes, floor| assert_eq!(log.floor(applied, Kept { entries, bytes }), floor);
        check(10, 0, 0, 10);
        check(8, 0, 0, 8);
        check(8, 3, 1000, 5);
        check(8, 20, 1000, 0);
        check(8, 20, 45, 6);
        check(0, 0, 0, 0);
    }
}
