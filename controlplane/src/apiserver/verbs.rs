//! The verbs on resources: from a request to a call of the registry, and from its result to an answer.

use super::body::{self, Body};
use super::media::{self, Accepted, Sent};
use super::request::{Info, Query};
use super::stream;
use super::table::Include;
use super::{Server, answer};
use crate::registry::{Attributes, Call, Deleted, User, Written};
use api::codec::{self, DecodeError, Strictness};
use api::fields::{self, TypeRef};
use api::kinds::Kind;
use api::object::edit;
use api::rejected::{Cause, Reason};
use api::{Rejected, Tree};
use bytes::Bytes;
use client::{DeleteOptions, ListOptions, Patch, Propagation, WatchOptions};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;
use std::sync::Arc;

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
        let kind = self.registry.look_up(&info.resource()).await.ok_or_else(no_such_path)?;
        let query = Query::parse(request.uri().query());
        let verb = verb(request.method(), &info, &query).ok_or_else(not_allowed)?;
        self.authorize(&user, &info, &query, verb)?;
        check_path(&kind, &info, verb)?;
        let accept = header_text(request.headers(), header::ACCEPT);
        let asked = Asked {
            accepted: media::accepted(accept, is_pretty(&query, request.headers()))?,
            strictness: strictness(verb, query.text("fieldValidation"))?,
            manager: manager(&query, request.headers()),
            user,
            kind,
            info,
            query,
            verb,
        };
        if let Some(below) = asked.info.subresource.as_deref()
            && let Some(response) = self.connect(&asked, below, &request).await?
        {
            return Ok(response);
        }
        let (parts, incoming) = request.into_parts();
        match asked.verb {
            "get" => self.get(&asked).await,
            "list" => self.list(&asked).await,
            "watch" => self.watch(&asked).await,
            "create" => self.create(&asked, &parts.headers, body::read(incoming).await?).await,
            "update" => self.update(&asked, &parts.headers, body::read(incoming).await?).await,
            "patch" => self.patch(&asked, &parts.headers, body::read(incoming).await?).await,
            "delete" => self.delete(&asked, &parts.headers, body::read(incoming).await?).await,
            _ => self.delete_collection(&asked, &parts.headers, body::read(incoming).await?).await,
        }
    }

    fn authorize(&self, user: &User, info: &Info, query: &Query, verb: &str) -> Result<(), Rejected> {
        // A list or watch of one name by field selector is a read of that object alone.
        let selected = query.text("fieldSelector").strip_prefix("metadata.name=").filter(|name| !name.contains(','));
        let name = if info.name.is_empty() { selected.unwrap_or_default() } else { &info.name };
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
        Ok(asked.show(self, StatusCode::OK, &object))
    }

    async fn list(&self, asked: &Asked) -> Result<Response<Body>, Rejected> {
        let options = asked.list_options()?;
        let page = match asked.query.text("resourceVersionMatch") {
            "Exact" if options.next.is_none() => self.registry.list_exact(asked.call(), options).await?,
            _ => self.registry.list(asked.call(), options).await?,
        };
        let include = Include::parse(asked.query.text("includeObject"));
        Ok(answer::list(&page, &asked.kind, asked.accepted, include, self.clock.now()))
    }

    async fn watch(&self, asked: &Asked) -> Result<Response<Body>, Rejected> {
        let query = &asked.query;
        let options = WatchOptions {
            label_selector: query.text("labelSelector").to_owned(),
            field_selector: query.text("fieldSelector").to_owned(),
            revision: query.revision()?.unwrap_or(0),
            bookmarks: query.is_true("allowWatchBookmarks"),
            initial_events: query.is_true("sendInitialEvents"),
        };
        let form = stream::Form {
            kind: Arc::clone(&asked.kind),
            accepted: asked.accepted,
            include: Include::parse(query.text("includeObject")),
            clock: self.clock.clone(),
            started: false,
        };
        match self.registry.watch(asked.call(), options).await {
            Ok(events) => {
                let seconds = query.number("timeoutSeconds")?;
                Ok(stream::response(events, form, seconds, self.shutdown.clone()))
            }
            Err(rejected) if rejected.is_expired() => Ok(stream::refused(&rejected)),
            Err(rejected) => Err(rejected),
        }
    }

    async fn create(&self, asked: &Asked, headers: &HeaderMap, body: Bytes) -> Result<Response<Body>, Rejected> {
        let (tree, warnings) = asked.decode(headers, &body)?;
        if let Some(tree) = self.answer_token(asked, &tree).await? {
            return Ok(answer::tree(StatusCode::CREATED, &tree, asked.accepted));
        }
        let written = self.registry.create(asked.dry_call()?, tree).await?;
        Ok(asked.written(self, &written, warnings))
    }

    async fn update(&self, asked: &Asked, headers: &HeaderMap, body: Bytes) -> Result<Response<Body>, Rejected> {
        let (tree, warnings) = asked.decode(headers, &body)?;
        let written = self.registry.update(asked.dry_call()?, tree).await?;
        Ok(asked.written(self, &written, warnings))
    }

    async fn patch(&self, asked: &Asked, headers: &HeaderMap, body: Bytes) -> Result<Response<Body>, Rejected> {
        let media = header_text(headers, header::CONTENT_TYPE);
        let tree = || -> Result<Tree, Rejected> {
            serde_json::from_slice(&body)
                .map_err(|error| Rejected::bad_request(format!("error decoding patch: {error}")))
        };
        let patch = match media.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Patch::Json(tree()?),
            "application/merge-patch+json" => Patch::Merge(tree()?),
            "application/strategic-merge-patch+json" => Patch::Strategic(tree()?),
            "application/apply-patch+yaml" => {
                if asked.query.get("fieldManager").is_none() {
                    let cause = Cause::required("fieldManager", "is required for apply patch");
                    return Err(Rejected::invalid("meta.k8s.io", "PatchOptions", "", vec![cause]));
                }
                Patch::Apply { body: body.clone(), force: asked.query.is_true("force") }
            }
            _ => {
                let message = "the body of the request was in an unknown format - accepted media types include: \
                               application/json-patch+json, application/merge-patch+json, \
                               application/strategic-merge-patch+json, application/apply-patch+yaml";
                return Err(Rejected::new(Reason::UnsupportedMediaType, message));
            }
        };
        let written = self.registry.patch(asked.dry_call()?, patch).await?;
        Ok(asked.written(self, &written, Vec::new()))
    }

    async fn delete(&self, asked: &Asked, headers: &HeaderMap, body: Bytes) -> Result<Response<Body>, Rejected> {
        let options = asked.delete_options(headers, &body)?;
        match self.registry.delete(asked.dry_call()?, options).await? {
            Deleted::Stays(object) => Ok(asked.show(self, StatusCode::OK, &object)),
            Deleted::Gone(object) if asked.returns_deleted() => Ok(asked.show(self, StatusCode::OK, &object)),
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
        let options = asked.delete_options(headers, &body)?;
        let page = self.registry.delete_collection(asked.dry_call()?, asked.list_options()?, options).await?;
        Ok(answer::list(&page, &asked.kind, asked.accepted, Include::Metadata, self.clock.now()))
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

    fn dry_call(&self) -> Result<Call<'_>, Rejected> {
        Ok(Call { dry_run: self.query.is_dry_run()?, ..self.call() })
    }

    fn list_options(&self) -> Result<ListOptions, Rejected> {
        let limit = self.query.number("limit")?.unwrap_or(0);
        Ok(ListOptions {
            label_selector: self.query.text("labelSelector").to_owned(),
            field_selector: self.query.text("fieldSelector").to_owned(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            next: self.query.get("continue").map(str::to_owned),
            revision: self.query.revision()?,
        })
    }

    fn show(&self, server: &Server, status: StatusCode, object: &Arc<api::Object>) -> Response<Body> {
        let include = Include::parse(self.query.text("includeObject"));
        answer::object(status, object, &self.kind, self.accepted, include, server.clock.now())
    }

    fn written(&self, server: &Server, written: &Written, mut warnings: Vec<String>) -> Response<Body> {
        let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
        let mut response = self.show(server, status, &written.object);
        warnings.extend(written.warnings.iter().cloned());
        answer::warn(&mut response, &warnings);
        response
    }

    /// Pods and a few others answer a delete with what was deleted; the rest with a Status.
    fn returns_deleted(&self) -> bool {
        self.kind.group().is_empty()
            && matches!(
                self.kind.kind.as_str(),
                "Pod"
                    | "Service"
                    | "ServiceAccount"
                    | "PersistentVolume"
                    | "PersistentVolumeClaim"
                    | "PodTemplate"
                    | "ResourceQuota"
            )
    }

    /// The body as a tree of the kind that belongs here, and what is to be warned of.
    fn decode(&self, headers: &HeaderMap, body: &[u8]) -> Result<(Tree, Vec<String>), Rejected> {
        let below = self.info.subresource.as_deref().and_then(|name| self.kind.subresource(name));
        let (schema, kind, version) = match below {
            Some(below) => (below.schema(), below.kind.clone(), below.api_version()),
            None => (self.kind.schema(), self.kind.kind.clone(), self.kind.api_version()),
        };
        let sent = media::sent(header_text(headers, header::CONTENT_TYPE))?;
        let (mut tree, problems) = decoded(sent, body, schema, self.strictness).map_err(|error| {
            let what = self.kind.kind.as_str();
            malformed(&error, what, &version)
        })?;
        if self.strictness == Strictness::Strict && !problems.is_empty() {
            let message = format!(
                "{kind} in version {:?} cannot be handled as a {kind}: {}",
                self.kind.version(),
                codec::strict_error(&problems)
            );
            return Err(Rejected::bad_request(message));
        }
        check_kind(&mut tree, &kind, &version)?;
        let warnings = problems.iter().map(ToString::to_string).collect();
        Ok((tree, warnings))
    }

    fn delete_options(&self, headers: &HeaderMap, body: &[u8]) -> Result<DeleteOptions, Rejected> {
        let mut tree = json!({});
        if !body.is_empty() {
            let sent = media::sent(header_text(headers, header::CONTENT_TYPE))?;
            let schema = fields::type_of_kind("", "v1", "DeleteOptions");
            tree = decoded(sent, body, schema, Strictness::Ignore)
                .map_err(|error| malformed(&error, "DeleteOptions", "meta.k8s.io/v1"))?
                .0;
        }
        let grace = edit::integer(&tree, &["gracePeriodSeconds"])
            .and_then(|seconds| u32::try_from(seconds).ok())
            .or(self.query.number("gracePeriodSeconds")?.and_then(|seconds| u32::try_from(seconds).ok()));
        let policy = edit::text(&tree, &["propagationPolicy"]);
        let policy = if policy.is_empty() { self.query.text("propagationPolicy") } else { policy };
        let orphans = edit::at(&tree, &["orphanDependents"]).and_then(Tree::as_bool).unwrap_or(false);
        let propagation = match policy {
            "" if orphans || self.query.is_true("orphanDependents") => Some(Propagation::Orphan),
            "" => None,
            "Background" => Some(Propagation::Background),
            "Foreground" => Some(Propagation::Foreground),
            "Orphan" => Some(Propagation::Orphan),
            other => {
                let why = format!(
                    "propagationPolicy: Unsupported value: {other:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
                );
                return Err(Rejected::new(
                    Reason::Invalid,
                    format!("DeleteOptions.meta.k8s.io \"\" is invalid: {why}"),
                ));
            }
        };
        let text = |path: &[&str]| Some(edit::text(&tree, path).to_owned()).filter(|text| !text.is_empty());
        Ok(DeleteOptions {
            grace_period_seconds: grace,
            uid: text(&["preconditions", "uid"]),
            revision: text(&["preconditions", "resourceVersion"]).and_then(|revision| revision.parse().ok()),
            propagation,
            dry_run: !edit::list(&tree, &["dryRun"]).is_empty(),
        })
    }
}

fn decoded(
    sent: Sent,
    body: &[u8],
    schema: Option<TypeRef>,
    strictness: Strictness,
) -> Result<(Tree, Vec<codec::Problem>), DecodeError> {
    match sent {
        Sent::Json => codec::json::decode_as(body, schema, strictness),
        Sent::Yaml => codec::yaml::decode_as(body, schema, strictness),
        Sent::Protobuf => codec::protobuf::decode_as(body, schema).map(|tree| (tree, Vec::new())),
    }
}

fn malformed(error: &DecodeError, kind: &str, version: &str) -> Rejected {
    match error {
        DecodeError::TooLarge { .. } => Rejected::new(Reason::RequestEntityTooLarge, error.to_string()),
        DecodeError::NoProtobuf(_) => Rejected::new(Reason::UnsupportedMediaType, error.to_string()),
        _ => {
            let version = version.rsplit('/').next().unwrap_or_default();
            Rejected::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {error}"))
        }
    }
}

/// What a body says it is has to be what belongs here; a body that says nothing is taken for it.
fn check_kind(tree: &mut Tree, kind: &str, version: &str) -> Result<(), Rejected> {
    let (given_kind, given) = (edit::text(tree, &["kind"]).to_owned(), edit::text(tree, &["apiVersion"]).to_owned());
    if !given.is_empty() && given != version {
        let message =
            format!("the API version in the data ({given}) does not match the expected API version ({version})");
        return Err(Rejected::bad_request(message));
    }
    if !given_kind.is_empty() && given_kind != kind {
        let message = format!(
            "{given_kind} in version {version:?} cannot be handled as a {kind}: the kind in the data does not match the expected kind"
        );
        return Err(Rejected::bad_request(message));
    }
    if !tree.is_object() {
        return Err(Rejected::bad_request("the body is not an object"));
    }
    Ok(())
}

fn verb(method: &Method, info: &Info, query: &Query) -> Option<&'static str> {
    let one = !info.name.is_empty();
    Some(match (method.as_str(), one) {
        ("GET" | "HEAD", _)
            if (info.is_watch || query.is_true("watch") && query.get("watch") != Some("false"))
                && info.subresource.is_none() =>
        {
            "watch"
        }
        ("GET" | "HEAD", true) => "get",
        ("GET" | "HEAD", false) => "list",
        ("POST", false) => "create",
        ("POST", true) if info.subresource.is_some() => "create",
        ("PUT", true) => "update",
        ("PATCH", true) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => return None,
    })
}

