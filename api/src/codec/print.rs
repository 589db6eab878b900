//! The canonical form of a tree as bytes, without a second tree on the way: what is stored is printed so.
//!
//! It is `shape`'s form, to the letter; what is rare is left to it, and tests hold the two together.

use super::{DEPTH_MAX, shape};
use crate::Tree;
use crate::fields::{Container, Field, TypeRef, Value};
use serde_json::Map;

/// Room for most objects.
const BYTES: usize = 2048;

pub(super) fn print(tree: &Tree, schema: Option<TypeRef>) -> Vec<u8> {
    let mut out = Vec::with_capacity(BYTES);
    match (tree, schema) {
        (Tree::Object(map), Some(schema)) => object(map, schema, 0, &mut out),
        _ => put(&shape::canonical(tree.clone(), schema), &mut out),
    }
    out
}

fn put(value: &Tree, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("a tree has a form, and memory takes it");
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a text has a form, and memory takes it");
}

/// Names of fields are plain words.
fn put_name(name: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn object(map: &Map<String, Tree>, schema: TypeRef, depth: usize, out: &mut Vec<u8>) {
    let fields = schema.fields();
    let mut slots: Vec<Option<&Tree>> = vec![None; fields.len()];
    for (key, value) in map {
        if let Some(at) = schema.position(key) {
            slots[at] = (!value.is_null()).then_some(value);
        }
    }
    out.push(b'{');
    let mut is_first = true;
    for (field, slot) in fields.iter().zip(slots) {
        let before = out.len();
        if !is_first {
            out.push(b',');
        }
        put_name(field.json, out);
        if member(field, slot, depth, out) {
            is_first = false;
        } else {
            out.truncate(before);
        }
    }
    out.push(b'}');
}

/// Prints the value of a member, if Go would print it.
fn member(field: &Field, slot: Option<&Tree>, depth: usize, out: &mut Vec<u8>) -> bool {
    let can_be_left_out = field.omitempty && !field.pointer;
    match (field.container, slot) {
        (Container::List | Container::Map, Some(Tree::Array(all))) if all.is_empty() && can_be_left_out => false,
        (Container::List | Container::Map, Some(Tree::Object(all))) if all.is_empty() && can_be_left_out => false,
        (Container::List, Some(Tree::Array(all))) => {
            list(field.value, all, depth + 1, out);
            true
        }
        (Container::Map, Some(Tree::Object(all))) => {
            keyed(field.value, all, depth + 1, out);
            true
        }
        // Only a type that stands for one of its members can turn out to be nothing.
        (Container::Single, Some(value @ Tree::Object(map))) => match (plain(field.value, depth + 1), field.value) {
            (Some(inner), _) => {
                object(map, inner, depth + 1, out);
                true
            }
            (None, Value::RawExtension | Value::Json | Value::Any | Value::FieldsV1) => {
                put(value, out);
                true
            }
            (None, _) => rare(field, slot, depth, out),
        },
        (Container::Single, Some(Tree::String(text))) if field.value == Value::String && !field.pointer => {
            let is_printed = !(field.omitempty && text.is_empty());
            if is_printed {
                put_text(text, out);
            }
            is_printed
        }
        _ => rare(field, slot, depth, out),
    }
}

/// The type of a struct that is printed member by member.
fn plain(value: Value, depth: usize) -> Option<TypeRef> {
    match value {
        Value::Object(inner) if !inner.is_bare() && depth < DEPTH_MAX => Some(inner),
        _ => None,
    }
}

fn rare(field: &Field, slot: Option<&Tree>, depth: usize, out: &mut Vec<u8>) -> bool {
    let value = slot.map(|value| shape::value_of(field, value.clone(), depth + 1));
    let printed = shape::printed(field, value, depth);
    if let Some(value) = &printed {
        put(value, out);
    }
    printed.is_some()
}

fn list(value: Value, all: &[Tree], depth: usize, out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, item) in all.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        element(value, item, depth, out);
    }
    out.push(b']');
}

