//! The data folder: where it is, and who may look into it.

use anyhow::{Context, Result};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const SYSTEM: &str = "/var/lib/coracle";
const OWNER_ONLY: u32 = 0o700;
const FILE_OWNER_ONLY: u32 = 0o600;

/// `/var/lib/coracle` as root, `$XDG_DATA_HOME/coracle` otherwise.
pub(crate) fn default() -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(SYSTEM.into());
    }
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    let data = data.filter(|path| path.is_absolute()).or_else(home);
    Ok(data.context("neither HOME nor XDG_DATA_HOME is set: name the data folder with --data-dir")?.join("coracle"))
}

/// The folder that was asked for, made if need be, readable by its owner alone.
pub(crate) fn open(wanted: Option<&Path>) -> Result<PathBuf> {
    let folder = match wanted {
        Some(folder) => folder.to_path_buf(),
        None => default()?,
    };
    make(&folder)?;
    Ok(std::fs::canonicalize(&folder)?)
}

/// Makes the folder this process's own for as long as the file lives.
pub(crate) fn lock(folder: &Path) -> Result<std::fs::File> {
    let path = folder.join("lock");
    let file = std::fs::File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    let taken = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    taken.with_context(|| format!("another process uses {}; name another folder with --data-dir", folder.display()))?;
    Ok(file)
}

/// A private folder and those above it.
pub(crate) fn make(folder: &Path) -> Result<()> {
    let made = controlplane::folder::make(folder, OWNER_ONLY);
    made.with_context(|| format!("cannot make the folder {}; name another with --data-dir", folder.display()))
}

/// Writes a file for its owner alone; a crash leaves the old one or the new one.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_added_extension("new");
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(FILE_OWNER_ONLY).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        controlplane::folder::sync(path.parent().unwrap_or(Path::new(".")))
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
