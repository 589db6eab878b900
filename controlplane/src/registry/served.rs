//! What is served: the built-in kinds, those in versions of old, and those of the definitions that are established.
//!
//! The memory tells of each definition before anybody can read it, so whoever sees one established finds its kinds
//! here. Readers hold a snapshot and no lock.

use super::keys;
use api::custom::Definition;
use api::kinds::{self, Kind};
use api::resource::CUSTOM_RESOURCE_DEFINITIONS;
use api::{Object, Resource};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// All kinds that are served at one time.
#[derive(Debug, Default)]
pub struct Served {
    /// In discovery order: the built-in ones first, then those in versions of old.
    pub kinds: Vec<Arc<Kind>>,
    custom: HashMap<Resource, Arc<Kind>>,
}

/// The definitions by name, and what follows from them.
pub(super) struct Definitions {
    known: Mutex<BTreeMap<Arc<str>, Definition>>,
    served: ArcSwap<Served>,
}

/// The collection that the definitions are in.
#[must_use]
pub(super) fn collection() -> String {
    keys::collection(&CUSTOM_RESOURCE_DEFINITIONS)
}

// === impl Served ===

impl Served {
    fn new(known: &BTreeMap<Arc<str>, Definition>) -> Served {
        let custom: Vec<Arc<Kind>> = known.values().flat_map(|definition| definition.kinds.iter().cloned()).collect();
        let mut kinds = kinds::served().to_vec();
        let mut groups: Vec<&str> = custom.iter().map(|kind| kind.group()).collect();
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            kinds.extend(custom.iter().filter(|kind| kind.group() == group).cloned());
        }
        Served::of(kinds)
    }

    /// A set of kinds, in the order of discovery.
    #[must_use]
    pub fn of(kinds: Vec<Arc<Kind>>) -> Served {
        let custom = kinds.iter().filter(|kind| kind.is_custom());
        Served { custom: custom.map(|kind| (kind.resource.clone(), Arc::clone(kind))).collect(), kinds }
    }

    #[must_use]
    pub fn find(&self, resource: &Resource) -> Option<&Arc<Kind>> {
        kinds::find(resource).or_else(|| self.custom.get(resource))
    }

    /// The kinds that share a collection: the versions of one definition.
    pub fn versions<'k>(&'k self, kind: &'k Kind) -> impl Iterator<Item = &'k Arc<Kind>> {
        let is_same = |other: &&Arc<Kind>| {
            other.resource.group == kind.resource.group && other.resource.plural == kind.resource.plural
        };
        self.kinds.iter().filter(is_same)
    }
}

// === impl Definitions ===

impl Definitions {
    pub(super) fn new() -> Definitions {
        let none = BTreeMap::new();
        Definitions { served: ArcSwap::from_pointee(Served::new(&none)), known: Mutex::new(none) }
    }

    pub(super) fn served(&self) -> Arc<Served> {
        self.served.load_full()
    }

    /// Takes in definitions as they are now; `None`: it is gone.
    pub(super) fn learn<'o>(&self, changes: impl Iterator<Item = (Arc<str>, Option<&'o Object>)>) {
        let mut known = self.known.lock();
        let mut has_changed = false;
        for (place, object) in changes {
            has_changed = true;
            match object {
                Some(object) => {
                    let mut definition = Definition::read(&object.tree(), object.revision());
                    if let Some(before) = known.get(&place) {
                        definition.inherit(before);
                    }
                    known.insert(place, definition);
                }
                None => _ = known.remove(&place),
            }
        }
        if has_changed {
            self.served.store(Arc::new(Served::new(&known)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition(status: &str) -> Object {
        let tree = json!({
            "kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1",
            "metadata": {"name": "things.example.com", "resourceVersion": "7"},
            "spec": {
                "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {}}},
                    {"name": "v2", "served": false, "storage": false}],
            },
            "status": {
                "acceptedNames": {"plural": "things", "kind": "Thing"},
                "conditions": [{"type": "Established", "status": status}],
            },
        });
        Object::from_tree(&tree).expect("an object")
    }

    #[test]
    fn kinds_come_and_go_with_their_definition() {
        let definitions = Definitions::new();
        let builtin = definitions.served().kinds.len();
        let place: Arc<str> = "things.example.com".into();
        let tell = |object: Option<&Object>| definitions.learn(std::iter::once((Arc::clone(&place), object)));
        let things = Resource::new("example.com", "v1", "things");
        tell(Some(&definition("False")));
        assert!(definitions.served().find(&things).is_none());
        tell(Some(&definition("True")));
        assert_eq!(definitions.served().kinds.len(), builtin + 1);
        assert_eq!(definitions.served().find(&things).map(|kind| kind.kind.clone()), Some("Thing".to_owned()));
        tell(None);
        assert!(definitions.served().find(&things).is_none());
    }
}
