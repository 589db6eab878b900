//! Amounts: `quantity('1.5Gi')`.

use super::{Cost, Row};
use crate::cel::run::Work;
use crate::cel::value::{Failure, Outcome, Value};
use crate::quantity::Quantity;

pub(super) const TABLE: &[Row] = &[
    ("quantity(<string>) <Quantity>", Cost::Read, quantity),
    ("isQuantity(<string>) <bool>", Cost::Read, is_quantity),
    ("sign(<Quantity>) <int>", Cost::One, sign),
    ("<Quantity>.sign() <int>", Cost::One, sign),
    ("<Quantity>.isInteger() <bool>", Cost::One, is_integer),
    ("<Quantity>.asInteger() <int>", Cost::One, as_integer),
    ("<Quantity>.asApproximateFloat() <double>", Cost::One, as_float),
    ("<Quantity>.add(<Quantity>) <Quantity>", Cost::One, add),
    ("<Quantity>.add(<int>) <Quantity>", Cost::One, add),
    ("<Quantity>.sub(<Quantity>) <Quantity>", Cost::One, sub),
    ("<Quantity>.sub(<int>) <Quantity>", Cost::One, sub),
    ("<Quantity>.isGreaterThan(<Quantity>) <bool>", Cost::One, is_greater),
    ("<Quantity>.isLessThan(<Quantity>) <bool>", Cost::One, is_less),
    ("<Quantity>.compareTo(<Quantity>) <int>", Cost::One, compare),
];

fn one(args: &[Value<'_>]) -> Result<Quantity, Failure> {
    match args {
        [Value::Quantity(value)] => Ok(*value),
        _ => Err(Failure::no_overload()),
    }
}

/// Two amounts; the second may be a whole number.
fn two(args: &[Value<'_>]) -> Result<(Quantity, Quantity), Failure> {
    match args {
        [Value::Quantity(one), Value::Quantity(two)] => Ok((*one, *two)),
        [Value::Quantity(one), Value::Int(two)] => Ok((*one, Quantity::whole(*two))),
        _ => Err(Failure::no_overload()),
    }
}

fn parsed(work: &mut Work<'_>, args: &[Value<'_>]) -> Result<Result<Quantity, String>, Failure> {
    let [Value::String(text)] = args else { return Err(Failure::no_overload()) };
    work.read(text.len())?;
    Ok(Quantity::parse(text).map_err(|error| error.to_string()))
}

fn quantity<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    parsed(work, args)?.map(Value::Quantity).map_err(Failure::of)
}

fn is_quantity<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    Ok(Value::Bool(parsed(work, args)?.is_ok()))
}

fn sign<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    Ok(Value::Int(one(args)?.cmp(&Quantity::ZERO) as i64))
}

fn is_integer<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    Ok(Value::Bool(one(args)?.as_whole().is_some()))
}

fn as_integer<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let whole = one(args)?.as_whole();
    whole.map(Value::Int).ok_or_else(|| Failure::of("cannot convert value to integer"))
}

fn as_float<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    Ok(Value::Double(one(args)?.approximate()))
}

fn add<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let (one, two) = two(args)?;
    Ok(Value::Quantity(one + two))
}

fn sub<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let (one, two) = two(args)?;
    Ok(Value::Quantity(one - two))
}

fn is_greater<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let (one, two) = two(args)?;
    Ok(Value::Bool(one > two))
}

fn is_less<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let (one, two) = two(args)?;
    Ok(Value::Bool(one < two))
}

fn compare<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let (one, two) = two(args)?;
    Ok(Value::Int(one.cmp(&two) as i64))
}
