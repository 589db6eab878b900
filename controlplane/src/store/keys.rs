//! The bytes of keys and values in RocksDB; nothing else knows them.
//!
//! | key | value |
//! |---|---|
//! | `d` escaped key, inverted revision | one version: what it was at that revision |
//! | `r` revision, position | a change: the key, and the revision of the version that it replaced |
//! | `s` lease | how long it was granted for |
//! | `a` lease, key | nothing: the key is attached to the lease |
//! | `l` index | an entry of the Raft log that has to be kept |
//! | `m` | the record: where this member stands |
//! | `j` | how much of the journal is in here |
//! | `v` segment | how many bytes of that segment of the journal are still needed |
//!
//! A version and an entry are a head and a body, which is the value that was put, or the entry's data. A large body lies in
//! the journal, and its [`Place`] here in its stead.
//!
//! The versions of a key lie together, the newest first. The changes in order of revision rebuild the history after
//! a restart, and tell the compaction what is garbage, so neither ever walks over all data.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{decode_varint, encode_varint};

use raft::eraftpb::Entry;

use super::journal::Place;
use super::kv::KeyValue;

pub(super) const RECORD: &[u8] = b"m";
pub(super) const DATA: u8 = b'd';
pub(super) const CHANGE: u8 = b'r';
pub(super) const ENTRY: u8 = b'l';
pub(super) const LEASE: u8 = b's';
pub(super) const JOURNAL: &[u8] = b"j";
pub(super) const SEGMENT: u8 = b'v';

/// A zero byte in a key is followed by this, and the end of the key is a zero byte and one less.
const ZERO: [u8; 2] = [0, 2];
const END: [u8; 2] = [0, 1];
const REVISION_BYTES: usize = 8;

const ATTACHED: u8 = b'a';

const FLAG_DELETED: u8 = 1;
/// Of a version or an entry: its body lies in the journal.
const FLAG_APART: u8 = 2;

/// What follows the head of a version or an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body<'a> {
    Here(&'a [u8]),
    Apart(Place),
}

/// A change, as it is found by revision.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Touched {
    pub(super) revision: u64,
    /// Which of the changes of its revision.
    pub(super) position: u32,
    pub(super) key: Bytes,
    /// The revision of the version before; 0: there was none.
    pub(super) replaced: u64,
    pub(super) is_delete: bool,
}

/// Where all versions of `key` begin.
pub(super) fn data_prefix(key: &[u8]) -> Vec<u8> {
    let mut out = data_start(key);
    out.put_slice(&END);
    out
}

/// Where the versions of `key` and of all keys after it begin.
pub(super) fn data_start(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 3 + REVISION_BYTES);
    out.push(DATA);
    for byte in key {
        match byte {
            0 => out.put_slice(&ZERO),
            byte => out.push(*byte),
        }
    }
    out
}

/// Where the versions of all keys end.
pub(super) fn data_end() -> Vec<u8> {
    vec![DATA + 1]
}

pub(super) fn version(key: &[u8], revision: u64) -> Vec<u8> {
    let mut out = data_prefix(key);
    out.put_u64(!revision);
    out
}

/// The prefix of a version's key (as of [`data_prefix`]), and its revision.
pub(super) fn split_version(bytes: &[u8]) -> Option<(&[u8], u64)> {
    let (prefix, mut revision) = bytes.split_at_checked(bytes.len().checked_sub(REVISION_BYTES)?)?;
    prefix.ends_with(&END).then(|| (prefix, !revision.get_u64()))
}

/// What all versions of a key have in common, if this is a version.
pub(super) fn versions_of(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [DATA, ..] => split_version(bytes).map(|(prefix, _)| prefix),
        _ => None,
    }
}

/// The key of a prefix.
pub(super) fn unescape(prefix: &[u8]) -> Bytes {
    let escaped = &prefix[1..prefix.len() - END.len()];
    if !escaped.contains(&0) {
        return Bytes::copy_from_slice(escaped);
    }
    let mut out = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(byte) = bytes.next() {
        out.push(*byte);
        if *byte == 0 {
            bytes.next();
        }
    }
    out.into()
}

