//! The controllers: each makes the cluster be what one kind of object asks for.
//!
//! They see the API through `client` alone, as any program outside could. A controller is a pure `plan` in its file,
//! and a loop that follows what it watches, keeps the keys to look at, and performs what was planned.

mod account;
mod certificate;
mod claim;
mod cluster_role;
mod cron_job;
mod daemon_set;
mod deployment;
mod disruption;
mod endpoints;
mod garbage;
mod hash;
mod history;
mod job;
mod kinds;
mod namespace;
mod node;
mod pods;
mod protection;
mod quota;
mod rank;
mod replica_set;
mod stateful_set;
mod ttl;
mod wall;

use api::time::{SignedDuration, Timestamp};
use api::{Object, Resource, Tree};
use client::{
    Cache, Change, Clock, Error, Followed, Handle, Key, Patch, Queue, Recorder, Target, WriteOptions, follow,
};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Signs a PEM certificate request for a signer, on behalf of a user; the PEM certificate, or why not.
pub type Sign = Arc<dyn Fn(&str, &str, &str) -> Result<String, String> + Send + Sync>;

/// What the controllers need.
#[derive(Clone)]
pub struct Config {
    pub cluster: Handle,
    pub clock: Clock,
    /// `None`: certificate requests are left to others.
    pub sign: Option<Sign>,
    /// The cluster's CA, told to every namespace.
    pub ca_pem: String,
    /// How long a node may be silent.
    pub node_grace: Duration,
    /// Where nodes get their pods' addresses from.
    pub cluster_cidr: String,
}

/// Who is named in managed fields: tools that leave fields to their controllers (Argo CD's `ignoreDifferences`, for
/// example) know upstream's name.
const MANAGER: &str = "kube-controller-manager";
/// Changes that are taken up together at most.
const BATCH_MAX: usize = 1024;
/// A sleep without an end of its own.
const LONG: Duration = Duration::from_secs(3600);

/// Runs all controllers until `stop`.
pub async fn run(config: Config, stop: CancellationToken) {
    let events = Recorder::start(config.cluster.clone(), config.clock.clone(), "");
    let mut all = JoinSet::new();
    all.spawn(replica_set::run(config.clone(), events.clone()));
    all.spawn(replica_set::run_old(config.clone(), events.clone()));
    all.spawn(deployment::run(config.clone(), events.clone()));
    all.spawn(endpoints::run(config.clone()));
    all.spawn(namespace::run(config.clone()));
    all.spawn(garbage::run(config.clone()));
    all.spawn(account::run(config.clone()));
    all.spawn(protection::run(config.clone()));
    all.spawn(cluster_role::run(config.clone()));
    all.spawn(node::run(config.clone(), events.clone()));
    all.spawn(job::run(config.clone(), events.clone()));
    all.spawn(cron_job::run(config.clone(), events.clone()));
    all.spawn(ttl::run(config.clone()));
    all.spawn(stateful_set::run(config.clone(), events.clone()));
    all.spawn(daemon_set::run(config.clone(), events.clone()));
    all.spawn(disruption::run(config.clone(), events));
    all.spawn(quota::run(config.clone()));
    if config.sign.is_some() {
        all.spawn(certificate::run(config));
    }
    tokio::select! {
        () = stop.cancelled() => {}
        _ = all.join_next() => tracing::error!("a controller ended"),
    }
    all.abort_all();
}

/// A followed resource: its cache, and what comes in.
pub(crate) struct Watched<V> {
    pub(crate) cache: Cache<V>,
    told: mpsc::Receiver<Followed>,
    /// What own writes brought; their events come later and are known by then.
    written: Vec<Change<V>>,
    /// True once the first list is in: before that nothing may be concluded from absence.
    pub(crate) is_synced: bool,
}

impl<V> Watched<V> {
    pub(crate) fn new(cluster: &Handle, resource: &Resource, parse: fn(&Object) -> Option<Arc<V>>) -> Watched<V> {
        let told = follow(cluster.clone(), follow::Selection::all(resource.clone()));
        Watched { cache: Cache::new(parse), told, written: Vec::new(), is_synced: false }
    }

