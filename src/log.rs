//! Where log lines go: standard error, as text or JSON.

use crate::args::LogFormat;
use anyhow::{Context, Result};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Must be called once, before anything else.
pub(crate) fn start(format: LogFormat, filter: &str) -> Result<()> {
    let filter = EnvFilter::try_new(filter).with_context(|| format!("--log {filter:?} is no log filter"))?;
    // A line that finds no room is lost. To complain of it on the same full disk would be a panic.
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    let done = match format {
        LogFormat::Text => lines.with_ansi(is_coloured()).try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    done.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

/// A terminal, and nobody who wants no colours (<https://no-color.org>).
fn is_coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
