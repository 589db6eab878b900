//! Which objects are a controller's own: adopted by label while they have no owner, let go when they stop matching
//! (as upstream's `ControllerRefManager`, 1.32).

use api::object::{Owner, edit};
use api::selector::Labels;
use api::view::Meta;
use api::{Object, Resource};
use client::{Error, Handle, Key, Patch, Target, WriteOptions};
use serde_json::json;
use std::sync::Arc;

/// The key of a strategic merge patch under which finalizers are taken away.
pub(super) const WITHOUT_FINALIZERS: &str = "$deleteFromPrimitiveList/finalizers";

/// A kind that owns what it makes, and the component that does it.
#[derive(Debug)]
pub(super) struct Maker {
    pub(super) resource: Resource,
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    /// Who is named in events.
    pub(super) component: &'static str,
    /// What is put on objects that are adopted, and taken from those that are let go.
    pub(super) finalizer: Option<&'static str>,
}

/// What an object is to one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// Its own.
    Mine,
    /// Without a controller, and it matches: to be taken.
    Adopt,
    /// Its own, and it no longer matches: to be let go.
    Release,
    Foreign,
}

/// Pure: what an object with `meta` is to `owner`, which selects by `selector`.
pub(super) fn claim(owner: &Meta, selector: &Labels, meta: &Meta) -> Claim {
    let matches = selector.matches(|key| meta.labels.get(key).map(String::as_str));
    let is_going = owner.deletion_timestamp.is_some();
    match meta.controller() {
        Some(controller) if *controller.uid != *owner.uid => Claim::Foreign,
        Some(_) if matches => Claim::Mine,
        Some(_) if is_going => Claim::Foreign,
        Some(_) => Claim::Release,
        None if !matches || is_going || meta.deletion_timestamp.is_some() => Claim::Foreign,
        None => Claim::Adopt,
    }
}

impl Maker {
    /// True if the owner is of this kind, in whatever version.
    pub(super) fn is(&self, owner: &Owner) -> bool {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        *owner.kind == *self.kind && *group == *self.resource.group
    }

    /// The entry of `ownerReferences` for what `owner` makes.
    pub(super) fn reference(&self, owner: &Meta) -> api::Tree {
        super::owner(self.api_version, self.kind, &owner.name, &owner.uid)
    }

    /// What events about `owner` refer to.
    pub(super) fn about(&self, owner: &Meta) -> client::About {
        client::About::of(self.api_version, self.kind, owner)
    }

    /// Makes `owner` the controller of an object; `None` if the owner is no more, or on its way.
    pub(super) async fn adopt(
        &self,
        cluster: &Handle,
        owner: &Meta,
        resource: &Resource,
        (key, uid): (&Key, &str),
    ) -> Result<Option<Arc<Object>>, Error> {
        // The cache may be behind: an owner that is being deleted must not take what its deletion lets go.
        let live = cluster.get(Target::namespaced(&self.resource, &owner.namespace, &owner.name)).await?;
        if *live.uid() != *owner.uid || live.head().is_deleting {
            return Ok(None);
        }
        let mut tree = json!({ "metadata": { "uid": uid, "ownerReferences": [self.reference(owner)] } });
        if let Some(finalizer) = self.finalizer {
            edit::set(&mut tree, &["metadata", "finalizers"], json!([finalizer]));
        }
        self.patch(cluster, resource, key, tree).await.map(Some)
    }

    /// Takes `owner` out of an object's owners.
    pub(super) async fn release(
        &self,
        cluster: &Handle,
        owner: &Meta,
        resource: &Resource,
        (key, uid): (&Key, &str),
    ) -> Result<Arc<Object>, Error> {
        let gone = json!({ "$patch": "delete", "uid": owner.uid });
        let mut tree = json!({ "metadata": { "uid": uid, "ownerReferences": [gone] } });
        if let Some(finalizer) = self.finalizer {
            edit::set(&mut tree, &["metadata", WITHOUT_FINALIZERS], json!([finalizer]));
        }
        self.patch(cluster, resource, key, tree).await
    }

    async fn patch(
        &self,
        cluster: &Handle,
        resource: &Resource,
        key: &Key,
        tree: api::Tree,
    ) -> Result<Arc<Object>, Error> {
        let target = Target { resource, namespace: key.namespace(), name: &key.name, subresource: None };
        cluster.patch(target, Patch::Strategic(tree), WriteOptions::by(super::MANAGER)).await
    }

    /// A pod made from a template, for `owner`.
    pub(super) fn pod(&self, template: &api::Tree, owner: &Meta) -> api::Tree {
        let mut meta = json!({
            "generateName": format!("{}-", owner.name), "namespace": owner.namespace,
            "ownerReferences": [self.reference(owner)],
        });
        for key in ["labels", "annotations", "finalizers"] {
            if let Some(value) = edit::at(template, &["metadata", key]) {
                edit::set(&mut meta, &[key], value.clone());
            }
        }
        let spec = edit::at(template, &["spec"]).cloned().unwrap_or_default();
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(json: &serde_json::Value) -> Meta {
        serde_json::from_value(json.clone()).expect("metadata")
    }

    #[test]
    fn what_matches_is_taken_and_what_stops_matching_is_let_go() {
        let selector = Labels::parse("app=web").expect("a selector");
        let owner = meta(&json!({"uid": "set"}));
        let going = meta(&json!({"uid": "set", "deletionTimestamp": "2026-01-01T00:00:00Z"}));
        let owned = |uid: &str, app: &str| {
            meta(&json!({"labels": {"app": app}, "ownerReferences": [{"uid": uid, "controller": true}]}))
        };
        let free = meta(&json!({"labels": {"app": "web"}}));
        let free_going = meta(&json!({"labels": {"app": "web"}, "deletionTimestamp": "2026-01-01T00:00:00Z"}));
        assert_eq!(claim(&owner, &selector, &owned("set", "web")), Claim::Mine);
        assert_eq!(claim(&owner, &selector, &owned("set", "db")), Claim::Release);
        assert_eq!(claim(&going, &selector, &owned("set", "db")), Claim::Foreign);
        assert_eq!(claim(&owner, &selector, &owned("other", "web")), Claim::Foreign);
        assert_eq!(claim(&owner, &selector, &free), Claim::Adopt);
        assert_eq!(claim(&going, &selector, &free), Claim::Foreign);
        assert_eq!(claim(&owner, &selector, &free_going), Claim::Foreign);
        assert_eq!(claim(&owner, &selector, &meta(&json!({}))), Claim::Foreign);
    }
}
