//! What to do about a Job's pods: which are missing, which are too many, and whether the Job has come to its end.
//!
//! Pure, as upstream's `syncJob` and `manageJob` (1.34) decide.

use super::backoff::{self, Backoff};
use super::pod::{New, failures, ignored, index};
use super::policy::{self, Failure};
use super::tally::{Tally, has_failed, is_terminating, number};
use crate::controllers::pods::{BURST_MAX, Found, is_active};
use crate::controllers::rank;
use api::indexes::Indexes;
use api::time::{SignedDuration, Timestamp};
use api::view::{Condition, Job};
use client::Key;
use std::collections::BTreeMap;

const COMPLETE: &str = "CompletionsReached";

/// How a Job ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) has_failed: bool,
    pub(super) reason: String,
    pub(super) message: String,
}

/// What to do about the pods.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) make: Vec<New>,
    /// Pods that are no longer wanted: they lose their finalizer first, and count for nothing.
    pub(super) discard: Vec<Key>,
    /// Pods that the end of the Job ends.
    pub(super) end: Vec<Key>,
    /// When to look again, if nothing happens before.
    pub(super) again: Option<SignedDuration>,
}

// === impl Verdict ===

impl Verdict {
    fn failed(reason: &str, message: impl Into<String>) -> Verdict {
        Verdict { has_failed: true, reason: reason.to_owned(), message: message.into() }
    }

    fn succeeded(reason: &str, message: impl Into<String>) -> Verdict {
        Verdict { has_failed: false, reason: reason.to_owned(), message: message.into() }
    }

    /// As many as were asked for have succeeded, and none is left.
    pub(super) fn complete() -> Verdict {
        Verdict::succeeded(COMPLETE, "Reached expected number of succeeded pods")
    }

    /// Whether it ends pods that are still at work.
    pub(super) fn ends_others(&self) -> bool {
        self.reason != COMPLETE
    }

    /// What was decided before and has not come to its end yet.
    fn known(job: &Job) -> Option<Verdict> {
        let of = |has_failed: bool, one: &Condition| Verdict {
            has_failed,
            reason: one.reason.clone(),
            message: one.message.clone(),
        };
        let met = job.status.condition("SuccessCriteriaMet").map(|one| of(false, one));
        met.or_else(|| job.status.condition("FailureTarget").map(|one| of(true, one)))
    }
}

/// Whether the Job is at its end, whatever pods still run.
pub(super) fn verdict(job: &Job, tally: &Tally<'_>, pods: &[Found], now: Timestamp) -> Option<Verdict> {
    Verdict::known(job)
        .or_else(|| pods.iter().filter(|(_, pod)| has_failed(job, pod)).find_map(|found| ends_job(job, found)))
        .or_else(|| by_limits(job, tally, pods, now))
        .or_else(|| by_indexes(job, tally))
}

fn ends_job(job: &Job, (key, pod): &Found) -> Option<Verdict> {
    match policy::failure(job, key, pod) {
        Failure::EndsJob(why) => Some(Verdict::failed("PodFailurePolicy", why)),
        Failure::Counts | Failure::Ignored | Failure::EndsIndex => None,
    }
}

