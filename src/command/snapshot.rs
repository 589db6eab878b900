//! `coracle snapshot`: the cluster's state as a file, and a new cluster from one.

use super::{columns, print};
use crate::args::{Data, Snapshot};
use crate::folder;
use crate::remote::Remote;
use anyhow::{Context, Result, bail};
use controlplane::apiserver::members::PATH;
use controlplane::members::KEYS;
use controlplane::pki::ClusterKeys;
use controlplane::store::archive::{self, Manifest};
use http_body_util::BodyExt;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub(crate) async fn run(command: &Snapshot) -> Result<()> {
    match command {
        Snapshot::Save { access, file } => {
            let manifest = save(&Remote::open(access).await?, file).await?;
            print(&format!("{} is saved\n{}", file.display(), table(&manifest)))
        }
        Snapshot::Status { file } => {
            let manifest = archive::status(file).with_context(|| format!("{} cannot be restored", file.display()))?;
            print(&table(&manifest))
        }
        Snapshot::Restore { file, data, bump_revision } => restore(file, data, *bump_revision),
    }
}

/// Under another name until it is whole and checked.
async fn save(remote: &Remote, file: &Path) -> Result<Manifest> {
    let mut name = file.file_name().with_context(|| format!("{} is no file", file.display()))?.to_owned();
    name.push(".part");
    let part = file.with_file_name(name);
    let fetched = fetch(remote, &part).await.with_context(|| format!("{} is not saved", file.display()));
    let saved = fetched.and_then(|manifest| {
        std::fs::rename(&part, file)?;
        Ok(manifest)
    });
    if saved.is_err() {
        // It may not have been made.
        let _ = std::fs::remove_file(&part);
    }
    saved
}

async fn fetch(remote: &Remote, part: &PathBuf) -> Result<Manifest> {
    let mut to: File = File::options().write(true).create(true).truncate(true).mode(0o600).open(part)?;
    let mut body = remote.stream(&format!("{PATH}/snapshot")).await?;
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.context("the snapshot broke off")?.into_data() {
            to.write_all(&piece)?;
        }
    }
    to.sync_all()?;
    Ok(archive::status(part)?)
}

fn restore(file: &Path, data: &Data, bump: u64) -> Result<()> {
    let folder = folder::open(data.data_dir.as_deref())?;
    let failed = || format!("{} is not restored into {}", file.display(), folder.display());
    let pki = folder.join("pki");
    if pki.exists() {
        bail!("{}: it holds the keys of a cluster already", failed());
    }
    let (manifest, beside) = archive::restore(file, &folder.join("store"), bump).with_context(failed)?;
    match beside.get(KEYS) {
        Some(keys) => ClusterKeys::from_json(keys)?.store(&pki)?,
        None => eprintln!("warning: the snapshot holds no keys; the new cluster makes its own, and nodes join it anew"),
    }
    let folder = folder.display();
    print(&format!(
        "{} is restored into {folder}\n{}\nStart it with\n  coracle server --data-dir {folder}\nand add other members \
         anew, with empty data folders.\n",
        file.display(),
        table(&manifest)
    ))
}

fn table(manifest: &Manifest) -> String {
    let head = ["CLUSTER", "REVISION", "KEYS"].map(str::to_owned).to_vec();
    columns(&[head, vec![manifest.cluster.clone(), manifest.revision.to_string(), manifest.keys.to_string()]])
}
