//! What must hold in every run, whatever fails.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use raft::eraftpb::ConfState;

use crate::store::history::Recorded;
use crate::store::kv::{Change, KeyValue, OpDone, TxnDone};
use crate::store::record::Record;
use crate::store::state::Head;

/// Everything that was seen, and what it must agree with.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// Who led each term.
    leaders: BTreeMap<u64, u64>,
    /// What each revision changed, as the first member that applied it told.
    revisions: BTreeMap<u64, Vec<Change>>,
    /// State at each applied index that was seen.
    applied: BTreeMap<u64, (u64, u64, ConfState)>,
    /// Where each member's watchers stand.
    watched: BTreeMap<u64, u64>,
    /// The newest revision that any client knows of.
    known: u64,
    operations: BTreeMap<u64, Operation>,
    /// When the first member told of a revision.
    told: BTreeMap<u64, u64>,
    leases: BTreeMap<i64, Lease>,
    /// The shortest tick of any clock, ms.
    tick: u64,
}

/// What clients were promised of a lease.
#[derive(Debug, Default)]
struct Lease {
    ttl: u64,
    /// It lives until then, unless somebody revokes it.
    until: u64,
    is_revoked: bool,
}

#[derive(Debug)]
pub(super) struct Operation {
    pub(super) wanted: Wanted,
    /// What clients knew when it was asked.
    known: u64,
    asked: u64,
    outcome: Outcome,
}

#[derive(Debug, Clone)]
pub(super) enum Wanted {
    /// Puts its own number as the value of these keys.
    Put(Vec<Bytes>),
    /// The same for one key, if its last change was at this revision.
    Swap(Bytes, u64),
    Delete(Bytes),
    /// As a put, and the key goes with the lease.
    Attach(Bytes, i64),
    /// A lease of so many seconds.
    Grant(i64, u64),
    Revoke(i64),
    Renew(i64),
    Read,
    Conf,
}

#[derive(Debug)]
enum Outcome {
    /// Nobody can tell whether it was done.
    Unknown,
    /// It was certainly not done.
    Refused,
    Done(TxnDone),
    Read(u64, Vec<KeyValue>),
}

// === impl Operation ===

impl Operation {
    fn is_unknown_write(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown) && !matches!(self.wanted, Wanted::Read | Wanted::Renew(_))
    }
}

/// The value that an operation writes.
pub(super) fn value(number: u64) -> Bytes {
    number.to_string().into()
}

// === impl Oracle ===

impl Oracle {
    pub(super) fn new(tick: u64) -> Oracle {
        Oracle { tick, ..Oracle::default() }
    }

    /// The newest revision that any member was seen to apply.
    pub(super) fn newest(&self) -> u64 {
        self.revisions.last_key_value().map_or(1, |(revision, _)| *revision)
    }

    pub(super) fn last_change(&self, key: &Bytes) -> u64 {
        let mut changes = self.revisions.iter().rev().flat_map(|(_, changes)| changes);
        changes.find(|change| change.kv.key == *key && !change.is_delete).map_or(0, |change| change.kv.mod_revision)
    }

    pub(super) fn leads(&mut self, term: u64, id: u64) -> Result<bool, String> {
        match self.leaders.insert(term, id) {
            Some(other) if other != id => Err(format!("term {term} has two leaders: {other} and {id}")),
            known => Ok(known.is_none()),
        }
    }

    /// Changes that a member has on its disk, and nobody was told of.
    pub(super) fn found(&mut self, changes: Vec<Change>) {
        for change in changes {
            self.revisions.entry(change.kv.mod_revision).or_default().push(bare(change));
        }
    }

    pub(super) fn started(&mut self, id: u64, revision: u64) {
        self.watched.insert(id, revision);
    }

    pub(super) fn restored(&mut self, id: u64, head: Head) -> Result<(), String> {
        let before = self.watched.insert(id, head.revision).unwrap_or(0);
        match head.revision < before {
            true => Err(format!("member {id} went back from revision {before} to {} by a snapshot", head.revision)),
            false => Ok(()),
        }
    }

