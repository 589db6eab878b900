//! Jobs: pods that run to their end, as often as it takes, and each end counted once.
//!
//! `plan` decides about the pods and about the end of the Job, `track` counts. Every write that matters for the counts
//! is made on the state that it was decided from, so a controller that was replaced meanwhile does no harm.

mod backoff;
mod plan;
mod pod;
mod policy;
mod tally;
mod track;

use super::claim::Maker;
use super::pods::{self, Found, Pods, is_terminating};
use super::wall::Wall;
use super::{Config, Pace, Watched, due, replace_status, settle};
use api::Tree;
use api::resource::JOBS;
use api::selector::Labels;
use api::time;
use api::view::{Condition, Job, JobStatus, Pod};
use backoff::Backoff;
use client::{Change, Error, Happened, Key, Queue, Recorder};
use plan::{Plan, Verdict};
use pod::{FINALIZER, is_tracked};
use serde_json::json;
use std::collections::HashMap;
use tally::Tally;
use tokio::time::Instant;

static MAKER: Maker = Maker {
    resource: JOBS,
    api_version: "batch/v1",
    kind: "Job",
    component: "job-controller",
    finalizer: Some(FINALIZER),
};
/// The name by which a Job may ask for this controller.
const NAME: &str = "kubernetes.io/job-controller";

struct Controller {
    config: Config,
    jobs: Watched<Job>,
    pods: Pods,
    events: Recorder,
    /// By uid, of Jobs that have not ended.
    backoffs: HashMap<String, Backoff>,
}

pub(super) async fn run(config: Config, events: Recorder) {
    let mut controller = Controller {
        jobs: Watched::new(&config.cluster, &JOBS, |object| object.view().ok()),
        pods: Pods::new(&MAKER, &config.cluster, &events, |object| pods::parse(object, &MAKER)),
        events,
        config,
        backoffs: HashMap::new(),
    };
    let mut queue: Queue<Key> = Queue::new();
    // Pods that nobody may be counting any more.
    let mut orphans: Queue<Key> = Queue::new();
    let mut pace = Pace::default();
    let mut wall = Wall::new(&controller.config.clock);
    loop {
        tokio::select! {
            () = wall.is_set() => controller.jobs.cache.iter().for_each(|(key, _)| queue.add(key.clone())),
            changes = controller.jobs.changed() => {
                for change in changes {
                    controller.left_by(&change).into_iter().for_each(|key| orphans.add(key));
                    queue.add(change.key);
                }
            }
            changes = controller.pods.changed() => {
                for change in changes {
                    controller.touched(&change).into_iter().for_each(|key| pace.add(&mut queue, key));
                    if change.new.as_ref().is_some_and(|pod| is_tracked(pod)) {
                        orphans.add(change.key);
                    }
                }
            }
            () = due(&queue) => {}
            () = due(&orphans) => {}
        }
        if !controller.jobs.is_synced || !controller.pods.is_synced() {
            continue;
        }
        while let Some(key) = queue.take(Instant::now()) {
            let outcome = controller.sync(&key, &mut queue).await;
            settle(&mut queue, &key, "job", outcome);
        }
        while let Some(key) = orphans.take(Instant::now()) {
            let outcome = controller.let_go(&key).await;
            settle(&mut orphans, &key, "job", outcome);
        }
    }
}

/// Whether the Job is another controller's.
fn is_foreign(job: &Job) -> bool {
    job.spec.managed_by.as_ref().is_some_and(|name| name != NAME)
}

impl Controller {
    /// The Jobs that a changed pod matters to.
    fn touched(&self, change: &Change<Pod>) -> Vec<Key> {
        let mut keys = super::owners(change, |pod| pod.metadata.controller(), &MAKER);
        if let Some(pod) = change.new.as_ref().filter(|pod| pod.metadata.controller().is_none()) {
            let label = |key: &str| pod.metadata.labels.get(key).map(String::as_str);
            let all = self.jobs.cache.namespace(&change.key.namespace);
            let selecting = all.filter(|(_, entry)| selector(&entry.value).is_some_and(|one| one.matches(label)));
            keys.extend(selecting.map(|(key, _)| key.clone()));
        }
        keys
    }

    /// The pods of a Job that is gone, or has ended.
    fn left_by(&mut self, change: &Change<Job>) -> Vec<Key> {
        let Some(old) = &change.old else { return Vec::new() };
        let uid = &old.metadata.uid;
        if change.new.as_ref().is_some_and(|new| new.metadata.uid == *uid && new.end().is_none()) {
            return Vec::new();
        }
        self.backoffs.remove(uid);
        self.pods.of(uid).into_iter().filter(|(_, pod)| is_tracked(pod)).map(|(key, _)| key).collect()
    }

    /// Takes the finalizer from a pod that no Job counts.
    async fn let_go(&mut self, key: &Key) -> Result<(), Error> {
        let Some(pod) = self.pods.get(key).filter(|pod| is_tracked(pod)) else { return Ok(()) };
        if let Some(owner) = pod.metadata.controller() {
            let job = self.jobs.cache.value(&Key::new(&key.namespace, &owner.name));
            let job = job.filter(|job| *job.metadata.uid == *owner.uid);
            if job.is_some_and(|job| is_foreign(job) || job.end().is_none()) {
                return Ok(());
            }
        }
        self.pods.unguard(std::slice::from_ref(key), FINALIZER).await
    }

