//! A snapshot as one file: a tar archive of the database and of what it is, and after it the SHA-256 of it all.
//!
//! That tail is what etcd's tools look for, so that they can fetch our snapshots; only we can read them.

use super::base::Base;
use super::changes::Changes;
use super::disk::{self, Disk, IMAGE_PREFIX, Image};
use super::identity::{Identity, Lock, OpenError, Phase};
use super::journal::Segments;
use super::keys;
use super::kv::{KeyRange, Range};
use super::look::{Look, Sight};
use super::medium::{Batch as _, Medium as _};
use super::record::Record;
use super::state;
use super::view::View;
use prost::Message as _;
use rocksdb::DB;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

/// 1 had all values in the tables; both are read.
const FORMAT: u32 = 2;
const MANIFEST: &str = "manifest.json";
const DATABASE: &str = "db/";
const SUM_BYTES: usize = 32;
/// Of a tar archive; it ends with two of them.
const BLOCK_BYTES: u64 = 512;
const TAIL_BYTES: u64 = 2 * BLOCK_BYTES;
/// Written at a time.
const PIECE_BYTES: usize = 128 << 10;
/// No small file is larger.
const SMALL_BYTES_MAX: u64 = 1 << 20;

/// What a snapshot says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// Hexadecimal, as all ids of clusters are shown.
    pub cluster: String,
    pub revision: u64,
    pub keys: u64,
}

/// Why a snapshot is not written, or of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the snapshot cannot be read or written")]
    Io(#[from] io::Error),
    #[error("the snapshot is damaged, or was cut short: its checksum is not that of its content")]
    Damaged,
    #[error("this is no snapshot of Coracle: {0}")]
    Foreign(String),
    #[error("the snapshot was written by a newer version (format {0}, this version knows up to {FORMAT})")]
    Newer(u32),
    #[error("the store's folder holds data already: restore into an empty one")]
    InUse,
    #[error("the snapshot's database cannot be used: {0}")]
    Database(String),
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// A snapshot that is taken, and not written yet: later changes are not in it. What it holds of the disk it gives back
/// when it goes.
pub struct Taken {
    image: Image,
    manifest: Manifest,
    /// By name; the manifest comes first.
    small: Vec<(String, Vec<u8>)>,
    /// Names of the database's files.
    files: Vec<OsString>,
    bytes: u64,
}

/// Adds up what goes through it.
struct Summed<T> {
    inner: T,
    sum: Sha256,
}

/// Takes a snapshot, to be written with some small files beside the database. Blocks.
pub(super) fn take(disk: &Disk, cluster: u64, beside: &BTreeMap<String, Vec<u8>>) -> Result<Taken, Error> {
    let image = disk.image().map_err(Error::Database)?;
    let manifest = {
        let db = DB::open_for_read_only(&disk::options(false, 0), image.path(), false).map_err(rocks)?;
        // What is counted needs no values.
        let segments = Segments::default();
        let mut cursor = Look::new(&db, &segments, Sight::OneInstant);
        let mut view = View::new(&mut cursor);
        let broken = |failure: state::Failure| Error::Database(failure.cause());
        let record = view.record().map_err(broken)?.ok_or_else(|| Error::Database("its record is missing".into()))?;
        let all = Range { count_only: true, ..Range::newest(KeyRange::prefix("")) };
        let keys = state::read(&mut view, record.head(), &all).map_err(broken)?.count;
        Manifest { format: FORMAT, cluster: format!("{cluster:x}"), revision: record.revision, keys }
    };
    let json = serde_json::to_vec(&manifest).map_err(io::Error::other)?;
    let small: Vec<_> = [(MANIFEST.to_owned(), json)].into_iter().chain(beside.clone()).collect();
    let mut bytes = TAIL_BYTES + small.iter().map(|(_, bytes)| entry_bytes(bytes.len() as u64)).sum::<u64>();
    let mut files = Vec::new();
    for file in std::fs::read_dir(image.path())? {
        let file = file?;
        bytes += entry_bytes(file.metadata()?.len());
        files.push(file.file_name());
    }
    files.sort();
    Ok(Taken { image, manifest, small, files, bytes })
}

/// What a file takes in an archive: its head, and whole blocks of content.
fn entry_bytes(content: u64) -> u64 {
    BLOCK_BYTES + content.next_multiple_of(BLOCK_BYTES)
}

/// Checks a snapshot from its first byte to its last, and tells what it is.
///
/// # Errors
/// Anything about it that is not as it was written.
pub fn status(file: &Path) -> Result<Manifest, Error> {
    let mut file = checked(file)?;
    let mut archive = tar::Archive::new(&mut file);
    let mut entries = archive.entries()?;
    let first = entries.next().ok_or_else(|| Error::Foreign("it is empty".into()))??;
    manifest(first)
}

/// Begins a new cluster with the data of a snapshot: with one member, another id, and a revision that is `bump` ahead,
/// so that whoever watched the old cluster learns that its view has no continuation. Returns the files beside the
/// database.
///
/// # Errors
/// The snapshot is of no use, or the folder holds something; then nothing was changed.
pub fn restore(file: &Path, dir: &Path, bump: u64) -> Result<(Manifest, BTreeMap<String, Vec<u8>>), Error> {
    let mut file = checked(file)?;
    let lock = Lock::take(dir)?;
    let is_empty = std::fs::read_dir(dir)?.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "lock"));
    if !is_empty {
        return Err(Error::InUse);
    }
    // It goes again if this does not come to its end, at the next start at the latest.
    let image = Image::begin(dir.join(format!("{IMAGE_PREFIX}restored")))?;
    let folder = image.path();
    let mut archive = tar::Archive::new(&mut file);
    let mut entries = archive.entries()?;
    let first = entries.next().ok_or_else(|| Error::Foreign("it is empty".into()))??;
    let manifest = manifest(first)?;
    let mut beside = BTreeMap::new();
    for entry in entries {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        match name.strip_prefix(DATABASE) {
            Some(name) if !name.is_empty() && !name.contains('/') && name != ".." => {
                let mut to = File::create_new(folder.join(name))?;
                io::copy(&mut entry, &mut to)?;
                to.sync_all()?;
            }
            Some(_) => return Err(Error::Foreign(format!("a file named {name:?}"))),
            None => {
                let mut bytes = Vec::new();
                entry.take(SMALL_BYTES_MAX).read_to_end(&mut bytes)?;
                beside.insert(name, bytes);
            }
        }
    }
    let identity = Identity { phase: Phase::Ready, ..Identity::new(None) };
    rewrite(folder, &identity, bump)?;
    std::fs::rename(folder, dir.join(&identity.database))?;
    crate::folder::sync(dir)?;
    identity.store(dir)?;
    drop(lock);
    Ok((manifest, beside))
}

