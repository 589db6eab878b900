//! What a server says about itself, and clear words for what it does not do.

use super::{Kubectl, rows};

#[test]
fn the_server_says_what_it_serves() {
    let Some(kubectl) = Kubectl::up() else { return };
    let version = kubectl.ok("version");
    assert!(version.contains("Server Version: ") && version.contains("v1.36.0+coracle."), "{version}");
    assert!(kubectl.ok("cluster-info").contains("is running at"));
    let resources = rows(&kubectl.ok("api-resources"));
    assert_eq!(resources[0], "NAME SHORTNAMES APIVERSION NAMESPACED KIND");
    for expected in ["pods po v1 true Pod", "deployments deploy apps/v1 true Deployment", "nodes no v1 false Node"] {
        assert!(resources.iter().any(|row| row == expected), "{expected}");
    }
    let versions = kubectl.ok("api-versions");
    for expected in ["apps/v1", "batch/v1", "networking.k8s.io/v1", "rbac.authorization.k8s.io/v1", "v1"] {
        assert!(versions.lines().any(|line| line == expected), "{expected}");
    }
    let explained = rows(&kubectl.ok("explain deployment.spec.replicas")).join("\n");
    assert!(explained.contains("KIND: Deployment") && explained.contains("FIELD: replicas <integer>"), "{explained}");
    let all = rows(&kubectl.ok("explain pod.spec --recursive")).join("\n");
    let required = if kubectl.since(27) { "containers <[]Container> -required-" } else { "containers <[]Object>" };
    assert!(all.contains(&format!("\n{required}\nargs <[]string>\n")), "{all}");
    if kubectl.since(28) {
        assert!(kubectl.ok("auth whoami").contains("kubernetes-admin"));
    }
    assert_eq!(kubectl.ok("auth can-i '*' '*'"), "yes\n");
    assert!(kubectl.ok("config view").contains("certificate-authority-data: DATA+OMITTED"));
}

#[test]
fn waiting_ends_when_it_is_so_or_says_that_it_is_not() {
    let Some(kubectl) = Kubectl::with_hello() else { return };
    let met = kubectl.ok("wait --for=condition=Available deployment/hello --timeout=30s");
    assert_eq!(met, "deployment.apps/hello condition met\n");
    assert_eq!(kubectl.ok("wait --for=condition=Ready pod -l app=hello --timeout=30s").lines().count(), 3);
    if kubectl.since(23) {
        kubectl.ok("wait --for=jsonpath={.status.readyReplicas}=3 deployment/hello --timeout=30s");
    }
    if kubectl.since(23) {
        assert_eq!(kubectl.ok("wait --for=delete pod/nobody --timeout=30s"), "");
    }
    let over = kubectl.fails("wait --for=condition=Never deployment/hello --timeout=1s");
    assert_eq!(over, "error: timed out waiting for the condition on deployments/hello");
}

#[test]
fn what_is_not_there_is_refused_in_clear_words() {
    let Some(kubectl) = Kubectl::with_hello() else { return };
    let pod = kubectl.ok("get pods -l app=hello -o 'jsonpath={.items[0].metadata.name}'");
    for command in ["exec POD -- ls", "attach POD", "port-forward POD 0:8080", "cp POD:/etc/hosts /dev/null"] {
        let said = kubectl.fails(&command.replace("POD", &pod));
        assert!(said.contains("pods here are WebAssembly instances, not processes"), "{command}: {said}");
    }
    for command in ["top nodes", "top pods"] {
        // 1.21 warns of its next version before.
        let said = kubectl.fails(command);
        assert_eq!(said.lines().last(), Some("error: Metrics API not available"));
    }
}
