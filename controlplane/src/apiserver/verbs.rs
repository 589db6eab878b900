//! The verbs on resources: from a request to a call of the registry, and from its result to an answer.

use super::body::{self, Body};
use super::decode::{self, Wanted};
use super::media::{self, Accepted, Offer, Shape};
use super::options::Listing;
use super::request::{Info, Query};
use super::table::{Include, View};
use super::{Server, answer, node, options, stream};
use crate::registry::{Attributes, Call, Deleted, Page, User, Written};
use api::codec::{self, Strictness};
use api::kinds::Kind;
use api::object::edit;
use api::rejected::Reason;
use api::selector::Fields;
use api::{Rejected, Tree};
use bytes::Bytes;
use client::{Patch, WatchOptions};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;
use std::sync::Arc;

const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
/// Patches that are no server-side apply.
const PATCHES: [&str; 3] = ["application/json-patch+json", "application/merge-patch+json", STRATEGIC];

/// One request for a resource, as far as it is understood.
pub(super) struct Asked {
    pub(super) user: User,
    pub(super) kind: Arc<Kind>,
    pub(super) info: Info,
    pub(super) query: Query,
    pub(super) verb: &'static str,
    pub(super) accepted: Accepted,
    pub(super) strictness: Strictness,
    manager: String,
}

