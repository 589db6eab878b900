//! One collection in memory: its objects in key order, an index of pods by node, and what happened in the last
//! minutes.
//!
//! A watch is a cursor into that history: it holds no queue of its own, so a slow watcher costs nothing, and is told
//! `Expired` once the history has passed it by. Written by the memory's one task alone.

use super::encoded;
use super::index::{Exact, Index, Indexes, OBJECTS_MIN};
use super::node_authorizer::References;
use api::Object;
use api::time::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;

/// How long a watch may lag, or be away, and still go on where it was.
const HISTORY: SignedDuration = SignedDuration::from_mins(5);
/// Events of one collection that are kept at most, however young.
const HISTORY_MAX: usize = 100_000;
/// The collection that nodes watch.
pub(super) const PODS: &str = "core/pods";

pub(super) struct Shelf {
    state: RwLock<State>,
    /// Told after each batch of changes.
    changed: Notify,
    /// Told after changes of pods of one node: thousands of nodes each watch only their own.
    changed_on: Mutex<HashMap<Box<str>, Arc<Notify>>>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Arc<str>, Arc<Stored>>,
    by_node: HashMap<Box<str>, BTreeSet<Arc<str>>>,
    indexes: Indexes,
    history: VecDeque<Arc<Logged>>,
    /// The number of the oldest event in `history`.
    first: u64,
    /// Events up to this revision are forgotten.
    floor: u64,
    /// Everything up to this revision is in.
    revision: u64,
}

/// An object, and what others made of it.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) object: Arc<Object>,
    /// Of a pod, once a node has asked for what its pods refer to.
    references: OnceLock<Arc<References>>,
}

/// One change, as watches read it.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) revision: u64,
    place: Arc<str>,
    at: Timestamp,
    pub(super) old: Option<Arc<Stored>>,
    pub(super) new: Option<Arc<Stored>>,
    gone: OnceLock<Arc<Object>>,
}

/// A change that comes in.
pub(super) struct Incoming {
    pub(super) place: Arc<str>,
    pub(super) revision: u64,
    /// `None`: deleted.
    pub(super) object: Option<Arc<Object>>,
}

/// A watch's place in the history: the number of the next event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor(u64);

/// The history does not reach back to where the watch was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passed {
    /// The oldest revision a watch may go on from.
    pub(super) floor: u64,
}

// === impl Shelf ===

impl Shelf {
    /// `floor`: whose history nobody has. `revision`: what it shows, being empty.
    pub(super) fn new(floor: u64, revision: u64) -> Shelf {
        Shelf {
            state: RwLock::new(State { floor, revision, ..State::default() }),
            changed: Notify::new(),
            changed_on: Mutex::default(),
        }
    }

    /// Takes all changes of one batch, and tells the watches.
    pub(super) fn apply(&self, changes: Vec<Incoming>, revision: u64, now: Timestamp) {
        let mut nodes: BTreeSet<Box<str>> = BTreeSet::new();
        {
            let mut state = self.state.write();
            for change in changes {
                let Some(logged) = state.apply(change, now) else { continue };
                let touched = [&logged.old, &logged.new].into_iter().flatten();
                nodes.extend(touched.map(|stored| stored.object.head().node.clone()).filter(|node| !node.is_empty()));
            }
            state.revision = state.revision.max(revision);
            state.forget(now);
        }
        self.changed.notify_waiters();
        if !nodes.is_empty() {
            let mut wakers = self.changed_on.lock();
            wakers.retain(|_, waker| Arc::strong_count(waker) > 1);
            for node in nodes {
                if let Some(waker) = wakers.get(&node) {
                    waker.notify_waiters();
                }
            }
        }
    }

    /// The oldest revision that a watch may begin at.
    pub(super) fn floor(&self) -> u64 {
        self.state.read().floor
    }

    /// From now on no watch may begin before this revision.
    pub(super) fn begin_at(&self, revision: u64) {
        let mut state = self.state.write();
        state.floor = state.floor.max(revision);
    }

    /// Lets go of what is too old to be asked for.
    pub(super) fn forget(&self, now: Timestamp) {
        self.state.write().forget(now);
    }

