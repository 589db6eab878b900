//! The functions that expressions may call: CEL's own, its extensions, and those of Kubernetes.
//!
//! Each file has a table of signatures as Kubernetes' documentation writes them: `<string>.charAt(<int>) <string>`. A
//! call means every function whose signature fits; which one, the values say.

mod address;
mod convert;
mod formats;
mod formatted;
mod lists;
mod operators;
mod optional;
mod quantity;
pub(super) mod regex;
mod semver;
mod shown;
mod strings;
pub(super) mod times;
mod url;

pub(super) use address::{Address, Network};
pub(super) use formats::Format;
pub(super) use lists::sort;
pub(super) use semver::Version;
pub(super) use shown::shown;
pub(super) use url::Url;

use super::run::Work;
use super::types::{Opaque, REQUEST_BYTES_MAX, Type};
use super::value::{Outcome, Value};
use std::collections::HashMap;
use std::sync::LazyLock;

pub(super) type Apply = for<'t> fn(&mut Work<'_>, &[Value<'t>]) -> Outcome<'t>;

/// A signature, what a call costs at most, and what it does.
pub(super) type Row = (&'static str, Cost, Apply);

/// What a call may cost, and how large its result may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    One,
    /// A look at each letter of the first value; the result is no larger.
    Read,
    /// The same, and the result is made anew.
    Copy,
    /// Each letter of both, whose sum the result is.
    Sum,
    /// As much as is in the smaller one.
    Compare,
    /// The letters of the first, each with those of the second.
    Search,
    /// A pattern, the second value, in the first.
    Match,
    /// A pattern that is known.
    Format,
    /// Each element of the first value.
    Walk,
    /// Each element of the second.
    WalkSecond,
    /// Each element of one with each of the other, or with each other.
    Square,
    Split,
    Join,
    Replace,
    /// As large as it likes.
    Range,
}

/// A function for arguments of certain types.
#[derive(Debug)]
pub(super) struct Overload {
    pub(super) name: String,
    pub(super) is_member: bool,
    /// The one before the dot is the first.
    pub(super) args: Vec<Type>,
    pub(super) result: Type,
    pub(super) cost: Cost,
    pub(super) run: Apply,
}

static ALL: LazyLock<HashMap<String, Vec<Overload>>> = LazyLock::new(|| {
    let tables = [
        operators::TABLE,
        convert::TABLE,
        strings::TABLE,
        regex::TABLE,
        times::TABLE,
        lists::TABLE,
        optional::TABLE,
        quantity::TABLE,
        url::TABLE,
        address::TABLE,
        formats::TABLE,
        semver::TABLE,
    ];
    let mut all: HashMap<String, Vec<Overload>> = HashMap::new();
    let rows = tables.into_iter().flatten().copied();
    for row in rows {
        let overload = Overload::read(row).expect("the signatures of the tables are well formed");
        all.entry(overload.name.clone()).or_default().push(overload);
    }
    all
});

/// The functions of a name.
pub(super) fn named(name: &str) -> Option<&'static [Overload]> {
    ALL.get(name).map(Vec::as_slice)
}

/// Those that are written as words.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = String> {
    let mut names: Vec<String> = ALL.keys().filter(|name| !name.contains(['_', '@', '!'])).cloned().collect();
    names.sort();
    names.into_iter()
}

// === impl Overload ===

impl Overload {
    fn read((signature, cost, run): Row) -> Option<Overload> {
        let (mut args, rest) = match signature.strip_prefix('<') {
            Some(_) => {
                let (target, rest) = bracketed(signature)?;
                (vec![target], rest.strip_prefix('.')?)
            }
            None => (Vec::new(), signature),
        };
        let is_member = !args.is_empty();
        let (name, mut rest) = rest.split_once('(')?;
        while let Some(after) = rest.strip_prefix(", ").or(rest.starts_with('<').then_some(rest)) {
            let (arg, after) = bracketed(after)?;
            args.push(arg);
            rest = after;
        }
        let (result, rest) = bracketed(rest.strip_prefix(") ")?)?;
        let overload = Overload { name: name.to_owned(), is_member, args, result, cost, run };
        rest.is_empty().then_some(overload)
    }