impl Server {
    pub(super) async fn resource(
        &self,
        user: User,
        info: Info,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Rejected> {
        let mut unread = Some(request);
        let answer = self.answer(user, info, &mut unread).await;
        let is_refused = answer.as_ref().map_or(true, |answer| answer.status().is_client_error());
        if let Some(request) = unread.filter(|_| is_refused) {
            body::discard(request.into_body()).await;
        }
        answer
    }

    /// Takes the request where its body is read.
    async fn answer(
        &self,
        user: User,
        info: Info,
        unread: &mut Option<Request<Incoming>>,
    ) -> Result<Response<Body>, Rejected> {
        let request = unread.as_ref().expect("nobody took it yet");
        let query = Query::parse(request.uri().query());
        let verb = verb(request.method(), &info, &query);
        self.authorize(&user, &info, &query, verb.unwrap_or(request.method().as_str()))?;
        let Some(kind) = self.registry.look_up(&info.resource()).await else { return self.unserved(&info) };
        if is_elsewhere(&kind, &info, verb) {
            return Ok(answer::nothing_there());
        }
        check_path(&kind, &info, verb.unwrap_or_default())?;
        let verb = verb.ok_or_else(not_allowed)?;
        let accept = header_text(request.headers(), header::ACCEPT);
        let is_connection = info.subresource.as_deref().is_some_and(|below| node::CONNECTIONS.contains(&below));
        if !kind.is_custom() && !is_connection {
            check_routable(request, verb)?;
        }
        let offer = Offer {
            protobuf: !kind.is_custom(),
            // What cannot be read again has no columns.
            table: !kind.list_kind.is_empty() || info.subresource.is_some(),
            metadata: true,
        };
        let asked = Asked {
            accepted: media::accepted(accept, is_pretty(&query, request.headers()), offer)?,
            strictness: options::strictness(&query),
            manager: manager(&query, request.headers()),
            user,
            kind,
            info,
            query,
            verb,
        };
        if let Some(below) = asked.info.subresource.as_deref()
            && let Some(response) = self.connect(&asked, below, request).await?
        {
            return Ok(response);
        }
        let (parts, incoming) = unread.take().expect("nobody took it yet").into_parts();
        let mut response = match asked.verb {
            "get" => self.get(&asked).await,
            "list" => self.list(&asked).await,
            "watch" => self.watch(&asked).await,
            "create" => self.create(&asked, &parts.headers, body::read(incoming).await?).await,
            "update" => self.update(&asked, &parts.headers, body::read(incoming).await?).await,
            "patch" => self.patch(&asked, &parts.headers, body::read(incoming).await?).await,
            "delete" => self.delete(&asked, &parts.headers, body::read(incoming).await?).await,
            _ => self.delete_collection(&asked, &parts.headers, body::read(incoming).await?).await,
        }?;
        answer::warn(&mut response, deprecation(&asked.kind).as_slice());
        Ok(response)
    }

    /// In a group that is built in, upstream's router answers; elsewhere nobody does.
    fn unserved(&self, info: &Info) -> Result<Response<Body>, Rejected> {
        if self.registry.served().kinds.iter().any(|kind| kind.group() == info.group && !kind.is_custom()) {
            return Err(no_such_path());
        }
        Ok(answer::nothing_there())
    }

    pub(super) fn authorize(&self, user: &User, info: &Info, query: &Query, verb: &str) -> Result<(), Rejected> {
        // A list or watch of one name by field selector is a read of that object alone.
        let is_read = info.name.is_empty() && matches!(verb, "list" | "watch");
        let selector = Some(query.text("fieldSelector")).filter(|text| is_read && !text.is_empty());
        let selector = selector.and_then(|text| Fields::parse(text).ok()).unwrap_or_default();
        let name = selector.exact("metadata.name").unwrap_or(&info.name);
        let namespace = match (&info.namespace, info.plural.as_str(), info.group.as_str()) {
            (Some(namespace), ..) => namespace.as_str(),
            (None, "namespaces", "") => &info.name,
            _ => "",
        };
        let attributes = Attributes {
            verb,
            group: &info.group,
            resource: &info.plural,
            subresource: info.subresource.as_deref().unwrap_or_default(),
            namespace,
            name,
            path: None,
        };
        self.registry.check(user, &attributes)
    }

    async fn get(&self, asked: &Asked) -> Result<Response<Body>, Rejected> {
        let object = match asked.query.revision()? {
            Some(revision) => self.registry.get_at_least(asked.call(), revision).await?,
            None => self.registry.get(asked.call()).await?,
        };
        asked.show(self, StatusCode::OK, &object)
    }

    async fn list(&self, asked: &Asked) -> Result<Response<Body>, Rejected> {
        let Listing { options, exact } = options::list(&asked.query)?;
        let page = if exact {
            self.registry.list_exact(asked.call(), options).await?
        } else {
            self.registry.list(asked.call(), options).await?
        };
        asked.show_list(self, &page)
    }

    async fn watch(&self, asked: &Asked) -> Result<Response<Body>, Rejected> {
        media::check_stream(asked.accepted)?;
        let life = stream::life(asked.query.integer("timeoutSeconds")?);
        let options = WatchOptions { lasts: Some(life), ..options::watch(&asked.query)? };
        let form = stream::Form {
            kind: Arc::clone(&asked.kind),
            accepted: asked.accepted,
            include: asked.include()?,
            made: Arc::clone(&self.made),
            clock: self.clock.clone(),
            started: false,
        };
        match self.registry.watch(asked.call(), options).await {
            Ok(events) => Ok(stream::response(events, form, life, self.shutdown.clone())),
            Err(rejected) if rejected.is_expired() => Ok(stream::refused(&rejected)),
            Err(rejected) => Err(rejected),
        }
    }

    async fn create(&self, asked: &Asked, headers: &HeaderMap, body: Bytes) -> Result<Response<Body>, Rejected> {
        let (tree, warnings) = asked.decode(headers, &body, options::Write::Create)?;
        if let Some(object) = self.answer_token(asked, &tree).await? {
            return asked.show(self, StatusCode::CREATED, &object);
        }
        let written = self.registry.create(asked.dry_call(), tree).await?;
        asked.written(self, &written, warnings)
    }

    async fn update(&self, asked: &Asked, headers: &HeaderMap, body: Bytes) -> Result<Response<Body>, Rejected> {
        let (tree, warnings) = asked.decode(headers, &body, options::Write::Update)?;
        let written = self.registry.update(asked.dry_call(), tree).await?;
        asked.written(self, &written, warnings)
    }

    async fn patch(&self, asked: &Asked, headers: &HeaderMap, body: Bytes) -> Result<Response<Body>, Rejected> {
        let media = header_text(headers, header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
        let write = if media == APPLY { options::Write::Apply } else { options::Write::Patch };
        if media != APPLY && !PATCHES.contains(&media) || media == STRATEGIC && asked.kind.is_custom() {
            let taken = PATCHES.iter().filter(|media| **media != STRATEGIC).chain(&[APPLY]);
            return Err(media::unsupported(&taken.copied().collect::<Vec<_>>()));
        }
        options::check(write, &asked.query)?;
        let tree =
            |prefix: &str| codec::json::parse(&body).map_err(|error| Rejected::bad_request(format!("{prefix}{error}")));
        let patch = match media {
            // Null is decoded as a patch of nothing, where it is decoded.
            "application/json-patch+json" => Patch::Json(nothing_if_null(tree("error decoding patch: ")?, json!([]))),
            "application/merge-patch+json" => Patch::Merge(tree("error decoding patch: ")?),
            STRATEGIC => Patch::Strategic(nothing_if_null(tree("")?, json!({}))),
            _ => Patch::Apply { body: body.clone(), force: asked.query.is_true("force") },
        };
        let written = self.registry.patch(asked.dry_call(), patch).await?;
        asked.written(self, &written, Vec::new())
    }

    async fn delete(&self, asked: &Asked, headers: &HeaderMap, body: Bytes) -> Result<Response<Body>, Rejected> {
        let (options, is_told) = options::delete(&asked.query, header_text(headers, header::CONTENT_TYPE), &body)?;
        match self.registry.delete(asked.call(), options).await? {
            Deleted::Stays(object) if is_told => asked.show(self, StatusCode::ACCEPTED, &object),
            Deleted::Stays(object) => asked.show(self, StatusCode::OK, &object),
            Deleted::Gone(object) if asked.returns_deleted() => asked.show(self, StatusCode::OK, &object),
            Deleted::Gone(object) => {
                let details = json!({
                    "name": object.name(), "group": asked.kind.group(), "kind": asked.kind.resource.plural,
                    "uid": object.uid(),
                });
                let mut status = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
                });
                if asked.kind.group().is_empty() {
                    edit::remove(&mut status, &["details", "group"]);
                }
                Ok(answer::tree(StatusCode::OK, &status, Accepted { shape: media::Shape::Whole, ..asked.accepted }))
            }
        }
    }

