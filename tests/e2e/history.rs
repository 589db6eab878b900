//! What clients did and saw, held against the order in which it really happened: the order of the store's revisions.
//!
//! Each write says who it is, under one key that all of them write. So the history of that key is the order of all
//! writes, and everything else can be replayed along it. Pure: nothing here talks to anyone.

use std::collections::{BTreeMap, BTreeSet};

/// The key that holds the number of the last write.
pub(crate) const LAST: &str = "last";

/// The value of a key is the number of the write that it is from.
pub(crate) type Number = u64;

/// One call. Times are places in one order of all beginnings and ends.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) number: Number,
    pub(crate) asked: Asked,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Clone)]
pub(crate) enum Asked {
    /// Keys to write (true) or to delete, in one transaction that holds only if a key is of some revision.
    Write { keys: Vec<(String, bool)>, guard: Option<(String, u64)> },
    /// One key, or all of them.
    Read(Option<String>),
}

#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Written {
        revision: u64,
    },
    /// The guard did not hold.
    Missed {
        revision: u64,
    },
    /// Keys with their writes and revisions.
    Seen {
        revision: u64,
        found: BTreeMap<String, (Number, u64)>,
    },
    Refused,
    Unknown,
}

/// The changes of one revision: the number that a key is written with, or its deletion.
pub(crate) type Changes = BTreeMap<String, Option<Number>>;

/// Everything that was ever in the store.
#[derive(Debug, Default)]
struct Replay {
    /// Each key with its past: revision, and write.
    keys: BTreeMap<String, Vec<(u64, Option<Number>)>>,
}

// === impl Replay ===

impl Replay {
    /// A key at a revision: the write and its revision.
    fn at(&self, key: &str, revision: u64) -> Option<(Number, u64)> {
        let past = self.keys.get(key)?;
        let (at, number) = past[..past.partition_point(|(at, _)| *at <= revision)].last()?;
        number.map(|number| (number, *at))
    }

    fn all(&self, revision: u64) -> BTreeMap<String, (Number, u64)> {
        let key = |key: &String| self.at(key, revision).map(|found| (key.clone(), found));
        self.keys.keys().filter_map(key).collect()
    }

    fn guard_holds(&self, guard: Option<&(String, u64)>, revision: u64) -> bool {
        guard.is_none_or(|(key, wanted)| self.at(key, revision).map_or(0, |(_, at)| at) == *wanted)
    }
}

/// What is wrong with a history, if anything is.
pub(crate) fn check(operations: &[Operation], history: &BTreeMap<u64, Changes>) -> Result<(), String> {
    let (replay, places) = replay(operations, history)?;
    for operation in operations {
        seen(operation, &replay, &places)?;
    }
    in_time(operations, &places)
}

/// Follows the writes in their order: each is one that was asked for, came once, and as a whole.
fn replay(
    operations: &[Operation],
    history: &BTreeMap<u64, Changes>,
) -> Result<(Replay, BTreeMap<Number, u64>), String> {
    let asked: BTreeMap<Number, &Operation> =
        operations.iter().map(|operation| (operation.number, operation)).collect();
    let (mut replay, mut places) = (Replay::default(), BTreeMap::new());
    for (revision, changes) in history {
        let number = changes.get(LAST).copied().flatten();
        let number = number.ok_or_else(|| format!("revision {revision} is half a write: {changes:?}"))?;
        let operation = asked.get(&number).ok_or_else(|| format!("nobody asked for {changes:?} at {revision}"))?;
        let Asked::Write { keys, guard } = &operation.asked else {
            return Err(format!("a read has written {changes:?} at {revision}"));
        };
        if let Some(before) = places.insert(number, *revision) {
            return Err(format!("{operation:?} was done twice, at {before} and {revision}"));
        }
        if !replay.guard_holds(guard.as_ref(), revision - 1) {
            return Err(format!("{operation:?} was done at {revision} although its guard does not hold"));
        }
        let mut wanted = Changes::from([(LAST.to_owned(), Some(number))]);
        for (key, is_put) in keys {
            if *is_put || replay.at(key, revision - 1).is_some() {
                wanted.insert(key.clone(), is_put.then_some(number));
            }
        }
        if *changes != wanted {
            return Err(format!("revision {revision} is {changes:?}, and {operation:?} was to make {wanted:?}"));
        }
        for (key, number) in wanted {
            replay.keys.entry(key).or_default().push((*revision, number));
        }
    }
    Ok((replay, places))
}

