//! The exchanges that clients have with a registry, as requests and answers.

use http_body_util::Full;
use sha2::{Digest as _, Sha256};

use super::*;

struct Registry {
    images: Arc<Images>,
    _dir: tempfile::TempDir,
}

struct Got {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Registry {
    fn new() -> Registry {
        let dir = tempfile::tempdir().unwrap();
        Registry { images: Images::open(dir.path()).unwrap(), _dir: dir }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Got {
        self.ask_as(true, method, path, headers, body).await
    }

    async fn ask_as(&self, writer: bool, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Got {
        let mut builder = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let request = builder.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let (parts, body) = handle(&self.images, writer, request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Got { status: parts.status.as_u16(), headers: parts.headers, body: String::from_utf8_lossy(&body).into_owned() }
    }
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        body["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

#[tokio::test]
async fn push_and_pull() {
    let registry = Registry::new();
    let root = registry.ask("GET", "/v2/", &[], b"").await;
    assert_eq!((root.status, root.header("docker-distribution-api-version")), (200, "registry/2.0"));
    let blob = b"\0asm-and-more";
    let path = format!("/v2/hello/blobs/{}", digest(blob));
    assert_eq!(registry.ask("HEAD", &path, &[], b"").await.status, 404);
    let begun = registry.ask("POST", "/v2/hello/blobs/uploads/", &[], b"").await;
    assert_eq!(begun.status, 202);
    let upload = begun.header("location").to_owned();
    let put = registry.ask("PUT", &format!("{upload}?digest={}", digest(blob).replace(':', "%3A")), &[], blob).await;
    assert_eq!((put.status, put.header("location")), (201, path.as_str()), "{}", put.body);

    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = format!(r#"{{"schemaVersion":2,"layers":[{{"digest":"{}","size":13}}]}}"#, digest(blob));
    let put = registry.ask("PUT", "/v2/hello/manifests/v1", &[("content-type", kind)], manifest.as_bytes()).await;
    assert_eq!((put.status, put.header("docker-content-digest")), (201, digest(manifest.as_bytes()).as_str()));
    let got = registry.ask_as(false, "GET", "/v2/hello/manifests/v1", &[], b"").await;
    assert_eq!((got.status, got.header("content-type"), got.body.as_str()), (200, kind, manifest.as_str()));
    let head = registry.ask("HEAD", "/v2/hello/manifests/v1", &[], b"").await;
    assert_eq!((head.header("content-length"), head.body.as_str()), (manifest.len().to_string().as_str(), ""));
    let got = registry.ask_as(false, "GET", &path, &[], b"").await;
    assert_eq!((got.status, got.body.as_bytes()), (200, &blob[..]));
    let part = registry.ask("GET", &path, &[("range", "bytes=1-3")], b"").await;
    assert_eq!((part.status, part.body.as_str(), part.header("content-range")), (206, "asm", "bytes 1-3/13"));
    assert_eq!(registry.ask("GET", &path, &[("range", "bytes=13-")], b"").await.status, 416);
    let tags = registry.ask("GET", "/v2/hello/tags/list", &[], b"").await;
    assert_eq!(tags.body, r#"{"name":"hello","tags":["v1"]}"#);
    let catalog = registry.ask("GET", "/v2/_catalog?n=1", &[], b"").await;
    assert_eq!((catalog.body.as_str(), catalog.header("link")), (r#"{"repositories":["hello"]}"#, ""));
}

#[tokio::test]
async fn uploads_in_chunks() {
    let registry = Registry::new();
    let begun = registry.ask("POST", "/v2/a/b/blobs/uploads/", &[], b"").await;
    let upload = begun.header("location").to_owned();
    let first = registry.ask("PATCH", &upload, &[("content-range", "0-2")], b"abc").await;
    assert_eq!((first.status, first.header("range")), (202, "0-2"));
    let gap = registry.ask("PATCH", &upload, &[("content-range", "5-6")], b"fg").await;
    assert_eq!((gap.status, gap.header("range")), (416, "0-2"));
    assert_eq!(registry.ask("PATCH", &upload, &[("content-range", "3-3")], b"d").await.status, 202);
    assert_eq!(registry.ask("GET", &upload, &[], b"").await.header("range"), "0-3");
    let wrong = registry.ask("PUT", &format!("{upload}?digest={}", digest(b"other")), &[], b"e").await;
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "DIGEST_INVALID"));
    assert_eq!(registry.ask("GET", &upload, &[], b"").await.code(), "BLOB_UPLOAD_UNKNOWN");
    let whole = format!("/v2/a/b/blobs/uploads/?digest={}", digest(b"abcde"));
    assert_eq!(registry.ask("POST", &whole, &[], b"abcde").await.status, 201);
    let mount = format!("/v2/c/blobs/uploads/?mount={}&from=a/b", digest(b"abcde"));
    assert_eq!(registry.ask("POST", &mount, &[], b"").await.status, 201);
    let nothing = format!("/v2/c/blobs/uploads/?mount={}&from=a/b", digest(b"none"));
    assert_eq!(registry.ask("POST", &nothing, &[], b"").await.status, 202);
    let large = vec![7; 2 * CHUNK_BYTES + 3];
    let whole = format!("/v2/a/b/blobs/uploads/?digest={}", digest(&large));
    assert_eq!(registry.ask("POST", &whole, &[], &large).await.status, 201);
}

#[tokio::test]
async fn refusals() {
    let registry = Registry::new();
    let check = async |writer: bool, method: &str, path: &str, status: u16, code: &str| {
        let got = registry.ask_as(writer, method, path, &[], b"{").await;
        assert_eq!((got.status, got.code().as_str()), (status, code), "{method} {path}");
    };
    let none = digest(b"none");
    check(false, "POST", "/v2/a/blobs/uploads/", 403, "DENIED").await;
    check(false, "DELETE", "/v2/a/manifests/v1", 403, "DENIED").await;
    check(true, "GET", "/v2/A/manifests/v1", 400, "NAME_INVALID").await;
    check(true, "GET", "/v2/../x/manifests/v1", 400, "NAME_INVALID").await;
    check(true, "GET", "/v2/a/manifests/v1", 404, "MANIFEST_UNKNOWN").await;
    check(true, "GET", &format!("/v2/a/blobs/{none}"), 404, "BLOB_UNKNOWN").await;
    check(true, "GET", "/v2/a/blobs/sha256:0", 400, "DIGEST_INVALID").await;
    check(true, "GET", "/v2/a/tags/list", 404, "NAME_UNKNOWN").await;
    check(true, "PUT", "/v2/a/manifests/v1", 400, "MANIFEST_INVALID").await;
    check(true, "POST", "/v2/a/tags/list", 405, "UNSUPPORTED").await;
    check(true, "GET", "/v2/a", 404, "NAME_INVALID").await;
}
