//! Watches: cursors into a shelf's history, turned into the events that a selector lets through.

use super::filter::Filter;
use super::shelf::{Cursor, Logged, Shelf};
use super::{Call, Registry, convert};
use api::kinds::Kind;
use api::rejected::Reason;
use api::{Object, Rejected};
use client::{Error, Event, Events, WatchOptions};
use futures::stream;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Events taken from the history at a time.
const BATCH: usize = 512;
/// How often a watch that asked for bookmarks is told how far it is.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long before its end a watch is told for the last time how far it came; upstream's.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

struct Watcher {
    registry: Registry,
    kind: Arc<Kind>,
    filter: Filter,
    shelf: Arc<Shelf>,
    own: Option<Arc<Notify>>,
    cursor: Cursor,
    /// What is to be told, as it is stored.
    told: VecDeque<Event>,
    /// The same, as it was asked for.
    ready: VecDeque<Event>,
    bookmarks: bool,
    bookmark_at: Instant,
    /// When the last bookmark is due.
    last_bookmark_at: Option<Instant>,
    seen: u64,
    /// Nothing up to this revision is told: a client may begin at one that this member has yet to see.
    after: u64,
    /// Whether that one is yet to come here.
    is_ahead: bool,
    ended: bool,
}

impl Registry {
    /// Events after `options.revision`; see `WatchOptions`.
    pub async fn watch(&self, call: Call<'_>, options: WatchOptions) -> Result<Events, Rejected> {
        let filter = Filter::parse(&call, &options.label_selector, &options.field_selector)?;
        let memory = &self.0.memory;
        let shelf = memory.shelf(&filter.collection);
        let mut told = VecDeque::new();
        let mut from = options.revision;
        let streams_list = options.initial_events == Some(true);
        if options.initial_events.unwrap_or(from == 0) {
            if streams_list && from == 0 {
                self.refresh().await?;
            } else {
                memory.wait(from).await?;
            }
            let (found, revision) = self.select(&filter, "");
            for stored in found {
                told.push_back(Event::Added(Arc::clone(&stored.object)));
            }
            if streams_list && options.bookmarks {
                told.push_back(Event::Bookmark { revision, initial_events_end: true });
            }
            from = revision;
        } else if from == 0 {
            from = memory.applied();
        }
        // Read before the cursor is: what is missed in between is found when the cursor is made.
        let is_ahead = memory.applied() < from;
        let cursor = shelf.cursor(from).map_err(|passed| too_old(from, passed.floor))?;
        let own = filter.node.as_deref().map(|node| shelf.changed_on(node));
        let watcher = Watcher {
            registry: self.clone(),
            kind: Arc::clone(call.kind),
            filter,
            shelf,
            own,
            cursor,
            told,
            ready: VecDeque::new(),
            bookmarks: options.bookmarks,
            bookmark_at: Instant::now() + BOOKMARK_EVERY,
            last_bookmark_at: options.lasts.map(|lasts| Instant::now() + lasts.saturating_sub(LAST_BOOKMARK)),
            seen: from,
            after: from,
            is_ahead,
            ended: false,
        };
        Ok(Box::pin(stream::unfold(watcher, |mut watcher| async move {
            let next = watcher.next().await?;
            Some((next, watcher))
        })))
    }
}

/// The 410 that makes a client list again.
fn too_old(wanted: u64, floor: u64) -> Rejected {
    Rejected::new(Reason::Expired, format!("too old resource version: {wanted} ({floor})"))
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if self.ended {
                return None;
            }
            if !self.told.is_empty() {
                match self.convert().await {
                    Ok(()) => continue,
                    Err(rejected) => {
                        self.ended = true;
                        return Some(Err(Error::Rejected(rejected)));
                    }
                }
            }
            let shelf = Arc::clone(&self.shelf);
            let own = self.own.clone();
            let changed = own.as_deref().unwrap_or_else(|| shelf.changed()).notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            match self.take() {
                Ok(0) => {}
                Ok(_) => continue,
                Err(rejected) => {
                    self.ended = true;
                    return Some(Err(Error::Rejected(rejected)));
                }
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(self.next_bookmark()), if self.bookmarks => {
                    self.last_bookmark_at = self.last_bookmark_at.filter(|at| *at > Instant::now());
                    self.bookmark_at = Instant::now() + BOOKMARK_EVERY;
                    return Some(Ok(Event::Bookmark { revision: self.seen, initial_events_end: false }));
                }
            }
        }
    }

    fn next_bookmark(&self) -> Instant {
        self.last_bookmark_at.map_or(self.bookmark_at, |last| last.min(self.bookmark_at))
    }

    /// Takes what is new; how many events of the history that was.
    fn take(&mut self) -> Result<usize, Rejected> {
        let memory = &self.registry.0.memory;
        let taken = self.shelf.events(&mut self.cursor, BATCH, || memory.applied());
        let (events, revision) = taken.map_err(|passed| too_old(self.seen, passed.floor))?;
        if self.is_ahead {
            // The way to where the client is may be lost here; then nobody knows what it has seen of it.
            let floor = self.shelf.floor();
            if floor > self.after {
                return Err(too_old(self.after, floor));
            }
            self.is_ahead = revision < self.after;
        }
        for logged in events.iter().filter(|logged| logged.revision > self.after) {
            let event = self.selected(logged);
            self.told.extend(event);
        }
        self.seen = revision.max(self.after);
        Ok(events.len())
    }

    /// Makes the next events ready: what they tell of becomes of the version that was asked for.
    async fn convert(&mut self) -> Result<(), Rejected> {
        if !convert::asks(&self.kind) {
            let Some(event) = self.told.pop_front() else { return Ok(()) };
            let shown = object(&event).map(|object| convert::out(&self.kind, object)).transpose()?;
            self.ready.push_back(with(event, shown));
            return Ok(());
        }
        let events: Vec<Event> = self.told.drain(..self.told.len().min(BATCH)).collect();
        let objects = events.iter().filter_map(object).map(Arc::clone).collect();
        let mut objects = self.registry.out_together(&self.kind, objects).await?.into_iter();
        self.ready.extend(events.into_iter().map(|event| {
            let shown = object(&event).and_then(|_| objects.next());
            with(event, shown)
        }));
        Ok(())
    }

    /// What the selector makes of a change: coming into view is an addition, going out of it a deletion.
    fn selected(&self, logged: &Logged) -> Option<Event> {
        let was = logged.old.as_ref().is_some_and(|old| self.filter.selects(old));
        let new = logged.new.as_ref().filter(|new| self.filter.selects(new));
        match (was, new) {
            (false, None) => None,
            (false, Some(new)) => Some(Event::Added(Arc::clone(&new.object))),
            (true, Some(new)) => Some(Event::Modified(Arc::clone(&new.object))),
            (true, None) => logged.gone().map(Event::Deleted),
        }
    }
}

/// The event, telling of this object.
fn with(event: Event, object: Option<Arc<Object>>) -> Event {
    match (object, event) {
        (Some(object), Event::Added(_)) => Event::Added(object),
        (Some(object), Event::Modified(_)) => Event::Modified(object),
        (Some(object), Event::Deleted(_)) => Event::Deleted(object),
        (_, event) => event,
    }
}

/// What an event tells of.
fn object(event: &Event) -> Option<&Arc<Object>> {
    match event {
        Event::Added(object) | Event::Modified(object) | Event::Deleted(object) => Some(object),
        Event::Bookmark { .. } => None,
    }
}
