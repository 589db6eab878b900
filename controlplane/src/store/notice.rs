//! What is settled, told to followers that have nothing else to hear.
//!
//! The library would send every follower an empty message as soon as more is settled, and each would answer it. Where
//! more entries are on their way they say it as well, and where not, a heartbeat to which nobody answers is enough: one that
//! is lost is made good by the next that the clock brings. (etcd's library answers each, too: `raft.go`, `bcastAppend`
//! after `maybeCommit`.)

use std::collections::HashMap;

use raft::eraftpb::{Message, MessageType};
use raft::{ProgressState, Raft, StateRole};

use super::flaw::{Flaw, Planted};
use super::log::Log;

/// The context of such a heartbeat. Those of reads are longer.
const NOTICE: &[u8] = b"settled";

/// What this member, as the leader of a term, has told the others.
#[derive(Debug, Default)]
pub(super) struct Notices {
    term: u64,
    /// The index up to which all is settled, by member.
    told: HashMap<u64, u64>,
}

// === impl Notices ===

impl Notices {
    /// These are about to be sent.
    pub(super) fn note(&mut self, messages: &[Message]) {
        for message in messages {
            if matches!(message.msg_type(), MessageType::MsgAppend | MessageType::MsgHeartbeat) {
                self.renew(message.term);
                let told = self.told.entry(message.to).or_default();
                *told = message.commit.max(*told);
            }
        }
    }

    /// For those who have not been told yet.
    pub(super) fn due(&mut self, raft: &Raft<Log>, planted: Planted) -> Vec<Message> {
        if raft.state != StateRole::Leader {
            return Vec::new();
        }
        self.renew(raft.term);
        let mut due = Vec::new();
        for (id, progress) in raft.prs().iter() {
            // A member with another log must not take its own entries for settled.
            let commit = match planted.is(Flaw::SettledTooFar) {
                true => raft.raft_log.committed,
                false => progress.matched.min(raft.raft_log.committed),
            };
            let told = self.told.entry(*id).or_default();
            if *id == raft.id || progress.state != ProgressState::Replicate || *told >= commit {
                continue;
            }
            *told = commit;
            let (to, from, term) = (*id, raft.id, raft.term);
            let mut message = Message { to, from, term, commit, context: NOTICE.to_vec(), ..Message::default() };
            message.set_msg_type(MessageType::MsgHeartbeat);
            due.push(message);
        }
        due.sort_by_key(|message| message.to);
        due
    }

    fn renew(&mut self, term: u64) {
        if self.term != term {
            *self = Notices { term, told: HashMap::new() };
        }
    }
}

/// Is it one that nobody answers, or an answer to it all the same?
pub(super) fn is_notice(message: &Message) -> bool {
    message.context == NOTICE
}
