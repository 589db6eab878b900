//! What of the journal is still needed: bytes of each segment that the database refers to, and where entries of the log lie.
//!
//! It is kept in the database, batch by batch, so that both always fit together.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rocksdb::WriteBatch;

use super::changes::{Op, Part};
use super::journal::Place;
use super::keys;
use super::segment::SEGMENT_BYTES;

/// Room that is to be had before values are moved for it, besides a quarter of all.
const WORTH_BYTES: u64 = 2 * SEGMENT_BYTES;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By segment.
    needed: BTreeMap<u64, u64>,
    /// Segments whose count is not in the database as it is here.
    changed: BTreeSet<u64>,
    entries: Entries,
}

/// Where the data of the log's entries lie, unless they are small.
#[derive(Debug, Default)]
struct Entries {
    first: u64,
    places: VecDeque<Option<Place>>,
}

// === impl Ledger ===

impl Ledger {
    /// What the database says of a segment.
    pub(super) fn note(&mut self, segment: u64, bytes: u64) {
        self.needed.insert(segment, bytes);
    }

    /// Says to the database what changed.
    pub(super) fn write(&mut self, batch: &mut WriteBatch) {
        for segment in std::mem::take(&mut self.changed) {
            match self.needed.get(&segment) {
                Some(bytes) => batch.put(keys::segment(segment), bytes.to_be_bytes()),
                None => batch.delete(keys::segment(segment)),
            }
        }
    }

    /// An entry that the database has.
    pub(super) fn note_entry(&mut self, index: u64, place: Option<Place>) {
        self.entries.put(index, place);
    }

    /// A change, of a payload that begins at a place of a segment: to the batch, and to what is needed. Comes back with
    /// what is to be settled in the payload. `find` tells where the body of a version lies.
    pub(super) fn take(
        &mut self,
        op: &Op<'_>,
        (segment, payload_at): (u64, u64),
        batch: &mut WriteBatch,
        find: impl FnOnce(&[u8]) -> Result<Option<Place>, String>,
    ) -> Result<Option<(usize, Place)>, String> {
        let mut settled = None;
        match *op {
            Op::Put { key, value } => {
                batch.put(key, value);
                if let Some(index) = keys::index_of(key) {
                    self.replace_entries(index);
                    self.entries.put(index, None);
                }
            }
            Op::Here { key, head, body, at, from } => {
                let place = Place::new(segment, payload_at + at as u64, body);
                from.into_iter().for_each(|from| self.forget(from));
                if let Some(index) = keys::index_of(key) {
                    self.replace_entries(index);
                    self.entries.put(index, Some(place));
                }
                self.refer(key, head, place, batch);
            }
            Op::Within { key, head, part, hole } => {
                let place = self.entries.part(part)?;
                self.refer(key, head, place, batch);
                settled = Some((hole, place));
            }
            Op::There { key, head, place } => self.refer(key, head, place, batch),
            Op::Delete { key } => {
                if key.first() == Some(&keys::DATA) {
                    find(key)?.into_iter().for_each(|place| self.forget(place));
                }
                batch.delete(key);
            }
            Op::DeleteRange { from, to } => {
                let (Some(first), Some(end)) = (keys::index_of(from), keys::index_of(to)) else {
                    return Err("only entries of the log are deleted in ranges".into());
                };
                for place in self.entries.delete(first, end) {
                    self.forget(place);
                }
                batch.delete_range(from, to);
            }
        }
        Ok(settled)
    }

    /// Entries from an index on are about to be put anew.
    fn replace_entries(&mut self, index: u64) {
        for place in self.entries.delete(index, u64::MAX) {
            self.forget(place);
        }
    }

    fn refer(&mut self, key: &[u8], head: &[u8], place: Place, batch: &mut WriteBatch) {
        let mut value = Vec::with_capacity(head.len() + 20);
        keys::put_apart(&mut value, head, place);
        batch.put(key, value);
        *self.needed.entry(place.segment).or_insert(0) += u64::from(place.length);
        self.changed.insert(place.segment);
    }

