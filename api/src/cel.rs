//! The Common Expression Language, as Kubernetes has it: rules of definitions are written in it, and whatever else looks
//! at objects by expressions.
//!
//! Pure, and safe from who writes expressions. `parse` makes a tree of a text, `check` finds out what it means and
//! estimates what it may cost, `run` evaluates it against a budget; `library` has the functions. All is our own: the
//! crates for CEL know no types before they run, and cannot be stopped while they do.
//!
//! A [`Program`] is compiled once, for variables of certain types, and shared. Its values lie in the objects that are
//! looked at.

mod check;
mod library;
mod parse;
mod pattern;
mod run;
mod same;
mod syntax;
mod token;
pub mod types;
pub mod value;

pub use types::Type;
pub use value::{Failure, Value};

use check::Checker;
use regex::Regex;
use run::{Run, Work};
use std::collections::HashMap;
use std::fmt;

/// Longer expressions are refused: what reads them takes time by their length.
const TEXT_BYTES_MAX: usize = 32 * 1024;
/// Deeper ones too: what walks through them takes stack by their depth.
const NESTING_MAX: usize = 96;
/// What one evaluation may cost; about a tenth of a second.
pub const CALL_COST_MAX: u64 = 1_000_000;
/// What all evaluations for one object may cost; about a second.
pub const OBJECT_COST_MAX: u64 = 10_000_000;

/// An expression that can be evaluated.
pub struct Program {
    root: syntax::Node,
    patterns: HashMap<String, Regex>,
    is_used: Vec<bool>,
    /// What it evaluates to.
    pub of: Type,
    /// What it costs at most, by the sizes that its variables' types allow.
    pub cost: u64,
}

/// Something that is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Issue {
    /// In bytes from the beginning.
    at: u32,
    message: String,
}

// === impl Program ===

impl Program {
    /// Compiles an expression for variables of these names and types. Else all that is wrong with it, as upstream says it.
    pub fn compile(text: &str, variables: &[(&str, Type)]) -> Result<Program, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("ERROR: <input>:-1:0: expression size exceeds limit: {TEXT_BYTES_MAX} bytes"));
        }
        let mut root = parse::parse(text).map_err(|issue| issue.shown(text))?;
        let mut checker = Checker::new(variables);
        let known = checker.node(&mut root);
        if !checker.issues.is_empty() {
            let told: Vec<String> = checker.issues.iter().map(|issue| issue.shown(text)).collect();
            return Err(told.join("\n"));
        }
        let Checker { patterns, is_used, .. } = checker;
        Ok(Program { root, patterns, is_used, of: known.of, cost: known.cost })
    }

    /// Whether the variable is used, by its place among those it was compiled for.
    #[must_use]
    pub fn uses(&self, variable: usize) -> bool {
        self.is_used.get(variable).copied().unwrap_or_default()
    }

    /// Evaluates the expression. What it costs is taken from `left`, even if it fails.
    pub fn run<'t>(&'t self, variables: &[Value<'t>], left: &mut u64) -> Result<Value<'t>, Failure> {
        let most = CALL_COST_MAX.min(*left);
        let work = Work { left: most, known: &self.patterns, made: HashMap::new() };
        let mut run = Run { work, slots: variables.to_vec() };
        let outcome = run.value(&self.root);
        *left -= most - run.work.left;
        outcome
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program({}, cost {})", self.of, self.cost)
    }
}

// === impl Issue ===

impl Issue {
    /// With the line, and a mark below the place.
    fn shown(&self, text: &str) -> String {
        let at = usize::try_from(self.at).unwrap_or(usize::MAX).min(text.len());
        let before = text.get(..at).unwrap_or(text);
        let begin = before.rfind('\n').map_or(0, |at| at + 1);
        let line = text[begin..].lines().next().unwrap_or_default().replace('\t', " ");
        let column = before[begin..].chars().count();
        let number = before.matches('\n').count() + 1;
        let mark = ".".repeat(column);
        format!("ERROR: <input>:{number}:{}: {}\n | {line}\n | {mark}^", column + 1, self.message)
    }
}

/// How expressions write the name of a member; `None` if they cannot.
#[must_use]
pub fn escaped(name: &str) -> Option<String> {
    let is_known = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.' | '/');
    if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) || !name.chars().all(is_known) {
        return None;
    }
    if parse::RESERVED.contains(&name) || matches!(name, "true" | "false" | "null" | "in") {
        return Some(format!("__{name}__"));
    }
    let name = name.replace("__", "__underscores__");
    Some(name.replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__"))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod properties;
