//! The garbage collector: what an object owned goes with it, or stays behind, as its deletion said.
//!
//! A key in the queue is a uid; what is to be done about it follows from the graph alone, so that a step that failed
//! is thought through anew when it is tried again.

mod graph;

use super::{Config, LONG, patch};
use api::object::Owner;
use api::resource::CUSTOM_RESOURCE_DEFINITIONS;
use api::{Kind, Object, Resource};
use client::{Cache, Change, DeleteOptions, Error, Followed, Key, Queue, Target, follow};
use futures::StreamExt;
use graph::{FOREGROUND, Graph, Node, Step};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// News that wait to be taken up, and how many are taken up together.
const NEWS_MAX: usize = 4096;
const BATCH_MAX: usize = 1024;
/// Steps that are under way at one time.
const IN_FLIGHT_MAX: usize = 32;
/// Kinds that own nothing, are owned by nothing that matters, and change all the time.
const LEFT_OUT: &[&str] = &["events", "leases"];

struct News {
    resource: Resource,
    told: Followed,
}

struct Collector {
    config: Config,
    graph: Graph,
    caches: HashMap<Resource, Cache<(String, Node)>>,
    /// What is followed, each by a task that brings its news.
    followed: HashMap<Resource, AbortHandle>,
    /// Kinds whose first list has not come: before that nothing may be concluded from absence.
    waiting: HashSet<Resource>,
    /// The kinds that are served besides the built-in ones.
    custom: Vec<Arc<Kind>>,
    /// The definitions changed since `custom` was read.
    is_outdated: bool,
    news: mpsc::Sender<News>,
    queue: Queue<String>,
}

pub(super) async fn run(config: Config) {
    let (tx, mut news) = mpsc::channel::<News>(NEWS_MAX);
    let kinds = api::kinds::builtin().iter().filter(|kind| {
        let is_stored = kind.has_verb("watch") && kind.has_verb("delete");
        is_stored && !LEFT_OUT.contains(&&*kind.resource.plural)
    });
    let mut collector = Collector {
        config,
        graph: Graph::default(),
        caches: HashMap::new(),
        followed: HashMap::new(),
        waiting: HashSet::new(),
        custom: Vec::new(),
        is_outdated: false,
        news: tx,
        queue: Queue::new(),
    };
    kinds.for_each(|kind| collector.follow(&kind.resource));
    loop {
        let next = collector.queue.next_at().unwrap_or_else(|| Instant::now() + LONG);
        tokio::select! {
            told = news.recv() => {
                let Some(told) = told else { return };
                collector.take(&told);
                for _ in 0..BATCH_MAX {
                    let Ok(told) = news.try_recv() else { break };
                    collector.take(&told);
                }
            }
            () = tokio::time::sleep_until(next) => {}
        }
        if collector.is_outdated {
            collector.learn().await;
        }
        if collector.waiting.is_empty() {
            collector.collect().await;
        }
    }
}

// === impl Collector ===

impl Collector {
    fn follow(&mut self, resource: &Resource) {
        let mut told = follow(self.config.cluster.clone(), follow::Selection::all(resource.clone()));
        let (news, own) = (self.news.clone(), resource.clone());
        let task = tokio::spawn(async move {
            while let Some(told) = told.recv().await {
                if news.send(News { resource: own.clone(), told }).await.is_err() {
                    return;
                }
            }
        });
        self.waiting.insert(resource.clone());
        self.followed.insert(resource.clone(), task.abort_handle());
    }

    /// Follows the kinds that are defined now, and no others.
    async fn learn(&mut self) {
        match super::kinds::custom(&self.config.cluster).await {
            Ok(custom) => self.custom = custom,
            Err(error) => return tracing::warn!(%error, "the definitions cannot be read"),
        }
        self.is_outdated = false;
        let wanted: HashSet<Resource> =
            super::kinds::collections(&self.custom).map(|kind| kind.resource.clone()).collect();
        let is_gone = |resource: &&Resource| api::kinds::find(resource).is_none() && !wanted.contains(resource);
        let gone: Vec<Resource> = self.followed.keys().filter(is_gone).cloned().collect();
        for resource in gone {
            if let Some(task) = self.followed.remove(&resource) {
                task.abort();
            }
            self.take(&News { resource: resource.clone(), told: Followed::Listed(Vec::new()) });
            self.caches.remove(&resource);
        }
        for resource in
            wanted.iter().filter(|resource| !self.followed.contains_key(resource)).cloned().collect::<Vec<_>>()
        {
            self.follow(&resource);
        }
    }

    fn take(&mut self, News { resource, told }: &News) {
        self.is_outdated |= *resource == CUSTOM_RESOURCE_DEFINITIONS;
        let cache =
            self.caches.entry(resource.clone()).or_insert_with(|| Cache::new(|object| Some(Arc::new(parse(object)))));
        let changes = match told {
            Followed::Listed(items) => {
                self.waiting.remove(resource);
                cache.replace(items)
            }
            Followed::Event(event) => cache.apply(event).into_iter().collect(),
        };
        for change in changes {
            self.changed(resource, change);
        }
    }

