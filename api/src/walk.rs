//! Small steps through a tree that the rules in this crate share: members, lists, and "set it unless it is set".
//!
//! A value of the wrong type counts as absent: the codec has checked types before any rule runs.

use crate::Tree;
use serde_json::Map;

pub(crate) type Members = Map<String, Tree>;

/// The object at a path, to read.
pub(crate) fn at<'t>(tree: &'t Tree, path: &[&str]) -> Option<&'t Tree> {
    path.iter().try_fold(tree, |tree, key| tree.get(key)).filter(|found| !found.is_null())
}

/// The string at a path; empty if there is none.
pub(crate) fn text<'t>(tree: &'t Tree, path: &[&str]) -> &'t str {
    at(tree, path).and_then(Tree::as_str).unwrap_or_default()
}

/// The elements at a path.
pub(crate) fn list<'t>(tree: &'t Tree, path: &[&str]) -> &'t [Tree] {
    at(tree, path).and_then(Tree::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The members at a path.
pub(crate) fn members<'t>(tree: &'t Tree, path: &[&str]) -> impl Iterator<Item = (&'t String, &'t Tree)> {
    at(tree, path).and_then(Tree::as_object).into_iter().flatten()
}

/// The object under a key.
pub(crate) fn child<'t>(map: &'t mut Members, key: &str) -> Option<&'t mut Members> {
    map.get_mut(key).and_then(Tree::as_object_mut)
}

/// The object at a path.
pub(crate) fn find<'t>(map: &'t mut Members, path: &[&str]) -> Option<&'t mut Members> {
    path.iter().try_fold(map, |map, key| child(map, key))
}

/// The object under a key, made if there is none.
pub(crate) fn make<'t>(map: &'t mut Members, key: &str) -> Option<&'t mut Members> {
    put(map, key, Tree::Object(Map::new()));
    child(map, key)
}

/// The objects in the list under a key.
pub(crate) fn each<'t>(map: &'t mut Members, key: &str) -> impl Iterator<Item = &'t mut Members> {
    let all = map.get_mut(key).and_then(Tree::as_array_mut);
    all.into_iter().flatten().filter_map(Tree::as_object_mut)
}

pub(crate) fn has(map: &Members, key: &str) -> bool {
    map.get(key).is_some_and(|value| !value.is_null())
}

pub(crate) fn word<'t>(map: &'t Members, key: &str) -> &'t str {
    map.get(key).and_then(Tree::as_str).unwrap_or_default()
}

/// Sets a member that is absent: for Go pointers, where zero is a value.
pub(crate) fn put(map: &mut Members, key: &str, value: impl Into<Tree>) {
    if !has(map, key) {
        map.insert(key.to_owned(), value.into());
    }
}

/// Sets a member that is absent, zero or empty: for Go values, where zero is not set.
pub(crate) fn fill(map: &mut Members, key: &str, value: impl Into<Tree>) {
    let is_zero = match map.get(key) {
        None | Some(Tree::Null) => true,
        Some(Tree::String(text)) => text.is_empty(),
        Some(Tree::Number(number)) => number.as_f64() == Some(0.0),
        Some(_) => false,
    };
    if is_zero {
        map.insert(key.to_owned(), value.into());
    }
}
