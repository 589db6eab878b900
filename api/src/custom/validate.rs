//! What a schema says against an object, in the words of upstream's validation (kube-openapi's, as apiextensions tells
//! them).
//!
//! On an update, what did not change is not held against the object (upstream's ratcheting, since 1.33): a schema that
//! became stricter leaves old values alone until somebody touches them.

pub(crate) mod format;
mod shape;

use super::definition::Custom;
use super::rules;
use super::schema::{Additional, Schema, Span, Type};
use crate::rejected::Cause;
use crate::walk::{at, text};
use crate::{Tree, names};
use std::fmt::Display;

/// The largest number of replicas.
const REPLICAS_MAX: i64 = i32::MAX as i64;

/// Failures that rules might stumble over.
const BLOCKING: [&str; 5] =
    ["FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"];

/// What is wrong with an object; `old` is what it replaces.
#[must_use]
pub fn check(custom: &Custom, tree: &Tree, old: Option<&Tree>) -> Vec<Cause> {
    let mut causes = Vec::new();
    value(&custom.schema, tree, old, "", &mut causes);
    scale(custom, tree, &mut causes);
    shape::check(&custom.schema, tree, "", &mut causes);
    let Some(rules) = custom.rules() else { return causes };
    // A rule reads what the schema promises.
    if causes.iter().any(|cause| BLOCKING.contains(&cause.reason.as_str())) {
        let why = "some validation rules were not checked because the object was invalid; correct the existing errors to \
                   complete validation";
        causes.push(Cause::invalid("<nil>", &Tree::Null, why));
    } else {
        causes.extend(rules::check(&custom.schema, rules, tree, old));
    }
    causes
}

/// What is wrong with one value, such as a default.
#[must_use]
pub fn check_value(schema: &Schema, tree: &Tree) -> Vec<Cause> {
    let mut causes = Vec::new();
    value(schema, tree, None, "", &mut causes);
    if causes.is_empty()
        && let Some(rules) = rules::Rules::of_value(schema, schema.is_embedded)
    {
        causes.extend(rules::check(schema, &rules, tree, None));
    }
    causes
}

fn scale(custom: &Custom, tree: &Tree, causes: &mut Vec<Cause>) {
    let Some(scale) = &custom.scale else { return };
    for members in [&scale.wanted, &scale.running] {
        let path: Vec<&str> = members.iter().map(String::as_str).collect();
        let Some(count) = at(tree, &path).and_then(Tree::as_i64) else { continue };
        let field = format!(".{}", path.join("."));
        if count < 0 {
            causes.push(Cause::invalid(field, &count.into(), "should be a non-negative integer"));
        } else if count > REPLICAS_MAX {
            causes.push(Cause::invalid(
                field,
                &count.into(),
                format!("should be less than or equal to {REPLICAS_MAX}"),
            ));
        }
    }
}

