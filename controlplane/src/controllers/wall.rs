//! Notices that the wall clock was set: what waits for a time of day then waits for the wrong length of time.
//!
//! Devices start with a clock that is years behind, and one that slept has missed what passed.

use api::time::{SignedDuration, Timestamp};
use client::Clock;
use std::time::Duration;
use tokio::time::Instant;

/// How often the two clocks are compared: a time that is due is late by no more than this after a jump.
const LOOK: Duration = Duration::from_secs(30);
/// Less than this is how clocks run.
const DRIFT_MAX: SignedDuration = SignedDuration::from_secs(1);

pub(super) struct Wall {
    clock: Clock,
    known: (Timestamp, Instant),
    next: Instant,
}

// === impl Wall ===

impl Wall {
    pub(super) fn new(clock: &Clock) -> Wall {
        let now = Instant::now();
        Wall { clock: clock.clone(), known: (clock.now(), now), next: now + LOOK }
    }

    /// Waits until the wall clock has been set.
    pub(super) async fn is_set(&mut self) {
        loop {
            tokio::time::sleep_until(self.next).await;
            let seen = (self.clock.now(), Instant::now());
            self.next = seen.1 + LOOK;
            if has_jumped(std::mem::replace(&mut self.known, seen), seen) {
                return;
            }
        }
    }
}

/// Pure: whether the wall clock went otherwise than time did.
fn has_jumped(before: (Timestamp, Instant), after: (Timestamp, Instant)) -> bool {
    let passed = SignedDuration::try_from(after.1.duration_since(before.1)).unwrap_or(SignedDuration::MAX);
    after.0.duration_since(before.0).saturating_sub(passed).abs() > DRIFT_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_with_the_time_has_not_jumped() {
        let (wall, start) = (Timestamp::UNIX_EPOCH, Instant::now());
        let check = |shown: i64, expect: bool| {
            let after = (wall + SignedDuration::from_secs(shown), start + Duration::from_secs(30));
            assert_eq!(has_jumped((wall, start), after), expect, "{shown}");
        };
        check(30, false);
        check(31, false);
        check(29, false);
        check(90, true);
        check(-3600, true);
        check(1_700_000_000, true);
    }
}
