//! What settled commands do: their changes go into a batch, in the order of the log, and what to tell comes back.
//!
//! Knows neither Raft nor who waits for an answer.

use std::collections::VecDeque;

use bytes::Bytes;

use super::command::Command;
use super::digest;
use super::flaw::{Flaw, Planted};
use super::history::Recorded;
use super::keys;
use super::kv::{Change, Error, TxnDone};
use super::lessor::Lessor;
use super::medium::{Batch, Within};
use super::state::{Failure, Staged, Versions};

/// A batch that commands are applied to.
pub(super) struct Applying<'a, B> {
    pub(super) batch: &'a mut B,
    /// Of all that was ever applied.
    pub(super) digest: &'a mut u64,
    /// Members whose disks are nearly full.
    pub(super) alarms: &'a mut Vec<u64>,
    /// The digests of some revisions, to compare with the leader's.
    pub(super) checks: &'a mut VecDeque<(u64, u64)>,
    /// Counts the time of leases, on a leader.
    pub(super) lessor: Option<&'a mut Lessor>,
    /// The tick.
    pub(super) now: u64,
    pub(super) planted: Planted,
    pub(super) told: Told,
}

/// The entry of the log that a command was decoded from, whose values are parts of it.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) index: u64,
    pub(super) data: Bytes,
}

/// What watchers have to be told when the batch is durable.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) recorded: Vec<Recorded>,
    pub(super) compacted: Option<u64>,
    /// A member's disk became nearly full, or is not any more.
    pub(super) are_alarms_new: bool,
}

// === impl Logged ===

impl Logged {
    /// Where in the entry a value is that was decoded from it.
    fn find(&self, value: &[u8]) -> Option<Within> {
        let at = (value.as_ptr() as usize).checked_sub(self.data.as_ptr() as usize)?;
        (at + value.len() <= self.data.len()).then_some(Within { entry: self.index, at })
    }
}

// === impl Applying ===

impl<B: Batch> Applying<'_, B> {
    /// `logged`: what the command was decoded from, if that is on the disk.
    pub(super) fn apply(
        &mut self,
        command: &Command,
        logged: Option<&Logged>,
        staged: &mut Staged<'_, impl Versions>,
    ) -> Result<TxnDone, Failure> {
        if command.adds() && !self.alarms.is_empty() {
            return Err(Failure::Refused(Error::NoSpace));
        }
        match command {
            Command::Alarm { member, is_raised } => {
                self.alarms.retain(|known| known != member);
                self.alarms.extend(is_raised.then_some(*member));
                self.alarms.sort_unstable();
                self.told.are_alarms_new = true;
            }
            Command::Txn(txn) => {
                let (done, changes) = staged.txn(txn)?;
                self.record(done.revision, changes, logged);
                return Ok(done);
            }
            Command::Compact(revision) => {
                staged.compact(*revision)?;
                self.told.compacted = Some(*revision);
            }
            Command::Grant { id, ttl } => {
                staged.grant(*id, *ttl)?;
                *self.digest = digest::chain_lease(*self.digest, *id, *ttl);
                self.batch.put(&keys::lease(*id), &keys::lease_value(*ttl));
                if let Some(lessor) = &mut self.lessor {
                    lessor.granted(*id, *ttl, self.now);
                }
            }
            Command::Revoke(id) => {
                let (revision, changes) = staged.revoke(*id)?;
                *self.digest = digest::chain_lease(*self.digest, *id, 0);
                self.record(revision, changes, logged);
                self.batch.delete(&keys::lease(*id));
                if let Some(lessor) = &mut self.lessor {
                    lessor.revoked(*id);
                }
            }
            Command::Check { revision, digest } => {
                digest::compare(self.checks, *revision, *digest).map_err(Failure::Broken)?;
            }
        }
        Ok(TxnDone { succeeded: true, revision: staged.head().revision, results: Vec::new() })
    }

    fn record(&mut self, revision: u64, changes: Vec<Change>, logged: Option<&Logged>) {
        if changes.is_empty() {
            return;
        }
        *self.digest = digest::chain(*self.digest, revision, &changes);
        digest::note(self.checks, revision, *self.digest);
        let mut head = Vec::new();
        for (position, change) in (0_u32..).zip(&changes) {
            let replaced = change.previous.as_ref().map_or(0, |kv| kv.mod_revision);
            head.clear();
            keys::put_head(&mut head, &change.kv, change.is_delete);
            let within = logged.and_then(|logged| logged.find(&change.kv.value));
            self.batch.put_apart(&keys::version(&change.kv.key, revision), &head, &change.kv.value, within);
            let touched = keys::change_value(&change.kv.key, replaced, change.is_delete);
            self.batch.put(&keys::change(revision, position), &touched);
            self.attach(change);
        }
        self.told.recorded.push(Recorded { revision, changes });
    }

    /// A key goes from one lease to another.
    fn attach(&mut self, change: &Change) {
        let (key, from) = (&change.kv.key, change.previous.as_ref().map_or(0, |kv| kv.lease));
        let to = change.kv.lease;
        if from == to {
            return;
        }
        if from != 0 && !self.planted.is(Flaw::KeyStaysAttached) {
            self.batch.delete(&keys::attached(from, key));
        }
        if to != 0 {
            self.batch.put(&keys::attached(to, key), &[]);
        }
    }
}
