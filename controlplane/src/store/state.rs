//! What a transaction does to the keys: pure, and the same on each member, in memory and in a simulation.
//!
//! Knows neither disk nor log. It reads through [`Versions`], and what it writes stays in [`Staged`] until the
//! caller has made it durable, so nobody reads a write that a power cut could take back.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::kv::{Change, Compare, Compared, Comparison, Error, KeyRange, KeyValue, Op, OpDone, Range, Ranged};
use super::kv::{Txn, TxnDone};

/// Operations in each of the three lists of a transaction; etcd's default.
pub(super) const OPS_MAX: usize = 128;
/// Bytes of all keys and values of one transaction; etcd's default.
pub(super) const REQUEST_BYTES_MAX: usize = 1536 * 1024;
/// Bytes of one key.
pub(super) const KEY_BYTES_MAX: usize = 16 * 1024;

/// Where the store stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The newest write. A new store is at 1, as etcd's is, so that 0 is free to mean "the newest".
    pub(super) revision: u64,
    /// Reads below this are refused.
    pub(super) compacted: u64,
}

/// Why a command has no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request cannot be done; every member says the same.
    Refused(Error),
    /// This member cannot read its own data, and must not go on.
    Broken(String),
}

/// The versions of keys that are settled.
pub(super) trait Versions {
    /// What `key` was at `revision`.
    fn at(&mut self, key: &[u8], revision: u64) -> Result<Option<KeyValue>, Failure>;

    /// Hands over the keys of a range as they were at `revision`, in order, until told to stop. Without `values`,
    /// the values may be missing.
    fn scan(
        &mut self,
        keys: &KeyRange,
        revision: u64,
        values: bool,
        each: &mut dyn FnMut(KeyValue) -> bool,
    ) -> Result<(), Failure>;
}

/// Versions in memory: for each key its revisions, oldest first, and `None` where it was deleted.
#[derive(Debug, Default)]
pub(super) struct Table(pub(super) BTreeMap<Bytes, Vec<(u64, Option<KeyValue>)>>);

/// Settled versions, and above them those of the writes that are being made durable together.
pub(super) struct Staged<'a, V> {
    base: &'a mut V,
    fresh: Table,
    head: Head,
}

/// The size and shape rules, which need no state.
pub(super) fn check(txn: &Txn) -> Result<(), Error> {
    for (what, length) in
        [("compares", txn.compares.len()), ("operations", txn.success.len()), ("operations", txn.failure.len())]
    {
        if length > OPS_MAX {
            return Err(Error::TooLarge(format!("{length} {what} in one transaction; at most {OPS_MAX} are allowed")));
        }
    }
    let mut bytes = 0;
    for compare in &txn.compares {
        check_key(&compare.key)?;
        bytes += compare.key.len();
        if let Compared::Value(value) = &compare.what {
            bytes += value.len();
        }
    }
    for op in txn.success.iter().chain(&txn.failure) {
        bytes += match op {
            Op::Put { key, value, .. } => {
                check_key(key)?;
                key.len() + value.len()
            }
            Op::Delete { keys } | Op::Range(Range { keys, .. }) => {
                check_range(keys)?;
                keys.start.len()
            }
        };
    }
    if bytes > REQUEST_BYTES_MAX {
        return Err(Error::TooLarge(format!("{bytes} bytes; at most {REQUEST_BYTES_MAX} are allowed")));
    }
    check_duplicates(&txn.success)?;
    check_duplicates(&txn.failure)
}

pub(super) fn check_key(key: &[u8]) -> Result<(), Error> {
    match key.len() {
        0 => Err(Error::Invalid("the key is empty".into())),
        1..=KEY_BYTES_MAX => Ok(()),
        length => Err(Error::TooLarge(format!("a key of {length} bytes; at most {KEY_BYTES_MAX} are allowed"))),
    }
}

/// A range may begin before the first key; a single key may not be empty.
pub(super) fn check_range(keys: &KeyRange) -> Result<(), Error> {
    match keys.end {
        Some(_) if keys.start.is_empty() => Ok(()),
        _ => check_key(&keys.start),
    }
}

/// A revision has one version of a key, so one list must not touch a key twice (as in etcd).
fn check_duplicates(ops: &[Op]) -> Result<(), Error> {
    let mut put: Vec<&Bytes> = Vec::new();
    let mut deleted: Vec<&KeyRange> = Vec::new();
    for op in ops {
        match op {
            Op::Put { key, .. } => put.push(key),
            Op::Delete { keys } => deleted.push(keys),
            Op::Range(_) => {}
        }
    }
    put.sort_unstable();
    let twice = put.windows(2).any(|pair| pair[0] == pair[1])
        || put.iter().any(|key| deleted.iter().any(|keys| keys.contains(key)));
    match twice {
        true => Err(Error::Invalid("a key is written twice in one transaction".into())),
        false => Ok(()),
    }
}

