//! Compiled code on disk, by the digest of the Wasm file and the configuration of the engine that compiled it.
//!
//! The folder is its owner's alone: whoever can write to it can run code in this process.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use wasmtime::component::Component;

const OWNER_ONLY: u32 = 0o700;
/// What the folder may hold; the code that was used longest ago goes first.
const BYTES_MAX: u64 = 1 << 30;

pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(super) fn open(folder: &Path, engine: &wasmtime::Engine) -> io::Result<Cache> {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let folder = folder.join(format!("{:016x}", hasher.finish()));
        fs::DirBuilder::new().recursive(true).mode(OWNER_ONLY).create(&folder)?;
        let meta = fs::metadata(&folder)?;
        if meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other("it belongs to another user, who could change the code in it"));
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(OWNER_ONLY))?;
        Ok(Cache { folder })
    }

    /// The component, if its compiled code is here and whole.
    #[allow(clippy::disallowed_methods, reason = "a file's time of use is the file system's time, not the cluster's")]
    pub(super) fn get(&self, engine: &wasmtime::Engine, digest: &str) -> Option<Component> {
        let path = self.path(digest);
        let file = fs::File::open(&path).ok()?;
        // Marks it as used now; only the order of eviction depends on it.
        let _ = file.set_modified(SystemTime::now());
        // SAFETY: the file was written by `put`, from code that this program's wasmtime compiled, under a name that
        // is unique to that wasmtime and its configuration, in a folder that only this user can write to.
        match unsafe { Component::deserialize_file(engine, &path) } {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(path = %path.display(), error = %format!("{error:#}"), "compiled code is not usable");
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// Keeps compiled code; failing to is no error, only slower next time.
    pub(super) fn put(&self, digest: &str, component: &Component) {
        let kept = component.serialize().map_err(io::Error::other).and_then(|code| {
            let path = self.path(digest);
            let staged = path.with_extension("new");
            fs::write(&staged, code)?;
            fs::File::open(&staged)?.sync_all()?;
            fs::rename(staged, path)
        });
        match kept {
            Ok(()) => self.evict(),
            Err(error) => tracing::warn!(digest, %error, "compiled code is not kept"),
        }
    }

    fn evict(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let with_use = |entry: fs::DirEntry| {
            let meta = entry.metadata().ok()?;
            Some((meta.modified().ok()?, meta.len(), entry.path()))
        };
        let mut files: Vec<_> = entries.flatten().filter_map(with_use).collect();
        let mut total: u64 = files.iter().map(|(_, len, _)| len).sum();
        files.sort();
        for (_, len, path) in files {
            if total <= BYTES_MAX {
                break;
            }
            if fs::remove_file(path).is_ok() {
                total -= len;
            }
        }
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{}.cwasm", digest.replace(':', "-")))
    }
}
