//! What the layout promises, checked: who may import whom, how long a file may be, and that no unfinished work hides.

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 800;

/// Folder or file of the tree, and the words that no source under it may use, each with the rule behind it.
const WALLS: &[(&str, &[&str], &str)] = &[
    ("api/src", &["tokio::", "std::fs", "std::net::Tcp", "SystemTime::now", "Instant::now"], "api is pure"),
    (
        "controlplane/src/store",
        &["crate::registry", "crate::apiserver", "crate::etcd", "api::", "client::", "tonic::"],
        "the store knows no Kubernetes and no gRPC",
    ),
    (
        "controlplane/src/remote",
        &["crate::registry", "crate::apiserver", "crate::peers", "api::", "client::"],
        "a client of an etcd is a store, and knows no Kubernetes",
    ),
    ("controlplane/src/peers", &["crate::registry", "crate::apiserver", "api::"], "peers carry what the store says"),
    ("controlplane/src/etcd", &["crate::registry", "crate::apiserver", "api::"], "etcd's API is a face of the store"),
    ("controlplane/src/registry", &["crate::apiserver", "crate::etcd", "hyper::"], "the registry knows no HTTP"),
    (
        "controlplane/src/controllers",
        &["crate::registry", "crate::store", "crate::apiserver"],
        "controllers see client and api",
    ),
    (
        "controlplane/src/scheduler",
        &["crate::registry", "crate::store", "crate::apiserver"],
        "the scheduler sees client and api",
    ),
    ("runtime/src/engine", &["api::", "client::", "crate::node"], "the engine knows no Kubernetes"),
    ("runtime/src/host", &["api::", "client::", "crate::node"], "the host interfaces know no Kubernetes"),
    ("proxy/src", &["client::Handle", "client::Cluster"], "the proxy works from its table alone"),
];

/// Which crate may name which dependency.
const KEPT_APART: &[(&str, &[&str])] = &[
    ("rocksdb", &["controlplane"]),
    ("raft", &["controlplane"]),
    ("tonic", &["controlplane"]),
    ("wasmtime", &["runtime"]),
    ("wasmtime-wasi", &["runtime"]),
];

const CRATES: &[&str] = &["api", "client", "controlplane", "proxy", "runtime", "xtask"];

struct Source {
    path: PathBuf,
    text: String,
}

/// Where cargo starts tests: the folder of the package.
fn root() -> &'static Path {
    Path::new(".")
}

/// All Rust sources under a folder, or the one file of that name.
fn sources(under: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(under)];
    let file = root().join(format!("{under}.rs"));
    if let Ok(text) = fs::read_to_string(&file) {
        found.push(Source { path: file, text });
    }
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source is text");
                found.push(Source { path, text });
            }
        }
    }
    found
}

fn everything() -> Vec<Source> {
    let folders = CRATES.iter().map(|name| format!("{name}/src")).chain(["src".to_owned(), "tests".to_owned()]);
    folders.flat_map(|folder| sources(&folder)).collect()
}

impl Source {
    fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap_or(&self.path).display().to_string()
    }

    fn is_test(&self) -> bool {
        let name = self.name();
        name.ends_with("/tests.rs")
            || name.ends_with("/golden.rs")
            || name.contains("/tests/")
            || name.starts_with("tests/")
    }

    /// The code outside of comments, each line with its number.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines.filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(index, line)| (index + 1, line))
    }
}

/// `api::` as a path of its own, not the end of `k8s_openapi::`.
fn uses(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

#[test]
fn rooms_import_only_what_is_below_them() {
    let mut broken = Vec::new();
    for (room, words, rule) in WALLS {
        for source in sources(room).iter().filter(|source| !source.is_test()) {
            let tests_begin = source.text.lines().position(|line| line == "#[cfg(test)]").unwrap_or(usize::MAX);
            for (number, line) in source.code().take_while(|(number, _)| *number <= tests_begin) {
                if let Some(word) = words.iter().find(|word| uses(line, word)) {
                    broken.push(format!("{}:{number}: {word} ({rule})", source.name()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn heavy_dependencies_stay_in_their_room() {
    for (dependency, allowed) in KEPT_APART {
        for name in CRATES.iter().filter(|name| !allowed.contains(name)) {
            let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).expect("a crate has a manifest");
            let names = manifest.lines().any(|line| line.split(['.', ' ', '=']).next() == Some(dependency));
            assert!(!names, "{name} may not depend on {dependency}; {allowed:?} has it");
        }
    }
}

#[test]
fn no_file_is_too_long_to_read() {
    let long: Vec<_> = everything().iter().map(|source| (source.name(), source.text.lines().count())).collect();
    let long: Vec<_> = long.into_iter().filter(|(_, lines)| *lines > LINES_MAX).collect();
    assert!(long.is_empty(), "more than {LINES_MAX} lines: {long:?}");
}

#[test]
fn modules_have_one_layout() {
    let everything = everything();
    let old: Vec<_> = everything.iter().map(Source::name).filter(|name| name.ends_with("/mod.rs")).collect();
    assert!(old.is_empty(), "a module is foo.rs beside foo/: {old:?}");
}

#[test]
fn every_module_says_what_it_is() {
    let undocumented = everything().into_iter().filter(|source| !source.is_test() && !source.text.starts_with("//!"));
    let undocumented: Vec<_> = undocumented.map(|source| source.name()).collect();
    assert!(undocumented.is_empty(), "no module documentation: {undocumented:?}");
}

#[test]
fn no_unfinished_work_hides() {
    // Written in two halves, so that this file does not find itself.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("unimple", "mented!"), concat!("to", "do!(")];
    let mut found = Vec::new();
    for source in everything() {
        for (index, line) in source.text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}: {}", source.name(), index + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
