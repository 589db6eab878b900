//! Who a caller is: by client certificate, by bearer token, or nobody.

use super::Authentication;
use super::Error;
use super::impersonate::impersonate;
use crate::pki::Pki;
use crate::pki::certificate::Subject;
use crate::pki::token::{Claims, TokenError};
use crate::registry::{AUTHENTICATED, Call, Registry, User};
use api::object::edit;
use api::rejected::Reason;
use api::resource::{NODES, PODS, SECRETS, SERVICE_ACCOUNTS};
use api::{Rejected, Resource, time};
use base64::Engine;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::Arc;

const BOOTSTRAPPERS: &str = "system:bootstrappers";
const BOOTSTRAP_KIND: &str = "bootstrap.kubernetes.io/token";

/// Whom a token was recognized as, and for which of the audiences that were asked about.
pub(super) struct Recognized {
    pub(super) user: User,
    pub(super) audiences: Vec<String>,
}

pub(super) struct Authenticator {
    settings: Authentication,
    tokens: HashMap<String, User>,
    pki: Arc<Pki>,
}

impl Authenticator {
    pub(super) fn new(settings: Authentication, pki: Arc<Pki>) -> Result<Authenticator, Error> {
        let tokens = parse_tokens(settings.token_file.as_deref().unwrap_or_default())?;
        Ok(Authenticator { settings, tokens, pki })
    }

    /// `peer`: of a verified client certificate.
    pub(super) async fn user(
        &self,
        registry: &Registry,
        peer: Option<&Subject>,
        headers: &HeaderMap,
    ) -> Result<User, Rejected> {
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
        let user = match (peer, bearer) {
            (Some(peer), _) => known(User { name: peer.name.clone(), groups: peer.groups.clone(), ..User::default() }),
            (None, Some(token)) => {
                let own = [self.settings.issuer.clone()];
                self.token(registry, token, &own).await.map_err(|_| unauthorized())?.user
            }
            (None, None) if self.settings.anonymous => User::anonymous(),
            (None, None) => return Err(unauthorized()),
        };
        impersonate(registry, user, headers)
    }

    /// The user that a bearer token stands for, if it is for one of the audiences. The error is what a review says
    /// beside that the token is invalid; often nothing.
    pub(super) async fn token(
        &self,
        registry: &Registry,
        token: &str,
        audiences: &[String],
    ) -> Result<Recognized, String> {
        // Tokens that name no audience are for this server.
        let is_for_us = audiences.contains(&self.settings.issuer);
        let own = |user: User| Recognized { user, audiences: vec![self.settings.issuer.clone()] };
        if let Some(user) = self.tokens.get(token) {
            return if is_for_us { Ok(own(known(user.clone()))) } else { Err(String::new()) };
        }
        if let Some((id, secret)) = bootstrap_parts(token) {
            let user = self.bootstrap(registry, id, secret).await.filter(|_| is_for_us);
            return user.map(own).ok_or_else(String::new);
        }
        let claims = self.pki.tokens().verify(token, registry.clock().now()).map_err(|why| match why {
            TokenError::Foreign => String::new(),
            TokenError::Signature => "go-jose/go-jose: error in cryptographic primitive".to_owned(),
            TokenError::Expired => "service account token has expired".to_owned(),
            TokenError::Early => "service account token is not valid yet".to_owned(),
        })?;
        if claims.iss != self.settings.issuer {
            return Err(String::new());
        }
        let meant: Vec<String> = audiences.iter().filter(|wanted| claims.aud.contains(wanted)).cloned().collect();
        if meant.is_empty() {
            let (have, want) = (go_list(&claims.aud), go_list(audiences));
            return Err(format!("token audiences {have} is invalid for the target audiences {want}"));
        }
        let user = account(registry, &claims).await?;
        Ok(Recognized { user, audiences: meant })
    }

    async fn bootstrap(&self, registry: &Registry, id: &str, secret: &str) -> Option<User> {
        let name = format!("bootstrap-token-{id}");
        let kind = registry.find(&api::resource::SECRETS)?;
        let admin = User::system_admin();
        let call = Call { namespace: Some("kube-system"), name: &name, ..Call::new(&admin, &kind) };
        let tree = registry.get(call).await.ok()?.tree();
        if edit::text(&tree, &["type"]) != BOOTSTRAP_KIND {
            return None;
        }
        let field = |key: &str| {
            let bytes = base64::engine::general_purpose::STANDARD.decode(edit::text(&tree, &["data", key])).ok()?;
            String::from_utf8(bytes).ok()
        };
        // Compared by digest, so that the time it takes says nothing of how much was right.
        if Sha256::digest(field("token-secret")?) != Sha256::digest(secret) {
            return None;
        }
        let expires = field("expiration").and_then(|at| time::parse(&at));
        let over = expires.is_some_and(|at| at <= registry.clock().now());
        if over || field("usage-bootstrap-authentication").as_deref() != Some("true") {
            return None;
        }
        let mut groups = vec![BOOTSTRAPPERS.to_owned()];
        let extra = field("auth-extra-groups").unwrap_or_default();
        groups.extend(extra.split(',').filter(|group| group.starts_with("system:bootstrappers:")).map(str::to_owned));
        Some(known(User { name: format!("system:bootstrap:{id}"), groups, ..User::default() }))
    }
}

