//! CronJobs: a Job at each time of a schedule.

mod plan;

use super::claim::Maker;
use super::pods::is_terminating;
use super::wall::Wall;
use super::{Config, MANAGER, Watched, due, replace_status, settle};
use api::object::edit;
use api::resource::{CRON_JOBS, JOBS};
use api::time::{self, Timestamp};
use api::view::{CronJob, CronJobStatus, Job, Reference};
use api::{Object, Tree};
use client::{Change, DeleteOptions, Error, Happened, Key, Propagation, Queue, Recorder, Target, WriteOptions};
use plan::{Found, Plan};
use serde_json::json;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::time::Instant;

static MAKER: Maker = Maker {
    resource: CRON_JOBS,
    api_version: "batch/v1",
    kind: "CronJob",
    component: "cronjob-controller",
    finalizer: None,
};
/// Tells a Job the time that it is for.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

struct Controller {
    config: Config,
    cron_jobs: Watched<CronJob>,
    jobs: Watched<Job>,
    events: Recorder,
}

pub(super) async fn run(config: Config, events: Recorder) {
    let mut controller = Controller {
        cron_jobs: Watched::new(&config.cluster, &CRON_JOBS, |object| object.view().ok()),
        jobs: Watched::new(&config.cluster, &JOBS, parse),
        events,
        config,
    };
    let mut queue: Queue<Key> = Queue::new();
    let mut wall = Wall::new(&controller.config.clock);
    loop {
        tokio::select! {
            () = wall.is_set() => controller.cron_jobs.cache.iter().for_each(|(key, _)| queue.add(key.clone())),
            changes = controller.cron_jobs.changed() => {
                changes.into_iter().for_each(|change| controller.changed(change, &mut queue));
            }
            changes = controller.jobs.changed() => {
                for change in changes {
                    let owners = super::owners(&change, |job| job.metadata.controller(), &MAKER);
                    owners.into_iter().for_each(|key| queue.add(key));
                }
            }
            () = due(&queue) => {}
        }
        if !controller.cron_jobs.is_synced || !controller.jobs.is_synced {
            continue;
        }
        while let Some(key) = queue.take(Instant::now()) {
            let outcome = controller.sync(&key, &mut queue).await;
            settle(&mut queue, &key, "cronjob", outcome);
        }
    }
}

/// Leaves out Jobs that no CronJob made.
fn parse(object: &Object) -> Option<Arc<Job>> {
    let is_ours = object.head().controller().is_some_and(|owner| MAKER.is(owner));
    is_ours.then(|| object.view().ok()).flatten()
}

impl Controller {
    /// A schedule that was changed waits for its first time; anything else is looked at now.
    fn changed(&self, change: Change<CronJob>, queue: &mut Queue<Key>) {
        let times = |cron: &CronJob| (cron.spec.schedule.clone(), cron.spec.time_zone.clone());
        if let (Some(old), Some(new)) = (&change.old, &change.new)
            && times(old) != times(new)
        {
            if let Some(wait) = plan::until_next(new, self.config.clock.now()) {
                queue.add_at(change.key, Instant::now() + wait.unsigned_abs());
            }
            return;
        }
        queue.add(change.key);
    }

    async fn sync(&mut self, key: &Key, queue: &mut Queue<Key>) -> Result<(), Error> {
        let Some(cron) = self.cron_jobs.cache.value(key).cloned() else { return Ok(()) };
        let all = self.jobs.cache.namespace(&key.namespace);
        let is_own = |job: &Job| job.metadata.controller().is_some_and(|owner| *owner.uid == *cron.metadata.uid);
        let jobs: Vec<Found> = all
            .filter(|(_, entry)| is_own(&entry.value))
            .map(|(key, entry)| (key.clone(), entry.value.clone()))
            .collect();
        let missing = self.missing(&cron, &jobs).await?;
        let plan = plan::plan(&cron, &jobs, &missing, self.config.clock.now());
        for (is_warning, reason, message) in &plan.events {
            self.told(&cron, *is_warning, reason, message.clone());
        }
        if let Some(again) = plan.again {
            queue.add_at(key.clone(), Instant::now() + again.unsigned_abs());
        }
        let mut status = plan.status.clone();
        let mut done = self.perform(&cron, &plan, &mut status).await;
        for key in &plan.expire {
            let deleted = self.delete(&cron, key, &mut status).await;
            done = done.and(deleted);
        }
        if status != cron.status {
            let written = replace_status(&self.config.cluster, &CRON_JOBS, &cron.metadata, shown(&status)).await?;
            self.cron_jobs.wrote(&written);
        }
        done
    }

