//! How kube-apiserver's registries treat a kind, beyond its schema: facts of upstream's strategies (1.36).
//!
//! Pure: says what a kind is like; `controlplane`'s registry acts on it.

use crate::object::edit;
use crate::{Kind, Tree};

/// Where a DaemonSet counts its templates: a field inside kube-apiserver, which the API shows as an annotation.
pub const TEMPLATE_GENERATION: &[&str] = &["metadata", "annotations", "deprecated.daemonset.template.generation"];

/// Whether a PUT without a resourceVersion overwrites whatever is there. Elsewhere the version must be told.
#[must_use]
pub fn allows_unconditional_update(kind: &Kind) -> bool {
    match (kind.group(), kind.kind.as_str()) {
        ("policy", "PodDisruptionBudget")
        | ("node.k8s.io", "RuntimeClass")
        | ("storage.k8s.io", "CSIDriver" | "CSINode" | "CSIStorageCapacity" | "VolumeAttachment")
        | ("certificates.k8s.io", "ClusterTrustBundle" | "PodCertificateRequest")
        | (
            "coordination.k8s.io" | "admissionregistration.k8s.io" | "apiextensions.k8s.io" | "apiregistration.k8s.io",
            _,
        ) => false,
        _ => !kind.is_custom(),
    }
}

/// Whether a PUT of an object that is not there makes it.
#[must_use]
pub fn creates_on_update(kind: &Kind) -> bool {
    match (kind.group(), kind.kind.as_str()) {
        ("", name) => matches!(name, "Service" | "Endpoints" | "LimitRange" | "Event"),
        ("rbac.authorization.k8s.io" | "coordination.k8s.io" | "events.k8s.io", _) => true,
        ("node.k8s.io", name) => name == "RuntimeClass",
        _ => false,
    }
}

/// Whether `metadata.generation` of a new object is 1. Elsewhere it is what its maker says, and never changes.
#[must_use]
pub fn has_generation(kind: &Kind) -> bool {
    match (kind.group(), kind.kind.as_str()) {
        ("", name) => matches!(name, "Pod" | "ReplicationController"),
        ("apps", name) => name != "ControllerRevision",
        ("networking.k8s.io", name) => matches!(name, "Ingress" | "IngressClass" | "NetworkPolicy"),
        ("resource.k8s.io", name) => matches!(name, "DeviceClass" | "ResourceSlice"),
        (
            "batch"
            | "policy"
            | "discovery.k8s.io"
            | "scheduling.k8s.io"
            | "admissionregistration.k8s.io"
            | "apiextensions.k8s.io"
            | "flowcontrol.apiserver.k8s.io",
            _,
        ) => true,
        _ => kind.is_custom(),
    }
}

/// Whether a write of the object itself (not of its status) makes a new generation of it.
#[must_use]
pub fn is_new_generation(kind: &Kind, old: &Tree, new: &Tree) -> bool {
    let differs = |path: &[&str]| edit::at(old, path) != edit::at(new, path);
    match (kind.group(), kind.kind.as_str()) {
        // A class's value is for good, and no other of its fields counts.
        ("scheduling.k8s.io", "PriorityClass") => false,
        ("storage.k8s.io", "CSIDriver") => {
            ["requiresRepublish", "seLinuxMount", "tokenRequests"].iter().any(|key| differs(&["spec", key]))
        }
        _ if !has_generation(kind) => false,
        // Its annotations are its revisions' annotations.
        ("apps", "Deployment") => differs(&["spec"]) || differs(&["metadata", "annotations"]),
        _ => {
            let has_status = kind.subresource("status").is_some();
            let counts = |key: &str| match key {
                "kind" | "apiVersion" | "metadata" => false,
                "status" => !has_status,
                _ => true,
            };
            let keys = |tree: &Tree| -> Vec<String> {
                tree.as_object().into_iter().flat_map(|all| all.keys()).filter(|key| counts(key)).cloned().collect()
            };
            keys(old).iter().chain(&keys(new)).any(|key| differs(&[key]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::find_kind;
    use serde_json::json;

    fn kind(group: &str, version: &str, name: &str) -> &'static Kind {
        find_kind(group, version, name).expect("built in")
    }

    #[test]
    fn what_makes_a_new_generation() {
        let moves = |group, name, old: Tree, new: Tree| is_new_generation(kind(group, "v1", name), &old, &new);
        assert!(moves("apps", "Deployment", json!({}), json!({"metadata": {"annotations": {"a": "b"}}})));
        assert!(!moves("apps", "ReplicaSet", json!({}), json!({"metadata": {"annotations": {"a": "b"}}})));
        assert!(moves("apps", "ReplicaSet", json!({"spec": {"replicas": 1}}), json!({"spec": {"replicas": 2}})));
        assert!(!moves("apps", "ReplicaSet", json!({}), json!({"status": {"replicas": 2}})));
        assert!(moves("discovery.k8s.io", "EndpointSlice", json!({"ports": []}), json!({"ports": [{"port": 1}]})));
        assert!(!moves("", "ConfigMap", json!({}), json!({"data": {"a": "b"}})));
        assert!(!moves("scheduling.k8s.io", "PriorityClass", json!({}), json!({"description": "a"})));
        let hooks = |policy: &str| json!({"webhooks": [{"failurePolicy": policy}]});
        assert!(moves(
            "admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration",
            hooks("Fail"),
            hooks("Ignore")
        ));
    }

    #[test]
    fn kinds_whose_version_must_be_told() {
        assert!(allows_unconditional_update(kind("", "v1", "ConfigMap")));
        assert!(!allows_unconditional_update(kind("coordination.k8s.io", "v1", "Lease")));
        assert!(creates_on_update(kind("coordination.k8s.io", "v1", "Lease")));
        assert!(!creates_on_update(kind("", "v1", "ConfigMap")));
    }
}
