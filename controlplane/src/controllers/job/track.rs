//! How a Job's pods are counted, each once, whatever happens between two steps.
//!
//! A pod that ended is first noted by uid in the status, then loses its finalizer, and is in the counts once it has lost
//! it: whoever goes on after a crash sees by the two which steps were made. An indexed Job notes the index that
//! succeeded in the place of a uid.

use super::plan::Verdict;
use super::pod::{is_tracked, valid_index};
use super::policy;
use super::tally::{Tally, has_failed, has_succeeded, is_terminating, number};
use crate::controllers::pods::{Found, is_active};
use api::time::Timestamp;
use api::view::{Condition, Job, JobStatus, Pod, UncountedPods};
use client::Key;
use std::collections::HashSet;

/// Uids that a status holds at most: it must not grow without end (upstream's `MaxUncountedPods`).
const UNCOUNTED_MAX: usize = 500;

#[derive(Debug, PartialEq)]
pub(super) struct Track {
    /// To be written first.
    pub(super) status: JobStatus,
    /// Pods that may lose their finalizer once the status is written.
    pub(super) release: Vec<Key>,
}

/// Pure: the next step of counting. `pods` are as they are after what was planned.
pub(super) fn track(job: &Job, pods: &[Found], verdict: Option<&Verdict>, now: Timestamp) -> Track {
    let tally = Tally::of(job, pods);
    let now = whole(now);
    let mut status = job.status.clone();
    let active = || pods.iter().map(|(_, pod)| &**pod).filter(|pod| is_active(pod));
    status.active = number(active().count());
    status.ready = Some(number(active().filter(|pod| pod.is_ready()).count()));
    status.terminating = Some(number(pods.iter().filter(|(_, pod)| is_terminating(pod)).count()));
    if status.start_time.is_none() && !job.spec.suspend {
        status.start_time = Some(now);
    }
    let complete = verdict.is_none().then(|| completion(job, &tally, status.active)).flatten();
    let verdict = verdict.or(complete.as_ref());
    if verdict.is_none() && job.metadata.deletion_timestamp.is_none() {
        suspension(job, &mut status, now);
    }
    let (uncounted, release) = count(job, pods, &tally, verdict, &mut status);
    if job.spec.is_indexed() {
        status.succeeded = tally.done.len();
        status.completed_indexes = tally.done.to_string();
        status.failed_indexes = tally.broken.as_ref().map(ToString::to_string);
    }
    if let Some(verdict) = verdict {
        let is_settled = release.is_empty() && uncounted == UncountedPods::default() && status.terminating == Some(0);
        conclude(&mut status, verdict, is_settled, now);
    }
    status.uncounted_terminated_pods = Some(uncounted);
    Track { status, release }
}

fn completion(job: &Job, tally: &Tally<'_>, active: i32) -> Option<Verdict> {
    let is_enough = tally.succeeded >= job.spec.completions.unwrap_or(1);
    (is_enough && active == 0).then(Verdict::complete)
}

fn suspension(job: &Job, status: &mut JobStatus, now: Timestamp) {
    let suspended = status.conditions.iter_mut().find(|one| one.kind == "Suspended");
    match (suspended, job.spec.suspend) {
        (Some(known), true) if known.status != "True" => {
            *known = condition("Suspended", "JobSuspended", "Job suspended", now);
        }
        (None, true) => status.conditions.push(condition("Suspended", "JobSuspended", "Job suspended", now)),
        (Some(known), false) if known.status != "False" => {
            *known = condition("Suspended", "JobResumed", "Job resumed", now);
            known.status = "False".to_owned();
            // What the Job may take is counted from here.
            status.start_time = Some(now);
        }
        _ => {}
    }
}

