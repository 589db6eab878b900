//! An always-current map of objects, fed by `follow`. Pure: it only applies what it is told.
//!
//! Entries share the encoded objects; within the server's process those are the registry's own.

use crate::cluster::Event;
use api::Object;
use std::collections::BTreeMap;
use std::sync::Arc;

/// `(namespace, name)`; the namespace is empty for cluster-scoped objects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub namespace: Box<str>,
    pub name: Box<str>,
}

/// The objects of one resource (or of one selection of it), each with a value parsed from it once. Views are best
/// shared with other caches, see [`Object::view`].
#[derive(Debug)]
pub struct Cache<V> {
    entries: BTreeMap<Key, Entry<V>>,
    parse: fn(&Object) -> Option<Arc<V>>,
}

#[derive(Debug)]
pub struct Entry<V> {
    pub object: Arc<Object>,
    pub value: Arc<V>,
}

/// What an event did to the cache.
#[derive(Debug)]
pub struct Change<V> {
    pub key: Key,
    pub old: Option<Arc<V>>,
    /// `None`: the object is gone.
    pub new: Option<Arc<V>>,
}

// === impl Key ===

impl Key {
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Key {
        Key { namespace: namespace.into(), name: name.into() }
    }

    #[must_use]
    pub fn of(object: &Object) -> Key {
        Key::new(object.namespace(), object.name())
    }

    /// For `Target`: `None` for a cluster-scoped object.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        Some(&*self.namespace).filter(|namespace| !namespace.is_empty())
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

// === impl Cache ===

impl<V> Cache<V> {
    /// `parse` makes the value of an object; an object without a value is not kept.
    #[must_use]
    pub fn new(parse: fn(&Object) -> Option<Arc<V>>) -> Cache<V> {
        Cache { entries: BTreeMap::new(), parse }
    }

    /// Takes one event of a watch. `None` if nothing changed (a bookmark, an object already seen).
    pub fn apply(&mut self, event: &Event) -> Option<Change<V>> {
        match event {
            Event::Added(object) | Event::Modified(object) => self.put(object),
            Event::Deleted(object) => self.remove(&Key::of(object)),
            Event::Bookmark { .. } => None,
        }
    }

    /// Takes a whole list: what is not in it is gone.
    pub fn replace(&mut self, items: &[Arc<Object>]) -> Vec<Change<V>> {
        let listed: std::collections::BTreeSet<Key> = items.iter().map(|object| Key::of(object)).collect();
        let gone: Vec<Key> = self.entries.keys().filter(|key| !listed.contains(*key)).cloned().collect();
        let mut changes: Vec<Change<V>> = gone.iter().filter_map(|key| self.remove(key)).collect();
        changes.extend(items.iter().filter_map(|object| self.put(object)));
        changes
    }

    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Entry<V>> {
        self.entries.get(key)
    }

    #[must_use]
    pub fn value(&self, key: &Key) -> Option<&Arc<V>> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Entry<V>)> {
        self.entries.iter()
    }

    /// The entries of one namespace.
    pub fn namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = (&'a Key, &'a Entry<V>)> {
        self.entries.range(Key::new(namespace, "")..).take_while(move |(key, _)| &*key.namespace == namespace)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn put(&mut self, object: &Arc<Object>) -> Option<Change<V>> {
        let key = Key::of(object);
        if self.entries.get(&key).is_some_and(|have| have.object.revision() >= object.revision()) {
            return None;
        }
        let Some(value) = (self.parse)(object) else { return self.remove(&key) };
        let entry = Entry { object: Arc::clone(object), value: Arc::clone(&value) };
        let old = self.entries.insert(key.clone(), entry).map(|entry| entry.value);
        Some(Change { key, old, new: Some(value) })
    }

    fn remove(&mut self, key: &Key) -> Option<Change<V>> {
        let old = self.entries.remove(key)?;
        Some(Change { key: key.clone(), old: Some(old.value), new: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn pod(name: &str, revision: u64) -> Arc<Object> {
        let json = format!(r#"{{"metadata":{{"namespace":"n","name":"{name}","resourceVersion":"{revision}"}}}}"#);
        Arc::new(Object::from_json(Bytes::from(json)).unwrap())
    }

    #[test]
    fn a_list_after_a_gap_tells_what_is_new_and_what_is_gone() {
        let mut cache = Cache::new(|object| Some(Arc::new(object.revision())));
        assert_eq!(cache.replace(&[pod("a", 1), pod("b", 2)]).len(), 2);
        assert!(cache.apply(&Event::Modified(pod("a", 1))).is_none(), "already seen");
        let change = cache.apply(&Event::Modified(pod("a", 3))).unwrap();
        assert_eq!((change.old.as_deref(), change.new.as_deref()), (Some(&1), Some(&3)));
        let changes = cache.replace(&[pod("a", 3), pod("c", 4)]);
        let told: Vec<_> = changes.iter().map(|change| (&*change.key.name, change.new.is_some())).collect();
        assert_eq!(told, [("b", false), ("c", true)]);
        assert_eq!(cache.namespace("n").count(), 2);
        assert_eq!(cache.namespace("m").count(), 0);
    }
}
