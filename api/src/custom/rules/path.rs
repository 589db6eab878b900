//! `fieldPath`: where a rule's failure is told, such as `.spec['a.b'].c`.

use crate::custom::schema::{Additional, Schema};

/// The path as failures print it; else, why it is none of the schema.
pub(in crate::custom) fn path(written: &str, schema: &Schema) -> Result<String, String> {
    let mut rest = written;
    let mut schema = Some(schema);
    let mut told = String::new();
    while !rest.is_empty() {
        let (name, after) = match (rest.strip_prefix('.'), rest.strip_prefix('[')) {
            (Some(after), _) => {
                let end = after.find(['.', '[', ']']).unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
            (None, Some(after)) => quoted(after)?,
            (None, None) => return Err(format!("expected [ or . but got: {rest}")),
        };
        if name.is_empty() {
            return Err("unexpected end of JSON path".to_owned());
        }
        let wrong = || "does not refer to a valid field".to_owned();
        let here = schema.ok_or_else(wrong)?;
        schema = match (here.properties.is_empty(), &here.additional) {
            (false, _) => {
                if !told.is_empty() {
                    told.push('.');
                }
                told.push_str(&name);
                Some(here.properties.get(&name).ok_or_else(wrong)?)
            }
            (true, Some(additional)) => {
                told.push_str(&format!("[{name}]"));
                match additional {
                    Additional::Values(values) => Some(values),
                    Additional::Any => None,
                }
            }
            (true, None) => return Err(wrong()),
        };
        rest = after;
    }
    Ok(told)
}

/// A name in quotes, and what follows its bracket.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut letters = text.char_indices();
    if letters.next().is_none_or(|(_, first)| first != '\'') {
        return Err(format!("expected single quoted string but got {text}"));
    }
    let mut name = String::new();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\'' => {
                let rest = text[at + 1..].strip_prefix(']').ok_or_else(|| "expected ]".to_owned())?;
                return Ok((name, rest));
            }
            '\\' => name.push(match letters.next().map(|(_, letter)| letter) {
                Some('a') => '\u{7}',
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('v') => '\u{b}',
                Some(same @ ('\'' | '\\')) => same,
                _ => return Err("invalid string literal".to_owned()),
            }),
            other => name.push(other),
        }
    }
    Err("unexpected end of JSON path".to_owned())
}
