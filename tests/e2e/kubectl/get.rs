//! `get`: tables and all the other shapes, selections, and following.

use super::{Kubectl, program, rows};
use crate::process::eventually;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// What stands above each kind's rows, as stock Kubernetes 1.36 has it.
const HEADERS: &[(&str, &str)] = &[
    ("pods", "NAME READY STATUS RESTARTS AGE"),
    ("pods -o wide", "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES"),
    ("deployments", "NAME READY UP-TO-DATE AVAILABLE AGE"),
    ("deployments -o wide", "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR"),
    ("replicasets", "NAME DESIRED CURRENT READY AGE"),
    ("services", "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE"),
    ("services -o wide", "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR"),
    ("endpointslices", "NAME ADDRESSTYPE PORTS ENDPOINTS AGE"),
    ("nodes", "NAME STATUS ROLES AGE VERSION"),
    (
        "nodes -o wide",
        "NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME",
    ),
    ("namespaces", "NAME STATUS AGE"),
    ("configmaps", "NAME DATA AGE"),
    ("secrets", "NAME TYPE DATA AGE"),
    ("serviceaccounts", "NAME SECRETS AGE"),
    ("events", "LAST SEEN TYPE REASON OBJECT MESSAGE"),
    ("jobs", "NAME STATUS COMPLETIONS DURATION AGE"),
    ("ingresses", "NAME CLASS HOSTS ADDRESS PORTS AGE"),
    ("poddisruptionbudgets", "NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE"),
    ("clusterroles", "NAME CREATED AT"),
    ("clusterrolebindings", "NAME ROLE AGE"),
    ("priorityclasses", "NAME VALUE GLOBAL-DEFAULT AGE PREEMPTIONPOLICY"),
];

#[test]
fn tables_have_the_columns_that_users_know() {
    let Some(kubectl) = Kubectl::with_hello() else { return };
    kubectl.ok("create secret generic one --from-literal=a=b");
    kubectl.ok("create job one --image=hello:v1");
    kubectl.ok("create ingress one --rule=example.com/=hello:80");
    kubectl.ok("create poddisruptionbudget one --selector=app=hello --min-available=1");
    for (what, header) in HEADERS {
        let table = rows(&kubectl.ok(&format!("get {what}")));
        assert_eq!(table[0], *header, "get {what}");
        assert!(table.len() > 1, "get {what} has rows");
    }
    eventually("two of three pods may be disrupted", || {
        rows(&kubectl.ok("get pdb one"))[1].starts_with("one 1 N/A 2 ").then_some(())
    });
}

#[test]
fn objects_are_shown_in_each_shape() {
    let Some(kubectl) = Kubectl::with_hello() else { return };
    assert_eq!(kubectl.ok("get deployment hello -o name"), "deployment.apps/hello\n");
    assert_eq!(kubectl.ok("get deployment hello -o jsonpath={.status.readyReplicas}"), "3");
    let columns = kubectl.ok("get deployment hello -o custom-columns=WHO:.metadata.name,WANTED:.spec.replicas");
    assert_eq!(columns, "WHO     WANTED\nhello   3\n");
    assert_eq!(kubectl.ok("get service hello -o 'go-template={{.spec.type}}'"), "NodePort");
    let yaml = kubectl.ok("get service hello -o yaml");
    assert!(yaml.starts_with("apiVersion: v1\nkind: Service\n"), "{yaml}");
    assert_eq!(yaml.contains("managedFields"), !kubectl.since(21), "{yaml}");
    let json: serde_json::Value = serde_json::from_str(&kubectl.ok("get pods -o json")).expect("JSON");
    assert_eq!((&json["kind"], json["items"].as_array().map(Vec::len)), (&"List".into(), Some(3)));
    let plain = kubectl.ok("get deployment hello --no-headers");
    assert!(plain.starts_with("hello   3/3   3     3     "), "{plain}");
    if kubectl.since(24) {
        let scale = rows(&kubectl.ok("get deployment hello --subresource=scale"));
        assert_eq!(scale[0], "NAME DESIRED AVAILABLE AGE");
        assert!(scale[1].starts_with("hello 3 3 "), "{scale:?}");
    }
    let labelled = rows(&kubectl.ok("get deployment hello --show-labels"));
    assert!(labelled[0].ends_with("AGE LABELS") && labelled[1].ends_with(" app=hello"), "{labelled:?}");
    let column = rows(&kubectl.ok("get deployment hello -L app"));
    assert!(column[0].ends_with("AGE APP") && column[1].ends_with(" hello"), "{column:?}");
}

