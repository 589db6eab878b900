//! The embedded image registry's files: blobs by digest, manifests and tags, on this machine's disk.
//!
//! Knows no HTTP and no users. Nothing here is replicated through the log: content is named by its digest, so any
//! member or node can fetch it from any other. All calls block, for as long as a disk does.
//!
//! ```text
//! blobs/sha256/HEX                        content, of manifests too
//! uploads/UUID                            content that is still arriving
//! repositories/NAME/_blobs/HEX            this repository may serve the blob
//! repositories/NAME/_manifests/HEX        … the manifest; the file holds its media type
//! repositories/NAME/_tags/TAG             the file holds a digest
//! ```
//! No part of a name begins with an underscore, so the three folders meet no repository.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use uuid::Uuid;

mod manifest;
mod name;
mod upload;

pub use manifest::{Manifest, Referrer};
pub use name::{Digest, Reference, Repository};

/// Bytes of one manifest; what the distribution specification asks a registry to take at least.
pub const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of one blob.
pub const BLOB_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Uploads that were begun and not finished.
pub const UPLOADS_MAX: usize = 256;
/// An upload, or a blob of no repository, that was not touched for so long is thrown away.
pub const DEAD_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The images under one folder.
#[derive(Debug)]
pub struct Images {
    dir: PathBuf,
    /// Uploads that are being written to at this moment.
    busy: Mutex<HashSet<Uuid>>,
}

/// A blob's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub path: PathBuf,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot use {path:?} for images")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    Name(String),
    /// Says what is unknown.
    #[error("{0}")]
    Unknown(String),
    #[error("the content has the digest {found}, not {wanted}")]
    DigestMismatch { wanted: Digest, found: Digest },
    /// The chunk does not follow what is there.
    #[error("the upload is at byte {at}")]
    OutOfOrder { at: u64 },
    #[error("{0}")]
    TooLarge(String),
    #[error("the manifest is not valid: {0}")]
    Manifest(String),
    /// A manifest names content that the repository does not have.
    #[error("the repository has no {0}")]
    Missing(Digest),
}

pub type Result<T> = std::result::Result<T, Error>;

// === impl Images ===

impl Images {
    /// Opens the folder and makes it if it is not there.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Arc<Images>> {
        let dir = dir.into();
        for part in ["blobs/sha256", "uploads", "repositories"] {
            let path = dir.join(part);
            fs::create_dir_all(&path).map_err(at(&path))?;
        }
        Ok(Arc::new(Images { dir, busy: Mutex::default() }))
    }

    /// A blob that the repository has.
    pub fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Blob> {
        let unknown = || Error::Unknown(format!("blob {digest} of {repository}"));
        // A manifest is content too; some clients fetch it as a blob.
        let is_linked = [BLOBS, MANIFESTS].iter().any(|kind| self.link(repository, kind, digest.hex()).exists());
        let path = self.content(digest);
        match fs::metadata(&path) {
            Ok(metadata) if is_linked => Ok(Blob { path, bytes: metadata.len() }),
            Ok(_) => Err(unknown()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(unknown()),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// Takes a blob over from another repository. False: that one does not have it.
    pub fn mount(&self, repository: &Repository, from: &Repository, digest: &Digest) -> Result<bool> {
        match self.blob(from, digest) {
            Ok(_) => write_new(&self.link(repository, BLOBS, digest.hex()), b"").map(|()| true),
            Err(Error::Unknown(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The repository does not have the blob any more; the content goes later.
    pub fn delete_blob(&self, repository: &Repository, digest: &Digest) -> Result<()> {
        remove(&self.link(repository, BLOBS, digest.hex()), || format!("blob {digest} of {repository}"))
    }

    /// The names of all repositories after `last`, at most `max`.
    pub fn catalog(&self, last: &str, max: usize) -> Result<Vec<String>> {
        let mut found = BTreeSet::new();
        let mut folders = vec![(self.dir.join("repositories"), String::new())];
        while let Some((folder, prefix)) = folders.pop() {
            for name in names(&folder)? {
                let path = folder.join(&name);
                if name == MANIFESTS && !names(&path)?.is_empty() {
                    found.insert(prefix.clone());
                } else if !name.starts_with('_') {
                    let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
                    folders.push((path, name));
                }
            }
        }
        Ok(found.into_iter().filter(|name| **name > *last).take(max).collect())
    }

    /// Throws away what nobody finishes, and content that no repository has. Returns how many files went.
    pub fn sweep(&self, now: SystemTime) -> Result<usize> {
        let mut linked = HashSet::new();
        let mut dead: Vec<PathBuf> = Vec::new();
        let mut folders = vec![self.dir.join("repositories")];
        while let Some(folder) = folders.pop() {
            for name in all_names(&folder)? {
                let path = folder.join(&name);
                match name.as_str() {
                    BLOBS | MANIFESTS => {
                        linked.extend(names(&path)?);
                        folders.push(path);
                    }
                    name if name.ends_with(UNFINISHED) => dead.push(path),
                    _ if path.is_dir() => folders.push(path),
                    _ => {}
                }
            }
        }
        for (folder, keep) in [("uploads", &HashSet::new()), ("blobs/sha256", &linked)] {
            let folder = self.dir.join(folder);
            dead.extend(all_names(&folder)?.iter().filter(|name| !keep.contains(*name)).map(|name| folder.join(name)));
        }
        let is_old = |path: &PathBuf| {
            let touched = fs::metadata(path).and_then(|metadata| metadata.modified());
            touched.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > DEAD_AFTER))
        };
        Ok(dead.iter().filter(|path| is_old(path) && fs::remove_file(path).is_ok()).count())
    }

    fn content(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    fn link(&self, repository: &Repository, kind: &str, name: &str) -> PathBuf {
        self.dir.join("repositories").join(repository.as_str()).join(kind).join(name)
    }
}

const BLOBS: &str = "_blobs";
const MANIFESTS: &str = "_manifests";
const TAGS: &str = "_tags";

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

/// The names in a folder, in order; none if there is no such folder.
fn names(folder: &Path) -> Result<BTreeSet<String>> {
    let mut names = all_names(folder)?;
    names.retain(|name| !name.ends_with(UNFINISHED));
    Ok(names)
}

/// The same, with files that are still being written.
fn all_names(folder: &Path) -> Result<BTreeSet<String>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<_>>()
            .map_err(at(folder)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(BTreeSet::new())
        }
        Err(error) => Err(at(folder)(error)),
    }
}

/// No tag and no digest ends like this.
const UNFINISHED: &str = "~";

/// A small file, whole or not at all, and durable.
fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().expect("every file lies in a folder of the images");
    fs::create_dir_all(folder).map_err(at(folder))?;
    let unfinished = folder.join(format!("{}{UNFINISHED}", Uuid::new_v4()));
    let written = File::create(&unfinished)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&unfinished, path))
        .and_then(|()| File::open(folder)?.sync_all());
    written.map_err(|error| {
        // What is left of it is in nobody's way.
        let _ = fs::remove_file(&unfinished);
        at(path)(error)
    })
}

fn remove(path: &Path, what: impl FnOnce() -> String) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::Unknown(what())),
        Err(error) => Err(at(path)(error)),
    }
}

#[cfg(test)]
mod tests;
