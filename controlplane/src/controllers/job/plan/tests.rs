use super::*;
use crate::controllers::job::pod::FINALIZER;
use api::Tree;
use api::view::Pod;
use serde_json::json;
use std::sync::Arc;

const NOW: &str = "2026-01-01T01:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn job(spec: &Tree, status: &Tree) -> Job {
    let mut spec = spec.clone();
    api::object::edit::set(&mut spec, &["template", "spec", "restartPolicy"], "Never");
    serde_json::from_value(json!({"metadata": {"name": "j", "uid": "u"}, "spec": spec, "status": status}))
        .expect("a Job")
}

/// A pod in short: `R` runs, `S` has succeeded, `F` has failed, `D` is on its way; an index behind it, and `-` if it was
/// counted. It ended 5 s ago.
fn pod(name: &str, short: &str) -> Found {
    let phase = match &short[..1] {
        "S" => "Succeeded",
        "F" => "Failed",
        _ => "Running",
    };
    let finalizers = if short.ends_with('-') { json!([]) } else { json!([FINALIZER]) };
    let mut pod = json!({
        "metadata": {"name": name, "uid": name, "finalizers": finalizers, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "n"}, "status": {"phase": phase},
    });
    if phase != "Running" {
        let code = if phase == "Failed" { 3 } else { 0 };
        let end = json!({"exitCode": code, "finishedAt": "2026-01-01T00:59:55Z"});
        api::object::edit::set(
            &mut pod,
            &["status", "containerStatuses"],
            json!([{"name": "c", "state": {"terminated": end}}]),
        );
    }
    if short.starts_with('D') {
        api::object::edit::set(&mut pod, &["metadata", "deletionTimestamp"], NOW);
    }
    let index = short[1..].trim_end_matches('-');
    if !index.is_empty() {
        let annotation = json!({"batch.kubernetes.io/job-completion-index": index});
        api::object::edit::set(&mut pod, &["metadata", "annotations"], annotation);
    }
    (Key::new("n", name), Arc::new(serde_json::from_value::<Pod>(pod).expect("a pod")))
}

fn pods(all: &str) -> Vec<Found> {
    all.split_whitespace().enumerate().map(|(at, short)| pod(&format!("p{at}"), short)).collect()
}

/// What is done, in words.
fn done(job: &Job, pods: &[Found], now: Timestamp) -> String {
    let tally = Tally::of(job, pods);
    let backoff = Backoff::default().after(&tally.new_succeeded, &tally.new_failed);
    let verdict = verdict(job, &tally, pods, now);
    let plan = plan(job, &tally, pods, verdict.as_ref(), (backoff, now));
    let mut words: Vec<String> = verdict.into_iter().map(|verdict| verdict.reason).collect();
    words.extend(plan.end.iter().map(|key| format!("end {}", key.name)));
    words.extend(plan.discard.iter().map(|key| format!("discard {}", key.name)));
    words.extend(plan.make.iter().map(|new| new.index.map_or("make".to_owned(), |index| format!("make {index}"))));
    words.extend(plan.again.map(|again| format!("again {}", again.as_secs())));
    words.join(", ")
}

#[track_caller]
fn check(spec: &Tree, all: &str, expect: &str) {
    let status = json!({"startTime": "2026-01-01T00:59:00Z"});
    assert_eq!(done(&job(spec, &status), &pods(all), at(NOW)), expect, "{spec} {all}");
}

#[test]
fn so_many_run_as_are_wanted() {
    let three = json!({"completions": 3, "parallelism": 2, "backoffLimit": 6});
    check(&three, "", "make, make");
    check(&three, "R", "make");
    check(&three, "S S R", "");
    check(&three, "S S", "make");
    check(&three, "R R R", "discard p0");
    check(&three, "S S R R", "discard p2");
    check(&three, "S S S", "");
    check(&three, "R D", "again 10");
    let queue = json!({"parallelism": 2});
    check(&queue, "", "make, make");
    check(&queue, "S R", "");
    check(&queue, "S", "");
    check(&json!({"completions": 5, "parallelism": 0}), "R", "discard p0");
    check(&json!({"completions": 5, "parallelism": 2, "suspend": true}), "R R S", "discard p0, discard p1");
}

#[test]
fn failures_are_waited_for_and_end_the_job() {
    let one = json!({"completions": 1, "parallelism": 1, "backoffLimit": 2});
    check(&one, "F", "again 5");
    check(&one, "F F", "again 15");
    check(&one, "F F F", "BackoffLimitExceeded");
    check(&one, "F F F R", "BackoffLimitExceeded, end p3");
    check(&one, "F- F- F-", "make");
    let known = json!({"failed": 3});
    assert_eq!(done(&job(&one, &known), &pods("R"), at(NOW)), "BackoffLimitExceeded, end p0");
    let noted = json!({"failed": 2, "uncountedTerminatedPods": {"failed": ["p0"]}});
    assert_eq!(done(&job(&one, &noted), &pods("F R"), at(NOW)), "BackoffLimitExceeded, end p1");
    let replaced = json!({"completions": 2, "parallelism": 2, "podReplacementPolicy": "Failed"});
    check(&replaced, "R D", "");
    check(&replaced, "D D", "");
    check(&replaced, "R", "make");
}

