//! Field selectors: `path=value`, `path==value`, `path!=value`, joined by commas, with `\` before a literal `,=\`.

use std::borrow::Cow;

/// A parsed field selector: all requirements must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    all: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// `metadata.name`.
    pub path: String,
    pub value: String,
    /// False for `!=`.
    pub equal: bool,
}

// === impl Fields ===

impl Fields {
    pub fn parse(text: &str) -> Result<Fields, String> {
        let mut all = Vec::new();
        for part in split(text).into_iter().filter(|part| !part.is_empty()) {
            let wrong = || format!("invalid selector: '{text}'; can't understand '{part}'");
            let (path, equal, value) = operator(part).ok_or_else(wrong)?;
            let value = unescape(value)?;
            all.push(Requirement { path: path.to_owned(), value, equal });
        }
        Ok(Fields { all })
    }

    /// Adds `path=value`.
    #[must_use]
    pub fn and(mut self, path: &str, value: &str) -> Fields {
        self.all.push(Requirement { path: path.to_owned(), value: value.to_owned(), equal: true });
        self
    }

    /// The same with other words for the paths.
    #[must_use]
    pub fn renamed(mut self, name: impl Fn(&str) -> &str) -> Fields {
        for one in &mut self.all {
            let named = name(&one.path);
            if named != one.path {
                one.path = named.to_owned();
            }
        }
        self
    }

    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.all
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// A path that `get` does not know has the empty value.
    #[must_use]
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<Cow<'a, str>>) -> bool {
        self.all.iter().all(|one| (get(&one.path).unwrap_or_default() == one.value) == one.equal)
    }

    /// The value that `path` must have, if the selector names just one.
    #[must_use]
    pub fn exact(&self, path: &str) -> Option<&str> {
        self.all.iter().find(|one| one.equal && one.path == path).map(|one| one.value.as_str())
    }
}

/// Splits at commas that no backslash precedes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut is_escaped) = (Vec::new(), 0, false);
    for (at, char) in text.char_indices() {
        if char == ',' && !is_escaped {
            parts.push(&text[from..at]);
            from = at + 1;
        }
        is_escaped = char == '\\' && !is_escaped;
    }
    parts.push(&text[from..]);
    parts
}

fn operator(part: &str) -> Option<(&str, bool, &str)> {
    let at = part.find(['=', '!'])?;
    let (path, rest) = part.split_at(at);
    for (word, equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some(value) = rest.strip_prefix(word) {
            return Some((path, equal, value));
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                other => {
                    let sequence: String = std::iter::once('\\').chain(other).collect();
                    return Err(format!("invalid field selector: invalid escape sequence: {sequence}"));
                }
            },
            // Upstream prints the number of the character.
            ',' | '=' => {
                let number = u32::from(char);
                return Err(format!("invalid field selector: unescaped character in value: {number}"));
            }
            _ => out.push(char),
        }
    }
    Ok(out)
}
