//! Where a member stands; written with each batch, under one key.

use raft::eraftpb::{ConfState, HardState};

use super::group::Member;
use super::log::Position;
use super::state::Head;

/// Where the log of a cluster begins.
const FIRST: Position = Position { index: 1, term: 1 };

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Record {
    /// The folder's identity, so that data and identity file cannot be mixed up.
    #[prost(string, tag = "1")]
    pub(super) folder: String,
    #[prost(uint64, tag = "2")]
    pub(super) term: u64,
    #[prost(uint64, tag = "3")]
    pub(super) vote: u64,
    #[prost(uint64, tag = "4")]
    pub(super) commit: u64,
    #[prost(uint64, tag = "5")]
    pub(super) applied: u64,
    /// The log begins after this entry.
    #[prost(uint64, tag = "6")]
    pub(super) before_index: u64,
    #[prost(uint64, tag = "7")]
    pub(super) before_term: u64,
    #[prost(message, optional, tag = "8")]
    pub(super) conf: Option<ConfState>,
    #[prost(uint64, tag = "9")]
    pub(super) revision: u64,
    #[prost(uint64, tag = "10")]
    pub(super) compacted: u64,
    /// A digest of everything that was ever applied, chained entry by entry: members at the same applied index hold
    /// the same data exactly if this is the same.
    #[prost(fixed64, tag = "11")]
    pub(super) digest: u64,
    /// What is known of the members besides who votes.
    #[prost(message, repeated, tag = "12")]
    pub(super) members: Vec<Member>,
    /// Members whose disks are nearly full, in order. While there are any, nothing is added.
    #[prost(fixed64, repeated, tag = "13")]
    pub(super) alarms: Vec<u64>,
}

// === impl Record ===

impl Record {
    /// A new cluster's: nothing was written, and `voters` decide. It stands for a first entry that nobody has, so that
    /// whoever joins later begins with a snapshot, which tells the membership.
    pub(super) fn first(folder: String, voters: Vec<u64>) -> Record {
        let conf = Some(ConfState { voters, ..ConfState::default() });
        let Position { index, term } = FIRST;
        let (before_index, before_term) = (index, term);
        Record {
            folder,
            term,
            commit: index,
            applied: index,
            before_index,
            before_term,
            conf,
            revision: 1,
            ..Record::default()
        }
    }

    /// One's who joins a cluster: it knows nothing and decides nothing until it is told.
    pub(super) fn joining(folder: String) -> Record {
        Record { folder, conf: Some(ConfState::default()), ..Record::default() }
    }

    /// Is there a group, and is the member not one of it?
    pub(super) fn excludes(&self, member: u64) -> bool {
        let Some(conf) = &self.conf else { return false };
        let mut all = conf.voters.iter().chain(&conf.learners).chain(&conf.voters_outgoing).chain(&conf.learners_next);
        !conf.voters.is_empty() && all.all(|id| *id != member)
    }

    pub(super) fn head(&self) -> Head {
        Head { revision: self.revision, compacted: self.compacted }
    }

    pub(super) fn hard(&self) -> HardState {
        HardState { term: self.term, vote: self.vote, commit: self.commit }
    }

    pub(super) fn before(&self) -> Position {
        Position { index: self.before_index, term: self.before_term }
    }

    /// What a log on the same disk contradicts; `last` is its last entry.
    pub(super) fn contradiction(&self, last: u64) -> Option<&'static str> {
        if self.applied > self.commit {
            return Some("more is applied than was settled");
        }
        if self.commit > last {
            return Some("settled entries of its log are missing");
        }
        (self.before_index > self.applied).then_some("its log begins after entries that were never applied")
    }
}
