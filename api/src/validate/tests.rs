use super::*;
use crate::{Rejected, defaults, kinds, names};
use serde_json::json;

/// Bad objects, and what is wrong with each: a kind and a good object of it behind `=`, then, separated by empty lines,
/// changes to it (`path = value`) and what is found. Long words that recur stand in braces.
const CASES: [&str; 5] = [
    include_str!("cases/metadata.txt"),
    include_str!("cases/pods.txt"),
    include_str!("cases/workloads.txt"),
    include_str!("cases/network.txt"),
    include_str!("cases/cluster.txt"),
];

fn kind(group: &str, name: &str) -> &'static Kind {
    let group = if group == "core" { "" } else { group };
    kinds::builtin().iter().find(|kind| kind.group() == group && kind.kind == name).unwrap()
}

fn defaulted(kind: &Kind, mut tree: Tree) -> Tree {
    defaults::apply(kind, &mut tree);
    tree
}

fn told(kind: &Kind, causes: Vec<Cause>) -> Vec<String> {
    let one = |cause: Cause| {
        let message = Rejected::invalid(kind.group(), "K", "n", vec![cause]).message;
        message.split_once(" is invalid: ").unwrap().1.to_owned()
    };
    causes.into_iter().map(one).collect()
}

fn created(kind: &Kind, tree: Tree) -> Vec<String> {
    told(kind, create(kind, &defaulted(kind, tree)))
}

/// Sets what is at a path such as `spec.list.0.key`; null removes it.
fn edit(tree: &mut Tree, path: &str, value: Tree) {
    let (parent, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut at = tree;
    for key in parent.split('.').filter(|key| !key.is_empty()) {
        at = match key.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => at.as_object_mut().unwrap().entry(key).or_insert_with(|| json!({})),
        };
    }
    match (at, last.parse::<usize>()) {
        (Tree::Array(all), Ok(index)) if index == all.len() => all.push(value),
        (Tree::Array(all), Ok(index)) => all[index] = value,
        (Tree::Object(all), _) if value.is_null() => drop(all.shift_remove(last)),
        (Tree::Object(all), _) => drop(all.insert(last.to_owned(), value)),
        (other, _) => panic!("{path} is not in {other}"),
    }
}

fn words(text: &str) -> String {
    let mut text = text.to_owned();
    let last = |wrong: Vec<String>| wrong.last().unwrap().clone();
    for (word, meaning) in [
        ("{label}", last(names::dns_label("A_"))),
        ("{label-1035}", last(names::dns_label_1035("A_"))),
        ("{subdomain}", last(names::dns_subdomain("A_"))),
        ("{key}", last(names::qualified_name("a b"))),
        ("{value}", last(names::label_value("a b"))),
        ("{config-key}", last(names::config_key("a b"))),
        (
            "{percent}",
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used \
             for validation is '[0-9]+%')"
                .to_owned(),
        ),
    ] {
        text = text.replace(word, &meaning);
    }
    text
}

