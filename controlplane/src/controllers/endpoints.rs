//! EndpointSlices and Endpoints: which pods a Service's selector means, and which of them answer.

use super::{Config, MANAGER, Pace, Watched, due, settle};
use api::object::edit;
use api::resource::{ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES};
use api::selector::Labels;
use api::view::{Pod, Service, ServicePort};
use api::{Object, Tree};
use client::{DeleteOptions, Error, Key, Queue, Target, WriteOptions};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Endpoints of one slice, as upstream's default.
const SLICE_MAX: usize = 100;
/// Addresses that the old Endpoints object holds at most.
const ENDPOINTS_MAX: usize = 1000;
/// The old object is written whole: not more often than this.
const ENDPOINTS_EVERY: Duration = Duration::from_secs(1);
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const SLICE_MANAGER: &str = "endpointslice-controller.k8s.io";

/// One pod, as a slice tells of it.
#[derive(Debug, Clone, PartialEq)]
struct Endpoint {
    ip: String,
    tree: Tree,
    is_ready: bool,
    ports: Vec<Tree>,
}

/// Pure: the endpoints of a Service, in the order of their pods' names.
fn endpoints(service: &Service, pods: &[&Pod]) -> Vec<Endpoint> {
    let labels = Labels::from_map(service.spec.selector.iter().map(|(key, value)| (key.clone(), value.clone())));
    let mine = pods.iter().filter(|pod| labels.matches(|key| pod.metadata.labels.get(key).map(String::as_str)));
    mine.filter_map(|pod| endpoint(service, pod)).collect()
}

fn endpoint(service: &Service, pod: &Pod) -> Option<Endpoint> {
    if pod.status.pod_ip.is_empty() || matches!(pod.status.phase.as_str(), "Succeeded" | "Failed") {
        return None;
    }
    let serving = pod.status.conditions.iter().any(|one| one.kind == "Ready" && one.status == "True");
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let is_ready = (serving && !terminating) || service.spec.publish_not_ready_addresses;
    let ports = service.spec.ports.iter().filter_map(|port| {
        let number = target(port, pod)?;
        let mut tree = json!({ "name": port.name, "protocol": protocol(port), "port": number });
        if let Some(protocol) = &port.app_protocol {
            edit::set(&mut tree, &["appProtocol"], protocol.as_str());
        }
        Some(tree)
    });
    let meta = &pod.metadata;
    let mut tree = json!({
        "addresses": [pod.status.pod_ip],
        "conditions": { "ready": is_ready, "serving": serving, "terminating": terminating },
        "nodeName": pod.spec.node_name,
        "targetRef": { "kind": "Pod", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid },
    });
    if !pod.spec.hostname.is_empty() && pod.spec.subdomain == service.metadata.name {
        edit::set(&mut tree, &["hostname"], pod.spec.hostname.as_str());
    }
    Some(Endpoint { ip: pod.status.pod_ip.clone(), tree, is_ready, ports: ports.collect() })
}

/// What of a pod a slice tells: anything else may change without a look. A pod without an address is not seen at all.
fn seen(pod: &Pod) -> Option<impl PartialEq> {
    let ready = pod.status.conditions.iter().any(|one| one.kind == "Ready" && one.status == "True");
    let deleting = pod.metadata.deletion_timestamp.is_some();
    let shown = (pod.status.pod_ip.as_str(), ready, deleting, pod.status.phase.as_str(), &pod.metadata.labels);
    (!pod.status.pod_ip.is_empty()).then_some(shown)
}

fn protocol(port: &ServicePort) -> &str {
    if port.protocol.is_empty() { "TCP" } else { &port.protocol }
}

/// The pod's port that a Service port means: a number, or the name of a container's port.
fn target(port: &ServicePort, pod: &Pod) -> Option<u16> {
    match &port.target_port {
        Tree::String(name) => {
            let ports = pod.spec.containers.iter().flat_map(|container| &container.ports);
            let named = ports.into_iter().find(|candidate| candidate.name == *name);
            named.map(|port| port.container_port).or_else(|| name.parse().ok())
        }
        Tree::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()).filter(|port| *port != 0),
        _ => Some(port.port),
    }
}

/// What to write for one Service.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    create: Vec<Tree>,
    update: Vec<(Key, Tree)>,
    delete: Vec<Key>,
}

