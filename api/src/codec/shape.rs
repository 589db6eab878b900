//! The canonical shape of a tree: what Go prints for the struct that the tree stands for.
//!
//! Key order is the table's; zero values go or stay by `omitempty` and pointer; quantities and times are in their
//! one canonical spelling.

use super::DEPTH_MAX;
use crate::fields::{self, Container, Field, TypeRef, Value};
use crate::quantity;
use crate::{Tree, time};
use serde_json::Map;

pub(super) fn canonical(tree: Tree, schema: Option<TypeRef>) -> Tree {
    match (tree, schema) {
        (Tree::Object(map), Some(schema)) => Tree::Object(object(map, schema, 0)),
        (Tree::Object(map), None) => Tree::Object(custom(map)),
        (other, _) => other,
    }
}

/// A custom resource: the head first, typed metadata, and the rest as Go prints maps, by key.
fn custom(mut map: Map<String, Tree>) -> Map<String, Tree> {
    let mut out = Map::with_capacity(map.len());
    for key in ["apiVersion", "kind"] {
        if let Some(value) = map.shift_remove(key) {
            out.insert(key.to_owned(), value);
        }
    }
    if let Some(Tree::Object(metadata)) = map.shift_remove("metadata") {
        out.insert("metadata".to_owned(), Tree::Object(object(metadata, fields::object_meta(), 0)));
    }
    map.sort_keys();
    map.values_mut().for_each(Tree::sort_all_objects);
    out.extend(map);
    out
}

fn object(map: Map<String, Tree>, schema: TypeRef, depth: usize) -> Map<String, Tree> {
    let mut slots: Vec<Option<Tree>> = vec![None; schema.fields().len()];
    for (key, value) in map {
        if let Some(at) = schema.position(&key) {
            let field = schema.fields()[at];
            slots[at] = (!value.is_null()).then(|| value_of(field, value, depth + 1));
        }
    }
    finish(schema, slots, depth)
}

/// Puts the members together: which of them Go would print, and what for those that are not set. `slots` are the
/// canonical values by position in `schema.fields()`.
pub(super) fn finish(schema: TypeRef, slots: Vec<Option<Tree>>, depth: usize) -> Map<String, Tree> {
    let mut out = Map::with_capacity(slots.iter().filter(|slot| slot.is_some()).count() + 1);
    for (field, slot) in schema.fields().iter().zip(slots) {
        if let Some(value) = printed(field, slot, depth) {
            out.insert(field.json.to_owned(), value);
        }
    }
    out
}

pub(super) fn printed(field: &Field, value: Option<Tree>, depth: usize) -> Option<Tree> {
    let unset = || (!field.omitempty).then_some(Tree::Null);
    if field.container != Container::Single || is_nil_able(field) {
        return match value {
            Some(value) if field.omitempty && !field.pointer && is_empty(&value) => None,
            Some(value) => Some(value),
            None => unset(),
        };
    }
    match field.value {
        Value::String | Value::Int32 | Value::Int64 | Value::Bool | Value::Float64 => match value {
            Some(value) if !(field.omitempty && is_zero(&value)) => Some(value),
            Some(_) => None,
            None => (!field.omitempty).then(|| zero(field.value, depth)),
        },
        _ => match value.unwrap_or_else(|| zero(field.value, depth)) {
            Tree::Null if field.omitzero => None,
            value => Some(value),
        },
    }
}

/// Makes null of what is empty, and printed all the same.
pub(super) fn unset_empty(tree: &mut Tree, schema: TypeRef, depth: usize) {
    let Tree::Object(map) = tree else { return };
    for (key, value) in map {
        let Some(field) = schema.position(key).map(|at| schema.fields()[at]) else { continue };
        let is_many = field.container != Container::Single;
        if is_many && !field.omitempty && !field.pointer && is_empty(value) {
            *value = Tree::Null;
        }
        let Value::Object(inner) = field.value else { continue };
        if inner.is_bare() || depth >= DEPTH_MAX {
            continue;
        }
        match (field.container, value) {
            (Container::Single, value) => unset_empty(value, inner, depth + 1),
            (Container::List, Tree::Array(all)) => all.iter_mut().for_each(|one| unset_empty(one, inner, depth + 1)),
            (Container::Map, Tree::Object(all)) => {
                all.values_mut().for_each(|one| unset_empty(one, inner, depth + 1));
            }
            _ => {}
        }
    }
}

/// What is nil in Go when it is not set: pointers, byte slices, and the types that stand for one of their members.
fn is_nil_able(field: &Field) -> bool {
    field.pointer || field.value == Value::Bytes || matches!(field.value, Value::Object(inner) if inner.is_bare())
}

