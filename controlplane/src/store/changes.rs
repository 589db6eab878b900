//! A batch of changes as the journal has it: one payload, which a restart reads back.

use bytes::BufMut as _;
use prost::encoding::{decode_varint, encode_varint};

use super::journal::{Place, RECORD_HEAD_BYTES};
use super::keys;
use super::medium::{Batch, Within};

/// Smaller bodies lie with their keys.
const APART_BYTES_MIN: usize = 256;

const PUT: u8 = 1;
const HERE: u8 = 2;
const WITHIN: u8 = 3;
const THERE: u8 = 4;
const MOVED: u8 = 5;
const DELETE: u8 = 6;
const DELETE_RANGE: u8 = 7;

/// A number, three of half its size.
const FIXED_BYTES: usize = 20;

/// Changes in their order, behind room for a record's head.
#[derive(Debug, Default)]
pub(super) struct Changes(Vec<u8>);

/// One change; what is a place in it counts from the payload's beginning.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Op<'a> {
    Put {
        key: &'a [u8],
        value: &'a [u8],
    },
    /// A version or an entry whose body is in this payload.
    Here {
        key: &'a [u8],
        head: &'a [u8],
        body: &'a [u8],
        at: usize,
        /// Where it was before.
        from: Option<Place>,
    },
    /// A version whose body is part of an entry. Where that lies is to be [`settled`](Changes::settle) before it is written.
    Within {
        key: &'a [u8],
        head: &'a [u8],
        part: Part,
        hole: usize,
    },
    /// The same, settled.
    There {
        key: &'a [u8],
        head: &'a [u8],
        place: Place,
    },
    Delete {
        key: &'a [u8],
    },
    DeleteRange {
        from: &'a [u8],
        to: &'a [u8],
    },
}

/// A part of an entry's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) entry: u64,
    pub(super) at: u32,
    pub(super) length: u32,
    pub(super) sum: u32,
}

/// Goes through a payload.
pub(super) struct Ops<'a> {
    payload: &'a [u8],
    rest: &'a [u8],
}

// === impl Changes ===

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.0.len() <= RECORD_HEAD_BYTES
    }

    pub(super) fn payload(&self) -> &[u8] {
        self.0.get(RECORD_HEAD_BYTES..).unwrap_or_default()
    }

    /// The payload, and before it room for a record's head.
    pub(super) fn record(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// A body that lies elsewhere from now on.
    pub(super) fn moved(&mut self, key: &[u8], head: &[u8], from: Place, body: &[u8]) {
        self.begin(MOVED, &[key, head]);
        self.fixed(from.segment, [from.at, from.length, from.sum]);
        self.bytes(body);
    }

    /// What is within an entry lies there.
    pub(super) fn settle(&mut self, hole: usize, place: Place) {
        let hole = RECORD_HEAD_BYTES + hole;
        self.0[hole] = THERE;
        let mut out = &mut self.0[hole + 1..=hole + FIXED_BYTES];
        out.put_u64_le(place.segment);
        [place.at, place.length, place.sum].into_iter().for_each(|number| out.put_u32_le(number));
    }

    fn begin(&mut self, kind: u8, parts: &[&[u8]]) {
        if self.0.is_empty() {
            self.0.resize(RECORD_HEAD_BYTES, 0);
        }
        self.0.push(kind);
        parts.iter().for_each(|part| self.bytes(part));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        encode_varint(bytes.len() as u64, &mut self.0);
        self.0.extend_from_slice(bytes);
    }

    fn fixed(&mut self, first: u64, rest: [u32; 3]) {
        self.0.put_u64_le(first);
        rest.into_iter().for_each(|number| self.0.put_u32_le(number));
    }
}

impl Batch for Changes {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.begin(PUT, &[key, value]);
    }

    fn put_apart(&mut self, key: &[u8], head: &[u8], body: &[u8], within: Option<Within>) {
        match within {
            _ if body.len() < APART_BYTES_MIN => {
                self.begin(PUT, &[key]);
                encode_varint((head.len() + body.len()) as u64, &mut self.0);
                self.0.extend_from_slice(head);
                self.0.extend_from_slice(body);
            }
            None => self.begin(HERE, &[key, head, body]),
            Some(Within { entry, at }) => {
                let place = Place::new(0, at as u64, body);
                // The kind comes after what it is about, next to what is settled with it.
                self.begin(WITHIN, &[key, head]);
                self.0.push(WITHIN);
                self.fixed(entry, [place.at, place.length, place.sum]);
            }
        }
    }

    fn delete(&mut self, key: &[u8]) {
        self.begin(DELETE, &[key]);
    }

    fn delete_range(&mut self, from: &[u8], to: &[u8]) {
        self.begin(DELETE_RANGE, &[from, to]);
    }
}

// === impl Op ===

impl Op<'_> {
    /// The key of the row, or of the first one.
    pub(super) fn key(&self) -> &[u8] {
        match self {
            Op::Put { key, .. } | Op::Here { key, .. } | Op::Within { key, .. } | Op::There { key, .. } => key,
            Op::Delete { key } | Op::DeleteRange { from: key, .. } => key,
        }
    }

    /// Does it add a version of a key? One that was moved was there before.
    pub(super) fn is_new_version(&self) -> bool {
        let is_put = match self {
            Op::Here { from, .. } => from.is_none(),
            Op::Put { .. } | Op::Within { .. } | Op::There { .. } => true,
            Op::Delete { .. } | Op::DeleteRange { .. } => false,
        };
        is_put && self.key().first() == Some(&keys::DATA)
    }
}