    async fn delete_collection(
        &self,
        asked: &Asked,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Body>, Rejected> {
        let list = options::list(&asked.query)?.options;
        let (options, _) = options::delete(&asked.query, header_text(headers, header::CONTENT_TYPE), &body)?;
        let page = self.registry.delete_collection(asked.call(), list, options).await?;
        asked.show_list(self, &page)
    }
}

impl Asked {
    pub(super) fn call(&self) -> Call<'_> {
        Call {
            user: &self.user,
            kind: &self.kind,
            namespace: self.info.namespace.as_deref(),
            name: &self.info.name,
            subresource: self.info.subresource.as_deref(),
            dry_run: false,
            field_manager: &self.manager,
            strictness: self.strictness,
        }
    }

    fn dry_call(&self) -> Call<'_> {
        Call { dry_run: self.query.is_dry_run(), ..self.call() }
    }

    /// What the rows of a table carry; refused only where a table is asked for.
    fn include(&self) -> Result<Include, Rejected> {
        match Include::parse(self.query.text("includeObject")) {
            Err(rejected) if self.accepted.shape == Shape::Table => Err(rejected),
            include => Ok(include.unwrap_or(Include::Metadata)),
        }
    }

    fn view<'a>(&'a self, server: &'a Server) -> Result<View<'a>, Rejected> {
        let (include, now) = (self.include()?, server.clock.now());
        let scale = self.info.subresource.as_deref() == Some("scale");
        Ok(View { made: &server.made, kind: &self.kind, scale, include, beta: self.accepted.beta, now })
    }

    fn show(&self, server: &Server, status: StatusCode, object: &Arc<api::Object>) -> Result<Response<Body>, Rejected> {
        if self.accepted.shape == Shape::MetadataList {
            let kind = edit::text(&object.tree(), &["kind"]).to_owned();
            let what = self.go_type(&kind);
            let why = "you requested PartialObjectMetadataList, but the requested object is not a list";
            return Err(Rejected::new(Reason::NotAcceptable, format!("{why} ({what})")));
        }
        Ok(answer::object(status, object, &self.view(server)?, self.accepted))
    }

    fn show_list(&self, server: &Server, page: &Page) -> Result<Response<Body>, Rejected> {
        if self.accepted.shape == Shape::Metadata {
            let what = self.go_type(&self.kind.list_kind);
            let why = format!("you requested PartialObjectMetadata, but the requested object is a list ({what})");
            return Err(Rejected::new(Reason::NotAcceptable, why));
        }
        Ok(answer::list(page, &self.view(server)?, self.accepted))
    }

    /// What Go calls the value that upstream has of an object or a list.
    fn go_type(&self, kind: &str) -> String {
        match self.kind.is_custom() {
            true if kind == self.kind.list_kind => "*unstructured.UnstructuredList".to_owned(),
            true => "*unstructured.Unstructured".to_owned(),
            false => format!("*{}.{kind}", codec::named::internal_package(self.kind.group())),
        }
    }

    fn written(
        &self,
        server: &Server,
        written: &Written,
        mut warnings: Vec<String>,
    ) -> Result<Response<Body>, Rejected> {
        let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
        let mut response = self.show(server, status, &written.object)?;
        warnings.extend(written.warnings.iter().cloned());
        answer::warn(&mut response, &warnings);
        Ok(response)
    }

    /// Some kinds answer a delete with what was deleted (upstream's `ReturnDeletedObject`); the rest with a Status.
    fn returns_deleted(&self) -> bool {
        match self.kind.group() {
            "" => matches!(
                self.kind.kind.as_str(),
                "Namespace"
                    | "Pod"
                    | "Service"
                    | "ServiceAccount"
                    | "PersistentVolume"
                    | "PersistentVolumeClaim"
                    | "PodTemplate"
                    | "ResourceQuota"
            ),
            "storage.k8s.io" => self.kind.kind != "CSIStorageCapacity",
            "resource.k8s.io" => true,
            _ => false,
        }
    }

    /// The body as a tree of the kind that belongs here, and what is to be warned of.
    fn decode(&self, headers: &HeaderMap, body: &[u8], write: options::Write) -> Result<(Tree, Vec<String>), Rejected> {
        let below = self.info.subresource.as_deref().and_then(|name| self.kind.subresource(name));
        let (schema, kind, api_version) = match below {
            Some(below) => (below.schema(), below.kind.as_str(), below.api_version()),
            None => (self.kind.schema(), self.kind.kind.as_str(), self.kind.api_version()),
        };
        let sent = media::sent(header_text(headers, header::CONTENT_TYPE))?;
        options::check(write, &self.query)?;
        let custom = below.is_none_or(|below| below.kind == self.kind.kind).then_some(&*self.kind);
        let wanted = Wanted { kind, api_version: &api_version, schema, custom: custom.filter(|kind| kind.is_custom()) };
        let (tree, problems) = decode::object(sent, body, &wanted, self.strictness)?;
        let warnings = problems.iter().map(ToString::to_string).collect();
        Ok((tree, warnings))
    }
}

