//! The garbage collector: what an object owned goes with it, or stays behind, as its deletion said.

use super::{Config, patch};
use api::object::Owner;
use api::{Object, Resource};
use client::{Cache, DeleteOptions, Error, Followed, Key, Propagation, Target, follow};
use futures::StreamExt;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};

use std::time::Duration;
use tokio::sync::mpsc;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// News that wait to be taken up.
const NEWS_MAX: usize = 4096;
const RETRY: Duration = Duration::from_secs(1);
/// Kinds that own nothing, are owned by nothing that matters, and change all the time.
const LEFT_OUT: &[&str] = &["events", "leases"];

/// What is known of one object.
#[derive(Debug, Clone, PartialEq)]
struct Node {
    resource: Resource,
    key: Key,
    owners: Vec<Owner>,
    finalizers: Vec<String>,
    is_deleting: bool,
}

/// Everything by uid, and who is owned by whom.
#[derive(Debug, Default)]
struct Graph {
    nodes: HashMap<String, Node>,
    dependents: HashMap<String, BTreeSet<String>>,
}

/// What is to be done; pure results of `Graph`.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Delete(String),
    /// The owner reference to the uid goes.
    Orphan {
        uid: String,
        owner: String,
    },
    /// The finalizer goes from the object.
    Release {
        uid: String,
        finalizer: &'static str,
    },
}

// === impl Graph ===

impl Graph {
    fn put(&mut self, uid: String, node: Node) {
        self.take(&uid);
        for owner in &node.owners {
            self.dependents.entry(owner.uid.to_string()).or_default().insert(uid.clone());
        }
        self.nodes.insert(uid, node);
    }

    fn take(&mut self, uid: &str) -> Option<Node> {
        let node = self.nodes.remove(uid)?;
        for owner in &node.owners {
            if let Some(dependents) = self.dependents.get_mut(&*owner.uid) {
                dependents.remove(uid);
            }
        }
        Some(node)
    }

    fn dependents(&self, uid: &str) -> Vec<(String, &Node)> {
        let all = self.dependents.get(uid).into_iter().flatten();
        all.filter_map(|uid| Some((uid.clone(), self.nodes.get(uid)?))).collect()
    }

    /// What follows from an object's being gone: dependents that have no owner left go too.
    fn after_gone(&self, uid: &str) -> Vec<Step> {
        let dependents = self.dependents(uid);
        let alone = dependents.into_iter().filter(|(_, node)| !node.is_deleting && self.is_orphaned(node));
        alone.map(|(uid, _)| Step::Delete(uid)).collect()
    }

    fn is_orphaned(&self, node: &Node) -> bool {
        !node.owners.is_empty() && node.owners.iter().all(|owner| !self.nodes.contains_key(&*owner.uid))
    }

    /// What follows from an object's being deleted with a finalizer of ours.
    fn while_deleting(&self, uid: &str) -> Vec<Step> {
        let Some(node) = self.nodes.get(uid).filter(|node| node.is_deleting) else { return Vec::new() };
        let has = |finalizer: &str| node.finalizers.iter().any(|known| known == finalizer);
        let dependents = self.dependents(uid);
        let mut steps = Vec::new();
        if has(ORPHAN) {
            let owner = uid.to_owned();
            steps.extend(dependents.iter().map(|(uid, _)| Step::Orphan { uid: uid.clone(), owner: owner.clone() }));
            steps.push(Step::Release { uid: uid.to_owned(), finalizer: ORPHAN });
        } else if has(FOREGROUND) {
            let waiting = dependents.iter().filter(|(_, node)| !node.is_deleting);
            steps.extend(waiting.map(|(uid, _)| Step::Delete(uid.clone())));
            let blocks = |node: &Node| node.owners.iter().any(|owner| &*owner.uid == uid && owner.block_owner_deletion);
            if !dependents.iter().any(|(_, node)| blocks(node)) {
                steps.push(Step::Release { uid: uid.to_owned(), finalizer: FOREGROUND });
            }
        }
        steps
    }
}

struct News {
    resource: Resource,
    told: Followed,
}

