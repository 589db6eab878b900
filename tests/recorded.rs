//! Exchanges recorded from a real kube-apiserver 1.20, sent to ours: every answer is the recorded one, or differs in a way
//! that `tests/recorded/*.txt` names with its reason. The recording and its replayer are found in the folder
//! `CORACLE_FACTS`, or beside the checkout. `CORACLE_SCENARIOS='json-*'` replays a part and prints each difference.

#[path = "recorded/differences.rs"]
mod differences;
#[allow(dead_code, reason = "shared with the end-to-end tests, which use the rest")]
#[path = "e2e/process.rs"]
mod process;

use differences::{Difference, Known};
use process::{Server, free_port, text};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the replayer expects: its users, their names and groups.
const TOKENS: &str = "\
admin-token,admin,admin,system:masters
alice-token,alice,alice,dev
bob-token,bob,bob-uid,\"ops,dev\"
carol-token,carol,carol
";

/// The replayer, where it and a Python for it are at hand.
fn replayer() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/kubernetes");
    let facts = std::env::var_os("CORACLE_FACTS").map_or_else(beside, PathBuf::from);
    let replayer = facts.join("recorded/replay.py");
    if !replayer.is_file() {
        eprintln!("skipped: no recorded exchanges (set CORACLE_FACTS to the folder of the Kubernetes facts)");
        return None;
    }
    if !Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no python3 to replay the recorded exchanges with");
        return None;
    }
    Some(replayer)
}

/// Replays one profile to a server of its own; panics with the differences that no rule names, and, after a whole run,
/// with the rules that name none.
fn replay(profile: &str, off: &[&str]) {
    let Some(replayer) = replayer() else { return };
    let only = std::env::var("CORACLE_SCENARIOS").ok();
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = folder.path().join("tokens.csv");
    fs::write(&tokens, TOKENS).expect("the tokens are written");
    let port = free_port("127.0.0.1");
    let mut arguments = vec!["--token-auth-file", tokens.to_str().expect("utf-8")];
    arguments.extend(["--service-cluster-ip-range", "10.0.0.0/24", "--disable-admission-plugins", "ServiceAccount"]);
    let off = off.join(",");
    arguments.extend(["--disable", &off]);
    let server = Server::start("server", port, &arguments);

    let mut python = Command::new("python3");
    python.arg("-B").arg(&replayer).args(["--url", &server.url, "--token", "admin-token"]);
    python.args(["--newer", "--all", "--profile", profile, "--only", only.as_deref().unwrap_or("*")]);
    let output = python.output().expect("python3 starts");
    let (printed, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(printed.contains(" steps pass"), "the replayer gave up:\n{printed}{errors}");

    let found = Difference::parse(&printed);
    let mut known = Known::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded"));
    let unknown: Vec<&Difference> = found.iter().filter(|difference| !known.names(profile, difference)).collect();
    for difference in &unknown {
        eprintln!("{difference}");
    }
    let last = printed.lines().last().unwrap_or_default();
    eprintln!("profile {profile}: {last}, {} differences, {} of them not known", found.len(), unknown.len());
    assert!(unknown.is_empty(), "{} differences are not known", unknown.len());
    if only.is_none() {
        let idle = known.idle(profile);
        for rule in &idle {
            eprintln!("{rule}");
        }
        assert!(idle.is_empty(), "{} rules name no difference", idle.len());
    }
}

#[test]
fn an_api_server_without_controllers_answers_as_recorded() {
    replay("plain", &["scheduler", "controllers"]);
}

#[test]
fn an_api_server_with_controllers_answers_as_recorded() {
    replay("controllers", &["scheduler"]);
}
