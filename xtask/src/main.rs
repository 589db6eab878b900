//! The project's own chores: `cargo xtask setup|demo|test|fuzz|guests|clients|bench|facts`.

mod bench;
mod clients;
mod debian;
mod demo;
mod facts;
mod fuzz;
mod go;
mod guests;
mod javascript;
mod kube_apiserver;
mod layer;
mod python;
mod setup;
mod shell;
mod test;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The chores of the Coracle repository", disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install what a build needs and this machine lacks
    Setup,
    /// Build everything, run a cluster of one process, and show a Service answering
    Demo(demo::Args),
    /// Run all checks and tests, as CI does
    Test(test::Args),
    /// Run every decoder under a fuzzer
    Fuzz(fuzz::Args),
    /// Build the example guests into $CARGO_TARGET_DIR/guests
    Guests,
    /// Fetch the clients that the tests run, in all versions
    Clients,
    /// Measure the release binary, beside its peers where they are installed
    Bench(bench::Args),
    /// Make the embedded tables of the API anew from a folder of facts
    Facts {
        /// The folder; $CORACLE_FACTS without it
        folder: Option<String>,
    },
}

fn main() -> ExitCode {
    let result = match Args::parse().chore {
        Chore::Setup => setup::run(),
        Chore::Demo(args) => demo::run(&args),
        Chore::Test(args) => test::run(&args),
        Chore::Fuzz(args) => fuzz::run(&args),
        Chore::Guests => guests::build().map(|_| ()),
        Chore::Clients => clients::run(),
        Chore::Bench(args) => bench::run(&args),
        Chore::Facts { folder } => facts::run(&folder.into_iter().collect::<Vec<_>>()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