pub(super) async fn run(config: Config) {
    let (tx, mut news) = mpsc::channel::<News>(NEWS_MAX);
    let kinds = api::kinds::builtin().iter().filter(|kind| {
        let is_stored = kind.has_verb("watch") && kind.has_verb("delete");
        is_stored && !LEFT_OUT.contains(&&*kind.resource.plural)
    });
    let mut waiting = 0_usize;
    for kind in kinds {
        waiting += 1;
        let mut told = follow(config.cluster.clone(), follow::Selection::all(kind.resource.clone()));
        let (tx, resource) = (tx.clone(), kind.resource.clone());
        tokio::spawn(async move {
            while let Some(told) = told.recv().await {
                if tx.send(News { resource: resource.clone(), told }).await.is_err() {
                    return;
                }
            }
        });
    }
    drop(tx);
    let mut graph = Graph::default();
    let mut caches: HashMap<Resource, Cache<(String, Node)>> = HashMap::new();
    while let Some(News { resource, told }) = news.recv().await {
        let cache = caches.entry(resource.clone()).or_insert_with(|| Cache::new(|object| Some(parse(object))));
        let changes = match &told {
            Followed::Listed(items) => {
                waiting = waiting.saturating_sub(1);
                cache.replace(items)
            }
            Followed::Event(event) => cache.apply(event).into_iter().collect(),
        };
        let mut steps = Vec::new();
        for change in changes {
            match (change.old, change.new) {
                (old, Some(new)) => {
                    let (uid, mut node) = (*new).clone();
                    node.resource = resource.clone();
                    if let Some(old) = old.filter(|old| old.0 != uid) {
                        graph.take(&old.0);
                        steps.extend(graph.after_gone(&old.0));
                    }
                    let is_orphaned = waiting == 0 && !node.is_deleting && graph.is_orphaned(&node);
                    let owners: Vec<String> = node.owners.iter().map(|owner| owner.uid.to_string()).collect();
                    graph.put(uid.clone(), node);
                    steps.extend(graph.while_deleting(&uid));
                    owners.iter().for_each(|owner| steps.extend(graph.while_deleting(owner)));
                    if is_orphaned {
                        steps.push(Step::Delete(uid));
                    }
                }
                (Some(old), None) => {
                    let node = graph.take(&old.0);
                    steps.extend(graph.after_gone(&old.0));
                    for owner in node.iter().flat_map(|node| &node.owners) {
                        steps.extend(graph.while_deleting(&owner.uid));
                    }
                }
                (None, None) => {}
            }
        }
        if waiting == 0 {
            perform(&config, &graph, steps).await;
        }
    }
}

/// Steps of one batch, some at a time; one that fails is tried again a while later.
async fn perform(config: &Config, graph: &Graph, steps: Vec<Step>) {
    const IN_FLIGHT_MAX: usize = 32;
    let work = futures::stream::iter(steps).map(|step| async move {
        if let Err(error) = one(config, graph, &step).await {
            tracing::debug!(?step, %error, "garbage stays for now");
            tokio::time::sleep(RETRY).await;
            if let Err(error) = one(config, graph, &step).await {
                tracing::warn!(?step, %error, "garbage is left");
            }
        }
    });
    work.buffer_unordered(IN_FLIGHT_MAX).collect::<Vec<()>>().await;
}

async fn one(config: &Config, graph: &Graph, step: &Step) -> Result<(), Error> {
    let (Step::Delete(uid) | Step::Orphan { uid, .. } | Step::Release { uid, .. }) = step;
    let Some(node) = graph.nodes.get(uid) else { return Ok(()) };
    let cluster = &config.cluster;
    let target =
        Target { resource: &node.resource, namespace: node.key.namespace(), name: &node.key.name, subresource: None };
    let done = match step {
        Step::Delete(_) => {
            let live = match cluster.get(target).await {
                Ok(live) if live.uid() == uid => live,
                Ok(_) => return Ok(()),
                Err(error) => return ignore_gone(Err(error)),
            };
            // An owner that another watch has not told of yet keeps it.
            if exists(config, graph, &live).await? {
                return Ok(());
            }
            let foreground = node.finalizers.iter().any(|known| known == FOREGROUND);
            let propagation = if foreground { Propagation::Foreground } else { Propagation::Background };
            let options =
                DeleteOptions { uid: Some(uid.clone()), propagation: Some(propagation), ..DeleteOptions::default() };
            cluster.delete(target, options).await.map(|_| ())
        }
        Step::Orphan { owner, .. } => {
            let kept: Vec<_> = cluster
                .get(target)
                .await?
                .head()
                .owners
                .iter()
                .filter(|one| *one.uid != **owner)
                .map(reference)
                .collect();
            patch(cluster, &node.resource, &node.key, json!({ "metadata": { "ownerReferences": kept } }))
                .await
                .map(|_| ())
        }
        Step::Release { finalizer, .. } => {
            let kept: Vec<&String> = node.finalizers.iter().filter(|known| known != finalizer).collect();
            patch(cluster, &node.resource, &node.key, json!({ "metadata": { "finalizers": kept } })).await.map(|_| ())
        }
    };
    ignore_gone(done)
}