/// Reads a range as it was at one revision.
pub(super) fn read(versions: &mut impl Versions, head: Head, range: &Range) -> Result<Ranged, Failure> {
    check_revision(head, range.revision)?;
    let at = if range.revision == 0 { head.revision } else { range.revision };
    let mut done = Ranged { revision: head.revision, ..Ranged::default() };
    let limit = if range.limit == 0 { usize::MAX } else { range.limit };
    let mut take = |mut kv: KeyValue| {
        done.count += 1;
        if range.count_only {
            return true;
        }
        if done.items.len() == limit {
            done.more = true;
            return true;
        }
        if range.keys_only {
            kv.value = Bytes::new();
        }
        done.items.push(kv);
        true
    };
    match range.keys.end {
        None => {
            if let Some(kv) = versions.at(&range.keys.start, at)? {
                take(kv);
            }
        }
        Some(_) => versions.scan(&range.keys, at, !range.keys_only && !range.count_only, &mut take)?,
    }
    Ok(done)
}

fn check_revision(head: Head, revision: u64) -> Result<(), Failure> {
    if revision > head.revision {
        return Err(Failure::Refused(Error::Future { wanted: revision, newest: head.revision }));
    }
    if revision != 0 && revision < head.compacted {
        return Err(Failure::Refused(Error::Compacted { wanted: revision, oldest: head.compacted }));
    }
    Ok(())
}

fn holds(compare: &Compare, current: Option<&KeyValue>) -> bool {
    let ordering = match &compare.what {
        Compared::CreateRevision(wanted) => current.map_or(0, |kv| kv.create_revision).cmp(wanted),
        Compared::ModRevision(wanted) => current.map_or(0, |kv| kv.mod_revision).cmp(wanted),
        Compared::Version(wanted) => current.map_or(0, |kv| kv.version).cmp(wanted),
        Compared::Lease(wanted) => current.map_or(0, |kv| kv.lease).cmp(wanted),
        // A key that is not there has no value, and is not even unequal to one (as in etcd).
        Compared::Value(wanted) => match current {
            Some(kv) => kv.value.cmp(wanted),
            None => return false,
        },
    };
    match compare.is {
        Comparison::Equal => ordering.is_eq(),
        Comparison::NotEqual => ordering.is_ne(),
        Comparison::Greater => ordering.is_gt(),
        Comparison::Less => ordering.is_lt(),
    }
}

// === impl Failure ===

