//! Protobuf's wire format: tags, varints, and lengths. Knows no types.

use crate::codec::DecodeError;

/// The value of one field on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Part<'b> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'b [u8]),
    Fixed32,
}

/// The fields of a message, in the order they come.
pub(super) fn parts(bytes: &[u8]) -> Parts<'_> {
    Parts { rest: bytes }
}

pub(super) struct Parts<'b> {
    rest: &'b [u8],
}

impl<'b> Iterator for Parts<'b> {
    type Item = Result<(u32, Part<'b>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let part = self.part();
        if part.is_none() {
            self.rest = &[];
        }
        Some(part.ok_or_else(|| DecodeError::Malformed("the protobuf message is truncated or malformed".to_owned())))
    }
}

impl<'b> Parts<'b> {
    fn part(&mut self) -> Option<(u32, Part<'b>)> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0)?;
        let part = match tag & 7 {
            0 => Part::Varint(self.varint()?),
            1 => Part::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Part::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Part::Fixed32)?,
            _ => return None,
        };
        Some((number, part))
    }

    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 127) << shift;
            if *byte < 128 {
                return Some(value);
            }
        }
        None
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::Malformed("a protobuf string is not UTF-8".to_owned()))
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 127 {
        out.push(low_bits(value) | 128);
        value >>= 7;
    }
    out.push(low_bits(value));
}

fn low_bits(value: u64) -> u8 {
    value.to_le_bytes()[0] & 127
}

pub(super) fn put_number(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field) << 3);
    put_varint(out, value);
}

pub(super) fn put_fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Writes a message in place: its length is known only afterwards, and mostly fits the one byte kept for it.
pub(super) fn put_message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put_varint(out, u64::from(field) << 3 | 2);
    let at = out.len();
    out.push(0);
    write(out);
    let mut length = Vec::with_capacity(4);
    put_varint(&mut length, (out.len() - at - 1) as u64);
    out.splice(at..=at, length);
}
