//! What the server itself writes into an object: identity, times, generation, what a client may not choose. Pure.

use super::{Call, definitions};
use api::kinds::Kind;
use api::object::edit;
use api::strategy::{self, TEMPLATE_GENERATION};
use api::time::{self, Timestamp};
use api::{Rejected, Tree};
use rand::Rng;
use serde_json::json;

/// What `generateName` is completed with: no vowels, so no words.
const SUFFIX: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_CHARS: usize = 5;
/// The longest part of `generateName` that is used.
const GENERATED_MAX: usize = 63 - SUFFIX_CHARS;

/// Fields of metadata that only the server sets.
const OWN: &[&str] = &["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"];

/// Prepares a new object. True if its name was drawn.
pub(super) fn create(call: &Call<'_>, kind: &Kind, tree: &mut Tree, now: Timestamp) -> Result<bool, Rejected> {
    let given = edit::text(tree, &["metadata", "namespace"]);
    if let Some(namespace) = call.namespace {
        if !given.is_empty() && given != namespace {
            let why = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Rejected::bad_request(why));
        }
        edit::set(tree, &["metadata", "namespace"], namespace);
    } else {
        edit::remove(tree, &["metadata", "namespace"]);
    }
    let drawn = name(tree);
    for key in OWN {
        edit::remove(tree, &["metadata", key]);
    }
    edit::set(tree, &["metadata", "uid"], uuid::Uuid::new_v4().to_string());
    edit::set(tree, &["metadata", "creationTimestamp"], time::seconds(now));
    edit::set(tree, &["kind"], kind.kind.as_str());
    edit::set(tree, &["apiVersion"], kind.api_version());
    // Elsewhere it is what the client says.
    if strategy::has_generation(kind) {
        edit::set(tree, &["metadata", "generation"], 1);
    }
    first_status(kind, tree, now);
    match (kind.group(), kind.kind.as_str()) {
        ("certificates.k8s.io", "CertificateSigningRequest") => requestor(call, tree),
        ("apps", "DaemonSet") => template_generation(tree, 1),
        _ => {}
    }
    Ok(drawn)
}

/// Who asks for a certificate is what the server knows, not what the request says.
fn requestor(call: &Call<'_>, tree: &mut Tree) {
    let user = call.user;
    edit::set(tree, &["spec", "username"], user.name.as_str());
    edit::set(tree, &["spec", "groups"], json!(user.groups));
    edit::set(tree, &["spec", "uid"], user.uid.as_str());
    edit::set(tree, &["spec", "extra"], json!(user.extra));
}

fn name(tree: &mut Tree) -> bool {
    let base = edit::text(tree, &["metadata", "generateName"]);
    if base.is_empty() || !edit::text(tree, &["metadata", "name"]).is_empty() {
        return false;
    }
    let mut rng = rand::rng();
    let mut name: String = base.chars().take(GENERATED_MAX).collect();
    name.extend((0..SUFFIX_CHARS).map(|_| char::from(SUFFIX[rng.random_range(0..SUFFIX.len())])));
    edit::set(tree, &["metadata", "name"], name);
    true
}

/// A client creates the wish; what is, is told later through `status`.
fn first_status(kind: &Kind, tree: &mut Tree, now: Timestamp) {
    match (kind.group(), kind.kind.as_str()) {
        ("", "Pod") => {
            edit::set(tree, &["status"], json!({"phase": "Pending", "qosClass": qos(tree)}));
        }
        ("", "Namespace") => {
            edit::set(tree, &["status"], json!({"phase": "Active"}));
        }
        ("", "PersistentVolumeClaim") => edit::set(tree, &["status"], json!({"phase": "Pending"})),
        ("", "PersistentVolume") => {
            let status = json!({"phase": "Pending", "lastPhaseTransitionTime": time::seconds(now)});
            edit::set(tree, &["status"], status);
        }
        ("", "Node") => {}
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            edit::set(tree, &["status"], json!({}));
            definitions::note_stored(tree);
        }
        _ if kind.subresource("status").is_some() => {
            edit::remove(tree, &["status"]);
        }
        _ => {}
    }
}

