mod conversion;
mod kinds;

use super::*;
use crate::store::memory;
use api::resource::{
    CONFIG_MAPS, DEPLOYMENTS, JOBS, LEASES, LIMIT_RANGES, NAMESPACES, NODES, PODS, RUNTIME_CLASSES, SERVICES,
};
use client::cluster::{Cluster, ListOptions, Target, WatchOptions, WriteOptions};
use client::{DeleteOptions, Event, Patch};
use futures::StreamExt;
use serde_json::{Value, json};

async fn registry() -> Registry {
    let kv: Arc<dyn Kv> = Arc::new(memory::Memory::new());
    Registry::open(kv, Config::default(), Clock::system()).await.expect("it opens")
}

async fn local() -> Local {
    Local::new(registry().await, User::system_admin())
}

fn at<'a>(resource: &'a Resource, name: &'a str) -> Target<'a> {
    Target::namespaced(resource, "default", name)
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "hello:v1"}]}})
}

async fn create(local: &Local, resource: &Resource, tree: Value) -> Arc<Object> {
    local.create(at(resource, ""), tree, WriteOptions::default()).await.expect("it is created")
}

#[tokio::test]
async fn a_pod_is_created_with_what_the_server_adds() {
    let local = local().await;
    let made = create(&local, &PODS, pod("a")).await.tree();
    assert_eq!(made["status"]["phase"], "Pending");
    assert_eq!(made["status"]["qosClass"], "BestEffort");
    assert_eq!(made["spec"]["serviceAccountName"], "default");
    assert_eq!(made["spec"]["restartPolicy"], "Always");
    assert_eq!(made["spec"]["tolerations"].as_array().map(Vec::len), Some(2));
    let read = local.get(at(&PODS, "a")).await.expect("it is there");
    assert_eq!(read.tree(), made);
    let error = local.create(at(&PODS, ""), pod("a"), WriteOptions::default()).await.expect_err("twice");
    assert_eq!(error.to_string(), "pods \"a\" already exists");
}

#[tokio::test]
async fn a_job_selects_its_own_pods() {
    let local = local().await;
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let tree = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "default"},
        "spec": {"template": template}});
    let job = create(&local, &JOBS, tree).await.tree();
    let selected = &job["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"];
    assert_eq!(selected, &job["metadata"]["uid"]);
    let labels = &job["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&labels["batch.kubernetes.io/controller-uid"], selected);
    assert_eq!(labels["batch.kubernetes.io/job-name"], "j");
}

#[tokio::test]
async fn a_pod_costs_what_its_runtime_class_says() {
    let local = local().await;
    let class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "heavy"},
        "handler": "h", "overhead": {"podFixed": {"cpu": "250m"}}, "scheduling": {"nodeSelector": {"a": "b"}}});
    let target = Target::cluster(&RUNTIME_CLASSES, "");
    local.create(target, class, WriteOptions::default()).await.expect("it is created");
    let with = |spec: Value| {
        let mut tree = pod("a");
        for (key, value) in spec.as_object().expect("an object") {
            tree["spec"][key] = value.clone();
        }
        tree
    };
    for (spec, why) in [
        (json!({"runtimeClassName": "none"}), "RuntimeClass \"none\" not found"),
        (json!({"overhead": {"cpu": "1"}}), "Pod Overhead set without corresponding RuntimeClass defined Overhead"),
        (
            json!({"runtimeClassName": "heavy", "overhead": {"cpu": "1"}}),
            "Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
    ] {
        let error = local.create(at(&PODS, ""), with(spec), WriteOptions::default()).await.expect_err(why);
        assert_eq!(error.to_string(), format!("pods \"a\" is forbidden: pod rejected: {why}"));
    }
    let other = with(json!({"runtimeClassName": "heavy", "nodeSelector": {"a": "c"}}));
    local.create(at(&PODS, ""), other, WriteOptions::default()).await.expect_err("another node");
    let same = with(json!({"runtimeClassName": "heavy", "overhead": {"cpu": "0.25"}}));
    let made = create(&local, &PODS, same).await.tree();
    assert_eq!(made["spec"]["overhead"], json!({"cpu": "250m"}));
    assert_eq!(made["spec"]["nodeSelector"], json!({"a": "b"}));
}

