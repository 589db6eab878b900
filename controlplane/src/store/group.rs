//! The other members: who they are, and what goes to and fro between them.
//!
//! How messages travel is not known here; a [`Carrier`] takes them, and may lose them.

use std::path::Path;

use bytes::Bytes;
use futures::future::BoxFuture;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};

use super::disk::Image;
use super::kv::Error;
use super::record::Record;

/// The way to other members.
pub trait Carrier: Send + Sync + 'static {
    /// Takes a message, without waiting. What cannot be sent is dropped; the group asks again.
    fn send(&self, letter: Letter);

    /// Asks a member what [`Store::answer`](super::Store::answer) says there. Unavailable: it could not be asked.
    fn ask(&self, to: u64, question: Question) -> BoxFuture<'static, Result<u64, Error>>;
}

/// What the leader alone can answer, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// A lease is to live for its whole time from now on.
    Renew(i64),
    /// What a lease has left.
    Left(i64),
}

/// A message for another member.
pub struct Letter {
    pub to: u64,
    /// As [`Store::receive`](super::Store::receive) takes it there.
    pub message: Bytes,
    /// Goes with it; the message means nothing without it. Tell
    /// [`Store::snapshot_sent`](super::Store::snapshot_sent) how that went.
    pub snapshot: Option<SnapshotData>,
}

/// The data of a snapshot: a folder of files, which goes when this does.
#[derive(Debug)]
pub struct SnapshotData(pub(super) Image);

/// A member of the group, as all members know it.
#[derive(Clone, PartialEq, Eq, prost::Message, serde::Serialize, serde::Deserialize)]
pub struct Member {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(string, tag = "2")]
    pub name: String,
    /// Where the other members reach it.
    #[prost(string, tag = "3")]
    pub url: String,
    /// Where clients of etcd's API reach it; none: it does not serve that.
    #[prost(string, repeated, tag = "4")]
    #[serde(default)]
    pub client_urls: Vec<String>,
}

/// How a member takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Receives everything and decides nothing.
    Learner,
    Voter,
}

/// A change of who takes part.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum MemberChange {
    /// A new one, as a learner.
    Add(Member),
    /// A learner becomes a voter.
    Promote(u64),
    /// An address or a name.
    Update(Member),
    Remove(u64),
}

/// What travels with a change of the membership in the log.
#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    set: Option<Member>,
    #[prost(uint64, tag = "2")]
    removed: u64,
}

/// Would those voters that are up, without one of them, still be most of the others? One that is not up takes nothing
/// with it.
pub(super) fn can_spare(voters: &[u64], member: u64, is_up: impl Fn(u64) -> bool) -> bool {
    let others = voters.iter().filter(|voter| **voter != member);
    let up = others.clone().filter(|voter| is_up(**voter)).count();
    !voters.contains(&member) || !is_up(member) || 2 * up > others.count()
}

/// The members as this one knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    pub members: Vec<(Member, Role)>,
    /// Those whose disks are nearly full.
    pub alarms: Vec<u64>,
    pub leader: Option<u64>,
    pub term: u64,
}

// === impl SnapshotData ===

impl SnapshotData {
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.0.path()
    }
}

// === impl MemberChange ===

impl MemberChange {
    /// Why the change makes no sense to a group of these members.
    pub(super) fn contradicts(&self, conf: &ConfState) -> Option<String> {
        let (is_voter, is_learner) = (conf.voters.contains(&self.id()), conf.learners.contains(&self.id()));
        let why = match self {
            MemberChange::Add(_) if is_voter || is_learner => "is one of the members already",
            MemberChange::Promote(_) if is_voter => "votes already",
            MemberChange::Promote(_) | MemberChange::Update(_) | MemberChange::Remove(_)
                if !is_voter && !is_learner =>
            {
                "is not one of the members"
            }
            MemberChange::Remove(_) if is_voter && conf.voters.len() == 1 => "is the only one that votes",
            _ => return None,
        };
        Some(format!("{:x} {why}", self.id()))
    }

    fn id(&self) -> u64 {
        match self {
            MemberChange::Add(member) | MemberChange::Update(member) => member.id,
            MemberChange::Promote(id) | MemberChange::Remove(id) => *id,
        }
    }

    /// As the Raft library wants it, with what it does not know beside it.
    pub(super) fn into_conf(self, conf: &ConfState) -> ConfChangeV2 {
        use prost::Message as _;
        let kind = match &self {
            MemberChange::Add(_) => ConfChangeType::AddLearnerNode,
            // Adds what is there, as what it is: a change without content would mean the end of a joint configuration.
            MemberChange::Update(member) if conf.learners.contains(&member.id) => ConfChangeType::AddLearnerNode,
            MemberChange::Update(_) | MemberChange::Promote(_) => ConfChangeType::AddNode,
            MemberChange::Remove(_) => ConfChangeType::RemoveNode,
        };
        let mut change = ConfChangeSingle { node_id: self.id(), ..ConfChangeSingle::default() };
        change.set_change_type(kind);
        let entry = match self {
            MemberChange::Add(member) | MemberChange::Update(member) => Entry { set: Some(member), removed: 0 },
            MemberChange::Promote(_) => Entry::default(),
            MemberChange::Remove(id) => Entry { set: None, removed: id },
        };
        let context = entry.encode_to_vec();
        ConfChangeV2 { changes: vec![change], context, ..ConfChangeV2::default() }
    }

    /// Who is known after a change that was settled.
    pub(super) fn apply(members: &mut Vec<Member>, change: &ConfChangeV2) -> Result<(), String> {
        use prost::Message as _;
        let entry = Entry::decode(&*change.context).map_err(|error| format!("a change of members: {error}"))?;
        members.retain(|known| known.id != entry.removed && entry.set.as_ref().is_none_or(|set| set.id != known.id));
        members.extend(entry.set);
        members.sort_by_key(|member| member.id);
        Ok(())
    }
}

// === impl Members ===

impl Members {
    pub(super) fn new(record: &Record, conf: &ConfState, leader: Option<u64>, term: u64) -> Members {
        let known = &record.members;
        let role = |id: &u64| match conf.learners.contains(id) {
            true => Role::Learner,
            false => Role::Voter,
        };
        let ids = conf.voters.iter().chain(&conf.learners);
        let mut members: Vec<_> = ids
            .map(|id| {
                let member = known.iter().find(|member| member.id == *id).cloned();
                (member.unwrap_or_else(|| Member { id: *id, ..Member::default() }), role(id))
            })
            .collect();
        members.sort_by_key(|(member, _)| member.id);
        Members { members, alarms: record.alarms.clone(), leader, term }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voter_is_spared_only_if_most_of_the_others_are_up() {
        let spared = |voters: &[u64], member: u64, up: &[u64]| can_spare(voters, member, |voter| up.contains(&voter));
        assert!(spared(&[1, 2, 3], 3, &[1, 2, 3]));
        assert!(spared(&[1, 2, 3], 3, &[1, 2]), "it is gone already");
        assert!(!spared(&[1, 2, 3], 2, &[1, 2]), "one of two would be left");
        assert!(spared(&[1, 2], 2, &[1, 2]));
        assert!(spared(&[1, 2], 2, &[1]));
        assert!(spared(&[1, 2, 3], 4, &[1, 2]), "a learner does not count");
        assert!(!spared(&[1, 2, 3, 4, 5], 1, &[1, 2, 3]));
    }
}
