//! The four walks over typed values: fields of one, difference of two, merge of two, and removal of fields.
//!
//! Pure structure: who owns what is the caller's business.

use super::set::{Set, Step};
use super::shape::{Parts, Shape};
use crate::Tree;
use std::collections::BTreeMap;

/// What changed between two values.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) added: Set,
    pub(super) modified: Set,
    pub(super) removed: Set,
}

/// The fields that a configuration states.
pub(super) fn stated(shape: Shape<'_>, value: &Tree) -> Set {
    let mut set = Set::default();
    match shape.parts(value) {
        Parts::Whole => return Set::leaf(),
        Parts::Members(all) => {
            for (step, child) in all {
                let mut below = stated(shape.below(&step), child);
                let is_empty = child.is_null() || child.as_object().is_some_and(serde_json::Map::is_empty);
                below.owned |= is_empty || !shape.declares(&step);
                set.put(step, below);
            }
        }
        Parts::Elements(all) => {
            for (step, child) in all {
                let mut below = stated(shape.below(&step), child);
                below.owned = true;
                set.put(step, below);
            }
        }
    }
    set
}

/// What changed from `old` to `new`, as sets relative to the value.
pub(super) fn difference(shape: Shape<'_>, old: Option<&Tree>, new: Option<&Tree>) -> Difference {
    let mut out = Difference::default();
    let (old, new) = match (old, new) {
        (None, None) => return out,
        (None, Some(new)) => {
            out.added = all(shape, new);
            return out;
        }
        (Some(old), None) => {
            out.removed = all(shape, old);
            return out;
        }
        (Some(old), Some(new)) if old == new => return out,
        (Some(old), Some(new)) => (old, new),
    };
    if is_leaf(shape, old) && is_leaf(shape, new) || is_void(old) && is_void(new) {
        out.modified.owned = true;
        return out;
    }
    let (before, after) = (parts_of(shape, old), parts_of(shape, new));
    for step in before.keys().chain(after.keys().filter(|step| !before.contains_key(step))) {
        let below = difference(shape.below(step), before.get(step).copied(), after.get(step).copied());
        out.added.put((*step).clone(), below.added);
        out.modified.put((*step).clone(), below.modified);
        out.removed.put((*step).clone(), below.removed);
    }
    out
}

/// Every field of a value that is there on one side alone.
fn all(shape: Shape<'_>, value: &Tree) -> Set {
    let below = match shape.parts(value) {
        Parts::Whole => return Set::leaf(),
        Parts::Members(parts) | Parts::Elements(parts) => parts,
    };
    let below = below.into_iter().map(|(step, child)| {
        let set = all(shape.below(&step), child);
        (step, set)
    });
    Set { owned: true, below: below.collect() }
}

/// `config` laid over `live`.
pub(super) fn merge(shape: Shape<'_>, live: &Tree, config: &Tree) -> Tree {
    match (shape.parts(live), shape.parts(config)) {
        (Parts::Members(_), Parts::Members(over)) => {
            let mut out = live.as_object().cloned().unwrap_or_default();
            for (step, value) in over {
                let Step::Field(name) = &step else { continue };
                let merged = out.get(name).map_or_else(|| value.clone(), |have| merge(shape.below(&step), have, value));
                out.insert(name.clone(), merged);
            }
            Tree::Object(out)
        }
        (Parts::Elements(have), Parts::Elements(over)) => Tree::Array(merge_lists(shape, have, over)),
        _ => config.clone(),
    }
}

/// `value` without what `last` has and nobody owns any more; `None` if nothing is left of a container.
pub(super) fn prune(shape: Shape<'_>, value: &Tree, last: &Set, owned: &Set) -> Option<Tree> {
    let keep = |step: &Step, child: &Tree| -> Option<Tree> {
        let Some(before) = last.below.get(step) else { return Some(child.clone()) };
        let nobody = Set::default();
        match owned.below.get(step) {
            None if before.owned => None,
            now => {
                let kept = prune(shape.below(step), child, before, now.unwrap_or(&nobody));
                // An empty map or list that somebody states stays, whatever was in it.
                kept.or_else(|| now.is_some_and(|now| now.owned).then(|| emptied(child)))
            }
        }
    };
    match shape.parts(value) {
        Parts::Whole => Some(value.clone()),
        Parts::Members(all) => {
            let was_empty = all.is_empty();
            let named = |(step, child): (Step, &Tree)| {
                let kept = keep(&step, child)?;
                if let Step::Field(name) = step { Some((name, kept)) } else { None }
            };
            let out: serde_json::Map<String, Tree> = all.into_iter().filter_map(named).collect();
            (was_empty || !out.is_empty()).then_some(Tree::Object(out))
        }
        Parts::Elements(all) => {
            let was_empty = all.is_empty();
            let out: Vec<Tree> = all.iter().filter_map(|(step, child)| keep(step, child)).collect();
            (was_empty || !out.is_empty()).then_some(Tree::Array(out))
        }
    }
}

fn emptied(container: &Tree) -> Tree {
    if container.is_array() { Tree::Array(Vec::new()) } else { Tree::Object(serde_json::Map::new()) }
}

/// Elements of both, in the order of `over`, with those of `have` alone where they stood.
fn merge_lists(shape: Shape<'_>, have: Vec<(Step, &Tree)>, over: Vec<(Step, &Tree)>) -> Vec<Tree> {
    let old: BTreeMap<Step, &Tree> = have.iter().cloned().collect();
    let mut waiting: BTreeMap<Step, ()> = over.iter().map(|(step, _)| (step.clone(), ())).collect();
    let mut rest = over.clone().into_iter();
    let mut out = Vec::with_capacity(have.len().max(over.len()));
    let mut take = |waiting: &mut BTreeMap<Step, ()>, out: &mut Vec<Tree>| -> bool {
        let Some((step, value)) = rest.next() else { return false };
        waiting.remove(&step);
        out.push(old.get(&step).map_or_else(|| value.clone(), |have| merge(shape.below(&step), have, value)));
        true
    };
    for (step, value) in &have {
        if over.iter().all(|(other, _)| other != step) {
            out.push((*value).clone());
        }
        while waiting.contains_key(step) && take(&mut waiting, &mut out) {}
    }
    while take(&mut waiting, &mut out) {}
    out
}

fn parts_of<'t>(shape: Shape<'_>, value: &'t Tree) -> BTreeMap<Step, &'t Tree> {
    match shape.parts(value) {
        Parts::Members(all) | Parts::Elements(all) => all.into_iter().collect(),
        Parts::Whole => BTreeMap::new(),
    }
}

/// True for what has no parts.
fn is_leaf(shape: Shape<'_>, value: &Tree) -> bool {
    matches!(shape.parts(value), Parts::Whole)
}

fn is_void(value: &Tree) -> bool {
    match value {
        Tree::Null => true,
        Tree::Object(map) => map.is_empty(),
        Tree::Array(all) => all.is_empty(),
        _ => false,
    }
}