/// Makes the data those of a new cluster of one member.
fn rewrite(folder: &Path, identity: &Identity, bump: u64) -> Result<(), Error> {
    let base = Base::open(folder, false, 0).map_err(Error::Database)?;
    let old = base.with(Sight::OneInstant, |view| view.record()).map_err(|failure| Error::Database(failure.cause()))?;
    let old = old.ok_or_else(|| Error::Database("its record is missing".into()))?;
    let revision = old.revision.checked_add(bump).ok_or_else(|| Error::Database("the revision has no end".into()))?;
    let first = Record::first(identity.folder.clone(), vec![identity.member]);
    let record = Record { revision, compacted: revision, digest: old.digest, ..first };
    let mut changes = Changes::default();
    changes.delete_range(&keys::entry(0), &keys::entry(u64::MAX));
    changes.put(keys::RECORD, &record.encode_to_vec());
    base.write(changes, record.head(), true).map(drop).map_err(Error::Database)
}

fn manifest(mut entry: tar::Entry<'_, impl Read>) -> Result<Manifest, Error> {
    if entry.path()? != Path::new(MANIFEST) {
        return Err(Error::Foreign(format!("it begins with {}", entry.path()?.display())));
    }
    let mut text = String::new();
    entry.by_ref().take(SMALL_BYTES_MAX).read_to_string(&mut text)?;
    let foreign = |error: serde_json::Error| Error::Foreign(error.to_string());
    let body: serde_json::Value = serde_json::from_str(&text).map_err(foreign)?;
    match body["format"].as_u64().and_then(|format| u32::try_from(format).ok()) {
        Some(format) if format > FORMAT => Err(Error::Newer(format)),
        _ => serde_json::from_value(body).map_err(foreign),
    }
}

/// Everything but the checksum, which is right.
fn checked(path: &Path) -> Result<impl Read, Error> {
    let mut file = File::open(path)?;
    let content = file.metadata()?.len().checked_sub(SUM_BYTES as u64).ok_or(Error::Damaged)?;
    let mut summed = Summed { inner: io::sink(), sum: Sha256::new() };
    io::copy(&mut BufReader::new(&mut file).take(content), &mut summed)?;
    let mut sum = [0; SUM_BYTES];
    file.seek(io::SeekFrom::Start(content))?;
    file.read_exact(&mut sum)?;
    if summed.sum.finalize()[..] != sum {
        return Err(Error::Damaged);
    }
    file.rewind()?;
    Ok(BufReader::new(file).take(content))
}

fn rocks(error: rocksdb::Error) -> Error {
    Error::Database(error.into_string())
}

// === impl Taken ===

impl Taken {
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.manifest.revision
    }

    /// How many bytes will be written before the checksum.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes it to where [`restore`] reads it. Blocks.
    ///
    /// # Errors
    /// Its files cannot be read, or what is written to takes no more.
    pub fn write(self, out: impl Write) -> Result<Manifest, Error> {
        let out = BufWriter::with_capacity(PIECE_BYTES, out);
        let mut archive = tar::Builder::new(Summed { inner: out, sum: Sha256::new() });
        for (name, bytes) in self.small {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            archive.append_data(&mut header, name, &*bytes)?;
        }
        for name in &self.files {
            archive.append_path_with_name(self.image.path().join(name), Path::new(DATABASE).join(name))?;
        }
        let Summed { mut inner, sum } = archive.into_inner()?;
        inner.write_all(&sum.finalize())?;
        inner.flush()?;
        Ok(self.manifest)
    }
}

// === impl Summed ===

impl<T: Write> Write for Summed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