    /// Whether the values are such as it asks for.
    pub(super) fn takes(&self, values: &[Value<'_>]) -> bool {
        self.args.len() == values.len() && self.args.iter().zip(values).all(|(arg, value)| value.is(arg))
    }
}

/// A type in angle brackets, and what comes after it.
fn bracketed(text: &str) -> Option<(Type, &str)> {
    let (found, rest) = read_type(text.strip_prefix('<')?)?;
    Some((found, rest.strip_prefix('>')?))
}

fn read_type(text: &str) -> Option<(Type, &str)> {
    let end = text.find(['<', '>', ','])?;
    let (name, rest) = text.split_at(end);
    let simple = match name {
        "dyn" => Type::ANY,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::TEXT,
        "bytes" => Type::Bytes(REQUEST_BYTES_MAX),
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        "type" => Type::Type,
        "Quantity" => Type::Opaque(Opaque::Quantity),
        "URL" => Type::Opaque(Opaque::Url),
        "IP" => Type::Opaque(Opaque::Ip),
        "CIDR" => Type::Opaque(Opaque::Cidr),
        "Format" => Type::Opaque(Opaque::Format),
        "Semver" => Type::Opaque(Opaque::Semver),
        "A" | "B" => Type::Param(name.as_bytes()[0]),
        "list" | "optional" => {
            let (of, rest) = bracketed(rest)?;
            let made = if name == "list" { Type::list(of, REQUEST_BYTES_MAX) } else { Type::optional(of) };
            return Some((made, rest));
        }
        "map" => {
            let (key, rest) = read_type(rest.strip_prefix('<')?)?;
            let (value, rest) = read_type(rest.strip_prefix(", ")?)?;
            return Some((Type::map(key, value, REQUEST_BYTES_MAX), rest.strip_prefix('>')?));
        }
        _ => return None,
    };
    Some((simple, rest))
}

// === impl Cost ===

impl Cost {
    /// The cost of a call with arguments of these types, and the size of its result, if that is known.
    pub(super) fn of(self, args: &[Type]) -> (u64, Option<u64>) {
        let size = |at: usize| args.get(at).map_or(1, Type::size);
        let item = |at: usize| match args.get(at) {
            Some(Type::List(list)) => list.items.size(),
            _ => 1,
        };
        let tenth = |bytes: u64| bytes.div_ceil(10);
        let first = size(0);
        match self {
            Cost::One => (1, None),
            Cost::Read => (tenth(first), Some(first)),
            Cost::Copy => (tenth(first.saturating_mul(2)), Some(first)),
            Cost::Sum => {
                let sum = first.saturating_add(size(1));
                let cost = if matches!(args.first(), Some(Type::String(_) | Type::Bytes(_))) { tenth(sum) } else { 1 };
                (cost, Some(sum))
            }
            Cost::Compare => (tenth(first.min(size(1))), None),
            Cost::Search => (tenth(first.saturating_add(1)).saturating_mul(tenth(size(1)).max(1)), None),
            Cost::Match => (matching(first, size(1)), Some(first)),
            Cost::Format => (matching(size(1), 64), None),
            Cost::Walk => (first.saturating_mul(1 + tenth(item(0) - item(0).min(1))), Some(first)),
            Cost::WalkSecond => (size(1), None),
            Cost::Square => (first.saturating_mul(size(1).max(if args.len() == 1 { first } else { 1 })), Some(first)),
            Cost::Split => (tenth(first.saturating_mul(2)), Some(first)),
            Cost::Join => {
                let sum = first.saturating_mul(item(0).saturating_add(if args.len() > 1 { size(1) } else { 0 }));
                (tenth(sum), Some(sum))
            }
            Cost::Replace => {
                let made = first.saturating_add(1).saturating_mul(size(2).max(1)).saturating_add(first);
                (tenth(first.saturating_mul(2)), Some(if size(2) <= 1 { first.saturating_mul(2) } else { made }))
            }
            Cost::Range => (1, Some(REQUEST_BYTES_MAX)),
        }
    }
}

fn matching(text: u64, pattern: u64) -> u64 {
    text.saturating_add(1).div_ceil(10).saturating_mul(pattern.div_ceil(4).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_read() {
        let one = |name: &str, at: usize| {
            let found = &named(name).expect(name)[at];
            let args: Vec<String> = found.args.iter().map(Type::to_string).collect();
            format!("{} {} {}", found.is_member, args.join(" "), found.result)
        };
        assert_eq!(one("charAt", 0), "true string int string");
        assert_eq!(one("format.named", 0), "false string optional_type(kubernetes.NamedFormat)");
        assert_eq!(one("getQuery", 0), "true kubernetes.URL map(string, list(string))");
        assert_eq!(one("optional.none", 0), "false  optional_type(A)");
        assert!(Overload::read(("<string>.x(<what>) <int>", Cost::One, |_, _| Ok(Value::Null))).is_none());
    }
}
