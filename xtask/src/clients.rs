//! Clients in versions that a system's packages do not have, kept beside the build products: users have old ones and new
//! ones.

use crate::debian::File;
use crate::shell;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// A program in one of Debian's packages, of which nothing but the program is taken.
struct Client {
    /// What the tests call it.
    program: &'static str,
    version: &'static str,
    package: File,
}

/// The oldest kubectl that is served, and the newest that Debian has.
const CLIENTS: &[Client] = &[
    Client {
        program: "kubectl",
        version: "1.20",
        package: File {
            path: "k/kubernetes/kubernetes-client_1.20.5+really1.20.2-1.1+deb12u1_amd64.deb",
            sha256: "087c42dc26c847740043cdaa8b16db666be5591a1da957f822922aa1b677494e",
        },
    },
    Client {
        program: "kubectl",
        version: "1.36",
        package: File {
            path: "k/kubernetes/kubectl_1.36.4+ds-1_amd64.deb",
            sha256: "407dad9ec755a64ef8c96dd2f5c0c093f9d334193c91cc0ce8424928cd5734d3",
        },
    },
    Client {
        program: "etcdctl",
        version: "3.5",
        package: File {
            path: "e/etcd/etcd-client_3.5.30-2_amd64.deb",
            sha256: "1e66ad2aba4cba6842a1ac35d5c525e750102b8fb42748225bcb2e34d6595931",
        },
    },
];

/// A program that the tests are to be run with besides the one on PATH.
pub(crate) struct Another {
    pub(crate) program: &'static str,
    pub(crate) version: &'static str,
    pub(crate) path: PathBuf,
}

/// Fetches what is not there yet, and says what cannot be had: the tests with it are skipped then.
pub(crate) fn prepare() -> Vec<Another> {
    let mut all = Vec::new();
    for client in CLIENTS {
        let (program, version) = (client.program, client.version);
        let folder = shell::target().join("clients").join(format!("{program}-{version}"));
        let path = folder.join("usr/bin").join(program);
        let fetched = if path.is_file() { Ok(()) } else { client.fetch(&folder) };
        match fetched {
            Ok(()) => all.push(Another { program, version, path }),
            Err(error) => eprintln!("skipped: the tests with {program} {version} ({error:#})"),
        }
    }
    all
}

impl Client {
    fn fetch(&self, folder: &Path) -> Result<()> {
        // Unpacked elsewhere and renamed, so that an attempt that broke off is made again.
        let new = folder.with_extension("new");
        let _ = std::fs::remove_dir_all(&new);
        std::fs::create_dir_all(&new)?;
        self.package.unpack(&new)?;
        let _ = std::fs::remove_dir_all(folder);
        Ok(std::fs::rename(&new, folder)?)
    }
}
