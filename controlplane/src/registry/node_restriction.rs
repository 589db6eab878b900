//! NodeRestriction: what a node may not write, although it may write the object. As the plugin of that name in
//! kube-apiserver 1.36; which objects a node may touch at all is `node_authorizer`'s.

use super::{Call, Registry, User};
use api::object::edit;
use api::resource::{LEASES, NODES, PODS, SERVICE_ACCOUNTS};
use api::view::Node;
use api::{Rejected, Resource, Tree};

impl Registry {
    pub(super) fn restrict_create(&self, call: &Call<'_>, new: &Tree) -> Result<(), Rejected> {
        let Some(node) = self.restricted(call.user) else { return Ok(()) };
        let (resource, name) = (&call.kind.resource, edit::text(new, &["metadata", "name"]));
        let why = if is(resource, &NODES) {
            let set = forbidden(None, new);
            if name != node {
                format!("node {node:?} is not allowed to modify node {name:?}")
            } else if !set.is_empty() {
                format!("node {node:?} is not allowed to set the following labels: {}", set.join(", "))
            } else if !owners(new).is_empty() {
                format!("node {node:?} is not allowed to modify ownerReferences")
            } else {
                return Ok(());
            }
        } else if is(resource, &LEASES) && name != node {
            "can only access node lease with the same name as the requesting node".to_owned()
        } else {
            return Ok(());
        };
        Err(Rejected::forbidden(resource, name, why))
    }

    pub(super) fn restrict_update(&self, call: &Call<'_>, old: &Tree, new: &Tree) -> Result<(), Rejected> {
        let Some(node) = self.restricted(call.user) else { return Ok(()) };
        let resource = &call.kind.resource;
        let taints = |tree| edit::list(tree, &["spec", "taints"]);
        let why = if is(resource, &NODES) {
            let changed = forbidden(Some(old), new);
            if taints(old) != taints(new) {
                format!("node {node:?} is not allowed to modify taints")
            } else if !changed.is_empty() {
                format!("is not allowed to modify labels: {}", changed.join(", "))
            } else if owners(old) != owners(new) {
                format!("node {node:?} is not allowed to modify ownerReferences")
            } else {
                return Ok(());
            }
        } else if is(resource, &PODS) && labels(old) != labels(new) {
            format!("node {node:?} cannot update labels through pod status")
        } else {
            return Ok(());
        };
        Err(Rejected::forbidden(resource, call.name, why))
    }

    /// A node gets tokens of service accounts for its own pods alone; `request` is a TokenRequest.
    pub(crate) fn restrict_token(&self, call: &Call<'_>, request: &Tree) -> Result<(), Rejected> {
        let Some(node) = self.restricted(call.user) else { return Ok(()) };
        let bound = |key: &str| edit::text(request, &["spec", "boundObjectRef", key]);
        let pod = Call { namespace: call.namespace, name: bound("name"), ..Call::new(call.user, call.kind) };
        let pod = self.find(&PODS).and_then(|kind| self.stored(&Call { kind: &kind, ..pod }));
        let pod = pod.map(|stored| stored.object.tree()).unwrap_or_default();
        let why = if bound("kind") != "Pod" {
            "node requested token not bound to a pod"
        } else if bound("uid").is_empty() {
            "node requested token with a pod binding without a uid"
        } else if bound("uid") != edit::text(&pod, &["metadata", "uid"]) {
            "node requested token bound to a pod that does not exist"
        } else if edit::text(&pod, &["spec", "nodeName"]) != node {
            "node requested token bound to a pod scheduled on a different node"
        } else {
            return Ok(());
        };
        Err(Rejected::forbidden(&SERVICE_ACCOUNTS, call.name, why.to_owned()))
    }

    fn restricted<'a>(&self, user: &'a User) -> Option<&'a str> {
        user.as_node().filter(|_| !self.is_disabled("NodeRestriction"))
    }
}

fn is(one: &Resource, other: &Resource) -> bool {
    (&one.group, &one.plural) == (&other.group, &other.plural)
}

fn labels(tree: &Tree) -> Option<&Tree> {
    edit::at(tree, &["metadata", "labels"])
}

fn owners(tree: &Tree) -> &[Tree] {
    edit::list(tree, &["metadata", "ownerReferences"])
}

/// The labels that the node changes and may not.
fn forbidden<'a>(old: Option<&'a Tree>, new: &'a Tree) -> Vec<&'a str> {
    let of = |tree: Option<&'a Tree>| tree.and_then(labels).and_then(Tree::as_object);
    let (old, new) = (of(old), of(Some(new)));
    let keys = old.into_iter().chain(new).flat_map(|labels| labels.keys());
    let changed = keys.filter(|key| old.and_then(|old| old.get(*key)) != new.and_then(|new| new.get(*key)));
    let mut found: Vec<&str> = changed.map(String::as_str).filter(|key| !Node::may_label_itself(key)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_counts_if_it_changes() {
        let node = |value: &str| serde_json::json!({"metadata": {"labels": {"kubernetes.io/x": value, "site": value}}});
        assert!(forbidden(Some(&node("a")), &node("a")).is_empty());
        assert_eq!(forbidden(Some(&node("a")), &node("b")), ["kubernetes.io/x"]);
        assert_eq!(forbidden(Some(&node("a")), &serde_json::json!({})), ["kubernetes.io/x"]);
        assert_eq!(forbidden(None, &node("a")), ["kubernetes.io/x"]);
    }
}