    /// Fills the shelf at the start: no history.
    pub(super) fn fill(&self, objects: Vec<(Arc<str>, Arc<Object>)>) {
        let mut state = self.state.write();
        for (place, object) in objects {
            state.put(place, Arc::new(Stored::new(object)));
        }
    }

    pub(super) fn get(&self, place: &str) -> Option<Arc<Stored>> {
        self.state.read().entries.get(place).cloned()
    }

    /// The objects whose place begins with `prefix` and lies at or after `start`, and the revision they show.
    /// `applied` reads the memory's revision while nothing can change here.
    pub(super) fn range(&self, prefix: &str, applied: impl Fn() -> u64) -> (Vec<Arc<Stored>>, u64) {
        let state = self.state.read();
        let revision = state.revision.max(applied());
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let found = state.entries.range::<str, _>(from).take_while(|(place, _)| place.starts_with(prefix));
        (found.map(|(_, stored)| Arc::clone(stored)).collect(), revision)
    }

    /// The pods of one node, of all namespaces.
    pub(super) fn on_node(&self, node: &str, applied: impl Fn() -> u64) -> (Vec<Arc<Stored>>, u64) {
        let state = self.state.read();
        let places = state.by_node.get(node).into_iter().flatten();
        let found = places.filter_map(|place| state.entries.get(place)).cloned().collect();
        (found, state.revision.max(applied()))
    }

    /// The objects with one value, of all namespaces, if that is worth an index; the index is made if there is none.
    pub(super) fn having(
        &self,
        exact: &Exact,
        now: Timestamp,
        applied: impl Fn() -> u64,
    ) -> Option<(Vec<Arc<Stored>>, u64)> {
        if self.state.read().entries.len() < OBJECTS_MIN {
            return None;
        }
        if !self.state.read().indexes.has(exact) {
            self.make_index(exact, now);
        }
        let state = self.state.read();
        let places = state.indexes.find(exact, now)?;
        let found = places.filter_map(|place| state.entries.get(place)).cloned().collect();
        Some((found, state.revision.max(applied())))
    }

    /// Makes an index beside the changes that go on, and then takes those in.
    fn make_index(&self, exact: &Exact, now: Timestamp) {
        let (objects, cursor) = {
            let state = self.state.read();
            let objects: Vec<_> = state.entries.iter().map(|(place, at)| (Arc::clone(place), Arc::clone(at))).collect();
            (objects, state.end())
        };
        let mut index = Index::of(&exact.by, &objects);
        drop(objects);
        let mut state = self.state.write();
        // So many changes meanwhile that they are forgotten: this list looks through all, the next one tries again.
        let Some(skip) = cursor.0.checked_sub(state.first) else { return };
        for change in state.history.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)) {
            index.change(&exact.by, &change.place, change.old.as_deref(), change.new.as_deref());
        }
        state.indexes.put(exact.by.clone(), index, now);
    }

    /// Where every place of the shelf is, for comparing it with the store.
    pub(super) fn places(&self) -> Vec<(Arc<str>, u64)> {
        let state = self.state.read();
        state.entries.iter().map(|(place, stored)| (Arc::clone(place), stored.object.revision())).collect()
    }

    pub(super) fn revision(&self) -> u64 {
        self.state.read().revision
    }

    /// Where a watch begins that has seen everything up to `revision`.
    pub(super) fn cursor(&self, revision: u64) -> Result<Cursor, Passed> {
        let state = self.state.read();
        if revision < state.floor {
            return Err(Passed { floor: state.floor });
        }
        let seen = state.history.partition_point(|event| event.revision <= revision);
        Ok(Cursor(state.first + seen as u64))
    }

    /// The next events, at most `max`; the cursor moves behind them. Also the revision up to which nothing is missed.
    pub(super) fn events(
        &self,
        cursor: &mut Cursor,
        max: usize,
        applied: impl Fn() -> u64,
    ) -> Result<(Vec<Arc<Logged>>, u64), Passed> {
        let state = self.state.read();
        let skip = cursor.0.checked_sub(state.first).ok_or(Passed { floor: state.floor })?;
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let events: Vec<Arc<Logged>> = state.history.iter().skip(skip).take(max).cloned().collect();
        cursor.0 += events.len() as u64;
        let is_all = skip.saturating_add(events.len()) >= state.history.len();
        let revision = match events.last() {
            Some(last) if !is_all => last.revision.saturating_sub(1),
            _ => state.revision.max(applied()),
        };
        Ok((events, revision))
    }

    /// What to wait on for changes; `enable` it before looking.
    pub(super) fn changed(&self) -> &Notify {
        &self.changed
    }

    /// The same, for changes of one node's pods alone.
    pub(super) fn changed_on(&self, node: &str) -> Arc<Notify> {
        Arc::clone(self.changed_on.lock().entry(node.into()).or_default())
    }
}

