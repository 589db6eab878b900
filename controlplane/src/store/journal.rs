//! The journal of a member: what was written, in order, in files of its own; large values lie there and nowhere else.
//!
//! A batch is one record, durable when its segment was synced. The database holds what came of it and may be behind:
//! after a crash the rest is taken from here ([`base`](super::base)). So a value is written to the disk once, and the
//! database, which has only its [`Place`], stays small. (The idea is WiscKey's, Lu et al., FAST 2016: the log of values
//! is the write-ahead log as well.)
//!
//! ```text
//! segment: head (of [`segment`]), then records, each at a multiple of 8
//! record:  length of the payload u32, records before it that are not known to be durable u32, number u64, sum u64
//!          payload
//! ```
//! All little-endian; a sum is XXH3-64, a record's with its own number as the seed. Records are numbered without a gap, so
//! neither what an earlier use of a block left nor a record that came too late is taken for one.
//!
//! How the files are dealt with is in [`segment`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use parking_lot::RwLock;
use prost::encoding::{decode_varint, encode_varint};
use twox_hash::XxHash3_64;

use crate::folder;

use super::segment::{self, HEAD_BYTES, PREFIX, SEGMENT_BYTES, SPARE_PREFIX, Segment};

/// Before the payload of a record.
pub(super) const RECORD_HEAD_BYTES: usize = 24;

/// Files that are kept to be written over.
const SPARES_MAX: usize = 2;
const ALIGNMENT: usize = 8;

/// Where some bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) at: u32,
    pub(super) length: u32,
    /// Of the bytes; half of an XXH3-64.
    pub(super) sum: u32,
}

/// Behind a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// 0: before the first.
    pub(super) segment: u64,
    pub(super) at: u64,
    /// The number of that record, which is how many there were.
    pub(super) record: u64,
}

/// The files of segments by number, for those who read.
pub(super) type Map = BTreeMap<u64, Arc<File>>;

/// The segments as they are; who looks has a [`Sight`](Segments::sight) of those that there were.
#[derive(Debug, Default)]
pub(super) struct Segments(RwLock<Arc<Map>>);

/// The end of the journal, where it grows. For one writer.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    segments: Arc<Segments>,
    /// Behind the last record.
    end: Position,
    /// The last of the segments.
    present: Segment,
    /// The last record that is durable.
    durable: u64,
    /// Files that nobody has any more.
    spares: Vec<PathBuf>,
}

/// A record as it is found.
pub(super) struct Found<'a> {
    pub(super) end: Position,
    /// Where its payload begins.
    pub(super) payload_at: u64,
    pub(super) payload: &'a [u8],
}

// === impl Place ===

impl Place {
    pub(super) fn new(segment: u64, at: u64, bytes: &[u8]) -> Place {
        Place { segment, at: small(at), length: small(bytes.len() as u64), sum: sum(bytes) }
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        encode_varint(self.segment, out);
        encode_varint(u64::from(self.at), out);
        encode_varint(u64::from(self.length), out);
        out.put_u32_le(self.sum);
    }

    pub(super) fn take(bytes: &mut &[u8]) -> Option<Place> {
        let mut number = || decode_varint(bytes).ok();
        let (segment, at, length) = (number()?, number()?, number()?);
        let (at, length) = (u32::try_from(at).ok()?, u32::try_from(length).ok()?);
        (bytes.len() == 4).then(|| Place { segment, at, length, sum: bytes.get_u32_le() })
    }
}

fn sum(bytes: &[u8]) -> u32 {
    (XxHash3_64::oneshot(bytes) >> 32) as u32
}

/// A place within a segment.
fn small(number: u64) -> u32 {
    u32::try_from(number).expect("a segment is less than 4 GiB")
}

// === impl Position ===

impl Position {
    pub(super) fn encode(self) -> [u8; 24] {
        let mut out = [0; 24];
        let mut rest = &mut out[..];
        rest.put_u64_le(self.segment);
        rest.put_u64_le(self.at);
        rest.put_u64_le(self.record);
        out
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Option<Position> {
        let position = (bytes.len() == 24).then(|| Position {
            segment: bytes.get_u64_le(),
            at: bytes.get_u64_le(),
            record: bytes.get_u64_le(),
        });
        position.filter(|position| position.segment > 0)
    }
}

// === impl Segments ===

impl Segments {
    /// Does something while no segment comes or goes, and gives back what there is: whoever makes an iterator meanwhile
    /// finds all that it shows among these, for as long as it has them.
    pub(super) fn sight<T>(&self, act: impl FnOnce() -> T) -> (T, Arc<Map>) {
        let map = self.0.read();
        (act(), Arc::clone(&map))
    }

