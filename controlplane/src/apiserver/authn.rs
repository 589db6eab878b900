//! Who a caller is: by client certificate, by bearer token, or nobody.

use super::Authentication;
use super::Error;
use crate::pki::Pki;
use crate::pki::certificate::Subject;
use crate::pki::token::TokenError;
use crate::registry::{AUTHENTICATED, Attributes, Call, Registry, User};
use api::object::edit;
use api::rejected::Reason;
use api::{Rejected, time};
use base64::Engine;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::Arc;

const BOOTSTRAPPERS: &str = "system:bootstrappers";
const BOOTSTRAP_KIND: &str = "bootstrap.kubernetes.io/token";

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
            (None, Some(token)) => self.token(registry, token).await.ok_or_else(unauthorized)?,
            (None, None) if self.settings.anonymous => User::anonymous(),
            (None, None) => return Err(unauthorized()),
        };
        impersonate(registry, user, headers)
    }

    /// The user that a bearer token stands for.
    pub(super) async fn token(&self, registry: &Registry, token: &str) -> Option<User> {
        if let Some(user) = self.tokens.get(token) {
            return Some(known(user.clone()));
        }
        if let Some((id, secret)) = bootstrap_parts(token) {
            return self.bootstrap(registry, id, secret).await;
        }
        match self.pki.tokens().verify(token, registry.clock().now()) {
            Ok(claims) => {
                let bound = &claims.kubernetes;
                let account =
                    live(registry, &api::resource::SERVICE_ACCOUNTS, &bound.namespace, &bound.serviceaccount).await?;
                if let Some(pod) = &bound.pod {
                    live(registry, &api::resource::PODS, &bound.namespace, pod).await?;
                }
                let mut user = User::service_account(&bound.namespace, &bound.serviceaccount.name);
                user.uid = account;
                if let Some(pod) = &bound.pod {
                    let extra = |value: &str| vec![value.to_owned()];
                    user.extra.insert("authentication.kubernetes.io/pod-name".to_owned(), extra(&pod.name));
                    user.extra.insert("authentication.kubernetes.io/pod-uid".to_owned(), extra(&pod.uid));
                }
                Some(user)
            }
            Err(TokenError::Foreign | TokenError::Signature | TokenError::Expired | TokenError::Early) => None,
        }
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

/// The uid of an object that a token is bound to, while it is the same one.
async fn live(
    registry: &Registry,
    resource: &api::Resource,
    namespace: &str,
    bound: &crate::pki::token::BoundObject,
) -> Option<String> {
    let kind = registry.find(resource)?;
    let admin = User::system_admin();
    let call = Call { namespace: Some(namespace), name: &bound.name, ..Call::new(&admin, &kind) };
    let uid = registry.get(call).await.ok()?.uid().to_owned();
    (bound.uid.is_empty() || bound.uid == uid).then_some(uid)
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

/// `Impersonate-User` and its companions.
fn impersonate(registry: &Registry, user: User, headers: &HeaderMap) -> Result<User, Rejected> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let groups: Vec<String> = headers
        .get_all("impersonate-group")
        .iter()
        .filter_map(|value| value.to_str().ok().map(str::to_owned))
        .collect();
    let Some(name) = text("impersonate-user") else {
        if groups.is_empty() {
            return Ok(user);
        }
        return Err(Rejected::bad_request("requested [{Group }] without impersonating a user"));
    };
    let allowed = |resource: &'static str, group: &'static str, namespace: &str, name: &str| {
        let wanted = Attributes { verb: "impersonate", group, resource, namespace, name, ..Attributes::default() };
        registry.check(&user, &wanted)
    };
    let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let mut becomes = match account {
        Some((namespace, account)) => {
            allowed("serviceaccounts", "", namespace, account)?;
            User::service_account(namespace, account)
        }
        None => {
            allowed("users", "", "", &name)?;
            User { name: name.clone(), ..User::default() }
        }
    };
    for group in &groups {
        allowed("groups", "", "", group)?;
    }
    if !groups.is_empty() {
        becomes.groups = groups;
    }
    if let Some(uid) = text("impersonate-uid") {
        allowed("uids", "authentication.k8s.io", "", &uid)?;
        becomes.uid = uid;
    }
    Ok(if name == "system:anonymous" { becomes } else { known(becomes) })
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
