//! Lists that are sets or maps have no element twice.

use crate::Tree;
use crate::custom::schema::Schema;
use crate::fields::ListType;
use crate::rejected::Cause;
use serde_json::Map;

pub(super) fn check(schema: &Schema, tree: &Tree, path: &str, causes: &mut Vec<Cause>) {
    match tree {
        Tree::Object(map) => {
            for (key, value) in map {
                let below = || if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                if let Some(member) = schema.member(key) {
                    check(member, value, &below(), causes);
                }
            }
        }
        Tree::Array(all) => {
            match schema.list_type {
                Some(ListType::Set) => twice(all.iter().cloned(), path, causes),
                Some(ListType::Map) => twice(all.iter().map(|item| keys(schema, item)), path, causes),
                Some(ListType::Atomic) | None => {}
            }
            for (at, item) in all.iter().enumerate() {
                if let Some(items) = &schema.items {
                    check(items, item, &format!("{path}[{at}]"), causes);
                }
            }
        }
        _ => {}
    }
}

fn keys(schema: &Schema, item: &Tree) -> Tree {
    let keys = schema.list_map_keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
    Tree::Object(keys.collect::<Map<_, _>>())
}

fn twice(all: impl Iterator<Item = Tree>, path: &str, causes: &mut Vec<Cause>) {
    let mut seen: Vec<Tree> = Vec::new();
    for (at, item) in all.enumerate() {
        if seen.contains(&item) {
            causes.push(Cause::duplicate(format!("{path}[{at}]"), &item));
        } else {
            seen.push(item);
        }
    }
}
