use super::*;
use crate::kinds;
use crate::resource::{CONFIG_MAPS, DEPLOYMENTS};

fn writer<'a>(manager: &'a str, api_version: &'a str) -> Writer<'a> {
    Writer { manager, api_version, subresource: "" }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn map(data: Tree) -> Tree {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": data})
}

fn put(live: Option<&Tree>, config: &Tree, manager: &str, force: bool) -> Result<Tree, Rejected> {
    apply(kinds::find(&CONFIG_MAPS).unwrap(), live, config, writer(manager, "v1"), force, at(0))
}

#[test]
fn fields_that_a_manager_no_longer_states_go_away() {
    let first = put(None, &map(json!({"a": "1", "b": "2"})), "m", false).unwrap();
    assert_eq!(first["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:data": {"f:a": {}, "f:b": {}}}));
    let second = put(Some(&first), &map(json!({"a": "1"})), "m", false).unwrap();
    assert_eq!(second["data"], json!({"a": "1"}));
}

#[test]
fn a_shared_field_stays_until_its_last_owner_lets_go() {
    let first = put(None, &map(json!({"a": "1"})), "m", false).unwrap();
    let shared = put(Some(&first), &map(json!({"a": "1"})), "n", false).unwrap();
    let left = put(Some(&shared), &map(json!({"b": "1"})), "m", false).unwrap();
    assert_eq!(left["data"], json!({"a": "1", "b": "1"}));
    let gone = put(Some(&left), &map(json!({"c": "1"})), "n", false).unwrap();
    assert_eq!(gone["data"], json!({"b": "1", "c": "1"}));
}

