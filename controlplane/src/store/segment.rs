//! A file of the journal: its name, its head, and how it is written to.
//!
//! A sync is cheap if nothing changes that the file system keeps about the file: with a journal of its own, it would have
//! to write that down first, each time. So a segment has its room from the beginning, and blocks are written over that were
//! written before: the file of a segment that nobody needs becomes a spare, and then another segment; where there was
//! nothing, and little comes at a time, zeros are written far ahead at once. Blocks are written as a whole, so that none has
//! to be read for it.
//!
//! The head: `b"CoracleJ"`, format u32, 0 u32, number u64, number of its first record u64, XXH3-64 of these u64; all
//! little-endian.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use bytes::BufMut as _;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use twox_hash::XxHash3_64;

/// A segment that is begun is given this much room at once, so that writing to it changes no size.
pub(super) const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;
pub(super) const HEAD_BYTES: u64 = 40;
pub(super) const PREFIX: &str = "journal-";
/// The rest of the name is the segment that it was.
pub(super) const SPARE_PREFIX: &str = "spare-";

/// What file systems and page caches deal in.
const BLOCK_BYTES: u64 = 4096;
/// How far zeros are written ahead: so rarely that it is in no percentile that anybody looks at.
const AHEAD_BYTES: u64 = 256 * 1024;
/// More than this at a time changes what the file system keeps for itself alone; zeros would only be more to write.
const LITTLE_BYTES: u64 = 8 * 1024;
/// Of so many writes none has more: under load, little is followed by much, which would go over zeros that are new.
const LITTLE_WRITES: u32 = 16;
const MAGIC: [u8; 8] = *b"CoracleJ";
const FORMAT: u32 = 1;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Segment {
    file: Arc<File>,
    /// Where its room ends.
    room: u64,
    /// Whether the file system holds that room.
    is_held: bool,
    /// Up to here, all blocks were written to before.
    written: u64,
    /// How many writes there were since the last one of much.
    little: u32,
}

// === impl Segment ===

impl Segment {
    /// Makes a segment of a file that is empty, or a spare; durable but for its name.
    pub(super) fn begin(file: File, number: u64, first_record: u64, room: u64) -> io::Result<Segment> {
        let written = file.metadata()?.len();
        let is_held = hold(&file, room)?;
        let mut segment = Segment { file: Arc::new(file), room, is_held, written, little: 0 };
        let mut head = head(number, first_record);
        fill(&mut head, 0, room);
        segment.put(&head, 0)?;
        segment.file.sync_all()?;
        Ok(segment)
    }

    /// Goes on where the last record ends; nothing is left of what was behind it.
    pub(super) fn resume(file: File, end: u64) -> io::Result<Segment> {
        file.set_len(end)?;
        let room = end.max(SEGMENT_BYTES);
        let is_held = hold(&file, room)?;
        file.sync_all()?;
        Ok(Segment { file: Arc::new(file), room, is_held, written: end, little: 0 })
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    pub(super) fn room(&self) -> u64 {
        self.room
    }

    /// Writes at a place behind all that was written; the bytes are made whole blocks of. How many bytes that were in all.
    pub(super) fn write(&mut self, bytes: &mut Vec<u8>, at: u64) -> io::Result<u64> {
        self.little = if bytes.len() as u64 <= LITTLE_BYTES { self.little.saturating_add(1) } else { 0 };
        fill(bytes, at, self.room);
        let end = at + bytes.len() as u64;
        let is_new = end > self.written;
        self.put(bytes, at)?;
        let mut ahead = end;
        if is_new && self.little > LITTLE_WRITES && self.is_held {
            let until = self.room.min(end + AHEAD_BYTES);
            while ahead < until {
                let piece = ZEROS.len().min(usize::try_from(until - ahead).unwrap_or(usize::MAX));
                self.put(&ZEROS[..piece], ahead)?;
                ahead += piece as u64;
            }
        }
        Ok(ahead - at)
    }

    fn put(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)?;
        self.written = self.written.max(at + bytes.len() as u64);
        Ok(())
    }

    /// Makes all that was written durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Makes the segment as it will be for ever, with its end there; durable.
    pub(super) fn seal(&self, end: u64) -> io::Result<()> {
        self.file.set_len(end)?;
        self.file.sync_all()
    }
}

pub(super) fn name(segment: u64) -> String {
    format!("{PREFIX}{segment:016}")
}

pub(super) fn spare(segment: u64) -> String {
    format!("{SPARE_PREFIX}{segment:016}")
}

/// The numbers in the names of files that begin like that.
pub(super) fn names(folder: &Path, prefix: &str) -> io::Result<Vec<u64>> {
    let number = |entry: io::Result<std::fs::DirEntry>| {
        let name = entry?.file_name();
        Ok(name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse().ok()))
    };
    std::fs::read_dir(folder)?.map(number).filter_map(Result::transpose).collect()
}

