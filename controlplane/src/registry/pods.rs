//! The subresources that are created below an object: a pod's binding and eviction.

use super::{Call, Deleted, Registry, Written, encoded};
use api::object::edit;
use api::time;
use api::{Object, Rejected, Tree};
use client::DeleteOptions;
use serde_json::json;
use std::sync::Arc;

const TRIES: usize = 8;

impl Registry {
    pub(super) async fn create_below(&self, call: &Call<'_>, name: &str, body: Tree) -> Result<Written, Rejected> {
        match (call.kind.kind.as_str(), name) {
            ("Pod", "binding") => self.bind(call, &body).await,
            ("Pod", "eviction") => self.evict(call, &body).await,
            (kind, name) => Err(Rejected::new(
                api::rejected::Reason::MethodNotAllowed,
                format!("{name} of a {kind} is not supported by this server"),
            )),
        }
    }

    /// Puts a pod on a node: once, and for good.
    async fn bind(&self, call: &Call<'_>, binding: &Tree) -> Result<Written, Rejected> {
        let node = edit::text(binding, &["target", "name"]).to_owned();
        if node.is_empty() {
            let cause = api::rejected::Cause::required("target.name", "");
            return Err(Rejected::invalid("", "Binding", call.name, vec![cause]));
        }
        let pod = Call { subresource: None, ..*call };
        let uid = edit::text(binding, &["metadata", "uid"]).to_owned();
        let now = time::seconds(self.clock().now());
        for _ in 0..TRIES {
            let Some(stored) = self.stored(&pod) else {
                return Err(Rejected::not_found(&call.kind.resource, call.name));
            };
            let mut tree = stored.object.tree();
            check_bindable(&pod, &stored.object, &tree, &uid)?;
            edit::set(&mut tree, &["spec", "nodeName"], node.as_str());
            let labels = edit::at(binding, &["metadata", "annotations"]).and_then(Tree::as_object);
            for (key, value) in labels.into_iter().flatten() {
                edit::set(&mut tree, &["metadata", "annotations", key], value.clone());
            }
            let condition = json!({
                "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now,
            });
            let kept: Vec<Tree> = edit::list(&tree, &["status", "conditions"]).to_vec();
            let mut conditions: Vec<Tree> =
                kept.into_iter().filter(|known| edit::text(known, &["type"]) != "PodScheduled").collect();
            conditions.push(condition);
            edit::set(&mut tree, &["status", "conditions"], conditions);
            if self.put_bound(&pod, &stored.object, tree).await? {
                let done =
                    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
                let object = Object::from_tree(&done).map_err(Rejected::internal)?;
                return Ok(Written { object: Arc::new(object), created: true, warnings: Vec::new() });
            }
        }
        Err(Rejected::modified(&call.kind.resource, call.name))
    }

    async fn put_bound(&self, call: &Call<'_>, old: &Arc<Object>, tree: Tree) -> Result<bool, Rejected> {
        use crate::store::kv::{Compare, Op, Txn};
        if call.dry_run {
            return Ok(true);
        }
        let key = super::keys::object(
            &super::keys::collection(&call.kind.resource),
            &super::keys::place(call.namespace, call.name),
        );
        let value = encoded::encode(tree, call.kind)?;
        let txn = Txn {
            compares: vec![Compare::unchanged(key.clone(), old.revision())],
            success: vec![Op::put(key, value)],
            failure: Vec::new(),
        };
        let done = self.0.kv.txn(txn).await.map_err(|error| super::failed(&error))?;
        self.0.memory.shows(done.revision, super::SHOWN_MAX).await;
        if !done.succeeded {
            self.refresh().await?;
        }
        Ok(done.succeeded)
    }

    /// A deletion that disruption budgets may forbid.
    async fn evict(&self, call: &Call<'_>, eviction: &Tree) -> Result<Written, Rejected> {
        let options = edit::at(eviction, &["deleteOptions"]);
        let grace = options.and_then(|options| edit::integer(options, &["gracePeriodSeconds"]));
        let options = DeleteOptions {
            grace_period_seconds: grace.and_then(|grace| u32::try_from(grace).ok()),
            ..DeleteOptions::default()
        };
        let pod = Call { subresource: None, ..*call };
        self.check_budgets(&pod)?;
        match self.delete(pod, options).await? {
            Deleted::Gone(_) | Deleted::Stays(_) => {}
        }
        let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        let object = Object::from_tree(&done).map_err(Rejected::internal)?;
        Ok(Written { object: Arc::new(object), created: true, warnings: Vec::new() })
    }

    fn check_budgets(&self, call: &Call<'_>) -> Result<(), Rejected> {
        let Some(pod) = self.stored(call) else { return Ok(()) };
        let shelf = self.0.memory.shelf("policy/poddisruptionbudgets");
        let prefix = format!("{}/", call.namespace.unwrap_or_default());
        for budget in shelf.range(&prefix, || 0).0 {
            let tree = budget.object.tree();
            let Some(selector) = edit::at(&tree, &["spec", "selector"]) else { continue };
            let Ok(selector) = api::object::read_tree(selector) else { continue };
            let selector = api::selector::Labels::from_view(&selector);
            let allowed = edit::integer(&tree, &["status", "disruptionsAllowed"]).unwrap_or(0);
            if selector.matches(|key| pod.object.label(key)) && allowed <= 0 {
                let why = "Cannot evict pod as it would violate the pod's disruption budget.";
                return Err(Rejected::new(api::rejected::Reason::TooManyRequests, why));
            }
        }
        Ok(())
    }
}

fn check_bindable(call: &Call<'_>, pod: &Object, tree: &Tree, uid: &str) -> Result<(), Rejected> {
    let resource = &call.kind.resource;
    if !uid.is_empty() && uid != pod.uid() {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", pod.uid());
        return Err(Rejected::conflict(resource, call.name, why));
    }
    if pod.head().is_deleting {
        return Err(Rejected::conflict(
            resource,
            call.name,
            format!("pod {} is being deleted, cannot be assigned to a host", call.name),
        ));
    }
    let bound = edit::text(tree, &["spec", "nodeName"]);
    if !bound.is_empty() {
        let why = format!("pod {} is already assigned to node {bound:?}", call.name);
        return Err(Rejected::conflict(resource, call.name, why));
    }
    Ok(())
}
