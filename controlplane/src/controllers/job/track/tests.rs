use super::*;
use crate::controllers::job::backoff::Backoff;
use crate::controllers::job::plan::{plan, verdict};
use crate::controllers::job::pod::{self, FINALIZER};
use crate::controllers::job::{MAKER, recalled};
use api::Tree;
use api::time::SignedDuration;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A Job and its pods, and a controller that may be stopped between any two of its writes.
struct World {
    job: Job,
    pods: BTreeMap<String, Pod>,
    backoff: Option<Backoff>,
    now: Timestamp,
    made: i32,
    /// Pods that were taken back before they had ended.
    discarded: i32,
}

/// One write.
enum Write {
    Unguard(Key),
    Delete(Key),
    Make(Tree),
    Status(Box<JobStatus>),
}

// === impl World ===

impl World {
    fn new(spec: &Tree) -> World {
        let job = json!({"metadata": {"name": "j", "namespace": "n", "uid": "u"}, "spec": spec});
        let mut job: Job = serde_json::from_value(job).expect("a Job");
        job.spec.template = json!({"spec": {"restartPolicy": "Never"}});
        World { job, pods: BTreeMap::new(), backoff: None, now: at(0), made: 0, discarded: 0 }
    }

    fn found(&self) -> Vec<Found> {
        self.pods.iter().map(|(name, pod)| (Key::new("n", name), Arc::new(pod.clone()))).collect()
    }

    fn perform(&mut self, write: Write) {
        match write {
            Write::Unguard(key) => {
                let Some(pod) = self.pods.get_mut(&*key.name) else { return };
                pod.metadata.finalizers.clear();
                self.reap();
            }
            Write::Delete(key) => {
                let now = self.now;
                if let Some(pod) = self.pods.get_mut(&*key.name) {
                    self.discarded += i32::from(!is_tracked(pod) && !pod.is_deleting());
                    pod.metadata.deletion_timestamp = Some(now);
                }
            }
            Write::Make(tree) => {
                let mut pod: Pod = api::object::read_tree(&tree).expect("a pod");
                self.made += 1;
                pod.metadata.name = format!("p{}", self.made);
                pod.metadata.uid.clone_from(&pod.metadata.name);
                pod.metadata.creation_timestamp = Some(self.now);
                pod.status.phase = "Running".to_owned();
                self.pods.insert(pod.metadata.name.clone(), pod);
            }
            Write::Status(status) => {
                self.check(&status);
                self.job.status = *status;
            }
        }
    }

    /// What is on its way, has ended and is not kept by a finalizer is gone.
    fn reap(&mut self) {
        self.pods.retain(|_, pod| !(pod.is_deleting() && pod.is_finished() && !is_tracked(pod)));
    }

    /// Counts do not go back, and nothing is counted that did not end.
    fn check(&self, status: &JobStatus) {
        let known = &self.job.status;
        assert!(status.succeeded >= known.succeeded && status.failed >= known.failed, "{known:?} {status:?}");
        let noted = status.uncounted_terminated_pods.clone().unwrap_or_default();
        let counted = status.succeeded + status.failed + number(noted.succeeded.len() + noted.failed.len());
        let alive = self.pods.values().filter(|pod| !pod.is_finished() && !pod.is_deleting()).count();
        assert!(counted <= self.made - self.discarded - number(alive), "{status:?} of {} pods", self.made);
        assert!(status.active <= self.job.spec.parallelism.unwrap_or(1), "{status:?}");
        let ends = ["Complete", "Failed"].iter().filter(|kind| status.condition(kind).is_some()).count();
        assert!(ends <= 1, "{status:?}");
    }

