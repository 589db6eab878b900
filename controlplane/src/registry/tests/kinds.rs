//! What differs from kind to kind, and from version to version of one.

use super::*;

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

#[tokio::test]
async fn a_lease_is_made_by_a_put_and_changed_by_one_that_knows_it() {
    let local = local().await;
    let put = |tree: Value| local.update(at(&LEASES, "l"), tree, WriteOptions::default());
    let made = put(named("l")).await.expect("made");
    let blind = put(named("l")).await.expect_err("no version");
    assert_eq!(
        blind.to_string(),
        "leases.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    );
    put(made.tree()).await.expect("the same");
    let mut other = made.tree();
    other["metadata"]["uid"] = "u".into();
    let other = put(other).await.expect_err("another lease");
    assert!(other.to_string().contains("Key: /registry/leases/default/l, "), "{other}");
    let missing = local.update(at(&CONFIG_MAPS, "m"), named("m"), WriteOptions::default()).await;
    assert!(missing.expect_err("a PUT makes no ConfigMap").is_not_found());
}

#[tokio::test]
async fn whoever_makes_by_a_put_must_be_allowed_to_create() {
    let registry = registry().await;
    let role = json!({"metadata": {"name": "writer"},
        "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["update", "patch"]}]});
    let binding = json!({"metadata": {"name": "writer"}, "subjects": [{"kind": "User", "name": "u"}],
        "roleRef": {"kind": "Role", "name": "writer"}});
    let admin = Local::new(registry.clone(), User::system_admin());
    create(&admin, &api::resource::ROLES, role).await;
    create(&admin, &api::resource::ROLE_BINDINGS, binding).await;
    let local = Local::new(registry, User::new("u", &[]));
    let refused = local.update(at(&LEASES, "l"), named("l"), WriteOptions::default()).await.expect_err("not allowed");
    assert!(refused.to_string().contains("User \"u\" cannot create resource \"leases\""), "{refused}");
}

#[tokio::test]
async fn a_dry_run_finds_the_name_taken() {
    let local = local().await;
    create(&local, &CONFIG_MAPS, named("m")).await;
    let dry = WriteOptions { dry_run: true, ..WriteOptions::default() };
    let taken = local.create(at(&CONFIG_MAPS, ""), named("m"), dry).await.expect_err("taken");
    assert_eq!(taken.to_string(), "configmaps \"m\" already exists");
}

#[tokio::test]
async fn versions_of_old_are_the_same_objects() {
    let local = local().await;
    let old = Resource::new("policy", "v1beta1", "poddisruptionbudgets");
    let new = Resource::new("policy", "v1", "poddisruptionbudgets");
    let tree = json!({"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {}}});
    let made = create(&local, &old, tree).await;
    assert_eq!(made.tree()["apiVersion"], "policy/v1beta1");
    assert_eq!(made.tree()["metadata"]["managedFields"][0]["apiVersion"], "policy/v1beta1");
    assert_eq!(made.tree()["spec"]["selector"], json!({}));
    let stored = local.get(at(&new, "b")).await.expect("the same object").tree();
    assert_eq!(stored["apiVersion"], "policy/v1");
    assert_eq!(stored["spec"]["selector"]["matchExpressions"][0]["operator"], "Exists");
    let patch = Patch::Merge(json!({"spec": {"minAvailable": 2}}));
    let patched = local.patch(at(&old, "b"), patch, WriteOptions::default()).await.expect("patched");
    assert_eq!((patched.tree()["spec"]["minAvailable"].clone(), patched.uid()), (json!(2), made.uid()));
    let listed = local.list(&old, Some("default"), ListOptions::default()).await.expect("a list");
    assert_eq!(listed.items[0].tree()["apiVersion"], "policy/v1beta1");
    let options = WatchOptions { revision: listed.revision, ..WatchOptions::default() };
    let mut events = local.watch(&old, None, options).await.expect("a watch");
    local.delete(at(&new, "b"), DeleteOptions::default()).await.expect("deleted");
    let Some(Ok(Event::Deleted(gone))) = events.next().await else { panic!("no deletion") };
    assert_eq!(gone.tree()["apiVersion"], "policy/v1beta1");
}

#[tokio::test]
async fn autoscalers_of_both_versions_are_one() {
    let local = local().await;
    let [old, new] = ["v1", "v2"].map(|version| Resource::new("autoscaling", version, "horizontalpodautoscalers"));
    let tree = json!({"metadata": {"name": "h"},
        "spec": {"maxReplicas": 5, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}});
    let made = create(&local, &old, tree).await.tree();
    assert_eq!(made["spec"]["targetCPUUtilizationPercentage"], 80);
    let stored = local.get(at(&new, "h")).await.expect("the same object").tree();
    assert_eq!(stored["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
}

#[tokio::test]
async fn nodes_claims_and_daemon_sets_get_what_upstream_gives_them() {
    let local = local().await;
    let node = json!({"metadata": {"name": "n"}, "spec": {"podCIDR": "10.1.0.0/24"}});
    let node = local.create(Target::cluster(&NODES, ""), node, WriteOptions::default()).await.expect("a node").tree();
    assert_eq!(node["spec"]["podCIDRs"], json!(["10.1.0.0/24"]));
    assert_eq!(node["spec"]["taints"], json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]));
    let claim = json!({"metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let claim = create(&local, &api::resource::PERSISTENT_VOLUME_CLAIMS, claim).await.tree();
    assert_eq!(claim["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    assert_eq!(claim["status"], json!({"phase": "Pending"}));
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let set =
        json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let sets = &api::resource::DAEMON_SETS;
    let count = |tree: &Value| tree["metadata"]["annotations"]["deprecated.daemonset.template.generation"].clone();
    assert_eq!(count(&create(&local, sets, set).await.tree()), "1");
    let patch =
        Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "j"}]}}}}));
    let patched = local.patch(at(sets, "d"), patch, WriteOptions::default()).await.expect("patched").tree();
    assert_eq!((count(&patched), &patched["metadata"]["generation"]), (json!("2"), &json!(2)));
    let target = at(sets, "d").subresource("status");
    let patch = Patch::Json(json!([{"op": "replace", "path": "/metadata/annotations", "value": {"a": "b"}}]));
    let patched = local.patch(target, patch, WriteOptions::default()).await.expect("patched").tree();
    assert_eq!((count(&patched), &patched["metadata"]["annotations"]["a"]), (json!("2"), &json!("b")));
}

#[tokio::test]
async fn what_is_always_printed_is_null_when_it_is_empty() {
    let local = local().await;
    let tree = json!({"metadata": {"name": "l"}, "spec": {"limits": []}});
    let made = create(&local, &LIMIT_RANGES, tree.clone()).await;
    assert_eq!(made.tree()["spec"], json!({"limits": null}));
    let again = local.update(at(&LIMIT_RANGES, "l"), tree, WriteOptions::default()).await.expect("the same");
    assert_eq!(again.revision(), made.revision());
    let patch = Patch::Strategic(json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}}));
    let patched = local.patch(at(&LIMIT_RANGES, "l"), patch, WriteOptions::default()).await.expect("patched").tree();
    assert_eq!(patched["spec"]["limits"][0]["type"], "Pod");
    let slices = Resource::new("discovery.k8s.io", "v1", "endpointslices");
    let tree = json!({"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": [], "ports": []});
    let made = create(&local, &slices, tree).await.tree();
    let patch = Patch::Merge(json!({"endpoints": []}));
    let same = local.patch(at(&slices, "s"), patch, WriteOptions::default()).await.expect("the same").tree();
    assert_eq!((&made["endpoints"], &same["metadata"]["generation"]), (&Value::Null, &json!(1)));
}

