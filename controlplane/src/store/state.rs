//! What a transaction does to the keys: pure, and the same on each member, in memory and in a simulation.
//!
//! Knows neither disk nor log. It reads through [`Versions`], and what it writes stays in [`Staged`] until the
//! caller has made it durable, so nobody reads a write that a power cut could take back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use bytes::Bytes;

use super::kv::{Change, Compare, Compared, Comparison, Delete, Error, KeyRange, KeyValue, Op, OpDone, Put, Range};
use super::kv::{Ranged, Txn, TxnDone};

/// Operations in each of the three lists of a transaction; etcd's default.
pub(super) const OPS_MAX: usize = 128;
/// Bytes of all keys and values of one transaction; etcd's default.
pub(super) const REQUEST_BYTES_MAX: usize = 1536 * 1024;
/// Bytes of one key.
pub(super) const KEY_BYTES_MAX: usize = 16 * 1024;
/// Transactions within each other. Who reads them back from the log stops at a depth, too.
const DEPTH_MAX: usize = 16;

/// Where the store stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The newest write. A new store is at 1, as etcd's is, so that 0 is free to mean "the newest".
    pub(super) revision: u64,
    /// Reads below this are refused.
    pub(super) compacted: u64,
}

// === impl Head ===

impl Head {
    /// Changes up to this revision are nowhere. Those of the compacted revision itself are kept, because a watch can
    /// begin there, as in etcd.
    pub(super) fn changes_gone(self) -> u64 {
        self.compacted.saturating_sub(1)
    }
}

/// Why a command has no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request cannot be done; every member says the same.
    Refused(Error),
    /// This member cannot read its own data, and must not go on.
    Broken(String),
}

/// The versions of keys that are settled, and the leases.
pub(super) trait Versions {
    /// What `key` was at `revision`. Without `values`, the value may be missing.
    fn at(&mut self, key: &Bytes, revision: u64, values: bool) -> Result<Option<KeyValue>, Failure>;

    /// Hands over the keys of a range as they were at `revision`, in order, until told to stop. Without `values`,
    /// the values may be missing.
    fn scan(
        &mut self,
        keys: &KeyRange,
        revision: u64,
        values: bool,
        each: &mut dyn FnMut(KeyValue) -> bool,
    ) -> Result<(), Failure>;

    /// The seconds of a lease that has not ended.
    fn lease(&mut self, id: i64) -> Result<Option<u64>, Failure>;

    /// The keys that are attached to a lease.
    fn attached(&mut self, lease: i64) -> Result<BTreeSet<Bytes>, Failure>;
}

/// Versions and leases in memory.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// For each key its revisions, oldest first, and `None` where it was deleted.
    pub(super) versions: BTreeMap<Bytes, Vec<(u64, Option<KeyValue>)>>,
    /// The seconds of each lease, and `None` where it has ended.
    pub(super) leases: BTreeMap<i64, Option<u64>>,
    /// For each lease whether a key is attached to it.
    pub(super) attached: BTreeMap<i64, BTreeMap<Bytes, bool>>,
}

/// Settled versions, and above them those of the writes that are being made durable together.
pub(super) struct Staged<'a, V> {
    base: &'a mut V,
    fresh: Table,
    head: Head,
}

/// The size and shape rules, which need no state.
pub(crate) fn check(txn: &Txn) -> Result<(), Error> {
    let bytes = check_size(txn, OPS_MAX, DEPTH_MAX)?;
    if bytes > REQUEST_BYTES_MAX {
        return Err(Error::TooLarge(format!("{bytes} bytes; at most {REQUEST_BYTES_MAX} are allowed")));
    }
    Written::of(&txn.success)?;
    Written::of(&txn.failure).map(drop)
}

