//! What the targets share: a kind and a tree out of any bytes.

use api::Tree;
use api::kinds::{self, Kind};
use std::sync::Arc;

/// The first byte or two say which of the built-in kinds it is.
pub fn kind(bytes: &[u8]) -> Option<(&'static Arc<Kind>, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<2>()?;
    let all = kinds::builtin();
    Some((&all[usize::from(u16::from_le_bytes(*number)) % all.len()], rest))
}

/// Several JSON documents in a list.
pub fn trees(bytes: &[u8]) -> Vec<Tree> {
    match api::codec::json::parse(bytes) {
        Ok(Tree::Array(trees)) => trees,
        _ => Vec::new(),
    }
}

/// What every object that was decoded goes through before it is stored.
pub fn store(kind: &Kind, mut tree: Tree) {
    api::defaults::apply(kind, &mut tree);
    let printed = api::codec::print(&tree, kind);
    let canonical = api::codec::canonical(tree, kind);
    assert_eq!(String::from_utf8(printed).expect("JSON"), canonical.to_string());
    assert_eq!(api::codec::canonical(canonical.clone(), kind), canonical, "the canonical form of a canonical object");
    let _ = api::validate::create(kind, &canonical);
    let _ = api::validate::update(kind, &canonical, &canonical);
}
