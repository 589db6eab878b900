//! The one RocksDB of a member: its options, its reads, and writes that are whole and durable.
//!
//! Knows the layout of [`keys`](super::keys) and no Raft rules. Small by default: two write buffers, one bounded
//! cache, two background threads, and no statistics, so that an idle member writes nothing.

use std::path::Path;

use parking_lot::{RwLock, RwLockReadGuard};
use prost::Message as _;
use raft::eraftpb::{ConfState, Entry, HardState};
use rocksdb::{BlockBasedOptions, Cache, DB, DBCompressionType, DBRawIterator, LogLevel, Options, ReadOptions};
use rocksdb::{SnapshotWithThreadMode, WriteBatch, WriteOptions};

use super::keys;
use super::kv::{Error, KeyRange, KeyValue, Range, Ranged};
use super::log::Position;
use super::state::{self, Failure, Head, Versions};

/// One of two; a restart reads back at most this much of the write-ahead log, and a bit.
const WRITE_BUFFER_BYTES: usize = 8 * 1024 * 1024;
const TABLE_BYTES: u64 = 16 * 1024 * 1024;
const LEVEL_BASE_BYTES: u64 = 64 * 1024 * 1024;
const BLOCK_BYTES: usize = 8 * 1024;
const OPEN_FILES_MAX: i32 = 256;
/// Write-ahead log files that are written over, not made anew: a file that does not grow syncs faster.
const RECYCLED_LOGS: usize = 2;
const INFO_LOG_BYTES_MAX: usize = 256 * 1024;
/// Older versions that are stepped over before the iterator seeks past them.
const STEPS_BEFORE_SEEK: u32 = 4;

/// Where this member stands; written with each batch, under one key.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Record {
    /// The folder's identity, so that data and identity file cannot be mixed up.
    #[prost(string, tag = "1")]
    pub(super) folder: String,
    #[prost(uint64, tag = "2")]
    pub(super) term: u64,
    #[prost(uint64, tag = "3")]
    pub(super) vote: u64,
    #[prost(uint64, tag = "4")]
    pub(super) commit: u64,
    #[prost(uint64, tag = "5")]
    pub(super) applied: u64,
    /// The log begins after this entry.
    #[prost(uint64, tag = "6")]
    pub(super) before_index: u64,
    #[prost(uint64, tag = "7")]
    pub(super) before_term: u64,
    #[prost(message, optional, tag = "8")]
    pub(super) conf: Option<ConfState>,
    #[prost(uint64, tag = "9")]
    pub(super) revision: u64,
    #[prost(uint64, tag = "10")]
    pub(super) compacted: u64,
}

/// The database, until it is closed.
pub(super) struct Disk {
    db: RwLock<Option<DB>>,
}

/// A look at the data, through one iterator.
pub(super) struct View<'a> {
    iterator: DBRawIterator<'a>,
}

// === impl Record ===

impl Record {
    pub(super) fn head(&self) -> Head {
        Head { revision: self.revision, compacted: self.compacted }
    }

    pub(super) fn hard(&self) -> HardState {
        HardState { term: self.term, vote: self.vote, commit: self.commit }
    }

    pub(super) fn before(&self) -> Position {
        Position { index: self.before_index, term: self.before_term }
    }
}

// === impl Disk ===

impl Disk {
    /// Opens the database; makes one only if `create`.
    pub(super) fn open(path: &Path, create: bool, cache_bytes: usize) -> Result<Disk, String> {
        let db = DB::open(&options(create, cache_bytes), path).map_err(|error| error.into_string())?;
        Ok(Disk { db: RwLock::new(Some(db)) })
    }

    /// Waits for reads under way, and lets go of the files.
    pub(super) fn close(&self) {
        let db = self.db.write().take();
        drop(db);
    }

