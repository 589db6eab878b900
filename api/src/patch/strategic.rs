//! Strategic merge patch: a merge patch that merges lists by the keys in the field table.
//!
//! Directives steer it: `$patch`, `$retainKeys`, `$setElementOrder/<list>` and `$deleteFromPrimitiveList/<list>`.
//! Custom resources have no table; the API server refuses this patch for them.

mod list;
mod restore;

pub use restore::why_not;

use super::go::Shown;
use crate::fields::{Field, TypeRef};
use crate::rejected::Reason;
use crate::schema::Schema;
use crate::walk::Members;
use crate::{Rejected, Tree};
use serde_json::Map;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// The patched tree. What kube-apiserver answers with a 500, although the patch is at fault, is a 400 here, in its words.
pub fn apply(schema: Option<TypeRef>, current: &Tree, patch: &Tree) -> Result<Tree, Rejected> {
    let (Tree::Object(current), Tree::Object(patch)) = (current, patch) else {
        let found = crate::codec::named::found(patch);
        let message = format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}");
        return Err(Rejected::bad_request(message));
    };
    merge(current.clone(), patch, Schema::root(schema)).map(Tree::Object)
}

fn merge(mut current: Members, patch: &Members, schema: Schema) -> Result<Members, Rejected> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(without_directives(patch)),
            Some("delete") => Ok(Map::new()),
            _ => Err(bad_directive(directive, patch)),
        };
    }
    if let Some(retained) = patch.get(RETAIN_KEYS) {
        retain(&mut current, patch, retained)?;
    }
    for (key, wanted) in patch {
        if let Some(name) = key.strip_prefix(ORDER) {
            let wanted = wanted.as_array().ok_or_else(|| not_a("[]interface {}", wanted))?;
            let merged = list::ordered(current.get(name), patch.get(name), wanted, schema.member(name))?;
            if let Some(merged) = merged {
                current.insert(name.to_owned(), merged);
            }
        }
    }
    merge_members(current, patch, schema)
}

fn merge_members(mut current: Members, patch: &Members, schema: Schema) -> Result<Members, Rejected> {
    for (key, change) in patch {
        if key == RETAIN_KEYS || key.starts_with(ORDER) {
            continue;
        }
        if let Some(name) = key.strip_prefix(DELETE_FROM) {
            delete_from(&mut current, name, change);
        } else if change.is_null() {
            current.shift_remove(key);
        } else if !(change.is_array() && patch.contains_key(&format!("{ORDER}{key}"))) {
            match merged(current.get(key), change, schema, key)? {
                Some(value) => _ = current.insert(key.clone(), value),
                None => _ = current.shift_remove(key),
            }
        }
    }
    Ok(current)
}

/// What the change makes of one member; `None` if it is nothing but a directive, for which there is nothing to do.
fn merged(current: Option<&Tree>, change: &Tree, schema: Schema, key: &str) -> Result<Option<Tree>, Rejected> {
    let member = schema.member(key);
    match (current, change) {
        (Some(Tree::Object(_)), Tree::Object(change)) if is_replaced(member.field) => {
            Ok(Some(Tree::Object(without_directives(change))))
        }
        (Some(Tree::Object(current)), Tree::Object(change)) => {
            merge(current.clone(), change, member.schema).map(|merged| Some(Tree::Object(merged)))
        }
        (Some(Tree::Array(current)), Tree::Array(change)) => {
            list::merge(current, change, member).map(|merged| Some(Tree::Array(merged)))
        }
        (_, change) => Ok(value_of(change)),
    }
}

/// A change as a value of its own, without nulls and directives. `None` if it is a directive itself.
fn value_of(change: &Tree) -> Option<Tree> {
    match change {
        Tree::Object(members) if members.contains_key(DIRECTIVE) => None,
        Tree::Object(members) => Some(Tree::Object(without_directives(members))),
        Tree::Array(all) => Some(all.iter().filter_map(value_of).collect()),
        other => Some(other.clone()),
    }
}

fn without_directives(patch: &Members) -> Members {
    let is_directive =
        |key: &str| key == DIRECTIVE || key == RETAIN_KEYS || key.starts_with(ORDER) || key.starts_with(DELETE_FROM);
    let plain = |(key, value): (&String, &Tree)| {
        let is_kept = !value.is_null() && !is_directive(key);
        is_kept.then(|| Some((key.clone(), value_of(value)?))).flatten()
    };
    patch.iter().filter_map(plain).collect()
}

fn is_replaced(field: Option<&Field>) -> bool {
    field.and_then(|field| field.patch_strategy).is_some_and(|strategy| strategy.replace)
}

/// Only the listed keys survive; the patch may set no other.
fn retain(current: &mut Members, patch: &Members, retained: &Tree) -> Result<(), Rejected> {
    let bad = || Rejected::bad_request("invalid patch format of retainKeys");
    let retained = retained.as_array().ok_or_else(bad)?;
    let is_retained = |key: &str| retained.iter().any(|one| one.as_str() == Some(key));
    let is_stray = |(key, value): (&String, &Tree)| !value.is_null() && !key.starts_with('$') && !is_retained(key);
    if patch.iter().any(is_stray) {
        return Err(bad());
    }
    current.retain(|key, _| is_retained(key));
    Ok(())
}

fn delete_from(current: &mut Members, name: &str, deleted: &Tree) {
    if let (Some(Tree::Array(all)), Tree::Array(deleted)) = (current.get_mut(name), deleted) {
        all.retain(|one| !deleted.contains(one));
    }
}

fn bad_directive(directive: &Tree, patch: &Members) -> Rejected {
    let patch = Tree::Object(patch.clone());
    Rejected::bad_request(format!("unknown patch type: {} in map: {}", Shown(directive), Shown(&patch)))
}

/// Go's names for the types that `encoding/json` makes.
fn not_a(wanted: &str, found: &Tree) -> Rejected {
    let found = match found {
        Tree::Null => "%!s(<nil>)",
        Tree::Bool(_) => "bool",
        Tree::Number(number) if number.is_f64() => "float64",
        Tree::Number(_) => "int64",
        Tree::String(_) => "string",
        Tree::Array(_) => "[]interface {}",
        Tree::Object(_) => "map[string]interface {}",
    };
    Rejected::bad_request(format!("expected a {wanted}, but received a {found}"))
}

fn unprocessable() -> Rejected {
    Rejected::new(Reason::Invalid, "the server rejected our request due to an error in our request")
}

#[cfg(test)]
mod tests;
