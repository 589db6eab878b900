//! A tree as a message, by the field table: ascending field numbers, map entries by key, plain scalars always
//! written, as gogo's generated code does.

use super::wire::{put_bytes, put_fixed64, put_message, put_number};
use super::{MAGIC, duration};
use crate::fields::{Container, Field, Route, TypeRef, Value};
use crate::{Tree, time};
use base64::Engine as _;
use serde_json::Map;

pub(super) fn envelope(tree: &Tree, schema: TypeRef) -> Vec<u8> {
    let text = |key: &str| tree.get(key).and_then(Tree::as_str).unwrap_or_default();
    let mut out = MAGIC.to_vec();
    // Members of the tree that are not a TypeMeta (APIVersions' `kind`) stay out of the envelope.
    let has_meta = schema.declared().first().is_some_and(|first| first.inline && first.proto == 0);
    put_message(&mut out, 1, |out| {
        put_bytes(out, 1, if has_meta { text("apiVersion") } else { "" }.as_bytes());
        put_bytes(out, 2, if has_meta { text("kind") } else { "" }.as_bytes());
    });
    put_message(&mut out, 2, |out| {
        if let Tree::Object(map) = tree {
            object(out, map, schema);
        }
    });
    put_bytes(&mut out, 3, b"");
    put_bytes(&mut out, 4, b"");
    out
}

fn object(out: &mut Vec<u8>, map: &Map<String, Tree>, schema: TypeRef) {
    for Route { field, .. } in schema.routes() {
        match field.value {
            Value::Object(inner) if field.inline => {
                if !field.pointer {
                    put_message(out, field.proto, |out| object(out, map, inner));
                }
            }
            _ => member(out, field, map.get(field.json).filter(|value| !value.is_null())),
        }
    }
}

fn member(out: &mut Vec<u8>, field: &Field, value: Option<&Tree>) {
    match (field.container, value) {
        (Container::Map, Some(Tree::Object(map))) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            for (key, value) in entries {
                put_message(out, field.proto, |out| {
                    put_bytes(out, 1, key.as_bytes());
                    if !(field.value == Value::Bytes && value.is_null()) {
                        element(out, 2, field.value, value);
                    }
                });
            }
        }
        (Container::List, Some(Tree::Array(all))) => {
            all.iter().for_each(|item| element(out, field.proto, field.value, item));
        }
        (Container::Single, Some(value)) => element(out, field.proto, field.value, value),
        (Container::Single, None) if !is_nil_able(field) => element(out, field.proto, field.value, &Tree::Null),
        _ => {}
    }
}

fn is_nil_able(field: &Field) -> bool {
    field.pointer || field.value == Value::Bytes || matches!(field.value, Value::Object(inner) if inner.is_bare())
}

/// One value; null is written as the zero value.
fn element(out: &mut Vec<u8>, number: u32, kind: Value, value: &Tree) {
    let integer = || value.as_i64().unwrap_or(0).cast_unsigned();
    let text = || value.as_str().unwrap_or_default();
    match kind {
        Value::String => put_bytes(out, number, text().as_bytes()),
        Value::Int32 | Value::Int64 => put_number(out, number, integer()),
        Value::Bool => put_number(out, number, u64::from(value.as_bool().unwrap_or(false))),
        Value::Float64 => put_fixed64(out, number, value.as_f64().unwrap_or(0.0).to_bits()),
        Value::Bytes => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text()).unwrap_or_default();
            put_bytes(out, number, &bytes);
        }
        Value::Quantity => {
            let amount = value.as_str().unwrap_or("0");
            put_message(out, number, |out| put_bytes(out, 1, amount.as_bytes()));
        }
        Value::IntOrString => put_message(out, number, |out| {
            put_number(out, 1, u64::from(value.is_string()));
            put_number(out, 2, integer());
            put_bytes(out, 3, text().as_bytes());
        }),
        Value::Time | Value::MicroTime => put_message(out, number, |out| moment(out, value)),
        Value::Duration => put_message(out, number, |out| {
            put_number(out, 1, duration::parse(text()).unwrap_or(0).cast_unsigned());
        }),
        Value::FieldsV1 | Value::RawExtension | Value::Json | Value::Any => put_message(out, number, |out| {
            if !value.is_null() {
                put_bytes(out, 1, &go_json(value));
            }
        }),
        Value::Object(inner) if inner.is_bare() => put_message(out, number, |out| bare(out, value, inner)),
        Value::Object(inner) => put_message(out, number, |out| match value {
            Tree::Object(map) => object(out, map, inner),
            _ => object(out, &Map::new(), inner),
        }),
    }
}

fn moment(out: &mut Vec<u8>, value: &Tree) {
    if let Some(at) = value.as_str().and_then(time::parse) {
        put_number(out, 1, at.as_second().cast_unsigned());
        put_number(out, 2, u64::try_from(at.subsec_nanosecond()).unwrap_or(0));
    }
}

fn bare(out: &mut Vec<u8>, value: &Tree, schema: TypeRef) {
    for own in schema.declared() {
        match (own.container, value) {
            (Container::List, Tree::Array(all)) => {
                all.iter().for_each(|item| element(out, own.proto, own.value, item));
            }
            (Container::List, _) => {}
            (_, Tree::Bool(_)) if own.value == Value::Bool => element(out, own.proto, own.value, value),
            // The schema implies that the value is allowed.
            (_, other) if own.value == Value::Bool => put_number(out, own.proto, u64::from(other.is_object())),
            (_, Tree::Object(_)) if matches!(own.value, Value::Object(_)) => {
                element(out, own.proto, own.value, value);
            }
            _ => {}
        }
    }
}

/// JSON as Go writes it: `<`, `>`, `&` and the line separators are escaped.
fn go_json(value: &Tree) -> Vec<u8> {
    let plain = value.to_string();
    if !plain.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return plain.into_bytes();
    }
    let mut out = String::with_capacity(plain.len() + 16);
    for letter in plain.chars() {
        match letter {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            other => out.push(other),
        }
    }
    out.into_bytes()
}
