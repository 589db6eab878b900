//! What a Job's status may not say: what it has ended with, and what it counts, does not change back, and fits.

use crate::Tree;
use crate::indexes::Indexes;
use crate::time;
use crate::validate::findings::Findings;
use crate::validate::place::Place;
use std::collections::HashSet;

/// Before and after one write: rules look at what that write changed, so that old objects can still be written.
struct Change<'a> {
    new: &'a Tree,
    old: &'a Tree,
}

// === impl Change ===

impl Change<'_> {
    fn is_new(&self, key: &str) -> bool {
        self.new.get(key).filter(|value| !value.is_null()) != self.old.get(key).filter(|value| !value.is_null())
    }

    fn begins_or_ends(&self, kind: &str) -> bool {
        holds(self.new, kind) != holds(self.old, kind)
    }

    fn finishes(&self) -> bool {
        is_finished(self.new) != is_finished(self.old)
    }
}

/// `kind` holds in the conditions of a status.
fn holds(status: &Tree, kind: &str) -> bool {
    let all = status.get("conditions").and_then(Tree::as_array);
    all.is_some_and(|all| all.iter().any(|one| one["type"] == kind && one["status"] == "True"))
}

fn is_finished(status: &Tree) -> bool {
    holds(status, "Complete") || holds(status, "Failed")
}

/// A Job with a new status in the place of the old one.
pub(in crate::validate) fn job_status(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    let (at, before, spec) = (new.get("status"), old.get("status"), new.get("spec"));
    let change = Change { new: at.value(), old: before.value() };
    found.naturals(&at, &["active", "succeeded", "failed", "ready", "terminating"]);
    uncounted(&at.get("uncountedTerminatedPods"), found);
    ends(&at, &change, found);
    times(&at, &before, &spec, &change, found);
    pods(&at, &change, found);
    indexes(&at, &spec, &change, found);
    contradictions(&at, found);
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if holds(change.old, kind) && !holds(change.new, kind) {
            found.wrong(&at.get("conditions"), &format!("cannot disable the terminal {kind}=True condition"));
        }
    }
    // An indexed Job that shrinks forgets what succeeded beyond.
    let may_shrink = spec.get("completionMode").text() == "Indexed"
        && spec.get("completions").integer() == spec.get("parallelism").integer();
    for (key, is_fixed) in [("failed", true), ("succeeded", !may_shrink)] {
        let (count, known) = (at.get(key), before.get(key).number());
        if is_fixed && count.number() < known {
            found.invalid_as(&count, count.number(), format!("cannot decrease the {key} counter"));
        }
    }
    if holds(change.old, "SuccessCriteriaMet") && !holds(change.new, "SuccessCriteriaMet") {
        found.wrong(&at.get("conditions"), "cannot disable the SuccessCriteriaMet=True condition");
    }
}

fn uncounted(at: &Place<'_, '_>, found: &mut Findings) {
    let mut seen = HashSet::new();
    for key in ["succeeded", "failed"] {
        for uid in at.get(key).each() {
            if uid.text().is_empty() {
                found.invalid(&uid, "must not be empty");
            } else if !seen.insert(uid.text()) {
                found.duplicate(&uid);
            }
        }
    }
}