#[test]
fn conflicts_are_told_in_upstreams_words() {
    let first = put(None, &map(json!({"a": "1"})), "m1", false).unwrap();
    let no = put(Some(&first), &map(json!({"a": "2"})), "m2", false).unwrap_err();
    assert_eq!(no.message, r#"Apply failed with 1 conflict: conflict with "m1": .data.a"#);
    assert_eq!((no.code, &*no.details.causes[0].field), (409, ".data.a"));
    let both = put(Some(&first), &map(json!({"a": "1"})), "m2", false).unwrap();
    let no = put(Some(&both), &map(json!({"a": "3"})), "m3", false).unwrap_err();
    let told = "Apply failed with 2 conflicts: conflicts with \"m1\":\n- .data.a\nconflicts with \"m2\":\n- .data.a";
    assert_eq!(no.message, told);
    let forced = put(Some(&both), &map(json!({"a": "3"})), "m3", true).unwrap();
    assert_eq!(forced["metadata"]["managedFields"].as_array().map(Vec::len), Some(1));
}

#[test]
fn an_update_owns_what_it_changed() {
    let kind = kinds::find(&CONFIG_MAPS).unwrap();
    let mut made = map(json!({"a": "1"}));
    update(kind, None, &mut made, None, writer("upd", "v1"), at(0));
    let entry = json!({"manager": "upd", "operation": "Update", "apiVersion": "v1", "time": "1970-01-01T00:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {".": {}, "f:a": {}}}});
    assert_eq!(made["metadata"]["managedFields"], json!([entry]));
    let no = put(Some(&made), &map(json!({"a": "2"})), "m", false).unwrap_err();
    assert_eq!(no.message, r#"Apply failed with 1 conflict: conflict with "upd" using v1: .data.a"#);
    let mut cleared = made.clone();
    cleared["metadata"]["managedFields"] = json!([]);
    update(kind, Some(&made), &mut cleared, Some(&json!([])), writer("upd", "v1"), at(0));
    assert_eq!(cleared["metadata"].get("managedFields"), None);
    let first = put(Some(&cleared), &map(json!({"b": "1"})), "m", false).unwrap();
    assert_eq!(first["metadata"]["managedFields"][1]["manager"], "before-first-apply");
}

#[test]
fn lists_merge_by_key_and_containers_show_as_owned() {
    let kind = kinds::find(&DEPLOYMENTS).unwrap();
    let config = |containers: Tree| {
        json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "d"},
            "spec": {"template": {"spec": {"containers": containers}}}})
    };
    let by = |name: &'static str| writer(name, "apps/v1");
    let a = json!({"name": "a", "image": "x", "ports": [{"containerPort": 80}]});
    let first = apply(kind, None, &config(json!([a])), by("m"), false, at(0)).unwrap();
    let fields = &first["metadata"]["managedFields"][0]["fieldsV1"];
    let ports = json!({"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}});
    let own = json!({".": {}, "f:image": {}, "f:name": {}, "f:ports": ports});
    assert_eq!(fields["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"a\"}"], own);
    let b = json!({"name": "b", "image": "y"});
    let both = apply(kind, Some(&first), &config(json!([b])), by("n"), false, at(0)).unwrap();
    assert_eq!(both["spec"]["template"]["spec"]["containers"], json!([a, b]));
    let only = apply(kind, Some(&both), &config(json!([])), by("m"), false, at(0)).unwrap();
    assert_eq!(only["spec"]["template"]["spec"]["containers"], json!([b]));
    let wrong = apply(kind, None, &config(json!([])), writer("m", "v1"), false, at(0)).unwrap_err();
    assert_eq!(wrong.code, 400);
}

#[test]
fn many_updaters_become_ancient_changes() {
    let kind = kinds::find(&CONFIG_MAPS).unwrap();
    let mut live = map(json!({}));
    update(kind, None, &mut live, None, writer("w0", "v1"), at(0));
    for second in 0..14 {
        let mut new = live.clone();
        new["data"][format!("k{second:02}")] = "1".into();
        update(kind, (second > 0).then_some(&live), &mut new, None, writer(&format!("w{second}"), "v1"), at(second));
        live = new;
    }
    let all = live["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(all.len(), UPDATERS_MAX);
    assert_eq!(all[0]["manager"], ANCIENT_CHANGES);
    assert_eq!(all[0]["fieldsV1"]["f:data"].as_object().map(Map::len), Some(6));
    assert_eq!(all[9]["manager"], "w13");
}

#[test]
fn an_empty_map_that_is_stated_stays() {
    let first = put(None, &map(json!({"a": "1"})), "m", false).unwrap();
    let second = put(Some(&first), &map(json!({})), "m", false).unwrap();
    assert_eq!(second["data"], json!({}));
    assert_eq!(second["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:data": {}}));
}

#[test]
fn what_is_applied_is_of_its_kind() {
    let config =
        |spec: Tree| json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "d"}, "spec": spec});
    let pod = |spec: Tree| config(json!({"template": {"spec": spec}}));
    let two = json!([{"name": "c"}, {"name": "c", "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}]}]);
    for (config, why) in [
        (config(json!({"nosuch": 1})), ".spec.nosuch: field not declared in schema"),
        (config(json!({"replicas": "1"})), ".spec.replicas: expected numeric (int or float), got string"),
        (config(json!({"paused": 1})), ".spec.paused: expected boolean, got &{1}"),
        (
            config(json!({"selector": {"matchLabels": {"a": 1}}})),
            ".spec.selector.matchLabels.a: expected string, got &value.valueUnstructured{Value:1}",
        ),
        (config(json!("x")), ".spec: expected map, got &{x}"),
        (pod(json!({"containers": {}})), ".spec.template.spec.containers: expected list, got &{map[]}"),
        (
            pod(json!({ "containers": two })),
            "errors:\n  .spec.template.spec.containers: duplicate entries for key [name=\"c\"]\n  \
             .spec.template.spec.containers[name=\"c\"].ports: duplicate entries for key \
             [containerPort=80,protocol=\"TCP\"]",
        ),
    ] {
        let by = writer("m", "apps/v1");
        let rejected = apply(kinds::find(&DEPLOYMENTS).unwrap(), None, &config, by, false, at(0)).unwrap_err();
        let what = "failed to create typed patch object (/d; apps/v1, Kind=Deployment)";
        assert_eq!((rejected.code, rejected.message), (400, format!("{what}: {why}")));
    }
    let other = json!({"kind": "Secret", "apiVersion": "v1"});
    let rejected = put(None, &other, "m", false).unwrap_err();
    assert_eq!(rejected.message, "invalid object type: /v1, Kind=Secret");
}

#[test]
fn the_annotation_of_kubectl_explains_its_conflicts() {
    let key = "kubectl.kubernetes.io/last-applied-configuration";
    let mut made = map(json!({"a": "1"}));
    made["metadata"]["annotations"] = json!({ key: made.to_string() });
    update(kinds::find(&CONFIG_MAPS).unwrap(), None, &mut made, None, writer("kubectl-client-side-apply", "v1"), at(0));
    let wanted = map(json!({"a": "2"}));
    assert!(put(Some(&made), &wanted, "somebody", false).is_err());
    let new = put(Some(&made), &wanted, "kubectl", false).unwrap();
    assert_eq!(new["data"], json!({"a": "2"}));
    assert_eq!(new["metadata"]["annotations"][key], json!(format!("{wanted}\n")));
    made["data"]["a"] = "3".into();
    assert!(put(Some(&made), &wanted, "kubectl", false).is_err());
}

#[test]
fn what_a_subresource_puts_back_is_not_owned() {
    let kind = kinds::find(&DEPLOYMENTS).unwrap();
    let status = |replicas: i64| {
        json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "d", "labels": {"a": "b"}},
            "spec": {"replicas": 7}, "status": {"replicas": replicas}})
    };
    let by = Writer { manager: "st", api_version: "apps/v1", subresource: "status" };
    let live =
        json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "d"}, "spec": {"replicas": 1}});
    let first = apply(kind, Some(&live), &status(1), by, false, at(0)).unwrap();
    assert_eq!(first["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:status": {"f:replicas": {}}}));
    assert_eq!((&first["spec"]["replicas"], &first["status"]["replicas"]), (&json!(1), &json!(1)));
    let main = apply(kind, Some(&first), &status(9), writer("main", "apps/v1"), true, at(0)).unwrap();
    assert_eq!((&main["spec"]["replicas"], &main["status"]["replicas"]), (&json!(7), &json!(1)));
}

#[test]
fn a_time_alone_is_no_change() {
    let kind = kinds::find(&CONFIG_MAPS).unwrap();
    let mut old = map(json!({"a": "1"}));
    update(kind, None, &mut old, None, writer("m", "v1"), at(1));
    let later = |data: Tree| {
        let mut new = map(data);
        update(kind, None, &mut new, None, writer("m", "v1"), at(2));
        new["metadata"]["resourceVersion"] = "7".into();
        keep_times(&old, &mut new);
        new["metadata"]["managedFields"][0]["time"].clone()
    };
    assert_eq!(later(json!({"a": "1"})), "1970-01-01T00:00:01Z");
    assert_eq!(later(json!({"a": "2"})), "1970-01-01T00:00:02Z");
    assert_eq!(later(json!({"b": "1"})), "1970-01-01T00:00:02Z");
}
