//! Points in time and lengths of it.

use super::{Cost, Row};
use crate::cel::run::Work;
use crate::cel::value::{Failure, Outcome, Value};
use crate::time::Timestamp;
use jiff::civil::{DateTime, Weekday};
use jiff::tz::{Offset, TimeZone};

const NANOS: i64 = 1_000_000_000;

pub(super) const TABLE: &[Row] = &[
    ("<timestamp>.getFullYear() <int>", Cost::One, year),
    ("<timestamp>.getFullYear(<string>) <int>", Cost::One, year),
    ("<timestamp>.getMonth() <int>", Cost::One, month),
    ("<timestamp>.getMonth(<string>) <int>", Cost::One, month),
    ("<timestamp>.getDayOfYear() <int>", Cost::One, day_of_year),
    ("<timestamp>.getDayOfYear(<string>) <int>", Cost::One, day_of_year),
    ("<timestamp>.getDayOfMonth() <int>", Cost::One, day_of_month),
    ("<timestamp>.getDayOfMonth(<string>) <int>", Cost::One, day_of_month),
    ("<timestamp>.getDate() <int>", Cost::One, date),
    ("<timestamp>.getDate(<string>) <int>", Cost::One, date),
    ("<timestamp>.getDayOfWeek() <int>", Cost::One, day_of_week),
    ("<timestamp>.getDayOfWeek(<string>) <int>", Cost::One, day_of_week),
    ("<timestamp>.getHours() <int>", Cost::One, hours),
    ("<timestamp>.getHours(<string>) <int>", Cost::One, hours),
    ("<timestamp>.getMinutes() <int>", Cost::One, minutes),
    ("<timestamp>.getMinutes(<string>) <int>", Cost::One, minutes),
    ("<timestamp>.getSeconds() <int>", Cost::One, seconds),
    ("<timestamp>.getSeconds(<string>) <int>", Cost::One, seconds),
    ("<timestamp>.getMilliseconds() <int>", Cost::One, milliseconds),
    ("<timestamp>.getMilliseconds(<string>) <int>", Cost::One, milliseconds),
    ("<duration>.getHours() <int>", Cost::One, hours),
    ("<duration>.getMinutes() <int>", Cost::One, minutes),
    ("<duration>.getSeconds() <int>", Cost::One, seconds),
    ("<duration>.getMilliseconds() <int>", Cost::One, milliseconds),
];

/// A length of time as Go writes it: `1h30m`, `-1.5s`.
pub(in crate::cel) fn parse_duration(text: &str) -> Option<i64> {
    parse_units(text, |unit| {
        Some(match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => NANOS,
            "m" => 60 * NANOS,
            "h" => 3600 * NANOS,
            _ => return None,
        })
    })
}

/// As the format `duration` of a schema has it besides: in days and weeks, `2d`, `1 week`.
pub(in crate::cel) fn parse_days(text: &str) -> Option<i64> {
    let text = text.replace(' ', "");
    parse_units(&text, |unit| {
        Some(match unit {
            "ns" | "nano" | "nanosecond" | "nanoseconds" => 1,
            "us" | "µs" | "micro" | "microsecond" | "microseconds" => 1_000,
            "ms" | "milli" | "millisecond" | "milliseconds" => 1_000_000,
            "s" | "sec" | "second" | "seconds" => NANOS,
            "m" | "min" | "minute" | "minutes" => 60 * NANOS,
            "h" | "hr" | "hour" | "hours" => 3600 * NANOS,
            "d" | "day" | "days" => 24 * 3600 * NANOS,
            "w" | "wk" | "week" | "weeks" => 7 * 24 * 3600 * NANOS,
            _ => return None,
        })
    })
}

fn parse_units(text: &str, unit_of: fn(&str) -> Option<i64>) -> Option<i64> {
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0_i128;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit = i128::from(unit_of(unit)?);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || whole.len() > 19 {
            return None;
        }
        // More digits than these make no difference.
        let fraction = &fraction[..fraction.len().min(15)];
        let parse = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<i128>().ok() };
        let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
        nanos += parse(whole)? * unit + parse(fraction)? * unit / scale;
        if nanos > i128::from(i64::MAX) {
            return None;
        }
        rest = after;
    }
    i64::try_from(if is_negative { -nanos } else { nanos }).ok()
}

/// As CEL prints it: seconds, with as many digits as there are.
pub(in crate::cel) fn duration_text(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let (whole, rest) = (nanos.unsigned_abs() / NANOS.unsigned_abs(), nanos.unsigned_abs() % NANOS.unsigned_abs());
    let fraction = format!("{rest:09}");
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { format!("{sign}{whole}s") } else { format!("{sign}{whole}.{fraction}s") }
}

