//! Go's spelling of a duration: `1h2m3.5s`, in nanoseconds on the wire.

use std::fmt::Write as _;

const SECOND: u64 = 1_000_000_000;

/// `time.Duration.String`.
pub(super) fn print(nanos: i64) -> String {
    let amount = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    match amount {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{amount}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(amount, 1_000)),
        1_000_000..SECOND => format!("{sign}{}ms", decimal(amount, 1_000_000)),
        _ => {
            let mut out = sign.to_owned();
            let (hours, minutes) = (amount / (3600 * SECOND), amount / (60 * SECOND) % 60);
            if hours > 0 {
                _ = write!(out, "{hours}h");
            }
            if hours > 0 || minutes > 0 {
                _ = write!(out, "{minutes}m");
            }
            out + &decimal(amount % (60 * SECOND), SECOND) + "s"
        }
    }
}

fn decimal(amount: u64, unit: u64) -> String {
    let (whole, rest) = (amount / unit, amount % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let digits = format!("{:0width$}", rest, width = unit.ilog10() as usize);
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

/// `time.ParseDuration`; `None` if the text is no duration.
pub(super) fn parse(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * unit;
        rest = tail;
    }
    whole(sign * total)
}

#[expect(clippy::cast_possible_truncation, reason = "checked to lie within an i64")]
fn whole(nanos: f64) -> Option<i64> {
    const MAX: f64 = 9_223_372_036_854_774_784.0;
    (nanos.abs() <= MAX).then(|| nanos.round() as i64)
}
