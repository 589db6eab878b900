//! The binary's own commands, as typed: what they print, and what they say when something is wrong.

use crate::process::{Server, coracle, free_port, guests, text};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Exit status, standard output, standard error.
fn parts(output: &Output) -> (Option<i32>, String, String) {
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn failed(command: &mut Command) -> String {
    let (status, out, said) = parts(&command.output().expect("it starts"));
    assert_eq!((status, out.as_str()), (Some(1), ""), "{said}");
    said
}

#[test]
fn an_image_goes_in_and_comes_out_the_same() {
    let server = Server::start("server", free_port("127.0.0.1"), &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let back = folder.path().join("back.wasm");
    let back = back.to_str().expect("utf-8");
    assert_eq!(server.ok("coracle", &["image", "list"]), "");
    server.push("hello", "hello:v1");
    let list = server.ok("coracle", &["image", "ls"]);
    assert!(list.lines().nth(1).is_some_and(|line| line.starts_with("hello:v1 ")), "{list}");
    assert!(server.ok("coracle", &["image", "inspect", "hello:v1"]).contains("component"));
    server.ok("coracle", &["image", "pull", "hello:v1", back]);
    let wasm = fs::read(guests().join("hello.wasm")).expect("the guest");
    assert!(fs::read(back).expect("the file is there") == wasm, "other bytes came back");
    server.ok("coracle", &["image", "rm", "hello:v1"]);
    let (status, _, said) = parts(&server.run(coracle().args(["image", "pull", "hello:v1", back])));
    assert_eq!(status, Some(1));
    assert!(said.contains("there is no image hello:v1"), "{said}");
}

#[test]
fn a_folder_is_applied_and_foreign_fields_only_by_force() {
    let server = Server::start("server", free_port("127.0.0.1"), &[]);
    let applied = server.ok("coracle", &["apply", "-f", "examples/hello"]);
    assert_eq!(applied, "deployment.apps/hello created\nservice/hello created\n");
    server.ok("kubectl", &["scale", "deployment/hello", "--replicas=5"]);
    let (status, _, said) = parts(&server.run(coracle().args(["apply", "-f", "examples/hello"])));
    assert_eq!(status, Some(1));
    assert!(said.contains("--force-conflicts") && said.contains(".spec.replicas"), "{said}");
    server.ok("coracle", &["apply", "--force-conflicts", "-f", "examples/hello"]);
    assert_eq!(server.field("deployment", "hello", "/spec/replicas"), "3");
}

#[test]
fn who_cannot_reach_a_server_learns_which_and_why() {
    let port = free_port("127.0.0.1");
    let server = Server::start("server", port, &[]);
    let kubeconfig = fs::read_to_string(server.kubeconfig()).expect("a kubeconfig");
    drop(server);
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path
    };
    let get = |path: &Path| failed(coracle().args(["get", "pods"]).env("KUBECONFIG", path));

    let said = get(&file("gone", &kubeconfig));
    assert!(said.contains(&format!("https://127.0.0.1:{port} does not answer")), "{said}");
    assert!(said.contains("refused"), "{said}");
    let said = get(&file("broken", "no: [yaml"));
    assert!(said.contains("broken"), "{said}");
    let said = get(&folder.path().join("absent"));
    assert!(said.contains("absent"), "{said}");
    // Another cluster's kubeconfig, at the address of this one.
    let other = Server::start("server", port, &[]);
    let said = get(&file("foreign", &kubeconfig));
    assert!(said.contains(&other.url) && said.to_lowercase().contains("certificate"), "{said}");
}
