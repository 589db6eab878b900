//! Trees as YAML text, laid out as sigs.k8s.io/yaml lays out what kube-apiserver answers: keys in natural order, a list
//! no deeper than its key, strings bare unless they would read as something else. Long lines are not folded.

use crate::Tree;
use serde_json::Map;
use std::cmp::Ordering;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

pub(super) fn document(tree: &Tree) -> String {
    let mut out = String::new();
    match tree {
        Tree::Object(map) if !map.is_empty() => members(&mut out, map, 0),
        Tree::Array(all) if !all.is_empty() => items(&mut out, all, 0),
        other => {
            scalar(&mut out, other, 0);
            out.push('\n');
        }
    }
    out
}

fn members(out: &mut String, map: &Map<String, Tree>, indent: usize) {
    let mut keys: Vec<&String> = map.keys().collect();
    keys.sort_by(|a, b| natural(a, b));
    for (at, key) in keys.into_iter().enumerate() {
        if at > 0 {
            pad(out, indent);
        }
        string(out, key, None);
        out.push(':');
        match &map[key] {
            Tree::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                pad(out, indent + 2);
                members(out, inner, indent + 2);
            }
            Tree::Array(inner) if !inner.is_empty() => {
                out.push('\n');
                pad(out, indent);
                items(out, inner, indent);
            }
            value => {
                out.push(' ');
                scalar(out, value, indent);
                out.push('\n');
            }
        }
    }
}

/// The first line is indented already.
fn items(out: &mut String, all: &[Tree], indent: usize) {
    for (at, value) in all.iter().enumerate() {
        if at > 0 {
            pad(out, indent);
        }
        out.push_str("- ");
        match value {
            Tree::Object(inner) if !inner.is_empty() => members(out, inner, indent + 2),
            Tree::Array(inner) if !inner.is_empty() => items(out, inner, indent + 2),
            value => {
                scalar(out, value, indent);
                out.push('\n');
            }
        }
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn scalar(out: &mut String, value: &Tree, indent: usize) {
    match value {
        Tree::String(text) => string(out, text, Some(indent + 2)),
        Tree::Object(_) => out.push_str("{}"),
        Tree::Array(_) => out.push_str("[]"),
        // Null, booleans and numbers are written alike.
        other => _ = write!(out, "{other}"),
    }
}

/// `block` is the indentation that a text of several lines may have; a key has none.
fn string(out: &mut String, text: &str, block: Option<usize>) {
    let is_plain_text = text.chars().all(is_printable);
    if text.contains('\n') {
        let ends_in_blanks = text.lines().any(|line| line.ends_with([' ', '\t']));
        match block {
            Some(indent) if is_plain_text && !ends_in_blanks => literal(out, text, indent),
            _ => double_quoted(out, text),
        }
    } else if !is_plain_text || is_other_than_text(text) {
        double_quoted(out, text);
    } else if is_ambiguous(text) {
        _ = write!(out, "'{}'", text.replace('\'', "''"));
    } else {
        out.push_str(text);
    }
}

/// Whether a character stands for itself outside of double quotes (go-yaml v2's `is_printable`, and no break that a
/// reader would fold).
fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{fffd}') && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn literal(out: &mut String, text: &str, indent: usize) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    match text.strip_suffix('\n') {
        None => out.push('-'),
        Some(rest) if rest.is_empty() || rest.ends_with('\n') => out.push('+'),
        Some(_) => {}
    }
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(out, indent);
            out.push_str(line);
        }
    }
}

fn double_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            c if is_printable(c) => out.push(c),
            c => {
                _ = match u32::from(c) {
                    code @ ..0x100 => write!(out, "\\x{code:02X}"),
                    code @ ..0x1_0000 => write!(out, "\\u{code:04X}"),
                    code => write!(out, "\\U{code:08X}"),
                }
            }
        }
    }
    out.push('"');
}

/// Whether YAML 1.1 would read the bare text as a null, a boolean, a number, a time or a merge key. (Upstream writes `=`
/// and `<<` bare, which other readers refuse.)
fn is_other_than_text(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "", "~", "null", "Null", "NULL", "<<", "=", "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On",
        "ON", "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF", ".nan", ".NaN", ".NAN",
        ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF",
    ];
    let begins_number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    WORDS.contains(&text) || begins_number && (is_number(text) || is_time(text))
}

fn is_number(text: &str) -> bool {
    // After a point, underscores are read over between digits only; else wherever they are.
    let is_between_digits = |(at, _): (usize, &str)| {
        let digit = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
        at > 0 && digit(at - 1) && digit(at + 1)
    };
    let is_read_over = !text.starts_with('.') || text.match_indices('_').all(is_between_digits);
    let plain = if is_read_over { text.replace('_', "") } else { text.to_owned() };
    let unsigned = without_sign(&plain);
    let in_base = |prefix: &[&str], base: u32| {
        let digits = prefix.iter().find_map(|prefix| unsigned.strip_prefix(prefix));
        digits.is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_digit(base)))
    };
    let is_decimal = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') && unsigned.parse::<f64>().is_ok();
    is_decimal || in_base(&["0x", "0X"], 16) || in_base(&["0b"], 2) || in_base(&["0o"], 8) || is_sexagesimal(text)
}

