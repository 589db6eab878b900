//! Thousands of wrong requests, made from the list of what the server itself says that it serves: each of every kind is
//! answered with the right status and reason, none with a 5xx, and memory stays flat.

use crate::process::{Server, free_port};
use crate::wire::{Wire, tls};
use rustls::ClientConfig;
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;

const TOKENS: &str = "admin-token,admin,admin,system:masters\n";
const ADMIN: &str = "Authorization: Bearer admin-token\r\n";
/// What the issue of being wrong is worth: fewer would mean that discovery no longer lists what is served.
const REQUESTS_MIN: usize = 2000;
/// How far memory may rise from the first round to the last.
const KIB_MAX: u64 = 32 * 1024;

/// One collection that takes objects.
struct Collection {
    path: String,
    api_version: String,
    kind: String,
    /// Its names are words of their own: `system:node`, say.
    has_path_names: bool,
    /// Nothing of it is stored; what is posted is a question.
    is_question: bool,
}

/// What is wrong with a request, and what it is answered with.
struct Wrong {
    what: &'static str,
    method: &'static str,
    /// After the collection's path.
    path: String,
    media: &'static str,
    body: String,
    /// Each pair that is right: several, where a kind may find another thing wrong first.
    answers: &'static [(u16, &'static str)],
}

const BAD: &[(u16, &str)] = &[(400, "BadRequest")];
const INVALID: &[(u16, &str)] = &[(422, "Invalid")];
const NOT_FOUND: &[(u16, &str)] = &[(404, "NotFound")];
const UNSUPPORTED: &[(u16, &str)] = &[(415, "UnsupportedMediaType")];
const NOT_ACCEPTABLE: &[(u16, &str)] = &[(406, "NotAcceptable")];
const NOT_ALLOWED: &[(u16, &str)] = &[(405, "MethodNotAllowed")];

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const OPERATIONS: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

struct Target {
    server: Server,
    tls: Arc<ClientConfig>,
    wire: Option<Wire>,
    asked: usize,
    failures: Vec<String>,
}

impl Target {
    fn start() -> Target {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tokens");
        fs::write(&file, TOKENS).expect("written");
        let file = file.to_str().expect("utf-8");
        let off = ["--token-auth-file", file, "--disable", "controllers,scheduler"];
        let server = Server::start("server", free_port("127.0.0.1"), &off);
        let tls = tls(&server, &[]);
        Target { server, tls, wire: None, asked: 0, failures: Vec::new() }
    }

    fn ask(&mut self, method: &str, path: &str, head: &str, body: &[u8]) -> (u16, String) {
        let wire = self.wire.get_or_insert_with(|| Wire::open(&self.server, &self.tls));
        let answer = wire.ask(method, path, &format!("{ADMIN}{head}"), body);
        if answer.head.to_lowercase().contains("connection: close") {
            self.wire = None;
        }
        (answer.status, answer.body)
    }

    fn tree(&mut self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, "", b"");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// Every collection that discovery says may be created in.
    fn collections(&mut self) -> Vec<Collection> {
        let mut places = vec![("/api/v1".to_owned(), "v1".to_owned())];
        let groups = self.tree("/apis");
        for group in groups["groups"].as_array().expect("groups") {
            for version in group["versions"].as_array().expect("versions") {
                let version = version["groupVersion"].as_str().expect("a version");
                places.push((format!("/apis/{version}"), version.to_owned()));
            }
        }
        let mut found = Vec::new();
        for (place, api_version) in places {
            let list = self.tree(&place);
            for resource in list["resources"].as_array().expect("resources") {
                let (name, kind) =
                    (resource["name"].as_str().expect("a name"), resource["kind"].as_str().expect("a kind"));
                let verbs: Vec<&str> =
                    resource["verbs"].as_array().expect("verbs").iter().filter_map(Value::as_str).collect();
                if name.contains('/') || !verbs.contains(&"create") || name == "bindings" {
                    continue;
                }
                let inside = if resource["namespaced"] == true { "/namespaces/default" } else { "" };
                found.push(Collection {
                    path: format!("{place}{inside}/{name}"),
                    api_version: api_version.clone(),
                    kind: kind.to_owned(),
                    has_path_names: api_version.starts_with("rbac.")
                        || matches!(name, "certificatesigningrequests" | "events" | "poddisruptionbudgets"),
                    is_question: !verbs.contains(&"list"),
                });
            }
        }
        found
    }

    fn try_one(&mut self, collection: &Collection, wrong: &Wrong) {
        let path = format!("{}{}", collection.path, wrong.path);
        let accept = if wrong.what == "an answer in a language of its own" { "Accept: text/html\r\n" } else { "" };
        let head = format!("Content-Type: {}\r\n{accept}", wrong.media);
        let (status, body) = self.ask(wrong.method, &path, &head, wrong.body.as_bytes());
        self.asked += 1;
        let tree: Value = serde_json::from_str(&body).unwrap_or_default();
        let reason = tree["reason"].as_str().unwrap_or_default();
        let is_right = wrong.answers.contains(&(status, reason));
        let is_whole =
            tree["kind"] == "Status" && tree["code"] == status && !tree["message"].as_str().unwrap_or("").is_empty();
        if !is_right || !is_whole {
            let body: String = body.chars().take(300).collect();
            self.failures.push(format!("{}: {} {path}: {status} {body}", wrong.what, wrong.method));
        }
    }
}

