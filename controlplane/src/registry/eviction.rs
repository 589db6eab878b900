//! pods/eviction: a deletion that disruption budgets may forbid, or have to count.

use super::write::Owners;
use super::{Call, Registry, User, Written, pods};
use api::object::edit;
use api::rejected::{Cause, Reason};
use api::time;
use api::{Rejected, Resource, Tree};
use client::DeleteOptions;
use serde_json::json;

/// How long a client waits before it asks again, if the budget is only not counted yet.
const RETRY_SECONDS: u32 = 10;
/// More evicted pods than this that are still there, and the budget's controller must have gone.
const DISRUPTED_MAX: usize = 2000;
const VIOLATES: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// What budgets say about the eviction of one pod.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing protects it, or nothing that this pod still counts for.
    Free,
    /// The budget of this name has to count it first.
    Counts(String),
}

impl Registry {
    pub(super) async fn evict(&self, call: &Call<'_>, eviction: &Tree) -> Result<Written, Rejected> {
        if edit::text(eviction, &["metadata", "name"]) != call.name {
            return Err(Rejected::bad_request("name in URL does not match name in Eviction object"));
        }
        let options = edit::at(eviction, &["deleteOptions"]).cloned().unwrap_or_else(|| json!({}));
        let is_dry = !edit::list(&options, &["dryRun"]).is_empty();
        if call.dry_run != is_dry && is_dry {
            let message = "Non-matching dry-run options in request and content: [] and [All]";
            return Err(Rejected::bad_request(message));
        }
        let grace = edit::integer(&options, &["gracePeriodSeconds"]);
        let text = |path: &[&str]| Some(edit::text(&options, path).to_owned()).filter(|text| !text.is_empty());
        let mut options = DeleteOptions {
            grace_period_seconds: grace,
            uid: text(&["preconditions", "uid"]),
            revision: text(&["preconditions", "resourceVersion"]).and_then(|revision| revision.parse().ok()),
            ..DeleteOptions::default()
        };
        let pod = Call { subresource: None, ..*call };
        if self.stored(&pod).is_none() {
            self.refresh().await?;
        }
        let stored = self.stored(&pod).ok_or_else(|| Rejected::not_found(&pod.kind.resource, pod.name))?;
        if let Verdict::Counts(budget) = self.verdict(&pod, &stored.object.tree())? {
            self.count(&pod, &budget).await?;
        }
        if !call.dry_run {
            let marked = self.mark(&pod, &options).await?;
            // The version that the caller saw was the one before the mark.
            options.revision = options.revision.map(|_| marked);
        }
        self.delete(pod, options).await?;
        pods::done()
    }

    fn verdict(&self, call: &Call<'_>, pod: &Tree) -> Result<Verdict, Rejected> {
        let has_ended = matches!(edit::text(pod, &["status", "phase"]), "Succeeded" | "Failed" | "Pending");
        let labels = edit::at(pod, &["metadata", "labels"]).and_then(Tree::as_object);
        let is_going = !edit::text(pod, &["metadata", "deletionTimestamp"]).is_empty();
        let Some(labels) = labels.filter(|labels| !labels.is_empty() && !has_ended && !is_going) else {
            return Ok(Verdict::Free);
        };
        let shelf = self.0.memory.shelf("policy/poddisruptionbudgets");
        let prefix = format!("{}/", call.namespace.unwrap_or_default());
        let budgets: Vec<Tree> = shelf.range(&prefix, || 0).0.iter().map(|budget| budget.object.tree()).collect();
        let protects = |budget: &&Tree| {
            let selector = edit::at(budget, &["spec", "selector"]);
            let selector = selector.and_then(|selector| api::object::read_tree(selector).ok());
            let value = |key: &str| labels.get(key).and_then(Tree::as_str);
            selector.is_some_and(|selector| api::selector::Labels::from_view(&selector).matches(value))
        };
        let protecting: Vec<&Tree> = budgets.iter().filter(protects).collect();
        match protecting.as_slice() {
            [] => Ok(Verdict::Free),
            [budget] => Ok(verdict_of(pod, budget)),
            _ => {
                let why =
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
                Err(Rejected::new(Reason::Unknown, why))
            }
        }
    }

    /// Takes one disruption from the budget, and notes the pod in it until its controller has seen the pod go.
    async fn count(&self, pod: &Call<'_>, name: &str) -> Result<(), Rejected> {
        let kind = api::kinds::find(&Resource::new("policy", "v1", "poddisruptionbudgets"));
        let kind = kind.ok_or_else(|| Rejected::internal("no disruption budgets"))?;
        let user = User::system_admin();
        let call = Call {
            namespace: pod.namespace,
            name,
            subresource: Some("status"),
            dry_run: pod.dry_run,
            field_manager: "kube-apiserver",
            ..Call::new(&user, kind)
        };
        let now = time::seconds(self.clock().now());
        let counted = |budget: &Tree| {
            let allowed = allowed(budget)?;
            let mut budget = budget.clone();
            edit::set(&mut budget, &["status", "disruptionsAllowed"], allowed - 1);
            edit::set(&mut budget, &["status", "disruptedPods", pod.name], now.as_str());
            Ok(budget)
        };
        self.change(&call, counted, Owners::Record).await.map(|_| ())
    }

