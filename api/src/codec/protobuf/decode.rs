//! A message as a canonical tree, by the field table.

use super::wire::{self, Part, parts};
use super::{Envelope, MAGIC, duration};
use crate::codec::{DEPTH_MAX, DecodeError, shape};
use crate::fields::{Container, Field, Route, TypeRef, Value};
use crate::{Tree, time};
use base64::Engine as _;
use serde_json::Map;

/// Go's zero time, as seconds since 1970.
const ZERO_TIME: i64 = -62_135_596_800;

type Slots = Vec<Option<Tree>>;

/// The root message: kind and apiVersion come from the envelope.
pub(super) fn message(bytes: &[u8], schema: TypeRef, envelope: &Envelope<'_>) -> Result<Tree, DecodeError> {
    let mut slots = vec![None; schema.fields().len()];
    fill(&mut slots, bytes, schema, 0, 0)?;
    for (key, value) in [("kind", envelope.kind), ("apiVersion", envelope.api_version)] {
        if let Some(at) = schema.position(key).filter(|_| !value.is_empty()) {
            slots[at] = Some(value.into());
        }
    }
    Ok(Tree::Object(shape::finish(schema, slots, 0)))
}

fn object(bytes: &[u8], schema: TypeRef, depth: usize) -> Result<Tree, DecodeError> {
    if depth > DEPTH_MAX {
        return Err(DecodeError::TooDeep);
    }
    let mut slots = vec![None; schema.fields().len()];
    fill(&mut slots, bytes, schema, 0, depth)?;
    Ok(Tree::Object(shape::finish(schema, slots, depth)))
}

/// Puts the members of a message into their slots; those of an inlined struct begin at `base`.
fn fill(slots: &mut Slots, bytes: &[u8], schema: TypeRef, base: usize, depth: usize) -> Result<(), DecodeError> {
    let routes = schema.routes();
    for part in parts(bytes) {
        let (number, part) = part?;
        let Ok(at) = routes.binary_search_by_key(&number, |route| route.field.proto) else { continue };
        let Route { field, position } = routes[at];
        let at = base + position;
        match (field.container, field.value, part) {
            (_, Value::Object(inner), Part::Bytes(bytes)) if field.inline => fill(slots, bytes, inner, at, depth + 1)?,
            (Container::Single, _, part) => slots[at] = non_null(element(field.value, part, depth + 1)?),
            (Container::List, _, part) => {
                let item = element(field.value, part, depth + 1)?;
                match slots[at].get_or_insert_with(|| Tree::Array(Vec::new())) {
                    Tree::Array(all) => all.push(item),
                    _ => return Err(mismatch(field)),
                }
            }
            (Container::Map, _, Part::Bytes(entry)) => {
                let (key, value) = map_entry(field, entry, depth + 1)?;
                match slots[at].get_or_insert_with(|| Tree::Object(Map::new())) {
                    Tree::Object(all) => _ = all.insert(key, value),
                    _ => return Err(mismatch(field)),
                }
            }
            (Container::Map, ..) => return Err(mismatch(field)),
        }
    }
    Ok(())
}

fn non_null(value: Tree) -> Option<Tree> {
    (!value.is_null()).then_some(value)
}

fn mismatch(field: &Field) -> DecodeError {
    DecodeError::Malformed(format!("the protobuf field {} ({}) has the wrong form", field.json, field.proto))
}

fn map_entry(field: &Field, bytes: &[u8], depth: usize) -> Result<(String, Tree), DecodeError> {
    let (mut key, mut value) = ("", None);
    for part in parts(bytes) {
        match part? {
            (1, Part::Bytes(text)) => key = wire::text(text)?,
            (2, part) => value = Some(element(field.value, part, depth)?),
            _ => {}
        }
    }
    Ok((key.to_owned(), value.unwrap_or_else(|| shape::zero(field.value, depth))))
}

