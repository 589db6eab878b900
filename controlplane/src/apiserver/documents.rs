//! What is served beside the resources: discovery, OpenAPI, version, health, keys.

use super::body::{self, Body};
use super::discovery::{self, Form};
use super::media::{self, Accepted, Encoding, Offer};
use super::openapi;
use super::request::Query;
use super::verbs::{header_text, is_pretty, no_such_path, not_allowed};
use super::{Server, answer};
use api::rejected::Reason;
use api::{Kind, Rejected};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// The Kubernetes version whose API is served.
const MAJOR: &str = "1";
const MINOR: &str = "36";
/// How long a document may be kept whose URL names its content.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The media type of a key set (RFC 7517).
const JWKS: &str = "application/jwk-set+json";

impl Server {
    /// The document at a path; `None` if there is none.
    pub(super) async fn document(&self, request: &Request<Incoming>) -> Result<Option<Response<Body>>, Rejected> {
        let (path, headers) = (request.uri().path(), request.headers());
        let accept = header_text(headers, header::ACCEPT);
        let query = Query::parse(request.uri().query());
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        Ok(match parts.as_slice() {
            [""] => Some(self.paths()),
            ["api" | "apis", ..] => return self.discovered(&parts, &query, request),
            ["openapi", "v2"] if accept.contains("com.github.proto-openapi") => {
                Some(zipped(self.openapi().v2_protobuf(), headers))
            }
            ["openapi", "v2"] => Some(zipped(self.openapi().v2(), headers)),
            ["openapi", "v3"] => {
                Some(answer::bytes_of(StatusCode::OK, self.openapi().v3_index().to_string(), answer::JSON))
            }
            ["openapi", "v3", ..] => {
                path.strip_prefix("/openapi/v3/").and_then(|path| self.openapi_v3(path, &query, headers))
            }
            ["healthz" | "livez" | "readyz"] => Some(self.health(parts[0], &query).await),
            ["healthz" | "livez" | "readyz", check] => self.health_of(parts[0], check).await,
            ["version"] => Some(only_read(request, version())?),
            [".well-known", "openid-configuration"] => Some(only_read(request, self.openid())?),
            ["openid", "v1", "jwks"] => {
                let accepts = ["", "*/*", "application/*", JWKS];
                let accept = header_text(request.headers(), header::ACCEPT);
                if !accept.split(',').any(|one| accepts.contains(&one.split(';').next().unwrap_or_default().trim())) {
                    return Err(Rejected::unroutable(Reason::NotAcceptable, "406: Not Acceptable"));
                }
                let keys = self.pki.tokens().jwks();
                Some(only_read(request, answer::bytes_of(StatusCode::OK, keys, JWKS))?)
            }
            _ => None,
        })
    }

    /// Upstream's router serves these, except where a group as a whole is asked for.
    fn discovered(
        &self,
        parts: &[&str],
        query: &Query,
        request: &Request<Incoming>,
    ) -> Result<Option<Response<Body>>, Rejected> {
        let (served, headers) = (self.registry.served(), request.headers());
        let kinds = &served.kinds;
        let others = self.aggregator.externals(&self.registry);
        let accept = header_text(headers, header::ACCEPT);
        let form = discovery::form(accept);
        let is_builtin = |group: &str| kinds.iter().any(|kind| kind.group() == group && !kind.is_custom());
        let (found, is_routed) = match parts {
            ["api"] => (Some(discovery::api(kinds, form, header_text(headers, header::HOST))), true),
            ["api", version] => (Some(discovery::version(kinds, "", version).ok_or_else(no_such_path)?), true),
            ["apis"] => (Some(discovery::apis(kinds, &others, form)), false),
            ["apis", group] => (discovery::group(kinds, &others, group), false),
            ["apis", group, version] => match discovery::version(kinds, group, version) {
                None if is_builtin(group) => return Err(no_such_path()),
                found => (found, is_builtin(group)),
            },
            _ => (None, false),
        };
        let Some(found) = found else { return Ok(None) };
        if is_routed && *request.method() != Method::GET {
            return Err(not_allowed());
        }
        if found.form != Form::Plain {
            return Ok(Some(tagged(&found, headers)));
        }
        if is_routed {
            media::check_routable(accept, false)?;
        }
        let accepted = media::accepted(accept, is_pretty(query, headers), Offer::DOCUMENT)?;
        Ok(Some(document(&found, accepted, headers)))
    }

