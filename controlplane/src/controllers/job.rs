//! Jobs: pods that run to their end, as often as it takes.

use super::claim::Maker;
use super::pods::{self, Found, Pods, is_terminating};
use super::{Config, Watched, due, patch_status, settle};
use api::Tree;
use api::object::edit;
use api::resource::JOBS;
use api::time::{self, Timestamp};
use api::view::{Owned, Pod};
use client::{Error, Happened, Key, Queue, Recorder};
use serde_json::json;
use std::sync::Arc;
use tokio::time::Instant;

static MAKER: Maker = Maker { resource: JOBS, api_version: "batch/v1", kind: "Job", component: "job-controller" };

/// What to do for one Job; pure.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    create: usize,
    /// Running pods that are no longer wanted.
    delete: Vec<Key>,
    status: Tree,
}

fn plan(job: &Tree, pods: &[Found], now: Timestamp) -> Plan {
    let of = |phase: &str| pods.iter().filter(|(_, pod)| pod.status.phase == phase).count();
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let (succeeded, failed) = (count(of("Succeeded")), count(of("Failed")));
    let is_running = |pod: &Pod| !matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
    let running: Vec<_> =
        pods.iter().filter(|(_, pod)| is_running(pod) && pod.metadata.deletion_timestamp.is_none()).collect();
    let ready = running.iter().filter(|(_, pod)| pods::ready_since(pod).is_some()).count();
    let completions = edit::integer(job, &["spec", "completions"]);
    let parallelism = edit::integer(job, &["spec", "parallelism"]).unwrap_or(1);
    let limit = edit::integer(job, &["spec", "backoffLimit"]).unwrap_or(6);
    let mut status = edit::at(job, &["status"]).cloned().unwrap_or_else(|| json!({}));
    let ended = ["Complete", "Failed"].iter().any(|kind| condition(&status, kind));
    let mut plan = Plan::default();
    let restarts: i64 = running.iter().map(|(_, pod)| restarts(pod)).sum();
    if !ended {
        let is_done = completions.map_or(succeeded > 0 && running.is_empty(), |wanted| succeeded >= wanted);
        let at = time::seconds(now);
        if is_done {
            push(
                &mut status,
                "SuccessCriteriaMet",
                "CompletionsReached",
                "Reached expected number of succeeded pods",
                &at,
            );
            push(&mut status, "Complete", "CompletionsReached", "Reached expected number of succeeded pods", &at);
            edit::set(&mut status, &["completionTime"], at);
        } else if failed + restarts > limit {
            let message = "Job has reached the specified backoff limit";
            push(&mut status, "FailureTarget", "BackoffLimitExceeded", message, &at);
            push(&mut status, "Failed", "BackoffLimitExceeded", message, &at);
            plan.delete = running.iter().map(|(key, _)| key.clone()).collect();
        } else if !edit::is_true(job, &["spec", "suspend"]) {
            let left = completions.map_or(parallelism, |wanted| wanted - succeeded);
            let wanted = if completions.is_none() && succeeded > 0 { 0 } else { left.min(parallelism) };
            plan.create = usize::try_from(wanted - count(running.len())).unwrap_or(0);
        }
        if edit::text(&status, &["startTime"]).is_empty() {
            edit::set(&mut status, &["startTime"], time::seconds(now));
        }
    }
    for (key, number) in
        [("active", count(running.len())), ("succeeded", succeeded), ("failed", failed), ("ready", count(ready))]
    {
        let zero = number == 0 && key != "ready";
        edit::set(&mut status, &[key], if zero { Tree::Null } else { number.into() });
    }
    plan.status = status;
    plan
}

fn restarts(pod: &Pod) -> i64 {
    pod.status.container_statuses.iter().map(|status| i64::from(status.restart_count)).sum()
}

fn condition(status: &Tree, kind: &str) -> bool {
    edit::list(status, &["conditions"]).iter().any(|one| edit::text(one, &["type"]) == kind)
}

fn push(status: &mut Tree, kind: &str, reason: &str, message: &str, at: &str) {
    let condition = json!({
        "type": kind, "status": "True", "reason": reason, "message": message, "lastProbeTime": at, "lastTransitionTime": at,
    });
    edit::push(status, &["conditions"], condition);
}

