//! What objects count for in a ResourceQuota (upstream's `quota/v1/evaluator`, 1.34). Pure.
//!
//! Knows which resource names an object uses how much of, and which quotas mean it; whether there is room is decided
//! where the quota is stored.

use crate::object::{edit, read_tree};
use crate::quantity::Quantity;
use crate::time::{SignedDuration, Timestamp};
use crate::view::{Container, Pod, QuotaScope, ResourceQuota};
use crate::{Resource, Tree};
use std::collections::{BTreeMap, BTreeSet};

/// Amounts by the names that quotas have for them.
pub type Amounts = BTreeMap<String, Quantity>;

/// Names that each container has to say something about, once a quota has them.
const SAID_BY_CONTAINERS: [&str; 6] =
    ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];
/// Kinds that are counted under their bare name, too.
const BARE: [&str; 4] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];
const STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";

/// `count/deployments.apps`
#[must_use]
pub fn count_name(resource: &Resource) -> String {
    format!("count/{resource}")
}

/// What the object counts for by being there.
#[must_use]
pub fn counted(resource: &Resource) -> Amounts {
    let one = Quantity::whole(1);
    let mut amounts = Amounts::from([(count_name(resource), one)]);
    if resource.group.is_empty() && BARE.contains(&&*resource.plural) {
        amounts.insert(resource.plural.to_string(), one);
    }
    amounts
}

/// What an object uses.
#[must_use]
pub fn usage(resource: &Resource, object: &Tree, now: Timestamp) -> Amounts {
    let mut amounts = counted(resource);
    match (&*resource.group, &*resource.plural) {
        ("", "pods") => {
            let pod: Pod = read_tree(object).unwrap_or_default();
            if is_counted(&pod, now) {
                of_pod(&pod, &mut amounts);
            }
        }
        ("", "services") => of_service(object, &mut amounts),
        ("", "persistentvolumeclaims") => of_claim(object, &mut amounts),
        _ => {}
    }
    amounts
}

/// A pod that has ended, or should have, uses nothing any more.
fn is_counted(pod: &Pod, now: Timestamp) -> bool {
    let meta = &pod.metadata;
    let overdue = meta
        .deletion_timestamp
        .zip(meta.deletion_grace_period_seconds)
        .is_some_and(|(at, seconds)| now > at + SignedDuration::from_secs(seconds));
    !pod.is_finished() && !overdue
}

fn of_pod(pod: &Pod, amounts: &mut Amounts) {
    amounts.insert("pods".to_owned(), Quantity::whole(1));
    for (name, amount) in requests(pod) {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            amounts.insert(name.clone(), amount);
        }
        amounts.insert(format!("requests.{name}"), amount);
    }
    for (name, amount) in limits(pod) {
        amounts.insert(format!("limits.{name}"), amount);
    }
}

/// What a whole pod requests: its containers together, or an init container where that is more, and the overhead.
#[must_use]
pub fn requests(pod: &Pod) -> Amounts {
    let mut total = whole(pod, |container| &container.resources.requests);
    add(&mut total, &parsed(&pod.spec.overhead));
    total
}

/// What a whole pod may use at most, of what it has limits for.
#[must_use]
pub fn limits(pod: &Pod) -> Amounts {
    let mut total = whole(pod, |container| &container.resources.limits);
    let mut overhead = parsed(&pod.spec.overhead);
    overhead.retain(|name, _| total.contains_key(name));
    add(&mut total, &overhead);
    total
}

fn whole<'a>(pod: &'a Pod, of: impl Fn(&'a Container) -> &'a BTreeMap<String, String>) -> Amounts {
    let mut total = Amounts::new();
    pod.spec.containers.iter().for_each(|container| add(&mut total, &parsed(of(container))));
    // Sidecars run beside what comes after them.
    let mut beside = Amounts::new();
    let mut peak = Amounts::new();
    for container in &pod.spec.init_containers {
        let mut wanted = parsed(of(container));
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut total, &wanted);
            add(&mut beside, &wanted);
            wanted.clone_from(&beside);
        } else {
            add(&mut wanted, &beside);
        }
        raise(&mut peak, &wanted);
    }
    raise(&mut total, &peak);
    total
}

