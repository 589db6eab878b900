//! What a request is about, read from its path and query alone; pure.

use api::{Rejected, Resource};
use std::borrow::Cow;
use std::collections::HashMap;
use std::num::{IntErrorKind, ParseIntError};

/// A request for an object, a collection, or something below an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) plural: String,
    pub(super) namespace: Option<String>,
    /// Empty for collections.
    pub(super) name: String,
    pub(super) subresource: Option<String>,
    /// The deprecated `/watch/` prefix.
    pub(super) is_watch: bool,
    /// More follows, as where a path goes on inside what is proxied.
    pub(super) is_deeper: bool,
}

/// The decoded parameters of a query. Of one that comes several times the first counts, except where all do.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(HashMap<String, Vec<String>>);

// === impl Info ===

impl Info {
    /// `None` for a path that names no resource.
    pub(super) fn parse(path: &str) -> Option<Info> {
        let path = path.trim_matches('/');
        let mut parts: Vec<String> = path.split('/').map(|part| decode(part).into_owned()).collect();
        let head = match parts.first().map(String::as_str) {
            Some("api") if parts.len() > 2 => 2,
            Some("apis") if parts.len() > 3 => 3,
            _ => return None,
        };
        let mut rest = parts.split_off(head);
        let mut info = Info { version: parts[head - 1].clone(), ..Info::default() };
        if head == 3 {
            info.group.clone_from(&parts[1]);
        }
        if rest[0] == "watch" && rest.len() > 1 {
            info.is_watch = true;
            rest.remove(0);
        }
        let below_namespace = rest[0] == "namespaces"
            && info.group.is_empty()
            && rest.len() > 2
            && !matches!(rest[2].as_str(), "status" | "finalize");
        let in_group = rest[0] == "namespaces" && !info.group.is_empty() && rest.len() > 2;
        if below_namespace || in_group {
            info.namespace = Some(rest[1].clone());
            rest.drain(..2);
        }
        let mut rest = rest.into_iter();
        info.plural = rest.next().filter(|plural| !plural.is_empty())?;
        info.name = rest.next().unwrap_or_default();
        info.subresource = rest.next();
        info.is_deeper = rest.next().is_some();
        Some(info)
    }

    pub(super) fn resource(&self) -> Resource {
        Resource::new(self.group.clone(), self.version.clone(), self.plural.clone())
    }
}

// === impl Query ===

impl Query {
    pub(super) fn parse(query: Option<&str>) -> Query {
        let mut all: HashMap<String, Vec<String>> = HashMap::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            all.entry(form(key)).or_default().push(form(value));
        }
        Query(all)
    }

    pub(super) fn all(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    pub(super) fn text(&self, key: &str) -> &str {
        self.all(key).first().map_or("", String::as_str)
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        Some(self.text(key)).filter(|value| !value.is_empty())
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Whatever is not said to be false is true.
    pub(super) fn is_true(&self, key: &str) -> bool {
        self.has(key) && self.text(key) != "0" && !self.text(key).eq_ignore_ascii_case("false")
    }

    pub(super) fn integer(&self, key: &str) -> Result<Option<i64>, Rejected> {
        if !self.has(key) {
            return Ok(None);
        }
        let text = self.text(key);
        text.parse().map(Some).map_err(|why| Rejected::bad_request(go_error("ParseInt", text, &why)))
    }

    /// What is less than nothing is nothing.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, Rejected> {
        Ok(self.integer(key)?.map(|value| u64::try_from(value).unwrap_or(0)))
    }

    /// A resourceVersion, as reads and watches take it.
    pub(super) fn revision(&self) -> Result<Option<u64>, Rejected> {
        let Some(text) = self.get("resourceVersion") else { return Ok(None) };
        text.parse().map(Some).map_err(|why| {
            let why = go_error("ParseUint", text, &why);
            let told = format!("invalid resource version: resourceVersion: Invalid value: {text:?}: {why}");
            Rejected::bad_request(told)
        })
    }

    /// As the options were checked before.
    pub(super) fn is_dry_run(&self) -> bool {
        !self.all("dryRun").is_empty()
    }
}

/// What Go's `strconv` says of a number that is none.
fn go_error(parser: &str, text: &str, why: &ParseIntError) -> String {
    let why = match why.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.{parser}: parsing {text:?}: {why}")
}

/// Percent decoding of a path segment.
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[at], hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// Decoding of a query's key or value, where `+` is a blank.
fn form(text: &str) -> String {
    decode(&text.replace('+', " ")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(path: &str) -> Info {
        Info::parse(path).unwrap_or_else(|| panic!("{path} names a resource"))
    }

    #[test]
    fn paths_name_collections_objects_and_what_is_below() {
        let pods = parsed("/api/v1/namespaces/shop/pods");
        assert_eq!((pods.namespace.as_deref(), pods.plural.as_str(), pods.name.as_str()), (Some("shop"), "pods", ""));
        let log = parsed("/api/v1/namespaces/shop/pods/a/log");
        assert_eq!((log.name.as_str(), log.subresource.as_deref()), ("a", Some("log")));
        let namespace = parsed("/api/v1/namespaces/shop/finalize");
        assert_eq!((namespace.plural.as_str(), namespace.name.as_str()), ("namespaces", "shop"));
        assert_eq!((namespace.namespace, namespace.subresource.as_deref()), (None, Some("finalize")));
        let role = parsed("/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode");
        assert_eq!(role.name, "system:node");
        assert!(parsed("/api/v1/namespaces/shop/pods/a/log/b").is_deeper && !log.is_deeper);
        assert!(Info::parse("/apis/apps/v1").is_none());
        assert!(Info::parse("/healthz").is_none());
    }

    #[test]
    fn queries_are_decoded() {
        let query =
            Query::parse(Some("labelSelector=app%3Dweb%2Ctier+in+%28a%29&watch=maybe&limit=x&a=1&a=2&b=-1&c=FALSE"));
        assert_eq!(query.text("labelSelector"), "app=web,tier in (a)");
        assert!(query.is_true("watch") && !query.is_true("c") && !query.is_true("d"));
        let message = r#"strconv.ParseInt: parsing "x": invalid syntax"#.to_owned();
        assert_eq!(query.number("limit").map_err(|rejected| rejected.message), Err(message));
        assert_eq!(
            (query.text("a"), query.all("a"), query.number("b")),
            ("1", &["1".to_owned(), "2".to_owned()][..], Ok(Some(0)))
        );
    }
}