    pub(super) fn numbers(&self) -> Vec<u64> {
        self.0.read().keys().copied().collect()
    }

    /// Of each segment, with the room that is held for the last one.
    pub(super) fn bytes(&self) -> io::Result<BTreeMap<u64, u64>> {
        let map = Arc::clone(&self.0.read());
        map.iter().map(|(number, file)| Ok((*number, file.metadata()?.len()))).collect()
    }

    fn change(&self, act: impl FnOnce(&mut Map)) {
        act(Arc::make_mut(&mut self.0.write()));
    }
}

/// What lies at a place, if the segment is among these.
pub(super) fn fetch(map: &Map, place: Place) -> Option<Result<Bytes, String>> {
    let file = map.get(&place.segment)?;
    let mut bytes = vec![0; place.length as usize];
    Some(match file.read_exact_at(&mut bytes, u64::from(place.at)) {
        Err(error) => Err(format!("a value in segment {} of the journal cannot be read: {error}", place.segment)),
        Ok(()) if sum(&bytes) != place.sum => {
            Err(format!("a value in segment {} of the journal is damaged", place.segment))
        }
        Ok(()) => Ok(bytes.into()),
    })
}

// === impl Journal ===

impl Journal {
    /// Opens the journal of a folder, and hands over each record after a position. A record that is not whole ends it,
    /// if nothing shows that it was ever durable; what comes after that is no part of it.
    pub(super) fn open(
        folder: &Path,
        from: Position,
        mut each: impl FnMut(Found<'_>) -> Result<(), String>,
    ) -> Result<Journal, String> {
        let segments = Arc::new(Segments::default());
        let mut numbers = segment::names(folder, PREFIX).map_err(|error| io_of(folder, &error))?;
        numbers.sort_unstable();
        for number in &numbers {
            let file =
                segment::open(&folder.join(segment::name(*number)), false).map_err(|error| io_of(folder, &error))?;
            segments.change(|map| drop(map.insert(*number, Arc::new(file))));
        }
        if from.segment != 0 && !numbers.contains(&from.segment) {
            return Err(format!("segment {} of the journal is missing", from.segment));
        }
        let mut end = from;
        numbers.retain(|number| *number >= from.segment);
        for (index, number) in numbers.iter().enumerate() {
            let bytes = std::fs::read(folder.join(segment::name(*number))).map_err(|error| io_of(folder, &error))?;
            let is_last = index + 1 == numbers.len();
            let Some(first) = segment::first_record(&bytes, *number) else {
                // A crash while it was begun: nothing was written to it.
                match is_last && segment::is_unused(&bytes) {
                    true => break,
                    false => return Err(format!("the head of segment {number} of the journal is garbled")),
                }
            };
            if *number != from.segment {
                if first != end.record + 1 {
                    let (missing, segment) = (end.record + 1, end.segment);
                    return Err(format!("record {missing} of the journal, in segment {segment}, is missing"));
                }
                end = Position { segment: *number, at: HEAD_BYTES, record: end.record };
            }
            while let Some(found) = record_at(&bytes, end) {
                end = found.end;
                each(found)?;
            }
            if let Some(later) = later_than(&bytes, end) {
                return Err(format!(
                    "record {} of the journal, in segment {number}, is damaged, although record {later} is there",
                    end.record + 1
                ));
            }
        }
        Journal::at(folder, segments, end).map_err(|error| io_of(folder, &error))
    }

    /// Goes on behind the last record, where nothing is left of what was not whole.
    fn at(folder: &Path, segments: Arc<Segments>, end: Position) -> io::Result<Journal> {
        for number in segments.numbers().into_iter().filter(|number| *number > end.segment) {
            // Not to be a spare: it may have records with numbers that come again.
            std::fs::remove_file(folder.join(segment::name(number)))?;
            segments.change(|map| drop(map.remove(&number)));
        }
        // Nobody knows what a crash made of them.
        for number in segment::names(folder, SPARE_PREFIX)? {
            std::fs::remove_file(folder.join(segment::spare(number)))?;
        }
        let last = match end.segment {
            0 => None,
            number => Some(segment::open(&folder.join(segment::name(number)), true)?),
        };
        let (present, end) = match last {
            Some(file) if file.metadata()?.nlink() == 1 => (Segment::resume(file, end.at)?, end),
            // There is none, or another folder has it, too.
            _ => begin(folder, &segments, None, end, 0)?,
        };
        Ok(Journal { folder: folder.into(), end, present, durable: end.record, segments, spares: Vec::new() })
    }

    pub(super) fn segments(&self) -> &Arc<Segments> {
        &self.segments
    }

    pub(super) fn end(&self) -> Position {
        self.end
    }

    /// Where the payload of the next record will lie, if it is so long: its segment, and the place in it.
    pub(super) fn next(&mut self, payload: usize) -> io::Result<(u64, u64)> {
        let bytes = (RECORD_HEAD_BYTES + payload) as u64;
        if self.end.at + bytes > self.present.room() {
            self.next_segment(bytes)?;
        }
        Ok((self.end.segment, self.end.at + RECORD_HEAD_BYTES as u64))
    }

    /// Writes a record, of which [`RECORD_HEAD_BYTES`] are left free for its head. How many bytes were written for it.
    pub(super) fn append(&mut self, record: &mut Vec<u8>) -> io::Result<u64> {
        let number = self.end.record + 1;
        let (mut head, payload) = record.split_at_mut(RECORD_HEAD_BYTES);
        let open = u32::try_from(number - 1 - self.durable).unwrap_or(u32::MAX);
        let sum = record_sum(number, open, payload);
        head.put_u32_le(small(payload.len() as u64));
        head.put_u32_le(open);
        head.put_u64_le(number);
        head.put_u64_le(sum);
        let behind = self.end.at + record.len() as u64;
        let bytes = self.present.write(record, self.end.at)?;
        self.end = Position { at: behind.next_multiple_of(ALIGNMENT as u64), record: number, ..self.end };
        Ok(bytes)
    }

    /// Makes all records durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.durable < self.end.record {
            self.present.sync()?;
            self.durable = self.end.record;
        }
        Ok(())
    }

