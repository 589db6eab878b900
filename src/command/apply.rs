//! `coracle apply`: makes the objects of a file be, and waits for their rollout where asked to.

use super::{kinds, print};
use crate::args::Apply;
use crate::remote::{JSON, Remote};
use anyhow::{Context, Result, bail};
use api::kinds::Kind;
use http::{Method, StatusCode, header};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where an object of a file is on the server.
struct Place {
    collection: String,
    name: String,
    /// `deployment.apps/hello`, as kubectl prints it.
    label: String,
}

pub(crate) async fn run(args: &Apply) -> Result<()> {
    let remote = Remote::open(&args.scope.access).await?;
    let mut rollouts = Vec::new();
    let mut files = Vec::new();
    for named in &args.filename {
        files.extend(expand(named)?);
    }
    for file in &files {
        for object in documents(file)? {
            let namespace = args.scope.namespace.as_deref().unwrap_or(&remote.namespace);
            let placed = async {
                let (group, version, kind) = typed(&object)?;
                place(&object, &*kinds::of(&remote, group, version, kind).await?, namespace)
            };
            let place = placed.await.with_context(|| file.display().to_string())?;
            let done =
                put(&remote, &place, &object, args.force_conflicts).await.with_context(|| place.label.clone())?;
            print(&format!("{} {done}\n", place.label))?;
            if object["kind"] == "Deployment" {
                rollouts.push(place);
            }
        }
    }
    if !args.wait {
        return Ok(());
    }
    let limit = Duration::from_secs(args.timeout.into());
    let all = async {
        for place in &rollouts {
            rollout(&remote, place).await?;
        }
        Ok(())
    };
    match tokio::time::timeout(limit, all).await {
        Ok(done) => done,
        Err(_) => bail!("not rolled out within {limit:?}; `kubectl describe pods` says why"),
    }
}

/// The files that a name stands for: itself, or those of the folder by their names.
fn expand(named: &Path) -> Result<Vec<PathBuf>> {
    if !named.is_dir() {
        return Ok(vec![named.to_path_buf()]);
    }
    let entries = std::fs::read_dir(named).with_context(|| format!("cannot read {}", named.display()))?;
    let is_manifest = |path: &PathBuf| {
        path.is_file() && path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json")
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_manifest).collect();
    files.sort();
    if files.is_empty() {
        bail!("{} holds no .yaml, .yml or .json file", named.display());
    }
    Ok(files)
}

fn documents(file: &Path) -> Result<Vec<Value>> {
    let mut text = String::new();
    if file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    }
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(&text) {
        let object =
            Value::deserialize(document).with_context(|| format!("{} is neither YAML nor JSON", file.display()))?;
        match object["items"].as_array().filter(|_| object["kind"].as_str().is_some_and(|kind| kind.ends_with("List")))
        {
            Some(items) => objects.extend(items.iter().cloned()),
            None if object.is_null() => {}
            None => objects.push(object),
        }
    }
    Ok(objects)
}

/// Group, version and kind.
fn typed(object: &Value) -> Result<(&str, &str, &str)> {
    let version = object["apiVersion"].as_str().context("an object has no apiVersion")?;
    let kind = object["kind"].as_str().context("an object has no kind")?;
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    Ok((group, version, kind))
}

fn place(object: &Value, known: &Kind, namespace: &str) -> Result<Place> {
    let name = object["metadata"]["name"].as_str().context("an object has no metadata.name")?;
    let group = known.group();
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or(namespace);
    let collection = known.resource.path(known.namespaced.then_some(namespace), None, None);
    let suffix = if group.is_empty() { String::new() } else { format!(".{group}") };
    Ok(Place { collection, name: name.to_owned(), label: format!("{}{suffix}/{name}", known.singular) })
}

