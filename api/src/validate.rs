//! What an object must look like before it is stored, kind by kind, in upstream's words.
//!
//! Runs after decoding and defaulting, on the main resource and on `/status`: `/scale` and bindings have rules of their
//! own in the registry. Knows one object (and its predecessor), never the cluster's state. Custom resources: metadata alone.

mod cluster;
mod config;
mod container;
mod meta;
mod pod;
mod service;
mod status;
mod update;
mod values;
mod volume;
mod workload;

use crate::rejected::Cause;
use crate::walk::{at, list, text};
use crate::{Kind, Tree};
use std::fmt;

/// Kinds that are questions, not objects: they have no name and are not stored.
const UNNAMED: [&str; 6] = [
    "TokenReview",
    "TokenRequest",
    "SubjectAccessReview",
    "LocalSubjectAccessReview",
    "SelfSubjectAccessReview",
    "SelfSubjectRulesReview",
];

/// What is wrong with a new object; empty if nothing is.
#[must_use]
pub fn create(kind: &Kind, tree: &Tree) -> Vec<Cause> {
    let mut found = Findings::default();
    if UNNAMED.contains(&kind.kind.as_str()) || kind.kind == "SelfSubjectReview" {
        return found.causes;
    }
    meta::create(kind, tree, &mut found);
    content(kind, tree, &mut found);
    found.causes
}

/// What is wrong with an object that replaces `old`; empty if nothing is.
#[must_use]
pub fn update(kind: &Kind, new: &Tree, old: &Tree) -> Vec<Cause> {
    let mut found = Findings::default();
    meta::create(kind, new, &mut found);
    meta::update(new, old, &mut found);
    let is_pod = kind.group().is_empty() && kind.kind == "Pod";
    // An unchanged spec was valid when it was written; pods change in few places, which have their own checks.
    if !is_pod && (at(new, &["spec"]) != at(old, &["spec"]) || at(new, &["spec"]).is_none()) {
        content(kind, new, &mut found);
    }
    update::check(kind, new, old, &mut found);
    found.causes
}

/// What is wrong with an object whose status was written; empty if nothing is.
#[must_use]
pub fn status(kind: &Kind, new: &Tree, old: &Tree) -> Vec<Cause> {
    let mut found = Findings::default();
    meta::create(kind, new, &mut found);
    meta::update(new, old, &mut found);
    status::check(kind, new, old, &mut found);
    found.causes
}

fn content(kind: &Kind, tree: &Tree, found: &mut Findings) {
    match (kind.group(), kind.kind.as_str()) {
        ("", "Pod") => pod::spec(tree, &["spec"], found),
        ("", "PodTemplate") => pod::template(tree, &["template"], found),
        ("", "Service") => service::service(tree, found),
        ("", "ConfigMap") => config::config_map(tree, found),
        ("", "Secret") => config::secret(tree, found),
        ("", "PersistentVolumeClaim") => cluster::claim(tree, found),
        ("", "Node") => cluster::node(tree, found),
        ("", "ReplicationController") => workload::replication_controller(tree, found),
        ("apps", "Deployment") => workload::deployment(tree, found),
        ("apps", "ReplicaSet") => workload::replica_set(tree, found),
        ("apps", "DaemonSet") => workload::daemon_set(tree, found),
        ("apps", "StatefulSet") => workload::stateful_set(tree, found),
        ("batch", "Job") => workload::job(tree, found),
        ("batch", "CronJob") => workload::cron_job(tree, found),
        ("autoscaling", "HorizontalPodAutoscaler") => workload::autoscaler(tree, found),
        ("policy", "PodDisruptionBudget") => workload::disruption_budget(tree, found),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => cluster::role(kind, tree, found),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            cluster::role_binding(kind, tree, found);
        }
        ("networking.k8s.io", "Ingress") => service::ingress(tree, found),
        ("coordination.k8s.io", "Lease") => cluster::lease(tree, found),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => cluster::custom_resource(tree, found),
        _ => {}
    }
    if matches!(kind.group(), "" | "apps" | "batch" | "networking.k8s.io")
        && let (Some(schema), Some(spec)) = (kind.schema(), tree.get("spec"))
    {
        values::enumerations(schema, "spec", spec, found);
    }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Findings {
    causes: Vec<Cause>,
}

// === impl Findings ===

impl Findings {
    fn add(&mut self, cause: Cause) {
        if !self.causes.contains(&cause) {
            self.causes.push(cause);
        }
    }

    fn required(&mut self, field: impl Into<String>, why: &str) {
        self.add(Cause::required(field, why));
    }

    fn invalid(&mut self, field: impl Into<String>, value: &Tree, why: impl fmt::Display) {
        self.add(Cause::invalid(field, value, why));
    }

    fn forbidden(&mut self, field: impl Into<String>, why: &str) {
        self.add(Cause::forbidden(field, why));
    }

    fn duplicate(&mut self, field: impl Into<String>, value: &Tree) {
        self.add(Cause::duplicate(field, value));
    }

    fn unsupported(&mut self, field: impl Into<String>, value: &Tree, supported: &[&str]) {
        self.add(Cause::unsupported(field, value, supported));
    }

    fn not_found(&mut self, field: impl Into<String>, value: &Tree) {
        let message = format!("Not found: {value}");
        self.add(Cause { reason: "FieldValueNotFound".to_owned(), message, field: field.into() });
    }

    fn too_long(&mut self, field: impl Into<String>, bytes_max: usize) {
        let message = format!("Too long: may not be more than {bytes_max} bytes");
        self.add(Cause { reason: "FieldValueTooLong".to_owned(), message, field: field.into() });
    }

    /// A text that has to be there and to pass a test of `names`.
    fn name(&mut self, field: &str, value: &str, test: impl Fn(&str) -> Vec<String>) {
        if value.is_empty() {
            self.required(field, "");
        } else {
            self.optional_name(field, value, test);
        }
    }

    fn optional_name(&mut self, field: &str, value: &str, test: impl Fn(&str) -> Vec<String>) {
        if value.is_empty() {
            return;
        }
        for why in test(value) {
            self.invalid(field, &Tree::from(value), why);
        }
    }

    /// A number that is not negative.
    fn natural(&mut self, field: impl Into<String>, value: Option<&Tree>) {
        if let Some(value) = value.filter(|value| value.as_i64().is_some_and(|number| number < 0)) {
            self.invalid(field, value, "must be greater than or equal to 0");
        }
    }
}

#[cfg(test)]
mod tests;
