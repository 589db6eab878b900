//! Bad input and bad surroundings: a clear answer, an exit status, nothing lost.

use crate::process::{Process, Server, coracle, eventually, free_port, text};
use sha2::{Digest, Sha256};
use std::net::TcpListener;
use std::process::Command;

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
fn an_address_that_is_no_url_is_one_clear_line() {
    let token = format!("abcdef.0123456789abcdef::sha256:{}", "0".repeat(64));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("utf-8");
    for command in [["server", "--join"], ["node", "--server"]] {
        let (status, said) = failed(&[command[0], command[1], "nonsense", "--token", &token, "--data-dir", path]);
        assert_eq!(status, Some(1));
        assert!(said.contains("https://HOST:PORT") && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn a_file_that_is_no_wasm_is_not_pushed() {
    let server = Server::start("server", free_port("127.0.0.1"), &[]);
    let output = server.run(coracle().args(["image", "push", "Cargo.toml", "x:v1"]));
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("Cargo.toml is not WebAssembly"), "{said}");
}

/// A file system of its own, for as long as it lives.
struct Mount(tempfile::TempDir);

impl Mount {
    /// `None`: that takes privileges.
    fn new(size: &str) -> Option<Mount> {
        let folder = tempfile::tempdir().expect("a folder");
        let options = format!("size={size},mode=700");
        let mut mount = Command::new("mount");
        let done = mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).output().ok()?;
        done.status.success().then(|| Mount(folder))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // What is still in use goes when its user does.
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_told_and_outlived() {
    let Some(mount) = Mount::new("300m") else {
        println!("skipped: a full disk (mounting a file system takes root)");
        return;
    };
    let folder = mount.0.path().join("data");
    std::fs::create_dir(&folder).expect("made");
    let listen = format!("127.0.0.1:{}", free_port("127.0.0.1"));
    let start = || Process::start(&folder, &["server", "--listen", &listen]);
    let mut process = start();
    let kubectl = |arguments: &[&str]| {
        let kubeconfig = folder.join("admin.kubeconfig");
        Command::new("kubectl").env("KUBECONFIG", kubeconfig).args(arguments).output().expect("it starts")
    };
    assert!(kubectl(&["create", "configmap", "before"]).status.success());
    let big = mount.0.path().join("big");
    let mut file = std::fs::File::create(&big).expect("made");
    // To the last block: what is held back for it is not enough for a write.
    while std::io::Write::write_all(&mut file, &[7; 65536]).is_ok() {}
    drop(file);
    let refused = eventually("a refusal that says why", || {
        let output = kubectl(&["create", "configmap", "more"]);
        if output.status.success() {
            kubectl(&["delete", "configmap", "more"]);
        }
        (!output.status.success()).then(|| text(&output.stderr))
    });
    assert!(refused.contains("nearly full"), "{refused}");
    assert!(kubectl(&["get", "configmap", "before"]).status.success(), "it is read");
    let deleted = kubectl(&["delete", "configmap", "before"]);
    assert!(deleted.status.success(), "it is deleted: {}", text(&deleted.stderr));
    process.kill();
    drop(process);
    let _process = start();
    assert!(text(&kubectl(&["get", "configmap", "before"]).stderr).contains("NotFound"));
    std::fs::remove_file(&big).expect("removed");
    eventually("a write, with room", || kubectl(&["create", "configmap", "after"]).status.success().then_some(()));
}
