//! Opening a folder: who it belongs to, what it holds, and whether that may be trusted.
//!
//! Everything that is refused is refused here, before the member says anything to anyone.

use std::path::Path;
use std::sync::Arc;

use prost::Message as _;

use crate::folder;

use super::Config;
use super::changes::Changes;
use super::disk::{Disk, IMAGE_PREFIX};
use super::history::History;
use super::identity::{self, Identity, Lock, OpenError, Phase};
use super::keys;
use super::log::Log;
use super::medium::{Batch as _, Medium, Promise};
use super::past::Past;
use super::record::Record;
use super::state::Failure;

/// A folder that is ours.
pub(super) struct Opened {
    pub(super) lock: Lock,
    pub(super) identity: Identity,
    pub(super) disk: Arc<Disk>,
    pub(super) record: Record,
    pub(super) log: Log,
    pub(super) history: History,
}

pub(super) fn open(config: &Config) -> Result<Opened, OpenError> {
    let dir = &config.dir;
    let lock = Lock::take(dir)?;
    let identity = match Identity::load(dir)? {
        Some(identity) if identity.phase == Phase::Ready => identity,
        // Nothing was promised from it yet.
        Some(_) => Identity::new(config.join),
        None if has_database(dir)? => return Err(amnesia(dir, "its identity file is missing")),
        None => Identity::new(config.join),
    };
    clear(dir, &identity)?;
    let (identity, disk) = match identity.phase {
        Phase::Creating => create(config, identity)?,
        Phase::Ready if !dir.join(&identity.database).join("CURRENT").exists() => {
            return Err(amnesia(dir, "its database is missing"));
        }
        Phase::Ready => {
            let disk = Disk::open(dir, identity.clone(), false, config.cache_bytes);
            (identity, disk.map_err(|cause| OpenError::Database { dir: dir.clone(), cause })?)
        }
    };
    let database = |failure: Failure| OpenError::Database { dir: dir.clone(), cause: failure.cause() };
    let record = disk.with(|view| view.record()).map_err(database)?;
    let record = record.ok_or_else(|| amnesia(dir, "the record of the store is missing"))?;
    if record.folder != identity.folder {
        return Err(amnesia(dir, "its database belongs to another folder"));
    }
    if record.excludes(identity.member) {
        return Err(OpenError::Removed { dir: dir.clone(), member: identity.member });
    }
    let promise = identity::load_promise(dir)?;
    let log = log(&disk, &record, promise).map_err(database)?.map_err(|what| amnesia(dir, what))?;
    let disk = Arc::new(disk);
    let history = History::new(record.head(), config.history_bytes_max, Some(Arc::clone(&disk) as Arc<dyn Past>));
    Ok(Opened { lock, identity, disk, record, log, history })
}

/// The log as a member left it; the inner error says what is wrong with it.
pub(super) fn log(
    medium: &impl Medium,
    record: &Record,
    promise: Promise,
) -> Result<Result<Log, &'static str>, Failure> {
    let entries = medium.with(|view| view.entries(record.before_index + 1))?;
    let last = entries.last().map_or(record.before_index, |entry| entry.index);
    let is_whole = entries.iter().zip(record.before_index + 1..).all(|(entry, index)| entry.index == index);
    let wrong = if !is_whole {
        Some("its log has a gap")
    } else if !entries.is_sorted_by_key(|entry| entry.term) {
        Some("its log goes back to an earlier term")
    } else {
        record.contradiction(last).or(promise.broken_by(record, last))
    };
    Ok(match wrong {
        Some(wrong) => Err(wrong),
        None => Ok(Log::new(record.hard(), record.conf.clone().unwrap_or_default(), record.before(), entries)),
    })
}

fn names(dir: &Path) -> Result<Vec<String>, OpenError> {
    let io = |source| OpenError::Io { path: dir.into(), source };
    let entries: Result<Vec<_>, _> = std::fs::read_dir(dir).map_err(io)?.collect();
    Ok(entries.map_err(io)?.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

fn has_database(dir: &Path) -> Result<bool, OpenError> {
    Ok(names(dir)?.iter().any(|name| Identity::is_database(name)))
}

/// Removes what an end without a close left: images, and databases that were replaced or never came into use.
fn clear(dir: &Path, identity: &Identity) -> Result<(), OpenError> {
    for name in names(dir)? {
        let is_leftover = name.starts_with(IMAGE_PREFIX) || Identity::is_database(&name);
        if is_leftover && name != identity.database {
            let path = dir.join(name);
            std::fs::remove_dir_all(&path).map_err(|source| OpenError::Io { path, source })?;
        }
    }
    Ok(())
}

fn amnesia(dir: &Path, what: &str) -> OpenError {
    OpenError::Amnesia { dir: dir.into(), what: what.into() }
}

/// Makes the database of a new cluster with one member. A crash meanwhile leaves the phase at `Creating`, and the
/// next start begins again.
fn create(config: &Config, mut identity: Identity) -> Result<(Identity, Disk), OpenError> {
    let dir = &config.dir;
    let path = dir.join(&identity.database);
    let io = |source| OpenError::Io { path: path.clone(), source };
    let database = |cause| OpenError::Database { dir: dir.clone(), cause };
    identity.store(dir)?;
    if path.exists() {
        std::fs::remove_dir_all(&path).map_err(io)?;
    }
    identity.phase = Phase::Ready;
    let disk = Disk::open(dir, identity.clone(), true, config.cache_bytes).map_err(database)?;
    let record = match config.join {
        None => Record::first(identity.folder.clone(), vec![identity.member]),
        Some(_) => Record::joining(identity.folder.clone()),
    };
    let mut batch = Changes::default();
    batch.put(keys::RECORD, &record.encode_to_vec());
    disk.write(batch, record.head(), true).map_err(database)?;
    folder::sync(dir).map_err(io)?;
    identity.store(dir)?;
    let (cluster, member) = (format!("{:x}", identity.cluster), format!("{:x}", identity.member));
    tracing::info!(dir = %dir.display(), cluster, member, "store created");
    Ok((identity, disk))
}
