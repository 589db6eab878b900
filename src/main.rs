//! The one binary: parse, wire, run. No logic.

mod args;
mod command;
mod config;
mod control;
mod etcd;
mod folder;
mod host;
mod join;
mod keep;
mod keys;
mod log;
mod member;
mod remote;
mod services;
mod up;

use anyhow::Result;
use args::Command;
use std::io::Write;
use std::process::ExitCode;

/// In half the time of the C library's, and it gives more back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments = match config::with_file(std::env::args_os().collect()) {
        Ok(arguments) => arguments,
        Err(error) => return failed(&error, 2),
    };
    let args = args::parse(arguments);
    if let Err(error) = args.command.check() {
        return failed(&error, 2);
    }
    if let Some(logging) = args.command.logging()
        && let Err(error) = log::start(logging.log_format, &logging.log)
    {
        return failed(&error, 2);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into(), 1),
    };
    let done = runtime.block_on(run(&args.command));
    // Blocking work that nobody waits for any more must not hold the process.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error, 1),
    }
}

async fn run(command: &Command) -> Result<()> {
    match command {
        Command::Up(args) => up::up(args).await,
        Command::Server(args) => up::server(args).await,
        Command::Node(args) => join::node(args).await,
        Command::Token(args) => command::token::run(args).await,
        Command::Member(args) => command::member::run(args).await,
        Command::Snapshot(args) => command::snapshot::run(args).await,
        Command::Image(args) => command::image::run(args).await,
        Command::Apply(args) => command::apply::run(args).await,
        Command::Get(args) => command::get::run(args).await,
        Command::Logs(args) => command::logs::run(args).await,
        Command::Delete(args) => command::delete::run(args).await,
        Command::Completion { shell } => command::completion(*shell),
        Command::Version => command::version(),
    }
}

fn failed(error: &anyhow::Error, status: u8) -> ExitCode {
    // The status says it, where standard error cannot be written.
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
    ExitCode::from(status)
}