fn check_path(kind: &Kind, info: &Info, verb: &str) -> Result<(), Rejected> {
    if info.namespace.is_some() && !kind.namespaced {
        return Err(no_such_path());
    }
    let needs_namespace = kind.namespaced && info.namespace.is_none() && (verb == "create" || !info.name.is_empty());
    if needs_namespace {
        return Err(if verb == "create" { not_allowed() } else { no_such_path() });
    }
    let verbs = match info.subresource.as_deref() {
        Some(name) => &kind.subresource(name).ok_or_else(no_such_path)?.verbs,
        None => &kind.verbs,
    };
    if verbs.iter().any(|known| known == verb) { Ok(()) } else { Err(not_allowed()) }
}

pub(super) fn no_such_path() -> Rejected {
    Rejected::new(Reason::NotFound, "the server could not find the requested resource")
}

fn not_allowed() -> Rejected {
    Rejected::new(Reason::MethodNotAllowed, "the server does not allow this method on the requested resource")
}

fn strictness(verb: &str, text: &str) -> Result<Strictness, Rejected> {
    match text {
        "" | "Warn" => Ok(Strictness::Warn),
        "Strict" => Ok(Strictness::Strict),
        "Ignore" => Ok(Strictness::Ignore),
        other => {
            let cause = Cause::unsupported("fieldValidation", &json!(other), &["", "Ignore", "Strict", "Warn"]);
            Err(Rejected::invalid("meta.k8s.io", options_kind(verb), "", vec![cause]))
        }
    }
}

/// What the query of a write is called where it is refused.
fn options_kind(verb: &str) -> &'static str {
    match verb {
        "create" => "CreateOptions",
        "update" => "UpdateOptions",
        "patch" => "PatchOptions",
        "delete" | "deletecollection" => "DeleteOptions",
        _ => "ListOptions",
    }
}

/// `fieldManager`, or the first word of the client's name for itself.
fn manager(query: &Query, headers: &HeaderMap) -> String {
    match query.get("fieldManager") {
        Some(manager) => manager.to_owned(),
        None => header_text(headers, header::USER_AGENT).split('/').next().unwrap_or_default().to_owned(),
    }
}

fn is_pretty(query: &Query, headers: &HeaderMap) -> bool {
    let agent = header_text(headers, header::USER_AGENT);
    let by_hand = ["curl", "Wget", "Mozilla/5.0"].iter().any(|name| agent.starts_with(name));
    match query.get("pretty") {
        Some(value) => matches!(value, "1" | "true"),
        None => by_hand,
    }
}

pub(super) fn header_text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
