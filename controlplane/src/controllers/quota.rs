//! ResourceQuotas: what is used of them, counted anew when something goes that was charged. What comes is charged by
//! the server itself, in the transaction that writes it.

use super::{Config, MANAGER, Pace, Watched, due, kinds, settle};
use api::object::edit;
use api::quota::{self, Amounts};
use api::resource::RESOURCE_QUOTAS;
use api::view::ResourceQuota;
use api::{Object, Resource, Tree};
use client::{Error, Event, Followed, Handle, Key, ListOptions, Queue, Target, WriteOptions, follow};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// News that wait to be taken up.
const NEWS_MAX: usize = 1024;
/// How often a quota is counted although nothing is known to have changed (upstream's `ResourceQuotaSyncPeriod`).
const AGAIN: Duration = Duration::from_secs(300);

/// Pure: the status that a quota is to have, from what its objects use.
fn status(quota: &ResourceQuota, used: &Amounts) -> Tree {
    let amount = |name: &String| used.get(name).map_or_else(|| "0".to_owned(), ToString::to_string);
    let used: BTreeMap<&String, String> = quota.spec.hard.keys().map(|name| (name, amount(name))).collect();
    json!({ "hard": quota.spec.hard, "used": used })
}

/// Pure: what the objects of one resource use of a quota.
fn used(
    quota: &ResourceQuota,
    resource: &Resource,
    objects: &[std::sync::Arc<Object>],
    now: api::time::Timestamp,
) -> Amounts {
    let is_measured =
        resource.group.is_empty() && matches!(&*resource.plural, "pods" | "services" | "persistentvolumeclaims");
    let mut sum = Amounts::new();
    for object in objects {
        if is_measured {
            let tree = object.tree();
            if quota::is_in_scope(quota, resource, &tree) {
                quota::add(&mut sum, &quota::usage(resource, &tree, now));
            }
        } else if quota::is_in_scope(quota, resource, &Tree::Null) {
            quota::add(&mut sum, &quota::counted(resource));
        }
    }
    sum
}

/// The resources whose objects use what a quota limits.
fn sources(quota: &ResourceQuota, served: &[Resource]) -> Vec<Resource> {
    let names: BTreeSet<(String, String)> = quota.spec.hard.keys().filter_map(|name| quota::source(name)).collect();
    let is_named = |resource: &&Resource| names.contains(&(resource.group.to_string(), resource.plural.to_string()));
    served.iter().filter(is_named).cloned().collect()
}

struct Controller {
    config: Config,
    quotas: Watched<ResourceQuota>,
    /// Resources that are followed for what goes, each by a task.
    followed: HashSet<Resource>,
    tasks: JoinSet<()>,
    tell: mpsc::Sender<Box<str>>,
}

pub(super) async fn run(config: Config) {
    let (tell, mut told) = mpsc::channel(NEWS_MAX);
    let mut controller = Controller {
        quotas: Watched::new(&config.cluster, &RESOURCE_QUOTAS, |object| object.view().ok()),
        followed: HashSet::new(),
        tasks: JoinSet::new(),
        tell,
        config,
    };
    let mut queue: Queue<Key> = Queue::new();
    let mut pace = Pace::default();
    loop {
        tokio::select! {
            changes = controller.quotas.changed() => {
                for change in changes {
                    let hard = |quota: &ResourceQuota| (quota.spec.clone(), quota.status.hard.clone());
                    // A charge changes only what is used, and is right.
                    if change.old.as_deref().map(hard) != change.new.as_deref().map(hard) {
                        queue.add(change.key);
                    }
                }
            }
            namespace = told.recv() => {
                let Some(namespace) = namespace else { return };
                let keys: Vec<Key> = controller.quotas.cache.namespace(&namespace).map(|(key, _)| key.clone()).collect();
                keys.into_iter().for_each(|key| pace.add(&mut queue, key));
            }
            () = due(&queue) => {}
        }
        while controller.quotas.is_synced
            && let Some(key) = queue.take(Instant::now())
        {
            let outcome = controller.sync(&key).await;
            let is_there = controller.quotas.cache.value(&key).is_some();
            settle(&mut queue, &key, "resourcequota", outcome);
            if is_there {
                queue.add_at(key, Instant::now() + AGAIN);
            }
        }
    }
}

