//! Upstream's own vectors: every kind as JSON, YAML and protobuf has to survive each codec unchanged.

use super::{Strictness, canonical_as, json, protobuf, yaml};
use crate::Tree;
use crate::fields::{TypeRef, type_of_kind};
use std::fs;
use std::path::PathBuf;

/// The folder of the vectors; `None` where the facts are not at hand.
fn folder() -> Option<PathBuf> {
    let beside = || PathBuf::from("../../shared/kubernetes");
    let facts = std::env::var_os("CORACLE_FACTS").map_or_else(beside, PathBuf::from);
    Some(facts.join("golden")).filter(|golden| golden.is_dir())
}

/// `apps.v1.Deployment` as the type it names.
fn schema(name: &str) -> Option<TypeRef> {
    let (rest, kind) = name.rsplit_once('.')?;
    let (group, version) = rest.rsplit_once('.')?;
    type_of_kind(if group == "core" { "" } else { group }, version, kind)
}

fn same(tree: &Tree, expect: &Tree) -> bool {
    // Key order matters too.
    let (tree, expect) = (tree.to_string(), expect.to_string());
    tree == expect
}

fn check(name: &str, folder: &std::path::Path) -> Result<(), String> {
    let read = |ending: &str| fs::read(folder.join(format!("{name}.{ending}"))).map_err(|error| error.to_string());
    let schema = schema(name).ok_or("no such type")?;
    let (text, wire, document) = (read("json")?, read("pb")?, read("yaml")?);
    let expect: Tree = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let (tree, problems) =
        json::decode_as(&text, Some(schema), Strictness::Strict).map_err(|error| format!("json: {error}"))?;
    if !problems.is_empty() {
        return Err(format!("json: {problems:?}"));
    }
    let printed = super::print::print(&tree, Some(schema));
    let tree = canonical_as(tree, Some(schema));
    if printed != tree.to_string().into_bytes() {
        return Err(format!("printed: {}\n  expected {tree}", String::from_utf8_lossy(&printed)));
    }
    if !same(&tree, &expect) {
        return Err(format!("json: {tree}\n  expected {expect}"));
    }
    let (from_yaml, problems) =
        yaml::decode_as(&document, Some(schema), Strictness::Strict).map_err(|error| format!("yaml: {error}"))?;
    if !problems.is_empty() || !same(&canonical_as(from_yaml, Some(schema)), &expect) {
        return Err(format!("yaml: differs {problems:?}"));
    }
    let from_wire = protobuf::decode_as(&wire, Some(schema)).map_err(|error| format!("protobuf: {error}"))?;
    if !same(&from_wire, &expect) {
        return Err(format!("protobuf: {from_wire}\n  expected {expect}"));
    }
    if protobuf::encode_as(&expect, schema) != wire {
        return Err("to protobuf: differs".to_owned());
    }
    Ok(())
}

#[test]
fn every_vector_survives_every_codec() {
    let Some(folder) = folder() else {
        println!("skipped: set CORACLE_FACTS to the folder of the Kubernetes facts");
        return;
    };
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".pb").map(str::to_owned))
        .collect();
    names.sort();
    let failed: Vec<String> =
        names.iter().filter_map(|name| Some(format!("{name}: {}", check(name, &folder).err()?))).collect();
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), names.len(), failed.join("\n"));
    assert!(names.len() > 100, "only {} vectors found", names.len());
}