/// The bytes of keys and values. An inner transaction may be as large as the lists around it leave room for.
fn check_size(txn: &Txn, ops_max: usize, depth_max: usize) -> Result<usize, Error> {
    let longest = txn.compares.len().max(txn.success.len()).max(txn.failure.len());
    if longest > ops_max {
        return Err(Error::TooLarge(format!("{longest} operations in one transaction; at most {ops_max} are allowed")));
    }
    if depth_max == 0 {
        return Err(Error::TooLarge(format!("more than {DEPTH_MAX} transactions within each other")));
    }
    let mut bytes = 0;
    for compare in &txn.compares {
        check_range(&compare.keys)?;
        bytes += compare.keys.start.len();
        if let Compared::Value(value) = &compare.what {
            bytes += value.len();
        }
    }
    for op in txn.success.iter().chain(&txn.failure) {
        bytes += match op {
            Op::Put(Put { key, value, .. }) => {
                check_key(key)?;
                key.len() + value.as_ref().map_or(0, Bytes::len)
            }
            Op::Delete(Delete { keys, .. }) | Op::Range(Range { keys, .. }) => {
                check_range(keys)?;
                keys.start.len()
            }
            Op::Txn(txn) => check_size(txn, ops_max - longest, depth_max - 1)?,
        };
    }
    Ok(bytes)
}

pub(super) fn check_key(key: &[u8]) -> Result<(), Error> {
    match key.len() {
        0 => Err(Error::Invalid("the key is empty".into())),
        1..=KEY_BYTES_MAX => Ok(()),
        length => Err(Error::TooLarge(format!("a key of {length} bytes; at most {KEY_BYTES_MAX} are allowed"))),
    }
}

/// A range may begin before the first key; a single key may not be empty.
pub(crate) fn check_range(keys: &KeyRange) -> Result<(), Error> {
    match keys.end {
        Some(_) if keys.start.is_empty() => Ok(()),
        _ => check_key(&keys.start),
    }
}

/// What a list of operations may write. A revision has one version of a key, so a list must not touch a key twice (as
/// in etcd); of an inner transaction, one list or the other is done.
#[derive(Default)]
struct Written<'a> {
    put: BTreeSet<&'a Bytes>,
    deleted: Vec<&'a KeyRange>,
}

impl<'a> Written<'a> {
    fn of(ops: &'a [Op]) -> Result<Written<'a>, Error> {
        let mut written = Written::default();
        for op in ops {
            if let Op::Delete(Delete { keys, .. }) = op {
                written.deleted.push(keys);
            }
        }
        for op in ops {
            let Op::Txn(txn) = op else { continue };
            let (success, failure) = (Written::of(&txn.success)?, Written::of(&txn.failure)?);
            let put: BTreeSet<_> = success.put.union(&failure.put).copied().collect();
            put.into_iter().try_for_each(|key| written.put(key))?;
            let deleted = success.deleted.into_iter().chain(failure.deleted);
            for keys in deleted {
                if written.put.iter().any(|key| keys.contains(key) && !is_put_in(txn, key)) {
                    return Err(Error::Twice);
                }
                written.deleted.push(keys);
            }
        }
        for op in ops {
            if let Op::Put(Put { key, .. }) = op {
                written.put(key)?;
            }
        }
        Ok(written)
    }

    fn put(&mut self, key: &'a Bytes) -> Result<(), Error> {
        let is_deleted = self.deleted.iter().any(|keys| keys.contains(key));
        match self.put.insert(key) && !is_deleted {
            true => Ok(()),
            false => Err(Error::Twice),
        }
    }
}

/// Within one inner transaction, each list was checked by itself.
fn is_put_in(txn: &Txn, key: &Bytes) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::Put(put) => put.key == *key,
        Op::Txn(txn) => is_put_in(txn, key),
        Op::Delete(_) | Op::Range(_) => false,
    })
}