    /// Tells in the pod's status why it goes. The pod's revision from then on.
    async fn mark(&self, pod: &Call<'_>, options: &DeleteOptions) -> Result<u64, Rejected> {
        let user = User::system_admin();
        let call = Call { user: &user, field_manager: "kube-apiserver", subresource: Some("status"), ..*pod };
        let now = time::seconds(self.clock().now());
        let marked = |old: &Tree| {
            if let Some(object) = self.stored(pod) {
                super::delete::check(pod, &object.object, options)?;
            }
            let mut new = old.clone();
            let condition = json!({
                "type": "DisruptionTarget", "status": "True", "lastProbeTime": null, "lastTransitionTime": now,
                "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
            });
            pods::set_condition(&mut new, condition);
            Ok(new)
        };
        self.change(&call, marked, Owners::Record).await.map(|written| written.object.revision())
    }
}

/// A pod that is not ready does not count for a budget that has all that it needs, or that says so.
fn verdict_of(pod: &Tree, budget: &Tree) -> Verdict {
    let conditions = edit::list(pod, &["status", "conditions"]).iter();
    let mut ready = conditions.filter(|condition| edit::text(condition, &["type"]) == "Ready");
    let is_ready = ready.any(|condition| edit::text(condition, &["status"]) == "True");
    let number = |key: &str| edit::integer(budget, &["status", key]).unwrap_or(0);
    let has_all = number("desiredHealthy") > 0 && number("currentHealthy") >= number("desiredHealthy");
    let is_always_allowed = edit::text(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
    if !is_ready && (is_always_allowed || has_all) {
        return Verdict::Free;
    }
    Verdict::Counts(edit::text(budget, &["metadata", "name"]).to_owned())
}

/// How many disruptions the budget allows: at least one, or the refusal.
fn allowed(budget: &Tree) -> Result<i64, Rejected> {
    let name = edit::text(budget, &["metadata", "name"]);
    let number = |key: &str| edit::integer(budget, &["status", key]).unwrap_or(0);
    let refused = |retry: u32, why: String| {
        let mut rejected = Rejected::new(Reason::TooManyRequests, VIOLATES);
        rejected.details.retry_after_seconds = retry;
        rejected.details.causes =
            vec![Cause { reason: "DisruptionBudget".to_owned(), message: why, field: String::new() }];
        rejected
    };
    let forbidden = |why: &str| {
        let mut rejected = Rejected::forbidden(&Resource::new("policy", "v1", "poddisruptionbudget"), name, why);
        rejected.details.name = name.to_owned();
        rejected
    };
    if number("observedGeneration") < edit::integer(budget, &["metadata", "generation"]).unwrap_or(0) {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(RETRY_SECONDS, why));
    }
    let disrupted = edit::at(budget, &["status", "disruptedPods"]).and_then(Tree::as_object);
    let disrupted = disrupted.map_or(0, serde_json::Map::len);
    match number("disruptionsAllowed") {
        ..0 => Err(forbidden("pdb disruptions allowed is negative")),
        _ if disrupted > DISRUPTED_MAX => {
            Err(forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller"))
        }
        0 => {
            let (needs, has) = (number("desiredHealthy"), number("currentHealthy"));
            let why = format!("The disruption budget {name} needs {needs} healthy pods and has {has} currently");
            Err(refused(0, why))
        }
        allowed => Ok(allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(generation: i64, status: Tree) -> Tree {
        json!({"metadata": {"name": "b", "generation": generation}, "spec": {}, "status": status})
    }

    #[test]
    fn a_budget_says_how_many_may_go_and_why_not() {
        assert_eq!(allowed(&budget(1, json!({"observedGeneration": 1, "disruptionsAllowed": 2}))), Ok(2));
        let unseen = allowed(&budget(1, json!({"disruptionsAllowed": 1}))).unwrap_err();
        assert_eq!((unseen.code, unseen.details.retry_after_seconds), (429, 10));
        assert_eq!(unseen.details.causes[0].message, "The disruption budget b is still being processed by the server.");
        let none = allowed(&budget(0, json!({"desiredHealthy": 2, "currentHealthy": 1}))).unwrap_err();
        assert_eq!((none.code, &*none.message), (429, VIOLATES));
        assert_eq!(none.details.causes[0].message, "The disruption budget b needs 2 healthy pods and has 1 currently");
        assert_eq!(allowed(&budget(0, json!({"disruptionsAllowed": -1}))).unwrap_err().code, 403);
    }

    #[test]
    fn a_pod_that_is_not_ready_counts_only_where_healthy_ones_lack() {
        let pod = |ready: &str| json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}});
        let counts = Verdict::Counts("b".to_owned());
        let full = budget(0, json!({"desiredHealthy": 1, "currentHealthy": 1}));
        let short = budget(0, json!({"desiredHealthy": 2, "currentHealthy": 1}));
        assert_eq!(verdict_of(&pod("True"), &full), counts);
        assert_eq!(verdict_of(&pod("False"), &full), Verdict::Free);
        assert_eq!(verdict_of(&pod("False"), &short), counts);
        let mut always = short;
        edit::set(&mut always, &["spec", "unhealthyPodEvictionPolicy"], "AlwaysAllow");
        assert_eq!(verdict_of(&pod("False"), &always), Verdict::Free);
    }
}
