//! The commands of the log as bytes.
//!
//! Protocol buffers, so that members of two versions can share a log: fields are added, never renumbered.

use bytes::Bytes;
use prost::Message as _;

use super::kv::{Compare, Compared, Comparison, Delete, KeyRange, Op, Put, Range, Txn};

/// What members agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Txn(Txn),
    /// Reads below this revision are refused from now on.
    Compact(u64),
    /// A lease begins.
    Grant {
        id: i64,
        /// Seconds.
        ttl: u64,
    },
    /// A lease ends, and what is attached to it goes.
    Revoke(i64),
    /// A member's disk is nearly full, or not any more.
    Alarm {
        member: u64,
        is_raised: bool,
    },
    /// The leader's digest at a revision; whose differs has other data.
    Check {
        revision: u64,
        digest: u64,
    },
}

#[derive(Clone, PartialEq, prost::Message)]
struct CommandWire {
    #[prost(message, optional, tag = "1")]
    txn: Option<TxnWire>,
    #[prost(uint64, optional, tag = "2")]
    compact: Option<u64>,
    #[prost(message, optional, tag = "3")]
    check: Option<CheckWire>,
    #[prost(message, optional, tag = "4")]
    grant: Option<GrantWire>,
    #[prost(int64, optional, tag = "5")]
    revoke: Option<i64>,
    #[prost(message, optional, tag = "6")]
    alarm: Option<AlarmWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AlarmWire {
    #[prost(fixed64, tag = "1")]
    member: u64,
    #[prost(bool, tag = "2")]
    is_raised: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GrantWire {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(uint64, tag = "2")]
    ttl: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CheckWire {
    #[prost(uint64, tag = "1")]
    revision: u64,
    #[prost(fixed64, tag = "2")]
    digest: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TxnWire {
    #[prost(message, repeated, tag = "1")]
    compares: Vec<CompareWire>,
    #[prost(message, repeated, tag = "2")]
    success: Vec<OpWire>,
    #[prost(message, repeated, tag = "3")]
    failure: Vec<OpWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CompareWire {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    /// 0 equal, 1 not equal, 2 greater, 3 less.
    #[prost(uint32, tag = "2")]
    is: u32,
    #[prost(uint64, optional, tag = "3")]
    create: Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    modified: Option<u64>,
    #[prost(uint64, optional, tag = "5")]
    version: Option<u64>,
    #[prost(bytes = "bytes", optional, tag = "6")]
    value: Option<Bytes>,
    #[prost(int64, optional, tag = "7")]
    lease: Option<i64>,
    #[prost(bytes = "bytes", optional, tag = "8")]
    end: Option<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OpWire {
    /// 1 put, 2 delete, 3 range, 4 transaction.
    #[prost(uint32, tag = "1")]
    what: u32,
    #[prost(bytes = "bytes", tag = "2")]
    key: Bytes,
    #[prost(bytes = "bytes", optional, tag = "3")]
    end: Option<Bytes>,
    #[prost(bytes = "bytes", tag = "4")]
    value: Bytes,
    #[prost(int64, tag = "5")]
    lease: i64,
    #[prost(uint64, tag = "6")]
    revision: u64,
    #[prost(uint64, tag = "7")]
    limit: u64,
    #[prost(bool, tag = "8")]
    keys_only: bool,
    #[prost(bool, tag = "9")]
    count_only: bool,
    #[prost(bool, tag = "10")]
    keeps_value: bool,
    #[prost(bool, tag = "11")]
    keeps_lease: bool,
    #[prost(bool, tag = "12")]
    previous: bool,
    #[prost(message, optional, tag = "13")]
    txn: Option<TxnWire>,
    #[prost(bool, tag = "14")]
    uncounted: bool,
}

// === impl Command ===

impl Command {
    /// Would it take room? Deletions give some back, in the end.
    pub(super) fn adds(&self) -> bool {
        match self {
            Command::Txn(txn) => txn.adds(),
            Command::Grant { .. } => true,
            _ => false,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let wire = match self {
            Command::Txn(txn) => CommandWire { txn: Some(txn_out(txn)), ..CommandWire::default() },
            Command::Compact(revision) => CommandWire { compact: Some(*revision), ..CommandWire::default() },
            Command::Check { revision, digest } => {
                let check = Some(CheckWire { revision: *revision, digest: *digest });
                CommandWire { check, ..CommandWire::default() }
            }
            Command::Grant { id, ttl } => {
                CommandWire { grant: Some(GrantWire { id: *id, ttl: *ttl }), ..CommandWire::default() }
            }
            Command::Revoke(id) => CommandWire { revoke: Some(*id), ..CommandWire::default() },
            Command::Alarm { member, is_raised } => {
                let alarm = Some(AlarmWire { member: *member, is_raised: *is_raised });
                CommandWire { alarm, ..CommandWire::default() }
            }
        };
        wire.encode_to_vec()
    }

    pub(super) fn decode(bytes: Bytes) -> Result<Command, String> {
        let wire = CommandWire::decode(bytes).map_err(|error| error.to_string())?;
        match wire {
            CommandWire { txn: Some(txn), compact: None, check: None, grant: None, revoke: None, alarm: None } => {
                txn_in(txn).map(Command::Txn)
            }
            CommandWire { txn: None, compact: Some(revision), check: None, grant: None, revoke: None, alarm: None } => {
                Ok(Command::Compact(revision))
            }
            CommandWire { txn: None, compact: None, check: Some(check), grant: None, revoke: None, alarm: None } => {
                Ok(Command::Check { revision: check.revision, digest: check.digest })
            }
            CommandWire { txn: None, compact: None, check: None, grant: Some(grant), revoke: None, alarm: None } => {
                Ok(Command::Grant { id: grant.id, ttl: grant.ttl })
            }
            CommandWire { txn: None, compact: None, check: None, grant: None, revoke: Some(id), alarm: None } => {
                Ok(Command::Revoke(id))
            }
            CommandWire { txn: None, compact: None, check: None, grant: None, revoke: None, alarm: Some(alarm) } => {
                Ok(Command::Alarm { member: alarm.member, is_raised: alarm.is_raised })
            }
            _ => Err("a command of a kind that this version does not know".into()),
        }
    }
}

fn txn_out(txn: &Txn) -> TxnWire {
    TxnWire {
        compares: txn.compares.iter().map(compare_out).collect(),
        success: txn.success.iter().map(op_out).collect(),
        failure: txn.failure.iter().map(op_out).collect(),
    }
}

fn txn_in(wire: TxnWire) -> Result<Txn, String> {
    Ok(Txn {
        compares: wire.compares.into_iter().map(compare_in).collect::<Result<_, _>>()?,
        success: wire.success.into_iter().map(op_in).collect::<Result<_, _>>()?,
        failure: wire.failure.into_iter().map(op_in).collect::<Result<_, _>>()?,
    })
}

fn compare_out(compare: &Compare) -> CompareWire {
    let is = match compare.is {
        Comparison::Equal => 0,
        Comparison::NotEqual => 1,
        Comparison::Greater => 2,
        Comparison::Less => 3,
    };
    let KeyRange { start, end } = compare.keys.clone();
    let mut wire = CompareWire { key: start, end, is, ..CompareWire::default() };
    match &compare.what {
        Compared::CreateRevision(wanted) => wire.create = Some(*wanted),
        Compared::ModRevision(wanted) => wire.modified = Some(*wanted),
        Compared::Version(wanted) => wire.version = Some(*wanted),
        Compared::Value(wanted) => wire.value = Some(wanted.clone()),
        Compared::Lease(wanted) => wire.lease = Some(*wanted),
    }
    wire
}

fn compare_in(wire: CompareWire) -> Result<Compare, String> {
    let what = match (wire.create, wire.modified, wire.version, wire.value, wire.lease) {
        (Some(wanted), None, None, None, None) => Compared::CreateRevision(wanted),
        (None, Some(wanted), None, None, None) => Compared::ModRevision(wanted),
        (None, None, Some(wanted), None, None) => Compared::Version(wanted),
        (None, None, None, Some(wanted), None) => Compared::Value(wanted),
        (None, None, None, None, Some(wanted)) => Compared::Lease(wanted),
        _ => return Err("a compare of a kind that this version does not know".into()),
    };
    let is = match wire.is {
        0 => Comparison::Equal,
        1 => Comparison::NotEqual,
        2 => Comparison::Greater,
        3 => Comparison::Less,
        _ => return Err("a comparison that this version does not know".into()),
    };
    Ok(Compare { keys: KeyRange { start: wire.key, end: wire.end }, what, is })
}

fn op_out(op: &Op) -> OpWire {
    match op {
        Op::Put(put) => OpWire {
            what: 1,
            key: put.key.clone(),
            value: put.value.clone().unwrap_or_default(),
            lease: put.lease.unwrap_or_default(),
            keeps_value: put.value.is_none(),
            keeps_lease: put.lease.is_none(),
            previous: put.previous,
            ..OpWire::default()
        },
        Op::Delete(Delete { keys, previous }) => {
            OpWire { what: 2, key: keys.start.clone(), end: keys.end.clone(), previous: *previous, ..OpWire::default() }
        }
        Op::Txn(txn) => OpWire { what: 4, txn: Some(txn_out(txn)), ..OpWire::default() },
        Op::Range(range) => OpWire {
            what: 3,
            key: range.keys.start.clone(),
            end: range.keys.end.clone(),
            revision: range.revision,
            limit: range.limit as u64,
            keys_only: range.keys_only,
            count_only: range.count_only,
            uncounted: range.uncounted,
            ..OpWire::default()
        },
    }
}

fn op_in(wire: OpWire) -> Result<Op, String> {
    let keys = KeyRange { start: wire.key, end: wire.end };
    Ok(match wire.what {
        1 => Op::Put(Put {
            key: keys.start,
            value: (!wire.keeps_value).then_some(wire.value),
            lease: (!wire.keeps_lease).then_some(wire.lease),
            previous: wire.previous,
        }),
        2 => Op::Delete(Delete { keys, previous: wire.previous }),
        4 => Op::Txn(txn_in(wire.txn.ok_or("an operation without its transaction")?)?),
        3 => Op::Range(Range {
            keys,
            revision: wire.revision,
            limit: usize::try_from(wire.limit).unwrap_or(usize::MAX),
            keys_only: wire.keys_only,
            count_only: wire.count_only,
            uncounted: wire.uncounted,
            serializable: true,
        }),
        _ => return Err("an operation of a kind that this version does not know".into()),
    })
}
