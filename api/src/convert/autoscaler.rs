//! HorizontalPodAutoscalers: `autoscaling/v1` has a target for the processor alone, and keeps the rest of what `v2` says
//! in annotations.

use super::Way;
use crate::Tree;
use crate::walk::{Members, child, find, has, make};
use serde_json::json;

/// Metrics other than the processor's, in the words of `v1`.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const TARGET: &str = "targetCPUUtilizationPercentage";
const IN_USE: &str = "currentCPUUtilizationPercentage";

pub(super) fn change(object: &mut Members, way: Way) {
    match way {
        Way::In => into_v2(object),
        Way::Out => out_of_v2(object),
    }
}

fn into_v2(object: &mut Members) {
    let mut noted = |key: &str| -> Option<Tree> {
        let text = find(object, &["metadata", "annotations"])?.shift_remove(key)?;
        serde_json::from_str(text.as_str()?).ok()
    };
    let (metrics, current, behavior, conditions) = (noted(METRICS), noted(CURRENT), noted(BEHAVIOR), noted(CONDITIONS));
    if let Some(metadata) = child(object, "metadata")
        && child(metadata, "annotations").is_some_and(|all| all.is_empty())
    {
        metadata.shift_remove("annotations");
    }
    if let Some(spec) = child(object, "spec") {
        let target = spec.shift_remove(TARGET);
        let own = target.map(|target| cpu("target", json!({"type": "Utilization", "averageUtilization": target})));
        let all: Vec<Tree> = own.into_iter().chain(list(metrics).into_iter().map(|one| metric(one, false))).collect();
        if !all.is_empty() {
            spec.insert("metrics".to_owned(), all.into());
        }
        behavior.into_iter().for_each(|behavior| drop(spec.insert("behavior".to_owned(), behavior)));
    }
    if let Some(status) = child(object, "status") {
        let usage = status.shift_remove(IN_USE);
        let mut all: Vec<Tree> = list(current).into_iter().map(|one| metric(one, true)).collect();
        if all.is_empty() {
            all.extend(usage.map(|usage| cpu("current", json!({"averageUtilization": usage}))));
        }
        if !all.is_empty() {
            status.insert("currentMetrics".to_owned(), all.into());
        }
        conditions.into_iter().for_each(|all| drop(status.insert("conditions".to_owned(), all)));
    }
}

fn out_of_v2(object: &mut Members) {
    let mut notes = Vec::new();
    if let Some(spec) = child(object, "spec") {
        let (mut target, mut others) = (None, Vec::new());
        for one in list(spec.shift_remove("metrics")) {
            match utilization(&one, "target") {
                Some(value) if target.is_none() => target = Some(value),
                _ => others.push(metric_of_v1(&one, false)),
            }
        }
        target.into_iter().for_each(|target| drop(spec.insert(TARGET.to_owned(), target)));
        if !others.is_empty() {
            notes.push((METRICS, Tree::from(others)));
        }
        notes.extend(spec.shift_remove("behavior").map(|behavior| (BEHAVIOR, behavior)));
    }
    if let Some(status) = child(object, "status") {
        let current = list(status.shift_remove("currentMetrics"));
        if let Some(usage) = current.iter().find_map(|one| utilization(one, "current")) {
            status.insert(IN_USE.to_owned(), usage);
        }
        if !current.is_empty() {
            let shown: Vec<Tree> = current.iter().map(|one| metric_of_v1(one, true)).collect();
            notes.push((CURRENT, shown.into()));
        }
        notes.extend(status.shift_remove("conditions").map(|all| (CONDITIONS, all)));
    }
    for (key, value) in notes {
        let annotations = make(object, "metadata").and_then(|metadata| make(metadata, "annotations"));
        annotations.into_iter().for_each(|all| drop(all.insert(key.to_owned(), value.to_string().into())));
    }
}

fn list(tree: Option<Tree>) -> Vec<Tree> {
    match tree {
        Some(Tree::Array(all)) => all,
        _ => Vec::new(),
    }
}

fn cpu(key: &str, value: Tree) -> Tree {
    json!({"type": "Resource", "resource": {"name": "cpu", key: value}})
}

/// The part of the processor that a metric of `v2` asks for, or tells.
fn utilization(one: &Tree, key: &str) -> Option<Tree> {
    let resource = one.get("resource").filter(|resource| resource.get("name").is_some_and(|name| name == "cpu"))?;
    resource.get(key)?.get("averageUtilization").filter(|value| !value.is_null()).cloned()
}

/// The values of a metric: as `v1` calls them in a target and in a status, and as `v2` does.
const VALUES: [(&str, &str, &str); 3] = [
    ("targetAverageUtilization", "currentAverageUtilization", "averageUtilization"),
    ("targetAverageValue", "currentAverageValue", "averageValue"),
    ("targetValue", "currentValue", "value"),
];

/// A metric of `v1`, as `v2` has it.
fn metric(mut one: Tree, is_status: bool) -> Tree {
    let below = if is_status { "current" } else { "target" };
    for source in ["object", "pods", "resource", "containerResource", "external"] {
        let Some(source) = one.get_mut(source).and_then(Tree::as_object_mut) else { continue };
        if let Some(described) = source.shift_remove("target") {
            source.insert("describedObject".to_owned(), described);
        }
        let mut values = Members::new();
        for (target, current, new) in VALUES {
            let old = if is_status { current } else { target };
            source.shift_remove(old).into_iter().for_each(|value| drop(values.insert(new.to_owned(), value)));
        }
        // An object's average is called so in a target, too.
        source
            .shift_remove("averageValue")
            .into_iter()
            .for_each(|value| drop(values.insert("averageValue".to_owned(), value)));
        if !is_status {
            let kinds = [("averageUtilization", "Utilization"), ("averageValue", "AverageValue"), ("value", "Value")];
            let kind = kinds.iter().find(|(key, _)| has(&values, key)).map_or("Value", |(_, kind)| kind);
            values.insert("type".to_owned(), kind.into());
        }
        source.insert(below.to_owned(), values.into());
        if let Some(name) = source.shift_remove("metricName") {
            let selector = source.shift_remove("selector").or_else(|| source.shift_remove("metricSelector"));
            let mut metric = json!({"name": name});
            selector.into_iter().for_each(|selector| metric["selector"] = selector);
            source.insert("metric".to_owned(), metric);
        }
    }
    one
}

/// A metric of `v2`, as `v1` has it.
fn metric_of_v1(one: &Tree, is_status: bool) -> Tree {
    let mut one = one.clone();
    let below = if is_status { "current" } else { "target" };
    for name in ["object", "pods", "resource", "containerResource", "external"] {
        let Some(source) = one.get_mut(name).and_then(Tree::as_object_mut) else { continue };
        if let Some(Tree::Object(mut values)) = source.shift_remove(below) {
            for (target, current, new) in VALUES {
                let old = match (name, new) {
                    ("object", "averageValue") => new,
                    _ if is_status => current,
                    _ => target,
                };
                values.shift_remove(new).into_iter().for_each(|value| drop(source.insert(old.to_owned(), value)));
            }
        }
        if let Some(described) = source.shift_remove("describedObject") {
            source.insert("target".to_owned(), described);
        }
        if let Some(Tree::Object(mut metric)) = source.shift_remove("metric") {
            metric.shift_remove("name").into_iter().for_each(|name| drop(source.insert("metricName".to_owned(), name)));
            let key = if name == "external" { "metricSelector" } else { "selector" };
            metric.shift_remove("selector").into_iter().for_each(|one| drop(source.insert(key.to_owned(), one)));
        }
    }
    one
}
