//! Continue tokens: where the next page of a list starts, and which state it shows.
//!
//! Base64url of `{"v":"meta.k8s.io/v1","rv":N,"start":"key\0"}`, as kube-apiserver writes it; clients treat it as
//! opaque, but one test reads it. `start` is relative to the list's own prefix, so that a token leads nowhere else.

use api::Rejected;
use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use serde::{Deserialize, Serialize};

const VERSION: &str = "meta.k8s.io/v1";
/// Go's `RawURLEncoding`, which does not look at what is left over in the last byte.
const BASE64: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Token {
    pub(super) v: String,
    /// The revision that all pages show; -1: whatever is newest.
    pub(super) rv: i64,
    /// The first place of the page.
    pub(super) start: String,
}

// === impl Token ===

impl Token {
    /// The page after the object at `last`.
    pub(super) fn after(last: &str, rv: i64) -> Token {
        Token { v: VERSION.to_owned(), rv, start: format!("{last}\0") }
    }

    pub(super) fn write(&self) -> String {
        BASE64.encode(serde_json::to_vec(self).expect("strings and a number always encode"))
    }

    /// The refusals are in upstream's words, as far as they are not those of Go's parsers.
    pub(super) fn read(text: &str) -> Result<Token, Rejected> {
        let invalid =
            |why: String| Rejected::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes = BASE64.decode(text).map_err(|why| match why {
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => {
                invalid(format!("illegal base64 data at input byte {at}"))
            }
            _ => invalid(format!("illegal base64 data at input byte {}", text.len())),
        })?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|why| invalid(go_error(&bytes, &why)))?;
        if token.v != VERSION {
            return Err(invalid(format!("server does not recognize this encoded version {:?}", token.v)));
        }
        if token.rv == 0 {
            return Err(invalid(format!("incorrect encoded start resourceVersion (version {VERSION})")));
        }
        if token.start.is_empty() {
            return Err(invalid(format!("encoded start key empty (version {VERSION})")));
        }
        let steps = token.start.strip_prefix('/').unwrap_or(&token.start).split('/');
        if steps.clone().any(|step| matches!(step, "" | "." | "..")) {
            return Err(invalid(token.start));
        }
        Ok(token)
    }
}

/// What Go's `encoding/json` says of bytes that do not even begin as JSON; serde's words for the rest.
fn go_error(bytes: &[u8], why: &serde_json::Error) -> String {
    match bytes.iter().copied().find(|byte| !byte.is_ascii_whitespace()) {
        None => "unexpected end of JSON input".to_owned(),
        Some(b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => why.to_string(),
        Some(byte) => {
            let shown = match char::from(byte) {
                '\'' => "\\'".to_owned(),
                char if char.is_control() => format!("\\u{byte:04x}"),
                char => char.to_string(),
            };
            format!("invalid character '{shown}' looking for beginning of value")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back() {
        let token = Token::after("default/a", 7);
        assert_eq!(Token::read(&token.write()), Ok(token));
        let why = |text: &str| Token::read(text).map_err(|rejected| rejected.message).expect_err("no token");
        let told = |rest: &str| format!("invalid continue token: continue key is not valid: {rest}");
        assert_eq!(why("garbage"), told(r"invalid character '\u0081' looking for beginning of value"));
        assert_eq!(why("%%%"), told("illegal base64 data at input byte 0"));
        assert_eq!(why("e30"), told("server does not recognize this encoded version \"\""));
        assert_eq!(
            why(&Token::after("a", 0).write()),
            told("incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
        );
        assert_eq!(why(&Token::after("../secrets/a", 1).write()), told("../secrets/a\0"));
    }
}