    /// Waits for news; takes all that is there.
    pub(crate) async fn changed(&mut self) -> Vec<Change<V>> {
        if !self.written.is_empty() {
            return std::mem::take(&mut self.written);
        }
        let Some(first) = self.told.recv().await else { return std::future::pending().await };
        let mut changes = self.take(&first);
        for _ in 0..BATCH_MAX {
            let Ok(more) = self.told.try_recv() else { break };
            changes.extend(self.take(&more));
        }
        changes
    }

    fn take(&mut self, told: &Followed) -> Vec<Change<V>> {
        match told {
            Followed::Listed(items) => {
                self.is_synced = true;
                self.cache.replace(items)
            }
            Followed::Event(event) => self.cache.apply(event).into_iter().collect(),
        }
    }

    /// Takes the result of an own write, so that the next plan knows of it. It is a change like any other: a patch
    /// answers with what others wrote meanwhile, whose own events are old news when they come.
    pub(crate) fn wrote(&mut self, object: &Arc<Object>) {
        self.written.extend(self.cache.apply(&client::Event::Modified(Arc::clone(object))));
    }
}

/// Lets a burst of changes of one key cost one look: the first is taken up at once, the next ones together after a
/// pause (as upstream's `endpointUpdatesBatchPeriod`).
#[derive(Default)]
struct Pace(std::collections::HashMap<Key, Instant>);

impl Pace {
    const PAUSE: Duration = Duration::from_millis(50);
    /// Keys that are remembered; older ones have had their pause long since.
    const KEYS_MAX: usize = 1024;

    fn add(&mut self, queue: &mut Queue<Key>, key: Key) {
        let now = Instant::now();
        if self.0.len() > Pace::KEYS_MAX {
            self.0.retain(|_, next| *next > now);
        }
        let next = self.0.get(&key).copied().filter(|next| *next > now);
        match next {
            Some(next) => queue.add_at(key, next),
            None => {
                self.0.insert(key.clone(), now + Pace::PAUSE);
                queue.add(key);
            }
        }
    }
}

/// Sleeps until the queue's next key is due.
fn due(queue: &Queue<Key>) -> tokio::time::Sleep {
    tokio::time::sleep_until(queue.next_at().unwrap_or_else(|| Instant::now() + LONG))
}

/// After a try: done, or again later.
fn settle(queue: &mut Queue<Key>, key: &Key, what: &'static str, outcome: Result<(), Error>) {
    match outcome {
        Ok(()) => queue.done(key),
        // A namespace that goes takes what is looked at with it.
        Err(error) if error.is_not_found() || pods::is_terminating(&error) => queue.done(key),
        Err(error) => {
            if error.is_conflict() {
                tracing::debug!(%key, controller = what, %error, "will be tried again");
            } else {
                tracing::warn!(%key, controller = what, %error, "will be tried again");
            }
            queue.failed(key, Instant::now());
        }
    }
}

/// Puts a part of `status` in place.
pub(crate) async fn patch_status(
    cluster: &Handle,
    resource: &Resource,
    key: &Key,
    status: Tree,
) -> Result<Arc<Object>, Error> {
    let target = Target { resource, namespace: key.namespace(), name: &key.name, subresource: Some("status") };
    cluster.patch(target, Patch::Merge(json!({ "status": status })), WriteOptions::by(MANAGER)).await
}

/// As `patch_status`, of an object that nobody else has changed since: a count that was made from an older one must not
/// stand.
async fn replace_status(
    cluster: &Handle,
    resource: &Resource,
    meta: &api::view::Meta,
    status: Tree,
) -> Result<Arc<Object>, Error> {
    let target = Target::namespaced(resource, &meta.namespace, &meta.name).subresource("status");
    let known = json!({ "uid": meta.uid, "resourceVersion": meta.resource_version });
    let patch = json!({ "metadata": known, "status": status });
    cluster.patch(target, Patch::Merge(patch), WriteOptions::by(MANAGER)).await
}