/// `12:30:45.6`, of which the first part has any digits.
fn is_sexagesimal(text: &str) -> bool {
    let text = without_sign(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let mut parts = whole.split(':');
    let first = parts.next().unwrap_or_default();
    let mut parts = parts.peekable();
    first.starts_with(|c: char| c.is_ascii_digit())
        && is_digits(&first.replace('_', ""))
        && is_digits(&fraction.replace('_', ""))
        && parts.peek().is_some()
        && parts.all(|part| part.len() <= 2 && is_digits(part) && matches!(part.parse::<u8>(), Ok(0..60)))
}

fn without_sign(text: &str) -> &str {
    text.strip_prefix(['+', '-']).unwrap_or(text)
}

/// `2001-02-03`, alone or with a time of day after it.
fn is_time(text: &str) -> bool {
    let (date, time) = text.split_once(['T', 't', ' ']).map_or((text, None), |(date, time)| (date, Some(time)));
    let parts: Vec<&str> = date.split('-').collect();
    let digits = |part: &str, lengths: RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
    };
    let is_date = matches!(parts.as_slice(), [year, month, day]
        if digits(year, 4..=4) && digits(month, 1..=2) && digits(day, 1..=2));
    is_date && time.is_none_or(|time| time.contains(':') && time.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether a bare text would be read as structure.
fn is_ambiguous(text: &str) -> bool {
    let mut chars = text.chars();
    let first = chars.next().unwrap_or(' ');
    let second = chars.next();
    let is_indicator = match first {
        '-' | '?' | ':' => second.is_none_or(|c| c == ' ' || c == '\t'),
        c => "#,[]{}&*!|>'\"%@`".contains(c),
    };
    is_indicator
        || text.starts_with("---")
        || text.starts_with("...")
        || text.starts_with([' ', '\t'])
        || text.ends_with([' ', '\t', ':'])
        || [": ", ":\t", " #", "\t#"].iter().any(|mark| text.contains(mark))
}

/// Letters come last, and numbers in keys are compared as numbers (go-yaml's `keyList`).
fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(x, y)| x != y) else { return a.len().cmp(&b.len()) };
    let (x, y) = (a[at], b[at]);
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(&y),
        (false, false) => {}
        (x_is_letter, _) => {
            let after_digit = at > 0 && a[at - 1].is_numeric();
            return if x_is_letter == after_digit { Ordering::Less } else { Ordering::Greater };
        }
    }
    let digits = |all: &[char]| -> String { all[at..].iter().take_while(|c| c.is_ascii_digit()).collect() };
    let shared: String = a[..at].iter().rev().take_while(|c| c.is_ascii_digit()).collect();
    let leads = (x == '0' || y == '0') && shared.contains(|c| c != '0');
    let number = |digits: &str| -> u128 {
        let digits: String = digits.chars().take(30).collect();
        if leads { format!("1{digits}") } else { digits }.parse().unwrap_or(0)
    };
    let (m, n) = (digits(&a), digits(&b));
    number(&m).cmp(&number(&n)).then(m.len().cmp(&n.len())).then(x.cmp(&y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_are_laid_out_as_upstreams() {
        let tree = json!({
            "kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {
                "name": "a", "resourceVersion": "48", "creationTimestamp": "2026-11-23T22:38:54Z", "labels": {},
                "ownerReferences": [{"name": "x", "controller": true}, {"name": "y"}], "finalizers": ["f"],
            },
            "data": {"k10": "b", "k9": "one\ntwo\n", "k": "no", "e": "", "s": "a: b", "m": "x\ny", "w": " \nz", "q": "it's"},
        });
        let text = "\
apiVersion: v1
data:
  e: \"\"
  k: \"no\"
  k9: |
    one
    two
  k10: b
  m: |-
    x
    y
  q: it's
  s: 'a: b'
  w: \" \\nz\"
kind: ConfigMap
metadata:
  creationTimestamp: \"2026-11-23T22:38:54Z\"
  finalizers:
  - f
  labels: {}
  name: a
  ownerReferences:
  - controller: true
    name: x
  - name: \"y\"
  resourceVersion: \"48\"
";
        assert_eq!(document(&tree), text);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let all = [
            "",
            "~",
            "y",
            "0",
            "1_000",
            "0x1f",
            "1e3",
            "1.5",
            "-",
            "- a",
            "a:",
            "a #b",
            "#a",
            "'a'",
            "\"",
            "12:30:45",
            "2020-01-02",
            "---",
            "@a",
            "a\tb",
            "\u{7}\u{1b}",
            "é",
            "a\nb ",
            "\n",
            "a\n\n",
            " a",
            "a ",
            "\\",
            "{a}",
            "*",
            "=",
            "<<",
            "? a",
            "?a",
            ":a",
            "%",
            "key: value",
            "1.2.3",
            "v1",
            "0o17",
            "\r",
            "\ta\n",
            "\t#\n\n",
            "a\n\tb\n",
            "a\u{85}b\n",
            "a\u{2028}b",
            "a\u{2029}\n",
            "\u{feff}a",
            "\u{fffe}",
            "\u{7f}",
            "\u{1f600}\n",
        ];
        let tree = json!({ "list": all.to_vec(), "map": all.iter().map(|text| ((*text).to_owned(), json!(*text))).collect::<Map<_, _>>() });
        let read: Tree = serde_yaml::from_str(&document(&tree)).unwrap();
        assert_eq!(read, tree);
    }
}
