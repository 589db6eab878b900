//! Jobs, and CronJobs that make them.

use super::findings::Findings;
use super::meta::IMMUTABLE;
use super::place::Place;
use super::{pod, schedule, shown, values, workload};
use crate::names;

/// Both generations of labels that Jobs put on their pods.
const UID_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];
const PARALLEL_MAX: i64 = 100_000;

pub(super) fn job(root: &Place<'_, '_>, found: &mut Findings) {
    generated_selector(root, found);
    whole_spec(&root.get("spec"), found);
    hostnames(root, found);
}

/// What a Job's spec must be by itself, with the selector that its pods are found by.
pub(super) fn whole_spec(at: &Place<'_, '_>, found: &mut Findings) {
    spec(at, found);
    let wanted = at.get("selector");
    // A Job without a selector gets one from its uid when it is stored.
    if wanted.is_given() {
        if values::selector(&wanted, found) {
            workload::matching(at, found);
        }
    } else if at.get("manualSelector").is_true() {
        found.required(&wanted, "");
        workload::matching(at, found);
    }
}

/// A selector that the client did not ask to choose itself selects the pods of this Job by its uid, and nothing more.
fn generated_selector(root: &Place<'_, '_>, found: &mut Findings) {
    let spec = root.get("spec");
    let (wanted, uid) = (spec.get("selector"), root.get("metadata").get("uid").text());
    if spec.get("manualSelector").is_true() || !wanted.is_given() {
        return;
    }
    let name = root.get("metadata").get("name").text();
    let own = |key: &str| match key {
        _ if UID_LABELS.contains(&key) => Some(uid),
        "batch.kubernetes.io/job-name" | "job-name" => Some(name),
        _ => None,
    };
    let has_own = |(key, value): (&str, Place<'_, '_>)| own(key) == Some(value.text());
    if !wanted.get("matchLabels").entries().all(has_own) || !wanted.get("matchExpressions").is_empty() {
        found.invalid(&wanted, "`selector` not auto-generated");
    }
}

/// The pods of an indexed Job are called after it, and their names are host names.
fn hostnames(root: &Place<'_, '_>, found: &mut Findings) {
    let spec = root.get("spec");
    let count = spec.get("completions").number();
    if spec.get("completionMode").text() != "Indexed" || count < 1 {
        return;
    }
    let meta = root.get("metadata");
    let name = meta.get("name");
    let longest = format!("{}-{}", name.text(), count - 1);
    if !names::dns_label(&longest).is_empty() {
        found.invalid(&name, format!("will not able to create pod with invalid DNS label: {longest}"));
    }
}

/// A `JobSpec`, of a Job or of what a CronJob makes.
fn spec(at: &Place<'_, '_>, found: &mut Findings) {
    let naturals = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    found.naturals(at, &naturals);
    if at.has("maxFailedIndexes") && !at.has("backoffLimitPerIndex") {
        found.required(&at.get("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    let mode = at.get("completionMode");
    found.optional_one_of(&mode, &["NonIndexed", "Indexed"]);
    if mode.text() == "Indexed" {
        if !at.has("completions") {
            found.required(&at.get("completions"), "when completion mode is Indexed");
        }
        if at.get("parallelism").number() > PARALLEL_MAX {
            let why = format!("must be less than or equal to {PARALLEL_MAX} when completion mode is Indexed");
            found.invalid(&at.get("parallelism"), why);
        }
    } else {
        for key in ["backoffLimitPerIndex", "maxFailedIndexes"].iter().filter(|key| at.has(key)) {
            found.invalid(&at.get(key), "requires indexed completion mode");
        }
    }
    found.optional_one_of(&at.get("podReplacementPolicy"), &["Failed", "TerminatingOrFailed"]);
    let template = at.get("template");
    pod::template(&template, pod::Owner::TEMPLATE, found);
    let below = template.get("spec");
    let policy = below.get("restartPolicy");
    match policy.text() {
        // Upstream's defaults do not tell whether `Always` was asked for.
        "" | "Always" => found.required(&policy, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if at.has("podFailurePolicy") => {
            found.invalid(&policy, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        _ => found.unsupported(&policy, &["OnFailure", "Never"]),
    }
}

pub(super) fn job_update(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    let (is_suspended, is_started) = (old.get("spec").get("suspend").is_true(), old.get("status").has("startTime"));
    let (new, old) = (new.get("spec"), old.get("spec"));
    completions(&new, &old, found);
    for key in ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        if key == "completionMode" {
            template(&new, &old, is_suspended && !is_started, found);
        }
        if new.get(key).value() != old.get(key).value() {
            found.invalid(&new.get(key), IMMUTABLE);
        }
    }
}

fn template(new: &Place<'_, '_>, old: &Place<'_, '_>, may_move: bool, found: &mut Findings) {
    let (at, before) = (new.get("template"), old.get("template"));
    if at.value() == before.value() {
        return;
    }
    let rest = |template: &Place<'_, '_>| {
        let mut tree = template.value().clone();
        // Before its start, a Job's pods may be sent elsewhere.
        for path in [&["metadata", "labels"][..], &["metadata", "annotations"]] {
            crate::object::edit::remove(&mut tree, path);
        }
        for key in ["nodeSelector", "affinity", "tolerations", "schedulingGates"] {
            crate::object::edit::remove(&mut tree, &["spec", key]);
        }
        tree
    };
    if !may_move || rest(&at) != rest(&before) {
        found.invalid_as(&at, shown::internal("core/v1", "PodTemplateSpec", at.value()), IMMUTABLE);
    }
}

fn completions(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    let (at, before) = (new.get("completions"), old.get("completions"));
    if at.value() == before.value() {
        return;
    }
    // An indexed Job may grow or shrink if its parallelism does likewise.
    if new.get("completionMode").text() != "Indexed" {
        found.invalid(&at, IMMUTABLE);
    } else if at.integer() != new.get("parallelism").integer() {
        found.invalid(&at, "can only be modified in tandem with spec.parallelism");
    }
}

pub(super) fn cron_job(root: &Place<'_, '_>, found: &mut Findings) {
    let at = root.get("spec");
    let when = at.get("schedule");
    if when.is_empty() {
        found.required(&when, "");
    } else if when.text().contains("TZ") {
        found.invalid(&when, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    } else if let Err(why) = schedule::check(when.text()) {
        found.invalid(&when, why);
    }
    found.natural(&at.get("startingDeadlineSeconds"));
    found.one_of(&at.get("concurrencyPolicy"), &["Allow", "Forbid", "Replace"]);
    let template = at.get("jobTemplate");
    let below = template.get("spec");
    spec(&below, found);
    if below.has("selector") {
        found.invalid(&below.get("selector"), "`selector` will be auto-generated");
    }
    if below.get("manualSelector").is_true() {
        found.unsupported(&below.get("manualSelector"), &["nil", "false"]);
    }
    found.naturals(&at, &["successfulJobsHistoryLimit", "failedJobsHistoryLimit"]);
}