fn of_service(service: &Tree, amounts: &mut Amounts) {
    let ports = edit::list(service, &["spec", "ports"]);
    let kind = edit::text(service, &["spec", "type"]);
    let named = ports.iter().filter(|port| edit::integer(port, &["nodePort"]).unwrap_or(0) != 0).count();
    let no_node_ports = edit::at(service, &["spec", "allocateLoadBalancerNodePorts"]) == Some(&Tree::Bool(false));
    let node_ports = match kind {
        "NodePort" => ports.len(),
        "LoadBalancer" if no_node_ports => named,
        "LoadBalancer" => ports.len(),
        _ => 0,
    };
    let whole = |number: usize| Quantity::whole(i64::try_from(number).unwrap_or(i64::MAX));
    amounts.insert("services".to_owned(), whole(1));
    amounts.insert("services.nodeports".to_owned(), whole(node_ports));
    amounts.insert("services.loadbalancers".to_owned(), whole(usize::from(kind == "LoadBalancer")));
}

fn of_claim(claim: &Tree, amounts: &mut Amounts) {
    let class = edit::text(claim, &["spec", "storageClassName"]);
    let mut tell = |name: &str, amount: Quantity| {
        if !class.is_empty() {
            amounts.insert(format!("{class}{STORAGE_CLASS}{name}"), amount);
        }
        amounts.insert(name.to_owned(), amount);
    };
    tell("persistentvolumeclaims", Quantity::whole(1));
    let requested = quantity(edit::at(claim, &["spec", "resources", "requests", "storage"]));
    // A claim that shrinks uses what it was given until that is given back.
    let allocated = quantity(edit::at(claim, &["status", "allocatedResources", "storage"]));
    if let Some(amount) = requested.max(allocated) {
        tell("requests.storage", amount);
    }
}

fn quantity(value: Option<&Tree>) -> Option<Quantity> {
    match value? {
        Tree::String(text) => Quantity::parse(text).ok(),
        Tree::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

/// The resource whose objects use what a quota's name means; `None` for one that nothing is known of.
#[must_use]
pub fn source(name: &str) -> Option<(String, String)> {
    if let Some(counted) = name.strip_prefix("count/") {
        let (plural, group) = counted.split_once('.').unwrap_or((counted, ""));
        return Some((group.to_owned(), plural.to_owned()));
    }
    let plural = match name {
        "services" | "services.nodeports" | "services.loadbalancers" => "services",
        "persistentvolumeclaims" | "requests.storage" => "persistentvolumeclaims",
        _ if name.contains(STORAGE_CLASS) => "persistentvolumeclaims",
        _ if BARE.contains(&name) => name,
        "pods" | "cpu" | "memory" | "ephemeral-storage" => "pods",
        _ if name.starts_with("requests.") || name.starts_with("limits.") => "pods",
        _ => return None,
    };
    Some((String::new(), plural.to_owned()))
}

/// Of a quota's names, those that objects of a resource use.
pub fn relevant<'a>(names: impl Iterator<Item = &'a String>, resource: &Resource) -> BTreeSet<&'a str> {
    let is_of = |name: &&String| {
        source(name).is_some_and(|(group, plural)| group == resource.group && plural == resource.plural)
    };
    names.filter(is_of).map(String::as_str).collect()
}

