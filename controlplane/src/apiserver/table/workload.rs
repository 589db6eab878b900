//! Cells of pods and of what makes pods.

use super::{age, containers, labels, name, number, or_none, since};
use api::Tree;
use api::kinds::Kind;
use api::object::edit;
use api::time::{self, Timestamp};
use serde_json::json;

pub(super) fn cells(kind: &Kind, tree: &Tree, now: Timestamp) -> Option<Vec<Tree>> {
    Some(match (kind.group(), kind.kind.as_str()) {
        ("", "Pod") => pod(tree, now),
        ("apps", "Deployment") => deployment(tree, now),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => replica_set(kind, tree, now),
        ("apps", "StatefulSet") => {
            let ready =
                format!("{}/{}", number(tree, &["status", "readyReplicas"]), number(tree, &["spec", "replicas"]));
            let (names, images) = containers(tree, TEMPLATE);
            vec![name(tree), ready.into(), age(tree, now), names.into(), images.into()]
        }
        ("apps", "DaemonSet") => daemon_set(tree, now),
        ("batch", "Job") => job(tree, now),
        ("batch", "CronJob") => cron_job(tree, now),
        _ => return None,
    })
}

const TEMPLATE: &[&str] = &["spec", "template", "spec", "containers"];

fn pod(tree: &Tree, now: Timestamp) -> Vec<Tree> {
    let statuses = edit::list(tree, &["status", "containerStatuses"]);
    let total = edit::list(tree, &["spec", "containers"]).len();
    let ready = statuses.iter().filter(|status| edit::is_true(status, &["ready"])).count();
    let all = edit::list(tree, &["status", "initContainerStatuses"]).iter().chain(statuses);
    let restarts: i64 = statuses.iter().map(|status| number(status, &["restartCount"])).sum();
    let last =
        all.filter_map(|status| time::parse(edit::text(status, &["lastState", "terminated", "finishedAt"]))).max();
    let restarts = match last.filter(|_| restarts > 0) {
        Some(last) => format!("{restarts} ({} ago)", time::age(last, now)),
        None => restarts.to_string(),
    };
    let gates = edit::list(tree, &["spec", "readinessGates"]);
    let met = gates.iter().filter(|gate| condition(tree, edit::text(gate, &["conditionType"])) == "True").count();
    let gates: Tree = if gates.is_empty() { "<none>".into() } else { format!("{met}/{}", gates.len()).into() };
    vec![
        name(tree),
        format!("{ready}/{total}").into(),
        pod_status(tree).into(),
        restarts.into(),
        age(tree, now),
        or_none(tree, &["status", "podIP"]),
        or_none(tree, &["spec", "nodeName"]),
        or_none(tree, &["status", "nominatedNodeName"]),
        gates,
    ]
}

fn condition<'a>(tree: &'a Tree, kind: &str) -> &'a str {
    let all = edit::list(tree, &["status", "conditions"]);
    all.iter().find(|one| edit::text(one, &["type"]) == kind).map_or("", |one| edit::text(one, &["status"]))
}

/// The word that stands for a pod's state, as kubectl's users know it (upstream `printPod`).
fn pod_status(tree: &Tree) -> String {
    let mut reason = edit::text(tree, &["status", "reason"]).to_owned();
    if reason.is_empty() {
        edit::text(tree, &["status", "phase"]).clone_into(&mut reason);
    }
    let gated = edit::list(tree, &["status", "conditions"])
        .iter()
        .any(|one| edit::text(one, &["type"]) == "PodScheduled" && edit::text(one, &["reason"]) == "SchedulingGated");
    if gated {
        "SchedulingGated".clone_into(&mut reason);
    }
    match initializing(tree) {
        Some(init) => reason = init,
        None => running(tree, &mut reason),
    }
    if !edit::text(tree, &["metadata", "deletionTimestamp"]).is_empty() {
        if edit::text(tree, &["status", "reason"]) == "NodeLost" {
            return "Unknown".to_owned();
        }
        if !matches!(edit::text(tree, &["status", "phase"]), "Succeeded" | "Failed") {
            return "Terminating".to_owned();
        }
    }
    reason
}

/// `Init:1/2` and the like, while an init container has not ended well.
fn initializing(tree: &Tree) -> Option<String> {
    let specs = edit::list(tree, &["spec", "initContainers"]);
    for (index, status) in edit::list(tree, &["status", "initContainerStatuses"]).iter().enumerate() {
        let ended = edit::at(status, &["state", "terminated"]);
        if ended.is_some_and(|ended| number(ended, &["exitCode"]) == 0) {
            continue;
        }
        if let Some(ended) = ended {
            return Some(format!("Init:{}", ended_word(ended)));
        }
        let waiting = edit::text(status, &["state", "waiting", "reason"]);
        if !waiting.is_empty() && waiting != "PodInitializing" {
            return Some(format!("Init:{waiting}"));
        }
        return Some(format!("Init:{index}/{}", specs.len()));
    }
    None
}

