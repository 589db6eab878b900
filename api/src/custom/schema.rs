//! A structural schema: `openAPIV3Schema`, read once into what prunes, fills, checks and merges objects.
//!
//! Reads any tree: what is not a schema in it is left out. Whether it is one, `validate` asks before it is stored.

use super::rules::Validation;
use crate::Tree;
use crate::fields::ListType;
use regex::Regex;
use serde_json::Map;
use std::collections::BTreeMap;

/// What one value has to be.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    /// `type`; empty if any is good.
    pub types: Vec<Type>,
    pub format: String,
    pub nullable: bool,
    pub properties: BTreeMap<String, Schema>,
    /// What other keys hold; `None`: there are no others.
    pub additional: Option<Additional>,
    pub items: Option<Box<Schema>>,
    pub default: Option<Tree>,
    pub preserves_unknown: bool,
    /// The value is an object of its own, with `apiVersion`, `kind` and `metadata`.
    pub is_embedded: bool,
    pub list_type: Option<ListType>,
    pub list_map_keys: Vec<String>,
    pub is_atomic_map: bool,
    pub rules: Rules,
    /// `x-kubernetes-validations`.
    pub validations: Vec<Validation>,
    /// There are some here or below.
    pub has_validations: bool,
}

#[derive(Debug, Clone)]
pub enum Additional {
    /// `true`: anything.
    Any,
    Values(Box<Schema>),
}

/// The JSON types, as schemas name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Array,
    Boolean,
    Integer,
    Number,
    Object,
    String,
}

/// What a value of the right type has to keep to.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub required: Vec<String>,
    pub enumeration: Vec<Tree>,
    /// The bound, and whether it is excluded.
    pub minimum: Option<(f64, bool)>,
    pub maximum: Option<(f64, bool)>,
    pub multiple_of: Option<f64>,
    pub length: Span,
    pub items: Span,
    pub properties: Span,
    pub unique_items: bool,
    /// As written, and compiled; a pattern that does not compile matches nothing.
    pub pattern: Option<(String, Option<Regex>)>,
    pub all_of: Vec<Schema>,
    pub any_of: Vec<Schema>,
    pub one_of: Vec<Schema>,
    pub not: Option<Box<Schema>>,
}

/// How many there may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    pub least: Option<u64>,
    pub most: Option<u64>,
}

// === impl Schema ===

impl Schema {
    /// Reads `openAPIV3Schema`, or a part of one.
    #[must_use]
    pub fn read(tree: &Tree) -> Schema {
        let Some(map) = tree.as_object() else { return Schema::default() };
        let is_true = |key: &str| map.get(key).and_then(Tree::as_bool).unwrap_or_default();
        let text = |key: &str| map.get(key).and_then(Tree::as_str).unwrap_or_default();
        let properties = map.get("properties").and_then(Tree::as_object).into_iter().flatten();
        let types = if is_true("x-kubernetes-int-or-string") {
            vec![Type::Integer, Type::String]
        } else {
            Type::read(text("type")).into_iter().collect()
        };
        let validations = map.get("x-kubernetes-validations").and_then(Tree::as_array).into_iter().flatten();
        let mut schema = Schema {
            types,
            format: text("format").to_owned(),
            nullable: is_true("nullable"),
            properties: properties.map(|(key, value)| (key.clone(), Schema::read(value))).collect(),
            additional: match map.get("additionalProperties") {
                Some(Tree::Bool(true)) => Some(Additional::Any),
                Some(values @ Tree::Object(_)) => Some(Additional::Values(Box::new(Schema::read(values)))),
                _ => None,
            },
            items: map.get("items").filter(|items| items.is_object()).map(|items| Box::new(Schema::read(items))),
            default: map.get("default").filter(|default| !default.is_null()).cloned(),
            preserves_unknown: is_true("x-kubernetes-preserve-unknown-fields"),
            is_embedded: is_true("x-kubernetes-embedded-resource"),
            list_type: match text("x-kubernetes-list-type") {
                "map" => Some(ListType::Map),
                "set" => Some(ListType::Set),
                "atomic" => Some(ListType::Atomic),
                _ => None,
            },
            list_map_keys: texts(map, "x-kubernetes-list-map-keys"),
            is_atomic_map: text("x-kubernetes-map-type") == "atomic",
            rules: Rules::read(map),
            validations: validations.map(Validation::read).collect(),
            has_validations: false,
        };
        schema.has_validations = !schema.validations.is_empty() || schema.parts().any(|part| part.has_validations);
        schema
    }

