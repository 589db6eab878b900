//! Whether two values are the same, as Kubernetes has it: lists that are sets or maps have no order.

use super::run::Work;
use super::types::{Likeness, ListType};
use super::value::{Failure, Key, List, Map, Text, Value};

type Answer = Result<bool, Failure>;

/// Numbers are the same if they are as numbers; values of different types are not.
pub(super) fn same(work: &mut Work<'_>, one: &Value<'_>, two: &Value<'_>) -> Answer {
    Ok(match (one, two) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(one), Value::Bool(two)) => one == two,
        (Value::Int(_) | Value::Uint(_) | Value::Double(_), Value::Int(_) | Value::Uint(_) | Value::Double(_)) => {
            one.compare(two) == Some(std::cmp::Ordering::Equal)
        }
        (Value::String(one), Value::String(two)) => {
            work.read(one.len().min(two.len()))?;
            one == two
        }
        (Value::Bytes(one), Value::Bytes(two)) => {
            work.read(one.len().min(two.len()))?;
            one == two
        }
        (Value::Timestamp(one), Value::Timestamp(two)) => one == two,
        (Value::Duration(one), Value::Duration(two)) => one == two,
        (Value::Type(one), Value::Type(two)) => one == two,
        (Value::List(one), Value::List(two)) => return lists(work, one, two),
        (Value::Map(one), Value::Map(two)) => return maps(work, one, two),
        (Value::Optional(None), Value::Optional(None)) => true,
        (Value::Optional(Some(one)), Value::Optional(Some(two))) => return same(work, one, two),
        (Value::Quantity(one), Value::Quantity(two)) => one == two,
        (Value::Url(one), Value::Url(two)) => one == two,
        (Value::Ip(one), Value::Ip(two)) => one == two,
        (Value::Cidr(one), Value::Cidr(two)) => one == two,
        (Value::Format(one), Value::Format(two)) => one.name == two.name,
        (Value::Semver(one), Value::Semver(two)) => one == two,
        _ => false,
    })
}

fn lists(work: &mut Work<'_>, one: &List<'_>, two: &List<'_>) -> Answer {
    work.take(1)?;
    if one.len() != two.len() {
        return Ok(false);
    }
    match one.of().map(|of| &of.like) {
        None | Some(Likeness::Ordered) => {
            for (one, two) in one.iter().zip(two.iter()) {
                work.take(1)?;
                if !same(work, &one?, &two?)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Some(Likeness::Set) => {
            work.take(two.len() as u64)?;
            let two = two.all()?;
            for one in one.iter() {
                if !contains(work, &two, &one?)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Some(Likeness::Map(keys)) => {
            work.take(two.len() as u64)?;
            let two = two.all()?;
            for one in one.iter() {
                let one = one?;
                let Some(at) = counterpart(work, keys, &two, &one)? else { return Ok(false) };
                if !same(work, &one, &two[at])? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }
}

/// Whether one of the values is the same.
pub(super) fn contains(work: &mut Work<'_>, all: &[Value<'_>], wanted: &Value<'_>) -> Answer {
    for one in all {
        work.take(1)?;
        if same(work, one, wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Which element has the same keys.
fn counterpart(
    work: &mut Work<'_>,
    keys: &[String],
    all: &[Value<'_>],
    wanted: &Value<'_>,
) -> Result<Option<usize>, Failure> {
    let Value::Map(wanted) = wanted else { return Ok(None) };
    for (at, one) in all.iter().enumerate() {
        let Value::Map(one) = one else { continue };
        let mut is_it = true;
        for key in keys {
            work.take(1)?;
            let (one, wanted) = (one.by_key(key).transpose()?, wanted.by_key(key).transpose()?);
            is_it &= match (&one, &wanted) {
                (Some(one), Some(wanted)) => same(work, one, wanted)?,
                (one, wanted) => one.is_none() && wanted.is_none(),
            };
        }
        if is_it {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

fn maps(work: &mut Work<'_>, one: &Map<'_>, two: &Map<'_>) -> Answer {
    work.take(1)?;
    if one.len() != two.len() {
        return Ok(false);
    }
    for (key, value) in one.entries()? {
        work.take(1)?;
        let other = match (&key, two) {
            // Two objects: their members have the same names, whatever expressions call them.
            (Value::String(name), Map::Seen(..)) => two.by_key(name),
            (key, Map::Made(all)) => {
                let found = key.key().and_then(|key| find(all, &key));
                found.map(|(_, value)| Ok(value.clone()))
            }
            _ => None,
        };
        let Some(other) = other else { return Ok(false) };
        if !same(work, &value, &other?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn find<'m, 't>(
    all: &'m std::collections::BTreeMap<Key<'t>, (Value<'t>, Value<'t>)>,
    key: &Key<'_>,
) -> Option<&'m (Value<'t>, Value<'t>)> {
    // The key of another map is made anew, so that it may live as long as those here.
    let key = match key {
        Key::Bool(value) => Key::Bool(*value),
        Key::Number(value) => Key::Number(*value),
        Key::Text(text) => Key::Text(Text::Made((&**text).into())),
    };
    all.get(&key)
}

/// Two lists as one: of a set, what is new; of a map, what is new and what takes the place of another.
pub(super) fn added<'t>(work: &mut Work<'_>, one: &List<'t>, two: &List<'t>) -> Result<Value<'t>, Failure> {
    work.take((one.len() + two.len()) as u64)?;
    let of = one.of();
    let mut all = one.all()?;
    match of.map(|of: &ListType| &of.like) {
        None | Some(Likeness::Ordered) => all.extend(two.all()?),
        Some(Likeness::Set) => {
            for value in two.all()? {
                if !contains(work, &all, &value)? {
                    all.push(value);
                }
            }
        }
        Some(Likeness::Map(keys)) => {
            for value in two.all()? {
                match counterpart(work, keys, &all, &value)? {
                    Some(at) => all[at] = value,
                    None => all.push(value),
                }
            }
        }
    }
    Ok(Value::List(List::Made(all.into(), of)))
}
