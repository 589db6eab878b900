use super::*;
use api::Tree;
use serde_json::json;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn cron(spec: &Tree, status: &Tree) -> CronJob {
    let mut all = json!({"schedule": "0 * * * *", "concurrencyPolicy": "Allow"});
    for (key, value) in spec.as_object().expect("a map") {
        all[key] = value.clone();
    }
    let meta = json!({"name": "c", "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-01T00:10:00Z"});
    serde_json::from_value(json!({"metadata": meta, "spec": all, "status": status})).expect("a CronJob")
}

/// A Job that runs, or ended with a condition at a time.
fn job(name: &str, end: &str, ended: &str) -> Found {
    let conditions = if end.is_empty() { json!([]) } else { json!([{"type": end, "status": "True"}]) };
    let mut status = json!({"conditions": conditions, "startTime": "2026-01-01T00:00:00Z"});
    if !ended.is_empty() {
        status["completionTime"] = json!(ended);
    }
    let job = json!({"metadata": {"name": name, "namespace": "n", "uid": name}, "status": status});
    (Key::new("n", name), Arc::new(serde_json::from_value(job).expect("a Job")))
}

fn reference(name: &str) -> Tree {
    json!({"name": name, "namespace": "n", "uid": name})
}

fn planned(cron: &CronJob, jobs: &[Found], now: &str) -> Plan {
    plan(cron, jobs, &HashSet::new(), at(now))
}

/// What starts, the reasons that are told, and the seconds until the next look.
#[track_caller]
fn check(spec: &Tree, last: Option<&str>, now: &str, expect: (Option<&str>, &[&str], i64)) {
    let cron = cron(spec, &json!({"lastScheduleTime": last}));
    let plan = planned(&cron, &[], now);
    let start = plan.start.map(time::seconds);
    let reasons: Vec<&str> = plan.events.iter().map(|(_, reason, _)| *reason).collect();
    let again = plan.again.map_or(0, |again| again.as_secs());
    assert_eq!((start.as_deref(), &*reasons, again), expect, "{spec} {last:?} {now}");
}

#[test]
fn a_job_is_due_at_the_last_time_that_was_missed() {
    let none = json!({});
    check(&none, None, "2026-01-01T00:20:00Z", (None, &[], 2400));
    check(&none, None, "2026-01-01T01:00:00Z", (Some("2026-01-01T01:00:00Z"), &[], 3600));
    check(&none, None, "2026-01-01T03:30:00Z", (Some("2026-01-01T03:00:00Z"), &[], 1800));
    check(&none, Some("2026-01-01T03:00:00Z"), "2026-01-01T03:30:00Z", (None, &[], 1800));
    let berlin = json!({"schedule": "30 2 * * *", "timeZone": "Europe/Berlin"});
    check(&berlin, None, "2026-01-01T01:30:00Z", (Some("2026-01-01T01:30:00Z"), &[], 86_400));
    check(&json!({"suspend": true}), None, "2026-01-01T03:00:00Z", (None, &[], 0));
}

#[test]
fn what_is_too_late_is_left_out() {
    let deadline = json!({"startingDeadlineSeconds": 60});
    check(&deadline, None, "2026-01-01T03:01:00Z", (Some("2026-01-01T03:00:00Z"), &[], 3540));
    check(&deadline, None, "2026-01-01T03:02:00Z", (None, &["MissSchedule"], 3480));
    let plan = planned(&cron(&deadline, &json!({})), &[], "2026-01-01T03:02:00Z");
    assert_eq!(plan.events[0].2, "Missed scheduled time to start a job: Thu, 01 Jan 2026 03:00:00 +0000");
}

#[test]
fn a_clock_that_jumps_starts_one_job_at_most() {
    let minutely = json!({"schedule": "* * * * *"});
    // Ahead, from the time before a device knew the date.
    let ahead = (Some("2026-06-01T00:00:00Z"), &["TooManyMissedTimes"][..], 60);
    check(&minutely, Some("1970-01-01T00:01:00Z"), "2026-06-01T00:00:00Z", ahead);
    let deadline = json!({"schedule": "* * * * *", "startingDeadlineSeconds": 200});
    check(&deadline, Some("1970-01-01T00:01:00Z"), "2026-06-01T00:00:00Z", (Some("2026-06-01T00:00:00Z"), &[], 60));
    // Back: goes on with the times that come, and does not wait for the clock to catch up.
    let last = Some("2026-06-01T00:00:00Z");
    check(&minutely, last, "2026-01-01T00:20:40Z", (None, &[], 20));
    check(&minutely, last, "2026-01-01T00:21:00Z", (Some("2026-01-01T00:21:00Z"), &[], 60));
    check(&json!({}), last, "2026-01-01T00:20:00Z", (None, &[], 2400));
    check(&json!({}), None, "2025-01-01T00:20:00Z", (None, &[], 2400));
}

