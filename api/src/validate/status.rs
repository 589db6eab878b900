//! What is wrong with a status that is written: numbers below zero, and counts above what they count. The rest is the
//! controllers' word.

use super::findings::Findings;
use super::place::Place;
use crate::Kind;

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
const AUTOSCALER: Rules = Rules { counts: &["currentReplicas", "desiredReplicas"], limits: &[] };
const BUDGET: Rules =
    Rules { counts: &["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"], limits: &[] };

fn rules(kind: &Kind) -> Option<&'static Rules> {
    Some(match (kind.group(), kind.kind.as_str()) {
        ("apps", "Deployment") => &DEPLOYMENT,
        ("apps", "ReplicaSet") | ("", "ReplicationController") => &REPLICA_SET,
        ("apps", "StatefulSet") => &STATEFUL_SET,
        ("apps", "DaemonSet") => &DAEMON_SET,
        ("autoscaling", "HorizontalPodAutoscaler") => &AUTOSCALER,
        ("policy", "PodDisruptionBudget") => &BUDGET,
        _ => return None,
    })
}

/// `kind` with `new` in the place of `old`.
pub(super) fn check(kind: &Kind, new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    if kind.resource == crate::resource::JOBS {
        super::job::job_status(new, old, found);
    }
    let Some(rules) = rules(kind) else { return };
    let at = new.get("status");
    found.naturals(&at, rules.counts);
    for (key, limit, why) in rules.limits {
        let count = at.get(key);
        if count.number() > at.get(limit).number() {
            found.invalid_as(&count, count.number(), why);
        }
    }
    let (count, before) = (at.get("collisionCount"), old.get("status").get("collisionCount").integer());
    if before.is_some_and(|before| count.integer().is_none_or(|count| count < before)) {
        found.invalid_as(&count, count.number(), "cannot be decremented");
    }
}
