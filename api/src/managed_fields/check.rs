//! Whether what is applied is of its kind: the type check of structured-merge-diff (v6), in its words.
//!
//! Unlike decoding it drops nothing: a field that is not declared is an error, and so are two elements with one key.

use super::Writer;
use super::set::Step;
use super::shape::{Shape, key};
use crate::fields::{Container, Field, Value};
use crate::{Kind, Rejected, Tree};
use std::collections::BTreeSet;

/// What an apply body may not say about itself.
pub(super) fn form(kind: &Kind, config: &Tree, writer: Writer<'_>) -> Result<(), Rejected> {
    let text = |key: &str| config.get(key).and_then(Tree::as_str).unwrap_or_default();
    let (given_version, given_kind) = (text("apiVersion"), text("kind"));
    if given_version != writer.api_version || given_kind != kind.kind {
        return Err(Rejected::bad_request(format!("invalid object type: {}", told(given_version, given_kind))));
    }
    let managed = config.get("metadata").and_then(|meta| meta.get("managedFields"));
    if managed.is_some_and(|all| !all.is_null()) {
        return Err(Rejected::bad_request("metadata.managedFields must be nil"));
    }
    Ok(())
}

/// `apps/v1, Kind=Deployment`; of the core group `/v1, Kind=Pod`.
fn told(version: &str, kind: &str) -> String {
    let slash = if version.contains('/') { "" } else { "/" };
    format!("{slash}{version}, Kind={kind}")
}

/// kube-apiserver answers a wrong type with a 500; the client is at fault, so here it is a 400 with its words.
pub(super) fn types(kind: &Kind, config: &Tree) -> Result<(), Rejected> {
    let mut errors = Vec::new();
    walk(Shape::root(kind), None, config, "", &mut errors);
    let why = match errors.as_slice() {
        [] => return Ok(()),
        [only] => only.clone(),
        all => format!("errors:\n  {}", all.join("\n  ")),
    };
    let meta = |key: &str| {
        let value = config.get("metadata").and_then(|meta| meta.get(key));
        value.and_then(Tree::as_str).unwrap_or_default().to_owned()
    };
    let what = told(&kind.api_version(), &kind.kind);
    Err(Rejected::bad_request(format!(
        "failed to create typed patch object ({}/{}; {what}): {why}",
        meta("namespace"),
        meta("name")
    )))
}

/// `field` is the row of the table that the value, or the list that it is an element of, is under.
fn walk(shape: Shape<'_>, field: Option<&'static Field>, value: &Tree, path: &str, errors: &mut Vec<String>) {
    let mut wrong = |why: String| {
        errors.push(if path.is_empty() { why } else { format!("{path}: {why}") });
    };
    match (shape, value) {
        (_, Tree::Null) | (Shape::Struct(None) | Shape::Custom(..), _) => {}
        (Shape::Struct(_) | Shape::Map(_), Tree::Object(members)) => {
            for (name, value) in members {
                let step = Step::Field(name.clone());
                let below = format!("{path}{step}");
                match shape {
                    Shape::Struct(Some(schema)) => match schema.field(name) {
                        Some(field) => walk(Shape::of(field), Some(field), value, &below, errors),
                        None => errors.push(format!("{below}: field not declared in schema")),
                    },
                    Shape::Map(field) => element(Shape::element(field), field, value, &below, errors),
                    _ => {}
                }
            }
        }
        (Shape::Struct(_) | Shape::Map(_), other) => wrong(format!("expected map, got {}", pointed(other))),
        (Shape::Set, Tree::Array(all)) => {
            let mut seen = BTreeSet::new();
            for (at, one) in all.iter().enumerate() {
                let why = match one {
                    Tree::Object(_) => "associative list without keys has an element that's a map type",
                    Tree::Array(_) => "not supported: associative list with lists as elements",
                    Tree::Null => "associative list without keys has an element that's an explicit null",
                    _ => {
                        let step = Step::Value(one.to_string());
                        if !seen.insert(step.clone()) {
                            wrong(format!("duplicate entries for key {step}"));
                        }
                        continue;
                    }
                };
                return wrong(format!("element {at}: {why}"));
            }
        }
        (Shape::Keyed(keyed), Tree::Array(all)) => elements(keyed, all, path, errors),
        (Shape::Set | Shape::Keyed(_), other) => wrong(format!("expected list, got {}", pointed(other))),
        (Shape::Atomic, value) => {
            if let Some(field) = field {
                whole(field, value, path, errors);
            }
        }
    }
}

