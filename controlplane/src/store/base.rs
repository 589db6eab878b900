//! The database of a member: RocksDB for what is small, behind a journal that has all of it and the large values.
//!
//! What is written goes to the journal, where it is durable, and to RocksDB, which keeps no log of its own and writes its
//! memory to tables when it likes. With each batch RocksDB is told how much of the journal it has ([`keys::JOURNAL`]); at
//! a start, what came after that is taken from the journal once more.
//!
//! A segment of the journal goes when nothing in RocksDB refers to it, the tables have all of its records, and the log
//! has no entries in it. Where little of one is needed, that is moved, to the journal's end.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{DB, FlushOptions, IteratorMode, ReadOptions, ReadTier, WriteBatch, WriteOptions};

use super::changes::{Changes, Op, Ops};
use super::disk::options;
use super::journal::{Journal, Place, Position, Segments};
use super::keys::{self, Body};
use super::ledger::Ledger;
use super::look::{Look, Sight};
use super::medium::Cursor as _;
use super::state::{Failure, Head};
use super::view::View;
use crate::folder;

/// Of the journal, that the tables may not have yet: a restart reads back at most this much, and a segment.
const BEHIND_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Versions that are looked at in one go for values to move, and what is moved at most; a write waits that long.
const LOOKS_MAX: usize = 4096;
const MOVED_BYTES_MAX: usize = 512 * 1024;

/// A database that is in use.
pub(super) struct Base {
    db: DB,
    segments: Arc<Segments>,
    writer: Mutex<Writer>,
    /// Where the store stands, for readers, who would otherwise read the record each time. Not older than what they
    /// see: it may be newer than what was there when they asked.
    head: Mutex<Head>,
}

struct Writer {
    journal: Journal,
    ledger: Ledger,
    /// Written since the tables were last told to catch up.
    behind: u64,
    moving: Option<Moving>,
    /// Values there cannot be read, so they stay.
    damaged: BTreeSet<u64>,
}

/// Values are being moved out of some segments.
struct Moving {
    victims: BTreeSet<u64>,
    /// Where to go on.
    from: Vec<u8>,
}

// === impl Base ===

impl Base {
    pub(super) fn open(path: &Path, create: bool, cache_bytes: usize) -> Result<Base, String> {
        let db = DB::open(&options(create, cache_bytes), path).map_err(|error| error.into_string())?;
        let mut ledger = load(&db)?;
        let from = db.get_pinned(keys::JOURNAL).map_err(|error| error.into_string())?;
        let from = from.map(|bytes| Position::decode(&bytes).ok_or("the position in the journal is garbled"));
        let mut behind = 0;
        let journal = Journal::open(path, from.transpose()?.unwrap_or_default(), |found| {
            behind += found.payload.len() as u64;
            let mut batch = WriteBatch::default();
            let start = (found.end.segment, found.payload_at);
            for op in Ops::of(found.payload) {
                ledger.take(&op?, start, &mut batch, |key| place_of(&db, key))?;
            }
            put(&db, batch, &mut ledger, found.end)
        })?;
        if let Some(missing) = ledger.missing(&journal.segments().numbers()) {
            return Err(format!("segment {missing} of the journal is missing, in which values lie"));
        }
        let segments = Arc::clone(journal.segments());
        let writer = Writer { journal, ledger, behind, moving: None, damaged: BTreeSet::new() };
        let head = Mutex::new(Head { revision: 0, compacted: 0 });
        let base = Base { db, segments, writer: Mutex::new(writer), head };
        // A folder without a record is refused by whoever opens it.
        if let Some(record) = base.with(Sight::Any, |view| view.record()).map_err(Failure::cause)? {
            *base.head.lock() = record.head();
        }
        Ok(base)
    }

