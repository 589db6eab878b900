//! Lists in a strategic merge patch: merged by key or by value where the table says so, else replaced.

use super::{DIRECTIVE, bad_directive, merge as merge_object, without_directives};
use crate::schema::{Member, Schema};
use crate::walk::Members;
use crate::{Rejected, Tree};
use serde_json::Map;

/// What the patch list makes of the current one.
pub(super) fn merge(current: &[Tree], patch: &[Tree], member: Member) -> Result<Vec<Tree>, Rejected> {
    if !is_merged(member) {
        return replaced(patch, member.schema.element());
    }
    match member.field.and_then(|field| field.patch_merge_key) {
        Some(key) => by_key(current, patch, member.schema.element(), key),
        None => {
            let mut merged = current.to_vec();
            for one in patch {
                if one.is_array() {
                    return Err(Rejected::bad_request("lists of lists are not supported"));
                }
                if !merged.contains(one) {
                    merged.push(one.clone());
                }
            }
            Ok(merged)
        }
    }
}

/// `$setElementOrder`: merges, then puts the elements in the wanted order. Elements that the patch does not know of
/// stay where they were relative to their neighbours.
pub(super) fn ordered(
    current: Option<&Tree>,
    patch: Option<&Tree>,
    wanted: &[Tree],
    member: Member,
    name: &str,
) -> Result<Option<Tree>, Rejected> {
    let list = |tree: Option<&Tree>| tree.and_then(Tree::as_array).cloned();
    let (current, patch) = (list(current), list(patch));
    if current.is_none() && patch.is_none() {
        return Ok(None);
    }
    let (current, patch) = (current.unwrap_or_default(), patch.unwrap_or_default());
    let key = member.field.and_then(|field| field.patch_merge_key);
    check_order(&patch, wanted, key, name)?;
    let merged =
        if is_merged(member) || !patch.is_empty() { merge(&current, &patch, member)? } else { current.clone() };
    if !is_merged(member) {
        return Ok(Some(Tree::Array(merged)));
    }
    let place = |list: &[Tree], one: &Tree| list.iter().position(|other| is_same(other, one, key));
    let (mut known, mut others): (Vec<Tree>, Vec<Tree>) =
        merged.into_iter().partition(|one| place(wanted, one).is_some());
    known.sort_by_key(|one| place(wanted, one));
    others.sort_by_key(|one| place(&current, one));
    let mut all = Vec::with_capacity(known.len() + others.len());
    let (mut known, mut others) = (known.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let takes_other = match (others.peek(), known.peek()) {
            (None, None) => return Ok(Some(Tree::Array(all))),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(other), Some(known)) => match (place(&current, other), place(&current, known)) {
                (Some(other), Some(known)) => other < known,
                _ => false,
            },
        };
        all.extend(if takes_other { others.next() } else { known.next() });
    }
}

fn is_merged(member: Member) -> bool {
    member.field.and_then(|field| field.patch_strategy).is_some_and(|strategy| strategy.merge)
}

/// The patch's elements in order must stand in the wanted list, in the same order.
fn check_order(patch: &[Tree], wanted: &[Tree], key: Option<&str>, name: &str) -> Result<(), Rejected> {
    let is_kept = |one: &&Tree| one.get(DIRECTIVE).is_none();
    let mut rest = wanted.iter();
    if patch.iter().filter(is_kept).all(|one| rest.any(|other| is_same(other, one, key))) {
        return Ok(());
    }
    let (patch, wanted) = (Tree::Array(patch.to_vec()), Tree::Array(wanted.to_vec()));
    Err(Rejected::bad_request(format!(
        "The order in patch list:\n{patch}\n doesn't match $setElementOrder/{name} list:\n{wanted}\n"
    )))
}

fn is_same(left: &Tree, right: &Tree, key: Option<&str>) -> bool {
    match key {
        Some(key) => left.get(key).is_some() && left.get(key) == right.get(key),
        None => left == right,
    }
}

fn by_key(current: &[Tree], patch: &[Tree], schema: Schema, key: &str) -> Result<Vec<Tree>, Rejected> {
    let is_replacing = |one: &Tree| one.get(DIRECTIVE).and_then(Tree::as_str) == Some("replace");
    if patch.iter().any(is_replacing) {
        let rest: Vec<Tree> = patch.iter().filter(|one| one.get(DIRECTIVE).is_none()).cloned().collect();
        return replaced(&rest, schema);
    }
    let mut merged = current.to_vec();
    for one in patch {
        let Tree::Object(change) = one else { return Err(no_key(one, key)) };
        let value = change.get(key).ok_or_else(|| no_key(one, key))?;
        match change.get(DIRECTIVE).map(|directive| (directive, directive.as_str())) {
            Some((_, Some("delete"))) => merged.retain(|other| other.get(key) != Some(value)),
            Some((_, Some("merge"))) => {
                return Err(Rejected::bad_request("merging lists cannot yet be specified in the patch"));
            }
            Some((directive, _)) => return Err(bad_directive(directive, change)),
            None => merge_one(&mut merged, change, (key, value), schema)?,
        }
    }
    Ok(merged)
}

fn merge_one(
    merged: &mut Vec<Tree>,
    change: &Members,
    (key, value): (&str, &Tree),
    schema: Schema,
) -> Result<(), Rejected> {
    match merged.iter_mut().find(|other| other.get(key) == Some(value)) {
        Some(Tree::Object(have)) => *have = merge_object(std::mem::take(have), change, schema)?,
        _ => merged.push(Tree::Object(merge_object(Map::new(), change, schema)?)),
    }
    Ok(())
}

/// A list that is taken over as a whole; its elements are values, so nulls and directives in them go.
fn replaced(patch: &[Tree], schema: Schema) -> Result<Vec<Tree>, Rejected> {
    let value = |one: &Tree| match one {
        Tree::Object(change) if change.contains_key(DIRECTIVE) => Ok(Tree::Object(without_directives(change))),
        Tree::Object(change) => merge_object(Map::new(), change, schema).map(Tree::Object),
        other => Ok(other.clone()),
    };
    patch.iter().map(value).collect()
}

fn no_key(one: &Tree, key: &str) -> Rejected {
    Rejected::bad_request(format!("map: {one} does not contain declared merge key: {key}"))
}
