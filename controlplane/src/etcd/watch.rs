//! The Watch service: many watches on one stream, each with a number.
//!
//! A stream is answered as fast as the client reads; nothing is queued for it but what one step has found. Its watches
//! that are up to date share one feed of the store's changes, so that each change is taken and encoded once and not for
//! each of a thousand watches; one from the past reads by itself until it has caught up. What there is to tell leaves
//! in pieces of many responses, because HTTP/2 takes longer for a frame than the encoding of what is in it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::AbortHandle;
use futures::stream::{self, BoxStream, SelectAll};
use futures::{Stream, StreamExt};
use prost::Message as _;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep_until};
use tonic::{Status, Streaming};

use super::call::{self, MESSAGE_BYTES_MAX};
use super::kv::{key_range, key_value};
use super::wire::{
    Event, EventType, FilterType, ResponseHeader, WatchAsk, WatchCreateRequest, WatchRequest, WatchResponse,
};
use super::{Face, refusal, signed, unsigned};
use crate::store::Kv as _;
use crate::store::group::Members;
use crate::store::kv::{Change, ChangeBatch, Changes, Error, KeyRange, Watch};

/// How often a watch that wants it is told that nothing has happened; etcd's default.
pub(super) const PROGRESS_EVERY: Duration = Duration::from_secs(600);
/// How long there may be no leader until streams that want one are ended; etcd's, three elections.
const LEADERLESS_MAX: Duration = Duration::from_secs(3);
/// The number of no watch: what concerns all of a stream.
const ALL: i64 = -1;
/// A piece of what the client is told ends with the response that makes it as large as this.
const PIECE_BYTES: usize = 64 * 1024;
/// For what differs between responses with the same events.
const ROOM_BYTES: usize = 16;

/// One stream.
struct Session {
    face: Arc<Face>,
    members: Receiver<Members>,
    requests: Streaming<WatchRequest>,
    /// For watches that want what was there before, and for those that do not.
    feeds: [Option<Feed>; 2],
    /// Of watches that have not caught up with the feed.
    behind: SelectAll<BoxStream<'static, (i64, Result<ChangeBatch, Error>)>>,
    watchers: BTreeMap<i64, Watcher>,
    next_id: i64,
    ready: VecDeque<Told>,
    /// The client wants to know when all its watches have come so far.
    progress_to: Option<u64>,
    progress_at: Instant,
    wants_leader: bool,
    /// There is no leader; if that is still so by then, the stream ends.
    leaderless_until: Option<Instant>,
    is_over: bool,
}

/// The changes that several watches share.
struct Feed {
    /// Of all of them.
    keys: KeyRange,
    /// Watches that were here before this revision have been told all that they want of it.
    at: u64,
    changes: Changes,
}

/// What is to be sent.
enum Told {
    Response(WatchResponse),
    Events(Events),
}

/// The same events for several watches.
struct Events {
    /// Of each response.
    header: Bytes,
    /// As they are encoded; the memory is shared with others that tell of them.
    events: Vec<Bytes>,
    /// More of the same revision follows.
    is_part: bool,
    ids: Vec<i64>,
    /// How many of the watches were told.
    told: usize,
}

/// Changes, and how those of them that some watch wants are encoded.
struct Encoded<'a> {
    batch: &'a ChangeBatch,
    header: Bytes,
    events: Vec<Option<Bytes>>,
    /// What was told last, whole.
    last: Vec<usize>,
}

struct Watcher {
    keys: KeyRange,
    /// Does it want what was there before?
    previous: bool,
    /// Nothing up to this revision is still to come.
    at: u64,
    is_told_progress: bool,
    /// Something was sent since progress was last told.
    is_busy: bool,
    is_split: bool,
    puts: bool,
    deletes: bool,
    /// Ends the stream of its own, while it is behind the feed.
    own: Option<AbortHandle>,
}

pub(super) fn watch(
    face: Arc<Face>,
    requests: Streaming<WatchRequest>,
    wants_leader: bool,
) -> impl Stream<Item = Result<Bytes, Status>> {
    let progress_at = Instant::now() + face.progress_every;
    let session = Session {
        members: face.members.clone(),
        face,
        requests,
        feeds: [None, None],
        behind: SelectAll::new(),
        watchers: BTreeMap::new(),
        next_id: 0,
        ready: VecDeque::new(),
        progress_to: None,
        progress_at,
        wants_leader,
        leaderless_until: None,
        is_over: false,
    };
    stream::unfold(session, async |mut session| session.step().await.map(|piece| (piece, session)))
}

