//! The words of an expression.

use super::Issue;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// As written: a minus before it may make it fit.
    Int(String),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Arc<[u8]>),
    Word(String),
    /// A name in backticks, which only a field may have.
    Quoted(String),
    Sign(&'static str),
    End,
}

#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) at: u32,
    /// As it is told in messages.
    pub(super) text: String,
}

/// Longer ones first.
const SIGNS: [&str; 27] = [
    "&&", "||", "==", "!=", "<=", ">=", ".?", "[?", "<", ">", "=", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}",
];

/// All words of a text, with an end.
pub(super) fn read(text: &str) -> Result<Vec<Placed>, Issue> {
    let mut reader = Reader { text, at: 0 };
    let mut all = Vec::new();
    loop {
        reader.skip();
        let begin = reader.at;
        let at = place(begin);
        let Some(first) = reader.peek() else {
            all.push(Placed { token: Token::End, at, text: "<EOF>".to_owned() });
            return Ok(all);
        };
        let token = match first {
            '0'..='9' => reader.number()?,
            '.' if reader.rest()[1..].starts_with(|next: char| next.is_ascii_digit()) => reader.number()?,
            '\'' | '"' => reader.string(false, false)?,
            '`' => reader.quoted()?,
            'a'..='z' | 'A'..='Z' | '_' => reader.word()?,
            _ => reader.sign()?,
        };
        all.push(Placed { token, at, text: text[begin..reader.at].to_owned() });
    }
}

fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

// === impl Reader ===

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn wrong(begin: usize, message: impl Into<String>) -> Issue {
        Issue { at: place(begin), message: message.into() }
    }

    fn unknown(&self, begin: usize) -> Issue {
        let found = &self.text[begin..self.at.max(begin)];
        let found = if found.is_empty() { self.text[begin..].chars().take(1).collect() } else { found.to_owned() };
        Reader::wrong(begin, format!("Syntax error: token recognition error at: '{found}'"))
    }

    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let bare = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
            self.at += rest.len() - bare.len();
            if !bare.starts_with("//") {
                return;
            }
            self.at += bare.find('\n').unwrap_or(bare.len());
        }
    }

    fn take_while(&mut self, is_good: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|letter| !is_good(letter)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn number(&mut self) -> Result<Token, Issue> {
        let begin = self.at;
        if self.rest().starts_with("0x") || self.rest().starts_with("0X") {
            self.at += 2;
            let digits = self.take_while(|letter| letter.is_ascii_hexdigit());
            if digits.is_empty() {
                return Err(self.unknown(begin));
            }
            return self.whole(begin, &self.text[begin..self.at], digits, 16);
        }
        let digits = self.take_while(|letter| letter.is_ascii_digit());
        let mut is_double = false;
        let rest = self.rest();
        if rest.starts_with('.') && rest[1..].starts_with(|next: char| next.is_ascii_digit()) {
            self.at += 1;
            self.take_while(|letter| letter.is_ascii_digit());
            is_double = true;
        }
        let rest = self.rest();
        if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
            let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if unsigned.starts_with(|next: char| next.is_ascii_digit()) {
                self.at += rest.len() - unsigned.len();
                self.take_while(|letter| letter.is_ascii_digit());
                is_double = true;
            }
        }
        if !is_double {
            return self.whole(begin, digits, digits, 10);
        }
        let value: f64 =
            self.text[begin..self.at].parse().map_err(|_| Reader::wrong(begin, "invalid double literal"))?;
        if value.is_finite() { Ok(Token::Double(value)) } else { Err(Reader::wrong(begin, "invalid double literal")) }
    }

    fn whole(&mut self, begin: usize, written: &str, digits: &str, radix: u32) -> Result<Token, Issue> {
        if self.rest().starts_with(['u', 'U']) {
            self.at += 1;
            let value = u64::from_str_radix(digits, radix);
            return value.map(Token::Uint).map_err(|_| Reader::wrong(begin, "invalid uint literal"));
        }
        Ok(Token::Int(written.to_owned()))
    }

    fn word(&mut self) -> Result<Token, Issue> {
        let begin = self.at;
        let word = self.take_while(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if self.rest().starts_with(['\'', '"']) {
            match word {
                "r" | "R" => return self.string(true, false),
                "b" | "B" => return self.string(false, true),
                "rb" | "rB" | "Rb" | "RB" | "br" | "bR" | "Br" | "BR" => return self.string(true, true),
                _ => {}
            }
        }
        debug_assert!(begin < self.at, "a word has letters");
        Ok(Token::Word(word.to_owned()))
    }

    fn quoted(&mut self) -> Result<Token, Issue> {
        let begin = self.at;
        self.at += 1;
        let name = self
            .take_while(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-' | '/' | ' '))
            .to_owned();
        if name.is_empty() || self.next() != Some('`') {
            return Err(self.unknown(begin));
        }
        Ok(Token::Quoted(name))
    }

    fn sign(&mut self) -> Result<Token, Issue> {
        let rest = self.rest();
        match SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            Some(sign) if sign != "=" => {
                self.at += sign.len();
                Ok(Token::Sign(sign))
            }
            _ => Err(self.unknown(self.at)),
        }
    }

    /// From the quote on.
    fn string(&mut self, is_raw: bool, is_bytes: bool) -> Result<Token, Issue> {
        let begin = self.at;
        let quote = &self.rest()[..1];
        let triple = quote.repeat(3);
        let end = if self.rest().starts_with(&triple) { triple.as_str() } else { quote };
        self.at += end.len();
        let (mut text, mut bytes) = (String::new(), Vec::new());
        loop {
            if self.rest().starts_with(end) {
                self.at += end.len();
                return Ok(if is_bytes { Token::Bytes(bytes.into()) } else { Token::String(text) });
            }
            let letter = match self.next() {
                None => return Err(self.unknown(begin)),
                Some('\n' | '\r') if end.len() == 1 => return Err(self.unknown(begin)),
                Some('\\') if !is_raw => self.escape(is_bytes)?,
                Some(letter) => Letter::Char(letter),
            };
            match letter {
                Letter::Byte(byte) => bytes.push(byte),
                Letter::Char(letter) if is_bytes => {
                    bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Letter::Char(letter) => text.push(letter),
            }
        }
    }

    /// After the backslash.
    fn escape(&mut self, is_bytes: bool) -> Result<Letter, Issue> {
        let begin = self.at - 1;
        let wrong = || Reader::wrong(begin, "unable to unescape string");
        let letter = match self.next().ok_or_else(wrong)? {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            same @ ('\\' | '\'' | '"' | '`' | '?') => same,
            'x' | 'X' => return self.code(2, 16, is_bytes).ok_or_else(wrong),
            'u' if !is_bytes => return self.code(4, 16, false).ok_or_else(wrong),
            'U' if !is_bytes => return self.code(8, 16, false).ok_or_else(wrong),
            '0'..='3' => {
                self.at -= 1;
                return self.code(3, 8, is_bytes).ok_or_else(wrong);
            }
            _ => return Err(wrong()),
        };
        Ok(Letter::Char(letter))
    }

    fn code(&mut self, digits: usize, radix: u32, is_byte: bool) -> Option<Letter> {
        let written = self.rest().get(..digits).filter(|all| all.chars().all(|one| one.is_digit(radix)))?;
        let code = u32::from_str_radix(written, radix).ok()?;
        self.at += digits;
        if is_byte { u8::try_from(code).ok().map(Letter::Byte) } else { char::from_u32(code).map(Letter::Char) }
    }
}

enum Letter {
    Char(char),
    Byte(u8),
}
