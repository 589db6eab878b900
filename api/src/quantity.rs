//! Quantities: `100m`, `1.5Gi`, `2e3`, read and written by the rules of apimachinery's `resource.Quantity`.
//!
//! Exact to one billionth; what is finer rounds away from zero, and what is too large becomes the largest. Knows
//! numbers only, no resource names.

use std::cmp::Ordering;
use std::fmt;
use std::ops;
use std::str::FromStr;

const NANO: i128 = 1_000_000_000;
/// Upstream caps what it cannot hold at the largest 64-bit whole number.
const CAP: i128 = (i64::MAX as i128) * NANO;

/// A number with the family of suffixes that it was written in. Equality and order look at the number alone.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nano: i128,
    form: Form,
}

/// The family of suffixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `n u m k M G T P E`.
    Decimal,
    /// `Ki Mi Gi Ti Pi Ei`.
    Binary,
    /// `e3`, `E3`.
    Exponent,
}

/// A text that is no quantity, in upstream's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Number,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// How upstream writes back what a client wrote: in the canonical spelling, except for a text that its fast reader takes
/// to be canonical already (`1E3`, `+5`, `5.`, `0500m`), which stays as it is.
pub fn spelling(text: &str) -> Result<String, ParseError> {
    let parsed = Quantity::parse(text)?;
    Ok(if is_kept(text) { text.to_owned() } else { parsed.to_string() })
}

/// The same for an amount of a resource, which is never finer than a thousandth.
pub fn resource_spelling(text: &str) -> Result<String, ParseError> {
    let parsed = Quantity::parse(text)?;
    if parsed.has_more_than_milli() {
        let nano = parsed.milli().saturating_mul(NANO / 1000);
        return Ok(Quantity { nano, ..parsed }.to_string());
    }
    Ok(if is_kept(text) { text.to_owned() } else { parsed.to_string() })
}

/// Whether upstream's fast reader can read a quantity, and sees nothing in it that the canonical spelling has not.
fn is_kept(text: &str) -> bool {
    /// How many decimal digits surely fit.
    const DIGITS_MAX: usize = 18;
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text).trim_start_matches('0');
    let (whole, rest) = rest.split_at(rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len()));
    let whole = if whole.is_empty() { "0" } else { whole };
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len())),
        None => ("", rest),
    };
    let Ok((form, _, exponent)) = suffix_of(suffix) else { return false };
    if form == Form::Binary {
        let digits = usize::try_from(exponent).unwrap_or(0) * 3;
        let Ok(value) = whole.parse::<i64>() else { return false };
        return fraction.is_empty() && whole.len() + digits <= DIGITS_MAX - 4 && value % 8 != 0;
    }
    let places = i32::try_from(fraction.len()).unwrap_or(i32::MAX);
    let power = exponent.saturating_sub(places);
    let is_short = whole.len() + fraction.len() <= DIGITS_MAX && power >= -9;
    let ends_in_zeros = fraction.ends_with("000") || fraction.len() < 3 && [whole, fraction].concat().ends_with("000");
    is_short && power % 3 == 0 && !ends_in_zeros && !whole.starts_with('0')
}

// === impl Quantity ===

impl Quantity {
    pub const ZERO: Quantity = Quantity { nano: 0, form: Form::Decimal };

    pub fn parse(text: &str) -> Result<Quantity, ParseError> {
        let (is_negative, rest) = match text.as_bytes().first() {
            None => return Err(ParseError::Format),
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
        };
        let end = rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
        let (whole, rest) = rest.split_at(end);
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len())),
            None => ("", rest),
        };
        check_suffix(suffix)?;
        let (form, base, exponent) = suffix_of(suffix)?;
        if whole.is_empty() && fraction.is_empty() {
            return Err(ParseError::Number);
        }
        let nano = scaled(whole, fraction, base, exponent);
        Ok(Quantity { nano: if is_negative { -nano } else { nano }, form })
    }

    /// A whole number of units.
    #[must_use]
    pub fn whole(value: i64) -> Quantity {
        Quantity { nano: i128::from(value) * NANO, form: Form::Decimal }
    }

    /// A number of thousandths.
    #[must_use]
    pub fn from_milli(value: i64) -> Quantity {
        Quantity { nano: i128::from(value) * (NANO / 1000), form: Form::Decimal }
    }

    /// A number of bytes, to be written with binary suffixes.
    #[must_use]
    pub fn bytes(value: i64) -> Quantity {
        Quantity { nano: i128::from(value) * NANO, form: Form::Binary }
    }

    /// Thousandths, rounded away from zero.
    #[must_use]
    pub fn milli(&self) -> i128 {
        divided_up(self.nano, NANO / 1000)
    }

    /// Whole units, rounded away from zero; the nearest that fits if it does not.
    #[must_use]
    pub fn value(&self) -> i64 {
        let value = divided_up(self.nano, NANO);
        i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
    }

    /// The whole number that it is; `None` if it is none, or is too large for one.
    #[must_use]
    pub fn as_whole(&self) -> Option<i64> {
        let is_exact = self.nano % NANO == 0 && self.nano.abs() < CAP;
        i64::try_from(self.nano / NANO).ok().filter(|_| is_exact)
    }

    /// The nearest fraction.
    #[must_use]
    pub fn approximate(&self) -> f64 {
        self.nano as f64 / NANO as f64
    }

    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.nano == 0
    }

    /// True if it is no whole number of thousandths.
    #[must_use]
    pub fn has_more_than_milli(&self) -> bool {
        self.nano % (NANO / 1000) != 0
    }

    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.nano < 0
    }
}