/// `Guaranteed` if every container limits cpu and memory to just what it requests, `BestEffort` if none says a word.
pub(super) fn qos(pod: &Tree) -> &'static str {
    let containers: Vec<&Tree> =
        ["initContainers", "containers"].iter().flat_map(|list| edit::list(pod, &["spec", list])).collect();
    let of = |container: &Tree, what: &str, name: &str| {
        edit::at(container, &["resources", what, name]).filter(|value| !value.is_null()).cloned()
    };
    let says = |container: &&Tree| {
        ["cpu", "memory"]
            .iter()
            .any(|name| of(container, "requests", name).or_else(|| of(container, "limits", name)).is_some())
    };
    let is_fixed = |container: &&Tree| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = of(container, "limits", name);
            limit.is_some() && of(container, "requests", name).is_none_or(|request| Some(request) == limit)
        })
    };
    match (containers.iter().any(says), containers.iter().all(is_fixed)) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// What a change must not touch: an object of the same name that is another one.
pub(super) fn check_uid(call: &Call<'_>, old: &Tree, new: &Tree) -> Result<(), Rejected> {
    let uid = edit::text(new, &["metadata", "uid"]);
    let real = edit::text(old, &["metadata", "uid"]);
    if uid.is_empty() || uid == real {
        return Ok(());
    }
    let key = super::keys::upstream(call.kind, call.namespace, call.name);
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
         UID in precondition: {uid}, UID in object meta: {real}"
    );
    Err(Rejected::conflict(&call.kind.resource, call.name, why))
}

/// Prepares a change: whoever writes the object leaves its status alone, and the other way round. Both are canonical.
pub(super) fn update(call: &Call<'_>, kind: &Kind, old: &Tree, new: &mut Tree) {
    // What is another one is for the validation to refuse, as everything that never changes.
    let is_refused = |key: &str| match key {
        "uid" | "deletionGracePeriodSeconds" => has(new, key),
        "deletionTimestamp" => !has(old, key),
        _ => false,
    };
    let kept: Vec<&str> =
        OWN.iter().chain(&["name", "namespace", "generation"]).copied().filter(|key| !is_refused(key)).collect();
    for key in kept {
        keep(old, new, &["metadata", key]);
    }
    edit::set(new, &["kind"], kind.kind.as_str());
    edit::set(new, &["apiVersion"], kind.api_version());
    match call.subresource {
        Some("status" | "approval") => {
            for (key, _) in old.as_object().into_iter().flatten() {
                if !matches!(key.as_str(), "metadata" | "status") {
                    keep(old, new, &[key]);
                }
            }
            keep_metadata(kind, old, new);
            if is_daemon_set(kind) {
                template_generation(new, templates(old));
            }
        }
        Some("finalize") => keep(old, new, &["status"]),
        below => {
            match below {
                Some("ephemeralcontainers") => *new = with_guests(old, new),
                Some("resize") => *new = resized(old, new),
                _ => {}
            }
            if kind.subresource("status").is_some() {
                keep(old, new, &["status"]);
            }
            if kind.kind == "Namespace" {
                keep(old, new, &["spec"]);
            }
            if definitions::is_definition(kind) {
                definitions::note_stored(new);
            }
            if is_daemon_set(kind) {
                let template = &["spec", "template"];
                let is_new = edit::at(old, template) != edit::at(new, template);
                template_generation(new, templates(old) + i64::from(is_new));
            }
            if strategy::is_new_generation(kind, old, new) {
                let generation = edit::integer(old, &["metadata", "generation"]).unwrap_or(0);
                edit::set(new, &["metadata", "generation"], generation + 1);
            }
        }
    }
}

