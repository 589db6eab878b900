//! What a Job's pods carry: the finalizer by which they are counted, and their index.

use crate::controllers::claim::Maker;
use api::Tree;
use api::object::edit;
use api::view::{Job, Pod};
use serde_json::json;

/// Keeps a pod until it is counted.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// The annotation and label that hold a pod's index.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How often the pods of this index failed before, with and without counting.
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
const ENVIRONMENT: &str = "JOB_COMPLETION_INDEX";
/// Room that a generated name leaves for what is appended to it.
const PREFIX_MAX: usize = 58;

/// A pod that is to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct New {
    pub(super) index: Option<i32>,
    /// Of a Job that limits the failures of each index: how many there were, and how many that do not count.
    pub(super) failures: Option<(i32, i32)>,
}

pub(super) fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().any(|one| one == FINALIZER)
}

pub(super) fn index(pod: &Pod) -> Option<i32> {
    pod.metadata.annotations.get(INDEX)?.parse().ok().filter(|index| *index >= 0)
}

/// The index of a pod, if the Job has it still.
pub(super) fn valid_index(job: &Job, pod: &Pod) -> Option<i32> {
    index(pod).filter(|index| *index < job.spec.completions.unwrap_or(0))
}

pub(super) fn failures(pod: &Pod) -> i32 {
    count(pod, FAILURES)
}

pub(super) fn ignored(pod: &Pod) -> i32 {
    count(pod, IGNORED)
}

fn count(pod: &Pod, annotation: &str) -> i32 {
    let count = pod.metadata.annotations.get(annotation).and_then(|text| text.parse().ok());
    count.filter(|count| *count >= 0).unwrap_or(0)
}

/// The pod itself.
pub(super) fn pod(maker: &Maker, job: &Job, new: &New) -> Tree {
    let mut pod = maker.pod(&job.spec.template, &job.metadata);
    if !edit::list(&pod, &["metadata", "finalizers"]).iter().any(|one| one == FINALIZER) {
        edit::push(&mut pod, &["metadata", "finalizers"], FINALIZER);
    }
    let Some(index) = new.index else { return pod };
    let name = &job.metadata.name;
    let ending = format!("-{index}-");
    let start = name.get(..PREFIX_MAX - ending.len()).unwrap_or(name);
    edit::set(&mut pod, &["metadata", "generateName"], format!("{start}{ending}"));
    edit::set(&mut pod, &["metadata", "annotations", INDEX], index.to_string());
    edit::set(&mut pod, &["metadata", "labels", INDEX], index.to_string());
    edit::set(&mut pod, &["spec", "hostname"], format!("{name}-{index}"));
    if let Some((failures, ignored)) = new.failures {
        edit::set(&mut pod, &["metadata", "annotations", FAILURES], failures.to_string());
        if ignored > 0 {
            edit::set(&mut pod, &["metadata", "annotations", IGNORED], ignored.to_string());
        }
    }
    for containers in ["containers", "initContainers"] {
        for container in edit::list_mut(&mut pod, &["spec", containers]) {
            if !edit::list(container, &["env"]).iter().any(|one| edit::text(one, &["name"]) == ENVIRONMENT) {
                let path = format!("metadata.labels['{INDEX}']");
                let variable = json!({ "name": ENVIRONMENT, "valueFrom": { "fieldRef": { "fieldPath": path } } });
                edit::push(container, &["env"], variable);
            }
        }
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_of_an_index_knows_it() {
        let mut job = Job::default();
        job.metadata.name = "j".repeat(60);
        job.spec.template = json!({"metadata": {"labels": {"a": "b"}},
            "spec": {"initContainers": [{"name": "i", "env": [{"name": ENVIRONMENT, "value": "own"}]}], "containers": [{"name": "c"}]}});
        let new = New { index: Some(7), failures: Some((2, 1)) };
        let made = pod(&super::super::MAKER, &job, &new);
        assert_eq!(made["metadata"]["generateName"], format!("{}-7-", "j".repeat(55)));
        assert_eq!(made["metadata"]["labels"], json!({"a": "b", INDEX: "7"}));
        assert_eq!(made["metadata"]["annotations"], json!({INDEX: "7", FAILURES: "2", IGNORED: "1"}));
        assert_eq!(made["metadata"]["finalizers"], json!([FINALIZER]));
        assert_eq!(made["spec"]["hostname"], format!("{}-7", "j".repeat(60)));
        assert_eq!(made["spec"]["initContainers"][0]["env"], json!([{"name": ENVIRONMENT, "value": "own"}]));
        let path = "metadata.labels['batch.kubernetes.io/job-completion-index']";
        assert_eq!(made["spec"]["containers"][0]["env"][0]["valueFrom"]["fieldRef"]["fieldPath"], path);
        let plain = pod(&super::super::MAKER, &job, &New::default());
        assert_eq!(plain["metadata"]["generateName"], format!("{}-", "j".repeat(60)));
        assert_eq!(plain["spec"]["hostname"], Tree::Null);
    }
}
