//! When leases end, as the leader counts it.
//!
//! The leases themselves are in the data of every member; how long each still lives is known to the leader alone, and
//! forgotten with its leadership: a new leader gives each its whole time anew (as in etcd). So a lease may live longer
//! than it was promised to, and never shorter.

use std::collections::{BTreeMap, BTreeSet};

use super::kv::Error;

/// Of the clock of a member.
const TICKS_A_SECOND: u64 = 10;
/// Leases that are ended with one tick; a thousand a second, as in etcd, so that a mass of them does not stop the
/// writes of others.
const ENDED_A_TICK: usize = 100;
/// An end that was proposed and did not come is proposed again.
const PROPOSED_AGAIN_TICKS: u64 = 50;

/// A lease that is too short would end between two signs of life while a leader is being elected. Seconds, as in etcd
/// with its default timeouts.
const TTL_MIN: u64 = 2;
/// About 285 years; etcd's.
const TTL_MAX: u64 = 9_000_000_000;

/// The leases of a leader.
#[derive(Debug, Default)]
pub(super) struct Lessor {
    leases: BTreeMap<i64, Lease>,
    /// When each has to be looked at next, and which.
    queue: BTreeSet<(u64, i64)>,
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    /// Seconds.
    ttl: u64,
    /// The tick at which it has lived its time, or its end is proposed again.
    at: u64,
    /// Its end is proposed, so nobody may be told any more that it lives.
    is_ending: bool,
}

/// What a lease is granted with: a number is drawn for 0, and a time that is too short is lengthened.
pub(super) fn check(id: i64, ttl: u64) -> Result<(i64, u64), Error> {
    if ttl > TTL_MAX {
        return Err(Error::Invalid(format!("a lease of {ttl} s; at most {TTL_MAX} are allowed")));
    }
    let id = if id == 0 { rand::random_range(1..=i64::MAX) } else { id };
    Ok((id, ttl.max(TTL_MIN)))
}

// === impl Lessor ===

impl Lessor {
    /// Begins to count, with all leases that there are.
    pub(super) fn new(leases: Vec<(i64, u64)>, now: u64) -> Lessor {
        let mut lessor = Lessor::default();
        for (id, ttl) in leases {
            lessor.granted(id, ttl, now);
        }
        lessor
    }

    pub(super) fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    pub(super) fn granted(&mut self, id: i64, ttl: u64, now: u64) {
        self.set(id, Lease { ttl, at: end(ttl, now), is_ending: false });
    }

    pub(super) fn revoked(&mut self, id: i64) {
        if let Some(lease) = self.leases.remove(&id) {
            self.queue.remove(&(lease.at, id));
        }
    }

    /// Gives a lease its whole time from now on; that time in seconds.
    pub(super) fn renew(&mut self, id: i64, now: u64) -> Result<u64, Error> {
        let lease = self.alive(id)?;
        self.set(id, Lease { at: end(lease.ttl, now), ..lease });
        Ok(lease.ttl)
    }

    /// The whole seconds that a lease has left.
    pub(super) fn left(&self, id: i64, now: u64) -> Result<u64, Error> {
        Ok(self.alive(id)?.at.saturating_sub(now) / TICKS_A_SECOND)
    }

    /// Leases that have lived their time; their end is to be proposed.
    pub(super) fn ended(&mut self, now: u64) -> Vec<i64> {
        let due: Vec<i64> =
            self.queue.iter().take_while(|(at, _)| *at <= now).take(ENDED_A_TICK).map(|(_, id)| *id).collect();
        for id in &due {
            let Some(lease) = self.leases.get(id).copied() else { continue };
            self.set(*id, Lease { at: now + PROPOSED_AGAIN_TICKS, is_ending: true, ..lease });
        }
        due
    }

    fn alive(&self, id: i64) -> Result<Lease, Error> {
        self.leases.get(&id).copied().filter(|lease| !lease.is_ending).ok_or(Error::NoLease(id))
    }

    fn set(&mut self, id: i64, lease: Lease) {
        if let Some(before) = self.leases.insert(id, lease) {
            self.queue.remove(&(before.at, id));
        }
        self.queue.insert((lease.at, id));
    }
}

/// One more than its time, because the present tick has begun already.
fn end(ttl: u64, now: u64) -> u64 {
    now.saturating_add(ttl.saturating_mul(TICKS_A_SECOND)).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lives_its_time_and_no_less() {
        let mut lessor = Lessor::new(vec![(7, 2)], 100);
        assert_eq!((lessor.left(7, 100), lessor.ended(120)), (Ok(2), vec![]));
        assert_eq!(lessor.renew(7, 120), Ok(2));
        assert_eq!(lessor.ended(140), Vec::<i64>::new());
        assert_eq!(lessor.ended(141), [7]);
        assert_eq!((lessor.renew(7, 141), lessor.left(7, 141)), (Err(Error::NoLease(7)), Err(Error::NoLease(7))));
        assert_eq!((lessor.ended(142), lessor.ended(191)), (vec![], vec![7]), "it is proposed again");
        lessor.revoked(7);
        assert!(lessor.is_empty() && lessor.ended(u64::MAX).is_empty());
    }

    #[test]
    fn a_mass_of_leases_ends_a_few_at_a_time() {
        let mut lessor = Lessor::new((1..=250).map(|id| (id, 1)).collect(), 0);
        let counts: Vec<usize> = (10..16).map(|now| lessor.ended(now).len()).collect();
        assert_eq!(counts, [0, 100, 100, 50, 0, 0]);
    }

    #[test]
    fn a_time_without_end_is_no_trouble() {
        let mut lessor = Lessor::new(vec![(1, u64::MAX)], 5);
        assert_eq!((lessor.renew(1, 5), lessor.ended(1 << 60)), (Ok(u64::MAX), vec![]));
    }
}
