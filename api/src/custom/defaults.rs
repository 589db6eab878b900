//! The defaults that a schema declares, and what it makes of null.

use super::schema::Schema;
use crate::Tree;

/// Fills in defaults, from the outside in, and drops nulls where a value may not be null.
pub(crate) fn fill(schema: &Schema, tree: &mut Tree) {
    match tree {
        Tree::Object(map) => {
            for (key, property) in &schema.properties {
                let Some(default) = &property.default else { continue };
                if map.get(key).is_none_or(|value| value.is_null() && !property.nullable) {
                    map.insert(key.clone(), default.clone());
                }
            }
            map.retain(|key, value| {
                let Some(member) = schema.member(key) else { return true };
                if value.is_null() && !member.nullable {
                    match &member.default {
                        Some(default) => *value = default.clone(),
                        None => return false,
                    }
                }
                fill(member, value);
                true
            });
        }
        Tree::Array(all) => {
            let Some(items) = &schema.items else { return };
            for item in all {
                if let (Tree::Null, false, Some(default)) = (&*item, items.nullable, &items.default) {
                    *item = default.clone();
                }
                fill(items, item);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_come_where_nothing_is() {
        let schema = Schema::read(&json!({"properties": {
            "a": {"type": "integer", "default": 1},
            "o": {"type": "object", "default": {}, "properties": {"b": {"type": "string", "default": "x"}}},
            "n": {"type": "string", "nullable": true, "default": "never"},
            "gone": {"type": "string"},
            "l": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
        }}));
        let check = |mut tree: Tree, expect: Tree| {
            fill(&schema, &mut tree);
            assert_eq!(tree, expect);
        };
        check(json!({}), json!({"a": 1, "n": "never", "o": {"b": "x"}}));
        check(
            json!({"a": null, "n": null, "gone": null, "o": {"b": "y"}, "l": [{}, {"p": "UDP"}]}),
            json!({"a": 1, "n": null, "o": {"b": "y"}, "l": [{"p": "TCP"}, {"p": "UDP"}]}),
        );
    }
}
