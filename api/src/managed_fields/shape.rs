//! How server-side apply sees a value: as parts that can have different owners, or as one.
//!
//! Knows the list and map types of the field table and of custom resources' schemas; a value without a schema is granular
//! in its maps and atomic in its lists, as upstream deduces it.

use super::set::Step;
use crate::custom::Schema;
use crate::fields::{self, Container, Field, ListType, MapType, TypeRef, Value};
use crate::{Kind, Tree};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy)]
pub(super) enum Shape<'s> {
    /// `None`: fields unknown.
    Struct(Option<TypeRef>),
    Map(&'static Field),
    Set,
    Keyed(&'static Field),
    /// A value of a custom resource; true: one with metadata of its own.
    Custom(&'s Schema, bool),
    Atomic,
}

/// What a value and its shape are together: a shape that the value does not have is atomic.
pub(super) enum Parts<'t> {
    Members(Vec<(Step, &'t Tree)>),
    Elements(Vec<(Step, &'t Tree)>),
    Whole,
}

impl<'s> Shape<'s> {
    /// The shape of an object of a kind.
    pub(super) fn root(kind: &'s Kind) -> Shape<'s> {
        match &kind.custom {
            Some(custom) => Shape::Custom(&custom.schema, true),
            None => Shape::Struct(kind.schema()),
        }
    }

    pub(super) fn of(field: &'static Field) -> Shape<'s> {
        let merges = field.patch_strategy.is_some_and(|strategy| strategy.merge);
        match (field.container, field.list_type) {
            (Container::List, Some(ListType::Set)) => Shape::Set,
            (Container::List, Some(ListType::Map)) => Shape::Keyed(field),
            (Container::List, None) if merges && field.patch_merge_key.is_some() => Shape::Keyed(field),
            (Container::List, None) if merges => Shape::Set,
            (Container::List, _) => Shape::Atomic,
            _ if field.map_type == Some(MapType::Atomic) => Shape::Atomic,
            (Container::Map, _) => Shape::Map(field),
            (Container::Single, _) => Shape::element(field),
        }
    }

    pub(super) fn element(field: &'static Field) -> Shape<'s> {
        // A RawExtension is one value to upstream's schema, whatever it holds.
        match field.value {
            Value::Object(schema) if !schema.is_bare() => Shape::Struct(Some(schema)),
            _ => Shape::Atomic,
        }
    }

    /// The shape below a step.
    pub(super) fn below(self, step: &Step) -> Shape<'s> {
        match (self, step) {
            (Shape::Struct(Some(schema)), Step::Field(name)) => {
                schema.field(name).map_or(Shape::Struct(None), Shape::of)
            }
            (Shape::Struct(None), _) => Shape::Struct(None),
            (Shape::Map(field) | Shape::Keyed(field), _) => Shape::element(field),
            (Shape::Custom(_, true), Step::Field(name)) if name == "metadata" => {
                Shape::Struct(Some(fields::object_meta()))
            }
            (Shape::Custom(schema, _), Step::Field(name)) => Shape::custom(schema.member(name)),
            (Shape::Custom(schema, _), _) => Shape::custom(schema.items.as_deref()),
            _ => Shape::Atomic,
        }
    }

    /// True if a member with this name is declared, and so is not owned for being there.
    pub(super) fn declares(self, step: &Step) -> bool {
        match (self, step) {
            (Shape::Struct(Some(schema)), Step::Field(name)) => schema.field(name).is_some(),
            (Shape::Custom(schema, is_object), Step::Field(name)) => {
                schema.properties.contains_key(name) || is_object && name == "metadata"
            }
            _ => false,
        }
    }

    pub(super) fn parts(self, value: &Tree) -> Parts<'_> {
        match (self, value) {
            (Shape::Struct(_) | Shape::Map(_), Tree::Object(map)) => {
                Parts::Members(map.iter().map(|(key, value)| (Step::Field(key.clone()), value)).collect())
            }
            (Shape::Set, Tree::Array(all)) => {
                Parts::Elements(all.iter().map(|value| (Step::Value(value.to_string()), value)).collect())
            }
            (Shape::Keyed(field), Tree::Array(all)) => {
                Parts::Elements(all.iter().map(|value| (key(field, value), value)).collect())
            }
            (Shape::Custom(schema, _), Tree::Object(map)) if !schema.is_atomic_map => {
                Parts::Members(map.iter().map(|(key, value)| (Step::Field(key.clone()), value)).collect())
            }
            (Shape::Custom(schema, _), Tree::Array(all)) => match schema.list_type {
                Some(ListType::Set) => {
                    Parts::Elements(all.iter().map(|value| (Step::Value(value.to_string()), value)).collect())
                }
                Some(ListType::Map) => {
                    Parts::Elements(all.iter().map(|value| (custom_key(schema, value), value)).collect())
                }
                Some(ListType::Atomic) | None => Parts::Whole,
            },
            _ => Parts::Whole,
        }
    }

    fn custom(schema: Option<&'s Schema>) -> Shape<'s> {
        schema.map_or(Shape::Struct(None), |schema| Shape::Custom(schema, schema.is_embedded))
    }
}

/// The same of an element of a custom resource's list.
fn custom_key(schema: &Schema, element: &Tree) -> Step {
    let default = |name: &str| schema.items.as_ref()?.properties.get(name)?.default.as_ref();
    let value =
        |name: &'_ String| element.get(name).filter(|value| !value.is_null()).or_else(|| default(name)).cloned();
    let keys: BTreeMap<&str, Tree> =
        schema.list_map_keys.iter().filter_map(|name| Some((name.as_str(), value(name)?))).collect();
    Step::Key(serde_json::to_string(&keys).unwrap_or_default())
}

/// The keys of an element, absent ones at their defaults.
pub(super) fn key(field: &'static Field, element: &Tree) -> Step {
    let names = keys(field);
    let default = |name: &str| match field.value {
        Value::Object(schema) => default_of(schema.field(name)?),
        _ => None,
    };
    let value = |name: &&'static str| {
        let value: Option<Tree> =
            element.get(*name).filter(|value| !value.is_null()).cloned().or_else(|| default(name));
        value.map(|value| (*name, value))
    };
    let keys: BTreeMap<&str, Tree> = names.iter().filter_map(value).collect();
    Step::Key(serde_json::to_string(&keys).unwrap_or_default())
}

/// What OpenAPI says a member is where it is left out: its default, or zero if Go has no other word for that.
fn default_of(field: &Field) -> Option<Tree> {
    match field.default {
        Some(text) => serde_json::from_str(text).ok(),
        None if field.pointer || field.omitempty => None,
        None => match field.value {
            Value::String => Some("".into()),
            Value::Int32 | Value::Int64 => Some(0.into()),
            Value::Bool => Some(false.into()),
            _ => None,
        },
    }
}

/// The members that tell the elements of a list apart.
pub(super) fn keys(field: &'static Field) -> &'static [&'static str] {
    if field.list_map_keys.is_empty() { field.patch_merge_key.as_slice() } else { field.list_map_keys }
}
