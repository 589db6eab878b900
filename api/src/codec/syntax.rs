//! Why bytes are no JSON, in the words of Go's `encoding/json`, which kube-apiserver passes on to clients.
//!
//! Looked at only where decoding has failed already: the decoder itself knows neither these words nor where Go would
//! have stopped.

/// As deep as Go's scanner goes.
const DEPTH_MAX: usize = 10_000;
const END: &str = "unexpected end of JSON input";

/// What may come next, apart from white space.
#[derive(Clone, Copy)]
enum Next {
    Value,
    /// A value, or the end of the array that has just begun.
    FirstItem,
    Key,
    /// A key, or the end of the object that has just begun.
    FirstKey,
    Colon,
    /// A comma or an end; at the top nothing.
    AfterValue,
}

struct Scanner<'b> {
    bytes: &'b [u8],
    at: usize,
    /// `{` or `[` of each that is open.
    open: Vec<u8>,
}

/// What Go says of the bytes; `None` if they are one JSON value.
pub(super) fn error(bytes: &[u8]) -> Option<String> {
    let mut scanner = Scanner { bytes, at: 0, open: Vec::new() };
    scanner.scan().err()
}

impl Scanner<'_> {
    fn scan(&mut self) -> Result<(), String> {
        let mut next = Next::Value;
        loop {
            while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
                self.at += 1;
            }
            let Some(byte) = self.peek() else {
                let is_whole = matches!(next, Next::AfterValue) && self.open.is_empty();
                return if is_whole { Ok(()) } else { Err(END.to_owned()) };
            };
            next = match (next, byte) {
                (Next::FirstItem, b']') | (Next::FirstKey, b'}') => self.close(),
                (Next::Value | Next::FirstItem, _) => self.value(byte)?,
                (Next::Key | Next::FirstKey, b'"') => {
                    self.string()?;
                    Next::Colon
                }
                (Next::Key | Next::FirstKey, _) => {
                    return Err(wrong(byte, "looking for beginning of object key string"));
                }
                (Next::Colon, b':') => self.step(Next::Value),
                (Next::Colon, _) => return Err(wrong(byte, "after object key")),
                (Next::AfterValue, _) => match (self.open.last(), byte) {
                    (Some(b'{'), b',') => self.step(Next::Key),
                    (Some(b'['), b',') => self.step(Next::Value),
                    (Some(b'{'), b'}') | (Some(b'['), b']') => self.close(),
                    (Some(b'{'), _) => return Err(wrong(byte, "after object key:value pair")),
                    (Some(_), _) => return Err(wrong(byte, "after array element")),
                    (None, _) => return Err(wrong(byte, "after top-level value")),
                },
            };
        }
    }

    fn value(&mut self, byte: u8) -> Result<Next, String> {
        match byte {
            b'{' | b'[' => {
                if self.open.len() >= DEPTH_MAX {
                    return Err("exceeded max depth".to_owned());
                }
                self.open.push(byte);
                return Ok(self.step(if byte == b'{' { Next::FirstKey } else { Next::FirstItem }));
            }
            b'"' => self.string()?,
            b'-' | b'0'..=b'9' => self.number()?,
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            _ => return Err(wrong(byte, "looking for beginning of value")),
        }
        Ok(Next::AfterValue)
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.take()? {
                b'"' => return Ok(()),
                b'\\' => match self.take()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let digit = self.take()?;
                            if !digit.is_ascii_hexdigit() {
                                return Err(wrong(digit, "in \\u hexadecimal character escape"));
                            }
                        }
                    }
                    other => return Err(wrong(other, "in string escape code")),
                },
                control @ 0..0x20 => return Err(wrong(control, "in string literal")),
                _ => {}
            }
        }
    }

    fn number(&mut self) -> Result<(), String> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    /// One digit at least.
    fn digits(&mut self, place: &str) -> Result<(), String> {
        let first = self.take()?;
        if !first.is_ascii_digit() {
            return Err(wrong(first, place));
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        for expected in word.chars() {
            let byte = self.take()?;
            if char::from(byte) != expected {
                return Err(wrong(byte, &format!("in literal {word} (expecting '{expected}')")));
            }
        }
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self) -> Result<u8, String> {
        let byte = self.peek().ok_or(END)?;
        self.at += 1;
        Ok(byte)
    }

    fn step(&mut self, next: Next) -> Next {
        self.at += 1;
        next
    }

    fn close(&mut self) -> Next {
        self.open.pop();
        self.step(Next::AfterValue)
    }
}

/// Go takes the byte for a character of Latin-1.
fn wrong(byte: u8, place: &str) -> String {
    let shown = match byte {
        b'\'' => "\\'".to_owned(),
        b'"' => "\"".to_owned(),
        b'\\' => "\\\\".to_owned(),
        0x07 => "\\a".to_owned(),
        0x08 => "\\b".to_owned(),
        0x09 => "\\t".to_owned(),
        0x0a => "\\n".to_owned(),
        0x0b => "\\v".to_owned(),
        0x0c => "\\f".to_owned(),
        0x0d => "\\r".to_owned(),
        0x00..=0x1f | 0x7f => format!("\\x{byte:02x}"),
        0x80..=0xa0 | 0xad => format!("\\u{byte:04x}"),
        _ => char::from(byte).to_string(),
    };
    format!("invalid character '{shown}' {place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_go() {
        for (text, expected) in [
            ("", END),
            ("{", END),
            ("[1,", END),
            ("\"a", END),
            ("-", END),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("{} trailing", "invalid character 't' after top-level value"),
            ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
            (r#"{"a" 1}"#, "invalid character '1' after object key"),
            (r#"{"a":1 "b"}"#, "invalid character '\"' after object key:value pair"),
            (r#"{"a":1,}"#, "invalid character '}' looking for beginning of object key string"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            (r#""\x""#, "invalid character 'x' in string escape code"),
            (r#""\u00g0""#, "invalid character 'g' in \\u hexadecimal character escape"),
            ("-a", "invalid character 'a' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1e+", END),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("01", "invalid character '1' after top-level value"),
            ("nul", END),
            ("nuxl", "invalid character 'x' in literal null (expecting 'l')"),
            ("\u{e9}", "invalid character 'Ã' looking for beginning of value"),
            ("'a'", "invalid character '\\'' looking for beginning of value"),
        ] {
            assert_eq!(error(text.as_bytes()).as_deref(), Some(expected), "{text}");
        }
        let deep = "[".repeat(DEPTH_MAX + 1);
        assert_eq!(error(deep.as_bytes()).as_deref(), Some("exceeded max depth"));
        for good in ["0", " {\"a\":[1,-2.5e+3,true,null,\"\\u00e9\"],\"b\":{}} ", "[]"] {
            assert_eq!(error(good.as_bytes()), None, "{good}");
        }
    }
}
