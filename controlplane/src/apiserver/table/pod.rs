//! The row of a pod: the word for its state, and how often it was restarted, as kubectl's users know them (upstream's
//! `printPod`, 1.36).

use super::{Now, age, name, or_none};
use api::Tree;
use api::object::edit;
use api::time::{self, Timestamp};
use serde_json::json;

/// How often containers were restarted, and when one of them ended last.
#[derive(Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

/// What the containers' states make of a pod.
struct State {
    reason: String,
    ready: usize,
    restarts: Restarts,
}

pub(super) fn cells(tree: &Tree, now: &Now) -> Vec<Tree> {
    let sidecars = edit::list(tree, &["spec", "initContainers"]).iter().filter(|one| is_sidecar(one)).count();
    let total = edit::list(tree, &["spec", "containers"]).len() + sidecars;
    let State { reason, ready, restarts } = state(tree);
    let restarts = match restarts.last.filter(|_| restarts.count > 0) {
        Some(last) => format!("{} ({} ago)", restarts.count, now.age(last)),
        None => restarts.count.to_string(),
    };
    let gates = edit::list(tree, &["spec", "readinessGates"]);
    let met = gates.iter().filter(|gate| condition(tree, edit::text(gate, &["conditionType"])) == "True").count();
    let gates: Tree = if gates.is_empty() { "<none>".into() } else { format!("{met}/{}", gates.len()).into() };
    let address = edit::list(tree, &["status", "podIPs"]).first().map(|one| edit::text(one, &["ip"]));
    let address = address.filter(|ip| !ip.is_empty()).map_or_else(|| or_none(tree, &["status", "podIP"]), Tree::from);
    vec![
        name(tree),
        format!("{ready}/{total}").into(),
        reason.into(),
        restarts.into(),
        age(tree, now),
        address,
        or_none(tree, &["spec", "nodeName"]),
        or_none(tree, &["status", "nominatedNodeName"]),
        gates,
    ]
}

/// The conditions of a row: clients can leave ended pods out by them.
pub(super) fn conditions(tree: &Tree) -> Vec<Tree> {
    let (reason, message) = match edit::text(tree, &["status", "phase"]) {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return Vec::new(),
    };
    vec![json!({"type": "Completed", "status": "True", "reason": reason, "message": message})]
}

fn condition<'a>(tree: &'a Tree, kind: &str) -> &'a str {
    let all = edit::list(tree, &["status", "conditions"]);
    all.iter().find(|one| edit::text(one, &["type"]) == kind).map_or("", |one| edit::text(one, &["status"]))
}

fn is_sidecar(container: &Tree) -> bool {
    edit::text(container, &["restartPolicy"]) == "Always"
}

fn state(tree: &Tree) -> State {
    let phase = edit::text(tree, &["status", "phase"]);
    let own = edit::text(tree, &["status", "reason"]);
    let mut state =
        State { reason: if own.is_empty() { phase } else { own }.to_owned(), ready: 0, restarts: Restarts::default() };
    let is_gated =
        |one: &Tree| edit::text(one, &["type"]) == "PodScheduled" && edit::text(one, &["reason"]) == "SchedulingGated";
    if edit::list(tree, &["status", "conditions"]).iter().any(is_gated) {
        "SchedulingGated".clone_into(&mut state.reason);
    }
    let (is_initializing, of_sidecars) = state.initialize(tree);
    if !is_initializing || condition(tree, "Initialized") == "True" {
        state.restarts = of_sidecars;
        state.run(tree);
    }
    if !edit::text(tree, &["metadata", "deletionTimestamp"]).is_empty() {
        if own == "NodeLost" {
            "Unknown".clone_into(&mut state.reason);
        } else if !matches!(phase, "Succeeded" | "Failed") {
            "Terminating".clone_into(&mut state.reason);
        }
    }
    state
}

// === impl State ===

impl State {
    /// Whether an init container has not ended well, and what counts of them once they all have.
    fn initialize(&mut self, tree: &Tree) -> (bool, Restarts) {
        let specs = edit::list(tree, &["spec", "initContainers"]);
        let mut of_sidecars = Restarts::default();
        for (index, status) in edit::list(tree, &["status", "initContainerStatuses"]).iter().enumerate() {
            self.restarts.add(status);
            let own = edit::text(status, &["name"]);
            let is_sidecar = specs.iter().any(|spec| edit::text(spec, &["name"]) == own && is_sidecar(spec));
            if is_sidecar {
                of_sidecars.add(status);
            }
            let ended = edit::at(status, &["state", "terminated"]);
            if ended.is_some_and(|ended| edit::integer(ended, &["exitCode"]).unwrap_or(0) == 0) {
                continue;
            }
            if is_sidecar && edit::is_true(status, &["started"]) {
                self.ready += usize::from(edit::is_true(status, &["ready"]));
                continue;
            }
            let waiting = edit::text(status, &["state", "waiting", "reason"]);
            self.reason = match ended {
                Some(ended) => format!("Init:{}", ended_word(ended)),
                None if !matches!(waiting, "" | "PodInitializing") => format!("Init:{waiting}"),
                None => format!("Init:{index}/{}", specs.len()),
            };
            return (true, of_sidecars);
        }
        (false, of_sidecars)
    }

    fn run(&mut self, tree: &Tree) {
        let mut has_running = false;
        for status in edit::list(tree, &["status", "containerStatuses"]).iter().rev() {
            self.restarts.add(status);
            let waiting = edit::text(status, &["state", "waiting", "reason"]);
            if !waiting.is_empty() {
                waiting.clone_into(&mut self.reason);
            } else if let Some(ended) = edit::at(status, &["state", "terminated"]) {
                self.reason = ended_word(ended);
            } else if edit::is_true(status, &["ready"]) && edit::at(status, &["state", "running"]).is_some() {
                has_running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && has_running {
            let is_ready = condition(tree, "Ready") == "True";
            self.reason = if is_ready { "Running" } else { "NotReady" }.to_owned();
        }
    }
}

// === impl Restarts ===

impl Restarts {
    fn add(&mut self, status: &Tree) {
        self.count += edit::integer(status, &["restartCount"]).unwrap_or(0);
        let ended = time::parse(edit::text(status, &["lastState", "terminated", "finishedAt"]));
        self.last = self.last.max(ended);
    }
}

fn ended_word(ended: &Tree) -> String {
    let reason = edit::text(ended, &["reason"]);
    if !reason.is_empty() {
        return reason.to_owned();
    }
    match edit::integer(ended, &["signal"]).unwrap_or(0) {
        0 => format!("ExitCode:{}", edit::integer(ended, &["exitCode"]).unwrap_or(0)),
        signal => format!("Signal:{signal}"),
    }
}
