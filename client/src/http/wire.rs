//! What goes over the wire: paths with their queries, list and watch bodies, delete options. Pure.

use crate::cluster::{DeleteOptions, Error, Event, List, ListOptions, Propagation, Target, WatchOptions, WriteOptions};
use api::{Object, Rejected, Resource, Tree};
use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::fmt::Write;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireList<'a> {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    metadata: WireListMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct WireListMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    r#continue: String,
}

#[derive(Deserialize)]
struct WireEvent<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize, Default)]
struct Bookmark {
    #[serde(default)]
    metadata: BookmarkMeta,
}

#[derive(Deserialize, Default)]
struct BookmarkMeta {
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

pub(super) fn list_path(resource: &Resource, namespace: Option<&str>, options: &ListOptions) -> String {
    let mut query = Query::new(resource.path(namespace, None, None));
    query.add("labelSelector", &options.label_selector);
    query.add("fieldSelector", &options.field_selector);
    if options.limit > 0 {
        query.add("limit", &options.limit.to_string());
    }
    query.add("continue", options.next.as_deref().unwrap_or_default());
    if let Some(revision) = options.revision {
        query.add("resourceVersion", &revision.to_string());
    }
    query.path
}

pub(super) fn watch_path(resource: &Resource, namespace: Option<&str>, options: &WatchOptions) -> String {
    let mut query = Query::new(resource.path(namespace, None, None));
    query.add("watch", "true");
    query.add("labelSelector", &options.label_selector);
    query.add("fieldSelector", &options.field_selector);
    if options.revision > 0 {
        query.add("resourceVersion", &options.revision.to_string());
    }
    if options.bookmarks || options.initial_events == Some(true) {
        query.add("allowWatchBookmarks", "true");
    }
    if let Some(initial_events) = options.initial_events {
        query.add("sendInitialEvents", if initial_events { "true" } else { "false" });
        query.add("resourceVersionMatch", "NotOlderThan");
    }
    query.path
}

pub(super) fn write_path(target: &Target<'_>, options: &WriteOptions, force: bool) -> String {
    let mut query = Query::new(target.path());
    query.add("fieldManager", options.field_manager.as_deref().unwrap_or_default());
    if options.dry_run {
        query.add("dryRun", "All");
    }
    if force {
        query.add("force", "true");
    }
    query.path
}

pub(super) fn delete_body(options: &DeleteOptions) -> Tree {
    let mut body = json!({ "kind": "DeleteOptions", "apiVersion": "v1" });
    if let Some(seconds) = options.grace_period_seconds {
        body["gracePeriodSeconds"] = seconds.into();
    }
    if let Some(uid) = &options.uid {
        body["preconditions"]["uid"] = uid.clone().into();
    }
    if let Some(revision) = options.revision {
        body["preconditions"]["resourceVersion"] = revision.to_string().into();
    }
    if let Some(propagation) = options.propagation {
        let name = match propagation {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        };
        body["propagationPolicy"] = name.into();
    }
    if options.dry_run {
        body["dryRun"] = json!(["All"]);
    }
    body
}

/// A list body. kube-apiserver leaves kind and apiVersion out of the items; an object has them.
pub(super) fn list(body: &Bytes) -> Result<List, api::object::Malformed> {
    let wire: WireList<'_> = serde_json::from_slice(body)?;
    let kind = wire.kind.strip_suffix("List").unwrap_or(&wire.kind);
    let mut items = Vec::with_capacity(wire.items.as_ref().map_or(0, Vec::len));
    for item in wire.items.iter().flatten() {
        let text = item.get();
        let object = Object::from_json(body.slice_ref(text.as_bytes()))?;
        let object = if object.head().kind.is_empty() {
            let rest = text.trim_start().trim_start_matches('{').trim_start();
            let comma = if rest.starts_with('}') { "" } else { "," };
            let head = json!({ "kind": kind, "apiVersion": wire.api_version }).to_string();
            let whole = format!("{}{comma}{rest}", head.trim_end_matches('}'));
            Object::from_json(Bytes::from(whole))?
        } else {
            object
        };
        items.push(Arc::new(object));
    }
    let revision = wire.metadata.resource_version.parse().unwrap_or(0);
    let next = Some(wire.metadata.r#continue).filter(|next| !next.is_empty());
    Ok(List { items, revision, next })
}

/// One line of a watch.
pub(super) fn event(line: &Bytes) -> Result<Event, Error> {
    let unreadable = |error: &dyn std::fmt::Display| Error::Unknown(format!("a watch event cannot be read: {error}"));
    let wire: WireEvent<'_> = serde_json::from_slice(line).map_err(|error| unreadable(&error))?;
    let bytes = line.slice_ref(wire.object.get().as_bytes());
    if wire.r#type == "ERROR" {
        let status = serde_json::from_slice::<Tree>(&bytes).ok();
        let rejected = status.as_ref().and_then(Rejected::from_status);
        return Err(rejected.map_or_else(|| unreadable(&"an error without a status"), Error::Rejected));
    }
    let object = Object::from_json(bytes).map_err(|error| unreadable(&error))?;
    match wire.r#type {
        "ADDED" => Ok(Event::Added(Arc::new(object))),
        "MODIFIED" => Ok(Event::Modified(Arc::new(object))),
        "DELETED" => Ok(Event::Deleted(Arc::new(object))),
        "BOOKMARK" => {
            let bookmark: Bookmark = object.read().unwrap_or_default();
            let end = bookmark.metadata.annotations.get("k8s.io/initial-events-end").is_some_and(|end| end == "true");
            Ok(Event::Bookmark { revision: object.revision(), initial_events_end: end })
        }
        other => Err(unreadable(&format_args!("unknown type {other:?}"))),
    }
}

