//! A cursor of RocksDB: one iterator to walk with, and one to find versions of a key by, each made when it is needed.

use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{DB, DBRawIterator, ReadOptions};

use super::journal::{self, Map, Place, Segments};
use super::medium::Cursor;
use super::state::Failure;

pub(super) struct Look<'a> {
    db: &'a DB,
    segments: &'a Segments,
    /// What was there when the iterators were made, and so all that they show lies in.
    seen: Vec<Arc<Map>>,
    sight: Sight,
    walk: Option<DBRawIterator<'a>>,
    find: Option<DBRawIterator<'a>>,
    /// The cursor is where this one is.
    is_found: bool,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// The data of one instant.
    OneInstant,
    /// Whoever looks can tell what is too new, or nothing new comes meanwhile.
    Any,
}

// === impl Look ===

impl<'a> Look<'a> {
    pub(super) fn new(db: &'a DB, segments: &'a Segments, sight: Sight) -> Look<'a> {
        Look { db, segments, seen: Vec::new(), sight, walk: None, find: None, is_found: false }
    }

    fn iterator(&mut self, options: ReadOptions) -> DBRawIterator<'a> {
        let (iterator, seen) = self.segments.sight(|| self.db.raw_iterator_opt(options));
        self.seen.push(seen);
        iterator
    }

    fn current(&self) -> Option<&DBRawIterator<'a>> {
        if self.is_found { self.find.as_ref() } else { self.walk.as_ref() }
    }
}

impl Cursor for Look<'_> {
    fn seek(&mut self, key: &[u8]) {
        self.is_found = false;
        let mut walk = self.walk.take().unwrap_or_else(|| {
            let mut options = checked();
            // Over keys with any prefix.
            options.set_total_order_seek(true);
            self.iterator(options)
        });
        walk.seek(key);
        self.walk = Some(walk);
    }

    fn find(&mut self, key: &[u8]) {
        if self.sight == Sight::OneInstant {
            return self.seek(key);
        }
        self.is_found = true;
        let mut find = self.find.take().unwrap_or_else(|| {
            let mut options = checked();
            // Files that have no version of the key are not looked into.
            options.set_prefix_same_as_start(true);
            self.iterator(options)
        });
        find.seek(key);
        self.find = Some(find);
    }

    fn next(&mut self) {
        let current = if self.is_found { &mut self.find } else { &mut self.walk };
        if let Some(current) = current {
            current.next();
        }
    }

    fn item(&self) -> Option<(&[u8], &[u8])> {
        self.current()?.item()
    }

    fn check(&self) -> Result<(), Failure> {
        let status = self.current().map_or(Ok(()), DBRawIterator::status);
        status.map_err(|error| Failure::Broken(error.into_string()))
    }

    fn fetch(&self, place: Place) -> Result<Bytes, Failure> {
        let found = self.seen.iter().find_map(|map| journal::fetch(map, place));
        let missing = || Err(format!("a value lies in segment {} of the journal, which is missing", place.segment));
        found.unwrap_or_else(missing).map_err(Failure::Broken)
    }
}

fn checked() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options
}
