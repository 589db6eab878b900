//! YAML: what Coracle writes is what kubectl writes.

use super::{program, version};
use crate::process::text;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Map, Value, json};
use std::process::Command;

const TEXTS: usize = 4000;

/// Of which texts are put together: what has a meaning in YAML, somewhere.
const PIECES: &[&str] = &[
    "a",
    "b",
    "n",
    "y",
    "no",
    "true",
    "null",
    "~",
    "é",
    "\u{a0}",
    " ",
    "\t",
    "\n",
    "\n ",
    "#",
    ":",
    ": ",
    "-",
    "- ",
    "---",
    "?",
    ",",
    "[",
    "]",
    "{",
    "}",
    "&",
    "*",
    "!",
    "|",
    ">",
    "'",
    "\"",
    "%",
    "@",
    "`",
    "\\",
    "0",
    "1",
    "1_0",
    ".",
    ".5",
    "...",
    "_",
    "+",
    "e",
    "1e",
    "0x",
    "0b",
    "0o",
    ".inf",
    "12:30",
    "2001-02-03",
    "T",
];

#[test]
fn texts_are_laid_out_as_kubectl_lays_them_out() {
    if version().is_none() {
        return;
    }
    let mut random = SmallRng::seed_from_u64(1);
    let folder = tempfile::tempdir().expect("a folder");
    let mut data = Map::new();
    for number in 0..TEXTS {
        let pieces = random.random_range(0..8);
        let made: String = (0..pieces).filter_map(|_| PIECES.choose(&mut random).copied()).collect();
        let key = format!("k{number:04}");
        std::fs::write(folder.path().join(&key), &made).expect("written");
        data.insert(key, Value::String(made));
    }
    let mut kubectl = Command::new(program());
    kubectl.args(["create", "configmap", "texts", "--dry-run=client", "-o", "yaml"]);
    let output = kubectl.arg(format!("--from-file={}", folder.path().display())).output().expect("it ran");
    let theirs = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let theirs = theirs.split_once("\nkind: ").expect("a kind").0;
    let ours = api::codec::yaml::encode(&json!({ "apiVersion": "v1", "data": data }));
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.trim_end(), theirs.trim_end());
    assert_eq!(api::codec::yaml::parse(ours.as_bytes()).expect("YAML")["data"], Value::Object(data));
}
