//! From objects and refusals to HTTP answers. Lists and single objects are their stored bytes; only tables and
//! metadata views are made for the answer.

use super::aggregator::Proxied;
use super::body::{self, Body, full};
use super::media::{self, Accepted, Encoding, Offer, PROTOBUF, Shape};
use super::table::View;
use crate::registry::Page;
use api::kinds::Kind;
use api::{Object, Rejected, Tree};
use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;
use std::io::Write;
use std::sync::Arc;

/// Of a list: small enough to be in the processor's cache until it is encrypted.
const PIECE_BYTES: usize = 64 * 1024;
/// Smaller bodies cost more to compress than to send.
const GZIP_FROM: usize = 128 * 1024;

pub(super) const JSON: &str = "application/json";

/// One object.
pub(super) fn object(status: StatusCode, object: &Arc<Object>, view: &View<'_>, accepted: Accepted) -> Response<Body> {
    match accepted.shape {
        Shape::Whole if accepted.encoding == Encoding::Protobuf => match view.protobuf(object) {
            Some(bytes) => bytes_of(status, bytes, PROTOBUF),
            None => bytes_of(status, line(object.json()), JSON),
        },
        Shape::Whole => encoded(status, line(object.json()), accepted),
        Shape::Table => {
            let meta = json!({ "resourceVersion": object.revision().to_string() });
            encoded(status, line(&view.table(std::slice::from_ref(object), &meta, true)), accepted)
        }
        Shape::Metadata | Shape::MetadataList => encoded(status, line(&view.metadata(object)), accepted),
    }
}

/// A page of a list.
pub(super) fn list(page: &Page, view: &View<'_>, accepted: Accepted) -> Response<Body> {
    let mut meta = json!({ "resourceVersion": page.revision.to_string() });
    match &page.next {
        Some(next) => meta["continue"] = next.as_str().into(),
        // Upstream's untyped lists always have the key.
        None if view.kind.is_custom() && accepted.shape == Shape::Whole => meta["continue"] = "".into(),
        None => {}
    }
    if let Some(remaining) = page.remaining {
        meta["remainingItemCount"] = remaining.into();
    }
    let bytes = match accepted.shape {
        Shape::Whole => {
            let items = Items::new(page, view.kind, &meta);
            if accepted.encoding == Encoding::Json && !accepted.pretty {
                let length = items.length();
                return of_length(StatusCode::OK, length, body::parts(length, items), JSON);
            }
            items.flatten().collect::<Bytes>()
        }
        Shape::Table => line(&view.table(&page.items, &meta, true)),
        Shape::Metadata | Shape::MetadataList => metadata_bytes(page, view, &meta),
    };
    encoded(StatusCode::OK, bytes, accepted)
}

fn metadata_bytes(page: &Page, view: &View<'_>, meta: &Tree) -> Bytes {
    let mut out = BytesMut::new();
    let version = view.api_version();
    let head = format!(
        "{{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"{version}\",\"metadata\":{meta},\"items\":["
    );
    out.put_slice(head.as_bytes());
    for (index, object) in page.items.iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        out.put_slice(&view.metadata(object));
    }
    out.put_slice(b"]}\n");
    out.freeze()
}

/// A list: the stored bytes one after the other, copied in pieces as they are sent. Items of a list do not repeat their
/// kind.
struct Items {
    head: Option<String>,
    objects: std::vec::IntoIter<Arc<Object>>,
    /// What each object begins with, and an item does not.
    kind: String,
    is_first: bool,
    is_over: bool,
}

const LIST_END: &[u8] = b"]}\n";

// === impl Items ===

impl Items {
    fn new(page: &Page, kind: &Kind, meta: &Tree) -> Items {
        let (name, version) = (&kind.kind, kind.api_version());
        let head =
            format!("{{\"kind\":\"{}\",\"apiVersion\":\"{version}\",\"metadata\":{meta},\"items\":[", kind.list_kind);
        let kind = format!("{{\"kind\":\"{name}\",\"apiVersion\":\"{version}\",");
        let objects = page.items.clone().into_iter();
        Items { head: Some(head), objects, kind, is_first: true, is_over: false }
    }

