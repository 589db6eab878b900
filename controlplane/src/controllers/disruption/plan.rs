//! What a budget comes to, pure.

use super::selector;
use crate::controllers::amount;
use api::Tree;
use api::object::Owner;
use api::time::{SignedDuration, Timestamp};
use api::view::{Condition, DisruptionBudget, DisruptionBudgetStatus, Pod};
use std::collections::{BTreeMap, HashMap};

/// How long a pod whose eviction was allowed is waited for (upstream's `DeletionTimeout`).
const AWAITED: SignedDuration = SignedDuration::from_mins(2);
const ALLOWED: &str = "DisruptionAllowed";

/// What says how many pods there are to be.
#[derive(Debug, Clone)]
pub(super) struct Scaled {
    pub(super) uid: String,
    pub(super) replicas: i32,
    pub(super) owner: Option<Owner>,
}

pub(super) fn selects(budget: &DisruptionBudget, pod: &Pod) -> bool {
    let label = |key: &str| pod.metadata.labels.get(key).map(String::as_str);
    budget.metadata.namespace == pod.metadata.namespace && selector(budget).is_some_and(|labels| labels.matches(label))
}

/// The pods of all controllers, as they are to be; pods without one do not count (upstream's unmanaged pods).
fn expected(pods: &[&Pod], scales: &HashMap<&str, Option<Scaled>>) -> Result<i32, String> {
    let mut by_uid: BTreeMap<&str, i32> = BTreeMap::new();
    for pod in pods {
        let Some(owner) = pod.metadata.controller() else { continue };
        let Some(Some(scaled)) = scales.get(&*owner.uid) else {
            return Err(format!("found no controllers for pod {:?}", pod.metadata.name));
        };
        by_uid.insert(&scaled.uid, scaled.replicas);
    }
    Ok(by_uid.values().sum())
}

