//! Why a patched tree is no object of its type, in the words of upstream's converter: a strategic merge patch is not
//! decoded from JSON there.

use crate::Tree;
use crate::fields::{Container, Field, TypeRef, Value};

/// The first thing that is of the wrong type, in the order of Go's structs. `None` if it is not for this to tell.
#[must_use]
pub fn why_not(schema: TypeRef, tree: &Tree) -> Option<String> {
    let Tree::Object(members) = tree else { return Some(format!("cannot restore struct from: {}", kind(tree))) };
    schema.fields().iter().find_map(|field| member(field, members.get(field.json)?))
}

fn member(field: &Field, value: &Tree) -> Option<String> {
    match (field.container, value) {
        (_, Tree::Null) => None,
        (Container::List, Tree::Array(all)) => all.iter().find_map(|one| single(field.value, one)),
        (Container::List, other) => Some(format!("cannot restore slice from {}", kind(other))),
        (Container::Map, Tree::Object(all)) => all.values().find_map(|one| single(field.value, one)),
        (Container::Map, other) => Some(format!("cannot restore map from {}", kind(other))),
        (Container::Single, value) => single(field.value, value),
    }
}

fn single(wanted: Value, value: &Tree) -> Option<String> {
    let go = match wanted {
        Value::String => "string",
        Value::Int32 => "int32",
        Value::Int64 => "int64",
        Value::Bool => "bool",
        Value::Float64 => "float64",
        Value::Bytes if value.is_string() || value.is_array() || value.is_null() => return None,
        Value::Bytes => return Some(format!("cannot restore slice from {}", kind(value))),
        Value::Object(schema) if !schema.is_bare() && !value.is_null() => return why_not(schema, value),
        _ => return None,
    };
    let is_whole = |number: &serde_json::Number| number.as_f64().is_some_and(|number| number.fract() == 0.0);
    match (wanted, value) {
        (_, Tree::Null)
        | (Value::String, Tree::String(_))
        | (Value::Bool, Tree::Bool(_))
        | (Value::Float64, Tree::Number(_)) => None,
        (Value::Int32 | Value::Int64, Tree::Number(number)) if is_whole(number) => None,
        // These are conversions in Go, though none in JSON.
        (Value::Int32 | Value::Int64, Tree::Number(_)) => Some(format!("cannot convert float64 to {go}")),
        (Value::String, Tree::Number(number)) if !number.is_f64() => Some("cannot convert int64 to string".to_owned()),
        _ => Some(format!("unrecognized type: {go}")),
    }
}

/// What Go's `reflect` calls it.
fn kind(value: &Tree) -> &'static str {
    match value {
        Tree::Number(number) if number.is_f64() => "float64",
        Tree::Number(_) => "int64",
        Tree::Array(_) => "slice",
        Tree::Object(_) => "map",
        other => crate::codec::named::found(other),
    }
}