    async fn sync(&mut self, key: &Key, queue: &mut Queue<Key>) -> Result<(), Error> {
        let Some(job) = self.jobs.cache.value(key).cloned() else { return Ok(()) };
        if is_foreign(&job) || job.end().is_some() {
            return Ok(());
        }
        let uid = &job.metadata.uid;
        let pods = match selector(&job) {
            Some(selector) => self.pods.claimed_if(&job.metadata, &selector, |_| true).await?,
            None => self.pods.of(uid),
        };
        let now = self.config.clock.now();
        let tally = Tally::of(&job, &pods);
        let known = self.backoffs.get(uid).copied();
        let known = known.unwrap_or_else(|| recalled(&job, &pods));
        let backoff = known.after(&tally.new_succeeded, &tally.new_failed);
        let verdict = plan::verdict(&job, &tally, &pods, now);
        let plan = plan::plan(&job, &tally, &pods, verdict.as_ref(), (backoff, now));
        if let Some(again) = plan.again {
            queue.add_at(key.clone(), Instant::now() + again.unsigned_abs());
        }
        let done = self.perform(&job, plan).await;
        // A Job is not at its end while there is a pod that could not be ended.
        let verdict = verdict.filter(|_| done.is_ok());
        self.count(&job, verdict.as_ref(), now).await?;
        self.backoffs.insert(uid.clone(), backoff);
        done
    }

    async fn perform(&mut self, job: &Job, plan: Plan) -> Result<(), Error> {
        self.pods.unguard(&plan.discard, FINALIZER).await?;
        self.pods.unmake(&job.metadata, &plan.discard).await?;
        self.pods.unmake(&job.metadata, &plan.end).await?;
        let trees = plan.make.iter().map(|new| pod::pod(&MAKER, job, new)).collect();
        let (_, failed) = self.pods.make(&job.metadata, trees).await;
        failed.filter(|error| !is_terminating(error)).map_or(Ok(()), Err)
    }

    /// Counts what has ended, as far as one step goes; the writes themselves bring the next one.
    async fn count(&mut self, job: &Job, verdict: Option<&Verdict>, now: time::Timestamp) -> Result<(), Error> {
        let pods = self.pods.of(&job.metadata.uid);
        let track = track::track(job, &pods, verdict, now);
        if track.status != job.status {
            let written = replace_status(&self.config.cluster, &JOBS, &job.metadata, shown(&track.status)).await?;
            self.jobs.wrote(&written);
            for (is_warning, reason, message) in track::told(job, &track.status) {
                let about = MAKER.about(&job.metadata);
                self.events.tell(Happened { about, component: MAKER.component, is_warning, reason, message });
            }
        }
        self.pods.unguard(&track.release, FINALIZER).await
    }
}

fn selector(job: &Job) -> Option<Labels> {
    Some(Labels::from_view(&job.spec.selector)).filter(|selector| !selector.is_empty())
}

/// What a controller that has just started knows of the failures before.
fn recalled(job: &Job, pods: &[Found]) -> Backoff {
    let counted: Vec<&Pod> = pods.iter().map(|(_, pod)| &**pod).filter(|pod| !is_tracked(pod)).collect();
    let (succeeded, rest): (Vec<&Pod>, Vec<&Pod>) = counted.into_iter().partition(|pod| tally::has_succeeded(pod));
    let failed: Vec<&Pod> = rest.into_iter().filter(|pod| tally::has_failed(job, pod)).collect();
    Backoff::default().after(&succeeded, &failed)
}

fn shown(status: &JobStatus) -> Tree {
    let condition = |one: &Condition| {
        let at = one.last_transition_time.map(time::seconds);
        json!({
            "type": one.kind, "status": one.status, "reason": one.reason, "message": one.message,
            "lastProbeTime": at, "lastTransitionTime": at,
        })
    };
    let list = |all: Vec<Tree>| if all.is_empty() { Tree::Null } else { Tree::Array(all) };
    let uids = |all: &[String]| list(all.iter().map(|uid| uid.as_str().into()).collect());
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let text = |text: &str| if text.is_empty() { Tree::Null } else { text.into() };
    json!({
        "conditions": list(status.conditions.iter().map(condition).collect()),
        "startTime": status.start_time.map(time::seconds),
        "completionTime": status.completion_time.map(time::seconds),
        "active": super::or_null(status.active),
        "terminating": status.terminating,
        "ready": status.ready,
        "succeeded": super::or_null(status.succeeded),
        "failed": super::or_null(status.failed),
        "completedIndexes": text(&status.completed_indexes),
        "failedIndexes": status.failed_indexes,
        "uncountedTerminatedPods": {
            "succeeded": uids(&uncounted.succeeded), "failed": uids(&uncounted.failed),
        },
    })
}
