//! What the patches promise, on random documents.

use super::{json as json_patch, merge, strategic};
use crate::{Tree, kinds};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, json};

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() }
}

/// A document of few names, so that patches meet it; null only where it may be.
fn tree(nulls: bool) -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        u32::from(nulls) => Just(Tree::Null),
        3 => (0..3_i64).prop_map(Tree::from),
        3 => "[xy]{0,2}".prop_map(Tree::from),
        1 => any::<bool>().prop_map(Tree::from),
    ];
    leaf.prop_recursive(3, 20, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Tree::from),
            proptest::collection::btree_map("[abc/~]", inner, 0..4)
                .prop_map(|map| Tree::Object(map.into_iter().collect())),
        ]
    })
}

fn object(nulls: bool) -> impl Strategy<Value = Tree> {
    proptest::collection::btree_map("[abc/~]", tree(nulls), 0..4)
        .prop_map(|map| Tree::Object(map.into_iter().collect()))
}

fn pointer() -> impl Strategy<Value = String> {
    let part = select(vec!["a", "b", "c", "~0", "~1", "0", "1", "-", "-1", "01", ""]);
    proptest::collection::vec(part, 0..4).prop_map(|parts| parts.iter().map(|part| format!("/{part}")).collect())
}

fn operation() -> impl Strategy<Value = Tree> {
    let op = select(vec!["add", "remove", "replace", "move", "copy", "test", "spin"]);
    (op, pointer(), pointer(), tree(true))
        .prop_map(|(op, path, from, value)| json!({"op": op, "path": path, "from": from, "value": value}))
}

/// The merge patch that makes `to` of `from`.
fn difference(from: &Tree, to: &Tree) -> Tree {
    let (Tree::Object(from), Tree::Object(to)) = (from, to) else { return to.clone() };
    let mut patch: Map<String, Tree> = Map::new();
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        patch.insert(key.clone(), Tree::Null);
    }
    for (key, value) in to {
        match from.get(key) {
            Some(have) if have == value => {}
            Some(have) => _ = patch.insert(key.clone(), difference(have, value)),
            None => _ = patch.insert(key.clone(), value.clone()),
        }
    }
    Tree::Object(patch)
}

fn has_nulls(tree: &Tree) -> bool {
    match tree {
        Tree::Null => true,
        Tree::Object(map) => map.values().any(has_nulls),
        _ => false,
    }
}

/// Env, image and args of one.
type Container = (Vec<&'static str>, String, Option<Vec<&'static str>>);

/// A pod with containers, env by name, ports by number, tolerations as a whole and a node selector.
fn pod() -> impl Strategy<Value = Tree> {
    let names = || subsequence(vec!["a", "b", "c", "d"], 0..=4).prop_shuffle();
    let container = (names(), "[xy]", proptest::option::of(subsequence(vec!["p", "q"], 0..=2)));
    (names(), proptest::collection::vec(container, 4), names(), names()).prop_map(
        |(names, all, tolerations, finalizers)| {
            let one = |(name, (env, image, args)): (&str, Container)| {
                let env: Vec<Tree> = env.into_iter().map(|name| json!({"name": name, "value": image})).collect();
                let mut one = json!({"name": name, "image": image});
                if !env.is_empty() {
                    one["env"] = env.into();
                }
                if let Some(args) = args {
                    one["args"] = json!(args);
                }
                one
            };
            let containers: Vec<Tree> = names.into_iter().zip(all).map(one).collect();
            let tolerations: Vec<Tree> = tolerations.into_iter().map(|key| json!({ "key": key })).collect();
            json!({
                "metadata": {"finalizers": finalizers},
                "spec": {"containers": containers, "tolerations": tolerations},
            })
        },
    )
}

