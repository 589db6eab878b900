//! The embedded image registry's files: blobs by digest, manifests and tags, on this machine's disk.
//!
//! Knows no HTTP and no users. Nothing here is replicated through the log: content is named by its digest, so any
//! member or node can fetch it from any other.

use std::path::PathBuf;
use std::sync::Arc;

/// The images under one folder.
#[derive(Debug)]
pub struct Images {
    dir: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot use {path:?} for images")]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

// === impl Images ===

impl Images {
    /// Opens the folder and makes it if it is not there.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Arc<Images>, Error> {
        let dir = dir.into();
        std::fs::create_dir_all(&dir).map_err(|source| Error::Io { path: dir.clone(), source })?;
        Ok(Arc::new(Images { dir }))
    }

    #[must_use]
    pub fn dir(&self) -> &std::path::Path {
        &self.dir
    }
}
