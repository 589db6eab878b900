//! The kinds of `apps` and their older relative: what keeps pods running.

use super::findings::Findings;
use super::meta::IMMUTABLE;
use super::place::Place;
use super::{claim, pod, shown, values};
use crate::Tree;

const MISMATCH: &str = "`selector` does not match template `labels`";
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

pub(super) fn deployment(root: &Place<'_, '_>, found: &mut Findings) {
    let spec = root.get("spec");
    found.natural(&spec.get("replicas"));
    if selector(&spec, "empty selector is invalid for deployment", found) {
        matching(&spec, found);
        replicated(&spec, found);
    } else {
        found.invalid(&spec.get("selector"), "invalid label selector");
    }
    let strategy = spec.get("strategy");
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").text() {
        "Recreate" if rolling.is_given() => {
            found.forbidden(&rolling, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" if !rolling.is_given() => {
            found.required(&rolling, "this should be defaulted and never be nil");
        }
        "RollingUpdate" => deployment_rolling(&rolling, found),
        _ => {
            let value = shown::internal("apps/v1", "DeploymentStrategy", strategy.value());
            found.unsupported_as(&strategy, value, &["Recreate", "RollingUpdate"]);
        }
    }
    found.naturals(&spec, &["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"]);
    let deadline = spec.get("progressDeadlineSeconds");
    if deadline.integer().is_some_and(|seconds| seconds <= spec.get("minReadySeconds").number()) {
        found.invalid(&deadline, "must be greater than minReadySeconds");
    }
}

fn deployment_rolling(at: &Place<'_, '_>, found: &mut Findings) {
    let (unavailable, surge) = (at.get("maxUnavailable"), at.get("maxSurge"));
    values::count_or_percent(&unavailable, found);
    values::count_or_percent(&surge, found);
    if values::is_zero(&unavailable) && values::is_zero(&surge) {
        let value = if unavailable.is_given() { unavailable.value().clone() } else { 0.into() };
        found.invalid_as(&unavailable, value, "may not be 0 when `maxSurge` is 0");
    }
    values::at_most_all(&unavailable, found);
}

pub(super) fn replica_set(root: &Place<'_, '_>, found: &mut Findings) {
    let spec = root.get("spec");
    found.naturals(&spec, &["replicas", "minReadySeconds"]);
    if selector(&spec, "empty selector is invalid for deployment", found) {
        matching(&spec, found);
        replicated(&spec, found);
    } else {
        found.invalid(&spec.get("selector"), "invalid label selector");
    }
}

/// A template whose pods a ReplicaSet makes.
fn replicated(spec: &Place<'_, '_>, found: &mut Findings) {
    let template = spec.get("template");
    pod::template(&template, pod::Owner::TEMPLATE, found);
    long_running(&template, "ReplicaSet", found);
}

pub(super) fn replication_controller(root: &Place<'_, '_>, found: &mut Findings) {
    let spec = root.get("spec");
    found.natural(&spec.get("minReadySeconds"));
    let (wanted, template) = (spec.get("selector"), spec.get("template"));
    if wanted.is_empty() {
        found.required(&wanted, "");
    }
    found.natural(&spec.get("replicas"));
    if !template.is_given() {
        return found.required(&template, "");
    }
    let labels = template.get("metadata");
    let labels = labels.get("labels");
    if wanted.entries().any(|(key, value)| labels.get(key).value() != value.value()) {
        found.invalid(&labels, MISMATCH);
    }
    pod::template(&template, pod::Owner::TEMPLATE, found);
    long_running(&template, "ReplicationController", found);
}

pub(super) fn daemon_set(root: &Place<'_, '_>, found: &mut Findings) {
    let spec = root.get("spec");
    let (wanted, template) = (spec.get("selector"), spec.get("template"));
    if values::selector(&wanted, found) {
        matching(&spec, found);
    }
    if wanted.is_given() && values::is_empty_selector(&wanted) {
        found.invalid(&wanted, "empty selector is invalid for daemonset");
    }
    pod::template(&template, pod::Owner::TEMPLATE, found);
    long_running(&template, "DaemonSet", found);
    found.natural(&spec.get("minReadySeconds"));
    let strategy = spec.get("updateStrategy");
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").text() {
        "OnDelete" => {}
        "RollingUpdate" if !rolling.is_given() => found.required(&rolling, ""),
        "RollingUpdate" => daemon_rolling(&rolling, found),
        _ => {
            let value = shown::internal("apps/v1", "DaemonSetUpdateStrategy", strategy.value());
            found.unsupported_as(&strategy, value, &["RollingUpdate", "OnDelete"]);
        }
    }
    found.natural(&spec.get("revisionHistoryLimit"));
}

