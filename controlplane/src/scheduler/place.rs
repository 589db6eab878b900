//! Where one pod goes: a pure choice from what is known of the nodes and of what runs on them.

use api::quantity::Quantity;
use api::view::{Node, Pod, Taint};
use client::Key;
use std::collections::{BTreeMap, HashMap};

/// The most that a node scores for one wish.
const SCORE_MAX: i64 = 100;

/// What a pod asks for or a node has: thousandths of a processor, bytes, pods, and whatever else by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Amounts {
    cpu: i128,
    memory: i128,
    pods: i128,
    others: BTreeMap<String, i128>,
}

#[derive(Debug, Default)]
struct Host {
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
    unschedulable: bool,
    allocatable: Amounts,
    used: Amounts,
    /// Pods of each owner, so that they are spread.
    owners: HashMap<String, usize>,
}

#[derive(Debug)]
struct Placed {
    node: String,
    amounts: Amounts,
    owner: String,
}

/// The nodes, and the pods that are or will be on them.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    hosts: BTreeMap<String, Host>,
    pods: HashMap<Key, Placed>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Placement {
    Node(String),
    /// Why not, in kube-scheduler's words.
    Nowhere(String),
}

// === impl Snapshot ===

impl Snapshot {
    /// True if something changed that may let a waiting pod fit.
    pub(super) fn put_node(&mut self, node: &Node) -> bool {
        let allocatable = Amounts::of(&node.status.allocatable, true);
        let name = &node.metadata.name;
        let host = self.hosts.entry(name.clone()).or_default();
        let same = host.labels == node.metadata.labels
            && host.taints == node.spec.taints
            && host.unschedulable == node.spec.unschedulable
            && host.allocatable == allocatable;
        host.labels.clone_from(&node.metadata.labels);
        host.taints.clone_from(&node.spec.taints);
        host.unschedulable = node.spec.unschedulable;
        host.allocatable = allocatable;
        !same
    }

    pub(super) fn remove_node(&mut self, name: &str) {
        self.hosts.remove(name);
    }

    pub(super) fn is_assumed(&self, key: &Key) -> bool {
        self.pods.contains_key(key)
    }

    /// A pod is on a node, or will be.
    pub(super) fn put_pod(&mut self, key: &Key, pod: &Pod, node: &str) {
        if self.pods.get(key).is_some_and(|placed| placed.node == node) {
            return;
        }
        self.remove_pod(key);
        let placed = Placed { node: node.to_owned(), amounts: requested(pod), owner: owner(pod) };
        let host = self.hosts.entry(node.to_owned()).or_default();
        host.used.add(&placed.amounts);
        *host.owners.entry(placed.owner.clone()).or_default() += 1;
        self.pods.insert(key.clone(), placed);
    }

    /// True if it was on a node.
    pub(super) fn remove_pod(&mut self, key: &Key) -> bool {
        let Some(placed) = self.pods.remove(key) else { return false };
        if let Some(host) = self.hosts.get_mut(&placed.node) {
            host.used.subtract(&placed.amounts);
            if let Some(count) = host.owners.get_mut(&placed.owner) {
                *count = count.saturating_sub(1);
            }
        }
        true
    }

    pub(super) fn place(&self, pod: &Pod) -> Placement {
        let wanted = requested(pod);
        let owner = owner(pod);
        let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
        let mut best: Option<(i64, &String)> = None;
        let crowd = self.hosts.values().filter_map(|host| host.owners.get(&owner)).max().copied().unwrap_or(0);
        for (name, host) in &self.hosts {
            let refused = host.refuses(pod, name, &wanted);
            if refused.is_empty() {
                let score = host.score(pod, name, &wanted, &owner, crowd);
                if best.is_none_or(|(known, _)| score > known) {
                    best = Some((score, name));
                }
            }
            for why in refused {
                *refusals.entry(why).or_default() += 1;
            }
        }
        match best {
            Some((_, name)) => Placement::Node(name.clone()),
            None => Placement::Nowhere(explain(self.hosts.len(), &refusals)),
        }
    }
}

