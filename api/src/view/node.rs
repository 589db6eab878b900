//! `v1.Node`, as the scheduler, the controllers and the proxy read it.

use super::meta::{Condition, Meta};
use crate::time::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Labels that only others give to a node, so that one whose key is stolen cannot draw pods to itself.
const RESTRICTED: &str = "node-restriction.kubernetes.io";
/// Labels of Kubernetes' own that a node gives itself.
const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
];
const OWN_PREFIXES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Node {
    pub metadata: Meta,
    pub spec: NodeSpec,
    pub status: NodeStatus,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    pub unschedulable: bool,
    pub taints: Vec<Taint>,
    #[serde(rename = "podCIDR")]
    pub pod_cidr: String,
    #[serde(rename = "providerID")]
    pub provider_id: String,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    pub key: String,
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
    pub time_added: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// Quantities.
    pub capacity: BTreeMap<String, String>,
    /// Quantities: what the scheduler may give away.
    pub allocatable: BTreeMap<String, String>,
    pub conditions: Vec<Condition>,
    pub addresses: Vec<Address>,
    pub daemon_endpoints: DaemonEndpoints,
}

/// Where the node's own API listens.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct DaemonEndpoints {
    pub kubelet_endpoint: DaemonEndpoint,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase", default)]
pub struct DaemonEndpoint {
    pub port: u16,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Address {
    /// `InternalIP`, `ExternalIP` or `Hostname`.
    #[serde(rename = "type")]
    pub kind: String,
    pub address: String,
}

// === impl Node ===

impl Node {
    /// Whether a node may give itself a label of that key: any but those of Kubernetes that are not a kubelet's.
    #[must_use]
    pub fn may_label_itself(key: &str) -> bool {
        let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
        let is_below =
            |known: &str| prefix == known || prefix.strip_suffix(known).is_some_and(|rest| rest.ends_with('.'));
        if is_below(RESTRICTED) {
            return false;
        }
        let is_of_kubernetes = is_below("kubernetes.io") || is_below("k8s.io");
        !is_of_kubernetes || OWN_LABELS.contains(&key) || OWN_PREFIXES.into_iter().any(is_below)
    }

    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.kind == kind)
    }

    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(|ready| ready.status == "True")
    }

    /// The first address of a type, such as `InternalIP`.
    #[must_use]
    pub fn address(&self, kind: &str) -> Option<&str> {
        self.status.addresses.iter().find(|one| one.kind == kind).map(|one| one.address.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_label_themselves_with_what_is_theirs() {
        let own =
            ["site", "example.com/rack", "kubernetes.io/arch", "node.kubernetes.io/x", "a.kubelet.kubernetes.io/x"];
        for key in own {
            assert!(Node::may_label_itself(key), "{key}");
        }
        let others = [
            "node-restriction.kubernetes.io/x",
            "a.node-restriction.kubernetes.io/x",
            "node-role.kubernetes.io/worker",
            "kubernetes.io/other",
            "x.k8s.io/other",
        ];
        for key in others {
            assert!(!Node::may_label_itself(key), "{key}");
        }
        assert!(Node::may_label_itself("mykubernetes.io/x"), "a prefix that ends alike is another's");
    }
}
