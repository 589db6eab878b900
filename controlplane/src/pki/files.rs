//! Key files: read whole, written whole or not at all, and for their owner alone.

use super::Error;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Makes the directory (0700) and those above it.
pub(super) fn private_dir(dir: &Path) -> Result<(), Error> {
    crate::folder::make(dir, 0o700).map_err(|source| Error::File { what: "create", path: dir.to_owned(), source })
}

/// `None` if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { what: "read", path: path.to_owned(), source }),
    }
}

/// Writes beside the file (0600), syncs, and renames: a crash leaves the old file or the new one.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let beside = path.with_file_name(name);
        let _ = fs::remove_file(&beside);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        crate::folder::sync(dir)
    };
    write().map_err(|source| Error::File { what: "write", path: path.to_owned(), source })
}
