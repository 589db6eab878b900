use super::*;
use crate::{Rejected, defaults, kinds};
use serde_json::json;

fn kind(group: &str, name: &str) -> &'static Kind {
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

fn created(group: &str, name: &str, tree: Tree) -> Vec<String> {
    let kind = kind(group, name);
    told(kind, create(kind, &defaulted(kind, tree)))
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
        "name": "a", "image": "i", "ports": [{"containerPort": 80, "name": "http"}], "env": [{"name": "A", "value": "b"}],
        "readinessProbe": {"httpGet": {"port": "http"}}, "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}},
    });
    assert_eq!(created("", "Pod", pod(json!({"containers": [container], "volumes": [{"name": "v"}]}))), [""; 0]);
    assert_eq!(created("apps", "Deployment", deployment()), [""; 0]);
    let service =
        json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}});
    assert_eq!(created("", "Service", service), [""; 0]);
    let role = json!({"metadata": {"name": "system:x"}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]});
    assert_eq!(created("rbac.authorization.k8s.io", "ClusterRole", role), [""; 0]);
    let job = json!({"metadata": {"name": "j", "namespace": "b"}, "spec": {"template": {"spec": {"restartPolicy": "Never",
        "containers": [{"name": "c", "image": "i"}]}}}});
    assert_eq!(created("batch", "Job", job), [""; 0]);
}

#[test]
fn pods() {
    let check = |spec: Tree, expect: &[&str]| assert_eq!(created("", "Pod", pod(spec.clone())), expect, "{spec}");
    check(json!({}), &["spec.containers: Required value"]);
    check(json!({"containers": [{"name": "a"}]}), &["spec.containers[0].image: Required value"]);
    let expect = ["spec.containers[1].name: Duplicate value: \"a\""];
    check(json!({"containers": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]}), &expect);
    let one = |extra: Tree| {
        let mut container = json!({"name": "a", "image": "i"});
        container.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"containers": [container]})
    };
    let expect =
        ["spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"];
    check(one(json!({"ports": [{"containerPort": 70_000}]})), &expect);
    let expect = ["spec.containers[0].volumeMounts[0].name: Not found: \"x\""];
    check(one(json!({"volumeMounts": [{"name": "x", "mountPath": "/x"}]})), &expect);
    let expect =
        ["spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"];
    check(one(json!({"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}})), &expect);
    let expect = [
        "spec.containers[0].imagePullPolicy: Unsupported value: \"Often\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
    ];
    check(one(json!({"imagePullPolicy": "Often"})), &expect);
    check(
        one(json!({"livenessProbe": {}})),
        &["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
    );
    let labels = json!({"metadata": {"name": "A", "namespace": "b", "labels": {"a": "b c"}}, "spec": one(json!({}))});
    let found = created("", "Pod", labels);
    assert!(found[0].starts_with("metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain"), "{found:?}");
    assert!(found[1].starts_with("metadata.labels: Invalid value: \"b c\": a valid label must be"), "{found:?}");
}

#[test]
fn workloads_and_services() {
    let mut wrong = deployment();
    wrong["spec"]["selector"]["matchLabels"] = json!({"x": "y"});
    let expect =
        ["spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`"];
    assert_eq!(created("apps", "Deployment", wrong.clone()), expect);
    wrong["spec"].as_object_mut().unwrap().remove("selector");
    assert_eq!(created("apps", "Deployment", wrong.clone()), ["spec.selector: Required value"]);
    let service =
        |spec: Tree| created("", "Service", json!({"metadata": {"name": "a", "namespace": "b"}, "spec": spec}));
    assert_eq!(service(json!({})), ["spec.ports: Required value"]);
    let expect = [
        "spec.type: Unsupported value: \"X\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
    ];
    assert_eq!(service(json!({"type": "X", "ports": [{"port": 1}]})), expect);
    let expect = ["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"];
    assert_eq!(service(json!({"ports": [{"port": 1}, {"port": 2}]})), expect);
    let expect = ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"];
    assert_eq!(service(json!({"ports": [{"port": 1, "nodePort": 30_000}]})), expect);
    assert_eq!(service(json!({"clusterIP": "None"})), [""; 0]);
}

#[test]
fn updates() {
    let changed = |group: &str, name: &str, old: Tree, change: fn(&mut Tree)| {
        let kind = kind(group, name);
        let old = defaulted(kind, old);
        let mut new = old.clone();
        change(&mut new);
        told(kind, update(kind, &new, &old))
    };
    let old = || {
        pod(json!({"containers": [{"name": "a", "image": "i"}], "tolerations": [{"key": "x", "operator": "Exists"}]}))
    };
    assert_eq!(changed("", "Pod", old(), |new| new["spec"]["containers"][0]["image"] = json!("j")), [""; 0]);
    let more = |new: &mut Tree| new["spec"]["tolerations"].as_array_mut().unwrap().push(json!({"operator": "Exists"}));
    assert_eq!(changed("", "Pod", old(), more), [""; 0]);
    let found = changed("", "Pod", old(), |new| new["spec"]["containers"][0]["args"] = json!(["j"]));
    assert!(found[0].starts_with("spec: Forbidden: pod updates may not change fields other than"), "{found:?}");
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
    assert_eq!(found.len(), 1);
    assert!(found[0].ends_with("cannot change roleRef"));
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
    assert_eq!(
        found,
        ["metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new \
          finalizers []string{\"new.io/one\"}"]
    );
    new["metadata"]["finalizers"] = json!([]);
    assert!(update(kind, &new, &old).is_empty());
}
