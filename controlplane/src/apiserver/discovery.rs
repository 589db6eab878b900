//! The discovery documents: which groups, versions and resources there are, plain and aggregated.
//!
//! Pure functions of the served kinds. Knows the documents; knows no paths, no headers and no requests beyond the
//! media types that a document answers.

mod external;

use super::aggregator::External;
use api::Kind;
use api::kinds::Subresource;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use std::cmp::Reverse;
use std::sync::Arc;

/// In which shape `/api` and `/apis` are asked for. Both answer the same shapes, or clients drop the other half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Plain,
    /// `apidiscovery.k8s.io/v2`: all in one document.
    Aggregated,
    /// `apidiscovery.k8s.io/v2beta1`, for clients older than 1.30.
    AggregatedBeta,
}

/// A document as it is sent.
#[derive(Debug, Clone)]
pub struct Document {
    pub form: Form,
    pub content_type: &'static str,
    pub body: Bytes,
    /// Quoted, as in the header.
    pub etag: String,
}

/// `/api`. `server` is the address that the client reached us at (`127.0.0.1:6443`).
#[must_use]
pub fn api(kinds: &[Arc<Kind>], form: Form, server: &str) -> Document {
    if form != Form::Plain {
        return aggregated(form, aggregated_groups(kinds, str::is_empty));
    }
    let versions: Vec<&str> = versions_of(kinds, "");
    let address = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": server}]);
    document(&json!({"kind": "APIVersions", "versions": versions, "serverAddressByClientCIDRs": address}))
}

/// `/apis`. What others serve comes where its priority puts it.
#[must_use]
pub fn apis(kinds: &[Arc<Kind>], others: &[External], form: Form) -> Document {
    if form != Form::Plain {
        return aggregated(form, external::groups(&aggregated_groups(kinds, |group| !group.is_empty()), others));
    }
    let groups = groups_of(kinds).into_iter().filter(|group| !group.is_empty());
    let groups: Vec<Value> = groups.map(|group| group_entry(kinds, group)).collect();
    let groups = external::plain_groups(&groups, others);
    document(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
}

/// `/apis/GROUP`; `None` if nothing of the group is served.
#[must_use]
pub fn group(kinds: &[Arc<Kind>], others: &[External], group: &str) -> Option<Document> {
    let is_served = !group.is_empty() && kinds.iter().any(|kind| kind.group() == group);
    let own: Vec<Value> = is_served.then(|| group_entry(kinds, group)).into_iter().collect();
    let others: Vec<External> = others.iter().filter(|one| one.group == group).cloned().collect();
    let entry = external::plain_groups(&own, &others).into_iter().next()?;
    let mut all = json!({"kind": "APIGroup", "apiVersion": "v1"});
    if let (Value::Object(all), Value::Object(entry)) = (&mut all, entry) {
        all.extend(entry);
    }
    Some(document(&all))
}

/// `/api/VERSION` (with an empty group) or `/apis/GROUP/VERSION`; `None` if it is not served.
#[must_use]
pub fn version(kinds: &[Arc<Kind>], group: &str, version: &str) -> Option<Document> {
    let mut resources = Vec::new();
    for kind in kinds.iter().filter(|kind| kind.group() == group && kind.version() == version) {
        resources.push(resource_entry(kind));
        resources.extend(kind.subresources.iter().map(|below| subresource_entry(kind, below)));
    }
    if resources.is_empty() {
        return None;
    }
    // The core group's list has no apiVersion upstream either.
    let mut all = Map::from_iter([("kind".to_owned(), Value::from("APIResourceList"))]);
    if !group.is_empty() {
        all.insert("apiVersion".to_owned(), "v1".into());
    }
    all.insert("groupVersion".to_owned(), group_version(group, version).into());
    all.insert("resources".to_owned(), resources.into());
    Some(document(&Value::Object(all)))
}

/// The form that an Accept header asks for: the first clause that we can answer.
#[must_use]
pub fn form(accept: &str) -> Form {
    let known = |clause: &str| {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let parameter = |key: &str| clause.split(';').find_map(|part| part.trim().strip_prefix(key)?.strip_prefix('='));
        if !matches!(media, "application/json" | "*/*" | "application/*") {
            return None;
        }
        match (parameter("g"), parameter("v"), parameter("as")) {
            (Some("apidiscovery.k8s.io"), Some("v2"), Some("APIGroupDiscoveryList")) => Some(Form::Aggregated),
            (Some("apidiscovery.k8s.io"), Some("v2beta1"), Some("APIGroupDiscoveryList")) => Some(Form::AggregatedBeta),
            (None, _, None) => Some(Form::Plain),
            _ => None,
        }
    };
    accept.split(',').find_map(known).unwrap_or(Form::Plain)
}

/// How new and stable a version is; greater is preferred: `v2` > `v1` > `v1beta2` > `v1alpha1` > anything else.
#[must_use]
pub fn priority(version: &str) -> (u8, u64, u64) {
    parse_version(version).unwrap_or((0, 0, 0))
}

fn parse_version(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    let major = rest[..digits].parse().ok()?;
    match &rest[digits..] {
        "" => Some((3, major, 0)),
        tail => match tail.strip_prefix("beta") {
            Some(minor) => Some((2, major, minor.parse().ok()?)),
            None => Some((1, major, tail.strip_prefix("alpha")?.parse().ok()?)),
        },
    }
}

fn groups_of(kinds: &[Arc<Kind>]) -> Vec<&str> {
    let mut groups: Vec<&str> = Vec::new();
    for kind in kinds {
        if !groups.contains(&kind.group()) {
            groups.push(kind.group());
        }
    }
    groups
}

/// The versions of a group, preferred first.
fn versions_of<'k>(kinds: &'k [Arc<Kind>], group: &str) -> Vec<&'k str> {
    let mut versions: Vec<&str> = Vec::new();
    for kind in kinds.iter().filter(|kind| kind.group() == group) {
        if !versions.contains(&kind.version()) {
            versions.push(kind.version());
        }
    }
    versions.sort_by_key(|version| Reverse(priority(version)));
    versions
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn group_entry(kinds: &[Arc<Kind>], group: &str) -> Value {
    let one = |version: &&str| json!({"groupVersion": group_version(group, version), "version": version});
    let versions: Vec<Value> = versions_of(kinds, group).iter().map(one).collect();
    let preferred = versions.first().cloned().unwrap_or_default();
    json!({"name": group, "versions": versions, "preferredVersion": preferred})
}