fn ignore_gone(done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        done => done,
    }
}

/// Whether one of the owners lives, other than by waiting for this object's end.
async fn exists(config: &Config, graph: &Graph, object: &Object) -> Result<bool, Error> {
    for owner in &object.head().owners {
        if let Some(node) = graph.nodes.get(&*owner.uid) {
            let waits = node.is_deleting && node.finalizers.iter().any(|known| known == FOREGROUND);
            if !waits {
                return Ok(true);
            }
            continue;
        }
        let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
        let Some(kind) = api::kinds::find_kind(group, version, &owner.kind) else { return Ok(true) };
        let namespace = kind.namespaced.then(|| object.namespace());
        let target = Target { resource: &kind.resource, namespace, name: &owner.name, subresource: None };
        match config.cluster.get(target).await {
            Ok(live) if *live.uid() == *owner.uid => return Ok(true),
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn reference(owner: &Owner) -> serde_json::Value {
    json!({
        "apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid,
        "controller": owner.controller, "blockOwnerDeletion": owner.block_owner_deletion,
    })
}

fn parse(object: &Object) -> (String, Node) {
    let head = object.head();
    let finalizers = if head.has_finalizers {
        object.read::<api::view::Owned>().map(|owned| owned.metadata.finalizers).unwrap_or_default()
    } else {
        Vec::new()
    };
    let node = Node {
        resource: Resource::new("", "", ""),
        key: Key::of(object),
        owners: head.owners.clone(),
        finalizers,
        is_deleting: head.is_deleting,
    };
    (object.uid().to_owned(), node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(owners: &[&str], deleting: bool, finalizers: &[&str]) -> Node {
        let owner = |uid: &&str| Owner {
            api_version: "v1".into(),
            kind: "X".into(),
            name: "x".into(),
            uid: (*uid).into(),
            controller: true,
            block_owner_deletion: true,
        };
        Node {
            resource: Resource::new("", "v1", "xs"),
            key: Key::new("a", "x"),
            owners: owners.iter().map(owner).collect(),
            finalizers: finalizers.iter().map(|one| (*one).to_owned()).collect(),
            is_deleting: deleting,
        }
    }

    #[test]
    fn what_has_no_owner_left_goes() {
        let mut graph = Graph::default();
        graph.put("a".into(), node(&[], false, &[]));
        graph.put("b".into(), node(&[], false, &[]));
        graph.put("child".into(), node(&["a", "b"], false, &[]));
        graph.take("a");
        assert!(graph.after_gone("a").is_empty(), "b is there still");
        graph.take("b");
        assert_eq!(graph.after_gone("b"), [Step::Delete("child".into())]);
    }

    #[test]
    fn an_owner_waits_for_its_dependents_or_lets_them_go() {
        let mut graph = Graph::default();
        graph.put("a".into(), node(&[], true, &[FOREGROUND]));
        graph.put("child".into(), node(&["a"], false, &[]));
        assert_eq!(graph.while_deleting("a"), [Step::Delete("child".into())]);
        graph.take("child");
        assert_eq!(graph.while_deleting("a"), [Step::Release { uid: "a".into(), finalizer: FOREGROUND }]);
        graph.put("b".into(), node(&[], true, &[ORPHAN]));
        graph.put("child".into(), node(&["b"], false, &[]));
        let orphan = Step::Orphan { uid: "child".into(), owner: "b".into() };
        assert_eq!(graph.while_deleting("b"), [orphan, Step::Release { uid: "b".into(), finalizer: ORPHAN }]);
    }
}
