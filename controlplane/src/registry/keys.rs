//! Where objects are in the store: the only place that knows the bytes of the keys.
//!
//! `/objects/<group>/<plural>/[<namespace>/]<name>`, with `core` for the empty group. All versions of a kind share
//! one collection, and so do the two groups that serve Events. Claims of addresses and ports are keys of their own,
//! so that one transaction takes the address and writes the Service. Nothing is under `/registry/`, where a stock
//! kube-apiserver keeps its objects, so that one can use the same store.

use crate::store::kv::KeyRange;
use api::{Kind, Resource};
use bytes::Bytes;
use std::net::IpAddr;

const OBJECTS: &str = "/objects/";
const CLAIMS: &str = "/claims/";

/// `<group>/<plural>`: what one shelf of the memory holds.
#[must_use]
pub(super) fn collection(resource: &Resource) -> String {
    let group = match (&*resource.group, &*resource.plural) {
        ("" | "events.k8s.io", "events") | ("", _) => "core",
        ("extensions", "ingresses") => "networking.k8s.io",
        (group, _) => group,
    };
    format!("{group}/{}", resource.plural)
}

/// `<namespace>/<name>`, or `<name>`: an object's place on its shelf. Shelves order as these bytes do.
#[must_use]
pub(super) fn place(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

#[must_use]
pub(super) fn object(collection: &str, place: &str) -> Bytes {
    Bytes::from(format!("{OBJECTS}{collection}/{place}"))
}

/// The keys of a collection (of one namespace of it), from `start` on.
#[must_use]
pub(super) fn objects(collection: &str, prefix: &str, start: Option<&str>) -> KeyRange {
    let mut range = KeyRange::prefix(format!("{OBJECTS}{collection}/{prefix}"));
    if let Some(start) = start {
        range.start = object(collection, start);
    }
    range
}

/// The keys of all objects.
#[must_use]
pub(super) fn all() -> KeyRange {
    KeyRange::prefix(OBJECTS)
}

/// Collection and place. `None` for a key that is no object's.
#[must_use]
pub(super) fn parse(key: &[u8]) -> Option<(&str, &str)> {
    let rest = std::str::from_utf8(key).ok()?.strip_prefix(OBJECTS)?;
    let group_ends = rest.find('/')?;
    let plural_ends = group_ends + 1 + rest[group_ends + 1..].find('/')?;
    Some((&rest[..plural_ends], &rest[plural_ends + 1..]))
}

/// The key that kube-apiserver would have for an object: some of its messages name it.
#[must_use]
pub(super) fn upstream(kind: &Kind, namespace: Option<&str>, name: &str) -> String {
    let group = kind.group();
    let prefix = match (group, &*kind.resource.plural) {
        ("", "services") => "services/specs".to_owned(),
        ("", "endpoints") => "services/endpoints".to_owned(),
        ("", "nodes") => "minions".to_owned(),
        ("", "replicationcontrollers") => "controllers".to_owned(),
        ("networking.k8s.io" | "extensions", "ingresses") => "ingress".to_owned(),
        ("events.k8s.io", plural) => plural.to_owned(),
        // What came with an API server of its own has its group in the key.
        ("apiextensions.k8s.io" | "apiregistration.k8s.io", plural) => format!("{group}/{plural}"),
        (_, plural) if kind.is_custom() => format!("{group}/{plural}"),
        (_, plural) => plural.to_owned(),
    };
    format!("/registry/{prefix}/{}", place(namespace, name))
}

/// The claim of a Service's address.
#[must_use]
pub(super) fn address(address: IpAddr) -> Bytes {
    Bytes::from(format!("{CLAIMS}service-ip/{address}"))
}

/// The claim of a node port.
#[must_use]
pub(super) fn node_port(protocol: &str, port: u16) -> Bytes {
    Bytes::from(format!("{CLAIMS}node-port/{}/{port}", protocol.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::resource::{DEPLOYMENTS, EVENTS, NODES};

    #[test]
    fn keys_read_back() {
        let key = object(&collection(&DEPLOYMENTS), &place(Some("a"), "b"));
        assert_eq!(&key[..], b"/objects/apps/deployments/a/b");
        assert_eq!(parse(&key), Some(("apps/deployments", "a/b")));
        assert_eq!(parse(&object(&collection(&NODES), "n")), Some(("core/nodes", "n")));
        assert_eq!(parse(b"/claims/x"), None);
        let other = Resource::new("events.k8s.io", "v1", "events");
        assert_eq!(collection(&EVENTS), collection(&other));
    }
}