    /// Looks at the newest data.
    pub(super) fn with<T>(
        &self,
        sight: Sight,
        act: impl FnOnce(&mut View<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        act(&mut View::new(&mut Look::new(&self.db, &self.segments, sight)))
    }

    pub(super) fn head(&self) -> Head {
        *self.head.lock()
    }

    /// Writes a batch, all or nothing; with `sync`, durable with all before it. How many bytes that were.
    pub(super) fn write(&self, changes: Changes, head: Head, sync: bool) -> Result<u64, String> {
        let mut writer = self.writer.lock();
        let bytes = writer.write(&self.db, changes)?;
        if sync {
            writer.journal.sync().map_err(|error| broken(&error))?;
        }
        *self.head.lock() = head;
        if writer.behind > BEHIND_BYTES_MAX {
            writer.behind = 0;
            self.flush(false)?;
        }
        Ok(bytes)
    }

    /// Has the tables catch up with the journal.
    pub(super) fn flush(&self, wait: bool) -> Result<(), String> {
        let mut options = FlushOptions::default();
        options.set_wait(wait);
        self.db.flush_opt(&options).map_err(|error| error.into_string())
    }

    /// How much of the journal the tables have.
    fn flushed(&self) -> Result<Position, String> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        let found = self.db.get_pinned_opt(keys::JOURNAL, &options).map_err(|error| error.into_string())?;
        Ok(found.and_then(|bytes| Position::decode(&bytes)).unwrap_or_default())
    }

    /// All data at this instant, in a new folder, in hard links where it can be.
    pub(super) fn image(&self, folder: &Path) -> Result<(), String> {
        // Nothing is written meanwhile: the tables of the image have all that its journal has.
        let mut writer = self.writer.lock();
        let checkpoint = Checkpoint::new(&self.db).map_err(|error| error.into_string())?;
        checkpoint.create_checkpoint(folder).map_err(|error| error.into_string())?;
        writer.journal.link(folder).and_then(|()| folder::sync(folder)).map_err(|error| broken(&error))
    }

    /// What the data take, on disk and in buffers.
    pub(super) fn bytes(&self) -> Result<u64, String> {
        let property = |name: &str| self.db.property_int_value(name).ok().flatten().unwrap_or(0);
        let journal: u64 = self.segments.bytes().map_err(|error| broken(&error))?.values().sum();
        Ok(journal + property("rocksdb.total-sst-files-size") + property("rocksdb.cur-size-all-mem-tables"))
    }

    /// Nothing is written or removed behind the back of whoever looks at the files.
    #[cfg(test)]
    pub(super) fn is_quiet(&self) -> bool {
        let busy = ["num-running-flushes", "num-running-compactions", "mem-table-flush-pending", "compaction-pending"];
        busy.iter().all(|name| self.db.property_int_value(&format!("rocksdb.{name}")).unwrap() == Some(0))
    }

    /// Writes all tables anew, without what was deleted or replaced. Blocks for long.
    pub(super) fn compact(&self) {
        self.db.compact_range(None::<&[u8]>, None::<&[u8]>);
    }

    /// Removes segments that nobody needs, or moves a few values out of some that hardly anybody needs; with `all`, out
    /// of every one with garbage. True: there is more to do.
    pub(super) fn reclaim(&self, all: bool) -> Result<bool, String> {
        let mut writer = self.writer.lock();
        self.remove_idle(&mut writer)?;
        if writer.moving.is_none() {
            let bytes = self.segments.bytes().map_err(|error| broken(&error))?;
            let mut victims = writer.ledger.victims(&bytes, writer.journal.end().segment, all);
            victims.retain(|number| !writer.damaged.contains(number));
            if !victims.is_empty() {
                // Only of segments that can go afterwards.
                let flushed = self.flushed()?.segment;
                victims.retain(|number| *number < flushed);
            }
            if victims.is_empty() {
                return Ok(false);
            }
            writer.moving = Some(Moving { victims, from: vec![keys::DATA] });
        }
        self.move_some(&mut writer)?;
        self.remove_idle(&mut writer)?;
        Ok(writer.moving.is_some())
    }

