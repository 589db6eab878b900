//! Content that arrives: in a file of its own, until its digest is known to be right.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{BLOB_BYTES_MAX, BLOBS, Digest, Error, Images, Repository, Result, UPLOADS_MAX, at, names, write_new};

/// Marks an upload as being written to.
struct Busy<'a>(&'a Images, Uuid);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.lock().remove(&self.1);
    }
}

impl Images {
    /// Begins an upload.
    pub fn begin(&self) -> Result<Uuid> {
        if names(&self.dir.join("uploads"))?.len() >= UPLOADS_MAX {
            return Err(Error::TooLarge(format!("there are {UPLOADS_MAX} unfinished uploads; finish or cancel some")));
        }
        let id = Uuid::new_v4();
        let path = self.upload(id);
        File::create_new(&path).map_err(at(&path))?;
        Ok(id)
    }

    /// How many bytes of an upload have arrived.
    pub fn uploaded(&self, id: Uuid) -> Result<u64> {
        let path = self.upload(id);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(unknown(id)),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// Adds bytes, which must follow those that are there. Returns how many there are now.
    pub fn append(&self, id: Uuid, from: u64, bytes: &[u8]) -> Result<u64> {
        let _busy = self.occupy(id)?;
        let have = self.uploaded(id)?;
        if have != from {
            return Err(Error::OutOfOrder { at: have });
        }
        let now = have + bytes.len() as u64;
        if now > BLOB_BYTES_MAX {
            return Err(Error::TooLarge(format!("the blob has more than {BLOB_BYTES_MAX} bytes")));
        }
        let path = self.upload(id);
        let mut file = OpenOptions::new().append(true).open(&path).map_err(at(&path))?;
        file.write_all(bytes).map_err(at(&path))?;
        Ok(now)
    }

    /// Makes the upload a blob of the repository, if its content is what it is said to be. If not, it is thrown away.
    pub fn finish(&self, repository: &Repository, id: Uuid, wanted: &Digest) -> Result<()> {
        let _busy = self.occupy(id)?;
        self.uploaded(id)?;
        let path = self.upload(id);
        let mut hash = Sha256::new();
        let mut file = File::open(&path).map_err(at(&path))?;
        io::copy(&mut file, &mut hash).map_err(at(&path))?;
        let found = Digest::of(hash);
        if found != *wanted {
            fs::remove_file(&path).map_err(at(&path))?;
            return Err(Error::DigestMismatch { wanted: wanted.clone(), found });
        }
        self.settle(file, path, wanted)?;
        write_new(&self.link(repository, BLOBS, wanted.hex()), b"")
    }

    pub fn cancel(&self, id: Uuid) -> Result<()> {
        let _busy = self.occupy(id)?;
        self.uploaded(id)?;
        let path = self.upload(id);
        fs::remove_file(&path).map_err(at(&path))
    }

    /// A file that is complete becomes content.
    fn settle(&self, file: File, path: PathBuf, digest: &Digest) -> Result<()> {
        let content = self.content(digest);
        let folder = self.dir.join("blobs/sha256");
        file.sync_all()
            .and_then(|()| fs::rename(&path, &content))
            .and_then(|()| File::open(&folder)?.sync_all())
            .map_err(at(&content))
    }

    fn upload(&self, id: Uuid) -> PathBuf {
        self.dir.join("uploads").join(id.to_string())
    }

    fn occupy(&self, id: Uuid) -> Result<Busy<'_>> {
        if !self.busy.lock().insert(id) {
            return Err(Error::OutOfOrder { at: self.uploaded(id)? });
        }
        Ok(Busy(self, id))
    }
}

fn unknown(id: Uuid) -> Error {
    Error::Unknown(format!("upload {id}"))
}
