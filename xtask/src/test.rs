//! Everything that must hold before a change lands; CI runs exactly this.

use crate::{clients, fuzz, guests, setup, shell};
use anyhow::Result;

/// Of each decoder; a longer look is `cargo xtask fuzz`.
const FUZZ_SECONDS: u32 = 5;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the tests whose names contain this, and no other checks
    filter: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    setup::run()?;
    let guests = guests::build()?;
    clients::libraries()?;
    let tests = |filter: Option<&str>| {
        let mut cargo = shell::cargo();
        cargo.env("CORACLE_GUESTS", &guests).args(["test", "--workspace", "--locked", "--no-fail-fast"]);
        // Tests that start whole clusters share two cores with each other; more at a time only wait.
        cargo.args(["--", "--test-threads", "4"]).args(filter);
        shell::run(&mut cargo)
    };
    if let Some(filter) = &args.filter {
        return tests(Some(filter));
    }
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))?;
    licences()?;
    let lints = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    shell::run(shell::cargo().args(lints))?;
    fuzz::run(&fuzz::Args::each(FUZZ_SECONDS))?;
    // The tests' own names for what runs with which program.
    for another in clients::programs() {
        let (program, variable) = (another.program, format!("CORACLE_{}", another.program.to_uppercase()));
        eprintln!("the tests of {program} with {program} {}", another.version);
        let mut cargo = shell::cargo();
        cargo.env("CORACLE_GUESTS", &guests).env(variable, &another.path);
        cargo.args(["test", "--workspace", "--locked", "--test", "e2e", "--", "--test-threads", "4"]);
        shell::run(cargo.arg(format!("{program}::")))?;
    }
    // The whole comes last, and with it the summary.
    tests(None)
}

/// Licences, sources and bans of the dependencies, where cargo-deny is installed.
fn licences() -> Result<()> {
    if !shell::on_path("cargo-deny") {
        eprintln!("skipped: licences and sources of dependencies (cargo install cargo-deny --locked)");
        return Ok(());
    }
    shell::run(shell::cargo().args(["deny", "--all-features", "check", "bans", "licenses", "sources"]))
}