    /// Ends the present segment, if anything is in it.
    pub(super) fn roll(&mut self) -> io::Result<()> {
        if self.end.at > HEAD_BYTES {
            self.next_segment(0)?;
        }
        Ok(())
    }

    /// Goes on in another segment, where so many bytes have room.
    fn next_segment(&mut self, bytes: u64) -> io::Result<()> {
        self.present.seal(self.end.at)?;
        self.durable = self.end.record;
        (self.present, self.end) = begin(&self.folder, &self.segments, self.spares.pop(), self.end, bytes)?;
        Ok(())
    }

    /// Removes a segment that nobody needs any more, and all of whose records are durable; who sees it already may go on.
    pub(super) fn remove(&mut self, segment: u64) -> io::Result<()> {
        assert!(segment < self.end.segment, "the segment that is written to was removed");
        let mut file = None;
        self.segments.change(|map| file = map.remove(&segment));
        let path = self.folder.join(segment::name(segment));
        // Who is not among the segments any more is found by nobody else.
        let is_nobodys = |file: Arc<File>| {
            let metadata = file.metadata()?;
            io::Result::Ok(Arc::strong_count(&file) == 1 && metadata.nlink() == 1 && metadata.len() <= SEGMENT_BYTES)
        };
        if self.spares.len() < SPARES_MAX && file.map_or(Ok(false), is_nobodys)? {
            let spare = self.folder.join(segment::spare(segment));
            std::fs::rename(path, &spare)?;
            self.spares.push(spare);
            return Ok(());
        }
        std::fs::remove_file(path)
    }

    /// The segments as they are now, under their names in another folder. The present one is ended first.
    pub(super) fn link(&mut self, folder: &Path) -> io::Result<()> {
        self.roll()?;
        for number in self.segments.numbers().into_iter().filter(|number| *number < self.end.segment) {
            let name = segment::name(number);
            std::fs::hard_link(self.folder.join(&name), folder.join(&name))?;
        }
        Ok(())
    }
}

/// Begins the segment after an end, in a file that nobody has any more if there is one, and puts it among the others.
fn begin(
    folder: &Path,
    segments: &Segments,
    spare: Option<PathBuf>,
    end: Position,
    bytes: u64,
) -> io::Result<(Segment, Position)> {
    let number = end.segment + 1;
    let path = folder.join(segment::name(number));
    let file = segment::open(spare.as_ref().unwrap_or(&path), true)?;
    let room = (HEAD_BYTES + bytes).max(SEGMENT_BYTES);
    let segment = Segment::begin(file, number, end.record + 1, room)?;
    if let Some(spare) = spare {
        // Only now: under its new name it has its new head, whatever becomes of this process.
        std::fs::rename(spare, path)?;
    }
    folder::sync(folder)?;
    segments.change(|map| drop(map.insert(number, Arc::clone(segment.file()))));
    Ok((segment, Position { segment: number, at: HEAD_BYTES, record: end.record }))
}

