use super::*;
use api::object::edit;
use serde_json::json;
use std::sync::Arc;

const NOW: &str = "2026-01-01T00:01:00Z";

fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

fn set(spec: Tree) -> StatefulSet {
    let meta = json!({ "name": "db", "namespace": "a", "uid": "set", "generation": 3 });
    let mut tree = json!({ "metadata": meta, "spec": { "replicas": 3, "serviceName": "db", "template": {} } });
    for (key, value) in spec.as_object().into_iter().flatten() {
        edit::set(&mut tree, &["spec", key], value.clone());
    }
    serde_json::from_value(tree).expect("a set")
}

/// A pod of a version: `ready`, `pending`, `going` or `failed`.
fn pod(ordinal: i32, version: &str, state: &str) -> Found {
    let name = format!("db-{ordinal}");
    let labels = json!({
        "statefulset.kubernetes.io/pod-name": name, "apps.kubernetes.io/pod-index": ordinal.to_string(),
        HASH: version,
    });
    let deleted = if state == "going" { json!(NOW) } else { Tree::Null };
    let (phase, ready) = match state {
        "ready" | "going" => ("Running", "True"),
        "failed" => ("Failed", "False"),
        _ => ("Pending", "False"),
    };
    let condition = json!({ "type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let tree = json!({
        "metadata": { "name": name, "namespace": "a", "labels": labels, "deletionTimestamp": deleted },
        "status": { "phase": phase, "conditions": [condition] },
    });
    (Key::new("a", &name), Arc::new(serde_json::from_value(tree).expect("a pod")))
}

/// What is done, in short: `+1` makes the pod at place 1 (`+1old` in the old version), `-2` deletes it.
fn steps(set: &StatefulSet, pods: &[Found]) -> String {
    let version = |name: &'static str| Version { name, template: json!({}) };
    let versions = Versions { current: version("old"), update: version("new") };
    let shown = |step: Step| match step {
        Step::Make { ordinal, pod } => {
            let is_old = edit::text(&pod, &["metadata", "labels", HASH]) == "old";
            format!("+{ordinal}{}", if is_old { "old" } else { "" })
        }
        Step::Claims { ordinal } => format!("c{ordinal}"),
        Step::Label { ordinal, .. } => format!("l{ordinal}"),
        Step::Delete(key) => key.name.replace("db-", "-"),
    };
    plan(set, pods, &versions, now()).into_iter().map(shown).collect::<Vec<_>>().join(" ")
}

#[test]
fn places_are_filled_one_after_the_other_or_all_at_once() {
    let ordered = set(json!({}));
    assert_eq!(steps(&ordered, &[]), "+0");
    assert_eq!(steps(&ordered, &[pod(0, "new", "pending")]), "");
    assert_eq!(steps(&ordered, &[pod(0, "new", "ready")]), "+1");
    assert_eq!(steps(&ordered, &[pod(0, "new", "ready"), pod(2, "new", "ready")]), "+1");
    let parallel = set(json!({ "podManagementPolicy": "Parallel" }));
    assert_eq!(steps(&parallel, &[pod(1, "new", "pending")]), "+0 +2");
    let from_five = set(json!({ "ordinals": { "start": 5 }, "podManagementPolicy": "Parallel" }));
    assert_eq!(steps(&from_five, &[pod(0, "new", "ready")]), "+5 +6 +7 -0");
}

#[test]
fn what_ended_is_replaced_and_what_goes_is_waited_for() {
    let set_ = set(json!({}));
    assert_eq!(steps(&set_, &[pod(0, "new", "failed")]), "-0");
    assert_eq!(steps(&set_, &[pod(0, "new", "going")]), "");
    let ready = [0, 1, 2].map(|ordinal| pod(ordinal, "new", "ready"));
    assert_eq!(steps(&set(json!({ "minReadySeconds": 90 })), &ready), "", "it has been ready for a minute only");
    let claims = json!({ "volumeClaimTemplates": [{ "metadata": { "name": "d" } }] });
    assert_eq!(steps(&set(claims), &[pod(0, "new", "pending")]), "c0");
}

