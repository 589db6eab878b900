//! Reading and changing single places of a tree: the only way in for rooms outside `api`.
//!
//! Key order does not matter here: `codec::canonical` puts it right before an object is encoded.

use crate::Tree;
use serde_json::Map;

/// The value at a path of keys. `None` if a step is missing or no map.
#[must_use]
pub fn at<'a>(tree: &'a Tree, path: &[&str]) -> Option<&'a Tree> {
    path.iter().try_fold(tree, |tree, key| tree.get(key))
}

/// The value at a path of keys, to change it in place.
#[must_use]
pub fn at_mut<'a>(tree: &'a mut Tree, path: &[&str]) -> Option<&'a mut Tree> {
    path.iter().try_fold(tree, |tree, key| tree.get_mut(key))
}

/// The text at a path; empty if there is none.
#[must_use]
pub fn text<'a>(tree: &'a Tree, path: &[&str]) -> &'a str {
    at(tree, path).and_then(Tree::as_str).unwrap_or_default()
}

#[must_use]
pub fn integer(tree: &Tree, path: &[&str]) -> Option<i64> {
    at(tree, path).and_then(Tree::as_i64)
}

#[must_use]
pub fn is_true(tree: &Tree, path: &[&str]) -> bool {
    at(tree, path).and_then(Tree::as_bool).unwrap_or_default()
}

/// The elements of a list; none if it is missing.
#[must_use]
pub fn list<'a>(tree: &'a Tree, path: &[&str]) -> &'a [Tree] {
    at(tree, path).and_then(Tree::as_array).map_or(&[], Vec::as_slice)
}

/// The elements of a list, to change them in place.
#[must_use]
pub fn list_mut<'a>(tree: &'a mut Tree, path: &[&str]) -> &'a mut [Tree] {
    at_mut(tree, path).and_then(Tree::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}

/// Puts a value at a path, and maps on the way where there are none.
pub fn set(tree: &mut Tree, path: &[&str], value: impl Into<Tree>) {
    let Some((last, steps)) = path.split_last() else {
        *tree = value.into();
        return;
    };
    let mut here = tree;
    for step in steps {
        here = map(here).entry(*step).or_insert(Tree::Null);
    }
    map(here).insert((*last).to_owned(), value.into());
}

/// Takes the value at a path out of the tree.
pub fn remove(tree: &mut Tree, path: &[&str]) -> Option<Tree> {
    let (last, steps) = path.split_last()?;
    at_mut(tree, steps)?.as_object_mut()?.shift_remove(*last)
}

/// Appends to the list at a path, which is made if there is none.
pub fn push(tree: &mut Tree, path: &[&str], value: impl Into<Tree>) {
    if at(tree, path).is_none_or(|list| !list.is_array()) {
        set(tree, path, Tree::Array(Vec::new()));
    }
    if let Some(Tree::Array(list)) = at_mut(tree, path) {
        list.push(value.into());
    }
}

fn map(tree: &mut Tree) -> &mut Map<String, Tree> {
    if !tree.is_object() {
        *tree = Tree::Object(Map::new());
    }
    tree.as_object_mut().expect("it was just made a map")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn places_are_read_made_and_removed() {
        let mut tree = json!({"metadata": {"name": "a"}, "spec": null});
        assert_eq!(text(&tree, &["metadata", "name"]), "a");
        assert_eq!(text(&tree, &["status", "phase"]), "");
        set(&mut tree, &["spec", "deep", "er"], 7);
        push(&mut tree, &["metadata", "finalizers"], "f");
        assert_eq!(integer(&tree, &["spec", "deep", "er"]), Some(7));
        assert_eq!(list(&tree, &["metadata", "finalizers"]), [json!("f")]);
        assert_eq!(remove(&mut tree, &["spec", "deep"]), Some(json!({"er": 7})));
        assert_eq!(remove(&mut tree, &["no", "such"]), None);
    }
}
