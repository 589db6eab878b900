//! What an object must look like before it is stored, kind by kind, in upstream's words.
//!
//! Runs after decoding and defaulting, on the main resource and on `/status`: `/scale` and bindings have rules of their
//! own in the registry. Knows one object (and its predecessor), never the cluster's state. Custom resources: their
//! schema's.
//!
//! A rule looks at a `Place`, which is a value and the way to it, and tells `Findings` what is wrong there. What is
//! found stands in upstream's order, and as often as upstream finds it: some of its kinds check an update twice.

mod affinity;
mod claim;
mod cluster;
mod config;
mod container;
mod endpoints;
mod environment;
mod event;
mod findings;
mod ingress;
mod job;
mod limits;
mod meta;
mod network_policy;
mod node;
mod place;
mod pod;
mod pod_update;
mod rbac;
mod resources;
mod scale;
mod security;
mod service;
mod shown;
mod status;
mod storage;
mod values;
mod volume;
mod webhook;
mod workload;

use crate::rejected::Cause;
use crate::{Kind, Tree, custom, names};
use findings::Findings;
use place::Place;

/// Kinds that are questions, not objects: they have no name and are not stored.
const UNNAMED: [&str; 7] = [
    "TokenReview",
    "TokenRequest",
    "SubjectAccessReview",
    "LocalSubjectAccessReview",
    "SelfSubjectAccessReview",
    "SelfSubjectRulesReview",
    "SelfSubjectReview",
];

/// What is wrong with a new object; empty if nothing is.
#[must_use]
pub fn create(kind: &Kind, tree: &Tree) -> Vec<Cause> {
    let mut found = Findings::default();
    if UNNAMED.contains(&kind.kind.as_str()) {
        return found.causes;
    }
    let root = Place::root(tree);
    let test = meta::name_test(kind);
    if let Some(test) = test {
        new_metadata(kind, &root, test, &mut found);
    }
    by_definition(kind, tree, None, &mut found);
    content(kind, &root, None, &mut found);
    match (kind.group(), kind.kind.as_str()) {
        ("", "Pod") => pod::created(&root, &mut found),
        ("networking.k8s.io", "Ingress") => ingress::created(&root, &mut found),
        _ => {}
    }
    if test.is_none() && found.causes.is_empty() {
        meta::object(kind, &root, names::path_segment, &mut found);
    }
    found.causes
}

/// What is wrong with an object that replaces `old`; empty if nothing is.
#[must_use]
pub fn update(kind: &Kind, new: &Tree, old: &Tree) -> Vec<Cause> {
    let (tree, old_tree) = (new, old);
    let (new, old) = (Place::root(new), Place::root(old));
    let mut found = Findings::default();
    // What upstream asks of all kinds, and then of this one once more.
    meta::object(kind, &new, names::path_segment, &mut found);
    meta::changed(&new, &old, &mut found);
    let repeated = Repeated::of(kind);
    if repeated.metadata {
        meta::changed(&new, &old, &mut found);
    }
    if repeated.whole
        && let Some(test) = meta::name_test(kind)
    {
        new_metadata(kind, &new, test, &mut found);
    } else if has_known_finalizers(kind) {
        meta::known_finalizers(&new, &mut found);
    }
    by_definition(kind, tree, Some(old_tree), &mut found);
    // An unchanged spec was valid when it was written.
    if !new.has("spec") || new.get("spec").value() != old.get("spec").value() {
        let before = found.causes.len();
        content(kind, &new, Some(&old), &mut found);
        if repeated.content && found.causes.len() > before {
            match (kind.group(), kind.kind.as_str()) {
                ("batch", "Job") => job::whole_spec(&new.get("spec"), &mut found),
                _ => content(kind, &new, Some(&old), &mut found),
            }
        }
    }
    changed(kind, &new, &old, &mut found);
    found.causes
}

