//! Values that may not be there.

use super::{Cost, Row};
use crate::cel::run::Work;
use crate::cel::value::{Failure, Outcome, Value};

pub(super) const TABLE: &[Row] = &[
    ("optional.of(<A>) <optional<A>>", Cost::One, of),
    ("optional.ofNonZeroValue(<A>) <optional<A>>", Cost::One, of_non_zero),
    ("optional.none() <optional<A>>", Cost::One, none),
    ("<optional<A>>.hasValue() <bool>", Cost::One, has_value),
    ("<optional<A>>.value() <A>", Cost::One, value),
    ("<optional<A>>.orValue(<A>) <A>", Cost::One, or_value),
    ("<optional<A>>.or(<optional<A>>) <optional<A>>", Cost::One, or),
    ("optional.unwrap(<list<optional<A>>>) <list<A>>", Cost::Walk, unwrap),
    ("<list<optional<A>>>.unwrapOpt() <list<A>>", Cost::Walk, unwrap),
];

fn of<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    args.first().cloned().map(Value::some).ok_or_else(Failure::no_overload)
}

fn of_non_zero<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let [value] = args else { return Err(Failure::no_overload()) };
    let is_zero = match value {
        Value::Null | Value::Optional(None) | Value::Duration(0) => true,
        Value::Bool(value) => !value,
        Value::Int(value) => *value == 0,
        Value::Uint(value) => *value == 0,
        Value::Double(value) => *value == 0.0,
        Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_) => value.size() == 0,
        _ => false,
    };
    Ok(if is_zero { Value::Optional(None) } else { Value::some(value.clone()) })
}

fn none<'t>(_: &mut Work<'_>, _: &[Value<'t>]) -> Outcome<'t> {
    Ok(Value::Optional(None))
}

fn has_value<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    match args {
        [Value::Optional(value)] => Ok(Value::Bool(value.is_some())),
        _ => Err(Failure::no_overload()),
    }
}

fn value<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    match args {
        [Value::Optional(Some(value))] => Ok((**value).clone()),
        [Value::Optional(None)] => Err(Failure::of("optional.none() dereference")),
        _ => Err(Failure::no_overload()),
    }
}

fn or_value<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    match args {
        [Value::Optional(Some(value)), _] => Ok((**value).clone()),
        [Value::Optional(None), other] => Ok(other.clone()),
        _ => Err(Failure::no_overload()),
    }
}

fn or<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    match args {
        [value @ Value::Optional(Some(_)), _] | [Value::Optional(None), value] => Ok(value.clone()),
        _ => Err(Failure::no_overload()),
    }
}

fn unwrap<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let [Value::List(list)] = args else { return Err(Failure::no_overload()) };
    work.take(list.len() as u64)?;
    let mut kept = Vec::new();
    for value in list.iter() {
        let Value::Optional(value) = value? else { return Err(Failure::no_overload()) };
        kept.extend(value.map(|value| (*value).clone()));
    }
    Ok(Value::list(kept))
}
