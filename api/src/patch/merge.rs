//! JSON merge patch (RFC 7386): objects merge, null deletes, everything else replaces.

use crate::Tree;
use serde_json::Map;

/// The patched tree. A patch that is no object replaces everything.
#[must_use]
pub fn apply(current: &Tree, patch: &Tree) -> Tree {
    let Tree::Object(patch) = patch else { return patch.clone() };
    let mut merged = match current {
        Tree::Object(current) => current.clone(),
        _ => Map::new(),
    };
    for (key, change) in patch {
        if change.is_null() {
            merged.shift_remove(key);
            continue;
        }
        let value = apply(merged.get(key).unwrap_or(&Tree::Null), change);
        merged.insert(key.clone(), value);
    }
    // As Go prints a map; who is shown the outcome finds upstream's order.
    merged.sort_keys();
    Tree::Object(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_examples_of_the_rfc() {
        let check = |current: Tree, patch: Tree, expect: Tree| assert_eq!(apply(&current, &patch), expect, "{patch}");
        check(json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"}));
        check(json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"}));
        check(json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"}));
        check(json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"}));
        check(json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}}));
        check(json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]}));
        check(json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1}));
        check(json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"}));
        check(json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}}));
    }

    #[test]
    fn what_was_touched_is_in_order() {
        let patched = apply(&json!({"b": {"y": 1, "x": 1}, "a": {"y": 1, "x": 1}}), &json!({"b": {"w": 1}}));
        assert_eq!(patched.to_string(), r#"{"a":{"y":1,"x":1},"b":{"w":1,"x":1,"y":1}}"#);
    }
}
