//! ConfigMaps and Secrets.

use super::{Findings, at, text};
use crate::walk::members;
use crate::{Tree, names};

const BYTES_MAX: usize = 1024 * 1024;

/// The keys that a Secret of a known type must have.
const KEYS: [(&str, &[&str]); 4] = [
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
];

pub(super) fn config_map(tree: &Tree, found: &mut Findings) {
    let mut bytes = 0;
    for part in ["data", "binaryData"] {
        for (key, value) in members(tree, &[part]) {
            let field = format!("{part}[{key}]");
            for why in names::config_key(key) {
                found.invalid(&field, &key.as_str().into(), why);
            }
            if part == "binaryData" && at(tree, &["data", key]).is_some() {
                found.invalid(&field, &key.as_str().into(), "duplicate of key present in data");
            }
            let length = value.as_str().unwrap_or_default().len();
            bytes += if part == "data" { length } else { decoded_length(length) };
        }
    }
    if bytes > BYTES_MAX {
        found.too_long("", BYTES_MAX);
    }
}

pub(super) fn secret(tree: &Tree, found: &mut Findings) {
    let mut bytes = 0;
    for (key, value) in members(tree, &["data"]) {
        for why in names::config_key(key) {
            found.invalid(format!("data[{key}]"), &key.as_str().into(), why);
        }
        bytes += decoded_length(value.as_str().unwrap_or_default().len());
    }
    if bytes > BYTES_MAX {
        found.too_long("data", BYTES_MAX);
    }
    let kind = text(tree, &["type"]);
    for key in KEYS.iter().filter(|(name, _)| *name == kind).flat_map(|(_, keys)| *keys) {
        if at(tree, &["data", key]).is_none() {
            found.required(format!("data[{key}]"), "");
        }
    }
    let account = "kubernetes.io/service-account.name";
    if kind == "kubernetes.io/service-account-token" && text(tree, &["metadata", "annotations", account]).is_empty() {
        found.required(format!("metadata.annotations[{account}]"), "");
    }
}

/// How many bytes a base64 text stands for, give or take its padding.
fn decoded_length(text: usize) -> usize {
    text / 4 * 3
}
