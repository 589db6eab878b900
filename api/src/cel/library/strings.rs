//! Texts. Places in a text are counted in letters.

use super::{Cost, Row, formatted};
use crate::cel::run::Work;
use crate::cel::value::{Failure, Outcome, Text, Value};

pub(super) const TABLE: &[Row] = &[
    ("<string>.contains(<string>) <bool>", Cost::Search, contains),
    ("<string>.startsWith(<string>) <bool>", Cost::Compare, starts_with),
    ("<string>.endsWith(<string>) <bool>", Cost::Compare, ends_with),
    ("<string>.charAt(<int>) <string>", Cost::Read, char_at),
    ("<string>.indexOf(<string>) <int>", Cost::Search, index_of),
    ("<string>.indexOf(<string>, <int>) <int>", Cost::Search, index_of),
    ("<string>.lastIndexOf(<string>) <int>", Cost::Search, last_index_of),
    ("<string>.lastIndexOf(<string>, <int>) <int>", Cost::Search, last_index_of),
    ("<string>.lowerAscii() <string>", Cost::Read, lower),
    ("<string>.upperAscii() <string>", Cost::Read, upper),
    ("<string>.replace(<string>, <string>) <string>", Cost::Replace, replace),
    ("<string>.replace(<string>, <string>, <int>) <string>", Cost::Replace, replace),
    ("<string>.split(<string>) <list<string>>", Cost::Split, split),
    ("<string>.split(<string>, <int>) <list<string>>", Cost::Split, split),
    ("<string>.substring(<int>) <string>", Cost::Read, substring),
    ("<string>.substring(<int>, <int>) <string>", Cost::Read, substring),
    ("<string>.trim() <string>", Cost::Read, trim),
    ("<list<string>>.join() <string>", Cost::Join, join),
    ("<list<string>>.join(<string>) <string>", Cost::Join, join),
    ("strings.quote(<string>) <string>", Cost::Copy, quote),
    ("<string>.format(<list<dyn>>) <string>", Cost::Read, formatted::format),
];

fn contains<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let [Value::String(text), Value::String(part)] = args else { return Err(Failure::no_overload()) };
    work.read(text.len() + part.len())?;
    Ok(Value::Bool(text.contains(&**part)))
}

fn starts_with<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let [Value::String(text), Value::String(part)] = args else { return Err(Failure::no_overload()) };
    work.read(part.len())?;
    Ok(Value::Bool(text.starts_with(&**part)))
}

fn ends_with<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let [Value::String(text), Value::String(part)] = args else { return Err(Failure::no_overload()) };
    work.read(part.len())?;
    Ok(Value::Bool(text.ends_with(&**part)))
}

/// The text, and where a letter begins; the end is a place too.
fn place(text: &str, letter: i64) -> Option<usize> {
    let letter = usize::try_from(letter).ok()?;
    let mut places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    places.nth(letter)
}

fn out_of_range(at: i64) -> Failure {
    Failure::of(format!("index out of range: {at}"))
}

fn letters(text: &str) -> Value<'static> {
    Value::Int(i64::try_from(text.chars().count()).unwrap_or(i64::MAX))
}

fn char_at<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let [Value::String(text), Value::Int(at)] = args else { return Err(Failure::no_overload()) };
    work.read(text.len())?;
    let begin = place(text, *at).ok_or_else(|| out_of_range(*at))?;
    Ok(Value::text(text[begin..].chars().take(1).collect::<String>()))
}

fn index_of<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let (text, part, from) = match args {
        [Value::String(text), Value::String(part)] => (text, part, 0),
        [Value::String(text), Value::String(part), Value::Int(from)] => (text, part, *from),
        _ => return Err(Failure::no_overload()),
    };
    work.read(text.len() + part.len())?;
    if part.is_empty() && args.len() == 2 {
        return Ok(Value::Int(0));
    }
    let begin = place(text, from).ok_or_else(|| out_of_range(from))?;
    let found = text[begin..].find(&**part);
    Ok(found.map_or(Value::Int(-1), |at| letters(&text[..begin + at])))
}

