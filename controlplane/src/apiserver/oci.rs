//! The HTTP face of the embedded image registry: the OCI distribution specification 1.1 under `/v2/`.
//!
//! Knows paths, headers and status codes; what is on disk is the business of `images`. Who may read was decided
//! before; who may write is told.

use std::io::SeekFrom;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Limited, StreamBody};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::body::{Body, BoxError, empty, full};
use crate::images::{Digest, Images, MANIFEST_BYTES_MAX, Manifest, Reference, Referrer, Repository};

mod refusal;
mod route;

use refusal::Refusal;
use route::{Query, Route};

/// Bytes of an upload that are written to disk at once.
const CHUNK_BYTES: usize = 512 * 1024;
/// Bytes of a blob that are read at once.
const READ_BYTES: usize = 64 * 1024;
/// Names in one answer, unless fewer are asked for.
const PAGE_MAX: usize = 1000;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

type Answer = Result<Response<Body>, Refusal>;

/// Answers one request under `/v2/`. `writer`: the user may push and delete, not only pull.
pub async fn handle<B>(images: &Arc<Images>, writer: bool, request: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let is_read = matches!(parts.method, Method::GET | Method::HEAD);
    let answer = match Route::parse(parts.uri.path()) {
        Some(_) if !is_read && !writer => Err(Refusal::denied()),
        Some(route) => {
            let query = Query::parse(parts.uri.query().unwrap_or_default());
            let exchange = Exchange { images: Arc::clone(images), method: parts.method, headers: parts.headers, query };
            exchange.answer(route, body).await
        }
        None => Err(Refusal::not_found(parts.uri.path())),
    };
    let mut response = answer.unwrap_or_else(Refusal::into_response);
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

/// A request without its path and body.
struct Exchange {
    images: Arc<Images>,
    method: Method,
    headers: HeaderMap,
    query: Query,
}

impl Exchange {
    async fn answer<B>(self, route: Route<'_>, body: B) -> Answer
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        let repository = |name: &str| Repository::parse(name);
        match (self.method.as_str(), route) {
            ("GET" | "HEAD", Route::Root) => json_answer(StatusCode::OK, &json!({})),
            ("GET", Route::Catalog) => self.catalog().await,
            ("GET", Route::Tags { name }) => self.tags(repository(name)?).await,
            ("GET", Route::Referrers { name, digest }) => {
                self.referrers(repository(name)?, Digest::parse(digest)?).await
            }
            ("GET" | "HEAD", Route::Manifest { name, reference }) => {
                self.manifest(repository(name)?, Reference::parse(reference)?).await
            }
            ("PUT", Route::Manifest { name, reference }) => {
                self.put_manifest(repository(name)?, Reference::parse(reference)?, body).await
            }
            ("DELETE", Route::Manifest { name, reference }) => {
                let (name, reference) = (repository(name)?, Reference::parse(reference)?);
                self.act(move |images| images.delete_manifest(&name, &reference)).await?;
                Ok(status(StatusCode::ACCEPTED))
            }
            ("GET" | "HEAD", Route::Blob { name, digest }) => {
                self.blob(repository(name)?, Digest::parse(digest)?).await
            }
            ("DELETE", Route::Blob { name, digest }) => {
                let (name, digest) = (repository(name)?, Digest::parse(digest)?);
                self.act(move |images| images.delete_blob(&name, &digest)).await?;
                Ok(status(StatusCode::ACCEPTED))
            }
            ("POST", Route::Uploads { name }) => self.begin(repository(name)?, body).await,
            ("GET", Route::Upload { name, id }) => {
                let at = self.act(move |images| images.uploaded(id)).await?;
                progress(StatusCode::NO_CONTENT, &repository(name)?, id, at)
            }
            ("PATCH", Route::Upload { name, id }) => {
                let at = self.receive(id, body).await?;
                progress(StatusCode::ACCEPTED, &repository(name)?, id, at)
            }
            ("PUT", Route::Upload { name, id }) => self.finish(repository(name)?, id, body).await,
            ("DELETE", Route::Upload { id, .. }) => {
                self.act(move |images| images.cancel(id)).await?;
                Ok(status(StatusCode::NO_CONTENT))
            }
            _ => Err(Refusal::method(&self.method)),
        }
    }

    /// Disks block, so they are asked on a thread that may.
    async fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Images) -> crate::images::Result<T> + Send + 'static,
    ) -> Result<T, Refusal> {
        let images = Arc::clone(&self.images);
        match tokio::task::spawn_blocking(move || act(&images)).await {
            Ok(done) => Ok(done?),
            Err(error) => Err(Refusal::internal(&error)),
        }
    }

    fn page(&self) -> (String, usize) {
        let max = self.query.value("n").and_then(|n| n.parse().ok()).unwrap_or(PAGE_MAX).min(PAGE_MAX);
        (self.query.value("last").unwrap_or_default().to_owned(), max)
    }

    async fn catalog(self) -> Answer {
        let (last, max) = self.page();
        let mut names = self.act(move |images| images.catalog(&last, max + 1)).await?;
        let more = cut(&mut names, max);
        let response = json_answer(StatusCode::OK, &json!({ "repositories": names }))?;
        paged(response, "/v2/_catalog", &names, more, max)
    }

    async fn tags(self, name: Repository) -> Answer {
        let (last, max) = self.page();
        let of = name.clone();
        let mut tags = self.act(move |images| images.tags(&of, &last, max + 1)).await?;
        let more = cut(&mut tags, max);
        let response = json_answer(StatusCode::OK, &json!({ "name": name.as_str(), "tags": tags }))?;
        paged(response, &format!("/v2/{name}/tags/list"), &tags, more, max)
    }

    async fn referrers(self, name: Repository, digest: Digest) -> Answer {
        let mut found = self.act(move |images| images.referrers(&name, &digest)).await?;
        let wanted = self.query.value("artifactType");
        if wanted.is_some() {
            found.retain(|referrer| referrer.artifact_type.as_deref() == wanted);
        }
        let manifests: Vec<_> = found.iter().map(descriptor).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        let mut response = json_answer(StatusCode::OK, &index)?;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(INDEX));
        if wanted.is_some() {
            response.headers_mut().insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
        }
        Ok(response)
    }

    async fn manifest(self, name: Repository, reference: Reference) -> Answer {
        let Manifest { digest, media_type, bytes } = self.act(move |images| images.manifest(&name, &reference)).await?;
        let builder = Response::builder()
            .header(header::CONTENT_TYPE, media_type)
            .header(header::CONTENT_LENGTH, bytes.len())
            .header(header::ETAG, format!("\"{digest}\""))
            .header(CONTENT_DIGEST, digest.to_string());
        Ok(builder.body(if self.method == Method::HEAD { empty() } else { full(bytes) })?)
    }

    async fn put_manifest<B>(self, name: Repository, reference: Reference, body: B) -> Answer
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        let bytes = Limited::new(body, MANIFEST_BYTES_MAX).collect().await.map_err(Refusal::unread)?.to_bytes();
        let media_type = self.header(&header::CONTENT_TYPE).unwrap_or_default().to_owned();
        let (into, by) = (name.clone(), reference.clone());
        let put = self.act(move |images| images.put_manifest(&into, &by, &media_type, &bytes));
        let (digest, subject) = put.await?;
        let builder = Response::builder()
            .status(StatusCode::CREATED)
            .header(header::LOCATION, format!("/v2/{name}/manifests/{reference}"))
            .header(CONTENT_DIGEST, digest.to_string());
        let builder = subject.into_iter().fold(builder, |builder, of| builder.header(SUBJECT, of.to_string()));
        Ok(builder.body(empty())?)
    }

    async fn blob(self, name: Repository, digest: Digest) -> Answer {
        let wanted = digest.clone();
        let blob = self.act(move |images| images.blob(&name, &wanted)).await?;
        let range = self.header(&header::RANGE).and_then(|range| route::byte_range(range, blob.bytes));
        let (first, length, code) = match range {
            None => (0, blob.bytes, StatusCode::OK),
            Some(Some((first, last))) => (first, last - first + 1, StatusCode::PARTIAL_CONTENT),
            Some(None) => return Err(Refusal::range(blob.bytes)),
        };
        let mut builder = Response::builder()
            .status(code)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, length)
            .header(header::ACCEPT_RANGES, "bytes")
            .header(header::ETAG, format!("\"{digest}\""))
            .header(CONTENT_DIGEST, digest.to_string());
        if code == StatusCode::PARTIAL_CONTENT {
            let range = format!("bytes {first}-{}/{}", first + length - 1, blob.bytes);
            builder = builder.header(header::CONTENT_RANGE, range);
        }
        if self.method == Method::HEAD {
            return Ok(builder.body(empty())?);
        }
        let mut file = tokio::fs::File::open(&blob.path).await.map_err(|error| Refusal::internal(&error))?;
        file.seek(SeekFrom::Start(first)).await.map_err(|error| Refusal::internal(&error))?;
        let parts = ReaderStream::with_capacity(file.take(length), READ_BYTES);
        Ok(builder.body(StreamBody::new(parts.map_ok(Frame::data).map_err(BoxError::from)).boxed_unsync())?)
    }

    /// Begins an upload; or takes the whole blob, or takes it over from another repository.
    async fn begin<B>(self, name: Repository, body: B) -> Answer
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        if let (Some(digest), Some(from)) = (self.query.value("mount"), self.query.value("from")) {
            let (digest, from) = (Digest::parse(digest)?, Repository::parse(from)?);
            let (into, what) = (name.clone(), digest.clone());
            if self.act(move |images| images.mount(&into, &from, &what)).await? {
                return created(&name, &digest);
            }
        }
        let id = self.act(Images::begin).await?;
        if self.query.value("digest").is_some() {
            return self.finish(name, id, body).await;
        }
        progress(StatusCode::ACCEPTED, &name, id, 0)
    }

    /// Takes what is left of an upload, and makes it a blob.
    async fn finish<B>(self, name: Repository, id: Uuid, body: B) -> Answer
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        let digest = self.query.value("digest").ok_or_else(|| Refusal::digest("the digest is missing"))?;
        let digest = Digest::parse(digest)?;
        self.receive(id, body).await?;
        let (into, what) = (name.clone(), digest.clone());
        self.act(move |images| images.finish(&into, id, &what)).await?;
        created(&name, &digest)
    }

    /// Adds a body to an upload, a bounded piece at a time. Returns how much there is now.
    async fn receive<B>(&self, id: Uuid, body: B) -> Result<u64, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        let mut body = std::pin::pin!(body);
        let mut at = self.act(move |images| images.uploaded(id)).await?;
        if let Some(range) = self.header(&header::CONTENT_RANGE)
            && route::chunk_start(range) != Some(at)
        {
            return Err(crate::images::Error::OutOfOrder { at }.into());
        }
        let mut chunk = Vec::new();
        loop {
            let frame = body.frame().await.transpose().map_err(|error| Refusal::unread(error.into()))?;
            let is_last = frame.is_none();
            if let Some(data) = frame.and_then(|frame| frame.into_data().ok()) {
                chunk.extend_from_slice(&data);
            }
            if !chunk.is_empty() && (is_last || chunk.len() >= CHUNK_BYTES) {
                let piece = std::mem::take(&mut chunk);
                at = self.act(move |images| images.append(id, at, &piece)).await?;
            }
            if is_last {
                return Ok(at);
            }
        }
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