    fn forget(&mut self, place: Place) {
        let needed = self.needed.get_mut(&place.segment).expect("what is referred to is counted");
        *needed = needed.checked_sub(u64::from(place.length)).expect("what is referred to is counted");
        self.changed.insert(place.segment);
    }

    /// Segments that nothing refers to, of those before one.
    pub(super) fn idle(&self, numbers: &[u64], before: u64) -> Vec<u64> {
        let before = self.entries.oldest().map_or(before, |oldest| oldest.min(before));
        let is_idle = |number: &u64| *number < before && self.needed.get(number).is_none_or(|bytes| *bytes == 0);
        numbers.iter().copied().filter(is_idle).collect()
    }

    /// A segment is gone.
    pub(super) fn remove(&mut self, segment: u64) {
        if self.needed.remove(&segment).is_some() {
            self.changed.insert(segment);
        }
    }

    /// Segments from which what is needed should be moved, so that the rest can go: those that are at least half garbage
    /// if that is a quarter of all, or with `all` whatever has any. Of those before one.
    pub(super) fn victims(&self, bytes: &BTreeMap<u64, u64>, before: u64, all: bool) -> BTreeSet<u64> {
        let before = self.entries.oldest().map_or(before, |oldest| oldest.min(before));
        let needed = |number: &u64| self.needed.get(number).copied().unwrap_or(0);
        // Many small segments are as bad as large ones with little in them.
        let room = |bytes: u64| if all { bytes } else { bytes.max(SEGMENT_BYTES) };
        let total: u64 = bytes.values().map(|bytes| room(*bytes)).sum();
        let found: BTreeMap<u64, u64> = bytes
            .range(..before)
            .filter(|(number, _)| needed(number) > 0)
            .map(|(number, bytes)| (*number, room(*bytes).saturating_sub(needed(number))))
            .filter(|(number, garbage)| if all { *garbage >= needed(number) / 8 } else { *garbage >= needed(number) })
            .collect();
        let garbage: u64 = found.values().sum();
        let is_worth_it = all || garbage >= WORTH_BYTES && garbage * 4 >= total;
        if is_worth_it { found.into_keys().collect() } else { BTreeSet::new() }
    }

    /// What is needed of the segments that there are must be there.
    pub(super) fn missing(&self, numbers: &[u64]) -> Option<u64> {
        let is_missing = |(number, bytes): &(&u64, &u64)| **bytes > 0 && numbers.binary_search(number).is_err();
        self.needed.iter().find(is_missing).map(|(number, _)| *number)
    }
}

// === impl Entries ===

impl Entries {
    fn put(&mut self, index: u64, place: Option<Place>) {
        if self.places.is_empty() {
            self.first = index;
        }
        assert_eq!(index, self.first + self.places.len() as u64, "an entry of the log was put out of order");
        self.places.push_back(place);
    }

    fn part(&self, part: Part) -> Result<Place, String> {
        let at = part.entry.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        let whole = at.and_then(|at| self.places.get(at)).copied().flatten();
        let Place { segment, at, length, .. } =
            whole.ok_or_else(|| format!("a value is within entry {}, which is not in the journal", part.entry))?;
        let end = u64::from(part.at) + u64::from(part.length);
        if end > u64::from(length) {
            return Err(format!("a value is within entry {}, but ends after it", part.entry));
        }
        Ok(Place { segment, at: at + part.at, length: part.length, sum: part.sum })
    }

    /// Removes those from `first` up to but without `end`, which is at either end of what there is.
    fn delete(&mut self, first: u64, end: u64) -> Vec<Place> {
        let last = self.first + self.places.len() as u64;
        let (from, to) = (first.max(self.first), end.min(last));
        if from >= to {
            return Vec::new();
        }
        assert!(from == self.first || to == last, "entries {from} to {to} were deleted from amidst the log");
        let position = |index: u64| usize::try_from(index - self.first).expect("it is in memory");
        let range = position(from)..position(to);
        if from == self.first {
            self.first = to;
        }
        self.places.drain(range).flatten().collect()
    }