pub(super) fn status(
    budget: &DisruptionBudget,
    pods: &[&Pod],
    scales: &HashMap<&str, Option<Scaled>>,
    now: Timestamp,
) -> Result<DisruptionBudgetStatus, String> {
    let count = i32::try_from(pods.len()).unwrap_or(i32::MAX);
    let (expected_pods, desired_healthy) = match (&budget.spec.max_unavailable, &budget.spec.min_available) {
        (Some(most), _) => {
            let expected = expected(pods, scales)?;
            (expected, (expected - amount(most, expected, true)).max(0))
        }
        (None, Some(least @ Tree::String(_))) => {
            let expected = expected(pods, scales)?;
            (expected, amount(least, expected, true))
        }
        (None, Some(least)) => (count, amount(least, count, true)),
        (None, None) => (0, 0),
    };
    let known = &budget.status.disrupted_pods;
    let is_awaited = |name: &String, since: &Timestamp| {
        let pod = pods.iter().find(|pod| pod.metadata.name == *name);
        pod.is_some_and(|pod| !pod.is_deleting()) && now.duration_since(*since) < AWAITED
    };
    let disrupted: BTreeMap<String, Timestamp> = known
        .iter()
        .filter(|(name, since)| is_awaited(name, since))
        .map(|(name, since)| (name.clone(), *since))
        .collect();
    let is_healthy = |pod: &&&Pod| !pod.is_deleting() && !disrupted.contains_key(&pod.metadata.name) && pod.is_ready();
    let current_healthy = i32::try_from(pods.iter().filter(is_healthy).count()).unwrap_or(i32::MAX);
    // A budget that matches no pods yet must not let the first ones go.
    let allowed = if expected_pods <= 0 { 0 } else { (current_healthy - desired_healthy).max(0) };
    let (is, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    Ok(DisruptionBudgetStatus {
        observed_generation: budget.metadata.generation,
        disrupted_pods: disrupted,
        disruptions_allowed: allowed,
        current_healthy,
        desired_healthy,
        expected_pods,
        conditions: told(budget, is, reason, String::new(), now),
    })
}

/// The status when the pods cannot be counted: nothing may go.
pub(super) fn unknown(budget: &DisruptionBudget, why: String, now: Timestamp) -> DisruptionBudgetStatus {
    DisruptionBudgetStatus {
        observed_generation: budget.metadata.generation,
        disruptions_allowed: 0,
        conditions: told(budget, "False", "SyncFailed", why, now),
        ..budget.status.clone()
    }
}

fn told(budget: &DisruptionBudget, is: &str, reason: &str, message: String, now: Timestamp) -> Vec<Condition> {
    let known = budget.status.conditions.iter().find(|one| one.kind == ALLOWED);
    let since = known.filter(|one| one.status == is).and_then(|one| one.last_transition_time);
    let others = budget.status.conditions.iter().filter(|one| one.kind != ALLOWED).cloned();
    let condition = Condition {
        kind: ALLOWED.to_owned(),
        status: is.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: Some(since.unwrap_or(now)),
        ..Condition::default()
    };
    others.chain([condition]).collect()
}

/// When a pod that did not go counts again.
pub(super) fn again_in(status: &DisruptionBudgetStatus, now: Timestamp) -> Option<SignedDuration> {
    let left = status.disrupted_pods.values().map(|since| AWAITED - now.duration_since(*since));
    left.min().map(|left| left.max(SignedDuration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn budget(spec: Tree) -> DisruptionBudget {
        DisruptionBudget { spec: serde_json::from_value(spec).expect("a spec"), ..DisruptionBudget::default() }
    }

    fn pod(name: &str, ready: bool) -> Pod {
        let is = if ready { "True" } else { "False" };
        let owner = json!({ "uid": "set", "kind": "ReplicaSet", "controller": true });
        let status = json!({ "conditions": [{ "type": "Ready", "status": is }] });
        serde_json::from_value(json!({ "metadata": { "name": name, "ownerReferences": [owner] }, "status": status }))
            .expect("a pod")
    }

    #[test]
    fn what_may_go_is_what_is_more_than_needed() {
        let now = Timestamp::UNIX_EPOCH;
        let pods = [pod("a", true), pod("b", true), pod("c", false)];
        let pods: Vec<&Pod> = pods.iter().collect();
        let scaled = Scaled { uid: "set".to_owned(), replicas: 4, owner: None };
        let scales = HashMap::from([("set", Some(scaled))]);
        let of = |spec: Tree| {
            let status = status(&budget(spec), &pods, &scales, now).expect("a status");
            (status.expected_pods, status.desired_healthy, status.current_healthy, status.disruptions_allowed)
        };
        assert_eq!(of(json!({ "minAvailable": 1 })), (3, 1, 2, 1));
        assert_eq!(of(json!({ "minAvailable": "50%" })), (4, 2, 2, 0));
        assert_eq!(of(json!({ "maxUnavailable": 3 })), (4, 1, 2, 1));
        assert_eq!(of(json!({ "maxUnavailable": "30%" })), (4, 2, 2, 0));
        let lost = HashMap::from([("set", None)]);
        assert!(status(&budget(json!({ "maxUnavailable": 1 })), &pods, &lost, now).is_err());
        let none = status(&budget(json!({ "minAvailable": 0 })), &[], &HashMap::new(), now).expect("a status");
        assert_eq!(none.disruptions_allowed, 0);
    }

    #[test]
    fn a_pod_that_is_to_go_is_waited_for() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().expect("a time");
        let mut budget = budget(json!({ "minAvailable": 1 }));
        budget.status.disrupted_pods = ["a", "gone"].map(|name| (name.to_owned(), now)).into();
        let pods = [pod("a", true), pod("b", true)];
        let pods: Vec<&Pod> = pods.iter().collect();
        let status = |now| status(&budget, &pods, &HashMap::new(), now).expect("a status");
        let first = status(now);
        assert_eq!((first.current_healthy, first.disruptions_allowed), (1, 0));
        assert_eq!(first.disrupted_pods.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(again_in(&first, now), Some(AWAITED));
        assert_eq!(status(now + AWAITED).disruptions_allowed, 1, "it did not go");
    }
}