/// Everything that is wrong with each kind alike.
fn wrongs(collection: &Collection) -> Vec<Wrong> {
    let mut all = bodies(collection);
    all.extend(metadata(collection));
    all.extend(options(collection));
    if !collection.is_question {
        all.extend(stored_metadata(collection));
        all.extend(writes(collection));
        all.extend(reads());
    }
    all
}

fn post(what: &'static str, body: String, answers: &'static [(u16, &'static str)]) -> Wrong {
    Wrong { what, method: "POST", path: String::new(), media: JSON, body, answers }
}

fn get(what: &'static str, path: &str, answers: &'static [(u16, &'static str)]) -> Wrong {
    Wrong { what, method: "GET", path: path.to_owned(), media: JSON, body: String::new(), answers }
}

impl Collection {
    fn object(&self, metadata: Value) -> String {
        json!({ "apiVersion": self.api_version, "kind": self.kind, "metadata": metadata }).to_string()
    }

    /// With a name, and more.
    fn named(&self, more: Value) -> String {
        let mut metadata = json!({ "name": "wrong" });
        for (key, value) in more.as_object().expect("an object") {
            metadata[key] = value.clone();
        }
        self.object(metadata)
    }
}

/// What is no object of the kind.
fn bodies(collection: &Collection) -> Vec<Wrong> {
    let whole = collection.named(json!({}));
    vec![
        post("no body", String::new(), BAD),
        post("half a body", whole[..whole.len() / 2].to_owned(), BAD),
        post("something after the body", format!("{whole}x"), BAD),
        post("a list", "[]".to_owned(), BAD),
        post("a text", "\"a\"".to_owned(), BAD),
        post("no JSON", "{'a': 1}".to_owned(), BAD),
        post("another kind", whole.replace(&format!("\"kind\":\"{}\"", collection.kind), "\"kind\":\"Other\""), BAD),
        post("another group", whole.replace(&collection.api_version, "other.example.com/v1"), BAD),
        post("a kind that is a number", whole.replace(&format!("\"{}\"", collection.kind), "5"), BAD),
    ]
}

/// Metadata of the wrong types.
fn metadata(collection: &Collection) -> Vec<Wrong> {
    let (object, named) = (|metadata| collection.object(metadata), |more| collection.named(more));
    vec![
        post("metadata that is a text", object(json!("a")), BAD),
        post("metadata that is a list", object(json!([])), BAD),
        post("a name that is a number", object(json!({ "name": 5 })), BAD),
        post("labels that are a list", named(json!({ "labels": [] })), BAD),
        post("a label that is a number", named(json!({ "labels": { "a": 5 } })), BAD),
        post("annotations that are a text", named(json!({ "annotations": "a" })), BAD),
        post("an annotation that is an object", named(json!({ "annotations": { "a": {} } })), BAD),
        post("finalizers that are a text", named(json!({ "finalizers": "a" })), BAD),
        post("a generation that is a text", named(json!({ "generation": "a" })), BAD),
        post("a time that is none", named(json!({ "creationTimestamp": "yesterday" })), BAD),
        post("owners that are an object", named(json!({ "ownerReferences": {} })), BAD),
    ]
}

/// What is said beside the object.
fn options(collection: &Collection) -> Vec<Wrong> {
    let whole = collection.named(json!({}));
    vec![
        Wrong { media: "text/plain", ..post("a body in plain text", whole.clone(), UNSUPPORTED) },
        Wrong { media: "application/xml", ..post("a body in XML", whole.clone(), UNSUPPORTED) },
        Wrong { path: "?dryRun=Some".to_owned(), ..post("half a dry run", whole.clone(), INVALID) },
        Wrong { path: "?fieldValidation=Loud".to_owned(), ..post("loud validation", whole.clone(), INVALID) },
        Wrong {
            path: "?fieldValidation=Strict".to_owned(),
            ..post("a field twice", whole.replacen("{", "{\"metadata\":{\"name\":\"wrong\"},", 1), BAD)
        },
    ]
}

/// Metadata that no stored object may have.
fn stored_metadata(collection: &Collection) -> Vec<Wrong> {
    let (object, named) = (|metadata| collection.object(metadata), |more| collection.named(more));
    let mut bogus: Value = serde_json::from_str(&named(json!({}))).expect("JSON");
    bogus["bogus"] = json!(1);
    let mut all = vec![
        Wrong {
            path: "?fieldValidation=Strict".to_owned(),
            ..post("a field that nobody knows", bogus.to_string(), BAD)
        },
        post("no name", object(json!({})), INVALID),
        post("a label that no label may be", named(json!({ "labels": { "a b": "c" } })), INVALID),
        post("a label's value that none may be", named(json!({ "labels": { "a": "-" } })), INVALID),
        post("an annotation's key that none may be", named(json!({ "annotations": { "/": "" } })), INVALID),
        post("a finalizer that none may be", named(json!({ "finalizers": ["a b"] })), INVALID),
        post(
            "an owner without a uid",
            named(json!({ "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": "a" }] })),
            INVALID,
        ),
    ];
    if !collection.has_path_names {
        all.push(post("a name that none may be", object(json!({ "name": "Not_A Name" })), INVALID));
    }
    all
}

/// Writes of what is not there, or by the wrong way.
fn writes(collection: &Collection) -> Vec<Wrong> {
    let whole = collection.named(json!({}));
    let object = |metadata| collection.object(metadata);
    vec![
        Wrong {
            method: "PUT",
            path: "/wrong".to_owned(),
            ..post("an update by another name", object(json!({ "name": "other" })), BAD)
        },
        Wrong {
            method: "PUT",
            path: "/wrong".to_owned(),
            ..post("half an update", whole[..whole.len() / 2].to_owned(), BAD)
        },
        Wrong {
            method: "PATCH",
            path: "/nobody".to_owned(),
            media: MERGE,
            ..post("a patch of nothing", "{}".to_owned(), NOT_FOUND)
        },
        Wrong {
            method: "PATCH",
            path: "/nobody".to_owned(),
            media: MERGE,
            ..post("half a patch", "{".to_owned(), BAD)
        },
        Wrong {
            method: "PATCH",
            path: "/nobody".to_owned(),
            media: OPERATIONS,
            ..post("operations that are an object", "{}".to_owned(), NOT_FOUND)
        },
        Wrong {
            method: "PATCH",
            path: "/nobody".to_owned(),
            ..post("a patch that is an object", "{}".to_owned(), UNSUPPORTED)
        },
        Wrong {
            method: "PATCH",
            path: "/nobody?fieldManager=a".to_owned(),
            media: APPLY,
            ..post("an apply that is no YAML", "a: [".to_owned(), BAD)
        },
        Wrong {
            method: "PATCH",
            path: "/nobody".to_owned(),
            media: APPLY,
            ..post("an apply by nobody", whole.clone(), INVALID)
        },
        Wrong {
            method: "DELETE",
            path: "/nobody".to_owned(),
            ..post("a deletion of nothing", String::new(), NOT_FOUND)
        },
        Wrong { method: "DELETE", path: "/nobody".to_owned(), ..post("half an option", "{".to_owned(), BAD) },
        Wrong {
            method: "DELETE",
            path: "/nobody".to_owned(),
            ..post("a grace that is a text", "{\"gracePeriodSeconds\":\"a\"}".to_owned(), BAD)
        },
        Wrong { method: "POST", path: "/wrong".to_owned(), ..post("a creation of a name", whole.clone(), NOT_ALLOWED) },
    ]
}

fn reads() -> Vec<Wrong> {
    vec![
        get("nobody", "/nobody", NOT_FOUND),
        get("below what nothing is", "/nobody/nothing", NOT_FOUND),
        get("a selector that does not end", "?labelSelector=a%20in%20(b", BAD),
        get("a key that none may be", "?labelSelector=-%3Da", BAD),
        get("half a field selector", "?fieldSelector=metadata.name", BAD),
        get("a field that cannot be selected", "?fieldSelector=spec.nonsense%3Da", BAD),
        get("a limit that is a text", "?limit=many", BAD),
        get("a place to go on that is none", "?limit=1&continue=nonsense", BAD),
        get("a version that is a text", "?resourceVersion=abc", BAD),
        get("a watch from a text", "?watch=1&resourceVersion=abc", BAD),
        get("a watch for a text", "?watch=1&timeoutSeconds=soon", BAD),
        get("an answer in a language of its own", "", NOT_ACCEPTABLE),
    ]
}

#[test]
fn every_kind_refuses_what_is_wrong_and_says_why() {
    let mut target = Target::start();
    let collections = target.collections();
    let mut before = 0;
    for (index, collection) in collections.iter().enumerate() {
        for wrong in wrongs(collection) {
            target.try_one(collection, &wrong);
        }
        if index == collections.len() / 4 {
            before = target.server.process.resident_kib();
        }
    }
    let (asked, after) = (target.asked, target.server.process.resident_kib());
    eprintln!("{asked} wrong requests to {} kinds; {before} KiB, {after} KiB after all", collections.len());
    assert!(target.failures.is_empty(), "{} of {asked}:\n{}", target.failures.len(), target.failures.join("\n"));
    assert!(asked >= REQUESTS_MIN, "only {asked} requests");
    assert!(after < before + KIB_MAX, "{before} KiB became {after} KiB");
}
