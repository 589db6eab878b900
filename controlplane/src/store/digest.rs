//! The digest of everything that was ever applied, and its comparison between members.
//!
//! Chained, so that members that have applied the same have the same digest, and keep another one for good if not.

use std::collections::VecDeque;

use twox_hash::XxHash3_64;

use super::kv::Change;

/// Revisions between two digests that the members compare.
const CHECK_REVISIONS: u64 = 1024;
/// Digests that are kept for a comparison that is under way.
const CHECKS_KEPT: usize = 8;

/// The digest after one more revision: the same wherever the same was applied.
pub(super) fn chain(digest: u64, revision: u64, changes: &[Change]) -> u64 {
    let mut digest = digest;
    let mut add = |bytes: &[u8]| digest = XxHash3_64::oneshot_with_seed(digest, bytes);
    for Change { kv, is_delete, .. } in changes {
        let (key, value) = (kv.key.len() as u64, kv.value.len() as u64);
        let numbers =
            [revision, kv.create_revision, kv.version, kv.lease.cast_unsigned(), u64::from(*is_delete), key, value];
        add(numbers.map(u64::to_le_bytes).as_flattened());
        add(&kv.key);
        add(&kv.value);
    }
    digest
}

/// The same for a lease that begins, or ends with a time of 0.
pub(super) fn chain_lease(digest: u64, id: i64, ttl: u64) -> u64 {
    XxHash3_64::oneshot_with_seed(digest, [id.cast_unsigned(), ttl].map(u64::to_le_bytes).as_flattened())
}

/// Keeps some of them.
pub(super) fn note(checks: &mut VecDeque<(u64, u64)>, revision: u64, digest: u64) {
    if revision.is_multiple_of(CHECK_REVISIONS) {
        if checks.len() == CHECKS_KEPT {
            checks.pop_back();
        }
        checks.push_front((revision, digest));
    }
}

/// The members hold different data, or this one's are damaged: going on would spread it.
pub(super) fn compare(checks: &VecDeque<(u64, u64)>, revision: u64, digest: u64) -> Result<(), String> {
    match checks.iter().find(|(at, _)| *at == revision) {
        Some((_, ours)) if *ours != digest => Err(format!(
            "the data at revision {revision} differ from the leader's (digest {ours:016x}, there {digest:016x}): \
             remove this member and add it anew with an empty folder"
        )),
        _ => Ok(()),
    }
}
