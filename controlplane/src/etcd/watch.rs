//! The Watch service: many watches on one stream, each with a number.
//!
//! A stream is answered as fast as the client reads; nothing is queued for it but what one step has found.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::AbortHandle;
use futures::stream::{self, BoxStream, SelectAll};
use futures::{Stream, StreamExt};
use prost::Message as _;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep_until};
use tonic::{Status, Streaming};

use super::call::MESSAGE_BYTES_MAX;
use super::kv::{key_range, key_value};
use super::wire::{Event, EventType, FilterType, WatchAsk, WatchCreateRequest, WatchRequest, WatchResponse};
use super::{Face, refusal, signed, unsigned};
use crate::store::Kv as _;
use crate::store::group::Members;
use crate::store::kv::{Change, ChangeBatch, Error, Watch};

/// How often a watch that wants it is told that nothing has happened; etcd's default.
pub(super) const PROGRESS_EVERY: Duration = Duration::from_secs(600);
/// How long there may be no leader until streams that want one are ended; etcd's, three elections.
const LEADERLESS_MAX: Duration = Duration::from_secs(3);
/// The number of no watch: what concerns all of a stream.
const ALL: i64 = -1;

/// One stream.
struct Session {
    face: Arc<Face>,
    members: Receiver<Members>,
    requests: Streaming<WatchRequest>,
    changes: SelectAll<BoxStream<'static, (i64, Result<ChangeBatch, Error>)>>,
    watchers: BTreeMap<i64, Watcher>,
    next_id: i64,
    ready: VecDeque<WatchResponse>,
    /// The client wants to know when all its watches have come so far.
    progress_to: Option<u64>,
    progress_at: Instant,
    wants_leader: bool,
    /// There is no leader; if that is still so by then, the stream ends.
    leaderless_until: Option<Instant>,
    is_over: bool,
}

struct Watcher {
    /// Nothing up to this revision is still to come.
    at: u64,
    is_told_progress: bool,
    /// Something was sent since progress was last told.
    is_busy: bool,
    is_split: bool,
    puts: bool,
    deletes: bool,
    abort: AbortHandle,
}

pub(super) fn watch(
    face: Arc<Face>,
    requests: Streaming<WatchRequest>,
    wants_leader: bool,
) -> impl Stream<Item = Result<WatchResponse, Status>> {
    let progress_at = Instant::now() + face.progress_every;
    let session = Session {
        members: face.members.clone(),
        face,
        requests,
        changes: SelectAll::new(),
        watchers: BTreeMap::new(),
        next_id: 0,
        ready: VecDeque::new(),
        progress_to: None,
        progress_at,
        wants_leader,
        leaderless_until: None,
        is_over: false,
    };
    stream::unfold(session, async |mut session| session.step().await.map(|response| (response, session)))
}

// === impl Session ===

impl Session {
    async fn step(&mut self) -> Option<Result<WatchResponse, Status>> {
        loop {
            if let Some(response) = self.ready.pop_front() {
                return Some(Ok(response));
            }
            if self.is_over {
                return None;
            }
            let done = tokio::select! {
                request = self.requests.message() => match request {
                    Ok(Some(request)) => self.take(request).await,
                    // The client has nothing more to say: the stream ends, and its watches with it.
                    Ok(None) => return None,
                    Err(status) => Err(refusal::oversized(status)),
                },
                Some((id, changes)) = self.changes.next(), if !self.changes.is_empty() => self.deliver(id, changes),
                () = sleep_until(self.progress_at) => {
                    self.tell_progress();
                    Ok(())
                }
                Ok(()) = self.members.changed(), if self.wants_leader => {
                    let is_leaderless = self.members.borrow().leader.is_none();
                    let until = self.leaderless_until.unwrap_or_else(|| Instant::now() + LEADERLESS_MAX);
                    self.leaderless_until = is_leaderless.then_some(until);
                    Ok(())
                }
                () = reached(self.leaderless_until) => Err(refusal::no_leader()),
                () = self.face.stop.cancelled() => Err(refusal::stopped()),
            };
            if let Err(status) = done {
                self.is_over = true;
                return Some(Err(status));
            }
        }
    }

    async fn take(&mut self, request: WatchRequest) -> Result<(), Status> {
        match request.request_union {
            Some(WatchAsk::Create(request)) => self.create(request).await?,
            Some(WatchAsk::Cancel(request)) => {
                if let Some(watcher) = self.watchers.remove(&request.watch_id) {
                    watcher.abort.abort();
                    let header = self.face.header(self.face.store.revision());
                    let watch_id = request.watch_id;
                    self.ready.push_back(WatchResponse {
                        header,
                        watch_id,
                        canceled: true,
                        ..WatchResponse::default()
                    });
                }
            }
            Some(WatchAsk::Progress(_)) => self.progress_to = Some(self.face.store.revision()),
            None => {}
        }
        self.answer_progress();
        Ok(())
    }

