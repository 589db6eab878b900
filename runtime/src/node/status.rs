//! What the API is told about a pod: its state in the words of `PodStatus`. Pure.

use super::pod::{Condition, Container, Ending, ImageState, Run, Setup, Slot, State};
use api::Tree;
use api::time::{self, Timestamp};
use api::view;
use serde_json::{Map, json};
use std::net::IpAddr;

/// `podScheduled` and its siblings as `(type, is true, reason, message)`, in the kubelet's order.
pub(super) type Wanted = (&'static str, bool, &'static str, String);

/// The scheme of `containerID`.
const RUNTIME: &str = "wasmtime";

/// The conditions that hold now.
pub(super) fn conditions(state: &State) -> Vec<Wanted> {
    let phase = phase(state);
    let is_over = matches!(phase, "Succeeded" | "Failed");
    let over = if phase == "Succeeded" { "PodCompleted" } else { "PodFailed" };
    let set_up = matches!(state.setup, Setup::Ready { .. }) && !is_over && state.ending != Ending::Done;
    let incomplete =
        names(state, |slot| matches!(slot, Slot::Init(at) if state.current_init().is_some_and(|now| at >= now)));
    let initialized = match phase {
        "Succeeded" => ("Initialized", true, "PodCompleted", String::new()),
        _ if incomplete.is_empty() => ("Initialized", true, "", String::new()),
        _ => {
            let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
            ("Initialized", false, "ContainersNotInitialized", message)
        }
    };
    let unready = names(state, |slot| {
        let counts = matches!(slot, Slot::Main(_)) || state.is_sidecar(slot);
        counts && (!state.container(slot).is_ready || state.is_ending())
    });
    let (is_ready, reason, message) = if is_over {
        (false, over, String::new())
    } else if unready.is_empty() {
        (true, "", String::new())
    } else {
        (false, "ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" ")))
    };
    let containers = ("ContainersReady", is_ready, reason, message.clone());
    let ready = match closed_gate(state) {
        Some(message) if is_ready => ("Ready", false, "ReadinessGatesNotReady", message),
        _ => ("Ready", is_ready, reason, message),
    };
    let to_start = ("PodReadyToStartContainers", set_up, "", String::new());
    vec![to_start, initialized, ready, containers, ("PodScheduled", true, "", String::new())]
}

/// The conditions that an earlier process of this node told, so that their times go on.
pub(super) fn adopt_conditions(state: &State, now: Timestamp) -> Vec<Condition> {
    let old = |kind: &str| state.pod.status.condition(kind);
    let adopt = |(kind, is_true, reason, message): Wanted| Condition {
        kind,
        is_true: old(kind).map_or(is_true, |old| old.status == "True"),
        reason,
        message,
        since: old(kind).and_then(|old| old.last_transition_time).unwrap_or(now),
    };
    conditions(state).into_iter().map(adopt).collect()
}

/// `Pending`, `Running`, `Succeeded` or `Failed`; the last two stay.
pub(super) fn phase(state: &State) -> &'static str {
    match state.pod.status.phase.as_str() {
        "Succeeded" => return "Succeeded",
        "Failed" => return "Failed",
        _ => {}
    }
    if state.failure.is_some() {
        return "Failed";
    }
    let ended = |container: &Container| match &container.run {
        Run::Ended(ended) => Some(ended.exit_code),
        Run::Waiting { .. } | Run::Starting | Run::Running { .. } | Run::Stopping { .. } => None,
    };
    let codes: Option<Vec<i32>> = state.main.iter().map(ended).collect();
    if let Some(codes) = codes.filter(|codes| !codes.is_empty() && (state.is_finished() || state.is_ending())) {
        return if codes.iter().all(|code| *code == 0) { "Succeeded" } else { "Failed" };
    }
    if state.is_finished() {
        return "Failed";
    }
    let is_begun = |container: &Container| {
        container.last.is_some() || !matches!(container.run, Run::Waiting { .. } | Run::Starting)
    };
    if state.current_init().is_none() && state.main.iter().any(is_begun) { "Running" } else { "Pending" }
}

pub(super) fn is_ready(state: &State) -> bool {
    state.conditions.iter().any(|one| one.kind == "Ready" && one.is_true)
}

/// The body of the status patch. Conditions of others are kept by the strategic merge.
pub(super) fn patch(state: &State, host_ip: IpAddr) -> Tree {
    let meta = &state.pod.metadata;
    let mut status = Map::new();
    if meta.generation > 0 {
        status.insert("observedGeneration".to_owned(), meta.generation.into());
    }
    status.insert("phase".to_owned(), phase(state).into());
    if let Some(failure) = &state.failure {
        status.insert("reason".to_owned(), failure.reason.clone().into());
        status.insert("message".to_owned(), failure.message.clone().into());
    }
    status
        .insert("conditions".to_owned(), state.conditions.iter().map(|one| condition(one, meta.generation)).collect());
    let host = host_ip.to_string();
    status.insert("hostIPs".to_owned(), json!([{ "ip": host }]));
    status.insert("hostIP".to_owned(), host.into());
    if let Setup::Ready { ip } = &state.setup {
        let ip = ip.to_string();
        status.insert("podIPs".to_owned(), json!([{ "ip": ip }]));
        status.insert("podIP".to_owned(), ip.into());
    }
    status.insert("startTime".to_owned(), time::seconds(state.seen_at).into());
    let containers = |init: bool| -> Tree {
        state.slots().filter(|slot| matches!(slot, Slot::Init(_)) == init).map(|slot| container(state, slot)).collect()
    };
    if !state.init.is_empty() {
        status.insert("initContainerStatuses".to_owned(), containers(true));
    }
    status.insert("containerStatuses".to_owned(), containers(false));
    json!({ "metadata": { "uid": meta.uid }, "status": status })
}

