//! Who owns whom, and what follows from it for one object: pure, as upstream's `attemptToDeleteItem` (1.32).

use api::Resource;
use api::object::Owner;
use client::{Key, Propagation, Target};
use std::collections::{BTreeSet, HashMap};

pub(super) const ORPHAN: &str = "orphan";
pub(super) const FOREGROUND: &str = "foregroundDeletion";

/// What is known of one object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) resource: Resource,
    pub(super) key: Key,
    pub(super) owners: Vec<Owner>,
    pub(super) finalizers: Vec<String>,
    pub(super) is_deleting: bool,
}

/// Everything by uid, and who is owned by whom.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<String, Node>,
    dependents: HashMap<String, BTreeSet<String>>,
}

/// What is to be done about an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Delete(Propagation),
    /// References to these owners go: they are no more, while another one lives.
    Disown(Vec<String>),
    /// These dependents lose their reference to it; then its finalizer goes.
    Orphan(Vec<String>),
    /// Nobody holds it any more: the finalizer of its foreground deletion goes.
    Release,
}

// === impl Node ===

impl Node {
    pub(super) fn target(&self) -> Target<'_> {
        Target { resource: &self.resource, namespace: self.key.namespace(), name: &self.key.name, subresource: None }
    }

    fn has(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|known| known == finalizer)
    }

    /// Its deletion waits for its dependents.
    pub(super) fn waits(&self) -> bool {
        self.is_deleting && self.has(FOREGROUND)
    }
}

// === impl Graph ===

impl Graph {
    pub(super) fn put(&mut self, uid: String, node: Node) {
        self.take(&uid);
        for owner in &node.owners {
            self.dependents.entry(owner.uid.to_string()).or_default().insert(uid.clone());
        }
        self.nodes.insert(uid, node);
    }

