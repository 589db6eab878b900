//! Programs in Python that know nothing of us: Kubernetes' own client, an operator made with kopf, and schemathesis, which
//! makes up requests. `cargo xtask test` keeps a folder with them; `CORACLE_PYTHON` names the interpreter of another one.

use crate::process::{Server, eventually, text};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const SCRIPTS: &str = "tests/e2e/python";

/// `None`, and said so, where there is no Python that has all.
fn python() -> Option<PathBuf> {
    let kept = || {
        let target = Path::new(env!("CARGO_BIN_EXE_coracle")).parent().and_then(Path::parent).expect("a target folder");
        target.join("python/bin/python")
    };
    let python = std::env::var_os("CORACLE_PYTHON").map_or_else(kept, PathBuf::from);
    let has_all = Command::new(&python).args(["-c", "import kubernetes, kopf, schemathesis"]).output();
    if has_all.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    eprintln!("skipped: no Python with the packages of {SCRIPTS}/requirements.txt (cargo xtask test installs them)");
    None
}

/// Ends with the test.
struct Operator(Child);

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn kubernetes_own_python_client_works() {
    let Some(python) = python() else { return };
    let server = Server::up();
    let output = server.run(Command::new(python).arg(format!("{SCRIPTS}/client.py")));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && out.ends_with("done\n"), "{out}{err}");
}

#[test]
fn no_request_of_the_openapi_documents_is_a_servers_error() {
    let Some(python) = python() else { return };
    let server = Server::up();
    let output = server.run(Command::new(python).arg(format!("{SCRIPTS}/openapi.py")));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && out.ends_with("done\n"), "{out}{err}");
    eprint!("{out}");
}

#[test]
fn a_kopf_operator_sees_what_is_made_changed_and_deleted() {
    let Some(python) = python() else { return };
    let server = Server::up();
    server.ok("coracle", &["apply", "-f", &format!("{SCRIPTS}/crontab.yaml")]);
    eventually("the kind is served", || {
        let output = server.run(crate::process::coracle().args(["get", "ct"]));
        output.status.success().then_some(())
    });
    let log = server.process.folder.join("operator.log");
    let file = std::fs::File::create(&log).expect("a log");
    let mut command = Command::new(python);
    command.args(["-m", "kopf", "run", "--namespace", "default", &format!("{SCRIPTS}/crontabs.py")]);
    command.env("KUBECONFIG", server.kubeconfig()).stdout(Stdio::null()).stderr(file);
    let operator = Operator(command.spawn().expect("kopf starts"));

    let tab = |schedule: &str| {
        let file = server.process.folder.join("tab.yaml");
        let yaml = format!(
            "apiVersion: stable.example.com/v1\nkind: CronTab\nmetadata: {{name: nightly}}\nspec: {{schedule: '{schedule}'}}\n"
        );
        std::fs::write(&file, yaml).expect("written");
        server.ok("coracle", &["apply", "-f", file.to_str().expect("utf-8")]);
    };
    let field = |name: &str, path: &str| {
        let output = server.run(crate::process::coracle().args(["get", "configmap", name, "-o", "json"]));
        let tree: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        tree.pointer(path).and_then(|value| value.as_str()).map(str::to_owned)
    };
    let becomes = |name: &str, path: &str, wanted: &str| {
        eventually(&format!("{path} of {name} is {wanted} ({})", log.display()), || {
            (field(name, path).as_deref() == Some(wanted)).then_some(())
        });
    };
    tab("0 1 * * *");
    becomes("crontab-nightly", "/data/schedule", "0 1 * * *");
    becomes("crontab-nightly", "/data/replicas", "1");
    becomes("crontab-nightly", "/metadata/ownerReferences/0/kind", "CronTab");
    let made = "/status/created/made";
    eventually("the status", || (server.field("crontab", "nightly", made) == "crontab-nightly").then_some(()));
    tab("0 2 * * *");
    becomes("crontab-nightly", "/data/schedule", "0 2 * * *");
    server.ok("coracle", &["delete", "crontab", "nightly"]);
    becomes("gone-nightly", "/data/by", "operator");
    eventually("what it owned goes with it", || field("crontab-nightly", "/metadata/name").is_none().then_some(()));
    drop(operator);
}