fn condition(one: &Condition, generation: i64) -> Tree {
    let mut tree = Map::new();
    tree.insert("type".to_owned(), one.kind.into());
    if generation > 0 {
        tree.insert("observedGeneration".to_owned(), generation.into());
    }
    tree.insert("status".to_owned(), if one.is_true { "True" } else { "False" }.into());
    tree.insert("lastProbeTime".to_owned(), Tree::Null);
    tree.insert("lastTransitionTime".to_owned(), time::seconds(one.since).into());
    // An empty text takes away what was told before: the merge replaces it, and the encoding leaves it out.
    tree.insert("reason".to_owned(), one.reason.into());
    tree.insert("message".to_owned(), one.message.as_str().into());
    tree.into()
}

fn container(state: &State, slot: Slot) -> Tree {
    let (spec, container) = (state.spec(slot), state.container(slot));
    let id = container_id(state, slot);
    let is_ready = match (slot, &container.run) {
        (Slot::Init(_), Run::Ended(ended)) => ended.exit_code == 0,
        _ => container.is_ready && !state.is_ending(),
    };
    let image_id = match &container.image {
        ImageState::Ready(image) => image.digest.as_str(),
        ImageState::Wanted | ImageState::Pulling { .. } | ImageState::Failed { .. } => "",
    };
    let mut tree = json!({
        "name": spec.name,
        "state": run(state, slot, &id),
        "lastState": container.last.as_ref().map_or(json!({}), |last| json!({ "terminated": terminated(last, &id) })),
        "ready": is_ready,
        "restartCount": container.restarts,
        "image": spec.image,
        "imageID": image_id,
        "started": container.is_started,
    });
    if container.has_begun() {
        tree.as_object_mut().expect("just made").insert("containerID".to_owned(), id.into());
    }
    tree
}

/// One id for each attempt, made of what is known: no table has to survive a restart.
fn container_id(state: &State, slot: Slot) -> String {
    let attempt = state.container(slot).attempt;
    format!("{RUNTIME}://{}.{}.{attempt}", state.pod.metadata.uid, state.spec(slot).name)
}

fn run(state: &State, slot: Slot, id: &str) -> Tree {
    let container = state.container(slot);
    match &container.run {
        Run::Running { since } | Run::Stopping { since } => {
            json!({ "running": { "startedAt": time::seconds(*since) } })
        }
        Run::Ended(ended) => json!({ "terminated": terminated(ended, id) }),
        Run::Starting => waiting(turn(state, slot), ""),
        Run::Waiting { reason, message, .. } => match (&container.image, &state.setup) {
            (ImageState::Failed { reason, message, .. }, _) => waiting(reason, message),
            (_, Setup::Failed { .. }) => waiting("ContainerCreating", ""),
            _ if *reason == "ContainerCreating" => waiting(turn(state, slot), ""),
            _ => waiting(reason, message),
        },
    }
}

/// Why a container that was never tried waits.
fn turn(state: &State, slot: Slot) -> &'static str {
    let waits_for_init = match (slot, state.current_init()) {
        (Slot::Init(at), Some(current)) => at > current,
        (Slot::Main(_), Some(_)) => true,
        (_, None) => false,
    };
    if waits_for_init { "PodInitializing" } else { "ContainerCreating" }
}

fn waiting(reason: &str, message: &str) -> Tree {
    if message.is_empty() {
        return json!({ "waiting": { "reason": reason } });
    }
    json!({ "waiting": { "reason": reason, "message": message } })
}

fn terminated(ended: &view::Terminated, id: &str) -> Tree {
    let mut tree = Map::new();
    tree.insert("exitCode".to_owned(), ended.exit_code.into());
    if !ended.reason.is_empty() {
        tree.insert("reason".to_owned(), ended.reason.clone().into());
    }
    if !ended.message.is_empty() {
        tree.insert("message".to_owned(), ended.message.clone().into());
    }
    let at = |at: Option<Timestamp>| at.map_or(Tree::Null, |at| time::seconds(at).into());
    tree.insert("startedAt".to_owned(), at(ended.started_at));
    tree.insert("finishedAt".to_owned(), at(ended.finished_at));
    tree.insert("containerID".to_owned(), id.into());
    tree.into()
}

fn names(state: &State, is_one: impl Fn(Slot) -> bool) -> Vec<String> {
    state.slots().filter(|slot| is_one(*slot)).map(|slot| state.spec(slot).name.clone()).collect()
}

/// The first readiness gate whose condition is not True.
fn closed_gate(state: &State) -> Option<String> {
    state.pod.spec.readiness_gates.iter().find_map(|gate| {
        let kind = &gate.condition_type;
        match state.pod.status.condition(kind) {
            None => Some(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
            Some(condition) if condition.status != "True" => {
                Some(format!("the status of pod readiness gate {kind:?} is not \"True\", but {}", condition.status))
            }
            Some(_) => None,
        }
    })
}
