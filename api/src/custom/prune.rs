//! What a schema does not know is dropped, unless it says that it may stay.

use super::schema::{Additional, Schema};
use crate::codec::{self, Strictness};
use crate::{Tree, fields};
use serde_json::Map;

/// What every object has, declared or not.
const OWN: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Drops the unknown fields of an object; their paths, in order.
pub(crate) fn prune(schema: &Schema, tree: &mut Tree) -> Vec<String> {
    let mut unknown = Vec::new();
    if let Some(map) = tree.as_object_mut() {
        members(Some(schema), true, map, "", &mut unknown);
    }
    unknown.sort();
    unknown
}

fn value(schema: Option<&Schema>, tree: &mut Tree, path: &str, unknown: &mut Vec<String>) {
    let keeps = schema.is_some_and(|schema| schema.preserves_unknown);
    match tree {
        Tree::Object(map) => {
            let is_embedded = schema.is_some_and(|schema| schema.is_embedded);
            members(schema, is_embedded, map, path, unknown);
            if is_embedded {
                metadata(map, path, unknown);
            }
        }
        Tree::Array(all) => {
            let items = schema.and_then(|schema| schema.items.as_deref());
            if items.is_none() && keeps {
                return;
            }
            for (at, item) in all.iter_mut().enumerate() {
                value(items, item, &format!("{path}[{at}]"), unknown);
            }
        }
        _ => {}
    }
}

fn members(
    schema: Option<&Schema>,
    is_object: bool,
    map: &mut Map<String, Tree>,
    path: &str,
    unknown: &mut Vec<String>,
) {
    let keeps = schema.is_some_and(|schema| schema.preserves_unknown);
    map.retain(|key, child| {
        if is_object && OWN.contains(&key.as_str()) {
            return true;
        }
        let below = || if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let additional = schema.and_then(|schema| schema.additional.as_ref());
        match (schema.and_then(|schema| schema.properties.get(key)), additional) {
            (Some(property), _) => value(Some(property), child, &below(), unknown),
            (None, Some(Additional::Values(values))) => value(Some(values), child, &below(), unknown),
            (None, Some(Additional::Any)) => value(None, child, &below(), unknown),
            (None, None) if keeps => {}
            (None, None) => {
                unknown.push(below());
                return false;
            }
        }
        true
    });
}

/// An embedded object's metadata is an object's metadata.
fn metadata(map: &mut Map<String, Tree>, path: &str, unknown: &mut Vec<String>) {
    let Some(metadata) = map.get_mut("metadata").filter(|metadata| metadata.is_object()) else { return };
    // Metadata of the wrong type is told by the check that follows.
    if let Ok((known, problems)) = codec::conform_as(metadata.clone(), Some(fields::object_meta()), Strictness::Warn) {
        *metadata = known;
        unknown.extend(problems.iter().filter_map(|problem| Some(format!("{path}.metadata.{}", problem.unknown()?))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(schema: Tree, mut tree: Tree, expect: Tree, unknown: &[&str]) {
        assert_eq!(prune(&Schema::read(&schema), &mut tree), unknown);
        assert_eq!(tree, expect);
    }

    #[test]
    fn unknown_fields_go() {
        let spec = |spec: Tree| json!({"type": "object", "properties": {"spec": spec}});
        let known = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
        check(
            spec(known.clone()),
            json!({"kind": "X", "metadata": {"x": 1}, "spec": {"a": 1, "b": 2}, "c": 3}),
            json!({"kind": "X", "metadata": {"x": 1}, "spec": {"a": 1}}),
            &["c", "spec.b"],
        );
        let list = json!({"type": "array", "items": known});
        check(spec(list), json!({"spec": [{"a": 1}, {"b": 1}]}), json!({"spec": [{"a": 1}, {}]}), &["spec[1].b"]);
        let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"p": known}});
        check(spec(open), json!({"spec": {"z": 1, "p": {"z": 1}}}), json!({"spec": {"z": 1, "p": {}}}), &["spec.p.z"]);
        let map = json!({"type": "object", "additionalProperties": known});
        check(spec(map), json!({"spec": {"k": {"a": 1, "z": 1}}}), json!({"spec": {"k": {"a": 1}}}), &["spec.k.z"]);
        let embedded = json!({"type": "object", "x-kubernetes-embedded-resource": true});
        check(
            spec(embedded),
            json!({"spec": {"kind": "X", "metadata": {"name": "n", "bogus": 1}, "free": 1}}),
            json!({"spec": {"kind": "X", "metadata": {"name": "n"}}}),
            &["spec.free", "spec.metadata.bogus"],
        );
    }
}
