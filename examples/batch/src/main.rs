//! Reads its ConfigMap from a folder, prints it, and ends.

use std::process::ExitCode;

const GREETING: &str = "/config/greeting";

fn main() -> ExitCode {
    match std::fs::read_to_string(GREETING) {
        Ok(greeting) => {
            println!("{}", greeting.trim());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cannot read {GREETING}: {error}");
            ExitCode::FAILURE
        }
    }
}
