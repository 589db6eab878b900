//! The rules of uploads, manifests and tags, on a real folder.

use sha2::{Digest as _, Sha256};

use super::*;

fn digest_of(bytes: &[u8]) -> Digest {
    Digest::of(Sha256::new_with_prefix(bytes))
}

fn repository(name: &str) -> Repository {
    Repository::parse(name).unwrap()
}

fn push(images: &Images, repository: &Repository, bytes: &[u8]) -> Digest {
    let id = images.begin().unwrap();
    images.append(id, 0, bytes).unwrap();
    images.finish(repository, id, &digest_of(bytes)).unwrap();
    digest_of(bytes)
}

fn tag(name: &str) -> Reference {
    Reference::parse(name).unwrap()
}

#[test]
fn uploads() {
    let dir = tempfile::tempdir().unwrap();
    let images = Images::open(dir.path()).unwrap();
    let repository = repository("team/hello");
    let id = images.begin().unwrap();
    assert_eq!(images.append(id, 0, b"hel").unwrap(), 3);
    assert!(matches!(images.append(id, 1, b"lo"), Err(Error::OutOfOrder { at: 3 })));
    assert_eq!(images.append(id, 3, b"lo").unwrap(), 5);
    images.finish(&repository, id, &digest_of(b"hello")).unwrap();
    assert!(matches!(images.uploaded(id), Err(Error::Unknown(_))));
    let blob = images.blob(&repository, &digest_of(b"hello")).unwrap();
    assert_eq!((blob.bytes, fs::read(blob.path).unwrap()), (5, b"hello".to_vec()));

    let id = images.begin().unwrap();
    images.append(id, 0, b"other").unwrap();
    assert!(matches!(images.finish(&repository, id, &digest_of(b"hello")), Err(Error::DigestMismatch { .. })));
    assert!(matches!(images.uploaded(id), Err(Error::Unknown(_))), "what is wrong is thrown away");
    let id = images.begin().unwrap();
    images.cancel(id).unwrap();
    assert!(matches!(images.cancel(id), Err(Error::Unknown(_))));
}

#[test]
fn a_repository_has_only_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let images = Images::open(dir.path()).unwrap();
    let (a, b) = (repository("a"), repository("b"));
    let digest = push(&images, &a, b"x");
    assert!(images.blob(&b, &digest).is_err());
    assert!(!images.mount(&b, &repository("c"), &digest).unwrap());
    assert!(images.mount(&b, &a, &digest).unwrap());
    images.delete_blob(&a, &digest).unwrap();
    assert!(images.blob(&a, &digest).is_err() && images.blob(&b, &digest).is_ok());
}

#[test]
fn manifests_and_tags() {
    let dir = tempfile::tempdir().unwrap();
    let images = Images::open(dir.path()).unwrap();
    let hello = repository("hello");
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let layer = digest_of(b"layer");
    let text = format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","layers":[{{"digest":"{layer}","size":5}}]}}"#);
    let put = |reference: &Reference, text: &str| images.put_manifest(&hello, reference, kind, text.as_bytes());
    assert!(matches!(put(&tag("v1"), &text), Err(Error::Missing(missing)) if missing == layer));
    push(&images, &hello, b"layer");
    let (digest, subject) = put(&tag("v1"), &text).unwrap();
    assert_eq!((digest.clone(), subject), (digest_of(text.as_bytes()), None));
    put(&tag("v2"), &text).unwrap();
    let found = images.manifest(&hello, &tag("v1")).unwrap();
    assert_eq!((found.media_type.as_str(), found.bytes.as_slice()), (kind, text.as_bytes()));
    assert_eq!(images.tags(&hello, "", 10).unwrap(), ["v1", "v2"]);
    assert_eq!(images.tags(&hello, "v1", 10).unwrap(), ["v2"]);
    assert_eq!(images.catalog("", 10).unwrap(), ["hello"]);
    assert!(matches!(put(&Reference::Digest(layer.clone()), &text), Err(Error::DigestMismatch { .. })));
    assert!(matches!(put(&tag("v3"), "{"), Err(Error::Manifest(_))));

    let signature = format!(r#"{{"mediaType":"{kind}","artifactType":"a/b","subject":{{"digest":"{digest}"}}}}"#);
    assert_eq!(put(&tag("sig"), &signature).unwrap().1, Some(digest.clone()));
    let referrers = images.referrers(&hello, &digest).unwrap();
    assert_eq!(referrers.len(), 1);
    assert_eq!(referrers[0].artifact_type.as_deref(), Some("a/b"));

    images.delete_manifest(&hello, &tag("v2")).unwrap();
    images.delete_manifest(&hello, &Reference::Digest(digest)).unwrap();
    assert!(matches!(images.manifest(&hello, &tag("v1")), Err(Error::Unknown(_))));
    assert_eq!(images.tags(&hello, "", 10).unwrap(), ["sig"]);
}

#[test]
fn dead_content_goes() {
    let dir = tempfile::tempdir().unwrap();
    let images = Images::open(dir.path()).unwrap();
    let a = repository("a");
    let kept = push(&images, &a, b"kept");
    let lost = push(&images, &a, b"lost");
    images.delete_blob(&a, &lost).unwrap();
    let id = images.begin().unwrap();
    let now = fs::metadata(dir.path().join("uploads").join(id.to_string())).unwrap().modified().unwrap();
    for folder in ["blobs/sha256", "repositories/a/_blobs", "repositories/b/c/_tags"] {
        let folder = dir.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("half~"), "").unwrap();
    }
    assert_eq!(images.sweep(now).unwrap(), 0);
    assert_eq!(images.sweep(now + DEAD_AFTER * 2).unwrap(), 5, "an upload, a blob and three that are half written");
    assert!(images.blob(&a, &kept).is_ok());
}
