//! One case for each rule of upstream's deployment controller.

use super::*;
use serde_json::json;

fn deployment(replicas: i32, surge: &Tree, unavailable: &Tree) -> Deployment {
    let json = json!({"spec": {"replicas": replicas, "strategy": {"type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}});
    serde_json::from_value(json).expect("a deployment")
}

/// A set for a total of `desired`, the `revision`th, made in that minute.
fn set(wanted: i32, available: i32, revision: i64, desired: i32, max: i32) -> ReplicaSet {
    let json = json!({
        "metadata": {
            "annotations": {REVISION: revision.to_string(), DESIRED: desired.to_string(), MAX: max.to_string()},
            "creationTimestamp": format!("2026-01-01T00:{revision:02}:00Z")},
        "spec": {"replicas": wanted}, "status": {"replicas": wanted, "availableReplicas": available}});
    serde_json::from_value(json).expect("a set")
}

/// The plan for sets named after their revision; the last one is of the template if `has_new`.
fn planned(deployment: &Deployment, sets: &[ReplicaSet], has_new: bool, old_runs: bool) -> Plan {
    let keys: Vec<Key> = sets.iter().map(|set| Key::new("a", &set.metadata.annotations[REVISION])).collect();
    let versions: Vec<Version<'_>> = keys.iter().zip(sets).map(|(key, set)| Version { key, set }).collect();
    let new = versions.last().copied().filter(|_| has_new);
    plan(deployment, &versions, new, old_runs)
}

fn scaled(plan: &Plan) -> Vec<(&str, i32)> {
    plan.scale.iter().map(|(key, replicas)| (&*key.name, *replicas)).collect()
}

#[test]
fn the_first_version_is_made_whole() {
    let plan = planned(&deployment(3, &json!(1), &json!(0)), &[], false, false);
    assert_eq!((plan.create, plan.rolls), (Some(3), true));
    assert_eq!(revision(&[], None), 1);
}

#[test]
fn a_new_version_surges_and_old_pods_go_as_new_ones_answer() {
    let three = deployment(3, &json!(1), &json!(0));
    assert_eq!(planned(&three, &[set(3, 3, 1, 3, 4)], false, false).create, Some(1));
    let waits = planned(&three, &[set(3, 3, 1, 3, 4), set(1, 0, 2, 3, 4)], true, false);
    assert!(waits.scale.is_empty(), "nothing until it is available");
    let goes = planned(&three, &[set(3, 3, 1, 3, 4), set(1, 1, 2, 3, 4)], true, false);
    assert_eq!(scaled(&goes), [("1", 2)]);
    let grows = planned(&three, &[set(2, 2, 1, 3, 4), set(1, 1, 2, 3, 4)], true, false);
    assert_eq!(scaled(&grows), [("2", 2)]);
}

#[test]
fn pods_that_answer_nobody_go_before_those_that_do() {
    let ten = deployment(10, &json!(3), &json!(2));
    let sets = [set(4, 0, 1, 10, 13), set(6, 6, 2, 10, 13), set(3, 3, 3, 10, 13)];
    // 13 wanted, 8 have to be available: the four broken ones go first, then one of the others.
    assert_eq!(scaled(&planned(&ten, &sets, true, false)), [("1", 0), ("2", 5)]);
}

#[test]
fn a_rollout_that_is_resized_grows_in_proportion() {
    let sets = [set(8, 8, 1, 10, 13), set(5, 2, 2, 10, 13)];
    // From 10 (13 with surge) to 20 (23 with surge): ten more, in the proportion of 8 to 5.
    let plan = planned(&deployment(20, &json!(3), &json!(2)), &sets, true, false);
    assert_eq!(scaled(&plan), [("1", 14), ("2", 9)]);
    assert!(!plan.rolls, "progress is not judged by it");
    // Down to 5 (8): five less.
    let plan = planned(&deployment(5, &json!(3), &json!(2)), &sets, true, false);
    assert_eq!(scaled(&plan), [("1", 5), ("2", 3)]);
    let plan = planned(&deployment(0, &json!(3), &json!(2)), &sets, true, false);
    assert_eq!(scaled(&plan), [("1", 0), ("2", 0)]);
}

#[test]
fn a_saturated_version_takes_all_when_it_is_resized() {
    let sets = [set(1, 1, 1, 3, 4), set(5, 5, 2, 5, 6)];
    let plan = planned(&deployment(5, &json!(1), &json!(0)), &sets, true, false);
    assert_eq!(scaled(&plan), [("1", 0)]);
}

#[test]
fn one_version_alone_is_just_resized() {
    let plan = planned(&deployment(7, &json!(1), &json!(0)), &[set(0, 0, 1, 3, 4), set(3, 3, 2, 3, 4)], true, false);
    assert_eq!(scaled(&plan), [("2", 7)]);
}

#[test]
fn while_it_is_paused_only_its_size_changes() {
    let mut paused = deployment(5, &json!(1), &json!(0));
    paused.spec.paused = true;
    let plan = planned(&paused, &[set(3, 3, 1, 3, 4)], false, false);
    assert_eq!((scaled(&plan), plan.create, plan.rolls), (vec![("1", 5)], None, false));
}

#[test]
fn recreate_waits_until_the_old_pods_have_ended() {
    let mut recreate = deployment(3, &json!(1), &json!(0));
    recreate.spec.strategy.kind = "Recreate".to_owned();
    let plan = planned(&recreate, &[set(3, 3, 1, 3, 3)], false, true);
    assert_eq!((scaled(&plan), plan.create), (vec![("1", 0)], None));
    assert_eq!(planned(&recreate, &[set(0, 0, 1, 3, 3)], false, true).create, None, "they are ending");
    assert_eq!(planned(&recreate, &[set(0, 0, 1, 3, 3)], false, false).create, Some(3));
    let back = planned(&recreate, &[set(0, 0, 1, 3, 3), set(0, 0, 2, 3, 3)], true, false);
    assert_eq!(scaled(&back), [("2", 3)]);
}

#[test]
fn going_back_gives_the_old_set_a_new_revision() {
    let keys = [Key::new("a", "one"), Key::new("a", "two")];
    let sets = [set(0, 0, 1, 3, 4), set(3, 3, 2, 3, 4)];
    let versions: Vec<Version<'_>> = keys.iter().zip(&sets).map(|(key, set)| Version { key, set }).collect();
    assert_eq!(revision(&versions, Some(versions[0])), 3);
    assert_eq!(revision(&versions, Some(versions[1])), 2);
    assert_eq!(revision(&versions, None), 3);
}

#[test]
fn the_history_keeps_the_newest_and_what_has_pods() {
    let mut limited = deployment(3, &json!(1), &json!(0));
    limited.spec.revision_history_limit = Some(1);
    let sets = [set(0, 0, 1, 3, 4), set(0, 0, 2, 3, 4), set(0, 0, 3, 3, 4), set(3, 3, 4, 3, 4)];
    let names = |plan: &Plan| plan.delete.iter().map(|key| key.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&planned(&limited, &sets, true, false)), ["1", "2"]);
    let mut ending = sets.clone();
    ending[0].status.replicas = 1;
    ending[3].status.replicas = 2;
    assert!(planned(&limited, &ending, true, false).delete.is_empty(), "not before the rollout is complete");
    let mut unseen = sets;
    unseen[0].metadata.generation = 2;
    assert_eq!(names(&planned(&limited, &unseen, true, false)), ["2"], "its controller has not seen its last change");
}

#[test]
fn a_deployment_that_goes_does_nothing() {
    let mut going = deployment(3, &json!(1), &json!(0));
    going.metadata.deletion_timestamp = Some("2026-01-01T00:00:00Z".parse().expect("a time"));
    assert_eq!(planned(&going, &[], false, false), Plan::default());
}

#[test]
fn surge_rounds_up_and_unavailability_down_and_not_both_are_nothing() {
    assert_eq!(bounds(&deployment(10, &json!("25%"), &json!("25%"))), (3, 2));
    assert_eq!(bounds(&deployment(1, &json!("25%"), &json!("25%"))), (1, 0));
    assert_eq!(bounds(&deployment(3, &json!(0), &json!("10%"))), (0, 1), "one may be missing, or nothing would move");
    assert_eq!(bounds(&deployment(3, &json!(0), &json!(9))), (0, 3));
    assert_eq!(bounds(&deployment(3, &Tree::Null, &Tree::Null)), (1, 0));
}