#[test]
fn restarts_within_pods_count_against_the_limit() {
    let mut job = job(&json!({"completions": 1, "parallelism": 1, "backoffLimit": 2}), &json!({}));
    job.spec.template = json!({"spec": {"restartPolicy": "OnFailure"}});
    let restarted = |times: u32| {
        let (key, pod) = pod("p", "R");
        let mut pod = Pod::clone(&pod);
        pod.status.container_statuses = vec![api::view::ContainerStatus { restart_count: times, ..Default::default() }];
        vec![(key, Arc::new(pod))]
    };
    assert_eq!(done(&job, &restarted(1), at(NOW)), "");
    assert_eq!(done(&job, &restarted(2), at(NOW)), "BackoffLimitExceeded, end p");
    job.spec.backoff_limit = Some(0);
    assert_eq!(done(&job, &restarted(0), at(NOW)), "");
    assert_eq!(done(&job, &restarted(1), at(NOW)), "BackoffLimitExceeded, end p");
}

#[test]
fn a_deadline_ends_the_job() {
    let spec = json!({"completions": 1, "parallelism": 1, "activeDeadlineSeconds": 100});
    check(&spec, "R", "again 40");
    check(&json!({"completions": 1, "parallelism": 1, "activeDeadlineSeconds": 60}), "R", "DeadlineExceeded, end p0");
    check(&json!({"completions": 1, "activeDeadlineSeconds": 60, "suspend": true}), "", "");
}

#[test]
fn each_index_has_one_pod() {
    let spec = json!({"completions": 5, "parallelism": 3, "completionMode": "Indexed"});
    check(&spec, "", "make 0, make 1, make 2");
    check(&spec, "S0 R1 S3", "make 2, make 4");
    check(&spec, "R0 R0 R1", "discard p0");
    check(&spec, "R0 R9 R", "discard p1, discard p2");
    let known = json!({"completedIndexes": "0-2,4", "succeeded": 4});
    assert_eq!(done(&job(&spec, &known), &[], at(NOW)), "make 3");
    // It shrank: what had succeeded beyond does not count.
    let shrunk = json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed"});
    assert_eq!(done(&job(&shrunk, &known), &pods("R4"), at(NOW)), "discard p0");
}

#[test]
fn an_index_may_fail_by_itself() {
    let spec = |limit: i32| {
        json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed", "backoffLimit": i32::MAX,
            "backoffLimitPerIndex": limit, "maxFailedIndexes": 1})
    };
    check(&spec(1), "F0 R1 R2", "again 5");
    check(&spec(0), "F0 R1 R2", "");
    check(&spec(0), "F0 F1 R2", "MaxFailedIndexesExceeded, end p2");
    check(&spec(0), "F0 S1 S2", "FailedIndexes");
    let job = job(&spec(2), &json!({}));
    let (_, failed) = pod("p0", "F0");
    let mut failed = Pod::clone(&failed);
    failed.metadata.annotations.insert("batch.kubernetes.io/job-index-failure-count".to_owned(), "1".to_owned());
    let pods = vec![(Key::new("n", "p0"), Arc::new(failed))];
    let later = at("2026-01-01T01:10:00Z");
    let tally = Tally::of(&job, &pods);
    let plan = plan(&job, &tally, &pods, None, (Backoff::default(), later));
    let first = New { index: Some(0), failures: Some((2, 0)) };
    assert_eq!(plan.make[0], first, "the next pod knows how often its index failed");
}

#[test]
fn policies_decide_about_failures_and_successes() {
    let policy = |action: &str| {
        let rule = json!({"action": action, "onExitCodes": {"operator": "In", "values": [3]}});
        json!({"completions": 1, "parallelism": 1, "backoffLimit": 0, "podFailurePolicy": {"rules": [rule]}})
    };
    check(&policy("FailJob"), "F R", "PodFailurePolicy, end p1");
    check(&policy("Ignore"), "F", "again 5");
    check(&policy("Count"), "F", "BackoffLimitExceeded");
    let enough = json!({"completions": 5, "parallelism": 5, "completionMode": "Indexed",
        "successPolicy": {"rules": [{"succeededIndexes": "0,1"}]}});
    check(&enough, "S0 R1 S2 R3 R4", "");
    check(&enough, "S0 S1 R2 R3 R4", "SuccessPolicy, end p2, end p3, end p4");
}

#[test]
fn what_was_decided_stays_decided() {
    let spec = json!({"completions": 5, "parallelism": 5});
    let target = json!({"conditions": [{"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"}]});
    assert_eq!(done(&job(&spec, &target), &pods("S S S S S R"), at(NOW)), "DeadlineExceeded, end p5");
    let mut deleted = job(&spec, &json!({}));
    deleted.metadata.deletion_timestamp = Some(at(NOW));
    assert_eq!(done(&deleted, &pods("R"), at(NOW)), "", "nothing is made for a Job that goes");
}
