//! Manifests and tags: what an image consists of, and what it is called.

use std::fs;
use std::io;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{Digest, Error, Images, MANIFEST_BYTES_MAX, MANIFESTS, Reference, Repository, Result, TAGS};
use super::{at, names, remove, write_new};

/// A manifest as it was pushed, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub digest: Digest,
    pub media_type: String,
    pub bytes: Vec<u8>,
}

/// A manifest that says it belongs to another one: a signature, say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    pub digest: Digest,
    pub media_type: String,
    pub bytes: u64,
    pub artifact_type: Option<String>,
    pub annotations: serde_json::Map<String, serde_json::Value>,
}

/// What has to be understood of a manifest, be it of an image or an index.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    subject: Option<Descriptor>,
    #[serde(default)]
    annotations: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: Option<String>,
    digest: String,
    #[serde(default)]
    urls: Vec<String>,
}

impl Images {
    /// Stores a manifest, and its tag if it comes with one. What it consists of has to be there already. Returns its
    /// digest, and the one of the manifest that it belongs to.
    pub fn put_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(Digest, Option<Digest>)> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(Error::TooLarge(format!("the manifest has more than {MANIFEST_BYTES_MAX} bytes")));
        }
        let content = parse(bytes)?;
        if content.media_type.as_ref().is_some_and(|own| !media_type.is_empty() && *own != media_type) {
            return Err(Error::Manifest(format!("its media type is not {media_type}")));
        }
        let media_type = content.media_type.as_deref().unwrap_or(media_type);
        let digest = Digest::of(Sha256::new_with_prefix(bytes));
        if let Reference::Digest(wanted) = reference
            && *wanted != digest
        {
            return Err(Error::DigestMismatch { wanted: wanted.clone(), found: digest });
        }
        self.check_parts(repository, &content)?;
        let subject = content.subject.as_ref().map(|subject| Digest::parse(&subject.digest)).transpose()?;
        write_new(&self.content(&digest), bytes)?;
        write_new(&self.link(repository, MANIFESTS, digest.hex()), media_type.as_bytes())?;
        if let Reference::Tag(tag) = reference {
            write_new(&self.link(repository, TAGS, tag), digest.to_string().as_bytes())?;
        }
        Ok((digest, subject))
    }

    pub fn manifest(&self, repository: &Repository, reference: &Reference) -> Result<Manifest> {
        let unknown = || Error::Unknown(format!("manifest {reference} of {repository}"));
        let missing = |error: io::Error, path: &std::path::Path| match error.kind() {
            io::ErrorKind::NotFound => unknown(),
            _ => at(path)(error),
        };
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(tag) => {
                let path = self.link(repository, TAGS, tag);
                let text = fs::read_to_string(&path).map_err(|error| missing(error, &path))?;
                Digest::parse(&text)?
            }
        };
        let path = self.link(repository, MANIFESTS, digest.hex());
        let media_type = fs::read_to_string(&path).map_err(|error| missing(error, &path))?;
        let path = self.content(&digest);
        let bytes = fs::read(&path).map_err(|error| missing(error, &path))?;
        Ok(Manifest { digest, media_type, bytes })
    }

    /// Deletes a tag; or a manifest, and with it the tags that mean it.
    pub fn delete_manifest(&self, repository: &Repository, reference: &Reference) -> Result<()> {
        let what = || format!("manifest {reference} of {repository}");
        let digest = match reference {
            Reference::Tag(tag) => return remove(&self.link(repository, TAGS, tag), what),
            Reference::Digest(digest) => digest,
        };
        let path = self.link(repository, MANIFESTS, digest.hex());
        if !path.exists() {
            return Err(Error::Unknown(what()));
        }
        for tag in names(&self.link(repository, TAGS, ""))? {
            let path = self.link(repository, TAGS, &tag);
            if fs::read_to_string(&path).is_ok_and(|text| text == digest.to_string()) {
                remove(&path, what)?;
            }
        }
        remove(&path, what)
    }

    /// The tags after `last`, in order, at most `max`.
    pub fn tags(&self, repository: &Repository, last: &str, max: usize) -> Result<Vec<String>> {
        if names(&self.link(repository, MANIFESTS, ""))?.is_empty() {
            return Err(Error::Unknown(format!("repository {repository}")));
        }
        let tags = names(&self.link(repository, TAGS, ""))?;
        Ok(tags.into_iter().filter(|tag| **tag > *last).take(max).collect())
    }

    /// The manifests that name `subject` as theirs.
    pub fn referrers(&self, repository: &Repository, subject: &Digest) -> Result<Vec<Referrer>> {
        let mut found = Vec::new();
        for hex in names(&self.link(repository, MANIFESTS, ""))? {
            let digest = Digest::parse(&format!("sha256:{hex}"))?;
            let manifest = self.manifest(repository, &Reference::Digest(digest))?;
            let Ok(content) = parse(&manifest.bytes) else { continue };
            if content.subject.is_none_or(|of| of.digest != subject.to_string()) {
                continue;
            }
            let config = content.config.and_then(|config| config.media_type);
            found.push(Referrer {
                bytes: manifest.bytes.len() as u64,
                digest: manifest.digest,
                media_type: manifest.media_type,
                artifact_type: content.artifact_type.or(config),
                annotations: content.annotations,
            });
        }
        Ok(found)
    }

    fn check_parts(&self, repository: &Repository, content: &Content) -> Result<()> {
        let blobs = content.config.iter().chain(&content.layers);
        // Content with addresses of its own may be anywhere.
        for part in blobs.chain(&content.manifests).filter(|part| part.urls.is_empty()) {
            let digest = Digest::parse(&part.digest)?;
            if matches!(self.blob(repository, &digest), Err(Error::Unknown(_))) {
                return Err(Error::Missing(digest));
            }
        }
        Ok(())
    }
}

fn parse(bytes: &[u8]) -> Result<Content> {
    serde_json::from_slice(bytes).map_err(|error| Error::Manifest(error.to_string()))
}