#[test]
fn bad_objects_are_refused_with_upstreams_words() {
    let (mut count, mut wrong) = (0, Vec::new());
    for file in CASES {
        let mut base: Option<(&Kind, Tree)> = None;
        for block in file.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
            if let Some(section) = block.strip_prefix("= ") {
                let (head, tree) = section.split_once('\n').unwrap();
                let (name, group) = head.split_once(' ').unwrap();
                let (kind, tree): (_, Tree) = (kind(group, name), serde_json::from_str(tree).unwrap());
                assert_eq!(created(kind, tree.clone()), [""; 0], "{head}");
                base = Some((kind, tree));
                continue;
            }
            let (kind, tree) = base.as_ref().unwrap();
            let mut tree = tree.clone();
            let mut expect = Vec::new();
            for line in block.lines() {
                match line.split_once(" = ").filter(|(path, _)| !path.contains(':')) {
                    Some((path, value)) => edit(&mut tree, path, serde_json::from_str(value).expect(line)),
                    None => expect.push(words(line)),
                }
            }
            count += 1;
            let found = created(kind, tree);
            if found != expect {
                wrong.push(format!("{}\n{block}\n  found {found:#?}\n", kind.kind));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 300, "{count}");
}

fn pod(spec: Tree) -> Tree {
    json!({"metadata": {"name": "a", "namespace": "b"}, "spec": spec})
}

fn deployment() -> Tree {
    json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

#[test]
fn good_objects_pass() {
    let container = json!({
        "name": "a", "image": "i", "ports": [{"containerPort": 80, "name": "http"}], "env": [{"name": "A b", "value": "b"}],
        "readinessProbe": {"httpGet": {"port": "http"}}, "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        "resources": {"limits": {"cpu": "1", "memory": "1Gi", "example.com/x": "1"}, "requests": {"cpu": "100m"}},
        "securityContext": {"privileged": true},
    });
    let spec = json!({
        "containers": [container], "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "s"}}],
        "initContainers": [{"name": "i", "image": "i", "restartPolicy": "Always", "livenessProbe": {"exec": {"command": ["x"]}}}],
    });
    assert_eq!(created(kind("", "Pod"), pod(spec)), [""; 0]);
    let role = json!({"metadata": {"name": "system:x"}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]});
    assert_eq!(created(kind("rbac.authorization.k8s.io", "ClusterRole"), role), [""; 0]);
    let service = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"clusterIP": "None"}});
    assert_eq!(created(kind("", "Service"), service), [""; 0]);
    let own = json!({"metadata": {"name": "kubernetes", "namespace": "default"},
        "subsets": [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 6443}]}]});
    assert_eq!(created(kind("", "Endpoints"), own), [""; 0]);
}

/// What is found wrong with a change, each fault once.
fn changed(group: &str, name: &str, old: Tree, change: fn(&mut Tree)) -> Vec<String> {
    let kind = kind(group, name);
    let old = defaulted(kind, old);
    let mut new = old.clone();
    change(&mut new);
    let mut all = told(kind, update(kind, &new, &old));
    let mut seen = std::collections::HashSet::new();
    all.retain(|one| seen.insert(one.clone()));
    all
}

#[test]
fn pods_change_in_few_places() {
    let old = || {
        pod(json!({"containers": [{"name": "a", "image": "i"}], "activeDeadlineSeconds": 100,
            "tolerations": [{"key": "x", "operator": "Exists"}]}))
    };
    let check = |change: fn(&mut Tree), expect: &[&str]| assert_eq!(changed("", "Pod", old(), change), expect);
    check(|new| new["spec"]["containers"][0]["image"] = json!("j"), &[]);
    check(|new| new["spec"]["activeDeadlineSeconds"] = json!(50), &[]);
    check(|new| new["spec"]["tolerations"].as_array_mut().unwrap().push(json!({"operator": "Exists"})), &[]);
    check(|new| new["spec"]["containers"][0]["image"] = json!(""), &["spec.containers[0].image: Required value"]);
    check(
        |new| new["spec"]["activeDeadlineSeconds"] = json!(200),
        &["spec.activeDeadlineSeconds: Invalid value: 200: must be less than or equal to previous value"],
    );
    check(
        |new| drop(new["spec"].as_object_mut().unwrap().shift_remove("activeDeadlineSeconds")),
        &["spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"],
    );
    check(
        |new| new["spec"]["tolerations"] = json!([]),
        &["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"],
    );
    let added = json!({"name": "x", "image": "y", "terminationMessagePolicy": "File", "imagePullPolicy": "Always"});
    let kind = kind("", "Pod");
    let (old, mut new) = (defaulted(kind, old()), defaulted(kind, old()));
    new["spec"]["containers"].as_array_mut().unwrap().push(added);
    let found = told(kind, update(kind, &new, &old));
    assert_eq!(found, ["spec.containers: Forbidden: pod updates may not add or remove containers"]);
    new["spec"]["containers"] =
        json!([{"name": "b", "image": "i", "terminationMessagePolicy": "File", "imagePullPolicy": "Always"}]);
    let found = told(kind, update(kind, &new, &old));
    assert!(found[0].starts_with("spec: Forbidden: pod updates may not change fields other than"), "{found:?}");
}

