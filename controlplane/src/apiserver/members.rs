//! The members of the store over HTTP: how a server becomes one, and what operators and members ask of them.

use super::body::{self, Body};
use super::{Server, answer};
use crate::members::Membership;
use crate::peers;
use crate::pieces;
use crate::pki::ClusterKeys;
use crate::registry::{Attributes, Call, User, failed};
use crate::store::group::{Member, MemberChange, Role};
use crate::store::kv::Error;
use api::Rejected;
use api::rejected::Reason;
use client::DeleteOptions;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_stream::wrappers::ReceiverStream;

/// Where all of this is.
pub const PATH: &str = "/apis/coracle.dev/v1/members";
/// Whose tokens let a server become a member.
pub const JOINERS: &str = "system:bootstrappers:coracle:member";

/// What a server says of itself when it asks to become a member.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Joining {
    pub name: String,
    /// `https://HOST:PORT` where the other members reach it.
    pub url: String,
}

/// What a server is given that becomes a member.
#[derive(Serialize, Deserialize)]
pub struct Joined {
    pub cluster: u64,
    pub member: u64,
    pub keys: ClusterKeys,
}

impl Server {
    /// `rest`: the path below [`PATH`].
    pub(super) async fn members(
        &self,
        user: &User,
        rest: &str,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Rejected> {
        let method = request.method().clone();
        match (&method, rest) {
            (&Method::GET, "") => {
                self.may(user, "list", "")?;
                self.listed()
            }
            (&Method::GET, "/snapshot") => {
                self.may(user, "get", "snapshot")?;
                self.snapshot()
            }
            (&Method::POST, "") => self.join(user, request).await,
            (&Method::POST, "/changes") if user.is_in(peers::MEMBERS) => {
                let change: MemberChange = parsed(request).await?;
                self.membership()?.change_here(change).await.map_err(|error| refused(&error))?;
                Ok(done())
            }
            (&Method::POST, path) if path.ends_with("/promote") => {
                let id = id(path.trim_start_matches('/').trim_end_matches("/promote"))?;
                self.may(user, "update", &format!("{id:x}"))?;
                self.membership()?.change(MemberChange::Promote(id)).await.map_err(|error| refused(&error))?;
                Ok(done())
            }
            (&Method::DELETE, path) => {
                let id = id(path.trim_start_matches('/'))?;
                self.may(user, "delete", &format!("{id:x}"))?;
                self.membership()?.change(MemberChange::Remove(id)).await.map_err(|error| refused(&error))?;
                Ok(done())
            }
            _ => Err(Rejected::new(Reason::NotFound, format!("{method} {PATH}{rest} is nothing that members do"))),
        }
    }

    fn may(&self, user: &User, verb: &str, name: &str) -> Result<(), Rejected> {
        let wanted = Attributes { verb, group: "coracle.dev", resource: "members", name, ..Attributes::default() };
        self.registry.check(user, &wanted)
    }

    fn membership(&self) -> Result<&Membership, Rejected> {
        self.membership.as_ref().map_err(|place| {
            let why = format!("this server keeps its data in etcd at {place}: members and snapshots are etcd's there");
            Rejected::new(Reason::MethodNotAllowed, why)
        })
    }

    fn listed(&self) -> Result<Response<Body>, Rejected> {
        let membership = self.membership()?;
        let known = membership.known();
        let one = |(member, role): &(Member, Role)| {
            json!({
                "id": format!("{:x}", member.id),
                "name": member.name,
                "url": member.url,
                "clientURLs": member.client_urls,
                "role": match role { Role::Learner => "learner", Role::Voter => "voter" },
                "leader": known.leader == Some(member.id),
                "alarm": known.alarms.contains(&member.id).then_some("NOSPACE"),
            })
        };
        let members: Vec<_> = known.members.iter().map(one).collect();
        let cluster = format!("{:x}", membership.cluster_id());
        Ok(json_of(&json!({ "cluster": cluster, "term": known.term, "members": members })))
    }

    /// The whole state, and the keys of the cluster: whoever has it is the cluster. The checksum at its end tells whole
    /// ones from those that broke off.
    fn snapshot(&self) -> Result<Response<Body>, Rejected> {
        let membership = self.membership()?.clone();
        let keys = self.pki.cluster_keys().map_err(Rejected::internal)?;
        let (pieces, body) = pieces::channel();
        tokio::task::spawn_blocking(move || match membership.save(&keys, pieces) {
            Ok(manifest) => tracing::info!(revision = manifest.revision, keys = manifest.keys, "a snapshot was saved"),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "a snapshot was not saved"),
        });
        let mut response = Response::new(body::stream(ReceiverStream::new(body)));
        let media = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, media);
        Ok(response)
    }

    /// Takes the token away before anything else, so that it is good for one member only.
    async fn join(&self, user: &User, request: Request<Incoming>) -> Result<Response<Body>, Rejected> {
        let token = user.name.strip_prefix("system:bootstrap:").filter(|_| user.is_in(JOINERS));
        let Some(token) = token else {
            let why = "a server becomes a member with a token of `coracle token create --member`";
            return Err(Rejected::new(Reason::Forbidden, why));
        };
        let Joining { name, url } = parsed(request).await?;
        let is_url = url.strip_prefix("https://").is_some_and(|rest| rest.rsplit_once(':').is_some());
        if !is_url {
            return Err(Rejected::bad_request(format!("the member's address {url:?} is not https://HOST:PORT")));
        }
        let membership = self.membership()?;
        let known = membership.known();
        if let Some((other, _)) = known.members.iter().find(|(member, _)| member.url == url) {
            let why = format!("{url} is the address of member {:x}; if that is lost, remove it first", other.id);
            return Err(Rejected::new(Reason::AlreadyExists, why));
        }
        self.spend(token).await?;
        let id = loop {
            let id: u64 = rand::random();
            if id != 0 && known.members.iter().all(|(member, _)| member.id != id) {
                break id;
            }
        };
        let member = Member { id, name, url, ..Member::default() };
        tracing::info!(member = format!("{id:x}"), name = member.name, url = member.url, "a member joins");
        membership.change(MemberChange::Add(member)).await.map_err(|error| refused(&error))?;
        let joined = Joined {
            cluster: membership.cluster_id(),
            member: id,
            keys: self.pki.cluster_keys().map_err(Rejected::internal)?,
        };
        Ok(answer::bytes_of(
            StatusCode::CREATED,
            serde_json::to_vec(&joined).map_err(Rejected::internal)?,
            answer::JSON,
        ))
    }

    async fn spend(&self, token: &str) -> Result<(), Rejected> {
        let name = format!("bootstrap-token-{token}");
        let kind = self.registry.find(&api::resource::SECRETS).ok_or_else(|| Rejected::internal("no Secrets"))?;
        let admin = User::system_admin();
        let call = Call { namespace: Some("kube-system"), name: &name, ..Call::new(&admin, &kind) };
        let spent = |_| Rejected::new(Reason::Unauthorized, "the token was used already");
        let stored = self.registry.get(call).await.map_err(spent)?;
        let options = DeleteOptions { uid: Some(stored.uid().to_owned()), ..DeleteOptions::default() };
        match self.registry.delete(call, options).await {
            Err(rejected) if rejected.is_not_found() || rejected.is_conflict() => Err(spent(rejected)),
            deleted => deleted.map(drop),
        }
    }
}

async fn parsed<T: serde::de::DeserializeOwned>(request: Request<Incoming>) -> Result<T, Rejected> {
    let body = body::read(request.into_body()).await?;
    serde_json::from_slice(&body).map_err(|error| Rejected::bad_request(format!("the request is malformed: {error}")))
}

fn id(text: &str) -> Result<u64, Rejected> {
    u64::from_str_radix(text, 16).map_err(|_| Rejected::bad_request(format!("{text:?} is no member's id")))
}

fn done() -> Response<Body> {
    json_of(&json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }))
}

fn json_of(tree: &api::Tree) -> Response<Body> {
    answer::bytes_of(StatusCode::OK, tree.to_string(), answer::JSON)
}

fn refused(error: &Error) -> Rejected {
    match error {
        Error::Invalid(why) => Rejected::bad_request(why.clone()),
        error => failed(error),
    }
}