    fn remove_idle(&self, writer: &mut Writer) -> Result<(), String> {
        let idle = writer.ledger.idle(&self.segments.numbers(), writer.journal.end().segment);
        if idle.is_empty() {
            return Ok(());
        }
        let flushed = self.flushed()?.segment;
        let idle: Vec<u64> = idle.into_iter().filter(|number| *number < flushed).collect();
        if idle.is_empty() {
            return Ok(());
        }
        // What refers to other places now must last before the old ones go.
        writer.journal.sync().map_err(|error| broken(&error))?;
        for segment in idle {
            writer.ledger.remove(segment);
            if let Err(error) = writer.journal.remove(segment) {
                // Found again at the next start.
                tracing::warn!(%error, segment, "a segment of the journal that nobody needs stays");
            }
        }
        Ok(())
    }

    fn move_some(&self, writer: &mut Writer) -> Result<(), String> {
        let Some(mut moving) = writer.moving.take() else { return Ok(()) };
        let mut changes = Changes::default();
        let mut look = Look::new(&self.db, &self.segments, Sight::OneInstant);
        let (mut looks, mut moved, mut is_over) = (0, 0, false);
        look.seek(&moving.from);
        while looks < LOOKS_MAX && moved < MOVED_BYTES_MAX {
            let Some((key, value)) = look.item().filter(|(key, _)| key[0] == keys::DATA) else {
                is_over = true;
                break;
            };
            if let Some((head, place)) = apart(key, value)?.filter(|(_, place)| moving.victims.contains(&place.segment))
            {
                match look.fetch(place) {
                    Ok(body) => {
                        moved += body.len();
                        changes.moved(key, &head, place, &body);
                    }
                    Err(failure) => {
                        let key = String::from_utf8_lossy(key).into_owned();
                        tracing::error!(key, cause = %failure.cause(), "a value is lost");
                        writer.damaged.insert(place.segment);
                    }
                }
            }
            looks += 1;
            look.next();
        }
        if let Some((key, _)) = look.item() {
            moving.from = key.to_vec();
        }
        look.check().map_err(Failure::cause)?;
        drop(look);
        writer.write(&self.db, changes)?;
        writer.moving = (!is_over).then_some(moving);
        Ok(())
    }
}

// === impl Writer ===

impl Writer {
    fn write(&mut self, db: &DB, mut changes: Changes) -> Result<u64, String> {
        if changes.is_empty() {
            return Ok(0);
        }
        let start = self.journal.next(changes.payload().len()).map_err(|error| broken(&error))?;
        let mut batch = WriteBatch::default();
        let ops: Vec<Op<'_>> = Ops::of(changes.payload()).collect::<Result<_, _>>()?;
        let mut settled = Vec::new();
        for op in in_order(&ops) {
            settled.extend(self.ledger.take(op, start, &mut batch, |key| place_of(db, key))?);
        }
        for (hole, place) in settled {
            changes.settle(hole, place);
        }
        let record = changes.record();
        self.behind += record.len() as u64;
        let bytes = self.journal.append(record).map_err(|error| broken(&error))?;
        put(db, batch, &mut self.ledger, self.journal.end())?;
        Ok(bytes)
    }
}

/// The changes of a batch, with the new versions in the order of their keys: the database looks for the place of each from
/// where the one before has gone. Each is a row of its own; but entries in which their values lie may go in the same batch.
fn in_order<'a>(ops: &'a [Op<'a>]) -> Vec<&'a Op<'a>> {
    let (mut ordered, mut versions) = (Vec::with_capacity(ops.len()), Vec::new());
    let settle = |ordered: &mut Vec<&'a Op<'a>>, versions: &mut Vec<&'a Op<'a>>| {
        versions.sort_unstable_by_key(|op| op.key());
        ordered.append(versions);
    };
    for op in ops {
        match op {
            op if op.is_new_version() => versions.push(op),
            op => {
                if matches!(op, Op::DeleteRange { .. }) {
                    settle(&mut ordered, &mut versions);
                }
                ordered.push(op);
            }
        }
    }
    settle(&mut ordered, &mut versions);
    ordered
}

