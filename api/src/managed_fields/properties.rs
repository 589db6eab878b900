//! What server-side apply promises, on random configurations of a Deployment.

use super::*;
use crate::kinds;
use crate::resource::DEPLOYMENTS;
use proptest::prelude::*;
use proptest::sample::subsequence;

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() }
}

/// Image, env and args of one.
type Container = (String, Option<Vec<Tree>>, Option<Vec<&'static str>>);

/// Labels, a set, a list by key with lists by key in it, a scalar and an atomic list. `of` is part of all names, so that
/// configurations for different ones have nothing in common but the containers around.
fn config(of: &'static str) -> impl Strategy<Value = Tree> {
    let names = move || subsequence(vec!["a", "b", "c"], 0..=3);
    let named = move |name: &str| format!("{of}{name}");
    let env = (names(), "[12]").prop_map(move |(names, value)| -> Vec<Tree> {
        names.into_iter().map(|name| json!({"name": named(name), "value": value})).collect()
    });
    let container = ("[xy]", proptest::option::of(env), proptest::option::of(subsequence(vec!["p", "q"], 0..=2)));
    let containers = (names(), proptest::collection::vec(container, 3)).prop_map(move |(names, all)| -> Vec<Tree> {
        let one = |(name, (image, env, args)): (&str, Container)| {
            let mut one = json!({"name": named(name), "image": image});
            if let Some(env) = env.filter(|env| !env.is_empty()) {
                one["env"] = env.into();
            }
            if let Some(args) = args {
                one["args"] = json!(args);
            }
            one
        };
        names.into_iter().zip(all).map(one).collect()
    });
    let labels = (names(), "[12]");
    (labels, names(), containers).prop_map(move |((labels, value), finalizers, containers)| {
        let labels: Map<String, Tree> = labels.into_iter().map(|name| (named(name), value.clone().into())).collect();
        let finalizers: Vec<String> = finalizers.into_iter().map(named).collect();
        let mut config = json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "d"}});
        if !labels.is_empty() {
            config["metadata"]["labels"] = labels.into();
        }
        if !finalizers.is_empty() {
            config["metadata"]["finalizers"] = json!(finalizers);
        }
        if !containers.is_empty() {
            config["spec"] = json!({"template": {"spec": {"containers": containers}}});
        }
        config
    })
}

fn put(live: Option<&Tree>, config: &Tree, manager: &str, force: bool) -> Result<Tree, Rejected> {
    let kind = kinds::find(&DEPLOYMENTS).expect("built in");
    let writer = Writer { manager, api_version: "apps/v1", subresource: "" };
    apply(kind, live, config, writer, force, Timestamp::UNIX_EPOCH)
}

/// The object with all lists sorted: managers that know nothing of each other agree on no order.
fn sorted(tree: &Tree) -> Tree {
    match tree {
        Tree::Array(all) => {
            let mut all: Vec<Tree> = all.iter().map(sorted).collect();
            all.sort_by_key(Tree::to_string);
            all.into()
        }
        Tree::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            keys.into_iter().map(|key| (key.clone(), sorted(&map[key]))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// What the object has at each field of a set.
fn values(shape: Shape<'_>, tree: &Tree, set: &Set, path: &str, out: &mut Vec<String>) {
    let parts: Vec<(set::Step, &Tree)> = match shape.parts(tree) {
        shape::Parts::Members(all) | shape::Parts::Elements(all) => all,
        shape::Parts::Whole => return out.push(format!("{path}={tree}")),
    };
    for (step, below) in set.below.iter() {
        let found = parts.iter().find(|(other, _)| other == step);
        let path = format!("{path}{step}");
        match found {
            Some((_, tree)) => values(shape.below(step), tree, below, &path, out),
            None => out.push(format!("{path} is gone")),
        }
    }
}

fn owned_by(object: &Tree, manager: &str) -> Option<Set> {
    read(object).into_iter().find(|entry| entry.manager == manager).map(|entry| entry.set)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn apply_is_idempotent(first in config(""), other in config(""), last in config("")) {
        let live = put(None, &first, "m", false).expect("nobody else is there");
        let live = put(Some(&live), &other, "n", true).expect("by force");
        let once = put(Some(&live), &last, "m", true).expect("by force");
        let twice = put(Some(&once), &last, "m", false).expect("it is all there");
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn what_is_applied_is_what_is_there(first in config(""), other in config(""), last in config("")) {
        let live = put(None, &first, "m", false).expect("nobody else is there");
        let live = put(Some(&live), &other, "n", true).expect("by force");
        let new = put(Some(&live), &last, "m", true).expect("by force");
        let shape = Shape::root(kinds::find(&DEPLOYMENTS).expect("built in"));
        let stated = walk::stated(shape, &last);
        let (mut wanted, mut found) = (Vec::new(), Vec::new());
        values(shape, &last, &stated, "", &mut wanted);
        values(shape, &new, &stated, "", &mut found);
        prop_assert_eq!(wanted, found);
    }

    #[test]
    fn the_order_of_independent_managers_does_not_matter(
        one in proptest::collection::vec(config("1"), 1..3),
        two in proptest::collection::vec(config("2"), 1..3),
    ) {
        let run = |steps: Vec<(&str, &Tree)>| {
            let mut live = None;
            for (manager, config) in steps {
                live = Some(put(live.as_ref(), config, manager, false).expect("they have nothing in common"));
            }
            sorted(&live.expect("there is a step"))
        };
        let first = || one.iter().map(|config| ("one", config));
        let second = || two.iter().map(|config| ("two", config));
        let forth = run(first().chain(second()).collect());
        let back = run(second().chain(first()).collect());
        prop_assert_eq!(forth, back);
    }

    #[test]
    fn nobody_loses_a_field_that_nobody_took(one in config(""), two in config(""), three in config("")) {
        let live = put(None, &one, "one", false).expect("nobody else is there");
        let mut live = put(Some(&live), &two, "two", true).expect("by force");
        let before = live.clone();
        // Without force it may be refused; then nothing has happened to anybody.
        if let Ok(new) = put(Some(&live), &three, "three", false) {
            live = new;
        }
        let shape = Shape::root(kinds::find(&DEPLOYMENTS).expect("built in"));
        for manager in ["one", "two"] {
            let Some(set) = owned_by(&before, manager) else { continue };
            prop_assert_eq!(Some(set.clone()), owned_by(&live, manager));
            let (mut was, mut is) = (Vec::new(), Vec::new());
            values(shape, &before, &set, "", &mut was);
            values(shape, &live, &set, "", &mut is);
            prop_assert_eq!(was, is);
        }
    }

    #[test]
    fn an_update_leaves_no_owner_of_what_is_not_there(one in config(""), two in config("")) {
        let kind = kinds::find(&DEPLOYMENTS).expect("built in");
        let live = put(None, &one, "one", false).expect("nobody else is there");
        let mut new = two.clone();
        let writer = Writer { manager: "two", api_version: "apps/v1", subresource: "" };
        update(kind, Some(&live), &mut new, None, writer, Timestamp::UNIX_EPOCH);
        for entry in read(&new) {
            let mut found = Vec::new();
            values(Shape::root(kind), &new, &entry.set, "", &mut found);
            let gone: Vec<&String> = found.iter().filter(|found| found.ends_with("is gone")).collect();
            prop_assert!(gone.is_empty(), "{} owns {gone:?} of {new}", entry.manager);
        }
    }
}
