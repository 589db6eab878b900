//! Objects from bytes and back: JSON, YAML and protobuf, all driven by the field table.
//!
//! Knows how an object is written; knows no defaults and no rules. A decoded tree has the keys of the table, in Go's
//! struct order, without nulls; `canonical` makes of it what kube-apiserver would print.

pub mod json;
pub mod yaml;
mod print;
pub mod protobuf;
pub mod named;
mod shape;
mod syntax;
mod typed;

use crate::fields::TypeRef;
use crate::{Kind, Tree, custom};
use std::fmt;

/// The longest body that is decoded (kube-apiserver's limit).
pub const BYTES_MAX: usize = 3 * 1024 * 1024;

/// The deepest nesting that is decoded.
pub const DEPTH_MAX: usize = 128;

/// What happens to unknown and duplicate fields: the request's `fieldValidation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strictness {
    /// Dropped silently: no problems are collected.
    Ignore,
    /// Dropped; the caller turns the problems into warnings.
    #[default]
    Warn,
    /// The caller refuses the request if there is any problem.
    Strict,
}

/// An unknown or duplicate field, in upstream's words: `unknown field "spec.x"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    text: String,
}

/// Bytes that are no object of the kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{0}")]
    Malformed(String),
    /// In the words of Go's `encoding/json`.
    #[error("{0}")]
    WrongType(String),
    #[error("the body is {bytes} bytes long; the limit is {BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("the body is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    #[error("the body has more values than can be read as YAML; send it as JSON")]
    TooMany,
    /// Custom resources have no protobuf form.
    #[error("no protobuf form is known for {0}")]
    NoProtobuf(String),
}

/// Checks a tree that came from elsewhere (a patched object) as if it had been decoded.
pub fn conform(tree: Tree, kind: &Kind, strictness: Strictness) -> Result<(Tree, Vec<Problem>), DecodeError> {
    let (mut tree, mut problems) = conform_as(tree, kind.schema(), strictness)?;
    prune(&mut tree, kind, strictness, &mut problems);
    Ok((tree, problems))
}

/// Drops what the schema of a custom resource does not know; built-in kinds have lost that while they were decoded.
pub fn prune(tree: &mut Tree, kind: &Kind, strictness: Strictness, problems: &mut Vec<Problem>) {
    let Some(custom) = &kind.custom else { return };
    let unknown = custom::prune::prune(&custom.schema, tree);
    if strictness != Strictness::Ignore {
        problems.extend(unknown.iter().map(|path| Problem::unknown_field(path)));
    }
}

/// `conform` for a type that is no served kind (a subresource's body).
pub fn conform_as(
    tree: Tree,
    schema: Option<TypeRef>,
    strictness: Strictness,
) -> Result<(Tree, Vec<Problem>), DecodeError> {
    typed::decode(tree, schema, strictness)
}

/// The tree as Go would print it: struct key order, zero values by `omitempty`, canonical quantities and times.
/// Unknown fields of built-in kinds are gone afterwards; a custom resource keeps all it has.
#[must_use]
pub fn canonical(tree: Tree, kind: &Kind) -> Tree {
    canonical_as(tree, kind.schema())
}

/// The bytes of `canonical`.
#[must_use]
pub fn print(tree: &Tree, kind: &Kind) -> Vec<u8> {
    print::print(tree, kind.schema())
}

/// `canonical` for a type that is no served kind.
#[must_use]
pub fn canonical_as(tree: Tree, schema: Option<TypeRef>) -> Tree {
    shape::canonical(tree, schema)
}

/// Lists and maps that are empty are not set once they have been stored: upstream stores protobuf, which does not know
/// them apart, and prints null where a field is always printed.
pub fn unset_empty(tree: &mut Tree, kind: &Kind) {
    if let Some(schema) = kind.schema() {
        shape::unset_empty(tree, schema, 0);
    }
}

/// The message of a request refused for its problems, as kube-apiserver words it.
#[must_use]
pub fn strict_error(problems: &[Problem]) -> String {
    let all: Vec<&str> = problems.iter().map(|problem| problem.text.as_str()).collect();
    format!("strict decoding error: {}", all.join(", "))
}

// === impl Problem ===

impl Problem {
    /// A field that a custom resource's schema does not know.
    fn unknown_field(path: &str) -> Problem {
        Problem { text: format!("unknown field {path:?}") }
    }

    /// The path of an unknown field; `None` if it is a duplicate one.
    pub(crate) fn unknown(&self) -> Option<&str> {
        self.text.strip_prefix("unknown field \"")?.strip_suffix('"')
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn check_length(bytes: &[u8]) -> Result<(), DecodeError> {
    if bytes.len() > BYTES_MAX { Err(DecodeError::TooLarge { bytes: bytes.len() }) } else { Ok(()) }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