    pub(super) fn take(&mut self, uid: &str) -> Option<Node> {
        let node = self.nodes.remove(uid)?;
        for owner in &node.owners {
            if let Some(dependents) = self.dependents.get_mut(&*owner.uid) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(&*owner.uid);
                }
            }
        }
        Some(node)
    }

    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// Those whose step may change with an object: itself if it has owners or is being deleted, its owners while
    /// they are being deleted, and its dependents.
    pub(super) fn near(&self, uid: &str) -> Vec<String> {
        let node = self.nodes.get(uid);
        let own = node.filter(|node| node.is_deleting || !node.owners.is_empty()).map(|_| uid.to_owned());
        let owners = node.into_iter().flat_map(|node| &node.owners).map(|owner| owner.uid.to_string());
        let owners = owners.filter(|owner| self.nodes.get(owner).is_some_and(|owner| owner.is_deleting));
        own.into_iter().chain(owners).chain(self.dependents.get(uid).into_iter().flatten().cloned()).collect()
    }

    pub(super) fn step(&self, uid: &str) -> Option<Step> {
        let node = self.nodes.get(uid)?;
        let dependents = || self.dependents.get(uid).into_iter().flatten();
        if node.is_deleting {
            if node.has(ORPHAN) {
                return Some(Step::Orphan(dependents().cloned().collect()));
            }
            let holds = |dependent: &Node| {
                dependent.owners.iter().any(|owner| *owner.uid == *uid && owner.block_owner_deletion)
            };
            let is_held = dependents().filter_map(|uid| self.nodes.get(uid)).any(holds);
            return (node.has(FOREGROUND) && !is_held).then_some(Step::Release);
        }
        let of = |owner: &Owner| self.nodes.get(&*owner.uid);
        let waiting: Vec<&Owner> = node.owners.iter().filter(|owner| of(owner).is_some_and(Node::waits)).collect();
        let absent: Vec<&Owner> = node.owners.iter().filter(|owner| of(owner).is_none()).collect();
        if waiting.is_empty() && absent.is_empty() {
            return None;
        }
        if waiting.len() + absent.len() < node.owners.len() {
            return Some(Step::Disown(waiting.iter().chain(&absent).map(|owner| owner.uid.to_string()).collect()));
        }
        let propagation = if node.has(ORPHAN) {
            Propagation::Orphan
        } else if node.has(FOREGROUND) || (!waiting.is_empty() && dependents().next().is_some()) {
            // An owner that waits for its dependents waits for theirs, too.
            Propagation::Foreground
        } else {
            Propagation::Background
        };
        Some(Step::Delete(propagation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(owners: &[&str], deleting: bool, finalizers: &[&str]) -> Node {
        let owner = |uid: &&str| Owner {
            api_version: "v1".into(),
            kind: "X".into(),
            name: "x".into(),
            uid: uid.trim_start_matches('~').into(),
            controller: true,
            block_owner_deletion: !uid.starts_with('~'),
        };
        Node {
            resource: Resource::new("", "v1", "xs"),
            key: Key::new("a", "x"),
            owners: owners.iter().map(owner).collect(),
            finalizers: finalizers.iter().map(|one| (*one).to_owned()).collect(),
            is_deleting: deleting,
        }
    }

    fn graph(nodes: &[(&str, Node)]) -> Graph {
        let mut graph = Graph::default();
        nodes.iter().for_each(|(uid, node)| graph.put((*uid).to_owned(), node.clone()));
        graph
    }

    #[test]
    fn what_has_no_owner_left_goes_and_what_has_one_forgets_the_others() {
        let mut graph = graph(&[
            ("a", node(&[], false, &[])),
            ("b", node(&[], false, &[])),
            ("child", node(&["a", "b"], false, &[])),
        ]);
        assert_eq!(graph.step("child"), None);
        assert_eq!(graph.near("a"), ["child"]);
        graph.take("a");
        assert_eq!(graph.step("child"), Some(Step::Disown(vec!["a".into()])));
        graph.take("b");
        assert_eq!(graph.step("child"), Some(Step::Delete(Propagation::Background)));
    }

    #[test]
    fn a_foreground_deletion_goes_down_all_levels_and_back_up() {
        let mut graph = graph(&[
            ("deployment", node(&[], true, &[FOREGROUND])),
            ("set", node(&["deployment"], false, &[])),
            ("pod", node(&["set"], false, &[])),
        ]);
        assert_eq!(graph.step("deployment"), None, "its set holds it");
        assert_eq!(graph.step("set"), Some(Step::Delete(Propagation::Foreground)), "it has a pod");
        assert_eq!(graph.step("pod"), None, "its set lives");
        graph.put("set".into(), node(&["deployment"], true, &[FOREGROUND]));
        assert_eq!(graph.near("set"), ["set", "deployment", "pod"]);
        assert_eq!(graph.step("pod"), Some(Step::Delete(Propagation::Background)));
        assert_eq!(graph.step("set"), None, "its pod holds it");
        graph.take("pod");
        assert_eq!(graph.step("set"), Some(Step::Release));
        graph.take("set");
        assert_eq!(graph.step("deployment"), Some(Step::Release));
    }

    #[test]
    fn a_dependent_that_blocks_nothing_is_not_waited_for() {
        let graph = graph(&[("a", node(&[], true, &[FOREGROUND])), ("child", node(&["~a"], false, &[]))]);
        assert_eq!(graph.step("a"), Some(Step::Release));
        assert_eq!(graph.step("child"), Some(Step::Delete(Propagation::Background)));
    }

    #[test]
    fn an_orphaning_owner_lets_its_dependents_go_first() {
        let graph = graph(&[("a", node(&[], true, &[ORPHAN])), ("child", node(&["a"], false, &[]))]);
        assert_eq!(graph.step("a"), Some(Step::Orphan(vec!["child".into()])));
        assert_eq!(graph.step("child"), None);
    }

    #[test]
    fn finalizers_of_other_hands_are_waited_for() {
        let graph = graph(&[("a", node(&[], true, &["site/backup"])), ("child", node(&["a"], false, &[]))]);
        assert_eq!((graph.step("a"), graph.step("child")), (None, None));
    }
}