    /// What is left of an object.
    fn item<'o>(&self, object: &'o Object) -> (&'static [u8], &'o [u8]) {
        match object.json().strip_prefix(self.kind.as_bytes()) {
            Some(rest) => (b"{", rest),
            None => (b"", object.json()),
        }
    }

    /// Of all pieces, before the first is taken.
    fn length(&self) -> usize {
        let items = self.objects.as_slice().iter().map(|object| {
            let (begin, rest) = self.item(object);
            begin.len() + rest.len()
        });
        let commas = self.objects.len().saturating_sub(1);
        self.head.as_ref().map_or(0, String::len) + items.sum::<usize>() + commas + LIST_END.len()
    }
}

impl Iterator for Items {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        // The last object of a piece may reach beyond it.
        let mut out = BytesMut::with_capacity(PIECE_BYTES + PIECE_BYTES / 4);
        if let Some(head) = self.head.take() {
            out.put_slice(head.as_bytes());
        }
        while out.len() < PIECE_BYTES {
            let Some(object) = self.objects.next() else {
                out.put_slice(LIST_END);
                self.is_over = true;
                break;
            };
            if !std::mem::replace(&mut self.is_first, false) {
                out.put_u8(b',');
            }
            let (begin, rest) = self.item(&object);
            out.put_slice(begin);
            out.put_slice(rest);
        }
        Some(out.freeze())
    }
}

/// A document made for this answer.
pub(super) fn tree(status: StatusCode, tree: &Tree, accepted: Accepted) -> Response<Body> {
    let plain = || bytes_of(status, line(tree.to_string().as_bytes()), JSON);
    match accepted.encoding {
        Encoding::Json if accepted.pretty => {
            bytes_of(status, serde_json::to_vec_pretty(tree).unwrap_or_default(), JSON)
        }
        Encoding::Json => plain(),
        Encoding::Yaml => bytes_of(status, api::codec::yaml::encode(tree), "application/yaml"),
        Encoding::Protobuf => protobuf(tree).map_or_else(plain, |bytes| bytes_of(status, bytes, PROTOBUF)),
    }
}

/// A line of JSON, as the client wants it written.
fn encoded(status: StatusCode, json: Bytes, accepted: Accepted) -> Response<Body> {
    if accepted.encoding == Encoding::Json && !accepted.pretty {
        return bytes_of(status, json, JSON);
    }
    tree(status, &serde_json::from_slice(&json).unwrap_or_default(), accepted)
}

/// Go's encoder ends each value with a line's end.
fn line(json: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(json.len() + 1);
    out.put_slice(json);
    out.put_u8(b'\n');
    out.freeze()
}

/// By what the tree says it is; `None` for what has no protobuf form.
pub(super) fn protobuf(tree: &Tree) -> Option<Vec<u8>> {
    let named = api::codec::named::named(tree, ("v1", "")).ok()?;
    let schema = api::fields::type_of_kind(&named.group, &named.version, &named.kind)?;
    Some(api::codec::protobuf::encode_as(tree, schema))
}

/// Bytes of a media type.
pub(super) fn bytes_of(status: StatusCode, bytes: impl Into<Bytes>, media: &'static str) -> Response<Body> {
    let bytes = bytes.into();
    of_length(status, bytes.len(), full(bytes), media)
}

fn of_length(status: StatusCode, length: usize, body: Body, media: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// Plain text.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    bytes_of(status, text, "text/plain; charset=utf-8")
}