    fn changed(&mut self, resource: &Resource, Change { old, new, .. }: Change<(String, Node)>) {
        let replaced = old.filter(|old| new.as_ref().is_none_or(|new| new.0 != old.0));
        if let Some(old) = replaced {
            self.touch(&old.0);
            self.graph.take(&old.0);
        }
        if let Some(new) = new {
            let (uid, mut node) = (*new).clone();
            node.resource = resource.clone();
            // The owners that it had before may have waited for it.
            self.touch(&uid);
            self.graph.put(uid.clone(), node);
            self.touch(&uid);
        }
    }

    /// An object, its owners and its dependents have to be looked at.
    fn touch(&mut self, uid: &str) {
        for near in self.graph.near(uid) {
            self.queue.add(near);
        }
    }

    /// Works on all that is due, some at a time; what fails comes again.
    async fn collect(&mut self) {
        loop {
            let keys: Vec<String> = std::iter::from_fn(|| self.queue.take(Instant::now())).take(BATCH_MAX).collect();
            if keys.is_empty() {
                return;
            }
            let (config, graph, custom) = (&self.config, &self.graph, &self.custom);
            let work = futures::stream::iter(keys).map(|uid| async move {
                let outcome = match graph.step(&uid) {
                    Some(step) => perform(config, graph, custom, &uid, &step).await,
                    None => Ok(()),
                };
                (uid, outcome)
            });
            let done: Vec<_> = work.buffer_unordered(IN_FLIGHT_MAX).collect().await;
            for (uid, outcome) in done {
                match outcome {
                    Ok(()) => self.queue.done(&uid),
                    Err(error) if error.is_not_found() => self.queue.done(&uid),
                    Err(error) => {
                        tracing::debug!(uid, %error, "garbage stays for now");
                        self.queue.failed(&uid, Instant::now());
                    }
                }
            }
        }
    }
}

async fn perform(config: &Config, graph: &Graph, custom: &[Arc<Kind>], uid: &str, step: &Step) -> Result<(), Error> {
    let Some(node) = graph.get(uid) else { return Ok(()) };
    match step {
        Step::Delete(propagation) => {
            let target = node.target();
            let live = config.cluster.get(target).await?;
            // An owner that another watch has not told of yet keeps it.
            if *live.uid() != *uid || lives(config, graph, custom, &live).await? {
                return Ok(());
            }
            let options = DeleteOptions {
                uid: Some(uid.to_owned()),
                propagation: Some(*propagation),
                ..DeleteOptions::default()
            };
            config.cluster.delete(target, options).await.map(|_| ())
        }
        Step::Disown(owners) => disown(config, node, owners).await,
        Step::Orphan(dependents) => {
            let owners = [uid.to_owned()];
            for dependent in dependents.iter().filter_map(|uid| graph.get(uid)) {
                match disown(config, dependent, &owners).await {
                    Err(error) if !error.is_not_found() => return Err(error),
                    _ => {}
                }
            }
            release(config, node, graph::ORPHAN).await
        }
        Step::Release => release(config, node, FOREGROUND).await,
    }
}

/// Takes owners out of an object's references, as it is now.
async fn disown(config: &Config, node: &Node, owners: &[String]) -> Result<(), Error> {
    let live = config.cluster.get(node.target()).await?;
    let kept = live.head().owners.iter().filter(|one| !owners.iter().any(|owner| **owner == *one.uid));
    let kept: Vec<_> = kept.map(reference).collect();
    let tree = json!({ "metadata": { "resourceVersion": live.revision().to_string(), "ownerReferences": kept } });
    patch(&config.cluster, &node.resource, &node.key, tree).await.map(|_| ())
}

async fn release(config: &Config, node: &Node, finalizer: &str) -> Result<(), Error> {
    let live = config.cluster.get(node.target()).await?;
    let owned: api::view::Owned = live.read().unwrap_or_default();
    let kept: Vec<&String> = owned.metadata.finalizers.iter().filter(|known| *known != finalizer).collect();
    let tree = json!({ "metadata": { "resourceVersion": live.revision().to_string(), "finalizers": kept } });
    patch(&config.cluster, &node.resource, &node.key, tree).await.map(|_| ())
}

/// Whether one of the owners lives, other than by waiting for this object's end.
async fn lives(config: &Config, graph: &Graph, custom: &[Arc<Kind>], object: &Object) -> Result<bool, Error> {
    for owner in &object.head().owners {
        if let Some(node) = graph.get(&owner.uid) {
            if !node.waits() {
                return Ok(true);
            }
            continue;
        }
        let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
        let is_owner = |kind: &&Arc<Kind>| kind.kind == *owner.kind && kind.api_version() == *owner.api_version;
        let kind = api::kinds::find_kind(group, version, &owner.kind).or_else(|| custom.iter().find(is_owner));
        let Some(kind) = kind else { return Ok(true) };
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
