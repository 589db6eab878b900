//! LimitRanges and ResourceQuotas.

use super::findings::Findings;
use super::meta::IMMUTABLE;
use super::place::Place;
use super::resources;
use super::values::quantity;
use crate::names;
use crate::quantity::Quantity;
use std::collections::{BTreeSet, HashSet};

const TYPES: [&str; 3] = ["Container", "PersistentVolumeClaim", "Pod"];
const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];
/// Resources of pods; scopes other than best effort go with these alone.
const COMPUTED: [&str; 7] = ["pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];

pub(super) fn range(root: &Place<'_, '_>, found: &mut Findings) {
    let spec = root.get("spec");
    let mut seen = HashSet::new();
    for limit in spec.get("limits").each() {
        let kind = limit.get("type");
        let wrong = names::qualified_name(kind.text());
        if wrong.is_empty() && !kind.text().contains('/') && !TYPES.contains(&kind.text()) {
            found.invalid(&kind, "must be a standard limit type or fully qualified");
        }
        wrong.into_iter().for_each(|why| found.invalid_as(&kind, kind.text(), why));
        if !seen.insert(kind.text()) {
            found.duplicate(&kind);
        }
        item(&limit, kind.text(), found);
    }
}

fn item(limit: &Place<'_, '_>, kind: &str, found: &mut Findings) {
    let mut keys = BTreeSet::new();
    let parts = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
    for part in parts {
        let at = limit.get(part);
        if kind == "Pod" && part.starts_with("default") {
            if !at.is_empty() {
                found.forbidden(&at, "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        if kind == "PersistentVolumeClaim" && part == "maxLimitRequestRatio" {
            storage(limit, found);
        }
        for (name, amount) in at.entries() {
            if matches!(kind, "Pod" | "Container") {
                resources::container_name(&amount, name, found);
            } else {
                resources::name(&amount, name, found);
            }
            keys.insert(name);
        }
    }
    keys.into_iter().for_each(|key| compare(limit, key, found));
}

fn storage(limit: &Place<'_, '_>, found: &mut Findings) {
    if !limit.get("min").has("storage") && !limit.get("max").has("storage") {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        found.required(&limit.get("limits"), why);
    }
}

/// The amounts of one resource: least, most and defaults must agree.
fn compare(limit: &Place<'_, '_>, key: &str, found: &mut Findings) {
    let amount = |part: &str| -> Option<Quantity> {
        limit.value().get(part).and_then(|all| all.get(key)).and_then(|value| quantity(value).ok())
    };
    let (min, max, default, request) = (amount("min"), amount("max"), amount("default"), amount("defaultRequest"));
    // The part that is named, the amount that is shown, the lower and the higher one with their names.
    type Pair = (Option<Quantity>, &'static str);
    let rules: [(&str, Option<Quantity>, Pair, Pair); 6] = [
        ("min", min, (min, "min"), (max, "max")),
        ("defaultRequest", request, (min, "min"), (request, "default request")),
        ("defaultRequest", request, (request, "default request"), (max, "max")),
        ("defaultRequest", request, (request, "default request"), (default, "default limit")),
        ("default", min, (min, "min"), (default, "default")),
        ("default", max, (default, "default"), (max, "max")),
    ];
    for (part, value, (low, low_name), (high, high_name)) in rules {
        if let (Some(low), Some(high), Some(value)) = (low, high, value)
            && low > high
        {
            let why = format!("{low_name} value {low} is greater than {high_name} value {high}");
            found.invalid_as(&limit.get(part).entry(key), value.to_string(), why);
        }
    }
    let at = limit.get("maxLimitRequestRatio");
    if let Some(ratio) = amount("maxLimitRequestRatio") {
        if ratio < Quantity::whole(1) {
            found.invalid_as(&at.entry(key), ratio.to_string(), format!("ratio {ratio} is less than 1"));
        }
        if let (Some(min), Some(max)) = (min, max) {
            let real = |amount: Quantity| amount.milli() as f64 / 1000.0;
            let most = real(max) / real(min);
            if real(ratio) > most {
                let why = format!("ratio {ratio} is greater than max/min = {most:.6}");
                found.invalid_as(&at.entry(key), ratio.to_string(), why);
            }
        }
    }
    if let (Some(default), Some(request)) = (default, request)
        && !resources::is_overcommitted(key)
        && default != request
    {
        let why = format!("default value {default} must equal to defaultRequest value {request} in {key}");
        found.invalid_as(&limit.get("defaultRequest").entry(key), request.to_string(), why);
    }
}

pub(super) fn quota(root: &Place<'_, '_>, found: &mut Findings) {
    let spec = root.get("spec");
    hard(&spec.get("hard"), found);
    scopes(&spec, found);
    selector(&spec, found);
    let status = root.get("status");
    hard(&status.get("hard"), found);
    hard(&status.get("used"), found);
}

fn hard(all: &Place<'_, '_>, found: &mut Findings) {
    for (name, amount) in all.entries() {
        resources::name(&amount, name, found);
        if !name.contains('/') && !resources::is_quota_resource(name) {
            found.invalid_as(&amount, name, "must be a standard resource for quota");
        }
        resources::amount(&amount, name, found);
    }
}

fn goes_with(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => true,
        _ => COMPUTED.contains(&resource),
    }
}

fn scopes(spec: &Place<'_, '_>, found: &mut Findings) {
    let at = spec.get("scopes");
    for scope in at.texts() {
        if !SCOPES.contains(&scope) {
            found.invalid(&at, "unsupported scope");
        } else {
            fitting(spec, scope, &at, found);
        }
    }
    conflicts(&at, &at.texts().collect::<Vec<_>>(), found);
}

fn fitting(spec: &Place<'_, '_>, scope: &str, at: &Place<'_, '_>, found: &mut Findings) {
    let hard = spec.get("hard");
    for (name, _) in hard.entries().filter(|(name, _)| resources::is_quota_resource(name)) {
        if !goes_with(scope, name) {
            found.invalid(at, "unsupported scope applied to resource");
        }
    }
}

fn conflicts(at: &Place<'_, '_>, scopes: &[&str], found: &mut Findings) {
    for pair in [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]] {
        if pair.iter().all(|scope| scopes.contains(scope)) {
            found.invalid(at, "conflicting scopes");
        }
    }
}

fn selector(spec: &Place<'_, '_>, found: &mut Findings) {
    const EXISTS: &str = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                          ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                          ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
    let selector = spec.get("scopeSelector");
    // Upstream names the list here, not the element.
    let shown = selector.get("matchExpressions");
    for one in shown.each() {
        let (scope, operator, values) = (one.get("scopeName").text(), one.get("operator").text(), one.get("values"));
        if SCOPES.contains(&scope) {
            fitting(spec, scope, &shown, found);
        } else {
            found.invalid_as(&shown.get("scopeName"), scope, "unsupported scope");
        }
        if SCOPES.contains(&scope)
            && !matches!(scope, "PriorityClass" | "VolumeAttributesClass")
            && operator != "Exists"
        {
            found.invalid_as(&shown.get("operator"), operator, EXISTS);
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                found.required(&shown.get("values"), why);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                found.invalid_as(&shown.get("values"), values.value().clone(), why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => found.invalid_as(&shown.get("operator"), operator, "not a valid selector operator"),
        }
    }
    let all: Vec<&str> = shown.list().iter().filter_map(|one| one.get("scopeName")?.as_str()).collect();
    conflicts(&spec.get("scopes"), &all, found);
}

pub(super) fn quota_update(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    let (new, old) = (new.get("spec"), old.get("spec"));
    let (at, before) = (new.get("scopes"), old.get("scopes"));
    let set = |at: &Place<'_, '_>| at.texts().map(str::to_owned).collect::<BTreeSet<_>>();
    if set(&at) != set(&before) {
        found.invalid(&at, IMMUTABLE);
    }
}
