//! Arithmetic, comparisons and `in`: what signs mean.

use super::{Cost, Row};
use crate::cel::library::times;
use crate::cel::run::{Work, is_in};
use crate::cel::same::{added, same};
use crate::cel::value::{Failure, Outcome, Value};
use std::cmp::Ordering;

pub(super) const TABLE: &[Row] = &[
    ("_+_(<int>, <int>) <int>", Cost::One, add),
    ("_+_(<uint>, <uint>) <uint>", Cost::One, add),
    ("_+_(<double>, <double>) <double>", Cost::One, add),
    ("_+_(<string>, <string>) <string>", Cost::Sum, add),
    ("_+_(<bytes>, <bytes>) <bytes>", Cost::Sum, add),
    ("_+_(<list<A>>, <list<A>>) <list<A>>", Cost::Sum, add),
    ("_+_(<timestamp>, <duration>) <timestamp>", Cost::One, add),
    ("_+_(<duration>, <timestamp>) <timestamp>", Cost::One, add),
    ("_+_(<duration>, <duration>) <duration>", Cost::One, add),
    ("_-_(<int>, <int>) <int>", Cost::One, subtract),
    ("_-_(<uint>, <uint>) <uint>", Cost::One, subtract),
    ("_-_(<double>, <double>) <double>", Cost::One, subtract),
    ("_-_(<timestamp>, <timestamp>) <duration>", Cost::One, subtract),
    ("_-_(<timestamp>, <duration>) <timestamp>", Cost::One, subtract),
    ("_-_(<duration>, <duration>) <duration>", Cost::One, subtract),
    ("_*_(<int>, <int>) <int>", Cost::One, multiply),
    ("_*_(<uint>, <uint>) <uint>", Cost::One, multiply),
    ("_*_(<double>, <double>) <double>", Cost::One, multiply),
    ("_/_(<int>, <int>) <int>", Cost::One, divide),
    ("_/_(<uint>, <uint>) <uint>", Cost::One, divide),
    ("_/_(<double>, <double>) <double>", Cost::One, divide),
    ("_%_(<int>, <int>) <int>", Cost::One, remainder),
    ("_%_(<uint>, <uint>) <uint>", Cost::One, remainder),
    ("-_(<int>) <int>", Cost::One, negate),
    ("-_(<double>) <double>", Cost::One, negate),
    ("!_(<bool>) <bool>", Cost::One, not),
    ("_==_(<A>, <A>) <bool>", Cost::Compare, equal),
    ("_!=_(<A>, <A>) <bool>", Cost::Compare, unequal),
    ("_<_(<bool>, <bool>) <bool>", Cost::One, less),
    ("_<_(<int>, <int>) <bool>", Cost::One, less),
    ("_<_(<int>, <uint>) <bool>", Cost::One, less),
    ("_<_(<int>, <double>) <bool>", Cost::One, less),
    ("_<_(<uint>, <uint>) <bool>", Cost::One, less),
    ("_<_(<uint>, <int>) <bool>", Cost::One, less),
    ("_<_(<uint>, <double>) <bool>", Cost::One, less),
    ("_<_(<double>, <double>) <bool>", Cost::One, less),
    ("_<_(<double>, <int>) <bool>", Cost::One, less),
    ("_<_(<double>, <uint>) <bool>", Cost::One, less),
    ("_<_(<string>, <string>) <bool>", Cost::Compare, less),
    ("_<_(<bytes>, <bytes>) <bool>", Cost::Compare, less),
    ("_<_(<timestamp>, <timestamp>) <bool>", Cost::One, less),
    ("_<_(<duration>, <duration>) <bool>", Cost::One, less),
    ("_<=_(<bool>, <bool>) <bool>", Cost::One, less_or_equal),
    ("_<=_(<int>, <int>) <bool>", Cost::One, less_or_equal),
    ("_<=_(<int>, <uint>) <bool>", Cost::One, less_or_equal),
    ("_<=_(<int>, <double>) <bool>", Cost::One, less_or_equal),
    ("_<=_(<uint>, <uint>) <bool>", Cost::One, less_or_equal),
    ("_<=_(<uint>, <int>) <bool>", Cost::One, less_or_equal),
    ("_<=_(<uint>, <double>) <bool>", Cost::One, less_or_equal),
    ("_<=_(<double>, <double>) <bool>", Cost::One, less_or_equal),
    ("_<=_(<double>, <int>) <bool>", Cost::One, less_or_equal),
    ("_<=_(<double>, <uint>) <bool>", Cost::One, less_or_equal),
    ("_<=_(<string>, <string>) <bool>", Cost::Compare, less_or_equal),
    ("_<=_(<bytes>, <bytes>) <bool>", Cost::Compare, less_or_equal),
    ("_<=_(<timestamp>, <timestamp>) <bool>", Cost::One, less_or_equal),
    ("_<=_(<duration>, <duration>) <bool>", Cost::One, less_or_equal),
    ("_>_(<bool>, <bool>) <bool>", Cost::One, greater),
    ("_>_(<int>, <int>) <bool>", Cost::One, greater),
    ("_>_(<int>, <uint>) <bool>", Cost::One, greater),
    ("_>_(<int>, <double>) <bool>", Cost::One, greater),
    ("_>_(<uint>, <uint>) <bool>", Cost::One, greater),
    ("_>_(<uint>, <int>) <bool>", Cost::One, greater),
    ("_>_(<uint>, <double>) <bool>", Cost::One, greater),
    ("_>_(<double>, <double>) <bool>", Cost::One, greater),
    ("_>_(<double>, <int>) <bool>", Cost::One, greater),
    ("_>_(<double>, <uint>) <bool>", Cost::One, greater),
    ("_>_(<string>, <string>) <bool>", Cost::Compare, greater),
    ("_>_(<bytes>, <bytes>) <bool>", Cost::Compare, greater),
    ("_>_(<timestamp>, <timestamp>) <bool>", Cost::One, greater),
    ("_>_(<duration>, <duration>) <bool>", Cost::One, greater),
    ("_>=_(<bool>, <bool>) <bool>", Cost::One, greater_or_equal),
    ("_>=_(<int>, <int>) <bool>", Cost::One, greater_or_equal),
    ("_>=_(<int>, <uint>) <bool>", Cost::One, greater_or_equal),
    ("_>=_(<int>, <double>) <bool>", Cost::One, greater_or_equal),
    ("_>=_(<uint>, <uint>) <bool>", Cost::One, greater_or_equal),
    ("_>=_(<uint>, <int>) <bool>", Cost::One, greater_or_equal),
    ("_>=_(<uint>, <double>) <bool>", Cost::One, greater_or_equal),
    ("_>=_(<double>, <double>) <bool>", Cost::One, greater_or_equal),
    ("_>=_(<double>, <int>) <bool>", Cost::One, greater_or_equal),
    ("_>=_(<double>, <uint>) <bool>", Cost::One, greater_or_equal),
    ("_>=_(<string>, <string>) <bool>", Cost::Compare, greater_or_equal),
    ("_>=_(<bytes>, <bytes>) <bool>", Cost::Compare, greater_or_equal),
    ("_>=_(<timestamp>, <timestamp>) <bool>", Cost::One, greater_or_equal),
    ("_>=_(<duration>, <duration>) <bool>", Cost::One, greater_or_equal),
    ("@in(<A>, <list<A>>) <bool>", Cost::WalkSecond, is_in),
    ("@in(<A>, <map<A, B>>) <bool>", Cost::One, is_in),
];

