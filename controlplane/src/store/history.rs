//! The newest changes, in memory, for those who watch.
//!
//! One ring, fed as writes are applied. A watcher is a position in it and owns no queue, so a slow one costs nothing.
//! One that was overtaken reads what it has missed from the [`Past`], where there is one, until it has caught up; only
//! what was compacted is lost to it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::watch::{Receiver, Sender};
use tokio::time::Instant;

use super::kv::{Change, ChangeBatch, Changes, Error, KeyRange, Watch};
use super::past::{Past, Stretch};
use super::state::Head;

/// Changes in one batch of a watch; a single revision may exceed it.
const BATCH_CHANGES_MAX: usize = 1000;
/// Revisions closer together than this age together.
const MARK_SPAN: Duration = Duration::from_secs(1);
/// Added to the bytes of a change for what surrounds them.
const CHANGE_OVERHEAD_BYTES: usize = 200;

/// All changes of one revision.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) revision: u64,
    pub(super) changes: Vec<Change>,
}

#[derive(Debug)]
pub(super) struct History {
    ring: Mutex<Ring>,
    newest: Sender<u64>,
    bytes_max: usize,
    past: Option<Arc<dyn Past>>,
    /// Keys and values of all puts so far.
    put_bytes: AtomicU64,
}

#[derive(Debug)]
struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// When revisions came. Kept apart from the entries, which can be gone long before they are old.
    marks: VecDeque<Mark>,
    /// Changes up to and with this revision are not here.
    begins_after: u64,
    /// Changes up to and with this revision are nowhere.
    floor: u64,
    is_closed: bool,
}

#[derive(Debug)]
struct Entry {
    recorded: Recorded,
    bytes: usize,
}

/// Some revisions that came together.
#[derive(Debug)]
struct Mark {
    begun: Instant,
    /// When the newest of them came.
    at: Instant,
    revision: u64,
}

/// One watcher's position.
struct Cursor {
    history: Arc<History>,
    newest: Receiver<u64>,
    keys: KeyRange,
    previous: bool,
    next: u64,
    is_over: bool,
}

enum Taken {
    Batch(ChangeBatch),
    /// Nothing is there yet.
    Nothing,
    /// It is not here any more.
    Past,
    /// The error that ends the watch.
    End(Error),
}

// === impl History ===

impl History {
    /// The history of a store that is at `head`. Without a past, what leaves the memory is gone.
    pub(super) fn new(head: Head, bytes_max: usize, past: Option<Arc<dyn Past>>) -> History {
        let mut ring = Ring {
            entries: VecDeque::new(),
            bytes: 0,
            marks: VecDeque::new(),
            begins_after: if past.is_some() { head.revision } else { head.changes_gone() },
            floor: head.changes_gone(),
            is_closed: false,
        };
        ring.mark(Instant::now(), head.revision);
        let (ring, newest, put_bytes) = (Mutex::new(ring), Sender::new(head.revision), AtomicU64::new(0));
        History { ring, newest, bytes_max, past, put_bytes }
    }

    pub(super) fn revision(&self) -> u64 {
        *self.newest.borrow()
    }

    pub(super) fn put_bytes(&self) -> u64 {
        self.put_bytes.load(Ordering::Relaxed)
    }

    /// Takes the changes of new revisions, in order. Who looks finds them; who waits is woken by [`History::tell`].
    pub(super) fn extend(&self, recorded: Vec<Recorded>) {
        let Some(last) = recorded.last() else { return };
        let revision = last.revision;
        let mut ring = self.ring.lock();
        ring.mark(Instant::now(), revision);
        for mut recorded in recorded {
            let puts = recorded.changes.iter().filter(|change| !change.is_delete);
            let put_bytes: usize = puts.map(|change| change.kv.key.len() + change.kv.value.len()).sum();
            self.put_bytes.fetch_add(put_bytes as u64, Ordering::Relaxed);
            if self.past.is_some() {
                recorded.changes.iter_mut().for_each(lighten);
            }
            let bytes = recorded.changes.iter().map(size).sum();
            ring.bytes += bytes;
            ring.entries.push_back(Entry { recorded, bytes });
        }
        while ring.bytes > self.bytes_max && ring.entries.len() > 1 {
            ring.pop();
        }
        if self.past.is_none() {
            ring.floor = ring.floor.max(ring.begins_after);
        }
        drop(ring);
        self.newest.send_if_modified(|newest| {
            *newest = revision;
            false
        });
    }

