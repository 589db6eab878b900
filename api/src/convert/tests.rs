use super::*;
use crate::kinds::find_kind;

/// There and back: what is stored, and that what comes out is what went in.
fn check(group: &str, version: &str, name: &str, tree: &Tree, expected: &Tree) {
    let kind = find_kind(group, version, name).expect("served");
    let mut changed = tree.clone();
    let stored = into_stored(kind, &mut changed).expect("stored as another kind");
    assert_eq!(changed["apiVersion"], stored.api_version());
    edit::remove(&mut changed, &["apiVersion"]);
    assert_eq!(&changed, expected, "{group}/{version} {name}");
    out_of_stored(kind, &mut changed);
    assert_eq!(changed["apiVersion"], kind.api_version());
    edit::remove(&mut changed, &["apiVersion"]);
    assert_eq!(&changed, tree, "{group}/{version} {name}, back");
}

#[test]
fn what_differs_in_more_than_its_name() {
    check(
        "events.k8s.io",
        "v1beta1",
        "Event",
        &json!({"note": "n", "regarding": {"kind": "Pod"}}),
        &json!({"message": "n", "involvedObject": {"kind": "Pod"}}),
    );
    check(
        "discovery.k8s.io",
        "v1beta1",
        "EndpointSlice",
        &json!({"endpoints": [{"nodeName": "n", "topology": {ZONE: "z", HOSTNAME: "n", "other": "o"}}]}),
        &json!({"endpoints": [{"nodeName": "n", "zone": "z", "deprecatedTopology": {"other": "o"}}]}),
    );
    check(
        "policy",
        "v1beta1",
        "PodDisruptionBudget",
        &json!({"spec": {"selector": {}}}),
        &json!({"spec": {"selector": {"matchExpressions": [{"key": EMPTY_SELECTOR, "operator": "Exists"}]}}}),
    );
    let path = |backend: Tree| json!([{"http": {"paths": [{"pathType": "Prefix", "backend": backend}]}}]);
    for group in ["networking.k8s.io", "extensions"] {
        check(
            group,
            "v1beta1",
            "Ingress",
            &json!({"spec": {"rules": path(json!({"serviceName": "s", "servicePort": "http"})),
                "backend": {"serviceName": "d", "servicePort": 80}}}),
            &json!({"spec": {"rules": path(json!({"service": {"name": "s", "port": {"name": "http"}}})),
                "defaultBackend": {"service": {"name": "d", "port": {"number": 80}}}}}),
        );
    }
    check(
        "authorization.k8s.io",
        "v1beta1",
        "SubjectAccessReview",
        &json!({"spec": {"group": ["g"]}}),
        &json!({"spec": {"groups": ["g"]}}),
    );
}

#[test]
fn autoscalers() {
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
    check(
        "autoscaling",
        "v1",
        "HorizontalPodAutoscaler",
        &json!({"metadata": {"name": "a"}, "spec": {TARGET: 80}}),
        &json!({"metadata": {"name": "a"}, "spec": {"metrics": [cpu]}}),
    );
    let pods = json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1"}}});
    let kind = find_kind("autoscaling", "v1", "HorizontalPodAutoscaler").expect("served");
    let stored = json!({"metadata": {}, "spec": {"metrics": [cpu, pods], "behavior": {"scaleDown": {}}}});
    let mut tree = stored.clone();
    out_of_stored(kind, &mut tree);
    assert_eq!(tree["spec"], json!({TARGET: 80}));
    let noted = &tree["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"];
    assert_eq!(noted, r#"[{"type":"Pods","pods":{"targetAverageValue":"1","metricName":"m"}}]"#);
    into_stored(kind, &mut tree);
    edit::remove(&mut tree, &["apiVersion"]);
    assert_eq!(tree, stored);
    const TARGET: &str = "targetCPUUtilizationPercentage";
}

#[test]
fn definitions_say_in_each_version_what_they_said_once() {
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"a": {"type": "string"}}}});
    let column = |key: &str| json!([{"name": "A", "type": "string", key: ".a"}]);
    check(
        "apiextensions.k8s.io",
        "v1beta1",
        "CustomResourceDefinition",
        &json!({"spec": {"versions": [{"name": "v1", "served": true, "storage": true}], "version": "v1",
            "validation": schema, "additionalPrinterColumns": column("JSONPath"), "preserveUnknownFields": false}}),
        &json!({"spec": {"versions": [{"name": "v1", "served": true, "storage": true, "schema": schema,
            "additionalPrinterColumns": column("jsonPath")}]}}),
    );
}

#[test]
fn only_old_versions_are_stored_as_others() {
    for kind in kinds::builtin() {
        let is_other = kind.group() == "events.k8s.io" || (kind.group(), kind.version()) == ("autoscaling", "v1");
        assert_eq!(stored(kind).is_some(), is_other, "{}", kind.resource);
    }
    for kind in kinds::legacy() {
        let stored = stored(kind).expect("a newer version");
        assert!(!stored.version().contains("beta") && stored.kind == kind.kind, "{}", kind.resource);
        assert!(kind.schema().is_some(), "{} has no field table", kind.resource);
    }
}
