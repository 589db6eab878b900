//! A set of fields of one object, as `fieldsV1` writes it, and the algebra on such sets.
//!
//! Knows paths, not values and not kinds.

use crate::Tree;
use serde_json::Map;
use std::collections::BTreeMap;
use std::fmt;

/// One step of a path. The order is that of the `fieldsV1` keys upstream prints.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// `f:name`
    Field(String),
    /// `k:{"name":"a"}`: an element of a keyed list, by its keys as compact JSON with sorted names.
    Key(String),
    /// `v:"a"`: an element of a set, as compact JSON.
    Value(String),
    /// `i:0`
    Index(usize),
}

/// Whether a field itself is in the set, and which fields below it are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) owned: bool,
    pub(super) below: BTreeMap<Step, Set>,
}

impl Step {
    fn parse(text: &str) -> Option<Step> {
        let (form, rest) = text.split_once(':')?;
        match form {
            "f" => Some(Step::Field(rest.to_owned())),
            "k" => Some(Step::Key(rest.to_owned())),
            "v" => Some(Step::Value(rest.to_owned())),
            "i" => rest.parse().ok().map(Step::Index),
            _ => None,
        }
    }

    fn key(&self) -> String {
        match self {
            Step::Field(name) => format!("f:{name}"),
            Step::Key(keys) => format!("k:{keys}"),
            Step::Value(value) => format!("v:{value}"),
            Step::Index(at) => format!("i:{at}"),
        }
    }
}

impl fmt::Display for Step {
    /// As a conflict's path shows it: `.spec`, `[name="a"]`, `[="x"]`, `[0]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Field(name) => write!(f, ".{name}"),
            Step::Value(value) => write!(f, "[={value}]"),
            Step::Index(at) => write!(f, "[{at}]"),
            Step::Key(keys) => {
                let keys: Map<String, Tree> = serde_json::from_str(keys).unwrap_or_default();
                let told: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                write!(f, "[{}]", told.join(","))
            }
        }
    }
}

impl Set {
    pub(super) fn leaf() -> Set {
        Set { owned: true, below: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.owned && self.below.is_empty()
    }

    /// Adds what is known of the fields below a step; an empty set leaves no trace.
    pub(super) fn put(&mut self, step: Step, set: Set) {
        if !set.is_empty() {
            self.below.entry(step).or_default().join(&set);
        }
    }

    pub(super) fn join(&mut self, other: &Set) {
        self.owned |= other.owned;
        for (step, set) in &other.below {
            self.below.entry(step.clone()).or_default().join(set);
        }
    }

    pub(super) fn minus(&self, other: &Set) -> Set {
        let mut out = Set { owned: self.owned && !other.owned, below: BTreeMap::new() };
        for (step, set) in &self.below {
            let rest = other.below.get(step).map_or_else(|| set.clone(), |taken| set.minus(taken));
            out.put(step.clone(), rest);
        }
        out
    }

    pub(super) fn common(&self, other: &Set) -> Set {
        let mut out = Set { owned: self.owned && other.owned, below: BTreeMap::new() };
        for (step, set) in &self.below {
            if let Some(shared) = other.below.get(step) {
                out.put(step.clone(), set.common(shared));
            }
        }
        out
    }

    /// Drops everything at and below a path of field names.
    pub(super) fn forget(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let step = Step::Field((*first).to_owned());
        if rest.is_empty() {
            self.below.remove(&step);
        } else if let Some(child) = self.below.get_mut(&step) {
            child.forget(rest);
            if child.is_empty() {
                self.below.remove(&step);
            }
        }
    }

    /// The paths of the members, in order.
    pub(super) fn paths(&self) -> Vec<String> {
        fn collect(set: &Set, path: &str, out: &mut Vec<String>) {
            if set.owned && !path.is_empty() {
                out.push(path.to_owned());
            }
            for (step, child) in &set.below {
                collect(child, &format!("{path}{step}"), out);
            }
        }
        let mut out = Vec::new();
        collect(self, "", &mut out);
        out
    }

    pub(super) fn to_json(&self) -> Tree {
        let mut out = Map::new();
        if self.owned && !self.below.is_empty() {
            out.insert(".".to_owned(), Tree::Object(Map::new()));
        }
        for (step, child) in &self.below {
            out.insert(step.key(), child.to_json());
        }
        Tree::Object(out)
    }

    /// Reads `fieldsV1`; keys of unknown form are skipped.
    pub(super) fn from_json(tree: &Tree) -> Set {
        let mut root = Set::read(tree);
        if root.below.is_empty() {
            root.owned = false;
        }
        root
    }

    fn read(tree: &Tree) -> Set {
        let Some(map) = tree.as_object().filter(|map| !map.is_empty()) else { return Set::leaf() };
        let below = map.iter().filter_map(|(key, child)| Some((Step::parse(key)?, Set::read(child)))).collect();
        Set { owned: map.contains_key("."), below }
    }
}
