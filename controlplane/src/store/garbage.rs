//! Versions that nobody can read any more, and how far they were removed.
//!
//! Each member removes them by itself and a few at a time: it changes no answer, so it is neither in the log nor synced.
//! Where it was is not kept: after a start it begins anew with the oldest change that is left.

use super::keys;
use super::medium::{Batch as _, Medium};
use super::state::Head;

/// Changes whose garbage is removed at once; a write waits that long at most.
pub(super) const SWEEP_MAX: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Garbage {
    /// The first change, by revision and position, that may have left some.
    from: (u64, u32),
    /// All was removed that was garbage when this revision was compacted.
    swept_for: u64,
}

// === impl Garbage ===

impl Garbage {
    pub(super) fn swept_for(&self) -> u64 {
        self.swept_for
    }

    /// Looks at [`SWEEP_MAX`] changes at most; how many there were.
    pub(super) fn sweep<M: Medium>(&mut self, medium: &M, head: Head) -> Result<usize, String> {
        if self.swept_for >= head.compacted {
            return Ok(0);
        }
        let found = medium.with(|view| view.changes_from(self.from, SWEEP_MAX));
        let mut found = found.map_err(|failure| failure.cause())?;
        found.retain(|touched| touched.revision <= head.compacted);
        let mut batch = M::Batch::default();
        for touched in &found {
            if touched.replaced != 0 {
                batch.delete(&keys::version(&touched.key, touched.replaced));
            }
            if touched.is_delete {
                batch.delete(&keys::version(&touched.key, touched.revision));
            }
            if touched.revision <= head.changes_gone() {
                batch.delete(&keys::change(touched.revision, touched.position));
            }
        }
        medium.write(batch, head, false)?;
        self.from = match found.last() {
            Some(last) if found.len() == SWEEP_MAX => (last.revision, last.position + 1),
            _ => {
                self.swept_for = head.compacted;
                (head.compacted, 0)
            }
        };
        Ok(found.len())
    }
}
