//! An object as everybody holds it: its encoded bytes, and the few fields that everybody reads.
//!
//! The bytes are the canonical JSON that a client sees (kind and apiVersion first, resourceVersion filled in), so
//! a list or a watch copies them and never encodes. Whoever needs more than the head parses a narrow view.

mod at;
pub mod edit;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use std::any::Any;
use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// An object as a tree of JSON values, in the key order it was read in. Only `api` indexes one by key.
pub type Tree = serde_json::Value;

/// One version of one object: immutable, shared by everybody who looks at it.
#[derive(Debug)]
pub struct Object {
    head: Head,
    json: Bytes,
    view: SharedView,
}

/// The view that was parsed last, for as long as somebody holds it.
#[derive(Debug)]
struct SharedView(Mutex<Weak<dyn Any + Send + Sync>>);

/// The fields of an object that indexes, selectors, caches and logs read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    pub api_version: Box<str>,
    pub kind: Box<str>,
    /// Empty for a cluster-scoped object.
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
    /// The store's revision of the last write; 0 while the object is not stored.
    pub revision: u64,
    pub generation: i64,
    /// Sorted by key.
    pub labels: Vec<(Box<str>, Box<str>)>,
    pub owners: Vec<Owner>,
    pub has_finalizers: bool,
    /// True once `metadata.deletionTimestamp` is set.
    pub is_deleting: bool,
    /// `spec.nodeName`, which pods have; empty otherwise.
    pub node: Box<str>,
    /// `status.phase`; empty where there is none.
    pub phase: Box<str>,
}

/// One entry of `metadata.ownerReferences`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    #[serde(default)]
    pub api_version: Box<str>,
    #[serde(default)]
    pub kind: Box<str>,
    #[serde(default)]
    pub name: Box<str>,
    #[serde(default)]
    pub uid: Box<str>,
    #[serde(default)]
    pub controller: bool,
    #[serde(default)]
    pub block_owner_deletion: bool,
}

/// Bytes that are not an object: no JSON, or a head of the wrong shape.
#[derive(Debug, thiserror::Error)]
#[error("not a Kubernetes object: {0}")]
pub struct Malformed(#[from] serde_json::Error);

// === impl Object ===

impl Object {
    /// Reads the head of canonical JSON and keeps the bytes as they are.
    pub fn from_json(json: Bytes) -> Result<Object, Malformed> {
        let wire: WireObject<'_> = serde_json::from_slice(&json)?;
        let head = wire.into_head();
        Ok(Object { head, json, view: SharedView::default() })
    }

    /// Encodes a tree. Key order is kept: callers pass canonical trees.
    pub fn from_tree(tree: &Tree) -> Result<Object, Malformed> {
        Object::from_json(Bytes::from(serde_json::to_vec(tree)?))
    }

    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    #[must_use]
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.head.name
    }

    /// Empty for a cluster-scoped object.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.head.namespace
    }

    #[must_use]
    pub fn uid(&self) -> &str {
        &self.head.uid
    }

    #[must_use]
    pub fn revision(&self) -> u64 {
        self.head.revision
    }

    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.head.label(key)
    }

    /// Parses the whole object. Costs some microseconds per kilobyte: not for hot paths.
    #[must_use]
    pub fn tree(&self) -> Tree {
        serde_json::from_slice(&self.json).expect("the head was parsed from the same bytes")
    }

    /// One value, without parsing the whole. `None` if nothing is there.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Option<Tree> {
        at::find(&self.json, path)
    }

    /// A view that all who ask for this type share: parsed once, however many caches hold it.
    ///
    /// # Errors
    /// As of [`Object::read`].
    pub fn view<V: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<V>, Malformed> {
        let known = self.view.0.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(known) = known.and_then(|known| known.downcast().ok()) {
            return Ok(known);
        }
        let view: Arc<V> = Arc::new(self.read()?);
        let shared: Arc<dyn Any + Send + Sync> = view.clone();
        *self.view.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&shared);
        Ok(view)
    }

    /// Parses a narrow view straight from the bytes; fields that the view does not name are skipped.
    pub fn read<'a, V: Deserialize<'a>>(&'a self) -> Result<V, Malformed> {
        Ok(serde_json::from_slice(&self.json)?)
    }
}

// === impl SharedView ===