    pub(super) fn recorded(&mut self, id: u64, recorded: Vec<Recorded>, now: u64) -> Result<(), String> {
        for Recorded { revision, changes } in recorded {
            let changes: Vec<Change> = changes.into_iter().map(bare).collect();
            self.told.entry(revision).or_insert(now);
            let before = self.watched.insert(id, revision).unwrap_or(0);
            if revision != before + 1 {
                return Err(format!("watchers of member {id} see revision {revision} after {before}"));
            }
            match self.revisions.get(&revision) {
                Some(known) if *known != changes => {
                    return Err(format!("revision {revision} is {changes:?} on member {id}, and was {known:?}"));
                }
                Some(_) => {}
                None => drop(self.revisions.insert(revision, changes)),
            }
        }
        Ok(())
    }

    /// Members that have applied the same hold the same.
    pub(super) fn stands(&mut self, id: u64, record: &Record) -> Result<(), String> {
        let conf = record.conf.clone().unwrap_or_default();
        let state = (record.digest, record.revision, sorted(conf));
        match self.applied.get(&record.applied) {
            Some(known) if *known != state => {
                Err(format!("member {id} holds {state:?} at entry {}, where another held {known:?}", record.applied))
            }
            Some(_) => Ok(()),
            None => {
                self.applied.insert(record.applied, state);
                Ok(())
            }
        }
    }

    pub(super) fn asked(&mut self, number: u64, wanted: Wanted, now: u64) {
        match wanted {
            Wanted::Grant(id, ttl) => drop(self.leases.insert(id, Lease { ttl, ..Lease::default() })),
            Wanted::Revoke(id) => self.leases.get_mut(&id).expect("it was granted").is_revoked = true,
            _ => {}
        }
        let operation = Operation { wanted, known: self.known, asked: now, outcome: Outcome::Unknown };
        self.operations.insert(number, operation);
    }

    pub(super) fn wanted(&self, number: u64) -> &Wanted {
        &self.operations[&number].wanted
    }

    /// The newest leases that were asked for, granted or not.
    pub(super) fn leases(&self) -> Vec<i64> {
        self.leases.keys().rev().take(5).copied().collect()
    }

    /// A client was told that a lease lives; it may rely on that from when it asked.
    fn promised(&mut self, id: i64, asked: u64) {
        let lease = self.leases.get_mut(&id).expect("it was granted");
        lease.until = lease.until.max(asked + lease.ttl * 10 * self.tick);
    }

    pub(super) fn renewed(&mut self, number: u64, id: i64, ttl: u64) -> Result<(), String> {
        let operation = self.operations.get_mut(&number).expect("it was asked");
        operation.outcome = Outcome::Refused;
        let asked = operation.asked;
        self.promised(id, asked);
        match self.leases[&id].ttl == ttl {
            true => Ok(()),
            false => Err(format!("lease {id} was granted for another time than {ttl} s")),
        }
    }

    /// A client was told that there is no such lease.
    pub(super) fn denied(&mut self, number: u64, id: i64, now: u64) -> Result<(), String> {
        self.refused(number);
        let lease = &self.leases[&id];
        match lease.until > now && !lease.is_revoked {
            true => Err(format!("lease {id} is gone at {now}, and was promised: {lease:?}")),
            false => Ok(()),
        }
    }

    pub(super) fn refused(&mut self, number: u64) {
        self.operations.get_mut(&number).expect("it was asked").outcome = Outcome::Refused;
    }

