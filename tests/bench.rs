//! Measurements of the release binary, run by `cargo xtask bench`. Nothing here passes or fails by speed.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement prints what it measured, by the real clock"
)]

#[path = "bench/apiserver.rs"]
mod apiserver;
#[path = "bench/bare.rs"]
mod bare;
#[path = "e2e/connection.rs"]
mod connection;
#[path = "bench/cores.rs"]
mod cores;
#[allow(dead_code, reason = "shared with the end-to-end tests, which use the rest")]
#[path = "e2e/etcd.rs"]
mod etcd;
#[path = "bench/first.rs"]
mod first;
#[path = "bench/group.rs"]
mod group;
#[allow(dead_code, reason = "shared with the end-to-end tests, which use the rest")]
#[path = "e2e/kube_apiserver.rs"]
mod kube_apiserver;
#[path = "bench/load.rs"]
mod load;
#[path = "bench/machine.rs"]
mod machine;
#[path = "bench/neighbours.rs"]
mod neighbours;
#[path = "bench/peers.rs"]
mod peers;
#[allow(dead_code, reason = "shared with the end-to-end tests, which use the rest")]
#[path = "e2e/process.rs"]
mod process;
#[path = "bench/scale.rs"]
mod scale;
#[path = "bench/served.rs"]
mod served;
#[path = "bench/session.rs"]
mod session;
#[path = "bench/store.rs"]
mod store;

use process::Server;
use std::fs;

/// One line of the table that a run prints.
fn row(what: &str, value: &str) {
    println!("| {what} | {value} |");
}

#[test]
#[ignore = "a measurement; cargo xtask bench pods runs it"]
fn pods() {
    let size = fs::metadata(env!("CARGO_BIN_EXE_coracle")).expect("the binary").len();
    row("binary", &format!("{:.1} MB", size as f64 / 1e6));
    let server = Server::up();
    server.push("hello", "hello:v1");
    row("resident, idle", &format!("{:.1} MB", machine::resident(server.process.id()) as f64 / 1e6));
    server.ok("coracle", &["apply", "--wait", "-f", "examples/hello/hello.yaml"]);
    peers::hello(&server);
    neighbours::notice(&server);
    first::answers(&server);
    drop(server);
    scale::out();
}
