//! What a node may do without any role, as of Kubernetes' node authorizer: read what its pods refer to, and tell of
//! itself and of its own pods.

use super::keys;
use super::memory::Memory;
use super::shelf::{PODS, Stored};
use super::user::Attributes;
use api::{Object, Tree};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Under which keys of a pod's spec a secret, or a ConfigMap, is named, at any depth.
const SECRET_KEYS: [&str; 4] = ["secret", "secretRef", "secretKeyRef", "imagePullSecrets"];
const CONFIG_MAP_KEYS: [&str; 3] = ["configMap", "configMapRef", "configMapKeyRef"];

/// What the spec of one pod refers to, in the pod's own namespace.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct References {
    secrets: BTreeSet<Box<str>>,
    config_maps: BTreeSet<Box<str>>,
    service_account: Box<str>,
}

/// The reason, if the node may.
pub(super) fn allows(memory: &Memory, node: &str, wanted: &Attributes<'_>) -> Option<String> {
    let is_read = matches!(wanted.verb, "get" | "list" | "watch");
    let is_write = matches!(wanted.verb, "create" | "update" | "patch");
    let own = wanted.name == node;
    let allowed = match (wanted.group, wanted.resource) {
        ("", "nodes") => is_read || (is_write && (own || wanted.name.is_empty())),
        ("", "services" | "namespaces")
        | ("discovery.k8s.io", "endpointslices")
        | ("node.k8s.io", "runtimeclasses") => is_read,
        ("", "events") | ("events.k8s.io", "events") => is_write,
        ("coordination.k8s.io", "leases") => wanted.namespace == "kube-node-lease" && (own || wanted.verb == "create"),
        // Which ones is `filter`'s.
        ("", "pods") if matches!(wanted.verb, "list" | "watch") => true,
        ("", "pods") => is_own_deed(wanted) && is_own_pod(memory, node, wanted),
        ("", "configmaps" | "secrets" | "serviceaccounts") => {
            let verb = is_read || (wanted.verb == "create" && wanted.subresource == "token");
            verb && !wanted.name.is_empty() && is_referred_to(memory, node, wanted)
        }
        ("certificates.k8s.io", "certificatesigningrequests") => is_read || wanted.verb == "create",
        ("authentication.k8s.io", "tokenreviews") | ("authorization.k8s.io", "subjectaccessreviews") => {
            wanted.verb == "create"
        }
        ("coracle.dev", "nodes") => wanted.subresource == "link" && own,
        _ => false,
    };
    allowed.then(|| format!("node {node:?} may"))
}

fn is_own_deed(wanted: &Attributes<'_>) -> bool {
    matches!((wanted.verb, wanted.subresource), ("get" | "delete", "") | ("get" | "patch" | "update", "status"))
}

fn is_own_pod(memory: &Memory, node: &str, wanted: &Attributes<'_>) -> bool {
    let place = keys::place(Some(wanted.namespace), wanted.name);
    memory.shelf(PODS).get(&place).is_some_and(|pod| &*pod.object.head().node == node)
}

fn is_referred_to(memory: &Memory, node: &str, wanted: &Attributes<'_>) -> bool {
    let (pods, _) = memory.shelf(PODS).on_node(node, || 0);
    let refers = |pod: &Arc<Stored>| {
        pod.object.namespace() == wanted.namespace && pod.references().name(wanted.resource, wanted.name)
    };
    pods.iter().any(refers)
}

// === impl References ===

impl References {
    pub(super) fn of(pod: &Object) -> References {
        let tree = pod.tree();
        let Some(spec) = api::object::edit::at(&tree, &["spec"]) else { return References::default() };
        let mut found = References {
            service_account: api::object::edit::text(spec, &["serviceAccountName"]).into(),
            ..References::default()
        };
        found.collect(spec);
        found
    }

    fn name(&self, resource: &str, name: &str) -> bool {
        match resource {
            "serviceaccounts" => &*self.service_account == name,
            "secrets" => self.secrets.contains(name),
            _ => self.config_maps.contains(name),
        }
    }

    fn collect(&mut self, tree: &Tree) {
        match tree {
            Tree::Object(members) => {
                for (key, value) in members {
                    if SECRET_KEYS.contains(&key.as_str()) {
                        self.secrets.extend(names(value));
                    } else if CONFIG_MAP_KEYS.contains(&key.as_str()) {
                        self.config_maps.extend(names(value));
                    }
                    self.collect(value);
                }
            }
            Tree::Array(list) => list.iter().for_each(|value| self.collect(value)),
            Tree::Null | Tree::Bool(_) | Tree::Number(_) | Tree::String(_) => {}
        }
    }
}

/// `{name: …}`, `{secretName: …}`, or a list of such.
fn names(value: &Tree) -> Vec<Box<str>> {
    let of = |value: &Tree| {
        ["name", "secretName"].map(|key| api::object::edit::text(value, &[key])).map(Box::from).into_iter()
    };
    let all: Vec<Box<str>> = match value {
        Tree::Array(list) => list.iter().flat_map(of).collect(),
        value => of(value).collect(),
    };
    all.into_iter().filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::encoded;
    use super::*;

    #[test]
    fn references_are_found_at_any_depth() {
        let json = r#"{"metadata":{"name":"p"},"spec":{"serviceAccountName":"a",
            "volumes":[{"projected":{"sources":[{"secret":{"name":"s"}}]}},{"secret":{"secretName":"t"}}],
            "containers":[{"envFrom":[{"configMapRef":{"name":"c"}}]}],"imagePullSecrets":[{"name":"p"}]}}"#;
        let pod = encoded::at_revision(json.as_bytes(), 1).expect("an object");
        let found = References::of(&pod);
        for secret in ["s", "t", "p"] {
            assert!(found.name("secrets", secret), "{secret}");
        }
        assert!(found.name("configmaps", "c") && found.name("serviceaccounts", "a"));
        assert!(!found.name("secrets", "c") && !found.name("configmaps", "s") && !found.name("serviceaccounts", "s"));
    }
}
