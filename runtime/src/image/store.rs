//! Images on disk: files by digest, and one small file for each name. Every file is written beside and renamed.

use super::Entry;
use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub(super) struct Store {
    dir: PathBuf,
    names: Mutex<HashMap<String, Entry>>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Named {
    reference: String,
    image: Entry,
}

// === impl Store ===

impl Store {
    pub(super) fn open(dir: PathBuf) -> io::Result<Store> {
        std::fs::create_dir_all(dir.join("blobs/sha256"))?;
        std::fs::create_dir_all(dir.join("names"))?;
        let mut names = HashMap::new();
        for entry in std::fs::read_dir(dir.join("names"))? {
            let path = entry?.path();
            // What was half written when the power went is of no use; it is written anew with the next pull.
            if path.extension().is_some_and(|one| one == "new") {
                std::fs::remove_file(&path)?;
            } else if let Ok(named) = serde_json::from_slice::<Named>(&std::fs::read(&path)?) {
                names.insert(named.reference, named.image);
            }
        }
        Ok(Store { dir, names: Mutex::new(names) })
    }

    /// An image whose file is here too.
    pub(super) fn find(&self, reference: &str) -> Option<Entry> {
        let entry = self.names.lock().get(reference).cloned()?;
        self.has(&entry.wasm_digest).then_some(entry)
    }

    pub(super) fn has(&self, digest: &str) -> bool {
        self.blob_path(digest).is_file()
    }

    pub(super) fn blob_path(&self, digest: &str) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
    }

    pub(super) fn read(&self, digest: &str) -> io::Result<Bytes> {
        let path = self.blob_path(digest);
        let bytes = std::fs::read(&path)?;
        if sha256(&bytes) != digest {
            // Damaged: away with it, so that the next pull fetches it again.
            std::fs::remove_file(&path)?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file does not have its digest any more"));
        }
        Ok(Bytes::from(bytes))
    }

    pub(super) fn write(&self, digest: &str, bytes: &[u8]) -> io::Result<()> {
        write_whole(&self.blob_path(digest), bytes)
    }

    pub(super) fn name(&self, reference: &str, image: &Entry) -> io::Result<()> {
        if self.names.lock().get(reference) == Some(image) {
            return Ok(());
        }
        let named = Named { reference: reference.to_owned(), image: image.clone() };
        let file = hex::encode(&Sha256::digest(reference.as_bytes())[..16]);
        write_whole(&self.dir.join("names").join(file), &serde_json::to_vec(&named)?)?;
        self.names.lock().insert(reference.to_owned(), image.clone());
        Ok(())
    }
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_and_damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let digest = sha256(b"wasm");
        let entry = Entry { digest: "sha256:m".to_owned(), wasm_digest: digest.clone(), bytes: 4 };
        let store = Store::open(dir.path().to_owned()).unwrap();
        store.write(&digest, b"wasm").unwrap();
        store.name("hello:v1", &entry).unwrap();
        let store = Store::open(dir.path().to_owned()).unwrap();
        assert_eq!(store.find("hello:v1"), Some(entry));
        assert_eq!(store.read(&digest).unwrap(), "wasm");
        std::fs::write(store.blob_path(&digest), b"wasn").unwrap();
        assert!(store.read(&digest).is_err());
        assert_eq!(store.find("hello:v1"), None, "it is to be fetched again");
    }
}
