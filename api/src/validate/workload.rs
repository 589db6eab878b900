//! The kinds that make pods, and the two that scale and spare them.

use super::{Findings, at, list, pod, text, values};
use crate::Tree;
use crate::selector::Labels;
use crate::view::LabelSelector;
use crate::walk::integer;

const SELECTOR: &[&str] = &["spec", "selector"];
const TEMPLATE: &[&str] = &["spec", "template"];
const MISMATCH: &str = "`selector` does not match template `labels`";

pub(super) fn deployment(tree: &Tree, found: &mut Findings) {
    naturals(tree, &["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"], found);
    selector(tree, "deployment", found);
    long_running(tree, "Deployment", found);
    let rolling = ["spec", "strategy", "rollingUpdate"];
    if text(tree, &["spec", "strategy", "type"]) == "Recreate" && at(tree, &rolling).is_some() {
        let why = "may not be specified when strategy `type` is 'Recreate'";
        found.forbidden("spec.strategy.rollingUpdate", why);
    } else if let Some(rolling) = at(tree, &rolling) {
        rolling_update("spec.strategy.rollingUpdate", rolling, found);
    }
    let ready = integer(tree, &["spec", "minReadySeconds"]).unwrap_or(0);
    if let Some(deadline) = integer(tree, &["spec", "progressDeadlineSeconds"]).filter(|deadline| *deadline <= ready) {
        found.invalid("spec.progressDeadlineSeconds", &deadline.into(), "must be greater than minReadySeconds");
    }
}

fn rolling_update(path: &str, rolling: &Tree, found: &mut Findings) {
    for key in ["maxUnavailable", "maxSurge"] {
        values::count_or_percent(&format!("{path}.{key}"), rolling.get(key), found);
    }
    let is_zero = |key: &str| match rolling.get(key) {
        Some(Tree::String(text)) => text.trim_end_matches('%').bytes().all(|digit| digit == b'0'),
        Some(other) => other.as_i64() == Some(0),
        None => true,
    };
    if is_zero("maxUnavailable") && is_zero("maxSurge") {
        let value = rolling.get("maxUnavailable").cloned().unwrap_or_else(|| 0.into());
        found.invalid(format!("{path}.maxUnavailable"), &value, "may not be 0 when `maxSurge` is 0");
    }
}

pub(super) fn replica_set(tree: &Tree, found: &mut Findings) {
    naturals(tree, &["replicas", "minReadySeconds"], found);
    selector(tree, "deployment", found);
    long_running(tree, "ReplicaSet", found);
}

pub(super) fn replication_controller(tree: &Tree, found: &mut Findings) {
    naturals(tree, &["replicas", "minReadySeconds"], found);
    let Some(selector) = at(tree, SELECTOR).and_then(Tree::as_object).filter(|all| !all.is_empty()) else {
        return found.required("spec.selector", "");
    };
    let wanted = selector.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()));
    template_matches(tree, &Labels::from_map(wanted), found);
    long_running(tree, "ReplicationController", found);
}

pub(super) fn daemon_set(tree: &Tree, found: &mut Findings) {
    naturals(tree, &["minReadySeconds", "revisionHistoryLimit"], found);
    selector(tree, "daemonset", found);
    long_running(tree, "DaemonSet", found);
    if let Some(rolling) = at(tree, &["spec", "updateStrategy", "rollingUpdate"]) {
        rolling_update("spec.updateStrategy.rollingUpdate", rolling, found);
    }
}

pub(super) fn stateful_set(tree: &Tree, found: &mut Findings) {
    naturals(tree, &["replicas", "minReadySeconds", "revisionHistoryLimit"], found);
    selector(tree, "statefulset", found);
    long_running(tree, "StatefulSet", found);
    if text(tree, &["spec", "updateStrategy", "type"]) == "OnDelete"
        && at(tree, &["spec", "updateStrategy", "rollingUpdate"]).is_some()
    {
        let value = at(tree, &["spec", "updateStrategy", "rollingUpdate"]).cloned().unwrap_or_default();
        let why = "only allowed for updateStrategy 'RollingUpdate'";
        found.invalid("spec.updateStrategy.rollingUpdate", &value, why);
    }
    found.natural(
        "spec.updateStrategy.rollingUpdate.partition",
        at(tree, &["spec", "updateStrategy", "rollingUpdate", "partition"]),
    );
}

pub(super) fn job(tree: &Tree, found: &mut Findings) {
    job_spec(tree, &["spec"], found);
    // A Job without a manual selector gets one from its uid, after this check.
    if let Some(wanted) = at(tree, SELECTOR) {
        values::selector("spec.selector", wanted, found);
        template_matches(tree, &labels_of(wanted), found);
    } else if at(tree, &["spec", "manualSelector"]).and_then(Tree::as_bool) == Some(true) {
        found.required("spec.selector", "");
    }
}

