//! Where a shelf's objects with one value of a label or a field are, so that a list of few reads few.
//!
//! Made when a list first asks for it, kept up with every change, let go when nobody has asked for a while: what nobody
//! selects by costs nothing.

use super::fields::Place;
use super::shelf::Stored;
use api::time::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Fewer objects are looked through as fast.
pub(super) const OBJECTS_MIN: usize = 1000;
/// Indexes of one shelf; the one that was not asked for the longest makes room.
const INDEXES_MAX: usize = 8;
const IDLE_MAX: SignedDuration = SignedDuration::from_mins(15);

/// What an index finds objects by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum By {
    Label(Box<str>),
    Field(Place),
}

/// One value that all objects have that a selector selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exact {
    pub(super) by: By,
    pub(super) value: Box<str>,
}

#[derive(Default)]
pub(super) struct Index {
    places: HashMap<Box<str>, BTreeSet<Arc<str>>>,
}

/// The indexes that a shelf has.
#[derive(Default)]
pub(super) struct Indexes {
    all: HashMap<By, (Index, Asked)>,
}

/// When an index was last asked for: noted by readers.
#[derive(Debug)]
struct Asked(Mutex<Timestamp>);

// === impl By ===

impl By {
    fn with_value<T>(&self, stored: &Stored, act: impl FnOnce(&str) -> T) -> Option<T> {
        match self {
            By::Label(key) => stored.object.label(key).map(act),
            By::Field(place) => Some(act(&place.value(stored))),
        }
    }
}

// === impl Index ===

impl Index {
    /// Of objects at their places.
    pub(super) fn of(by: &By, objects: &[(Arc<str>, Arc<Stored>)]) -> Index {
        let mut index = Index::default();
        for (place, stored) in objects {
            index.add(by, place, stored);
        }
        index
    }

    /// Takes one change in.
    pub(super) fn change(&mut self, by: &By, place: &Arc<str>, old: Option<&Stored>, new: Option<&Stored>) {
        if let Some(old) = old {
            by.with_value(old, |value| self.remove(value, place));
        }
        if let Some(new) = new {
            self.add(by, place, new);
        }
    }

    fn add(&mut self, by: &By, place: &Arc<str>, stored: &Stored) {
        by.with_value(stored, |value| match self.places.get_mut(value) {
            Some(places) => _ = places.insert(Arc::clone(place)),
            None => _ = self.places.insert(value.into(), BTreeSet::from([Arc::clone(place)])),
        });
    }

    fn remove(&mut self, value: &str, place: &str) {
        let Some(places) = self.places.get_mut(value) else { return };
        places.remove(place);
        if places.is_empty() {
            self.places.remove(value);
        }
    }
}

// === impl Indexes ===

impl Indexes {
    pub(super) fn has(&self, exact: &Exact) -> bool {
        self.all.contains_key(&exact.by)
    }

    /// The places of a value, in order; `None` if there is no such index.
    pub(super) fn find(&self, exact: &Exact, now: Timestamp) -> Option<impl Iterator<Item = &Arc<str>>> {
        let (index, asked) = self.all.get(&exact.by)?;
        *asked.0.lock() = now;
        Some(index.places.get(&exact.value).into_iter().flatten())
    }

    pub(super) fn put(&mut self, by: By, index: Index, now: Timestamp) {
        if self.all.len() >= INDEXES_MAX && !self.all.contains_key(&by) {
            let oldest = self.all.iter().min_by_key(|(_, (_, asked))| *asked.0.lock()).map(|(by, _)| by.clone());
            oldest.and_then(|oldest| self.all.remove(&oldest));
        }
        self.all.insert(by, (index, Asked(Mutex::new(now))));
    }

    pub(super) fn change(&mut self, place: &Arc<str>, old: Option<&Stored>, new: Option<&Stored>) {
        for (by, (index, _)) in &mut self.all {
            index.change(by, place, old, new);
        }
    }