/// Else, it is too large for its type.
fn held<T>(value: Option<T>, kind: &str) -> Result<T, Failure> {
    value.ok_or_else(|| Failure::of(format!("{kind} overflow")))
}

fn add<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    Ok(match args {
        [Value::Int(one), Value::Int(two)] => Value::Int(held(one.checked_add(*two), "integer")?),
        [Value::Uint(one), Value::Uint(two)] => Value::Uint(held(one.checked_add(*two), "unsigned integer")?),
        [Value::Double(one), Value::Double(two)] => Value::Double(one + two),
        [Value::String(one), Value::String(two)] => {
            work.read(one.len() + two.len())?;
            Value::text([&**one, &**two].concat())
        }
        [Value::Bytes(one), Value::Bytes(two)] => {
            work.read(one.len() + two.len())?;
            Value::Bytes([&**one, &**two].concat().into())
        }
        [Value::List(one), Value::List(two)] => return added(work, one, two),
        [Value::Timestamp(at), Value::Duration(length)] | [Value::Duration(length), Value::Timestamp(at)] => {
            times::shifted(*at, *length)?
        }
        [Value::Duration(one), Value::Duration(two)] => Value::Duration(held(one.checked_add(*two), "duration")?),
        _ => return Err(Failure::no_overload()),
    })
}

