//! One value for each key, for as long as somebody holds it.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// Values that those who use a key at the same time share.
#[derive(Debug)]
pub(crate) struct Keyed<T>(Mutex<HashMap<String, Weak<T>>>);

impl<T: Default> Keyed<T> {
    pub(crate) fn get(&self, key: &str) -> Arc<T> {
        let mut values = self.0.lock();
        if let Some(value) = values.get(key).and_then(Weak::upgrade) {
            return value;
        }
        values.retain(|_, value| value.strong_count() > 0);
        let value = Arc::<T>::default();
        values.insert(key.to_owned(), Arc::downgrade(&value));
        value
    }
}

impl<T> Default for Keyed<T> {
    fn default() -> Keyed<T> {
        Keyed(Mutex::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn what_nobody_holds_is_forgotten() {
        let keyed = Keyed::<AtomicU32>::default();
        let (one, other) = (keyed.get("a"), keyed.get("b"));
        one.store(7, Ordering::Relaxed);
        drop(other);
        assert_eq!(keyed.get("a").load(Ordering::Relaxed), 7);
        drop(one);
        let _third = keyed.get("c");
        assert_eq!(keyed.0.lock().keys().collect::<Vec<_>>(), ["c"]);
        assert_eq!(keyed.get("a").load(Ordering::Relaxed), 0);
    }
}