fn elements(field: &'static Field, all: &[Tree], path: &str, errors: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (at, one) in all.iter().enumerate() {
        let step = key(field, one);
        let why = match one {
            Tree::Null => "associative list with keys may not have a null element".to_owned(),
            Tree::Object(_) if step == Step::Key("{}".to_owned()) => {
                let keys: Vec<String> = super::shape::keys(field).iter().map(|key| format!("{key:?}")).collect();
                format!(
                    "associative list with keys has an element that omits all key fields [{}] (and doesn't have \
                     default values for any key fields)",
                    keys.join(" ")
                )
            }
            Tree::Object(_) => {
                if !seen.insert(step.clone()) {
                    errors.push(format!("{path}: duplicate entries for key {step}"));
                }
                walk(Shape::element(field), Some(field), one, &format!("{path}{step}"), errors);
                continue;
            }
            _ => "associative list with keys may not have non-map elements".to_owned(),
        };
        errors.push(format!("{path}: element {at}: {why}"));
        return;
    }
}

/// A value without parts of their own owners: a scalar, or an atomic list or map.
fn whole(field: &'static Field, value: &Tree, path: &str, errors: &mut Vec<String>) {
    let inner = Shape::element(field);
    match (field.container, value) {
        (_, Tree::Null) => {}
        (Container::List, Tree::Array(all)) if field.value != Value::Bytes => {
            for (at, one) in all.iter().enumerate() {
                element(inner, field, one, &format!("{path}[{at}]"), errors);
            }
        }
        (Container::List, other) => errors.push(format!("{path}: expected list, got {}", pointed(other))),
        (Container::Map, Tree::Object(members)) => {
            for (name, one) in members {
                element(inner, field, one, &format!("{path}.{name}"), errors);
            }
        }
        (Container::Map, other) => errors.push(format!("{path}: expected map, got {}", pointed(other))),
        (Container::Single, value) => element(inner, field, value, path, errors),
    }
}

fn element(inner: Shape<'_>, field: &'static Field, value: &Tree, path: &str, errors: &mut Vec<String>) {
    match inner {
        Shape::Struct(Some(_)) => walk(inner, Some(field), value, path, errors),
        _ => scalar(field.value, value, path, errors),
    }
}

fn scalar(kind: Value, value: &Tree, path: &str, errors: &mut Vec<String>) {
    let why = match (kind, value) {
        (_, Tree::Null) => return,
        (Value::Int32 | Value::Int64 | Value::Float64, value) if !value.is_number() => {
            format!("expected numeric (int or float), got {}", go_type(value))
        }
        (Value::String | Value::Bytes | Value::Duration, value) if !value.is_string() => {
            format!("expected string, got &value.valueUnstructured{{Value:{}}}", literal(value))
        }
        (Value::Bool, value) if !value.is_boolean() => format!("expected boolean, got {}", pointed(value)),
        (Value::Quantity | Value::IntOrString | Value::Time | Value::MicroTime, Tree::Array(_) | Tree::Object(_)) => {
            format!("expected any scalar, got {}", pointed(value))
        }
        _ => return,
    };
    errors.push(format!("{path}: {why}"));
}

/// Go's `%v` of a pointer to a struct with the value in it.
fn pointed(value: &Tree) -> String {
    format!("&{{{}}}", crate::patch::shown(value))
}

fn go_type(value: &Tree) -> &'static str {
    match value {
        Tree::Null => "<nil>",
        Tree::Bool(_) => "bool",
        Tree::Number(number) if number.is_f64() => "float64",
        Tree::Number(_) => "int64",
        Tree::String(_) => "string",
        Tree::Array(_) => "[]interface {}",
        Tree::Object(_) => "map[string]interface {}",
    }
}

/// Go's `%#v`.
fn literal(value: &Tree) -> String {
    let inner = |value: &Tree| literal(value);
    match value {
        Tree::Null => "interface {}(nil)".to_owned(),
        Tree::Array(all) => {
            format!("[]interface {{}}{{{}}}", all.iter().map(inner).collect::<Vec<_>>().join(", "))
        }
        Tree::Object(members) => {
            let mut all: Vec<String> = members.iter().map(|(key, value)| format!("{key:?}:{}", inner(value))).collect();
            all.sort();
            format!("map[string]interface {{}}{{{}}}", all.join(", "))
        }
        scalar => scalar.to_string(),
    }
}
