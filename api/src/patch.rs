//! Patches: what a partial change makes of an object.
//!
//! Each is a pure function of trees; checking the result, and writing it, is the registry's business.

mod go;
pub mod json;
pub mod merge;
pub mod strategic;
