//! Rules by example, and the index beside a reference that does what the documentation says, word by word.

use super::super::escalation::missing;
use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn rule(json: Value) -> Rule {
    serde_json::from_value(json).expect("a rule")
}

#[test]
fn a_rule_allows_what_it_names() {
    let pods = rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "pods/log"]}));
    let wanted = Attributes { verb: "get", resource: "pods", ..Attributes::default() };
    assert!(pods.allows(&wanted));
    assert!(pods.allows(&Attributes { subresource: "log", ..wanted }));
    assert!(!pods.allows(&Attributes { subresource: "exec", ..wanted }));
    assert!(!pods.allows(&Attributes { verb: "delete", ..wanted }));
    assert!(!pods.allows(&Attributes { group: "apps", ..wanted }));
    let named = rule(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "resourceNames": ["a"]}));
    assert!(named.allows(&Attributes { name: "a", ..wanted }));
    assert!(!named.allows(&Attributes { name: "b", ..wanted }));
    let path = rule(json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/api/*"]}));
    assert!(path.allows(&Attributes { verb: "get", path: Some("/api/v1"), ..Attributes::default() }));
    assert!(!path.allows(&Attributes { verb: "get", path: Some("/metrics"), ..Attributes::default() }));
}

#[test]
fn a_decision_names_its_binding_and_a_role_that_is_missing() {
    let mut cluster = Cluster::default();
    cluster.roles.push(json!({"namespace": "a", "name": "r", "rules": [
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}));
    let subject = json!({"kind": "ServiceAccount", "name": "s"});
    for (name, role) in [("b", "r"), ("c", "gone")] {
        let role = json!({"kind": "Role", "name": role});
        cluster.bindings.push(json!({"namespace": "a", "name": name, "roleRef": role, "subjects": [subject]}));
    }
    let index = cluster.index();
    let user = User::service_account("a", "s");
    let wanted = Attributes { verb: "get", resource: "pods", namespace: "a", ..Attributes::default() };
    let words = "RBAC: allowed by RoleBinding \"b/a\" of Role \"r\" to ServiceAccount \"s/a\"";
    assert_eq!(index.allows(&user, &wanted), Ok(words.to_owned()));
    let gone = "RBAC: role.rbac.authorization.k8s.io \"gone\" not found".to_owned();
    assert_eq!(index.allows(&user, &Attributes { verb: "list", ..wanted }), Err(gone));
    assert_eq!(index.allows(&user, &Attributes { namespace: "b", ..wanted }), Err(String::new()));
}

/// Roles and bindings as JSON; an empty namespace is the whole cluster.
#[derive(Debug, Clone, Default)]
struct Cluster {
    roles: Vec<Value>,
    bindings: Vec<Value>,
}

impl Cluster {
    fn index(&self) -> Index {
        let mut index = Index::default();
        for role in &self.roles {
            let (namespace, name) = (text(role, "namespace"), text(role, "name"));
            let rules = serde_json::from_value(role["rules"].clone()).expect("rules");
            match namespace {
                "" => index.cluster_roles.insert(name.to_owned(), Arc::new(rules)),
                namespace => index.roles.insert(format!("{namespace}/{name}"), Arc::new(rules)),
            };
        }
        for binding in &self.bindings {
            let namespace = text(binding, "namespace");
            let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
            let parsed = serde_json::from_value(binding.clone()).expect("a binding");
            index.bind(kind, text(binding, "name"), namespace, &parsed);
        }
        index
    }

    /// The reference: a binding counts in its namespace, for its subjects, with the rules of its role.
    fn allows(&self, user: &User, wanted: &Attributes<'_>) -> bool {
        self.bindings.iter().any(|binding| {
            let namespace = text(binding, "namespace");
            let counts = namespace.is_empty() || namespace == wanted.namespace;
            let is_meant = list(binding, "subjects").iter().any(|subject| is_subject(user, subject, namespace));
            let of = &binding["roleRef"];
            let home = if of["kind"] == "ClusterRole" { "" } else { namespace };
            let role = self.roles.iter().find(|role| text(role, "namespace") == home && role["name"] == of["name"]);
            let rules = role.map(|role| list(role, "rules")).unwrap_or_default();
            counts && is_meant && rules.iter().any(|rule| is_allowed(rule, wanted))
        })
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn is_subject(user: &User, subject: &Value, namespace: &str) -> bool {
    let name = text(subject, "name");
    match text(subject, "kind") {
        "User" => user.name == name,
        "Group" => user.groups.iter().any(|group| group == name),
        _ => {
            let own = text(subject, "namespace");
            let namespace = if own.is_empty() { namespace } else { own };
            user.name == format!("system:serviceaccount:{namespace}:{name}")
        }
    }
}

fn is_allowed(rule: &Value, wanted: &Attributes<'_>) -> bool {
    let has = |key: &str, word: &str| list(rule, key).iter().any(|have| have == "*" || have == word);
    if !has("verbs", wanted.verb) {
        return false;
    }
    if let Some(path) = wanted.path {
        return list(rule, "nonResourceURLs")
            .iter()
            .filter_map(Value::as_str)
            .any(|url| url == path || url.strip_suffix('*').is_some_and(|start| path.starts_with(start)));
    }
    let (resource, below) = (wanted.resource, wanted.subresource);
    let is_named = if below.is_empty() {
        has("resources", resource)
    } else {
        has("resources", &format!("{resource}/{below}")) || has("resources", &format!("*/{below}"))
    };
    let names = list(rule, "resourceNames");
    has("apiGroups", wanted.group) && is_named && (names.is_empty() || names.iter().any(|name| name == wanted.name))
}