impl Controller {
    async fn sync(&mut self, key: &Key) -> Result<(), Error> {
        if self.quotas.cache.value(key).is_none() {
            return Ok(());
        }
        let cluster = self.config.cluster.clone();
        let target = Target::namespaced(&RESOURCE_QUOTAS, &key.namespace, &key.name);
        // Read before what it counts: a charge that comes between makes the write fail, and is counted next time.
        let object = cluster.get(target).await?;
        let Ok(quota) = object.read::<ResourceQuota>() else { return Ok(()) };
        let served = kinds::namespaced(&cluster).await?;
        let mut sum = Amounts::new();
        for resource in sources(&quota, &served) {
            self.follow(&resource);
            let found = cluster.list(&resource, Some(&key.namespace), ListOptions::default()).await?;
            quota::add(&mut sum, &used(&quota, &resource, &found.items, self.config.clock.now()));
        }
        let status = status(&quota, &sum);
        let mut tree = object.tree();
        if edit::at(&tree, &["status"]) == Some(&status) {
            return Ok(());
        }
        edit::set(&mut tree, &["status"], status);
        let written = cluster.update(target.subresource("status"), tree, WriteOptions::by(MANAGER)).await?;
        self.quotas.wrote(&written);
        Ok(())
    }

    fn follow(&mut self, resource: &Resource) {
        if self.followed.insert(resource.clone()) {
            self.tasks.spawn(tell(self.config.cluster.clone(), resource.clone(), self.tell.clone()));
        }
    }
}

/// Tells the namespaces in which objects of a resource went, or came to use less.
async fn tell(cluster: Handle, resource: Resource, tell: mpsc::Sender<Box<str>>) {
    let is_pods = resource.plural == "pods";
    let may_shrink = resource.group.is_empty() && matches!(&*resource.plural, "services" | "persistentvolumeclaims");
    let mut told = follow(cluster, follow::Selection::all(resource));
    while let Some(told) = told.recv().await {
        let object = match told {
            // What went while nobody looked is found when the quotas are counted again.
            Followed::Listed(_) | Followed::Event(Event::Added(_) | Event::Bookmark { .. }) => continue,
            Followed::Event(Event::Deleted(object)) => object,
            Followed::Event(Event::Modified(object)) if may_shrink => object,
            Followed::Event(Event::Modified(object)) if is_pods && has_ended(&object) => object,
            Followed::Event(Event::Modified(_)) => continue,
        };
        if tell.send(object.namespace().into()).await.is_err() {
            return;
        }
    }
}

fn has_ended(pod: &Object) -> bool {
    pod.head().is_deleting || pod.view::<api::view::Pod>().is_ok_and(|pod| pod.is_finished())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::resource::{CONFIG_MAPS, DEPLOYMENTS, PODS, SECRETS};
    use std::sync::Arc;

    fn quota(spec: Tree) -> ResourceQuota {
        serde_json::from_value(json!({ "spec": spec })).expect("a quota")
    }

    #[test]
    fn every_name_has_its_usage_if_only_none() {
        let quota = quota(json!({ "hard": { "pods": "4", "requests.cpu": "500m", "configmaps": "1" } }));
        let container = json!({ "resources": { "requests": { "cpu": "200m" } } });
        let pod = json!({ "kind": "Pod", "metadata": { "name": "p" }, "spec": { "containers": [container] } });
        let pod = Arc::new(Object::from_tree(&pod).expect("an object"));
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let sum = used(&quota, &PODS, &[pod.clone(), pod], now);
        let used = json!({ "configmaps": "0", "pods": "2", "requests.cpu": "400m" });
        assert_eq!(edit::at(&status(&quota, &sum), &["used"]), Some(&used));
    }

    #[test]
    fn what_a_quota_names_is_what_is_counted() {
        let quota = quota(json!({ "hard": { "limits.cpu": "1", "count/deployments.apps": "1", "secrets": "1" } }));
        let served = [CONFIG_MAPS, DEPLOYMENTS, PODS, SECRETS];
        assert_eq!(sources(&quota, &served), [DEPLOYMENTS, PODS, SECRETS]);
    }
}
