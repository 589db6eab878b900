//! A look at the data of a member: versions, changes, entries and the record, by the layout of [`keys`](super::keys).

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;
use raft::eraftpb::Entry;
use twox_hash::XxHash3_64;

use super::keys::{self, Body};
use super::kv::{KeyRange, KeyValue};
use super::medium::Cursor;
use super::record::Record;
use super::state::{Failure, Versions};

/// Older versions that are stepped over before the cursor seeks past them.
const STEPS_BEFORE_SEEK: u32 = 4;

/// A look at the data, through one cursor.
pub(super) struct View<'a> {
    cursor: &'a mut dyn Cursor,
}

fn broken(cause: String) -> Failure {
    Failure::Broken(cause)
}

// === impl View ===

impl<'a> View<'a> {
    pub(super) fn new(cursor: &'a mut dyn Cursor) -> View<'a> {
        View { cursor }
    }

    fn body(&self, body: Body<'_>) -> Result<Bytes, Failure> {
        match body {
            Body::Here(bytes) => Ok(Bytes::copy_from_slice(bytes)),
            Body::Apart(place) => self.cursor.fetch(place),
        }
    }

    /// A version as the database has it; `None`: it is a deletion.
    fn version(&self, key: Bytes, at: u64, bytes: &[u8], values: bool) -> Result<Option<KeyValue>, Failure> {
        let found = keys::version_of(key, at, bytes).map_err(Failure::Broken)?;
        let Some((mut kv, body)) = found else { return Ok(None) };
        if values {
            let of = |failure: Failure| match failure {
                Failure::Broken(cause) => broken(format!("{:?} at revision {at}: {cause}", kv.key)),
                refused => refused,
            };
            kv.value = self.body(body).map_err(of)?;
        }
        Ok(Some(kv))
    }

    /// An iteration that ends because of an error looks like one that is at its end.
    fn check(&self) -> Result<(), Failure> {
        self.cursor.check()
    }

    pub(super) fn record(&mut self) -> Result<Option<Record>, Failure> {
        self.cursor.seek(keys::RECORD);
        let found = self.cursor.item().filter(|(key, _)| *key == keys::RECORD);
        let record = found.map(|(_, bytes)| Record::decode(bytes));
        let record = record.transpose().map_err(|error| broken(format!("the record is garbled: {error}")))?;
        self.check().map(|()| record)
    }

    /// The entries of the log from `first` on.
    pub(super) fn entries(&mut self, first: u64) -> Result<Vec<Entry>, Failure> {
        let mut entries = Vec::new();
        self.cursor.seek(&keys::entry(first));
        while let Some((key, value)) = self.cursor.item().filter(|(key, _)| key[0] == keys::ENTRY) {
            let index = keys::index_of(key).ok_or_else(|| broken(format!("the key {key:?} of an entry is garbled")))?;
            let (entry, body) = keys::entry_of(index, value).map_err(Failure::Broken)?;
            entries.push(Entry { data: self.body(body)?.into(), ..entry });
            self.cursor.next();
        }
        self.check().map(|()| entries)
    }

    /// All leases, with their seconds.
    pub(super) fn leases(&mut self) -> Result<Vec<(i64, u64)>, Failure> {
        let mut leases = Vec::new();
        self.cursor.seek(&[keys::LEASE]);
        while let Some((key, value)) = self.cursor.item().filter(|(key, _)| key[0] == keys::LEASE) {
            leases.push(keys::granted(key, value).map_err(Failure::Broken)?);
            self.cursor.next();
        }
        self.check().map(|()| leases)
    }

    /// How many versions of all keys there are, readable or not.
    #[cfg(test)]
    pub(super) fn versions(&mut self) -> Result<usize, Failure> {
        let mut count = 0;
        self.cursor.seek(&[keys::DATA]);
        while self.cursor.item().is_some_and(|(key, _)| key[0] == keys::DATA) {
            count += 1;
            self.cursor.next();
        }
        self.check().map(|()| count)
    }

    /// A hash of all versions that can be read at a revision from `compacted` up to `revision`.
    pub(super) fn hash(&mut self, compacted: u64, revision: u64) -> Result<u64, Failure> {
        let mut hash = 0;
        // Of the key whose versions are being passed: its prefix, and whether the rest cannot be read any more.
        let (mut passing, mut is_done): (Vec<u8>, bool) = (Vec::new(), false);
        self.cursor.seek(&[keys::DATA]);
        while let Some((found, value)) = self.cursor.item().filter(|(key, _)| key[0] == keys::DATA) {
            let (prefix, at) = keys::split_version(found).ok_or_else(|| broken("a key is garbled".into()))?;
            if *prefix != *passing {
                passing.clear();
                passing.extend_from_slice(prefix);
                is_done = false;
            }
            // What was deleted by then leaves no trace, because each member removes it when it likes.
            let is_gone = at <= compacted && keys::is_deleted(value);
            if at <= revision && !is_done && !is_gone {
                hash = XxHash3_64::oneshot_with_seed(hash, found);
                hash = self.hash_of(hash, at, value)?;
            }
            is_done |= at <= compacted;
            self.cursor.next();
        }
        self.check().map(|()| hash)
    }

    /// The hash of a version, wherever its value lies.
    fn hash_of(&self, hash: u64, at: u64, bytes: &[u8]) -> Result<u64, Failure> {
        let mut head = Vec::new();
        match keys::version_of(Bytes::new(), at, bytes).map_err(Failure::Broken)? {
            None => keys::put_head(&mut head, &KeyValue::gone(Bytes::new(), at), true),
            Some((kv, body)) => {
                keys::put_head(&mut head, &kv, false);
                head.extend_from_slice(&self.body(body)?);
            }
        }
        Ok(XxHash3_64::oneshot_with_seed(hash, &head))
    }

    /// Changes from a revision and a position on, oldest first, at most `max`.
    pub(super) fn changes_from(&mut self, from: (u64, u32), max: usize) -> Result<Vec<keys::Touched>, Failure> {
        let mut found = Vec::new();
        self.cursor.seek(&keys::change(from.0, from.1));
        while let Some((key, value)) = self.cursor.item() {
            if key[0] != keys::CHANGE || found.len() == max {
                break;
            }
            found.push(keys::touched(key, value).map_err(Failure::Broken)?);
            self.cursor.next();
        }
        self.check().map(|()| found)
    }

    /// The changes of whole revisions from one on, oldest first, and whether these are all. Begins no revision after
    /// `max` changes.
    pub(super) fn revisions_from(&mut self, revision: u64, max: usize) -> Result<(Vec<keys::Touched>, bool), Failure> {
        let mut found: Vec<keys::Touched> = Vec::new();
        let mut is_all = true;
        self.cursor.seek(&keys::change(revision, 0));
        while let Some((key, value)) = self.cursor.item().filter(|(key, _)| key[0] == keys::CHANGE) {
            let touched = keys::touched(key, value).map_err(Failure::Broken)?;
            if found.len() >= max && found.last().is_some_and(|last| last.revision != touched.revision) {
                is_all = false;
                break;
            }
            found.push(touched);
            self.cursor.next();
        }
        self.check().map(|()| (found, is_all))
    }
}

impl Versions for View<'_> {
    fn lease(&mut self, id: i64) -> Result<Option<u64>, Failure> {
        let wanted = keys::lease(id);
        self.cursor.seek(&wanted);
        let found = self.cursor.item().filter(|(key, _)| *key == wanted);
        let found = found.map(|(key, value)| keys::granted(key, value)).transpose().map_err(Failure::Broken)?;
        self.check().map(|()| found.map(|(_, ttl)| ttl))
    }

