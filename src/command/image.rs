//! `coracle image`: Wasm files as OCI artifacts, in the embedded registry.

use super::{columns, print};
use crate::args::Image;
use crate::remote::{Answer, Remote};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::Write;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
const MAGIC: &[u8] = b"\0asm";

pub(crate) async fn run(command: &Image) -> Result<()> {
    match command {
        Image::Push { access, file, reference } => {
            let wasm = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            if !wasm.starts_with(MAGIC) {
                bail!("{} is not WebAssembly", file.display());
            }
            let (name, tag) = parse(reference)?;
            let remote = Remote::open(access).await?;
            let digest = push(&remote, name, tag, wasm).await?;
            print(&format!("{name}:{tag} {digest}\n"))
        }
        Image::Pull { access, reference, file } => {
            let (name, tag) = parse(reference)?;
            let remote = Remote::open(access).await?;
            let wasm = wasm(&remote, name, &manifest(&remote, name, tag).await?.tree).await?;
            if file.as_os_str() == "-" {
                return Ok(std::io::stdout().write_all(&wasm)?);
            }
            std::fs::write(file, &wasm).with_context(|| format!("cannot write {}", file.display()))
        }
        Image::List { access } => list(&Remote::open(access).await?).await,
        Image::Inspect { access, reference } => {
            let (name, tag) = parse(reference)?;
            inspect(&Remote::open(access).await?, name, tag).await
        }
        Image::Rm { access, references } => {
            let remote = Remote::open(access).await?;
            for reference in references {
                let (name, tag) = parse(reference)?;
                let answer = remote.send(Method::DELETE, &format!("/v2/{name}/manifests/{tag}"), &[], "").await?;
                found(answer, name, tag)?;
                print(&format!("{name}:{tag} removed\n"))?;
            }
            Ok(())
        }
    }
}

/// What a tag stands for.
struct Manifest {
    digest: String,
    tree: Value,
}

async fn manifest(remote: &Remote, name: &str, tag: &str) -> Result<Manifest> {
    let path = format!("/v2/{name}/manifests/{tag}");
    let answer = remote.send(Method::GET, &path, &[(header::ACCEPT.as_str(), MANIFEST)], "").await?;
    let answer = found(answer, name, tag)?;
    Ok(Manifest { digest: digest(&answer.body), tree: answer.json()? })
}

fn found(answer: Answer, name: &str, tag: &str) -> Result<Answer> {
    if answer.status == StatusCode::NOT_FOUND {
        bail!("there is no image {name}:{tag}; `coracle image list` shows those that are");
    }
    answer.success()
}

/// The bytes of the layer that runs.
async fn wasm(remote: &Remote, name: &str, manifest: &Value) -> Result<Bytes> {
    let layer = manifest["layers"][0]["digest"].as_str().context("the image has no layers")?;
    Ok(remote.send(Method::GET, &format!("/v2/{name}/blobs/{layer}"), &[], "").await?.success()?.body)
}

/// Bytes of all layers.
fn size(manifest: &Value) -> u64 {
    manifest["layers"].as_array().into_iter().flatten().filter_map(|layer| layer["size"].as_u64()).sum()
}

async fn inspect(remote: &Remote, name: &str, tag: &str) -> Result<()> {
    let manifest = manifest(remote, name, tag).await?;
    let wasm = wasm(remote, name, &manifest.tree).await?;
    // The version field's upper half tells a component from a core module.
    let kind = if wasm.get(6..8) == Some(&[1, 0]) { "component" } else { "core module" };
    let layer = &manifest.tree["layers"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lines = [
        ("image", format!("{name}:{tag}")),
        ("digest", manifest.digest.clone()),
        ("artifact", text(&manifest.tree["config"]["mediaType"])),
        ("layer", format!("{} {}", text(&layer["mediaType"]), text(&layer["digest"]))),
        ("size", format!("{} bytes", size(&manifest.tree))),
        ("wasm", kind.to_owned()),
    ];
    lines.iter().try_for_each(|(what, value)| print(&format!("{what:<9} {value}\n")))
}

/// `name:tag` of the embedded registry.
fn parse(reference: &str) -> Result<(&str, &str)> {
    let (name, tag) = match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (reference, "latest"),
    };
    let host = name.split_once('/').map(|(first, _)| first).unwrap_or_default();
    if host.contains(['.', ':']) || host == "localhost" {
        bail!("{reference} names the registry {host}; this command pushes to the embedded one: leave the host away");
    }
    if name.is_empty() || tag.is_empty() {
        bail!("{reference:?} is not of the form name:tag");
    }
    Ok((name, tag))
}

