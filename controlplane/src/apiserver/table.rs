//! Tables: what `kubectl get` prints, one row for each object, made once for all who ask.
//!
//! The columns are the kinds table's; the cells of the kinds that have some of their own are in the files below.

mod cluster;
mod core;
mod pod;
mod rest;
mod workload;

use super::answer;
use super::made::{Form, Made};
use api::custom::columns::{self, Column};
use api::kinds::{self, Kind};
use api::object::edit;
use api::time::{self, Timestamp};
use api::{Object, Rejected, Tree, strategy};
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::json;
use std::cell::Cell;
use std::sync::Arc;

/// Group and kind of what `scale` shows.
const SCALE: (&str, &str) = ("autoscaling", "Scale");

/// `includeObject`: what a row carries of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Include {
    None,
    Metadata,
    Object,
}

// === impl Include ===

impl Include {
    pub(super) fn parse(text: &str) -> Result<Include, Rejected> {
        match text {
            "" | "Metadata" => Ok(Include::Metadata),
            "None" => Ok(Include::None),
            "Object" => Ok(Include::Object),
            other => Err(Rejected::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', \
                 'Object', 'None', or empty"
            ))),
        }
    }
}

/// When a row is made, and from when on it would read differently.
#[derive(Debug)]
struct Now {
    at: Timestamp,
    changes: Cell<Timestamp>,
}

/// How one client is shown objects that it does not want whole.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) made: &'a Made,
    pub(super) kind: &'a Kind,
    /// Not the objects of the kind are shown, but the Scale of one.
    pub(super) scale: bool,
    pub(super) include: Include,
    /// As `meta.k8s.io/v1beta1`.
    pub(super) beta: bool,
    pub(super) now: Timestamp,
}

// === impl View ===

impl View<'_> {
    pub(super) fn api_version(&self) -> &'static str {
        if self.beta { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" }
    }

    /// A Table. Only the first one of a watch has columns.
    pub(super) fn table(&self, objects: &[Arc<Object>], meta: &Tree, with_columns: bool) -> Bytes {
        let (group, kind) = if self.scale { SCALE } else { (self.kind.group(), self.kind.kind.as_str()) };
        let columns = kinds::columns(group, kind);
        let definition = |column: &kinds::Column| {
            json!({
                "name": column.name, "type": column.value_type, "format": column.format,
                "description": "", "priority": column.priority,
            })
        };
        let definitions = with_columns.then(|| match &self.kind.custom {
            Some(custom) if !self.scale => {
                std::iter::once(columns::name_column()).chain(custom.columns.iter().map(Column::definition)).collect()
            }
            _ => columns.iter().map(definition).collect::<Vec<_>>(),
        });
        let mut out = BytesMut::new();
        let (version, definitions) = (self.api_version(), json!(definitions));
        let head = format!(
            "{{\"kind\":\"Table\",\"apiVersion\":\"{version}\",\"metadata\":{meta},\"columnDefinitions\":{definitions},\
             \"rows\":["
        );
        out.put_slice(head.as_bytes());
        for (index, object) in objects.iter().enumerate() {
            if index > 0 {
                out.put_u8(b',');
            }
            out.put_slice(&self.row(columns, object));
        }
        out.put_slice(b"]}");
        out.freeze()
    }

    /// One row, made once for as long as it reads the same.
    fn row(&self, columns: &[kinds::Column], object: &Arc<Object>) -> Bytes {
        let form = Form::Row { include: self.include, beta: self.beta };
        self.made.get(object, self.kind, form, self.now, || {
            let now = Now::new(self.now);
            let row = self.row_of(columns, object.tree(), &now);
            (Bytes::from(row.to_string()), now.changes.get())
        })
    }

    fn row_of(&self, columns: &[kinds::Column], tree: Tree, now: &Now) -> Tree {
        let cells = if self.scale { scale(&tree, now) } else { cells(self.kind, columns, &tree, now) };
        let mut row = json!({ "cells": cells });
        if self.kind.group().is_empty() && self.kind.kind == "Pod" {
            let conditions = pod::conditions(&tree);
            if !conditions.is_empty() {
                row["conditions"] = conditions.into();
            }
        }
        // The end of a streamed list must be seen, whatever is left out.
        let is_end = edit::at(&tree, &["metadata", "annotations", "k8s.io/initial-events-end"]).is_some();
        row["object"] = match self.include {
            Include::None if !is_end => Tree::Null,
            Include::None | Include::Metadata => self.partial(tree),
            Include::Object => tree,
        };
        row
    }

    /// An object's `PartialObjectMetadata`, made once.
    pub(super) fn metadata(&self, object: &Arc<Object>) -> Bytes {
        self.made.get(object, self.kind, Form::Metadata { beta: self.beta }, self.now, || {
            (Bytes::from(self.partial(object.tree()).to_string()), Timestamp::MAX)
        })
    }

    /// With its envelope, made once; `None` for what has no protobuf form.
    pub(super) fn protobuf(&self, object: &Arc<Object>) -> Option<Bytes> {
        let bytes = self.made.get(object, self.kind, Form::Protobuf, self.now, || {
            (answer::protobuf(&object.tree()).unwrap_or_default().into(), Timestamp::MAX)
        });
        (!bytes.is_empty()).then_some(bytes)
    }

    fn partial(&self, tree: Tree) -> Tree {
        let meta = metadata_of(self.kind, tree);
        json!({ "kind": "PartialObjectMetadata", "apiVersion": self.api_version(), "metadata": meta })
    }
}