#[tokio::test]
async fn nothing_is_made_in_a_namespace_that_is_not_there() {
    let local = local().await;
    let target = Target::namespaced(&PODS, "nowhere", "");
    let error = local.create(target, pod("a"), WriteOptions::default()).await.expect_err("no namespace");
    assert_eq!(error.to_string(), "namespaces \"nowhere\" not found");
}

#[tokio::test]
async fn patches_change_and_a_change_to_nothing_new_writes_nothing() {
    let local = local().await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "1"}});
    let made = create(&local, &CONFIG_MAPS, map).await;
    let patch = || Patch::Merge(json!({"data": {"a": "2", "b": "3"}}));
    let patched = local.patch(at(&CONFIG_MAPS, "m"), patch(), WriteOptions::default()).await.expect("patched");
    assert_eq!(patched.tree()["data"], json!({"a": "2", "b": "3"}));
    assert!(patched.revision() > made.revision());
    let again = local.patch(at(&CONFIG_MAPS, "m"), patch(), WriteOptions::default()).await.expect("the same");
    assert_eq!(again.revision(), patched.revision());
    let stale = local.update(at(&CONFIG_MAPS, "m"), made.tree(), WriteOptions::default()).await.expect_err("stale");
    assert!(stale.is_conflict(), "{stale}");
}

#[tokio::test]
async fn spec_and_status_are_written_apart() {
    let local = local().await;
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}, "status": {"replicas": 9}});
    let made = create(&local, &DEPLOYMENTS, deployment).await.tree();
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["status"], json!({}));
    let both = Patch::Merge(json!({"spec": {"replicas": 2}, "status": {"replicas": 1}}));
    let target = at(&DEPLOYMENTS, "d");
    let spec = local.patch(target, both.clone(), WriteOptions::default()).await.expect("spec").tree();
    assert_eq!(
        (&spec["spec"]["replicas"], &spec["status"], &spec["metadata"]["generation"]),
        (&json!(2), &json!({}), &json!(2))
    );
    let both = Patch::Merge(json!({"spec": {"replicas": 5}, "status": {"replicas": 1}}));
    let status = local.patch(target.subresource("status"), both, WriteOptions::default()).await.expect("status").tree();
    assert_eq!((&status["spec"]["replicas"], &status["status"]["replicas"]), (&json!(2), &json!(1)));
    assert_eq!(status["metadata"]["generation"], 2);
}

#[tokio::test]
async fn a_watch_tells_what_comes_into_view_and_leaves_it() {
    let local = local().await;
    let options = WatchOptions { label_selector: "app=web".into(), revision: 0, ..WatchOptions::default() };
    let mut events = local.watch(&PODS, None, options).await.expect("a watch");
    create(&local, &PODS, pod("a")).await;
    let Some(Ok(Event::Added(added))) = events.next().await else { panic!("no addition") };
    assert_eq!(added.name(), "a");
    let away = Patch::Merge(json!({"metadata": {"labels": {"app": "other"}}}));
    local.patch(at(&PODS, "a"), away, WriteOptions::default()).await.expect("relabelled");
    let Some(Ok(Event::Deleted(gone))) = events.next().await else { panic!("no deletion") };
    assert!(gone.revision() > added.revision());
}

#[tokio::test]
async fn lists_go_page_by_page_at_one_state() {
    let local = local().await;
    for name in ["a", "b", "c"] {
        create(&local, &PODS, pod(name)).await;
    }
    let first = local.list(&PODS, None, ListOptions { limit: 2, ..ListOptions::default() }).await.expect("a page");
    assert_eq!(first.items.len(), 2);
    create(&local, &PODS, pod("d")).await;
    let next = ListOptions { limit: 2, next: first.next, ..ListOptions::default() };
    let second = local.list(&PODS, None, next).await.expect("the next page");
    let names: Vec<_> = second.items.iter().map(|pod| pod.name().to_owned()).collect();
    assert_eq!((names, second.revision), (vec!["c".to_owned()], first.revision));
}

