//! A set of fields of one object, as `fieldsV1` writes it, and the algebra on such sets.
//!
//! Knows paths, not values and not kinds.

use crate::Tree;
use serde_json::Map;
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
    pub(super) below: Below,
}

/// What is below a set, by step: few and sorted, which costs less to make than a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Below(Vec<(Step, Set)>);

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
            Step::Field(name) => ["f:", name].concat(),
            Step::Key(keys) => ["k:", keys].concat(),
            Step::Value(value) => ["v:", value].concat(),
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

// === impl Below ===

impl Below {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Step, &Set)> {
        self.0.iter().map(|(step, set)| (step, set))
    }

    pub(super) fn get(&self, step: &Step) -> Option<&Set> {
        self.find(step).ok().map(|at| &self.0[at].1)
    }

    pub(super) fn get_mut(&mut self, step: &Step) -> Option<&mut Set> {
        self.find(step).ok().map(|at| &mut self.0[at].1)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Set) -> bool) {
        self.0.retain(|(_, set)| keep(set));
    }

    fn find(&self, step: &Step) -> Result<usize, usize> {
        // What is made in order is added at the end.
        match self.0.last() {
            Some((last, _)) if last < step => Err(self.0.len()),
            _ => self.0.binary_search_by(|(known, _)| known.cmp(step)),
        }
    }

    /// Adds to what is there.
    fn join(&mut self, step: Step, set: Set) {
        match self.find(&step) {
            Ok(at) => self.0[at].1.join(set),
            Err(at) => self.0.insert(at, (step, set)),
        }
    }

    fn remove(&mut self, step: &Step) {
        if let Ok(at) = self.find(step) {
            self.0.remove(at);
        }
    }
}

/// Of two with the same step, both count.
impl FromIterator<(Step, Set)> for Below {
    fn from_iter<I: IntoIterator<Item = (Step, Set)>>(all: I) -> Below {
        let mut all: Vec<(Step, Set)> = all.into_iter().collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all.dedup_by(|(step, set), (before, into)| {
            let is_same = step == before;
            if is_same {
                into.join(std::mem::take(set));
            }
            is_same
        });
        Below(all)
    }
}

// === impl Set ===

impl Set {
    pub(super) fn leaf() -> Set {
        Set { owned: true, below: Below::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.owned && self.below.is_empty()
    }

    /// Adds what is known of the fields below a step; an empty set leaves no trace.
    pub(super) fn put(&mut self, step: Step, set: Set) {
        if !set.is_empty() {
            self.below.join(step, set);
        }
    }

    pub(super) fn join(&mut self, other: Set) {
        self.owned |= other.owned;
        if self.below.is_empty() {
            self.below = other.below;
            return;
        }
        for (step, set) in other.below.0 {
            self.below.join(step, set);
        }
    }

    /// Without what is in another; what is left with nothing goes.
    #[must_use]
    pub(super) fn minus(mut self, other: &Set) -> Set {
        self.owned &= !other.owned;
        if !other.below.is_empty() {
            self.below.0.retain_mut(|(step, set)| {
                let Some(taken) = other.below.get(step) else { return true };
                *set = std::mem::take(set).minus(taken);
                !set.is_empty()
            });
        }
        self
    }

    pub(super) fn common(&self, other: &Set) -> Set {
        let mut out = Set { owned: self.owned && other.owned, below: Below::default() };
        for (step, set) in self.below.iter() {
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
            for (step, child) in set.below.iter() {
                collect(child, &format!("{path}{step}"), out);
            }
        }
        let mut out = Vec::new();
        collect(self, "", &mut out);
        out
    }

    pub(super) fn to_json(&self) -> Tree {
        let mut out = Map::with_capacity(if self.below.is_empty() { 0 } else { self.below.0.len() + 1 });
        if self.owned && !self.below.is_empty() {
            out.insert(".".to_owned(), Tree::Object(Map::new()));
        }
        for (step, child) in self.below.iter() {
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