/// Pure: every endpoint in one slice of its ports; a slice that has it keeps it, so that a change of one pod is one
/// small write.
fn plan(service: &Service, wanted: &[Endpoint], slices: &[(Key, Arc<Object>)]) -> Plan {
    let mut plan = Plan::default();
    let mut by_ports: BTreeMap<String, BTreeMap<&str, &Endpoint>> = BTreeMap::new();
    for endpoint in wanted {
        let ports = Tree::from(endpoint.ports.clone()).to_string();
        by_ports.entry(ports).or_default().insert(&endpoint.ip, endpoint);
    }
    if by_ports.is_empty() {
        by_ports.insert("[]".to_owned(), BTreeMap::new());
    }
    let mut old: Vec<(&Key, Tree)> = slices.iter().map(|(key, object)| (key, object.tree())).collect();
    for (ports, mut missing) in by_ports {
        let ports: Tree = serde_json::from_str(&ports).unwrap_or_default();
        let mut rooms: Vec<(&Key, Tree, Vec<Tree>)> = Vec::new();
        let mut rest = Vec::new();
        for (key, tree) in old {
            if json!(edit::list(&tree, &["ports"])) != ports {
                rest.push((key, tree));
                continue;
            }
            let kept = edit::list(&tree, &["endpoints"]).iter().filter_map(|one| {
                let ip = edit::list(one, &["addresses"]).first()?.as_str()?;
                missing.remove(ip).map(|endpoint| endpoint.tree.clone())
            });
            let kept: Vec<Tree> = kept.collect();
            rooms.push((key, tree, kept));
        }
        old = rest;
        let mut new: Vec<Tree> = missing.into_values().map(|endpoint| endpoint.tree.clone()).collect();
        for (_, _, kept) in &mut rooms {
            let room = SLICE_MAX.saturating_sub(kept.len()).min(new.len());
            kept.extend(new.drain(..room));
        }
        let is_only_home = rooms.is_empty();
        let mut left = rooms.len();
        for (key, mut tree, kept) in rooms {
            left -= 1;
            // One empty slice stays, so that the Service is seen to have none.
            if kept.is_empty() && (left > 0 || wanted.iter().any(|_| true)) {
                plan.delete.push(key.clone());
            } else if edit::list(&tree, &["endpoints"]) != kept.as_slice() {
                edit::set(&mut tree, &["endpoints"], kept);
                plan.update.push((key.clone(), tree));
            }
        }
        while !new.is_empty() || (is_only_home && plan.create.is_empty() && wanted.is_empty()) {
            let rest = new.split_off(new.len().min(SLICE_MAX));
            plan.create.push(slice(service, &ports, new));
            new = rest;
        }
    }
    plan.delete.extend(old.into_iter().map(|(key, _)| key.clone()));
    plan
}

fn slice(service: &Service, ports: &Tree, endpoints: Vec<Tree>) -> Tree {
    let meta = &service.metadata;
    let v6 = service.spec.cluster_ip.contains(':');
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": format!("{}-", meta.name),
            "namespace": meta.namespace,
            "labels": { SERVICE_NAME: meta.name, MANAGED_BY: SLICE_MANAGER },
            "ownerReferences": [super::owner("v1", "Service", &meta.name, &meta.uid)],
        },
        "addressType": if v6 { "IPv6" } else { "IPv4" },
        "endpoints": endpoints,
        "ports": ports,
    })
}

/// The old object that says the same.
fn legacy(service: &Service, wanted: &[Endpoint]) -> Tree {
    let mut by_ports: BTreeMap<String, (Vec<Tree>, Vec<Tree>)> = BTreeMap::new();
    for endpoint in wanted.iter().take(ENDPOINTS_MAX) {
        let terminating = edit::is_true(&endpoint.tree, &["conditions", "terminating"]);
        if terminating && !endpoint.is_ready {
            continue;
        }
        let node = edit::at(&endpoint.tree, &["nodeName"]).cloned();
        let target = edit::at(&endpoint.tree, &["targetRef"]).cloned();
        let address = json!({ "ip": endpoint.ip, "nodeName": node, "targetRef": target });
        let lists = by_ports.entry(Tree::from(endpoint.ports.clone()).to_string()).or_default();
        if endpoint.is_ready { lists.0.push(address) } else { lists.1.push(address) }
    }
    let subsets = by_ports.into_iter().map(|(ports, (ready, not_ready))| {
        let ports: Tree = serde_json::from_str(&ports).unwrap_or_default();
        let mut subset = json!({ "ports": ports });
        if !ready.is_empty() {
            edit::set(&mut subset, &["addresses"], ready);
        }
        if !not_ready.is_empty() {
            edit::set(&mut subset, &["notReadyAddresses"], not_ready);
        }
        subset
    });
    let subsets: Vec<Tree> = subsets.collect();
    let meta = &service.metadata;
    json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": { "name": meta.name, "namespace": meta.namespace, "labels": meta.labels },
        "subsets": subsets,
    })
}

