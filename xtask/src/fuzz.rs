//! Every decoder under a fuzzer (libFuzzer, by coverage): `tests/fuzz` has the targets.
//!
//! Built as `cargo fuzz build --sanitizer none` builds, which a stable toolchain can: what is looked for are panics, broken
//! promises, and what takes too long or too much, not memory errors of code without `unsafe`.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which decoder [default: each of them]
    target: Option<String>,
    /// How long each runs
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

impl Args {
    /// Every decoder for some seconds.
    pub(crate) fn each(seconds: u32) -> Args {
        Args { target: None, seconds }
    }
}

/// What the fuzzer sees of a program.
const INSTRUMENTS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];
/// One input: more than this is a bug.
const SECONDS_MAX: u32 = 10;
const MEGABYTES_MAX: u32 = 2048;
const INPUT_BYTES_MAX: u32 = 16 * 1024;

pub(crate) fn run(args: &Args) -> Result<()> {
    let source = shell::root().join("tests/fuzz");
    let targets = targets(&source)?;
    let chosen: Vec<&String> =
        targets.iter().filter(|name| args.target.as_ref().is_none_or(|want| want == *name)).collect();
    if chosen.is_empty() {
        bail!("there is no such target; there are {}", targets.join(", "));
    }
    let programs = build(&source)?;
    for target in chosen {
        fuzz(&programs, target, args.seconds)?;
    }
    Ok(())
}

fn targets(source: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(source.join("targets")).context("tests/fuzz/targets")? {
        names.extend(entry?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Gives back the folder of the programs.
fn build(source: &Path) -> Result<PathBuf> {
    let host = host()?;
    let folder = shell::target().join("fuzz");
    let mut cargo = shell::cargo();
    // With a target named, the flags are not those of build scripts.
    cargo.env("RUSTFLAGS", INSTRUMENTS.join(" ")).env("CARGO_TARGET_DIR", &folder);
    cargo.args(["build", "--release", "--locked", "--bins", "--target", &host]);
    shell::run(cargo.arg("--manifest-path").arg(source.join("Cargo.toml")))?;
    Ok(folder.join(host).join("release"))
}

fn host() -> Result<String> {
    let told = shell::output(shell::command("rustc").arg("-vV"))?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say its host")?.to_owned())
}

/// What was found of use is kept for the next run.
fn fuzz(programs: &Path, target: &str, seconds: u32) -> Result<()> {
    let kept = shell::target().join("fuzz/corpus").join(target);
    let found = shell::target().join("fuzz/found").join(target);
    std::fs::create_dir_all(&kept)?;
    std::fs::create_dir_all(&found)?;
    let mut program = shell::command(programs.join(target));
    program.arg(&kept).arg(seeds(target)).arg(format!("-artifact_prefix={}/", found.display()));
    program.arg(format!("-max_total_time={seconds}")).arg(format!("-timeout={SECONDS_MAX}"));
    program.arg(format!("-rss_limit_mb={MEGABYTES_MAX}")).arg(format!("-max_len={INPUT_BYTES_MAX}"));
    shell::run(program.args(["-print_final_stats=1", "-print_funcs=0", "-verbosity=0"]))
}

/// Inputs to begin with.
fn seeds(target: &str) -> PathBuf {
    shell::root().join("tests/fuzz/seeds").join(target)
}
