//! Questions about identity: TokenReview, and tokens for service accounts.

use super::Server;
use super::verbs::Asked;
use crate::pki::token::{Bound, BoundObject, Claims};
use crate::registry::{Call, User};
use api::object::edit;
use api::rejected::Cause;
use api::resource::{NODES, PODS, SECRETS};
use api::{Object, Rejected, Resource, Tree, time};
use serde_json::json;
use std::sync::Arc;

const GROUP: &str = "authentication.k8s.io";
/// How long a token lives at least and at most, seconds; and without a wish.
const LIFE_MIN: i64 = 600;
const LIFE_MAX: i64 = 1 << 32;
const LIFE_DEFAULT: i64 = 3600;

impl Server {
    /// The answer, if the request is such a question.
    pub(super) async fn answer_token(&self, asked: &Asked, body: &Tree) -> Result<Option<Arc<Object>>, Rejected> {
        match (asked.kind.group(), asked.kind.kind.as_str(), asked.info.subresource.as_deref()) {
            (GROUP, "TokenReview", None) => self.review_token(asked, body).await.map(Some),
            ("", "ServiceAccount", Some("token")) => self.issue_token(asked, body).await.map(Some),
            _ => Ok(None),
        }
    }

    async fn review_token(&self, asked: &Asked, body: &Tree) -> Result<Arc<Object>, Rejected> {
        let token = edit::text(body, &["spec", "token"]);
        if token.is_empty() {
            return Err(Rejected::bad_request("token is required for TokenReview in authentication"));
        }
        let wanted = self.audiences(body);
        let status = match self.authenticator.token(&self.registry, token, &wanted).await {
            Ok(recognized) => {
                json!({
                    "authenticated": true, "user": described(&recognized.user), "audiences": recognized.audiences,
                })
            }
            Err(why) if why.is_empty() => json!({ "user": {}, "error": "invalid bearer token" }),
            Err(why) => json!({ "user": {}, "error": format!("[invalid bearer token, {why}]") }),
        };
        self.registry.answered(&asked.call(), body.clone(), status)
    }

    /// `spec.audiences`, or this server.
    fn audiences(&self, body: &Tree) -> Vec<String> {
        let all = edit::list(body, &["spec", "audiences"]).iter().filter_map(|one| one.as_str().map(str::to_owned));
        let all: Vec<String> = all.collect();
        if all.is_empty() { vec![self.issuer.clone()] } else { all }
    }

    async fn issue_token(&self, asked: &Asked, body: &Tree) -> Result<Arc<Object>, Rejected> {
        let mut request = body.clone();
        if edit::integer(&request, &["spec", "expirationSeconds"]).is_none() {
            edit::set(&mut request, &["spec", "expirationSeconds"], LIFE_DEFAULT);
        }
        let life = edit::integer(&request, &["spec", "expirationSeconds"]).unwrap_or(LIFE_DEFAULT);
        check_life(life)?;
        let account = self.registry.get(Call { subresource: None, ..asked.call() }).await?;
        self.registry.restrict_token(&asked.call(), body)?;
        let (namespace, name) = (account.namespace(), account.name());
        let mut bound = Bound {
            namespace: namespace.to_owned(),
            serviceaccount: BoundObject { name: name.to_owned(), uid: account.uid().to_owned() },
            ..Bound::default()
        };
        if let Some(reference) = edit::at(&request, &["spec", "boundObjectRef"]).filter(|one| !one.is_null()) {
            self.bind(&account, reference, &mut bound).await?;
        }
        let audiences = self.audiences(&request);
        let now = self.clock.now().as_second();
        let claims = Claims {
            aud: audiences.clone(),
            exp: now + life,
            iat: now,
            iss: self.issuer.clone(),
            jti: uuid::Uuid::new_v4().to_string(),
            kubernetes: bound,
            nbf: now,
            sub: format!("system:serviceaccount:{namespace}:{name}"),
        };
        let token = self.pki.tokens().sign(&claims);
        let expires = time::Timestamp::from_second(now + life).map(time::seconds).unwrap_or_default();
        let answer = self.registry.answered(
            &asked.call(),
            request,
            json!({ "token": token, "expirationTimestamp": expires }),
        )?;
        // What the server fills in has no owner.
        let mut tree = answer.tree();
        edit::set(&mut tree, &["spec", "audiences"], json!(audiences));
        edit::set(&mut tree, &["metadata", "name"], name);
        edit::set(&mut tree, &["metadata", "namespace"], namespace);
        edit::set(&mut tree, &["metadata", "creationTimestamp"], time::seconds(self.clock.now()));
        Object::from_tree(&tree).map(Arc::new).map_err(Rejected::internal)
    }

