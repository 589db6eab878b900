//! Files in all their forms: apply, create, replace, diff, delete.

use super::{Kubectl, deleted, words};
use std::fs;

const TWO: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: {a: b}\n---\n# nothing here\n---\n\
    apiVersion: v1\nkind: ConfigMap\nmetadata: {name: two}\n";

#[test]
fn files_folders_lists_and_standard_input_are_applied() {
    let Some(kubectl) = Kubectl::up() else { return };
    assert_eq!(
        kubectl.ok("apply -f examples/counter -f examples/batch/batch.yaml"),
        "deployment.apps/counter-front created\nservice/counter-front created\ndeployment.apps/counter-back created\n\
         service/counter-back created\nconfigmap/batch created\njob.batch/batch created\n"
    );
    assert_eq!(kubectl.fed("apply -f -", TWO), "configmap/one created\nconfigmap/two created\n");
    assert_eq!(kubectl.fed("apply -f -", TWO), "configmap/one unchanged\nconfigmap/two unchanged\n");
    let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a": "c"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "three"}, "stringData": {"x": "y"}}]}"#;
    assert_eq!(kubectl.fed("apply -f -", list), "configmap/one configured\nsecret/three created\n");
    assert_eq!(kubectl.ok("get secret three -o jsonpath={.data.x}"), "eQ==");
    let both = deleted(&kubectl, "configmap", "one") + &deleted(&kubectl, "secret", "three");
    assert_eq!(kubectl.fed("delete -f -", list), both);
}

#[test]
fn a_dry_run_changes_nothing_and_a_diff_shows_what_would_change() {
    let Some(kubectl) = Kubectl::up() else { return };
    assert_eq!(
        kubectl.fed("apply --dry-run=server -f -", TWO),
        "configmap/one created (server dry run)\nconfigmap/two created (server dry run)\n"
    );
    let missing = kubectl.fails("get configmap one");
    assert_eq!(missing, "Error from server (NotFound): configmaps \"one\" not found");
    kubectl.fed("apply -f -", TWO);
    assert_eq!(kubectl.fed("diff -f -", TWO), "");
    let output = kubectl.run("diff -f -", &TWO.replace("a: b", "a: c"));
    let shown = crate::process::text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(shown.contains("\n-  a: b\n+  a: c\n"), "{shown}");
}

#[test]
fn create_and_replace_want_the_object_to_be_as_they_say() {
    let Some(kubectl) = Kubectl::up() else { return };
    let one = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n";
    let output = kubectl.run("replace -f -", one);
    let said = crate::process::text(&output.stderr);
    assert!(said.contains("Error from server (NotFound)") && said.contains("configmaps \"one\" not found"), "{said}");
    assert_eq!(kubectl.fed("create -f -", one), "configmap/one created\n");
    let twice = crate::process::text(&kubectl.run("create -f -", one).stderr);
    assert!(twice.contains("AlreadyExists") && twice.contains("configmaps \"one\" already exists"), "{twice}");
    assert_eq!(kubectl.fed("replace -f -", one), "configmap/one replaced\n");
    let old = one.replace("{name: one}", "{name: one, resourceVersion: \"1\"}");
    let conflict = crate::process::text(&kubectl.run("replace -f -", &old).stderr);
    assert!(conflict.contains("Error from server (Conflict)"), "{conflict}");
}

#[test]
fn a_kustomization_is_built_and_applied() {
    let Some(kubectl) = Kubectl::up() else { return };
    let folder = kubectl.server.process.folder.join("kustomization");
    fs::create_dir(&folder).expect("made");
    fs::write(folder.join("kustomization.yaml"), "resources: [one.yaml]\nnamePrefix: my-\n").expect("written");
    fs::write(folder.join("one.yaml"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n").expect("written");
    let folder = folder.display();
    assert!(kubectl.ok(&format!("kustomize {folder}")).contains("name: my-one"));
    assert_eq!(kubectl.ok(&format!("apply -k {folder}")), "configmap/my-one created\n");
    assert_eq!(kubectl.ok(&format!("delete -k {folder}")), deleted(&kubectl, "configmap", "my-one"));
}

#[test]
fn quotes_hold_words_together() {
    assert_eq!(words("patch x -p '{\"a\": 1}' --note='b c'"), ["patch", "x", "-p", "{\"a\": 1}", "--note=b c"]);
}
