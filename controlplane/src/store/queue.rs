//! What waits for the thread of a member.
//!
//! The thread is woken for what it can act on. A read that comes while others are asked for would only be laid by; it
//! waits here, because to wake a thread costs more than all else that is done for it.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::time::Instant;

use super::task::Event;

/// How often a receiver that yields does so before it sleeps.
const YIELDS: usize = 4;

pub(super) struct Sender(Arc<Shared>);

/// What still waits goes with it.
pub(super) struct Receiver(Arc<Shared>);

/// Nobody receives any more.
pub(super) struct Closed;

struct Shared {
    waiting: Mutex<Waiting>,
    came: Condvar,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    sleep: Option<Sleep>,
    is_closed: bool,
}

/// How the receiver sleeps.
#[derive(Clone, Copy)]
struct Sleep {
    through_reads: bool,
}

pub(super) fn new() -> (Sender, Receiver) {
    let shared = Arc::new(Shared { waiting: Mutex::default(), came: Condvar::new() });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

// === impl Sleep ===

impl Sleep {
    fn goes_on(self, event: &Event) -> bool {
        self.through_reads && matches!(event, Event::Read { .. })
    }
}

// === impl Sender ===

impl Sender {
    pub(super) fn send(&self, event: Event) -> Result<(), Closed> {
        let mut waiting = self.0.waiting.lock();
        if waiting.is_closed {
            return Err(Closed);
        }
        let wakes = waiting.sleep.is_some_and(|sleep| !sleep.goes_on(&event));
        waiting.events.push_back(event);
        if wakes {
            waiting.sleep = None;
        }
        drop(waiting);
        if wakes {
            self.0.came.notify_one();
        }
        Ok(())
    }
}

// === impl Receiver ===

impl Receiver {
    pub(super) fn is_empty(&self) -> bool {
        self.0.waiting.lock().events.is_empty()
    }

    /// Waits until something comes, other than a read if those may wait, or until it is time. At most so many events.
    ///
    /// A receiver that yields lets others go first before it sleeps and when it is woken: to be woken costs more, and on one
    /// core they only come to send something when they may run. It pays for who has nobody else to hear from.
    pub(super) fn receive(&self, until: Instant, through_reads: bool, yields: bool, most: usize) -> Vec<Event> {
        let sleep = Sleep { through_reads };
        let mut waiting = self.0.waiting.lock();
        for _ in 0..if yields { YIELDS } else { 0 } {
            if !waiting.events.iter().all(|event| sleep.goes_on(event)) {
                break;
            }
            MutexGuard::unlocked(&mut waiting, std::thread::yield_now);
        }
        if waiting.events.iter().all(|event| sleep.goes_on(event)) {
            waiting.sleep = Some(sleep);
            while waiting.sleep.is_some() && !self.0.came.wait_until(&mut waiting, until.into_std()).timed_out() {}
            waiting.sleep = None;
            if yields {
                // Whoever sent it may be about to send more, and would be interrupted.
                MutexGuard::unlocked(&mut waiting, std::thread::yield_now);
            }
        }
        let count = waiting.events.len().min(most);
        waiting.events.drain(..count).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting.lock();
        waiting.is_closed = true;
        // Who waits for an answer hears of it outside of the lock.
        let events = std::mem::take(&mut waiting.events);
        drop(waiting);
        drop(events);
    }
}

#[cfg(test)]
mod tests {
    use super::super::member::Ask;
    use super::super::task::Reader;
    use super::*;
    use std::time::Duration;
    use tokio::sync::Semaphore;

    fn read() -> Event {
        let _permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        Event::Read { asks: Ask::Point, ticket: Reader { done: tokio::sync::oneshot::channel().0, _permit } }
    }

    #[test]
    fn reads_wake_nobody_who_may_sleep_through_them() {
        let (sender, receiver) = new();
        let soon = || Instant::now() + Duration::from_millis(20);
        let far = || Instant::now() + Duration::from_secs(60);
        assert!(receiver.receive(soon(), false, true, 9).is_empty());
        for _ in 0..3 {
            assert!(sender.send(read()).is_ok());
        }
        assert_eq!(receiver.receive(far(), false, true, 2).len(), 2, "no more than that");
        let began = Instant::now();
        assert_eq!(receiver.receive(soon(), true, false, 9).len(), 1, "they are taken all the same");
        assert!(began.elapsed() >= Duration::from_millis(20));
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| receiver.receive(far(), true, false, 9).len());
            while sender.0.waiting.lock().sleep.is_none() {
                std::thread::yield_now();
            }
            assert!(sender.send(read()).is_ok() && sender.send(Event::Sweep).is_ok());
            assert_eq!(taken.join().unwrap(), 2);
        });
        assert!(sender.send(Event::Sweep).is_ok());
        drop(receiver);
        assert!(sender.send(Event::Close).is_err());
    }
}
