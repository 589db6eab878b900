//! The headers of a request that goes on to another API server: who asks is told in those of a front proxy, and what a
//! client says of that himself goes no further. Pure.

use crate::registry::User;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::fmt::Write;

/// Headers that concern one connection alone.
const OF_CONNECTION: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
];
const EXTRA: &str = "x-remote-extra-";

/// The headers that go on. With `protocol`, the connection is to become one of that protocol.
pub(super) fn forwarded(headers: &HeaderMap, user: &User, protocol: Option<&HeaderValue>) -> HeaderMap {
    let mut forwarded = of_message(headers);
    let own: Vec<HeaderName> = forwarded.keys().filter(|name| is_identity(name.as_str())).cloned().collect();
    for name in own {
        forwarded.remove(name);
    }
    forwarded.remove(header::HOST);
    if let Some(protocol) = protocol {
        forwarded.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        forwarded.insert(header::UPGRADE, protocol.clone());
    }
    identify(&mut forwarded, user);
    forwarded
}

/// What is not about the connection that a message came on.
pub(super) fn of_message(headers: &HeaderMap) -> HeaderMap {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<String> =
        named.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect();
    let mut kept = headers.clone();
    for name in OF_CONNECTION.iter().copied().chain(["upgrade"]).chain(named.iter().map(String::as_str)) {
        kept.remove(name);
    }
    kept
}

/// Says whom a request is for.
pub(super) fn identify(headers: &mut HeaderMap, user: &User) {
    let mut put = |name: &str, value: &str| {
        // What cannot be said in a header was not said in one either.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    };
    put("x-remote-user", &user.name);
    if !user.uid.is_empty() {
        put("x-remote-uid", &user.uid);
    }
    for group in &user.groups {
        put("x-remote-group", group);
    }
    for (key, values) in &user.extra {
        for value in values {
            put(&format!("{EXTRA}{}", escaped(key)), value);
        }
    }
}

fn is_identity(name: &str) -> bool {
    matches!(name, "authorization" | "x-remote-user" | "x-remote-uid" | "x-remote-group")
        || name.starts_with(EXTRA)
        || name.starts_with("impersonate-")
}

/// A key as part of a header's name: what may not be in one, and `%`, as a URL has it.
fn escaped(key: &str) -> String {
    let mut out = String::new();
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            out.push(char::from(byte.to_ascii_lowercase()));
        } else {
            let _ = write!(out, "%{byte:02x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let each = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        all.iter().map(each).collect()
    }

    fn ann() -> User {
        let mut user = User::new("ann", &["a", "b"]);
        user.extra.insert("example.com/Scope".to_owned(), vec!["x".to_owned(), "y".to_owned()]);
        user
    }

    #[test]
    fn a_client_cannot_say_who_it_is() {
        let sent = headers(&[
            ("authorization", "Bearer t"),
            ("x-remote-user", "root"),
            ("x-remote-group", "system:masters"),
            ("x-remote-extra-acting", "root"),
            ("x-remote-uid", "0"),
            ("impersonate-user", "root"),
            ("impersonate-extra-a", "b"),
            ("host", "here"),
            ("accept", "application/json"),
            ("connection", "close, x-secret"),
            ("x-secret", "s"),
            ("te", "trailers"),
        ]);
        let told = forwarded(&sent, &ann(), None);
        let of = |name: &str| -> Vec<&str> { told.get_all(name).iter().map(|value| value.to_str().unwrap()).collect() };
        assert_eq!(of("x-remote-user"), ["ann"]);
        assert_eq!(of("x-remote-group"), ["a", "b"]);
        assert_eq!(of("x-remote-extra-example.com%2fscope"), ["x", "y"]);
        assert_eq!(of("accept"), ["application/json"]);
        assert_eq!(told.keys_len(), 4, "{told:?}");
    }

    #[test]
    fn an_upgrade_goes_on_as_one() {
        let sent =
            headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "k")]);
        let told = forwarded(&sent, &User::new("ann", &[]), sent.get("upgrade"));
        assert_eq!(
            (&told["connection"], &told["upgrade"], &told["sec-websocket-key"]),
            (
                &HeaderValue::from_static("Upgrade"),
                &HeaderValue::from_static("websocket"),
                &HeaderValue::from_static("k"),
            )
        );
        assert!(forwarded(&sent, &User::default(), None).get("upgrade").is_none());
    }
}