fn running(tree: &Tree, reason: &mut String) {
    let mut has_running = false;
    for status in edit::list(tree, &["status", "containerStatuses"]).iter().rev() {
        let waiting = edit::text(status, &["state", "waiting", "reason"]);
        if !waiting.is_empty() {
            waiting.clone_into(reason);
        } else if let Some(ended) = edit::at(status, &["state", "terminated"]) {
            *reason = ended_word(ended);
        } else if edit::is_true(status, &["ready"]) && edit::at(status, &["state", "running"]).is_some() {
            has_running = true;
        }
    }
    if reason == "Completed" && has_running {
        let ready = condition(tree, "Ready") == "True";
        *reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

fn ended_word(ended: &Tree) -> String {
    let reason = edit::text(ended, &["reason"]);
    if !reason.is_empty() {
        return reason.to_owned();
    }
    match number(ended, &["signal"]) {
        0 => format!("ExitCode:{}", number(ended, &["exitCode"])),
        signal => format!("Signal:{signal}"),
    }
}

fn deployment(tree: &Tree, now: Timestamp) -> Vec<Tree> {
    let (names, images) = containers(tree, TEMPLATE);
    let ready = format!("{}/{}", number(tree, &["status", "readyReplicas"]), number(tree, &["spec", "replicas"]));
    vec![
        name(tree),
        ready.into(),
        number(tree, &["status", "updatedReplicas"]).into(),
        number(tree, &["status", "availableReplicas"]).into(),
        age(tree, now),
        names.into(),
        images.into(),
        selector(tree).into(),
    ]
}

fn selector(tree: &Tree) -> String {
    let Some(selector) = edit::at(tree, &["spec", "selector"]) else { return "<none>".to_owned() };
    match edit::at(selector, &["matchLabels"]) {
        Some(_) => labels(selector, &["matchLabels"]),
        None => labels(tree, &["spec", "selector"]),
    }
}

fn replica_set(kind: &Kind, tree: &Tree, now: Timestamp) -> Vec<Tree> {
    let (names, images) = containers(tree, TEMPLATE);
    let selector = if kind.kind == "ReplicaSet" { selector(tree) } else { labels(tree, &["spec", "selector"]) };
    vec![
        name(tree),
        number(tree, &["spec", "replicas"]).into(),
        number(tree, &["status", "replicas"]).into(),
        number(tree, &["status", "readyReplicas"]).into(),
        age(tree, now),
        names.into(),
        images.into(),
        selector.into(),
    ]
}

fn daemon_set(tree: &Tree, now: Timestamp) -> Vec<Tree> {
    let (names, images) = containers(tree, TEMPLATE);
    let of = |key: &str| Tree::from(number(tree, &["status", key]));
    vec![
        name(tree),
        of("desiredNumberScheduled"),
        of("currentNumberScheduled"),
        of("numberReady"),
        of("updatedNumberScheduled"),
        of("numberAvailable"),
        labels(tree, &["spec", "template", "spec", "nodeSelector"]).into(),
        age(tree, now),
        names.into(),
        images.into(),
        selector(tree).into(),
    ]
}

fn job(tree: &Tree, now: Timestamp) -> Vec<Tree> {
    let done = number(tree, &["status", "succeeded"]);
    let completions = match edit::integer(tree, &["spec", "completions"]) {
        Some(wanted) => format!("{done}/{wanted}"),
        None => match number(tree, &["spec", "parallelism"]) {
            parallel if parallel > 1 => format!("{done}/1 of {parallel}"),
            _ => format!("{done}/1"),
        },
    };
    let status = match ("Complete", "Failed") {
        (complete, _) if condition(tree, complete) == "True" => "Complete",
        (_, failed) if condition(tree, failed) == "True" => "Failed",
        _ if condition(tree, "Suspended") == "True" => "Suspended",
        _ => "Running",
    };
    let start = time::parse(edit::text(tree, &["status", "startTime"]));
    let end = time::parse(edit::text(tree, &["status", "completionTime"])).unwrap_or(now);
    let duration = start.map(|start| time::age(start, end)).unwrap_or_default();
    let (names, images) = containers(tree, TEMPLATE);
    vec![
        name(tree),
        status.into(),
        completions.into(),
        duration.into(),
        age(tree, now),
        names.into(),
        images.into(),
        selector(tree).into(),
    ]
}

fn cron_job(tree: &Tree, now: Timestamp) -> Vec<Tree> {
    let last = match edit::at(tree, &["status", "lastScheduleTime"]) {
        Some(_) => since(tree, &["status", "lastScheduleTime"], now),
        None => "<none>".to_owned(),
    };
    let suspend = if edit::is_true(tree, &["spec", "suspend"]) { "True" } else { "False" };
    let template = &["spec", "jobTemplate", "spec", "template", "spec", "containers"];
    let (names, images) = containers(tree, template);
    vec![
        name(tree),
        edit::text(tree, &["spec", "schedule"]).into(),
        or_none(tree, &["spec", "timeZone"]),
        suspend.into(),
        json!(edit::list(tree, &["status", "active"]).len()),
        last.into(),
        age(tree, now),
        names.into(),
        images.into(),
        "<none>".into(),
    ]
}
