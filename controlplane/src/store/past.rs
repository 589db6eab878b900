//! The changes that the memory has let go, read from the disk for those who watch from further back.

use super::disk::Disk;
use super::keys::Touched;
use super::kv::{Change, Error, KeyValue};
use super::state::{Failure, Versions};
use super::view::View;

/// Some whole revisions, oldest first.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) changes: Vec<Change>,
    /// Nothing up to this revision is missing.
    pub(super) revision: u64,
}

/// Where the history goes on reading when it has too little itself.
pub(super) trait Past: Send + Sync + std::fmt::Debug {
    /// The changes of whole revisions from `from` on, about `max` of them. Blocks.
    fn changes(&self, from: u64, max: usize) -> Result<Stretch, Error>;

    /// Gives the values to the versions that changes replaced, where they are still known. Blocks.
    fn complete(&self, changes: &mut [Change]) -> Result<(), Error>;
}

impl Past for Disk {
    fn changes(&self, from: u64, max: usize) -> Result<Stretch, Error> {
        self.snapshot(|view, head| {
            if from <= head.changes_gone() {
                let oldest = head.changes_gone() + 1;
                return Err(Failure::Refused(Error::Compacted { wanted: from, oldest }));
            }
            let (touched, is_all) = view.revisions_from(from, max)?;
            let revision = match touched.last() {
                Some(last) if !is_all => last.revision,
                _ => head.revision,
            };
            let changes: Result<_, _> = touched.into_iter().map(|touched| restore(view, touched)).collect();
            Ok(Stretch { changes: changes?, revision })
        })
    }

    fn complete(&self, changes: &mut [Change]) -> Result<(), Error> {
        self.snapshot(|view, _| {
            for change in changes {
                let Some(previous) = &change.previous else { continue };
                let (key, revision) = (previous.key.clone(), previous.mod_revision);
                // A compaction may have been faster.
                change.previous = view.at(&key, revision, true)?.filter(|found| found.mod_revision == revision);
            }
            Ok(())
        })
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disk")
    }
}

/// A change with what it wrote and what it replaced.
pub(super) fn restore(view: &mut View<'_>, touched: Touched) -> Result<Change, Failure> {
    let Touched { revision, key, replaced, is_delete, .. } = touched;
    let missing = || Failure::Broken(format!("the version of {key:?} at revision {revision} is missing"));
    let previous = match replaced {
        0 => None,
        // What the compacted revision replaced is gone.
        replaced => view.at(&key, replaced, true)?.filter(|kv| kv.mod_revision == replaced),
    };
    let kv = match is_delete {
        true => KeyValue::gone(key.clone(), revision),
        false => view.at(&key, revision, true)?.filter(|kv| kv.mod_revision == revision).ok_or_else(missing)?,
    };
    Ok(Change { kv, is_delete, previous })
}