fn ends(at: &Place<'_, '_>, change: &Change<'_>, found: &mut Findings) {
    let conditions = at.get("conditions");
    let (is_complete, has_failed) = (holds(change.new, "Complete"), holds(change.new, "Failed"));
    let has_target = holds(change.new, "FailureTarget");
    let (completes, fails) = (change.begins_or_ends("Complete"), change.begins_or_ends("Failed"));
    if (completes || fails) && is_complete && has_failed {
        found.wrong(&conditions, "cannot set Complete=True and Failed=true conditions");
    }
    if (completes || change.begins_or_ends("FailureTarget")) && is_complete && has_target {
        found.wrong(&conditions, "cannot set Complete=True and FailureTarget=true conditions");
    }
    if fails && has_failed && !has_target {
        found.wrong(&conditions, "cannot set Failed=True condition without the FailureTarget=true condition");
    }
    if completes && is_complete && !holds(change.new, "SuccessCriteriaMet") {
        found.wrong(&conditions, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
    }
}

fn times(at: &Place<'_, '_>, before: &Place<'_, '_>, spec: &Place<'_, '_>, change: &Change<'_>, found: &mut Findings) {
    let (start, end) = (at.get("startTime"), at.get("completionTime"));
    let is_complete = holds(change.new, "Complete");
    if change.begins_or_ends("Complete") || change.is_new("completionTime") {
        if end.is_given() && !is_complete {
            found.invalid(&end, "cannot set completionTime when there is no Complete=True condition");
        } else if !end.is_given() && is_complete {
            found.required(&end, "completionTime is required for Complete jobs");
        }
    }
    let order = time::parse(end.text()).zip(time::parse(start.text()));
    if (change.is_new("startTime") || change.is_new("completionTime")) && order.is_some_and(|(end, start)| end < start)
    {
        found.invalid(&end, "completionTime cannot be set before startTime");
    }
    if (change.finishes() || change.is_new("startTime")) && is_finished(change.new) && !start.is_given() {
        found.required(&start, "startTime is required for finished job");
    }
    let known = before.get("completionTime");
    if end.is_given() && known.is_given() && end.value() != known.value() {
        found.invalid(&end, "completionTime cannot be mutated");
    }
    // A Job that is resumed starts anew.
    let may_start = spec.get("suspend").is_true() || holds(change.old, "Suspended");
    if before.get("startTime").is_given() && change.is_new("startTime") && !may_start {
        found.required(&start, "startTime cannot be removed for unsuspended job");
    }
}

fn pods(at: &Place<'_, '_>, change: &Change<'_>, found: &mut Findings) {
    let is_finished = is_finished(change.new);
    for key in ["active", "terminating"] {
        let count = at.get(key);
        if (change.finishes() || change.is_new(key)) && is_finished && count.number() > 0 {
            found.invalid(&count, format!("{key}>0 is invalid for finished job"));
        }
    }
    let noted = at.get("uncountedTerminatedPods");
    let is_empty = noted.get("succeeded").is_empty() && noted.get("failed").is_empty();
    if (change.finishes() || change.is_new("uncountedTerminatedPods")) && is_finished && !is_empty {
        found.invalid(&noted, "uncountedTerminatedPods needs to be empty for finished job");
    }
    let ready = at.get("ready");
    if (change.is_new("ready") || change.is_new("active")) && ready.number() > at.get("active").number() {
        found.invalid(&ready, "cannot set more ready pods than active");
    }
}

fn indexes(at: &Place<'_, '_>, spec: &Place<'_, '_>, change: &Change<'_>, found: &mut Findings) {
    let (done, failed) = (at.get("completedIndexes"), at.get("failedIndexes"));
    let (is_done_new, is_failed_new) = (change.is_new("completedIndexes"), change.is_new("failedIndexes"));
    if let Some(completions) = spec.get("completions").integer() {
        let completions = i32::try_from(completions).unwrap_or(i32::MAX);
        for (place, key, is_new) in
            [(&done, "completedIndexes", is_done_new), (&failed, "failedIndexes", is_failed_new)]
        {
            if let Err(why) = Indexes::parse(place.text(), completions)
                && is_new
            {
                found.invalid(place, format!("error parsing {key}: {why}"));
            }
        }
        let (one, two) = (Indexes::read(done.text(), completions), Indexes::read(failed.text(), completions));
        if let (Some(index), _) = one.common(&two)
            && (is_done_new || is_failed_new)
        {
            found.invalid(&failed, format!("failedIndexes and completedIndexes overlap at index: {index}"));
        }
    }
    if is_done_new && !done.is_empty() && spec.get("completionMode").text() != "Indexed" {
        found.invalid(&done, "cannot set non-empty completedIndexes when non-indexed completion mode");
    }
    if is_failed_new && failed.is_given() && !spec.has("backoffLimitPerIndex") {
        found.invalid(&failed, "cannot set non-null failedIndexes when backoffLimitPerIndex is null");
    }
}

fn contradictions(at: &Place<'_, '_>, found: &mut Findings) {
    let conditions = at.get("conditions");
    if !holds(at.value(), "SuccessCriteriaMet") {
        return;
    }
    if holds(at.value(), "Failed") {
        found.wrong(&conditions, "cannot set SuccessCriteriaMet=True and Failed=true conditions");
    }
    if holds(at.value(), "FailureTarget") {
        found.wrong(&conditions, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(old: &Tree, new: &Tree, expect: &[&str]) {
        let spec = json!({"completions": 5, "parallelism": 2, "completionMode": "Indexed"});
        let (old, new) = (json!({"spec": spec, "status": old}), json!({"spec": spec, "status": new}));
        let mut found = Findings::default();
        job_status(&Place::root(&new), &Place::root(&old), &mut found);
        let told: Vec<String> =
            found.causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        assert_eq!(told, expect, "{new}");
    }

    fn ended(kinds: &[&str]) -> Tree {
        kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect()
    }

    #[test]
    fn a_status_goes_forward() {
        let start = "2026-01-01T00:00:00Z";
        let end = "2026-01-01T00:01:00Z";
        let none = json!({});
        let running =
            json!({"startTime": start, "active": 2, "ready": 1, "succeeded": 1, "failed": 1, "completedIndexes": "0"});
        check(&none, &running, &[]);
        let complete = json!({"startTime": start, "completionTime": end, "succeeded": 5, "failed": 1,
            "completedIndexes": "0-4", "conditions": ended(&["SuccessCriteriaMet", "Complete"])});
        check(&running, &complete, &[]);
        check(&complete, &complete, &[]);
        check(
            &complete,
            &json!({"startTime": start, "succeeded": 5, "failed": 1, "completedIndexes": "0-4"}),
            &[
                "status.conditions: Invalid value: cannot disable the terminal Complete=True condition",
                "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
            ],
        );
        check(
            &running,
            &json!({"startTime": end, "failed": 0, "succeeded": 0}),
            &[
                "status.startTime: Required value: startTime cannot be removed for unsuspended job",
                "status.failed: Invalid value: 0: cannot decrease the failed counter",
                "status.succeeded: Invalid value: 0: cannot decrease the succeeded counter",
            ],
        );
        let suspended = json!({"startTime": start, "conditions": ended(&["Suspended"])});
        check(&suspended, &json!({"startTime": end}), &[]);
    }

    #[test]
    fn an_end_has_to_fit() {
        let failed = json!({"active": 1, "terminating": 1, "conditions": ended(&["Failed"]),
            "uncountedTerminatedPods": {"failed": ["a", "a", ""]}});
        check(
            &json!({}),
            &failed,
            &[
                "status.uncountedTerminatedPods.failed[1]: Duplicate value: \"a\"",
                "status.uncountedTerminatedPods.failed[2]: Invalid value: \"\": must not be empty",
                "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
                "status.startTime: Required value: startTime is required for finished job",
                "status.active: Invalid value: 1: active>0 is invalid for finished job",
                "status.terminating: Invalid value: 1: terminating>0 is invalid for finished job",
                "status.uncountedTerminatedPods: Invalid value: {\"failed\":[\"a\",\"a\",\"\"]}: uncountedTerminatedPods needs to be empty for finished job",
            ],
        );
        let late = json!({"startTime": "2026-01-01T00:01:00Z", "completionTime": "2026-01-01T00:00:00Z"});
        check(
            &json!({}),
            &late,
            &[
                "status.completionTime: Invalid value: \"2026-01-01T00:00:00Z\": cannot set completionTime when there is no Complete=True condition",
                "status.completionTime: Invalid value: \"2026-01-01T00:00:00Z\": completionTime cannot be set before startTime",
            ],
        );
        check(
            &json!({}),
            &json!({"completedIndexes": "0,9", "failedIndexes": "0", "ready": 2, "active": 1}),
            &[
                "status.ready: Invalid value: 2: cannot set more ready pods than active",
                "status.completedIndexes: Invalid value: \"0,9\": error parsing completedIndexes: too large index: \"9\"",
                "status.failedIndexes: Invalid value: \"0\": failedIndexes and completedIndexes overlap at index: 0",
                "status.failedIndexes: Invalid value: \"0\": cannot set non-null failedIndexes when backoffLimitPerIndex is null",
            ],
        );
        let both = json!({"conditions": ended(&["SuccessCriteriaMet", "FailureTarget"])});
        check(
            &json!({}),
            &both,
            &["status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"],
        );
    }
}
