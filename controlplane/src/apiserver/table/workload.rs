//! Cells of what makes pods.

use super::{Now, age, containers, labels, name, number, or_none, pod, since};
use api::Tree;
use api::kinds::Kind;
use api::object::{edit, read_tree};
use api::selector::Labels;
use api::time;
use serde_json::json;

pub(super) fn cells(kind: &Kind, tree: &Tree, now: &Now) -> Option<Vec<Tree>> {
    Some(match (kind.group(), kind.kind.as_str()) {
        ("", "Pod") => pod::cells(tree, now),
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

fn condition<'a>(tree: &'a Tree, kind: &str) -> &'a str {
    let all = edit::list(tree, &["status", "conditions"]);
    all.iter().find(|one| edit::text(one, &["type"]) == kind).map_or("", |one| edit::text(one, &["status"]))
}

fn deployment(tree: &Tree, now: &Now) -> Vec<Tree> {
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

/// `spec.selector` as a query would have it.
fn selector(tree: &Tree) -> String {
    let view = edit::at(tree, &["spec", "selector"]).and_then(|selector| read_tree(selector).ok());
    let text = view.map(|view| Labels::from_view(&view).to_string()).unwrap_or_default();
    if text.is_empty() { "<none>".to_owned() } else { text }
}

fn replica_set(kind: &Kind, tree: &Tree, now: &Now) -> Vec<Tree> {
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

fn daemon_set(tree: &Tree, now: &Now) -> Vec<Tree> {
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

fn job(tree: &Tree, now: &Now) -> Vec<Tree> {
    let done = number(tree, &["status", "succeeded"]);
    let completions = match edit::integer(tree, &["spec", "completions"]) {
        Some(wanted) => format!("{done}/{wanted}"),
        None => match number(tree, &["spec", "parallelism"]) {
            parallel if parallel > 1 => format!("{done}/1 of {parallel}"),
            _ => format!("{done}/1"),
        },
    };
    let has = |kind: &&&str| condition(tree, kind) == "True";
    let is_deleted = !edit::text(tree, &["metadata", "deletionTimestamp"]).is_empty();
    let ended = ["Complete", "Failed"].iter().find(has);
    let status = match (ended, is_deleted) {
        (Some(ended), _) => ended,
        (None, true) => "Terminating",
        (None, false) => {
            ["Suspended", "FailureTarget", "SuccessCriteriaMet"].iter().find(has).copied().unwrap_or("Running")
        }
    };
    let start = time::parse(edit::text(tree, &["status", "startTime"]));
    let end = time::parse(edit::text(tree, &["status", "completionTime"]));
    let lasted = |start| end.map_or_else(|| now.age(start), |end| time::age(start, end));
    let duration = start.map(lasted).unwrap_or_default();
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

fn cron_job(tree: &Tree, now: &Now) -> Vec<Tree> {
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
