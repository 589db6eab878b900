//! `metadata`: names, labels, annotations, owners and finalizers, and what an update may not change.

use super::findings::{Findings, Test};
use super::place::Place;
use crate::{Kind, names};

const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
pub(super) const IMMUTABLE: &str = "field is immutable";
/// Finalizers that need no domain.
const FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
/// The Jobs of a CronJob are called after it, with eleven characters more.
const CRON_JOB_MAX: usize = 52;

/// What the name of a new object must look like. `None` for kinds whose own rules do not look at metadata: it is enough
/// that a path can hold their names.
pub(super) fn name_test(kind: &Kind) -> Option<Test> {
    Some(match (kind.group(), kind.kind.as_str()) {
        ("", "Event") | ("events.k8s.io", "Event") | ("policy", "PodDisruptionBudget") => return None,
        ("", "Service") => names::dns_label_1035,
        ("", "Namespace") | ("apps", "StatefulSet") => names::dns_label,
        ("batch", "CronJob") => cron_job_name,
        ("rbac.authorization.k8s.io", _) => names::path_segment,
        ("apiregistration.k8s.io", _) => names::path_segment,
        ("networking.k8s.io", "IPAddress") => names::canonical_ip_address,
        _ => names::dns_subdomain,
    })
}

fn cron_job_name(text: &str) -> Vec<String> {
    let mut wrong = names::dns_subdomain(text);
    if text.len() > CRON_JOB_MAX {
        wrong.push(format!("must be no more than {CRON_JOB_MAX} characters"));
    }
    wrong
}

/// Metadata of an object as it shall be.
pub(super) fn object(kind: &Kind, root: &Place<'_, '_>, test: Test, found: &mut Findings) {
    let meta = root.get("metadata");
    let (base, name) = (meta.get("generateName"), meta.get("name"));
    for why in test(&with_suffix(base.text())).into_iter().filter(|_| !base.is_empty()) {
        found.invalid(&base, why);
    }
    if name.is_empty() {
        found.required(&name, "name or generateName is required");
    }
    found.optional_name(&name, test);
    let namespace = meta.get("namespace");
    if kind.namespaced {
        found.name(&namespace, names::dns_label);
    } else if !namespace.is_empty() {
        found.forbidden(&namespace, "not allowed on this type");
    }
    found.natural(&meta.get("generation"));
    labels(&meta.get("labels"), found);
    annotations(&meta.get("annotations"), found);
    owners(&meta.get("ownerReferences"), found);
    finalizers(&meta.get("finalizers"), found);
}

/// Something will follow the base, so a dash at its end is fine.
fn with_suffix(base: &str) -> String {
    match base.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => {
            let cut = rest.char_indices().next_back().map_or(0, |(at, _)| at);
            format!("{}a", &rest[..cut])
        }
        _ => base.to_owned(),
    }
}

pub(super) fn labels(at: &Place<'_, '_>, found: &mut Findings) {
    for (key, value) in at.entries() {
        for why in names::qualified_name(key) {
            found.invalid_as(at, key, why);
        }
        for why in names::label_value(value.text()) {
            found.invalid_as(at, value.text(), why);
        }
    }
}

pub(super) fn annotations(at: &Place<'_, '_>, found: &mut Findings) {
    let mut bytes = 0;
    for (key, value) in at.entries() {
        bytes += key.len() + value.len();
        for why in names::qualified_name(&key.to_lowercase()) {
            found.invalid_as(at, key, why);
        }
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        found.too_long(at, ANNOTATIONS_BYTES_MAX);
    }
}

fn owners(all: &Place<'_, '_>, found: &mut Findings) {
    let mut controller: Option<String> = None;
    for owner in all.each() {
        let version = owner.get("apiVersion");
        let group_version = version.text().rsplit_once('/').unwrap_or(("", version.text()));
        if version.is_empty() {
            found.required(&version, "must not be empty");
        } else if group_version.1.is_empty() || group_version.0.contains('/') {
            found.invalid(&version, "must be <group>/<version> or <version>");
        }
        for key in ["kind", "name", "uid"] {
            if owner.get(key).is_empty() {
                found.required(&owner.get(key), "must not be empty");
            }
        }
        if group_version == ("", "v1") && owner.get("kind").text() == "Event" {
            found.invalid(&owner, "/v1, Kind=Event is disallowed from being an owner");
        }
        if owner.get("controller").is_true() {
            let this = format!("{}/{}", owner.get("kind").text(), owner.get("name").text());
            match &controller {
                Some(first) => found.invalid(
                    all,
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} \
                         and {this}"
                    ),
                ),
                None => controller = Some(this),
            }
        }
    }
}

fn finalizers(all: &Place<'_, '_>, found: &mut Findings) {
    for finalizer in all.texts() {
        for why in names::qualified_name(finalizer) {
            found.invalid_as(all, finalizer, why);
        }
    }
    if ["orphan", "foregroundDeletion"].iter().all(|one| all.texts().any(|finalizer| finalizer == *one)) {
        found.invalid(all, "finalizer orphan and foregroundDeletion cannot be both set");
    }
}

/// Built-in kinds alone also want a finalizer to have a domain, unless it is an old one.
pub(super) fn known_finalizers(root: &Place<'_, '_>, found: &mut Findings) {
    for finalizer in root.get("metadata").get("finalizers").each() {
        known_finalizer(&finalizer, found);
    }
}

pub(super) fn known_finalizer(finalizer: &Place<'_, '_>, found: &mut Findings) {
    if !finalizer.text().contains('/') && !FINALIZERS.contains(&finalizer.text()) {
        found.invalid(finalizer, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

/// What an update must leave as it was.
pub(super) fn changed(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    let (new, old) = (new.get("metadata"), old.get("metadata"));
    if old.has("deletionTimestamp") {
        no_new_finalizers(&new.get("finalizers"), &old.get("finalizers"), found);
    }
    found.natural(&new.get("generation"));
    for key in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        // What the client left out, the registry fills in from the old object.
        if new.has(key) && new.get(key).value() != old.get(key).value() {
            found.invalid(&new.get(key), IMMUTABLE);
        }
    }
    labels(&new.get("labels"), found);
    annotations(&new.get("annotations"), found);
    owners(&new.get("ownerReferences"), found);
}

fn no_new_finalizers(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    let mut added: Vec<String> =
        new.list().iter().filter(|one| !old.list().contains(one)).map(ToString::to_string).collect();
    added.sort();
    added.dedup();
    if !added.is_empty() {
        let added = added.join(", ");
        let why = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{added}}}"
        );
        found.forbidden(new, why);
    }
}