/// Keeps the left side's suffixes, as upstream does, unless it is zero. Saturates.
impl ops::Add for Quantity {
    type Output = Quantity;

    fn add(self, other: Quantity) -> Quantity {
        let form = if self.is_zero() { other.form } else { self.form };
        Quantity { nano: self.nano.saturating_add(other.nano), form }
    }
}

impl ops::Sub for Quantity {
    type Output = Quantity;

    fn sub(self, other: Quantity) -> Quantity {
        let form = if self.is_zero() { other.form } else { self.form };
        Quantity { nano: self.nano.saturating_sub(other.nano), form }
    }
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Quantity, ParseError> {
        Quantity::parse(text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

/// The canonical spelling: no fraction, and the largest suffix that allows that.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        let is_small = self.nano.abs() < 1024 * NANO;
        if self.form == Form::Binary && !is_small && self.nano % NANO == 0 {
            return write_binary(f, self.nano / NANO);
        }
        let (mut mantissa, mut exponent) = (self.nano, -9);
        while mantissa % 1000 == 0 && (exponent < 18 || self.form == Form::Exponent) {
            mantissa /= 1000;
            exponent += 3;
        }
        match (self.form, exponent) {
            (_, 0) => write!(f, "{mantissa}"),
            (Form::Exponent, _) => write!(f, "{mantissa}e{exponent}"),
            _ => write!(f, "{mantissa}{}", decimal_suffix(exponent)),
        }
    }
}

fn check_suffix(suffix: &str) -> Result<(), ParseError> {
    let rest = suffix.trim_start_matches(|char: char| "eEinumkKMGTP".contains(char));
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    if rest.bytes().all(|byte| byte.is_ascii_digit()) { Ok(()) } else { Err(ParseError::Format) }
}

fn suffix_of(suffix: &str) -> Result<(Form, i128, i32), ParseError> {
    Ok(match suffix {
        "n" => (Form::Decimal, 10, -9),
        "u" => (Form::Decimal, 10, -6),
        "m" => (Form::Decimal, 10, -3),
        "" => (Form::Decimal, 10, 0),
        "k" => (Form::Decimal, 10, 3),
        "M" => (Form::Decimal, 10, 6),
        "G" => (Form::Decimal, 10, 9),
        "T" => (Form::Decimal, 10, 12),
        "P" => (Form::Decimal, 10, 15),
        "E" => (Form::Decimal, 10, 18),
        "Ki" => (Form::Binary, 1024, 1),
        "Mi" => (Form::Binary, 1024, 2),
        "Gi" => (Form::Binary, 1024, 3),
        "Ti" => (Form::Binary, 1024, 4),
        "Pi" => (Form::Binary, 1024, 5),
        "Ei" => (Form::Binary, 1024, 6),
        _ => {
            let digits = suffix.strip_prefix(['e', 'E']).ok_or(ParseError::Suffix)?;
            (Form::Exponent, 10, digits.parse().map_err(|_| ParseError::Suffix)?)
        }
    })
}

fn decimal_suffix(exponent: i32) -> &'static str {
    match exponent {
        -9 => "n",
        -6 => "u",
        -3 => "m",
        3 => "k",
        6 => "M",
        9 => "G",
        12 => "T",
        15 => "P",
        _ => "E",
    }
}

/// The number in billionths, capped; what is left below a billionth rounds up.
fn scaled(whole: &str, fraction: &str, base: i128, exponent: i32) -> i128 {
    let digits: String = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return 0;
    }
    let places = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let decimal = if base == 10 { i64::from(exponent) } else { 0 };
    let power = decimal.saturating_add(9).saturating_sub(places);
    let count = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    if count.saturating_add(power) > 38 {
        return CAP;
    }
    // Digits below a billionth only say whether to round up; a binary suffix may lift some of them above it.
    const KEPT_BELOW: i64 = 18;
    let cut = if base == 10 { (-power).max(0) } else { (-power - KEPT_BELOW).max(0) };
    let kept = usize::try_from((count - cut).max(0)).unwrap_or(0);
    let (head, tail) = digits.split_at(kept);
    let is_inexact = tail.bytes().any(|digit| digit != b'0');
    let mut nano: i128 = if head.is_empty() { 0 } else { head.parse().unwrap_or(i128::MAX) };
    let left = power + cut;
    let factor = if base == 10 { 1 } else { base.pow(exponent.unsigned_abs()) };
    nano = match nano.checked_mul(factor) {
        Some(nano) => nano,
        None => return CAP,
    };
    let scale = 10_i128.checked_pow(u32::try_from(left.abs()).unwrap_or(u32::MAX));
    let nano = match (left >= 0, scale) {
        (true, Some(scale)) => nano.checked_mul(scale).unwrap_or(CAP),
        (true, None) => CAP,
        (false, Some(scale)) => divided_up(nano, scale),
        (false, None) => i128::from(nano != 0),
    };
    if is_inexact { nano + 1 } else { nano }
}

fn divided_up(value: i128, by: i128) -> i128 {
    let (whole, rest) = (value / by, value % by);
    whole + rest.signum()
}

fn write_binary(f: &mut fmt::Formatter<'_>, mut value: i128) -> fmt::Result {
    let mut suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].into_iter();
    let mut suffix = suffixes.next().unwrap_or_default();
    while value % 1024 == 0 {
        let Some(next) = suffixes.next() else { break };
        value /= 1024;
        suffix = next;
    }
    write!(f, "{value}{suffix}")
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod properties;
