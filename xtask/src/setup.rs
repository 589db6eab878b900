//! What a build needs besides rustup, gcc and git, and how a machine gets it.

use crate::shell;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// Something that a build or a test calls for.
struct Need {
    /// Debian's package.
    package: &'static str,
    why: &'static str,
    present: fn() -> bool,
}

const NEEDS: &[Need] = &[
    Need { package: "g++", why: "compiles RocksDB", present: || shell::on_path("g++") || shell::on_path("c++") },
    Need { package: "make", why: "builds the allocator", present: || shell::on_path("make") },
    Need { package: "libclang-dev", why: "generates the bindings to RocksDB", present: libclang },
    Need {
        package: "protobuf-compiler",
        why: "compiles the messages of Raft",
        present: || shell::on_path("protoc") || std::env::var_os("PROTOC").is_some(),
    },
    Need {
        package: "iproute2",
        why: "makes the network namespaces of the cluster tests",
        present: || shell::on_path("ip"),
    },
    Need { package: "python3-venv", why: "runs Kubernetes' clients in the tests", present: python },
    Need {
        package: "strace",
        why: "records what the store asks of its disk, in the tests",
        present: || shell::on_path("strace"),
    },
    Need {
        package: "etcd-client",
        why: "asks the store as clients of etcd do, in the tests",
        present: || shell::on_path("etcdctl"),
    },
    Need {
        package: "etcd-server",
        why: "answers beside the store, and in its place, in the same tests",
        present: || shell::on_path("etcd"),
    },
];

const TARGETS: &[(&str, &str)] =
    &[("wasm32-wasip2", "the guests are components"), ("wasm32-wasip1", "one test guest is a core module")];

/// Parts of the toolchain that rustup's minimal profile leaves out, by the program that each brings.
const COMPONENTS: &[(&str, &str, &str)] =
    &[("rustfmt", "cargo-fmt", "the tests check the format"), ("clippy", "cargo-clippy", "the tests check the lints")];

/// Makes the machine ready; silent where it is. What needs no root comes first, so that one command is left to whoever
/// is not root.
pub(crate) fn run() -> Result<()> {
    toolchain()?;
    packages()
}

/// Debian has what makes environments in a package of its own.
fn python() -> bool {
    let able = Command::new("python3").args(["-c", "import ensurepip, venv"]).output();
    able.is_ok_and(|output| output.status.success())
}

fn packages() -> Result<()> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !(need.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        eprintln!("missing: {} ({})", need.package, need.why);
    }
    let names: Vec<&str> = missing.iter().map(|need| need.package).collect();
    if !shell::on_path("apt-get") {
        let by_hand = format!("apt-get install -y {}", names.join(" "));
        bail!("install these with this system's package manager; on Debian: {by_hand}");
    }
    if !root() {
        let names = names.join(" ");
        bail!("not root, so run this once: sudo sh -c 'apt-get update && apt-get install -y {names}'");
    }
    shell::run(shell::command("apt-get").args(["update", "-q"]))?;
    let mut install = shell::command("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "-y", "-q", "--no-install-recommends"]);
    shell::run(install.args(&names))?;
    match NEEDS.iter().find(|need| !(need.present)()) {
        Some(need) => bail!("{} is installed but not found; see its package's documentation", need.package),
        None => Ok(()),
    }
}

/// The Wasm targets and the components that the toolchain in use lacks.
fn toolchain() -> Result<()> {
    let sysroot = shell::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let sysroot = Path::new(sysroot.trim());
    let libraries = sysroot.join("lib/rustlib");
    let targets: Vec<_> = TARGETS.iter().filter(|(target, _)| !libraries.join(target).is_dir()).collect();
    for (target, why) in &targets {
        eprintln!("missing: the Rust target {target} ({why})");
    }
    add("target", targets.iter().map(|(target, _)| *target).collect())?;
    // Not PATH: rustup puts a stand-in of that name there, whether the component is installed or not.
    let present = |program: &str| sysroot.join("bin").join(program).is_file();
    let components: Vec<_> = COMPONENTS.iter().filter(|(_, program, _)| !present(program)).collect();
    for (component, _, why) in &components {
        eprintln!("missing: the Rust component {component} ({why})");
    }
    add("component", components.iter().map(|(component, ..)| *component).collect())
}

fn add(what: &str, names: Vec<&str>) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    if !shell::on_path("rustup") {
        bail!("install rustup (https://rustup.rs), then run: rustup {what} add {}", names.join(" "));
    }
    shell::run(shell::command("rustup").args([what, "add"]).args(names))
}

fn root() -> bool {
    shell::output(Command::new("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0")
}

/// Where bindgen looks for it: `LIBCLANG_PATH`, the linker's cache, and the folders of Debian's LLVM packages.
fn libclang() -> bool {
    let holds = |folder: &Path| {
        std::fs::read_dir(folder).is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libclang"))
        })
    };
    if std::env::var_os("LIBCLANG_PATH").is_some_and(|folder| holds(Path::new(&folder))) {
        return true;
    }
    let Ok(entries) = std::fs::read_dir("/usr/lib") else { return false };
    let llvm = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("llvm-"));
    // The headers come with it in the same place; a bare libclang.so without them fails later and obscurely.
    llvm.into_iter().any(|entry| holds(&entry.path().join("lib")) && entry.path().join("lib/clang").is_dir())
}