/// The head of a version; the value is its body, if there is one.
pub(super) fn put_head(out: &mut Vec<u8>, kv: &KeyValue, is_delete: bool) {
    out.push(if is_delete { FLAG_DELETED } else { 0 });
    if !is_delete {
        encode_varint(kv.create_revision, out);
        encode_varint(kv.version, out);
        encode_varint(kv.lease.cast_unsigned(), out);
    }
}

/// A version or an entry whose body lies elsewhere.
pub(super) fn put_apart(out: &mut Vec<u8>, head: &[u8], place: Place) {
    out.extend_from_slice(head);
    let at = out.len() - head.len();
    out[at] |= FLAG_APART;
    place.put(out);
}

pub(super) fn is_deleted(value: &[u8]) -> bool {
    value.first().is_some_and(|flags| flags & FLAG_DELETED != 0)
}

/// Where the body of a version or an entry lies, if not here; `None` too if the bytes are neither.
pub(super) fn place(key: &[u8], bytes: &[u8]) -> Option<Place> {
    if bytes.first()? & FLAG_APART == 0 {
        return None;
    }
    let place = match *key.first()? {
        DATA => version_of(Bytes::new(), 0, bytes).ok()??.1,
        ENTRY => entry_of(0, bytes).ok()?.1,
        _ => return None,
    };
    match place {
        Body::Apart(place) => Some(place),
        Body::Here(_) => None,
    }
}

/// What is left of `bytes` after a head with these flags.
fn body<'a>(flags: u8, bytes: &mut &'a [u8]) -> Option<Body<'a>> {
    match flags & FLAG_APART {
        0 => Some(Body::Here(bytes)),
        _ => Place::take(bytes).map(Body::Apart),
    }
}

/// A version without its value, and that: `None` if it is a deletion; an error if the bytes are not a version.
pub(super) fn version_of(key: Bytes, revision: u64, bytes: &[u8]) -> Result<Option<(KeyValue, Body<'_>)>, String> {
    let garbled = || format!("the version of {key:?} at revision {revision} is garbled");
    let mut rest = bytes;
    let bytes = &mut rest;
    if !bytes.has_remaining() {
        return Err(garbled());
    }
    let flags = bytes.get_u8();
    if flags & FLAG_DELETED != 0 {
        return Ok(None);
    }
    let mut number = || decode_varint(bytes).map_err(|_| garbled());
    let (create_revision, version, lease) = (number()?, number()?, number()?.cast_signed());
    let body = body(flags, bytes).ok_or_else(garbled)?;
    let kv = KeyValue { key, value: Bytes::new(), create_revision, mod_revision: revision, version, lease };
    Ok(Some((kv, body)))
}

/// The head of an entry of the log; its data are the body.
pub(super) fn entry_head(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::with_capacity(24 + entry.context.len());
    out.push(0);
    encode_varint(u64::from(entry.entry_type.cast_unsigned()), &mut out);
    encode_varint(entry.term, &mut out);
    encode_varint(entry.context.len() as u64, &mut out);
    out.put_slice(&entry.context);
    out
}

/// An entry without its data, and those.
pub(super) fn entry_of(index: u64, bytes: &[u8]) -> Result<(Entry, Body<'_>), String> {
    let garbled = || format!("the entry {index} of the log is garbled");
    let mut rest = bytes;
    let bytes = &mut rest;
    if !bytes.has_remaining() {
        return Err(garbled());
    }
    let flags = bytes.get_u8();
    let mut number = || decode_varint(bytes).map_err(|_| garbled());
    let (kind, term, context) = (number()?, number()?, number()?);
    let context = usize::try_from(context).ok().and_then(|length| bytes.split_off(..length)).ok_or_else(garbled)?;
    let entry_type = i32::try_from(kind).map_err(|_| garbled())?;
    let entry = Entry { entry_type, term, index, context: context.to_vec(), ..Entry::default() };
    Ok((entry, body(flags, bytes).ok_or_else(garbled)?))
}

