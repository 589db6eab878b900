//! Opening a folder: who it belongs to, what it holds, and whether that may be trusted.
//!
//! Everything that is refused is refused here, before the member says anything to anyone.

use std::path::Path;

use prost::Message as _;
use raft::eraftpb::ConfState;
use rocksdb::WriteBatch;

use super::Config;
use super::disk::{self, Disk, Record};
use super::history::{CHANGE_OVERHEAD_BYTES, History, Recorded};
use super::identity::{DATABASE, Identity, Lock, OpenError, Phase, sync_dir};
use super::keys;
use super::kv::{Change, KeyValue};
use super::log::Log;
use super::state::{Failure, Versions};

/// A folder that is ours.
pub(super) struct Opened {
    pub(super) lock: Lock,
    pub(super) identity: Identity,
    pub(super) disk: Disk,
    pub(super) record: Record,
    pub(super) log: Log,
    pub(super) history: History,
}

pub(super) fn open(config: &Config) -> Result<Opened, OpenError> {
    let dir = &config.dir;
    let lock = Lock::take(dir)?;
    let identity = match Identity::load(dir)? {
        Some(identity) => identity,
        None if dir.join(DATABASE).exists() => return Err(amnesia(dir, "its identity file is missing")),
        None => Identity::new(),
    };
    let (identity, disk) = match identity.phase {
        Phase::Creating => create(config, identity)?,
        Phase::Ready if !dir.join(DATABASE).join("CURRENT").exists() => {
            return Err(amnesia(dir, "its database is missing"));
        }
        Phase::Ready => {
            let disk = Disk::open(&dir.join(DATABASE), false, config.cache_bytes);
            (identity, disk.map_err(|cause| OpenError::Database { dir: dir.clone(), cause })?)
        }
    };
    let database = |cause| OpenError::Database { dir: dir.clone(), cause };
    let record = disk.record().map_err(database)?.ok_or_else(|| amnesia(dir, "the record of the store is missing"))?;
    if record.folder != identity.folder {
        return Err(amnesia(dir, "its database belongs to another folder"));
    }
    let entries = disk.entries(record.before_index + 1).map_err(database)?;
    let last = entries.last().map_or(record.before_index, |entry| entry.index);
    let is_whole = entries.iter().zip(record.before_index + 1..).all(|(entry, index)| entry.index == index);
    if !is_whole || record.applied > record.commit || record.commit > last || record.before_index > record.applied {
        return Err(amnesia(dir, "its log has a gap or ends too early"));
    }
    let log = Log::new(record.hard(), record.conf.clone().unwrap_or_default(), record.before(), entries);
    let history = history(&disk, &record, config.history_bytes_max).map_err(disk::cause).map_err(database)?;
    Ok(Opened { lock, identity, disk, record, log, history })
}

fn amnesia(dir: &Path, what: &str) -> OpenError {
    OpenError::Amnesia { dir: dir.into(), what: what.into() }
}

/// Makes the database of a new cluster with one member. A crash meanwhile leaves the phase at `Creating`, and the
/// next start begins again.
fn create(config: &Config, mut identity: Identity) -> Result<(Identity, Disk), OpenError> {
    let dir = &config.dir;
    let path = dir.join(DATABASE);
    let io = |source| OpenError::Io { path: path.clone(), source };
    let database = |cause| OpenError::Database { dir: dir.clone(), cause };
    identity.store(dir)?;
    if path.exists() {
        std::fs::remove_dir_all(&path).map_err(io)?;
    }
    let disk = Disk::open(&path, true, config.cache_bytes).map_err(database)?;
    let record = Record {
        folder: identity.folder.clone(),
        conf: Some(ConfState { voters: vec![identity.member], ..ConfState::default() }),
        revision: 1,
        ..Record::default()
    };
    let mut batch = WriteBatch::default();
    batch.put(keys::RECORD, record.encode_to_vec());
    disk.write(batch, true).map_err(database)?;
    sync_dir(dir).map_err(io)?;
    identity.phase = Phase::Ready;
    identity.store(dir)?;
    tracing::info!(dir = %dir.display(), cluster = identity.cluster, member = identity.member, "store created");
    Ok((identity, disk))
}

/// The changes since the last compaction, so that watches survive a restart; the newest of them if they are many.
fn history(disk: &Disk, record: &Record, bytes_max: usize) -> Result<History, Failure> {
    let mut touched = Vec::new();
    let mut budget = bytes_max;
    let mut floor = record.compacted;
    disk.with(|view| {
        view.changes_back_to(record.compacted, |change| {
            budget = budget.saturating_sub(change.key.len() + CHANGE_OVERHEAD_BYTES);
            if budget == 0 {
                // Some changes of this revision may be missing, so it counts as gone.
                floor = change.revision;
                return false;
            }
            touched.push(change);
            true
        })
    })?;
    touched.retain(|change| change.revision > floor);
    let mut newest_first: Vec<Recorded> = Vec::new();
    disk.with(|view| {
        for change in touched {
            let revision = change.revision;
            let is_next = newest_first.last().is_none_or(|recorded| recorded.revision != revision);
            if is_next && budget == 0 {
                floor = revision;
                break;
            }
            let change = restore(view, change)?;
            let previous = change.previous.as_ref().map_or(0, |kv| kv.value.len());
            budget = budget.saturating_sub(change.kv.key.len() + change.kv.value.len() + previous);
            if is_next {
                newest_first.push(Recorded { revision, changes: Vec::new() });
            }
            newest_first.last_mut().expect("one was pushed").changes.push(change);
        }
        Ok(())
    })?;
    let history = History::new(floor, record.revision, bytes_max);
    newest_first.reverse();
    for recorded in &mut newest_first {
        recorded.changes.reverse();
    }
    history.extend(newest_first);
    Ok(history)
}

fn restore(view: &mut disk::View<'_>, touched: keys::Touched) -> Result<Change, Failure> {
    let keys::Touched { revision, key, replaced, is_delete, .. } = touched;
    let missing = || Failure::Broken(format!("the version of {key:?} at revision {revision} is missing"));
    let previous = match replaced {
        0 => None,
        replaced => view.at(&key, replaced)?,
    };
    let kv = match is_delete {
        true => KeyValue::gone(key.clone(), revision),
        false => view.at(&key, revision)?.filter(|kv| kv.mod_revision == revision).ok_or_else(missing)?,
    };
    Ok(Change { kv, is_delete, previous })
}
