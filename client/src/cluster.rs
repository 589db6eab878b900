//! The trait that hides where the API is.

use api::{Object, Rejected, Resource, Tree};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::sync::Arc;
use std::time::Duration;

/// A cluster's API, reached as one user. All semantics and permissions are the server's.
pub trait Cluster: Send + Sync + 'static {
    fn get<'a>(&'a self, target: Target<'a>) -> BoxFuture<'a, Result<Arc<Object>, Error>>;

    /// `namespace: None` lists all namespaces, or a cluster-scoped resource.
    fn list<'a>(
        &'a self,
        resource: &'a Resource,
        namespace: Option<&'a str>,
        options: ListOptions,
    ) -> BoxFuture<'a, Result<List, Error>>;

    /// Events after `options.revision`, in order, each once. The stream ends when the server closes it; whoever
    /// follows goes on from the last revision seen, or lists again if that is `Rejected::is_expired`.
    fn watch<'a>(
        &'a self,
        resource: &'a Resource,
        namespace: Option<&'a str>,
        options: WatchOptions,
    ) -> BoxFuture<'a, Result<Events, Error>>;

    /// `target.name` is empty, except for subresources such as `pods/NAME/binding`.
    fn create<'a>(
        &'a self,
        target: Target<'a>,
        object: Tree,
        options: WriteOptions,
    ) -> BoxFuture<'a, Result<Arc<Object>, Error>>;

    /// Replaces the object; a `metadata.resourceVersion` in it is a precondition.
    fn update<'a>(
        &'a self,
        target: Target<'a>,
        object: Tree,
        options: WriteOptions,
    ) -> BoxFuture<'a, Result<Arc<Object>, Error>>;

    fn patch<'a>(
        &'a self,
        target: Target<'a>,
        patch: Patch,
        options: WriteOptions,
    ) -> BoxFuture<'a, Result<Arc<Object>, Error>>;

    /// The object as it is after the call while it stays (finalizers, grace), `None` once it is gone.
    fn delete<'a>(
        &'a self,
        target: Target<'a>,
        options: DeleteOptions,
    ) -> BoxFuture<'a, Result<Option<Arc<Object>>, Error>>;
}

/// What components hold.
pub type Handle = Arc<dyn Cluster>;

/// A watch's events. Dropping it ends the watch.
pub type Events = BoxStream<'static, Result<Event, Error>>;

/// One object, or one subresource of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    pub resource: &'a Resource,
    /// `None` for a cluster-scoped resource.
    pub namespace: Option<&'a str>,
    pub name: &'a str,
    /// `status`, `scale`, `binding`, …
    pub subresource: Option<&'a str>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// As in `app=web,tier!=db`; empty selects all.
    pub label_selector: String,
    /// As in `spec.nodeName=a`; empty selects all.
    pub field_selector: String,
    /// At most so many objects, and a `List::next` if there are more; 0: all at once.
    pub limit: usize,
    /// `List::next` of the page before.
    pub next: Option<String>,
    /// `None` asks for the newest state (a linearizable read); a number, for one at least as new.
    pub revision: Option<u64>,
}