// === impl Now ===

impl Now {
    fn new(at: Timestamp) -> Now {
        Now { at, changes: Cell::new(Timestamp::MAX) }
    }

    /// `5m`.
    fn age(&self, since: Timestamp) -> String {
        self.changes.set(self.changes.get().min(time::age_changes(since, self.at)));
        time::age(since, self.at)
    }
}

/// As of every kind that can be scaled.
fn scale(tree: &Tree, now: &Now) -> Vec<Tree> {
    let [wanted, running] = ["spec", "status"].map(|part| number(tree, &[part, "replicas"]));
    vec![name(tree), wanted.into(), running.into(), age(tree, now)]
}

fn cells(kind: &Kind, columns: &[kinds::Column], tree: &Tree, now: &Now) -> Vec<Tree> {
    if let Some(custom) = &kind.custom {
        return std::iter::once(name(tree))
            .chain(custom.columns.iter().map(|column| column.cell(tree, &|then| now.age(then))))
            .collect();
    }
    let own = workload::cells(kind, tree, now)
        .or_else(|| core::cells(kind, tree, now))
        .or_else(|| cluster::cells(kind, tree, now))
        .or_else(|| rest::cells(kind, tree, now));
    own.unwrap_or_else(|| rest::by_name(columns, tree, now))
}

/// Upstream takes it from its internal object, in which a DaemonSet's count of templates is a field and no annotation.
fn metadata_of(kind: &Kind, mut tree: Tree) -> Tree {
    if kind.group() == "apps" && kind.kind == "DaemonSet" {
        edit::remove(&mut tree, strategy::TEMPLATE_GENERATION);
        if count(&tree, &["metadata", "annotations"]) == 0 {
            edit::remove(&mut tree, &["metadata", "annotations"]);
        }
    }
    edit::remove(&mut tree, &["metadata"]).unwrap_or_default()
}

fn name(tree: &Tree) -> Tree {
    edit::text(tree, &["metadata", "name"]).into()
}

fn age(tree: &Tree, now: &Now) -> Tree {
    since(tree, &["metadata", "creationTimestamp"], now).into()
}

/// `5m`, or `<unknown>` where there is no time.
fn since(tree: &Tree, path: &[&str], now: &Now) -> String {
    match time::parse(edit::text(tree, path)) {
        Some(then) => now.age(then),
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