/// Whether a quota's scopes mean an object. Only pods have scopes: a quota with one means nothing else.
#[must_use]
pub fn is_in_scope(quota: &ResourceQuota, resource: &Resource, object: &Tree) -> bool {
    let plain = quota.spec.scopes.iter().map(|name| QuotaScope {
        scope_name: name.clone(),
        operator: "Exists".to_owned(),
        values: Vec::new(),
    });
    let selected = quota.spec.scope_selector.iter().flat_map(|selector| selector.match_expressions.clone());
    let mut scopes = plain.chain(selected).peekable();
    if scopes.peek().is_none() {
        return true;
    }
    if !resource.group.is_empty() || resource.plural != "pods" {
        return false;
    }
    scopes.all(|scope| is_met(&scope, object))
}

fn is_met(scope: &QuotaScope, pod: &Tree) -> bool {
    let ends = edit::integer(pod, &["spec", "activeDeadlineSeconds"]).is_some();
    let is_best_effort = edit::text(pod, &["status", "qosClass"]) == "BestEffort";
    match scope.scope_name.as_str() {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => is_best_effort,
        "NotBestEffort" => !is_best_effort,
        "PriorityClass" => {
            let class = edit::text(pod, &["spec", "priorityClassName"]);
            let is_named = || scope.values.iter().any(|value| value == class);
            match scope.operator.as_str() {
                "In" => is_named(),
                "NotIn" => !is_named(),
                "DoesNotExist" => class.is_empty(),
                _ => !class.is_empty(),
            }
        }
        "CrossNamespacePodAffinity" => reaches_out(pod),
        _ => false,
    }
}

/// Whether a pod's affinity looks at pods of other namespaces.
fn reaches_out(pod: &Tree) -> bool {
    let is_wide = |term: &Tree| {
        let has = |key: &str| edit::at(term, &[key]).is_some_and(|value| !value.is_null());
        !edit::list(term, &["namespaces"]).is_empty() || has("namespaceSelector")
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|side| {
        let at = |list: &str| edit::list(pod, &["spec", "affinity", side, list]);
        at("requiredDuringSchedulingIgnoredDuringExecution").iter().any(is_wide)
            || at("preferredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .filter_map(|one| edit::at(one, &["podAffinityTerm"]))
                .any(is_wide)
    })
}

/// What a pod's containers must say and do not, in upstream's words; `None` if all is said.
#[must_use]
pub fn unsaid(names: &BTreeSet<&str>, pod: &Tree) -> Option<String> {
    let containers = ["containers", "initContainers"];
    let containers: Vec<&Tree> = containers.iter().flat_map(|list| edit::list(pod, &["spec", list])).collect();
    let mut unsaid = Vec::new();
    for name in SAID_BY_CONTAINERS.iter().filter(|name| names.contains(*name)) {
        let (list, resource) = match name.split_once('.') {
            Some((list, resource)) => (list, resource),
            None => ("requests", *name),
        };
        let lacks = |container: &&&Tree| edit::at(container, &["resources", list, resource]).is_none_or(Tree::is_null);
        let lacking: BTreeSet<&str> = containers.iter().filter(lacks).map(|one| edit::text(one, &["name"])).collect();
        if !lacking.is_empty() {
            unsaid.push(format!("{name} for: {}", lacking.into_iter().collect::<Vec<_>>().join(",")));
        }
    }
    (!unsaid.is_empty()).then(|| format!("must specify {}", unsaid.join("; ")))
}

/// `cpu=1,pods=2`: how amounts are named in messages.
#[must_use]
pub fn shown(amounts: &Amounts) -> String {
    amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
}

/// Amounts of a map of texts; what is no quantity is left out.
#[must_use]
pub fn parsed(texts: &BTreeMap<String, String>) -> Amounts {
    texts.iter().filter_map(|(name, text)| Some((name.clone(), Quantity::parse(text).ok()?))).collect()
}

pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let had = sum.get(name).copied().unwrap_or(Quantity::ZERO);
        sum.insert(name.clone(), had + *amount);
    }
}

