//! Versions as of Semantic Versioning 2.0: `semver('1.2.3-rc.1')`.

use super::{Cost, Row};
use crate::cel::run::Work;
use crate::cel::value::{Failure, Outcome, Value};
use std::cmp::Ordering;
use std::fmt;
use std::rc::Rc;

pub(super) const TABLE: &[Row] = &[
    ("semver(<string>) <Semver>", Cost::Read, semver),
    ("semver(<string>, <bool>) <Semver>", Cost::Read, semver),
    ("isSemver(<string>) <bool>", Cost::Read, is_semver),
    ("isSemver(<string>, <bool>) <bool>", Cost::Read, is_semver),
    ("<Semver>.major() <int>", Cost::One, major),
    ("<Semver>.minor() <int>", Cost::One, minor),
    ("<Semver>.patch() <int>", Cost::One, patch),
    ("<Semver>.isGreaterThan(<Semver>) <bool>", Cost::One, is_greater),
    ("<Semver>.isLessThan(<Semver>) <bool>", Cost::One, is_less),
    ("<Semver>.compareTo(<Semver>) <int>", Cost::One, compare),
];

#[derive(Debug, Clone)]
pub struct Version {
    numbers: [u64; 3],
    /// Empty: a release.
    before: Vec<Part>,
    build: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Word(String),
}

// === impl Version ===

impl Version {
    pub(super) fn parse(text: &str) -> Option<Version> {
        let (text, build) = text.split_once('+').map_or((text, ""), |(text, build)| (text, build));
        let (core, before) = text.split_once('-').map_or((text, None), |(core, before)| (core, Some(before)));
        let is_known = |part: &str| {
            !part.is_empty() && part.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'-')
        };
        if !build.is_empty() && !build.split('.').all(is_known) {
            return None;
        }
        let mut parts = core.split('.').map(number);
        let numbers = [parts.next()??, parts.next()??, parts.next()??];
        let word = |part: &str| match part.bytes().all(|letter| letter.is_ascii_digit()) {
            _ if !is_known(part) => None,
            true => number(part).map(Part::Number),
            false => Some(Part::Word(part.to_owned())),
        };
        let before = before.map(|before| before.split('.').map(word).collect::<Option<Vec<_>>>());
        let before = before.map_or(Some(Vec::new()), |before| before)?;
        parts.next().is_none().then(|| Version { numbers, before, build: build.to_owned() })
    }

    /// A `v` in front is dropped, as are zeros in front of numbers; numbers that are missing are 0.
    fn lenient(text: &str) -> Option<Version> {
        let text = text.trim().trim_start_matches('v');
        let end = text.find(['-', '+']).unwrap_or(text.len());
        let (core, rest) = text.split_at(end);
        let mut numbers: Vec<&str> = core.split('.').collect();
        if numbers.len() < 3 && !rest.is_empty() {
            return None;
        }
        numbers.resize(numbers.len().max(3), "0");
        let bare = |digits: &&str| match digits.trim_start_matches('0') {
            "" if !digits.is_empty() => "0".to_owned(),
            bare => bare.to_owned(),
        };
        let numbers: Vec<String> = numbers.iter().map(bare).collect();
        Version::parse(&format!("{}{rest}", numbers.join(".")))
    }
}

fn number(digits: &str) -> Option<u64> {
    let is_plain =
        digits.bytes().all(|digit| digit.is_ascii_digit()) && (digits.len() == 1 || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| is_plain)
}

/// The build says nothing about the order.
impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.before.is_empty(), other.before.is_empty()) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => self.before.cmp(&other.before),
        })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Version) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        for (at, part) in self.before.iter().enumerate() {
            f.write_str(if at == 0 { "-" } else { "." })?;
            match part {
                Part::Number(number) => write!(f, "{number}")?,
                Part::Word(word) => f.write_str(word)?,
            }
        }
        if self.build.is_empty() { Ok(()) } else { write!(f, "+{}", self.build) }
    }
}

fn parsed(work: &mut Work<'_>, args: &[Value<'_>]) -> Result<Option<Version>, Failure> {
    let (text, is_lenient) = match args {
        [Value::String(text)] => (text, false),
        [Value::String(text), Value::Bool(is_lenient)] => (text, *is_lenient),
        _ => return Err(Failure::no_overload()),
    };
    work.read(text.len())?;
    Ok(if is_lenient { Version::lenient(text) } else { Version::parse(text) })
}

fn semver<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let version = parsed(work, args)?.ok_or_else(|| Failure::of("semver parse error during conversion from string"))?;
    Ok(Value::Semver(Rc::new(version)))
}

fn is_semver<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    Ok(Value::Bool(parsed(work, args)?.is_some()))
}

fn part<'t>(args: &[Value<'t>], at: usize) -> Outcome<'t> {
    match args {
        [Value::Semver(version)] => Ok(Value::Int(i64::try_from(version.numbers[at]).unwrap_or(i64::MAX))),
        _ => Err(Failure::no_overload()),
    }
}

fn major<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    part(args, 0)
}

fn minor<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    part(args, 1)
}

fn patch<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    part(args, 2)
}

fn ordering(args: &[Value<'_>]) -> Result<Ordering, Failure> {
    match args {
        [Value::Semver(one), Value::Semver(two)] => Ok(one.cmp(two)),
        _ => Err(Failure::no_overload()),
    }
}

fn is_greater<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    Ok(Value::Bool(ordering(args)?.is_gt()))
}

fn is_less<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    Ok(Value::Bool(ordering(args)?.is_lt()))
}

fn compare<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    Ok(Value::Int(ordering(args)? as i64))
}
