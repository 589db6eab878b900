//! A program in JavaScript that knows nothing of us, with Kubernetes' own client. `cargo xtask test` keeps a folder with it
//! and a Node.js; `CORACLE_JAVASCRIPT` names another folder with the packages of `tests/e2e/javascript/package.json`, which
//! the `node` on PATH runs.

use crate::process::{Server, coracle, eventually, text};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder, and what runs it. `None`, and said so, where there is no such.
fn javascript() -> Option<(PathBuf, PathBuf)> {
    let (folder, node) = match std::env::var_os("CORACLE_JAVASCRIPT") {
        Some(folder) => (PathBuf::from(folder), PathBuf::from("node")),
        None => {
            let target = Path::new(env!("CARGO_BIN_EXE_coracle")).parent().and_then(Path::parent);
            let target = target.expect("a target folder");
            (target.join("javascript"), target.join("python/bin/node"))
        }
    };
    let import = ["--input-type=module", "--eval", "import '@kubernetes/client-node'"];
    if Command::new(&node).args(import).current_dir(&folder).output().is_ok_and(|output| output.status.success()) {
        return Some((folder, node));
    }
    eprintln!("skipped: no Node.js with @kubernetes/client-node (cargo xtask test installs both)");
    None
}

#[test]
fn kubernetes_own_javascript_client_works() {
    let Some((folder, node)) = javascript() else { return };
    let server = Server::up();
    server.push("crash", "crash:v1");
    server.ok("coracle", &["apply", "-f", "tests/e2e/python/crontab.yaml"]);
    eventually("the kind is served", || server.run(coracle().args(["get", "ct"])).status.success().then_some(()));
    let script = std::fs::read_to_string("tests/e2e/javascript/client.mjs").expect("it is text");
    // As a text and in that folder, where its imports are looked for.
    let mut command = Command::new(node);
    let output = server.run(command.current_dir(folder).args(["--input-type=module", "--eval", &script]));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && out.ends_with("done\n"), "{out}{err}");
}