pub(super) fn cron_job(tree: &Tree, found: &mut Findings) {
    let schedule = text(tree, &["spec", "schedule"]);
    let words = schedule.split_whitespace().count();
    if schedule.is_empty() {
        found.required("spec.schedule", "");
    } else if schedule.contains("TZ") {
        let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        found.invalid("spec.schedule", &schedule.into(), why);
    } else if words != 5 && !schedule.starts_with('@') {
        let why = format!("expected exactly 5 fields, found {words}: [{schedule}]");
        found.invalid("spec.schedule", &schedule.into(), why);
    }
    naturals(tree, &["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"], found);
    job_spec(tree, &["spec", "jobTemplate", "spec"], found);
}

fn job_spec(tree: &Tree, path: &[&str], found: &mut Findings) {
    let shown = path.join(".");
    let Some(spec) = at(tree, path) else { return found.required(shown, "") };
    for key in ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"] {
        found.natural(format!("{shown}.{key}"), at(spec, &[key]));
    }
    if text(spec, &["completionMode"]) == "Indexed" && integer(spec, &["completions"]).is_none() {
        found.required(format!("{shown}.completions"), "when completion mode is Indexed");
    }
    pod::template(tree, &[path, &["template"]].concat(), found);
    let policy = text(spec, &["template", "spec", "restartPolicy"]);
    let field = format!("{shown}.template.spec.restartPolicy");
    if matches!(policy, "" | "Always") {
        if text(spec, &["template", "spec", "restartPolicy"]).is_empty() {
            found.required(field, "valid values: \"OnFailure\", \"Never\"");
        } else {
            found.unsupported(field, &policy.into(), &["OnFailure", "Never"]);
        }
    }
}

pub(super) fn autoscaler(tree: &Tree, found: &mut Findings) {
    let least = integer(tree, &["spec", "minReplicas"]).unwrap_or(1);
    let most = integer(tree, &["spec", "maxReplicas"]).unwrap_or(0);
    if least < 1 {
        found.invalid("spec.minReplicas", &least.into(), "must be greater than or equal to 1");
    }
    if most < 1 {
        found.invalid("spec.maxReplicas", &most.into(), "must be greater than 0");
    } else if most < least {
        found.invalid("spec.maxReplicas", &most.into(), "must be greater than or equal to `minReplicas`");
    }
    for key in ["kind", "name"] {
        if text(tree, &["spec", "scaleTargetRef", key]).is_empty() {
            found.required(format!("spec.scaleTargetRef.{key}"), "");
        }
    }
}

pub(super) fn disruption_budget(tree: &Tree, found: &mut Findings) {
    let (least, most) = (at(tree, &["spec", "minAvailable"]), at(tree, &["spec", "maxUnavailable"]));
    if least.is_some() && most.is_some() {
        let spec = tree.get("spec").cloned().unwrap_or_default();
        found.invalid("spec", &spec, "minAvailable and maxUnavailable cannot be both set");
    }
    values::count_or_percent("spec.minAvailable", least, found);
    values::count_or_percent("spec.maxUnavailable", most, found);
    if let Some(selector) = at(tree, SELECTOR) {
        values::selector("spec.selector", selector, found);
    }
}

fn naturals(tree: &Tree, keys: &[&str], found: &mut Findings) {
    for key in keys {
        found.natural(format!("spec.{key}"), at(tree, &["spec", key]));
    }
}

/// A selector that is there, not empty, well formed, and matches the template's labels.
fn selector(tree: &Tree, kind: &str, found: &mut Findings) {
    let Some(wanted) = at(tree, SELECTOR) else { return found.required("spec.selector", "") };
    values::selector("spec.selector", wanted, found);
    let labels = labels_of(wanted);
    if labels.is_empty() {
        let why = format!("empty selector is invalid for {kind}");
        found.invalid("spec.selector", wanted, why);
    } else {
        template_matches(tree, &labels, found);
    }
}

fn labels_of(selector: &Tree) -> Labels {
    let view: Option<LabelSelector> = crate::object::read_tree(selector).ok();
    view.map(|view| Labels::from_view(&view)).unwrap_or_default()
}

fn template_matches(tree: &Tree, wanted: &Labels, found: &mut Findings) {
    let have = at(tree, &["spec", "template", "metadata", "labels"]);
    if !wanted.matches(|key| have.and_then(|labels| labels.get(key)).and_then(Tree::as_str)) {
        let shown = have.cloned().unwrap_or_default();
        found.invalid("spec.template.metadata.labels", &shown, MISMATCH);
    }
}

/// A template of pods that never end by themselves.
fn long_running(tree: &Tree, kind: &str, found: &mut Findings) {
    pod::template(tree, TEMPLATE, found);
    let policy = text(tree, &["spec", "template", "spec", "restartPolicy"]);
    if !matches!(policy, "" | "Always") {
        found.unsupported("spec.template.spec.restartPolicy", &policy.into(), &["Always"]);
    }
    if at(tree, &["spec", "template", "spec", "activeDeadlineSeconds"]).is_some() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        found.forbidden("spec.template.spec.activeDeadlineSeconds", &why);
    }
    if !list(tree, &["spec", "template", "spec", "ephemeralContainers"]).is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        found.forbidden("spec.template.spec.ephemeralContainers", why);
    }
}