    /// Wakes those who wait for what came since the last time.
    pub(super) fn tell(&self) {
        self.newest.send_modify(|_| {});
    }

    /// Forgets the changes before `revision`, which was compacted.
    pub(super) fn compact(&self, revision: u64) {
        let mut ring = self.ring.lock();
        while ring.entries.front().is_some_and(|entry| entry.recorded.revision < revision) {
            ring.pop();
        }
        ring.floor = ring.floor.max(revision.saturating_sub(1));
    }

    /// Begins anew after `head`, to which the data have jumped.
    pub(super) fn restart(&self, head: Head) {
        let mut ring = self.ring.lock();
        ring.entries.clear();
        ring.bytes = 0;
        (ring.begins_after, ring.floor) = (head.revision, head.changes_gone().max(ring.floor));
        ring.mark(Instant::now(), head.revision);
        drop(ring);
        self.newest.send_replace(head.revision);
    }

    /// The newest revision that is older than `age`.
    pub(super) fn older_than(&self, age: Duration) -> Option<u64> {
        let now = Instant::now();
        let mut ring = self.ring.lock();
        let old = ring.marks.partition_point(|mark| now.duration_since(mark.at) >= age);
        // The marks before the last of these will not be asked for again.
        ring.marks.drain(..old.saturating_sub(1));
        let oldest = ring.marks.front().filter(|_| old > 0);
        oldest.map(|mark| mark.revision)
    }

    /// Ends all watches.
    pub(super) fn close(&self) {
        self.ring.lock().is_closed = true;
        self.tell();
    }

    pub(super) fn watch(self: &Arc<History>, watch: Watch) -> Result<Changes, Error> {
        let newest = self.newest.subscribe();
        let next = match watch.from {
            0 => *newest.borrow() + 1,
            from => from,
        };
        let Watch { keys, previous, .. } = watch;
        let cursor = Cursor { history: Arc::clone(self), newest, keys, previous, next, is_over: false };
        if let Taken::End(error) = self.check(next) {
            return Err(error);
        }
        Ok(futures::stream::unfold(cursor, Cursor::step).boxed())
    }

    fn check(&self, next: u64) -> Taken {
        let ring = self.ring.lock();
        ring.end(next).map_or(Taken::Nothing, Taken::End)
    }

    /// The changes of whole revisions from `next` on.
    fn take(&self, next: u64, keys: &KeyRange, previous: bool) -> Taken {
        let ring = self.ring.lock();
        if let Some(error) = ring.end(next) {
            return Taken::End(error);
        }
        if next <= ring.begins_after {
            return Taken::Past;
        }
        let first = ring.position(next);
        let mut batch = ChangeBatch::default();
        for Entry { recorded, .. } in ring.entries.range(first..) {
            if batch.changes.len() >= BATCH_CHANGES_MAX {
                break;
            }
            let wanted = recorded.changes.iter().filter(|change| keys.contains(&change.kv.key));
            batch.changes.extend(wanted.map(|change| Change {
                previous: if previous { change.previous.clone() } else { None },
                ..change.clone()
            }));
            batch.revision = recorded.revision;
        }
        match batch.revision {
            0 => Taken::Nothing,
            _ => Taken::Batch(batch),
        }
    }
}

// === impl Ring ===

impl Ring {
    fn pop(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.bytes;
            self.begins_after = entry.recorded.revision;
        }
    }

    /// Where the first entry of `revision` or later is.
    fn position(&self, revision: u64) -> usize {
        // Nearly always revisions follow each other without a gap, and whoever asks needs the last few.
        let newest = self.entries.back().map_or(0, |entry| entry.recorded.revision);
        let is_before = |index: usize| self.entries.get(index).is_some_and(|entry| entry.recorded.revision < revision);
        let behind = (newest + 1).saturating_sub(revision);
        let guess = self.entries.len().saturating_sub(usize::try_from(behind).unwrap_or(usize::MAX));
        let is_it = !is_before(guess) && (guess == 0 || is_before(guess - 1));
        if is_it { guess } else { self.entries.partition_point(|entry| entry.recorded.revision < revision) }
    }

    fn mark(&mut self, at: Instant, revision: u64) {
        match self.marks.back_mut() {
            Some(mark) if at.duration_since(mark.begun) < MARK_SPAN => (mark.at, mark.revision) = (at, revision),
            _ => self.marks.push_back(Mark { begun: at, at, revision }),
        }
    }

    /// Why a watcher that waits for `next` cannot go on.
    fn end(&self, next: u64) -> Option<Error> {
        if self.is_closed {
            return Some(Error::Unavailable("it is closing".into()));
        }
        (next <= self.floor).then(|| Error::Compacted { wanted: next, oldest: self.floor + 1 })
    }
}

