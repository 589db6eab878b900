//! Paths, queries and ranges of the distribution specification. Pure: decides what was asked for, not whether it is
//! there.

use uuid::Uuid;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Root,
    Catalog,
    Tags { name: &'a str },
    Referrers { name: &'a str, digest: &'a str },
    Manifest { name: &'a str, reference: &'a str },
    Blob { name: &'a str, digest: &'a str },
    Uploads { name: &'a str },
    Upload { name: &'a str, id: Uuid },
}

/// The decoded parameters of a query.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

// === impl Route ===

impl<'a> Route<'a> {
    pub(super) fn parse(path: &'a str) -> Option<Route<'a>> {
        let rest = path.strip_prefix("/v2")?;
        let rest = match rest {
            "" | "/" => return Some(Route::Root),
            "/_catalog" => return Some(Route::Catalog),
            rest => rest.strip_prefix('/')?,
        };
        // A name may contain the words that follow names, so the words are looked for from the end.
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Some(Route::Tags { name });
        }
        if let Some(name) = rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads")) {
            return Some(Route::Uploads { name });
        }
        let (before, last) = rest.rsplit_once('/')?;
        if let Some(name) = before.strip_suffix("/blobs/uploads") {
            return Some(Route::Upload { name, id: Uuid::parse_str(last).ok()? });
        }
        let (name, word) = before.rsplit_once('/')?;
        match word {
            "manifests" => Some(Route::Manifest { name, reference: last }),
            "blobs" => Some(Route::Blob { name, digest: last }),
            "referrers" => Some(Route::Referrers { name, digest: last }),
            _ => None,
        }
    }
}

// === impl Query ===

impl Query {
    pub(super) fn parse(query: &str) -> Query {
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        };
        Query(query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect())
    }

    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digits = (byte == b'%').then(|| [ahead.next().unwrap_or(0), ahead.next().unwrap_or(0)]);
        let mut decoded = [0];
        match digits {
            Some(digits) if hex::decode_to_slice(digits, &mut decoded).is_ok() => {
                out.push(decoded[0]);
                bytes = ahead;
            }
            _ => out.push(if byte == b'+' { b' ' } else { byte }),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the chunk begins that a `Content-Range` of an upload describes: `0-99`, with or without `bytes`.
pub(super) fn chunk_start(range: &str) -> Option<u64> {
    range.trim_start_matches("bytes").trim().split_once('-')?.0.parse().ok()
}

/// The first and last byte of a `Range`. The outer `None`: not one that we serve, so the whole is sent; the inner one:
/// it lies outside of the content.
pub(super) fn byte_range(range: &str, bytes: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let end = bytes.checked_sub(1);
    let (first, last) = match (first, last) {
        ("", suffix) => (bytes.saturating_sub(suffix.parse().ok()?), end),
        (first, "") => (first.parse().ok()?, end),
        (first, last) => (first.parse().ok()?, end.map(|end| end.min(last.parse().unwrap_or(end)))),
    };
    Some(last.filter(|last| first <= *last).map(|last| (first, last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        let id = Uuid::nil();
        let upload = format!("/v2/a/b/blobs/uploads/{id}");
        let table = [
            ("/v2", Some(Route::Root)),
            ("/v2/", Some(Route::Root)),
            ("/v2/_catalog", Some(Route::Catalog)),
            ("/v2/a/b/tags/list", Some(Route::Tags { name: "a/b" })),
            ("/v2/a/manifests/v1", Some(Route::Manifest { name: "a", reference: "v1" })),
            ("/v2/a/blobs/blobs/x", Some(Route::Blob { name: "a/blobs", digest: "x" })),
            ("/v2/a/blobs/uploads/", Some(Route::Uploads { name: "a" })),
            ("/v2/a/referrers/x", Some(Route::Referrers { name: "a", digest: "x" })),
            (&upload, Some(Route::Upload { name: "a/b", id })),
            ("/v2/a/blobs/uploads/7", None),
            ("/v2/a", None),
            ("/v2x", None),
            ("/v1/", None),
        ];
        for (path, wanted) in table {
            assert_eq!(Route::parse(path), wanted, "{path}");
        }
    }

    #[test]
    fn ranges() {
        let table = [
            ("bytes=0-1", 5, Some(Some((0, 1)))),
            ("bytes=3-", 5, Some(Some((3, 4)))),
            ("bytes=-2", 5, Some(Some((3, 4)))),
            ("bytes=-9", 5, Some(Some((0, 4)))),
            ("bytes=2-99", 5, Some(Some((2, 4)))),
            ("bytes=5-", 5, Some(None)),
            ("bytes=0-", 0, Some(None)),
            ("bytes=x-", 5, None),
            ("lines=1-2", 5, None),
        ];
        for (range, bytes, wanted) in table {
            assert_eq!(byte_range(range, bytes), wanted, "{range} of {bytes}");
        }
        assert_eq!(chunk_start("10-19"), Some(10));
        assert_eq!(chunk_start("bytes 0-3"), Some(0));
    }

    #[test]
    fn queries() {
        let query = Query::parse("digest=sha256%3Aab&n=%4&last=a+b&flag");
        let values = ["digest", "n", "last", "flag", "none"].map(|key| query.value(key));
        assert_eq!(values, [Some("sha256:ab"), Some("%4"), Some("a b"), Some(""), None]);
    }
}
