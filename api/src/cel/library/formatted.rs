//! `<string>.format(<list>)`: values put into a text.

use super::shown;
use crate::cel::run::Work;
use crate::cel::value::{Failure, Outcome, Value};
use std::fmt::Write as _;

/// More digits behind the point than these are refused.
const DIGITS_MAX: usize = 1000;

pub(super) fn format<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let [Value::String(pattern), Value::List(list)] = args else { return Err(Failure::no_overload()) };
    work.read(pattern.len())?;
    let mut out = String::new();
    let mut rest: &str = pattern;
    let mut next = 0;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let (digits, after) = precision(after)?;
        let clause = after.chars().next().ok_or_else(|| Failure::of("unexpected end of string"))?;
        let value = list.get(next).ok_or_else(|| Failure::of(format!("index {next} out of range")))??;
        next += 1;
        let from = out.len();
        insert(&value, clause, digits, &mut out, room(work))?;
        work.read(out.len() - from)?;
        rest = &after[clause.len_utf8()..];
    }
    out.push_str(rest);
    Ok(Value::text(out))
}

/// How many bytes can still be paid for.
fn room(work: &Work<'_>) -> usize {
    usize::try_from(work.left.saturating_mul(10)).unwrap_or(usize::MAX)
}

/// `.3` in front of a clause.
fn precision(text: &str) -> Result<(Option<usize>, &str), Failure> {
    let Some(text) = text.strip_prefix('.') else { return Ok((None, text)) };
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let digits = text[..end].parse().ok().filter(|digits| *digits <= DIGITS_MAX);
    let digits = digits.ok_or_else(|| Failure::of("error while parsing precision"))?;
    Ok((Some(digits), &text[end..]))
}

fn insert(
    value: &Value<'_>,
    clause: char,
    digits: Option<usize>,
    out: &mut String,
    room: usize,
) -> Result<(), Failure> {
    let wrong = |wanted: &str| {
        let found = value.type_name();
        Err(Failure::of(format!("error during formatting: {wanted} clause cannot be used on {found}")))
    };
    let digits_or_six = digits.unwrap_or(6);
    let _ = match (clause, value) {
        ('s', value) => {
            shown::write(value, out, out.len().saturating_add(room));
            Ok(())
        }
        ('d', Value::Int(value)) => write!(out, "{value}"),
        ('d', Value::Uint(value)) => write!(out, "{value}"),
        ('d', Value::Double(value)) if !value.is_finite() => out.write_str(&infinite(*value)),
        ('d', _) => return wrong("decimal"),
        ('f', value) => match number(value) {
            Some(value) if !value.is_finite() => out.write_str(&infinite(value)),
            Some(value) => write!(out, "{value:.digits_or_six$}"),
            None => return wrong("fixed-point"),
        },
        ('e', value) => match number(value) {
            Some(value) if !value.is_finite() => out.write_str(&infinite(value)),
            Some(value) => {
                let written = format!("{value:.digits_or_six$e}");
                let (mantissa, exponent) = written.split_once('e').unwrap_or((&written, "0"));
                let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
                write!(out, "{mantissa}e{sign}{exponent:0>2}")
            }
            None => return wrong("scientific"),
        },
        ('b', Value::Bool(value)) => write!(out, "{}", u8::from(*value)),
        ('b', Value::Int(value)) => write!(out, "{}{:b}", sign(*value), value.unsigned_abs()),
        ('b', Value::Uint(value)) => write!(out, "{value:b}"),
        ('b', _) => return wrong("binary"),
        ('o', Value::Int(value)) => write!(out, "{}{:o}", sign(*value), value.unsigned_abs()),
        ('o', Value::Uint(value)) => write!(out, "{value:o}"),
        ('o', _) => return wrong("octal"),
        ('x' | 'X', Value::Int(value)) => {
            hexadecimal(out, clause, sign(*value), &format!("{:x}", value.unsigned_abs()))
        }
        ('x' | 'X', Value::Uint(value)) => hexadecimal(out, clause, "", &format!("{value:x}")),
        ('x' | 'X', Value::String(text)) => hexadecimal(out, clause, "", &hex::encode(text.as_bytes())),
        ('x' | 'X', Value::Bytes(bytes)) => hexadecimal(out, clause, "", &hex::encode(bytes)),
        ('x' | 'X', _) => return wrong("hex"),
        (other, _) => return Err(Failure::of(format!("unrecognized formatting clause \"{other}\""))),
    };
    Ok(())
}

fn hexadecimal(out: &mut String, clause: char, sign: &str, digits: &str) -> std::fmt::Result {
    out.write_str(sign)?;
    if clause == 'X' { out.write_str(&digits.to_uppercase()) } else { out.write_str(digits) }
}

fn sign(value: i64) -> &'static str {
    if value < 0 { "-" } else { "" }
}

fn number(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Double(value) => Some(*value),
        Value::Int(value) => Some(*value as f64),
        Value::Uint(value) => Some(*value as f64),
        _ => None,
    }
}

fn infinite(value: f64) -> String {
    let name = if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    name.to_owned()
}