// === impl Session ===

impl Session {
    /// The next piece of what the client is told.
    async fn step(&mut self) -> Option<Result<Bytes, Status>> {
        loop {
            if !self.ready.is_empty() {
                return Some(Ok(self.piece()));
            }
            if self.is_over {
                return None;
            }
            let done = tokio::select! {
                request = self.requests.message() => match request {
                    Ok(Some(request)) => self.take(request).await,
                    // The client has nothing more to say: the stream ends, and its watches with it.
                    Ok(None) => return None,
                    Err(status) => Err(refusal::of_stream(status)),
                },
                Some((id, changes)) = self.behind.next(), if !self.behind.is_empty() => self.catch_up(id, changes).await,
                (previous, changes) = fed(&mut self.feeds) => self.share(previous, changes).await,
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

    /// What is ready, as far as it fits.
    fn piece(&mut self) -> Bytes {
        let mut piece = Vec::new();
        while piece.len() < PIECE_BYTES
            && let Some(told) = self.ready.front_mut()
        {
            let is_told = match told {
                Told::Response(response) => {
                    call::frame(response, &mut piece);
                    true
                }
                Told::Events(events) => events.frame(&mut piece),
            };
            if is_told {
                self.ready.pop_front();
            }
        }
        piece.into()
    }

    fn tell(&mut self, response: WatchResponse) {
        self.ready.push_back(Told::Response(response));
    }

    async fn take(&mut self, request: WatchRequest) -> Result<(), Status> {
        match request.request_union {
            Some(WatchAsk::Create(request)) => self.create(request).await?,
            Some(WatchAsk::Cancel(request)) if self.remove(request.watch_id) => {
                let header = self.face.header(self.face.store.revision());
                let watch_id = request.watch_id;
                self.tell(WatchResponse { header, watch_id, canceled: true, ..WatchResponse::default() });
            }
            Some(WatchAsk::Progress(_)) => self.progress_to = Some(self.face.store.revision()),
            Some(WatchAsk::Cancel(_)) | None => {}
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
            self.tell(refused("mvcc: watcher range is empty"));
            return Ok(());
        }
        let id = match request.watch_id {
            0 => self.free_id(),
            id if self.watchers.contains_key(&id) => {
                self.tell(refused("mvcc: duplicate watch ID provided on the WatchStream"));
                return Ok(());
            }
            id => id,
        };
        let from = match unsigned(request.start_revision) {
            0 => revision + 1,
            from => from,
        };
        self.tell(WatchResponse { header: header.clone(), watch_id: id, created: true, ..WatchResponse::default() });
        let has = |filter: FilterType| request.filters.contains(&(filter as i32));
        let watcher = Watcher {
            keys,
            previous: request.prev_kv,
            at: from - 1,
            is_told_progress: request.progress_notify,
            is_busy: false,
            is_split: request.fragment,
            puts: !has(FilterType::NoPut),
            deletes: !has(FilterType::NoDelete),
            own: None,
        };
        self.watchers.insert(id, watcher);
        match from > revision {
            true => self.join(id).await,
            false => self.read_alone(id).await,
        }
    }

    /// Gives a watch its part of the feed, unless it is behind it.
    async fn join(&mut self, id: i64) -> Result<(), Status> {
        let Some(watcher) = self.watchers.get_mut(&id) else { return Ok(()) };
        let number = usize::from(watcher.previous);
        let slot = &mut self.feeds[number];
        let (keys, at) = match slot {
            Some(feed) if watcher.at < feed.at => return Ok(()),
            Some(feed) => (feed.keys.hull(&watcher.keys), feed.at),
            None => (watcher.keys.clone(), watcher.at.min(self.face.store.revision())),
        };
        if slot.as_ref().is_none_or(|feed| feed.keys != keys) {
            let watch = Watch { keys: keys.clone(), from: at + 1, previous: watcher.previous };
            match self.face.store.watch(watch).await {
                Ok(changes) => *slot = Some(Feed { keys, at, changes }),
                // The feed was overtaken; its watches see by themselves how far that concerns them.
                Err(Error::Compacted { .. }) => return self.scatter(number).await,
                Err(error) => return Err(self.face.refused(error)),
            }
        }
        if let Some(own) = self.watchers.get_mut(&id).and_then(|watcher| watcher.own.take()) {
            own.abort();
        }
        Ok(())
    }

    /// Lets a watch read what it has missed by itself.
    async fn read_alone(&mut self, id: i64) -> Result<(), Status> {
        let Some(watcher) = self.watchers.get_mut(&id) else { return Ok(()) };
        let watch = Watch { keys: watcher.keys.clone(), from: watcher.at + 1, previous: watcher.previous };
        match self.face.store.watch(watch).await {
            Ok(changes) => {
                let (changes, own) = stream::abortable(changes);
                self.behind.push(changes.map(move |changes| (id, changes)).boxed());
                watcher.own = Some(own);
                Ok(())
            }
            Err(error) => self.end(id, &error),
        }
    }

    /// The feed goes; its watches go on by themselves.
    async fn scatter(&mut self, feed: usize) -> Result<(), Status> {
        self.feeds[feed] = None;
        let is_left = |watcher: &Watcher| usize::from(watcher.previous) == feed && watcher.own.is_none();
        let left: Vec<i64> = self.watchers.iter().filter(|(_, watcher)| is_left(watcher)).map(|(id, _)| *id).collect();
        for id in left {
            self.read_alone(id).await?;
        }
        Ok(())
    }

    /// True: there was such a watch.
    fn remove(&mut self, id: i64) -> bool {
        let Some(watcher) = self.watchers.remove(&id) else { return false };
        if let Some(own) = watcher.own {
            own.abort();
        }
        let is_same = |other: &Watcher| other.previous == watcher.previous && other.own.is_none();
        if !self.watchers.values().any(is_same) {
            self.feeds[usize::from(watcher.previous)] = None;
        }
        true
    }

    fn free_id(&mut self) -> i64 {
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// Tells a watch that is behind what it has missed.
    async fn catch_up(&mut self, id: i64, changes: Result<ChangeBatch, Error>) -> Result<(), Status> {
        // A watch that was cancelled, or has caught up, may have had something under way.
        let Some(watcher) = self.watchers.get_mut(&id).filter(|watcher| watcher.own.is_some()) else { return Ok(()) };
        let batch = match changes {
            Ok(batch) => batch,
            Err(error) => return self.end(id, &error),
        };
        let mut encoded = Encoded::new(&batch, self.face.header(batch.revision));
        watcher.tell(id, &mut encoded, &mut self.ready);
        self.join(id).await?;
        self.answer_progress();
        Ok(())
    }

    /// Tells the watches of a feed what each of them wants of it.
    async fn share(&mut self, feed: usize, changes: Result<ChangeBatch, Error>) -> Result<(), Status> {
        let batch = match changes {
            Ok(batch) => batch,
            Err(Error::Compacted { .. }) => return self.scatter(feed).await,
            Err(error) => return Err(self.face.refused(error)),
        };
        if let Some(feed) = &mut self.feeds[feed] {
            feed.at = batch.revision;
        }
        let shared = |watcher: &Watcher| usize::from(watcher.previous) == feed && watcher.own.is_none();
        let mut encoded = Encoded::new(&batch, self.face.header(batch.revision));
        for (id, watcher) in self.watchers.iter_mut().filter(|(_, watcher)| shared(watcher)) {
            watcher.tell(*id, &mut encoded, &mut self.ready);
        }
        self.answer_progress();
        Ok(())
    }

    /// The store has ended a watch, or would not begin it.
    fn end(&mut self, id: i64, error: &Error) -> Result<(), Status> {
        let Error::Compacted { oldest, .. } = error else { return Err(self.face.refused(error.clone())) };
        self.remove(id);
        self.tell(WatchResponse {
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
            self.tell(WatchResponse { header, watch_id: ALL, ..WatchResponse::default() });
        }
    }

    /// Each watch that wants it and had nothing to tell.
    fn tell_progress(&mut self) {
        self.progress_at = Instant::now() + self.face.progress_every;
        for (id, watcher) in &mut self.watchers {
            if watcher.is_told_progress && !watcher.is_busy {
                let header = self.face.header(watcher.at);
                let response = WatchResponse { header, watch_id: *id, ..WatchResponse::default() };
                self.ready.push_back(Told::Response(response));
            }
            watcher.is_busy = false;
        }
    }
}

// === impl Watcher ===

impl Watcher {
    /// Adds what it wants of a batch to what is ready for the client.
    fn tell(&mut self, id: i64, encoded: &mut Encoded<'_>, ready: &mut VecDeque<Told>) {
        let is_wanted = |change: &Change| {
            let kind = if change.is_delete { self.deletes } else { self.puts };
            kind && change.kv.mod_revision > self.at && self.keys.contains(&change.kv.key)
        };
        let changes = encoded.batch.changes.iter().enumerate();
        let wanted: Vec<usize> = changes.filter(|(_, change)| is_wanted(change)).map(|(index, _)| index).collect();
        self.at = self.at.max(encoded.batch.revision);
        if !wanted.is_empty() {
            self.is_busy = true;
            encoded.tell(id, wanted, self.is_split, ready);
        }
    }
}

// === impl Encoded ===

impl Encoded<'_> {
    fn new(batch: &ChangeBatch, header: Option<ResponseHeader>) -> Encoded<'_> {
        let header = WatchResponse { header, ..WatchResponse::default() }.encode_to_vec().into();
        Encoded { batch, header, events: vec![None; batch.changes.len()], last: Vec::new() }
    }

    fn tell(&mut self, id: i64, wanted: Vec<usize>, is_split: bool, ready: &mut VecDeque<Told>) {
        if !is_split
            && self.last == wanted
            && let Some(Told::Events(same)) = ready.back_mut()
        {
            same.ids.push(id);
            return;
        }
        let events: Vec<Bytes> = wanted.iter().map(|index| self.event(*index)).collect();
        let parts = if is_split { split(events, MESSAGE_BYTES_MAX) } else { vec![events] };
        let mut parts = parts.into_iter().peekable();
        while let Some(events) = parts.next() {
            let (header, is_part) = (self.header.clone(), parts.peek().is_some());
            ready.push_back(Told::Events(Events { header, events, is_part, ids: vec![id], told: 0 }));
        }
        self.last = if is_split { Vec::new() } else { wanted };
    }

    /// An event as a part of a response.
    fn event(&mut self, index: usize) -> Bytes {
        let encode = || {
            let events = vec![event(&self.batch.changes[index])];
            WatchResponse { events, ..WatchResponse::default() }.encode_to_vec().into()
        };
        self.events[index].get_or_insert_with(encode).clone()
    }
}

// === impl Events ===

impl Events {
    /// Adds the responses to a piece until it is large enough. True: that were all.
    fn frame(&mut self, piece: &mut Vec<u8>) -> bool {
        let events: usize = self.events.iter().map(Bytes::len).sum();
        while piece.len() < PIECE_BYTES
            && let Some(id) = self.ids.get(self.told)
        {
            let rest = WatchResponse { watch_id: *id, fragment: self.is_part, ..WatchResponse::default() };
            let length = self.header.len() + rest.encoded_len() + events;
            if piece.is_empty() {
                let count = self.ids.len() - self.told;
                piece.reserve((count * (length + ROOM_BYTES)).min(PIECE_BYTES + length + ROOM_BYTES));
            }
            call::begin_frame(length, piece);
            piece.extend_from_slice(&self.header);
            rest.encode(piece).expect("there is room");
            self.events.iter().for_each(|event| piece.extend_from_slice(event));
            self.told += 1;
        }
        self.told == self.ids.len()
    }
}

/// The next changes of either feed.
async fn fed(feeds: &mut [Option<Feed>; 2]) -> (usize, Result<ChangeBatch, Error>) {
    let [plain, previous] = feeds;
    tokio::select! {
        changes = next(plain) => (0, changes),
        changes = next(previous) => (1, changes),
    }
}

async fn next(feed: &mut Option<Feed>) -> Result<ChangeBatch, Error> {
    let Some(feed) = feed else { return std::future::pending().await };
    let ended = || Err(Error::Unavailable("the store ended a watch".into()));
    feed.changes.next().await.unwrap_or_else(ended)
}

async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn event(change: &Change) -> Event {
    let kind = if change.is_delete { EventType::Delete } else { EventType::Put };
    let previous = change.previous.clone().map(key_value);
    Event { r#type: kind as i32, kv: Some(key_value(change.kv.clone())), prev_kv: previous }
}

/// Parts of at most so many bytes, or of one event.
fn split(events: Vec<Bytes>, bytes_max: usize) -> Vec<Vec<Bytes>> {
    let mut parts: Vec<Vec<Bytes>> = Vec::new();
    let mut bytes = usize::MAX;
    for event in events {
        let size = event.len();
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
