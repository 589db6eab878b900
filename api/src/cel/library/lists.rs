//! Lists: those of Kubernetes, CEL's extension, and lists as sets.

use super::{Cost, Row};
use crate::cel::run::Work;
use crate::cel::same::{contains, same};
use crate::cel::value::{Failure, List, Outcome, Value};
use std::cmp::Ordering;

/// How deep lists in lists are looked at.
const DEPTH_MAX: i64 = 64;

pub(super) const TABLE: &[Row] = &[
    ("<list<int>>.isSorted() <bool>", Cost::Walk, is_sorted),
    ("<list<uint>>.isSorted() <bool>", Cost::Walk, is_sorted),
    ("<list<double>>.isSorted() <bool>", Cost::Walk, is_sorted),
    ("<list<bool>>.isSorted() <bool>", Cost::Walk, is_sorted),
    ("<list<duration>>.isSorted() <bool>", Cost::Walk, is_sorted),
    ("<list<timestamp>>.isSorted() <bool>", Cost::Walk, is_sorted),
    ("<list<string>>.isSorted() <bool>", Cost::Walk, is_sorted),
    ("<list<bytes>>.isSorted() <bool>", Cost::Walk, is_sorted),
    ("<list<int>>.sum() <int>", Cost::Walk, sum_of_ints),
    ("<list<uint>>.sum() <uint>", Cost::Walk, sum_of_uints),
    ("<list<double>>.sum() <double>", Cost::Walk, sum_of_doubles),
    ("<list<duration>>.sum() <duration>", Cost::Walk, sum_of_durations),
    ("<list<int>>.min() <int>", Cost::Walk, min),
    ("<list<uint>>.min() <uint>", Cost::Walk, min),
    ("<list<double>>.min() <double>", Cost::Walk, min),
    ("<list<bool>>.min() <bool>", Cost::Walk, min),
    ("<list<duration>>.min() <duration>", Cost::Walk, min),
    ("<list<timestamp>>.min() <timestamp>", Cost::Walk, min),
    ("<list<string>>.min() <string>", Cost::Walk, min),
    ("<list<bytes>>.min() <bytes>", Cost::Walk, min),
    ("<list<int>>.max() <int>", Cost::Walk, max),
    ("<list<uint>>.max() <uint>", Cost::Walk, max),
    ("<list<double>>.max() <double>", Cost::Walk, max),
    ("<list<bool>>.max() <bool>", Cost::Walk, max),
    ("<list<duration>>.max() <duration>", Cost::Walk, max),
    ("<list<timestamp>>.max() <timestamp>", Cost::Walk, max),
    ("<list<string>>.max() <string>", Cost::Walk, max),
    ("<list<bytes>>.max() <bytes>", Cost::Walk, max),
    ("<list<A>>.indexOf(<A>) <int>", Cost::Walk, index_of),
    ("<list<A>>.lastIndexOf(<A>) <int>", Cost::Walk, last_index_of),
    ("<list<A>>.slice(<int>, <int>) <list<A>>", Cost::Walk, slice),
    ("<list<list<A>>>.flatten() <list<A>>", Cost::Walk, flatten),
    ("<list<dyn>>.flatten(<int>) <list<dyn>>", Cost::Walk, flatten),
    ("<list<A>>.distinct() <list<A>>", Cost::Square, distinct),
    ("<list<A>>.reverse() <list<A>>", Cost::Walk, reverse),
    ("<list<A>>.sort() <list<A>>", Cost::Square, sorted),
    ("<list<A>>.first() <optional<A>>", Cost::One, first),
    ("<list<A>>.last() <optional<A>>", Cost::One, last),
    ("lists.range(<int>) <list<int>>", Cost::Range, range),
    ("sets.contains(<list<A>>, <list<A>>) <bool>", Cost::Square, sets_contains),
    ("sets.equivalent(<list<A>>, <list<A>>) <bool>", Cost::Square, sets_equivalent),
    ("sets.intersects(<list<A>>, <list<A>>) <bool>", Cost::Square, sets_intersect),
];