    async fn create(&mut self, request: WatchCreateRequest) -> Result<(), Status> {
        let revision = self.face.store.revision();
        let header = self.face.header(revision);
        let refused = |why: &str| WatchResponse {
            header: header.clone(),
            watch_id: ALL,
            created: true,
            canceled: true,
            cancel_reason: why.to_owned(),
            ..WatchResponse::default()
        };
        // No key stands for the first one.
        let start = if request.key.is_empty() { [0].as_slice().into() } else { request.key.clone() };
        let keys = key_range(start, request.range_end.clone());
        if keys.end.as_ref().is_some_and(|end| **end != [0] && *keys.start >= **end) {
            self.ready.push_back(refused("mvcc: watcher range is empty"));
            return Ok(());
        }
        let id = match request.watch_id {
            0 => self.free_id(),
            id if self.watchers.contains_key(&id) => {
                self.ready.push_back(refused("mvcc: duplicate watch ID provided on the WatchStream"));
                return Ok(());
            }
            id => id,
        };
        let from = match unsigned(request.start_revision) {
            0 => revision + 1,
            from => from,
        };
        self.ready.push_back(WatchResponse {
            header: header.clone(),
            watch_id: id,
            created: true,
            ..WatchResponse::default()
        });
        match self.face.store.watch(Watch { keys, from, previous: request.prev_kv }).await {
            Ok(changes) => self.begin(id, from, &request, changes),
            Err(error) => return self.end(id, &error),
        }
        Ok(())
    }

    fn begin(
        &mut self,
        id: i64,
        from: u64,
        request: &WatchCreateRequest,
        changes: BoxStream<'static, Result<ChangeBatch, Error>>,
    ) {
        let (changes, abort) = stream::abortable(changes);
        self.changes.push(changes.map(move |changes| (id, changes)).boxed());
        let has = |filter: FilterType| request.filters.contains(&(filter as i32));
        let watcher = Watcher {
            at: from - 1,
            is_told_progress: request.progress_notify,
            is_busy: false,
            is_split: request.fragment,
            puts: !has(FilterType::NoPut),
            deletes: !has(FilterType::NoDelete),
            abort,
        };
        self.watchers.insert(id, watcher);
    }

    fn free_id(&mut self) -> i64 {
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    fn deliver(&mut self, id: i64, changes: Result<ChangeBatch, Error>) -> Result<(), Status> {
        // A watch that was cancelled may have had something under way.
        let Some(watcher) = self.watchers.get_mut(&id) else { return Ok(()) };
        let batch = match changes {
            Ok(batch) => batch,
            Err(error) => return self.end(id, &error),
        };
        watcher.at = batch.revision;
        let wanted = |change: &Change| if change.is_delete { watcher.deletes } else { watcher.puts };
        let events: Vec<Event> = batch.changes.into_iter().filter(wanted).map(event).collect();
        if !events.is_empty() {
            watcher.is_busy = true;
            let bytes_max = if watcher.is_split { MESSAGE_BYTES_MAX } else { usize::MAX };
            let header = self.face.header(batch.revision);
            let mut parts = split(events, bytes_max).into_iter().peekable();
            while let Some(events) = parts.next() {
                let (header, fragment) = (header.clone(), parts.peek().is_some());
                self.ready.push_back(WatchResponse {
                    header,
                    watch_id: id,
                    fragment,
                    events,
                    ..WatchResponse::default()
                });
            }
        }
        self.answer_progress();
        Ok(())
    }

    /// The store has ended a watch, or would not begin it.
    fn end(&mut self, id: i64, error: &Error) -> Result<(), Status> {
        let Error::Compacted { oldest, .. } = error else { return Err(self.face.refused(error.clone())) };
        if let Some(watcher) = self.watchers.remove(&id) {
            watcher.abort.abort();
        }
        self.ready.push_back(WatchResponse {
            header: self.face.header(self.face.store.revision()),
            watch_id: id,
            canceled: true,
            compact_revision: signed(*oldest),
            cancel_reason: refusal::COMPACTED.to_owned(),
            ..WatchResponse::default()
        });
        self.answer_progress();
        Ok(())
    }

    /// All watches together, once each has come to where the store was when that was asked.
    fn answer_progress(&mut self) {
        let Some(to) = self.progress_to else { return };
        if self.watchers.values().all(|watcher| watcher.at >= to) {
            self.progress_to = None;
            let header = self.face.header(to);
            self.ready.push_back(WatchResponse { header, watch_id: ALL, ..WatchResponse::default() });
        }
    }

    /// Each watch that wants it and had nothing to tell.
    fn tell_progress(&mut self) {
        self.progress_at = Instant::now() + self.face.progress_every;
        for (id, watcher) in &mut self.watchers {
            if watcher.is_told_progress && !watcher.is_busy {
                let header = self.face.header(watcher.at);
                self.ready.push_back(WatchResponse { header, watch_id: *id, ..WatchResponse::default() });
            }
            watcher.is_busy = false;
        }
    }
}

async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn event(change: Change) -> Event {
    let kind = if change.is_delete { EventType::Delete } else { EventType::Put };
    Event { r#type: kind as i32, kv: Some(key_value(change.kv)), prev_kv: change.previous.map(key_value) }
}

/// Parts of at most so many bytes, or of one event.
fn split(events: Vec<Event>, bytes_max: usize) -> Vec<Vec<Event>> {
    let mut parts: Vec<Vec<Event>> = Vec::new();
    let mut bytes = usize::MAX;
    for event in events {
        let size = event.encoded_len();
        bytes = bytes.saturating_add(size);
        match parts.last_mut().filter(|_| bytes <= bytes_max) {
            Some(part) => part.push(event),
            None => {
                bytes = size;
                parts.push(vec![event]);
            }
        }
    }
    parts
}
