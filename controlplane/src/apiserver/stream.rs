//! Watches on the wire: one JSON object a line, the objects as their stored bytes; what is ready goes out together.

use super::answer;
use super::body::{Body, stream};
use super::made::Made;
use super::media::{Accepted, Encoding, Shape};
use super::table::{Include, View};
use api::kinds::Kind;
use api::{Object, Rejected, Tree};
use bytes::{BufMut, Bytes, BytesMut};
use client::{Clock, Error, Event, Events};
use futures::{StreamExt, future, stream as streams};
use http::{HeaderValue, Response, StatusCode, header};
use rand::Rng;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Events that go into one chunk at most.
const CHUNK_EVENTS: usize = 256;
/// How long a watch lives that named no limit: between this and twice as long, as kube-apiserver's.
const LIFE: Duration = Duration::from_secs(1800);

const PROTOBUF_STREAM: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// How events are shown.
pub(super) struct Form {
    pub(super) kind: Arc<Kind>,
    pub(super) accepted: Accepted,
    pub(super) include: Include,
    pub(super) made: Arc<Made>,
    pub(super) clock: Clock,
    pub(super) started: bool,
}

/// How long a watch lasts that asked for so many seconds.
pub(super) fn life(seconds: Option<i64>) -> Duration {
    match seconds {
        None | Some(0) => LIFE.mul_f64(rand::rng().random_range(1.0..2.0)),
        Some(seconds) => Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
    }
}

/// The answer to a watch.
pub(super) fn response(events: Events, form: Form, life: Duration, shutdown: CancellationToken) -> Response<Body> {
    // No event is a list: who asks for lists is told nothing, as by upstream.
    let is_list = form.accepted.shape == Shape::MetadataList;
    let events: Events = if is_list { Box::pin(streams::pending()) } else { events };
    let ended = async move {
        tokio::select! {
            () = tokio::time::sleep(life) => {}
            () = shutdown.cancelled() => {}
        }
    };
    let is_protobuf = form.accepted.encoding == Encoding::Protobuf;
    let chunks = events.ready_chunks(CHUNK_EVENTS).scan(form, |form, events| {
        let mut out = BytesMut::new();
        for event in events {
            form.write(&event, &mut out);
        }
        future::ready(Some(out.freeze()))
    });
    let media = if is_protobuf { PROTOBUF_STREAM } else { answer::JSON };
    head(stream(chunks.take_until(Box::pin(ended))), media)
}

/// A watch that cannot begin: answered as a stream with one error, as clients expect it.
pub(super) fn refused(rejected: &Rejected) -> Response<Body> {
    let line = Bytes::from(format!("{}\n", json!({"type": "ERROR", "object": rejected.status()})));
    head(stream(streams::iter([line])), answer::JSON)
}

fn head(body: Body, media: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

impl Form {
    fn write(&mut self, event: &Result<Event, Error>, out: &mut BytesMut) {
        match event {
            Ok(Event::Added(object)) => self.line("ADDED", object, out),
            Ok(Event::Modified(object)) => self.line("MODIFIED", object, out),
            Ok(Event::Deleted(object)) => self.line("DELETED", object, out),
            Ok(Event::Bookmark { revision, initial_events_end }) => {
                self.bookmark(*revision, *initial_events_end, out);
            }
            Err(error) => {
                let status = match error {
                    Error::Rejected(rejected) => rejected.status(),
                    other => Rejected::internal(other).status(),
                };
                self.made("ERROR", &status, out);
            }
        }
    }

    fn view(&self) -> View<'_> {
        let (include, beta) = (self.include, self.accepted.beta);
        View { made: &self.made, kind: &self.kind, scale: false, include, beta, now: self.clock.now() }
    }

    fn line(&mut self, kind: &str, object: &Arc<Object>, out: &mut BytesMut) {
        match self.accepted.shape {
            Shape::Whole if self.accepted.encoding == Encoding::Json => put(kind, object.json(), out),
            Shape::Whole => match self.view().protobuf(object) {
                Some(bytes) => out.put_slice(&api::codec::protobuf::event(kind, &bytes)),
                None => put(kind, object.json(), out),
            },
            Shape::Metadata | Shape::MetadataList => self.json(kind, &self.view().metadata(object), out),
            Shape::Table => {
                let meta = json!({ "resourceVersion": object.revision().to_string() });
                let first = !std::mem::replace(&mut self.started, true);
                let table = self.view().table(std::slice::from_ref(object), &meta, first);
                self.json(kind, &table, out);
            }
        }
    }

    /// A document, as it is or as the client wants it encoded.
    fn json(&self, kind: &str, json: &[u8], out: &mut BytesMut) {
        match self.accepted.encoding {
            Encoding::Protobuf => self.made(kind, &serde_json::from_slice(json).unwrap_or_default(), out),
            Encoding::Json | Encoding::Yaml => put(kind, json, out),
        }
    }

    /// What was made for this watch.
    fn made(&self, kind: &str, tree: &Tree, out: &mut BytesMut) {
        match answer::protobuf(tree).filter(|_| self.accepted.encoding == Encoding::Protobuf) {
            Some(object) => out.put_slice(&api::codec::protobuf::event(kind, &object)),
            None => put(kind, tree.to_string().as_bytes(), out),
        }
    }

    /// An object of the kind that has nothing but a version; shown in the client's form, as any other.
    fn bookmark(&mut self, revision: u64, is_end: bool, out: &mut BytesMut) {
        let mut meta = json!({ "resourceVersion": revision.to_string() });
        if is_end {
            meta["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let tree = json!({ "kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": meta });
        match Object::from_tree(&tree) {
            Ok(object) => self.line("BOOKMARK", &Arc::new(object), out),
            Err(_) => self.made("BOOKMARK", &tree, out),
        }
    }
}

fn put(kind: &str, object: &[u8], out: &mut BytesMut) {
    out.put_slice(b"{\"type\":\"");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(object);
    out.put_slice(b"}\n");
}
