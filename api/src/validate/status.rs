//! What is wrong with a status that is written: numbers below zero, and counts above what they count. The rest is the
//! controllers' word.

use super::Findings;
use crate::walk::{at, integer};
use crate::{Kind, Tree};

const OF_ALL: &str = "cannot be greater than status.replicas";
const OF_READY: &str = "cannot be greater than readyReplicas";

/// The members that are never negative, and pairs of which the first is never greater than the second.
struct Rules {
    counts: &'static [&'static str],
    limits: &'static [(&'static str, &'static str, &'static str)],
}

const DEPLOYMENT: Rules = Rules {
    counts: &[
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "collisionCount",
    ],
    limits: &[
        ("updatedReplicas", "replicas", OF_ALL),
        ("readyReplicas", "replicas", OF_ALL),
        ("availableReplicas", "replicas", OF_ALL),
        ("availableReplicas", "readyReplicas", OF_READY),
    ],
};
const REPLICA_SET: Rules = Rules {
    counts: &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"],
    limits: &[
        ("fullyLabeledReplicas", "replicas", OF_ALL),
        ("readyReplicas", "replicas", OF_ALL),
        ("availableReplicas", "replicas", OF_ALL),
        ("availableReplicas", "readyReplicas", OF_READY),
    ],
};
const STATEFUL_SET: Rules = Rules {
    counts: &[
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ],
    limits: &[
        ("readyReplicas", "replicas", OF_ALL),
        ("currentReplicas", "replicas", OF_ALL),
        ("updatedReplicas", "replicas", OF_ALL),
        ("availableReplicas", "replicas", OF_ALL),
        ("availableReplicas", "readyReplicas", "cannot be greater than status.readyReplicas"),
    ],
};
const DAEMON_SET: Rules = Rules {
    counts: &[
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ],
    limits: &[],
};
const JOB: Rules = Rules { counts: &["active", "succeeded", "failed"], limits: &[] };
const AUTOSCALER: Rules = Rules { counts: &["currentReplicas", "desiredReplicas"], limits: &[] };
const BUDGET: Rules =
    Rules { counts: &["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"], limits: &[] };

fn rules(kind: &Kind) -> Option<&'static Rules> {
    Some(match (kind.group(), kind.kind.as_str()) {
        ("apps", "Deployment") => &DEPLOYMENT,
        ("apps", "ReplicaSet") | ("", "ReplicationController") => &REPLICA_SET,
        ("apps", "StatefulSet") => &STATEFUL_SET,
        ("apps", "DaemonSet") => &DAEMON_SET,
        ("batch", "Job") => &JOB,
        ("autoscaling", "HorizontalPodAutoscaler") => &AUTOSCALER,
        ("policy", "PodDisruptionBudget") => &BUDGET,
        _ => return None,
    })
}

pub(super) fn check(kind: &Kind, new: &Tree, old: &Tree, found: &mut Findings) {
    let Some(rules) = rules(kind) else { return };
    let number = |key: &str| integer(new, &["status", key]);
    for key in rules.counts {
        if let Some(value) = number(key).filter(|value| *value < 0) {
            found.invalid(format!("status.{key}"), &value.into(), "must be greater than or equal to 0");
        }
    }
    for (key, limit, why) in rules.limits {
        let value = number(key).unwrap_or(0);
        if value > number(limit).unwrap_or(0) {
            found.invalid(format!("status.{key}"), &value.into(), why);
        }
    }
    let collisions = |tree| at(tree, &["status", "collisionCount"]).and_then(Tree::as_i64);
    if let Some(old) = collisions(old)
        && collisions(new).is_none_or(|new| new < old)
    {
        let new = collisions(new).unwrap_or(0);
        found.invalid("status.collisionCount", &new.into(), "cannot be decremented");
    }
}