fn daemon_rolling(at: &Place<'_, '_>, found: &mut Findings) {
    let (unavailable, surge) = (at.get("maxUnavailable"), at.get("maxSurge"));
    for one in [&unavailable, &surge] {
        values::count_or_percent(one, found);
    }
    for one in [&unavailable, &surge] {
        values::at_most_all(one, found);
    }
    match (values::is_zero(&unavailable), values::is_zero(&surge)) {
        (false, false) => found.invalid(&surge, "may not be set when maxUnavailable is non-zero"),
        (true, true) => found.required(&unavailable, "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}

pub(super) fn stateful_set(root: &Place<'_, '_>, found: &mut Findings) {
    let spec = root.get("spec");
    let policy = spec.get("podManagementPolicy");
    match policy.text() {
        "" => found.required(&policy, ""),
        "OrderedReady" | "Parallel" => {}
        _ => found.invalid(&policy, "must be 'OrderedReady' or 'Parallel'"),
    }
    stateful_strategy(&spec.get("updateStrategy"), found);
    let retention = spec.get("persistentVolumeClaimRetentionPolicy");
    for key in ["whenDeleted", "whenScaled"] {
        found.optional_one_of(&retention.get(key), &["Retain", "Delete"]);
    }
    found.naturals(&spec, &["replicas", "minReadySeconds"]);
    found.natural(&spec.get("ordinals").get("start"));
    found.natural(&spec.get("revisionHistoryLimit"));
    let template = spec.get("template");
    if selector(&spec, "empty selector is invalid for statefulset", found) {
        matching(&spec, found);
        let claims = spec.get("volumeClaimTemplates").list();
        pod::template(&template, pod::Owner { is_pod: false, claims }, found);
    } else {
        found.invalid(&spec.get("selector"), "");
    }
    for template in spec.get("volumeClaimTemplates").each() {
        claim::spec(&template.get("spec"), found);
    }
    long_running(&template, "StatefulSet", found);
}

fn stateful_strategy(strategy: &Place<'_, '_>, found: &mut Findings) {
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").text() {
        "" => found.required(strategy, ""),
        "OnDelete" if rolling.is_given() => {
            let value = shown::internal("apps/v1", "RollingUpdateStatefulSetStrategy", rolling.value());
            found.invalid_as(&rolling, value, "only allowed for updateStrategy 'RollingUpdate'");
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            found.natural(&rolling.get("partition"));
            let unavailable = rolling.get("maxUnavailable");
            values::count_or_percent(&unavailable, found);
            if unavailable.is_given() && values::is_zero(&unavailable) {
                found.invalid(&unavailable, "cannot be 0");
            }
            values::at_most_all(&unavailable, found);
        }
        _ => {
            let value = shown::internal("apps/v1", "StatefulSetUpdateStrategy", strategy.value());
            found.invalid_as(strategy, value, "must be 'RollingUpdate' or 'OnDelete'");
        }
    }
}

pub(super) fn stateful_set_update(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    let rest = |root: &Place<'_, '_>| -> Vec<(String, Tree)> {
        let all = crate::walk::members(root.value(), &["spec"]);
        let all = all.filter(|(key, _)| !STATEFUL_FREE.contains(&key.as_str()));
        let mut all: Vec<_> = all.map(|(key, value)| (key.clone(), value.clone())).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    };
    if rest(new) != rest(old) {
        found.forbidden(&new.get("spec"), STATEFUL);
    }
}

/// Selectors of workloads stay as they are.
pub(super) fn selector_update(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    let (new, old) = (new.get("spec"), old.get("spec"));
    if new.get("selector").value() != old.get("selector").value() {
        found.invalid(&new.get("selector"), IMMUTABLE);
    }
}

/// A selector that is there, not empty, and well formed. False if it cannot be used.
fn selector(spec: &Place<'_, '_>, empty: &str, found: &mut Findings) -> bool {
    let wanted = spec.get("selector");
    if !wanted.is_given() {
        found.required(&wanted, "");
        return true;
    }
    let is_good = values::selector(&wanted, found);
    if values::is_empty_selector(&wanted) {
        found.invalid(&wanted, empty);
    }
    is_good
}

/// The template has what the selector wants. Without a selector, nothing is wanted, and nothing matches.
pub(super) fn matching(spec: &Place<'_, '_>, found: &mut Findings) {
    let wanted = spec.get("selector");
    let template = spec.get("template");
    let meta = template.get("metadata");
    let labels = meta.get("labels");
    if !values::selects(&wanted, &labels) {
        found.invalid(&labels, MISMATCH);
    }
}

/// A template of pods that never end by themselves.
fn long_running(template: &Place<'_, '_>, kind: &str, found: &mut Findings) {
    let spec = template.get("spec");
    let policy = spec.get("restartPolicy");
    if policy.text() != "Always" {
        found.unsupported_as(&policy, policy.text(), &["Always"]);
    }
    if spec.has("activeDeadlineSeconds") {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        found.forbidden(&spec.get("activeDeadlineSeconds"), why);
    }
}

pub(super) fn revision(root: &Place<'_, '_>, found: &mut Findings) {
    if !root.has("data") {
        found.required(&root.get("data"), "data is mandatory");
    }
    found.natural(&root.get("revision"));
}
