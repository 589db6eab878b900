//! A kube-apiserver to measure beside ours, and to run on our store, built from Debian's source package with Debian's Go,
//! in a folder of its own.

use crate::debian::File;
use crate::shell;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Of the release that it was made with: one of its libraries walks through maps in a way that later ones do not forgive.
const GO: &[File] = &[
    File {
        path: "g/golang-1.15/golang-1.15-go_1.15.15-1~deb11u4_amd64.deb",
        sha256: "33f6680406698b60370322aa5710be199006b3d66fbb0974b44da012de3aa82a",
    },
    File {
        path: "g/golang-1.15/golang-1.15-src_1.15.15-1~deb11u4_amd64.deb",
        sha256: "e580f570f706d801191f9a17e55156736fc5979a6a878bab9304ca007ae29941",
    },
];
const SOURCE: File = File {
    path: "k/kubernetes/kubernetes_1.20.5+really1.20.2.orig.tar.gz",
    sha256: "b83c0780efb182d928dc63d46488a847f161f04e40a94b96bf5247dd671ecdfc",
};
const PROJECT: &str = "k8s.io/kubernetes";

/// Builds it into `folder`; nothing happens if it is there.
pub(crate) fn install(build: &Path, folder: &Path) -> Result<()> {
    let program = folder.join("kube-apiserver");
    if program.is_file() {
        return Ok(());
    }
    let work = build.join("kube-apiserver");
    let _ = std::fs::remove_dir_all(&work);
    std::fs::create_dir_all(work.join("go"))?;
    for package in GO {
        package.unpack(&work.join("go"))?;
    }
    let root = work.join("root");
    compiler(&work.join("go"), &root)?;
    let source = work.join("path/src").join(PROJECT);
    std::fs::create_dir_all(&source)?;
    let archive = work.join("source.tar.gz");
    SOURCE.fetch(&archive)?;
    shell::run(shell::command("tar").arg("xzf").arg(&archive).arg("--strip-components=1").arg("-C").arg(&source))?;
    let go = Go { root, work: work.clone(), source };
    go.write_openapi()?;
    let version = "-s -w -X k8s.io/component-base/version.gitVersion=v1.20.2";
    shell::run(
        go.command(&["build", "-trimpath", "-ldflags", version, "-o"]).arg(&program).arg("./cmd/kube-apiserver"),
    )?;
    Ok(std::fs::remove_dir_all(&work)?)
}

/// The two packages link into each other by absolute paths; this is one tree.
fn compiler(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to.join("pkg"))?;
    let (library, share) = (from.join("usr/lib/go-1.15"), from.join("usr/share/go-1.15"));
    for (folder, names) in
        [(&library, &["VERSION", "bin", "pkg/linux_amd64", "pkg/tool"][..]), (&share, &["src", "pkg/include"])]
    {
        for name in names {
            shell::run(shell::command("cp").arg("-aL").arg(folder.join(name)).arg(to.join(name)))?;
        }
    }
    Ok(())
}

struct Go {
    root: PathBuf,
    work: PathBuf,
    source: PathBuf,
}

impl Go {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut go = shell::command(self.root.join("bin/go"));
        go.env("GOROOT", &self.root).env("GOPATH", self.work.join("path")).env("GOCACHE", self.work.join("cache"));
        go.env("GO111MODULE", "off").env("GOFLAGS", "").env("CGO_ENABLED", "0");
        go.current_dir(&self.source).args(arguments);
        go
    }

    /// The source is as it comes from its makers, whose Makefile generates one file.
    fn write_openapi(&self) -> Result<()> {
        let generator = self.work.join("openapi-gen");
        let own = "./vendor/k8s.io/kube-openapi/cmd/openapi-gen";
        shell::run(self.command(&["build", "-o"]).arg(&generator).arg(own))?;
        let marked = shell::output(
            shell::command("grep")
                .current_dir(&self.source)
                .args(["-rlE", "^// \\+k8s:openapi-gen=", "--include=*.go"])
                .args(["--exclude=*_test.go", "--exclude=zz_generated*", "staging/src/k8s.io", "pkg"]),
        )?;
        let mut folders: Vec<String> = marked.lines().filter_map(package).collect();
        folders.sort();
        folders.dedup();
        let mut generate = shell::command(generator);
        generate.current_dir(&self.source).env("GOROOT", &self.root).env("GOPATH", self.work.join("path"));
        generate.env("GO111MODULE", "off").env("PATH", shell::path_with(&self.root.join("bin"))?);
        generate.args(["-O", "zz_generated.openapi", "-p", &format!("{PROJECT}/pkg/generated/openapi")]);
        generate.args(["--go-header-file", "hack/boilerplate/boilerplate.generatego.txt", "--output-base"]);
        generate.arg(self.work.join("path/src")).arg("-r").arg(self.work.join("violations"));
        shell::run(generate.args(["--input-dirs", &folders.join(",")]))
    }
}

/// The package of a file that asks for its types to be published; not those of samples and generators.
fn package(file: &str) -> Option<String> {
    let folder = Path::new(file).parent()?.to_str()?;
    if folder.contains("/sample") || folder.contains("code-generator") {
        return None;
    }
    Some(match folder.strip_prefix("staging/src/") {
        Some(staged) => format!("{PROJECT}/vendor/{staged}"),
        None => format!("{PROJECT}/{folder}"),
    })
}
