//! ConfigMaps and Secrets.

use super::findings::Findings;
use super::meta::IMMUTABLE;
use super::place::Place;
use crate::names;
use base64::Engine as _;

const BYTES_MAX: usize = 1024 * 1024;
const FROZEN: &str = "field is immutable when `immutable` is set";

pub(super) fn config_map(root: &Place<'_, '_>, found: &mut Findings) {
    let (data, binary) = (root.get("data"), root.get("binaryData"));
    let mut bytes = 0;
    for (key, value) in data.entries() {
        config_key(&value, key, found);
        if binary.has(key) {
            found.invalid_as(&value, key, "duplicate of key present in binaryData");
        }
        bytes += value.len();
    }
    for (key, value) in binary.entries() {
        config_key(&value, key, found);
        bytes += decoded_length(value.text());
    }
    if bytes > BYTES_MAX {
        // The whole object is too long, which has no path.
        found.too_long(&root.get(""), BYTES_MAX);
    }
}

fn config_key(at: &Place<'_, '_>, key: &str, found: &mut Findings) {
    names::config_key(key).into_iter().for_each(|why| found.invalid_as(at, key, why));
}

pub(super) fn secret(root: &Place<'_, '_>, found: &mut Findings) {
    let data = root.get("data");
    let mut bytes = 0;
    for (key, value) in data.entries() {
        config_key(&value, key, found);
        bytes += decoded_length(value.text());
    }
    if bytes > BYTES_MAX {
        found.too_long(&data, BYTES_MAX);
    }
    let mut require = |key: &str| {
        if !data.has(key) {
            found.required(&data.entry(key), "");
        }
    };
    match root.get("type").text() {
        "kubernetes.io/service-account-token" => {
            let meta = root.get("metadata");
            let annotations = meta.get("annotations");
            let account = annotations.entry("kubernetes.io/service-account.name");
            if account.is_empty() {
                found.required(&account, "");
            }
        }
        "kubernetes.io/dockercfg" => json_object(&data.entry(".dockercfg"), found),
        "kubernetes.io/dockerconfigjson" => json_object(&data.entry(".dockerconfigjson"), found),
        "kubernetes.io/basic-auth" if !data.has("username") && !data.has("password") => {
            ["username", "password"].into_iter().for_each(require);
        }
        "kubernetes.io/ssh-auth" if data.entry("ssh-privatekey").is_empty() => {
            found.required(&data.entry("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            require("tls.crt");
            require("tls.key");
        }
        _ => {}
    }
}

/// The value is never shown.
fn json_object(at: &Place<'_, '_>, found: &mut Findings) {
    if !at.is_given() {
        return found.required(at, "");
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(at.text()).unwrap_or_default();
    if let Some(why) = json_fault(&bytes) {
        found.invalid_as(at, "<secret contents redacted>", why);
    }
}

/// Why bytes are no JSON object, in the words of Go.
fn json_fault(bytes: &[u8]) -> Option<String> {
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(serde_json::Value::Object(_) | serde_json::Value::Null) => None,
        Ok(other) => {
            let kind = match other {
                serde_json::Value::Array(_) => "array",
                serde_json::Value::String(_) => "string",
                serde_json::Value::Bool(_) => "bool",
                _ => "number",
            };
            Some(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
        }
        Err(error) if error.is_eof() => Some("unexpected end of JSON input".to_owned()),
        Err(error) => {
            let at = position(bytes, error.line(), error.column());
            let bad = bytes.get(at).copied().map_or(' ', char::from);
            let what = if bytes[..at].iter().all(u8::is_ascii_whitespace) {
                "looking for beginning of value"
            } else {
                "after top-level value"
            };
            Some(format!("invalid character '{bad}' {what}"))
        }
    }
}

/// Where a line and a column, both counted from one, are.
fn position(bytes: &[u8], line: usize, column: usize) -> usize {
    let before =
        bytes.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum::<usize>();
    (before + column.saturating_sub(1)).min(bytes.len().saturating_sub(1))
}

/// How many bytes a base64 text stands for.
fn decoded_length(text: &str) -> usize {
    let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

pub(super) fn config_map_update(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    frozen(new, old, &["data", "binaryData"], found);
}

pub(super) fn secret_update(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    if new.get("type").value() != old.get("type").value() {
        found.invalid_as(&new.get("type"), new.get("type").text(), IMMUTABLE);
    }
    frozen(new, old, &["data"], found);
}

/// `immutable: true` is for good.
fn frozen(new: &Place<'_, '_>, old: &Place<'_, '_>, parts: &[&str], found: &mut Findings) {
    if !old.get("immutable").is_true() {
        return;
    }
    if !new.get("immutable").is_true() {
        found.forbidden(&new.get("immutable"), FROZEN);
    }
    for part in parts.iter().filter(|part| new.get(part).value() != old.get(part).value()) {
        found.forbidden(&new.get(part), FROZEN);
    }
}