/// Reads a range as it was at one revision.
pub(super) fn read(versions: &mut impl Versions, head: Head, range: &Range) -> Result<Ranged, Failure> {
    check_revision(head, range.revision)?;
    let at = if range.revision == 0 { head.revision } else { range.revision };
    let mut done = Ranged { revision: head.revision, ..Ranged::default() };
    let limit = if range.limit == 0 { usize::MAX } else { range.limit };
    let values = !range.keys_only && !range.count_only;
    // Where what is beyond the limit begins.
    let mut rest = None;
    let mut take = |mut kv: KeyValue| {
        if !range.count_only {
            if done.items.len() == limit {
                rest = Some(kv.key);
                return false;
            }
            if range.keys_only {
                kv.value = Bytes::new();
            }
            done.items.push(kv);
        }
        done.count += 1;
        true
    };
    match range.keys.end {
        None => {
            if let Some(kv) = versions.at(&range.keys.start, at, values)? {
                take(kv);
            }
        }
        Some(_) => versions.scan(&range.keys, at, values, &mut take)?,
    }
    if let Some(start) = rest {
        done.more = true;
        if !range.uncounted {
            // Nobody wants their values, which would be read one by one.
            let rest = KeyRange { start, ..range.keys.clone() };
            versions.scan(&rest, at, false, &mut |_| {
                done.count += 1;
                true
            })?;
        }
    }
    Ok(done)
}

