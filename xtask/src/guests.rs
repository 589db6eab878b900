//! The example guests, built for their Wasm targets.

use crate::shell;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

const COMPONENTS: &str = "wasm32-wasip2";
const CORE_MODULES: &str = "wasm32-wasip1";

/// Guests that are core modules of WASI preview 1; all others are components.
const CORE_GUESTS: &[&str] = &["preview1"];

/// Builds every guest into `guests/NAME.wasm` of the build folder; that folder.
pub(crate) fn build() -> Result<PathBuf> {
    let workspace = shell::root().join("examples");
    let products = shell::target().join("examples");
    let mut names = packages(&workspace)?;
    names.sort();
    let (core, components): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| CORE_GUESTS.contains(&name.as_str()));
    let guests = shell::target().join("guests");
    std::fs::create_dir_all(&guests)?;
    for (target, names) in [(COMPONENTS, components), (CORE_MODULES, core)] {
        if names.is_empty() {
            continue;
        }
        let mut cargo = shell::cargo();
        cargo.current_dir(&workspace).env("CARGO_TARGET_DIR", &products);
        cargo.args(["build", "--release", "--locked", "--target", target]);
        for name in &names {
            cargo.args(["--package", name]);
        }
        shell::run(&mut cargo)?;
        for name in &names {
            let built = products.join(target).join("release").join(format!("{name}.wasm"));
            let wanted = guests.join(format!("{name}.wasm"));
            replace(&built, &wanted).with_context(|| format!("cannot copy {} into place", built.display()))?;
        }
    }
    eprintln!("guests: {}", guests.display());
    Ok(guests)
}

/// Every folder of the workspace with a manifest is a guest.
fn packages(workspace: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(workspace).with_context(|| format!("cannot read {}", workspace.display()))?;
    let with_manifest = entries.flatten().filter(|entry| entry.path().join("Cargo.toml").is_file());
    Ok(with_manifest.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

/// A running test may have the old file open: a new one takes its name.
fn replace(from: &Path, to: &Path) -> std::io::Result<()> {
    let staged = to.with_extension("wasm.new");
    std::fs::copy(from, &staged)?;
    std::fs::rename(staged, to)
}