    /// The oldest segment with any.
    fn oldest(&self) -> Option<u64> {
        self.places.iter().flatten().next().map(|place| place.segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn ledger(needed: &[(u64, u64)]) -> Ledger {
        let mut ledger = Ledger::default();
        needed.iter().for_each(|(segment, bytes)| ledger.note(*segment, *bytes));
        ledger
    }

    #[test]
    fn values_are_moved_where_it_is_worth_it() {
        let full: BTreeMap<u64, u64> = (1..=8).map(|number| (number, SEGMENT_BYTES)).collect();
        let victims = |needed: &[(u64, u64)], all| Vec::from_iter(ledger(needed).victims(&full, 8, all));
        let half = [(1, 8 * MIB), (2, MIB), (3, 2 * MIB), (4, 7 * MIB), (5, 3 * MIB), (6, 8 * MIB), (7, 8 * MIB)];
        assert_eq!(victims(&half, false), [2, 3, 5]);
        let little = [(1, MIB), (2, 2 * MIB), (3, 8 * MIB), (4, 7 * MIB), (5, 8 * MIB), (6, 8 * MIB), (7, 8 * MIB)];
        assert_eq!(victims(&little, false), [0_u64; 0], "less than a quarter of all");
        assert_eq!(victims(&little, true), [1, 2, 4], "all that have garbage worth the name");
        assert_eq!(victims(&[(8, MIB)], true), [0_u64; 0], "the last one is still written to");
        let small: BTreeMap<u64, u64> = (1..=20).map(|number| (number, MIB)).collect();
        let many = ledger(&small.iter().map(|(number, bytes)| (*number, *bytes)).collect::<Vec<_>>());
        assert_eq!(many.victims(&small, 20, false).len(), 19, "small ones become few");
    }

    #[test]
    fn the_log_holds_segments() {
        let mut ledger = ledger(&[(1, 0), (2, 10), (3, 0)]);
        assert_eq!(ledger.idle(&[1, 2, 3, 4], 4), [1, 3]);
        ledger.note_entry(7, None);
        ledger.note_entry(8, Some(Place { segment: 2, at: 0, length: 10, sum: 0 }));
        assert_eq!(ledger.idle(&[1, 2, 3, 4], 4), [1], "the log goes on in later ones");
        assert!(ledger.entries.delete(0, 8).is_empty());
        assert_eq!(ledger.entries.delete(8, 9).len(), 1);
        assert_eq!(ledger.idle(&[1, 2, 3, 4], 4), [1, 3]);
        assert_eq!(ledger.missing(&[1, 3]), Some(2));
        assert_eq!(ledger.missing(&[2]), None, "of the others nothing is needed");
    }

    #[test]
    fn entries_are_replaced_and_forgotten_at_either_end() {
        let place = |at| Some(Place { segment: 1, at, length: 1, sum: 0 });
        let mut entries = Entries::default();
        (5..9).for_each(|index| entries.put(index, place(index.try_into().unwrap())));
        let part = |entry| Part { entry, at: 0, length: 1, sum: 3 };
        assert_eq!(entries.part(part(8)), Ok(Place { segment: 1, at: 8, length: 1, sum: 3 }));
        assert_eq!(entries.delete(7, u64::MAX).len(), 2);
        assert!(entries.part(part(8)).is_err() && entries.part(part(4)).is_err());
        assert!(entries.part(Part { length: 2, ..part(6) }).is_err(), "it ends after the entry");
        entries.put(7, place(70));
        assert_eq!(entries.delete(0, 7).len(), 2);
        assert_eq!(entries.part(part(7)), Ok(Place { segment: 1, at: 70, length: 1, sum: 3 }));
    }
}