/// `0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {a: b}.`
fn explain(nodes: usize, refusals: &BTreeMap<String, usize>) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut reasons: Vec<String> = refusals.iter().map(|(why, count)| format!("{count} {why}")).collect();
    reasons.sort();
    format!("0/{nodes} nodes are available: {}.", reasons.join(", "))
}

impl Host {
    /// Everything that speaks against the node; nothing means that the pod fits.
    fn refuses(&self, pod: &Pod, name: &str, wanted: &Amounts) -> Vec<String> {
        let tolerates = |taint: &Taint| pod.spec.tolerates(taint);
        let cordon =
            Taint { key: "node.kubernetes.io/unschedulable".into(), effect: "NoSchedule".into(), ..Taint::default() };
        if self.unschedulable && !tolerates(&cordon) {
            return vec!["node(s) were unschedulable".to_owned()];
        }
        let driving = self.taints.iter().find(|taint| taint.effect != "PreferNoSchedule" && !tolerates(taint));
        if let Some(taint) = driving {
            return vec![format!("node(s) had untolerated taint {{{}: {}}}", taint.key, taint.value)];
        }
        if !pod.spec.selects(&self.labels, name) {
            return vec!["node(s) didn't match Pod's node affinity/selector".to_owned()];
        }
        let mut refused = Vec::new();
        if self.used.pods + wanted.pods > self.allocatable.pods {
            refused.push("Too many pods".to_owned());
        }
        if wanted.cpu > 0 && self.used.cpu + wanted.cpu > self.allocatable.cpu {
            refused.push("Insufficient cpu".to_owned());
        }
        if wanted.memory > 0 && self.used.memory + wanted.memory > self.allocatable.memory {
            refused.push("Insufficient memory".to_owned());
        }
        for (name, amount) in wanted.others.iter().filter(|(_, amount)| **amount > 0) {
            let of = |amounts: &Amounts| amounts.others.get(name).copied().unwrap_or(0);
            if of(&self.used) + amount > of(&self.allocatable) {
                refused.push(format!("Insufficient {name}"));
            }
        }
        refused
    }

    /// Room left, distance from the pod's siblings, and what the pod prefers.
    fn score(&self, pod: &Pod, name: &str, wanted: &Amounts, owner: &str, crowd: usize) -> i64 {
        let free = |used: i128, wanted: i128, all: i128| {
            if all == 0 {
                0
            } else {
                i64::try_from((all - used - wanted).max(0) * i128::from(SCORE_MAX) / all).unwrap_or(0)
            }
        };
        let least = (free(self.used.cpu, wanted.cpu, self.allocatable.cpu)
            + free(self.used.memory, wanted.memory, self.allocatable.memory)
            + free(self.used.pods, wanted.pods, self.allocatable.pods))
            / 3;
        let siblings = self.owners.get(owner).copied().unwrap_or(0);
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        // Twice the weight of room: pods of one set apart are what keeps a Service up.
        let spread = if crowd == 0 { 0 } else { 2 * SCORE_MAX * (count(crowd) - count(siblings)) / count(crowd) };
        let affinity = pod.spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        let preferred = affinity.into_iter().flat_map(|affinity| &affinity.preferred);
        let liked: i64 =
            preferred.filter(|term| term.preference.meets(&self.labels, name)).map(|term| term.weight).sum();
        let soft = self.taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
        let disliked = soft.filter(|taint| !pod.spec.tolerates(taint));
        least + spread + liked - SCORE_MAX * count(disliked.count())
    }
}

/// Pods of one set share their owner's uid; a pod alone has its own.
fn owner(pod: &Pod) -> String {
    pod.metadata.controller().map_or_else(|| pod.metadata.uid.clone(), |owner| owner.uid.to_string())
}

/// The sum of the containers, or the largest init container where that is more.
fn requested(pod: &Pod) -> Amounts {
    let mut sum = Amounts::default();
    for container in &pod.spec.containers {
        sum.add(&Amounts::of(&container.resources.requests, false));
    }
    for container in &pod.spec.init_containers {
        sum.raise(&Amounts::of(&container.resources.requests, false));
    }
    sum.add(&Amounts::of(&pod.spec.overhead, false));
    sum.pods = 1;
    sum
}