    /// A document whose URL names its content may be kept; one with an old name has moved to its new one.
    fn openapi_v3(&self, path: &str, query: &Query, headers: &HeaderMap) -> Option<Response<Body>> {
        let openapi = self.openapi();
        let (hash, document) = openapi.v3(path)?;
        let Some(asked) = query.get("hash") else { return Some(zipped(document, headers)) };
        if asked != hash {
            let mut moved = Response::new(body::empty());
            *moved.status_mut() = StatusCode::MOVED_PERMANENTLY;
            let location = HeaderValue::try_from(format!("/openapi/v3/{path}?hash={hash}")).ok()?;
            moved.headers_mut().insert(header::LOCATION, location);
            return Some(moved);
        }
        let mut response = zipped(document, headers);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        let expires = self.clock.now().checked_add(YEAR).ok()?.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        response.headers_mut().insert(header::EXPIRES, HeaderValue::try_from(expires).ok()?);
        Some(response)
    }

    /// What is looked at, under the names that upstream has for it. A server is ready while its store answers; that it
    /// lives does not depend on it.
    async fn checks(&self, place: &str) -> Vec<(&'static str, bool)> {
        let has_store = place == "livez" || self.registry.is_ready().await;
        let mut checks = vec![("ping", true), ("log", true), ("etcd", has_store), ("informer-sync", true)];
        if place == "readyz" {
            checks.push(("shutdown", !self.shutdown.is_cancelled()));
        }
        checks
    }

    async fn health(&self, place: &str, query: &Query) -> Response<Body> {
        let excluded = query.all("exclude");
        let (mut text, mut is_good) = (String::new(), true);
        let checks = self.checks(place).await;
        for (name, has_passed) in &checks {
            let _ = if excluded.iter().any(|excluded| excluded == name) {
                writeln!(text, "[+]{name} excluded: ok")
            } else if *has_passed {
                writeln!(text, "[+]{name} ok")
            } else {
                is_good = false;
                writeln!(text, "[-]{name} failed: reason withheld")
            };
        }
        let unknown: Vec<String> = excluded
            .iter()
            .filter(|excluded| !checks.iter().any(|(name, _)| name == excluded))
            .map(|excluded| format!("{excluded:?}"))
            .collect();
        if !unknown.is_empty() {
            let _ = writeln!(text, "warn: some health checks cannot be excluded: no matches for {}", unknown.join(","));
        }
        if !is_good {
            let _ = writeln!(text, "{place} check failed");
            return answer::text(StatusCode::INTERNAL_SERVER_ERROR, text);
        }
        if !query.has("verbose") {
            return answer::text(StatusCode::OK, "ok");
        }
        let _ = writeln!(text, "{place} check passed");
        answer::text(StatusCode::OK, text)
    }

    async fn health_of(&self, place: &str, check: &str) -> Option<Response<Body>> {
        let checks = self.checks(place).await;
        let (_, has_passed) = checks.iter().find(|(name, _)| *name == check)?;
        Some(if *has_passed {
            answer::text(StatusCode::OK, "ok")
        } else {
            let why = format!("internal server error: {check} failed: reason withheld\n");
            answer::text(StatusCode::INTERNAL_SERVER_ERROR, why)
        })
    }

