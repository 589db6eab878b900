//! The policies of a Job: what a pod's failure means, and which successes are enough.

use crate::indexes::Indexes;
use crate::names;
use crate::validate::findings::Findings;
use crate::validate::place::Place;
use std::collections::HashSet;

const RULES_MAX: usize = 20;
const PATTERNS_MAX: usize = 20;
const VALUES_MAX: usize = 255;
const INDEXES_MAX: usize = 64 * 1024;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

/// `podFailurePolicy` of a spec.
pub(super) fn failure(spec: &Place<'_, '_>, found: &mut Findings) {
    let policy = spec.get("podFailurePolicy");
    let rules = policy.get("rules");
    at_most(&rules, RULES_MAX, found);
    for rule in rules.each() {
        failure_rule(spec, &rule, found);
    }
}

fn at_most(list: &Place<'_, '_>, most: usize, found: &mut Findings) {
    if list.len() > most {
        found.too_many(list, list.len(), most);
    }
}

/// A text of a fixed set, all of whose members are named where it is missing.
fn one_of(at: &Place<'_, '_>, all: &[&str], found: &mut Findings) {
    if at.is_empty() {
        let names: Vec<String> = all.iter().map(|name| format!("{name:?}")).collect();
        found.required(at, &format!("valid values: [{}]", names.join(" ")));
    } else {
        found.member(at, all);
    }
}

fn failure_rule(spec: &Place<'_, '_>, rule: &Place<'_, '_>, found: &mut Findings) {
    let action = rule.get("action");
    one_of(&action, &ACTIONS, found);
    if action.text() == "FailIndex" && !spec.has("backoffLimitPerIndex") {
        found.invalid(&action, "requires the backoffLimitPerIndex to be set");
    }
    let (codes, conditions) = (rule.get("onExitCodes"), rule.get("onPodConditions"));
    if codes.is_given() {
        exit_codes(spec, &codes, found);
    }
    at_most(&conditions, PATTERNS_MAX, found);
    for pattern in conditions.each() {
        found.test(&pattern.get("type"), names::qualified_name);
        one_of(&pattern.get("status"), &STATUSES, found);
    }
    match (codes.is_given(), conditions.is_empty()) {
        (true, false) => found.wrong(rule, "specifying both OnExitCodes and OnPodConditions is not supported"),
        (false, true) => found.wrong(rule, "specifying one of OnExitCodes and OnPodConditions is required"),
        _ => {}
    }
}

fn exit_codes(spec: &Place<'_, '_>, at: &Place<'_, '_>, found: &mut Findings) {
    let operator = at.get("operator");
    one_of(&operator, &OPERATORS, found);
    let (name, template) = (at.get("containerName"), spec.get("template"));
    let below = template.get("spec");
    let is_there = |list: &str| below.get(list).each().any(|one| one.get("name").text() == name.text());
    if name.is_given() && !is_there("containers") && !is_there("initContainers") {
        found.invalid(&name, "must be one of the container or initContainer names in the pod template");
    }
    let values = at.get("values");
    if values.is_empty() {
        found.invalid(&values, "at least one value is required");
    }
    at_most(&values, VALUES_MAX, found);
    let mut seen = HashSet::new();
    for value in values.each() {
        if operator.text() == "In" && value.integer() == Some(0) {
            found.invalid(&value, "must not be 0 for the In operator");
        }
        if !seen.insert(value.number()) {
            found.duplicate(&value);
        }
    }
    if !values.list().is_sorted_by_key(serde_json::Value::as_i64) {
        found.invalid(&values, "must be ordered");
    }
}

/// `successPolicy` of a spec.
pub(super) fn success(spec: &Place<'_, '_>, found: &mut Findings) {
    let policy = spec.get("successPolicy");
    if spec.get("completionMode").text() != "Indexed" {
        found.invalid(&policy, "requires indexed completion mode");
        return;
    }
    let rules = policy.get("rules");
    if rules.is_empty() {
        found.required(&rules, "at least one rules must be specified when the successPolicy is specified");
    }
    at_most(&rules, RULES_MAX, found);
    for rule in rules.each() {
        success_rule(spec.get("completions").number(), &rule, found);
    }
}

fn success_rule(completions: i64, rule: &Place<'_, '_>, found: &mut Findings) {
    let (indexes, count) = (rule.get("succeededIndexes"), rule.get("succeededCount"));
    if !indexes.is_given() && !count.is_given() {
        found.required(rule, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut total = 0;
    if indexes.is_given() {
        if indexes.len() > INDEXES_MAX {
            found.too_long(&indexes, INDEXES_MAX);
        }
        match Indexes::parse(indexes.text(), i32::try_from(completions).unwrap_or(i32::MAX)) {
            Ok(indexes) => total = i64::from(indexes.len()),
            Err(why) => found.invalid(&indexes, format!("error parsing succeededIndexes: {why}")),
        }
    }
    if !count.is_given() {
        return;
    }
    found.natural(&count);
    if count.number() > completions {
        let why = format!("must be less than or equal to {completions} (the number of specified completions)");
        found.invalid(&count, why);
    }
    if indexes.is_given() && count.number() > total {
        let of = "the number of indexes in the specified succeededIndexes field";
        found.invalid(&count, format!("must be less than or equal to {total} ({of})"));
    }
}
