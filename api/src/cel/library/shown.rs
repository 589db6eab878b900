//! Values as text: in messages, and by `format`.

use super::times;
use crate::cel::value::{List, Map, Value};
use std::fmt::Write as _;

/// How much of a value a message shows.
const SHOWN_MAX: usize = 256;

/// A value in a message.
pub(in crate::cel) fn shown(value: &Value<'_>) -> String {
    let mut out = String::new();
    write(value, &mut out, SHOWN_MAX);
    out
}

/// As Go's `strconv` prints it in its form `g`, with as many digits as it needs.
pub(in crate::cel) fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    format!("{digits}e{}{:02}", if exponent < 0 { "-" } else { "+" }, exponent.abs())
}

/// The value as `%s` prints it; no longer than `most` bytes and what one value adds to them.
pub(in crate::cel) fn write(value: &Value<'_>, out: &mut String, most: usize) {
    if out.len() > most {
        return;
    }
    let _ = match value {
        Value::Null => out.write_str("null"),
        Value::Bool(value) => write!(out, "{value}"),
        Value::Int(value) => write!(out, "{value}"),
        Value::Uint(value) => write!(out, "{value}"),
        Value::Double(value) => out.write_str(&double_text(*value)),
        Value::String(text) => out.write_str(text),
        Value::Bytes(bytes) => out.write_str(&String::from_utf8_lossy(bytes)),
        Value::Timestamp(at) => out.write_str(&times::timestamp_text(*at)),
        Value::Duration(nanos) => out.write_str(&times::duration_text(*nanos)),
        Value::Type(name) => out.write_str(name),
        Value::List(list) => {
            write_list(list, out, most);
            Ok(())
        }
        Value::Map(map) => {
            write_map(map, out, most);
            Ok(())
        }
        Value::Optional(None) => out.write_str("optional.none()"),
        Value::Optional(Some(value)) => {
            out.push_str("optional(");
            write(value, out, most);
            out.write_str(")")
        }
        Value::Quantity(quantity) => write!(out, "{quantity}"),
        Value::Url(url) => write!(out, "{url}"),
        Value::Ip(address) => write!(out, "{address}"),
        Value::Cidr(network) => write!(out, "{network}"),
        Value::Format(format) => out.write_str(format.name),
        Value::Semver(version) => write!(out, "{version}"),
    };
}

fn write_list(list: &List<'_>, out: &mut String, most: usize) {
    out.push('[');
    for (at, value) in list.iter().enumerate() {
        if out.len() > most {
            return;
        }
        if at > 0 {
            out.push_str(", ");
        }
        if let Ok(value) = value {
            write(&value, out, most);
        }
    }
    out.push(']');
}

/// Members in the order of their keys.
fn write_map(map: &Map<'_>, out: &mut String, most: usize) {
    out.push('{');
    let mut entries = map.entries().unwrap_or_default();
    entries.sort_by(|(one, _), (two, _)| one.key().cmp(&two.key()));
    for (at, (key, value)) in entries.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        write(key, out, most);
        out.push_str(": ");
        write(value, out, most);
    }
    out.push('}');
}
