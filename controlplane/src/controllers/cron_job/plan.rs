//! What to do for one CronJob: whether a Job is due, which old ones go, and what the status says of them.
//!
//! Pure, as upstream's `syncCronJob` (1.34). Of many missed times the last one alone gets a Job, so a clock that jumps
//! ahead starts one Job at most. Where upstream would wait until a clock that was set back has caught up with the last
//! Job, the times that are yet to come count here.

use api::schedule::Schedule;
use api::time::{self, SignedDuration, TimeZone, Timestamp};
use api::view::{CronJob, CronJobStatus, Job, Reference};
use client::Key;
use std::collections::HashSet;
use std::sync::Arc;

/// More missed times than this are worth a warning.
const MISSED_MAX: usize = 100;
/// A look at the next time comes a little late, so that it is not early.
const DELAY: SignedDuration = SignedDuration::from_millis(100);

/// How far back a time is due whose last Job is in the future, by a clock that was set back since.
const LOOK_BACK: SignedDuration = SignedDuration::from_secs(30);

/// A Job, as a look at its CronJob sees it.
pub(super) type Found = (Key, Arc<Job>);

#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) status: CronJobStatus,
    /// Whether it warns, the reason and the message.
    pub(super) events: Vec<(bool, &'static str, String)>,
    /// Jobs that still run and make room for the next one.
    pub(super) replace: Vec<Reference>,
    /// Jobs that ended and are more than are kept.
    pub(super) expire: Vec<Key>,
    /// The time whose Job is due.
    pub(super) start: Option<Timestamp>,
    /// When to look again, if nothing happens before.
    pub(super) again: Option<SignedDuration>,
}

/// The zone of the schedule.
pub(super) fn zone(cron: &CronJob) -> Option<TimeZone> {
    cron.spec.time_zone.as_deref().map_or(Some(TimeZone::UTC), time::zone)
}

/// The name of the Job of one time.
pub(super) fn job_name(cron: &CronJob, at: Timestamp) -> String {
    format!("{}-{}", cron.metadata.name, at.as_second() / 60)
}

/// What to do. `missing` are the uids of active Jobs that are not there any more.
pub(super) fn plan(cron: &CronJob, jobs: &[Found], missing: &HashSet<String>, now: Timestamp) -> Plan {
    let mut plan = Plan { status: cron.status.clone(), expire: expired(cron, jobs), ..Plan::default() };
    look_after(cron, jobs, missing, &mut plan);
    if cron.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let Some(zone) = zone(cron) else {
        let name = cron.spec.time_zone.as_deref().unwrap_or_default();
        let message = format!("invalid timeZone: {name:?}: unknown time zone {name}");
        plan.events.push((true, "UnknownTimeZone", message));
        return plan;
    };
    if cron.spec.suspend {
        return plan;
    }
    match Schedule::parse(&cron.spec.schedule) {
        Ok(schedule) => start(cron, &schedule, &zone, now, &mut plan),
        Err(why) => {
            let message = format!("unparseable schedule: {:?} : {why}", cron.spec.schedule);
            plan.events.push((true, "UnparseableSchedule", message));
        }
    }
    plan
}

/// What has become of the Jobs.
fn look_after(cron: &CronJob, jobs: &[Found], missing: &HashSet<String>, plan: &mut Plan) {
    for (_, job) in jobs {
        let (name, uid) = (&job.metadata.name, &job.metadata.uid);
        let is_active = cron.status.active.iter().any(|one| one.uid == *uid);
        match job.end() {
            None if !is_active => {
                let message = format!("Saw a job that the controller did not create or forgot: {name}");
                plan.events.push((true, "UnexpectedJob", message));
            }
            Some(end) if is_active => {
                plan.status.active.retain(|one| one.uid != *uid);
                let message = format!("Saw completed job: {name}, condition: {}", end.kind);
                plan.events.push((false, "SawCompletedJob", message));
            }
            _ => {}
        }
        if job.status.condition("Complete").is_some() {
            plan.status.last_successful_time = plan.status.last_successful_time.max(job.status.completion_time);
        }
    }
    for one in cron.status.active.iter().filter(|one| missing.contains(&one.uid)) {
        plan.events.push((false, "MissingJob", format!("Active job went missing: {}", one.name)));
        plan.status.active.retain(|known| known.uid != one.uid);
    }
}

fn start(cron: &CronJob, schedule: &Schedule, zone: &TimeZone, now: Timestamp, plan: &mut Plan) {
    let since = since(cron, now);
    let latest = schedule.latest(since, now, zone);
    let next = schedule.next(latest.unwrap_or(since), zone);
    plan.again = next.map(|next| next.duration_since(now) + DELAY);
    if latest.is_none() && next.is_none() {
        let why = "time difference between two schedules is less than 1 second";
        let message = format!("invalid schedule: {} : {why}", cron.spec.schedule);
        plan.events.push((true, "InvalidSchedule", message));
    }
    let deadline = cron.spec.starting_deadline_seconds.map(SignedDuration::from_secs);
    let earliest = deadline.and_then(|deadline| now.checked_sub(deadline).ok());
    if schedule.has_more_than(MISSED_MAX, earliest.map_or(since, |earliest| earliest.max(since)), now, zone) {
        let message =
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew".to_owned();
        plan.events.push((true, "TooManyMissedTimes", message));
    }
    let Some(due) = latest else { return };
    if earliest.is_some_and(|earliest| due < earliest) {
        let message = format!("Missed scheduled time to start a job: {}", time::for_people(due));
        plan.events.push((true, "MissSchedule", message));
        return;
    }
    let name = job_name(cron, due);
    let is_started = plan.status.active.iter().any(|one| one.name == name);
    if is_started || cron.status.last_schedule_time == Some(due) {
        return;
    }
    match &*cron.spec.concurrency_policy {
        "Forbid" if !plan.status.active.is_empty() => {
            let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.events.push((false, "JobAlreadyActive", message.to_owned()));
            return;
        }
        "Replace" => plan.replace = std::mem::take(&mut plan.status.active),
        _ => {}
    }
    plan.start = Some(due);
}

/// From where on times may have been missed.
fn since(cron: &CronJob, now: Timestamp) -> Timestamp {
    let last = cron.status.last_schedule_time.or(cron.metadata.creation_timestamp).unwrap_or(now);
    if last <= now { last } else { now.checked_sub(LOOK_BACK).unwrap_or(now) }
}

/// How long until the first time of a schedule that was changed: what it would have missed before does not count.
pub(super) fn until_next(cron: &CronJob, now: Timestamp) -> Option<SignedDuration> {
    let next = Schedule::parse(&cron.spec.schedule).ok()?.next(now, &zone(cron)?)?;
    Some(next.duration_since(now) + DELAY)
}

/// The oldest Jobs beyond those that are kept.
fn expired(cron: &CronJob, jobs: &[Found]) -> Vec<Key> {
    let beyond = |kind: &str, limit: Option<i32>| {
        let mut ended: Vec<&Found> =
            jobs.iter().filter(|(_, job)| job.end().is_some_and(|end| end.kind == kind)).collect();
        let kept = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(0));
        let count = ended.len().saturating_sub(kept);
        ended.sort_by_key(|(key, job)| (job.status.start_time.is_none(), job.status.start_time, key.clone()));
        ended.into_iter().take(count).map(|(key, _)| key.clone()).collect::<Vec<Key>>()
    };
    let mut all = beyond("Complete", cron.spec.successful_jobs_history_limit);
    all.extend(beyond("Failed", cron.spec.failed_jobs_history_limit));
    all
}

#[cfg(test)]
mod tests;