/// The pod as it was, with the ephemeral containers that are asked for.
fn with_guests(old: &Tree, new: &Tree) -> Tree {
    let mut pod = old.clone();
    keep(new, &mut pod, &["spec", "ephemeralContainers"]);
    keep(new, &mut pod, &["metadata", "managedFields"]);
    pod
}

/// The pod as it was, with the resources that are asked for.
fn resized(old: &Tree, new: &Tree) -> Tree {
    let mut pod = old.clone();
    for list in ["containers", "initContainers"] {
        let wanted = edit::list(new, &["spec", list]);
        for (container, wanted) in edit::list_mut(&mut pod, &["spec", list]).iter_mut().zip(wanted) {
            if container.get("name") == wanted.get("name") {
                keep(wanted, container, &["resources"]);
                keep(wanted, container, &["resizePolicy"]);
            }
        }
    }
    keep(new, &mut pod, &["metadata", "managedFields"]);
    pod
}

/// What a write of the status leaves alone in the metadata.
fn keep_metadata(kind: &Kind, old: &Tree, new: &mut Tree) {
    match (kind.group(), kind.kind.as_str()) {
        ("apps", "Deployment") => keep(old, new, &["metadata", "labels"]),
        ("", "Pod") => keep(old, new, &["metadata", "ownerReferences"]),
        _ if kind.is_custom() => {
            let managed = edit::at(new, &["metadata", "managedFields"]).cloned();
            keep(old, new, &["metadata"]);
            match managed {
                Some(managed) => edit::set(new, &["metadata", "managedFields"], managed),
                None => _ = edit::remove(new, &["metadata", "managedFields"]),
            }
        }
        _ => {}
    }
}

fn is_daemon_set(kind: &Kind) -> bool {
    kind.group() == "apps" && kind.kind == "DaemonSet"
}

/// How many templates a DaemonSet has had.
fn templates(tree: &Tree) -> i64 {
    edit::text(tree, TEMPLATE_GENERATION).parse().unwrap_or(0)
}

/// Counts the templates of a DaemonSet in the annotation that upstream keeps for it.
fn template_generation(tree: &mut Tree, number: i64) {
    edit::set(tree, TEMPLATE_GENERATION, number.max(1).to_string());
}

fn has(tree: &Tree, key: &str) -> bool {
    edit::at(tree, &["metadata", key]).is_some_and(|value| !value.is_null() && value != "")
}

fn keep(old: &Tree, new: &mut Tree, path: &[&str]) {
    match edit::at(old, path) {
        Some(value) => edit::set(new, path, value.clone()),
        None => {
            edit::remove(new, path);
        }
    }
}

/// A deleted object that nothing holds any more.
pub(super) fn is_finished(kind: &Kind, tree: &Tree) -> bool {
    let is_deleted = !edit::text(tree, &["metadata", "deletionTimestamp"]).is_empty();
    let has_time = edit::integer(tree, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0) > 0;
    let is_held = !edit::list(tree, &["metadata", "finalizers"]).is_empty();
    let is_namespace = kind.group().is_empty() && kind.kind == "Namespace";
    let is_full = is_namespace && !edit::list(tree, &["spec", "finalizers"]).is_empty();
    is_deleted && !has_time && !is_held && !is_full
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_of_service_follows_requests_and_limits() {
        let pod = |resources: Tree| json!({"spec": {"containers": [{"resources": resources}]}});
        assert_eq!(qos(&pod(json!({}))), "BestEffort");
        assert_eq!(qos(&pod(json!({"requests": {"cpu": "1"}}))), "Burstable");
        let both = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(qos(&pod(json!({"requests": both, "limits": both}))), "Guaranteed");
    }

    #[test]
    fn a_deleted_object_without_finalizers_is_finished() {
        let kind = api::kinds::find(&api::resource::CONFIG_MAPS).expect("built in");
        let tree = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a"]}});
        assert!(!is_finished(kind, &tree));
        assert!(is_finished(kind, &json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})));
    }
}