// === impl State ===

impl State {
    fn apply(&mut self, change: Incoming, now: Timestamp) -> Option<Arc<Logged>> {
        let place = Arc::clone(&change.place);
        let (old, new) = match change.object {
            Some(object) => {
                let have = self.entries.get(&change.place).map(|stored| stored.object.revision());
                if have.is_some_and(|have| have >= object.revision()) {
                    return None;
                }
                let new = Arc::new(Stored::new(object));
                let old = self.put(change.place, Arc::clone(&new));
                if let Some(old) = &old {
                    new.inherit(old);
                }
                (old, Some(new))
            }
            None => (Some(self.take(&change.place)?), None),
        };
        self.indexes.change(&place, old.as_deref(), new.as_deref());
        let logged = Logged { revision: change.revision, place, at: now, old, new, gone: OnceLock::new() };
        let logged = Arc::new(logged);
        self.history.push_back(Arc::clone(&logged));
        Some(logged)
    }

    fn put(&mut self, place: Arc<str>, new: Arc<Stored>) -> Option<Arc<Stored>> {
        let node = new.object.head().node.clone();
        let old = self.entries.insert(Arc::clone(&place), new);
        if let Some(old) = old.as_ref().filter(|old| old.object.head().node != node) {
            self.unindex(&place, &old.object.head().node);
        }
        if !node.is_empty() {
            self.by_node.entry(node).or_default().insert(place);
        }
        old
    }

    fn take(&mut self, place: &str) -> Option<Arc<Stored>> {
        let old = self.entries.remove(place)?;
        self.unindex(place, &old.object.head().node);
        Some(old)
    }

    fn unindex(&mut self, place: &str, node: &str) {
        let Some(places) = self.by_node.get_mut(node) else { return };
        places.remove(place);
        if places.is_empty() {
            self.by_node.remove(node);
        }
    }

    /// Behind the newest event.
    fn end(&self) -> Cursor {
        Cursor(self.first + self.history.len() as u64)
    }

    fn forget(&mut self, now: Timestamp) {
        self.indexes.forget(now);
        while let Some(oldest) = self.history.front() {
            if self.history.len() <= HISTORY_MAX && now.duration_since(oldest.at) <= HISTORY {
                return;
            }
            self.floor = self.floor.max(oldest.revision);
            self.first += 1;
            self.history.pop_front();
        }
    }
}

// === impl Stored ===

impl Stored {
    pub(super) fn new(object: Arc<Object>) -> Stored {
        Stored { object, references: OnceLock::new() }
    }

    /// What a pod refers to.
    pub(super) fn references(&self) -> &References {
        self.references.get_or_init(|| Arc::new(References::of(&self.object)))
    }

    /// A pod refers to the same all its life.
    fn inherit(&self, old: &Stored) {
        if let Some(references) = old.references.get().filter(|_| old.object.uid() == self.object.uid()) {
            // Nobody has this version yet.
            let _ = self.references.set(Arc::clone(references));
        }
    }
}

// === impl Logged ===

impl Logged {
    /// The state before, under the revision of this event: what a watch is told that loses sight of the object.
    pub(super) fn gone(&self) -> Option<Arc<Object>> {
        let old = self.old.as_ref()?;
        Some(Arc::clone(self.gone.get_or_init(|| encoded::again(&old.object, self.revision))))
    }
}
