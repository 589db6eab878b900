//! Where a pod wants to run: node and pod affinity, and how its like are spread.

use super::findings::Findings;
use super::place::Place;
use super::values;
use crate::names;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn all(at: &Place<'_, '_>, found: &mut Findings) {
    let nodes = at.get("nodeAffinity");
    if nodes.has(REQUIRED) {
        node_selector(&nodes.get(REQUIRED), found);
    }
    for one in nodes.get(PREFERRED).each() {
        weight(&one.get("weight"), found);
        // Values need not be values of labels here: such a wish is never met, and does no harm.
        node_term(&one.get("preference"), false, found);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pods = at.get(kind);
        pods.get(REQUIRED).each().for_each(|one| pod_term(&one, found));
        for one in pods.get(PREFERRED).each() {
            weight(&one.get("weight"), found);
            pod_term(&one.get("podAffinityTerm"), found);
        }
    }
}

fn weight(at: &Place<'_, '_>, found: &mut Findings) {
    if !(1..=100).contains(&at.number()) {
        found.invalid_as(at, at.number(), "must be in the range 1-100");
    }
}

/// A `NodeSelector`, of a pod or of a volume.
pub(super) fn node_selector(at: &Place<'_, '_>, found: &mut Findings) {
    let terms = at.get("nodeSelectorTerms");
    if terms.is_empty() {
        found.required(&terms, "must have at least one node selector term");
    }
    terms.each().for_each(|term| node_term(&term, true, found));
}

fn node_term(at: &Place<'_, '_>, is_strict: bool, found: &mut Findings) {
    for one in at.get("matchExpressions").each() {
        let (operator, values, key) = (one.get("operator"), one.get("values"), one.get("key"));
        match operator.text() {
            "In" | "NotIn" if values.is_empty() => {
                found.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                found.forbidden(&values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "Gt" | "Lt" if values.len() != 1 => {
                found.required(&values, "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => found.invalid_as(&operator, other, "not a valid selector operator"),
        }
        found.test(&key, names::qualified_name);
        if is_strict {
            values.each().for_each(|value| found.test(&value, names::label_value));
        }
    }
    for one in at.get("matchFields").each() {
        let (operator, values, key) = (one.get("operator"), one.get("values"), one.get("key"));
        match operator.text() {
            "In" | "NotIn" if values.len() != 1 => {
                let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                found.required(&values, why);
            }
            "In" | "NotIn" => {}
            other => found.invalid_as(&operator, other, "not a valid selector operator"),
        }
        if key.text() == "metadata.name" {
            values.each().for_each(|value| found.test(&value, names::dns_subdomain));
        } else {
            found.invalid_as(&key, key.text(), "not a valid field selector key");
        }
    }
}

fn pod_term(at: &Place<'_, '_>, found: &mut Findings) {
    values::selector(&at.get("labelSelector"), found);
    values::selector(&at.get("namespaceSelector"), found);
    for name in at.get("namespaces").texts() {
        names::dns_label(name).into_iter().for_each(|why| found.invalid_as(&at.get("namespace"), name, why));
    }
    label_keys(at, found);
    let key = at.get("topologyKey");
    if key.is_empty() {
        found.required(&key, "can not be empty");
    }
    found.test(&key, names::qualified_name);
}

fn label_keys(at: &Place<'_, '_>, found: &mut Findings) {
    for kind in ["matchLabelKeys", "mismatchLabelKeys"] {
        let keys = at.get(kind);
        if keys.is_empty() {
            continue;
        }
        if !at.has("labelSelector") {
            found.forbidden(&keys, "must not be specified when labelSelector is not set");
            continue;
        }
        keys.each().for_each(|key| found.test(&key, names::qualified_name));
    }
    let others = at.get("mismatchLabelKeys");
    for key in at.get("matchLabelKeys").each().filter(|key| others.list().contains(key.value())) {
        found.invalid(&key, "exists in both matchLabelKeys and mismatchLabelKeys");
    }
}

/// How pods of a kind are spread over the cluster.
pub(super) fn spread(all: &Place<'_, '_>, found: &mut Findings) {
    const NOT_POSITIVE: &str = "must be greater than zero";
    const UNSATISFIABLE: &[&str] = &["DoNotSchedule", "ScheduleAnyway"];
    for (position, one) in all.each().enumerate() {
        let (skew, key, action) = (one.get("maxSkew"), one.get("topologyKey"), one.get("whenUnsatisfiable"));
        if skew.number() <= 0 {
            found.invalid_as(&skew, skew.number(), NOT_POSITIVE);
        }
        if key.is_empty() {
            found.required(&key, "can not be empty");
        }
        found.member(&action, UNSATISFIABLE);
        let is_same = |other: &Place<'_, '_>| {
            other.get("topologyKey").text() == key.text() && other.get("whenUnsatisfiable").text() == action.text()
        };
        if all.each().skip(position + 1).any(|other| is_same(&other)) {
            let pair = format!("{{{}, {}}}", key.text(), action.text());
            found.duplicate_as(&one.get("{topologyKey, whenUnsatisfiable}"), pair);
        }
        let domains = one.get("minDomains");
        if domains.integer().is_some_and(|count| count <= 0) {
            found.invalid(&domains, NOT_POSITIVE);
        }
        if domains.is_given() && action.text() != "DoNotSchedule" {
            let action = action.text();
            found
                .invalid(&domains, format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"));
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            found.optional_one_of(&one.get(policy), &["Honor", "Ignore"]);
        }
        spread_keys(&one, found);
        values::selector(&one.get("labelSelector"), found);
    }
}

fn spread_keys(at: &Place<'_, '_>, found: &mut Findings) {
    let (keys, selector) = (at.get("matchLabelKeys"), at.get("labelSelector"));
    if !keys.is_empty() && !selector.is_given() {
        found.forbidden(&keys, "must not be specified when labelSelector is not set");
    }
    let expressions = selector.get("matchExpressions");
    for key in keys.each() {
        found.test(&key, names::qualified_name);
        let is_selected = selector.get("matchLabels").has(key.text())
            || expressions.each().any(|one| one.get("key").text() == key.text());
        if is_selected {
            found.invalid(&key, "exists in both matchLabelKeys and labelSelector");
        }
    }
}