/// The next whole line, without its end; `None` while there is none.
pub(super) fn take_line(buffer: &mut BytesMut) -> Option<Bytes> {
    let end = buffer.iter().position(|byte| *byte == b'\n')?;
    let line = buffer.split_to(end + 1).freeze();
    Some(line.slice(..end))
}

/// The certificates of a PEM text, as DER.
pub(super) fn certificates(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    let all: Result<Vec<_>, _> = rustls_pki_types::CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let all = all.map_err(|error| error.to_string())?;
    if all.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    Ok(all.into_iter().map(|one| one.to_vec()).collect())
}

pub(super) fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// True if no connection was made, so that nothing was sent.
pub(super) fn is_connect(error: &kube::Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return error.is_connect();
        }
        source = error.source();
    }
    false
}

/// An error with its causes, without saying one thing twice.
pub(super) fn chain(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            let _ = write!(text, ": {next}");
        }
        source = error.source();
    }
    text
}

/// A path that grows a query.
struct Query {
    path: String,
    mark: char,
}

// === impl Query ===

impl Query {
    fn new(path: String) -> Query {
        Query { path, mark: '?' }
    }

    /// An empty value is left out.
    fn add(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        self.path.push(self.mark);
        self.path.push_str(key);
        self.path.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                self.path.push(char::from(byte));
            } else {
                let _ = write!(self.path, "%{byte:02X}");
            }
        }
        self.mark = '&';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_get_the_kind_of_their_list() {
        let body = Bytes::from_static(
            br#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"9","continue":"c"},
            "items":[{"metadata":{"name":"a"}},{"kind":"Pod","apiVersion":"v1","metadata":{"name":"b"}},{}]}"#,
        );
        let list = list(&body).unwrap();
        let told: Vec<_> =
            list.items.iter().map(|one| (&*one.head().kind, &*one.head().api_version, one.name())).collect();
        assert_eq!(told, [("Pod", "v1", "a"), ("Pod", "v1", "b"), ("Pod", "v1", "")]);
        assert_eq!((list.revision, list.next.as_deref()), (9, Some("c")));
    }

    #[test]
    fn watch_lines() {
        let mut buffer =
            BytesMut::from("{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"resourceVersion\":\"3\"}}}\n{\"ty");
        let line = take_line(&mut buffer).unwrap();
        assert!(matches!(event(&line).unwrap(), Event::Added(object) if object.revision() == 3));
        assert!(take_line(&mut buffer).is_none());
        let gone = Bytes::from(
            json!({ "type": "ERROR", "object": Rejected::new(api::rejected::Reason::Expired, "old").status() })
                .to_string(),
        );
        assert!(event(&gone).unwrap_err().is_expired());
        let mark = Bytes::from_static(
            br#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"5","annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
        );
        assert!(matches!(event(&mark).unwrap(), Event::Bookmark { revision: 5, initial_events_end: true }));
    }

    #[test]
    fn selectors_are_escaped() {
        let options = ListOptions { label_selector: "a=b,c!=d".to_owned(), limit: 5, ..ListOptions::default() };
        assert_eq!(
            list_path(&api::resource::PODS, Some("n"), &options),
            "/api/v1/namespaces/n/pods?labelSelector=a%3Db%2Cc%21%3Dd&limit=5"
        );
    }
}
