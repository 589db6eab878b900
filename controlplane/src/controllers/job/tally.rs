//! What a Job's pods add up to, with what was counted before them.

use super::backoff::finished;
use super::pod::{failures, ignored, is_tracked, valid_index};
use super::policy::{self, Failure};
use crate::controllers::pods::{Found, is_active};
use api::indexes::Indexes;
use api::view::{Job, Pod};
use std::collections::{BTreeMap, HashSet};

/// The counts of one moment; borrowed from the pods.
pub(super) struct Tally<'a> {
    /// Also those that are not in the status yet.
    pub(super) succeeded: i32,
    pub(super) failed: i32,
    /// Pods that ended and are in no count yet.
    pub(super) new_succeeded: Vec<&'a Pod>,
    pub(super) new_failed: Vec<&'a Pod>,
    /// Indexes that have succeeded: by the status, and with the pods.
    pub(super) done_before: Indexes,
    pub(super) done: Indexes,
    /// Indexes that have failed, of a Job that limits the failures of each.
    pub(super) broken: Option<Indexes>,
    /// The last failed pod of each index that waits for its next pod, which is told how often its index failed.
    pub(super) held: BTreeMap<i32, &'a Found>,
}

// === impl Tally ===

impl<'a> Tally<'a> {
    pub(super) fn of(job: &Job, pods: &'a [Found]) -> Tally<'a> {
        let uncounted = job.status.uncounted_terminated_pods.clone().unwrap_or_default();
        let counted: HashSet<&str> = uncounted.succeeded.iter().chain(&uncounted.failed).map(String::as_str).collect();
        let is_new = |(_, pod): &&Found| {
            is_tracked(pod)
                && !counted.contains(&*pod.metadata.uid)
                && (!job.spec.is_indexed() || valid_index(job, pod).is_some())
        };
        let new: Vec<&'a Found> = pods.iter().filter(is_new).collect();
        let new_succeeded: Vec<&'a Pod> =
            new.iter().copied().map(|(_, pod)| &**pod).filter(|pod| has_succeeded(pod)).collect();
        let new_failed: Vec<&'a Found> = new.into_iter().filter(|(_, pod)| has_failed(job, pod)).collect();
        let counting = new_failed.iter().filter(|(key, pod)| policy::failure(job, key, pod).counts()).count();
        let failed = job.status.failed + number(counting) + number(uncounted.failed.len());
        let mut tally = Tally {
            succeeded: job.status.succeeded + number(new_succeeded.len()) + number(uncounted.succeeded.len()),
            failed,
            new_succeeded,
            new_failed: new_failed.into_iter().map(|(_, pod)| &**pod).collect(),
            done_before: Indexes::default(),
            done: Indexes::default(),
            broken: None,
            held: BTreeMap::new(),
        };
        if job.spec.is_indexed() {
            tally.by_index(job, pods, &uncounted.failed);
        }
        tally
    }

    /// `given_up` are pods that count as failed, whatever became of them since.
    fn by_index(&mut self, job: &Job, pods: &'a [Found], given_up: &[String]) {
        let completions = job.spec.completions.unwrap_or(0);
        let tracked = || pods.iter().filter(|(_, pod)| is_tracked(pod));
        self.done_before = Indexes::read(&job.status.completed_indexes, completions);
        let done = tracked().filter(|(_, pod)| has_succeeded(pod) && !given_up.contains(&pod.metadata.uid));
        let done = done.filter_map(|(_, pod)| valid_index(job, pod));
        self.done = self.done_before.union(&done.collect());
        self.succeeded = self.done.len();
        let Some(limit) = job.spec.backoff_limit_per_index else { return };
        let before = Indexes::read(job.status.failed_indexes.as_deref().unwrap_or_default(), completions);
        let broken = tracked().filter(|found| breaks_index(job, found, limit));
        let broken = before.union(&broken.filter_map(|(_, pod)| valid_index(job, pod)).collect());
        self.held = held(job, pods, &self.done.union(&broken));
        self.broken = Some(broken);
    }
}

pub(super) fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

pub(super) fn has_succeeded(pod: &Pod) -> bool {
    pod.status.phase == "Succeeded"
}

/// A pod that is on its way counts as failed, unless it is to be seen to its end. Of one that was deleted without a
/// grace, or that no node had, nobody will tell the end.
pub(super) fn has_failed(job: &Job, pod: &Pod) -> bool {
    let has_no_grace = pod.metadata.deletion_grace_period_seconds == Some(0);
    let is_lost = pod.is_deleting() && (!job.spec.replaces_failed_only() || has_no_grace);
    pod.status.phase == "Failed" || (is_lost && !has_succeeded(pod))
}

/// On its way, and not at its end.
pub(super) fn is_terminating(pod: &Pod) -> bool {
    pod.is_deleting() && !pod.is_finished()
}

fn breaks_index(job: &Job, (key, pod): &Found, limit: i32) -> bool {
    has_failed(job, pod)
        && match policy::failure(job, key, pod) {
            Failure::EndsIndex => true,
            Failure::Ignored => false,
            Failure::Counts | Failure::EndsJob(_) => failures(pod) >= limit,
        }
}

/// Failed pods that are kept, in the place of those that their indexes lack.
fn held<'a>(job: &Job, pods: &'a [Found], ended: &Indexes) -> BTreeMap<i32, &'a Found> {
    let active = pods.iter().filter(|(_, pod)| is_active(pod));
    let active: Indexes = active.filter_map(|(_, pod)| valid_index(job, pod)).collect();
    let mut held: BTreeMap<i32, &Found> = BTreeMap::new();
    for found in pods.iter().filter(|(_, pod)| is_tracked(pod) && has_failed(job, pod)) {
        let Some(index) = valid_index(job, &found.1) else { continue };
        if ended.contains(index) || active.contains(index) {
            continue;
        }
        let rank = |pod: &Pod| (failures(pod) + ignored(pod), finished(pod));
        let is_later = held.get(&index).is_none_or(|(_, known)| rank(&found.1) >= rank(known));
        if is_later {
            held.insert(index, found);
        }
    }
    held
}