fn resource_entry(kind: &Kind) -> Value {
    let mut entry = json!({
        "name": kind.resource.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
        "kind": kind.kind, "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        entry["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
    if !kind.storage_version_hash.is_empty() {
        entry["storageVersionHash"] = json!(kind.storage_version_hash);
    }
    entry
}

fn subresource_entry(kind: &Kind, below: &Subresource) -> Value {
    let mut entry = Map::new();
    let name = format!("{}/{}", kind.resource.plural, below.name);
    entry.insert("name".to_owned(), name.into());
    entry.insert("singularName".to_owned(), "".into());
    entry.insert("namespaced".to_owned(), kind.namespaced.into());
    if (below.group.as_str(), below.version.as_str()) != (kind.group(), kind.version()) {
        entry.insert("group".to_owned(), below.group.clone().into());
        entry.insert("version".to_owned(), below.version.clone().into());
    }
    entry.insert("kind".to_owned(), below.kind.clone().into());
    entry.insert("verbs".to_owned(), json!(below.verbs));
    Value::Object(entry)
}

fn aggregated_groups(kinds: &[Arc<Kind>], wanted: impl Fn(&str) -> bool) -> Vec<Value> {
    let groups = groups_of(kinds).into_iter().filter(|group| wanted(group));
    groups.map(|group| aggregated_group(kinds, group)).collect()
}

fn aggregated(form: Form, items: Vec<Value>) -> Document {
    let version = if form == Form::Aggregated { "v2" } else { "v2beta1" };
    let all = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": items,
    });
    let content_type = match form {
        Form::Plain => "application/json",
        Form::Aggregated => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        Form::AggregatedBeta => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    };
    Document { form, content_type, ..document(&all) }
}

