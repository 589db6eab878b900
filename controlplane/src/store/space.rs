//! Whether the disk has room for more, and what to do before it has not.
//!
//! RocksDB cannot go on once a disk is full, so a member says earlier that it has little left, and then the whole group
//! takes no more (as etcd's NOSPACE alarm). A file holds some room back; it is given up when even that little goes, so
//! that deletions still find some.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::FreeBytes;

/// With less than this the member raises an alarm,
const LOW_BYTES: u64 = 64 << 20;
/// and with more than this takes it back: not at once, or it would come and go.
const ENOUGH_BYTES: u64 = 96 << 20;
/// What the file holds back.
const RESERVE_BYTES: u64 = 32 << 20;
/// With less than this beside it, the reserve is given up.
const HARDLY_ANY_BYTES: u64 = 16 << 20;
/// The disk is looked at before each batch, but no sooner than this after the last look: others fill it too, and what
/// they write in between must be less than [`LOW_BYTES`].
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// While it is nearly full, it is looked at without a reason, too.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

const RESERVE: &str = "reserve";

/// Free bytes of the file system of a folder, for those without privileges.
pub(super) fn free(dir: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(dir)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// What is known of a disk, and decided.
#[derive(Debug, Default)]
struct Known {
    is_low: bool,
    is_reserved: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Deed {
    /// Hold room back.
    Reserve,
    GiveUp,
}

/// The disk of one member.
pub(super) struct Space {
    dir: PathBuf,
    free: FreeBytes,
    known: Known,
    look_at: Instant,
}

// === impl Known ===

impl Known {
    fn decide(&mut self, free: u64) -> Option<Deed> {
        self.is_low = free < if self.is_low { ENOUGH_BYTES } else { LOW_BYTES };
        let deed = match self.is_reserved {
            true if free < HARDLY_ANY_BYTES => Deed::GiveUp,
            false if free > ENOUGH_BYTES + RESERVE_BYTES => Deed::Reserve,
            _ => return None,
        };
        self.is_reserved = deed == Deed::Reserve;
        Some(deed)
    }
}

// === impl Space ===

impl Space {
    pub(super) fn new(dir: &Path, free: FreeBytes) -> Space {
        let known = Known { is_low: false, is_reserved: dir.join(RESERVE).exists() };
        Space { dir: dir.into(), free, known, look_at: Instant::now() }
    }

    /// Is it time to look at the disk?
    pub(super) fn is_time(&self, now: Instant) -> bool {
        now >= self.look_at
    }

    /// Looks at the disk: is it so full that nothing more should be taken?
    pub(super) fn is_low(&mut self, now: Instant) -> bool {
        self.look_at = now + LOOK_PAUSE;
        let was_low = self.known.is_low;
        match (self.free)() {
            Ok(free) => {
                let deed = self.known.decide(free);
                if self.known.is_low && !was_low {
                    let dir = self.dir.display();
                    tracing::error!(%dir, free, "the store's disk is nearly full: make room, or delete objects");
                }
                if let Some(deed) = deed
                    && let Err(error) = self.perform(&deed)
                {
                    tracing::warn!(%error, ?deed, "room for the store is not held back or given up");
                }
            }
            Err(error) => tracing::warn!(%error, "the room on the store's disk is not known"),
        }
        self.known.is_low
    }

    fn perform(&self, deed: &Deed) -> io::Result<()> {
        let path = self.dir.join(RESERVE);
        match deed {
            Deed::GiveUp => std::fs::remove_file(path),
            Deed::Reserve => {
                let file = std::fs::File::create(path)?;
                let flags = rustix::fs::FallocateFlags::empty();
                Ok(rustix::fs::fallocate(&file, flags, 0, RESERVE_BYTES)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn an_alarm_does_not_come_and_go_with_each_file() {
        let mut known = Known::default();
        let lows: Vec<bool> = [70, 63, 65, 95, 97, 65, 63]
            .map(|free| {
                known.decide(free * MIB);
                known.is_low
            })
            .into();
        assert_eq!(lows, [false, true, true, true, false, false, true]);
    }

    #[test]
    fn the_reserve_goes_last_and_comes_back_with_plenty() {
        let mut known = Known::default();
        let deeds = [1000, 20, 15, 10, 47, 100, 129, 129].map(|free| known.decide(free * MIB));
        let expected = [Some(Deed::Reserve), None, Some(Deed::GiveUp), None, None, None, Some(Deed::Reserve), None];
        assert_eq!(deeds, expected);
    }
}