/// What was replaced is told to few, who get it from the past.
fn lighten(change: &mut Change) {
    if let Some(previous) = &mut change.previous {
        previous.value = Bytes::new();
    }
}

fn size(change: &Change) -> usize {
    let previous = change.previous.as_ref().map_or(0, |kv| kv.value.len());
    let value: &Bytes = &change.kv.value;
    change.kv.key.len() + value.len() + previous + CHANGE_OVERHEAD_BYTES
}

// === impl Cursor ===

impl Cursor {
    async fn step(mut self) -> Option<(Result<ChangeBatch, Error>, Cursor)> {
        if self.is_over {
            return None;
        }
        loop {
            // Marked as seen before looking, so what comes meanwhile wakes the wait below.
            self.newest.borrow_and_update();
            let taken = match self.history.take(self.next, &self.keys, self.previous) {
                Taken::Batch(batch) if self.previous => self.complete(batch).await,
                Taken::Past => self.read().await,
                taken => taken,
            };
            match taken {
                Taken::Batch(batch) => {
                    self.next = batch.revision + 1;
                    return Some((Ok(batch), self));
                }
                Taken::End(error) => {
                    self.is_over = true;
                    return Some((Err(error), self));
                }
                // The sender lives in the history that this cursor holds, so the wait cannot fail.
                Taken::Nothing | Taken::Past => drop(self.newest.changed().await),
            }
        }
    }

    /// Goes on from what the memory has let go.
    async fn read(&self) -> Taken {
        let (from, keys, previous) = (self.next, self.keys.clone(), self.previous);
        let read = move |past: &dyn Past| {
            let Stretch { mut changes, revision } = past.changes(from, BATCH_CHANGES_MAX)?;
            changes.retain(|change| keys.contains(&change.kv.key));
            if !previous {
                changes.iter_mut().for_each(|change| change.previous = None);
            }
            Ok(ChangeBatch { changes, revision })
        };
        self.blocking(read).await
    }

    async fn complete(&self, mut batch: ChangeBatch) -> Taken {
        if self.history.past.is_none() || batch.changes.iter().all(|change| change.previous.is_none()) {
            return Taken::Batch(batch);
        }
        self.blocking(move |past| past.complete(&mut batch.changes).map(|()| batch)).await
    }

    async fn blocking(&self, act: impl FnOnce(&dyn Past) -> Result<ChangeBatch, Error> + Send + 'static) -> Taken {
        let Some(past) = self.history.past.clone() else { return Taken::Nothing };
        match tokio::task::spawn_blocking(move || act(&*past)).await {
            Ok(Ok(batch)) => Taken::Batch(batch),
            Ok(Err(error)) => Taken::End(error),
            Err(error) => Taken::End(Error::Unavailable(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kv::KeyValue;
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Context, Poll, Wake, Waker};

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Woken>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn recorded(revision: u64) -> Vec<Recorded> {
        let (key, value) = ("a".into(), Bytes::new());
        let kv = KeyValue { key, value, create_revision: 2, mod_revision: revision, version: revision - 1, lease: 0 };
        vec![Recorded { revision, changes: vec![Change { kv, is_delete: false, previous: None }] }]
    }

    #[test]
    fn what_came_is_found_at_once_and_who_waits_is_woken_when_it_is_told() {
        let head = Head { revision: 1, compacted: 0 };
        let history = Arc::new(History::new(head, 1 << 20, None));
        let watch = || Watch { keys: KeyRange::prefix(""), from: 2, previous: false };
        let mut waiting = history.watch(watch()).unwrap();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        assert!(waiting.poll_next_unpin(&mut context).is_pending());
        history.extend(recorded(2));
        history.extend(recorded(3));
        assert_eq!((history.revision(), woken.0.load(Ordering::Relaxed)), (3, 0));
        let mut looking = history.watch(watch()).unwrap();
        assert!(matches!(looking.poll_next_unpin(&mut context), Poll::Ready(Some(Ok(batch))) if batch.revision == 3));
        history.tell();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1, "once for all that came");
        assert!(
            matches!(waiting.poll_next_unpin(&mut context), Poll::Ready(Some(Ok(batch))) if batch.changes.len() == 2)
        );
        assert!(waiting.poll_next_unpin(&mut context).is_pending());
    }
}
