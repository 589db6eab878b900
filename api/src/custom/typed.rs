//! Whether what is applied fits the schema it is merged by, in the words of structured-merge-diff: a field that is not
//! declared has no owner, and elements that are alike cannot be told apart. The rest is for validation.

use super::schema::Schema;
use crate::fields::ListType;
use crate::walk::text;
use crate::{Kind, Rejected, Tree};
use std::fmt::Write as _;

/// kube-apiserver answers these mistakes with a 500; the client is at fault, so here it is a 400 with its words.
pub fn check(kind: &Kind, applied: &Tree) -> Result<(), Rejected> {
    let (Some(custom), Some(members)) = (&kind.custom, applied.as_object()) else { return Ok(()) };
    let mut errors = Vec::new();
    for (key, child) in members.iter().filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata")) {
        member(&custom.schema, key, child, "", &mut errors);
    }
    let why = match errors.as_slice() {
        [] => return Ok(()),
        [only] => only.clone(),
        all => format!("errors:\n  {}", all.join("\n  ")),
    };
    let meta = |key: &str| text(applied, &["metadata", key]);
    let message = format!(
        "failed to create typed patch object ({}/{}; {}, Kind={}): {why}",
        meta("namespace"),
        meta("name"),
        kind.api_version(),
        kind.kind
    );
    Err(Rejected::bad_request(message))
}

fn member(schema: &Schema, key: &str, child: &Tree, path: &str, errors: &mut Vec<String>) {
    let below = format!("{path}.{key}");
    match schema.member(key) {
        Some(member) => value(member, child, &below, errors),
        None if schema.preserves_unknown || schema.additional.is_some() => {}
        None => errors.push(format!("{below}: field not declared in schema")),
    }
}

fn value(schema: &Schema, tree: &Tree, path: &str, errors: &mut Vec<String>) {
    match tree {
        Tree::Object(map) => {
            let is_own = |key: &str| schema.is_embedded && matches!(key, "apiVersion" | "kind" | "metadata");
            for (key, child) in map.iter().filter(|(key, _)| !is_own(key)) {
                member(schema, key, child, path, errors);
            }
        }
        Tree::Array(all) => {
            let keys: Vec<Option<String>> = all.iter().map(|item| key(schema, item)).collect();
            for (at, key) in keys.iter().enumerate() {
                if let Some(key) = key.as_ref().filter(|_| keys[..at].contains(key)) {
                    errors.push(format!("{path}: duplicate entries for key [{key}]"));
                }
            }
            if let Some(items) = &schema.items {
                for (at, item) in all.iter().enumerate() {
                    value(items, item, &format!("{path}[{at}]"), errors);
                }
            }
        }
        _ => {}
    }
}

/// What tells an element from the others; `None` in a list that is one value.
fn key(schema: &Schema, item: &Tree) -> Option<String> {
    match schema.list_type? {
        ListType::Set => Some(format!("={item}")),
        ListType::Map => {
            let default = |name: &str| schema.items.as_ref()?.properties.get(name)?.default.as_ref();
            let mut names: Vec<&String> = schema.list_map_keys.iter().collect();
            names.sort();
            let mut told = String::new();
            for name in names {
                let Some(value) = item.get(name).or_else(|| default(name)) else { continue };
                let comma = if told.is_empty() { "" } else { "," };
                let _ = write!(told, "{comma}{name}={value}");
            }
            Some(told)
        }
        ListType::Atomic => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::custom::Definition;
    use serde_json::json;

    #[test]
    fn what_cannot_be_owned_is_refused() {
        let item = json!({"type": "object", "properties": {"p": {"type": "integer"}, "q": {"type": "string", "default": "x"}}});
        let keyed = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["p", "q"], "items": item});
        let schema = json!({"type": "object", "properties": {"l": keyed}});
        let definition = json!({
            "spec": {"group": "e.com", "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
            }]},
            "status": {"acceptedNames": {"kind": "T"}, "conditions": [{"type": "Established", "status": "True"}]},
        });
        let kinds = Definition::read(&definition, 1).kinds;
        let check = |applied| super::check(&kinds[0], &applied).map_err(|rejected| rejected.message);
        assert_eq!(check(json!({"kind": "T", "metadata": {"name": "n"}, "l": [{"p": 1}, {"p": 2}]})), Ok(()));
        let twice = check(json!({"metadata": {"name": "n"}, "l": [{"p": 1}, {"p": 1, "q": "x"}]}));
        let told = "failed to create typed patch object (/n; e.com/v1, Kind=T): ";
        assert_eq!(twice, Err(format!("{told}.l: duplicate entries for key [p=1,q=\"x\"]")));
        assert_eq!(
            check(json!({"metadata": {"name": "n"}, "z": 1})),
            Err(format!("{told}.z: field not declared in schema"))
        );
    }
}
