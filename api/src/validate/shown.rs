//! How upstream prints a value of one of its internal types: as JSON with the names of Go, and with all that is absent.
//!
//! The types that clients see have JSON names; those that kube-apiserver validates have none, so that `%v` of the former
//! is what the client wrote, and of the latter is this. Types of meta/v1 are the same in both.

use crate::Tree;
use crate::fields::{Container, Field, TypeRef, Value, type_of};
use serde_json::Map;

/// Words that Go writes in capitals at the head of a name.
const CAPITALS: &[&str] = &[
    "api", "aws", "ca", "cidr", "csi", "dns", "fc", "fs", "gce", "gmsa", "grpc", "http", "id", "ip", "iqn", "iscsi",
    "nfs", "os", "pd", "qos", "rbd", "se", "tcp", "tls", "ttl", "uid", "uri", "url",
];
/// Names that follow no rule.
const IRREGULAR: &[(&str, &str)] = &[
    ("cephfs", "CephFS"),
    ("ips", "IPs"),
    ("storageos", "StorageOS"),
    ("wwids", "WWIDs"),
    ("targetWWNs", "TargetWWNs"),
];

/// A value of a type such as `core/v1`, `Toleration`.
pub(super) fn internal(package: &str, name: &str, value: &Tree) -> Tree {
    match type_of(package, name) {
        Some(schema) => object(schema, value),
        None => value.clone(),
    }
}

fn object(schema: TypeRef, value: &Tree) -> Tree {
    if schema.package() == "meta/v1" || schema.is_bare() {
        return if value.is_null() { Tree::Object(Map::new()) } else { value.clone() };
    }
    let fields = schema.fields().iter();
    fields.map(|field| (go_name(field.json), member(field, value.get(field.json)))).collect::<Map<_, _>>().into()
}

fn member(field: &Field, value: Option<&Tree>) -> Tree {
    let Some(value) = value.filter(|value| !value.is_null()) else { return zero(field) };
    match (field.container, value) {
        (Container::List, Tree::Array(all)) => all.iter().map(|one| single(field.value, one)).collect(),
        (Container::Map, Tree::Object(all)) => sorted(all.iter().map(|(key, one)| (key, single(field.value, one)))),
        _ => single(field.value, value),
    }
}

fn single(kind: Value, value: &Tree) -> Tree {
    match kind {
        Value::Object(schema) => object(schema, value),
        _ => value.clone(),
    }
}

fn zero(field: &Field) -> Tree {
    if field.container != Container::Single || field.pointer {
        return Tree::Null;
    }
    match field.value {
        Value::String => "".into(),
        Value::Int32 | Value::Int64 | Value::Float64 | Value::IntOrString => 0.into(),
        Value::Bool => false.into(),
        Value::Quantity => "0".into(),
        Value::Object(schema) => object(schema, &Tree::Null),
        _ => Tree::Null,
    }
}

/// A map as Go prints it.
pub(super) fn sorted<'t>(all: impl Iterator<Item = (&'t String, Tree)>) -> Tree {
    let mut all: Vec<_> = all.map(|(key, value)| (key.clone(), value)).collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all.into_iter().collect::<Map<_, _>>().into()
}

fn go_name(json: &str) -> String {
    if let Some((_, name)) = IRREGULAR.iter().find(|(irregular, _)| *irregular == json) {
        return (*name).to_owned();
    }
    let is_head = |word: &&&str| {
        json.strip_prefix(**word)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(|next: char| next.is_uppercase()))
    };
    let length = CAPITALS.iter().find(is_head).map_or(1, |word| word.len());
    let (head, rest) = json.split_at_checked(length).unwrap_or((json, ""));
    head.to_uppercase() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_shown_with_gos_names_and_zeros() {
        let toleration = internal("core/v1", "Toleration", &json!({"key": "a", "operator": "Exists"}));
        let expect = json!({"Key": "a", "Operator": "Exists", "Value": "", "Effect": "", "TolerationSeconds": null});
        assert_eq!(toleration.to_string(), expect.to_string());
        let reference = internal("rbac/v1", "RoleRef", &json!({"apiGroup": "g", "kind": "Role", "name": "n"}));
        assert_eq!(reference.to_string(), json!({"APIGroup": "g", "Kind": "Role", "Name": "n"}).to_string());
        for (json, go) in [
            ("hostIP", "HostIP"),
            ("tcpSocket", "TCPSocket"),
            ("ip", "IP"),
            ("ipBlock", "IPBlock"),
            ("cephfs", "CephFS"),
            ("seLinuxOptions", "SELinuxOptions"),
            ("image", "Image"),
            ("", ""),
        ] {
            assert_eq!(go_name(json), go);
        }
    }
}
