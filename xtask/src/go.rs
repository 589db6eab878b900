//! The program of the tests with Kubernetes' own Go client, built with Debian's Go from Debian's packages of the client, in a
//! folder of its own. That takes some minutes of a processor, so it is made on demand alone.

use crate::debian::File;
use crate::{clients, shell};
use anyhow::{Context, Result};
use std::path::Path;

const PACKAGES: &str = include_str!("../../tests/e2e/go/packages.txt");
/// Of the release in `packages.txt`.
const GO: &str = "usr/lib/go-1.24";

/// Builds `tests/e2e/go/main.go`, unless it is built from that already.
pub(crate) fn prepare() -> Result<()> {
    let source = shell::root().join("tests/e2e/go");
    let folder = shell::target().join("clients/go");
    let lists = ["main.go", "packages.txt"].map(|name| source.join(name));
    clients::keep(&folder, &lists, "the Go client", || make(&folder, &source))
}

fn make(folder: &Path, source: &Path) -> Result<()> {
    let work = folder.join("work");
    let _ = std::fs::remove_dir_all(&work);
    let packages = work.join("packages");
    std::fs::create_dir_all(&packages)?;
    for line in PACKAGES.lines().filter(|line| !line.starts_with('#')) {
        let (sha256, path) = line.split_once("  ").context("a sum and a path")?;
        File { path, sha256 }.unpack(&packages)?;
    }
    let root = packages.join(GO);
    let mut go = shell::command(root.join("bin/go"));
    go.env("GOROOT", &root).env("GOPATH", packages.join("usr/share/gocode")).env("GOCACHE", work.join("cache"));
    go.env("GO111MODULE", "off").env("GOFLAGS", "").env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0");
    go.args(["build", "-trimpath", "-ldflags", "-s -w", "-o"]).arg(folder.join("client")).arg("main.go");
    shell::run(go.current_dir(source))?;
    Ok(std::fs::remove_dir_all(&work)?)
}