#[derive(Debug, Clone)]
pub struct List {
    pub items: Vec<Arc<Object>>,
    /// The state that the list shows; a watch from here misses nothing.
    pub revision: u64,
    /// Where the next page starts; `None` on the last one.
    pub next: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchOptions {
    pub label_selector: String,
    pub field_selector: String,
    /// Events after this revision; 0: the current state first, as `Added` events.
    pub revision: u64,
    /// Ask for `Event::Bookmark`s.
    pub bookmarks: bool,
    /// `Some(true)`: streaming list (KEP-3157), the state as `Added` events, then a bookmark with
    /// `initial_events_end`. `Some(false)`: no state, whatever the revision.
    pub initial_events: Option<bool>,
    /// How long the watch will last, if the caller knows: a bookmark, where they are asked for, comes shortly before.
    pub lasts: Option<Duration>,
}

/// One event of a watch.
#[derive(Debug, Clone)]
pub enum Event {
    Added(Arc<Object>),
    Modified(Arc<Object>),
    /// The last state, with the revision of the deletion.
    Deleted(Arc<Object>),
    /// Nothing up to this revision is still to come.
    Bookmark {
        revision: u64,
        initial_events_end: bool,
    },
}

/// The four patch types; bodies as on the wire.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// RFC 6902.
    Json(Tree),
    /// RFC 7386.
    Merge(Tree),
    /// Kubernetes' strategic merge.
    Strategic(Tree),
    /// Server-side apply: a whole or partial object. YAML or JSON bytes.
    Apply { body: Bytes, force: bool },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Everything but the write itself.
    pub dry_run: bool,
    /// Who is named in managedFields; required for `Patch::Apply`.
    pub field_manager: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// `None`: the kind's own. Less than 0 counts as 1.
    pub grace_period_seconds: Option<i64>,
    /// Delete only the object with this uid.
    pub uid: Option<String>,
    /// Delete only this version of it.
    pub revision: Option<u64>,
    pub propagation: Option<Propagation>,
    pub dry_run: bool,
}

/// What happens to the dependents of a deleted object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// Why a call had no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The server said no, and why.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The server was not reached: nothing was done. Try again later.
    #[error("the API server is not reachable: {0}")]
    Unreachable(String),
    /// The connection broke after the request was sent: a write may or may not stand.
    #[error("the API server's answer was lost: {0}")]
    Unknown(String),
}

// === impl Target ===

impl<'a> Target<'a> {
    #[must_use]
    pub fn namespaced(resource: &'a Resource, namespace: &'a str, name: &'a str) -> Target<'a> {
        Target { resource, namespace: Some(namespace), name, subresource: None }
    }

    #[must_use]
    pub fn cluster(resource: &'a Resource, name: &'a str) -> Target<'a> {
        Target { resource, namespace: None, name, subresource: None }
    }

    /// The target of an object that was read before.
    #[must_use]
    pub fn of(resource: &'a Resource, object: &'a Object) -> Target<'a> {
        let namespace = Some(object.namespace()).filter(|namespace| !namespace.is_empty());
        Target { resource, namespace, name: object.name(), subresource: None }
    }

    #[must_use]
    pub fn subresource(mut self, name: &'a str) -> Target<'a> {
        self.subresource = Some(name);
        self
    }

    /// The URL path of the target.
    #[must_use]
    pub fn path(&self) -> String {
        let name = Some(self.name).filter(|name| !name.is_empty());
        self.resource.path(self.namespace, name, self.subresource)
    }
}

// === impl Event ===

impl Event {
    /// The revision that a watch goes on from after this event.
    #[must_use]
    pub fn revision(&self) -> u64 {
        match self {
            Event::Added(object) | Event::Modified(object) | Event::Deleted(object) => object.revision(),
            Event::Bookmark { revision, .. } => *revision,
        }
    }
}

// === impl WriteOptions ===

impl WriteOptions {
    /// A write in the name of a component.
    #[must_use]
    pub fn by(manager: &str) -> WriteOptions {
        WriteOptions { dry_run: false, field_manager: Some(manager.to_owned()) }
    }
}

// === impl Error ===

impl Error {
    #[must_use]
    pub fn rejected(&self) -> Option<&Rejected> {
        match self {
            Error::Rejected(rejected) => Some(rejected),
            Error::Unreachable(_) | Error::Unknown(_) => None,
        }
    }

    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.rejected().is_some_and(Rejected::is_not_found)
    }

    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.rejected().is_some_and(Rejected::is_conflict)
    }

    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        self.rejected().is_some_and(Rejected::is_already_exists)
    }

    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.rejected().is_some_and(Rejected::is_expired)
    }
}
