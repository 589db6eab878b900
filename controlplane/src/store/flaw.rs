//! Bugs that can be planted, to show that the simulation would find them.
//!
//! Each is one that a system of this kind really had, or nearly had. Outside of tests nothing can be planted, and the
//! questions compile to nothing.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Others are told of entries before those are durable.
    AnswersBeforeSync,
    /// A vote is not synced, so it can be given twice.
    VoteNotSynced,
    /// What is applied and how much is applied go to disk in two batches (etcd 3.5).
    AppliedApart,
    /// The commit index stays behind what is applied.
    CommitNotKept,
    /// A learner's answer counts towards the quorum.
    LearnerCounts,
    /// A repeated read carries the context of its first attempt (etcd 3.5, 3.6).
    ReadContextReused,
    /// A read does not wait until what it has to show is applied.
    ReadBeforeApplied,
    /// A leader answers reads without asking whether it still leads.
    ReadWithoutQuorum,
    /// A snapshot arrives without the membership of its time.
    SnapshotWithoutConf,
    /// A snapshot counts as installed before its data are there.
    SnapshotMarkedEarly,
    /// The log is cut although nothing stands for what is gone.
    LogCutTooFar,
    /// Entries that were replaced by fewer others stay on disk behind them.
    TailKept,
    /// The term of the last entry that is gone is forgotten.
    TermForgotten,
    /// A member that lost what it had promised goes on as if it had not.
    AmnesiaIgnored,
    /// A membership takes effect when it is written, not when it is settled.
    ConfWhenWritten,
    /// A write without an answer is proposed again.
    ProposedTwice,
    /// The revision comes from a clock.
    RevisionFromClock,
    /// A leader keeps leases alive without asking whether it still leads.
    RenewedWithoutQuorum,
    /// A key that goes to another lease stays with the one before, too.
    KeyStaysAttached,
    /// A new leader counts the time of leases on from where it left off when it led before.
    LeaseTimeFromBefore,
    /// What keys were is remembered past a snapshot that has replaced them.
    RememberedTooLong,
    /// A follower is told that more is settled than is known to match.
    SettledTooFar,
    /// The data of an entry are left out although it is not settled at once.
    DataLeftOut,
}

/// The flaw that was planted in a member, if any.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Planted(#[cfg(test)] Option<Flaw>);

// === impl Planted ===

impl Planted {
    #[cfg(test)]
    pub(super) fn one(flaw: Flaw) -> Planted {
        Planted(Some(flaw))
    }

    #[cfg(test)]
    pub(super) fn is(self, flaw: Flaw) -> bool {
        self.0 == Some(flaw)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "the same call as in tests")]
    pub(super) fn is(self, _flaw: Flaw) -> bool {
        false
    }
}
