//! A value somewhere in an object, and the way to it: what rules read, and what they name when they complain.
//!
//! The way is a chain of borrowed steps, so that an object without faults costs no text.

use crate::Tree;
use std::fmt;

static ABSENT: Tree = Tree::Null;

/// A value, which may be absent, and its path. Steps live as long as `'p`, values as long as `'t`.
#[derive(Clone, Copy)]
pub(super) struct Place<'p, 't> {
    parent: Option<&'p Place<'p, 't>>,
    step: Step<'p>,
    value: &'t Tree,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Root,
    /// `.name`
    Name(&'p str),
    /// `[3]`
    Index(usize),
    /// `[key]`
    Key(&'p str),
}

// === impl Place ===

impl<'p, 't> Place<'p, 't> {
    /// A whole object.
    pub(super) fn root(tree: &'t Tree) -> Place<'p, 't> {
        Place { parent: None, step: Step::Root, value: tree }
    }

    fn below<'q>(&'q self, step: Step<'q>, value: Option<&'t Tree>) -> Place<'q, 't> {
        Place { parent: Some(self), step, value: value.unwrap_or(&ABSENT) }
    }

    /// A member, shown as `.key`.
    pub(super) fn get<'q>(&'q self, key: &'q str) -> Place<'q, 't> {
        self.below(Step::Name(key), self.value.get(key))
    }

    /// A member of a map, shown as `[key]`.
    pub(super) fn entry<'q>(&'q self, key: &'q str) -> Place<'q, 't> {
        self.below(Step::Key(key), self.value.get(key))
    }

    /// An element of a list.
    pub(super) fn index(&self, at: usize) -> Place<'_, 't> {
        self.below(Step::Index(at), self.value.get(at))
    }

    /// The elements of a list.
    pub(super) fn each(&self) -> impl Iterator<Item = Place<'_, 't>> {
        let all = self.list().iter().enumerate();
        all.map(|(at, value)| self.below(Step::Index(at), Some(value)))
    }

    /// The members of a map, each shown as `[key]`.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'t str, Place<'_, 't>)> {
        let all = self.value.as_object().into_iter().flatten();
        all.map(|(key, value)| (key.as_str(), self.below(Step::Key(key), Some(value))))
    }

    /// The same path, as if another value were there.
    pub(super) fn holding(&self, value: &'t Tree) -> Place<'p, 't> {
        Place { value, ..*self }
    }

    /// Another path below this one with the value of `other`: where upstream names a field otherwise than it is called.
    pub(super) fn alias<'q>(&'q self, shown: &'q str, other: &Place<'_, 't>) -> Place<'q, 't> {
        self.below(Step::Name(shown), Some(other.value))
    }

    pub(super) fn value(&self) -> &'t Tree {
        self.value
    }

    pub(super) fn is_given(&self) -> bool {
        !self.value.is_null()
    }

    /// No members or elements, or not there at all.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        match self.value {
            Tree::Array(all) => all.len(),
            Tree::Object(all) => all.len(),
            Tree::String(text) => text.len(),
            _ => 0,
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.value.get(key).is_some_and(|value| !value.is_null())
    }

    /// The string; empty if there is none.
    pub(super) fn text(&self) -> &'t str {
        self.value.as_str().unwrap_or_default()
    }

    pub(super) fn integer(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// The number; 0 if there is none.
    pub(super) fn number(&self) -> i64 {
        self.integer().unwrap_or(0)
    }

    pub(super) fn is_true(&self) -> bool {
        self.value.as_bool() == Some(true)
    }

    pub(super) fn list(&self) -> &'t [Tree] {
        self.value.as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// The strings of a list.
    pub(super) fn texts(&self) -> impl Iterator<Item = &'t str> {
        self.list().iter().filter_map(Tree::as_str)
    }
}

impl fmt::Display for Place<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        parent.fmt(f)?;
        match self.step {
            Step::Root => Ok(()),
            // What upstream prints for a path that names the whole object.
            Step::Name("") => f.write_str("[]"),
            Step::Name(name) if parent.parent.is_none() => f.write_str(name),
            Step::Name(name) => write!(f, ".{name}"),
            Step::Index(at) => write!(f, "[{at}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

impl fmt::Debug for Place<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} = {}", self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_place_knows_its_way_and_its_value() {
        let tree = json!({"spec": {"list": [{"a": 1}], "map": {"k.io/x": "v"}}});
        let root = Place::root(&tree);
        let spec = root.get("spec");
        let list = spec.get("list");
        let first = list.index(0);
        assert_eq!((first.get("a").to_string(), first.get("a").number()), ("spec.list[0].a".to_owned(), 1));
        assert_eq!(list.each().map(|one| one.to_string()).collect::<Vec<_>>(), ["spec.list[0]"]);
        let map = spec.get("map");
        assert_eq!(map.entries().map(|(_, one)| one.to_string()).collect::<Vec<_>>(), ["spec.map[k.io/x]"]);
        assert_eq!(map.entry("k.io/x").text(), "v");
        let absent = root.get("none");
        assert!(!absent.get("deeper").is_given());
        assert_eq!(absent.get("deeper").to_string(), "none.deeper");
        assert_eq!(root.get("").to_string(), "[]");
    }
}