    /// The active Jobs that are really gone: the cache may be behind.
    async fn missing(&self, cron: &CronJob, jobs: &[Found]) -> Result<HashSet<String>, Error> {
        let mut missing = HashSet::new();
        for one in &cron.status.active {
            if jobs.iter().any(|(_, job)| job.metadata.uid == one.uid) {
                continue;
            }
            let target = Target::namespaced(&JOBS, &cron.metadata.namespace, &one.name);
            match self.config.cluster.get(target).await {
                Ok(_) => {}
                Err(error) if error.is_not_found() => {
                    missing.insert(one.uid.clone());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(missing)
    }

    async fn perform(&mut self, cron: &CronJob, plan: &Plan, status: &mut CronJobStatus) -> Result<(), Error> {
        let Some(at) = plan.start else { return Ok(()) };
        for (done, one) in plan.replace.iter().enumerate() {
            let key = Key::new(&cron.metadata.namespace, &one.name);
            if let Err(error) = self.delete(cron, &key, status).await {
                status.active.extend_from_slice(&plan.replace[done..]);
                return Err(error);
            }
        }
        let target = Target::namespaced(&JOBS, &cron.metadata.namespace, "");
        let job = match self.config.cluster.create(target, job(cron, at), WriteOptions::by(MANAGER)).await {
            Ok(job) => {
                self.told(cron, false, "SuccessfulCreate", format!("Created job {}", job.name()));
                self.jobs.wrote(&job);
                job
            }
            // It was made before, and the status did not get to say so; or it is another's.
            Err(error) if error.is_already_exists() => {
                let name = plan::job_name(cron, at);
                let job = self.config.cluster.get(Target { name: &name, ..target }).await?;
                if job.head().controller().is_none_or(|owner| *owner.uid != *cron.metadata.uid) {
                    return Ok(());
                }
                job
            }
            Err(error) => {
                if !is_terminating(&error) {
                    self.told(cron, true, "FailedCreate", format!("Error creating job: {error}"));
                }
                return Err(error);
            }
        };
        status.last_schedule_time = Some(at);
        if job.view::<Job>().is_ok_and(|job| job.end().is_none()) {
            status.active.push(reference(&job));
        }
        Ok(())
    }

    async fn delete(&self, cron: &CronJob, key: &Key, status: &mut CronJobStatus) -> Result<(), Error> {
        let target = Target::namespaced(&JOBS, &key.namespace, &key.name);
        let options = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        match self.config.cluster.delete(target, options).await {
            Ok(_) => self.told(cron, false, "SuccessfulDelete", format!("Deleted job {}", key.name)),
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                self.told(cron, true, "FailedDelete", format!("Deleted job: {error}"));
                return Err(error);
            }
        }
        status.active.retain(|one| *one.name != *key.name);
        Ok(())
    }

    fn told(&self, cron: &CronJob, is_warning: bool, reason: &'static str, message: String) {
        let about = MAKER.about(&cron.metadata);
        self.events.tell(Happened { about, component: MAKER.component, is_warning, reason, message });
    }
}

/// The Job of one time.
fn job(cron: &CronJob, at: Timestamp) -> Tree {
    let template = &cron.spec.job_template;
    let mut meta = json!({
        "name": plan::job_name(cron, at), "namespace": cron.metadata.namespace,
        "ownerReferences": [MAKER.reference(&cron.metadata)],
    });
    for key in ["labels", "annotations"] {
        if let Some(value) = edit::at(template, &["metadata", key]) {
            edit::set(&mut meta, &[key], value.clone());
        }
    }
    let zone = plan::zone(cron).unwrap_or(time::TimeZone::UTC);
    edit::set(&mut meta, &["annotations", SCHEDULED], time::seconds_in(at, &zone));
    let spec = edit::at(template, &["spec"]).cloned().unwrap_or_default();
    json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec })
}

fn reference(job: &Object) -> Reference {
    Reference {
        api_version: "batch/v1".to_owned(),
        kind: "Job".to_owned(),
        namespace: job.namespace().to_owned(),
        name: job.name().to_owned(),
        uid: job.uid().to_owned(),
        resource_version: job.revision().to_string(),
    }
}

fn shown(status: &CronJobStatus) -> Tree {
    let reference = |one: &Reference| {
        json!({
            "apiVersion": one.api_version, "kind": one.kind, "namespace": one.namespace, "name": one.name, "uid": one.uid,
            "resourceVersion": one.resource_version,
        })
    };
    let active: Vec<Tree> = status.active.iter().map(reference).collect();
    json!({
        "active": if active.is_empty() { Tree::Null } else { active.into() },
        "lastScheduleTime": status.last_schedule_time.map(time::seconds),
        "lastSuccessfulTime": status.last_successful_time.map(time::seconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_named_and_annotated_after_its_time() {
        let cron: CronJob = serde_json::from_value(json!({
            "metadata": {"name": "c", "namespace": "n", "uid": "u"},
            "spec": {"timeZone": "Asia/Tokyo", "jobTemplate": {
                "metadata": {"labels": {"a": "b"}, "annotations": {"x": "y"}, "finalizers": ["no/t"]},
                "spec": {"parallelism": 2}}},
        }))
        .expect("a CronJob");
        let at = "2026-01-01T00:00:00Z".parse().expect("a time");
        let expect = json!({
            "apiVersion": "batch/v1", "kind": "Job", "spec": {"parallelism": 2},
            "metadata": {"name": "c-29453760", "namespace": "n", "labels": {"a": "b"},
                "annotations": {"x": "y", SCHEDULED: "2026-01-01T09:00:00+09:00"},
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "CronJob", "name": "c", "uid": "u",
                    "controller": true, "blockOwnerDeletion": true}]},
        });
        assert_eq!(job(&cron, at), expect);
    }
}