fn element(kind: Value, part: Part<'_>, depth: usize) -> Result<Tree, DecodeError> {
    match (kind, part) {
        (Value::Bool, Part::Varint(number)) => Ok((number != 0).into()),
        (Value::Int32 | Value::Int64, Part::Varint(number)) => Ok(number.cast_signed().into()),
        (Value::Float64, Part::Fixed64(bits)) => Ok(shape::float(f64::from_bits(bits))),
        (Value::String, Part::Bytes(bytes)) => Ok(wire::text(bytes)?.into()),
        (Value::Bytes, Part::Bytes(bytes)) => Ok(base64::engine::general_purpose::STANDARD.encode(bytes).into()),
        (Value::Object(inner), Part::Bytes(bytes)) if inner.is_bare() => bare(bytes, inner, depth),
        (Value::Object(inner), Part::Bytes(bytes)) => object(bytes, inner, depth),
        (_, Part::Bytes(bytes)) => special(kind, bytes),
        _ => Err(DecodeError::Malformed(format!("a protobuf {kind:?} has the wrong wire form"))),
    }
}

fn bare(bytes: &[u8], schema: TypeRef, depth: usize) -> Result<Tree, DecodeError> {
    let own = schema.declared();
    let mut slots: Slots = vec![None; own.len()];
    for part in parts(bytes) {
        let (number, part) = part?;
        let Some(at) = own.iter().position(|field| field.proto == number) else { continue };
        let value = element(own[at].value, part, depth + 1)?;
        match (own[at].container, &mut slots[at]) {
            (Container::List, Some(Tree::Array(all))) => all.push(value),
            (Container::List, slot) => *slot = Some(Tree::Array(vec![value])),
            (_, slot) => *slot = Some(value),
        }
    }
    // A pointer or a list that is set wins over a plain value, which is always written.
    let set =
        (0..own.len()).find(|at| slots[*at].is_some() && (own[*at].pointer || own[*at].container == Container::List));
    let chosen = set.or_else(|| slots.iter().position(Option::is_some));
    let empty = || if own.len() == 1 { Tree::Array(Vec::new()) } else { Tree::Null };
    Ok(chosen.and_then(|at| slots[at].take()).unwrap_or_else(empty))
}

/// The types with a message and a JSON form of their own.
fn special(kind: Value, bytes: &[u8]) -> Result<Tree, DecodeError> {
    let mut numbers = [0_i64; 4];
    let mut texts: [&[u8]; 4] = [&[]; 4];
    for part in parts(bytes) {
        match part? {
            (number @ 1..=3, Part::Varint(value)) => numbers[number as usize] = value.cast_signed(),
            (number @ 1..=3, Part::Bytes(value)) => texts[number as usize] = value,
            _ => {}
        }
    }
    match kind {
        Value::Quantity => Ok(shape::quantity(wire::text(texts[1])?.to_owned()).into()),
        Value::IntOrString if numbers[1] == 0 => Ok(numbers[2].into()),
        Value::IntOrString => Ok(wire::text(texts[3])?.into()),
        Value::Time | Value::MicroTime => Ok(moment(kind, bytes.is_empty(), numbers[1], numbers[2])),
        Value::Duration => Ok(duration::print(numbers[1]).into()),
        _ => raw(texts[1]),
    }
}

fn moment(kind: Value, is_empty: bool, seconds: i64, nanos: i64) -> Tree {
    let nanos = i32::try_from(nanos).unwrap_or(0);
    match time::Timestamp::new(seconds, nanos) {
        Ok(_) if is_empty || seconds == ZERO_TIME => Tree::Null,
        Ok(at) if kind == Value::MicroTime => time::micros(at).into(),
        Ok(at) => time::seconds(at).into(),
        Err(_) => Tree::Null,
    }
}

/// JSON text, or an object with an envelope of its own.
fn raw(bytes: &[u8]) -> Result<Tree, DecodeError> {
    if bytes.is_empty() {
        return Ok(Tree::Null);
    }
    if bytes.starts_with(&MAGIC) {
        return super::decode_as(bytes, None);
    }
    serde_json::from_slice(bytes).map_err(|error| DecodeError::Malformed(error.to_string()))
}
