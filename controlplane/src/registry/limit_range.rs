//! LimitRanger, the admission plugin: what containers do not say about their resources is filled in, and what is less
//! or more than a namespace allows is refused (upstream 1.34, in its words).

use super::{Registry, keys};
use api::kinds::Kind;
use api::object::{edit, read_tree};
use api::quantity::Quantity;
use api::quota::{self, Amounts};
use api::view::Pod;
use api::{Object, Rejected, Tree};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LimitRange {
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(deserialize_with = "api::view::empty_if_null")]
    limits: Vec<Limit>,
}

/// Values are quantities.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Limit {
    /// `Container`, `Pod` or `PersistentVolumeClaim`.
    #[serde(rename = "type")]
    kind: String,
    min: BTreeMap<String, String>,
    max: BTreeMap<String, String>,
    default: BTreeMap<String, String>,
    default_request: BTreeMap<String, String>,
    max_limit_request_ratio: BTreeMap<String, String>,
}

/// What is checked: the resources of a container, of a pod or of a claim.
struct Checked {
    requests: Amounts,
    limits: Amounts,
}

impl Registry {
    fn limits(&self, namespace: &str) -> Vec<LimitRange> {
        if self.is_disabled("LimitRanger") {
            return Vec::new();
        }
        let shelf = self.0.memory.shelf(&keys::collection(&api::resource::LIMIT_RANGES));
        let stored: Vec<Arc<Object>> =
            shelf.range(&format!("{namespace}/"), || 0).0.iter().map(|stored| Arc::clone(&stored.object)).collect();
        stored.iter().filter_map(|object| object.read().ok()).collect()
    }

    /// Fills a new pod in.
    pub(super) fn fill_pod(&self, tree: &mut Tree) {
        let all = self.limits(edit::text(tree, &["metadata", "namespace"]));
        all.iter().for_each(|range| fill(range, tree));
    }

    /// Checks a new pod, and a new or changed claim.
    pub(super) fn check_limits(&self, kind: &Kind, tree: &Tree, is_new: bool) -> Result<(), Rejected> {
        let all = || self.limits(edit::text(tree, &["metadata", "namespace"]));
        match (kind.group(), kind.kind.as_str()) {
            ("", "Pod") if is_new => {
                let pod: Pod = read_tree(tree).unwrap_or_default();
                refuse(&kind.resource, tree, all().iter().map(|range| check_pod(range, &pod)))
            }
            ("", "PersistentVolumeClaim") => {
                refuse(&kind.resource, tree, all().iter().map(|range| check_claim(range, tree)))
            }
            _ => Ok(()),
        }
    }
}

/// The first range that is not kept to is the one that is told of.
fn refuse(resource: &api::Resource, tree: &Tree, mut found: impl Iterator<Item = Vec<String>>) -> Result<(), Rejected> {
    let Some(mut why) = found.find(|why| !why.is_empty()) else { return Ok(()) };
    let mut seen = std::collections::BTreeSet::new();
    why.retain(|one| seen.insert(one.clone()));
    let why = if why.len() == 1 { why.remove(0) } else { format!("[{}]", why.join(", ")) };
    Err(Rejected::forbidden(resource, edit::text(tree, &["metadata", "name"]), why))
}