impl Default for SharedView {
    fn default() -> SharedView {
        SharedView(Mutex::new(Weak::<()>::new()))
    }
}

// === impl Head ===

impl Head {
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(have, _)| (**have).cmp(key)).ok()?;
        Some(&self.labels[at].1)
    }

    /// The owner that manages this object, if one does.
    #[must_use]
    pub fn controller(&self) -> Option<&Owner> {
        self.owners.iter().find(|owner| owner.controller)
    }

    /// `namespace/name`, or `name` for a cluster-scoped object: how logs and events call it.
    #[must_use]
    pub fn path(&self) -> String {
        if self.namespace.is_empty() { self.name.to_string() } else { format!("{}/{}", self.namespace, self.name) }
    }
}

/// Parses a value that came from a tree, for views of parts of objects.
pub fn read_tree<V: DeserializeOwned>(tree: &Tree) -> Result<V, Malformed> {
    Ok(V::deserialize(tree)?)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireObject<'a> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    metadata: WireMeta<'a>,
    /// Of any shape: it may be a custom resource's.
    #[serde(default, deserialize_with = "node_of")]
    spec: Box<str>,
    #[serde(default, deserialize_with = "phase_of")]
    status: Box<str>,
}

fn node_of<'de, D: Deserializer<'de>>(from: D) -> Result<Box<str>, D::Error> {
    at::text(&["nodeName"], from)
}

fn phase_of<'de, D: Deserializer<'de>>(from: D) -> Result<Box<str>, D::Error> {
    at::text(&["phase"], from)
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct WireMeta<'a> {
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(borrow, default)]
    resource_version: Cow<'a, str>,
    #[serde(default)]
    generation: i64,
    #[serde(default)]
    labels: Option<std::collections::BTreeMap<Box<str>, Box<str>>>,
    #[serde(default)]
    owner_references: Option<Vec<Owner>>,
    #[serde(default)]
    finalizers: Option<Vec<serde::de::IgnoredAny>>,
    #[serde(borrow, default)]
    deletion_timestamp: Option<Cow<'a, str>>,
}

impl WireObject<'_> {
    fn into_head(self) -> Head {
        let meta = self.metadata;
        Head {
            api_version: self.api_version.into(),
            kind: self.kind.into(),
            namespace: meta.namespace.into(),
            name: meta.name.into(),
            uid: meta.uid.into(),
            revision: meta.resource_version.parse().unwrap_or(0),
            generation: meta.generation,
            labels: meta.labels.unwrap_or_default().into_iter().collect(),
            owners: meta.owner_references.unwrap_or_default(),
            has_finalizers: meta.finalizers.is_some_and(|all| !all.is_empty()),
            is_deleting: meta.deletion_timestamp.is_some(),
            node: self.spec,
            phase: self.status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_is_read_and_bytes_are_kept() {
        let json = Bytes::from_static(
            br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"b","uid":"u","resourceVersion":"7",
            "labels":{"z":"1","app":"x"},"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"r","uid":"o","controller":true}],
            "finalizers":["f"],"deletionTimestamp":"2026-01-01T00:00:00Z"},"spec":{"new":[1],"nodeName":"n"},"status":{"phase":"Running"}}"#,
        );
        let pod = Object::from_json(json.clone()).unwrap();
        assert_eq!((pod.name(), pod.namespace(), pod.uid(), pod.revision()), ("a", "b", "u", 7));
        assert_eq!((pod.label("app"), pod.label("z"), pod.label("q")), (Some("x"), Some("1"), None));
        assert_eq!(pod.head().controller().map(|owner| &*owner.uid), Some("o"));
        assert!(pod.head().has_finalizers && pod.head().is_deleting);
        assert_eq!((&*pod.head().node, &*pod.head().phase), ("n", "Running"));
        assert_eq!(pod.json(), &json);
        for odd in [r#"{"spec":"text","status":[{"phase":1}]}"#, r#"{"spec":{"nodeName":7},"status":null}"#, "{}"] {
            let odd = Object::from_json(Bytes::from(odd)).unwrap();
            assert_eq!((&*odd.head().node, &*odd.head().phase), ("", ""));
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(Object::from_json(Bytes::from_static(b"[1]")).is_err());
        assert!(Object::from_json(Bytes::from_static(br#"{"metadata":{"name":7}}"#)).is_err());
    }
}
