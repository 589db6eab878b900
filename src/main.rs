//! The one binary: parse, wire, run. No logic.

mod args;
mod config;
mod log;
mod services;

fn main() {}
