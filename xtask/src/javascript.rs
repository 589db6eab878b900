//! Kubernetes' client in JavaScript, kept beside the build products, with the Node.js that came with the Python clients:
//! a system's own may be too old for it.

use crate::{clients, python, shell};
use anyhow::Result;
use std::path::Path;

const LISTS: [&str; 2] = ["package.json", "package-lock.json"];

/// Installs what `tests/e2e/javascript/package-lock.json` says.
pub(crate) fn prepare() -> Result<()> {
    let folder = shell::target().join("javascript");
    let wanted = shell::root().join("tests/e2e/javascript");
    let [_, lock] = LISTS;
    clients::keep(&folder, &[wanted.join(lock)], "JavaScript clients", || make(&folder, &wanted))
}

fn make(folder: &Path, wanted: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for list in LISTS {
        std::fs::copy(wanted.join(list), folder.join(list))?;
    }
    let mut npm = shell::command(python::programs().join("npm"));
    npm.current_dir(folder).env("PATH", shell::path_with(&python::programs())?);
    shell::output(npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])).map(|_| ())
}