/// What a client was told is so.
fn seen(operation: &Operation, replay: &Replay, places: &BTreeMap<Number, u64>) -> Result<(), String> {
    let place = places.get(&operation.number);
    let is_right = match (&operation.outcome, &operation.asked) {
        (Outcome::Written { revision }, _) => place == Some(revision),
        (Outcome::Missed { revision }, Asked::Write { guard, .. }) => {
            place.is_none() && !replay.guard_holds(guard.as_ref(), *revision)
        }
        (Outcome::Seen { revision, found }, Asked::Read(Some(key))) => {
            let wanted = replay.at(key, *revision).map(|at| (key.clone(), at));
            *found == wanted.into_iter().collect()
        }
        (Outcome::Seen { revision, found }, Asked::Read(None)) => *found == replay.all(*revision),
        (Outcome::Refused, _) => place.is_none(),
        (Outcome::Unknown, _) => true,
        (Outcome::Missed { .. }, Asked::Read(_)) | (Outcome::Seen { .. }, Asked::Write { .. }) => false,
    };
    is_right.then_some(()).ok_or_else(|| match &operation.asked {
        Asked::Write { .. } => format!("{operation:?} has come to stand at {place:?}"),
        Asked::Read(key) => {
            let revision = operation.revision().unwrap_or_default();
            let there = key.as_ref().map(|key| replay.at(key, revision));
            format!("{operation:?} was told what was not so; {there:?} was, of {} keys", replay.all(revision).len())
        }
    })
}

/// Whatever began after something had ended comes after it.
fn in_time(operations: &[Operation], places: &BTreeMap<Number, u64>) -> Result<(), String> {
    let placed = |operation: &Operation| {
        let place = places.get(&operation.number).copied().or(operation.revision());
        place.map(|place| (place, places.contains_key(&operation.number)))
    };
    let mut begun: Vec<&Operation> = operations.iter().filter(|operation| placed(operation).is_some()).collect();
    // Whoever was not answered has ended when everything has.
    let mut ended: Vec<&Operation> = begun.iter().copied().filter(|operation| operation.revision().is_some()).collect();
    begun.sort_unstable_by_key(|operation| operation.begun);
    ended.sort_unstable_by_key(|operation| operation.ended);
    let (mut newest, mut ended) = (None::<(u64, &Operation)>, ended.into_iter().peekable());
    for operation in begun {
        while let Some(before) = ended.next_if(|before| before.ended < operation.begun) {
            let (place, _) = placed(before).expect("it has a place");
            if newest.is_none_or(|(newest, _)| place > newest) {
                newest = Some((place, before));
            }
        }
        let (place, is_write) = placed(operation).expect("it has a place");
        if let Some((newest, before)) = newest
            && (place < newest || is_write && place == newest)
        {
            return Err(format!("{operation:?} stands at {place}, and came after {before:?} had ended at {newest}"));
        }
    }
    Ok(())
}

/// Adds what a member tells to what is known; an error if it tells something else than another did.
pub(crate) fn merge(into: &mut BTreeMap<u64, Changes>, told: &BTreeMap<u64, Changes>) -> Result<(), String> {
    for (revision, changes) in told {
        match into.get(revision) {
            Some(known) if known != changes => {
                return Err(format!("members tell differently of revision {revision}: {known:?} and {changes:?}"));
            }
            _ => into.insert(*revision, changes.clone()),
        };
    }
    let missing: BTreeSet<_> = into.keys().filter(|revision| !told.contains_key(*revision)).collect();
    match missing.first() {
        Some(revision) => Err(format!("a member does not tell of revision {revision}")),
        None => Ok(()),
    }
}

// === impl Operation ===