fn list<'a, 't>(args: &'a [Value<'t>]) -> Result<&'a List<'t>, Failure> {
    match args.first() {
        Some(Value::List(list)) => Ok(list),
        _ => Err(Failure::no_overload()),
    }
}

/// The elements, paid for.
fn elements<'t>(work: &mut Work<'_>, list: &List<'t>) -> Result<Vec<Value<'t>>, Failure> {
    work.take(list.len() as u64)?;
    list.all()
}

/// Which comes first, paid for.
fn compare(work: &mut Work<'_>, one: &Value<'_>, two: &Value<'_>) -> Result<Ordering, Failure> {
    if let (Value::String(one), Value::String(two)) = (one, two) {
        work.read(one.len().min(two.len()))?;
    }
    work.take(1)?;
    one.compare(two).ok_or_else(Failure::no_overload)
}

fn is_sorted<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let all = elements(work, list(args)?)?;
    for pair in all.windows(2) {
        if compare(work, &pair[0], &pair[1])?.is_gt() {
            return Ok(Value::Bool(false));
        }
    }
    Ok(Value::Bool(true))
}

fn sum_of_ints<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    // A list that nobody knew the type of has the sum of what it holds.
    let all = elements(work, list(args)?)?;
    match all.first() {
        Some(Value::Uint(_)) => return sum_of_uints(work, args),
        Some(Value::Double(_)) => return sum_of_doubles(work, args),
        Some(Value::Duration(_)) => return sum_of_durations(work, args),
        _ => {}
    }
    let mut sum = 0_i64;
    for value in all {
        let Value::Int(value) = value else { return Err(Failure::no_overload()) };
        sum = sum.checked_add(value).ok_or_else(|| Failure::of("integer overflow"))?;
    }
    Ok(Value::Int(sum))
}

fn sum_of_uints<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let mut sum = 0_u64;
    for value in elements(work, list(args)?)? {
        let Value::Uint(value) = value else { return Err(Failure::no_overload()) };
        sum = sum.checked_add(value).ok_or_else(|| Failure::of("unsigned integer overflow"))?;
    }
    Ok(Value::Uint(sum))
}

fn sum_of_doubles<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let mut sum = 0.0;
    for value in elements(work, list(args)?)? {
        let Value::Double(value) = value else { return Err(Failure::no_overload()) };
        sum += value;
    }
    Ok(Value::Double(sum))
}

fn sum_of_durations<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let mut sum = 0_i64;
    for value in elements(work, list(args)?)? {
        let Value::Duration(value) = value else { return Err(Failure::no_overload()) };
        sum = sum.checked_add(value).ok_or_else(|| Failure::of("duration overflow"))?;
    }
    Ok(Value::Duration(sum))
}

fn extreme<'t>(work: &mut Work<'_>, args: &[Value<'t>], name: &str, wanted: Ordering) -> Outcome<'t> {
    let mut best: Option<Value<'t>> = None;
    for value in elements(work, list(args)?)? {
        let is_better = match &best {
            Some(best) => compare(work, &value, best)? == wanted,
            None => true,
        };
        if is_better {
            best = Some(value);
        }
    }
    best.ok_or_else(|| Failure::of(format!("{name} called on empty list")))
}

fn min<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    extreme(work, args, "min", Ordering::Less)
}

fn max<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    extreme(work, args, "max", Ordering::Greater)
}

fn place(at: Option<usize>) -> Value<'static> {
    Value::Int(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))
}

fn index_of<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let [Value::List(list), wanted] = args else { return Err(Failure::no_overload()) };
    for (at, value) in elements(work, list)?.iter().enumerate() {
        if same(work, value, wanted)? {
            return Ok(place(Some(at)));
        }
    }
    Ok(place(None))
}

fn last_index_of<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let [Value::List(list), wanted] = args else { return Err(Failure::no_overload()) };
    for (at, value) in elements(work, list)?.iter().enumerate().rev() {
        if same(work, value, wanted)? {
            return Ok(place(Some(at)));
        }
    }
    Ok(place(None))
}

