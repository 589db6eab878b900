//! Continue tokens: where the next page of a list starts, and which state it shows.
//!
//! Base64url of `{"v":"meta.k8s.io/v1","rv":N,"start":"key\0"}`, as kube-apiserver writes it; clients treat it as
//! opaque, but one test reads it.

use api::Rejected;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

const VERSION: &str = "meta.k8s.io/v1";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("strings and a number always encode"))
    }

    pub(super) fn read(text: &str) -> Result<Token, Rejected> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        let token: Option<Token> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let token = token.filter(|token| token.v == VERSION && token.rv != 0 && !token.start.is_empty());
        token.ok_or_else(|| Rejected::bad_request("continue key is not valid: it was not written by this server"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back() {
        let token = Token::after("default/a", 7);
        assert_eq!(Token::read(&token.write()), Ok(token));
        assert!(Token::read("bm9uc2Vuc2U").is_err());
        assert!(Token::read("%%%").is_err());
    }
}