#[test]
fn updates() {
    let found = changed("apps", "Deployment", deployment(), |new| {
        new["spec"]["selector"] = json!({"matchLabels": {"n": "m"}});
        new["spec"]["template"]["metadata"]["labels"] = json!({"n": "m"});
    });
    assert_eq!(found, ["spec.selector: Invalid value: {\"matchLabels\":{\"n\":\"m\"}}: field is immutable"]);
    let frozen = json!({"metadata": {"name": "a", "namespace": "b"}, "immutable": true, "data": {"a": "b"}});
    let found = changed("", "ConfigMap", frozen, |new| new["data"]["a"] = json!("c"));
    assert_eq!(found, ["data: Forbidden: field is immutable when `immutable` is set"]);
    let service =
        json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 1}]}});
    let found = changed("", "Service", service, |new| new["spec"]["clusterIP"] = json!("10.0.0.2"));
    assert_eq!(found, ["spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"]);
    let binding = json!({"metadata": {"name": "a"}, "roleRef": {"kind": "ClusterRole", "name": "x"}});
    let found =
        changed("rbac.authorization.k8s.io", "ClusterRoleBinding", binding, |new| new["roleRef"]["name"] = json!("y"));
    let value = "{\"APIGroup\":\"rbac.authorization.k8s.io\",\"Kind\":\"ClusterRole\",\"Name\":\"y\"}";
    assert_eq!(found, [format!("roleRef: Invalid value: {value}: cannot change roleRef")]);
    let claim = || {
        json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}})
    };
    let fixed = "spec: Forbidden: spec is immutable after creation except resources.requests and \
                 volumeAttributesClassName for bound claims";
    let grown = |new: &mut Tree| new["spec"]["resources"]["requests"]["storage"] = json!("2Gi");
    assert_eq!(changed("", "PersistentVolumeClaim", claim(), grown), [fixed]);
    assert_eq!(changed("", "PersistentVolumeClaim", claim(), |new| new["spec"]["volumeName"] = json!("v")), [""; 0]);
    let mut bound = claim();
    bound["status"] = json!({"phase": "Bound"});
    assert_eq!(changed("", "PersistentVolumeClaim", bound, grown), [""; 0]);
    let node = json!({"metadata": {"name": "a"}, "spec": {"providerID": "a"}});
    let found = changed("", "Node", node, |new| new["spec"]["providerID"] = json!("b"));
    assert_eq!(found, ["spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid"]);
    let class = json!({"metadata": {"name": "a"}, "provisioner": "a.io/b"});
    let found = changed("storage.k8s.io", "StorageClass", class, |new| new["provisioner"] = json!("a.io/c"));
    assert_eq!(found, ["provisioner: Forbidden: updates to provisioner are forbidden."]);
    let priority = json!({"metadata": {"name": "a"}, "value": 1});
    let found = changed("scheduling.k8s.io", "PriorityClass", priority, |new| new["value"] = json!(2));
    assert_eq!(found, ["Value: Forbidden: may not be changed in an update."]);
}

#[test]
fn what_is_looked_at_twice_is_told_twice() {
    let bad = |new: &mut Tree| new["spec"]["template"]["metadata"]["labels"] = json!({"n": "m"});
    for (name, times) in [("Deployment", 1), ("ReplicaSet", 2), ("DaemonSet", 2)] {
        let kind = kind("apps", name);
        let old = defaulted(kind, deployment());
        let mut new = old.clone();
        bad(&mut new);
        let causes = update(kind, &new, &old);
        assert_eq!(causes.len(), times, "{name}");
        let message = Rejected::invalid("apps", name, "a", causes).message;
        assert_eq!(message.matches("does not match").count(), 1, "{message}");
    }
}

#[test]
fn deleting_objects_get_no_new_finalizers() {
    let kind = kind("", "ConfigMap");
    let meta =
        json!({"name": "a", "namespace": "b", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x.y/z"]});
    let old = json!({"metadata": meta});
    let mut new = old.clone();
    new["metadata"]["finalizers"] = json!(["x.y/z", "new.io/one"]);
    let found = told(kind, update(kind, &new, &old));
    let expect = "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new \
                  finalizers []string{\"new.io/one\"}";
    assert_eq!(found, [expect; 2]);
    new["metadata"]["finalizers"] = json!([]);
    assert!(update(kind, &new, &old).is_empty());
}