    pub(super) fn done(&mut self, number: u64, done: TxnDone) -> Result<(), String> {
        let operation = self.operations.get_mut(&number).expect("it was asked");
        if !matches!(operation.outcome, Outcome::Unknown) {
            return Err(format!("operation {number} was answered twice"));
        }
        if matches!(operation.wanted, Wanted::Conf) {
            operation.outcome = Outcome::Refused;
            return Ok(());
        }
        let wrote = done.results.iter().any(|result| match result {
            OpDone::Put { .. } => true,
            OpDone::Delete { deleted, .. } => *deleted > 0,
            OpDone::Range(_) | OpDone::Txn(_) => false,
        });
        let (asked, wanted) = (operation.asked, operation.wanted.clone());
        let least = operation.known + u64::from(wrote);
        if done.revision < least {
            return Err(format!(
                "{number} was done at revision {}, after {} was known",
                done.revision, operation.known
            ));
        }
        self.known = self.known.max(done.revision);
        operation.outcome = Outcome::Done(done);
        if let Wanted::Grant(id, _) = wanted {
            self.promised(id, asked);
        }
        Ok(())
    }

    pub(super) fn read(&mut self, number: u64, revision: u64, items: Vec<KeyValue>) -> Result<(), String> {
        let operation = self.operations.get_mut(&number).expect("it was asked");
        if revision < operation.known {
            return Err(format!("read {number} shows revision {revision}, after {} was known", operation.known));
        }
        self.known = self.known.max(revision);
        operation.outcome = Outcome::Read(revision, items);
        Ok(())
    }

    /// How many writes ended without a known outcome.
    pub(super) fn unknown(&self) -> u64 {
        self.operations.values().filter(|operation| operation.is_unknown_write()).count() as u64
    }

    /// Replays all revisions in order, and compares what clients were told with that. How many leases were seen to end
    /// by themselves.
    pub(super) fn judge(&self, newest: u64) -> Result<u64, String> {
        if newest < self.known {
            return Err(format!("revision {} was acknowledged, and the group ends at {newest}", self.known));
        }
        let mut at: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (number, operation) in &self.operations {
            match &operation.outcome {
                Outcome::Done(done) => at.entry(done.revision).or_default().push(*number),
                Outcome::Read(revision, _) => at.entry(*revision).or_default().push(*number),
                Outcome::Unknown | Outcome::Refused => {}
            }
        }
        let mut written: BTreeMap<Bytes, u64> = BTreeMap::new();
        let mut state: BTreeMap<Bytes, KeyValue> = BTreeMap::new();
        let (mut revoked, mut ended) = (BTreeSet::new(), 0);
        for revision in 1..=newest {
            let before = state.clone();
            for change in self.revisions.get(&revision).into_iter().flatten() {
                let key = change.kv.key.clone();
                if change.is_delete {
                    state.remove(&key);
                    continue;
                }
                state.insert(key, change.kv.clone());
                if let Some(earlier) = written.insert(change.kv.value.clone(), revision)
                    && earlier != revision
                {
                    let value = &change.kv.value;
                    return Err(format!("operation {value:?} was done twice, at revisions {earlier} and {revision}"));
                }
            }
            let mut deleted = BTreeSet::new();
            for number in at.get(&revision).into_iter().flatten() {
                self.compare(*number, &before, &state)?;
                match (&self.operations[number].wanted, &self.operations[number].outcome) {
                    (Wanted::Delete(key), Outcome::Done(_)) => drop(deleted.insert(key)),
                    (Wanted::Revoke(id), Outcome::Done(_)) => drop(revoked.insert(*id)),
                    _ => {}
                }
            }
            ended += self.explain(revision, &before, &deleted)?;
            if let Some(kv) = state.values().find(|kv| kv.lease != 0 && revoked.contains(&kv.lease)) {
                return Err(format!("{kv:?} is there at revision {revision}, after its lease was revoked"));
            }
        }
        for (number, operation) in &self.operations {
            if matches!(operation.outcome, Outcome::Refused) && written.contains_key(&value(*number)) {
                return Err(format!("operation {number} was refused, and done"));
            }
        }
        Ok(ended)
    }

