//! A cursor of RocksDB: one iterator to walk with, and one to find versions of a key by, each made when it is needed.

use rocksdb::{DB, DBRawIterator, ReadOptions};

use super::medium::Cursor;
use super::state::Failure;

pub(super) struct Look<'a> {
    db: &'a DB,
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
    pub(super) fn new(db: &'a DB, sight: Sight) -> Look<'a> {
        Look { db, sight, walk: None, find: None, is_found: false }
    }

    fn current(&self) -> Option<&DBRawIterator<'a>> {
        if self.is_found { self.find.as_ref() } else { self.walk.as_ref() }
    }
}

impl Cursor for Look<'_> {
    fn seek(&mut self, key: &[u8]) {
        self.is_found = false;
        let walk = || {
            let mut options = checked();
            // Over keys with any prefix.
            options.set_total_order_seek(true);
            self.db.raw_iterator_opt(options)
        };
        self.walk.get_or_insert_with(walk).seek(key);
    }

    fn find(&mut self, key: &[u8]) {
        if self.sight == Sight::OneInstant {
            return self.seek(key);
        }
        self.is_found = true;
        let find = || {
            let mut options = checked();
            // Files that have no version of the key are not looked into, and its neighbour's value is not read.
            options.set_prefix_same_as_start(true);
            self.db.raw_iterator_opt(options)
        };
        self.find.get_or_insert_with(find).seek(key);
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
}

fn checked() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options
}
