//! Which pods a set can best do without: upstream's `ActivePodsWithRanks` (1.32).

use crate::controllers::pods::ready_since;
use api::time::Timestamp;
use api::view::Pod;
use std::cmp::Reverse;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Orders pods, the least useful first. The fields are compared in their order.
///
/// Upstream compares the uid at once where two pods' ages are of one power of two; here it comes last, because that
/// comparison is no total order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Usefulness {
    is_bound: bool,
    phase: u8,
    is_ready: bool,
    deletion_cost: i32,
    /// More siblings on the node: less needed there.
    siblings: Reverse<usize>,
    ready_for: Age,
    restarts: Reverse<u32>,
    age: Age,
    uid: String,
}

/// The binary logarithm of a duration, so that pods of about one age are taken at random (KEP-2185); less for younger.
type Age = i64;

/// How useful a pod is, with so many siblings on its node (itself among them).
pub(super) fn usefulness(pod: &Pod, siblings: usize, now: Timestamp) -> Usefulness {
    let phase = match pod.status.phase.as_str() {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let cost = pod.metadata.annotations.get(DELETION_COST);
    let since = ready_since(pod);
    let statuses = &pod.status.container_statuses;
    Usefulness {
        is_bound: !pod.spec.node_name.is_empty(),
        phase,
        is_ready: since.is_some(),
        deletion_cost: cost.and_then(|cost| cost.parse().ok()).unwrap_or(0),
        siblings: Reverse(siblings),
        ready_for: since.map_or(0, |since| age(since, now)),
        restarts: Reverse(statuses.iter().map(|status| status.restart_count).max().unwrap_or(0)),
        age: pod.metadata.creation_timestamp.map_or(0, |at| age(at, now)),
        uid: pod.metadata.uid.clone(),
    }
}

fn age(since: Timestamp, now: Timestamp) -> Age {
    let nanoseconds = now.duration_since(since).as_nanos();
    if nanoseconds > 0 { i64::from(nanoseconds.ilog2()) } else { -1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A ready pod with what differs from it put in.
    fn pod(more: &[(&[&str], Value)]) -> Pod {
        let mut tree = json!({
            "metadata": {"uid": "m", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"nodeName": "n"},
            "status": {"phase": "Running", "containerStatuses": [{"restartCount": 1}], "conditions":
                [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        for (path, value) in more {
            api::object::edit::set(&mut tree, path, value.clone());
        }
        serde_json::from_value(tree).expect("a pod")
    }

    #[test]
    fn upstreams_ranks_in_their_order() {
        let now = "2026-01-01T01:00:00Z".parse().expect("a time");
        let of = |more: &[(&[&str], Value)], siblings| usefulness(&pod(more), siblings, now);
        let ready_at = |at: &str| json!([{"type": "Ready", "status": "True", "lastTransitionTime": at}]);
        let cost = |cost: &str| json!({ DELETION_COST: cost });
        let unready = json!([{"type": "Ready", "status": "False"}]);
        let order = [
            of(&[(&["spec", "nodeName"], json!("")), (&["status", "phase"], json!("Pending"))], 9),
            of(&[(&["status", "phase"], json!("Pending")), (&["status", "conditions"], json!([]))], 1),
            of(&[(&["status", "phase"], json!("Unknown")), (&["status", "conditions"], json!([]))], 1),
            of(&[(&["status", "conditions"], unready), (&["metadata", "annotations"], cost("9"))], 1),
            of(&[(&["metadata", "annotations"], cost("-1"))], 1),
            of(&[], 3),
            of(&[(&["status", "conditions"], ready_at("2026-01-01T00:59:00Z"))], 2),
            of(&[(&["status", "containerStatuses"], json!([{"restartCount": 7}]))], 2),
            of(&[(&["metadata", "creationTimestamp"], json!("2026-01-01T00:50:00Z"))], 2),
            of(&[(&["metadata", "uid"], json!("a"))], 2),
            of(&[], 2),
            of(&[(&["metadata", "annotations"], cost("1"))], 5),
        ];
        for (index, pair) in order.windows(2).enumerate() {
            assert!(pair[0] < pair[1], "{index}: {pair:?}");
        }
    }
}
