//! Whose data a folder holds, and that one process alone has it open.
//!
//! The identity file is written once, when the folder is made. Only then may a database be created: a database that
//! vanished is an error, never an empty one, because an amnesiac member would break promises it has made.

use std::cmp::Ordering;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::folder;

use super::Join;
use super::medium::Promise;

/// The layout of the data; one more whenever an older version could misread it. 2: large values lie in the journal.
pub(super) const FORMAT: u32 = 2;

const OWNER_ONLY: u32 = 0o700;
const IDENTITY: &str = "identity";
const LOCK: &str = "lock";
const PROMISE: &str = "promise";
/// The first database of a folder; those that replace it are numbered.
const DATABASE: &str = "db";
const DATABASE_PREFIX: &str = "db-";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) format: u32,
    pub(super) cluster: u64,
    pub(super) member: u64,
    pub(super) folder: String,
    pub(super) phase: Phase,
    /// The folder of the database that counts; any other is a leftover.
    pub(super) database: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    /// The database is being made for the first time: nothing was promised yet, so it may be thrown away.
    Creating,
    Ready,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the store's folder {dir:?} is in use by {holder}: stop it, or choose another data folder")]
    InUse { dir: PathBuf, holder: String },
    #[error(
        "the store's folder {dir:?} was written by a newer version (data format {found}, this version knows up to \
         {FORMAT}): start a version at least as new, or restore a snapshot into an empty folder"
    )]
    Newer { dir: PathBuf, found: u32 },
    #[error(
        "the store's folder {dir:?} was written by an older version (data format {found}, this version knows {FORMAT}): \
         save a snapshot with that version, and restore it into an empty folder"
    )]
    Older { dir: PathBuf, found: u32 },
    #[error(
        "member {member:x}, whose folder {dir:?} is, was removed from its cluster: to add this server anew, give it an \
         empty folder"
    )]
    Removed { dir: PathBuf, member: u64 },
    #[error(
        "the store's folder {dir:?} has lost part of its data ({what}): this member cannot go on from it; restore a \
         snapshot into an empty folder"
    )]
    Amnesia { dir: PathBuf, what: String },
    #[error("cannot use {path:?} for the store")]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot open the store's database in {dir:?}: {cause}")]
    Database { dir: PathBuf, cause: String },
}

/// Held as long as the folder is open.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

// === impl Lock ===

impl Lock {
    pub(super) fn take(dir: &Path) -> Result<Lock, OpenError> {
        folder::make(dir, OWNER_ONLY).map_err(|source| OpenError::Io { path: dir.into(), source })?;
        let path = dir.join(LOCK);
        let io = |source| OpenError::Io { path: path.clone(), source };
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(io)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            // The holder may not have written its number yet.
            let _ = file.read_to_string(&mut pid);
            let holder = match pid.trim() {
                "" => "another process".to_owned(),
                pid => format!("process {pid}"),
            };
            return Err(OpenError::InUse { dir: dir.into(), holder });
        }
        file.set_len(0).map_err(io)?;
        file.write_all(format!("{}\n", std::process::id()).as_bytes()).map_err(io)?;
        Ok(Lock { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a process that is just being started has a copy of the handle until it runs its program.
        // If it fails, closing has to do.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

// === impl Identity ===

impl Identity {
    /// That of a new one-member cluster, or of the place in one that exists.
    pub(super) fn new(join: Option<Join>) -> Identity {
        let drawn = Join { cluster: rand::random_range(1..u64::MAX), member: rand::random_range(1..u64::MAX) };
        let Join { cluster, member } = join.unwrap_or(drawn);
        Identity {
            format: FORMAT,
            cluster,
            member,
            folder: uuid::Uuid::new_v4().to_string(),
            phase: Phase::Creating,
            database: DATABASE.into(),
        }
    }

    /// `None`: nothing was ever made here.
    pub(super) fn load(dir: &Path) -> Result<Option<Identity>, OpenError> {
        let path = dir.join(IDENTITY);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(OpenError::Io { path, source }),
        };
        let garbled = || OpenError::Amnesia { dir: dir.into(), what: "its identity file is garbled".into() };
        let (body, sum) = text.trim_end().rsplit_once('\n').ok_or_else(garbled)?;
        if sum != checksum(body) {
            return Err(garbled());
        }
        // A newer version may have other fields; its format number comes first and stays.
        let body: serde_json::Value = serde_json::from_str(body).map_err(|_| garbled())?;
        let found = body.get("format").and_then(serde_json::Value::as_u64).ok_or_else(garbled)?;
        let found = u32::try_from(found).map_err(|_| garbled())?;
        match found.cmp(&FORMAT) {
            Ordering::Greater => return Err(OpenError::Newer { dir: dir.into(), found }),
            Ordering::Less => return Err(OpenError::Older { dir: dir.into(), found }),
            Ordering::Equal => {}
        }
        serde_json::from_value(body).map(Some).map_err(|_| garbled())
    }

    /// The name for a database that replaces the present one.
    pub(super) fn next_database(&self) -> String {
        let number = self.database.strip_prefix(DATABASE_PREFIX).and_then(|number| number.parse::<u64>().ok());
        format!("{DATABASE_PREFIX}{}", number.unwrap_or(0) + 1)
    }

    /// Is a file of this name a database of a folder, or an image of one?
    pub(super) fn is_database(name: &str) -> bool {
        name == DATABASE || name.starts_with(DATABASE_PREFIX)
    }

    /// Written whole or not at all, and durable.
    pub(super) fn store(&self, dir: &Path) -> Result<(), OpenError> {
        let path = dir.join(IDENTITY);
        let body = serde_json::to_string(self).expect("an identity is plain data");
        let text = format!("{body}\n{}\n", checksum(&body));
        replace(&path, text.as_bytes()).map_err(|source| OpenError::Io { path, source })
    }
}

/// What the member of a folder has promised; nothing if it never had to.
pub(super) fn load_promise(dir: &Path) -> Result<Promise, OpenError> {
    let path = dir.join(PROMISE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Promise::default()),
        Err(source) => return Err(OpenError::Io { path, source }),
    };
    let body = text.trim_end().rsplit_once('\n').filter(|(body, sum)| *sum == checksum(body));
    let promise = body.and_then(|(body, _)| serde_json::from_str(body).ok());
    promise.ok_or_else(|| OpenError::Amnesia { dir: dir.into(), what: "the note of its promises is garbled".into() })
}

/// Written whole or not at all, and durable.
pub(super) fn store_promise(dir: &Path, promise: Promise) -> Result<(), OpenError> {
    let path = dir.join(PROMISE);
    let body = serde_json::to_string(&promise).expect("a promise is plain data");
    let text = format!("{body}\n{}\n", checksum(&body));
    replace(&path, text.as_bytes()).map_err(|source| OpenError::Io { path, source })
}

fn checksum(body: &str) -> String {
    hex::encode(Sha256::digest(body))
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    folder::sync(path.parent().unwrap_or(Path::new(".")))
}