/// Moves what has lost its finalizer into the counts, and notes what may lose it.
fn count(
    job: &Job,
    pods: &[Found],
    tally: &Tally<'_>,
    verdict: Option<&Verdict>,
    status: &mut JobStatus,
) -> (UncountedPods, Vec<Key>) {
    let mut tracked: Vec<&Found> = pods.iter().filter(|(_, pod)| is_tracked(pod)).collect();
    tracked.sort_by_key(|(key, pod)| (valid_index(job, pod), key.clone()));
    let uids: HashSet<&str> = tracked.iter().map(|(_, pod)| &*pod.metadata.uid).collect();
    let mut uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
    let settle = |noted: &mut Vec<String>| {
        let before = noted.len();
        noted.retain(|uid| uids.contains(&**uid));
        number(before - noted.len())
    };
    status.succeeded += settle(&mut uncounted.succeeded);
    status.failed += settle(&mut uncounted.failed);
    let mut indexes = 0;
    let mut release = Vec::new();
    for found in tracked {
        if uncounted.succeeded.len() + uncounted.failed.len() + indexes >= UNCOUNTED_MAX {
            break;
        }
        let (key, pod) = found;
        if !may_go(job, pod, tally, verdict) {
            continue;
        }
        release.push(key.clone());
        let is_noted = |noted: &[String]| noted.contains(&pod.metadata.uid);
        if has_succeeded(pod) && !is_noted(&uncounted.failed) {
            if job.spec.is_indexed() {
                indexes += usize::from(valid_index(job, pod).is_some_and(|index| !tally.done_before.contains(index)));
            } else if !is_noted(&uncounted.succeeded) {
                uncounted.succeeded.push(pod.metadata.uid.clone());
            }
        } else if fails(job, found, verdict) && !is_noted(&uncounted.failed) {
            uncounted.failed.push(pod.metadata.uid.clone());
        }
    }
    (uncounted, release)
}

/// Whether nothing keeps a pod any more: it is counted now, or never.
fn may_go(job: &Job, pod: &Pod, tally: &Tally<'_>, verdict: Option<&Verdict>) -> bool {
    if job.metadata.deletion_timestamp.is_some() || verdict.is_some() || has_succeeded(pod) {
        return true;
    }
    let is_held = || tally.held.values().any(|(_, held)| held.metadata.uid == pod.metadata.uid);
    has_failed(job, pod) && !is_held()
}

/// Whether a pod counts as failed: the end of a Job that failed fails all that still run, a success that is enough none.
fn fails(job: &Job, (key, pod): &Found, verdict: Option<&Verdict>) -> bool {
    let is_failure = match verdict {
        Some(verdict) if verdict.has_failed => true,
        Some(verdict) if verdict.ends_others() => pod.status.phase == "Failed",
        _ => has_failed(job, pod),
    };
    let has_place = !job.spec.is_indexed() || valid_index(job, pod).is_some();
    is_failure && !has_succeeded(pod) && has_place && policy::failure(job, key, pod).counts()
}

/// Says how the Job ends, and that it has ended once nothing is left of it.
fn conclude(status: &mut JobStatus, verdict: &Verdict, is_settled: bool, now: Timestamp) {
    let (target, end) =
        if verdict.has_failed { ("FailureTarget", "Failed") } else { ("SuccessCriteriaMet", "Complete") };
    if status.condition(target).is_none() {
        status.conditions.push(condition(target, &verdict.reason, &verdict.message, now));
    }
    if is_settled {
        status.conditions.push(condition(end, &verdict.reason, &verdict.message, now));
        status.completion_time = (!verdict.has_failed).then_some(now);
    }
}

fn condition(kind: &str, reason: &str, message: &str, now: Timestamp) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status: "True".to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Some(now),
        ..Condition::default()
    }
}

/// As times are stored.
fn whole(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Pure: what is told of a status that came after another: whether it warns, the reason and the message.
pub(super) fn told(job: &Job, after: &JobStatus) -> Vec<(bool, &'static str, String)> {
    let mut told = Vec::new();
    let is_suspended = |status: &JobStatus| status.condition("Suspended").is_some();
    match (is_suspended(&job.status), is_suspended(after)) {
        (false, true) => told.push((false, "Suspended", "Job suspended".to_owned())),
        (true, false) => told.push((false, "Resumed", "Job resumed".to_owned())),
        _ => {}
    }
    if after.condition("Complete").is_some() {
        if job.spec.completions.is_some_and(|completions| after.succeeded > completions) {
            let message = "Too many succeeded pods running after completion count reached".to_owned();
            told.push((true, "TooManySucceededPods", message));
        }
        told.push((false, "Completed", "Job completed".to_owned()));
    } else if let Some(failed) = after.condition("Failed") {
        told.extend(
            REASONS
                .iter()
                .find(|reason| **reason == failed.reason)
                .map(|reason| (true, *reason, failed.message.clone())),
        );
    }
    told
}

/// Why a Job fails.
const REASONS: [&str; 5] =
    ["BackoffLimitExceeded", "DeadlineExceeded", "PodFailurePolicy", "MaxFailedIndexesExceeded", "FailedIndexes"];

#[cfg(test)]
mod tests;
