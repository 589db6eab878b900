//! The subresources that are created below an object, and a pod's binding among them.

use super::{Call, Registry, Written, encoded};
use api::kinds::Kind;
use api::object::edit;
use api::rejected::{Cause, Reason};
use api::time;
use api::{Object, Rejected, Resource, Tree};
use serde_json::json;
use std::sync::Arc;

const TRIES: usize = 8;

impl Registry {
    pub(super) async fn create_below(&self, call: &Call<'_>, name: &str, body: Tree) -> Result<Written, Rejected> {
        match (call.kind.kind.as_str(), name) {
            ("Pod", "binding") => self.bind(call, &body).await,
            ("Pod", "eviction") => self.evict(call, &body).await,
            (kind, name) => Err(Rejected::new(
                Reason::MethodNotAllowed,
                format!("{name} of a {kind} is not supported by this server"),
            )),
        }
    }

    /// A binding that is posted to `bindings`: the same as one posted below the pod that it names.
    pub(super) async fn create_binding(&self, call: &Call<'_>, binding: &Tree) -> Result<Written, Rejected> {
        let pods = api::kinds::find(&api::resource::PODS).ok_or_else(|| Rejected::internal("no pods"))?;
        let name = edit::text(binding, &["metadata", "name"]);
        if name.is_empty() {
            return Err(Rejected::bad_request("name is required"));
        }
        self.bind(&Call { kind: pods, name, subresource: Some("binding"), ..*call }, binding).await
    }

    /// Puts a pod on a node: once, and for good.
    async fn bind(&self, call: &Call<'_>, binding: &Tree) -> Result<Written, Rejected> {
        if edit::text(binding, &["metadata", "name"]) != call.name {
            return Err(Rejected::bad_request("name in URL does not match name in Binding object"));
        }
        let causes = wrong_target(binding);
        if !causes.is_empty() {
            return Err(Rejected::invalid("", "Binding", call.name, causes));
        }
        let pod = Call { subresource: None, ..*call };
        let now = time::seconds(self.clock().now());
        for _ in 0..TRIES {
            if self.stored(&pod).is_none() {
                self.refresh().await?;
            }
            let stored = self.stored(&pod).ok_or_else(|| Rejected::not_found(&call.kind.resource, call.name))?;
            let mut tree = stored.object.tree();
            check_bindable(&pod, &stored.object, &tree, binding)?;
            edit::set(&mut tree, &["spec", "nodeName"], edit::text(binding, &["target", "name"]));
            let annotations = edit::at(binding, &["metadata", "annotations"]).and_then(Tree::as_object);
            for (key, value) in annotations.into_iter().flatten() {
                edit::set(&mut tree, &["metadata", "annotations", key], value.clone());
            }
            let condition = json!({
                "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now,
            });
            set_condition(&mut tree, condition);
            if self.put_bound(&pod, &stored.object, tree).await? {
                return done();
            }
        }
        Err(Rejected::modified(&call.kind.resource, call.name))
    }

    async fn put_bound(&self, call: &Call<'_>, old: &Arc<Object>, mut tree: Tree) -> Result<bool, Rejected> {
        use crate::store::kv::{Compare, Op, Txn};
        if call.dry_run {
            return Ok(true);
        }
        let key = super::keys::object(
            &super::keys::collection(&call.kind.resource),
            &super::keys::place(call.namespace, call.name),
        );
        let value = encoded::encode(&mut tree, call.kind);
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
}

/// True for the kind of a binding that is posted to a path of its own.
pub(super) fn is_binding(kind: &Kind) -> bool {
    kind.group().is_empty() && kind.kind == "Binding"
}

/// What a binding or an eviction is answered with.
pub(super) fn done() -> Result<Written, Rejected> {
    let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    let object = Object::from_tree(&done).map_err(Rejected::internal)?;
    Ok(Written { object: Arc::new(object), created: true, warnings: Vec::new() })
}

/// Puts a condition in the place of the one of its type, or after the others. The time of the last transition stays if
/// there is none.
pub(super) fn set_condition(pod: &mut Tree, mut condition: Tree) {
    let mut all: Vec<Tree> = edit::list(pod, &["status", "conditions"]).to_vec();
    let kind = edit::text(&condition, &["type"]).to_owned();
    match all.iter_mut().find(|known| edit::text(known, &["type"]) == kind) {
        Some(known) => {
            if known.get("status") == condition.get("status") {
                let since = edit::at(known, &["lastTransitionTime"]).cloned().unwrap_or_default();
                edit::set(&mut condition, &["lastTransitionTime"], since);
            }
            *known = condition;
        }
        None => all.push(condition),
    }
    edit::set(pod, &["status", "conditions"], all);
}

fn wrong_target(binding: &Tree) -> Vec<Cause> {
    let mut causes = Vec::new();
    let kind = edit::text(binding, &["target", "kind"]);
    if !matches!(kind, "" | "Node") {
        causes.push(Cause::unsupported("target.kind", &kind.into(), &["Node", "<empty>"]));
    }
    if edit::text(binding, &["target", "name"]).is_empty() {
        causes.push(Cause::required("target.name", ""));
    }
    causes
}

fn check_bindable(call: &Call<'_>, pod: &Object, tree: &Tree, binding: &Tree) -> Result<(), Rejected> {
    let resource = &call.kind.resource;
    for (key, what, real) in
        [("uid", "UID", pod.uid().to_owned()), ("resourceVersion", "ResourceVersion", pod.revision().to_string())]
    {
        let given = edit::text(binding, &["metadata", key]);
        if !given.is_empty() && given != real {
            let key = super::keys::upstream(call.kind, call.namespace, call.name);
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition \
                 failed: {what} in precondition: {given}, {what} in object meta: {real}"
            );
            return Err(Rejected::conflict(resource, call.name, why));
        }
    }
    let refused = |why: String| Err(Rejected::conflict(&Resource::new("", "v1", "pods/binding"), call.name, why));
    let bound = edit::text(tree, &["spec", "nodeName"]);
    if pod.head().is_deleting {
        return refused(format!("pod {} is being deleted, cannot be assigned to a host", call.name));
    }
    if !bound.is_empty() {
        return refused(format!("pod {} is already assigned to node {bound:?}", call.name));
    }
    if !edit::list(tree, &["spec", "schedulingGates"]).is_empty() {
        return refused(format!("pod {} has non-empty .spec.schedulingGates", call.name));
    }
    Ok(())
}