    /// The schemas of the values below.
    fn parts(&self) -> impl Iterator<Item = &Schema> {
        let additional = match &self.additional {
            Some(Additional::Values(values)) => Some(&**values),
            _ => None,
        };
        self.properties.values().chain(additional).chain(self.items.as_deref())
    }

    /// `x-kubernetes-int-or-string`.
    pub(super) fn is_either(&self) -> bool {
        self.types.len() > 1
    }

    /// What is under a key of an object.
    #[must_use]
    pub fn member(&self, key: &str) -> Option<&Schema> {
        self.properties.get(key).or(match &self.additional {
            Some(Additional::Values(values)) => Some(values),
            _ => None,
        })
    }
}

// === impl Type ===

impl Type {
    fn read(name: &str) -> Option<Type> {
        Some(match name {
            "array" => Type::Array,
            "boolean" => Type::Boolean,
            "integer" => Type::Integer,
            "number" => Type::Number,
            "object" => Type::Object,
            "string" => Type::String,
            _ => return None,
        })
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Type::Array => "array",
            Type::Boolean => "boolean",
            Type::Integer => "integer",
            Type::Number => "number",
            Type::Object => "object",
            Type::String => "string",
        }
    }

    /// The name of a value's type: `null` is one of its own, and a whole number is an integer however it is written.
    #[must_use]
    pub fn of(value: &Tree) -> &'static str {
        match value {
            Tree::Null => "null",
            Tree::Bool(_) => "boolean",
            Tree::Number(number) if number.is_f64() && number.as_f64().is_some_and(|f| f.fract() != 0.0) => "number",
            Tree::Number(_) => "integer",
            Tree::String(_) => "string",
            Tree::Array(_) => "array",
            Tree::Object(_) => "object",
        }
    }
}

// === impl Rules ===

impl Rules {
    fn read(map: &Map<String, Tree>) -> Rules {
        let number = |key: &str| map.get(key).and_then(Tree::as_f64);
        let is_true = |key: &str| map.get(key).and_then(Tree::as_bool).unwrap_or_default();
        let span = |least: &str, most: &str| {
            let count = |key: &str| map.get(key).and_then(Tree::as_u64);
            Span { least: count(least), most: count(most) }
        };
        let all = |key: &str| map.get(key).and_then(Tree::as_array).into_iter().flatten().map(Schema::read).collect();
        let pattern = map.get("pattern").and_then(Tree::as_str).filter(|pattern| !pattern.is_empty());
        Rules {
            required: texts(map, "required"),
            enumeration: map.get("enum").and_then(Tree::as_array).cloned().unwrap_or_default(),
            minimum: number("minimum").map(|bound| (bound, is_true("exclusiveMinimum"))),
            maximum: number("maximum").map(|bound| (bound, is_true("exclusiveMaximum"))),
            multiple_of: number("multipleOf").filter(|factor| *factor > 0.0),
            length: span("minLength", "maxLength"),
            items: span("minItems", "maxItems"),
            properties: span("minProperties", "maxProperties"),
            unique_items: is_true("uniqueItems"),
            pattern: pattern.map(|pattern| (pattern.to_owned(), Regex::new(pattern).ok())),
            all_of: all("allOf"),
            any_of: all("anyOf"),
            one_of: all("oneOf"),
            not: map.get("not").filter(|not| not.is_object()).map(|not| Box::new(Schema::read(not))),
        }
    }
}

fn texts(map: &Map<String, Tree>, key: &str) -> Vec<String> {
    let all = map.get(key).and_then(Tree::as_array).into_iter().flatten();
    all.filter_map(|one| one.as_str().map(str::to_owned)).collect()
}