fn names(list: &Tree) -> Vec<String> {
    let name = |one: &Tree| one.get("name").unwrap_or(one).as_str().unwrap_or_default().to_owned();
    list.as_array().into_iter().flatten().map(name).collect()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_json_patch_either_applies_or_says_why(
        current in object(true),
        patch in proptest::collection::vec(operation(), 0..5),
    ) {
        let patch = Tree::Array(patch);
        let once = json_patch::apply(&current, &patch);
        prop_assert_eq!(&once, &json_patch::apply(&current, &patch));
        if let Err(rejected) = once {
            prop_assert_eq!(rejected.code, 422);
        }
    }

    #[test]
    fn what_is_added_is_there_and_can_be_taken_back(current in object(true), value in tree(true)) {
        let added = json!([{"op": "add", "path": "/new", "value": value}, {"op": "test", "path": "/new", "value": value}]);
        let added = json_patch::apply(&current, &added).expect("it is a new member");
        prop_assert_eq!(&added["new"], &value);
        let back = json_patch::apply(&added, &json!([{"op": "remove", "path": "/new"}])).expect("it is there");
        prop_assert_eq!(back, current);
    }

    #[test]
    fn a_merge_patch_is_idempotent_and_leaves_no_nulls(current in object(false), patch in object(true)) {
        let once = merge::apply(&current, &patch);
        prop_assert!(!has_nulls(&once));
        prop_assert_eq!(&merge::apply(&once, &patch), &once);
    }

    #[test]
    fn a_difference_is_a_merge_patch(from in object(false), to in object(false)) {
        prop_assert_eq!(merge::apply(&from, &difference(&from, &to)), to);
    }

    #[test]
    fn a_strategic_merge_patch_is_idempotent(current in pod(), patch in pod()) {
        let schema = kinds::find_kind("", "v1", "Pod").expect("built in").schema();
        let once = strategic::apply(schema, &current, &patch).expect("all have their keys");
        prop_assert_eq!(&strategic::apply(schema, &once, &patch).expect("all have their keys"), &once);
    }

    #[test]
    fn merged_lists_have_the_elements_of_both_in_the_order_of_the_patch(current in pod(), patch in pod()) {
        let schema = kinds::find_kind("", "v1", "Pod").expect("built in").schema();
        let new = strategic::apply(schema, &current, &patch).expect("all have their keys");
        for path in ["/spec/containers", "/metadata/finalizers"] {
            let at = |tree: &Tree| tree.pointer(path).map(names).unwrap_or_default();
            let (old, wanted, new) = (at(&current), at(&patch), at(&new));
            let named: Vec<String> = new.iter().filter(|name| wanted.contains(name)).cloned().collect();
            prop_assert_eq!(&named, &wanted);
            let rest: Vec<String> = new.iter().filter(|name| !wanted.contains(name)).cloned().collect();
            let left: Vec<String> = old.into_iter().filter(|name| !wanted.contains(name)).collect();
            prop_assert_eq!(rest, left);
        }
        prop_assert_eq!(&new["spec"]["tolerations"], &patch["spec"]["tolerations"]);
    }

    #[test]
    fn an_order_is_kept(current in pod(), wanted in Just(vec!["a", "b", "c", "d"]).prop_shuffle()) {
        let schema = kinds::find_kind("", "v1", "Pod").expect("built in").schema();
        let order: Vec<Tree> = wanted.iter().map(|name| json!({ "name": name })).collect();
        let patch = json!({"spec": {"$setElementOrder/containers": order}});
        let new = strategic::apply(schema, &current, &patch).expect("an order alone");
        let mut expect = names(&current["spec"]["containers"]);
        expect.sort_by_key(|name| wanted.iter().position(|other| other == name));
        prop_assert_eq!(names(&new["spec"]["containers"]), expect);
    }

    #[test]
    fn any_object_is_a_strategic_merge_patch_or_a_mistake(current in pod(), patch in object(true)) {
        let schema = kinds::find_kind("", "v1", "Pod").expect("built in").schema();
        let patch = json!({"spec": patch.clone(), "metadata": {"labels": patch}});
        if let Err(rejected) = strategic::apply(schema, &current, &patch) {
            prop_assert!(matches!(rejected.code, 400 | 422));
        }
    }
}
