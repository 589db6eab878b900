//! Defaults of the kinds that make pods.

use super::template;
use crate::Tree;
use crate::walk::{Members, child, each, fill, find, has, make, put, word};
use serde_json::json;

pub(super) fn deployment(object: &mut Members) {
    let Some(spec) = make(object, "spec") else { return };
    put(spec, "replicas", 1);
    template(spec);
    if let Some(strategy) = make(spec, "strategy") {
        fill(strategy, "type", "RollingUpdate");
        if word(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = make(strategy, "rollingUpdate")
        {
            put(rolling, "maxUnavailable", "25%");
            put(rolling, "maxSurge", "25%");
        }
    }
    put(spec, "revisionHistoryLimit", 10);
    put(spec, "progressDeadlineSeconds", 600);
}

pub(super) fn replica_set(object: &mut Members) {
    let Some(spec) = make(object, "spec") else { return };
    put(spec, "replicas", 1);
    template(spec);
}

pub(super) fn replication_controller(object: &mut Members) {
    let labels = find(object, &["spec", "template", "metadata", "labels"]).map(|labels| Tree::Object(labels.clone()));
    if let Some(labels) = labels {
        if let Some(spec) = child(object, "spec") {
            put(spec, "selector", labels.clone());
        }
        if let Some(metadata) = child(object, "metadata") {
            put(metadata, "labels", labels);
        }
    }
    let Some(spec) = child(object, "spec") else { return };
    put(spec, "replicas", 1);
    if has(spec, "template") {
        template(spec);
    }
}

pub(super) fn daemon_set(object: &mut Members) {
    // How many templates there were: counted by the server, and shown in an annotation since there was a field for it.
    let annotations = make(object, "metadata").and_then(|metadata| make(metadata, "annotations"));
    if let Some(annotations) = annotations {
        put(annotations, "deprecated.daemonset.template.generation", "0");
    }
    let Some(spec) = make(object, "spec") else { return };
    template(spec);
    if let Some(strategy) = make(spec, "updateStrategy") {
        fill(strategy, "type", "RollingUpdate");
        if word(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = make(strategy, "rollingUpdate")
        {
            put(rolling, "maxUnavailable", 1);
            put(rolling, "maxSurge", 0);
        }
    }
    put(spec, "revisionHistoryLimit", 10);
}

pub(super) fn stateful_set(object: &mut Members) {
    let Some(spec) = make(object, "spec") else { return };
    fill(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = make(spec, "updateStrategy") {
        let is_given = !word(strategy, "type").is_empty();
        fill(strategy, "type", "RollingUpdate");
        if word(strategy, "type") == "RollingUpdate" {
            let rolling = if is_given { child(strategy, "rollingUpdate") } else { make(strategy, "rollingUpdate") };
            if let Some(rolling) = rolling {
                put(rolling, "partition", 0);
            }
        }
    }
    if let Some(policy) = make(spec, "persistentVolumeClaimRetentionPolicy") {
        fill(policy, "whenDeleted", "Retain");
        fill(policy, "whenScaled", "Retain");
    }
    put(spec, "replicas", 1);
    put(spec, "revisionHistoryLimit", 10);
    template(spec);
    for claim in each(spec, "volumeClaimTemplates") {
        claim.insert("kind".to_owned(), "PersistentVolumeClaim".into());
        claim.insert("apiVersion".to_owned(), "v1".into());
        super::cluster::claim(claim);
    }
}

pub(super) fn job(object: &mut Members) {
    labels_of_template(object);
    let Some(spec) = make(object, "spec") else { return };
    if !has(spec, "completions") && !has(spec, "parallelism") {
        put(spec, "completions", 1);
    }
    put(spec, "parallelism", 1);
    let retries = if has(spec, "backoffLimitPerIndex") { i32::MAX } else { 6 };
    put(spec, "backoffLimit", retries);
    put(spec, "completionMode", "NonIndexed");
    put(spec, "suspend", false);
    put(spec, "manualSelector", false);
    let replacement = if has(spec, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    put(spec, "podReplacementPolicy", replacement);
    failure_policy(spec);
    template(spec);
}

fn failure_policy(spec: &mut Members) {
    let Some(policy) = child(spec, "podFailurePolicy") else { return };
    for rule in each(policy, "rules") {
        for condition in each(rule, "onPodConditions") {
            fill(condition, "status", "True");
        }
    }
}

/// A Job without labels has those of its pods.
fn labels_of_template(object: &mut Members) {
    let labels = find(object, &["spec", "template", "metadata", "labels"]).map(|labels| Tree::Object(labels.clone()));
    if let (Some(labels), Some(metadata)) = (labels, child(object, "metadata")) {
        put(metadata, "labels", labels);
    }
}

pub(super) fn select_job(object: &mut Members) {
    let metadata = child(object, "metadata").map(|metadata| (word(metadata, "uid"), word(metadata, "name")));
    let (uid, name) = metadata.unwrap_or_default();
    let (uid, name) = (uid.to_owned(), name.to_owned());
    let Some(spec) = child(object, "spec") else { return };
    if uid.is_empty() || spec.get("manualSelector").and_then(Tree::as_bool).unwrap_or(false) {
        return;
    }
    let labels = make(spec, "template").and_then(|one| make(one, "metadata")).and_then(|one| make(one, "labels"));
    if let Some(labels) = labels {
        for (key, value) in [
            ("batch.kubernetes.io/controller-uid", &uid),
            ("batch.kubernetes.io/job-name", &name),
            ("controller-uid", &uid),
            ("job-name", &name),
        ] {
            put(labels, key, value.as_str());
        }
    }
    let selector = make(spec, "selector").and_then(|one| make(one, "matchLabels"));
    if let Some(selector) = selector {
        put(selector, "batch.kubernetes.io/controller-uid", uid);
    }
    labels_of_template(object);
}

pub(super) fn cron_job(object: &mut Members) {
    let Some(spec) = child(object, "spec") else { return };
    fill(spec, "concurrencyPolicy", "Allow");
    put(spec, "suspend", false);
    put(spec, "successfulJobsHistoryLimit", 3);
    put(spec, "failedJobsHistoryLimit", 1);
    if let Some(job) = make(spec, "jobTemplate").and_then(|job| make(job, "spec")) {
        failure_policy(job);
        template(job);
    }
}

pub(super) fn autoscaler(object: &mut Members, version: &str) {
    let Some(spec) = child(object, "spec") else { return };
    put(spec, "minReplicas", 1);
    if version == "v1" {
        // Other metrics are in an annotation; with none at all, the processor counts.
        if find(object, &["metadata", "annotations"])
            .is_none_or(|all| !has(all, "autoscaling.alpha.kubernetes.io/metrics"))
            && let Some(spec) = child(object, "spec")
        {
            put(spec, "targetCPUUtilizationPercentage", 80);
        }
        return;
    }
    if !has(spec, "metrics") {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        let metric = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
        spec.insert("metrics".to_owned(), metric);
    }
    let Some(behavior) = child(spec, "behavior") else { return };
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    if let Some(up) = make(behavior, "scaleUp") {
        put(up, "stabilizationWindowSeconds", 0);
        put(up, "selectPolicy", "Max");
        put(up, "policies", json!([pods, percent]));
    }
    if let Some(down) = make(behavior, "scaleDown") {
        put(down, "selectPolicy", "Max");
        put(down, "policies", json!([percent]));
    }
}