#[tokio::test]
async fn a_bound_pod_waits_for_its_node_and_finalizers_hold() {
    let local = local().await;
    create(&local, &PODS, pod("a")).await;
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}});
    let target = at(&PODS, "a");
    local.create(target.subresource("binding"), binding.clone(), WriteOptions::default()).await.expect("bound");
    let twice = local.create(target.subresource("binding"), binding, WriteOptions::default()).await.expect_err("twice");
    assert!(twice.is_conflict());
    let pod = local.delete(target, DeleteOptions::default()).await.expect("marked").expect("it stays");
    assert_eq!(pod.tree()["metadata"]["deletionGracePeriodSeconds"], 30);
    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    assert!(local.delete(target, now).await.expect("deleted").is_none());
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "finalizers": ["x/y"]}});
    create(&local, &CONFIG_MAPS, map).await;
    assert!(local.delete(at(&CONFIG_MAPS, "m"), DeleteOptions::default()).await.expect("marked").is_some());
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    local.patch(at(&CONFIG_MAPS, "m"), free, WriteOptions::default()).await.expect("the last finalizer goes");
    assert!(local.get(at(&CONFIG_MAPS, "m")).await.expect_err("gone").is_not_found());
}

#[tokio::test]
async fn a_pod_that_its_node_ends_first_is_deleted_all_the_same() {
    let local = local().await;
    create(&local, &PODS, pod("a")).await;
    let target = at(&PODS, "a");
    let mut events = local.watch(&PODS, None, WatchOptions::default()).await.expect("a watch");
    let now = || DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    let node = async {
        loop {
            let Some(Ok(event)) = events.next().await else { panic!("the watch has ended") };
            if matches!(event, Event::Modified(pod) if pod.head().is_deleting) {
                return local.delete(target, now()).await;
            }
        }
    };
    // In this order whenever both can go on.
    let (first, second) = futures::join!(node, local.delete(target, now()));
    assert!(first.expect("it was there").is_none());
    assert!(second.expect("deleted").is_none());
    let again = local.delete(target, now()).await;
    assert!(again.expect_err("gone").is_not_found());
}

#[tokio::test]
async fn services_get_addresses_that_nobody_else_has() {
    let local = local().await;
    let service = |name: &str, port: Option<u16>| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "nodePort": port}]}})
    };
    let first = create(&local, &SERVICES, service("a", Some(30080))).await.tree();
    let second = create(&local, &SERVICES, service("b", None)).await.tree();
    assert_ne!(first["spec"]["clusterIP"], second["spec"]["clusterIP"]);
    assert_eq!(first["spec"]["ports"][0]["nodePort"], 30080);
    assert!(second["spec"]["ports"][0]["nodePort"].as_u64().is_some_and(|port| (30000..=32767).contains(&port)));
    let error = local.create(at(&SERVICES, ""), service("c", Some(30080)), WriteOptions::default()).await;
    assert!(error.expect_err("taken").to_string().contains("provided port is already allocated"));
    local.delete(at(&SERVICES, "a"), DeleteOptions::default()).await.expect("deleted");
    create(&local, &SERVICES, service("c", Some(30080))).await;
    let own = local.get(at(&SERVICES, "kubernetes")).await.expect("every cluster has it").tree();
    assert_eq!(own["spec"]["clusterIP"], "10.96.0.1");
}

#[tokio::test]
async fn scale_changes_replicas() {
    let local = local().await;
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    create(&local, &DEPLOYMENTS, deployment).await;
    let target = at(&DEPLOYMENTS, "d");
    let scale = Patch::Merge(json!({"spec": {"replicas": 7}}));
    let scaled = local.patch(target.subresource("scale"), scale, WriteOptions::default()).await.expect("scaled").tree();
    assert_eq!((&scaled["kind"], &scaled["spec"]["replicas"]), (&json!("Scale"), &json!(7)));
    assert_eq!(local.get(target).await.expect("there").tree()["spec"]["replicas"], 7);
}