#[test]
fn the_highest_place_goes_first() {
    let one = set(json!({ "replicas": 1 }));
    let all = |last: &str| [pod(0, "new", "ready"), pod(1, "new", "ready"), pod(2, "new", last)];
    assert_eq!(steps(&one, &all("ready")), "-2");
    assert_eq!(steps(&one, &all("going")), "");
    assert_eq!(steps(&one, &all("pending")), "-2", "the first that is not healthy may go");
    let parallel = set(json!({ "replicas": 1, "podManagementPolicy": "Parallel" }));
    assert_eq!(steps(&parallel, &all("ready")), "-2 -1");
}

#[test]
fn a_rollout_goes_down_to_the_partition() {
    let rolling =
        |rolling: Tree| set(json!({ "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": rolling } }));
    let of = |versions: [&str; 3], states: [&str; 3]| {
        [0, 1, 2].map(|at| pod(i32::try_from(at).expect("small"), versions[at], states[at]))
    };
    let (old, ready) = (["old"; 3], ["ready"; 3]);
    assert_eq!(steps(&rolling(json!({})), &of(old, ready)), "-2");
    assert_eq!(steps(&rolling(json!({})), &of(["old", "old", "new"], ready)), "-1");
    assert_eq!(steps(&rolling(json!({})), &of(["old", "old", "new"], ["ready", "ready", "pending"])), "");
    assert_eq!(steps(&rolling(json!({ "partition": 2 })), &of(["old", "old", "new"], ready)), "");
    assert_eq!(steps(&rolling(json!({ "maxUnavailable": 2 })), &of(old, ready)), "-2 -1");
    let kept = [pod(0, "old", "ready")];
    assert_eq!(steps(&rolling(json!({ "partition": 2 })), &kept), "+1old");
    let by_hand = set(json!({ "updateStrategy": { "type": "OnDelete" } }));
    assert_eq!(steps(&by_hand, &of(old, ready)), "");
}

#[test]
fn the_status_counts_and_ends_the_rollout() {
    let set = set(json!({ "updateStrategy": { "type": "RollingUpdate" } }));
    let half = [pod(0, "old", "ready"), pod(1, "new", "going"), pod(2, "new", "pending")];
    let status_ = status(&set, &half, ("old", "new"), 0, now());
    let counts = (status_.replicas, status_.ready_replicas, status_.current_replicas, status_.updated_replicas);
    assert_eq!(counts, (3, 2, 1, 1));
    assert_eq!((status_.observed_generation, &*status_.current_revision), (3, "old"));
    let all = [0, 1, 2].map(|ordinal| pod(ordinal, "new", "ready"));
    let done = status(&set, &all, ("old", "new"), 0, now());
    assert_eq!((done.current_replicas, &*done.current_revision), (3, "new"));
}

#[test]
fn a_pod_has_its_place_in_its_name_and_its_claims() {
    let claims = json!([{ "metadata": { "name": "d" }, "spec": {} }]);
    let volumes = json!([{ "name": "d", "emptyDir": {} }, { "name": "e", "emptyDir": {} }]);
    let set = set(json!({ "volumeClaimTemplates": claims, "selector": { "matchLabels": { "app": "db" } } }));
    let version = Version { name: "db-1", template: json!({ "spec": { "volumes": volumes } }) };
    let pod = pod_(&set, &version, 2);
    assert_eq!(edit::text(&pod, &["metadata", "name"]), "db-2");
    assert_eq!(edit::text(&pod, &["metadata", "labels", "apps.kubernetes.io/pod-index"]), "2");
    assert_eq!((edit::text(&pod, &["spec", "hostname"]), edit::text(&pod, &["spec", "subdomain"])), ("db-2", "db"));
    let claim = json!({ "name": "d", "persistentVolumeClaim": { "claimName": "d-db-2" } });
    assert_eq!(edit::list(&pod, &["spec", "volumes"]), [claim, json!({ "name": "e", "emptyDir": {} })]);
    let (name, claim) = super::super::pod::claims(&set, 2).remove(0);
    assert_eq!((name.as_str(), edit::text(&claim, &["metadata", "labels", "app"])), ("d-db-2", "db"));
    assert_eq!(ordinal(&set.metadata, "db-12"), Some(12));
    assert_eq!((ordinal(&set.metadata, "db-x"), ordinal(&set.metadata, "web-1")), (None, None));
}

use super::pod as pod_;