fn slice<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let [Value::List(list), Value::Int(from), Value::Int(to)] = args else { return Err(Failure::no_overload()) };
    let all = elements(work, list)?;
    let bounds = usize::try_from(*from).ok().zip(usize::try_from(*to).ok());
    let part = bounds.and_then(|(from, to)| all.get(from..to));
    let wrong = || Failure::of(format!("cannot slice({from}, {to}) list"));
    part.map(|part| Value::list(part.to_vec())).ok_or_else(wrong)
}

fn flatten<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let depth = match args {
        [_] => 1,
        [_, Value::Int(depth)] if *depth >= 0 => *depth,
        [_, Value::Int(_)] => return Err(Failure::of("level must be non-negative")),
        _ => return Err(Failure::no_overload()),
    };
    let mut flat = Vec::new();
    flatten_into(work, list(args)?, depth.min(DEPTH_MAX), &mut flat)?;
    Ok(Value::list(flat))
}

fn flatten_into<'t>(
    work: &mut Work<'_>,
    list: &List<'t>,
    depth: i64,
    flat: &mut Vec<Value<'t>>,
) -> Result<(), Failure> {
    for value in elements(work, list)? {
        match value {
            Value::List(inner) if depth > 0 => flatten_into(work, &inner, depth - 1, flat)?,
            other => flat.push(other),
        }
    }
    Ok(())
}

fn distinct<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let mut kept = Vec::new();
    for value in elements(work, list(args)?)? {
        if !contains(work, &kept, &value)? {
            kept.push(value);
        }
    }
    Ok(Value::list(kept))
}

fn reverse<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let mut all = elements(work, list(args)?)?;
    all.reverse();
    Ok(Value::list(all))
}

fn sorted<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let keyed = elements(work, list(args)?)?.into_iter().map(|value| (value.clone(), value)).collect();
    sort(work, keyed).map(Value::list)
}

/// Values in the order of their keys, which are all of one type.
pub(in crate::cel) fn sort<'t>(
    work: &mut Work<'_>,
    mut keyed: Vec<(Value<'t>, Value<'t>)>,
) -> Result<Vec<Value<'t>>, Failure> {
    let length = keyed.len() as u64;
    work.take(length.saturating_mul(u64::from(length.max(1).ilog2()) + 1))?;
    for (key, _) in &keyed {
        // No number at all has no place.
        if key.compare(&keyed[0].0).is_none() {
            return Err(Failure::of("list elements must have the same type and be comparable"));
        }
        if let Value::String(text) = key {
            work.read(text.len())?;
        }
    }
    keyed.sort_by(|(one, _), (two, _)| one.compare(two).unwrap_or(Ordering::Equal));
    Ok(keyed.into_iter().map(|(_, value)| value).collect())
}

fn first<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let value = list(args)?.get(0).transpose()?;
    Ok(Value::Optional(value.map(Into::into)))
}

fn last<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let list = list(args)?;
    let value = list.len().checked_sub(1).and_then(|at| list.get(at)).transpose()?;
    Ok(Value::Optional(value.map(Into::into)))
}

fn range<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let [Value::Int(count)] = args else { return Err(Failure::no_overload()) };
    work.take(u64::try_from(*count).unwrap_or(0))?;
    Ok(Value::list((0..*count).map(Value::Int).collect()))
}

fn two_lists<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Result<(Vec<Value<'t>>, Vec<Value<'t>>), Failure> {
    let [Value::List(one), Value::List(two)] = args else { return Err(Failure::no_overload()) };
    Ok((elements(work, one)?, elements(work, two)?))
}

fn has_all(work: &mut Work<'_>, all: &[Value<'_>], wanted: &[Value<'_>]) -> Result<bool, Failure> {
    for value in wanted {
        if !contains(work, all, value)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn sets_contains<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let (one, two) = two_lists(work, args)?;
    has_all(work, &one, &two).map(Value::Bool)
}

fn sets_equivalent<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let (one, two) = two_lists(work, args)?;
    Ok(Value::Bool(has_all(work, &one, &two)? && has_all(work, &two, &one)?))
}

fn sets_intersect<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let (one, two) = two_lists(work, args)?;
    for value in &two {
        if contains(work, &one, value)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}
