//! Cells of nodes, namespaces, permissions and certificates.

use super::{Now, age, name, or_none};
use api::Tree;
use api::kinds::Kind;
use api::object::edit;
use api::time::{self, SignedDuration};
use std::collections::BTreeSet;

const ROLE_LABEL: &str = "node-role.kubernetes.io/";
const OLD_ROLE_LABEL: &str = "kubernetes.io/role";

pub(super) fn cells(kind: &Kind, tree: &Tree, now: &Now) -> Option<Vec<Tree>> {
    Some(match (kind.group(), kind.kind.as_str()) {
        ("", "Node") => node(tree, now),
        ("", "Namespace") => vec![name(tree), edit::text(tree, &["status", "phase"]).into(), age(tree, now)],
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => {
            vec![name(tree), edit::text(tree, &["metadata", "creationTimestamp"]).into()]
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => binding(tree, now),
        ("certificates.k8s.io", "CertificateSigningRequest") => request(tree, now),
        ("scheduling.k8s.io", "PriorityClass") => {
            let value = edit::integer(tree, &["value"]).unwrap_or(0);
            let global = edit::is_true(tree, &["globalDefault"]);
            let policy = edit::text(tree, &["preemptionPolicy"]);
            vec![name(tree), value.into(), global.into(), age(tree, now), policy.into()]
        }
        _ => return None,
    })
}

fn node(tree: &Tree, now: &Now) -> Vec<Tree> {
    let conditions = edit::list(tree, &["status", "conditions"]);
    let ready = conditions.iter().find(|one| edit::text(one, &["type"]) == "Ready");
    let mut status = match ready.map(|one| edit::text(one, &["status"])) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if edit::is_true(tree, &["spec", "unschedulable"]) {
        status.push_str(",SchedulingDisabled");
    }
    let labels = edit::at(tree, &["metadata", "labels"]).and_then(Tree::as_object);
    let role = |(key, value): (&'_ String, &'_ Tree)| match key.strip_prefix(ROLE_LABEL) {
        Some(role) => Some(role.to_owned()),
        None if key == OLD_ROLE_LABEL => value.as_str().map(str::to_owned),
        None => None,
    };
    let roles: BTreeSet<String> =
        labels.into_iter().flatten().filter_map(role).filter(|role| !role.is_empty()).collect();
    let roles = roles.into_iter().collect::<Vec<_>>().join(",");
    let address = |kind: &str| {
        let all = edit::list(tree, &["status", "addresses"]);
        let found = all.iter().find(|one| edit::text(one, &["type"]) == kind);
        found.map_or_else(|| "<none>".into(), |one| Tree::from(edit::text(one, &["address"])))
    };
    let info = |key: &str| {
        let text = edit::text(tree, &["status", "nodeInfo", key]);
        Tree::from(if text.is_empty() { "<unknown>" } else { text })
    };
    vec![
        name(tree),
        status.into(),
        if roles.is_empty() { "<none>".into() } else { roles.into() },
        age(tree, now),
        edit::text(tree, &["status", "nodeInfo", "kubeletVersion"]).into(),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn binding(tree: &Tree, now: &Now) -> Vec<Tree> {
    let role = format!("{}/{}", edit::text(tree, &["roleRef", "kind"]), edit::text(tree, &["roleRef", "name"]));
    let of = |kind: &str| {
        let subjects = edit::list(tree, &["subjects"]).iter().filter(|one| edit::text(one, &["kind"]) == kind);
        let named = subjects.map(|one| match edit::text(one, &["namespace"]) {
            "" => edit::text(one, &["name"]).to_owned(),
            namespace => format!("{namespace}/{}", edit::text(one, &["name"])),
        });
        Tree::from(named.collect::<Vec<_>>().join(", "))
    };
    vec![name(tree), role.into(), age(tree, now), of("User"), of("Group"), of("ServiceAccount")]
}

fn request(tree: &Tree, now: &Now) -> Vec<Tree> {
    let has =
        |kind: &str| edit::list(tree, &["status", "conditions"]).iter().any(|one| edit::text(one, &["type"]) == kind);
    let mut status = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has("Failed") {
        status.push_str(",Failed");
    }
    if !edit::text(tree, &["status", "certificate"]).is_empty() {
        status.push_str(",Issued");
    }
    let duration = match edit::integer(tree, &["spec", "expirationSeconds"]) {
        Some(seconds) => time::age(now.at - SignedDuration::from_secs(seconds), now.at).into(),
        None => Tree::from("<none>"),
    };
    vec![
        name(tree),
        age(tree, now),
        edit::text(tree, &["spec", "signerName"]).into(),
        or_none(tree, &["spec", "username"]),
        duration,
        status.into(),
    ]
}