fn words(from: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(from), 0..=most)
}

const NAMESPACES: &[&str] = &["", "a", "b"];
const NAMES: &[&str] = &["r", "s", "t"];
const VERBS: &[&str] = &["get", "list", "delete", "*"];
const GROUPS: &[&str] = &["", "apps", "*"];
const RESOURCES: &[&str] = &["pods", "pods/log", "*/log", "secrets", "*"];
const URLS: &[&str] = &["/api", "/api/*", "/healthz", "*", "/ap*"];

fn rules() -> impl Strategy<Value = Value> {
    let of_resources = (words(VERBS, 2), words(GROUPS, 2), words(RESOURCES, 2), words(&["x", "y"], 1));
    let of_resources = of_resources.prop_map(|(verbs, groups, resources, names)| {
        json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names})
    });
    let of_paths = (words(VERBS, 2), words(URLS, 2));
    let of_paths = of_paths.prop_map(|(verbs, urls)| json!({"verbs": verbs, "nonResourceURLs": urls}));
    prop_oneof![3 => of_resources, 1 => of_paths]
}

fn clusters() -> impl Strategy<Value = Cluster> {
    let name = || prop::sample::select(NAMES);
    let namespace = || prop::sample::select(NAMESPACES);
    let role = (namespace(), name(), prop::collection::vec(rules(), 0..3));
    let role = role.prop_map(|(namespace, name, rules)| json!({"namespace": namespace, "name": name, "rules": rules}));
    let subject = (
        prop::sample::select(&["User", "Group", "ServiceAccount"][..]),
        prop::sample::select(&["u", "g", "s"][..]),
        namespace(),
    );
    let subject =
        subject.prop_map(|(kind, name, namespace)| json!({"kind": kind, "name": name, "namespace": namespace}));
    let binding =
        (namespace(), prop::sample::select(&["Role", "ClusterRole"][..]), name(), prop::collection::vec(subject, 0..3));
    let binding = binding.prop_map(|(namespace, kind, role, subjects)| {
        json!({"namespace": namespace, "name": "b", "roleRef": {"kind": kind, "name": role}, "subjects": subjects})
    });
    (prop::collection::vec(role, 0..6), prop::collection::vec(binding, 0..6)).prop_map(|(roles, bindings)| {
        let mut kept: Vec<Value> = Vec::new();
        for role in roles {
            let is_new =
                !kept.iter().any(|have| have["name"] == role["name"] && have["namespace"] == role["namespace"]);
            if is_new {
                kept.push(role);
            }
        }
        // No ClusterRoleBinding refers to a Role.
        let is_sound =
            |binding: &Value| !text(binding, "namespace").is_empty() || binding["roleRef"]["kind"] == "ClusterRole";
        Cluster { roles: kept, bindings: bindings.into_iter().filter(is_sound).collect() }
    })
}

fn users() -> impl Strategy<Value = User> {
    prop_oneof![
        words(&["g", "u"], 2).prop_map(|groups| User::new("u", &groups)),
        Just(User::service_account("a", "s")),
        Just(User::new("system:serviceaccount:b:g", &["s"])),
    ]
}

fn deeds() -> impl Strategy<Value = Attributes<'static>> {
    let pick = |from: &'static [&'static str]| prop::sample::select(from);
    let of_resources = (
        pick(&["get", "list", "delete", "watch"]),
        pick(&["", "apps", "batch"]),
        pick(&["pods", "secrets", "nodes"]),
        pick(&["", "log", "exec"]),
        pick(NAMESPACES),
        pick(&["", "x", "z"]),
    );
    let of_resources = of_resources.prop_map(|(verb, group, resource, subresource, namespace, name)| Attributes {
        verb,
        group,
        resource,
        subresource,
        namespace,
        name,
        path: None,
    });
    let of_paths = (pick(&["get", "post"]), pick(&["/api", "/api/v1", "/healthz", "/apis"]));
    let of_paths = of_paths.prop_map(|(verb, path)| Attributes { verb, path: Some(path), ..Attributes::default() });
    prop_oneof![4 => of_resources, 1 => of_paths]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_decides_as_the_reference_does(cluster in clusters(), user in users(), wanted in deeds()) {
        prop_assert_eq!(cluster.index().allows(&user, &wanted).is_ok(), cluster.allows(&user, &wanted));
    }

    /// Whoever is found to hold all of a role may do all that the role allows.
    #[test]
    fn what_is_held_is_never_less_than_what_is_granted(
        held in prop::collection::vec(rules(), 0..4),
        granted in prop::collection::vec(rules(), 0..3),
        wanted in deeds(),
    ) {
        let parsed = |rules: &[Value]| rules.iter().cloned().map(rule).collect::<Vec<_>>();
        let (held, granted) = (parsed(&held), parsed(&granted));
        let allows = |rules: &[Rule]| rules.iter().any(|rule| rule.allows(&wanted));
        if missing(&held, &granted).is_empty() && allows(&granted) {
            prop_assert!(allows(&held));
        }
    }
}