    fn db(&self) -> RwLockReadGuard<'_, Option<DB>> {
        self.db.read()
    }

    /// All or nothing. An error means that nothing more may be promised from this disk.
    pub(super) fn write(&self, batch: WriteBatch, sync: bool) -> Result<(), String> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        let db = self.db();
        let db = db.as_ref().ok_or_else(closed)?;
        db.write_opt(batch, &options).map_err(|error| error.into_string())
    }

    pub(super) fn record(&self) -> Result<Option<Record>, String> {
        let db = self.db();
        let bytes = db.as_ref().ok_or_else(closed)?.get(keys::RECORD).map_err(|error| error.into_string())?;
        bytes.map(|bytes| decode(&bytes)).transpose()
    }

    /// The entries of the log from `first` on.
    pub(super) fn entries(&self, first: u64) -> Result<Vec<Entry>, String> {
        self.with(|view| {
            let mut entries = Vec::new();
            view.iterator.seek(keys::entry(first));
            while let Some((key, value)) = view.iterator.item() {
                if key[0] != keys::ENTRY {
                    break;
                }
                entries.push(Entry::decode(value).map_err(|error| Failure::Broken(error.to_string()))?);
                view.iterator.next();
            }
            view.check().map(|()| entries)
        })
        .map_err(cause)
    }

    /// Does something with a view of the newest data. For the one who writes, and for opening.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut View<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
        let db = self.db();
        let db = db.as_ref().ok_or_else(|| Failure::Broken(closed()))?;
        act(&mut View { iterator: db.raw_iterator_opt(read_options()) })
    }

    /// Reads at one instant: data, revision and compacted revision fit together.
    pub(super) fn snapshot<T>(&self, act: impl FnOnce(&mut View<'_>, Head) -> Result<T, Failure>) -> Result<T, Error> {
        let db = self.db();
        let db = db.as_ref().ok_or_else(|| Error::Unavailable("it is closed".into()))?;
        let snapshot = db.snapshot();
        let read = record_of(&snapshot)
            .and_then(|record| act(&mut View { iterator: snapshot.raw_iterator_opt(read_options()) }, record.head()));
        read.map_err(|failure| match failure {
            Failure::Refused(error) => error,
            Failure::Broken(cause) => {
                tracing::error!(%cause, "the store cannot read its data");
                Error::Unavailable(cause)
            }
        })
    }

    /// How many versions of all keys there are, readable or not.
    #[cfg(test)]
    pub(super) fn versions(&self) -> Result<usize, Failure> {
        self.with(|view| {
            let mut count = 0;
            view.iterator.seek([keys::DATA]);
            while view.iterator.key().is_some_and(|key| key[0] == keys::DATA) {
                count += 1;
                view.iterator.next();
            }
            view.check().map(|()| count)
        })
    }

    pub(super) fn range(&self, range: &Range) -> Result<Ranged, Error> {
        self.snapshot(|view, head| state::read(view, head, range))
    }
}

fn record_of(snapshot: &SnapshotWithThreadMode<'_, DB>) -> Result<Record, Failure> {
    let bytes = snapshot.get(keys::RECORD).map_err(|error| Failure::Broken(error.into_string()))?;
    let bytes = bytes.ok_or_else(|| Failure::Broken("the record of the store is missing".into()))?;
    decode(&bytes).map_err(Failure::Broken)
}

fn decode(bytes: &[u8]) -> Result<Record, String> {
    Record::decode(bytes).map_err(|error| format!("the record of the store is garbled: {error}"))
}

fn closed() -> String {
    "it is closed".into()
}

pub(super) fn cause(failure: Failure) -> String {
    match failure {
        Failure::Broken(cause) => cause,
        Failure::Refused(error) => error.to_string(),
    }
}

fn read_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options
}

fn options(create: bool, cache_bytes: usize) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(cache_bytes));
    blocks.set_block_size(BLOCK_BYTES);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.create_if_missing(create);
    options.set_error_if_exists(create);
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_target_file_size_base(TABLE_BYTES);
    options.set_max_bytes_for_level_base(LEVEL_BASE_BYTES);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_max_background_jobs(2);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_recycle_log_file_num(RECYCLED_LOGS);
    // There is one writer, so what concurrent writers need would only cost.
    options.set_allow_concurrent_memtable_write(false);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    options
}

