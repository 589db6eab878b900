//! The one database of a member, its images, and how RocksDB is set up.
//!
//! Knows no Raft rules. RocksDB is small by default: two write buffers, one bounded
//! cache, two background threads, and no statistics, so that an idle member writes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use prost::Message as _;
use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, LogLevel, Options, SliceTransform};
use tokio::time::Instant;

use crate::folder;

use super::base::Base;
use super::changes::Changes;
use super::figures::Counts;
use super::identity::{self, Identity, OpenError};
use super::keys;
use super::kv::{Error, Range, Ranged};
use super::look::Sight;
use super::medium::{Batch, Medium, Promise};
use super::record::Record;
use super::state::{self, Failure, Head};
use super::view::View;

/// One of two; a restart reads back at most this much of the write-ahead log, and a bit.
const WRITE_BUFFER_BYTES: usize = 8 * 1024 * 1024;
const TABLE_BYTES: u64 = 16 * 1024 * 1024;
const LEVEL_BASE_BYTES: u64 = 64 * 1024 * 1024;
const BLOCK_BYTES: usize = 8 * 1024;
const OPEN_FILES_MAX: i32 = 256;
/// Files with changes that are not sorted in yet: the fewer compactions, the less is written, and the more files a read
/// has to pass over.
const LEVEL_0_FILES: i32 = 8;
/// For each key in a table, so that most of those without it are not looked into.
const FILTER_BITS: f64 = 10.0;
/// Of a write buffer, for the same.
const FILTER_SHARE: f64 = 0.02;
const INFO_LOG_BYTES_MAX: usize = 256 * 1024;
/// Folders of images that are sent or come in; none outlives the process.
pub(super) const IMAGE_PREFIX: &str = "image-";

/// The database, until it is closed.
pub(super) struct Disk {
    db: RwLock<Option<Base>>,
    dir: PathBuf,
    cache_bytes: usize,
    /// Says which database counts; changes when an image is installed.
    identity: Mutex<Identity>,
    images: AtomicU64,
    pub(super) counts: Counts,
}

/// A folder with a copy of a database, in hard links where it can be; it goes when the last handle goes.
#[derive(Debug, Clone)]
pub(super) struct Image(Arc<Folder>);

#[derive(Debug)]
struct Folder(PathBuf);

// === impl Disk ===

impl Disk {
    /// Opens the database of a folder; makes one only if `create`.
    pub(super) fn open(dir: &Path, identity: Identity, create: bool, cache_bytes: usize) -> Result<Disk, String> {
        let path = dir.join(&identity.database);
        let db = Base::open(&path, create, cache_bytes)?;
        let (db, identity) = (RwLock::new(Some(db)), Mutex::new(identity));
        Ok(Disk { db, dir: dir.into(), cache_bytes, identity, images: AtomicU64::new(0), counts: Counts::default() })
    }

    /// Waits for reads under way, and lets go of the files.
    pub(super) fn close(&self) {
        let db = self.db.write().take();
        if let Some(Err(cause)) = db.as_ref().map(|base| base.flush(true)) {
            tracing::warn!(cause, "the next start reads back what the tables lack");
        }
    }

    fn db(&self) -> RwLockReadGuard<'_, Option<Base>> {
        self.db.read()
    }

    /// Reads at one instant: data, revision and compacted revision fit together, because one iterator sees them.
    pub(super) fn snapshot<T>(&self, act: impl FnOnce(&mut View<'_>, Head) -> Result<T, Failure>) -> Result<T, Error> {
        let db = self.db();
        let base = db.as_ref().ok_or_else(|| Error::Unavailable(closed()))?;
        let read = base.with(Sight::OneInstant, |view| {
            let record = view.record()?.ok_or_else(|| Failure::Broken("the record of the store is missing".into()))?;
            act(view, record.head())
        });
        read.map_err(refused)
    }

    /// A range as it was at one revision. What is written meanwhile is newer and passed over; only if that revision was
    /// compacted meanwhile, and its versions may have been removed, it is read again.
    pub(super) fn range(&self, range: &Range) -> Result<Ranged, Error> {
        let db = self.db();
        let base = db.as_ref().ok_or_else(|| Error::Unavailable(closed()))?;
        loop {
            let head = base.head();
            let done = base.with(Sight::Any, |view| state::read(view, head, range)).map_err(refused);
            let at = if range.revision == 0 { head.revision } else { range.revision };
            let compacted = base.head().compacted;
            if compacted <= at.max(head.compacted) {
                return done;
            }
        }
    }

    /// An empty folder for an image that comes in.
    pub(super) fn receiving(&self) -> std::io::Result<Image> {
        Image::begin(self.next_image())
    }

    fn next_image(&self) -> PathBuf {
        let number = self.images.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("{IMAGE_PREFIX}{number}"))
    }

    /// What the data take, on disk and in buffers.
    pub(super) fn bytes(&self) -> Result<u64, Error> {
        let db = self.db();
        db.as_ref().ok_or_else(|| Error::Unavailable(closed()))?.bytes().map_err(Error::Unavailable)
    }

    /// See [`Base::is_quiet`].
    #[cfg(test)]
    pub(super) fn is_quiet(&self) -> bool {
        self.db().as_ref().unwrap().is_quiet()
    }

    /// Writes all anew, without what was deleted or replaced. Blocks for long.
    pub(super) fn defragment(&self) -> Result<(), Error> {
        let act = |act: &dyn Fn(&Base) -> Result<bool, String>| {
            let db = self.db();
            act(db.as_ref().ok_or_else(|| Error::Unavailable(closed()))?).map_err(Error::Unavailable)
        };
        act(&|base| {
            base.compact();
            base.flush(true).map(|()| true)
        })?;
        // An image may be installed in between.
        while act(&|base| base.reclaim(true))? {}
        Ok(())
    }

    /// Makes an image's folder the database of this member. Nobody has it open.
    fn adopt(&self, image: &Path, record: &Record) -> Result<String, String> {
        let base = Base::open(image, false, self.cache_bytes)?;
        let mut changes = Changes::default();
        // The sender's own log is not ours.
        changes.delete_range(&keys::entry(0), &keys::entry(u64::MAX));
        changes.put(keys::RECORD, &record.encode_to_vec());
        base.write(changes, record.head(), true)?;
        drop(base);
        let mut identity = self.identity.lock();
        let name = identity.next_database();
        let io = |error: std::io::Error| format!("cannot put {} into place: {error}", image.display());
        std::fs::rename(image, self.dir.join(&name)).map_err(io)?;
        folder::sync(&self.dir).map_err(io)?;
        let old = std::mem::replace(&mut identity.database, name);
        identity.store(&self.dir).map_err(|error: OpenError| error.to_string())?;
        Ok(old)
    }
}

