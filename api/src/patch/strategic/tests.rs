use super::*;
use crate::kinds;
use serde_json::json;

fn patched(current: Tree, patch: Tree) -> Tree {
    let schema = kinds::find_kind("apps", "v1", "Deployment").unwrap().schema();
    apply(schema, &current, &patch).unwrap_or_else(|error| panic!("{patch}: {error}"))
}

fn pod(current: Tree, patch: Tree) -> Tree {
    let schema = kinds::find_kind("", "v1", "Pod").unwrap().schema();
    let wrap = |tree: Tree| json!({"spec": tree});
    let patched = apply(schema, &wrap(current), &wrap(patch.clone()));
    patched.unwrap_or_else(|error| panic!("{patch}: {error}"))["spec"].clone()
}

#[test]
fn lists_merge_by_key_or_are_replaced() {
    let current = json!({"containers": [{"name": "a", "image": "1", "args": ["x"]}, {"name": "b"}], "tolerations": [{"key": "t"}]});
    let patch = json!({"containers": [{"name": "a", "image": "2", "args": ["y"]}, {"name": "c"}], "tolerations": [{"key": "u"}]});
    let expect = json!({
        "containers": [{"name": "a", "image": "2", "args": ["y"]}, {"name": "c"}, {"name": "b"}],
        "tolerations": [{"key": "u"}],
    });
    assert_eq!(pod(current, patch), expect);
}

#[test]
fn directives_in_lists() {
    let current = json!({"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]});
    let deleted = pod(current.clone(), json!({"containers": [{"name": "b", "$patch": "delete"}]}));
    assert_eq!(deleted, json!({"containers": [{"name": "a"}, {"name": "c"}]}));
    let replaced = pod(current.clone(), json!({"containers": [{"$patch": "replace"}, {"name": "z"}]}));
    assert_eq!(replaced, json!({"containers": [{"name": "z"}]}));
    let patch = json!({"$setElementOrder/containers": [{"name": "c"}, {"name": "new"}, {"name": "a"}], "containers": [{"name": "new", "image": "i"}]});
    let ordered = pod(current.clone(), patch);
    let names: Vec<_> = ordered["containers"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["b", "c", "new", "a"]);
    let only_order = pod(current, json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}));
    assert_eq!(only_order, json!({"containers": [{"name": "b"}, {"name": "a"}, {"name": "c"}]}));
}

#[test]
fn directives_in_maps() {
    let current = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    assert_eq!(patched(current.clone(), patch), json!({"spec": {"strategy": {"type": "Recreate"}}}));
    let replaced = patched(current.clone(), json!({"spec": {"strategy": {"$patch": "replace", "type": "Recreate"}}}));
    assert_eq!(replaced, json!({"spec": {"strategy": {"type": "Recreate"}}}));
    let deleted = patched(current, json!({"spec": {"strategy": {"$patch": "delete"}}}));
    assert_eq!(deleted, json!({"spec": {"strategy": {}}}));
    let labels = patched(
        json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
        json!({"metadata": {"labels": {"a": null, "c": "3"}}}),
    );
    assert_eq!(labels, json!({"metadata": {"labels": {"b": "2", "c": "3"}}}));
}

#[test]
fn primitive_lists() {
    let current = json!({"metadata": {"finalizers": ["a", "b", "c"]}});
    let added = patched(current.clone(), json!({"metadata": {"finalizers": ["d", "a"]}}));
    assert_eq!(added["metadata"]["finalizers"], json!(["d", "a", "b", "c"]));
    let patch =
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "$setElementOrder/finalizers": ["c", "a"]}});
    assert_eq!(patched(current, patch)["metadata"]["finalizers"], json!(["c", "a"]));
}

#[test]
fn nulls_and_directives_never_reach_the_object() {
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": null}}});
    assert_eq!(patched(json!({}), patch), json!({"spec": {"strategy": {"type": "Recreate"}}}));
    let added = pod(
        json!({}),
        json!({"containers": [{"name": "a", "command": null, "$setElementOrder/env": [{"name": "X"}], "env": [{"name": "X", "value": "1"}]}]}),
    );
    assert_eq!(added, json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}]}]}));
}

#[test]
fn a_directive_without_a_counterpart_does_nothing() {
    let patch = json!({"metadata": {"labels": {"$patch": "replace", "a": "1"}}});
    assert_eq!(patched(json!({"metadata": {}}), patch), json!({"metadata": {}}));
    let patch = json!({"metadata": {"ownerReferences": [{"uid": "1", "$patch": "delete"}]}});
    assert_eq!(patched(json!({"metadata": {}}), patch), json!({"metadata": {"ownerReferences": []}}));
}

#[test]
fn bad_patches() {
    let schema = kinds::find_kind("", "v1", "Pod").unwrap().schema();
    let lists = "list element types are not identical: [[map[name:a]] [1]]";
    let order = "The order in patch list:\n[map[name:b] map[name:a]]\n doesn't match $setElementOrder list:\n\
                 [map[name:a] map[name:b]]\n";
    let bad = [
        (json!({"$patch": "spin"}), "unknown patch type: spin in map: map[$patch:spin]"),
        (json!({"$patch": "merge"}), "unknown patch type: merge in map: map[$patch:merge]"),
        (json!({"containers": [{"image": "i"}]}), "map: map[image:i] does not contain declared merge key: name"),
        (
            json!({"containers": [{"name": "a", "$patch": "spin"}]}),
            "unknown patch type: spin in map: map[$patch:spin name:a]",
        ),
        (
            json!({"containers": [{"name": "a", "$patch": "merge"}]}),
            "merging lists cannot yet be specified in the patch",
        ),
        (json!({"containers": [1]}), lists),
        (json!({"$retainKeys": ["a"], "b": 1}), "invalid patch format of retainKeys"),
        (json!({"$setElementOrder/containers": 1}), "expected a []interface {}, but received a int64"),
        (
            json!({"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}], "containers": [{"name": "b"}, {"name": "a"}]}),
            order,
        ),
    ];
    for (patch, why) in bad {
        let rejected =
            apply(schema, &json!({"spec": {"containers": [{"name": "a"}]}}), &json!({ "spec": patch })).unwrap_err();
        assert_eq!((rejected.code, &*rejected.message), (400, why));
    }
    let rejected = apply(schema, &json!({}), &json!([])).unwrap_err();
    assert_eq!(rejected.message, "json: cannot unmarshal array into Go value of type map[string]interface {}");
}

#[test]
fn what_a_patched_tree_is_not() {
    let schema = kinds::find_kind("", "v1", "Pod").unwrap().schema().unwrap();
    for (spec, why) in [
        (json!("x"), Some("cannot restore struct from: string")),
        (json!({"containers": "x"}), Some("cannot restore slice from string")),
        (json!({"nodeSelector": ["x"]}), Some("cannot restore map from slice")),
        (json!({"nodeName": 1}), Some("cannot convert int64 to string")),
        (json!({"hostNetwork": "yes"}), Some("unrecognized type: bool")),
        (json!({"priority": 1.5}), Some("cannot convert float64 to int32")),
        (json!({"containers": [{"name": "a", "image": null}], "priority": 1.0}), None),
    ] {
        assert_eq!(why_not(schema, &json!({ "spec": spec })).as_deref(), why);
    }
}