fn raise(total: &mut Amounts, least: &Amounts) {
    for (name, amount) in least {
        let had = total.entry(name.clone()).or_insert(*amount);
        *had = (*had).max(*amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{CONFIG_MAPS, DEPLOYMENTS, PERSISTENT_VOLUME_CLAIMS, PODS, SERVICES};
    use serde_json::json;

    fn used(resource: &Resource, object: &Tree) -> String {
        shown(&usage(resource, object, "2026-01-01T00:00:00Z".parse().expect("a time")))
    }

    #[test]
    fn objects_are_counted_and_some_are_measured() {
        assert_eq!(used(&CONFIG_MAPS, &json!({})), "configmaps=1,count/configmaps=1");
        assert_eq!(used(&DEPLOYMENTS, &json!({})), "count/deployments.apps=1");
        let service = json!({ "spec": { "type": "NodePort", "ports": [{ "port": 80 }, { "port": 81 }] } });
        let expected = "count/services=1,services=1,services.loadbalancers=0,services.nodeports=2";
        assert_eq!(used(&SERVICES, &service), expected);
        let claim =
            json!({ "spec": { "storageClassName": "fast", "resources": { "requests": { "storage": "1Gi" } } } });
        let of_class = "fast.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
            fast.storageclass.storage.k8s.io/requests.storage=1Gi";
        let expected =
            format!("count/persistentvolumeclaims=1,{of_class},persistentvolumeclaims=1,requests.storage=1Gi");
        assert_eq!(used(&PERSISTENT_VOLUME_CLAIMS, &claim), expected);
    }

    #[test]
    fn a_pod_uses_what_it_requests_at_most_at_one_time() {
        let container = |cpu: &str| json!({ "name": cpu, "resources": { "requests": { "cpu": cpu } } });
        let mut sidecar = container("50m");
        edit::set(&mut sidecar, &["restartPolicy"], "Always");
        let spec = json!({
            "containers": [container("100m"), container("200m")],
            "initContainers": [sidecar, container("400m")], "overhead": { "cpu": "10m" },
        });
        let pod = json!({ "spec": spec, "status": { "phase": "Running" } });
        assert_eq!(used(&PODS, &pod), "count/pods=1,cpu=460m,pods=1,requests.cpu=460m");
        assert_eq!(used(&PODS, &json!({ "status": { "phase": "Failed" } })), "count/pods=1");
    }

    #[test]
    fn scopes_mean_some_pods_and_nothing_else() {
        let quota = |spec: Tree| -> ResourceQuota { read_tree(&json!({ "spec": spec })).expect("a quota") };
        let of = |spec: Tree, pod: Tree| is_in_scope(&quota(spec), &PODS, &pod);
        let best = json!({ "status": { "qosClass": "BestEffort" } });
        assert!(of(json!({}), best.clone()) && of(json!({ "scopes": ["BestEffort"] }), best.clone()));
        assert!(!of(json!({ "scopes": ["BestEffort", "Terminating"] }), best.clone()));
        assert!(!is_in_scope(&quota(json!({ "scopes": ["BestEffort"] })), &CONFIG_MAPS, &best));
        let high =
            json!({ "matchExpressions": [{ "scopeName": "PriorityClass", "operator": "In", "values": ["high"] }] });
        let pod = |class: &str| json!({ "spec": { "priorityClassName": class } });
        assert!(of(json!({ "scopeSelector": high }), pod("high")));
        assert!(!of(json!({ "scopeSelector": high }), pod("low")));
    }

    #[test]
    fn containers_have_to_say_what_is_limited() {
        let pod = json!({ "spec": { "containers": [
            { "name": "b" }, { "name": "a", "resources": { "limits": { "memory": "1Mi" } } },
        ] } });
        let names = ["limits.memory", "requests.cpu", "pods"].into();
        let why = "must specify limits.memory for: b; requests.cpu for: a,b";
        assert_eq!(unsaid(&names, &pod).as_deref(), Some(why));
        assert_eq!(unsaid(&["pods"].into(), &pod), None);
    }
}
