//! What may change in a pod: images, a shorter deadline, more tolerations, fewer gates.

use super::findings::Findings;
use super::place::Place;
use super::{container, pod};
use crate::Tree;

const POD: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
                   `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
                   existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                   previously negative)";
const SECONDS_MAX: i64 = i32::MAX as i64;

pub(super) fn update(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    let (new, old) = (new.get("spec"), old.get("spec"));
    if new.value() == old.value() || !containers(&new, &old, found) || !deadline(&new, &old, found) {
        return;
    }
    tolerations(&new, &old, found);
    let gates = old.get("schedulingGates");
    for gate in new.get("schedulingGates").each().filter(|gate| !gates.list().contains(gate.value())) {
        let name = gate.get("name");
        let why = format!("only deletion is allowed, but found new scheduling gate '{}'", name.text());
        found.forbidden(&name, why);
    }
    let is_gated = !gates.is_empty();
    if is_gated {
        node_selector(&new, &old, found);
    }
    if fixed_part(new.value(), old.value(), is_gated) != fixed_part(old.value(), old.value(), is_gated) {
        found.forbidden(&new, POD);
    }
}

/// False if there is nothing to compare any more.
fn containers(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) -> bool {
    for key in ["containers", "initContainers"] {
        let all = new.get(key);
        if all.len() != old.get(key).len() {
            found.forbidden(&all, "pod updates may not add or remove containers");
            return false;
        }
        for one in all.each() {
            if one.get("image").is_empty() {
                found.required(&one.get("image"), "");
            }
            container::trimmed_image(&one, found);
        }
    }
    true
}

/// False if upstream looks no further.
fn deadline(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) -> bool {
    let (at, before) = (new.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds"));
    match (at.integer(), before.integer()) {
        (None, Some(_)) => found.invalid(&at, "must not update from a positive integer to nil value"),
        (Some(new), _) if !(0..=SECONDS_MAX).contains(&new) => {
            found.within(&at, 0, SECONDS_MAX);
            return false;
        }
        (Some(new), Some(old)) if new > old => {
            found.invalid(&at, "must be less than or equal to previous value");
            return false;
        }
        _ => {}
    }
    true
}

fn tolerations(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    let untimed = |tree: &Tree| {
        let mut tree = tree.clone();
        if let Some(all) = tree.as_object_mut() {
            all.shift_remove("tolerationSeconds");
        }
        tree
    };
    let all = new.get("tolerations");
    let now: Vec<Tree> = all.list().iter().map(untimed).collect();
    if old.get("tolerations").list().iter().any(|one| !now.contains(&untimed(one))) {
        found.forbidden(&all, "existing toleration can not be modified except its tolerationSeconds");
    } else {
        pod::tolerations(&all, found);
    }
}

/// A pod that waits at a gate may be sent to fewer nodes, not to others.
fn node_selector(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    let at = new.get("nodeSelector");
    let before = old.get("nodeSelector");
    for (key, value) in before.entries() {
        if at.get(key).value() != value.value() {
            found.invalid(&at, "only additions to spec.nodeSelector are allowed (no mutations or deletions)");
            return;
        }
    }
}

/// The spec without what may change.
fn fixed_part(spec: &Tree, old: &Tree, is_gated: bool) -> Tree {
    let mut spec = spec.clone();
    let Some(all) = spec.as_object_mut() else { return spec };
    let was_negative = old.get("terminationGracePeriodSeconds").and_then(Tree::as_i64).is_some_and(|grace| grace < 0);
    let grace = all.get("terminationGracePeriodSeconds").and_then(Tree::as_i64);
    if was_negative && grace.is_some_and(|grace| grace < 0 || grace == 1) {
        all.shift_remove("terminationGracePeriodSeconds");
    }
    // A pod that waits at a gate may still be steered to other nodes.
    let steering: &[&str] = if is_gated { &["nodeSelector", "affinity"] } else { &[] };
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates"].iter().chain(steering) {
        all.shift_remove(*key);
    }
    for key in ["containers", "initContainers"] {
        for container in crate::walk::each(all, key) {
            container.shift_remove("image");
        }
    }
    spec
}
