//! The commands that are clients of a running cluster.

pub(crate) mod apply;
pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod image;
mod kinds;
pub(crate) mod logs;
pub(crate) mod member;
pub(crate) mod snapshot;
pub(crate) mod token;

use crate::args::{self, Scope};
use crate::remote::Remote;
use anyhow::Result;
use api::kinds::Kind;
use clap_complete::Shell;
use std::io::Write;

/// The namespace of a request for a kind: none for cluster-scoped ones.
fn namespace<'a>(kind: &Kind, scope: &'a Scope, remote: &'a Remote) -> Option<&'a str> {
    let named = scope.namespace.as_deref().unwrap_or(&remote.namespace);
    kind.namespaced.then_some(named)
}

/// Writes to standard output; a reader that has gone ends the program quietly, as it does for `cat`.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        done => Ok(done?),
    }
}

/// `coracle version`.
pub(crate) fn version() -> Result<()> {
    let (coracle, kubernetes) = (env!("CARGO_PKG_VERSION"), api::KUBERNETES_VERSION);
    let wasmtime = runtime::engine::WASMTIME_VERSION;
    print(&format!("coracle     {coracle}\nkubernetes  {kubernetes}\nwasmtime    {wasmtime}\n"))
}

/// `coracle completion`.
pub(crate) fn completion(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "coracle", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Columns as wide as their widest cell, three blanks apart; the first line holds their names.
fn columns(lines: &[Vec<String>]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines.first().map_or(0, Vec::len)).map(width).collect();
    let render = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}   "));
        format!("{}\n", cells.collect::<String>().trim_end())
    };
    lines.iter().map(render).collect()
}
