//! `describe`: the sections that users look for.

use super::Kubectl;

fn shows(kubectl: &Kubectl, what: &str, expected: &[&str]) {
    let text = kubectl.ok(&format!("describe {what}"));
    let text = super::rows(&text).join("\n");
    for part in expected {
        assert!(text.contains(part), "describe {what} has no {part:?}:\n{text}");
    }
}

#[test]
fn workloads_are_described() {
    let Some(kubectl) = Kubectl::with_hello() else { return };
    let replicas = "Replicas: 3 desired | 3 updated | 3 total | 3 available | 0 unavailable";
    let strategy = "RollingUpdateStrategy: 25% max unavailable, 25% max surge";
    let conditions = "Available True MinimumReplicasAvailable\nProgressing True NewReplicaSetAvailable";
    shows(&kubectl, "deployment hello", &[replicas, strategy, conditions, "(3/3 replicas created)"]);
    let owner = "Controlled By: Deployment/hello";
    shows(&kubectl, "replicaset -l app=hello", &[owner, "Pods Status: 3 Running / 0 Waiting / 0 Succeeded / 0 Failed"]);
    let thresholds = match kubectl.version {
        ..37 => "#success=1 #failure=3",
        _ => "successThreshold=1 failureThreshold=3",
    };
    let readiness = format!("Readiness: http-get http://:http/healthz delay=0s timeout=1s period=5s {thresholds}");
    shows(
        &kubectl,
        "pods -l app=hello",
        &["Status: Running", "Container ID: wasmtime://", &readiness, "ContainersReady True", "QoS Class: BestEffort"],
    );
    let pod = kubectl.ok("get pods -l app=hello -o 'jsonpath={.items[0].metadata.name}'");
    shows(&kubectl, &format!("pod {pod}"), &["Normal Started"]);
    kubectl.server.push("batch", "batch:v1");
    kubectl.ok("apply -f examples/batch/batch.yaml");
    kubectl.ok("wait --for=condition=complete job/batch --timeout=60s");
    let pods = match kubectl.version {
        ..23 => "Pods Statuses: 0 Running / 1 Succeeded / 0 Failed",
        _ => "Pods Statuses: 0 Active (0 Ready) / 1 Succeeded / 0 Failed",
    };
    shows(&kubectl, "job batch", &["Selector: batch.kubernetes.io/controller-uid=", pods, "job-name=batch"]);
}

#[test]
fn the_cluster_is_described() {
    let Some(kubectl) = Kubectl::with_hello() else { return };
    let ready = "KubeletReady kubelet is posting ready status";
    shows(
        &kubectl,
        "node here",
        &["Unschedulable: false", "HolderIdentity: here", ready, "wasmtime://", "Non-terminated Pods: (3 in total)"],
    );
    // Old ones read Endpoints, which are written after the slices that new ones read.
    crate::process::eventually("the endpoints", || {
        let text = super::rows(&kubectl.ok("describe service hello")).join("\n");
        text.contains("Endpoints: 10.64.").then_some(())
    });
    shows(&kubectl, "service hello", &["Type: NodePort", "TargetPort: http/TCP"]);
    shows(&kubectl, "namespace default", &["Status: Active", "No resource quota."]);
    shows(&kubectl, "configmap kube-root-ca.crt", &["ca.crt:", "-----BEGIN CERTIFICATE-----"]);
    kubectl.ok("create secret generic one --from-literal=word=hidden");
    shows(&kubectl, "secret one", &["Type: Opaque", "word: 6 bytes"]);
    kubectl.ok("create ingress one --rule=example.com/=hello:80");
    shows(&kubectl, "ingress one", &["example.com", "/ hello:80 (10.64."]);
    shows(&kubectl, "clusterrole view", &["PolicyRule:", "pods [] [] [get list watch]"]);
}
