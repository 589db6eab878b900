//! What the store counts of itself, from its start on, for whoever watches over it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The first bucket ends at a millisecond, each other one at twice the one before; the last has no end.
const BUCKETS: usize = 15;

/// Counted by those who do it.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Of batches that were written.
    pub(super) log_bytes: AtomicU64,
    pub(super) failed: AtomicU64,
    leader: AtomicU64,
    leader_changes: AtomicU64,
    syncs: [AtomicU64; BUCKETS],
    sync_nanos: AtomicU64,
}

/// How the store is, and what it has done. What is counted begins at 0 with the process.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    pub has_leader: bool,
    pub is_leader: bool,
    /// How often another member began to lead, the first included.
    pub leader_changes: u64,
    /// The last entry of the log that is settled, and that is applied here.
    pub committed: u64,
    pub applied: u64,
    /// Writes and linearizable reads that wait for an answer.
    pub pending: u64,
    /// Writes that were given up, or not taken.
    pub failed: u64,
    /// What the data take, on disk and in buffers.
    pub bytes: u64,
    /// Keys and values of all puts that were applied here, whichever member was asked.
    pub put_bytes: u64,
    /// What was written for them to the journal, with the record of each batch, and other members' entries.
    pub log_bytes: u64,
    pub syncs: Syncs,
}

/// How long batches took to become durable.
#[derive(Debug, Clone, PartialEq)]
pub struct Syncs {
    /// How many took at most so many seconds.
    pub buckets: Vec<(f64, u64)>,
    pub count: u64,
    pub seconds: f64,
}

// === impl Counts ===

impl Counts {
    pub(super) fn synced(&self, took: Duration) {
        self.syncs[bucket(took)].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sync_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// A member leads now. Said often, and by one thread alone.
    pub(super) fn lead(&self, leader: u64) {
        if self.leader.load(Ordering::Relaxed) != leader {
            self.leader.store(leader, Ordering::Relaxed);
            self.leader_changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn leader_changes(&self) -> u64 {
        self.leader_changes.load(Ordering::Relaxed)
    }

    pub(super) fn syncs(&self) -> Syncs {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BUCKETS - 1);
        for (index, bucket) in self.syncs.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            if index + 1 < BUCKETS {
                buckets.push((ends_at(index).as_secs_f64(), count));
            }
        }
        Syncs { buckets, count, seconds: Duration::from_nanos(self.sync_nanos.load(Ordering::Relaxed)).as_secs_f64() }
    }
}

fn ends_at(bucket: usize) -> Duration {
    Duration::from_millis(1 << bucket)
}

fn bucket(took: Duration) -> usize {
    (0..BUCKETS - 1).find(|bucket| took <= ends_at(*bucket)).unwrap_or(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sync_is_in_its_bucket_and_all_later_ones() {
        let counts = Counts::default();
        for millis in [1, 3, 3, 100_000] {
            counts.synced(Duration::from_millis(millis));
        }
        let syncs = counts.syncs();
        assert_eq!(syncs.buckets[..4], [(0.001, 1), (0.002, 1), (0.004, 3), (0.008, 3)]);
        assert_eq!((syncs.buckets.len(), syncs.buckets[13], syncs.count), (14, (8.192, 3), 4));
        assert!((syncs.seconds - 100.007).abs() < 1e-9);
    }

    #[test]
    fn a_leader_is_counted_when_it_is_another() {
        let counts = Counts::default();
        for leader in [1, 1, 2, 2, 1] {
            counts.lead(leader);
        }
        assert_eq!(counts.leader_changes(), 3);
    }
}