// === impl View ===

impl View<'_> {
    /// An iterator that ends because of an error looks like one that is at its end.
    fn check(&self) -> Result<(), Failure> {
        self.iterator.status().map_err(|error| Failure::Broken(error.into_string()))
    }

    /// Changes from a revision on, oldest first, at most `max`.
    pub(super) fn changes_from(&mut self, revision: u64, max: usize) -> Result<Vec<keys::Touched>, Failure> {
        let mut found = Vec::new();
        self.iterator.seek(keys::change(revision, 0));
        while let Some((key, value)) = self.iterator.item() {
            if key[0] != keys::CHANGE || found.len() == max {
                break;
            }
            found.push(keys::touched(key, value).map_err(Failure::Broken)?);
            self.iterator.next();
        }
        self.check().map(|()| found)
    }

    /// Changes after a revision, newest first, until told to stop.
    pub(super) fn changes_back_to(
        &mut self,
        revision: u64,
        mut each: impl FnMut(keys::Touched) -> bool,
    ) -> Result<(), Failure> {
        self.iterator.seek_for_prev(keys::change(u64::MAX, u32::MAX));
        while let Some((key, value)) = self.iterator.item() {
            if key[0] != keys::CHANGE {
                break;
            }
            let touched = keys::touched(key, value).map_err(Failure::Broken)?;
            if touched.revision <= revision || !each(touched) {
                break;
            }
            self.iterator.prev();
        }
        self.check()
    }
}

impl Versions for View<'_> {
    fn at(&mut self, key: &[u8], revision: u64) -> Result<Option<KeyValue>, Failure> {
        let mut wanted = keys::data_prefix(key);
        let prefix_length = wanted.len();
        wanted.extend_from_slice(&(!revision).to_be_bytes());
        self.iterator.seek(&wanted);
        let Some((found, value)) = self.iterator.item() else {
            return self.check().map(|()| None);
        };
        match keys::split_version(found) {
            Some((prefix, at)) if *prefix == wanted[..prefix_length] => {
                keys::value(keys::unescape(prefix), at, value, true).map_err(Failure::Broken)
            }
            _ => Ok(None),
        }
    }

    fn scan(
        &mut self,
        range: &KeyRange,
        revision: u64,
        values: bool,
        each: &mut dyn FnMut(KeyValue) -> bool,
    ) -> Result<(), Failure> {
        let end = match &range.end {
            None => {
                self.at(&range.start, revision)?.map(each);
                return Ok(());
            }
            Some(end) if **end == [0] => keys::data_end(),
            Some(end) => keys::data_start(end),
        };
        self.iterator.seek(keys::data_start(&range.start));
        let mut steps = 0;
        // The prefix of the key whose version was found, the rest of which is to be passed over.
        let mut done: Vec<u8> = Vec::new();
        while let Some((found, value)) = self.iterator.item() {
            if *found >= *end || found[0] != keys::DATA {
                break;
            }
            let (prefix, at) =
                keys::split_version(found).ok_or_else(|| Failure::Broken("a key of the data is garbled".into()))?;
            let is_done = *prefix == *done;
            if !is_done && at <= revision {
                let version = keys::value(keys::unescape(prefix), at, value, values).map_err(Failure::Broken)?;
                if !version.is_none_or(&mut *each) {
                    return Ok(());
                }
                done.clear();
                done.extend_from_slice(prefix);
                steps = 0;
            }
            steps += 1;
            match steps > STEPS_BEFORE_SEEK {
                false => self.iterator.next(),
                true => {
                    steps = 0;
                    let mut next = prefix.to_vec();
                    next.extend_from_slice(&if is_done { u64::MAX } else { !revision }.to_be_bytes());
                    self.iterator.seek(next);
                    if is_done && self.iterator.key().is_some_and(|key| key.starts_with(&done)) {
                        self.iterator.next();
                    }
                }
            }
        }
        self.check()
    }
}