fn nothing_if_null(patch: Tree, nothing: Tree) -> Tree {
    if patch.is_null() { nothing } else { patch }
}

/// Which of the served kinds upstream has deprecated, and how it says so.
fn deprecation(kind: &Kind) -> Option<&str> {
    if let Some(custom) = &kind.custom {
        return custom.warning.as_deref();
    }
    match (kind.group(), kind.kind.as_str()) {
        ("", "ComponentStatus") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        ("", "Endpoints") => Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        _ => api::kinds::deprecation(&kind.resource),
    }
}

/// What upstream's router looks at, before anything else does.
fn check_routable(request: &Request<Incoming>, verb: &str) -> Result<(), Rejected> {
    let text = |name| header_text(request.headers(), name);
    if verb == "patch" {
        let media = text(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
        if media != APPLY && !PATCHES.contains(&media) {
            return Err(Rejected::unroutable(Reason::UnsupportedMediaType, "415: Unsupported Media Type"));
        }
    }
    media::check_routable(text(header::ACCEPT), matches!(verb, "list" | "watch"))
}

pub(super) fn verb(method: &Method, info: &Info, query: &Query) -> Option<&'static str> {
    let one = !info.name.is_empty();
    Some(match (method.as_str(), one) {
        ("GET", _) if info.is_watch && info.subresource.is_none() => "watch",
        ("GET", false) if query.is_true("watch") => "watch",
        ("GET", true) => "get",
        ("GET", false) => "list",
        ("POST", false) => "create",
        ("POST", true) if info.subresource.is_some() => "create",
        ("PUT", true) => "update",
        ("PATCH", true) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => return None,
    })
}