struct Controller {
    config: Config,
    services: Watched<Service>,
    pods: Watched<Pod>,
    slices: Watched<String>,
}

pub(super) async fn run(config: Config) {
    let mut controller = Controller {
        services: Watched::new(&config.cluster, &SERVICES, |object| object.view().ok()),
        pods: Watched::new(&config.cluster, &PODS, |object| object.view().ok()),
        slices: Watched::new(&config.cluster, &ENDPOINT_SLICES, |object| {
            let mine = object.label(MANAGED_BY) == Some(SLICE_MANAGER);
            object.label(SERVICE_NAME).filter(|_| mine).map(|name| Arc::new(name.to_owned()))
        }),
        config,
    };
    let mut queue: Queue<Key> = Queue::new();
    let mut legacy: Queue<Key> = Queue::new();
    let mut pace = Pace::default();
    loop {
        tokio::select! {
            changes = controller.services.changed() => changes.into_iter().for_each(|change| queue.add(change.key)),
            changes = controller.pods.changed() => {
                let tells = |change: &client::Change<Pod>| change.old.as_deref().and_then(seen) != change.new.as_deref().and_then(seen);
                for change in changes.into_iter().filter(tells) {
                    let pods: Vec<_> = [&change.old, &change.new].into_iter().flatten().collect();
                    let means = |service: &Service| pods.iter().any(|pod| {
                        !service.spec.selector.is_empty()
                            && service.spec.selector.iter().all(|(key, value)| pod.metadata.labels.get(key) == Some(value))
                    });
                    let all = controller.services.cache.namespace(&change.key.namespace);
                    all.filter(|(_, entry)| means(&entry.value)).for_each(|(key, _)| pace.add(&mut queue, key.clone()));
                }
            }
            changes = controller.slices.changed() => {
                for change in changes.into_iter().filter(|change| change.new.is_none()) {
                    if let Some(service) = change.old {
                        queue.add(Key::new(&change.key.namespace, &service));
                    }
                }
            }
            () = due(&queue) => {}
            () = due(&legacy) => {}
        }
        if !(controller.services.is_synced && controller.pods.is_synced && controller.slices.is_synced) {
            continue;
        }
        while let Some(key) = queue.take(Instant::now()) {
            let outcome = controller.sync(&key).await;
            settle(&mut queue, &key, "endpointslice", outcome);
            legacy.add_at(key, Instant::now() + ENDPOINTS_EVERY);
        }
        while let Some(key) = legacy.take(Instant::now()) {
            let outcome = controller.sync_legacy(&key).await;
            settle(&mut legacy, &key, "endpoints", outcome);
        }
    }
}

impl Controller {
    fn wanted(&self, key: &Key) -> Option<(Arc<Service>, Vec<Endpoint>)> {
        let service = self.services.cache.value(key).filter(|service| !service.spec.selector.is_empty())?.clone();
        let pods: Vec<&Pod> = self.pods.cache.namespace(&key.namespace).map(|(_, entry)| &*entry.value).collect();
        let wanted = endpoints(&service, &pods);
        Some((service, wanted))
    }

