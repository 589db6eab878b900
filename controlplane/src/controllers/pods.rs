//! The pods of a controller that makes pods: found by their owner, made in growing batches, deleted side by side, and
//! each of it told as an event.

use super::claim::{Claim, Maker, WITHOUT_FINALIZERS, claim};
use super::{MANAGER, Watched};
use api::resource::PODS;
use api::selector::Labels;
use api::time::Timestamp;
use api::view::{Meta, Pod};
use api::{Object, Tree};
use client::{Change, DeleteOptions, Error, Handle, Happened, Key, Patch, Recorder, Target, WriteOptions};
use futures::{FutureExt, StreamExt, stream};
use serde_json::json;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Pods made or deleted in one look at most (upstream's `BurstReplicas`).
pub(super) const BURST_MAX: usize = 500;
const IN_FLIGHT_MAX: usize = 64;

pub(super) struct Pods {
    maker: &'static Maker,
    cluster: Handle,
    events: Recorder,
    watched: Watched<Pod>,
    index: Index,
}

/// The pods' keys by what is asked of them.
#[derive(Default)]
struct Index {
    by_owner: HashMap<Box<str>, BTreeSet<Key>>,
    /// Pods without a controller.
    free: BTreeSet<Key>,
    /// Uids of pods whose deletion was answered and whose event has not come yet.
    gone: HashSet<String>,
}

/// A pod, as a look at its owner sees it.
pub(super) type Found = (Key, Arc<Pod>);

// === impl Pods ===

impl Pods {
    /// `parse` is `pods::parse` for the maker.
    pub(super) fn new(
        maker: &'static Maker,
        cluster: &Handle,
        events: &Recorder,
        parse: fn(&Object) -> Option<Arc<Pod>>,
    ) -> Pods {
        Pods {
            watched: Watched::new(cluster, &PODS, parse),
            maker,
            cluster: cluster.clone(),
            events: events.clone(),
            index: Index::default(),
        }
    }

    pub(super) fn is_synced(&self) -> bool {
        self.watched.is_synced
    }

    pub(super) async fn changed(&mut self) -> Vec<Change<Pod>> {
        let changes = self.watched.changed().await;
        for change in &changes {
            self.index.put(change);
        }
        changes
    }

    fn wrote(&mut self, pod: &Arc<Object>) {
        let before = self.watched.written.len();
        self.watched.wrote(pod);
        self.watched.written.iter().skip(before).for_each(|change| self.index.put(change));
    }

    /// The pods that an owner controls; those whose end was answered are left out.
    pub(super) fn of(&self, uid: &str) -> Vec<Found> {
        let keys = self.index.by_owner.get(uid).into_iter().flatten();
        let found = keys.filter_map(|key| Some((key.clone(), self.watched.cache.value(key)?.clone())));
        found.filter(|(_, pod)| !self.index.gone.contains(&pod.metadata.uid)).collect()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Pod>> {
        self.watched.cache.value(key)
    }

    /// The pods that are an owner's by label and reference: free ones that still run are adopted, strangers let go.
    pub(super) async fn claimed(&mut self, owner: &Meta, selector: &Labels) -> Result<Vec<Found>, Error> {
        self.claimed_if(owner, selector, |pod| !pod.is_finished()).await
    }

    /// `claimed`, where free pods are adopted that the owner may have.
    pub(super) async fn claimed_if(
        &mut self,
        owner: &Meta,
        selector: &Labels,
        may_have: impl Fn(&Pod) -> bool,
    ) -> Result<Vec<Found>, Error> {
        let free: Vec<Found> = self
            .index
            .free
            .range(Key::new(&owner.namespace, "")..)
            .take_while(|key| *key.namespace == *owner.namespace)
            .filter_map(|key| Some((key.clone(), self.watched.cache.value(key)?.clone())))
            .filter(|(_, pod)| may_have(pod))
            .collect();
        let mut claimed = Vec::new();
        for (key, pod) in self.of(&owner.uid).into_iter().chain(free) {
            let target = (&key, pod.metadata.uid.as_str());
            let written = match claim(owner, selector, &pod.metadata) {
                Claim::Mine => {
                    claimed.push((key, pod));
                    continue;
                }
                Claim::Foreign => continue,
                Claim::Adopt => self.maker.adopt(&self.cluster, owner, &PODS, target).await,
                Claim::Release => self.maker.release(&self.cluster, owner, &PODS, target).await.map(Some),
            };
            match written {
                Ok(Some(written)) => self.wrote(&written),
                Ok(None) => {}
                Err(error) if error.is_not_found() || error.is_conflict() => {}
                Err(error) => return Err(error),
            }
            if let Some(pod) = self.watched.cache.value(&key).filter(|pod| is_of(pod, &owner.uid)) {
                claimed.push((key, pod.clone()));
            }
        }
        Ok(claimed)
    }

    /// Makes pods in batches of 1, 2, 4, …: a template that is refused costs one call, not hundreds. How many were
    /// made, and the first failure.
    pub(super) async fn make(&mut self, owner: &Meta, pods: Vec<Tree>) -> (usize, Option<Error>) {
        let mut made = 0;
        let mut failed = None;
        let mut rest = pods.into_iter();
        let mut size = 1;
        loop {
            let batch: Vec<Tree> = rest.by_ref().take(size).collect();
            if batch.is_empty() || failed.is_some() {
                return (made, failed);
            }
            let target = Target::namespaced(&PODS, &owner.namespace, "");
            let cluster = &self.cluster;
            let calls: Vec<_> =
                batch.into_iter().map(|pod| cluster.create(target, pod, WriteOptions::by(MANAGER))).collect();
            let results: Vec<_> = stream::iter(calls).buffer_unordered(IN_FLIGHT_MAX).collect().await;
            for result in results {
                match result {
                    Ok(pod) => {
                        made += 1;
                        self.told(owner, false, "SuccessfulCreate", format!("Created pod: {}", pod.name()));
                        self.wrote(&pod);
                    }
                    Err(error) => {
                        if !is_terminating(&error) {
                            self.told(owner, true, "FailedCreate", format!("Error creating: {error}"));
                        }
                        failed = failed.or(Some(error));
                    }
                }
            }
            size *= 2;
        }
    }

    /// Deletes pods; the first failure, if one does not go.
    pub(super) async fn unmake(&mut self, owner: &Meta, keys: &[Key]) -> Result<(), Error> {
        let mut calls = Vec::new();
        for key in keys {
            let cluster = self.cluster.clone();
            let uid = self.watched.cache.value(key).map(|pod| pod.metadata.uid.clone());
            let key = key.clone();
            let call = async move {
                let target = Target::namespaced(&PODS, &key.namespace, &key.name);
                let options = DeleteOptions { uid: uid.clone(), ..DeleteOptions::default() };
                let result = cluster.delete(target, options).await;
                (key, uid, result)
            };
            calls.push(call.boxed());
        }
        let deleted: Vec<_> = stream::iter(calls).buffer_unordered(IN_FLIGHT_MAX).collect().await;
        let mut failed = None;
        for (key, uid, result) in deleted {
            match result {
                Ok(stays) => {
                    self.told(owner, false, "SuccessfulDelete", format!("Deleted pod: {}", key.name));
                    match stays {
                        Some(pod) => self.wrote(&pod),
                        None => self.index.gone.extend(uid),
                    }
                }
                Err(error) if error.is_not_found() => self.index.gone.extend(uid),
                Err(error) => {
                    self.told(owner, true, "FailedDelete", format!("Error deleting: {error}"));
                    failed = failed.or(Some(error));
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Takes a finalizer from pods, side by side; the first failure, if one keeps it. What is gone has lost it.
    pub(super) async fn unguard(&mut self, keys: &[Key], finalizer: &str) -> Result<(), Error> {
        let mut calls = Vec::new();
        for key in keys {
            let Some(pod) = self.watched.cache.value(key) else { continue };
            let (cluster, key) = (self.cluster.clone(), key.clone());
            let patch = json!({ "metadata": { "uid": pod.metadata.uid, WITHOUT_FINALIZERS: [finalizer] } });
            let call = async move {
                let target = Target::namespaced(&PODS, &key.namespace, &key.name);
                cluster.patch(target, Patch::Strategic(patch), WriteOptions::by(MANAGER)).await
            };
            calls.push(call.boxed());
        }
        let patched: Vec<_> = stream::iter(calls).buffer_unordered(IN_FLIGHT_MAX).collect().await;
        let mut failed = None;
        for result in patched {
            match result {
                Ok(pod) => self.wrote(&pod),
                Err(error) if error.is_not_found() => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Makes one pod, and tells nobody.
    pub(super) async fn make_one(&mut self, owner: &Meta, pod: Tree) -> Result<(), Error> {
        let target = Target::namespaced(&PODS, &owner.namespace, "");
        let made = self.cluster.create(target, pod, WriteOptions::by(MANAGER)).await?;
        self.wrote(&made);
        Ok(())
    }

    /// Deletes one pod, and tells nobody.
    pub(super) async fn unmake_one(&mut self, key: &Key) -> Result<(), Error> {
        let uid = self.watched.cache.value(key).map(|pod| pod.metadata.uid.clone());
        let target = Target::namespaced(&PODS, &key.namespace, &key.name);
        let options = DeleteOptions { uid: uid.clone(), ..DeleteOptions::default() };
        match self.cluster.delete(target, options).await {
            Ok(Some(pod)) => self.wrote(&pod),
            Ok(None) => self.index.gone.extend(uid),
            Err(error) if error.is_not_found() => self.index.gone.extend(uid),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn told(&self, owner: &Meta, is_warning: bool, reason: &'static str, message: String) {
        let about = self.maker.about(owner);
        self.events.tell(Happened { about, component: self.maker.component, is_warning, reason, message });
    }
}

// === impl Index ===

impl Index {
    fn put(&mut self, change: &Change<Pod>) {
        if let Some(old) = &change.old {
            match old.metadata.controller() {
                Some(owner) => {
                    if let Some(keys) = self.by_owner.get_mut(&owner.uid) {
                        keys.remove(&change.key);
                        if keys.is_empty() {
                            self.by_owner.remove(&owner.uid);
                        }
                    }
                }
                None => {
                    self.free.remove(&change.key);
                }
            }
            if change.new.as_ref().is_none_or(|new| new.metadata.uid != old.metadata.uid) {
                self.gone.remove(&old.metadata.uid);
            }
        }
        if let Some(new) = &change.new {
            match new.metadata.controller() {
                Some(owner) => {
                    self.by_owner.entry(owner.uid.clone()).or_default().insert(change.key.clone());
                }
                None => {
                    self.free.insert(change.key.clone());
                }
            }
        }
    }
}

/// Leaves out the pods of other kinds of owners, so that each controller keeps only its own.
pub(super) fn parse(object: &Object, maker: &Maker) -> Option<Arc<Pod>> {
    let is_ours = object.head().controller().is_none_or(|owner| maker.is(owner));
    is_ours.then(|| object.view().ok()).flatten()
}

fn is_of(pod: &Pod, uid: &str) -> bool {
    pod.metadata.controller().is_some_and(|owner| *owner.uid == *uid)
}

/// True if a namespace that is being deleted refused a write: nothing to try again, nothing to tell.
pub(super) fn is_terminating(error: &Error) -> bool {
    error
        .rejected()
        .is_some_and(|rejected| rejected.details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
}

/// Since when the pod is ready, if it is.
pub(super) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = pod.status.condition("Ready")?;
    (ready.status == "True").then(|| ready.last_transition_time.unwrap_or(Timestamp::UNIX_EPOCH))
}

/// A pod that counts: it may still run, and nobody deletes it.
pub(super) fn is_active(pod: &Pod) -> bool {
    !pod.is_deleting() && !pod.is_finished()
}
