//! Whether a schema is a structural one, and whether it is one that definitions may have.

use super::rules;
use crate::Tree;
use crate::custom::prune;
use crate::custom::schema::Schema;
use crate::custom::validate;
use crate::rejected::Cause;
use crate::walk::{at, list, text};
use regex::Regex;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// What OpenAPI knows and definitions may not have.
const UNSUPPORTED: [(&str, &str); 7] = [
    ("$ref", "$ref is not supported"),
    ("id", "id is not supported"),
    ("$schema", "$schema is not supported"),
    ("additionalItems", "additionalItems is not supported"),
    ("patternProperties", "patternProperties is not supported"),
    ("definitions", "definitions is not supported"),
    ("dependencies", "dependencies is not supported"),
];
/// What belongs to a value itself, and so may not stand in `allOf`, `anyOf`, `oneOf` or `not`.
const OWN: [(&str, &str); 11] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
];

/// What the place of a schema asks of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

/// What is wrong with `openAPIV3Schema`.
pub(super) fn check(schema: &Tree, has_status: bool, path: &str, causes: &mut Vec<Cause>) {
    let before = causes.len();
    let kind = text(schema, &["type"]);
    if has_status && !matches!(kind, "" | "object") {
        let why =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        causes.push(Cause::invalid(format!("{path}.type"), &kind.into(), why));
    }
    if is_true(schema, "nullable") {
        causes.push(Cause::forbidden(format!("{path}.nullable"), "nullable cannot be true at the root"));
    }
    features(schema, path, causes);
    structural(schema, Level::Root, path, causes);
    // Rules and defaults are looked at by what the schema means, so it has to mean something.
    let wrong_rules = if causes.len() == before { rules::wrong(&Schema::read(schema), path) } else { Vec::new() };
    if wrong_rules.is_empty() {
        defaults(schema, path, causes);
    }
    causes.extend(wrong_rules);
}

/// Whether a default is anywhere in it.
pub(super) fn has_default(schema: &Tree) -> bool {
    schema.get("default").is_some() || parts(schema).any(|(_, part)| has_default(part))
}

fn is_true(tree: &Tree, key: &str) -> bool {
    tree.get(key).and_then(Tree::as_bool) == Some(true)
}

/// The schemas of the values below, each with its path from here.
fn parts(schema: &Tree) -> impl Iterator<Item = (String, &Tree)> {
    let properties = at(schema, &["properties"]).and_then(Tree::as_object).into_iter().flatten();
    let properties = properties.map(|(key, part)| (format!("properties[{key}]"), part));
    let others =
        ["items", "additionalProperties"].into_iter().filter_map(|key| Some((key.to_owned(), schema.get(key)?)));
    others.chain(properties).filter(|(_, part)| part.is_object())
}

/// The schemas that say more about the same value.
fn alternatives(schema: &Tree) -> impl Iterator<Item = (String, &Tree)> {
    let lists = ["allOf", "anyOf", "oneOf"]
        .into_iter()
        .flat_map(|key| list(schema, &[key]).iter().enumerate().map(move |(at, part)| (format!("{key}[{at}]"), part)));
    lists.chain(schema.get("not").map(|not| ("not".to_owned(), not))).filter(|(_, part)| part.is_object())
}

/// What the dialect leaves out, and what its extensions ask for.
fn features(schema: &Tree, path: &str, causes: &mut Vec<Cause>) {
    for (key, why) in UNSUPPORTED {
        if schema.get(key).is_some_and(|value| !value.is_null()) {
            causes.push(Cause::forbidden(format!("{path}.{key}"), why));
        }
    }
    if is_true(schema, "uniqueItems") {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        causes.push(Cause::forbidden(format!("{path}.uniqueItems"), why));
    }
    if schema.get("additionalProperties").and_then(Tree::as_bool) == Some(false) {
        let why = "additionalProperties cannot be set to false";
        causes.push(Cause::forbidden(format!("{path}.additionalProperties"), why));
    }
    match text(schema, &["type"]) {
        "null" => {
            let why = "type cannot be set to null, use nullable as an alternative";
            causes.push(Cause::forbidden(format!("{path}.type"), why));
        }
        "" => {}
        known if TYPES.contains(&known) => {}
        other => causes.push(Cause::unsupported(format!("{path}.type"), &other.into(), &TYPES)),
    }
    if schema.get("items").is_some_and(Tree::is_array) {
        causes.push(Cause::forbidden(format!("{path}.items"), "items must be a schema object and not an array"));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Tree::as_str)
        && let Err(error) = Regex::new(pattern)
    {
        let why = format!("must be a valid regular expression, but isn't: {error}");
        causes.push(Cause::invalid(format!("{path}.pattern"), &pattern.into(), why));
    }
    maps(schema, path, causes);
    lists(schema, path, causes);
    for (below, part) in parts(schema).chain(alternatives(schema)) {
        features(part, &format!("{path}.{below}"), causes);
    }
}

