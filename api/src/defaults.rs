//! The values that kube-apiserver fills in where a client gave none, kind by kind.
//!
//! Knows what upstream's defaulting functions set on write. What needs the cluster's state (addresses, node ports,
//! uids) is not here; what admission plugins fill into pods is, as a step of its own.

mod cluster;
mod pod;
mod service;
mod workload;

use crate::walk::{Members, find, make, put};
use crate::{Kind, Tree};

/// Fills in the defaults of a kind; of custom resources, those of their schema. Idempotent.
pub fn apply(kind: &Kind, tree: &mut Tree) {
    if let Some(custom) = &kind.custom {
        return crate::custom::defaults::fill(&custom.schema, tree);
    }
    let Some(object) = tree.as_object_mut() else { return };
    match (kind.group(), kind.kind.as_str()) {
        ("", "Pod") => pod::pod(object),
        ("", "PodTemplate") => template(object),
        ("", "ReplicationController") => workload::replication_controller(object),
        ("", "Service") => service::service(object),
        ("", "Endpoints") => service::endpoints(object),
        ("discovery.k8s.io", "EndpointSlice") => service::endpoint_slice(object),
        ("", "Secret") => cluster::secret(object),
        ("", "Namespace") => cluster::namespace(object),
        ("", "Node") => cluster::node(object),
        ("", "PersistentVolume") => cluster::volume(object),
        ("", "PersistentVolumeClaim") => cluster::claim(object),
        ("", "LimitRange") => cluster::limit_range(object),
        ("apps", "Deployment") => workload::deployment(object),
        ("apps", "ReplicaSet") => workload::replica_set(object),
        ("apps", "DaemonSet") => workload::daemon_set(object),
        ("apps", "StatefulSet") => workload::stateful_set(object),
        ("batch", "Job") => workload::job(object),
        ("batch", "CronJob") => workload::cron_job(object),
        ("autoscaling", "HorizontalPodAutoscaler") => workload::autoscaler(object, kind.version()),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => cluster::role_binding(object),
        ("networking.k8s.io", "NetworkPolicy") => cluster::network_policy(object),
        ("networking.k8s.io", "IngressClass") => cluster::ingress_class(object),
        ("scheduling.k8s.io", "PriorityClass") => put(object, "preemptionPolicy", "PreemptLowerPriority"),
        ("storage.k8s.io", "StorageClass") => cluster::storage_class(object),
        ("storage.k8s.io", "CSIDriver") => cluster::csi_driver(object),
        ("admissionregistration.k8s.io", _) => cluster::admission_registration(object, &kind.kind),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => cluster::custom_resource(object),
        ("apiregistration.k8s.io", "APIService") => {
            if let Some(service) = find(object, &["spec", "service"]) {
                put(service, "port", 443);
            }
        }
        _ => {}
    }
}

/// What the admission plugins fill into a new pod: service account, priority, and the tolerations of a node that is
/// away. Not for pod templates.
pub fn admit_pod(tree: &mut Tree) {
    if let Some(spec) = tree.get_mut("spec").and_then(Tree::as_object_mut) {
        pod::admit(spec);
    }
}

/// Gives a Job its selector and the labels that its pods find it by, once it has a uid. Left alone if the user
/// manages the selector.
pub fn select_job(tree: &mut Tree) {
    if let Some(object) = tree.as_object_mut() {
        workload::select_job(object);
    }
}

/// The defaults of `template`, below an object or a spec: those of its own spec even where the client gave neither.
fn template(owner: &mut Members) {
    if let Some(spec) = make(owner, "template").and_then(|template| make(template, "spec")) {
        pod::spec(spec);
    }
}

#[cfg(test)]
mod tests;