#[test]
fn a_selection_is_what_was_asked_for() {
    let Some(kubectl) = Kubectl::with_hello() else { return };
    let count = |line: &str| kubectl.ok(line).lines().count();
    assert_eq!(count("get pods -l app=hello -o name"), 3);
    assert_eq!(count("get pods -l 'app in (hello,other),!tier' -o name"), 3);
    assert_eq!(count("get pods -l app!=hello -o name"), 0);
    assert_eq!(count("get pods -A --field-selector status.phase=Running,spec.nodeName=here -o name"), 3);
    assert_eq!(count("get pods --field-selector metadata.name=nobody -o name"), 0);
    assert_eq!(count("get pods --chunk-size=2 -o name"), 3);
    let all = kubectl.ok("get all");
    for expected in
        ["pod/hello-", "service/hello ", "service/kubernetes ", "deployment.apps/hello ", "replicaset.apps/hello-"]
    {
        assert!(all.contains(expected), "{expected} is in {all}");
    }
    let addresses = kubectl.ok("get pods --sort-by=.status.podIP -o 'jsonpath={.items[*].status.podIP}'");
    let mut sorted: Vec<&str> = addresses.split(' ').collect();
    sorted.sort_unstable();
    assert_eq!(addresses, sorted.join(" "));
    let everywhere = rows(&kubectl.ok("get configmaps -A"));
    assert_eq!(everywhere[0], "NAMESPACE NAME DATA AGE");
    let none = kubectl.run("get pods -n nowhere", "");
    assert_eq!(crate::process::text(&none.stderr), "No resources found in nowhere namespace.\n");
    assert_eq!(kubectl.fails("get pod nobody"), "Error from server (NotFound): pods \"nobody\" not found");
    assert_eq!(kubectl.fails("get potatoes"), "error: the server doesn't have a resource type \"potatoes\"");
}

#[test]
fn a_change_is_followed() {
    let Some(kubectl) = Kubectl::up() else { return };
    kubectl.ok("create configmap first --from-literal=a=b");
    kubectl.ok("label configmap first watched=yes");
    let mut command = Command::new(program());
    command.args(["get", "configmaps", "-w", "-l", "watched=yes", "--output-watch-events", "--no-headers"]);
    command.env("KUBECONFIG", kubectl.server.kubeconfig()).stdout(Stdio::piped());
    let mut follower = command.spawn().expect("it starts");
    let mut lines = BufReader::new(follower.stdout.take().expect("it has an output")).lines();
    let mut check = |expected: &str| {
        let line = lines.next().expect("a line").expect("it can be read");
        let row = rows(&line).remove(0);
        assert!(row.starts_with(expected), "{row} is no {expected}");
    };
    // It has listed: what comes from now on, it sees.
    check("ADDED first 1");
    kubectl.ok("create configmap seen --from-literal=a=b");
    kubectl.ok("label configmap seen watched=yes");
    kubectl.ok("annotate configmap seen note=changed");
    kubectl.ok("label configmap seen watched-");
    ["ADDED seen 1", "MODIFIED seen 1", "DELETED seen 1"].into_iter().for_each(check);
    follower.kill().expect("it runs");
    eventually("its end", || follower.try_wait().expect("it is ours"));
}
