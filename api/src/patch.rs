//! Patches: what a partial change makes of an object.
//!
//! Each is a pure function of trees; checking the result, and writing it, is the registry's business.

mod go;
pub mod json;
pub mod merge;
pub mod strategic;

#[cfg(test)]
mod properties;

use crate::Tree;

/// A value as Go prints it with `%v`: `map[a:1 b:[x y]]`.
#[must_use]
pub fn shown(value: &Tree) -> String {
    go::Shown(value).to_string()
}
