//! Bad input and bad surroundings: a clear answer, an exit status, nothing lost.

use crate::process::{Server, coracle, free_port, text};
use sha2::{Digest, Sha256};
use std::net::TcpListener;

/// Exit status and what was said.
fn failed(arguments: &[&str]) -> (Option<i32>, String) {
    let output = coracle().args(arguments).output().expect("it starts");
    (output.status.code(), text(&output.stderr))
}

#[test]
fn wrong_usage_is_status_2() {
    assert_eq!(failed(&["up", "--no-such-flag"]).0, Some(2));
    assert_eq!(failed(&["nonsense"]).0, Some(2));
}

#[test]
fn a_port_in_use_is_named_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("utf-8");
    let (status, said) = failed(&["up", "--listen", &address, "--data-dir", path]);
    assert_eq!(status, Some(1));
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
}

#[test]
fn a_data_folder_that_another_process_holds_is_named() {
    let server = Server::start("server", free_port("127.0.0.1"), &[]);
    let listen = format!("127.0.0.1:{}", free_port("127.0.0.1"));
    let folder = server.process.folder.to_str().expect("utf-8");
    let (status, said) = failed(&["server", "--listen", &listen, "--data-dir", folder]);
    assert_eq!(status, Some(1));
    assert!(said.contains(folder), "{said}");
}

#[test]
fn a_data_folder_that_a_newer_version_wrote_is_left_alone() {
    let port = free_port("127.0.0.1");
    let mut server = Server::start("server", port, &[]);
    assert_eq!(server.process.terminate(), Some(0));
    let identity = server.process.folder.join("store/identity");
    let text = std::fs::read_to_string(&identity).expect("it is there");
    let (body, _) = text.split_once('\n').expect("two lines");
    let newer = body.replacen("\"format\":", "\"format\":9", 1);
    let sum = hex::encode(Sha256::digest(&newer));
    let newer = format!("{newer}\n{sum}\n");
    std::fs::write(&identity, &newer).expect("written");
    let folder = server.process.folder.to_str().expect("utf-8");
    let (status, said) = failed(&["server", "--listen", &format!("127.0.0.1:{port}"), "--data-dir", folder]);
    assert_eq!(status, Some(1));
    assert!(said.contains("newer version") && said.contains(folder), "{said}");
    assert_eq!(std::fs::read_to_string(&identity).expect("it is there"), newer);
}

#[test]
fn a_token_that_pins_another_ca_is_refused() {
    let server = Server::start("server", free_port("127.0.0.1"), &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let token = format!("abcdef.0123456789abcdef::sha256:{}", "0".repeat(64));
    let path = folder.path().to_str().expect("utf-8");
    let listen = format!("127.0.0.1:{}", free_port("127.0.0.1"));
    let (status, said) =
        failed(&["node", "--server", &server.url, "--token", &token, "--data-dir", path, "--node-listen", &listen]);
    assert_eq!(status, Some(1));
    assert!(said.contains("CA"), "{said}");
}

#[test]
fn a_file_that_is_no_wasm_is_not_pushed() {
    let server = Server::start("server", free_port("127.0.0.1"), &[]);
    let output = server.run(coracle().args(["image", "push", "Cargo.toml", "x:v1"]));
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("Cargo.toml is not WebAssembly"), "{said}");
}