fn is_empty(value: &Tree) -> bool {
    match value {
        Tree::Null => true,
        Tree::String(text) => text.is_empty(),
        Tree::Array(all) => all.is_empty(),
        Tree::Object(all) => all.is_empty(),
        Tree::Bool(_) | Tree::Number(_) => false,
    }
}

fn is_zero(value: &Tree) -> bool {
    match value {
        Tree::Bool(value) => !value,
        Tree::Number(number) => number.as_f64() == Some(0.0),
        other => is_empty(other),
    }
}

/// What Go prints for a value that is not set and has no nil.
pub(super) fn zero(value: Value, depth: usize) -> Tree {
    match value {
        Value::String => Tree::String(String::new()),
        Value::Int32 | Value::Int64 | Value::Float64 | Value::IntOrString => 0.into(),
        Value::Bool => false.into(),
        Value::Quantity => Tree::String("0".to_owned()),
        Value::Duration => Tree::String("0s".to_owned()),
        Value::Object(inner) if !inner.is_bare() && depth < DEPTH_MAX => {
            Tree::Object(finish(inner, vec![None; inner.fields().len()], depth + 1))
        }
        _ => Tree::Null,
    }
}

pub(super) fn value_of(field: &Field, value: Tree, depth: usize) -> Tree {
    match (field.container, value) {
        (Container::List, Tree::Array(all)) => all.into_iter().map(|item| element(field.value, item, depth)).collect(),
        (Container::Map, Tree::Object(mut all)) => {
            all.sort_keys();
            all.into_iter().map(|(key, item)| (key, map_member(field.value, item, depth))).collect()
        }
        (Container::Single, value) => element(field.value, value, depth),
        (_, other) => other,
    }
}

/// The only maps of quantities are amounts of resources.
pub(super) fn map_member(kind: Value, value: Tree, depth: usize) -> Tree {
    match kind {
        Value::Quantity => amount(value, quantity::resource_spelling),
        kind => element(kind, value, depth),
    }
}

pub(super) fn element(kind: Value, value: Tree, depth: usize) -> Tree {
    match (kind, value) {
        (Value::Object(inner), value) if inner.is_bare() => bare(inner, value, depth),
        (Value::Object(inner), Tree::Object(map)) if depth < DEPTH_MAX => Tree::Object(object(map, inner, depth)),
        (Value::Object(_) | Value::Quantity | Value::Int32 | Value::Int64 | Value::String, Tree::Null) => {
            zero(kind, depth)
        }
        (Value::Quantity, value) => amount(value, quantity::spelling),
        (Value::Time, Tree::String(text)) => seconds(text),
        (Value::MicroTime, Tree::String(text)) => micros(text),
        (Value::Float64, Tree::Number(number)) => float(number.as_f64().unwrap_or(0.0)),
        (Value::Bytes, Tree::String(text)) if text.contains(['\r', '\n']) => {
            Tree::String(text.replace(['\r', '\n'], ""))
        }
        (_, value) => value,
    }
}

fn bare(schema: TypeRef, value: Tree, depth: usize) -> Tree {
    let wants = |own: &&Field| match &value {
        Tree::Array(_) => own.container == Container::List,
        Tree::Bool(_) => own.value == Value::Bool,
        _ => own.container == Container::Single && matches!(own.value, Value::Object(_)),
    };
    match schema.declared().iter().find(wants) {
        Some(own) => value_of(own, value, depth),
        None => value,
    }
}

/// Go prints a float that is whole without a fraction.
#[expect(clippy::cast_possible_truncation, reason = "checked to be a whole number that an i64 holds exactly")]
pub(super) fn float(value: f64) -> Tree {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT_MAX { (value as i64).into() } else { value.into() }
}

/// The text of a quantity as it is written.
pub(super) fn quantity(text: String) -> String {
    quantity::spelling(&text).unwrap_or(text)
}

/// A quantity, written as a text whatever the client wrote.
fn amount(value: Tree, spelling: fn(&str) -> Result<String, quantity::ParseError>) -> Tree {
    let text = match value {
        Tree::String(text) => text,
        Tree::Number(number) => number.to_string(),
        Tree::Null => "0".to_owned(),
        other => return other,
    };
    Tree::String(spelling(text.trim()).unwrap_or(text))
}

fn seconds(text: String) -> Tree {
    if text.len() == "2006-01-02T15:04:05Z".len() && text.ends_with('Z') {
        return Tree::String(text);
    }
    time::parse(&text).map_or(Tree::Null, |at| Tree::String(time::seconds(at)))
}

fn micros(text: String) -> Tree {
    if text.len() == "2006-01-02T15:04:05.000000Z".len() && text.ends_with('Z') {
        return Tree::String(text);
    }
    time::parse(&text).map_or(Tree::Null, |at| Tree::String(time::micros(at)))
}
