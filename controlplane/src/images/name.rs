//! Names of repositories, tags and digests: what is not well formed never becomes a path.

use std::fmt;

use super::Error;

const REPOSITORY_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;
const SHA256_HEX_BYTES: usize = 64;

/// Lower-case parts joined by slashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Repository(String);

/// `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    Tag(String),
    Digest(Digest),
}

// === impl Repository ===

impl Repository {
    pub fn parse(name: &str) -> Result<Repository, Error> {
        let is_good = name.len() <= REPOSITORY_BYTES_MAX && name.split('/').all(is_part);
        match is_good {
            true => Ok(Repository(name.to_owned())),
            false => Err(Error::Name(format!("{name:?} is not a name of a repository"))),
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Letters and digits, with one separator (`.`, `_`, `__` or any number of `-`) between each two runs of them.
fn is_part(part: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends_in_words = bytes.first().copied().is_some_and(is_word) && bytes.last().copied().is_some_and(is_word);
    let separators = part.split(|c: char| c.is_ascii() && is_word(c as u8)).filter(|between| !between.is_empty());
    ends_in_words && separators.into_iter().all(|it| matches!(it, "." | "_" | "__") || it.bytes().all(|b| b == b'-'))
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Digest ===

impl Digest {
    pub fn parse(text: &str) -> Result<Digest, Error> {
        let hex = text.strip_prefix("sha256:").filter(|hex| {
            hex.len() == SHA256_HEX_BYTES && hex.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
        });
        hex.map(|hex| Digest(hex.to_owned())).ok_or_else(|| Error::Name(format!("{text:?} is not a sha256 digest")))
    }

    /// The digest that a finished hash is.
    pub(super) fn of(hash: impl sha2::Digest) -> Digest {
        Digest(hex::encode(hash.finalize()))
    }

    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

// === impl Reference ===

impl Reference {
    pub fn parse(text: &str) -> Result<Reference, Error> {
        if text.contains(':') {
            return Digest::parse(text).map(Reference::Digest);
        }
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_good = text.len() <= TAG_BYTES_MAX
            && text.bytes().next().is_some_and(is_word)
            && text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'));
        match is_good {
            true => Ok(Reference::Tag(text.to_owned())),
            false => Err(Error::Name(format!("{text:?} is neither a tag nor a digest"))),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Tag(tag) => f.write_str(tag),
            Reference::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories() {
        for good in ["a", "hello", "a/b/c", "a.b", "a__b", "a---b", "0/1_2"] {
            assert!(Repository::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "a/", "/a", "a//b", "..", "a/../b", "_a", "a_", "a___b", "a._b", "a b", "é", "a\0"] {
            assert!(Repository::parse(bad).is_err(), "{bad}");
        }
        assert!(Repository::parse(&"a".repeat(256)).is_err());
    }

    #[test]
    fn references() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        assert!(matches!(Reference::parse(&digest), Ok(Reference::Digest(_))));
        for good in ["v1", "_", "A.b-c", "latest"] {
            assert!(matches!(Reference::parse(good), Ok(Reference::Tag(_))), "{good}");
        }
        let upper = digest.to_uppercase();
        for bad in ["", ".", "..", "-a", "a/b", "a~", "sha256:00", "md5:00", &upper, &"a".repeat(129)] {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
    }
}
