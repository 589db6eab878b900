//! Lists in a strategic merge patch: merged by key or by value where the table says so, else replaced.
//!
//! A merged list has its elements in the patch's order, and between them those that only the server has, before the first
//! element that they stood before.

use super::super::go::Shown;
use super::{DIRECTIVE, bad_directive, merge as merge_object, not_a, unprocessable, value_of, without_directives};
use crate::schema::{Member, Schema};
use crate::walk::Members;
use crate::{Rejected, Tree};
use std::mem::discriminant;

/// What the patch list makes of the current one.
pub(super) fn merge(current: &[Tree], patch: &[Tree], member: Member) -> Result<Vec<Tree>, Rejected> {
    if !is_merged(member) {
        return Ok(replaced(patch));
    }
    check_elements(current, patch)?;
    let key = member.field.and_then(|field| field.patch_merge_key);
    match key {
        Some(key) if [current, patch].concat().iter().any(Tree::is_object) => {
            by_key(current, patch, member.schema.element(), key)
        }
        _ => {
            let mut merged: Vec<Tree> = Vec::with_capacity(current.len() + patch.len());
            for one in current.iter().chain(patch) {
                if !merged.contains(one) {
                    merged.push(one.clone());
                }
            }
            Ok(in_order(merged, patch, current, None))
        }
    }
}

/// `$setElementOrder`: merges, then puts the elements in the wanted order.
pub(super) fn ordered(
    current: Option<&Tree>,
    patch: Option<&Tree>,
    wanted: &[Tree],
    member: Member,
) -> Result<Option<Tree>, Rejected> {
    let list = |tree: Option<&Tree>| match tree {
        None | Some(Tree::Null) => Ok(None),
        Some(Tree::Array(all)) => Ok(Some(all.clone())),
        Some(other) => Err(not_a("[]interface {}", other)),
    };
    let (current, patch) = (list(current)?, list(patch)?);
    let key = member.field.and_then(|field| field.patch_merge_key);
    check_order(patch.as_deref().unwrap_or_default(), wanted, key)?;
    let merged = match (&current, &patch) {
        (None, None) => return Ok(None),
        (Some(current), None) => current.clone(),
        (None, Some(patch)) => patch.iter().filter_map(value_of).collect(),
        (Some(current), Some(patch)) => merge(current, patch, member)?,
    };
    if !is_merged(member) {
        return Ok(Some(Tree::Array(merged)));
    }
    Ok(Some(Tree::Array(in_order(merged, wanted, &current.unwrap_or_default(), key))))
}

/// `merged` with what `wanted` names in its order, and the rest in the order of `current`, each group's element as early
/// as `current` has it.
fn in_order(merged: Vec<Tree>, wanted: &[Tree], current: &[Tree], key: Option<&str>) -> Vec<Tree> {
    let place = |list: &[Tree], one: &Tree| list.iter().position(|other| is_same(other, one, key));
    let (mut known, mut others): (Vec<Tree>, Vec<Tree>) =
        merged.into_iter().partition(|one| place(wanted, one).is_some());
    known.sort_by_key(|one| place(wanted, one));
    others.sort_by_key(|one| place(current, one));
    let mut all = Vec::with_capacity(known.len() + others.len());
    let (mut known, mut others) = (known.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let takes_other = match (others.peek(), known.peek()) {
            (None, None) => return all,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(other), Some(known)) => match (place(current, other), place(current, known)) {
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

/// All elements are of one type, and none is a list.
fn check_elements(current: &[Tree], patch: &[Tree]) -> Result<(), Rejected> {
    let mut all = current.iter().chain(patch);
    let Some(first) = all.next() else { return Ok(()) };
    if first.is_array() {
        return Err(unprocessable());
    }
    if all.all(|one| discriminant(one) == discriminant(first)) {
        return Ok(());
    }
    let lists = Tree::Array(vec![Tree::Array(current.to_vec()), Tree::Array(patch.to_vec())]);
    Err(Rejected::bad_request(format!("list element types are not identical: {}", Shown(&lists))))
}

/// The patch's elements in order must stand in the wanted list, in the same order.
fn check_order(patch: &[Tree], wanted: &[Tree], key: Option<&str>) -> Result<(), Rejected> {
    let is_kept = |one: &&Tree| one.get(DIRECTIVE).is_none();
    let mut rest = wanted.iter();
    if wanted.is_empty() || patch.iter().filter(is_kept).all(|one| rest.any(|other| is_same(other, one, key))) {
        return Ok(());
    }
    let (patch, wanted) = (Tree::Array(patch.to_vec()), Tree::Array(wanted.to_vec()));
    Err(Rejected::bad_request(format!(
        "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
        Shown(&patch),
        Shown(&wanted)
    )))
}

fn is_same(left: &Tree, right: &Tree, key: Option<&str>) -> bool {
    match key {
        Some(key) => left.get(key).is_some() && left.get(key) == right.get(key),
        None => left == right,
    }
}

fn by_key(current: &[Tree], patch: &[Tree], schema: Schema, key: &str) -> Result<Vec<Tree>, Rejected> {
    let mut merged = current.to_vec();
    let mut changes: Vec<Tree> = Vec::with_capacity(patch.len());
    let mut is_replacing = false;
    for one in patch {
        let Tree::Object(change) = one else { return Err(no_key(one, key)) };
        match change.get(DIRECTIVE).map(|directive| (directive, directive.as_str())) {
            None => changes.push(one.clone()),
            Some((_, Some("delete"))) => {
                let value = change.get(key).ok_or_else(|| no_key(one, key))?;
                merged.retain(|other| other.get(key) != Some(value));
            }
            Some((_, Some("replace"))) => is_replacing = true,
            Some((_, Some("merge"))) => {
                return Err(Rejected::bad_request("merging lists cannot yet be specified in the patch"));
            }
            Some((directive, _)) => return Err(bad_directive(directive, change)),
        }
    }
    if is_replacing {
        return Ok(replaced(&changes));
    }
    let current = merged.clone();
    for one in &changes {
        let Tree::Object(change) = one else { continue };
        let value = change.get(key).ok_or_else(|| no_key(one, key))?;
        merge_one(&mut merged, change, (key, value), schema)?;
    }
    Ok(in_order(merged, &changes, &current, Some(key)))
}

fn merge_one(
    merged: &mut Vec<Tree>,
    change: &Members,
    (key, value): (&str, &Tree),
    schema: Schema,
) -> Result<(), Rejected> {
    match merged.iter_mut().find(|other| other.get(key) == Some(value)) {
        Some(Tree::Object(have)) => *have = merge_object(std::mem::take(have), change, schema)?,
        _ => merged.push(Tree::Object(without_directives(change))),
    }
    Ok(())
}

/// A list that is taken over as a whole; its elements are values, so nulls and directives in them go.
fn replaced(patch: &[Tree]) -> Vec<Tree> {
    let value = |one: &Tree| match one {
        Tree::Object(change) => Tree::Object(without_directives(change)),
        other => other.clone(),
    };
    patch.iter().map(value).collect()
}

fn no_key(one: &Tree, key: &str) -> Rejected {
    Rejected::bad_request(format!("map: {} does not contain declared merge key: {key}", Shown(one)))
}
