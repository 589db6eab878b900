//! Commands that change one object: label, annotate, patch, set, edit, scale, delete.

use super::{Kubectl, deleted, program};
use std::process::Command;

#[test]
fn labels_and_annotations() {
    let Some(kubectl) = Kubectl::up() else { return };
    kubectl.ok("create configmap one");
    assert_eq!(kubectl.ok("label configmap one tier=front"), "configmap/one labeled\n");
    let refused = kubectl.fails("label configmap one tier=inner");
    assert_eq!(refused, "error: 'tier' already has a value (front), and --overwrite is false");
    // As long as the old one: 1.23 takes whatever becomes shorter for "unlabeled".
    assert_eq!(kubectl.ok("label configmap one tier=inner --overwrite"), "configmap/one labeled\n");
    assert_eq!(kubectl.ok("get configmap -l tier=inner -o name"), "configmap/one\n");
    let done = if kubectl.since(23) { "unlabeled" } else { "labeled" };
    assert_eq!(kubectl.ok("label configmap one tier-"), format!("configmap/one {done}\n"));
    // The first of 1.27 forget the last letter.
    let annotated = kubectl.ok("annotate configmap one note=tested");
    let forgets = kubectl.version == 27 && annotated == "configmap/one annotate\n";
    assert!(annotated == "configmap/one annotated\n" || forgets, "{annotated}");
    assert_eq!(kubectl.ok("get configmap one -o jsonpath={.metadata.annotations.note}"), "tested");
}

#[test]
fn patches_of_each_type() {
    let Some(kubectl) = Kubectl::up() else { return };
    kubectl.ok("create deployment web --image=web:v1 --replicas=0");
    let strategic = r#"{"spec": {"template": {"spec": {"containers": [{"name": "more", "image": "more:v1"}]}}}}"#;
    assert_eq!(kubectl.ok(&format!("patch deployment web -p '{strategic}'")), "deployment.apps/web patched\n");
    let images = "get deployment web -o 'jsonpath={.spec.template.spec.containers[*].image}'";
    assert_eq!(kubectl.ok(images), "more:v1 web:v1");
    let merge = r#"{"metadata": {"labels": {"tier": "web"}}}"#;
    assert_eq!(kubectl.ok(&format!("patch deployment web --type=merge -p '{merge}'")), "deployment.apps/web patched\n");
    let unchanged = kubectl.ok(&format!("patch deployment web --type=merge -p '{merge}'"));
    assert_eq!(unchanged, "deployment.apps/web patched (no change)\n");
    let json =
        r#"[{"op": "test", "path": "/spec/replicas", "value": 0}, {"op": "remove", "path": "/metadata/labels/tier"}]"#;
    kubectl.ok(&format!("patch deployment web --type=json -p '{json}'"));
    assert_eq!(kubectl.ok("get deployment web -o jsonpath={.metadata.labels.tier}"), "");
    if !kubectl.since(24) {
        return;
    }
    let scale = r#"{"spec": {"replicas": 1}}"#;
    let line = format!("patch deployment web --subresource=scale --type=merge -p '{scale}'");
    assert_eq!(kubectl.ok(&line), "scale.autoscaling/web patched\n");
    assert_eq!(kubectl.ok("get deployment web -o jsonpath={.spec.replicas}"), "1");
}

#[test]
fn an_editors_change_is_taken_over() {
    let Some(kubectl) = Kubectl::up() else { return };
    kubectl.ok("create configmap one --from-literal=word=before");
    let edit = |script: &str| {
        let mut command = Command::new(program());
        kubectl.server.run(command.args(["edit", "configmap", "one"]).env("EDITOR", format!("sed -i {script}")))
    };
    let done = edit("s/before/after/");
    assert_eq!(crate::process::text(&done.stdout), "configmap/one edited\n");
    assert_eq!(kubectl.ok("get configmap one -o jsonpath={.data.word}"), "after");
    let same = edit("s/nothing/at-all/");
    assert!(crate::process::text(&same.stderr).contains("Edit cancelled, no changes made."));
}

#[test]
fn a_deletion_reaches_what_it_names() {
    let Some(kubectl) = Kubectl::up() else { return };
    for name in ["one", "two", "three", "four"] {
        kubectl.ok(&format!("create configmap {name}"));
    }
    kubectl.ok("label configmap two three set=yes");
    assert_eq!(kubectl.ok("delete configmap one"), deleted(&kubectl, "configmap", "one"));
    let both = deleted(&kubectl, "configmap", "three") + &deleted(&kubectl, "configmap", "two");
    assert_eq!(kubectl.ok("delete configmap -l set=yes"), both);
    assert_eq!(kubectl.fails("delete configmap one"), "Error from server (NotFound): configmaps \"one\" not found");
    assert_eq!(kubectl.ok("delete configmap one --ignore-not-found"), "");
    kubectl.ok("create namespace shop");
    kubectl.ok("create configmap inside -n shop");
    assert_eq!(kubectl.ok("delete namespace shop --timeout=60s"), "namespace \"shop\" deleted\n");
    assert_eq!(kubectl.fails("get namespace shop"), "Error from server (NotFound): namespaces \"shop\" not found");
}

#[test]
fn a_pod_can_be_deleted_at_once() {
    let Some(kubectl) = Kubectl::with_hello() else { return };
    kubectl.ok("run one --image=hello:v1");
    kubectl.ok("wait --for=condition=Ready pod/one --timeout=60s");
    let forced = deleted(&kubectl, "pod", "one").replace("deleted", "force deleted");
    assert_eq!(kubectl.ok("delete pod one --grace-period=0 --force"), forced);
    assert_eq!(kubectl.fails("get pod one"), "Error from server (NotFound): pods \"one\" not found");
    kubectl.ok("run one --image=hello:v1");
    assert_eq!(kubectl.ok("delete pod one --now --timeout=60s"), deleted(&kubectl, "pod", "one"));
    let all = kubectl.ok("delete pods --all --timeout=60s");
    assert_eq!(all.lines().count(), 3, "{all}");
}