    pub(super) fn forget(&mut self, now: Timestamp) {
        self.all.retain(|_, (_, asked)| now.duration_since(*asked.0.lock()) <= IDLE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::super::shelf::{Incoming, Shelf};
    use super::*;
    use api::Object;
    use proptest::prelude::*;
    use serde_json::json;

    const MANY: usize = OBJECTS_MIN + 20;

    fn pod(number: usize, revision: u64, tier: Option<u8>, account: u8) -> Arc<Object> {
        let labels = tier.map_or(json!({}), |tier| json!({"tier": tier.to_string()}));
        let tree = json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {
                "name": format!("p{number:04}"), "namespace": "n", "labels": labels,
                "resourceVersion": revision.to_string(),
            },
            "spec": {"serviceAccountName": account.to_string()},
        });
        Arc::new(Object::from_tree(&tree).expect("an object"))
    }

    fn place(number: usize) -> Arc<str> {
        format!("n/p{number:04}").into()
    }

    /// What an index says, and what all objects say.
    fn check(shelf: &Shelf, exact: &Exact, now: Timestamp) {
        let names = |found: Vec<Arc<Stored>>| -> Vec<String> {
            found.iter().map(|stored| stored.object.name().to_owned()).collect()
        };
        let (mut all, _) = shelf.range("", || 0);
        all.retain(|stored| exact.by.with_value(stored, |value| *value == *exact.value) == Some(true));
        let (found, _) = shelf.having(exact, now, || 0).expect("so many are worth an index");
        assert_eq!(names(found), names(all), "{exact:?}");
    }

    fn change() -> impl Strategy<Value = (usize, Option<(Option<u8>, u8)>)> {
        let pod = (prop::option::of(0..3_u8), 0..3_u8);
        (0..MANY + 20, prop::option::weighted(0.8, pod))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn an_index_finds_what_looking_through_all_finds(changes in prop::collection::vec(change(), 1..60)) {
            let now = api::time::parse("2026-01-01T00:00:00Z").expect("a time");
            let shelf = Shelf::new(0, 0);
            let tier = |number: usize| Some(if number.is_multiple_of(2) { 1 } else { 2 });
            shelf.fill((0..MANY).map(|number| (place(number), pod(number, 1, tier(number), 0))).collect());
            let label = |value: &str| Exact { by: By::Label("tier".into()), value: value.into() };
            let kind = api::kinds::find(&api::resource::PODS).expect("built in");
            let account = Place::of(kind, "spec.serviceAccountName");
            let field = |value: &str| Exact { by: By::Field(account.clone()), value: value.into() };
            for (at, (number, new)) in changes.into_iter().enumerate() {
                let revision = at as u64 + 2;
                let object = new.map(|(tier, account)| pod(number, revision, tier, account));
                shelf.apply(vec![Incoming { place: place(number), revision, object }], revision, now);
                // The first look makes the index, the later ones see what was changed since.
                if at % 7 == 0 {
                    for value in ["0", "1", "2", "9"] {
                        check(&shelf, &label(value), now);
                        check(&shelf, &field(value), now);
                    }
                }
            }
        }
    }

    #[test]
    fn what_nobody_asks_for_goes_and_there_are_never_many() {
        let now = api::time::parse("2026-01-01T00:00:00Z").expect("a time");
        let mut indexes = Indexes::default();
        let by = |number: usize| By::Label(number.to_string().into());
        for number in 0..INDEXES_MAX + 1 {
            let later = now + SignedDuration::from_secs(i64::try_from(number).expect("small"));
            indexes.put(by(number), Index::default(), later);
        }
        let has = |indexes: &Indexes, number| indexes.has(&Exact { by: by(number), value: "".into() });
        assert_eq!((indexes.all.len(), has(&indexes, 0), has(&indexes, 1)), (INDEXES_MAX, false, true));
        indexes.forget(now + IDLE_MAX + SignedDuration::from_secs(1));
        assert_eq!((has(&indexes, 1), has(&indexes, 2)), (true, true));
        indexes.forget(now + IDLE_MAX + SignedDuration::from_secs(2));
        assert_eq!((has(&indexes, 1), has(&indexes, 2)), (false, true));
    }

    #[test]
    fn few_objects_are_looked_through() {
        let now = api::time::parse("2026-01-01T00:00:00Z").expect("a time");
        let shelf = Shelf::new(0, 0);
        shelf.fill(vec![(place(1), pod(1, 1, None, 0))]);
        assert!(shelf.having(&Exact { by: By::Label("tier".into()), value: "0".into() }, now, || 0).is_none());
    }
}
