//! From one type to another, and how large something is.

use super::shown::double_text;
use super::{Cost, Row, times};
use crate::cel::run::Work;
use crate::cel::value::{Failure, Outcome, Value};
use crate::time;

pub(super) const TABLE: &[Row] = &[
    ("bool(<bool>) <bool>", Cost::One, same),
    ("bool(<string>) <bool>", Cost::One, to_bool),
    ("int(<int>) <int>", Cost::One, same),
    ("int(<uint>) <int>", Cost::One, to_int),
    ("int(<double>) <int>", Cost::One, to_int),
    ("int(<string>) <int>", Cost::One, to_int),
    ("int(<timestamp>) <int>", Cost::One, to_int),
    ("int(<duration>) <int>", Cost::One, to_int),
    ("uint(<uint>) <uint>", Cost::One, same),
    ("uint(<int>) <uint>", Cost::One, to_uint),
    ("uint(<double>) <uint>", Cost::One, to_uint),
    ("uint(<string>) <uint>", Cost::One, to_uint),
    ("double(<double>) <double>", Cost::One, same),
    ("double(<int>) <double>", Cost::One, to_double),
    ("double(<uint>) <double>", Cost::One, to_double),
    ("double(<string>) <double>", Cost::One, to_double),
    ("string(<string>) <string>", Cost::Read, same),
    ("string(<bool>) <string>", Cost::One, to_string),
    ("string(<int>) <string>", Cost::One, to_string),
    ("string(<uint>) <string>", Cost::One, to_string),
    ("string(<double>) <string>", Cost::One, to_string),
    ("string(<bytes>) <string>", Cost::Read, to_string),
    ("string(<timestamp>) <string>", Cost::One, to_string),
    ("string(<duration>) <string>", Cost::One, to_string),
    ("bytes(<bytes>) <bytes>", Cost::Read, same),
    ("bytes(<string>) <bytes>", Cost::Read, to_bytes),
    ("timestamp(<timestamp>) <timestamp>", Cost::One, same),
    ("timestamp(<string>) <timestamp>", Cost::One, to_timestamp),
    ("timestamp(<int>) <timestamp>", Cost::One, to_timestamp),
    ("duration(<duration>) <duration>", Cost::One, same),
    ("duration(<string>) <duration>", Cost::One, to_duration),
    ("dyn(<A>) <dyn>", Cost::One, same),
    ("type(<A>) <type>", Cost::One, type_of),
    ("size(<string>) <int>", Cost::One, size),
    ("size(<bytes>) <int>", Cost::One, size),
    ("size(<list<A>>) <int>", Cost::One, size),
    ("size(<map<A, B>>) <int>", Cost::One, size),
    ("<string>.size() <int>", Cost::One, size),
    ("<bytes>.size() <int>", Cost::One, size),
    ("<list<A>>.size() <int>", Cost::One, size),
    ("<map<A, B>>.size() <int>", Cost::One, size),
];

fn same<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    args.first().cloned().ok_or_else(Failure::no_overload)
}

fn wrong<'t>(text: &str, from: &str, to: &str) -> Outcome<'t> {
    let shown: String = text.chars().take(64).collect();
    Err(Failure::of(format!("type conversion error from '{from}' to '{to}': {shown:?}")))
}

fn to_bool<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    match args {
        [Value::String(text)] => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            other => wrong(other, "string", "bool"),
        },
        _ => Err(Failure::no_overload()),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the range is looked at first")]
fn to_int<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    const TOO_LARGE: &str = "integer overflow";
    Ok(Value::Int(match args {
        [Value::Uint(value)] => i64::try_from(*value).map_err(|_| Failure::of(TOO_LARGE))?,
        [Value::Double(value)] if value.abs() < 9.223_372_036_854_775e18 => value.trunc() as i64,
        [Value::Double(_)] => return Err(Failure::of(TOO_LARGE)),
        [Value::String(text)] => match text.parse() {
            Ok(value) => value,
            Err(_) => return wrong(text, "string", "int"),
        },
        [Value::Timestamp(at)] => at.as_second(),
        [Value::Duration(nanos)] => *nanos,
        _ => return Err(Failure::no_overload()),
    }))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is looked at first")]
fn to_uint<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    const TOO_LARGE: &str = "unsigned integer overflow";
    Ok(Value::Uint(match args {
        [Value::Int(value)] => u64::try_from(*value).map_err(|_| Failure::of(TOO_LARGE))?,
        [Value::Double(value)] if (0.0..1.844_674_407_370_955e19).contains(value) => value.trunc() as u64,
        [Value::Double(_)] => return Err(Failure::of(TOO_LARGE)),
        [Value::String(text)] => match text.parse() {
            Ok(value) => value,
            Err(_) => return wrong(text, "string", "uint"),
        },
        _ => return Err(Failure::no_overload()),
    }))
}

fn to_double<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    Ok(Value::Double(match args {
        [Value::Int(value)] => *value as f64,
        [Value::Uint(value)] => *value as f64,
        [Value::String(text)] => match text.parse() {
            Ok(value) => value,
            Err(_) => return wrong(text, "string", "double"),
        },
        _ => return Err(Failure::no_overload()),
    }))
}

fn to_string<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    Ok(Value::text(match args {
        [Value::Bool(value)] => value.to_string(),
        [Value::Int(value)] => value.to_string(),
        [Value::Uint(value)] => value.to_string(),
        [Value::Double(value)] => double_text(*value),
        [Value::Bytes(bytes)] => {
            work.read(bytes.len())?;
            let text = std::str::from_utf8(bytes);
            text.map_err(|_| Failure::of("invalid UTF-8 in bytes, cannot convert to string"))?.to_owned()
        }
        [Value::Timestamp(at)] => times::timestamp_text(*at),
        [Value::Duration(nanos)] => times::duration_text(*nanos),
        _ => return Err(Failure::no_overload()),
    }))
}

fn to_bytes<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    match args {
        [Value::String(text)] => {
            work.read(text.len())?;
            Ok(Value::Bytes(text.as_bytes().into()))
        }
        _ => Err(Failure::no_overload()),
    }
}

fn to_timestamp<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    match args {
        [Value::String(text)] => match time::parse(text) {
            Some(at) => times::timestamp(Some(at)),
            None => wrong(text, "string", "timestamp"),
        },
        [Value::Int(seconds)] => times::timestamp(time::Timestamp::from_second(*seconds).ok()),
        _ => Err(Failure::no_overload()),
    }
}

fn to_duration<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    match args {
        [Value::String(text)] => match times::parse_duration(text) {
            Some(nanos) => Ok(Value::Duration(nanos)),
            None => wrong(text, "string", "duration"),
        },
        _ => Err(Failure::no_overload()),
    }
}

fn type_of<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    match args {
        [value] => Ok(Value::Type(value.type_name())),
        _ => Err(Failure::no_overload()),
    }
}

/// Of a text, its letters.
fn size<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    match args {
        [Value::String(text)] => {
            work.read(text.len())?;
            Ok(Value::Int(i64::try_from(text.chars().count()).unwrap_or(i64::MAX)))
        }
        [value] => Ok(Value::Int(i64::try_from(value.size()).unwrap_or(i64::MAX))),
        _ => Err(Failure::no_overload()),
    }
}