/// What upstream has no route for is not found, whatever is asked of it; what it has one for may not do all.
fn check_path(kind: &Kind, info: &Info, verb: &str) -> Result<(), Rejected> {
    let below = match info.subresource.as_deref() {
        Some(name) => Some(kind.subresource(name).ok_or_else(|| match kind.is_custom() {
            // A path below a custom resource that its definition does not have is an object that is not there.
            true => Rejected::not_found(&kind.resource, &info.name),
            false => no_such_path(),
        })?),
        None => None,
    };
    let is_deep = info.is_deeper && info.subresource.as_deref() != Some("proxy");
    let has = |wanted: &[&str]| kind.verbs.iter().any(|verb| wanted.contains(&verb.as_str()));
    let is_one = !info.name.is_empty();
    let is_above_namespaces = kind.namespaced && info.namespace.is_none();
    let is_routed = match below {
        Some(_) => !is_above_namespaces,
        None if is_one => !is_above_namespaces && has(&["get", "update", "patch", "delete"]),
        None if is_above_namespaces => has(&["list", "watch"]),
        None => true,
    };
    if is_deep || !is_routed || info.namespace.is_some() && !kind.namespaced {
        return Err(no_such_path());
    }
    // All namespaces at once can be read, and no more.
    let is_allowed = !is_above_namespaces || matches!(verb, "list" | "watch");
    let verbs = below.map_or(&kind.verbs, |below| &below.verbs);
    if is_allowed && verbs.iter().any(|known| known == verb) { Ok(()) } else { Err(not_allowed()) }
}

/// Whether a custom resource is looked for in a namespace that it has not, or changed where it can only be read: in all
/// namespaces at once. Upstream's server of custom resources passes that on, and nobody takes it.
fn is_elsewhere(kind: &Kind, info: &Info, verb: Option<&str>) -> bool {
    let is_outside = if kind.namespaced {
        info.namespace.is_none() && !matches!(verb, Some("list" | "watch"))
    } else {
        info.namespace.is_some()
    };
    kind.is_custom() && is_outside
}

pub(super) fn no_such_path() -> Rejected {
    Rejected::unroutable(Reason::NotFound, "the server could not find the requested resource")
}

pub(super) fn not_allowed() -> Rejected {
    let message = "the server does not allow this method on the requested resource";
    Rejected::unroutable(Reason::MethodNotAllowed, message)
}

/// `fieldManager`, or the first word of the client's name for itself.
fn manager(query: &Query, headers: &HeaderMap) -> String {
    match query.get("fieldManager") {
        Some(manager) => manager.to_owned(),
        None => header_text(headers, header::USER_AGENT).split('/').next().unwrap_or_default().to_owned(),
    }
}

pub(super) fn is_pretty(query: &Query, headers: &HeaderMap) -> bool {
    let agent = header_text(headers, header::USER_AGENT);
    let by_hand = ["curl", "Wget", "Mozilla/5.0"].iter().any(|name| agent.starts_with(name));
    match query.get("pretty") {
        Some(value) => matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"),
        None => by_hand,
    }
}

pub(super) fn header_text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_resources_are_where_their_scope_says() {
        let custom = |scope: &str| {
            let definition = json!({
                "spec": {"group": "e.com", "scope": scope, "versions": [{"name": "v1", "served": true, "storage": true}]},
                "status": {"conditions": [{"type": "Established", "status": "True"}]},
            });
            api::custom::Definition::read(&definition, 1).kinds.remove(0)
        };
        let [all, one] = [None, Some("shop".to_owned())].map(|namespace| Info { namespace, ..Info::default() });
        let (namespaced, cluster) = (custom("Namespaced"), custom("Cluster"));
        assert!(is_elsewhere(&namespaced, &all, Some("create")) && is_elsewhere(&namespaced, &all, None));
        assert!(!is_elsewhere(&namespaced, &all, Some("list")) && !is_elsewhere(&namespaced, &one, Some("create")));
        assert!(is_elsewhere(&cluster, &one, Some("list")) && !is_elsewhere(&cluster, &all, Some("create")));
        let known = api::kinds::find(&api::resource::CONFIG_MAPS).expect("built in");
        assert!(!is_elsewhere(known, &all, Some("create")));
    }
}
