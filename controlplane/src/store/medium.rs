//! What a member needs of a disk: an ordered map of bytes, changed by batches that are whole.
//!
//! RocksDB is one ([`disk`](super::disk)); the simulation has another that can crash, so that both run the same code.

use bytes::Bytes;

use super::journal::Place;
use super::record::Record;
use super::state::{Failure, Head};
use super::view::View;

pub(super) trait Medium {
    type Batch: Batch;
    /// All data at one instant, for a member that is far behind. Clones share it.
    type Image: Clone;

    /// All or nothing, in order; with `sync`, durable with all before it. An error means that nothing more may be
    /// promised from this medium. Readers are told `head`, where the batch leaves the store, as soon as they can see it.
    fn write(&self, batch: Self::Batch, head: Head, sync: bool) -> Result<(), String>;

    /// Does something with a view of the newest data.
    fn with<T>(&self, act: impl FnOnce(&mut View<'_>) -> Result<T, Failure>) -> Result<T, Failure>;

    fn image(&self) -> Result<Self::Image, String>;

    /// Notes, durably and apart from the data, what others rely on, so that a start finds out if the data lost it.
    fn promise(&self, promise: Promise) -> Result<(), String>;

    /// Gives back a little of the room that values take which nobody needs any more; true if there is more to do. Changes
    /// nothing that can be read.
    fn reclaim(&self) -> Result<bool, String>;

    /// Takes the data of an image in place of its own, under this record: all or nothing, and durable.
    fn install(&self, image: Self::Image, record: &Record) -> Result<(), String>;
}

/// What a member has told others that it holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Promise {
    pub(super) term: u64,
    /// Whom it voted for in that term; 0: nobody.
    pub(super) vote: u64,
    /// Entries up to this one are settled, and were durable here.
    pub(super) settled: u64,
}

// === impl Promise ===

impl Promise {
    /// What is missing from data that end with the entry `last`.
    pub(super) fn broken_by(&self, record: &Record, last: u64) -> Option<&'static str> {
        if record.term < self.term || (record.term == self.term && self.vote != 0 && record.vote != self.vote) {
            return Some("it has forgotten a vote");
        }
        (last < self.settled).then_some("its log has lost entries that it had confirmed")
    }
}

/// Where in the data of an entry of the log, which was put before and is still there, something begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Within {
    pub(super) entry: u64,
    pub(super) at: usize,
}

/// Changes that are made together.
pub(super) trait Batch: Default {
    fn put(&mut self, key: &[u8], value: &[u8]);
    /// A version or an entry, whose body may lie apart from the rest, or is what an entry has already.
    fn put_apart(&mut self, key: &[u8], head: &[u8], body: &[u8], within: Option<Within>);
    fn delete(&mut self, key: &[u8]);
    /// Keys from `from` up to but without `to`.
    fn delete_range(&mut self, from: &[u8], to: &[u8]);
}

/// A place between the keys, as in RocksDB.
pub(super) trait Cursor {
    /// To the first key at or after this one.
    fn seek(&mut self, key: &[u8]);
    /// The same, if that is a version of the same key as this one ([`keys::versions_of`](super::keys::versions_of)); else
    /// to that place or to none.
    fn find(&mut self, key: &[u8]);
    fn next(&mut self);
    /// `None`: there is no key here, or it could not be read; [`Cursor::check`] tells.
    fn item(&self) -> Option<(&[u8], &[u8])>;
    fn check(&self) -> Result<(), Failure>;
    /// What lies at a place that was found here.
    fn fetch(&self, place: Place) -> Result<Bytes, Failure>;
}