fn keyed(value: Value, all: &Map<String, Tree>, depth: usize, out: &mut Vec<u8>) {
    let mut sorted: Vec<(&String, &Tree)> = all.iter().collect();
    sorted.sort_unstable_by_key(|(key, _)| *key);
    out.push(b'{');
    for (at, (key, item)) in sorted.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put_text(key, out);
        out.push(b':');
        match value {
            Value::Quantity => put(&shape::map_member(value, item.clone(), depth), out),
            value => element(value, item, depth, out),
        }
    }
    out.push(b'}');
}

fn element(value: Value, item: &Tree, depth: usize, out: &mut Vec<u8>) {
    match (plain(value, depth), item) {
        (Some(inner), Tree::Object(map)) => object(map, inner, depth, out),
        (None, Tree::String(text)) if value == Value::String => put_text(text, out),
        _ => put(&shape::element(value, item.clone(), depth), out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;
    use proptest::prelude::*;
    use serde_json::json;

    /// Numbers that look random, from one.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).expect("31 bits") % sides
        }

        /// Something for a field: mostly of its type.
        fn value(&mut self, field: &Field, depth: usize) -> Tree {
            if self.roll(10) == 0 {
                return [json!(null), json!(""), json!([]), json!({}), json!(0), json!(false)][self.roll(6)].clone();
            }
            match field.container {
                Container::List => (0..self.roll(3)).map(|_| self.one(field.value, depth)).collect(),
                Container::Map => {
                    let keys = ["b", "a", "hugepages-2Mi", "cpu"];
                    let mut map = Map::new();
                    for _ in 0..self.roll(4) {
                        map.insert(keys[self.roll(4)].to_owned(), self.one(field.value, depth));
                    }
                    Tree::Object(map)
                }
                Container::Single => self.one(field.value, depth),
            }
        }

        fn one(&mut self, value: Value, depth: usize) -> Tree {
            match value {
                Value::Object(inner) if depth < 6 => Tree::Object(self.members(inner, depth + 1)),
                Value::Object(_) => json!({}),
                Value::Bool => self.roll(2).eq(&0).into(),
                Value::Int32 | Value::Int64 => self.roll(3).into(),
                Value::Float64 => json!(1.5),
                Value::Quantity => [json!("1000m"), json!(2), json!("0.5Gi"), json!("x")][self.roll(4)].clone(),
                Value::Time | Value::MicroTime => {
                    [json!("2026-01-01T00:00:00.5+01:00"), json!("2026-01-01T00:00:00Z"), json!("x")][self.roll(3)]
                        .clone()
                }
                Value::Bytes => [json!("YQ==\n"), json!("YQ=="), json!("\n")][self.roll(3)].clone(),
                _ => [json!("a\"b"), json!(""), json!(7), json!(null)][self.roll(4)].clone(),
            }
        }

        fn members(&mut self, schema: TypeRef, depth: usize) -> Map<String, Tree> {
            let mut map = Map::new();
            let most = if schema.fields().is_empty() { 1 } else { 8 };
            for _ in 0..self.roll(most) {
                let field = &schema.fields()[self.roll(schema.fields().len())];
                map.insert(field.json.to_owned(), self.value(field, depth));
            }
            if self.roll(10) == 0 {
                map.insert("unknown".to_owned(), json!(1));
            }
            map
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn what_is_printed_is_the_canonical_tree(seed in any::<u64>(), number in any::<prop::sample::Index>()) {
            let kind = number.get(kinds::builtin());
            let mut dice = Dice(seed);
            if let Some(schema) = kind.schema() {
                let tree = Tree::Object(dice.members(schema, 0));
                let expected = shape::canonical(tree.clone(), Some(schema)).to_string();
                prop_assert_eq!(String::from_utf8(print(&tree, Some(schema))).expect("JSON"), expected);
            }
        }
    }

    #[test]
    fn a_custom_resource_is_printed_too() {
        let tree = json!({"spec": {"b": 1, "a": null}, "metadata": {"name": "x"}, "kind": "K", "apiVersion": "g/v1"});
        let expected = shape::canonical(tree.clone(), None).to_string();
        assert_eq!(String::from_utf8(print(&tree, None)).expect("JSON"), expected);
    }
}