fn by_limits(job: &Job, tally: &Tally<'_>, pods: &[Found], now: Timestamp) -> Option<Verdict> {
    let limit = job.spec.backoff_limit.unwrap_or(6);
    if tally.failed > limit || restarts_beyond(job, pods, limit) {
        return Some(Verdict::failed("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
    }
    let is_late = left_until_deadline(job, now).is_some_and(|left| !left.is_positive());
    is_late.then(|| Verdict::failed("DeadlineExceeded", "Job was active longer than specified deadline"))
}

/// Containers that restart in their pods count as well, against the same limit.
fn restarts_beyond(job: &Job, pods: &[Found], limit: i32) -> bool {
    if api::object::edit::text(&job.spec.template, &["spec", "restartPolicy"]) != "OnFailure" {
        return false;
    }
    let running = pods.iter().filter(|(_, pod)| matches!(&*pod.status.phase, "Running" | "Pending"));
    let statuses =
        running.flat_map(|(_, pod)| pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses));
    let restarts: i64 = statuses.map(|status| i64::from(status.restart_count)).sum();
    restarts > 0 && restarts >= i64::from(limit)
}

fn left_until_deadline(job: &Job, now: Timestamp) -> Option<SignedDuration> {
    let (deadline, start) = (job.spec.active_deadline_seconds?, job.status.start_time?);
    (!job.spec.suspend).then(|| SignedDuration::from_secs(deadline).saturating_sub(now.duration_since(start)))
}

fn by_indexes(job: &Job, tally: &Tally<'_>) -> Option<Verdict> {
    if !job.spec.is_indexed() {
        return None;
    }
    let broken = tally.broken.as_ref().map_or(0, Indexes::len);
    if job.spec.max_failed_indexes.is_some_and(|limit| broken > limit) {
        let message = "Job has exceeded the specified maximal number of failed indexes";
        return Some(Verdict::failed("MaxFailedIndexesExceeded", message));
    }
    if broken > 0 && broken.saturating_add(tally.done.len()) >= job.spec.completions.unwrap_or(0) {
        return Some(Verdict::failed("FailedIndexes", "Job has failed indexes"));
    }
    policy::success(job, &tally.done).map(|message| Verdict::succeeded("SuccessPolicy", message))
}

/// What to do about the pods.
pub(super) fn plan(
    job: &Job,
    tally: &Tally<'_>,
    pods: &[Found],
    verdict: Option<&Verdict>,
    (backoff, now): (Backoff, Timestamp),
) -> Plan {
    let active: Vec<&Found> = pods.iter().filter(|(_, pod)| is_active(pod)).collect();
    if verdict.is_some() {
        return Plan { end: active.into_iter().map(|(key, _)| key.clone()).collect(), ..Plan::default() };
    }
    if job.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    if job.spec.suspend {
        let discard = active.into_iter().map(|(key, _)| key.clone()).collect();
        return Plan { discard, ..Plan::default() };
    }
    let again = left_until_deadline(job, now);
    let wanted = wanted(job, tally, number(active.len()));
    let discard = excess(job, &active, wanted, now);
    if !discard.is_empty() {
        return Plan { discard, again, ..Plan::default() };
    }
    let ending = pods.iter().filter(|(_, pod)| job.spec.replaces_failed_only() && is_terminating(pod));
    let missing = wanted - number(ending.count()) - number(active.len());
    let missing = usize::try_from(missing).unwrap_or(0).min(BURST_MAX);
    let (make, wait) = lacking(job, tally, pods, missing, (backoff, now));
    Plan { make, again: again.into_iter().chain(wait).min(), ..Plan::default() }
}

/// How many pods are to run.
fn wanted(job: &Job, tally: &Tally<'_>, active: i32) -> i32 {
    let parallelism = job.spec.parallelism.unwrap_or(1);
    match job.spec.completions {
        Some(completions) => (completions - tally.succeeded).min(parallelism).max(0),
        // The first that succeeds ends the work; the others may come to their end.
        None if tally.succeeded > 0 => active,
        None => parallelism,
    }
}

/// The pods that are too many: those with an index that another one has, or that there is not, and the least useful.
fn excess(job: &Job, active: &[&Found], wanted: i32, now: Timestamp) -> Vec<Key> {
    let mut left: Vec<&Found> = active.to_vec();
    left.sort_by_cached_key(|(_, pod)| rank::usefulness(pod, 0, now));
    let mut excess: Vec<&Found> = Vec::new();
    if job.spec.is_indexed() {
        let completions = job.spec.completions.unwrap_or(0);
        let mut best: BTreeMap<i32, usize> = BTreeMap::new();
        for (at, (_, pod)) in left.iter().enumerate() {
            best.extend(index(pod).filter(|index| *index < completions).map(|index| (index, at)));
        }
        let is_best = |at: usize, found: &Found| index(&found.1).is_some_and(|index| best.get(&index) == Some(&at));
        let (kept, extra): (Vec<_>, Vec<_>) = left.iter().enumerate().partition(|(at, found)| is_best(*at, found));
        excess.extend(extra.into_iter().map(|(_, found)| *found));
        left = kept.into_iter().map(|(_, found)| *found).collect();
    }
    let count = usize::try_from(number(active.len()) - wanted).unwrap_or(0).saturating_sub(excess.len());
    excess.extend(left.into_iter().take(count));
    excess.into_iter().take(BURST_MAX).map(|(key, _)| key.clone()).collect()
}

/// The pods to make now; how long to wait if it is too early for any.
fn lacking(
    job: &Job,
    tally: &Tally<'_>,
    pods: &[Found],
    missing: usize,
    (backoff, now): (Backoff, Timestamp),
) -> (Vec<New>, Option<SignedDuration>) {
    let wait = backoff.remaining(now);
    if missing == 0 {
        return (Vec::new(), None);
    }
    if job.spec.backoff_limit_per_index.is_none() && wait.is_positive() {
        return (Vec::new(), Some(wait));
    }
    if !job.spec.is_indexed() {
        return (vec![New::default(); missing], None);
    }
    let pending = pending(job, tally, pods, missing);
    if job.spec.backoff_limit_per_index.is_none() {
        return (pending.into_iter().map(|index| New { index: Some(index), failures: None }).collect(), None);
    }
    let wait = |index: &i32| {
        let (_, last) = tally.held.get(index)?;
        let times = usize::try_from(failures(last).saturating_add(ignored(last))).unwrap_or(0) + 1;
        Some(backoff::remaining(times, backoff::finished(last), now)).filter(SignedDuration::is_positive)
    };
    let due: Vec<i32> = pending.iter().copied().filter(|index| wait(index).is_none()).collect();
    let soonest = pending.iter().filter_map(wait).min();
    let make =
        due.into_iter().map(|index| New { index: Some(index), failures: Some(failed_before(job, tally, index)) });
    (make.collect(), soonest)
}

/// The first indexes that have no pod and have not ended.
fn pending(job: &Job, tally: &Tally<'_>, pods: &[Found], count: usize) -> Vec<i32> {
    let replaces_failed_only = job.spec.replaces_failed_only();
    let taken = pods.iter().filter(|(_, pod)| is_active(pod) || (replaces_failed_only && is_terminating(pod)));
    let taken: Indexes = taken.filter_map(|(_, pod)| index(pod)).collect();
    let broken = tally.broken.clone().unwrap_or_default();
    let ended = taken.union(&tally.done).union(&broken);
    ended.missing(job.spec.completions.unwrap_or(0)).take(count).collect()
}

fn failed_before(job: &Job, tally: &Tally<'_>, index: i32) -> (i32, i32) {
    let Some((key, last)) = tally.held.get(&index) else { return (0, 0) };
    match policy::failure(job, key, last) {
        Failure::Ignored => (failures(last), ignored(last) + 1),
        Failure::Counts | Failure::EndsIndex | Failure::EndsJob(_) => (failures(last) + 1, ignored(last)),
    }
}

#[cfg(test)]
mod tests;
