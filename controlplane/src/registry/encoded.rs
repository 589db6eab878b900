//! The bytes of a stored object: canonical JSON whose resourceVersion is filled in from the store's revision.
//!
//! What is stored says `"resourceVersion":"0"`, since nobody knows the revision before the write. Whoever reads puts
//! the real one in by copying around it; canonical order has metadata early and no such key before its own.

use api::kinds::Kind;
use api::object::edit;
use api::{Object, Rejected, Tree};
use bytes::{BufMut, Bytes, BytesMut};
use std::sync::Arc;

const KEY: &[u8] = b"\"resourceVersion\":\"";

/// The bytes to store.
pub(super) fn encode(tree: &mut Tree, kind: &Kind) -> Bytes {
    if let Some(custom) = &kind.custom {
        api::custom::into_stored(custom, tree);
    }
    marked(tree, kind)
}

/// Is an object what these bytes to store would make it, but for its revision?
pub(super) fn is_same(stored: &[u8], object: &Object) -> bool {
    let json = object.json();
    match (place(stored), place(json)) {
        (Some((start, end)), Some((at, after))) => stored[..start] == json[..at] && stored[end..] == json[after..],
        _ => with_revision(stored, object.revision()).is_some_and(|same| same == *json),
    }
}

/// The same, of an object that was stored before and whose metadata alone has changed.
pub(super) fn marked(tree: &mut Tree, kind: &Kind) -> Bytes {
    edit::set(tree, &["metadata", "resourceVersion"], "0");
    api::codec::print(tree, kind).into()
}

/// The object that stored bytes are at a revision. `None` if they are no object: somebody else wrote them.
pub(super) fn at_revision(stored: &[u8], revision: u64) -> Option<Arc<Object>> {
    let json = with_revision(stored, revision)?;
    Object::from_json(json).ok().map(Arc::new)
}

/// The same object under another revision: how a deletion tells the last state.
pub(super) fn again(object: &Object, revision: u64) -> Arc<Object> {
    at_revision(object.json(), revision).expect("the bytes were an object before")
}

/// An object that is not stored (dry run, virtual kinds): it has the resourceVersion that was sent, if any.
pub(super) fn unstored(tree: Tree, kind: &Kind) -> Result<Arc<Object>, Rejected> {
    Object::from_tree(&api::codec::canonical(tree, kind)).map(Arc::new).map_err(Rejected::internal)
}

fn with_revision(stored: &[u8], revision: u64) -> Option<Bytes> {
    let Some((start, end)) = place(stored) else {
        let mut tree: Tree = serde_json::from_slice(stored).ok().filter(Tree::is_object)?;
        edit::set(&mut tree, &["metadata", "resourceVersion"], revision.to_string());
        return serde_json::to_vec(&tree).ok().map(Bytes::from);
    };
    let mut json = BytesMut::with_capacity(stored.len() + 20);
    json.put_slice(&stored[..start]);
    json.put_slice(revision.to_string().as_bytes());
    json.put_slice(&stored[end..]);
    Some(json.freeze())
}

/// Where the value of `metadata.resourceVersion` begins and ends.
fn place(json: &[u8]) -> Option<(usize, usize)> {
    let start = json.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let length = json[start..].iter().position(|byte| *byte == b'"')?;
    let is_number = json[start..start + length].iter().all(u8::is_ascii_digit);
    (length > 0 && is_number).then_some((start, start + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_is_filled_in() {
        let stored = br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"0"},"spec":{}}"#;
        let object = at_revision(stored, 123).unwrap();
        assert_eq!(object.revision(), 123);
        assert_eq!(again(&object, 7).revision(), 7);
        assert!(object.json().ends_with(br#""resourceVersion":"123"},"spec":{}}"#));
        let foreign = at_revision(br#"{"metadata":{"name":"a"}}"#, 9).unwrap();
        assert_eq!(foreign.revision(), 9);
        assert!(at_revision(b"no object", 9).is_none());
        assert!(is_same(stored, &object) && is_same(br#"{"metadata":{"name":"a"}}"#, &foreign));
        let other = br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"0"},"spec":{ }}"#;
        assert!(!is_same(other, &object) && !is_same(stored, &foreign));
    }
}