fn last_index_of<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let (text, part, to) = match args {
        [Value::String(text), Value::String(part)] => (text, part, None),
        [Value::String(text), Value::String(part), Value::Int(to)] => (text, part, Some(*to)),
        _ => return Err(Failure::no_overload()),
    };
    work.read(text.len() + part.len())?;
    let end = match to {
        None => text.len(),
        Some(to) => {
            let begin = place(text, to).filter(|at| *at < text.len().max(1)).ok_or_else(|| out_of_range(to))?;
            // What begins at the place may end behind it.
            (begin..=text.len())
                .filter(|at| text.is_char_boundary(*at))
                .find(|at| *at >= begin + part.len())
                .unwrap_or(text.len())
        }
    };
    Ok(text[..end].rfind(&**part).map_or(Value::Int(-1), |at| letters(&text[..at])))
}

fn lower<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let [Value::String(text)] = args else { return Err(Failure::no_overload()) };
    work.read(text.len())?;
    Ok(Value::text(text.to_ascii_lowercase()))
}

fn upper<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let [Value::String(text)] = args else { return Err(Failure::no_overload()) };
    work.read(text.len())?;
    Ok(Value::text(text.to_ascii_uppercase()))
}

fn replace<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let (text, from, to, count) = match args {
        [Value::String(text), Value::String(from), Value::String(to)] => (text, from, to, -1),
        [Value::String(text), Value::String(from), Value::String(to), Value::Int(count)] => (text, from, to, *count),
        _ => return Err(Failure::no_overload()),
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    work.read(text.len())?;
    // It may grow: that is paid for before it is made.
    let found = text.matches(&**from).take(count).count();
    work.read(found.saturating_mul(to.len()).saturating_add(text.len()))?;
    Ok(Value::text(text.replacen(&**from, to, count)))
}

fn split<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let (text, by, most) = match args {
        [Value::String(text), Value::String(by)] => (text, by, -1),
        [Value::String(text), Value::String(by), Value::Int(most)] => (text, by, *most),
        _ => return Err(Failure::no_overload()),
    };
    work.read(2 * text.len())?;
    let most = match usize::try_from(most) {
        Ok(0) => return Ok(Value::list(Vec::new())),
        Ok(most) => most,
        Err(_) => usize::MAX,
    };
    let mut parts: Vec<&str> = Vec::new();
    if by.is_empty() {
        // Each letter is a part, the last one with what is left.
        let mut rest = &**text;
        while let Some(first) = rest.chars().next() {
            let end = if parts.len() + 1 == most { rest.len() } else { first.len_utf8() };
            parts.push(&rest[..end]);
            rest = &rest[end..];
        }
    } else {
        parts.extend(text.splitn(most, &**by));
    }
    work.take(parts.len() as u64)?;
    Ok(Value::list(parts.into_iter().map(Value::text).collect()))
}

fn substring<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let (text, from, to) = match args {
        [Value::String(text), Value::Int(from)] => (text, *from, None),
        [Value::String(text), Value::Int(from), Value::Int(to)] => (text, *from, Some(*to)),
        _ => return Err(Failure::no_overload()),
    };
    work.read(text.len())?;
    let begin = place(text, from).ok_or_else(|| out_of_range(from))?;
    let end = match to {
        Some(to) => place(text, to).ok_or_else(|| out_of_range(to))?,
        None => text.len(),
    };
    match text.get(begin..end) {
        Some(part) => Ok(Value::text(part)),
        None => {
            let to = to.unwrap_or(from);
            Err(Failure::of(format!("invalid substring range. start: {from}, end: {to}")))
        }
    }
}

fn trim<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let [Value::String(text)] = args else { return Err(Failure::no_overload()) };
    work.read(text.len())?;
    Ok(match text {
        Text::Lent(text) => Value::String(Text::Lent(text.trim())),
        Text::Made(text) => Value::text(text.trim()),
    })
}

fn join<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let (list, between) = match args {
        [Value::List(list)] => (list, ""),
        [Value::List(list), Value::String(between)] => (list, &**between),
        _ => return Err(Failure::no_overload()),
    };
    let mut joined = String::new();
    for (at, part) in list.iter().enumerate() {
        let Value::String(part) = part? else { return Err(Failure::no_overload()) };
        work.read(part.len() + between.len() + 1)?;
        if at > 0 {
            joined.push_str(between);
        }
        joined.push_str(&part);
    }
    Ok(Value::text(joined))
}

fn quote<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let [Value::String(text)] = args else { return Err(Failure::no_overload()) };
    work.read(2 * text.len())?;
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    Ok(Value::text(quoted))
}