/// What Go's own router says of a path that nobody takes.
pub(super) fn nothing_there() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A refusal, in an encoding that the client takes, if there is one.
pub(super) fn refusal(rejected: &Rejected, accept: &str, pretty: bool) -> Response<Body> {
    let status = StatusCode::from_u16(rejected.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let accepted = media::accepted(accept, pretty, Offer::DOCUMENT).unwrap_or(Accepted::FALLBACK);
    let mut response = tree(status, &rejected.status(), accepted);
    if rejected.details.retry_after_seconds > 0 {
        let seconds = HeaderValue::from(rejected.details.retry_after_seconds);
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    if status == StatusCode::UNAUTHORIZED {
        let realm = HeaderValue::from_static("Bearer realm=\"coracle\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
    }
    response
}

/// Adds `Warning` headers (RFC 9111, section 5.5, code 299), each once.
pub(super) fn warn(response: &mut Response<Body>, warnings: &[impl AsRef<str>]) {
    for warning in warnings {
        let plain: String = warning.as_ref().chars().filter(|c| c.is_ascii() && !c.is_ascii_control()).collect();
        let text = format!("299 - \"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\""));
        let is_said = response.headers().get_all(header::WARNING).iter().any(|said| said.as_bytes() == text.as_bytes());
        if let Ok(value) = HeaderValue::try_from(text)
            && !is_said
        {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

/// Compresses a large body for a client that reads gzip.
pub(super) async fn compress(response: Response<Body>, accepts_gzip: bool) -> Response<Body> {
    use http_body::Body as _;
    use http_body_util::BodyExt as _;
    let large = response.body().size_hint().exact().is_some_and(|length| length >= GZIP_FROM as u64);
    let is_ours = response.extensions().get::<Proxied>().is_none();
    if !is_ours || !accepts_gzip || !large || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(collected) = body.collect().await else { return Response::from_parts(parts, full(Bytes::new())) };
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let zipped = gzip.write_all(&collected.to_bytes()).and_then(|()| gzip.finish()).unwrap_or_default();
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(zipped.len()));
    Response::from_parts(parts, full(zipped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::time::Timestamp;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn a_list_is_as_long_as_it_says() {
        let kind = api::kinds::find(&api::resource::CONFIG_MAPS).expect("built in");
        let object = |number: usize, padding: usize| {
            let map = json!({
                "kind": "ConfigMap", "apiVersion": "v1",
                "metadata": {"name": format!("m{number}")}, "data": {"a": "x".repeat(padding)},
            });
            Arc::new(Object::from_tree(&map).expect("an object"))
        };
        let foreign = Arc::new(Object::from_tree(&json!({"metadata": {"name": "foreign"}})).expect("an object"));
        for (count, padding) in [(0, 0), (1, 10), (3, 10), (100, 3000), (3, PIECE_BYTES)] {
            let mut items: Vec<_> = (0..count).map(|number| object(number, padding)).collect();
            items.extend((count > 1).then(|| Arc::clone(&foreign)));
            let expected: Vec<String> = items.iter().map(|item| item.name().to_owned()).collect();
            let page = Page { items, revision: 7, next: None, remaining: None };
            let made = super::super::made::Made::default();
            let now = Timestamp::UNIX_EPOCH;
            let view =
                View { made: &made, kind, scale: false, include: super::super::table::Include::None, beta: false, now };
            let accepted = Accepted { pretty: false, ..Accepted::FALLBACK };
            let response = list(&page, &view, accepted);
            let length = response.headers()[header::CONTENT_LENGTH].to_str().expect("a number").to_owned();
            let bytes = response.into_body().collect().await.expect("all of it").to_bytes();
            assert_eq!(bytes.len().to_string(), length);
            let tree: Tree = serde_json::from_slice(&bytes).expect("JSON");
            assert_eq!((&tree["kind"], &tree["metadata"]["resourceVersion"]), (&json!("ConfigMapList"), &json!("7")));
            let found: Vec<&str> = tree["items"]
                .as_array()
                .expect("items")
                .iter()
                .filter_map(|item| item["metadata"]["name"].as_str())
                .collect();
            assert_eq!(found, expected);
            assert!(tree["items"].as_array().expect("items").iter().all(|item| item.get("kind").is_none()));
        }
    }
}
