//! What an update may not change.

use super::{Findings, at, list, text};
use crate::walk::{integer, members};
use crate::{Kind, Tree};

const IMMUTABLE: &str = "field is immutable";

/// Group, kind, the path of a field that never changes, and the words; `IMMUTABLE` goes with `Invalid value`, other
/// words with `Forbidden`.
const FIXED: &[(&str, &str, &[&str], &str)] = &[
    ("apps", "Deployment", &["spec", "selector"], IMMUTABLE),
    ("apps", "ReplicaSet", &["spec", "selector"], IMMUTABLE),
    ("apps", "DaemonSet", &["spec", "selector"], IMMUTABLE),
    ("apps", "ControllerRevision", &["data"], IMMUTABLE),
    ("batch", "Job", &["spec", "selector"], IMMUTABLE),
    ("batch", "Job", &["spec", "completionMode"], IMMUTABLE),
    ("", "Secret", &["type"], IMMUTABLE),
    ("discovery.k8s.io", "EndpointSlice", &["addressType"], IMMUTABLE),
    ("node.k8s.io", "RuntimeClass", &["handler"], IMMUTABLE),
    ("networking.k8s.io", "IngressClass", &["spec", "controller"], IMMUTABLE),
    ("scheduling.k8s.io", "PriorityClass", &["value"], "may not be changed in an update."),
    ("scheduling.k8s.io", "PriorityClass", &["preemptionPolicy"], "may not be changed in an update."),
    ("storage.k8s.io", "StorageClass", &["parameters"], "updates to parameters are forbidden."),
    ("storage.k8s.io", "StorageClass", &["provisioner"], "updates to provisioner are forbidden."),
    ("storage.k8s.io", "StorageClass", &["reclaimPolicy"], "updates to reclaimPolicy are forbidden."),
    ("storage.k8s.io", "StorageClass", &["volumeBindingMode"], IMMUTABLE),
    ("storage.k8s.io", "VolumeAttachment", &["spec"], IMMUTABLE),
    ("", "PersistentVolume", &["spec", "volumeMode"], IMMUTABLE),
    ("apiextensions.k8s.io", "CustomResourceDefinition", &["spec", "group"], IMMUTABLE),
    ("apiextensions.k8s.io", "CustomResourceDefinition", &["spec", "scope"], IMMUTABLE),
    ("apiextensions.k8s.io", "CustomResourceDefinition", &["spec", "names", "plural"], IMMUTABLE),
    ("apiextensions.k8s.io", "CustomResourceDefinition", &["spec", "names", "kind"], IMMUTABLE),
];

