use super::*;
use crate::kinds;
use serde_json::json;

fn defaulted(group: &str, version: &str, kind: &str, mut tree: Tree) -> Tree {
    let kind = kinds::find_kind(group, version, kind).unwrap();
    apply(kind, &mut tree);
    let once = tree.clone();
    apply(kind, &mut tree);
    assert_eq!(once, tree, "defaulting twice changes nothing");
    tree
}

#[test]
fn a_pod() {
    let container = json!({
        "name": "a", "image": "hello:v1", "ports": [{"containerPort": 80}], "livenessProbe": {"httpGet": {"port": 80}},
        "resources": {"limits": {"cpu": "0.0001", "memory": "1Gi"}, "requests": {"memory": "1Mi"}},
        "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    });
    let volumes =
        json!([{"name": "v"}, {"name": "c", "configMap": {"name": "x"}}, {"name": "h", "hostPath": {"path": "/"}}]);
    let spec = json!({"serviceAccount": "robot", "containers": [container], "volumes": volumes});
    let pod = defaulted("", "v1", "Pod", json!({"metadata": {"name": "p"}, "spec": spec}));
    let spec = &pod["spec"];
    assert_eq!(spec["restartPolicy"], "Always");
    assert_eq!(spec["dnsPolicy"], "ClusterFirst");
    assert_eq!(spec["serviceAccountName"], "robot");
    assert_eq!(spec["enableServiceLinks"], true);
    assert_eq!(spec["terminationGracePeriodSeconds"], 30);
    let container = &spec["containers"][0];
    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
    assert_eq!(container["ports"][0]["protocol"], "TCP");
    assert_eq!(container["resources"]["requests"], json!({"memory": "1Mi", "cpu": "1m"}));
    assert_eq!(container["livenessProbe"]["httpGet"], json!({"port": 80, "path": "/", "scheme": "HTTP"}));
    assert_eq!(container["livenessProbe"]["periodSeconds"], 10);
    assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
    assert_eq!(spec["volumes"][0]["emptyDir"], json!({}));
    assert_eq!(spec["volumes"][1]["configMap"]["defaultMode"], 420);
    assert_eq!(spec["volumes"][2]["hostPath"]["type"], "");
}

#[test]
fn pull_policies() {
    let policy = |image: &str| {
        let spec = json!({"spec": {"containers": [{"image": image}]}});
        defaulted("", "v1", "Pod", spec)["spec"]["containers"][0]["imagePullPolicy"].as_str().unwrap().to_owned()
    };
    for image in ["a", "a:latest", "host:5000/a", ""] {
        assert_eq!(policy(image), "Always", "{image}");
    }
    for image in ["a:v1", "host:5000/a:v1", "a@sha256:00"] {
        assert_eq!(policy(image), "IfNotPresent", "{image}");
    }
}

#[test]
fn admission_of_a_pod() {
    let mut pod = json!({"spec": {"containers": [], "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]}});
    admit_pod(&mut pod);
    assert_eq!(pod["spec"]["serviceAccountName"], "default");
    assert_eq!(pod["spec"]["serviceAccount"], "default");
    assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 2);
    assert_eq!(pod["spec"]["tolerations"][1]["key"], "node.kubernetes.io/unreachable");
}

#[test]
fn workloads() {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment = defaulted("apps", "v1", "Deployment", json!({"spec": {"template": template}}));
    let spec = &deployment["spec"];
    assert_eq!(
        spec["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
    );
    assert_eq!((&spec["replicas"], &spec["revisionHistoryLimit"]), (&json!(1), &json!(10)));
    assert_eq!(spec["template"]["spec"]["schedulerName"], "default-scheduler");
    assert_eq!(spec["template"]["spec"].get("enableServiceLinks"), None);
    let recreate = json!({"spec": {"replicas": 0, "strategy": {"type": "Recreate"}, "template": template}});
    let recreate = defaulted("apps", "v1", "Deployment", recreate);
    assert_eq!(
        (&recreate["spec"]["replicas"], &recreate["spec"]["strategy"]),
        (&json!(0), &json!({"type": "Recreate"}))
    );

    let mut job = defaulted("batch", "v1", "Job", json!({"metadata": {"name": "j"}, "spec": {"template": template}}));
    assert_eq!((&job["spec"]["completions"], &job["spec"]["backoffLimit"]), (&json!(1), &json!(6)));
    select_job(&mut job);
    assert_eq!(job["spec"].get("selector"), None);
    job["metadata"]["uid"] = json!("u");
    select_job(&mut job);
    assert_eq!(job["spec"]["selector"]["matchLabels"], json!({"batch.kubernetes.io/controller-uid": "u"}));
    assert_eq!(job["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
}

#[test]
fn services_and_secrets() {
    let service = defaulted("", "v1", "Service", json!({"spec": {"type": "NodePort", "ports": [{"port": 80}]}}));
    let spec = &service["spec"];
    assert_eq!(spec["ports"][0], json!({"port": 80, "protocol": "TCP", "targetPort": 80}));
    assert_eq!((&spec["externalTrafficPolicy"], &spec["sessionAffinity"]), (&json!("Cluster"), &json!("None")));
    let secret = json!({"data": {"a": "eA==", "b": "eQ=="}, "stringData": {"b": "new"}});
    let secret = defaulted("", "v1", "Secret", secret);
    assert_eq!(secret, json!({"data": {"a": "eA==", "b": "bmV3"}, "type": "Opaque"}));
    let policy = json!({"spec": {"podSelector": {}, "egress": [{}]}});
    assert_eq!(
        defaulted("networking.k8s.io", "v1", "NetworkPolicy", policy)["spec"]["policyTypes"],
        json!(["Ingress", "Egress"])
    );
}
