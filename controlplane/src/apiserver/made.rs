//! Forms of objects that were made for one client and are kept for the next: rows of tables, metadata, protobuf.
//!
//! Whole objects in JSON need none of this: they are their stored bytes. What is kept is bounded; of two generations the
//! older one is let go when the younger is full, so what is asked for again stays.

use super::table::Include;
use api::Object;
use api::custom::Custom;
use api::kinds::Kind;
use api::time::Timestamp;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Of one generation, with the objects that it keeps in memory.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// What is made of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Form {
    Row {
        include: Include,
        beta: bool,
    },
    Metadata {
        beta: bool,
    },
    /// With its envelope.
    Protobuf,
}

#[derive(Default)]
pub(super) struct Made(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<Key, Kept>,
    old: HashMap<Key, Kept>,
    /// Of the young.
    bytes: usize,
}

/// The address of an object, and of its definition if it is a custom one: both are kept as long as the entry is, so
/// nothing else can be there.
type Key = (usize, usize, Form);

struct Kept {
    bytes: Bytes,
    /// From then on it would be made differently.
    changes: Timestamp,
    _object: Arc<Object>,
    _custom: Option<Arc<Custom>>,
}

// === impl Made ===

impl Made {
    /// The form of an object of this kind at this time. `make` makes it, and says when it would be made differently.
    pub(super) fn get(
        &self,
        object: &Arc<Object>,
        kind: &Kind,
        form: Form,
        now: Timestamp,
        make: impl FnOnce() -> (Bytes, Timestamp),
    ) -> Bytes {
        let custom = kind.custom.as_ref();
        let key = (Arc::as_ptr(object).addr(), custom.map_or(0, |custom| Arc::as_ptr(custom).addr()), form);
        if let Some(bytes) = self.0.lock().find(key, now) {
            return bytes;
        }
        // Not under the lock: two who ask at once make it twice.
        let (bytes, changes) = make();
        let kept = Kept { bytes: bytes.clone(), changes, _object: Arc::clone(object), _custom: custom.cloned() };
        self.0.lock().keep(key, kept);
        bytes
    }
}

// === impl Generations ===

impl Generations {
    fn find(&mut self, key: Key, now: Timestamp) -> Option<Bytes> {
        if let Some(kept) = self.young.get(&key) {
            return (now < kept.changes).then(|| kept.bytes.clone());
        }
        let kept = self.old.remove(&key).filter(|kept| now < kept.changes)?;
        let bytes = kept.bytes.clone();
        self.keep(key, kept);
        Some(bytes)
    }

    fn keep(&mut self, key: Key, kept: Kept) {
        self.bytes += kept.size();
        if let Some(replaced) = self.young.insert(key, kept) {
            self.bytes -= replaced.size();
        }
        if self.bytes > BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
    }
}

// === impl Kept ===

impl Kept {
    fn size(&self) -> usize {
        size_of::<(Key, Kept)>() + self.bytes.len() + self._object.json().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::kinds;
    use api::resource::PODS;
    use api::time::SignedDuration;

    fn object(bytes: usize) -> Arc<Object> {
        let tree = serde_json::json!({"metadata": {"name": "a", "uid": "x".repeat(bytes)}});
        Arc::new(Object::from_tree(&tree).expect("an object"))
    }

    #[test]
    fn a_form_is_made_once_until_it_changes() {
        let (made, object, kind) = (Made::default(), object(10), kinds::find(&PODS).expect("built in"));
        let begin = api::time::parse("2026-01-01T00:00:00Z").expect("a time");
        let at = |seconds: i64| begin + SignedDuration::from_secs(seconds);
        let ask = |form: Form, seconds: i64, say: &'static str| {
            made.get(&object, kind, form, at(seconds), || (Bytes::from_static(say.as_bytes()), at(seconds + 10)))
        };
        let row = Form::Row { include: Include::Metadata, beta: false };
        assert_eq!(
            (ask(row, 0, "first"), ask(row, 9, "second"), ask(row, 10, "third")),
            ("first".into(), "first".into(), "third".into())
        );
        assert_eq!(ask(Form::Protobuf, 10, "another"), "another");
        let same = Arc::new(Object::from_json(object.json().clone()).expect("an object"));
        let other = made.get(&same, kind, row, at(10), || (Bytes::from_static(b"its own"), at(20)));
        assert_eq!(other, "its own");
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_asked_for_stays() {
        let (made, kind) = (Made::default(), kinds::find(&PODS).expect("built in"));
        let now = api::time::parse("2026-01-01T00:00:00Z").expect("a time");
        let popular = object(10);
        let mut times = 0;
        for _ in 0..100 {
            made.get(&popular, kind, Form::Protobuf, now, || {
                times += 1;
                (Bytes::new(), Timestamp::MAX)
            });
            made.get(&object(1 << 20), kind, Form::Protobuf, now, || (Bytes::new(), Timestamp::MAX));
        }
        let kept = made.0.lock();
        assert!(kept.young.len() + kept.old.len() < 20);
        assert_eq!(times, 1);
    }
}
