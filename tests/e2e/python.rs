//! Programs in Python that know nothing of us: Kubernetes' own client, and an operator made with kopf. `cargo xtask test`
//! keeps a folder with both; `CORACLE_PYTHON` names the interpreter of another one.

use crate::process::{Server, text};
use std::path::{Path, PathBuf};
use std::process::Command;

const SCRIPTS: &str = "tests/e2e/python";

/// `None`, and said so, where there is no Python that has both.
fn python() -> Option<PathBuf> {
    let kept = || {
        let target = Path::new(env!("CARGO_BIN_EXE_coracle")).parent().and_then(Path::parent).expect("a target folder");
        target.join("python/bin/python")
    };
    let python = std::env::var_os("CORACLE_PYTHON").map_or_else(kept, PathBuf::from);
    let has_both = Command::new(&python).args(["-c", "import kubernetes, kopf"]).output();
    if has_both.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    eprintln!("skipped: no Python with the packages of {SCRIPTS}/requirements.txt (cargo xtask test installs them)");
    None
}

#[test]
fn kubernetes_own_python_client_works() {
    let Some(python) = python() else { return };
    let server = Server::up();
    let output = server.run(Command::new(python).arg(format!("{SCRIPTS}/client.py")));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && out.ends_with("done\n"), "{out}{err}");
}