impl Failure {
    pub(super) fn cause(self) -> String {
        match self {
            Failure::Broken(cause) => cause,
            Failure::Refused(error) => error.to_string(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Refused(error)
    }
}

// === impl Staged ===

impl<'a, V: Versions> Staged<'a, V> {
    pub(super) fn new(base: &'a mut V, head: Head) -> Staged<'a, V> {
        Staged { base, fresh: Table::default(), head }
    }

    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// What was written, for a base that is in memory.
    pub(super) fn into_fresh(self) -> (Head, Table) {
        (self.head, self.fresh)
    }

    /// Does one transaction that passed [`check`]. Nothing is changed if it is refused.
    pub(super) fn txn(&mut self, txn: &Txn) -> Result<(TxnDone, Vec<Change>), Failure> {
        let mut succeeded = true;
        for compare in &txn.compares {
            succeeded &= holds(compare, self.at(&compare.key, u64::MAX)?.as_ref());
        }
        let ops = if succeeded { &txn.success } else { &txn.failure };
        for op in ops {
            if let Op::Range(range) = op {
                check_revision(self.head, range.revision)?;
            }
        }
        let mut results = Vec::with_capacity(ops.len());
        let mut changes = Vec::new();
        let revision = self.head.revision + 1;
        for op in ops {
            results.push(match op {
                Op::Put { key, value, lease } => self.put(key, value, *lease, revision, &mut changes)?,
                Op::Delete { keys } => self.delete(keys, revision, &mut changes)?,
                Op::Range(range) => {
                    let wrote = if changes.is_empty() { 0 } else { 1 };
                    let head = Head { revision: self.head.revision + wrote, ..self.head };
                    OpDone::Range(read(self, head, range)?)
                }
            });
        }
        if !changes.is_empty() {
            self.head.revision = revision;
        }
        Ok((TxnDone { succeeded, revision: self.head.revision, results }, changes))
    }

    /// From now on reads below `revision` are refused. The versions go later, a few at a time.
    pub(super) fn compact(&mut self, revision: u64) -> Result<(), Failure> {
        if revision > self.head.revision {
            return Err(Failure::Refused(Error::Future { wanted: revision, newest: self.head.revision }));
        }
        if revision <= self.head.compacted {
            return Err(Failure::Refused(Error::Compacted { wanted: revision, oldest: self.head.compacted }));
        }
        self.head.compacted = revision;
        Ok(())
    }

    fn put(
        &mut self,
        key: &Bytes,
        value: &Bytes,
        lease: i64,
        revision: u64,
        changes: &mut Vec<Change>,
    ) -> Result<OpDone, Failure> {
        let previous = self.at(key, u64::MAX)?;
        let kv = KeyValue {
            key: key.clone(),
            value: value.clone(),
            create_revision: previous.as_ref().map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: previous.as_ref().map_or(1, |kv| kv.version + 1),
            lease,
        };
        self.fresh.push(key.clone(), revision, Some(kv.clone()));
        changes.push(Change { kv, is_delete: false, previous: previous.clone() });
        Ok(OpDone::Put { previous })
    }

    fn delete(&mut self, keys: &KeyRange, revision: u64, changes: &mut Vec<Change>) -> Result<OpDone, Failure> {
        let mut previous = Vec::new();
        match keys.end {
            None => previous.extend(self.at(&keys.start, u64::MAX)?),
            Some(_) => self.scan(keys, u64::MAX, true, &mut |kv| {
                previous.push(kv);
                true
            })?,
        }
        for kv in &previous {
            self.fresh.push(kv.key.clone(), revision, None);
            let gone = KeyValue::gone(kv.key.clone(), revision);
            changes.push(Change { kv: gone, is_delete: true, previous: Some(kv.clone()) });
        }
        Ok(OpDone::Delete { deleted: previous.len() as u64, previous })
    }
}

impl<V: Versions> Versions for Staged<'_, V> {
    fn at(&mut self, key: &[u8], revision: u64) -> Result<Option<KeyValue>, Failure> {
        match self.fresh.version(key, revision) {
            Some(version) => Ok(version.cloned()),
            None => self.base.at(key, revision),
        }
    }

    fn scan(
        &mut self,
        keys: &KeyRange,
        revision: u64,
        values: bool,
        each: &mut dyn FnMut(KeyValue) -> bool,
    ) -> Result<(), Failure> {
        let mut fresh = self.fresh.versions(keys, revision).peekable();
        let mut more = true;
        self.base.scan(keys, revision, values, &mut |settled| {
            while let Some((_, version)) = fresh.next_if(|(key, _)| **key < settled.key) {
                more = version.is_none_or(|kv| each(kv.clone()));
                if !more {
                    return false;
                }
            }
            more = match fresh.next_if(|(key, _)| **key == settled.key) {
                Some((_, version)) => version.is_none_or(|kv| each(kv.clone())),
                None => each(settled),
            };
            more
        })?;
        if more {
            for (_, version) in fresh {
                if !version.is_none_or(|kv| each(kv.clone())) {
                    break;
                }
            }
        }
        Ok(())
    }
}

// === impl Table ===

impl Table {
    pub(super) fn push(&mut self, key: Bytes, revision: u64, version: Option<KeyValue>) {
        self.0.entry(key).or_default().push((revision, version));
    }

    /// The outer `None`: not known here.
    fn version(&self, key: &[u8], revision: u64) -> Option<Option<&KeyValue>> {
        newest(self.0.get(key)?, revision)
    }

    fn versions<'t>(
        &'t self,
        keys: &KeyRange,
        revision: u64,
    ) -> impl Iterator<Item = (&'t Bytes, Option<&'t KeyValue>)> + use<'t> {
        let end = match &keys.end {
            None => Bound::Included(keys.start.clone()),
            Some(end) if **end == [0] => Bound::Unbounded,
            // An empty or inverted range holds nothing; a BTreeMap would panic.
            Some(end) => Bound::Excluded(end.clone().max(keys.start.clone())),
        };
        self.0
            .range((Bound::Included(keys.start.clone()), end))
            .filter_map(move |(key, versions)| Some((key, newest(versions, revision)?)))
    }
}

fn newest(versions: &[(u64, Option<KeyValue>)], revision: u64) -> Option<Option<&KeyValue>> {
    let (_, version) = versions.iter().rev().find(|(at, _)| *at <= revision)?;
    Some(version.as_ref())
}

impl Versions for Table {
    fn at(&mut self, key: &[u8], revision: u64) -> Result<Option<KeyValue>, Failure> {
        Ok(self.version(key, revision).flatten().cloned())
    }

    fn scan(
        &mut self,
        keys: &KeyRange,
        revision: u64,
        _values: bool,
        each: &mut dyn FnMut(KeyValue) -> bool,
    ) -> Result<(), Failure> {
        for (_, version) in self.versions(keys, revision) {
            if !version.is_none_or(|kv| each(kv.clone())) {
                break;
            }
        }
        Ok(())
    }
}