fn value(schema: &Schema, tree: &Tree, old: Option<&Tree>, path: &str, causes: &mut Vec<Cause>) {
    if old == Some(tree) || tree.is_null() && schema.nullable {
        return;
    }
    let told = Told { path };
    if !schema.types.is_empty() && !fits(schema, tree) {
        let names: Vec<&str> = schema.types.iter().map(|one| one.name()).collect();
        causes.push(told.wrong_type(&Type::of(tree).into(), &names.join(",")));
    }
    alternatives(schema, tree, path, causes);
    match tree {
        Tree::String(text) => string(schema, text, &told, causes),
        Tree::Number(_) => number(schema, tree, &told, causes),
        Tree::Array(all) => array(schema, all, old, path, causes),
        Tree::Object(_) | Tree::Null | Tree::Bool(_) => {}
    }
    let rules = &schema.rules;
    if !rules.enumeration.is_empty() && !rules.enumeration.iter().any(|allowed| same(allowed, tree)) {
        let allowed = rules.enumeration.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned));
        let allowed: Vec<String> = allowed.collect();
        causes.push(Cause::unsupported(path, tree, &allowed.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    if tree.is_object() {
        object(schema, tree, old, path, causes);
    }
}

fn fits(schema: &Schema, tree: &Tree) -> bool {
    let found = Type::of(tree);
    schema.types.iter().any(|one| one.name() == found || *one == Type::Number && found == "integer")
}

fn same(left: &Tree, right: &Tree) -> bool {
    left == right || left.is_number() && right.is_number() && left.as_f64() == right.as_f64()
}

fn string(schema: &Schema, text: &str, told: &Told<'_>, causes: &mut Vec<Cause>) {
    let rules = &schema.rules;
    let length = text.chars().count() as u64;
    if let Some(most) = rules.length.most.filter(|most| length > *most) {
        causes.push(told.with("FieldValueTooLong", format!("Too long: may not be more than {most} bytes")));
    }
    if let Some(least) = rules.length.least.filter(|least| length < *least) {
        causes.push(told.invalid(&text.into(), format!("should be at least {least} chars long")));
    }
    if let Some((pattern, regex)) = &rules.pattern
        && !regex.as_ref().is_some_and(|regex| regex.is_match(text))
    {
        causes.push(told.invalid(&text.into(), format!("should match '{pattern}'")));
    }
    if !format::fits(&schema.format, text) {
        causes.push(told.wrong_type(&text.into(), &schema.format));
    }
}

fn number(schema: &Schema, tree: &Tree, told: &Told<'_>, causes: &mut Vec<Cause>) {
    let number = tree.as_f64().unwrap_or_default();
    let rules = &schema.rules;
    if let Some(factor) = rules.multiple_of.filter(|factor| (number / factor).fract() != 0.0) {
        causes.push(told.invalid(tree, format!("should be a multiple of {factor}")));
    }
    match rules.maximum {
        Some((most, true)) if number >= most => causes.push(told.invalid(tree, format!("should be less than {most}"))),
        Some((most, false)) if number > most => {
            causes.push(told.invalid(tree, format!("should be less than or equal to {most}")));
        }
        _ => {}
    }
    match rules.minimum {
        Some((least, true)) if number <= least => {
            causes.push(told.invalid(tree, format!("should be greater than {least}")));
        }
        Some((least, false)) if number < least => {
            causes.push(told.invalid(tree, format!("should be greater than or equal to {least}")));
        }
        _ => {}
    }
}

fn array(schema: &Schema, all: &[Tree], old: Option<&Tree>, path: &str, causes: &mut Vec<Cause>) {
    if let Some(items) = &schema.items {
        for (at, item) in all.iter().enumerate() {
            let before = old.and_then(|old| counterpart(schema, item, old));
            value(items, item, before, &format!("{path}[{at}]"), causes);
        }
    }
    count(schema.rules.items, all.len(), "items", &Told { path }, causes);
    let is_twice = |(at, item): (usize, &Tree)| all[..at].contains(item);
    if schema.rules.unique_items && all.iter().enumerate().any(is_twice) {
        causes.push(Told { path }.invalid(&Tree::from(all), "shouldn't contain duplicates"));
    }
}

/// The element of the old list that has the same keys.
pub(super) fn counterpart<'t>(schema: &Schema, item: &Tree, old: &'t Tree) -> Option<&'t Tree> {
    if schema.list_map_keys.is_empty() {
        return None;
    }
    let is_same = |other: &&Tree| schema.list_map_keys.iter().all(|key| other.get(key) == item.get(key));
    old.as_array()?.iter().find(is_same)
}

fn object(schema: &Schema, tree: &Tree, old: Option<&Tree>, path: &str, causes: &mut Vec<Cause>) {
    let Some(map) = tree.as_object() else { return };
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    count(schema.rules.properties, map.len(), "properties", &Told { path }, causes);
    for key in schema.rules.required.iter().filter(|key| !map.contains_key(*key)) {
        causes.push(Cause::required(below(key), ""));
    }
    for (key, child) in map {
        let additional = match &schema.additional {
            Some(Additional::Values(values)) => Some(&**values),
            _ => None,
        };
        if let Some(member) = schema.properties.get(key).or(additional) {
            value(member, child, old.and_then(|old| old.get(key)), &below(key), causes);
        }
    }
    if schema.is_embedded {
        embedded(tree, path, causes);
    }
}

