//! What `kubectl rollout status` waits for, case by case.

use super::*;
use client::Key;

fn at(second: u32) -> Timestamp {
    format!("2026-01-01T00:{:02}:{:02}Z", second / 60, second % 60).parse().expect("a time")
}

fn deployment(replicas: i32, deadline: i32) -> Deployment {
    let json = json!({"metadata": {"name": "web", "generation": 4}, "spec": {"replicas": replicas,
        "progressDeadlineSeconds": deadline, "strategy": {"type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}}});
    serde_json::from_value(json).expect("a deployment")
}

fn set(name: &str, replicas: i32, available: i32) -> ReplicaSet {
    let json = json!({"metadata": {"name": name}, "spec": {"replicas": replicas}, "status": {"replicas": replicas,
        "readyReplicas": available, "availableReplicas": available}});
    serde_json::from_value(json).expect("a set")
}

/// The status of a look at `second`, taken over into the Deployment.
fn look(deployment: &mut Deployment, sets: &[ReplicaSet], second: u32) {
    let keys: Vec<Key> = sets.iter().map(|set| Key::new("a", &set.metadata.name)).collect();
    let versions: Vec<Version<'_>> = keys.iter().zip(sets).map(|(key, set)| Version { key, set }).collect();
    let new = versions.last().copied();
    let mut status = counted(deployment, &versions, new, at(second));
    pause(deployment, &mut status, at(second));
    if !deployment.spec.paused {
        made(deployment, &mut status, &NewSet::Known, new.map(|new| &*new.key.name), at(second));
        judge(deployment, &mut status, &versions, new, at(second));
    }
    deployment.status = status;
}

fn condition(deployment: &Deployment, kind: &str) -> (String, String) {
    let condition = find(&deployment.status.conditions, kind).expect("it is there");
    (condition.status.clone(), condition.reason.clone())
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn a_rollout_is_found_moves_and_is_done() {
    let mut web = deployment(3, 600);
    look(&mut web, &[set("new", 3, 0)], 0);
    assert_eq!(condition(&web, PROGRESSING), is("True", "ReplicaSetUpdated"));
    assert_eq!(condition(&web, AVAILABLE), is("False", "MinimumReplicasUnavailable"));
    assert_eq!((web.status.observed_generation, web.status.unavailable_replicas), (4, 3));
    look(&mut web, &[set("new", 3, 2)], 10);
    assert_eq!(condition(&web, AVAILABLE), is("True", "MinimumReplicasAvailable"), "one may be missing");
    let progress = find(&web.status.conditions, PROGRESSING).expect("it is there").clone();
    assert_eq!((progress.last_transition_time, progress.last_update_time), (Some(at(0)), Some(at(10))));
    look(&mut web, &[set("new", 3, 3)], 20);
    assert_eq!(condition(&web, PROGRESSING), is("True", "NewReplicaSetAvailable"));
    let progress = find(&web.status.conditions, PROGRESSING).expect("it is there");
    assert_eq!(progress.message, "ReplicaSet \"new\" has successfully progressed.");
    look(&mut web, &[set("new", 3, 2)], 30);
    assert_eq!(condition(&web, PROGRESSING), is("True", "NewReplicaSetAvailable"), "a lost pod is no rollout");
}

#[test]
fn a_rollout_without_progress_times_out_and_may_still_succeed() {
    let mut web = deployment(2, 30);
    look(&mut web, &[set("new", 2, 0)], 0);
    assert_eq!(late_in(&web, &web.status, at(10)), Some(SignedDuration::from_secs(21)));
    look(&mut web, &[set("new", 2, 0)], 30);
    assert_eq!(condition(&web, PROGRESSING), is("True", "ReplicaSetUpdated"));
    look(&mut web, &[set("new", 2, 0)], 31);
    assert_eq!(condition(&web, PROGRESSING), is("False", "ProgressDeadlineExceeded"));
    assert_eq!(late_in(&web, &web.status, at(31)), None);
    look(&mut web, &[set("new", 2, 2)], 40);
    assert_eq!(condition(&web, PROGRESSING), is("True", "NewReplicaSetAvailable"));
}

#[test]
fn old_pods_that_are_still_there_are_not_done() {
    let mut web = deployment(2, 600);
    look(&mut web, &[set("old", 1, 1), set("new", 2, 2)], 0);
    assert_eq!((web.status.replicas, web.status.updated_replicas), (3, 2));
    assert_eq!(condition(&web, PROGRESSING), is("True", "ReplicaSetUpdated"));
}

#[test]
fn a_pause_is_said_and_its_end_too() {
    let mut web = deployment(2, 600);
    look(&mut web, &[set("new", 2, 2)], 0);
    web.spec.paused = true;
    look(&mut web, &[set("new", 2, 2)], 10);
    assert_eq!(condition(&web, PROGRESSING), is("Unknown", "DeploymentPaused"));
    web.spec.paused = false;
    let mut status = web.status.clone();
    pause(&web, &mut status, at(20));
    web.status = status;
    assert_eq!(condition(&web, PROGRESSING), is("Unknown", "DeploymentResumed"));
    look(&mut web, &[set("new", 2, 2)], 21);
    assert_eq!(condition(&web, PROGRESSING), is("True", "NewReplicaSetAvailable"));
}

#[test]
fn without_a_deadline_progress_is_not_judged() {
    let mut web = deployment(2, i32::MAX);
    look(&mut web, &[set("new", 2, 0)], 0);
    assert!(find(&web.status.conditions, PROGRESSING).is_none());
}

#[test]
fn why_a_set_cannot_make_pods_is_said_on_the_deployment() {
    let mut web = deployment(2, 600);
    let mut failing = set("new", 0, 0);
    failing.status.conditions = vec![Condition {
        kind: FAILURE.to_owned(),
        status: "True".to_owned(),
        reason: "FailedCreate".to_owned(),
        message: "quota".to_owned(),
        ..Condition::default()
    }];
    look(&mut web, &[failing], 0);
    assert_eq!(condition(&web, FAILURE), is("True", "FailedCreate"));
    look(&mut web, &[set("new", 2, 0)], 1);
    assert!(find(&web.status.conditions, FAILURE).is_none());
}

#[test]
fn a_set_that_could_not_be_made_is_said() {
    let web = deployment(2, 600);
    let mut status = DeploymentStatus::default();
    made(&web, &mut status, &NewSet::Failed("no".to_owned()), None, at(0));
    assert_eq!(status.conditions[0].reason, "ReplicaSetCreateError");
    made(&web, &mut status, &NewSet::Created("web-1".to_owned()), None, at(1));
    assert_eq!(status.conditions[0].message, "Created new replica set \"web-1\"");
}
