//! Tables: what `kubectl get` prints, one row for each object.
//!
//! The columns are the kinds table's; the cells of the kinds that have some of their own are in the files below.

mod cluster;
mod core;
mod rest;
mod workload;

use api::kinds::{self, Kind};
use api::object::edit;
use api::time::{self, Timestamp};
use api::{Object, Tree};
use serde_json::json;
use std::sync::Arc;

/// `includeObject`: what a row carries of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Include {
    None,
    Metadata,
    Object,
}

// === impl Include ===

impl Include {
    pub(super) fn parse(text: &str) -> Include {
        match text {
            "None" => Include::None,
            "Object" => Include::Object,
            _ => Include::Metadata,
        }
    }
}

/// A `meta.k8s.io/v1` Table.
pub(super) fn table(
    kind: &Kind,
    objects: &[Arc<Object>],
    meta: Tree,
    include: Include,
    with_columns: bool,
    now: Timestamp,
) -> Tree {
    let columns = kinds::columns(kind.group(), &kind.kind);
    let definition = |column: &kinds::Column| {
        json!({
            "name": column.name, "type": column.value_type, "format": column.format,
            "description": "", "priority": column.priority,
        })
    };
    let definitions = if with_columns { columns.iter().map(definition).collect() } else { Vec::new() };
    let rows: Vec<Tree> = objects
        .iter()
        .map(|object| {
            let tree = object.tree();
            let cells = cells(kind, columns, &tree, now);
            match include {
                Include::None => json!({ "cells": cells }),
                Include::Metadata => json!({ "cells": cells, "object": metadata(object) }),
                Include::Object => json!({ "cells": cells, "object": tree }),
            }
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": definitions, "rows": rows,
    })
}

/// An object's `PartialObjectMetadata`.
pub(super) fn metadata(object: &Object) -> Tree {
    let mut tree = object.tree();
    let meta = edit::remove(&mut tree, &["metadata"]).unwrap_or_default();
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta })
}

fn cells(kind: &Kind, columns: &[kinds::Column], tree: &Tree, now: Timestamp) -> Vec<Tree> {
    let own = workload::cells(kind, tree, now)
        .or_else(|| core::cells(kind, tree, now))
        .or_else(|| cluster::cells(kind, tree, now))
        .or_else(|| rest::cells(kind, tree, now));
    own.unwrap_or_else(|| rest::by_name(columns, tree, now))
}

fn name(tree: &Tree) -> Tree {
    edit::text(tree, &["metadata", "name"]).into()
}

fn age(tree: &Tree, now: Timestamp) -> Tree {
    since(tree, &["metadata", "creationTimestamp"], now).into()
}

/// `5m`, or `<unknown>` where there is no time.
fn since(tree: &Tree, path: &[&str], now: Timestamp) -> String {
    match time::parse(edit::text(tree, path)) {
        Some(then) => time::age(then, now),
        None => "<unknown>".to_owned(),
    }
}

/// The text at a path, or `<none>`.
fn or_none(tree: &Tree, path: &[&str]) -> Tree {
    let text = edit::text(tree, path);
    if text.is_empty() { "<none>".into() } else { text.into() }
}

fn number(tree: &Tree, path: &[&str]) -> i64 {
    edit::integer(tree, path).unwrap_or(0)
}

fn count(tree: &Tree, path: &[&str]) -> usize {
    match edit::at(tree, path) {
        Some(Tree::Object(map)) => map.len(),
        Some(Tree::Array(list)) => list.len(),
        _ => 0,
    }
}

/// `a=b,c=d`, or `<none>`.
fn labels(tree: &Tree, path: &[&str]) -> String {
    let pairs = edit::at(tree, path).and_then(Tree::as_object);
    let mut pairs: Vec<String> = pairs
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

/// Names and images of a pod template's containers.
fn containers(tree: &Tree, path: &[&str]) -> (String, String) {
    let all = edit::list(tree, path);
    let joined = |key: &str| all.iter().map(|one| edit::text(one, &[key])).collect::<Vec<_>>().join(",");
    (joined("name"), joined("image"))
}

#[cfg(test)]
mod tests;
