//! A Python with the clients that the end-to-end tests run, kept beside the build products.

use crate::{clients, shell};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Where its programs are, once it is made.
pub(crate) fn programs() -> PathBuf {
    shell::target().join("python/bin")
}

/// Makes it as `tests/e2e/python/requirements.txt` says.
pub(crate) fn prepare() -> Result<()> {
    let folder = shell::target().join("python");
    let wanted = shell::root().join("tests/e2e/python/requirements.txt");
    clients::keep(&folder, std::slice::from_ref(&wanted), "Python clients", || make(&folder, &wanted))
}

fn make(folder: &Path, wanted: &Path) -> Result<()> {
    shell::output(shell::command("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    shell::output(shell::command(programs().join("python")).args(install).arg(wanted)).map(|_| ())
}