    async fn sync(&mut self, key: &Key) -> Result<(), Error> {
        let Some((service, wanted)) = self.wanted(key) else { return Ok(()) };
        let slices = self.slices.cache.namespace(&key.namespace).filter(|(_, entry)| **entry.value == *key.name);
        let slices: Vec<(Key, Arc<Object>)> = slices.map(|(key, entry)| (key.clone(), entry.object.clone())).collect();
        let plan = plan(&service, &wanted, &slices);
        let cluster = &self.config.cluster;
        let at = |name| Target { resource: &ENDPOINT_SLICES, namespace: key.namespace(), name, subresource: None };
        let by = || WriteOptions::by(MANAGER);
        for (slice, tree) in &plan.update {
            let written = cluster.update(at(&slice.name), tree.clone(), by()).await?;
            self.slices.wrote(&written);
        }
        for tree in plan.create.clone() {
            let written = cluster.create(at(""), tree, by()).await?;
            self.slices.wrote(&written);
        }
        for slice in &plan.delete {
            match cluster.delete(at(&slice.name), DeleteOptions::default()).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    async fn sync_legacy(&mut self, key: &Key) -> Result<(), Error> {
        let Some((service, wanted)) = self.wanted(key) else { return Ok(()) };
        let tree = legacy(&service, &wanted);
        let cluster = &self.config.cluster;
        let at = |name| Target { resource: &ENDPOINTS, namespace: key.namespace(), name, subresource: None };
        let by = || WriteOptions::by(MANAGER);
        match cluster.update(at(&key.name), tree.clone(), by()).await {
            Err(error) if error.is_not_found() => cluster.create(at(""), tree, by()).await.map(|_| ()),
            done => done.map(|_| ()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Service {
        let json = json!({"metadata": {"name": "web", "namespace": "a", "uid": "u"}, "spec": {"selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "main"}]}});
        serde_json::from_value(json).expect("a service")
    }

    fn pod(name: &str, ip: &str, ready: bool) -> Pod {
        let is = if ready { "True" } else { "False" };
        let json = json!({"metadata": {"name": name, "namespace": "a", "labels": {"app": "web"}},
            "spec": {"nodeName": "n", "containers": [{"ports": [{"name": "main", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": is}]}});
        serde_json::from_value(json).expect("a pod")
    }

    #[test]
    fn endpoints_say_which_pods_answer_and_where() {
        let (one, mut two) = (pod("one", "10.64.0.1", true), pod("two", "10.64.0.2", true));
        two.metadata.deletion_timestamp = "2026-01-01T00:00:00Z".parse().ok();
        let found = endpoints(&service(), &[&one, &two]);
        assert_eq!(found[0].ports, [json!({"name": "http", "protocol": "TCP", "port": 8080})]);
        assert_eq!(found[0].tree["conditions"], json!({"ready": true, "serving": true, "terminating": false}));
        assert_eq!(found[1].tree["conditions"], json!({"ready": false, "serving": true, "terminating": true}));
    }

    #[test]
    fn a_change_of_one_pod_changes_one_slice() {
        let pods: Vec<Pod> =
            (0..150).map(|index| pod(&format!("p{index:03}"), &format!("10.64.0.{index}"), true)).collect();
        let all: Vec<&Pod> = pods.iter().collect();
        let first = plan(&service(), &endpoints(&service(), &all), &[]);
        let sizes: Vec<usize> =
            first.create.iter().map(|slice| slice["endpoints"].as_array().map_or(0, Vec::len)).collect();
        assert_eq!(sizes, [100, 50]);
        let slices: Vec<(Key, Arc<Object>)> = first
            .create
            .iter()
            .enumerate()
            .map(|(index, tree)| {
                (Key::new("a", &index.to_string()), Arc::new(Object::from_tree(tree).expect("an object")))
            })
            .collect();
        let fewer: Vec<&Pod> = all.iter().skip(1).copied().collect();
        let second = plan(&service(), &endpoints(&service(), &fewer), &slices);
        assert_eq!((second.create.len(), second.update.len(), second.delete.len()), (0, 1, 0));
    }

    #[test]
    fn a_service_without_pods_has_one_empty_slice() {
        let plan_none = plan(&service(), &[], &[]);
        assert_eq!(plan_none.create.len(), 1);
        let mut tree = plan_none.create[0].clone();
        // As the API server prints what is empty.
        for key in ["ports", "endpoints"] {
            assert_eq!(tree[key].take(), json!([]));
        }
        let slices = vec![(Key::new("a", "0"), Arc::new(Object::from_tree(&tree).expect("an object")))];
        assert_eq!(plan(&service(), &[], &slices), Plan::default());
    }
}