/// The index of an entry's key.
pub(super) fn index_of(key: &[u8]) -> Option<u64> {
    let index = key.strip_prefix(&[ENTRY])?;
    index.try_into().ok().map(u64::from_be_bytes)
}

pub(super) fn segment(number: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(9);
    out.push(SEGMENT);
    out.put_u64(number);
    out
}

/// A segment, and how many of its bytes are needed.
pub(super) fn needed(key: &[u8], value: &[u8]) -> Result<(u64, u64), String> {
    let garbled = || format!("the segment under {key:?} is garbled");
    let number = key.strip_prefix(&[SEGMENT]).and_then(|number| number.try_into().ok()).map(u64::from_be_bytes);
    let bytes = value.try_into().ok().map(u64::from_be_bytes);
    number.zip(bytes).ok_or_else(garbled)
}

pub(super) fn change(revision: u64, position: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(13);
    out.push(CHANGE);
    out.put_u64(revision);
    out.put_u32(position);
    out
}

pub(super) fn change_value(key: &[u8], replaced: u64, is_delete: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 10);
    out.push(if is_delete { FLAG_DELETED } else { 0 });
    encode_varint(replaced, &mut out);
    out.put_slice(key);
    out
}

pub(super) fn touched(key: &[u8], mut value: &[u8]) -> Result<Touched, String> {
    let garbled = || format!("the change under {key:?} is garbled");
    if key.len() != 13 || value.is_empty() {
        return Err(garbled());
    }
    let mut place = &key[1..];
    let (revision, position) = (place.get_u64(), place.get_u32());
    let is_delete = value.get_u8() & FLAG_DELETED != 0;
    let replaced = decode_varint(&mut value).map_err(|_| garbled())?;
    Ok(Touched { revision, position, key: Bytes::copy_from_slice(value), replaced, is_delete })
}

pub(super) fn lease(id: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(9);
    out.push(LEASE);
    out.put_i64(id);
    out
}

pub(super) fn lease_value(ttl: u64) -> [u8; 8] {
    ttl.to_be_bytes()
}

/// A lease and its seconds.
pub(super) fn granted(key: &[u8], value: &[u8]) -> Result<(i64, u64), String> {
    let id = key.get(1..).and_then(|id| id.try_into().ok()).map(i64::from_be_bytes);
    let ttl = value.try_into().ok().map(u64::from_be_bytes);
    id.zip(ttl).ok_or_else(|| format!("the lease under {key:?} is garbled"))
}

/// Where the keys that are attached to a lease begin.
pub(super) fn attached_prefix(lease: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(9);
    out.push(ATTACHED);
    out.put_i64(lease);
    out
}

pub(super) fn attached(lease: i64, key: &[u8]) -> Vec<u8> {
    let mut out = attached_prefix(lease);
    out.put_slice(key);
    out
}

pub(super) fn entry(index: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(9);
    out.push(ENTRY);
    out.put_u64(index);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_by_key_then_newest_first() {
        let mut keys: Vec<(&[u8], u64)> =
            vec![(b"a", 1), (b"a", 2), (b"a\0", 3), (b"a\0\0", 1), (b"a\0\x01", 9), (b"a\x01", 1), (b"ab", 1)];
        keys.sort_by_key(|(key, revision)| (key.to_vec(), !revision));
        let encoded: Vec<_> = keys.iter().map(|(key, revision)| version(key, *revision)).collect();
        assert!(encoded.is_sorted());
        for ((key, revision), bytes) in keys.iter().zip(&encoded) {
            let (prefix, at) = split_version(bytes).unwrap();
            assert_eq!((unescape(prefix).as_ref(), at), (*key, *revision));
            assert!(data_start(key) <= *bytes);
        }
    }

    #[test]
    fn changes_come_back() {
        let touched = touched(&change(7, 1), &change_value(b"k", 5, true)).unwrap();
        assert_eq!(touched, Touched { revision: 7, position: 1, key: "k".into(), replaced: 5, is_delete: true });
    }
}