pub(crate) async fn patch(cluster: &Handle, resource: &Resource, key: &Key, patch: Tree) -> Result<Arc<Object>, Error> {
    let target = Target { resource, namespace: key.namespace(), name: &key.name, subresource: None };
    cluster.patch(target, Patch::Merge(patch), WriteOptions::by(MANAGER)).await
}

/// The owners of one kind that an object had before and after a change.
fn owners<V>(
    change: &Change<V>,
    controller: impl Fn(&V) -> Option<&api::object::Owner>,
    maker: &claim::Maker,
) -> Vec<Key> {
    let versions = [&change.old, &change.new].into_iter().flatten();
    let owners = versions.filter_map(|one| controller(one)).filter(|owner| maker.is(owner));
    let mut keys: Vec<Key> = owners.map(|owner| Key::new(&change.key.namespace, &owner.name)).collect();
    keys.dedup();
    keys
}

/// How soon the next of these pods becomes available by having been ready long enough.
fn available_in(min_ready_seconds: i64, pods: &[pods::Found], now: Timestamp) -> Option<SignedDuration> {
    let least = SignedDuration::from_secs(min_ready_seconds);
    let ready = pods.iter().filter(|(_, pod)| pods::is_active(pod)).filter_map(|(_, pod)| pods::ready_since(pod));
    ready.map(|since| least - now.duration_since(since)).filter(SignedDuration::is_positive).min()
}

/// A number, or a percentage of the total.
fn amount(value: &Tree, total: i32, rounds_up: bool) -> i32 {
    let Tree::String(text) = value else {
        return value.as_i64().and_then(|number| i32::try_from(number).ok()).unwrap_or(0);
    };
    let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
    let hundredths = i64::from(total) * percent;
    let whole = if rounds_up { (hundredths + 99) / 100 } else { hundredths / 100 };
    i32::try_from(whole).unwrap_or(i32::MAX)
}

/// A number that is left out where it is 0, as Go's `omitempty` does.
fn or_null(number: i32) -> Tree {
    if number == 0 { Tree::Null } else { number.into() }
}

/// The entry of `ownerReferences` for what a controller makes.
fn owner(version: &str, kind: &str, name: &str, uid: &str) -> Tree {
    json!({
        "apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true, "blockOwnerDeletion": true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn set(revision: u64, replicas: u32) -> Arc<Object> {
        let tree = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "spec": {"replicas": replicas},
            "metadata": {"name": "a", "namespace": "default", "uid": "1", "resourceVersion": revision.to_string()}});
        Arc::new(Object::from_tree(&tree).expect("an object"))
    }

    #[test]
    fn what_others_wrote_is_not_lost_in_the_answer_to_an_own_write() {
        let (tell, told) = mpsc::channel(8);
        let parse = |object: &Object| object.view::<api::view::ReplicaSet>().ok();
        let mut sets = Watched { cache: Cache::new(parse), told, written: Vec::new(), is_synced: true };
        let replicas = |changes: Vec<Change<api::view::ReplicaSet>>| {
            changes.iter().map(|change| change.new.as_ref().and_then(|set| set.spec.replicas)).collect::<Vec<_>>()
        };
        tell.try_send(Followed::Event(client::Event::Added(set(1, 3)))).expect("room");
        assert_eq!(sets.changed().now_or_never().map(replicas), Some(vec![Some(3)]));
        sets.wrote(&set(3, 5));
        tell.try_send(Followed::Event(client::Event::Modified(set(2, 5)))).expect("room");
        tell.try_send(Followed::Event(client::Event::Modified(set(3, 5)))).expect("room");
        assert_eq!(sets.changed().now_or_never().map(replicas), Some(vec![Some(5)]));
        assert_eq!(sets.changed().now_or_never().map(replicas), Some(vec![]));
    }
}