    /// `/`: where there is something.
    fn paths(&self) -> Response<Body> {
        let mut paths: Vec<String> = [
            "/.well-known/openid-configuration",
            "/api",
            "/apis",
            "/apis/",
            "/healthz",
            "/healthz/etcd",
            "/healthz/informer-sync",
            "/healthz/log",
            "/healthz/ping",
            "/livez",
            "/livez/etcd",
            "/livez/informer-sync",
            "/livez/log",
            "/livez/ping",
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/openapi/v3/",
            "/openid/v1/jwks",
            "/readyz",
            "/readyz/etcd",
            "/readyz/informer-sync",
            "/readyz/log",
            "/readyz/ping",
            "/readyz/shutdown",
            "/version",
        ]
        .map(str::to_owned)
        .to_vec();
        let of = |kind: &Arc<Kind>| match kind.group() {
            "" => vec![format!("/api/{}", kind.version())],
            group => vec![format!("/apis/{group}"), format!("/apis/{group}/{}", kind.version())],
        };
        paths.extend(self.registry.served().kinds.iter().flat_map(of));
        let extensions = self.registry.extensions();
        paths.extend(
            extensions
                .iter()
                .map(|one| &one.spec)
                .flat_map(|spec| [format!("/apis/{}", spec.group), format!("/apis/{}/{}", spec.group, spec.version)]),
        );
        paths.sort_unstable();
        paths.dedup();
        answer::tree(StatusCode::OK, &json!({ "paths": paths }), Accepted::FALLBACK)
    }

    fn openid(&self) -> Response<Body> {
        let document = json!({
            "issuer": self.issuer,
            "jwks_uri": format!("{}/openid/v1/jwks", self.issuer),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        });
        answer::bytes_of(StatusCode::OK, document.to_string(), answer::JSON)
    }
}

/// Upstream's router takes no other method here.
fn only_read(request: &Request<Incoming>, response: Response<Body>) -> Result<Response<Body>, Rejected> {
    if *request.method() == Method::GET { Ok(response) } else { Err(not_allowed()) }
}

fn version() -> Response<Body> {
    let version = json!({
        "major": MAJOR,
        "minor": MINOR,
        "gitVersion": format!("v{}+coracle.{}", api::KUBERNETES_VERSION, env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }),
    });
    answer::tree(StatusCode::OK, &version, Accepted::FALLBACK)
}

/// A plain document, in the encoding that was asked for.
fn document(document: &discovery::Document, accepted: Accepted, headers: &HeaderMap) -> Response<Body> {
    if accepted.encoding == Encoding::Json && !accepted.pretty {
        return tagged(document, headers);
    }
    let tree = serde_json::from_slice(&document.body).unwrap_or_default();
    let mut response = answer::tree(StatusCode::OK, &tree, accepted);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

/// A document as it is, unless the client has it.
fn tagged(document: &discovery::Document, headers: &HeaderMap) -> Response<Body> {
    let etag = HeaderValue::try_from(document.etag.as_str()).ok();
    let known = header_text(headers, header::IF_NONE_MATCH);
    let mut response = if !known.is_empty() && known == document.etag {
        let mut unchanged = Response::new(body::empty());
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        unchanged
    } else {
        answer::bytes_of(StatusCode::OK, document.body.clone(), document.content_type)
    };
    if let Some(etag) = etag {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    if document.form != Form::Plain {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    }
    response
}

/// OpenAPI documents are kept compressed, since nearly every client takes them so.
fn zipped(document: &openapi::Document, headers: &HeaderMap) -> Response<Body> {
    let known = header_text(headers, header::IF_NONE_MATCH);
    let mut response = if !known.is_empty() && known == document.etag {
        let mut unchanged = Response::new(body::empty());
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        unchanged
    } else if header_text(headers, header::ACCEPT_ENCODING).contains("gzip") {
        let mut zipped = answer::bytes_of(StatusCode::OK, document.gzip.clone(), document.content_type);
        zipped.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        zipped
    } else {
        answer::bytes_of(StatusCode::OK, document.plain(), document.content_type)
    };
    if let Ok(etag) = HeaderValue::try_from(document.etag.as_str()) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    response
}