pub(super) fn check_revision(head: Head, revision: u64) -> Result<(), Failure> {
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
        let mut path = VecDeque::new();
        self.decide(txn, &mut path)?;
        let mut changes = Vec::new();
        let done = self.perform(txn, &mut path, &mut changes)?;
        self.head.revision = done.revision;
        Ok((done, changes))
    }

    /// Which list of each transaction is to be done, the outer one's first: all see what was there before. Refuses
    /// what cannot be done: because of a put first, then because of a range (as in etcd).
    fn decide(&mut self, txn: &Txn, path: &mut VecDeque<bool>) -> Result<(), Failure> {
        let mut ops = Vec::new();
        self.choose(txn, path, &mut ops)?;
        for op in &ops {
            if let Op::Put(put) = op {
                self.check_put(put)?;
            }
        }
        ops.iter().try_for_each(|op| match op {
            Op::Range(range) => check_revision(self.head, range.revision),
            Op::Put(_) | Op::Delete(_) | Op::Txn(_) => Ok(()),
        })
    }

    /// The lists, and all operations on them.
    fn choose<'t>(&mut self, txn: &'t Txn, path: &mut VecDeque<bool>, ops: &mut Vec<&'t Op>) -> Result<(), Failure> {
        let mut succeeds = true;
        for compare in &txn.compares {
            succeeds = succeeds && self.holds(compare)?;
        }
        path.push_back(succeeds);
        for op in txn.branch(succeeds) {
            match op {
                Op::Txn(inner) => self.choose(inner, path, ops)?,
                op => ops.push(op),
            }
        }
        Ok(())
    }

    fn holds(&mut self, compare: &Compare) -> Result<bool, Failure> {
        let values = matches!(compare.what, Compared::Value(_));
        if compare.keys.end.is_none() {
            return Ok(holds(compare, self.at(&compare.keys.start, u64::MAX, values)?.as_ref()));
        }
        let mut all = None;
        self.scan(&compare.keys, u64::MAX, values, &mut |kv| {
            let holds = holds(compare, Some(&kv));
            all = Some(holds);
            holds
        })?;
        Ok(all.unwrap_or_else(|| holds(compare, None)))
    }

    fn check_put(&mut self, put: &Put) -> Result<(), Failure> {
        let keeps = put.value.is_none() || put.lease.is_none();
        if keeps && self.at(&put.key, u64::MAX, false)?.is_none() {
            return Err(Failure::Refused(Error::NoKey(put.key.clone())));
        }
        match put.lease {
            Some(id) if id != 0 => self.expect_lease(id),
            _ => Ok(()),
        }
    }

    fn expect_lease(&mut self, id: i64) -> Result<(), Failure> {
        match self.lease(id)? {
            Some(_) => Ok(()),
            None => Err(Failure::Refused(Error::NoLease(id))),
        }
    }

    /// Does the list that was decided on, and the same for the transactions in it.
    fn perform(&mut self, txn: &Txn, path: &mut VecDeque<bool>, changes: &mut Vec<Change>) -> Result<TxnDone, Failure> {
        let succeeded = path.pop_front().expect("each transaction was decided on");
        let revision = self.head.revision + 1;
        let mut results = Vec::with_capacity(txn.branch(succeeded).len());
        for op in txn.branch(succeeded) {
            results.push(match op {
                Op::Put(put) => self.put(put, revision, changes)?,
                Op::Delete(delete) => self.delete(delete, revision, changes)?,
                Op::Range(range) => {
                    let wrote = if changes.is_empty() { 0 } else { 1 };
                    let head = Head { revision: self.head.revision + wrote, ..self.head };
                    OpDone::Range(read(self, head, range)?)
                }
                Op::Txn(inner) => OpDone::Txn(self.perform(inner, path, changes)?),
            });
        }
        let revision = if changes.is_empty() { self.head.revision } else { revision };
        Ok(TxnDone { succeeded, revision, results })
    }

    /// Begins a lease.
    pub(super) fn grant(&mut self, id: i64, ttl: u64) -> Result<(), Failure> {
        if id == 0 || ttl == 0 {
            return Err(Failure::Refused(Error::Invalid("a lease has a number and a time".into())));
        }
        if self.lease(id)?.is_some() {
            return Err(Failure::Refused(Error::LeaseExists(id)));
        }
        self.fresh.leases.insert(id, Some(ttl));
        Ok(())
    }

    /// Ends a lease, and deletes what is attached to it, in order and under one revision.
    pub(super) fn revoke(&mut self, id: i64) -> Result<(u64, Vec<Change>), Failure> {
        self.expect_lease(id)?;
        let mut changes = Vec::new();
        for key in self.attached(id)? {
            let previous = self.at(&key, u64::MAX, false)?.filter(|kv| kv.lease == id);
            let previous =
                previous.ok_or_else(|| Failure::Broken(format!("{key:?} is not attached to the lease that has it")))?;
            self.remove(previous, self.head.revision + 1, &mut changes);
        }
        self.fresh.leases.insert(id, None);
        if !changes.is_empty() {
            self.head.revision += 1;
        }
        Ok((self.head.revision, changes))
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

    fn put(&mut self, put: &Put, revision: u64, changes: &mut Vec<Change>) -> Result<OpDone, Failure> {
        let previous = self.at(&put.key, u64::MAX, put.previous || put.value.is_none())?;
        let kept = previous.as_ref();
        let value = put.value.as_ref().or(kept.map(|kv| &kv.value));
        let lease = put.lease.or(kept.map(|kv| kv.lease));
        let kv = KeyValue {
            key: put.key.clone(),
            value: value.cloned().unwrap_or_default(),
            create_revision: kept.map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: kept.map_or(1, |kv| kv.version + 1),
            lease: lease.unwrap_or_default(),
        };
        self.fresh.attach(&kv.key, kept.map_or(0, |kv| kv.lease), kv.lease);
        self.fresh.push(kv.key.clone(), revision, Some(kv.clone()));
        let told = previous.clone().filter(|_| put.previous);
        changes.push(Change { kv, is_delete: false, previous });
        Ok(OpDone::Put { previous: told })
    }

    fn delete(&mut self, delete: &Delete, revision: u64, changes: &mut Vec<Change>) -> Result<OpDone, Failure> {
        let mut previous = Vec::new();
        match delete.keys.end {
            None => previous.extend(self.at(&delete.keys.start, u64::MAX, delete.previous)?),
            Some(_) => self.scan(&delete.keys, u64::MAX, delete.previous, &mut |kv| {
                previous.push(kv);
                true
            })?,
        }
        for kv in &previous {
            self.remove(kv.clone(), revision, changes);
        }
        let deleted = previous.len() as u64;
        if !delete.previous {
            previous.clear();
        }
        Ok(OpDone::Delete { deleted, previous })
    }

    fn remove(&mut self, previous: KeyValue, revision: u64, changes: &mut Vec<Change>) {
        let key = previous.key.clone();
        self.fresh.attach(&key, previous.lease, 0);
        self.fresh.push(key.clone(), revision, None);
        changes.push(Change { kv: KeyValue::gone(key, revision), is_delete: true, previous: Some(previous) });
    }
}