    fn attached(&mut self, lease: i64) -> Result<BTreeSet<Bytes>, Failure> {
        let prefix = keys::attached_prefix(lease);
        let mut attached = BTreeSet::new();
        self.cursor.seek(&prefix);
        while let Some((key, _)) = self.cursor.item() {
            let Some(key) = key.strip_prefix(&*prefix) else { break };
            attached.insert(Bytes::copy_from_slice(key));
            self.cursor.next();
        }
        self.check().map(|()| attached)
    }

    fn at(&mut self, key: &Bytes, revision: u64, values: bool) -> Result<Option<KeyValue>, Failure> {
        let mut wanted = keys::data_prefix(key);
        let prefix_length = wanted.len();
        wanted.extend_from_slice(&(!revision).to_be_bytes());
        self.cursor.find(&wanted);
        let Some((found, value)) = self.cursor.item() else {
            return self.check().map(|()| None);
        };
        match keys::split_version(found) {
            Some((prefix, at)) if *prefix == wanted[..prefix_length] => self.version(key.clone(), at, value, values),
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
                self.at(&range.start, revision, values)?.map(each);
                return Ok(());
            }
            Some(end) if **end == [0] => keys::data_end(),
            Some(end) => keys::data_start(end),
        };
        self.cursor.seek(&keys::data_start(&range.start));
        let mut steps = 0;
        // The prefix of the key whose version was found, the rest of which is to be passed over.
        let mut done: Vec<u8> = Vec::new();
        while let Some((found, value)) = self.cursor.item() {
            if *found >= *end || found[0] != keys::DATA {
                break;
            }
            let (prefix, at) =
                keys::split_version(found).ok_or_else(|| Failure::Broken("a key of the data is garbled".into()))?;
            let is_done = *prefix == *done;
            if !is_done && at <= revision {
                let version = self.version(keys::unescape(prefix), at, value, values)?;
                if !version.is_none_or(&mut *each) {
                    return Ok(());
                }
                done.clear();
                done.extend_from_slice(prefix);
                steps = 0;
            }
            steps += 1;
            match steps > STEPS_BEFORE_SEEK {
                false => self.cursor.next(),
                true => {
                    steps = 0;
                    let mut next = prefix.to_vec();
                    next.extend_from_slice(&if is_done { u64::MAX } else { !revision }.to_be_bytes());
                    self.cursor.seek(&next);
                    if is_done && self.cursor.item().is_some_and(|(key, _)| key.starts_with(&done)) {
                        self.cursor.next();
                    }
                }
            }
        }
        self.check()
    }
}