    /// One look of the controller, stopped after so many writes. True if it wrote nothing.
    fn look(&mut self, writes_max: usize) -> bool {
        if self.job.end().is_some() {
            return true;
        }
        let pods = self.found();
        let tally = Tally::of(&self.job, &pods);
        let known = self.backoff.unwrap_or_else(|| recalled(&self.job, &pods));
        let backoff = known.after(&tally.new_succeeded, &tally.new_failed);
        let verdict = verdict(&self.job, &tally, &pods, self.now);
        let plan = plan(&self.job, &tally, &pods, verdict.as_ref(), (backoff, self.now));
        let mut writes: Vec<Write> = plan.discard.iter().cloned().map(Write::Unguard).collect();
        writes.extend(plan.discard.into_iter().chain(plan.end).map(Write::Delete));
        writes.extend(plan.make.iter().map(|new| Write::Make(pod::pod(&MAKER, &self.job, new))));
        let mut count = writes.len();
        let mut left = writes_max;
        for write in writes {
            if left == 0 {
                self.backoff = None;
                return false;
            }
            left -= 1;
            self.perform(write);
        }
        let track = track(&self.job, &self.found(), verdict.as_ref(), self.now);
        let mut writes = Vec::new();
        if track.status != self.job.status {
            writes.push(Write::Status(Box::new(track.status)));
        }
        writes.extend(track.release.into_iter().map(Write::Unguard));
        count += writes.len();
        for write in writes {
            if left == 0 {
                self.backoff = None;
                return false;
            }
            left -= 1;
            self.perform(write);
        }
        self.backoff = Some(backoff);
        count == 0
    }

    /// Something happens to one of the pods that run.
    fn happen(&mut self, what: u8, which: usize) {
        self.now += SignedDuration::from_secs(700);
        let now = self.now;
        let running: Vec<String> =
            self.pods.values().filter(|pod| !pod.is_finished()).map(|pod| pod.metadata.name.clone()).collect();
        let Some(name) = running.get(which % running.len().max(1)) else { return };
        let pod = self.pods.get_mut(name).expect("it was just there");
        match what {
            0 | 1 => pod.status.phase = "Succeeded".to_owned(),
            2 => pod.status.phase = "Failed".to_owned(),
            // A node ends what was deleted.
            3 if pod.is_deleting() => pod.status.phase = "Failed".to_owned(),
            _ => pod.metadata.deletion_timestamp = pod.metadata.deletion_timestamp.or(Some(now)),
        }
        self.reap();
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).expect("a time")
}

fn specs() -> impl Strategy<Value = Tree> {
    let sizes = (1..5i32, 1..4i32, prop::option::of(0..3i32), any::<bool>(), any::<bool>());
    sizes.prop_map(|(completions, parallelism, limit, is_indexed, waits)| {
        let mut spec = json!({"completions": completions, "parallelism": parallelism, "backoffLimit": 3,
            "completionMode": if is_indexed { "Indexed" } else { "NonIndexed" },
            "podReplacementPolicy": if waits { "Failed" } else { "TerminatingOrFailed" }});
        if let Some(limit) = limit.filter(|_| is_indexed) {
            spec["backoffLimitPerIndex"] = limit.into();
            spec["backoffLimit"] = i32::MAX.into();
        }
        spec
    })
}

proptest! {
    /// Whatever happens to the pods, and wherever the controller is stopped: each end of a pod is counted once, no more
    /// run than may, and the Job comes to its end.
    #[test]
    fn every_end_is_counted_once(spec in specs(), steps in prop::collection::vec((0u8..6, 0usize..8, 0usize..12), 0..40)) {
        let mut world = World::new(&spec);
        for (what, which, writes_max) in steps {
            world.look(writes_max);
            world.happen(what, which);
        }
        for round in 0.. {
            prop_assert!(round < 200, "no end: {:?} {:?}", world.job.status, world.pods);
            while !world.look(usize::MAX) {}
            if world.job.end().is_some() {
                break;
            }
            world.happen(if world.pods.values().any(Pod::is_deleting) { 3 } else { 0 }, round);
        }
        let status = &world.job.status;
        let end = world.job.end().expect("it has ended").kind.clone();
        prop_assert!(world.pods.values().all(|pod| !is_tracked(pod) && pod.is_finished()), "{:?}", world.pods);
        let completions = world.job.spec.completions.expect("a number");
        if world.job.spec.is_indexed() {
            prop_assert_eq!(end == "Complete", status.succeeded == completions, "{:?}", status);
        } else {
            prop_assert_eq!(status.succeeded + status.failed, world.made - world.discarded, "{:?}", status);
            prop_assert_eq!(end == "Complete", status.succeeded >= completions, "{:?}", status);
        }
        let target = if end == "Complete" { "SuccessCriteriaMet" } else { "FailureTarget" };
        prop_assert!(status.condition(target).is_some() && status.completion_time.is_some() == (end == "Complete"));
        prop_assert_eq!((status.active, status.terminating), (0, Some(0)));
    }
}

