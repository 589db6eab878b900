//! What scales workloads, and what spares them: autoscalers and disruption budgets.

use super::findings::Findings;
use super::place::Place;
use super::{shown, values};
use crate::names;

pub(super) fn disruption_budget(root: &Place<'_, '_>, found: &mut Findings) {
    let spec = root.get("spec");
    let (least, most) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
    if least.is_given() && most.is_given() {
        let value = shown::internal("policy/v1", "PodDisruptionBudgetSpec", spec.value());
        found.invalid_as(&spec, value, "minAvailable and maxUnavailable cannot be both set");
    }
    for one in [&least, &most] {
        values::count_or_percent(one, found);
        values::at_most_all(one, found);
    }
    values::selector(&spec.get("selector"), found);
    found.optional_one_of(&spec.get("unhealthyPodEvictionPolicy"), &["AlwaysAllow", "IfHealthyBudget"]);
}

/// In the form of v2; v1 names one metric, which stands where v2 has it.
pub(super) fn autoscaler(root: &Place<'_, '_>, found: &mut Findings) {
    let spec = root.get("spec");
    let (least, most) = (spec.get("minReplicas"), spec.get("maxReplicas"));
    if least.integer().is_some_and(|count| count < 1) {
        found.invalid(&least, "must be greater than or equal to 1");
    }
    if most.number() < 1 {
        found.invalid_as(&most, most.number(), "must be greater than 0");
    }
    if least.integer().is_some_and(|least| most.number() < least) {
        found.invalid_as(&most, most.number(), "must be greater than or equal to `minReplicas`");
    }
    let target = spec.get("scaleTargetRef");
    for key in ["kind", "name"] {
        found.name(&target.get(key), names::path_segment);
    }
    spec.get("metrics").each().for_each(|metric| self::metric(&metric, found));
    let usage = spec.get("targetCPUUtilizationPercentage");
    if usage.integer().is_some_and(|percent| percent < 1) {
        let shown = spec.alias("metrics[0].resource.target.averageUtilization", &usage);
        found.invalid(&shown, "must be greater than 0");
    }
    for direction in ["scaleUp", "scaleDown"] {
        let behavior = spec.get("behavior");
        if behavior.has(direction) {
            rules(&behavior.get(direction), found);
        }
    }
}

/// The types of metrics and the field of each.
const METRICS: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

fn metric(at: &Place<'_, '_>, found: &mut Findings) {
    let kind = at.get("type");
    if kind.is_empty() {
        found.required(&kind, "must specify a metric source type");
    }
    found.member(&kind, &METRICS.map(|(name, _)| name));
    let expected = METRICS.iter().find(|(name, _)| *name == kind.text()).map(|(_, field)| *field);
    for (_, field) in METRICS.iter().filter(|(_, field)| at.has(field)) {
        let source = at.get(field);
        if matches!(*field, "resource" | "containerResource") && source.get("name").is_empty() {
            found.required(&source.get("name"), "must specify a resource name");
        }
        if matches!(*field, "pods" | "object" | "external") {
            let metric = source.get("metric");
            let name = metric.get("name");
            if name.is_empty() {
                found.required(&name, "must specify a metric name")
            } else {
                found.test(&name, names::path_segment)
            }
        }
        target(&source.get("target"), found);
    }
    if let Some(field) = expected.filter(|field| !at.has(field)) {
        found.required(&at.get(field), "must populate information for the given metric source");
    }
    let given = METRICS.iter().filter(|(_, field)| at.has(field)).count();
    for (_, field) in METRICS.iter().filter(|(_, field)| at.has(field) && given > 1 && Some(*field) != expected) {
        found.forbidden(&at.get(field), "must populate the given metric source only");
    }
}

fn target(at: &Place<'_, '_>, found: &mut Findings) {
    let kind = at.get("type");
    match kind.text() {
        "" => found.required(&kind, "must specify a metric target type"),
        "Utilization" | "Value" | "AverageValue" => {}
        _ => found.invalid(&kind, "must be either Utilization, Value, or AverageValue"),
    }
    for key in ["value", "averageValue"].iter().filter(|key| at.has(key)) {
        let amount = at.get(key);
        if values::quantity(amount.value()).is_ok_and(|amount| amount.is_zero() || amount.is_negative()) {
            found.invalid(&amount, "must be positive");
        }
    }
    let usage = at.get("averageUtilization");
    if usage.integer().is_some_and(|percent| percent < 1) {
        found.invalid(&usage, "must be greater than 0");
    }
}

fn rules(at: &Place<'_, '_>, found: &mut Findings) {
    const WINDOW_MAX: i64 = 3600;
    const PERIOD_MAX: i64 = 1800;
    let window = at.get("stabilizationWindowSeconds");
    if window.number() < 0 {
        found.invalid(&window, "must be greater than or equal to zero");
    }
    if window.number() > WINDOW_MAX {
        found.invalid(&window, format!("must be less than or equal to {WINDOW_MAX}"));
    }
    found.optional_one_of(&at.get("selectPolicy"), &["Disabled", "Max", "Min"]);
    let policies = at.get("policies");
    if policies.is_empty() {
        found.required(&policies, "must specify at least one Policy");
    }
    for policy in policies.each() {
        found.member(&policy.get("type"), &["Percent", "Pods"]);
        for key in ["value", "periodSeconds"].iter().filter(|key| policy.get(key).number() <= 0) {
            found.invalid_as(&policy.get(key), policy.get(key).number(), "must be greater than zero");
        }
        if policy.get("periodSeconds").number() > PERIOD_MAX {
            found.invalid(&policy.get("periodSeconds"), format!("must be less than or equal to {PERIOD_MAX}"));
        }
    }
}
