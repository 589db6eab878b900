//! What keys are at the newest revision, as far as they were written or looked up lately, so that a write need not ask
//! the disk what it replaces.
//!
//! Values are not kept. Two generations bound it: what is used moves into the young one, and when that is full, the
//! old one is forgotten.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use foldhash::fast::RandomState;

use super::kv::{Change, KeyRange, KeyValue};
use super::state::{Failure, Versions};

/// Keys of one generation; with keys of 50 bytes, both take 14 MiB at most.
pub(super) const GENERATION_MAX: usize = 56 * 1024;

pub(super) struct Recent {
    young: Generation,
    old: Generation,
    generation_max: usize,
}

/// The keys are copies: one that was written may share its memory with a whole request.
type Generation = HashMap<Box<[u8]>, Option<Known>, RandomState>;

/// A version without its key and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    create_revision: u64,
    mod_revision: u64,
    version: u64,
    lease: i64,
}

/// Versions of which the recent ones are known.
pub(super) struct Remembered<'a, V> {
    base: &'a mut V,
    recent: &'a mut Recent,
}

// === impl Recent ===

impl Recent {
    pub(super) fn new(generation_max: usize) -> Recent {
        Recent { young: Generation::default(), old: Generation::default(), generation_max }
    }

    /// Takes over what was written.
    pub(super) fn note(&mut self, changes: &[Change]) {
        for change in changes {
            let known = (!change.is_delete).then(|| Known::of(&change.kv));
            self.insert(&change.kv.key, known);
        }
    }

    /// The data have changed behind its back.
    pub(super) fn forget(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    fn insert(&mut self, key: &[u8], known: Option<Known>) {
        match self.young.get_mut(key) {
            Some(slot) => *slot = known,
            None => self.add(key.into(), known),
        }
    }

    fn add(&mut self, key: Box<[u8]>, known: Option<Known>) {
        if self.young.len() >= self.generation_max {
            // The room of the old one will be needed again.
            std::mem::swap(&mut self.old, &mut self.young);
            self.young.clear();
        }
        self.young.insert(key, known);
    }

    /// The outer `None`: not known here. The inner one: there is no such key.
    fn get(&mut self, key: &Bytes) -> Option<Option<KeyValue>> {
        let known = match self.young.get(&**key) {
            Some(known) => *known,
            None => {
                let (kept, known) = self.old.remove_entry(&**key)?;
                self.add(kept, known);
                known
            }
        };
        Some(known.map(|known| known.version_of(key)))
    }
}

// === impl Known ===

impl Known {
    fn of(kv: &KeyValue) -> Known {
        let KeyValue { create_revision, mod_revision, version, lease, .. } = *kv;
        Known { create_revision, mod_revision, version, lease }
    }

    fn version_of(self, key: &Bytes) -> KeyValue {
        let Known { create_revision, mod_revision, version, lease } = self;
        KeyValue { key: key.clone(), value: Bytes::new(), create_revision, mod_revision, version, lease }
    }
}

// === impl Remembered ===

impl<'a, V: Versions> Remembered<'a, V> {
    pub(super) fn new(base: &'a mut V, recent: &'a mut Recent) -> Remembered<'a, V> {
        Remembered { base, recent }
    }
}

impl<V: Versions> Versions for Remembered<'_, V> {
    fn at(&mut self, key: &Bytes, revision: u64, values: bool) -> Result<Option<KeyValue>, Failure> {
        if revision != u64::MAX || values {
            return self.base.at(key, revision, values);
        }
        if let Some(known) = self.recent.get(key) {
            return Ok(known);
        }
        let found = self.base.at(key, revision, values)?;
        self.recent.insert(key, found.as_ref().map(Known::of));
        Ok(found)
    }

    fn scan(
        &mut self,
        keys: &KeyRange,
        revision: u64,
        values: bool,
        each: &mut dyn FnMut(KeyValue) -> bool,
    ) -> Result<(), Failure> {
        self.base.scan(keys, revision, values, each)
    }

    fn lease(&mut self, id: i64) -> Result<Option<u64>, Failure> {
        self.base.lease(id)
    }

    fn attached(&mut self, lease: i64) -> Result<BTreeSet<Bytes>, Failure> {
        self.base.attached(lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(recent: &mut Recent, key: &'static str, mod_revision: u64) {
        let kv = KeyValue { mod_revision, version: 1, ..KeyValue::gone(key.into(), 0) };
        recent.note(&[Change { kv, is_delete: false, previous: None }]);
    }

    fn known(recent: &mut Recent, key: &str) -> Option<Option<u64>> {
        recent.get(&Bytes::copy_from_slice(key.as_bytes())).map(|kv| kv.map(|kv| kv.mod_revision))
    }

    #[test]
    fn what_is_used_stays_and_the_rest_is_forgotten() {
        let mut recent = Recent::new(2);
        for (key, revision) in [("a", 1), ("b", 2), ("c", 3)] {
            put(&mut recent, key, revision);
        }
        assert_eq!(known(&mut recent, "a"), Some(Some(1)), "from the old generation, which it leaves");
        put(&mut recent, "d", 4);
        assert_eq!(known(&mut recent, "b"), None, "forgotten with the old generation");
        assert_eq!(known(&mut recent, "a"), Some(Some(1)));
        put(&mut recent, "a", 5);
        assert_eq!(known(&mut recent, "a"), Some(Some(5)), "the newest counts");
        assert!(recent.young.len() <= 2 && recent.old.len() <= 2);
    }

    #[test]
    fn a_deleted_key_is_known_not_to_be_there() {
        let mut recent = Recent::new(2);
        put(&mut recent, "a", 1);
        recent.note(&[Change { kv: KeyValue::gone("a".into(), 2), is_delete: true, previous: None }]);
        assert_eq!(known(&mut recent, "a"), Some(None));
        recent.forget();
        assert_eq!(known(&mut recent, "a"), None);
    }
}
