//! Measurements of the release binary.

use crate::{guests, setup, shell};
use anyhow::Result;

pub(crate) fn run() -> Result<()> {
    setup::run()?;
    let guests = guests::build()?;
    let mut cargo = shell::cargo();
    cargo.env("CORACLE_GUESTS", guests).args([
        "test",
        "--release",
        "--locked",
        "--package",
        "coracle",
        "--test",
        "bench",
    ]);
    shell::run(cargo.args(["--", "--ignored", "--nocapture"]))?;
    eprintln!("figures worth keeping go to docs/benchmarks.md, with date and machine");
    Ok(())
}