/// Pure: what is told of a status that came after another.
fn ends(before: &Tree, after: &Tree) -> Option<(bool, &'static str, &'static str)> {
    let is_new = |kind: &str| condition(after, kind) && !condition(before, kind);
    if is_new("Complete") {
        return Some((false, "Completed", "Job completed"));
    }
    is_new("Failed").then_some((true, "BackoffLimitExceeded", "Job has reached the specified backoff limit"))
}

struct Controller {
    config: Config,
    jobs: Watched<Tree>,
    pods: Pods,
    events: Recorder,
}

pub(super) async fn run(config: Config, events: Recorder) {
    let mut controller = Controller {
        jobs: Watched::new(&config.cluster, &JOBS, |object| Some(Arc::new(object.tree()))),
        pods: Pods::new(&MAKER, &config.cluster, &events, |object| pods::parse(object, &MAKER)),
        events,
        config,
    };
    let mut queue: Queue<Key> = Queue::new();
    loop {
        tokio::select! {
            changes = controller.jobs.changed() => changes.into_iter().for_each(|change| queue.add(change.key)),
            changes = controller.pods.changed() => {
                for change in changes {
                    for pod in [&change.old, &change.new].into_iter().flatten() {
                        if let Some(job) = pod.metadata.controller() {
                            queue.add(Key::new(&change.key.namespace, &job.name));
                        }
                    }
                }
            }
            () = due(&queue) => {}
        }
        if !controller.jobs.is_synced || !controller.pods.is_synced() {
            continue;
        }
        while let Some(key) = queue.take(Instant::now()) {
            let outcome = controller.sync(&key).await;
            settle(&mut queue, &key, "job", outcome);
        }
    }
}

impl Controller {
    async fn sync(&mut self, key: &Key) -> Result<(), Error> {
        let Some(job) = self.jobs.cache.value(key).cloned() else { return Ok(()) };
        let meta = api::object::read_tree::<Owned>(&job).map(|owned| owned.metadata).unwrap_or_default();
        if meta.deletion_timestamp.is_some() {
            return Ok(());
        }
        let pods = self.pods.of(&meta.uid);
        let plan = plan(&job, &pods, self.config.clock.now());
        let template = edit::at(&job, &["spec", "template"]).cloned().unwrap_or_default();
        let (_, failed) = self.pods.make(&meta, vec![MAKER.pod(&template, &meta); plan.create]).await;
        if let Some(error) = failed.filter(|error| !is_terminating(error)) {
            return Err(error);
        }
        self.pods.unmake(&meta, &plan.delete).await?;
        let mut shown = plan.status.clone();
        if let Some(map) = shown.as_object_mut() {
            map.retain(|_, value| !value.is_null());
        }
        let known = edit::at(&job, &["status"]).cloned().unwrap_or_else(|| json!({}));
        if shown != known {
            let written = patch_status(&self.config.cluster, &JOBS, key, plan.status).await?;
            self.jobs.wrote(&written);
            if let Some((is_warning, reason, message)) = ends(&known, &shown) {
                let message = message.to_owned();
                let component = MAKER.component;
                self.events.tell(Happened { about: MAKER.about(&meta), component, is_warning, reason, message });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(phase: &str) -> Found {
        let pod: Pod = serde_json::from_value(json!({"status": {"phase": phase}})).expect("a pod");
        (Key::new("a", "p"), pod.into())
    }

    #[test]
    fn a_job_runs_until_it_has_succeeded_often_enough() {
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let job = json!({"spec": {"completions": 3, "parallelism": 2, "backoffLimit": 1}});
        assert_eq!(plan(&job, &[], now).create, 2);
        let (done, failed) = (pod("Succeeded"), pod("Failed"));
        assert_eq!(plan(&job, &[done.clone(), done.clone()], now).create, 1);
        let complete = plan(&job, &[done.clone(), done.clone(), done], now);
        assert!(condition(&complete.status, "Complete"));
        let given_up = plan(&job, &[failed.clone(), failed], now);
        assert!(condition(&given_up.status, "Failed"));
        assert_eq!(ends(&json!({}), &complete.status).map(|end| end.1), Some("Completed"));
        assert_eq!(ends(&json!({}), &given_up.status).map(|end| end.1), Some("BackoffLimitExceeded"));
        assert_eq!(ends(&complete.status, &complete.status), None, "told once");
    }
}
