//! The pod and the claims at one place of a StatefulSet: what they are called and what they are made of. Pure.

use super::MAKER;
use crate::controllers::history::HASH;
use api::Tree;
use api::object::edit;
use api::view::{Meta, StatefulSet};
use serde_json::json;

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// A version of the set's template.
pub(super) struct Version<'a> {
    /// The name of its revision.
    pub(super) name: &'a str,
    pub(super) template: Tree,
}

pub(super) fn name(set: &Meta, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.name)
}

/// The place of a pod; `None` for one that is no member by its name.
pub(super) fn ordinal(set: &Meta, pod: &str) -> Option<i32> {
    let number = pod.strip_prefix(&set.name)?.strip_prefix('-')?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok()).flatten()
}

/// The claims of a place, by name, each with its template's tree.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<(String, Tree)> {
    let pod = name(&set.metadata, ordinal);
    let one = |template: &Tree| {
        let mut claim = template.clone();
        let name = format!("{}-{pod}", edit::text(template, &["metadata", "name"]));
        edit::set(&mut claim, &["apiVersion"], "v1");
        edit::set(&mut claim, &["kind"], "PersistentVolumeClaim");
        edit::set(&mut claim, &["metadata", "name"], name.as_str());
        edit::set(&mut claim, &["metadata", "namespace"], set.metadata.namespace.as_str());
        for (key, value) in &set.spec.selector.match_labels {
            edit::set(&mut claim, &["metadata", "labels", key], value.as_str());
        }
        (name, claim)
    };
    set.spec.volume_claim_templates.iter().map(one).collect()
}

/// The labels that say which place a pod has.
pub(super) fn identity(set: &Meta, ordinal: i32) -> [(&'static str, String); 2] {
    [(POD_NAME, name(set, ordinal)), (POD_INDEX, ordinal.to_string())]
}

/// The pod of a place.
pub(super) fn pod(set: &StatefulSet, version: &Version<'_>, ordinal: i32) -> Tree {
    let name = name(&set.metadata, ordinal);
    let mut pod = MAKER.pod(&version.template, &set.metadata);
    edit::set(&mut pod, &["metadata", "name"], name.as_str());
    for (key, value) in identity(&set.metadata, ordinal) {
        edit::set(&mut pod, &["metadata", "labels", key], value);
    }
    edit::set(&mut pod, &["metadata", "labels", HASH], version.name);
    edit::set(&mut pod, &["spec", "hostname"], name);
    if !set.spec.service_name.is_empty() {
        edit::set(&mut pod, &["spec", "subdomain"], set.spec.service_name.as_str());
    }
    let claims: Vec<(&str, String)> = set
        .spec
        .volume_claim_templates
        .iter()
        .zip(claims(set, ordinal))
        .map(|(template, (claim, _))| (edit::text(template, &["metadata", "name"]), claim))
        .collect();
    if !claims.is_empty() {
        let volume = |(volume, claim): &(&str, String)| json!({ "name": volume, "persistentVolumeClaim": { "claimName": claim } });
        let others = edit::list(&pod, &["spec", "volumes"]).iter();
        let others = others.filter(|one| claims.iter().all(|(name, _)| *name != edit::text(one, &["name"])));
        let all: Vec<Tree> = claims.iter().map(volume).chain(others.cloned()).collect();
        edit::set(&mut pod, &["spec", "volumes"], all);
    }
    pod
}