fn subtract<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    Ok(match args {
        [Value::Int(one), Value::Int(two)] => Value::Int(held(one.checked_sub(*two), "integer")?),
        [Value::Uint(one), Value::Uint(two)] => Value::Uint(held(one.checked_sub(*two), "unsigned integer")?),
        [Value::Double(one), Value::Double(two)] => Value::Double(one - two),
        [Value::Timestamp(one), Value::Timestamp(two)] => {
            let nanos = one.as_nanosecond() - two.as_nanosecond();
            Value::Duration(held(i64::try_from(nanos).ok(), "timestamp")?)
        }
        [Value::Timestamp(at), Value::Duration(length)] => {
            times::shifted(*at, held(length.checked_neg(), "duration")?)?
        }
        [Value::Duration(one), Value::Duration(two)] => Value::Duration(held(one.checked_sub(*two), "duration")?),
        _ => return Err(Failure::no_overload()),
    })
}

fn multiply<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    Ok(match args {
        [Value::Int(one), Value::Int(two)] => Value::Int(held(one.checked_mul(*two), "integer")?),
        [Value::Uint(one), Value::Uint(two)] => Value::Uint(held(one.checked_mul(*two), "unsigned integer")?),
        [Value::Double(one), Value::Double(two)] => Value::Double(one * two),
        _ => return Err(Failure::no_overload()),
    })
}

fn divide<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    Ok(match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            return Err(Failure::of("division by zero"));
        }
        [Value::Int(one), Value::Int(two)] => Value::Int(held(one.checked_div(*two), "integer")?),
        [Value::Uint(one), Value::Uint(two)] => Value::Uint(one / two),
        [Value::Double(one), Value::Double(two)] => Value::Double(one / two),
        _ => return Err(Failure::no_overload()),
    })
}

fn remainder<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    Ok(match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            return Err(Failure::of("modulus by zero"));
        }
        [Value::Int(one), Value::Int(two)] => Value::Int(held(one.checked_rem(*two), "integer")?),
        [Value::Uint(one), Value::Uint(two)] => Value::Uint(one % two),
        _ => return Err(Failure::no_overload()),
    })
}

fn negate<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    Ok(match args {
        [Value::Int(value)] => Value::Int(held(value.checked_neg(), "integer")?),
        [Value::Double(value)] => Value::Double(-value),
        _ => return Err(Failure::no_overload()),
    })
}

fn not<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    match args {
        [Value::Bool(value)] => Ok(Value::Bool(!value)),
        _ => Err(Failure::no_overload()),
    }
}

fn equal<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    match args {
        [one, two] => same(work, one, two).map(Value::Bool),
        _ => Err(Failure::no_overload()),
    }
}

fn unequal<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    match args {
        [one, two] => same(work, one, two).map(|is_same| Value::Bool(!is_same)),
        _ => Err(Failure::no_overload()),
    }
}

/// What is no number is not less than, nor equal to, nor greater than anything.
fn ordered<'t>(work: &mut Work<'_>, args: &[Value<'t>], is_good: fn(Ordering) -> bool) -> Outcome<'t> {
    let [one, two] = args else { return Err(Failure::no_overload()) };
    if let (Value::String(one), Value::String(two)) = (one, two) {
        work.read(one.len().min(two.len()))?;
    }
    let has_nan = |value: &Value<'_>| matches!(value, Value::Double(value) if value.is_nan());
    match one.compare(two) {
        Some(ordering) => Ok(Value::Bool(is_good(ordering))),
        None if has_nan(one) || has_nan(two) => Ok(Value::Bool(false)),
        None => Err(Failure::no_overload()),
    }
}

fn less<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    ordered(work, args, Ordering::is_lt)
}

fn less_or_equal<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    ordered(work, args, Ordering::is_le)
}

fn greater<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    ordered(work, args, Ordering::is_gt)
}

fn greater_or_equal<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    ordered(work, args, Ordering::is_ge)
}
