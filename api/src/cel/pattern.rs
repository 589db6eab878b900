//! Regular expressions, which Kubernetes writes for RE2: `\d`, `\w`, `\s` and `\b` know ASCII alone there, and a bracket
//! in a class is a bracket.

use regex::{Regex, RegexBuilder};

/// What a pattern may take, compiled: the repetition of a large class could fill the memory.
const COMPILED_BYTES_MAX: usize = 256 * 1024;
/// What the matcher may remember of it.
const CACHE_BYTES_MAX: usize = 256 * 1024;
const LENGTH_MAX: usize = 4096;
const NESTING_MAX: u32 = 64;

pub(super) fn compile(written: &str) -> Result<Regex, String> {
    if written.len() > LENGTH_MAX {
        return Err(format!("error parsing regexp: expression is longer than {LENGTH_MAX} bytes"));
    }
    RegexBuilder::new(&translated(written))
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(CACHE_BYTES_MAX)
        .nest_limit(NESTING_MAX)
        .build()
        .map_err(|error| format!("error parsing regexp: {}", reason(&error, written)))
}

/// The last line of what the crate says; the others show the place.
fn reason(error: &regex::Error, written: &str) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => format!("expression too large: `{written}`"),
        other => {
            let told = other.to_string();
            let last = told.lines().last().unwrap_or_default();
            format!("{}: `{written}`", last.trim_start_matches("error: "))
        }
    }
}

fn translated(written: &str) -> String {
    let mut out = String::with_capacity(written.len() + 16);
    let mut letters = written.chars().peekable();
    let mut is_class = false;
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => escaped(letters.next(), is_class, &mut out),
            '[' if is_class && letters.peek() != Some(&':') => out.push_str("\\["),
            '[' if is_class => {
                // A named class, up to its end.
                out.push('[');
                for inner in letters.by_ref() {
                    out.push(inner);
                    if inner == ']' {
                        break;
                    }
                }
            }
            '[' => {
                is_class = true;
                out.push('[');
                if letters.peek() == Some(&'^') {
                    letters.next();
                    out.push('^');
                }
                // The first bracket of a class is one of its letters.
                if letters.peek() == Some(&']') {
                    letters.next();
                    out.push_str("\\]");
                }
            }
            ']' if is_class => {
                is_class = false;
                out.push(']');
            }
            // Twice, these would join classes.
            '&' | '~' if is_class => {
                out.push('\\');
                out.push(letter);
            }
            '-' if is_class && letters.peek() == Some(&'-') => out.push_str("\\-"),
            other => out.push(other),
        }
    }
    out
}

fn escaped(letter: Option<char>, is_class: bool, out: &mut String) {
    let Some(letter) = letter else { return out.push('\\') };
    match letter {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        's' => out.push_str("[\\t\\n\\f\\r ]"),
        'S' => out.push_str("[^\\t\\n\\f\\r ]"),
        'b' if !is_class => out.push_str("(?-u:\\b)"),
        'B' if !is_class => out.push_str("(?-u:\\B)"),
        other => {
            out.push('\\');
            out.push(other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_re2() {
        for (written, text, expect) in [
            ("^\\d+$", "12", true),
            ("^\\d+$", "١٢", false),
            ("^[\\w.-]+$", "a_b.c-d", true),
            ("^[^\\s]+$", "a b", false),
            ("[[]", "[", true),
            ("^[]a]+$", "]a", true),
            ("^[[:alpha:]&&b]+$", "a&b", true),
            ("^\\p{L}+$", "é", true),
            ("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "a-b", true),
            ("\\bfoo\\b", "a foo b", true),
        ] {
            let regex = compile(written).unwrap_or_else(|error| panic!("{written}: {error}"));
            assert_eq!(regex.is_match(text), expect, "{written} on {text}");
        }
    }

    #[test]
    fn patterns_are_bounded() {
        for bad in ["(", "\\p{L}{5000}", "(?P<a", "a{1000}{1000}", "\\pL{999}", &"(".repeat(500), &"a".repeat(5000)] {
            let told = compile(bad).expect_err(bad);
            assert!(told.starts_with("error parsing regexp: "), "{told}");
        }
    }
}
