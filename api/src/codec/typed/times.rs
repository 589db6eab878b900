//! What Go's `time.Parse` says of a text that is no time.

use crate::time;

/// RFC 3339, as `metav1.Time` reads it.
pub(super) const SECONDS: &str = "2006-01-02T15:04:05Z07:00";
/// RFC 3339 with microseconds, as `metav1.MicroTime` reads it.
pub(super) const MICROSECONDS: &str = "2006-01-02T15:04:05.000000Z07:00";

/// The elements of the layout, each with what is out of range in it and the least and greatest value that is in it.
const ELEMENTS: &[(&str, &str, u32, u32)] = &[
    ("2006", "year", 0, 9999),
    ("-", "", 0, 0),
    ("01", "month", 1, 12),
    ("-", "", 0, 0),
    ("02", "day", 1, 31),
    ("T", "", 0, 0),
    ("15", "hour", 0, 23),
    (":", "", 0, 0),
    ("04", "minute", 0, 59),
    (":", "", 0, 0),
    ("05", "second", 0, 59),
];

/// An empty text is the zero time.
pub(super) fn check(text: &str, layout: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    check_form(text, layout)?;
    if time::parse(text).is_some() { Ok(()) } else { Err(format!("parsing time {text:?}: day out of range")) }
}

/// The form is looked at in any case: what parses times elsewhere takes more than Go does.
fn check_form(text: &str, layout: &str) -> Result<(), String> {
    let cannot = |rest: &str, element: &str| {
        Err(format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {element:?}"))
    };
    let mut rest = text;
    for (element, name, least, greatest) in ELEMENTS {
        let Some(head) = rest.get(..element.len()) else { return cannot(rest, element) };
        if name.is_empty() {
            if head != *element {
                return cannot(rest, element);
            }
        } else {
            match head.parse::<u32>() {
                Ok(value) if !head.starts_with('+') && (*least..=*greatest).contains(&value) => {}
                Ok(_) if !head.starts_with('+') => return Err(format!("parsing time {text:?}: {name} out of range")),
                _ => return cannot(rest, element),
            }
        }
        rest = &rest[element.len()..];
    }
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    } else if layout == MICROSECONDS {
        return cannot(rest, ".000000");
    }
    let zone = match rest.as_bytes() {
        [b'Z', ..] => 1,
        [b'+' | b'-', a, b, b':', c, d, ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_digit()) => 6,
        _ => return cannot(rest, "Z07:00"),
    };
    match &rest[zone..] {
        "" => Ok(()),
        more => Err(format!("parsing time {text:?}: extra text: {more:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_go() {
        for (text, expected) in [
            ("nonsense", r#" as "2006-01-02T15:04:05Z07:00": cannot parse "nonsense" as "2006""#),
            ("2020-1-1", r#" as "2006-01-02T15:04:05Z07:00": cannot parse "1-1" as "01""#),
            ("2020-01-01", r#" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#),
            ("2020-01-01 10:00:00Z", r#" as "2006-01-02T15:04:05Z07:00": cannot parse " 10:00:00Z" as "T""#),
            ("2020-01-01T10:00:00", r#" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00""#),
            ("2020-13-01T10:00:00Z", ": month out of range"),
            ("2020-02-30T10:00:00Z", ": day out of range"),
            ("2020-01-01T10:00:00Zx", r#": extra text: "x""#),
        ] {
            assert_eq!(check(text, SECONDS), Err(format!("parsing time {text:?}{expected}")));
        }
        assert_eq!(check("2020-01-01T10:00:00Z", SECONDS), Ok(()));
    }
}
