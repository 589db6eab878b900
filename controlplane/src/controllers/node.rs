//! Nodes: the addresses of their pods, what their silence means, and pods that no node runs any more.

use super::{Config, Watched, patch, patch_status};
use api::object::edit;
use api::resource::{LEASES, NODES, PODS};
use api::time::{self, SignedDuration, Timestamp};
use api::view::{Node, Pod, Taint};
use api::{Object, Tree};
use client::{About, DeleteOptions, Error, Happened, Key, Recorder, Target};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

const COMPONENT: &str = "node-controller";
const EVICTOR: &str = "taint-eviction-controller";
const LEASES_IN: &str = "kube-node-lease";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// How often silence is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Prefix length of one node's range.
const NODE_BITS: u32 = 20;

/// The taints that a node's condition asks for.
fn taints(ready: Option<&str>) -> &'static [(&'static str, &'static str)] {
    match ready {
        Some("True") => &[],
        Some("Unknown") => &[(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")],
        _ => &[(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")],
    }
}

/// Pure: the node's taints as they should be; `None` if they are.
fn retainted(node: &Node, ready: Option<&str>, now: Timestamp) -> Option<Vec<Taint>> {
    let wanted = taints(ready);
    let is_ours = |taint: &Taint| matches!(taint.key.as_str(), NOT_READY | UNREACHABLE);
    let has = |key: &str, effect: &str| node.spec.taints.iter().any(|taint| taint.key == key && taint.effect == effect);
    let stale = node.spec.taints.iter().any(|taint| is_ours(taint) && !wanted.contains(&(&taint.key, &taint.effect)));
    if !stale && wanted.iter().all(|(key, effect)| has(key, effect)) {
        return None;
    }
    let kept = node.spec.taints.iter().filter(|taint| !is_ours(taint) || wanted.contains(&(&taint.key, &taint.effect)));
    let mut all: Vec<Taint> = kept.cloned().collect();
    for (key, effect) in wanted.iter().filter(|(key, effect)| !has(key, effect)) {
        let time_added = (*effect == "NoExecute").then_some(now);
        all.push(Taint { key: (*key).to_owned(), value: String::new(), effect: (*effect).to_owned(), time_added });
    }
    Some(all)
}

/// Pure: when a pod has to leave for a taint; `None`: never.
fn leaves_at(pod: &Pod, taints: &[Taint]) -> Option<Timestamp> {
    let driving = taints.iter().filter(|taint| taint.effect == "NoExecute");
    let ends = driving.filter_map(|taint| {
        let since = taint.time_added.unwrap_or(Timestamp::UNIX_EPOCH);
        let tolerated = pod.spec.tolerations.iter().filter(|toleration| {
            let key = toleration.key.is_empty() || toleration.key == taint.key;
            let value = toleration.operator == "Exists" || toleration.value == taint.value;
            let effect = toleration.effect.is_empty() || toleration.effect == taint.effect;
            key && value && effect
        });
        let longest = tolerated.map(|toleration| toleration.toleration_seconds.unwrap_or(i64::MAX)).max();
        match longest {
            None => Some(since),
            Some(i64::MAX) => None,
            Some(seconds) => Some(since + SignedDuration::from_secs(seconds.max(0))),
        }
    });
    ends.min()
}

/// Pure: the first free range for a node.
fn free_range(cidr: &str, used: &BTreeSet<String>) -> Option<String> {
    let (base, bits) = cidr.split_once('/')?;
    let (base, bits): (Ipv4Addr, u32) = (base.parse().ok()?, bits.parse().ok()?);
    let count = 1_u32.checked_shl(NODE_BITS.checked_sub(bits)?)?;
    let step = 1_u32 << (32 - NODE_BITS);
    let ranges = (0..count).map(|index| format!("{}/{NODE_BITS}", Ipv4Addr::from(u32::from(base) + index * step)));
    ranges.into_iter().find(|range| !used.contains(range))
}

struct Controller {
    config: Config,
    nodes: Watched<Node>,
    pods: Watched<Pod>,
    leases: Watched<String>,
    /// When each node's lease was last seen to change, by this process's own clock: clocks of nodes may be wrong.
    heard: HashMap<String, (String, Timestamp)>,
    started: Timestamp,
    /// Nodes that this process has told of.
    registered: BTreeSet<String>,
    events: Recorder,
}

pub(super) async fn run(config: Config, events: Recorder) {
    let mut controller = Controller {
        nodes: Watched::new(&config.cluster, &NODES, |object| object.view().ok()),
        pods: Watched::new(&config.cluster, &PODS, |object| object.view().ok()),
        leases: Watched::new(&config.cluster, &LEASES, |object| renewed(object).map(Arc::new)),
        heard: HashMap::new(),
        started: config.clock.now(),
        registered: BTreeSet::new(),
        events,
        config,
    };
    loop {
        let has_taints = controller.nodes.cache.iter().any(|(_, entry)| !entry.value.spec.taints.is_empty());
        let mut look = has_taints;
        tokio::select! {
            changes = controller.nodes.changed() => look |= !changes.is_empty(),
            _ = controller.pods.changed() => {}
            changes = controller.leases.changed() => {
                for change in changes {
                    if let Some(time) = change.new {
                        controller.heard.insert(change.key.name.to_string(), ((*time).clone(), controller.config.clock.now()));
                    }
                }
                continue;
            }
            () = tokio::time::sleep(TICK) => look = true,
        }
        let is_synced = controller.nodes.is_synced && controller.pods.is_synced && controller.leases.is_synced;
        if look && is_synced {
            controller.look().await;
        }
    }
}

fn renewed(object: &Object) -> Option<String> {
    (object.namespace() == LEASES_IN).then(|| edit::text(&object.tree(), &["spec", "renewTime"]).to_owned())
}

impl Controller {
    async fn look(&mut self) {
        let keys: Vec<Key> = self.nodes.cache.iter().map(|(key, _)| key.clone()).collect();
        for key in keys {
            if let Err(error) = self.look_at(&key).await
                && !error.is_not_found()
            {
                tracing::debug!(node = %key, %error, "the node is looked at again later");
            }
        }
        if let Err(error) = self.drop_orphans().await {
            tracing::debug!(%error, "orphaned pods are looked at again later");
        }
    }

    async fn look_at(&mut self, key: &Key) -> Result<(), Error> {
        let Some(node) = self.nodes.cache.value(key).cloned() else { return Ok(()) };
        let now = self.config.clock.now();
        if self.registered.insert(node.metadata.uid.clone()) {
            let name = &node.metadata.name;
            let message = format!("Node {name} event: Registered Node {name} in Controller");
            self.events.tell(Happened::normal(COMPONENT, about(&node), "RegisteredNode", message));
        }
        if node.spec.pod_cidr.is_empty() {
            self.give_range(key).await?;
        }
        let mut ready = node.condition("Ready").map(|ready| ready.status.clone());
        let heard = self.heard.get(&*key.name).map_or(self.started, |(_, at)| *at).max(node_born(&node));
        let silent =
            now.duration_since(heard) > SignedDuration::try_from(self.config.node_grace).unwrap_or(SignedDuration::MAX);
        if silent && ready.as_deref() != Some("Unknown") {
            self.mark_unknown(key, &node, now).await?;
            ready = Some("Unknown".to_owned());
        }
        if let Some(taints) = retainted(&node, ready.as_deref(), now) {
            let trees: Vec<Tree> = taints.iter().map(tree).collect();
            let written = patch(&self.config.cluster, &NODES, key, json!({ "spec": { "taints": trees } })).await?;
            self.nodes.wrote(&written);
        }
        self.evict(key, now).await
    }

    async fn give_range(&mut self, key: &Key) -> Result<(), Error> {
        let used = self.nodes.cache.iter().map(|(_, entry)| entry.value.spec.pod_cidr.clone()).collect();
        let Some(range) = free_range(&self.config.cluster_cidr, &used) else {
            tracing::error!(node = %key, "no address range is left for the node's pods");
            return Ok(());
        };
        let tree = json!({ "spec": { "podCIDR": range, "podCIDRs": [range] } });
        let written = patch(&self.config.cluster, &NODES, key, tree).await?;
        self.nodes.wrote(&written);
        Ok(())
    }

    /// The node said nothing for its grace: nobody knows how it is.
    async fn mark_unknown(&mut self, key: &Key, node: &Node, now: Timestamp) -> Result<(), Error> {
        tracing::warn!(node = %key, "the node is silent");
        let at = time::seconds(now);
        let object = self.nodes.cache.get(key).map(|entry| entry.object.tree()).unwrap_or_default();
        let mut conditions = edit::list(&object, &["status", "conditions"]).to_vec();
        if node.condition("Ready").is_none() {
            conditions.push(json!({ "type": "Ready" }));
        }
        for condition in &mut conditions {
            if edit::text(condition, &["status"]) != "Unknown" {
                edit::set(condition, &["lastTransitionTime"], at.as_str());
            }
            edit::set(condition, &["status"], "Unknown");
            edit::set(condition, &["reason"], "NodeStatusUnknown");
            edit::set(condition, &["message"], "Kubelet stopped posting node status.");
        }
        let written = patch_status(&self.config.cluster, &NODES, key, json!({ "conditions": conditions })).await?;
        self.nodes.wrote(&written);
        let message = format!("Node {} status is now: NodeNotReady", key.name);
        self.events.tell(Happened::normal(COMPONENT, about(node), "NodeNotReady", message));
        let on_node = self.pods.cache.iter().filter(|(_, entry)| *entry.value.spec.node_name == *key.name);
        let pods: Vec<(Key, Tree)> = on_node.map(|(key, entry)| (key.clone(), entry.object.tree())).collect();
        for (key, pod) in pods {
            let mut conditions = edit::list(&pod, &["status", "conditions"]).to_vec();
            for condition in conditions.iter_mut().filter(|one| edit::text(one, &["type"]) == "Ready") {
                if edit::text(condition, &["status"]) == "True" {
                    edit::set(condition, &["lastTransitionTime"], at.as_str());
                }
                edit::set(condition, &["status"], "False");
                edit::set(condition, &["reason"], "NodeNotReady");
            }
            match patch_status(&self.config.cluster, &PODS, &key, json!({ "conditions": conditions })).await {
                Ok(written) => {
                    let about = About::new("v1", "Pod", &written);
                    let message = "Node is not ready".to_owned();
                    self.events.tell(Happened::warning(COMPONENT, about, "NodeNotReady", message));
                    self.pods.wrote(&written);
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Deletes the pods whose time on a tainted node is over.
    async fn evict(&mut self, key: &Key, now: Timestamp) -> Result<(), Error> {
        let Some(node) = self.nodes.cache.value(key) else { return Ok(()) };
        let due = |pod: &Pod| leaves_at(pod, &node.spec.taints).is_some_and(|at| at <= now);
        let on_node = self.pods.cache.iter().filter(|(_, entry)| {
            let pod = &entry.value;
            *pod.spec.node_name == *key.name && pod.metadata.deletion_timestamp.is_none() && due(pod)
        });
        let keys: Vec<Key> = on_node.map(|(key, _)| key.clone()).collect();
        for key in keys {
            let target = Target::namespaced(&PODS, &key.namespace, &key.name);
            tracing::info!(pod = %key, "the pod leaves its tainted node");
            if let Some(pod) = self.pods.cache.value(&key) {
                let message = format!("Marking for deletion Pod {key}");
                let about = About::pod(&pod.metadata);
                self.events.tell(Happened::normal(EVICTOR, about, "TaintManagerEviction", message));
            }
            match self.config.cluster.delete(target, DeleteOptions::default()).await {
                Ok(Some(pod)) => self.pods.wrote(&pod),
                Ok(None) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Pods of nodes that are no more: nobody else can end them.
    async fn drop_orphans(&mut self) -> Result<(), Error> {
        let exists = |name: &str| self.nodes.cache.value(&Key::new("", name)).is_some();
        let orphans = self.pods.cache.iter().filter(|(_, entry)| {
            let pod = &entry.value;
            let unbound_end = pod.spec.node_name.is_empty() && pod.metadata.deletion_timestamp.is_some();
            (!pod.spec.node_name.is_empty() && !exists(&pod.spec.node_name)) || unbound_end
        });
        let keys: Vec<(Key, String)> =
            orphans.map(|(key, entry)| (key.clone(), entry.value.metadata.uid.clone())).collect();
        for (key, uid) in keys {
            let target = Target::namespaced(&PODS, &key.namespace, &key.name);
            let options = DeleteOptions { grace_period_seconds: Some(0), uid: Some(uid), ..DeleteOptions::default() };
            match self.config.cluster.delete(target, options).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn about(node: &Node) -> About {
    About::of("v1", "Node", &node.metadata)
}

fn node_born(node: &Node) -> Timestamp {
    node.metadata.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH)
}

fn tree(taint: &Taint) -> Tree {
    let mut tree = json!({ "key": taint.key, "effect": taint.effect });
    if !taint.value.is_empty() {
        edit::set(&mut tree, &["value"], taint.value.as_str());
    }
    if let Some(at) = taint.time_added {
        edit::set(&mut tree, &["timeAdded"], time::seconds(at));
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::view::Toleration;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn every_node_gets_a_range_of_its_own() {
        let mut used = BTreeSet::new();
        for expected in ["10.64.0.0/20", "10.64.16.0/20", "10.64.32.0/20"] {
            let range = free_range("10.64.0.0/10", &used).expect("there are a thousand");
            assert_eq!(range, expected);
            used.insert(range);
        }
    }

    #[test]
    fn taints_follow_the_condition_and_others_are_left_alone() {
        let now = at("2026-01-01T00:00:00Z");
        let mut node = Node::default();
        let own = Taint { key: "site".into(), effect: "NoSchedule".into(), ..Taint::default() };
        node.spec.taints = vec![own.clone()];
        let unknown = retainted(&node, Some("Unknown"), now).expect("two are missing");
        assert_eq!(
            unknown.iter().map(|taint| taint.key.as_str()).collect::<Vec<_>>(),
            ["site", UNREACHABLE, UNREACHABLE]
        );
        node.spec.taints = unknown;
        assert_eq!(retainted(&node, Some("Unknown"), now), None);
        assert_eq!(retainted(&node, Some("True"), now), Some(vec![own]));
    }

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates() {
        let taint = Taint {
            key: UNREACHABLE.into(),
            effect: "NoExecute".into(),
            time_added: Some(at("2026-01-01T00:00:00Z")),
            ..Taint::default()
        };
        let mut pod = Pod::default();
        assert_eq!(leaves_at(&pod, std::slice::from_ref(&taint)), Some(at("2026-01-01T00:00:00Z")));
        let toleration = Toleration {
            key: UNREACHABLE.into(),
            operator: "Exists".into(),
            toleration_seconds: Some(300),
            ..Toleration::default()
        };
        pod.spec.tolerations = vec![toleration.clone()];
        assert_eq!(leaves_at(&pod, std::slice::from_ref(&taint)), Some(at("2026-01-01T00:05:00Z")));
        pod.spec.tolerations = vec![Toleration { toleration_seconds: None, ..toleration }];
        assert_eq!(leaves_at(&pod, &[taint]), None);
    }
}