#[test]
fn what_cannot_be_read_or_never_comes_is_told() {
    check(&json!({"schedule": "61 * * * *"}), None, "2026-01-01T03:00:00Z", (None, &["UnparseableSchedule"], 0));
    check(&json!({"schedule": "0 0 31 2 *"}), None, "2026-01-01T03:00:00Z", (None, &["InvalidSchedule"], 0));
    check(&json!({"timeZone": "Mars/Base"}), None, "2026-01-01T03:00:00Z", (None, &["UnknownTimeZone"], 0));
}

#[test]
fn jobs_that_run_are_kept_forbid_or_make_room() {
    let now = "2026-01-01T02:00:00Z";
    let status = json!({"active": [reference("c-1")], "lastScheduleTime": "2026-01-01T01:00:00Z"});
    let of = |policy: &str| planned(&cron(&json!({"concurrencyPolicy": policy}), &status), &[job("c-1", "", "")], now);
    assert_eq!((of("Allow").start, of("Allow").status.active.len()), (Some(at(now)), 1));
    let forbidden = of("Forbid");
    assert_eq!((forbidden.start, forbidden.events[0].1), (None, "JobAlreadyActive"));
    let replaced = of("Replace");
    assert_eq!((replaced.start, &*replaced.replace[0].name, replaced.status.active.len()), (Some(at(now)), "c-1", 0));
}

#[test]
fn the_status_follows_the_jobs() {
    let active = json!({"active": [reference("done"), reference("gone"), reference("runs")]});
    let suspended = cron(&json!({"suspend": true}), &active);
    let jobs = [
        job("done", "Complete", "2026-01-01T01:05:00Z"),
        job("runs", "", ""),
        job("by-hand", "", ""),
        job("older", "Complete", "2026-01-01T00:05:00Z"),
    ];
    let missing = HashSet::from(["gone".to_owned()]);
    let plan = plan(&suspended, &jobs, &missing, at("2026-01-01T02:00:00Z"));
    let active: Vec<&str> = plan.status.active.iter().map(|one| &*one.name).collect();
    assert_eq!(active, ["runs"]);
    assert_eq!(plan.status.last_successful_time, Some(at("2026-01-01T01:05:00Z")));
    let told: Vec<String> =
        plan.events.into_iter().map(|(_, reason, message)| format!("{reason}: {message}")).collect();
    let expect = [
        "SawCompletedJob: Saw completed job: done, condition: Complete",
        "UnexpectedJob: Saw a job that the controller did not create or forgot: by-hand",
        "MissingJob: Active job went missing: gone",
    ];
    assert_eq!(told, expect);
}

#[test]
fn old_jobs_go() {
    let limits = json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0});
    let jobs = [job("b", "Complete", ""), job("a", "Complete", ""), job("f", "Failed", ""), job("r", "", "")];
    let plan = planned(&cron(&limits, &json!({})), &jobs, "2026-01-01T00:20:00Z");
    assert_eq!(plan.expire, [Key::new("n", "a"), Key::new("n", "f")]);
    assert_eq!(planned(&cron(&json!({}), &json!({})), &jobs, "2026-01-01T00:20:00Z").expire, []);
}

#[test]
fn a_started_time_is_not_started_again() {
    let status = json!({"active": [reference("c-29453820")], "lastScheduleTime": "2026-01-01T00:30:00Z"});
    let plan = planned(&cron(&json!({}), &status), &[job("c-29453820", "", "")], "2026-01-01T01:00:00Z");
    assert_eq!(
        (job_name(&cron(&json!({}), &status), at("2026-01-01T01:00:00Z")), plan.start),
        ("c-29453820".to_owned(), None)
    );
}
