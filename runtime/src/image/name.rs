//! What an image name says: which registry, which repository, which tag or digest. Pure.

/// `[HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// `None`: the registry embedded in the API server.
    pub host: Option<String>,
    pub repository: String,
    /// A tag, or `sha256:…`, which wins over a tag beside it.
    pub version: String,
}

// === impl Reference ===

impl Reference {
    /// The error says what is wrong with the name.
    pub fn parse(text: &str) -> Result<Reference, String> {
        let bad = |why: &str| Err(format!("{text:?}: {why}"));
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return bad("the digest is not sha256: and 64 hexadecimal digits");
        }
        let (host, path) = match rest.split_once('/') {
            Some((first, path)) if is_host(first) => (Some(first.to_owned()), path),
            _ => (None, rest),
        };
        let (repository, tag) = match path.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        let is_part = |part: &str| {
            let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
            ends(part.bytes().next()) && ends(part.bytes().last()) && part.bytes().all(is_inner)
        };
        if repository.is_empty() || repository.len() > 255 || !repository.split('/').all(is_part) {
            return bad("the repository must be lower-case letters, digits and . _ - between slashes");
        }
        let is_tag_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_tag =
            |tag: &str| (1..=128).contains(&tag.len()) && !tag.starts_with(['.', '-']) && tag.bytes().all(is_tag_byte);
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return bad("the tag must be letters, digits and . _ -, at most 128");
        }
        let version = digest.or(tag).unwrap_or("latest").to_owned();
        Ok(Reference { host, repository: repository.to_owned(), version })
    }

    #[must_use]
    pub fn is_by_digest(&self) -> bool {
        is_digest(&self.version)
    }
}

/// As in Docker's names: a first part with a dot or a port is a host.
fn is_host(first: &str) -> bool {
    let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b".:-".contains(&byte);
    let begins = first.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    begins && first.bytes().all(is_host_byte) && (first.contains(['.', ':']) || first == "localhost")
}

pub(super) fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |text: &str, expect: Option<(&str, &str, &str)>| {
            let got = Reference::parse(text).ok();
            let got = got.as_ref().map(|one| (one.host.as_deref().unwrap_or(""), &*one.repository, &*one.version));
            assert_eq!(got, expect, "{text}");
        };
        let digest = format!("sha256:{}", "a".repeat(64));
        check("hello", Some(("", "hello", "latest")));
        check("hello:v1", Some(("", "hello", "v1")));
        check("team/hello:v1", Some(("", "team/hello", "v1")));
        check("ghcr.io/org/app:v1", Some(("ghcr.io", "org/app", "v1")));
        check("localhost:5000/app", Some(("localhost:5000", "app", "latest")));
        check(&format!("app:v1@{digest}"), Some(("", "app", &digest)));
        for bad in ["", "App", "a//b", "a:", "a:b c", "-a", "a@sha256:1", "../a", "a/..:x"] {
            check(bad, None);
        }
    }
}
