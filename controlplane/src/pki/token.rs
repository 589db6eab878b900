//! Service-account tokens: JSON web tokens signed with ES256, as `kubernetes.io` bound tokens look.

use super::{Error, files};
use api::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// Longer than any token that we sign; refuses to hash what a stranger sends.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// The key that signs this cluster's service-account tokens.
pub struct TokenKey {
    pair: EcdsaKeyPair,
    id: String,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub aud: Vec<String>,
    /// Seconds since 1970, like `iat` and `nbf`.
    pub exp: i64,
    pub iat: i64,
    pub iss: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    #[serde(rename = "kubernetes.io", default)]
    pub kubernetes: Bound,
    pub nbf: i64,
    pub sub: String,
}

/// The objects that a token is bound to: once one of them is gone, so is the token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    pub namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<BoundObject>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<BoundObject>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<BoundObject>,
    pub serviceaccount: BoundObject,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundObject {
    pub name: String,
    #[serde(default)]
    pub uid: String,
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token of ours at all: another way to authenticate may know it.
    #[error("the token is not a JSON web token of this cluster")]
    Foreign,
    #[error("the token's signature does not match")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    Early,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
}

#[derive(Serialize)]
struct Jwk<'a> {
    r#use: &'a str,
    kty: &'a str,
    kid: &'a str,
    crv: &'a str,
    alg: &'a str,
    x: String,
    y: String,
}

// === impl TokenKey ===

impl TokenKey {
    pub(super) fn open_or_create(path: &Path) -> Result<TokenKey, Error> {
        let malformed =
            |why: String| Error::Malformed { what: "service-account signing key", path: path.to_owned(), why };
        let pem = if let Some(pem) = files::read(path)? {
            pem
        } else {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|why| malformed(why.to_string()))?;
            let pem = key.serialize_pem();
            files::write_private(path, pem.as_bytes())?;
            pem
        };
        TokenKey::from_pem(&pem).map_err(malformed)
    }

    fn from_pem(pem: &str) -> Result<TokenKey, String> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|why| why.to_string())?;
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der(), &random)
            .map_err(|why| why.to_string())?;
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(pair.public_key().as_ref()));
        Ok(TokenKey { pair, id })
    }

    #[must_use]
    pub fn sign(&self, claims: &Claims) -> String {
        let header = Header { alg: "ES256".to_owned(), kid: self.id.clone() };
        let header = serde_json::to_vec(&header).expect("strings encode");
        let claims = serde_json::to_vec(claims).expect("strings and numbers encode");
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature =
            self.pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("the system gives random numbers");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Checks signature and time. Audience, issuer and the bound objects are the caller's to check.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Foreign);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Foreign)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Foreign)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Foreign);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Foreign)?;
        if header.alg != "ES256" || (!header.kid.is_empty() && header.kid != self.id) {
            return Err(TokenError::Foreign);
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key())
            .verify(signed.as_bytes(), &decode(signature)?)
            .map_err(|_| TokenError::Signature)?;
        let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| TokenError::Foreign)?;
        match now.as_second() {
            now if now >= claims.exp => Err(TokenError::Expired),
            now if now < claims.nbf => Err(TokenError::Early),
            _ => Ok(claims),
        }
    }

    /// The public key as a JSON web key set: what `/openid/v1/jwks` answers.
    #[must_use]
    pub fn jwks(&self) -> Vec<u8> {
        // An uncompressed point: 0x04, 32 bytes x, 32 bytes y.
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let key = Jwk { r#use: "sig", kty: "EC", kid: &self.id, crv: "P-256", alg: "ES256", x, y };
        let set = std::collections::BTreeMap::from([("keys", [key])]);
        serde_json::to_vec(&set).expect("strings encode")
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKey").field("id", &self.id).finish_non_exhaustive()
    }
}

// === impl Claims ===

impl Claims {
    /// The user that the token speaks for: `system:serviceaccount:NAMESPACE:NAME`.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.sub
    }
}