/// RFC 3339 in UTC, with as many digits as there are.
pub(in crate::cel) fn timestamp_text(at: Timestamp) -> String {
    at.to_string()
}

/// What CEL calls a time: from the year 1 to the end of 9999.
pub(super) fn timestamp<'t>(at: Option<Timestamp>) -> Outcome<'t> {
    const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    match at.filter(|at| YEARS.contains(&at.as_second())) {
        Some(at) => Ok(Value::Timestamp(at)),
        None => Err(Failure::of("timestamp overflow")),
    }
}

pub(super) fn shifted<'t>(at: Timestamp, nanos: i64) -> Outcome<'t> {
    timestamp(Timestamp::from_nanosecond(at.as_nanosecond() + i128::from(nanos)).ok())
}

/// A zone that needs no table of zones: `UTC`, `+01:00`, `-08:00`.
pub(in crate::cel) fn zone(name: &str) -> Option<TimeZone> {
    if matches!(name, "" | "UTC" | "Z") {
        return Some(TimeZone::UTC);
    }
    let (sign, rest) = match name.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, name.strip_prefix('+').unwrap_or(name)),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let number = |digits: &str, most: i32| {
        let is_plain = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
        digits.parse::<i32>().ok().filter(|value| is_plain && *value <= most)
    };
    let seconds = sign * (number(hours, 23)? * 3600 + number(minutes, 59)? * 60);
    Offset::from_seconds(seconds).ok().map(TimeZone::fixed)
}

/// What the clock on the wall shows.
fn clock(args: &[Value<'_>]) -> Result<DateTime, Failure> {
    let (at, name) = match args {
        [Value::Timestamp(at)] => (*at, ""),
        [Value::Timestamp(at), Value::String(name)] => (*at, &**name),
        _ => return Err(Failure::no_overload()),
    };
    let zone = zone(name).ok_or_else(|| Failure::of(format!("unknown time zone {name}")))?;
    Ok(at.to_zoned(zone).datetime())
}

fn of_clock<'t>(args: &[Value<'_>], read: fn(DateTime) -> i64) -> Outcome<'t> {
    clock(args).map(|clock| Value::Int(read(clock)))
}

fn year<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    of_clock(args, |clock| i64::from(clock.year()))
}

/// Counted from 0, as are days but for `getDate`.
fn month<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    of_clock(args, |clock| i64::from(clock.month()) - 1)
}

fn day_of_year<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    of_clock(args, |clock| i64::from(clock.day_of_year()) - 1)
}

fn day_of_month<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    of_clock(args, |clock| i64::from(clock.day()) - 1)
}

fn date<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    of_clock(args, |clock| i64::from(clock.day()))
}

fn day_of_week<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    of_clock(args, |clock| i64::from(clock.weekday().since(Weekday::Sunday)))
}

fn hours<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    match args {
        [Value::Duration(nanos)] => Ok(Value::Int(nanos / (3600 * NANOS))),
        args => of_clock(args, |clock| i64::from(clock.hour())),
    }
}

fn minutes<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    match args {
        [Value::Duration(nanos)] => Ok(Value::Int(nanos / (60 * NANOS))),
        args => of_clock(args, |clock| i64::from(clock.minute())),
    }
}

fn seconds<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    match args {
        [Value::Duration(nanos)] => Ok(Value::Int(nanos / NANOS)),
        args => of_clock(args, |clock| i64::from(clock.second())),
    }
}

fn milliseconds<'t>(_: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    match args {
        [Value::Duration(nanos)] => Ok(Value::Int(nanos / 1_000_000)),
        args => of_clock(args, |clock| i64::from(clock.millisecond())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_go() {
        for (text, expect) in [
            ("1h30m", Some(5400 * NANOS)),
            ("-1.5s", Some(-1_500_000_000)),
            ("0", Some(0)),
            (".5ms", Some(500_000)),
            ("1d", None),
            ("", None),
            ("5", None),
            ("1.2.3s", None),
            ("9999999h", None),
        ] {
            assert_eq!(parse_duration(text), expect, "{text}");
        }
        assert_eq!(parse_days("1 week"), Some(7 * 24 * 3600 * NANOS));
        assert_eq!((duration_text(90 * NANOS), duration_text(-1_500_000_000)), ("90s".to_owned(), "-1.5s".to_owned()));
    }

    #[test]
    fn zones_without_a_table() {
        assert!(zone("-08:00").is_some() && zone("02:30").is_some());
        assert!(zone("Europe/Paris").is_none() && zone("+99:00").is_none() && zone("é:00").is_none());
    }
}