fn io_of(folder: &Path, error: &io::Error) -> String {
    format!("the journal in {} cannot be read or written: {error}", folder.display())
}

fn record_sum(number: u64, open: u32, payload: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(number ^ u64::from(open).rotate_left(32), payload)
}

/// The parts of a record's head, and its payload, if it is whole.
fn parse(bytes: &[u8]) -> Option<(u64, u32, &[u8])> {
    let mut head = bytes.get(..RECORD_HEAD_BYTES)?;
    let (length, open) = (head.get_u32_le(), head.get_u32_le());
    let (number, sum) = (head.get_u64_le(), head.get_u64_le());
    let payload = bytes.get(RECORD_HEAD_BYTES..RECORD_HEAD_BYTES.checked_add(length as usize)?)?;
    (record_sum(number, open, payload) == sum).then_some((number, open, payload))
}

/// The next record behind a position, if it is there.
fn record_at(bytes: &[u8], end: Position) -> Option<Found<'_>> {
    let at = usize::try_from(end.at).ok()?;
    let (number, _, payload) = parse(bytes.get(at..)?)?;
    if number != end.record + 1 {
        return None;
    }
    let payload_at = end.at + RECORD_HEAD_BYTES as u64;
    let at = (payload_at + payload.len() as u64).next_multiple_of(ALIGNMENT as u64);
    Some(Found { end: Position { at, record: number, ..end }, payload_at, payload })
}

