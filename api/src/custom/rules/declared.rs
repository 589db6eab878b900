//! What a schema says, as types of expressions: with the names that expressions write, and the sizes that it allows.
//!
//! A value of which a schema says nothing has no type, and no expression can reach it.

use crate::Tree;
use crate::cel::types::{Field, Likeness, ListType, REQUEST_BYTES_MAX};
use crate::cel::{self, escaped};
use crate::custom::schema::{Additional, Schema, Type};
use crate::fields::ListType as Ties;
use std::sync::Arc;

/// What a member of a map has besides its value in JSON: quotes, a colon, a comma, and a name.
const MEMBER_BYTES: u64 = 6;

/// The type of a value; `is_object` if it is an object with `apiVersion`, `kind` and `metadata`.
pub(in crate::custom) fn declared(schema: &Schema, is_object: bool) -> Option<cel::Type> {
    let rules = &schema.rules;
    if schema.is_either() {
        return Some(cel::Type::Dyn(REQUEST_BYTES_MAX));
    }
    Some(match schema.types.first()? {
        Type::Array => {
            let items = schema.items.as_ref()?;
            let of = declared(items, items.is_embedded)?;
            let most = rules.items.most.unwrap_or_else(|| REQUEST_BYTES_MAX / (least_bytes(items) + 1));
            let like = match schema.list_type {
                Some(Ties::Set) => Likeness::Set,
                Some(Ties::Map) => Likeness::Map(schema.list_map_keys.clone()),
                Some(Ties::Atomic) | None => Likeness::Ordered,
            };
            cel::Type::List(Arc::new(ListType { items: of, most, like }))
        }
        Type::Object => match &schema.additional {
            Some(Additional::Values(values)) => {
                let of = declared(values, values.is_embedded)?;
                let most = rules.properties.most;
                let most = most.unwrap_or_else(|| REQUEST_BYTES_MAX / (least_bytes(values) + MEMBER_BYTES));
                cel::Type::map(text(REQUEST_BYTES_MAX), of, most)
            }
            _ => object(schema, is_object),
        },
        Type::String => match schema.format.as_str() {
            "byte" => cel::Type::Bytes(length(schema)),
            "duration" => cel::Type::Duration,
            "date" | "date-time" => cel::Type::Timestamp,
            _ => text(length(schema)),
        },
        Type::Boolean => cel::Type::Bool,
        Type::Number => cel::Type::Double,
        Type::Integer => cel::Type::Int,
    })
}

fn text(most: u64) -> cel::Type {
    cel::Type::String(most)
}

fn object(schema: &Schema, is_object: bool) -> cel::Type {
    let known = |key: &str, of: cel::Type| (key.to_owned(), Field { key: key.to_owned(), of });
    let mut fields = Vec::new();
    for (key, part) in &schema.properties {
        let of = declared(part, part.is_embedded);
        fields.extend(of.zip(escaped(key)).map(|(of, name)| (name, Field { key: key.clone(), of })));
    }
    if is_object {
        let names = ["name", "generateName"].map(|key| known(key, text(REQUEST_BYTES_MAX)));
        fields.extend(["apiVersion", "kind"].map(|key| known(key, text(REQUEST_BYTES_MAX))));
        fields.push(known("metadata", cel::Type::object(names)));
    }
    cel::Type::object(fields)
}

/// The longest text, in bytes: a letter has up to four.
fn length(schema: &Schema) -> u64 {
    let rules = &schema.rules;
    let longest = rules.enumeration.iter().filter_map(Tree::as_str).map(str::len).max();
    if let Some(longest) = longest {
        return longest as u64;
    }
    rules.length.most.map_or(REQUEST_BYTES_MAX - 2, |letters| letters.saturating_mul(4))
}

/// The type of a member, as its object's type has it. A name that cannot be written has a type of its own.
pub(in crate::custom) fn member(of: Option<&cel::Type>, key: &str, part: &Schema) -> Option<cel::Type> {
    match (escaped(key), of) {
        (Some(name), Some(cel::Type::Object(object))) => object.fields.get(&name).map(|field| field.of.clone()),
        (Some(_), Some(_)) => None,
        _ => declared(part, part.is_embedded),
    }
}

/// The type of what is in a list or a map.
pub(in crate::custom) fn element(of: Option<&cel::Type>) -> Option<cel::Type> {
    match of? {
        cel::Type::List(list) => Some(list.items.clone()),
        cel::Type::Map(map) => Some(map.value.clone()),
        _ => None,
    }
}

/// The fewest bytes that a value has in JSON.
pub(in crate::custom) fn least_bytes(schema: &Schema) -> u64 {
    if schema.is_either() {
        return 1;
    }
    match schema.types.first() {
        Some(Type::Boolean) => 4,
        Some(Type::Integer | Type::Number) | None => 1,
        Some(Type::String) => match schema.format.as_str() {
            "date" => 12,
            "date-time" => 21,
            "duration" => 3,
            _ => 2,
        },
        Some(Type::Array) => 2,
        Some(Type::Object) => {
            let required = schema.rules.required.iter().filter_map(|key| Some((key, schema.properties.get(key)?)));
            let needed = required.filter(|(_, part)| part.default.is_none());
            2 + needed.map(|(key, part)| key.len() as u64 + least_bytes(part) + 4).sum::<u64>()
        }
    }
}