pub(super) fn open(path: &Path, writes: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(writes).create(writes).mode(0o600).open(path)
}

/// Fills up the last block of what is written to a place in a file with so much room.
fn fill(bytes: &mut Vec<u8>, at: u64, room: u64) {
    let end = at + bytes.len() as u64;
    let end = end.next_multiple_of(BLOCK_BYTES).min(room).max(end);
    bytes.resize(usize::try_from(end - at).expect("it is in memory, but for less than a block"), 0);
}

/// Holds room for a file. Where the file system cannot, or is full, each write takes its own: a full disk can still be read
/// from and deleted from.
fn hold(file: &File, bytes: u64) -> io::Result<bool> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOSPC) => Ok(false),
        done => Ok(done.map(|()| true)?),
    }
}

pub(super) fn head(number: u64, first_record: u64) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.put_u32_le(FORMAT);
    out.put_u32_le(0);
    out.put_u64_le(number);
    out.put_u64_le(first_record);
    let sum = XxHash3_64::oneshot(&out);
    out.put_u64_le(sum);
    out
}

/// The number of the first record of a segment, if its head is whole.
pub(super) fn first_record(bytes: &[u8], number: u64) -> Option<u64> {
    let first = u64::from_le_bytes(bytes.get(24..32)?.try_into().ok()?);
    (bytes.get(..head(number, first).len())? == head(number, first)).then_some(first)
}

/// Is there no record in a segment whose head is not whole?
pub(super) fn is_unused(bytes: &[u8]) -> bool {
    bytes.iter().skip(usize::try_from(HEAD_BYTES).expect("small")).all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_written_as_a_whole() {
        for (length, at, room, filled) in [
            (40, 0, SEGMENT_BYTES, 4096),
            (100, 4000, SEGMENT_BYTES, 4192),
            (96, 4000, SEGMENT_BYTES, 96),
            (9, 40, 49, 9),
        ] {
            let mut bytes = vec![1; length];
            fill(&mut bytes, at, room);
            assert_eq!(bytes.len(), filled);
            assert!(bytes[length..].iter().all(|byte| *byte == 0));
        }
    }

    /// A segment of a file that has so many bytes, and to which much and then little was written.
    fn segment(path: &Path, bytes: usize) -> Segment {
        std::fs::write(path, vec![7; bytes]).unwrap();
        let mut segment = Segment::begin(open(path, true).unwrap(), 1, 1, SEGMENT_BYTES).unwrap();
        for length in [9000].into_iter().chain(std::iter::repeat_n(1, LITTLE_WRITES as usize)) {
            assert!(segment.write(&mut vec![1; length], HEAD_BYTES).unwrap() < 12_288);
        }
        segment
    }

    #[test]
    fn zeros_go_ahead_of_little_where_there_was_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one");
        let mut segment = segment(&path, 0);
        let mut write = |length: usize, at: u64| segment.write(&mut vec![1; length], at).unwrap();
        assert_eq!(write(1000, 11_000), 1288, "the block was written");
        assert_eq!(write(1000, 12_000), 288 + 4096 + AHEAD_BYTES);
        // Over what was ahead, up to its end.
        assert_eq!(write(1000, 13_000), 3384);
        assert_eq!(write(4096, 12_288 + AHEAD_BYTES), 4096);
        assert_eq!(write(4096, 16_384 + AHEAD_BYTES), 4096 + AHEAD_BYTES);
        // Much at a time goes without, and what follows it for a while.
        assert_eq!(write(1 << 20, 1 << 20), 1 << 20);
        for block in 0..u64::from(LITTLE_WRITES) {
            assert_eq!(write(4096, (2 << 20) + 4096 * block), 4096);
        }
        assert_eq!(write(4096, 3 << 20), 4096 + AHEAD_BYTES);
        assert_eq!(write(4096, SEGMENT_BYTES - 8192), 8192, "there is no more room");
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, SEGMENT_BYTES);
        assert!(bytes[14_000..16_384].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn nothing_goes_ahead_in_a_spare_or_where_no_room_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let mut segment = segment(&dir.path().join("spare"), 20_480);
        assert_eq!(segment.write(&mut vec![1; 4096], 16_384).unwrap(), 4096);
        assert_eq!(segment.write(&mut vec![1; 4096], 20_480).unwrap(), 4096 + AHEAD_BYTES);
        segment.is_held = false;
        assert_eq!(segment.write(&mut vec![1; 4096], 24_576 + AHEAD_BYTES).unwrap(), 4096);
    }

    #[test]
    fn what_was_ahead_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one");
        segment(&path, 0).write(&mut vec![1; 10], 12_288).unwrap();
        let segment = Segment::resume(open(&path, true).unwrap(), 12_298).unwrap();
        assert_eq!(segment.written, 12_298);
        segment.seal(12_298).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 12_298);
    }
}
