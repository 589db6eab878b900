//! Patterns in texts.

use super::{Cost, Row};
use crate::cel::run::Work;
use crate::cel::value::{Failure, Outcome, Value};

pub(super) const TABLE: &[Row] = &[
    ("matches(<string>, <string>) <bool>", Cost::Match, matches),
    ("<string>.matches(<string>) <bool>", Cost::Match, matches),
    ("<string>.find(<string>) <string>", Cost::Match, find),
    ("<string>.findAll(<string>) <list<string>>", Cost::Match, find_all),
    ("<string>.findAll(<string>, <int>) <list<string>>", Cost::Match, find_all),
];

/// Functions whose second value is a pattern.
pub(in crate::cel) const NAMES: [&str; 3] = ["matches", "find", "findAll"];

fn matches<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let [Value::String(text), Value::String(pattern)] = args else { return Err(Failure::no_overload()) };
    Ok(Value::Bool(work.pattern(pattern, text)?.is_match(text)))
}

fn find<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let [Value::String(text), Value::String(pattern)] = args else { return Err(Failure::no_overload()) };
    let pattern = work.pattern(pattern, text)?;
    Ok(Value::text(pattern.find(text).map_or("", |found| found.as_str())))
}

/// No more than asked for; a negative number asks for all.
fn find_all<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let (text, pattern, most) = match args {
        [Value::String(text), Value::String(pattern)] => (text, pattern, -1),
        [Value::String(text), Value::String(pattern), Value::Int(most)] => (text, pattern, *most),
        _ => return Err(Failure::no_overload()),
    };
    // It is held while what it finds is paid for.
    let pattern = work.pattern(pattern, text)?.clone();
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut all = Vec::new();
    for found in pattern.find_iter(text).take(most) {
        // A search for what comes next may look at all the rest.
        work.read(text.len() - found.start())?;
        all.push(Value::text(found.as_str()));
    }
    Ok(Value::list(all))
}
