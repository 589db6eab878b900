//! Questions about identity: TokenReview, and tokens for service accounts.

use super::Server;
use super::verbs::Asked;
use crate::pki::token::{Bound, BoundObject, Claims};
use api::object::edit;
use api::{Rejected, Tree, time};
use serde_json::json;

/// How long a token lives at least and at most, seconds; and without a wish.
const LIFE_MIN: i64 = 600;
const LIFE_MAX: i64 = 1 << 32;
const LIFE_DEFAULT: i64 = 3600;

impl Server {
    /// The answer, if the request is such a question.
    pub(super) async fn answer_token(&self, asked: &Asked, body: &Tree) -> Result<Option<Tree>, Rejected> {
        match (asked.kind.kind.as_str(), asked.info.subresource.as_deref()) {
            ("TokenReview", None) => {
                let mut answer = self.review_token(body).await;
                edit::set(&mut answer, &["apiVersion"], asked.kind.api_version());
                Ok(Some(answer))
            }
            ("ServiceAccount", Some("token")) => self.issue_token(asked, body).await.map(Some),
            _ => Ok(None),
        }
    }

    async fn review_token(&self, body: &Tree) -> Tree {
        let token = edit::text(body, &["spec", "token"]);
        let status = match self.authenticator.token(&self.registry, token).await {
            Some(user) => json!({
                "authenticated": true,
                "user": {"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra},
                "audiences": [self.issuer],
            }),
            None => json!({ "user": {}, "error": "the token is not known here, or no longer valid" }),
        };
        let mut answer = body.clone();
        edit::set(&mut answer, &["kind"], "TokenReview");
        edit::set(&mut answer, &["status"], status);
        answer
    }

    async fn issue_token(&self, asked: &Asked, body: &Tree) -> Result<Tree, Rejected> {
        self.registry.restrict_token(&asked.call(), body)?;
        let account = self.registry.get(crate::registry::Call { subresource: None, ..asked.call() }).await?;
        let now = self.clock.now().as_second();
        let wanted = edit::integer(body, &["spec", "expirationSeconds"]).unwrap_or(LIFE_DEFAULT);
        let life = wanted.clamp(LIFE_MIN, LIFE_MAX);
        let audiences: Vec<String> =
            edit::list(body, &["spec", "audiences"]).iter().filter_map(|one| one.as_str().map(str::to_owned)).collect();
        let audiences = if audiences.is_empty() { vec![self.issuer.clone()] } else { audiences };
        let namespace = account.namespace().to_owned();
        let object = |name: &str, uid: &str| BoundObject { name: name.to_owned(), uid: uid.to_owned() };
        let bound = edit::at(body, &["spec", "boundObjectRef"]);
        let bound = bound
            .map(|one| (edit::text(one, &["kind"]), object(edit::text(one, &["name"]), edit::text(one, &["uid"]))));
        let of = |kind: &str| bound.as_ref().filter(|(known, _)| *known == kind).map(|(_, object)| object.clone());
        let claims = Claims {
            aud: audiences.clone(),
            exp: now + life,
            iat: now,
            iss: self.issuer.clone(),
            jti: uuid::Uuid::new_v4().to_string(),
            kubernetes: Bound {
                namespace: namespace.clone(),
                node: of("Node"),
                pod: of("Pod"),
                secret: of("Secret"),
                serviceaccount: object(account.name(), account.uid()),
            },
            nbf: now,
            sub: format!("system:serviceaccount:{namespace}:{}", account.name()),
        };
        let token = self.pki.tokens().sign(&claims);
        let expires = time::Timestamp::from_second(now + life).map(time::seconds).unwrap_or_default();
        Ok(json!({
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": account.name(), "namespace": namespace, "creationTimestamp": time::seconds(self.clock.now())},
            "spec": {"audiences": audiences, "expirationSeconds": life, "boundObjectRef": edit::at(body, &["spec", "boundObjectRef"]).cloned()},
            "status": {"token": token, "expirationTimestamp": expires},
        }))
    }
}
