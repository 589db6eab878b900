//! A disk that keeps what was synced, and of the rest what a power cut leaves.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;

use super::dice::Dice;
use crate::store::journal::Place as Apart;
use crate::store::keys;
use crate::store::medium::{Batch, Cursor, Medium, Promise, Within};
use crate::store::record::Record;
use crate::store::state::{Failure, Head};
use crate::store::view::View;

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

/// Said by a write that a power cut or a fault of the disk interrupts.
pub(super) const POWER_CUT: &str = "power cut";

#[derive(Debug, Default)]
pub(super) struct Platter(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What a power cut leaves for sure.
    stable: Pairs,
    /// Written since, in order; a power cut leaves the first so many.
    unsynced: Vec<Changes>,
    /// What reads see.
    current: Pairs,
    /// Older states of `stable`, to which a broken disk may go back; none are kept where that is not drawn.
    older: Option<Vec<Pairs>>,
    promise: Promise,
    /// The power is cut at this many writes from now; true: after the write, false: in place of it.
    cut: Option<(u32, bool)>,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Changes(Vec<Op>);

#[derive(Debug, Clone)]
enum Op {
    Put(Vec<u8>, Vec<u8>),
    /// The end of the second, so many bytes, has to be within that entry.
    Within(Vec<u8>, Vec<u8>, usize, Within),
    Delete(Vec<u8>),
    DeleteRange(Vec<u8>, Vec<u8>),
}

// === impl Platter ===

impl Platter {
    pub(super) fn with_record(record: &Record, rolls_back: bool) -> Platter {
        let stable = Pairs::from([(keys::RECORD.to_vec(), record.encode_to_vec())]);
        Platter(Mutex::new(State {
            current: stable.clone(),
            stable,
            older: rolls_back.then(Vec::new),
            ..State::default()
        }))
    }

    /// Cuts the power during one of the next writes.
    pub(super) fn cut_power_soon(&self, dice: &mut Dice) {
        let writes = u32::try_from(dice.below(3)).expect("small");
        self.0.lock().cut = Some((writes, dice.per_mille(500)));
    }

    /// What is found when the power is back.
    pub(super) fn restart(&self, dice: &mut Dice) {
        let state = &mut *self.0.lock();
        let left = dice.below(state.unsynced.len() as u64 + 1);
        for changes in state.unsynced.drain(..).take(usize::try_from(left).expect("small")) {
            changes.apply(&mut state.stable);
        }
        state.unsynced.clear();
        state.current = state.stable.clone();
        state.cut = None;
    }

    /// Loses something that was synced and promised; false if there is nothing of that kind to lose.
    pub(super) fn roll_back(&self, dice: &mut Dice) -> bool {
        let state = &mut *self.0.lock();
        let promise = state.promise;
        let breaks = |pairs: &&Pairs| {
            let record = Record::decode(&*pairs[keys::RECORD]).expect("it was written by a member");
            let last = pairs.range(keys::entry(0)..=keys::entry(u64::MAX)).next_back();
            let last = last.map_or(record.before_index, |(key, _)| u64::from_be_bytes(key[1..].try_into().expect("8")));
            promise.broken_by(&record, last).is_some()
        };
        let older: Vec<&Pairs> = state.older.iter().flatten().filter(breaks).collect();
        let Some(older) = dice.one(&older).map(|pairs| Pairs::clone(pairs)) else { return false };
        (state.stable, state.current) = (older.clone(), older);
        state.unsynced.clear();
        true
    }

    pub(super) fn promised(&self) -> Promise {
        self.0.lock().promise
    }

    /// True: the power goes, before (`Some(false)`) or after (`Some(true)`) this write.
    fn is_cut(state: &mut State) -> Option<bool> {
        let (writes, after) = state.cut?;
        if writes == 0 {
            return Some(after);
        }
        state.cut = Some((writes - 1, after));
        None
    }
}

impl Medium for Platter {
    type Batch = Changes;
    type Image = Arc<Pairs>;

    fn write(&self, batch: Changes, _: Head, sync: bool) -> Result<(), String> {
        let state = &mut *self.0.lock();
        let cut = Platter::is_cut(state);
        if cut == Some(false) {
            return Err(POWER_CUT.into());
        }
        batch.apply(&mut state.current);
        state.unsynced.push(batch);
        if sync {
            if let Some(older) = &mut state.older {
                older.push(state.stable.clone());
            }
            for changes in state.unsynced.drain(..) {
                changes.apply(&mut state.stable);
            }
        }
        cut.map_or(Ok(()), |_| Err(POWER_CUT.into()))
    }

    fn with<T>(&self, act: impl FnOnce(&mut View<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
        let state = self.0.lock();
        act(&mut View::new(&mut Place { pairs: &state.current, at: None }))
    }

    fn image(&self) -> Result<Arc<Pairs>, String> {
        Ok(Arc::new(self.0.lock().current.clone()))
    }

    fn promise(&self, promise: Promise) -> Result<(), String> {
        let state = &mut *self.0.lock();
        match Platter::is_cut(state) {
            Some(false) => Err(POWER_CUT.into()),
            cut => {
                state.promise = promise;
                cut.map_or(Ok(()), |_| Err(POWER_CUT.into()))
            }
        }
    }

    fn reclaim(&self) -> Result<bool, String> {
        Ok(false)
    }

    fn install(&self, image: Arc<Pairs>, record: &Record) -> Result<(), String> {
        let state = &mut *self.0.lock();
        let cut = Platter::is_cut(state);
        if cut == Some(false) {
            return Err(POWER_CUT.into());
        }
        let mut pairs = Pairs::clone(&image);
        Op::DeleteRange(keys::entry(0), keys::entry(u64::MAX)).apply(&mut pairs);
        pairs.insert(keys::RECORD.to_vec(), record.encode_to_vec());
        state.unsynced.clear();
        (state.stable, state.current) = (pairs.clone(), pairs);
        cut.map_or(Ok(()), |_| Err(POWER_CUT.into()))
    }
}

// === impl Changes ===

impl Changes {
    fn apply(&self, pairs: &mut Pairs) {
        for op in &self.0 {
            op.apply(pairs);
        }
    }
}

impl Op {
    fn apply(&self, pairs: &mut Pairs) {
        match self {
            Op::Put(key, value) => drop(pairs.insert(key.clone(), value.clone())),
            Op::Within(key, value, length, Within { entry, at }) => {
                let from = keys::entry_of(*entry, &pairs[&keys::entry(*entry)]).expect("it was put whole").1;
                let keys::Body::Here(data) = from else { panic!("nothing lies apart on this disk") };
                assert_eq!(data[*at..at + length], value[value.len() - length..], "not what entry {entry} has there");
                pairs.insert(key.clone(), value.clone());
            }
            Op::Delete(key) => drop(pairs.remove(key)),
            Op::DeleteRange(from, to) => {
                let gone: Vec<_> = pairs.range(from.clone()..to.clone()).map(|(key, _)| key.clone()).collect();
                for key in gone {
                    pairs.remove(&key);
                }
            }
        }
    }
}

impl Batch for Changes {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.push(Op::Put(key.to_vec(), value.to_vec()));
    }

    fn put_apart(&mut self, key: &[u8], head: &[u8], body: &[u8], within: Option<Within>) {
        let (key, value) = (key.to_vec(), [head, body].concat());
        self.0.push(match within {
            None => Op::Put(key, value),
            Some(within) => Op::Within(key, value, body.len(), within),
        });
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.push(Op::Delete(key.to_vec()));
    }

    fn delete_range(&mut self, from: &[u8], to: &[u8]) {
        self.0.push(Op::DeleteRange(from.to_vec(), to.to_vec()));
    }
}

/// A place between the keys of a map.
struct Place<'a> {
    pairs: &'a Pairs,
    at: Option<(&'a Vec<u8>, &'a Vec<u8>)>,
}

impl Cursor for Place<'_> {
    fn seek(&mut self, key: &[u8]) {
        self.at = self.pairs.range::<[u8], _>((Bound::Included(key), Bound::Unbounded)).next();
    }

    fn find(&mut self, key: &[u8]) {
        self.seek(key);
        let is_of_the_key = |(found, _): &(&Vec<u8>, _)| keys::versions_of(found) == keys::versions_of(key);
        self.at = self.at.filter(is_of_the_key);
    }

    fn next(&mut self) {
        let Some((key, _)) = self.at else { return };
        self.at = self.pairs.range::<[u8], _>((Bound::Excluded(&**key), Bound::Unbounded)).next();
    }

    fn item(&self) -> Option<(&[u8], &[u8])> {
        self.at.map(|(key, value)| (&**key, &**value))
    }

    fn check(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn fetch(&self, place: Apart) -> Result<Bytes, Failure> {
        Err(Failure::Broken(format!("nothing lies at {place:?} on this disk")))
    }
}
