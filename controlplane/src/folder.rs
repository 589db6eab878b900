//! Folders whose names last: a power cut takes a name that its own folder was not synced for, and all that is below it.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Makes a folder and those above it, for the owner alone where `mode` says so. The last one may have been made by a
/// process that ended before it was sure to last, so it is made sure again.
///
/// # Errors
/// It cannot be made, or the disk is broken.
pub fn make(folder: &Path, mode: u32) -> io::Result<()> {
    let above = match folder.parent() {
        None => return Ok(()),
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
    };
    if !folder.is_dir() {
        make(above, mode)?;
        // Somebody else may make it, too.
        DirBuilder::new().recursive(true).mode(mode).create(folder)?;
    }
    match sync(above) {
        // Who may not even look into it has not made the name.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// Makes sure that the names in a folder last as they are.
///
/// # Errors
/// The disk is broken, or the folder is not there.
pub fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[test]
fn folders_are_made_where_they_are_missing() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/c");
    for _ in 0..2 {
        make(&path, 0o700).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }
    std::fs::write(path.join("file"), "").unwrap();
    assert!(make(&path.join("file/below"), 0o700).is_err());
    make(Path::new("/"), 0o700).unwrap();
}