const STATEFUL: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                        'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                        'minReadySeconds' are forbidden";
const STATEFUL_FREE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];
const POD: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
                   `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
                   existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                   previously negative)";
const CLAIM: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound \
                     claims";

pub(super) fn check(kind: &Kind, new: &Tree, old: &Tree, found: &mut Findings) {
    for (_, _, path, why) in FIXED.iter().filter(|one| one.0 == kind.group() && one.1 == kind.kind) {
        let (new, old) = (at(new, path), at(old, path));
        if new == old {
            continue;
        }
        if *why == IMMUTABLE {
            found.invalid(path.join("."), new.unwrap_or(&Tree::Null), why);
        } else {
            found.forbidden(path.join("."), why);
        }
    }
    match (kind.group(), kind.kind.as_str()) {
        ("", "Pod") => pod(new, old, found),
        ("", "Service") => service(new, old, found),
        ("", "ConfigMap") => frozen(new, old, &["data", "binaryData"], found),
        ("", "Secret") => frozen(new, old, &["data"], found),
        ("", "Node") => node(new, old, found),
        ("", "PersistentVolumeClaim")
            if differs(new, old, &["resources", "volumeAttributesClassName", "volumeName"]) =>
        {
            found.forbidden("spec", CLAIM);
        }
        ("apps", "StatefulSet") if differs(new, old, &STATEFUL_FREE) => {
            found.forbidden("spec", STATEFUL);
        }
        ("batch", "Job") => job(new, old, found),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding")
            if new.get("roleRef") != old.get("roleRef") =>
        {
            found.invalid("roleRef", new.get("roleRef").unwrap_or(&Tree::Null), "cannot change roleRef");
        }
        _ => {}
    }
}

/// True if some member of `spec` changed that is not among the free ones.
fn differs(new: &Tree, old: &Tree, free: &[&str]) -> bool {
    let rest = |tree| members(tree, &["spec"]).filter(|(key, _)| !free.contains(&key.as_str()));
    rest(new).count() != rest(old).count() || rest(new).any(|(key, value)| at(old, &["spec", key]) != Some(value))
}

/// `immutable: true` on a ConfigMap or Secret is for good.
fn frozen(new: &Tree, old: &Tree, parts: &[&str], found: &mut Findings) {
    let why = "field is immutable when `immutable` is set";
    let is_frozen = |tree| at(tree, &["immutable"]).and_then(Tree::as_bool) == Some(true);
    if !is_frozen(old) {
        return;
    }
    if !is_frozen(new) {
        found.forbidden("immutable", why);
    }
    for part in parts.iter().filter(|part| at(new, &[part]) != at(old, &[part])) {
        found.forbidden(*part, why);
    }
}

fn node(new: &Tree, old: &Tree, found: &mut Findings) {
    for (key, shown, name) in [("providerID", "providerID", "providerID"), ("podCIDR", "podCIDRs", "podCIDR")] {
        let (new, old) = (text(new, &["spec", key]), text(old, &["spec", key]));
        if !old.is_empty() && new != old {
            let why = format!("node updates may not change {name} except from \"\" to valid");
            found.forbidden(format!("spec.{shown}"), &why);
        }
    }
}

fn service(new: &Tree, old: &Tree, found: &mut Findings) {
    let address = |tree| text(tree, &["spec", "clusterIP"]);
    let has_address = |tree| text(tree, &["spec", "type"]) != "ExternalName";
    if !has_address(new) || !has_address(old) || address(old).is_empty() || address(new) == address(old) {
        return;
    }
    let shown = Tree::from(vec![address(new)]);
    let why = if address(new).is_empty() { "primary clusterIP can not be unset" } else { "may not change once set" };
    found.invalid("spec.clusterIPs[0]", &shown, why);
}

fn job(new: &Tree, old: &Tree, found: &mut Findings) {
    let is_suspended = at(old, &["spec", "suspend"]).and_then(Tree::as_bool) == Some(true);
    let template = |tree| at(tree, &["spec", "template"]);
    if template(new) != template(old) && !is_suspended {
        found.invalid("spec.template", template(new).unwrap_or(&Tree::Null), IMMUTABLE);
    }
    let (most, before) = (at(new, &["spec", "completions"]), at(old, &["spec", "completions"]));
    // An indexed Job may grow or shrink if its parallelism does likewise.
    let is_elastic = text(new, &["spec", "completionMode"]) == "Indexed" && most == at(new, &["spec", "parallelism"]);
    if most != before && !is_elastic {
        found.invalid("spec.completions", most.unwrap_or(&Tree::Null), IMMUTABLE);
    }
}

fn pod(new: &Tree, old: &Tree, found: &mut Findings) {
    for key in ["containers", "initContainers"] {
        let (now, before) = (list(new, &["spec", key]), list(old, &["spec", key]));
        if now.len() != before.len() {
            let why = format!("pod updates may not add or remove {key}");
            found.forbidden(
                format!("spec.{key}"),
                if key == "containers" { "pod updates may not add or remove containers" } else { &why },
            );
            return;
        }
        for (at, one) in now.iter().enumerate().filter(|(_, one)| text(one, &["image"]).is_empty()) {
            let _ = one;
            found.required(format!("spec.{key}[{at}].image"), "");
        }
    }
    deadline(new, old, found);
    tolerations(new, old, found);
    let before = list(old, &["spec", "schedulingGates"]);
    for gate in list(new, &["spec", "schedulingGates"]).iter().filter(|gate| !before.contains(gate)) {
        let why = format!("only deletion is allowed, but found new scheduling gate '{}'", text(gate, &["name"]));
        found.forbidden("spec.schedulingGates", &why);
    }
    if fixed_part(new, !before.is_empty()) != fixed_part(old, !before.is_empty()) {
        found.forbidden("spec", POD);
    }
}

fn deadline(new: &Tree, old: &Tree, found: &mut Findings) {
    let seconds = |tree| integer(tree, &["spec", "activeDeadlineSeconds"]);
    let field = "spec.activeDeadlineSeconds";
    match (seconds(new), seconds(old)) {
        (None, Some(_)) => found.invalid(field, &Tree::Null, "must not update from a positive integer to nil value"),
        (Some(new), Some(old)) if new > old => {
            found.invalid(field, &new.into(), "must be less than or equal to previous value");
        }
        (Some(new), _) if !(1..=i64::from(i32::MAX)).contains(&new) => {
            found.invalid(field, &new.into(), "must be between 1 and 2147483647, inclusive");
        }
        _ => {}
    }
}

fn tolerations(new: &Tree, old: &Tree, found: &mut Findings) {
    let untimed = |tree: &Tree| {
        let mut tree = tree.clone();
        if let Some(all) = tree.as_object_mut() {
            all.shift_remove("tolerationSeconds");
        }
        tree
    };
    let now: Vec<Tree> = list(new, &["spec", "tolerations"]).iter().map(untimed).collect();
    if list(old, &["spec", "tolerations"]).iter().any(|one| !now.contains(&untimed(one))) {
        found.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds");
    }
}

/// The spec without what may change.
fn fixed_part(pod: &Tree, is_gated: bool) -> Tree {
    let mut spec = pod.get("spec").cloned().unwrap_or_default();
    let Some(all) = spec.as_object_mut() else { return spec };
    let grace = all.get("terminationGracePeriodSeconds").and_then(Tree::as_i64);
    if grace.is_some_and(|grace| grace < 0) {
        all.insert("terminationGracePeriodSeconds".to_owned(), 1.into());
    }
    // A pod that waits at a gate may still be steered to other nodes.
    let steering: &[&str] = if is_gated { &["nodeSelector", "affinity"] } else { &[] };
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates", "ephemeralContainers"].iter().chain(steering)
    {
        all.shift_remove(*key);
    }
    for key in ["containers", "initContainers"] {
        for container in crate::walk::each(all, key) {
            container.shift_remove("image");
        }
    }
    spec
}
