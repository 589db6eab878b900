//! A program in Go that knows nothing of us, with Kubernetes' own client: what operators are made of. `cargo xtask clients`
//! builds it, since that takes a while; `CORACLE_GO_CLIENT` names another build of `tests/e2e/go/main.go`.

use crate::process::{Server, coracle, eventually, text};
use std::path::{Path, PathBuf};
use std::process::Command;

/// `None`, and said so, where it is not built.
fn program() -> Option<PathBuf> {
    let kept = || {
        let target = Path::new(env!("CARGO_BIN_EXE_coracle")).parent().and_then(Path::parent).expect("a target folder");
        target.join("clients/go/client")
    };
    let program = std::env::var_os("CORACLE_GO_CLIENT").map_or_else(kept, PathBuf::from);
    if program.is_file() {
        return Some(program);
    }
    eprintln!("skipped: no program with Kubernetes' Go client (cargo xtask clients builds it)");
    None
}

/// `lists_by_watching` is what newer releases of the client do without being told to.
fn works(lists_by_watching: bool) {
    let Some(program) = program() else { return };
    let server = Server::up();
    server.ok("coracle", &["apply", "-f", "tests/e2e/python/crontab.yaml"]);
    eventually("the kind is served", || server.run(coracle().args(["get", "ct"])).status.success().then_some(()));
    let mut command = Command::new(program);
    let output = server.run(command.env("KUBE_FEATURE_WatchListClient", lists_by_watching.to_string()));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && out.ends_with("done\n"), "{out}{err}");
}

#[test]
fn kubernetes_own_go_client_works() {
    works(false);
}

#[test]
fn kubernetes_own_go_client_lists_by_watching() {
    works(true);
}
