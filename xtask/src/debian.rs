//! Files of Debian's archive, by their place in it and their checksum, on any system that has curl.

use crate::shell;
use anyhow::{Result, bail};
use std::path::Path;

const POOL: &str = "http://deb.debian.org/debian/pool/main/";

/// What is wanted, and how it is known to be that.
pub(crate) struct File {
    /// In the archive's pool.
    pub(crate) path: &'static str,
    pub(crate) sha256: &'static str,
}

impl File {
    /// Fetches it to `to`.
    pub(crate) fn fetch(&self, to: &Path) -> Result<()> {
        let url = format!("{POOL}{}", self.path);
        let limits = ["--fail", "--silent", "--show-error", "--location", "--max-time", "600", "--output"];
        shell::output(shell::command("curl").args(limits).arg(to).arg(&url))?;
        let sum = shell::output(shell::command("sha256sum").arg(to))?;
        if sum.split_whitespace().next() != Some(self.sha256) {
            bail!("{url} is not what was expected: its SHA-256 is {sum}");
        }
        Ok(())
    }

    /// Fetches a package and lays its files out below `folder`, without installing it.
    pub(crate) fn unpack(&self, folder: &Path) -> Result<()> {
        if std::env::consts::ARCH != "x86_64" {
            bail!("it is fetched for x86_64 alone");
        }
        let file = folder.join("package.deb");
        self.fetch(&file)?;
        shell::output(shell::command("dpkg").arg("--extract").arg(&file).arg(folder))?;
        Ok(std::fs::remove_file(&file)?)
    }
}
