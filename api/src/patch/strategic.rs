//! Strategic merge patch: a merge patch that merges lists by the keys in the field table.
//!
//! Directives steer it: `$patch`, `$retainKeys`, `$setElementOrder/<list>` and `$deleteFromPrimitiveList/<list>`.
//! Custom resources have no table; the API server refuses this patch for them.

mod list;

use crate::fields::{Field, TypeRef};
use crate::schema::Schema;
use crate::walk::Members;
use crate::{Rejected, Tree};
use serde_json::Map;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// The patched tree.
pub fn apply(schema: Option<TypeRef>, current: &Tree, patch: &Tree) -> Result<Tree, Rejected> {
    let (Tree::Object(current), Tree::Object(patch)) = (current, patch) else {
        return Err(Rejected::bad_request("Invalid JSON document: a strategic merge patch is an object"));
    };
    merge(current.clone(), patch, Schema::root(schema)).map(Tree::Object)
}

fn merge(mut current: Members, patch: &Members, schema: Schema) -> Result<Members, Rejected> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(without_directives(patch)),
            Some("delete") => Ok(Map::new()),
            Some("merge") => merge_members(current, patch, schema),
            _ => Err(bad_directive(directive, patch)),
        };
    }
    if let Some(retained) = patch.get(RETAIN_KEYS) {
        retain(&mut current, patch, retained)?;
    }
    merge_members(current, patch, schema)
}

fn merge_members(mut current: Members, patch: &Members, schema: Schema) -> Result<Members, Rejected> {
    for (key, change) in patch {
        if key == DIRECTIVE || key == RETAIN_KEYS {
            continue;
        }
        if let Some(name) = key.strip_prefix(DELETE_FROM) {
            delete_from(&mut current, name, change)?;
        } else if let Some(name) = key.strip_prefix(ORDER) {
            let wanted = change.as_array().ok_or_else(|| bad_format(key))?;
            let merged = list::ordered(current.get(name), patch.get(name), wanted, schema.member(name), name)?;
            if let Some(merged) = merged {
                current.insert(name.to_owned(), merged);
            }
        } else if change.is_null() {
            current.shift_remove(key);
        } else if !(change.is_array() && patch.contains_key(&format!("{ORDER}{key}"))) {
            let value = merged(current.get(key), change, schema, key)?;
            current.insert(key.clone(), value);
        }
    }
    Ok(current)
}

/// What the change makes of one member.
fn merged(current: Option<&Tree>, change: &Tree, schema: Schema, key: &str) -> Result<Tree, Rejected> {
    let member = schema.member(key);
    match (current, change) {
        (current, Tree::Object(change)) => {
            let current = match current {
                Some(Tree::Object(current)) if !is_replaced(member.field) => current.clone(),
                _ => Map::new(),
            };
            merge(current, change, member.schema).map(Tree::Object)
        }
        (current, Tree::Array(change)) => {
            let current = match current {
                Some(Tree::Array(current)) => current.as_slice(),
                _ => &[],
            };
            list::merge(current, change, member).map(Tree::Array)
        }
        (_, change) => Ok(change.clone()),
    }
}

fn is_replaced(field: Option<&Field>) -> bool {
    field.and_then(|field| field.patch_strategy).is_some_and(|strategy| strategy.replace)
}

/// Only the listed keys survive; the patch may set no other.
fn retain(current: &mut Members, patch: &Members, retained: &Tree) -> Result<(), Rejected> {
    let retained = retained.as_array().ok_or_else(|| bad_format(RETAIN_KEYS))?;
    let is_retained = |key: &str| retained.iter().any(|one| one.as_str() == Some(key));
    let is_stray = |(key, value): (&String, &Tree)| !value.is_null() && !key.starts_with('$') && !is_retained(key);
    if patch.iter().any(is_stray) {
        return Err(bad_format(RETAIN_KEYS));
    }
    current.retain(|key, _| is_retained(key));
    Ok(())
}

fn delete_from(current: &mut Members, name: &str, deleted: &Tree) -> Result<(), Rejected> {
    let deleted = deleted.as_array().ok_or_else(|| bad_format(DELETE_FROM))?;
    if let Some(Tree::Array(all)) = current.get_mut(name) {
        all.retain(|one| !deleted.contains(one));
    }
    Ok(())
}

/// A patch as a value of its own: no directives, no nulls.
fn without_directives(patch: &Members) -> Members {
    let plain = |(key, value): (&String, &Tree)| {
        let is_kept = !value.is_null() && !key.starts_with('$');
        is_kept.then(|| (key.clone(), value.clone()))
    };
    patch.iter().filter_map(plain).collect()
}

fn bad_directive(directive: &Tree, patch: &Members) -> Rejected {
    let directive = directive.as_str().map_or_else(|| directive.to_string(), str::to_owned);
    Rejected::bad_request(format!("unknown patch type: {directive} in map: {}", Tree::Object(patch.clone())))
}

fn bad_format(what: &str) -> Rejected {
    let what = what.trim_start_matches('$').trim_end_matches('/');
    Rejected::bad_request(format!("invalid patch format of {what}"))
}

#[cfg(test)]
mod tests;
