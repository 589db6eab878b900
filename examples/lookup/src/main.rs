//! Prints the addresses that each of its arguments stands for, as a pod sees them, and ends.

use std::net::ToSocketAddrs;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut outcome = ExitCode::SUCCESS;
    for name in std::env::args().skip(1) {
        match (name.as_str(), 0).to_socket_addrs() {
            Ok(found) => println!("{name} {}", found.map(|at| at.ip().to_string()).collect::<Vec<_>>().join(" ")),
            Err(error) => {
                println!("{name} {error}");
                outcome = ExitCode::FAILURE;
            }
        }
    }
    outcome
}