/// The number of a whole record behind a position that was written when the one at the position was durable already.
fn later_than(bytes: &[u8], end: Position) -> Option<u64> {
    let from = usize::try_from(end.at).ok()?;
    let wanted = end.record + 1;
    (from..bytes.len()).step_by(ALIGNMENT).find_map(|at| {
        // Most places are no heads: the number says so before anything is summed up.
        let number = u64::from_le_bytes(bytes.get(at + 8..at + 16)?.try_into().ok()?);
        if number <= wanted || number - wanted > bytes.len() as u64 {
            return None;
        }
        parse(&bytes[at..])
            .filter(|(number, open, _)| number - 1 - u64::from(*open) >= wanted)
            .map(|(number, ..)| number)
    })
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::super::segment::{head, name, names, spare};
    use super::*;
    use proptest::prelude::*;

    fn open(folder: &Path, from: Position) -> Result<(Journal, Vec<Vec<u8>>), String> {
        let mut found = Vec::new();
        let journal = Journal::open(folder, from, |record| {
            found.push(record.payload.to_vec());
            Ok(())
        })?;
        Ok((journal, found))
    }

    /// Writes records of 40 bytes to a segment, ends it, and tells that nobody needs it.
    fn used_up(journal: &mut Journal, records: u8) -> u64 {
        let segment = journal.end().segment;
        for number in 0..records {
            append(journal, &[number; 40]);
        }
        journal.roll().unwrap();
        journal.remove(segment).unwrap();
        segment
    }

    fn inode(folder: &Path, name: &str) -> Option<u64> {
        std::fs::metadata(folder.join(name)).ok().map(|metadata| metadata.ino())
    }

    fn append(journal: &mut Journal, payload: &[u8]) -> Place {
        let (segment, at) = journal.next(payload.len()).unwrap();
        let mut record = vec![0; RECORD_HEAD_BYTES];
        record.extend_from_slice(payload);
        journal.append(&mut record).unwrap();
        Place::new(segment, at, payload)
    }

    fn fetched(journal: &Journal, place: Place) -> Option<Result<Bytes, String>> {
        fetch(&journal.segments().sight(|| ()).1, place)
    }

    fn flip(folder: &Path, segment: u64, at: u64) {
        let file = OpenOptions::new().read(true).write(true).open(folder.join(name(segment))).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }

    #[test]
    fn records_come_back_from_any_position_and_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut written = Vec::new();
        let mut positions = vec![Position::default()];
        for life in 0..3 {
            let (mut journal, found) = open(dir.path(), Position::default()).unwrap();
            assert_eq!(found, written, "life {life}");
            for number in 0..5_u8 {
                // Some of them do not fit into what is left of a segment.
                let payload = vec![number; 1 + usize::from(number) * 1_000_003];
                let place = append(&mut journal, &payload);
                assert_eq!(fetched(&journal, place).unwrap().unwrap(), payload);
                positions.push(journal.end());
                written.push(payload);
            }
            journal.sync().unwrap();
        }
        for (index, position) in positions.into_iter().enumerate() {
            assert_eq!(open(dir.path(), position).unwrap().1, written[index..], "from {position:?}");
        }
    }

    #[test]
    fn what_was_not_whole_ends_the_journal_and_is_no_part_of_a_later_one() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(dir.path(), Position::default()).unwrap();
        let places: Vec<_> = (1..=4).map(|number| append(&mut journal, &[number; 40])).collect();
        drop(journal);
        // Nothing was synced, so the rest may be missing and is not missed.
        flip(dir.path(), 1, u64::from(places[1].at));
        let (mut journal, found) = open(dir.path(), Position::default()).unwrap();
        assert_eq!(found, [vec![1; 40]]);
        append(&mut journal, &[9; 40]);
        drop(journal);
        let (_, found) = open(dir.path(), Position::default()).unwrap();
        assert_eq!(found, [vec![1; 40], vec![9; 40]], "the third record of the first life fits in number and place");
    }

    #[test]
    fn a_record_that_was_durable_is_missed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(dir.path(), Position::default()).unwrap();
        let places: Vec<_> = (1..=3)
            .map(|number| {
                let place = append(&mut journal, &[number; 40]);
                journal.sync().unwrap();
                place
            })
            .collect();
        flip(dir.path(), 1, u64::from(places[1].at));
        let error = open(dir.path(), Position::default()).unwrap_err();
        assert_eq!(error, "record 2 of the journal, in segment 1, is damaged, although record 3 is there");
        let error = fetched(&journal, places[1]).unwrap().unwrap_err();
        assert_eq!(error, "a value in segment 1 of the journal is damaged");
    }

    #[test]
    fn an_end_that_is_missing_before_another_segment_is_missed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(dir.path(), Position::default()).unwrap();
        append(&mut journal, b"1");
        let last = append(&mut journal, b"2");
        journal.roll().unwrap();
        let end = journal.end();
        append(&mut journal, b"3");
        drop(journal);
        flip(dir.path(), 1, u64::from(last.at));
        let error = open(dir.path(), Position::default()).unwrap_err();
        assert_eq!(error, "record 2 of the journal, in segment 1, is missing");
        assert_eq!(open(dir.path(), end).unwrap().1, [b"3"], "who has it needs it no more");
        std::fs::remove_file(dir.path().join(name(2))).unwrap();
        assert_eq!(open(dir.path(), end).unwrap_err(), "segment 2 of the journal is missing");
    }

    #[test]
    fn a_segment_that_was_only_begun_is_begun_again() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(dir.path(), Position::default()).unwrap();
        append(&mut journal, b"1");
        journal.roll().unwrap();
        drop(journal);
        for rest in [&b""[..], &[0; 5000], &b"Cora"[..]] {
            std::fs::write(dir.path().join(name(2)), rest).unwrap();
            let (mut journal, found) = open(dir.path(), Position::default()).unwrap();
            assert_eq!(found, [b"1"]);
            journal.roll().unwrap();
        }
        let mut garbled = head(2, 2);
        garbled[20] ^= 1;
        garbled.extend_from_slice(b"and a record");
        std::fs::write(dir.path().join(name(2)), garbled).unwrap();
        let error = open(dir.path(), Position::default()).unwrap_err();
        assert_eq!(error, "the head of segment 2 of the journal is garbled");
    }

    #[test]
    fn a_segment_that_another_folder_has_is_not_written_to() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mut journal, _) = open(dir.path(), Position::default()).unwrap();
        append(&mut journal, b"1");
        journal.link(other.path()).unwrap();
        let (mut image, found) = open(other.path(), Position::default()).unwrap();
        assert_eq!((found, image.end().segment), (vec![b"1".to_vec()], 2));
        append(&mut image, b"theirs");
        append(&mut journal, b"ours");
        drop((journal, image));
        assert_eq!(open(dir.path(), Position::default()).unwrap().1, [&b"1"[..], b"ours"]);
        assert_eq!(open(other.path(), Position::default()).unwrap().1, [&b"1"[..], b"theirs"]);
    }

    #[test]
    fn what_nobody_needs_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(dir.path(), Position::default()).unwrap();
        let first = inode(dir.path(), &name(1));
        // Records of the same size lie where new ones will.
        assert_eq!(used_up(&mut journal, 9), 1);
        assert_eq!((inode(dir.path(), &name(1)), inode(dir.path(), &spare(1))), (None, first));
        append(&mut journal, b"kept");
        let kept = journal.end();
        journal.roll().unwrap();
        assert_eq!((inode(dir.path(), &name(3)), inode(dir.path(), &spare(1))), (first, None));
        let place = append(&mut journal, &[99; 40]);
        assert_eq!(fetched(&journal, place).unwrap().unwrap(), vec![99; 40]);
        assert!(fetched(&journal, Place { segment: 1, ..place }).is_none(), "nothing is found where it was");
        drop(journal);
        let (mut journal, found) = open(dir.path(), kept).unwrap();
        assert_eq!(found, [vec![99; 40]], "and nothing of what was there before");
        // No more of them than that, and none that a crash left.
        for _ in 0..3 {
            used_up(&mut journal, 1);
        }
        assert_eq!(names(dir.path(), SPARE_PREFIX).unwrap().len(), 1, "each was the next one but one");
        let end = journal.end();
        drop(journal);
        let (mut journal, _) = open(dir.path(), end).unwrap();
        assert_eq!(names(dir.path(), SPARE_PREFIX).unwrap(), Vec::<u64>::new());
        let last = journal.end().segment;
        for _ in 0..4 {
            append(&mut journal, b"1");
            journal.roll().unwrap();
        }
        (last..journal.end().segment).for_each(|segment| journal.remove(segment).unwrap());
        assert_eq!(names(dir.path(), SPARE_PREFIX).unwrap().len(), SPARES_MAX);
    }

    #[test]
    fn what_somebody_sees_is_not_written_over() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mut journal, _) = open(dir.path(), Position::default()).unwrap();
        let place = append(&mut journal, &[1; 40]);
        journal.roll().unwrap();
        let ((), sight) = journal.segments().sight(|| ());
        journal.remove(1).unwrap();
        append(&mut journal, &[2; 40]);
        journal.link(other.path()).unwrap();
        journal.remove(2).unwrap();
        assert_eq!(names(dir.path(), SPARE_PREFIX).unwrap(), Vec::<u64>::new());
        used_up(&mut journal, 1);
        journal.roll().unwrap();
        assert_eq!(fetch(&sight, place).unwrap().unwrap(), vec![1; 40]);
        assert_eq!(open(other.path(), Position { segment: 2, at: HEAD_BYTES, record: 1 }).unwrap().1, [[2; 40]]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever a power cut leaves of what was not durable, what is found is a beginning of what was written, with all
        /// that was durable.
        #[test]
        fn after_a_power_cut_a_beginning_is_there(
            sizes in prop::collection::vec(0_usize..6000, 1..12),
            synced in any::<prop::sample::Index>(),
            blocks in prop::collection::vec(any::<bool>(), 20),
            before in prop::collection::vec(0_usize..6000, 0..12),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let (mut journal, _) = open(dir.path(), Position::default()).unwrap();
            if !before.is_empty() {
                // What is written then lies over this.
                for size in &before {
                    append(&mut journal, &vec![77; *size]);
                }
                journal.roll().unwrap();
                journal.remove(1).unwrap();
                append(&mut journal, b"between");
                journal.roll().unwrap();
            }
            let start = journal.end();
            let path = dir.path().join(name(start.segment));
            let old = std::fs::read(&path).unwrap();
            let payloads: Vec<_> = sizes.iter().zip(1..).map(|(size, fill)| vec![fill; *size]).collect();
            let synced = synced.index(payloads.len() + 1);
            let mut durable = HEAD_BYTES;
            for (index, payload) in payloads.iter().enumerate() {
                append(&mut journal, payload);
                if index + 1 == synced {
                    journal.sync().unwrap();
                    durable = journal.end().at;
                }
            }
            drop(journal);
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            for (block, is_there) in (0_u64..).zip(&blocks) {
                let (from, end) = ((block * 4096).max(durable), (block + 1) * 4096);
                if !is_there && from < end {
                    let range = usize::try_from(from).unwrap()..usize::try_from(end).unwrap();
                    file.write_all_at(&old[range], from).unwrap();
                }
            }
            let (_, found) = open(dir.path(), start).unwrap();
            prop_assert!(found.len() >= synced, "{} of {synced}", found.len());
            prop_assert!(payloads.starts_with(&found));
        }
    }
}