impl<V: Versions> Versions for Staged<'_, V> {
    fn at(&mut self, key: &Bytes, revision: u64, values: bool) -> Result<Option<KeyValue>, Failure> {
        match self.fresh.version(key, revision) {
            Some(version) => Ok(version.cloned()),
            None => self.base.at(key, revision, values),
        }
    }

    fn lease(&mut self, id: i64) -> Result<Option<u64>, Failure> {
        match self.fresh.leases.get(&id) {
            Some(lease) => Ok(*lease),
            None => self.base.lease(id),
        }
    }

    fn attached(&mut self, lease: i64) -> Result<BTreeSet<Bytes>, Failure> {
        let mut keys = self.base.attached(lease)?;
        for (key, is_attached) in self.fresh.attached.get(&lease).into_iter().flatten() {
            match is_attached {
                true => keys.insert(key.clone()),
                false => keys.remove(key),
            };
        }
        Ok(keys)
    }

    fn scan(
        &mut self,
        keys: &KeyRange,
        revision: u64,
        values: bool,
        each: &mut dyn FnMut(KeyValue) -> bool,
    ) -> Result<(), Failure> {
        let mut fresh = self.fresh.of_range(keys, revision).peekable();
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
    fn push(&mut self, key: Bytes, revision: u64, version: Option<KeyValue>) {
        // Most are written once in a batch.
        self.versions.entry(key).or_insert_with(|| Vec::with_capacity(1)).push((revision, version));
    }

    /// A key goes from one lease to another; 0 is none.
    fn attach(&mut self, key: &Bytes, from: i64, to: i64) {
        if from == to {
            return;
        }
        for (lease, is_attached) in [(from, false), (to, true)] {
            if lease != 0 {
                self.attached.entry(lease).or_default().insert(key.clone(), is_attached);
            }
        }
    }

    /// Takes over what was written above it.
    pub(super) fn merge(&mut self, fresh: Table) {
        for (key, versions) in fresh.versions {
            self.versions.entry(key).or_default().extend(versions);
        }
        for (lease, keys) in fresh.attached {
            let attached = self.attached.entry(lease).or_default();
            attached.extend(keys);
            attached.retain(|_, is_attached| *is_attached);
        }
        self.leases.extend(fresh.leases);
        self.leases.retain(|_, ttl| ttl.is_some());
        self.attached.retain(|_, keys| !keys.is_empty());
    }

    /// The outer `None`: not known here.
    fn version(&self, key: &[u8], revision: u64) -> Option<Option<&KeyValue>> {
        newest(self.versions.get(key)?, revision)
    }

    fn of_range<'t>(
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
        self.versions
            .range((Bound::Included(keys.start.clone()), end))
            .filter_map(move |(key, versions)| Some((key, newest(versions, revision)?)))
    }
}

fn newest(versions: &[(u64, Option<KeyValue>)], revision: u64) -> Option<Option<&KeyValue>> {
    let (_, version) = versions.iter().rev().find(|(at, _)| *at <= revision)?;
    Some(version.as_ref())
}

impl Versions for Table {
    fn at(&mut self, key: &Bytes, revision: u64, _values: bool) -> Result<Option<KeyValue>, Failure> {
        Ok(self.version(key, revision).flatten().cloned())
    }

    fn lease(&mut self, id: i64) -> Result<Option<u64>, Failure> {
        Ok(self.leases.get(&id).copied().flatten())
    }

    fn attached(&mut self, lease: i64) -> Result<BTreeSet<Bytes>, Failure> {
        let keys = self.attached.get(&lease).into_iter().flatten();
        Ok(keys.filter(|(_, is_attached)| **is_attached).map(|(key, _)| key.clone()).collect())
    }

    fn scan(
        &mut self,
        keys: &KeyRange,
        revision: u64,
        _values: bool,
        each: &mut dyn FnMut(KeyValue) -> bool,
    ) -> Result<(), Failure> {
        for (_, version) in self.of_range(keys, revision) {
            if !version.is_none_or(|kv| each(kv.clone())) {
                break;
            }
        }
        Ok(())
    }
}