impl Medium for Disk {
    type Batch = Changes;
    type Image = Image;

    fn write(&self, batch: Changes, head: Head, sync: bool) -> Result<(), String> {
        let db = self.db();
        let base = db.as_ref().ok_or_else(closed)?;
        let began = Instant::now();
        let bytes = base.write(batch, head, sync)?;
        self.counts.log_bytes.fetch_add(bytes, Ordering::Relaxed);
        if sync {
            self.counts.synced(began.elapsed());
        }
        Ok(())
    }

    fn reclaim(&self) -> Result<bool, String> {
        self.db().as_ref().ok_or_else(closed)?.reclaim(false)
    }

    fn with<T>(&self, act: impl FnOnce(&mut View<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
        let db = self.db();
        db.as_ref().ok_or_else(|| Failure::Broken(closed()))?.with(Sight::Any, act)
    }

    fn image(&self) -> Result<Image, String> {
        let path = self.next_image();
        let db = self.db();
        db.as_ref().ok_or_else(closed)?.image(&path)?;
        Ok(Image(Arc::new(Folder(path))))
    }

    fn promise(&self, promise: Promise) -> Result<(), String> {
        identity::store_promise(&self.dir, promise).map_err(|error| error.to_string())
    }

    fn install(&self, image: Image, record: &Record) -> Result<(), String> {
        // Readers wait; what they see next is the new state as a whole.
        let mut db = self.db.write();
        let old = self.adopt(image.path(), record)?;
        drop(db.take());
        let name = self.identity.lock().database.clone();
        *db = Some(Base::open(&self.dir.join(name), false, self.cache_bytes)?);
        // It is not the database any more; the next start would remove it as well.
        let _ = std::fs::remove_dir_all(self.dir.join(old));
        Ok(())
    }
}

// === impl Image ===

impl Image {
    /// A new folder, for files that come from elsewhere.
    pub(super) fn begin(path: PathBuf) -> std::io::Result<Image> {
        std::fs::create_dir(&path)?;
        Ok(Image(Arc::new(Folder(path))))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Gone already if it was installed; what stays is removed at the next start.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn refused(failure: Failure) -> Error {
    match failure {
        Failure::Refused(error) => error,
        Failure::Broken(cause) if cause == closed() => Error::Unavailable(cause),
        Failure::Broken(cause) => {
            tracing::error!(%cause, "the store cannot read its data");
            Error::Damaged(cause)
        }
    }
}

fn closed() -> String {
    "it is closed".into()
}

fn key_of_versions(bytes: &[u8]) -> &[u8] {
    keys::versions_of(bytes).unwrap_or(bytes)
}

fn is_version(bytes: &[u8]) -> bool {
    keys::versions_of(bytes).is_some()
}

pub(super) fn options(create: bool, cache_bytes: usize) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(cache_bytes));
    blocks.set_block_size(BLOCK_BYTES);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_bloom_filter(FILTER_BITS, false);
    blocks.set_whole_key_filtering(false);
    // Each kind of row has a place where the last one went, near which the next one goes.
    let hinted = Options::default().get_options_from_string("memtable_insert_with_hint_prefix_extractor=fixed:1");
    let mut options = hinted.expect("RocksDB knows the option");
    options.create_if_missing(create);
    options.set_error_if_exists(create);
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_target_file_size_base(TABLE_BYTES);
    options.set_max_bytes_for_level_base(LEVEL_BASE_BYTES);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_level_zero_file_num_compaction_trigger(LEVEL_0_FILES);
    options.set_prefix_extractor(SliceTransform::create("versions-of-a-key", key_of_versions, Some(is_version)));
    options.set_memtable_prefix_bloom_ratio(FILTER_SHARE);
    options.set_max_background_jobs(2);
    options.set_max_open_files(OPEN_FILES_MAX);
    // There is one writer, so what concurrent writers need would only cost.
    options.set_allow_concurrent_memtable_write(false);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    options
}
