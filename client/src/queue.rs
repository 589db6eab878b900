//! Keys that want work: each at most once in the queue, never worked on twice at a time, failures again later.
//!
//! Pure: the owner passes the time in, and sleeps until `next_at`.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;
use tokio::time::Instant;

/// The wait after a first failure; doubled with each further one, up to `RETRY_MAX` (client-go's default limiter
/// starts at 5 ms and ends at 1000 s; an edge device should not wait that long after an outage).
const RETRY_MIN: Duration = Duration::from_millis(5);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// A work queue of keys.
#[derive(Debug)]
pub struct Queue<K> {
    ready: VecDeque<K>,
    queued: BTreeSet<K>,
    /// Taken and not yet done; true if the key was added again meanwhile.
    working: BTreeMap<K, bool>,
    /// Due later. A key stands here at most once, with its earliest time.
    later: BTreeSet<(Instant, K)>,
    due: HashMap<K, Instant>,
    failures: HashMap<K, u32>,
}

// === impl Queue ===

impl<K: Clone + Ord + Hash> Queue<K> {
    #[must_use]
    pub fn new() -> Queue<K> {
        Queue {
            ready: VecDeque::new(),
            queued: BTreeSet::new(),
            working: BTreeMap::new(),
            later: BTreeSet::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
        }
    }

    /// Work on `key` as soon as possible.
    pub fn add(&mut self, key: K) {
        if let Some(again) = self.working.get_mut(&key) {
            *again = true;
        } else if self.queued.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    /// Work on `key` at `at`, or earlier if it is due earlier already.
    pub fn add_at(&mut self, key: K, at: Instant) {
        if let Some(have) = self.due.get(&key).copied() {
            if have <= at {
                return;
            }
            self.later.remove(&(have, key.clone()));
        }
        self.due.insert(key.clone(), at);
        self.later.insert((at, key));
    }

    /// The next key to work on; `done` or `failed` has to follow.
    pub fn take(&mut self, now: Instant) -> Option<K> {
        self.wake(now);
        let key = self.ready.pop_front()?;
        self.queued.remove(&key);
        self.working.insert(key.clone(), false);
        Some(key)
    }

    /// The work on `key` succeeded: its failures are forgotten.
    pub fn done(&mut self, key: &K) {
        self.failures.remove(key);
        if self.working.remove(key) == Some(true) {
            self.add(key.clone());
        }
    }

    /// The work on `key` failed: it comes again after a wait, which grows.
    pub fn failed(&mut self, key: &K, now: Instant) {
        let failures = self.failures.entry(key.clone()).or_insert(0);
        let wait = RETRY_MIN.saturating_mul(1 << (*failures).min(20)).min(RETRY_MAX);
        *failures += 1;
        self.working.remove(key);
        self.add_at(key.clone(), now + wait);
    }

    /// When the owner has to look again although nothing was added; `None` if nothing is due later.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.working.is_empty() && self.later.is_empty()
    }

    fn wake(&mut self, now: Instant) {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            let (_, key) = self.later.pop_first().expect("the first was just seen");
            self.due.remove(&key);
            self.add(key);
        }
    }
}

impl<K: Clone + Ord + Hash> Default for Queue<K> {
    fn default() -> Queue<K> {
        Queue::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_worked_on_once_at_a_time_and_again_if_added_meanwhile() {
        let mut queue = Queue::new();
        let now = Instant::now();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.take(now), Some("a"));
        assert_eq!(queue.take(now), None);
        queue.add("a");
        assert_eq!(queue.take(now), None, "a is being worked on");
        queue.done(&"a");
        assert_eq!(queue.take(now), Some("a"));
        queue.done(&"a");
        assert!(queue.is_empty());
    }

    #[test]
    fn failures_wait_longer_each_time_and_success_forgets() {
        let mut queue = Queue::new();
        let start = Instant::now();
        queue.add("a");
        assert_eq!(queue.take(start), Some("a"));
        queue.failed(&"a", start);
        assert_eq!(queue.take(start), None);
        assert_eq!(queue.next_at(), Some(start + RETRY_MIN));
        let second = start + RETRY_MIN;
        assert_eq!(queue.take(second), Some("a"));
        queue.failed(&"a", second);
        assert_eq!(queue.next_at(), Some(second + RETRY_MIN * 2));
        assert_eq!(queue.take(second + RETRY_MIN * 2), Some("a"));
        queue.done(&"a");
        queue.add("a");
        assert_eq!(queue.take(second), Some("a"));
        queue.failed(&"a", second);
        assert_eq!(queue.next_at(), Some(second + RETRY_MIN));
    }
}
