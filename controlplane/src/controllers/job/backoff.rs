//! How long a Job waits before it replaces pods that failed: longer after each failure, until a pod succeeds.

use api::time::{SignedDuration, Timestamp};
use api::view::Pod;

/// The wait after one failure; doubled with each further one, up to the second (upstream's, 1.34).
const WAIT_MIN: SignedDuration = SignedDuration::from_secs(10);
const WAIT_MAX: SignedDuration = SignedDuration::from_mins(10);

/// What is remembered of a Job: the failures since its last success.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    failures: usize,
    last: Option<Timestamp>,
}

// === impl Backoff ===

impl Backoff {
    /// With pods that ended since.
    pub(super) fn after(self, succeeded: &[&Pod], failed: &[&Pod]) -> Backoff {
        let mut ends: Vec<Timestamp> = failed.iter().map(|pod| finished(pod)).collect();
        let success = succeeded.iter().map(|pod| finished(pod)).max();
        let before = if success.is_some() { Backoff::default() } else { self };
        ends.retain(|at| success.is_none_or(|success| *at > success));
        Backoff { failures: before.failures + ends.len(), last: ends.into_iter().max().max(before.last) }
    }

    pub(super) fn remaining(self, now: Timestamp) -> SignedDuration {
        self.last.map_or(SignedDuration::ZERO, |last| remaining(self.failures, last, now))
    }
}

/// How long to wait after so many failures, the last one at `last`. A clock that was set back does not make it longer
/// than the whole wait.
pub(super) fn remaining(failures: usize, last: Timestamp, now: Timestamp) -> SignedDuration {
    let doubled = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX).min(16);
    let wait = match failures {
        0 => return SignedDuration::ZERO,
        _ => (WAIT_MIN * (1 << doubled)).min(WAIT_MAX),
    };
    (wait - now.duration_since(last).max(SignedDuration::ZERO)).max(SignedDuration::ZERO)
}

/// When a pod ended: its last container, or else what comes closest to that.
pub(super) fn finished(pod: &Pod) -> Timestamp {
    let ends = pod.status.container_statuses.iter();
    let ends: Option<Vec<Timestamp>> = ends.map(|status| status.state.terminated.as_ref()?.finished_at).collect();
    let unready = pod.status.condition("Ready").filter(|one| one.status == "False");
    let deleted = || {
        let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or(0));
        pod.metadata.deletion_timestamp?.checked_sub(grace).ok()
    };
    ends.and_then(|ends| ends.into_iter().max())
        .or_else(|| unready.and_then(|one| one.last_transition_time))
        .or_else(deleted)
        .or(pod.metadata.creation_timestamp)
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(second: i64) -> Pod {
        let at = api::time::seconds(Timestamp::from_second(second).expect("a time"));
        let pod = json!({"status": {"containerStatuses": [{"state": {"terminated": {"finishedAt": at}}}]}});
        serde_json::from_value(pod).expect("a pod")
    }

    #[test]
    fn each_failure_doubles_the_wait_and_a_success_ends_it() {
        let at = |second: i64| Timestamp::from_second(second).expect("a time");
        let wait = |backoff: Backoff, now: i64| backoff.remaining(at(now)).as_secs();
        let (ten, twelve, twenty) = (pod(10), pod(12), pod(20));
        let none = Backoff::default();
        assert_eq!(wait(none, 0), 0);
        let one = none.after(&[], &[&ten]);
        assert_eq!((wait(one, 10), wait(one, 13), wait(one, 20), wait(one, 999)), (10, 7, 0, 0));
        assert_eq!(wait(one, -100_000), 10, "a clock that was set back");
        let two = one.after(&[], &[&twelve]);
        assert_eq!(wait(two, 12), 20);
        assert_eq!(wait(two.after(&[&twenty], &[]), 20), 0);
        assert_eq!(wait(two.after(&[&ten], &[&twelve, &twenty]), 20), 20, "what failed after the success counts");
        assert_eq!(wait(two.after(&[&twelve], &[&twelve]), 12), 0);
        let many = (0..40).fold(none, |backoff, _| backoff.after(&[], &[&ten]));
        assert_eq!(wait(many, 10), 600);
    }
}