/// What the database says of the journal.
fn load(db: &DB) -> Result<Ledger, String> {
    let mut ledger = Ledger::default();
    let from = |prefix: &[u8]| {
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.set_verify_checksums(true);
        db.iterator_opt(IteratorMode::From(prefix, rocksdb::Direction::Forward), options)
    };
    for item in from(&[keys::SEGMENT]) {
        let (key, value) = item.map_err(|error| error.into_string())?;
        if key[0] != keys::SEGMENT {
            break;
        }
        let (segment, bytes) = keys::needed(&key, &value)?;
        ledger.note(segment, bytes);
    }
    for item in from(&[keys::ENTRY]) {
        let (key, value) = item.map_err(|error| error.into_string())?;
        let Some(index) = keys::index_of(&key) else { break };
        ledger.note_entry(index, keys::place(&key, &value));
    }
    Ok(ledger)
}

/// Tells the database what changed, and of which record of the journal that came.
fn put(db: &DB, mut batch: WriteBatch, ledger: &mut Ledger, end: Position) -> Result<(), String> {
    ledger.write(&mut batch);
    batch.put(keys::JOURNAL, end.encode());
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    db.write_opt(batch, &options).map_err(|error| error.into_string())
}

/// Where the body of a version lies, if there is one and it is not with the version.
fn place_of(db: &DB, key: &[u8]) -> Result<Option<Place>, String> {
    let found = db.get_pinned(key).map_err(|error| error.into_string())?;
    Ok(found.and_then(|value| keys::place(key, &value)))
}

/// The head and the place of a version whose value does not lie with it.
fn apart(key: &[u8], value: &[u8]) -> Result<Option<(Vec<u8>, Place)>, String> {
    let (_, at) = keys::split_version(key).ok_or("a key of the data is garbled")?;
    Ok(match keys::version_of(bytes::Bytes::new(), at, value)? {
        Some((kv, Body::Apart(place))) => {
            let mut head = Vec::new();
            keys::put_head(&mut head, &kv, false);
            Some((head, place))
        }
        _ => None,
    })
}

fn broken(error: &std::io::Error) -> String {
    format!("the journal cannot be read or written: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::kv::KeyValue;
    use crate::store::medium::{Batch as _, Within};
    use crate::store::state::Versions as _;
    use bytes::Bytes;
    use raft::eraftpb::Entry;

    #[test]
    fn a_value_may_lie_in_an_entry_that_goes_in_the_same_batch() {
        let dir = tempfile::tempdir().unwrap();
        let base = Base::open(dir.path(), true, 1 << 20).unwrap();
        let at = Head { revision: 2, compacted: 0 };
        let data: Vec<u8> = (0..=250).cycle().take(2000).collect();
        let mut changes = Changes::default();
        changes.put_apart(&keys::entry(4), &keys::entry_head(&Entry { index: 4, ..Entry::default() }), &data, None);
        base.write(changes, at, false).unwrap();
        let mut changes = Changes::default();
        for (key, from) in [("one", 900), ("another", 100)] {
            let kv = KeyValue { create_revision: 2, version: 1, ..KeyValue::gone(Bytes::from(key), 2) };
            let mut head = Vec::new();
            keys::put_head(&mut head, &kv, false);
            let within = Some(Within { entry: 4, at: from });
            changes.put_apart(&keys::version(key.as_bytes(), 2), &head, &data[from..from + 800], within);
        }
        changes.delete_range(&keys::entry(1), &keys::entry(5));
        base.write(changes, at, true).unwrap();
        for (key, from) in [("one", 900), ("another", 100)] {
            let found = base.with(Sight::Any, |view| view.at(&Bytes::from(key), 2, true)).unwrap().unwrap();
            assert_eq!(found.value, data[from..from + 800], "{key}");
        }
        assert!(base.with(Sight::Any, |view| view.entries(1)).unwrap().is_empty());
    }
}