fn aggregated_group(kinds: &[Arc<Kind>], group: &str) -> Value {
    let version = |version: &&str| {
        let own = kinds.iter().filter(|kind| kind.group() == group && kind.version() == *version);
        let resources: Vec<Value> = own.map(|kind| aggregated_resource(kind)).collect();
        json!({"version": version, "resources": resources, "freshness": "Current"})
    };
    let versions: Vec<Value> = versions_of(kinds, group).iter().map(version).collect();
    let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_resource(kind: &Kind) -> Value {
    let mut entry = json!({
        "resource": kind.resource.plural,
        "responseKind": {"group": kind.group(), "version": kind.version(), "kind": kind.kind},
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        entry["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
    let below = |below: &Subresource| {
        json!({
            "subresource": below.name,
            "responseKind": {"group": below.group, "version": below.version, "kind": below.kind},
            "verbs": below.verbs,
        })
    };
    if !kind.subresources.is_empty() {
        entry["subresources"] = kind.subresources.iter().map(below).collect();
    }
    entry
}

fn document(value: &Value) -> Document {
    // With the end of a line, as Go's encoder writes it.
    let body = Bytes::from(format!("{value}\n"));
    let etag = format!("\"{}\"", hex::encode_upper(Sha512::digest(&body)));
    Document { form: Form::Plain, content_type: "application/json", body, etag }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(document: &Document) -> Value {
        serde_json::from_slice(&document.body).unwrap()
    }

    #[test]
    fn plain_documents() {
        let kinds = api::kinds::builtin();
        assert_eq!(read(&api(kinds, Form::Plain, "a:1"))["versions"], json!(["v1"]));
        let apis = read(&apis(kinds, &[], Form::Plain));
        let names: Vec<&str> =
            apis["groups"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
        assert_eq!(names[..3], ["apiregistration.k8s.io", "apps", "events.k8s.io"]);
        let autoscaling = read(&group(kinds, &[], "autoscaling").unwrap());
        assert_eq!(autoscaling["preferredVersion"]["version"], "v2");
        assert!(group(kinds, &[], "none").is_none() && version(kinds, "apps", "v9").is_none());
        let core = version(kinds, "", "v1").unwrap();
        let head = r#"{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"bindings","singularName":"binding","namespaced":true,"kind":"Binding","verbs":["create"]}"#;
        assert!(core.body.starts_with(head.as_bytes()));
        let text = String::from_utf8(core.body.to_vec()).unwrap();
        let eviction = r#"{"name":"pods/eviction","singularName":"","namespaced":true,"group":"policy","version":"v1","kind":"Eviction","verbs":["create"]}"#;
        assert!(text.contains(eviction));
    }

    #[test]
    fn aggregated_documents_hold_every_resource() {
        let kinds = api::kinds::builtin();
        let both = [api(kinds, Form::Aggregated, ""), apis(kinds, &[], Form::Aggregated)];
        let count = |document: &Document| {
            let all = read(document);
            let versions =
                all["items"].as_array().unwrap().iter().flat_map(|group| group["versions"].as_array().unwrap());
            versions.map(|version| version["resources"].as_array().unwrap().len()).sum::<usize>()
        };
        assert_eq!(both.iter().map(count).sum::<usize>(), kinds.len());
        assert_ne!(both[0].etag, both[1].etag);
        let schema = api::fields::type_of("apidiscovery/v2", "APIGroupDiscoveryList");
        for document in &both {
            let strict = api::codec::Strictness::Strict;
            let (tree, problems) = api::codec::json::decode_as(&document.body, schema, strict).unwrap();
            assert_eq!(
                (format!("{}\n", api::codec::canonical_as(tree, schema)).as_bytes(), problems),
                (&*document.body, vec![])
            );
        }
    }

    #[test]
    fn negotiation_takes_the_first_known_clause() {
        let of_1_32 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert_eq!(form(of_1_32), Form::Aggregated);
        assert_eq!(
            form("application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList,application/json"),
            Form::Plain
        );
        assert_eq!(form("application/json, */*"), Form::Plain);
        assert_eq!(
            form("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"),
            Form::AggregatedBeta
        );
    }

    #[test]
    fn versions_are_ordered_as_upstream_orders_them() {
        let mut all = ["v1alpha1", "foo", "v2beta1", "v1", "v10", "v1beta2"];
        all.sort_by_key(|version| Reverse(priority(version)));
        assert_eq!(all, ["v10", "v1", "v2beta1", "v1beta2", "v1alpha1", "foo"]);
    }
}
