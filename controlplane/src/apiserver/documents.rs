//! What is served beside the resources: discovery, OpenAPI, version, health, keys.

use super::body::{self, Body};
use super::verbs::header_text;
use super::{Server, answer, discovery, openapi};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::json;
use std::fmt::Write;

/// The Kubernetes version whose API is served.
const MAJOR: &str = "1";
const MINOR: &str = "36";

impl Server {
    /// The document at a path; `None` if there is none.
    pub(super) async fn document(
        &self,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Option<Response<Body>> {
        let served = self.registry.served();
        let kinds = &served.kinds;
        let accept = header_text(headers, header::ACCEPT);
        let form = discovery::form(accept);
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let found = match parts.as_slice() {
            [""] => return Some(paths()),
            ["api"] => discovery::api(kinds, form, header_text(headers, header::HOST)),
            ["apis"] => discovery::apis(kinds, form),
            ["api", version] => discovery::version(kinds, "", version)?,
            ["apis", group] => discovery::group(kinds, group)?,
            ["apis", group, version] => discovery::version(kinds, group, version)?,
            ["openapi", "v2"] if accept.contains("com.github.proto-openapi") => {
                return Some(zipped(self.openapi().v2_protobuf(), headers));
            }
            ["openapi", "v2"] => return Some(zipped(self.openapi().v2(), headers)),
            ["openapi", "v3"] => {
                return Some(answer::bytes_of(StatusCode::OK, self.openapi().v3_index().to_string(), answer::JSON));
            }
            ["openapi", "v3", ..] => {
                let openapi = self.openapi();
                let (_, document) = openapi.v3(path.strip_prefix("/openapi/v3/")?)?;
                return Some(zipped(document, headers));
            }
            ["version"] => return Some(version()),
            ["healthz" | "livez" | "readyz", ..] => return Some(self.health(&parts, query).await),
            [".well-known", "openid-configuration"] => return Some(self.openid()),
            ["openid", "v1", "jwks"] => {
                return Some(answer::bytes_of(StatusCode::OK, self.pki.tokens().jwks(), "application/jwk-set+json"));
            }
            _ => return None,
        };
        Some(document(&found, headers))
    }

    /// A server is ready while its store answers; that it lives does not depend on it.
    async fn health(&self, parts: &[&str], query: Option<&str>) -> Response<Body> {
        let is_ready = parts[0] == "livez" || self.registry.is_ready().await;
        let checks = [("ping", true), ("store", is_ready), ("registry", true)];
        let verbose = query.is_some_and(|query| query.split('&').any(|pair| pair.starts_with("verbose")));
        if let Some(check) = parts.get(1) {
            return match checks.iter().find(|(name, _)| name == check) {
                Some((_, true)) => answer::text(StatusCode::OK, "ok"),
                Some((_, false)) => {
                    answer::text(StatusCode::INTERNAL_SERVER_ERROR, "internal server error: not ready\n")
                }
                None => answer::text(StatusCode::NOT_FOUND, "404 page not found\n"),
            };
        }
        if is_ready && !verbose {
            return answer::text(StatusCode::OK, "ok");
        }
        let line = |(name, is_good): &(&str, bool)| match is_good {
            true => format!("[+]{name} ok\n"),
            false => format!("[-]{name} failed: it does not answer\n"),
        };
        let mut text: String = checks.iter().map(line).collect();
        let _ = writeln!(text, "{} check {}", parts[0], if is_ready { "passed" } else { "failed" });
        answer::text(if is_ready { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }, text)
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

fn paths() -> Response<Body> {
    let paths = [
        "/api",
        "/api/v1",
        "/apis",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ];
    answer::bytes_of(StatusCode::OK, json!({ "paths": paths }).to_string(), answer::JSON)
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
    answer::bytes_of(StatusCode::OK, version.to_string(), answer::JSON)
}

fn document(document: &discovery::Document, headers: &HeaderMap) -> Response<Body> {
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