#[tokio::test]
async fn users_may_do_what_their_roles_say_and_nodes_what_is_their_own() {
    let registry = registry().await;
    let admin = Local::new(registry.clone(), User::system_admin());
    let alice = Local::new(registry.clone(), User::new("alice", &[AUTHENTICATED]));
    let error = alice.get(at(&PODS, "a")).await.expect_err("no role");
    let words = "pods \"a\" is forbidden: User \"alice\" cannot get resource \"pods\" in API group \"\" in the namespace \"default\"";
    assert_eq!(error.to_string(), words);
    let bindings = Resource::new("rbac.authorization.k8s.io", "v1", "rolebindings");
    let binding = json!({"metadata": {"name": "views"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}]});
    create(&admin, &bindings, binding).await;
    assert!(alice.get(at(&PODS, "a")).await.expect_err("allowed, but none is there").is_not_found());
    create(&admin, &PODS, pod("a")).await;
    let binding = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}});
    admin.create(at(&PODS, "a").subresource("binding"), binding, WriteOptions::default()).await.expect("bound");
    let (own, other) = (Local::new(registry.clone(), User::node("n1")), Local::new(registry, User::node("n2")));
    assert!(own.get(at(&PODS, "a")).await.is_ok());
    assert!(other.get(at(&PODS, "a")).await.is_err());
    assert!(own.list(&PODS, None, ListOptions::default()).await.is_err(), "all pods are not its own");
    let options = ListOptions { field_selector: "spec.nodeName=n1".into(), ..ListOptions::default() };
    assert_eq!(own.list(&PODS, None, options).await.expect("its own").items.len(), 1);
}

#[tokio::test]
async fn a_node_writes_its_own_node_and_not_everything_of_it() {
    let registry = registry().await;
    let node = Local::new(registry.clone(), User::node("n1"));
    let named = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}, "spec": {}});
    let make = |object: Value| node.create(Target::cluster(&NODES, ""), object, WriteOptions::default());
    assert!(make(named("n2", json!({}))).await.is_err(), "another's");
    assert!(make(named("n1", json!({"node-restriction.kubernetes.io/a": "b"}))).await.is_err());
    make(named("n1", json!({"site": "harbour", "kubernetes.io/os": "linux"}))).await.expect("its own");
    let target = Target::cluster(&NODES, "n1");
    let refused = [
        (json!({"metadata": {"labels": {"node-restriction.kubernetes.io/a": "b"}}}), "modify labels"),
        (json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}), "modify taints"),
        (
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "b"}]}}),
            "modify ownerReferences",
        ),
    ];
    for (patch, why) in refused {
        let error = node.patch(target, Patch::Merge(patch), WriteOptions::default()).await.expect_err(why);
        assert!(error.to_string().contains(why), "{error}");
    }
    let site = json!({"metadata": {"labels": {"site": "quay"}}});
    node.patch(target, Patch::Merge(site), WriteOptions::default()).await.expect("a label of its user's");
    assert!(node.delete(target, DeleteOptions::default()).await.is_err(), "it would come back without its taints");
    let target = Target::namespaced(&LEASES, "kube-node-lease", "");
    assert!(node.create(target, json!({"metadata": {"name": "n2"}}), WriteOptions::default()).await.is_err());
    node.create(target, json!({"metadata": {"name": "n1"}}), WriteOptions::default()).await.expect("its own");
}

#[tokio::test]
async fn a_namespace_goes_when_it_is_empty() {
    let local = local().await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    local.create(Target::cluster(&NAMESPACES, ""), namespace, WriteOptions::default()).await.expect("made");
    let target = Target::cluster(&NAMESPACES, "n");
    let stays = local.delete(target, DeleteOptions::default()).await.expect("marked").expect("it stays").tree();
    assert_eq!(stays["status"]["phase"], "Terminating");
    let error = local.create(Target::namespaced(&PODS, "n", ""), pod("a"), WriteOptions::default()).await;
    assert!(error.expect_err("terminating").to_string().contains("because it is being terminated"));
    let mut empty = stays;
    empty["spec"]["finalizers"] = json!([]);
    local.update(target.subresource("finalize"), empty, WriteOptions::default()).await.expect("finalized");
    assert!(local.get(target).await.expect_err("gone").is_not_found());
}

mod history;
