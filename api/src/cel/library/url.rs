//! URLs as Go's `net/url` takes them: with a scheme, or as an absolute path.

use super::{Cost, Row};
use crate::cel::run::Work;
use crate::cel::value::{Failure, Key, Map, Outcome, Text, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

pub(super) const TABLE: &[Row] = &[
    ("url(<string>) <URL>", Cost::Read, url),
    ("isURL(<string>) <bool>", Cost::Read, is_url),
    ("<URL>.getScheme() <string>", Cost::One, scheme),
    ("<URL>.getHost() <string>", Cost::One, host),
    ("<URL>.getHostname() <string>", Cost::One, hostname),
    ("<URL>.getPort() <string>", Cost::One, port),
    ("<URL>.getEscapedPath() <string>", Cost::One, path),
    ("<URL>.getQuery() <map<string, list<string>>>", Cost::One, query),
];

// === impl Url ===

impl Url {
    pub(super) fn parse(text: &str) -> Result<Url, String> {
        Url::read(text).map_err(|why| format!("parse {text:?}: {why}"))
    }

    fn read(text: &str) -> Result<Url, String> {
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        if text.is_empty() {
            return Err("empty url".to_owned());
        }
        let (scheme, after) = split_scheme(text)?;
        let (before_fragment, _) = after.split_once('#').unwrap_or((after, ""));
        let (before, query) = before_fragment.split_once('?').unwrap_or((before_fragment, ""));
        let mut url = Url {
            text: text.to_owned(),
            scheme: scheme.to_ascii_lowercase(),
            host: String::new(),
            path: String::new(),
            query: query.to_owned(),
        };
        if !before.starts_with('/') {
            // `mailto:someone` has no parts.
            return if scheme.is_empty() { Err("invalid URI for request".to_owned()) } else { Ok(url) };
        }
        let mut path = before;
        if let Some(rest) = before.strip_prefix("//").filter(|_| !scheme.is_empty()) {
            let end = rest.find('/').unwrap_or(rest.len());
            url.host = authority(&rest[..end])?;
            path = &rest[end..];
        }
        unescaped(path, false)?;
        url.path = escaped(path);
        Ok(url)
    }

    fn hostname(&self) -> &str {
        let host = split_port(&self.host).0;
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn split_scheme(text: &str) -> Result<(&str, &str), String> {
    for (at, letter) in text.char_indices() {
        match letter {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => return Ok((&text[..at], &text[at + 1..])),
            _ => return Ok(("", text)),
        }
    }
    Ok(("", text))
}

/// The host with its port; who the user is does not matter.
fn authority(text: &str) -> Result<String, String> {
    let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let is_good = |port: &str| {
        port.is_empty()
            || port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
    };
    if host.starts_with('[') {
        let end = host.rfind(']').ok_or_else(|| "missing ']' in host".to_owned())?;
        let port = &host[end + 1..];
        if !is_good(port) {
            return Err(format!("invalid port {port:?} after host"));
        }
    } else if let Some(at) = host.rfind(':')
        && !is_good(&host[at..])
    {
        return Err(format!("invalid port {:?} after host", &host[at..]));
    } else if let Some(wrong) =
        host.chars().find(|letter| matches!(letter, ' ' | '<' | '>' | '"' | '^' | '`' | '{' | '|' | '}' | '\\'))
    {
        return Err(format!("invalid character {wrong:?} in host name").replace('\'', "\""));
    }
    unescaped(host, false)
}

/// Percent signs undone; in a query, plus signs too.
fn unescaped(text: &str, is_query: bool) -> Result<String, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let digits = text.get(at + 1..at + 3).filter(|all| all.bytes().all(|one| one.is_ascii_hexdigit()));
                let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
                    let shown: String = text[at..].chars().take(3).collect();
                    return Err(format!("invalid URL escape {shown:?}"));
                };
                out.push(byte);
                at += 3;
            }
            b'+' if is_query => {
                out.push(b' ');
                at += 1;
            }
            byte => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn escaped(path: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@%!'()*[]".contains(&byte);
    path.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) && !name.ends_with(':') => (name, port),
        _ => (host, ""),
    }
}

fn parsed(work: &mut Work<'_>, args: &[Value<'_>]) -> Result<Result<Url, String>, Failure> {
    let [Value::String(text)] = args else { return Err(Failure::no_overload()) };
    work.read(text.len() * 2)?;
    Ok(Url::parse(text))
}

fn url<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let wrong = |why| Failure::of(format!("URL parse error during conversion from string: {why}"));
    Ok(Value::Url(Rc::new(parsed(work, args)?.map_err(wrong)?)))
}

fn is_url<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    Ok(Value::Bool(parsed(work, args)?.is_ok()))
}

fn of<'t>(work: &mut Work<'_>, args: &[Value<'t>], part: fn(&Url) -> &str) -> Outcome<'t> {
    let [Value::Url(url)] = args else { return Err(Failure::no_overload()) };
    let part = part(url);
    work.read(part.len())?;
    Ok(Value::text(part))
}

fn scheme<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    of(work, args, |url| &url.scheme)
}

fn host<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    of(work, args, |url| &url.host)
}

fn hostname<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    of(work, args, Url::hostname)
}

fn port<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    of(work, args, |url| split_port(&url.host).1)
}

fn path<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    of(work, args, |url| &url.path)
}

/// Pairs that are not well formed are left out.
fn query<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    let [Value::Url(url)] = args else { return Err(Failure::no_overload()) };
    work.read(url.query.len() * 10)?;
    let mut all: BTreeMap<String, Vec<Value<'t>>> = BTreeMap::new();
    for pair in url.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let (Ok(key), Ok(value)) = (unescaped(key, true), unescaped(value, true)) {
            all.entry(key).or_default().push(Value::text(value));
        }
    }
    let entry = |(key, values): (String, Vec<Value<'t>>)| {
        let key = Text::Made(key.into());
        (Key::Text(key.clone()), (Value::String(key), Value::list(values)))
    };
    Ok(Value::Map(Map::Made(Rc::new(all.into_iter().map(entry).collect()))))
}