fn maps(schema: &Tree, path: &str, causes: &mut Vec<Cause>) {
    let map_type = text(schema, &["x-kubernetes-map-type"]);
    if map_type.is_empty() {
        return;
    }
    wants_type(schema, "object", "must be object if x-kubernetes-map-type is specified", path, causes);
    if !matches!(map_type, "atomic" | "granular") {
        let field = format!("{path}.x-kubernetes-map-type");
        causes.push(Cause::unsupported(field, &map_type.into(), &["atomic", "granular"]));
    }
}

fn wants_type(schema: &Tree, wanted: &str, why: &str, path: &str, causes: &mut Vec<Cause>) {
    match text(schema, &["type"]) {
        "" => causes.push(Cause::required(format!("{path}.type"), why)),
        found if found == wanted => {}
        found => causes.push(Cause::invalid(format!("{path}.type"), &found.into(), why)),
    }
}

fn lists(schema: &Tree, path: &str, causes: &mut Vec<Cause>) {
    let list_type = text(schema, &["x-kubernetes-list-type"]);
    let keys = list(schema, &["x-kubernetes-list-map-keys"]);
    let type_field = format!("{path}.x-kubernetes-list-type");
    if !list_type.is_empty() {
        wants_type(schema, "array", "must be array if x-kubernetes-list-type is specified", path, causes);
        if !matches!(list_type, "atomic" | "set" | "map") {
            causes.push(Cause::unsupported(type_field.as_str(), &list_type.into(), &["atomic", "map", "set"]));
        }
    }
    if !keys.is_empty() && list_type != "map" {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        causes.push(match list_type {
            "" => Cause::required(type_field.as_str(), why),
            other => Cause::invalid(type_field.as_str(), &other.into(), why),
        });
    }
    match list_type {
        "map" => keyed(schema, keys, path, causes),
        "set" => {
            let items = schema.get("items").cloned().unwrap_or_default();
            let (kind, map_type) = (text(&items, &["type"]), text(&items, &["x-kubernetes-map-type"]));
            if kind == "object" && map_type != "atomic" {
                let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
                causes.push(Cause::invalid(format!("{path}.items.x-kubernetes-map-type"), &map_type.into(), why));
            }
        }
        _ => {}
    }
}

fn keyed(schema: &Tree, keys: &[Tree], path: &str, causes: &mut Vec<Cause>) {
    let field = format!("{path}.x-kubernetes-list-map-keys");
    if keys.is_empty() {
        causes.push(Cause::required(field.as_str(), "must not be empty if x-kubernetes-list-type is map"));
    }
    let Some(items) = at(schema, &["items"]) else {
        return causes
            .push(Cause::required(format!("{path}.items"), "must have a schema if x-kubernetes-list-type is map"));
    };
    let kind = text(items, &["type"]);
    if kind != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        causes.push(Cause::invalid(format!("{path}.items.type"), &kind.into(), why));
    }
    for (number, key) in keys.iter().enumerate() {
        let name = key.as_str().unwrap_or_default();
        let here = format!("{path}.items.properties[{name}]");
        if keys[..number].contains(key) {
            causes.push(Cause::invalid(field.as_str(), key, "must not contain duplicate entries"));
        }
        let Some(property) = at(items, &["properties", name]) else {
            causes.push(Cause::invalid(
                field.as_str(),
                &Tree::from(keys),
                "entries must all be names of item properties",
            ));
            continue;
        };
        if matches!(text(property, &["type"]), "array" | "object") {
            let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            causes.push(Cause::invalid(format!("{here}.type"), &text(property, &["type"]).into(), why));
        }
        if property.get("default").is_none() && !list(items, &["required"]).contains(key) {
            let why =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            causes.push(Cause::required(format!("{here}.default"), why));
        }
        if is_true(property, "nullable") {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            causes.push(Cause::forbidden(format!("{here}.nullable"), why));
        }
    }
}