/// Pure: puts the defaults of a range into a pod's containers, and notes which.
fn fill(range: &LimitRange, pod: &mut Tree) {
    let mut requests = BTreeMap::new();
    let mut limits = BTreeMap::new();
    for limit in range.spec.limits.iter().filter(|limit| limit.kind == "Container") {
        requests.extend(limit.default_request.clone());
        limits.extend(limit.default.clone());
    }
    let mut notes = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        for container in edit::list_mut(pod, &["spec", list]) {
            let name = edit::text(container, &["name"]).to_owned();
            for (part, word, defaults) in [("requests", "request", &requests), ("limits", "limit", &limits)] {
                let lacks = |name: &str| edit::at(container, &["resources", part, name]).is_none_or(Tree::is_null);
                let missing: Vec<&String> = defaults.keys().filter(|name| lacks(name)).collect();
                for name in &missing {
                    edit::set(container, &["resources", part, name], defaults[*name].as_str());
                }
                if !missing.is_empty() {
                    let names = missing.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                    notes.push(format!("{names} {word} for {what} {name}"));
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        edit::set(pod, &["metadata", "annotations", ANNOTATION], note);
    }
}

/// Pure: what is wrong with a pod.
fn check_pod(range: &LimitRange, pod: &Pod) -> Vec<String> {
    let mut why = Vec::new();
    for limit in &range.spec.limits {
        match limit.kind.as_str() {
            "Container" => {
                for container in pod.spec.containers.iter().chain(&pod.spec.init_containers) {
                    let resources = &container.resources;
                    let checked = Checked {
                        requests: quota::parsed(&resources.requests),
                        limits: quota::parsed(&resources.limits),
                    };
                    checked.check(limit, &mut why);
                }
            }
            "Pod" => Checked { requests: quota::requests(pod), limits: quota::limits(pod) }.check(limit, &mut why),
            _ => {}
        }
    }
    why
}

/// Pure: what is wrong with a claim.
fn check_claim(range: &LimitRange, claim: &Tree) -> Vec<String> {
    let requests: BTreeMap<String, String> = edit::at(claim, &["spec", "resources", "requests"])
        .and_then(|requests| read_tree(requests).ok())
        .unwrap_or_default();
    let checked = Checked { requests: quota::parsed(&requests), limits: Amounts::new() };
    let mut why = Vec::new();
    for limit in range.spec.limits.iter().filter(|limit| limit.kind == "PersistentVolumeClaim") {
        quota::parsed(&limit.min).iter().for_each(|(name, least)| why.extend(checked.less(limit, name, least)));
        for (name, most) in quota::parsed(&limit.max) {
            match checked.requests.get(&name) {
                None => {
                    why.push(format!("maximum {name} usage per {} is {most}.  No request is specified", limit.kind))
                }
                Some(request) if *request > most => {
                    why.push(format!("maximum {name} usage per {} is {most}, but request is {request}", limit.kind));
                }
                Some(_) => {}
            }
        }
    }
    why
}

impl Checked {
    fn check(&self, limit: &Limit, why: &mut Vec<String>) {
        quota::parsed(&limit.min).iter().for_each(|(name, least)| why.extend(self.less(limit, name, least)));
        quota::parsed(&limit.max).iter().for_each(|(name, most)| why.extend(self.more(limit, name, most)));
        let ratios = quota::parsed(&limit.max_limit_request_ratio);
        ratios.iter().for_each(|(name, most)| why.extend(self.ratio(limit, name, most)));
    }

    fn less(&self, limit: &Limit, name: &str, least: &Quantity) -> Option<String> {
        let told = format!("minimum {name} usage per {} is {least}", limit.kind);
        match (self.requests.get(name), self.limits.get(name)) {
            (None, _) => Some(format!("{told}.  No request is specified")),
            (Some(request), _) if request < least => Some(format!("{told}, but request is {request}")),
            (_, Some(most)) if most < least => Some(format!("{told}, but limit is {most}")),
            _ => None,
        }
    }

    fn more(&self, limit: &Limit, name: &str, most: &Quantity) -> Option<String> {
        let told = format!("maximum {name} usage per {} is {most}", limit.kind);
        match (self.limits.get(name), self.requests.get(name)) {
            (None, _) => Some(format!("{told}.  No limit is specified")),
            (Some(own), _) if own > most => Some(format!("{told}, but limit is {own}")),
            (_, Some(request)) if request > most => Some(format!("{told}, but request is {request}")),
            _ => None,
        }
    }

    fn ratio(&self, limit: &Limit, name: &str, most: &Quantity) -> Option<String> {
        let told = format!("{name} max limit to request ratio per {} is {most}", limit.kind);
        let (request, own) = (self.requests.get(name), self.limits.get(name));
        let Some(request) = request.filter(|request| !request.is_zero()) else {
            return Some(format!("{told}, but no request is specified or request is 0"));
        };
        let Some(own) = own.filter(|own| !own.is_zero()) else {
            return Some(format!("{told}, but no limit is specified or limit is 0"));
        };
        let ratio = number(own) / number(request);
        let is_over = ratio * 1000.0 > number(most);
        is_over.then(|| format!("{told}, but provided ratio is {ratio:.6}"))
    }
}

/// Thousandths.
#[expect(clippy::cast_precision_loss, reason = "a ratio that a person reads")]
fn number(quantity: &Quantity) -> f64 {
    quantity.milli() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn range(limits: Tree) -> LimitRange {
        read_tree(&json!({ "spec": { "limits": limits } })).expect("a range")
    }

    fn container(name: &str, resources: Tree) -> Tree {
        json!({ "name": name, "resources": resources })
    }

    #[test]
    fn what_is_not_said_is_filled_in_and_noted() {
        let range = range(json!([{
            "type": "Container", "default": { "cpu": "200m", "memory": "1Mi" }, "defaultRequest": { "cpu": "100m" },
        }]));
        let mut pod = json!({ "spec": {
            "containers": [container("a", json!({ "limits": { "memory": "2Mi" } })), container("b", json!({}))],
            "initContainers": [container("c", json!({ "requests": { "cpu": "1m" }, "limits": { "cpu": "2m", "memory": "1" } }))],
        } });
        fill(&range, &mut pod);
        let a = json!({ "limits": { "memory": "2Mi", "cpu": "200m" }, "requests": { "cpu": "100m" } });
        assert_eq!(edit::at(&edit::list(&pod, &["spec", "containers"])[0], &["resources"]), Some(&a));
        let note = "LimitRanger plugin set: cpu request for container a; cpu limit for container a; \
            cpu request for container b; cpu, memory limit for container b";
        assert_eq!(edit::text(&pod, &["metadata", "annotations", ANNOTATION]), note);
    }

    #[test]
    fn what_is_too_little_or_too_much_is_told() {
        let range = range(json!([
            { "type": "Container", "max": { "cpu": "1" }, "min": { "cpu": "50m" }, "maxLimitRequestRatio": { "cpu": "4" } },
            { "type": "Pod", "max": { "cpu": "1500m" } },
            { "type": "PersistentVolumeClaim", "max": { "storage": "1Gi" }, "min": { "storage": "1Mi" } },
        ]));
        let of = |resources: Tree| {
            let pod: Pod = read_tree(&json!({ "spec": { "containers": [container("a", resources)] } })).expect("a pod");
            check_pod(&range, &pod).join(", ")
        };
        let both =
            |request: &str, limit: &str| of(json!({ "requests": { "cpu": request }, "limits": { "cpu": limit } }));
        assert_eq!(both("100m", "200m"), "");
        let why =
            "maximum cpu usage per Container is 1, but limit is 2, maximum cpu usage per Pod is 1500m, but limit is 2";
        assert_eq!(both("2", "2"), why);
        let why = "minimum cpu usage per Container is 50m, but request is 10m, \
            cpu max limit to request ratio per Container is 4, but provided ratio is 20.000000";
        assert_eq!(both("10m", "200m"), why);
        let why = "minimum cpu usage per Container is 50m.  No request is specified, \
            maximum cpu usage per Container is 1.  No limit is specified, \
            cpu max limit to request ratio per Container is 4, but no request is specified or request is 0, \
            maximum cpu usage per Pod is 1500m.  No limit is specified";
        assert_eq!(of(json!({})), why);
        let claim =
            |size: &str| check_claim(&range, &json!({ "spec": { "resources": { "requests": { "storage": size } } } }));
        assert!(claim("1Gi").is_empty());
        assert_eq!(claim("2Gi"), ["maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"]);
        assert_eq!(claim("1Ki"), ["minimum storage usage per PersistentVolumeClaim is 1Mi, but request is 1Ki"]);
    }
}