    /// A key goes because somebody deleted it, or with its lease and all else that is attached to that. How many leases
    /// have ended by themselves.
    fn explain(
        &self,
        revision: u64,
        before: &BTreeMap<Bytes, KeyValue>,
        deleted: &BTreeSet<&Bytes>,
    ) -> Result<u64, String> {
        let gone: Vec<&Bytes> =
            self.revisions.get(&revision).into_iter().flatten().filter(|c| c.is_delete).map(|c| &c.kv.key).collect();
        let [first, ..] = &*gone else { return Ok(0) };
        let may_be_deleted = |key: &&Bytes| {
            let is_unknown = |operation: &Operation| {
                operation.is_unknown_write() && matches!(&operation.wanted, Wanted::Delete(other) if other == *key)
            };
            deleted.contains(*key) || self.operations.values().any(is_unknown)
        };
        let lease = before.get(*first).map_or(0, |kv| kv.lease);
        let attached: Vec<&Bytes> = before.values().filter(|kv| kv.lease == lease).map(|kv| &kv.key).collect();
        let known = self.leases.get(&lease).filter(|_| gone == attached);
        match known {
            // Nobody deletes the only key of a lease at the moment when that ends.
            _ if gone.len() == 1 && may_be_deleted(first) => Ok(0),
            Some(lease) if lease.is_revoked => Ok(0),
            Some(ended) if self.told.get(&revision).is_some_and(|told| *told < ended.until) => {
                let told = self.told[&revision];
                Err(format!("lease {lease} has ended at {told}, before its time: {ended:?}"))
            }
            Some(_) => Ok(1),
            None => Err(format!("{gone:?} are gone at revision {revision}, for no reason; before: {before:?}")),
        }
    }

    fn compare(
        &self,
        number: u64,
        before: &BTreeMap<Bytes, KeyValue>,
        state: &BTreeMap<Bytes, KeyValue>,
    ) -> Result<(), String> {
        let operation = &self.operations[&number];
        let wrong = || format!("operation {number} was told what is not so: {operation:?}, before {before:?}");
        let is_right = match (&operation.wanted, &operation.outcome) {
            (Wanted::Read, Outcome::Read(_, items)) => items.iter().eq(state.values()),
            (Wanted::Put(keys), Outcome::Done(done)) => keys.iter().zip(&done.results).all(|(key, result)| {
                state.get(key).is_some_and(|kv| kv.value == value(number))
                    && *result == OpDone::Put { previous: before.get(key).cloned() }
            }),
            (Wanted::Attach(key, lease), Outcome::Done(done)) => {
                let told = OpDone::Put { previous: before.get(key).cloned() };
                state.get(key).is_some_and(|kv| kv.value == value(number) && kv.lease == *lease)
                    && done.results == [told]
            }
            (Wanted::Swap(key, wanted), Outcome::Done(done)) => {
                let seen = if done.succeeded { before } else { state };
                let holds = seen.get(key).map_or(0, |kv| kv.mod_revision) == *wanted;
                holds == done.succeeded && (!holds || state.get(key).is_some_and(|kv| kv.value == value(number)))
            }
            (Wanted::Delete(key), Outcome::Done(done)) => {
                let OpDone::Delete { previous, .. } = &done.results[0] else { return Err(wrong()) };
                match previous.first() {
                    Some(gone) => before.get(key) == Some(gone) && !state.contains_key(key),
                    None => !state.contains_key(key),
                }
            }
            _ => true,
        };
        is_right.then_some(()).ok_or_else(wrong)
    }
}

/// Whether the value that was replaced is told with a change depends on where it was found.
fn bare(mut change: Change) -> Change {
    if let Some(previous) = &mut change.previous {
        previous.value = Bytes::new();
    }
    change
}

/// The library keeps its sets in no order.
fn sorted(mut conf: ConfState) -> ConfState {
    for ids in [&mut conf.voters, &mut conf.learners, &mut conf.voters_outgoing, &mut conf.learners_next] {
        ids.sort_unstable();
    }
    conf
}