/// A world whose pods are made, and the first so many have succeeded.
fn started(spec: &Tree, succeeded: usize) -> World {
    let mut world = World::new(spec);
    while !world.look(usize::MAX) {}
    for pod in world.pods.values_mut().take(succeeded) {
        pod.status.phase = "Succeeded".to_owned();
    }
    world
}

#[test]
fn an_end_is_noted_then_let_go_then_counted() {
    let mut world = started(&json!({"completions": 2, "parallelism": 2}), 1);
    let first = track(&world.job, &world.found(), None, world.now);
    let noted = first.status.uncounted_terminated_pods.clone().expect("it is kept");
    assert_eq!((first.status.succeeded, noted.succeeded), (0, vec!["p1".to_owned()]));
    assert_eq!(first.release, [Key::new("n", "p1")]);
    world.job.status = first.status;
    assert_eq!(track(&world.job, &world.found(), None, world.now).release, [Key::new("n", "p1")], "until it is gone");
    world.perform(Write::Unguard(Key::new("n", "p1")));
    let second = track(&world.job, &world.found(), None, world.now);
    assert_eq!((second.status.succeeded, second.status.uncounted_terminated_pods), (1, Some(UncountedPods::default())));
    assert_eq!(second.status.active, 1);
}

#[test]
fn a_job_ends_once_nothing_is_left_of_it() {
    let spec = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed",
        "successPolicy": {"rules": [{"succeededCount": 1}]}});
    let mut world = started(&spec, 1);
    while !world.look(usize::MAX) {}
    let status = &world.job.status;
    assert_eq!((status.succeeded, &*status.completed_indexes, status.terminating), (1, "0", Some(2)));
    let kinds = |status: &JobStatus| status.conditions.iter().map(|one| one.kind.clone()).collect::<Vec<_>>();
    assert_eq!(kinds(status), ["SuccessCriteriaMet"]);
    for pod in world.pods.values_mut().filter(|pod| !pod.is_finished()) {
        pod.status.phase = "Failed".to_owned();
    }
    world.reap();
    let before = world.job.clone();
    while !world.look(usize::MAX) {}
    assert_eq!(kinds(&world.job.status), ["SuccessCriteriaMet", "Complete"]);
    assert_eq!((world.job.status.failed, world.job.status.terminating), (0, Some(0)), "they were not needed");
    assert_eq!(told(&before, &world.job.status), [(false, "Completed", "Job completed".to_owned())]);
}

#[test]
fn a_suspended_job_says_so_and_starts_anew() {
    let mut world = started(&json!({"completions": 2, "parallelism": 2}), 0);
    world.job.spec.suspend = true;
    let before = world.job.clone();
    while !world.look(usize::MAX) {}
    assert_eq!(told(&before, &world.job.status), [(false, "Suspended", "Job suspended".to_owned())]);
    assert_eq!((world.job.status.active, world.job.status.failed), (0, 0), "what was taken back did not fail");
    world.now = at(60);
    world.job.spec.suspend = false;
    let before = world.job.clone();
    while !world.look(usize::MAX) {}
    assert_eq!(told(&before, &world.job.status), [(false, "Resumed", "Job resumed".to_owned())]);
    assert_eq!(world.job.status.start_time, Some(at(60)));
    assert_eq!(world.job.status.conditions[0].status, "False");
}

#[test]
fn a_job_that_fails_says_why() {
    let mut world = started(&json!({"completions": 2, "parallelism": 2, "backoffLimit": 0}), 0);
    world.pods.values_mut().take(1).for_each(|pod| pod.status.phase = "Failed".to_owned());
    let mut heard = Vec::new();
    loop {
        let before = world.job.clone();
        let is_done = world.look(usize::MAX);
        heard.extend(told(&before, &world.job.status).into_iter().filter(|_| before.status != world.job.status));
        for pod in world.pods.values_mut().filter(|pod| pod.is_deleting()) {
            pod.status.phase = "Failed".to_owned();
        }
        world.reap();
        if is_done {
            break;
        }
    }
    let message = "Job has reached the specified backoff limit".to_owned();
    assert_eq!(heard, [(true, "BackoffLimitExceeded", message)]);
    assert_eq!((world.job.status.failed, world.job.status.completion_time), (2, None), "what it ended has failed too");
    assert!(world.pods.values().all(|pod| !pod.metadata.finalizers.iter().any(|one| one == FINALIZER)));
}
