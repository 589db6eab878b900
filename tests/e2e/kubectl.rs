//! Stock kubectl against the real binary.

use crate::process::{Server, eventually, text};
use std::process::Command;

/// False, and said so, where there is no kubectl.
fn has_kubectl() -> bool {
    let found =
        Command::new("kubectl").args(["version", "--client"]).output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: kubectl is not on PATH");
    }
    found
}

#[test]
fn the_daily_commands_work() {
    if !has_kubectl() {
        return;
    }
    let server = Server::up();
    server.push("hello", "hello:v1");
    server.push("hello", "hello:v2");
    let kubectl = |line: &str| server.ok("kubectl", &line.split(' ').collect::<Vec<_>>());
    let applied = kubectl("apply -f examples/hello/hello.yaml");
    assert_eq!(applied, "deployment.apps/hello created\nservice/hello created\n");
    assert_eq!(
        kubectl("apply -f examples/hello/hello.yaml"),
        "deployment.apps/hello unchanged\nservice/hello unchanged\n"
    );
    assert!(kubectl("rollout status deployment/hello --timeout=60s").contains("successfully rolled out"));
    let pods = kubectl("get pods -o wide -l app=hello");
    assert_eq!(pods.lines().count(), 4, "{pods}");
    assert!(pods.lines().skip(1).all(|line| line.contains("1/1") && line.contains("Running")), "{pods}");
    assert_eq!(kubectl("get deployment hello -o jsonpath={.status.readyReplicas}"), "3");
    assert!(kubectl("get pods -A --field-selector spec.nodeName=here -o name").lines().count() >= 3);
    let described = eventually("the event of the first scaling", || {
        Some(kubectl("describe deployment hello")).filter(|text| text.contains("ScalingReplicaSet"))
    });
    assert!(described.contains("NewReplicaSetAvailable"), "{described}");
    assert!(described.contains("deployment-controller  Scaled up replica set hello-"), "{described}");
    assert!(kubectl("events --for deployment/hello").contains("from 0 to 3"));
    assert!(kubectl("api-resources").contains("deployments"));
    assert!(kubectl("explain deployment.spec.replicas").contains("Number of desired pods"));
    assert!(kubectl("cluster-info").contains("is running at"));
    kubectl("label deployment hello tier=web");
    kubectl("annotate deployment hello note=tested");
    assert_eq!(kubectl("get deployment -l tier=web -o name"), "deployment.apps/hello\n");
    kubectl("scale deployment hello --replicas=2");
    kubectl("rollout status deployment/hello --timeout=60s");
    kubectl("set image deployment/hello hello=hello:v2");
    kubectl("rollout status deployment/hello --timeout=60s");
    assert_eq!(kubectl("rollout history deployment/hello").lines().filter(|line| line.contains("<none>")).count(), 2);
    kubectl("rollout undo deployment/hello");
    kubectl("rollout status deployment/hello --timeout=60s");
    assert_eq!(kubectl("get deployment hello -o jsonpath={.spec.template.spec.containers[0].image}"), "hello:v1");
    kubectl("apply --server-side --force-conflicts -f examples/hello/hello.yaml");
    kubectl("delete deployment hello --wait");
    eventually("the pods' end", || kubectl("get pods -o name").is_empty().then_some(()));
}

#[test]
fn a_misspelt_field_is_refused_by_the_server() {
    if !has_kubectl() {
        return;
    }
    let server = Server::up();
    let file = server.process.folder.join("bad.yaml");
    let yaml =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec: {containers: [{name: a, image: b, imagee: c}]}\n";
    std::fs::write(&file, yaml).expect("written");
    let output = server.run(Command::new("kubectl").args(["apply", "-f"]).arg(&file));
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("unknown field \"spec.containers[0].imagee\""), "{said}");
}

#[test]
fn logs_of_a_container_that_crashed_are_kept() {
    if !has_kubectl() {
        return;
    }
    let server = Server::up();
    server.push("crash", "crash:v1");
    server.ok("kubectl", &["run", "crash", "--image=crash:v1"]);
    let state = "/status/containerStatuses/0/state/waiting/reason";
    eventually("CrashLoopBackOff", || (server.field("pod", "crash", state) == "CrashLoopBackOff").then_some(()));
    let logs = server.ok("kubectl", &["logs", "crash", "--previous"]);
    assert!(logs.contains("about to break") && logs.contains("this guest always breaks"), "{logs}");
}

#[test]
fn a_missing_image_says_so() {
    if !has_kubectl() {
        return;
    }
    let server = Server::up();
    server.ok("kubectl", &["run", "nope", "--image=nowhere:v1"]);
    let reason = "/status/containerStatuses/0/state/waiting/reason";
    eventually("ImagePullBackOff", || {
        let reason = server.field("pod", "nope", reason);
        matches!(reason.as_str(), "ErrImagePull" | "ImagePullBackOff").then_some(())
    });
    let events = eventually("the event", || {
        let events = server.ok("kubectl", &["get", "events", "--field-selector", "involvedObject.name=nope"]);
        events.contains("not found").then_some(events)
    });
    assert!(events.contains("nowhere:v1"), "{events}");
}