impl Amounts {
    fn of(quantities: &BTreeMap<String, String>, with_pods: bool) -> Amounts {
        let mut amounts = Amounts::default();
        for (name, text) in quantities {
            let Ok(quantity) = Quantity::parse(text) else { continue };
            let whole = (quantity.milli() + 999) / 1000;
            match name.as_str() {
                "cpu" => amounts.cpu = quantity.milli(),
                "memory" => amounts.memory = whole,
                "pods" if with_pods => amounts.pods = whole,
                "pods" => {}
                other => {
                    amounts.others.insert(other.to_owned(), whole);
                }
            }
        }
        amounts
    }

    fn add(&mut self, other: &Amounts) {
        self.combine(other, |a, b| a + b);
    }

    fn subtract(&mut self, other: &Amounts) {
        self.combine(other, |a, b| a - b);
    }

    fn raise(&mut self, other: &Amounts) {
        self.combine(other, i128::max);
    }

    fn combine(&mut self, other: &Amounts, with: fn(i128, i128) -> i128) {
        self.cpu = with(self.cpu, other.cpu);
        self.memory = with(self.memory, other.memory);
        self.pods = with(self.pods, other.pods);
        for (name, amount) in &other.others {
            let mine = self.others.entry(name.clone()).or_default();
            *mine = with(*mine, *amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(name: &str, more: &Value) -> Node {
        let mut json =
            json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "10"}}});
        json["spec"] = more["spec"].clone();
        json["metadata"]["labels"] = more["labels"].clone();
        for key in ["spec"] {
            if json[key].is_null() {
                json[key] = json!({});
            }
        }
        if json["metadata"]["labels"].is_null() {
            json["metadata"]["labels"] = json!({});
        }
        serde_json::from_value(json).expect("a node")
    }

    fn pod(spec: &Value) -> Pod {
        serde_json::from_value(
            json!({"metadata": {"uid": "u", "ownerReferences": [{"uid": "set", "controller": true}]}, "spec": spec}),
        )
        .expect("a pod")
    }

    fn snapshot(nodes: &[Node]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for node in nodes {
            snapshot.put_node(node);
        }
        snapshot
    }

    #[test]
    fn siblings_are_spread_over_the_nodes() {
        let mut snapshot = snapshot(&[node("a", &json!({})), node("b", &json!({}))]);
        let pod = pod(&json!({}));
        let mut counts = BTreeMap::new();
        for index in 0..6 {
            let Placement::Node(name) = snapshot.place(&pod) else { panic!("there is room") };
            snapshot.put_pod(&Key::new("x", &index.to_string()), &pod, &name);
            *counts.entry(name).or_insert(0) += 1;
        }
        assert_eq!(counts.values().copied().collect::<Vec<_>>(), [3, 3]);
    }

    #[test]
    fn requests_taints_and_selectors_are_reasons() {
        let tainted = node("a", &json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}}));
        let labelled = node("b", &json!({"labels": {"disk": "flash"}}));
        let snapshot = snapshot(&[tainted, labelled]);
        let large = pod(&json!({"containers": [{"resources": {"requests": {"cpu": "2"}}}]}));
        let why = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {k: v}.";
        assert_eq!(snapshot.place(&large), Placement::Nowhere(why.to_owned()));
        let choosy = pod(&json!({"nodeSelector": {"disk": "flash"}}));
        assert_eq!(snapshot.place(&choosy), Placement::Node("b".to_owned()));
        let tolerant = pod(&json!({"tolerations": [{"operator": "Exists"}], "affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "disk", "operator": "DoesNotExist"}]}]}}}}));
        assert_eq!(snapshot.place(&tolerant), Placement::Node("a".to_owned()));
    }

    #[test]
    fn room_comes_back_when_a_pod_goes() {
        let mut snapshot = snapshot(&[node("a", &json!({}))]);
        let half = pod(&json!({"containers": [{"resources": {"requests": {"cpu": "600m"}}}]}));
        let key = Key::new("x", "1");
        snapshot.put_pod(&key, &half, "a");
        assert!(matches!(snapshot.place(&half), Placement::Nowhere(_)));
        assert!(snapshot.remove_pod(&key));
        assert_eq!(snapshot.place(&half), Placement::Node("a".to_owned()));
    }
}
