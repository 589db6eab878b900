//! A join token as an operator hands it over: a bootstrap token with the pin of the cluster's CA.

use super::Error;

/// `ID.SECRET::sha256:HEX`, the bootstrap token in kubeadm's form.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    id: String,
    secret: String,
    pin: String,
}

// === impl Token ===

impl Token {
    pub fn parse(text: &str) -> Result<Token, Error> {
        let (bearer, pin) = text.trim().split_once("::sha256:").ok_or(Error::Token)?;
        let (id, secret) = bearer.split_once('.').ok_or(Error::Token)?;
        let is_plain = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
        };
        let is_hex = pin.len() == 64 && pin.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_plain(id, 6) || !is_plain(secret, 16) || !is_hex {
            return Err(Error::Token);
        }
        Ok(Token { id: id.to_owned(), secret: secret.to_owned(), pin: pin.to_ascii_lowercase() })
    }

    /// What the API takes as a bearer token.
    pub(super) fn bearer(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }

    pub(super) fn pins(&self, spki_sha256: &str) -> bool {
        self.pin == spki_sha256
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({}.…)", self.id)
    }
}