/// What is wrong with an object whose status was written; empty if nothing is.
#[must_use]
pub fn status(kind: &Kind, new: &Tree, old: &Tree) -> Vec<Cause> {
    let (tree, old_tree) = (new, old);
    let (new, old) = (Place::root(new), Place::root(old));
    let mut found = Findings::default();
    meta::object(kind, &new, names::path_segment, &mut found);
    meta::changed(&new, &old, &mut found);
    if let Some(custom) = &kind.custom {
        found.causes.extend(custom::validate::check(custom, tree, Some(old_tree)));
    }
    status::check(kind, &new, &old, &mut found);
    found.causes
}

/// What a definition asks of its objects, and what is asked of a definition.
fn by_definition(kind: &Kind, tree: &Tree, old: Option<&Tree>, found: &mut Findings) {
    if let Some(custom) = &kind.custom {
        found.causes.extend(custom::validate::check(custom, tree, old));
    }
    if kind.resource == crate::resource::CUSTOM_RESOURCE_DEFINITIONS
        && old.is_none_or(|old| old.get("spec") != tree.get("spec"))
    {
        found.causes.extend(custom::check(tree, old));
    }
}

/// How often upstream looks at the parts of an object that replaces another one.
struct Repeated {
    /// At what must not change in metadata, a second time.
    metadata: bool,
    /// At metadata as of a new object.
    whole: bool,
    /// At the rest, a second time.
    content: bool,
}

impl Repeated {
    fn of(kind: &Kind) -> Repeated {
        let (metadata, whole, content) = match (kind.group(), kind.kind.as_str()) {
            ("apps", "Deployment" | "StatefulSet")
            | ("batch", "CronJob")
            | ("autoscaling", "HorizontalPodAutoscaler")
            | ("networking.k8s.io", "NetworkPolicy")
            | ("", "ResourceQuota" | "Namespace" | "PodTemplate") => (true, false, false),
            ("apps", "ReplicaSet" | "DaemonSet")
            | ("batch", "Job")
            | ("", "ReplicationController" | "PersistentVolumeClaim") => (true, true, true),
            ("", "PersistentVolume") => (false, true, true),
            ("discovery.k8s.io", "EndpointSlice") | ("", "LimitRange") => (false, true, false),
            ("policy", "PodDisruptionBudget") | ("" | "events.k8s.io", "Event") => (false, false, false),
            _ => (true, true, false),
        };
        Repeated { metadata, whole, content }
    }
}

/// Metadata of a kind that looks at it itself.
fn new_metadata(kind: &Kind, root: &Place<'_, '_>, test: findings::Test, found: &mut Findings) {
    meta::object(kind, root, test, found);
    if has_known_finalizers(kind) {
        meta::known_finalizers(root, found);
    }
}

/// Custom resources, their definitions and what belongs to other API servers may have any finalizer.
fn has_known_finalizers(kind: &Kind) -> bool {
    let others = ["apiextensions.k8s.io", "apiregistration.k8s.io", "admissionregistration.k8s.io"];
    kind.schema.is_some()
        && !others.contains(&kind.group())
        && !matches!(kind.kind.as_str(), "Event" | "PodDisruptionBudget")
}

