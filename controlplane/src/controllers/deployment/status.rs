//! The status of a Deployment, pure: what its sets add up to, and whether the rollout moves (upstream 1.32).

use super::plan::{Version, bounds, total};
use api::Tree;
use api::time::{self, SignedDuration, Timestamp};
use api::view::{Condition, Deployment, DeploymentStatus, ReplicaSet};
use serde_json::json;

const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const FAILURE: &str = "ReplicaFailure";
/// Reasons of `Progressing`.
const DONE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
const RESUMED: &str = "DeploymentResumed";

/// What happened to the set of the template in this look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NewSet {
    /// Nothing new.
    Known,
    /// Made, with this name.
    Created(String),
    /// It could not be made.
    Failed(String),
}

/// The counts, and `Available`.
pub(super) fn counted(
    deployment: &Deployment,
    versions: &[Version<'_>],
    new: Option<Version<'_>>,
    now: Timestamp,
) -> DeploymentStatus {
    let sum = |of: fn(&ReplicaSet) -> i32| versions.iter().map(|version| of(version.set)).sum::<i32>();
    let available = sum(|set| set.status.available_replicas);
    let wanted: i32 = versions.iter().map(Version::wanted).sum();
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: sum(|set| set.status.replicas),
        updated_replicas: new.map_or(0, |new| new.set.status.replicas),
        ready_replicas: sum(|set| set.status.ready_replicas),
        available_replicas: available,
        unavailable_replicas: (wanted - available).max(0),
        collision_count: deployment.status.collision_count,
        conditions: deployment.status.conditions.clone(),
    };
    let (_, unavailable) = bounds(deployment);
    let (is, reason, message) = if available >= total(deployment) - unavailable {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set_condition(&mut status.conditions, AVAILABLE, is, reason, message.to_owned(), now);
    status
}

/// `Progressing` says so when the Deployment is paused, and when it no longer is.
pub(super) fn pause(deployment: &Deployment, status: &mut DeploymentStatus, now: Timestamp) {
    let known = find(&status.conditions, PROGRESSING).map(|known| known.reason.clone());
    if deadline(deployment).is_none() || known.as_deref() == Some(TIMED_OUT) {
        return;
    }
    let says_paused = known.as_deref() == Some(PAUSED);
    if deployment.spec.paused && !says_paused {
        let message = "Deployment is paused".to_owned();
        set_condition(&mut status.conditions, PROGRESSING, "Unknown", PAUSED, message, now);
    } else if !deployment.spec.paused && says_paused {
        let message = "Deployment is resumed".to_owned();
        set_condition(&mut status.conditions, PROGRESSING, "Unknown", RESUMED, message, now);
    }
}

/// `Progressing` and `ReplicaFailure` of a rollout that is on.
pub(super) fn judge(
    deployment: &Deployment,
    status: &mut DeploymentStatus,
    versions: &[Version<'_>],
    new: Option<Version<'_>>,
    now: Timestamp,
) {
    let name = new.map_or_else(
        || format!("Deployment \"{}\"", deployment.metadata.name),
        |new| format!("ReplicaSet \"{}\"", new.set.metadata.name),
    );
    let before = &deployment.status;
    let known = find(&status.conditions, PROGRESSING).cloned();
    let was_done =
        status.replicas == status.updated_replicas && known.as_ref().is_some_and(|known| known.reason == DONE);
    match deadline(deployment) {
        None => status.conditions.retain(|condition| condition.kind != PROGRESSING),
        Some(_) if was_done => {}
        Some(limit) => {
            if is_complete(deployment, status) {
                let message = format!("{name} has successfully progressed.");
                set_condition(&mut status.conditions, PROGRESSING, "True", DONE, message, now);
            } else if moves(before, status) {
                let message = format!("{name} is progressing.");
                let since = known.as_ref().filter(|known| known.status == "True");
                let since = since.and_then(|known| known.last_transition_time).unwrap_or(now);
                status.conditions.retain(|condition| condition.kind != PROGRESSING);
                set_condition(&mut status.conditions, PROGRESSING, "True", "ReplicaSetUpdated", message, now);
                if let Some(set) = status.conditions.last_mut() {
                    set.last_transition_time = Some(since);
                }
            } else if known.as_ref().is_some_and(|known| is_late(known, limit, now)) {
                let message = format!("{name} has timed out progressing.");
                set_condition(&mut status.conditions, PROGRESSING, "False", TIMED_OUT, message, now);
            }
        }
    }
    let failure = new.iter().chain(versions).find_map(|version| find(&version.set.status.conditions, FAILURE));
    match failure {
        Some(failure) => {
            set_condition(
                &mut status.conditions,
                FAILURE,
                &failure.status,
                &failure.reason,
                failure.message.clone(),
                now,
            );
        }
        None => status.conditions.retain(|condition| condition.kind != FAILURE),
    }
}

/// What making the template's set came to.
pub(super) fn made(
    deployment: &Deployment,
    status: &mut DeploymentStatus,
    set: &NewSet,
    name: Option<&str>,
    now: Timestamp,
) {
    if deadline(deployment).is_none() {
        return;
    }
    let conditions = &mut status.conditions;
    match (set, name) {
        (NewSet::Created(name), _) => {
            let message = format!("Created new replica set \"{name}\"");
            set_condition(conditions, PROGRESSING, "True", "NewReplicaSetCreated", message, now);
        }
        (NewSet::Failed(why), _) => {
            set_condition(conditions, PROGRESSING, "False", "ReplicaSetCreateError", why.clone(), now);
        }
        (NewSet::Known, Some(name)) if find(conditions, PROGRESSING).is_none() => {
            let message = format!("Found new replica set \"{name}\"");
            set_condition(conditions, PROGRESSING, "True", "FoundNewReplicaSet", message, now);
        }
        (NewSet::Known, _) => {}
    }
}

/// How soon the rollout will be late, if it does not move.
pub(super) fn late_in(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> Option<SignedDuration> {
    let limit = deadline(deployment)?;
    let known = find(&status.conditions, PROGRESSING)?;
    if is_complete(deployment, status) || matches!(known.reason.as_str(), DONE | TIMED_OUT | PAUSED) {
        return None;
    }
    let left = limit - now.duration_since(known.last_update_time?);
    Some(left.max(SignedDuration::ZERO) + SignedDuration::from_secs(1))
}

fn deadline(deployment: &Deployment) -> Option<SignedDuration> {
    let seconds = deployment.spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)?;
    Some(SignedDuration::from_secs(seconds.into()))
}

fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let total = total(deployment);
    status.updated_replicas == total && status.replicas == total && status.available_replicas == total
}

fn moves(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let old = |status: &DeploymentStatus| status.replicas - status.updated_replicas;
    after.updated_replicas > before.updated_replicas
        || old(after) < old(before)
        || after.ready_replicas > before.ready_replicas
        || after.available_replicas > before.available_replicas
}

fn is_late(known: &Condition, limit: SignedDuration, now: Timestamp) -> bool {
    match known.reason.as_str() {
        DONE => false,
        TIMED_OUT => true,
        _ => known.last_update_time.is_some_and(|at| now.duration_since(at) > limit),
    }
}

fn find<'a>(all: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    all.iter().find(|condition| condition.kind == kind)
}

/// As upstream's `SetDeploymentCondition`: the same status and reason is no change, whatever the message.
fn set_condition(all: &mut Vec<Condition>, kind: &str, is: &str, reason: &str, message: String, now: Timestamp) {
    let known = find(all, kind);
    if known.is_some_and(|known| known.status == is && known.reason == reason) {
        return;
    }
    let since = known.filter(|known| known.status == is).and_then(|known| known.last_transition_time);
    all.retain(|condition| condition.kind != kind);
    all.push(Condition {
        kind: kind.to_owned(),
        status: is.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: Some(since.unwrap_or(now)),
        last_update_time: Some(now),
        last_heartbeat_time: None,
    });
}

/// The conditions as they are written.
pub(super) fn shown(all: &[Condition]) -> Tree {
    let text = |at: Option<Timestamp>| at.map(time::seconds);
    let one = |condition: &Condition| {
        json!({
            "type": condition.kind, "status": condition.status, "lastUpdateTime": text(condition.last_update_time),
            "lastTransitionTime": text(condition.last_transition_time), "reason": condition.reason,
            "message": condition.message,
        })
    };
    all.iter().map(one).collect()
}

#[cfg(test)]
mod tests;