fn status(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = code;
    response
}

fn json_answer(code: StatusCode, value: &serde_json::Value) -> Answer {
    let builder = Response::builder().status(code).header(header::CONTENT_TYPE, "application/json");
    Ok(builder.body(full(value.to_string()))?)
}

fn created(name: &Repository, digest: &Digest) -> Answer {
    let builder = Response::builder()
        .status(StatusCode::CREATED)
        .header(header::LOCATION, format!("/v2/{name}/blobs/{digest}"))
        .header(CONTENT_DIGEST, digest.to_string());
    Ok(builder.body(empty())?)
}

/// Where an upload stands. The range includes its last byte, so nothing at all looks like one byte; clients know.
fn progress(code: StatusCode, name: &Repository, id: Uuid, at: u64) -> Answer {
    let builder = Response::builder()
        .status(code)
        .header(header::LOCATION, format!("/v2/{name}/blobs/uploads/{id}"))
        .header(header::RANGE, format!("0-{}", at.saturating_sub(1)))
        .header(UPLOAD_UUID, id.to_string());
    Ok(builder.body(empty())?)
}

fn cut(names: &mut Vec<String>, max: usize) -> bool {
    let more = names.len() > max;
    names.truncate(max);
    more
}

fn paged(mut response: Response<Body>, path: &str, names: &[String], more: bool, max: usize) -> Answer {
    if let (true, Some(last)) = (more, names.last()) {
        let link = format!("<{path}?n={max}&last={last}>; rel=\"next\"");
        response.headers_mut().insert(header::LINK, HeaderValue::try_from(link).map_err(http::Error::from)?);
    }
    Ok(response)
}

fn descriptor(referrer: &Referrer) -> serde_json::Value {
    let mut descriptor = json!({
        "mediaType": referrer.media_type,
        "digest": referrer.digest.to_string(),
        "size": referrer.bytes,
    });
    if let Some(kind) = &referrer.artifact_type {
        descriptor["artifactType"] = json!(kind);
    }
    if !referrer.annotations.is_empty() {
        descriptor["annotations"] = json!(referrer.annotations);
    }
    descriptor
}

#[cfg(test)]
mod tests;