/// Who a token speaks for, while all that it is bound to is there.
async fn account(registry: &Registry, claims: &Claims) -> Result<User, String> {
    let bound = &claims.kubernetes;
    let (namespace, name) = (&bound.namespace, &bound.serviceaccount.name);
    let uid = uid_of(registry, &SERVICE_ACCOUNTS, Some(namespace), name).await;
    let uid = uid.ok_or_else(|| format!("serviceaccounts {name:?} not found"))?;
    if uid != bound.serviceaccount.uid {
        return Err(format!("service account UID ({uid}) does not match claim ({})", bound.serviceaccount.uid));
    }
    let objects = [
        ("pod", &PODS, Some(namespace.as_str()), &bound.pod),
        ("secret", &SECRETS, Some(namespace.as_str()), &bound.secret),
    ];
    // The node of a pod is told, and not required: the pod goes with it.
    let node = ("node", &NODES, None, &bound.node);
    let node = Some(node).filter(|_| bound.pod.is_none() && bound.secret.is_none());
    for (what, resource, namespace, object) in objects.into_iter().chain(node) {
        let Some(object) = object else { continue };
        match uid_of(registry, resource, namespace, &object.name).await {
            None => return Err("service account token has been invalidated".to_owned()),
            Some(uid) if uid != object.uid => {
                let claim = &object.uid;
                return Err(format!("{what} UID ({uid}) does not match service account {what} ref claim ({claim})"));
            }
            Some(_) => {}
        }
    }
    let mut user = User::service_account(namespace, name);
    user.uid = uid;
    let mut tell = |key: &str, value: String| {
        if !value.is_empty() {
            user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
        }
    };
    let id = if claims.jti.is_empty() { String::new() } else { format!("JTI={}", claims.jti) };
    tell("credential-id", id);
    for (what, object) in [("pod", &bound.pod), ("node", &bound.node)] {
        if let Some(object) = object {
            tell(&format!("{what}-name"), object.name.clone());
            tell(&format!("{what}-uid"), object.uid.clone());
        }
    }
    Ok(user)
}

/// The uid of an object as this member knows it; where it knows none, as the store has it.
async fn uid_of(registry: &Registry, resource: &Resource, namespace: Option<&str>, name: &str) -> Option<String> {
    let kind = registry.find(resource)?;
    let admin = User::system_admin();
    let call = Call { namespace, name, ..Call::new(&admin, &kind) };
    let object = match registry.get_at_least(call, 0).await {
        Ok(object) => object,
        Err(_) => registry.get(call).await.ok()?,
    };
    Some(object.uid().to_owned())
}

/// `["a" "b"]`, as Go prints it.
fn go_list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}

fn known(mut user: User) -> User {
    if !user.is_in(AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// `abcdef.0123456789abcdef`.
fn bootstrap_parts(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret)).then_some((id, secret))
}

pub(super) fn unauthorized() -> Rejected {
    Rejected::new(Reason::Unauthorized, "Unauthorized")
}

/// `token,user,uid,"group,group"`.
fn parse_tokens(text: &str) -> Result<HashMap<String, User>, Error> {
    let mut tokens = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut cells = line.splitn(4, ',').map(|cell| cell.trim().trim_matches('"'));
        let (token, name, uid) = (cells.next(), cells.next(), cells.next());
        let (Some(token), Some(name), Some(uid)) = (token, name, uid) else {
            return Err(Error::TokenFile { line: index + 1, why: "it needs at least token, user and uid" });
        };
        if token.is_empty() || name.is_empty() {
            return Err(Error::TokenFile { line: index + 1, why: "token and user may not be empty" });
        }
        let groups = cells.next().unwrap_or_default().split(',').map(str::trim).filter(|group| !group.is_empty());
        let groups = groups.map(str::to_owned).collect();
        let user = User { name: name.to_owned(), uid: uid.to_owned(), groups, ..User::default() };
        tokens.insert(token.to_owned(), user);
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_file_is_csv_with_quoted_groups() {
        let tokens =
            parse_tokens("admin-token,admin,1,\"system:masters,a\"\n# none\n\nbob,bob,2\n").expect("well formed");
        assert_eq!(tokens["admin-token"].groups, ["system:masters", "a"]);
        assert!(tokens["bob"].groups.is_empty());
        assert!(parse_tokens("only-a-token").is_err());
    }

    #[test]
    fn bootstrap_tokens_have_their_form() {
        assert!(bootstrap_parts("abcdef.0123456789abcdef").is_some());
        assert!(bootstrap_parts("abcdeF.0123456789abcdef").is_none());
        assert!(bootstrap_parts("eyJhbGciOi.x.y").is_none());
    }
}
