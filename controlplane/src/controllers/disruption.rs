//! PodDisruptionBudgets: how many pods there are, have to be, and may go (upstream's `disruption.go`, 1.34).

mod plan;

use super::{Config, Pace, Watched, due, patch_status, settle};
use api::resource::{DEPLOYMENTS, POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS};
use api::selector::Labels;
use api::time;
use api::view::{DisruptionBudget, DisruptionBudgetStatus, Pod};
use api::{Object, Tree, object::Owner, object::edit};
use client::{Error, Happened, Key, Queue, Recorder};
use plan::Scaled;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;

const COMPONENT: &str = "controllermanager";

struct Controller {
    config: Config,
    budgets: Watched<DisruptionBudget>,
    pods: Watched<Pod>,
    /// The kinds that say how many pods there are to be, by kind.
    scaled: [(&'static str, Watched<Scaled>); 4],
    events: Recorder,
}

fn scaled(object: &Object) -> Option<Arc<Scaled>> {
    let replicas = edit::integer(&object.tree(), &["spec", "replicas"]).unwrap_or(1);
    let owner = object.head().controller().cloned();
    Some(Arc::new(Scaled {
        uid: object.uid().to_owned(),
        replicas: i32::try_from(replicas).unwrap_or(i32::MAX),
        owner,
    }))
}

pub(super) async fn run(config: Config, events: Recorder) {
    let cluster = &config.cluster;
    let mut controller = Controller {
        budgets: Watched::new(cluster, &POD_DISRUPTION_BUDGETS, |object| object.view().ok()),
        pods: Watched::new(cluster, &PODS, |object| object.view().ok()),
        scaled: [
            ("ReplicaSet", Watched::new(cluster, &REPLICA_SETS, scaled)),
            ("Deployment", Watched::new(cluster, &DEPLOYMENTS, scaled)),
            ("StatefulSet", Watched::new(cluster, &STATEFUL_SETS, scaled)),
            ("ReplicationController", Watched::new(cluster, &REPLICATION_CONTROLLERS, scaled)),
        ],
        events,
        config,
    };
    let mut queue: Queue<Key> = Queue::new();
    let mut pace = Pace::default();
    loop {
        let [(_, sets), (_, deployments), (_, stateful), (_, replication)] = &mut controller.scaled;
        let namespaces: Vec<Box<str>> = tokio::select! {
            changes = controller.budgets.changed() => {
                changes.into_iter().for_each(|change| queue.add(change.key));
                Vec::new()
            }
            changes = controller.pods.changed() => {
                for change in changes {
                    let pods: Vec<&Pod> = [&change.old, &change.new].into_iter().flatten().map(|pod| &**pod).collect();
                    let all = controller.budgets.cache.namespace(&change.key.namespace);
                    let meant = all.filter(|(_, entry)| pods.iter().any(|pod| plan::selects(&entry.value, pod)));
                    meant.for_each(|(key, _)| pace.add(&mut queue, key.clone()));
                }
                Vec::new()
            }
            changes = sets.changed() => changes.into_iter().map(|change| change.key.namespace).collect(),
            changes = deployments.changed() => changes.into_iter().map(|change| change.key.namespace).collect(),
            changes = stateful.changed() => changes.into_iter().map(|change| change.key.namespace).collect(),
            changes = replication.changed() => changes.into_iter().map(|change| change.key.namespace).collect(),
            () = due(&queue) => Vec::new(),
        };
        for namespace in namespaces {
            let meant = controller.budgets.cache.namespace(&namespace);
            meant.for_each(|(key, _)| pace.add(&mut queue, key.clone()));
        }
        let knows_scales = controller.scaled.iter().all(|(_, watched)| watched.is_synced);
        if !(controller.budgets.is_synced && controller.pods.is_synced && knows_scales) {
            continue;
        }
        while let Some(key) = queue.take(Instant::now()) {
            let outcome = controller.sync(&key, &mut queue).await;
            settle(&mut queue, &key, "disruption", outcome);
        }
    }
}

impl Controller {
    async fn sync(&mut self, key: &Key, queue: &mut Queue<Key>) -> Result<(), Error> {
        let Some(budget) = self.budgets.cache.value(key).cloned() else { return Ok(()) };
        let all = self.pods.cache.namespace(&key.namespace).map(|(_, entry)| &*entry.value);
        let pods: Vec<&Pod> = all.filter(|pod| plan::selects(&budget, pod)).collect();
        let now = self.config.clock.now();
        let mut scales: HashMap<&str, Option<Scaled>> = HashMap::new();
        for owner in pods.iter().filter_map(|pod| pod.metadata.controller()) {
            scales.entry(&owner.uid).or_insert_with(|| self.scale(&key.namespace, owner));
        }
        let status = match plan::status(&budget, &pods, &scales, now) {
            Ok(status) => status,
            Err(why) => {
                self.told(&budget, why.clone());
                plan::unknown(&budget, why, now)
            }
        };
        if pods.is_empty() {
            self.events.tell(Happened {
                about: client::About::of("policy/v1", "PodDisruptionBudget", &budget.metadata),
                component: COMPONENT,
                is_warning: false,
                reason: "NoPods",
                message: "No matching pods found".to_owned(),
            });
        }
        if let Some(again) = plan::again_in(&status, now) {
            queue.add_at(key.clone(), Instant::now() + again.unsigned_abs());
        }
        if status != budget.status {
            let tree = shown(&status, &budget.status);
            let written = patch_status(&self.config.cluster, &POD_DISRUPTION_BUDGETS, key, tree).await?;
            self.budgets.wrote(&written);
        }
        Ok(())
    }

    /// How many pods a controller is to have; a ReplicaSet of a Deployment counts as its Deployment.
    fn scale(&self, namespace: &str, owner: &Owner) -> Option<Scaled> {
        let find = |owner: &Owner| {
            let (_, watched) = self.scaled.iter().find(|(kind, _)| *kind == &*owner.kind)?;
            let found = watched.cache.value(&Key::new(namespace, &owner.name))?;
            (*found.uid == *owner.uid).then(|| found.clone())
        };
        let first = find(owner)?;
        let above = first.owner.as_ref().filter(|_| &*owner.kind == "ReplicaSet").and_then(find);
        Some((*above.unwrap_or(first)).clone())
    }

    fn told(&self, budget: &DisruptionBudget, message: String) {
        let about = client::About::of("policy/v1", "PodDisruptionBudget", &budget.metadata);
        let reason = "CalculateExpectedPodCountFailed";
        self.events.tell(Happened { about, component: COMPONENT, is_warning: true, reason, message });
    }
}

/// The status as it is written; pods that are no longer awaited are taken out by name.
fn shown(status: &DisruptionBudgetStatus, before: &DisruptionBudgetStatus) -> Tree {
    let gone = before.disrupted_pods.keys().map(|name| (name.clone(), Tree::Null));
    let awaited = status.disrupted_pods.iter().map(|(name, since)| (name.clone(), time::seconds(*since).into()));
    let disrupted: serde_json::Map<String, Tree> = gone.chain(awaited).collect();
    let conditions: Vec<Tree> = status
        .conditions
        .iter()
        .map(|one| {
            json!({
                "type": one.kind, "status": one.status, "reason": one.reason, "message": one.message,
                "observedGeneration": status.observed_generation,
                "lastTransitionTime": one.last_transition_time.map(time::seconds),
            })
        })
        .collect();
    json!({
        "observedGeneration": status.observed_generation,
        "disruptedPods": if status.disrupted_pods.is_empty() { Tree::Null } else { disrupted.into() },
        "disruptionsAllowed": status.disruptions_allowed,
        "currentHealthy": status.current_healthy,
        "desiredHealthy": status.desired_healthy,
        "expectedPods": status.expected_pods,
        "conditions": conditions,
    })
}

/// The selector of a budget; `None` selects nothing.
fn selector(budget: &DisruptionBudget) -> Option<Labels> {
    budget.spec.selector.as_ref().map(Labels::from_view)
}