/// An object in an object has to say what it is.
fn embedded(tree: &Tree, path: &str, causes: &mut Vec<Cause>) {
    if text(tree, &["apiVersion"]).is_empty() {
        causes.push(Cause::required(format!("{path}.apiVersion"), "must not be empty"));
    }
    match text(tree, &["kind"]) {
        "" => causes.push(Cause::required(format!("{path}.kind"), "must not be empty")),
        kind => causes.extend(names::dns_label_1035(&kind.to_lowercase()).into_iter().map(|why| {
            let why = format!("may have mixed case, but should otherwise match: {why}");
            Cause::invalid(format!("{path}.kind"), &kind.into(), why)
        })),
    }
}

fn count(span: Span, found: usize, what: &str, told: &Told<'_>, causes: &mut Vec<Cause>) {
    let found = found as u64;
    if let Some(most) = span.most.filter(|most| found > *most) {
        causes.push(told.with("FieldValueTooMany", format!("Too many: {found}: must have at most {most} items")));
    }
    if let Some(least) = span.least.filter(|least| found < *least) {
        causes.push(told.invalid(&found.into(), format!("should have at least {least} {what}")));
    }
}

/// `allOf`, `anyOf`, `oneOf` and `not`. Of alternatives that all fail, the best one's failures are told too.
fn alternatives(schema: &Schema, tree: &Tree, path: &str, causes: &mut Vec<Cause>) {
    let rules = &schema.rules;
    let failures = |schema: &Schema| {
        let mut causes = Vec::new();
        value(schema, tree, None, path, &mut causes);
        causes
    };
    let best = |all: Vec<Vec<Cause>>| all.into_iter().min_by_key(Vec::len).unwrap_or_default();
    let composite = |why: &str| Cause::invalid("<nil>", &"".into(), format!("{path:?} {why}"));
    if !rules.any_of.is_empty() {
        let all: Vec<Vec<Cause>> = rules.any_of.iter().map(failures).collect();
        if all.iter().all(|one| !one.is_empty()) {
            causes.push(composite("must validate at least one schema (anyOf)"));
            causes.extend(best(all));
        }
    }
    if !rules.one_of.is_empty() {
        let all: Vec<Vec<Cause>> = rules.one_of.iter().map(failures).collect();
        match all.iter().filter(|one| one.is_empty()).count() {
            1 => {}
            0 => {
                causes.push(composite("must validate one and only one schema (oneOf). Found none valid"));
                causes.extend(best(all));
            }
            valid => causes.push(composite(&format!(
                "must validate one and only one schema (oneOf). Found {valid} valid alternatives"
            ))),
        }
    }
    let all: Vec<Vec<Cause>> = rules.all_of.iter().map(failures).collect();
    let valid = all.iter().filter(|one| one.is_empty()).count();
    if valid < all.len() {
        causes.extend(all.into_iter().flatten());
        let none = if valid == 0 { ". None validated" } else { "" };
        causes.push(composite(&format!("must validate all the schemas (allOf){none}")));
    }
    if rules.not.as_ref().is_some_and(|not| failures(not).is_empty()) {
        causes.push(composite("must not validate the schema (not)"));
    }
}

/// Where something is wrong, and how that is said.
struct Told<'p> {
    path: &'p str,
}

// === impl Told ===

impl Told<'_> {
    fn invalid(&self, value: &Tree, why: impl Display) -> Cause {
        Cause::invalid(self.path, value, format!("{} in body {why}", self.path))
    }

    /// `found` is a type, or the value that does not have the format.
    fn wrong_type(&self, found: &Tree, wanted: &str) -> Cause {
        let cause = self.invalid(found, format!("must be of type {wanted}: {found}"));
        Cause { reason: "FieldValueTypeInvalid".to_owned(), ..cause }
    }

    fn with(&self, reason: &str, message: String) -> Cause {
        Cause { reason: reason.to_owned(), message, field: self.path.to_owned() }
    }
}

#[cfg(test)]
mod tests;
