//! What waits for the thread of a member.
//!
//! The thread is woken for what it can act on. A read that comes while others are asked for would only be laid by, and so
//! would a write while enough are under way; they wait here, because to wake a thread costs more than all else that is
//! done for them.

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

/// What does not wake the receiver.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sleep {
    pub(super) through_reads: bool,
    pub(super) through_writes: bool,
}

pub(super) fn new() -> (Sender, Receiver) {
    let shared = Arc::new(Shared { waiting: Mutex::default(), came: Condvar::new() });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

// === impl Sleep ===

impl Sleep {
    fn goes_on(self, event: &Event) -> bool {
        match event {
            Event::Read { .. } => self.through_reads,
            Event::Write { .. } => self.through_writes,
            _ => false,
        }
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

    /// Waits until something comes that it does not sleep through, or until it is time. At most so many events.
    ///
    /// A receiver that yields lets others go first before it sleeps and when it is woken: to be woken costs more, and on one
    /// core they only come to send something when they may run. It pays for who has nobody else to hear from.
    pub(super) fn receive(&self, until: Instant, sleep: Sleep, yields: bool, most: usize) -> Vec<Event> {
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
    use super::super::command::Command;
    use super::super::member::Ask;
    use super::super::task::{Reader, Writer};
    use super::*;
    use std::time::Duration;
    use tokio::sync::Semaphore;

    fn read() -> Event {
        let _permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        Event::Read { asks: Ask::Point, ticket: Reader { done: tokio::sync::oneshot::channel().0, _permit } }
    }

    fn write() -> Event {
        let _permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let ticket = Writer { done: tokio::sync::oneshot::channel().0, _permit };
        Event::Write { command: Command::Compact(1), ticket }
    }

    #[test]
    fn writes_wake_nobody_who_has_enough_under_way() {
        let (sender, receiver) = new();
        let soon = Instant::now() + Duration::from_millis(20);
        let sleep = Sleep { through_writes: true, ..Sleep::default() };
        assert!(sender.send(write()).is_ok() && sender.send(write()).is_ok());
        assert_eq!(receiver.receive(soon, sleep, false, 9).len(), 2);
        assert!(Instant::now() >= soon, "they waited, and were taken all the same");
        assert!(sender.send(write()).is_ok() && sender.send(read()).is_ok());
        let far = Instant::now() + Duration::from_secs(60);
        assert_eq!(receiver.receive(far, sleep, false, 9).len(), 2, "a read is not slept through");
    }

    #[test]
    fn reads_wake_nobody_who_may_sleep_through_them() {
        let (sender, receiver) = new();
        let soon = || Instant::now() + Duration::from_millis(20);
        let far = || Instant::now() + Duration::from_secs(60);
        let (light, heavy) = (Sleep::default(), Sleep { through_reads: true, through_writes: false });
        assert!(receiver.receive(soon(), light, true, 9).is_empty());
        for _ in 0..3 {
            assert!(sender.send(read()).is_ok());
        }
        assert_eq!(receiver.receive(far(), light, true, 2).len(), 2, "no more than that");
        let began = Instant::now();
        assert_eq!(receiver.receive(soon(), heavy, false, 9).len(), 1, "they are taken all the same");
        assert!(began.elapsed() >= Duration::from_millis(20));
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| receiver.receive(far(), heavy, false, 9).len());
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
