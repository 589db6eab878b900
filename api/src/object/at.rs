//! One value out of an object's bytes, without reading the rest into memory.

use crate::Tree;
use serde::Deserializer;
use serde::de::{Deserialize, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// The value at a path of keys. `None`: there is none, or what is above it is no object.
pub(super) fn find(json: &[u8], path: &[&str]) -> Option<Tree> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    Seek(path).deserialize(&mut reader).ok().flatten()
}

/// The text at a path below what is read; empty where there is none.
pub(super) fn text<'de, D: Deserializer<'de>>(path: &[&str], from: D) -> Result<Box<str>, D::Error> {
    Ok(match Seek(path).deserialize(from)? {
        Some(Tree::String(text)) => text.into(),
        _ => Box::default(),
    })
}

/// What is left of the path.
struct Seek<'p>(&'p [&'p str]);

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = Option<Tree>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<Tree>, D::Error> {
        if self.0.is_empty() { Tree::deserialize(from).map(Some) } else { from.deserialize_any(self) }
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = Option<Tree>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Tree>, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            if *key == *self.0[0] {
                found = map.next_value_seed(Seek(&self.0[1..]))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Option<Tree>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<Tree>, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<Tree>, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<Tree>, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Option<Tree>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<Tree>, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Option<Tree>, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_at_a_path() {
        let tree = json!({"a": [1, {"b": 2}], "s": {"t": {"u": "v\n"}, "w\"": null, "n": -1.5}, "": {"x": true}});
        let json = tree.to_string();
        for path in [
            &["s", "t", "u"][..],
            &["s", "t"],
            &["s", "w\""],
            &["", "x"],
            &["a"],
            &["a", "b"],
            &["s", "n", "deeper"],
            &["s", "t", "u", "deeper"],
            &["", "x", "deeper"],
            &["absent"],
            &[],
        ] {
            let expected = path.iter().try_fold(&tree, |tree, key| tree.as_object()?.get(*key)).cloned();
            assert_eq!(find(json.as_bytes(), path), expected, "{path:?}");
        }
        assert_eq!(find(b"no object", &["a"]), None);
    }
}