    /// Notes what a token is bound to, which has to be there.
    async fn bind(&self, account: &Object, reference: &Tree, bound: &mut Bound) -> Result<(), Rejected> {
        let of = |key: &str| edit::text(reference, &[key]);
        let (version, kind, name) = (of("apiVersion"), of("kind"), of("name"));
        let namespace = Some(account.namespace());
        let object = match (version, kind) {
            ("v1", "Pod") => self.look(&PODS, namespace, name).await?,
            ("v1", "Secret") => self.look(&SECRETS, namespace, name).await?,
            ("v1", "Node") => self.look(&NODES, None, name).await?,
            (version, kind) => {
                let (group, version) = version.split_once('/').unwrap_or(("", version));
                let why = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
                return Err(Rejected::bad_request(why));
            }
        };
        let tree = object.tree();
        if kind == "Pod" && edit::text(&tree, &["spec", "serviceAccountName"]) != account.name() {
            return Err(Rejected::bad_request(format!(
                "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                account.name()
            )));
        }
        let uid = of("uid");
        if !uid.is_empty() && uid != object.uid() {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have \
                 been deleted and then recreated"
            );
            return Err(Rejected::conflict(&Resource::new("", "v1", kind.to_owned()), name, why));
        }
        let noted =
            |object: &Object| Some(BoundObject { name: object.name().to_owned(), uid: object.uid().to_owned() });
        match kind {
            "Secret" => bound.secret = noted(&object),
            "Node" => bound.node = noted(&object),
            _ => {
                bound.pod = noted(&object);
                let node = edit::text(&tree, &["spec", "nodeName"]);
                if !node.is_empty() {
                    let found = self.look(&NODES, None, node).await.ok();
                    let only_named = || Some(BoundObject { name: node.to_owned(), uid: String::new() });
                    bound.node = found.and_then(|node| noted(&node)).or_else(only_named);
                }
            }
        }
        Ok(())
    }

    async fn look(&self, resource: &Resource, namespace: Option<&str>, name: &str) -> Result<Arc<Object>, Rejected> {
        let kind = self.registry.find(resource).ok_or_else(|| Rejected::not_found(resource, name))?;
        let admin = User::system_admin();
        self.registry.get(Call { namespace, name, ..Call::new(&admin, &kind) }).await
    }
}

fn check_life(seconds: i64) -> Result<(), Rejected> {
    let why = match seconds {
        ..LIFE_MIN => "may not specify a duration less than 10 minutes",
        LIFE_MIN..=LIFE_MAX => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let cause = Cause::invalid("spec.expirationSeconds", &json!(seconds), why);
    Err(Rejected::invalid(GROUP, "TokenRequest", "", vec![cause]))
}

/// A `UserInfo`.
fn described(user: &User) -> Tree {
    let mut info = json!({ "username": user.name });
    if !user.uid.is_empty() {
        edit::set(&mut info, &["uid"], user.uid.as_str());
    }
    if !user.groups.is_empty() {
        edit::set(&mut info, &["groups"], json!(user.groups));
    }
    if !user.extra.is_empty() {
        edit::set(&mut info, &["extra"], json!(user.extra));
    }
    info
}