// === impl Ops ===

impl<'a> Ops<'a> {
    pub(super) fn of(payload: &'a [u8]) -> Ops<'a> {
        Ops { payload, rest: payload }
    }

    fn at(&self) -> usize {
        self.payload.len() - self.rest.len()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(decode_varint(&mut self.rest).ok()?).ok()?;
        self.rest.split_off(..length)
    }

    fn fixed(&mut self) -> Option<(u64, [u32; 3])> {
        let (first, rest) = self.rest.split_off(..FIXED_BYTES)?.split_first_chunk::<8>()?;
        let number = |at: usize| Some(u32::from_le_bytes(rest.get(at..at + 4)?.try_into().ok()?));
        Some((u64::from_le_bytes(*first), [number(0)?, number(4)?, number(8)?]))
    }

    fn place(&mut self) -> Option<Place> {
        let (segment, [at, length, sum]) = self.fixed()?;
        Some(Place { segment, at, length, sum })
    }

    fn op(&mut self) -> Option<Op<'a>> {
        let kind = *self.rest.split_off_first()?;
        Some(match kind {
            PUT => Op::Put { key: self.bytes()?, value: self.bytes()? },
            HERE | MOVED => {
                let (key, head) = (self.bytes()?, self.bytes()?);
                let from = if kind == MOVED { Some(self.place()?) } else { None };
                let body = self.bytes()?;
                Op::Here { key, head, body, at: self.at() - body.len(), from }
            }
            WITHIN => {
                let (key, head, hole) = (self.bytes()?, self.bytes()?, self.at());
                match *self.rest.split_off_first()? {
                    THERE => Op::There { key, head, place: self.place()? },
                    WITHIN => {
                        let (entry, [at, length, sum]) = self.fixed()?;
                        Op::Within { key, head, part: Part { entry, at, length, sum }, hole }
                    }
                    _ => return None,
                }
            }
            DELETE => Op::Delete { key: self.bytes()? },
            DELETE_RANGE => Op::DeleteRange { from: self.bytes()?, to: self.bytes()? },
            _ => return None,
        })
    }
}

impl<'a> Iterator for Ops<'a> {
    type Item = Result<Op<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let at = self.at();
        let op = self.op();
        if op.is_none() {
            self.rest = &[];
        }
        Some(op.ok_or_else(|| format!("a record of the journal is of a kind that this version does not know, at {at}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_in_their_order() {
        let (body, place) = ([7; 300], Place { segment: 5, at: 6, length: 300, sum: 8 });
        let mut changes = Changes::default();
        assert!(changes.is_empty());
        changes.put(b"k", b"value");
        changes.put_apart(b"small", b"head", b"body", Some(Within { entry: 1, at: 2 }));
        changes.put_apart(b"large", b"head", &body, None);
        changes.put_apart(b"within", b"head", &body, Some(Within { entry: 3, at: 4 }));
        changes.moved(b"moved", b"head", place, &body);
        changes.delete(b"gone");
        changes.delete_range(b"a", b"b");
        let ops = |changes: &Changes| Ops::of(changes.payload()).collect::<Result<Vec<_>, _>>().map(|ops| ops.len());
        assert_eq!(ops(&changes), Ok(7));
        let found: Vec<_> = Ops::of(changes.payload()).map(Result::unwrap).collect();
        let sum = Place::new(0, 0, &body).sum;
        let Op::Here { body: here, at, .. } = found[2] else { panic!("{:?}", found[2]) };
        assert_eq!((here, &changes.payload()[at..at + 300]), (&body[..], &body[..]));
        let Op::Within { part, hole, .. } = found[3] else { panic!("{:?}", found[3]) };
        assert_eq!(part, Part { entry: 3, at: 4, length: 300, sum });
        let Op::Here { from, .. } = found[4] else { panic!("{:?}", found[4]) };
        assert_eq!(from, Some(place));
        assert_eq!(found[0], Op::Put { key: b"k", value: b"value" });
        assert_eq!(found[1], Op::Put { key: b"small", value: b"headbody" });
        assert_eq!(found[5], Op::Delete { key: b"gone" });
        assert_eq!(found[6], Op::DeleteRange { from: b"a", to: b"b" });
        changes.settle(hole, place);
        assert_eq!(ops(&changes), Ok(7));
        let settled = Ops::of(changes.payload()).nth(3).unwrap();
        assert_eq!(settled, Ok(Op::There { key: b"within", head: b"head", place }));
    }

    #[test]
    fn a_payload_that_is_none_is_refused() {
        for payload in [&[99][..], &[PUT, 200], &[HERE, 1, 1, 1], &[WITHIN, 0, 0, PUT], &[MOVED, 0, 0, 1]] {
            let error = Ops::of(payload).find_map(Result::err).unwrap();
            assert!(error.contains("that this version does not know"), "{payload:?}: {error}");
        }
    }
}