/// Config and layer first, so that the manifest never names what is not there.
async fn push(remote: &Remote, name: &str, tag: &str, wasm: Vec<u8>) -> Result<String> {
    let layer_digest = digest(&wasm);
    let config = json!({"architecture": "wasm", "os": "wasip2", "layerDigests": [layer_digest]}).to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest(config.as_bytes()), "size": config.len()},
        "layers": [{"mediaType": LAYER, "digest": layer_digest, "size": wasm.len()}],
    });
    blob(remote, name, config.into_bytes()).await?;
    blob(remote, name, wasm).await?;
    let manifest = manifest.to_string();
    let path = format!("/v2/{name}/manifests/{tag}");
    let headers = [(header::CONTENT_TYPE.as_str(), MANIFEST)];
    remote.send(Method::PUT, &path, &headers, manifest.clone()).await?.success()?;
    Ok(digest(manifest.as_bytes()))
}

async fn blob(remote: &Remote, name: &str, bytes: Vec<u8>) -> Result<()> {
    let digest = digest(&bytes);
    let there = remote.send(Method::HEAD, &format!("/v2/{name}/blobs/{digest}"), &[], "").await?;
    if there.status == StatusCode::OK {
        return Ok(());
    }
    let upload = remote.send(Method::POST, &format!("/v2/{name}/blobs/uploads/"), &[], "").await?.success()?;
    let location = upload.header(header::LOCATION).context("the registry names no place for the upload")?;
    let join = if location.contains('?') { '&' } else { '?' };
    let path = format!("{location}{join}digest={digest}");
    let headers = [(header::CONTENT_TYPE.as_str(), "application/octet-stream")];
    remote.send(Method::PUT, &path, &headers, bytes).await?.success()?;
    Ok(())
}

async fn list(remote: &Remote) -> Result<()> {
    let mut lines = vec![["IMAGE", "SIZE", "DIGEST"].map(str::to_owned).to_vec()];
    let catalog = remote.send(Method::GET, "/v2/_catalog", &[], "").await?.success()?.json()?;
    for name in catalog["repositories"].as_array().into_iter().flatten().filter_map(|name| name.as_str()) {
        let tags = remote.send(Method::GET, &format!("/v2/{name}/tags/list"), &[], "").await?.success()?.json()?;
        for tag in tags["tags"].as_array().into_iter().flatten().filter_map(|tag| tag.as_str()) {
            let manifest = manifest(remote, name, tag).await?;
            let kib = size(&manifest.tree).div_ceil(1024);
            lines.push(vec![format!("{name}:{tag}"), format!("{kib} KiB"), manifest.digest]);
        }
    }
    if lines.len() == 1 {
        eprintln!("No images yet; `coracle image push FILE NAME:TAG` adds one.");
        return Ok(());
    }
    print(&columns(&lines))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_has_a_name_and_a_tag() {
        assert_eq!(parse("hello:v1").expect("plain"), ("hello", "v1"));
        assert_eq!(parse("shop/hello").expect("no tag"), ("shop/hello", "latest"));
        assert!(parse("ghcr.io/shop/hello:v1").is_err());
        assert!(parse(":v1").is_err());
    }
}