/// Server-side apply: the file's fields become this command's own.
async fn put(remote: &Remote, place: &Place, object: &Value, force: bool) -> Result<&'static str> {
    let options = format!("fieldManager=coracle&fieldValidation=Strict&force={force}");
    let path = format!("{}/{}?{options}", place.collection, place.name);
    let headers = [(header::ACCEPT.as_str(), JSON), (header::CONTENT_TYPE.as_str(), "application/apply-patch+yaml")];
    let answer = remote.send(Method::PATCH, &path, &headers, object.to_string()).await?;
    let answer = match answer.status {
        StatusCode::CONFLICT => {
            answer.success().context("others own some of its fields; --force-conflicts takes them over")?
        }
        _ => answer.success()?,
    };
    Ok(if answer.status == StatusCode::CREATED { "created" } else { "configured" })
}

/// Prints each step of a Deployment until it is rolled out.
async fn rollout(remote: &Remote, place: &Place) -> Result<()> {
    let path = format!("{}?watch=true&fieldSelector=metadata.name%3D{}", place.collection, place.name);
    let mut body = remote.stream(&path).await?;
    let mut buffer: Vec<u8> = Vec::new();
    let mut last = String::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.context("the watch broke off")?.into_data() else { continue };
        buffer.extend_from_slice(&data);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line).context("the watch is not JSON")?;
            let (text, done) = progress(&event["object"]);
            if text != last {
                print(&format!("{} {text}\n", place.label))?;
                last = text;
            }
            if done {
                return Ok(());
            }
        }
    }
    bail!("the server ended the watch of {}", place.label)
}

/// How far a Deployment is, in words, and whether that is all the way.
fn progress(deployment: &Value) -> (String, bool) {
    let number = |at: &Value| at.as_i64().unwrap_or(0);
    let (spec, status) = (&deployment["spec"], &deployment["status"]);
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    if number(&status["observedGeneration"]) < number(&deployment["metadata"]["generation"]) {
        return ("is being taken up".to_owned(), false);
    }
    let (updated, available) = (number(&status["updatedReplicas"]), number(&status["availableReplicas"]));
    let done = updated >= wanted && available >= wanted && number(&status["replicas"]) <= wanted;
    let bar: String =
        (0..wanted.min(20)).map(|pod| if pod * wanted < available * wanted.min(20) { '#' } else { '.' }).collect();
    (format!("[{bar}] {available} of {wanted} available"), done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rollout_is_done_when_the_new_pods_alone_are_there() {
        let at = |replicas: i64, updated: i64, available: i64| {
            progress(
                &json!({"metadata": {"generation": 2}, "spec": {"replicas": 3}, "status": {"observedGeneration": 2,
                "replicas": replicas, "updatedReplicas": updated, "availableReplicas": available}}),
            )
        };
        assert_eq!(at(3, 1, 1), ("[#..] 1 of 3 available".to_owned(), false));
        assert!(!at(4, 3, 3).1, "an old pod is left");
        assert!(at(3, 3, 3).1);
        let stale = json!({"metadata": {"generation": 3}, "status": {"observedGeneration": 2}});
        assert!(!progress(&stale).1);
    }

    #[test]
    fn a_folder_stands_for_its_manifests() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["b.yaml", "a.json", "readme.md"] {
            std::fs::write(folder.path().join(name), "").expect("written");
        }
        let found = expand(folder.path()).expect("it is there");
        assert_eq!(found, [folder.path().join("a.json"), folder.path().join("b.yaml")]);
        assert_eq!(expand(Path::new("-")).expect("standard input"), [Path::new("-")]);
    }

    #[test]
    fn an_object_is_where_its_kind_says() {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "hello"}});
        let (group, version, kind) = typed(&object).expect("it says what it is");
        let known = api::kinds::find_kind(group, version, kind).expect("a known kind");
        let place = place(&object, known, "shop").expect("it has a name");
        assert_eq!(place.collection, "/apis/apps/v1/namespaces/shop/deployments");
        assert_eq!(place.label, "deployment.apps/hello");
    }
}
