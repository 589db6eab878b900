//! What a Job's policies say: what becomes of a pod's failure, and which successes are enough.

use api::indexes::Indexes;
use api::view::{ContainerStatus, Job, OnExitCodes, Pod, PodFailureRule};
use client::Key;

/// What a failure means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It counts towards the limits, as without a policy.
    Counts,
    Ignored,
    /// Its index has failed.
    EndsIndex,
    /// The Job has failed, and why.
    EndsJob(String),
}

// === impl Failure ===

impl Failure {
    pub(super) fn counts(&self) -> bool {
        *self != Failure::Ignored
    }
}

/// What the failure of a pod means, by the first rule that matches.
pub(super) fn failure(job: &Job, key: &Key, pod: &Pod) -> Failure {
    let rules = job.spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules);
    for (at, rule) in rules.enumerate() {
        let Some(what) = matched(rule, key, pod) else { continue };
        match &*rule.action {
            "Ignore" => return Failure::Ignored,
            "FailIndex" => return Failure::EndsIndex,
            "FailJob" => {
                return Failure::EndsJob(format!("{what} matching FailJob rule at index {at}"));
            }
            "Count" => return Failure::Counts,
            // Of a later version of the API.
            _ => {}
        }
    }
    Failure::Counts
}

/// Why a rule matches, in words; `None` if it does not.
fn matched(rule: &PodFailureRule, key: &Key, pod: &Pod) -> Option<String> {
    if let Some(wanted) = &rule.on_exit_codes {
        let status = &pod.status;
        let mut all = status.container_statuses.iter().chain(&status.init_container_statuses);
        let (name, code) = all.find_map(|status| exited(wanted, status))?;
        return Some(format!("Container {name} for pod {key} failed with exit code {code}"));
    }
    let has = |kind: &str, status: &str| pod.status.condition(kind).is_some_and(|one| one.status == status);
    let pattern = rule.on_pod_conditions.iter().find(|pattern| has(&pattern.kind, &pattern.status))?;
    Some(format!("Pod {key} has condition {}", pattern.kind))
}

fn exited<'a>(wanted: &OnExitCodes, status: &'a ContainerStatus) -> Option<(&'a str, i32)> {
    let code = status.state.terminated.as_ref()?.exit_code;
    let is_named = wanted.container_name.as_ref().is_none_or(|name| *name == status.name);
    let is_in = wanted.values.contains(&code);
    let fits = match &*wanted.operator {
        "In" => is_in,
        "NotIn" => !is_in,
        _ => false,
    };
    (code != 0 && is_named && fits).then_some((&*status.name, code))
}

/// Which rule of the success policy these indexes fulfil, in words.
pub(super) fn success(job: &Job, done: &Indexes) -> Option<String> {
    let rules = &job.spec.success_policy.as_ref()?.rules;
    let completions = job.spec.completions.unwrap_or(0);
    let fulfilled = |indexes: Option<&str>, count: Option<i32>| {
        let Some(wanted) = indexes.map(|text| Indexes::read(text, completions)) else {
            return count.is_some_and(|count| done.len() >= count);
        };
        let (_, common) = wanted.common(done);
        !wanted.is_empty() && (common == wanted.len() || count.is_some_and(|count| common >= count))
    };
    let at = rules.iter().position(|rule| fulfilled(rule.succeeded_indexes.as_deref(), rule.succeeded_count));
    at.filter(|_| !done.is_empty()).map(|at| format!("Matched rules at index {at}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let job: Job = serde_json::from_value(json!({"spec": {"podFailurePolicy": {"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [7, 42]}},
            {"action": "FailIndex", "onExitCodes": {"operator": "NotIn", "values": [1, 2]}},
            {"action": "Count", "onExitCodes": {"operator": "In", "values": [1]}},
        ]}}}))
        .expect("a Job");
        let of = |name: &str, code: i32, disrupted: &str| {
            let pod = json!({"status": {"conditions": [{"type": "DisruptionTarget", "status": disrupted}],
                "containerStatuses": [{"name": "beside", "state": {"terminated": {"exitCode": 0}}}, {"name": "late"}],
                "initContainerStatuses": [{"name": name, "state": {"terminated": {"exitCode": code}}}]}});
            failure(&job, &Key::new("a", "p"), &serde_json::from_value(pod).expect("a pod"))
        };
        assert_eq!(of("main", 42, "True"), Failure::Ignored);
        let why = "Container main for pod a/p failed with exit code 42 matching FailJob rule at index 1";
        assert_eq!(of("main", 42, "False"), Failure::EndsJob(why.to_owned()));
        assert_eq!(of("other", 42, "False"), Failure::EndsIndex);
        assert_eq!(of("main", 1, "False"), Failure::Counts);
        assert_eq!(of("main", 2, "False"), Failure::Counts);
        assert_eq!(of("main", 0, "False"), Failure::Counts, "0 is no failure of a container");
    }

    #[test]
    fn some_indexes_may_be_enough() {
        let check = |rule: serde_json::Value, done: &str, expect: bool| {
            let job = json!({"spec": {"completions": 10, "successPolicy": {"rules": [{"succeededCount": 9}, rule]}}});
            let job: Job = serde_json::from_value(job).expect("a Job");
            let met = success(&job, &Indexes::read(done, 10));
            assert_eq!(met, expect.then(|| "Matched rules at index 1".to_owned()), "{rule} {done}");
        };
        check(json!({"succeededIndexes": "0,2-4"}), "0,2-4,7", true);
        check(json!({"succeededIndexes": "0,2-4"}), "0,2-3", false);
        check(json!({"succeededIndexes": "0,2-4", "succeededCount": 2}), "0,3", true);
        check(json!({"succeededIndexes": "0,2-4", "succeededCount": 2}), "0,5-9", false);
        check(json!({"succeededCount": 3}), "1,5,9", true);
        check(json!({"succeededCount": 0}), "", false);
    }
}
