//! Jobs, and CronJobs that make them.

mod cron;
mod policy;
mod status;

pub(super) use cron::cron_job;
pub(super) use status::job_status;

use super::findings::Findings;
use super::meta::IMMUTABLE;
use super::place::Place;
use super::{pod, shown, values, workload};
use crate::names;

/// Both generations of labels that Jobs put on their pods.
const UID_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];
const PARALLEL_MAX: i64 = 100_000;
const FAILED_INDEXES_MAX: i64 = 100_000;
/// From so many completions on, a Job that limits the failures of each index has narrower limits.
const MANY: i64 = 100_000;
const LIMIT_OF_MANY: i64 = 10_000;
/// Bytes of the name of a Job's controller.
const MANAGER_MAX: usize = 63;

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
    manager(&at.get("managedBy"), found);
    let mode = at.get("completionMode");
    found.optional_one_of(&mode, &["NonIndexed", "Indexed"]);
    if mode.text() == "Indexed" {
        indexed(at, found);
    }
    if matches!(mode.text(), "" | "NonIndexed") {
        for key in ["backoffLimitPerIndex", "maxFailedIndexes"].iter().filter(|key| at.has(key)) {
            found.invalid(&at.get(key), "requires indexed completion mode");
        }
    }
    if at.has("podFailurePolicy") {
        policy::failure(at, found);
    }
    if at.has("successPolicy") {
        policy::success(at, found);
    }
    let replacements: &[&str] =
        if at.has("podFailurePolicy") { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    found.optional_one_of(&at.get("podReplacementPolicy"), replacements);
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

/// The name of a controller: a domain, and a path there.
fn manager(at: &Place<'_, '_>, found: &mut Findings) {
    if !at.is_given() {
        return;
    }
    let name = at.text();
    match name.split_once('/') {
        _ if name.is_empty() => found.required(at, ""),
        Some((host, path)) if !host.is_empty() && !path.is_empty() => {
            for why in names::dns_subdomain(host) {
                found.invalid_as(at, host, why);
            }
            for why in names::http_path(path) {
                found.invalid_as(at, path, why);
            }
        }
        _ => found.invalid(at, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
    if name.len() > MANAGER_MAX {
        found.too_long(at, MANAGER_MAX);
    }
}

fn indexed(at: &Place<'_, '_>, found: &mut Findings) {
    let (completions, parallelism) = (at.get("completions"), at.get("parallelism"));
    let broken = at.get("maxFailedIndexes");
    if !completions.is_given() {
        found.required(&completions, "when completion mode is Indexed");
    }
    if parallelism.number() > PARALLEL_MAX {
        let why = format!("must be less than or equal to {PARALLEL_MAX} when completion mode is Indexed");
        found.invalid(&parallelism, why);
    }
    if completions.integer().is_some_and(|completions| broken.number() > completions) {
        found.invalid(&broken, "must be less than or equal to completions");
    }
    if broken.number() > FAILED_INDEXES_MAX {
        found.invalid(&broken, format!("must be less than or equal to {FAILED_INDEXES_MAX}"));
    }
    if completions.number() <= MANY || !at.has("backoffLimitPerIndex") {
        return;
    }
    if !broken.is_given() {
        found.required(&broken, &format!("must be specified when completions is above {MANY}"));
    }
    let why = format!(
        "must be less than or equal to {LIMIT_OF_MANY} when completions are above {MANY} and used with backoff limit per index"
    );
    for limited in [&parallelism, &broken].into_iter().filter(|limited| limited.number() > LIMIT_OF_MANY) {
        found.invalid(limited, &why);
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
        for path in [&["nodeSelector"][..], &["affinity", "nodeAffinity"], &["tolerations"], &["schedulingGates"]] {
            crate::object::edit::remove(&mut tree, &[&["spec"], path].concat());
        }
        if tree["spec"]["affinity"].as_object().is_some_and(serde_json::Map::is_empty) {
            crate::object::edit::remove(&mut tree, &["spec", "affinity"]);
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