/// Every value has a type of its own, and what is said elsewhere about a value only narrows it.
fn structural(schema: &Tree, level: Level, path: &str, causes: &mut Vec<Cause>) {
    let kind = text(schema, &["type"]);
    let (is_open, is_either) =
        (is_true(schema, "x-kubernetes-preserve-unknown-fields"), is_true(schema, "x-kubernetes-int-or-string"));
    let is_embedded = is_true(schema, "x-kubernetes-embedded-resource");
    for (below, part) in parts(schema) {
        let level = if below == "items" { Level::Item } else { Level::Field };
        structural(part, level, &format!("{path}.{below}"), causes);
    }
    if kind == "array" && schema.get("items").is_none() && !is_open {
        causes.push(Cause::required(format!("{path}.items"), "must be specified"));
    }
    if schema.get("additionalProperties").is_some()
        && at(schema, &["properties"]).is_some_and(|all| all.as_object().is_some_and(|all| !all.is_empty()))
    {
        let why = "must not be used simultaneously with properties";
        causes.push(Cause::forbidden(format!("{path}.additionalProperties"), why));
    }
    let field = format!("{path}.type");
    match (level, kind) {
        (Level::Root, "") => causes.push(Cause::required(field, "must not be empty at the root")),
        (Level::Root, "object") => {}
        (Level::Root, kind) => causes.push(Cause::invalid(field, &kind.into(), "must be object at the root")),
        (Level::Item, "") if !is_open && !is_either => {
            causes.push(Cause::required(field, "must not be empty for specified array items"));
        }
        (Level::Field, "") if !is_open && !is_either => {
            causes.push(Cause::required(field, "must not be empty for specified object fields"));
        }
        (_, kind) if is_either && !kind.is_empty() => {
            causes.push(Cause::invalid(field, &kind.into(), "must be empty if x-kubernetes-int-or-string is true"));
        }
        _ => {}
    }
    if is_embedded {
        let properties = at(schema, &["properties"]).and_then(Tree::as_object).map_or(0, serde_json::Map::len);
        wants_type(schema, "object", "must be object if x-kubernetes-embedded-resource is true", path, causes);
        if properties == 0 && !is_open {
            let why = "must not be empty if x-kubernetes-embedded-resource is true without \
                       x-kubernetes-preserve-unknown-fields";
            causes.push(Cause::required(format!("{path}.properties"), why));
        }
    }
    if level == Level::Root || is_embedded {
        own_members(schema, path, causes);
    }
    for (below, part) in alternatives(schema) {
        // Upstream's own way of writing "a number or a string".
        let is_pattern = is_either && below.starts_with("anyOf");
        nested(part, schema, is_pattern, &format!("{path}.{below}"), path, causes);
    }
}

/// `metadata`, `apiVersion` and `kind` are what they are for every object.
fn own_members(schema: &Tree, path: &str, causes: &mut Vec<Cause>) {
    for key in ["apiVersion", "kind"] {
        let given = at(schema, &["properties", key]).map(|part| text(part, &["type"])).unwrap_or("string");
        if given != "string" {
            causes.push(Cause::invalid(format!("{path}.properties[{key}].type"), &given.into(), "must be string"));
        }
    }
    let Some(metadata) = at(schema, &["properties", "metadata"]) else { return };
    let field = format!("{path}.properties[metadata]");
    if text(metadata, &["type"]) != "object" {
        causes.push(Cause::invalid(format!("{field}.type"), &text(metadata, &["type"]).into(), "must be object"));
    }
    let known = |key: &str| matches!(key, "type" | "properties" | "description" | "default");
    let is_plain = metadata.as_object().is_some_and(|all| all.keys().all(|key| known(key)));
    let names = at(metadata, &["properties"]).and_then(Tree::as_object).into_iter().flatten();
    let mut names = names.map(|(key, _)| key.as_str());
    if !is_plain || !names.all(|name| matches!(name, "name" | "generateName")) {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        causes.push(Cause::forbidden(field, why));
    }
}

fn nested(part: &Tree, whole: &Tree, is_pattern: bool, path: &str, whole_path: &str, causes: &mut Vec<Cause>) {
    for (key, why) in OWN {
        let is_set = part.get(key).is_some_and(|value| !value.is_null() && *value != Tree::Bool(false) && *value != "");
        if is_set && !(is_pattern && key == "type") {
            causes.push(Cause::forbidden(format!("{path}.{key}"), why));
        }
    }
    for (below, inner) in parts(part).filter(|(below, _)| below != "additionalProperties") {
        let name = below.strip_prefix("properties[").and_then(|rest| rest.strip_suffix(']'));
        let known = match name {
            Some(name) => at(whole, &["properties", name]),
            None => at(whole, &["items"]),
        };
        let is_open = whole.get("additionalProperties").is_some();
        match known {
            Some(known) => {
                nested(inner, known, false, &format!("{path}.{below}"), &format!("{whole_path}.{below}"), causes)
            }
            None if is_open => {}
            None => {
                let why = format!("because it is defined in {path}.{below}");
                causes.push(Cause::required(format!("{whole_path}.{below}"), why));
            }
        }
    }
    for (below, inner) in alternatives(part) {
        nested(inner, whole, false, &format!("{path}.{below}"), whole_path, causes);
    }
}

/// A default is what its schema allows, and nothing that would be dropped.
fn defaults(schema: &Tree, path: &str, causes: &mut Vec<Cause>) {
    if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
        let (field, read) = (format!("{path}.default"), Schema::read(schema));
        let mut pruned = default.clone();
        let mut inner = Schema { is_embedded: false, ..read.clone() };
        inner.default = None;
        if !prune::prune(&inner, &mut pruned).is_empty() {
            causes.push(Cause::invalid(field.as_str(), default, "must not have unknown fields"));
        }
        causes.extend(validate::check_value(&read, default).into_iter().map(|cause| {
            let below = if cause.field.is_empty() || cause.field == "<nil>" {
                String::new()
            } else {
                format!(".{}", cause.field)
            };
            Cause { field: format!("{field}{below}"), ..cause }
        }));
    }
    for (below, part) in parts(schema) {
        defaults(part, &format!("{path}.{below}"), causes);
    }
}