impl Operation {
    /// The revision that the answer tells of.
    fn revision(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Written { revision } | Outcome::Missed { revision } | Outcome::Seen { revision, .. } => {
                Some(revision)
            }
            Outcome::Refused | Outcome::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(number: Number, key: &str, (begun, ended): (u64, u64), outcome: Outcome) -> Operation {
        let asked = Asked::Write { keys: vec![(key.to_owned(), true)], guard: None };
        Operation { number, asked, begun, ended, outcome }
    }

    fn read(number: Number, key: &str, (begun, ended): (u64, u64), revision: u64, found: (Number, u64)) -> Operation {
        let found = if found.0 == 0 { BTreeMap::new() } else { BTreeMap::from([(key.to_owned(), found)]) };
        let asked = Asked::Read(Some(key.to_owned()));
        Operation { number, asked, begun, ended, outcome: Outcome::Seen { revision, found } }
    }

    fn changes(number: Number, key: &str) -> Changes {
        Changes::from([(LAST.to_owned(), Some(number)), (key.to_owned(), Some(number))])
    }

    /// Write 1 to `a`, then write 2, with a read after each, and one whose outcome is not known.
    fn good() -> (Vec<Operation>, BTreeMap<u64, Changes>) {
        let operations = vec![
            write(1, "a", (1, 4), Outcome::Written { revision: 5 }),
            read(11, "a", (5, 6), 5, (1, 5)),
            write(2, "a", (7, 9), Outcome::Written { revision: 6 }),
            read(12, "a", (8, 10), 5, (1, 5)),
            write(3, "b", (2, 20), Outcome::Unknown),
            read(13, "b", (11, 12), 8, (3, 8)),
            write(4, "c", (13, 14), Outcome::Refused),
        ];
        (operations, BTreeMap::from([(5, changes(1, "a")), (6, changes(2, "a")), (8, changes(3, "b"))]))
    }

    fn found(what: &str, change: impl FnOnce(&mut Vec<Operation>, &mut BTreeMap<u64, Changes>)) {
        let (mut operations, mut history) = good();
        change(&mut operations, &mut history);
        let error = check(&operations, &history).expect_err(what);
        assert!(error.contains(what), "{what}: {error}");
    }

    #[test]
    fn what_is_in_order_is_found_to_be() {
        let (operations, history) = good();
        check(&operations, &history).expect("it is linearizable");
        let mut one = BTreeMap::new();
        merge(&mut one, &history).expect("the first");
        merge(&mut one, &history).expect("the same");
    }

    #[test]
    fn each_broken_promise_is_found() {
        found("has come to stand at None", |_, history| drop(history.remove(&6)));
        found("was told what was not so", |operations, _| operations[1] = read(11, "a", (5, 6), 5, (0, 0)));
        // A read of the past, after a write or another read has shown what is newer.
        found("came after", |operations, _| operations[3] = read(12, "a", (11, 12), 5, (1, 5)));
        found("came after", |operations, _| operations[5] = read(13, "b", (7, 8), 4, (0, 0)));
        found("came after", |operations, _| operations[2].ended = 1);
        // One whose outcome is unknown, and which was there before anybody asked for it.
        found("came after", |operations, _| operations[4].begun = 15);
        found("has come to stand at Some(9)", |_, history| drop(history.insert(9, changes(4, "c"))));
        found("twice", |_, history| drop(history.insert(9, changes(2, "a"))));
        found("nobody asked", |_, history| drop(history.insert(9, changes(7, "a"))));
        found("a read has written", |_, history| drop(history.insert(9, changes(11, "a"))));
        found("was to make", |_, history| drop(history.insert(6, changes(2, "b"))));
        found("half a write", |_, history| drop(history.insert(6, Changes::from([("a".to_owned(), Some(2))]))));
        let guarded = |operation: &mut Operation, at: u64| {
            let Asked::Write { guard, .. } = &mut operation.asked else { panic!("it writes") };
            *guard = Some(("a".to_owned(), at));
        };
        found("guard does not hold", |operations, _| guarded(&mut operations[2], 4));
        found("has come to stand at None", |operations, _| {
            guarded(&mut operations[6], 6);
            operations[6].outcome = Outcome::Missed { revision: 8 };
        });
        let (_, history) = good();
        let mut other = history.clone();
        other.insert(6, changes(9, "a"));
        assert!(merge(&mut other.clone(), &history).expect_err("differs").contains("differently"));
        other.remove(&6);
        assert!(merge(&mut history.clone(), &other).expect_err("a gap").contains("revision 6"));
    }
}
