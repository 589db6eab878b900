//! Images on this node: pulled from a registry by name, checked by digest, kept on disk by content.
//!
//! Knows the OCI distribution API and nothing of pods. `hello:v1` is in the registry that the API server embeds;
//! a name that begins with a host is in that host's registry.

mod name;
mod registry;
mod store;

pub use name::Reference;

use crate::keyed::Keyed;
use bytes::Bytes;
use client::http::Plain;
use std::path::PathBuf;
use std::sync::Arc;
use store::Store;

/// A guest larger than this is refused.
const WASM_BYTES_MAX: usize = 256 << 20;

/// The images of one node. Cheap to clone.
#[derive(Clone)]
pub struct Images {
    store: Arc<Store>,
    embedded: Option<Plain>,
    /// One pull of a name at a time; the others find its result.
    pulls: Arc<Keyed<tokio::sync::Mutex<()>>>,
}

/// An image that is on this node.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Entry {
    /// Of the manifest.
    pub digest: String,
    /// Of the Wasm file.
    pub wasm_digest: String,
    pub bytes: u64,
}

/// Why an image is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("invalid reference format: {0}")]
    Name(String),
    /// Worth another try later.
    #[error("failed to pull and unpack image {reference:?}: {why}")]
    Pull { reference: String, why: String },
    #[error("failed to pull and unpack image {reference:?}: {why}")]
    Unreachable { reference: String, why: String },
    #[error("the image store in {path:?} cannot be used: {source}")]
    Disk { path: PathBuf, source: std::io::Error },
}

// === impl Images ===

impl Images {
    /// `embedded`: how the API server is reached; `None` leaves only hosts' registries.
    pub fn open(dir: PathBuf, embedded: Option<Plain>) -> Result<Images, Error> {
        let store = Store::open(dir.clone()).map_err(|source| Error::Disk { path: dir, source })?;
        Ok(Images { store: Arc::new(store), embedded, pulls: Arc::default() })
    }

    /// What is on this node under the name.
    #[must_use]
    pub fn find(&self, reference: &str) -> Option<Entry> {
        self.store.find(reference)
    }

    /// The Wasm file of an image that `find` or `pull` returned; its digest is checked again.
    pub async fn wasm(&self, entry: &Entry) -> Result<Bytes, Error> {
        let (store, digest) = (Arc::clone(&self.store), entry.wasm_digest.clone());
        let path = store.blob_path(&digest);
        let read = tokio::task::spawn_blocking(move || store.read(&digest)).await;
        read.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(|source| Error::Disk { path, source })
    }

    /// Takes a Wasm file as an image, without a registry. Its digest stands in for the manifest's.
    pub async fn add(&self, reference: &str, wasm: Bytes) -> Result<Entry, Error> {
        Reference::parse(reference).map_err(Error::Name)?;
        let digest = store::sha256(&wasm);
        let entry = Entry { digest: digest.clone(), wasm_digest: digest.clone(), bytes: wasm.len() as u64 };
        let (store, kept, to) = (Arc::clone(&self.store), entry.clone(), reference.to_owned());
        let path = store.blob_path(&digest);
        let write = move || store.write(&digest, &wasm).and_then(|()| store.name(&to, &kept));
        let written = tokio::task::spawn_blocking(write).await;
        written
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(|source| Error::Disk { path, source })?;
        Ok(entry)
    }

    /// Asks the registry, and fetches what is not here yet. True if nothing had to be fetched.
    pub async fn pull(&self, reference: &str, credentials: &[String]) -> Result<(Entry, bool), Error> {
        let name = Reference::parse(reference).map_err(Error::Name)?;
        let turn = self.pulls.get(reference);
        let _turn = turn.lock().await;
        let failed = |why: String| Error::Pull { reference: reference.to_owned(), why };
        let registry = registry::Registry::new(&name, self.embedded.as_ref(), credentials).map_err(failed)?;
        let lost = |error: registry::Failure| match error {
            registry::Failure::Unreachable(why) => Error::Unreachable { reference: reference.to_owned(), why },
            registry::Failure::Refused(why) => Error::Pull { reference: reference.to_owned(), why },
        };
        let found = registry.resolve(&name).await.map_err(lost)?;
        let was_here = self.store.has(&found.layer.digest);
        if !was_here {
            let wasm = registry.blob(&name, &found.layer.digest, WASM_BYTES_MAX).await.map_err(lost)?;
            let (store, digest) = (Arc::clone(&self.store), found.layer.digest.clone());
            let path = store.blob_path(&digest);
            let written = tokio::task::spawn_blocking(move || store.write(&digest, &wasm)).await;
            written
                .unwrap_or_else(|error| Err(std::io::Error::other(error)))
                .map_err(|source| Error::Disk { path, source })?;
        }
        let entry = Entry { digest: found.digest, wasm_digest: found.layer.digest, bytes: found.layer.size };
        let (store, kept, to) = (Arc::clone(&self.store), entry.clone(), reference.to_owned());
        let named = tokio::task::spawn_blocking(move || store.name(&to, &kept)).await;
        named.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(|error| failed(error.to_string()))?;
        Ok((entry, was_here))
    }
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Images({})", self.store.blob_path("").display())
    }
}