/// What a kind asks of an object, which may replace an old one.
fn content(kind: &Kind, root: &Place<'_, '_>, old: Option<&Place<'_, '_>>, found: &mut Findings) {
    match (kind.group(), kind.kind.as_str()) {
        ("", "ConfigMap") => config::config_map(root, found),
        ("", "Endpoints") => endpoints::endpoints(root, found),
        ("", "Event") => event::event(root, found),
        ("", "LimitRange") => limits::range(root, found),
        ("", "Namespace") => cluster::namespace(root, found),
        ("", "Node") => node::node(root, found),
        ("", "PersistentVolume") => claim::volume(root, found),
        ("", "PersistentVolumeClaim") => claim::spec(&root.get("spec"), found),
        ("", "Pod") => pod::pod(root, found),
        ("", "PodTemplate") => pod::template(&root.get("template"), pod::Owner::TEMPLATE, found),
        ("", "ReplicationController") => workload::replication_controller(root, found),
        ("", "ResourceQuota") => limits::quota(root, found),
        ("", "Secret") => config::secret(root, found),
        ("", "Service") => service::service(root, found),
        ("apps", "ControllerRevision") => workload::revision(root, found),
        ("apps", "DaemonSet") => workload::daemon_set(root, found),
        ("apps", "Deployment") => workload::deployment(root, found),
        ("apps", "ReplicaSet") => workload::replica_set(root, found),
        ("apps", "StatefulSet") => workload::stateful_set(root, found),
        ("batch", "CronJob") => job::cron_job(root, old, found),
        ("batch", "Job") => job::job(root, found),
        ("autoscaling", "HorizontalPodAutoscaler") => scale::autoscaler(root, found),
        ("policy", "PodDisruptionBudget") => scale::disruption_budget(root, found),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => rbac::role(kind, root, found),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => rbac::binding(kind, root, found),
        ("networking.k8s.io", "Ingress") => ingress::ingress(root, found),
        ("networking.k8s.io", "IngressClass") => ingress::class(root, found),
        ("networking.k8s.io", "NetworkPolicy") => network_policy::policy(root, found),
        ("discovery.k8s.io", "EndpointSlice") => endpoints::slice(root, found),
        ("coordination.k8s.io", "Lease") => cluster::lease(root, found),
        ("scheduling.k8s.io", "PriorityClass") => cluster::priority(root, found),
        ("node.k8s.io", "RuntimeClass") => cluster::runtime_class(root, found),
        ("storage.k8s.io", "StorageClass") => storage::class(root, found),
        ("storage.k8s.io", "CSIDriver") => storage::driver(root, found),
        ("storage.k8s.io", "VolumeAttachment") => storage::attachment(root, found),
        ("certificates.k8s.io", "CertificateSigningRequest") => cluster::certificate_request(root, found),
        ("apiregistration.k8s.io", "APIService") => cluster::api_service(root, found),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => {
            webhook::configuration(root, false, found)
        }
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => webhook::configuration(root, true, found),
        _ => {
            if let Some(schema) = kind.schema() {
                values::enumerations(schema, root, found);
            }
        }
    }
}

/// What an update may not do.
fn changed(kind: &Kind, new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    match (kind.group(), kind.kind.as_str()) {
        ("", "ConfigMap") => config::config_map_update(new, old, found),
        ("", "Node") => node::update(new, old, found),
        ("", "PersistentVolume") => claim::volume_update(new, old, found),
        ("", "PersistentVolumeClaim") => claim::spec_update(new, old, found),
        ("", "Pod") => pod_update::update(new, old, found),
        ("", "ResourceQuota") => limits::quota_update(new, old, found),
        ("", "Secret") => config::secret_update(new, old, found),
        ("", "Service") => service::update(new, old, found),
        ("apps", "ControllerRevision") => fixed(&["data"], new, old, found),
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet") => workload::selector_update(new, old, found),
        ("apps", "StatefulSet") => workload::stateful_set_update(new, old, found),
        ("batch", "Job") => job::job_update(new, old, found),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => rbac::binding_update(new, old, found),
        ("networking.k8s.io", "IngressClass") => fixed(&["spec", "controller"], new, old, found),
        ("discovery.k8s.io", "EndpointSlice") => fixed(&["addressType"], new, old, found),
        ("scheduling.k8s.io", "PriorityClass") => cluster::priority_update(new, old, found),
        ("node.k8s.io", "RuntimeClass") => fixed(&["handler"], new, old, found),
        ("storage.k8s.io", "StorageClass") => storage::class_update(new, old, found),
        ("storage.k8s.io", "VolumeAttachment") | ("certificates.k8s.io", "CertificateSigningRequest") => {
            fixed(&["spec"], new, old, found);
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            for path in [
                ["spec", "group"].as_slice(),
                &["spec", "scope"],
                &["spec", "names", "plural"],
                &["spec", "names", "kind"],
            ] {
                fixed(path, new, old, found);
            }
        }
        _ => {}
    }
}

/// A field that stays as it is.
fn fixed(path: &[&str], new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    let [key, rest @ ..] = path else {
        if new.value() != old.value() {
            found.invalid(new, meta::IMMUTABLE);
        }
        return;
    };
    fixed(rest, &new.get(key), &old.get(key), found);
}

#[cfg(test)]
mod tests;