#[tokio::test]
async fn what_a_client_says_of_versions_and_times() {
    let local = local().await;
    let with = |key: &str, value: Value| {
        let mut tree = named("m");
        tree["metadata"][key] = value;
        tree
    };
    let make = |tree: Value, dry_run: bool| {
        local.create(at(&CONFIG_MAPS, ""), tree, WriteOptions { dry_run, ..WriteOptions::default() })
    };
    let shown = make(with("resourceVersion", json!("5")), true).await.expect("a dry run");
    assert_eq!(shown.tree()["metadata"]["resourceVersion"], "5");
    let versioned = make(with("resourceVersion", json!("5")), false).await.expect_err("a version");
    let said = "resourceVersion should not be set on objects to be created";
    assert_eq!((versioned.to_string().as_str(), versioned.rejected().map(|why| why.code)), (said, Some(400)));
    let negative = make(with("generation", json!(-1)), true).await.expect_err("no generation");
    assert_eq!(
        negative.to_string(),
        "ConfigMap \"m\" is invalid: metadata.generation: Invalid value: -1: must be greater than or equal to 0"
    );
    let made = make(with("generation", json!(7)), false).await.expect("made").tree();
    assert_eq!(made["metadata"]["generation"], 7);
    let patch = |key: &str, value: Value| {
        let patch = Patch::Merge(json!({"metadata": {key: value}}));
        local.patch(at(&CONFIG_MAPS, "m"), patch, WriteOptions::default())
    };
    assert_eq!(patch("generation", json!(9)).await.expect("kept").tree()["metadata"]["generation"], 7);
    let immutable = patch("deletionTimestamp", json!("2001-01-01T00:00:00Z")).await.expect_err("not by a change");
    assert!(
        immutable.to_string().ends_with("Invalid value: \"2001-01-01T00:00:00Z\": field is immutable"),
        "{immutable}"
    );
    let none = patch("resourceVersion", json!("x")).await.expect_err("no version");
    assert_eq!(none.to_string(), "strconv.ParseUint: parsing \"x\": invalid syntax");
    let space = Target::cluster(&NAMESPACES, "default").subresource("status");
    let patch = Patch::Merge(json!({"metadata": {"deletionTimestamp": "2001-01-01T00:00:00Z"}}));
    local.patch(space, patch, WriteOptions::default()).await.expect_err("nor by its status");
}

#[tokio::test]
async fn a_patch_makes_no_other_kind() {
    let local = local().await;
    create(&local, &CONFIG_MAPS, named("m")).await;
    for (patch, why) in [
        (json!({"kind": "Secret"}), "converting (v1.Secret) to (core.ConfigMap): unknown conversion"),
        (json!({"kind": "Secret", "data": {"a": "1"}}), "illegal base64 data at input byte 0"),
        (json!({"apiVersion": "v2"}), "no kind \"ConfigMap\" is registered for version \"v2\" in scheme"),
    ] {
        let refused = local.patch(at(&CONFIG_MAPS, "m"), Patch::Merge(patch), WriteOptions::default()).await;
        let refused = refused.expect_err(why).to_string();
        let start = "\"\" is invalid: patch: Invalid value: \"{\\\"apiVersion\\\":";
        assert!(refused.trim_start().starts_with(start) && refused.contains(why), "{refused}");
    }
}
