//! Label selectors and field selectors: parsed once, then asked often.
//!
//! Knows the two grammars and what matches; which field paths a kind offers is the caller's business.

mod fields;
mod labels;

pub use fields::{Fields, Requirement};
pub use labels::Labels;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod properties;
