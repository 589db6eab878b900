//! A Python with the clients that the end-to-end tests run, kept beside the build products.

use crate::shell;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Makes it as `tests/e2e/python/requirements.txt` says, or says why it is not there: the tests that need it are skipped
/// then.
pub(crate) fn prepare() -> Result<()> {
    let wanted = shell::root().join("tests/e2e/python/requirements.txt");
    let folder = shell::target().join("python");
    // Written last, so that an attempt that broke off is made again.
    let stamp = folder.join("requirements.txt");
    let list = std::fs::read(&wanted)?;
    if std::fs::read(&stamp).is_ok_and(|made| made == list) {
        return Ok(());
    }
    if let Err(error) = make(&folder, &wanted) {
        eprintln!("skipped: the tests with Python clients ({error:#})");
        return Ok(());
    }
    Ok(std::fs::write(stamp, list)?)
}

fn make(folder: &Path, wanted: &Path) -> Result<()> {
    shell::output(shell::command("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
    let python: PathBuf = folder.join("bin/python");
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    shell::output(shell::command(python).args(install).arg(wanted)).map(|_| ())
}
