//! The paths of a kind and the operations on each, as clients look for them.
//!
//! kubectl reads three things here: which operation has the kind's group, version and kind; whether PATCH takes
//! `fieldValidation` and `dryRun`; and which media types PATCH consumes.

use super::{Dialect, schema};
use api::Kind;
use api::kinds::Subresource;
use serde_json::{Map, Value, json};

const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const PRODUCES: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

type Parameter = (&'static str, &'static str, &'static str);

const DRY_RUN: Parameter = (
    "dryRun",
    "string",
    "When present, indicates that modifications should not be persisted. An invalid or unrecognized dryRun directive will result in an error response and no further processing of the request. Valid values are: - All: all dry run stages will be processed",
);
const FIELD_MANAGER: Parameter = (
    "fieldManager",
    "string",
    "fieldManager is a name associated with the actor or entity that is making these changes. The value must be less than or 128 characters long, and only contain printable characters, as defined by https://golang.org/pkg/unicode/#IsPrint.",
);
const FIELD_VALIDATION: Parameter = (
    "fieldValidation",
    "string",
    "fieldValidation instructs the server on how to handle objects in the request (POST/PUT/PATCH) containing unknown or duplicate fields. Valid values are: Ignore, Warn, Strict.",
);
const FORCE: Parameter = (
    "force",
    "boolean",
    "Force is going to \"force\" Apply requests. It means user will re-acquire conflicting fields owned by other people. Force flag must be unset for non-apply patch requests.",
);
const WRITE: [Parameter; 3] = [DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
const LIST: [Parameter; 10] = [
    ("allowWatchBookmarks", "boolean", "allowWatchBookmarks requests watch events with type \"BOOKMARK\"."),
    (
        "continue",
        "string",
        "The continue option should be set when retrieving more results from the server. Since this value is server defined, clients may only use the continue value from a previous query result with identical query parameters.",
    ),
    (
        "fieldSelector",
        "string",
        "A selector to restrict the list of returned objects by their fields. Defaults to everything.",
    ),
    (
        "labelSelector",
        "string",
        "A selector to restrict the list of returned objects by their labels. Defaults to everything.",
    ),
    ("limit", "integer", "limit is a maximum number of responses to return for a list call."),
    (
        "resourceVersion",
        "string",
        "resourceVersion sets a constraint on what resource versions a request may be served from.",
    ),
    ("resourceVersionMatch", "string", "resourceVersionMatch determines how resourceVersion is applied to list calls."),
    (
        "sendInitialEvents",
        "boolean",
        "sendInitialEvents=true may be set together with watch=true: the stream begins with synthetic events for all current objects.",
    ),
    (
        "timeoutSeconds",
        "integer",
        "Timeout for the list/watch call. This limits the duration of the call, regardless of any activity or inactivity.",
    ),
    (
        "watch",
        "boolean",
        "Watch for changes to the described resources and return them as a stream of add, update, and remove notifications. Specify resourceVersion.",
    ),
];
const DELETE: [Parameter; 4] = [
    DRY_RUN,
    (
        "gracePeriodSeconds",
        "integer",
        "The duration in seconds before the object should be deleted. Value must be non-negative integer. The value zero indicates delete immediately.",
    ),
    (
        "orphanDependents",
        "boolean",
        "Deprecated: please use the PropagationPolicy, this field will be deprecated in 1.7.",
    ),
    (
        "propagationPolicy",
        "string",
        "Whether and how garbage collection will be performed: 'Orphan', 'Background' or 'Foreground'.",
    ),
];

/// One operation, as the table below tells it.
struct Operation<'k> {
    method: &'static str,
    action: &'static str,
    description: String,
    id: String,
    parameters: Vec<Parameter>,
    body: Option<&'k str>,
    answer: &'k str,
    gvk: Value,
}

/// The path items of a kind.
pub(super) fn of(kind: &Kind, dialect: Dialect) -> Vec<(String, Value)> {
    let item = Items { kind, dialect, name: schema::name_of(kind), list: schema::list_name_of(kind) };
    let scope = kind.namespaced.then_some("{namespace}");
    let mut out = Vec::new();
    let collection = kind.resource.path(scope, None, None);
    out.push((collection, item.item(item.collection(), kind.namespaced, false)));
    if kind.namespaced && kind.has_verb("list") {
        let everywhere = item.list("ForAllNamespaces").into_iter().collect();
        out.push((kind.resource.path(None, None, None), item.item(everywhere, false, false)));
    }
    let one = item.one();
    if !one.is_empty() {
        out.push((kind.resource.path(scope, Some("{name}"), None), item.item(one, kind.namespaced, true)));
    }
    for below in &kind.subresources {
        let path = kind.resource.path(scope, Some("{name}"), Some(&below.name));
        let body = below.schema().map_or_else(|| item.name.clone(), api::fields::TypeRef::definition);
        out.push((path, item.item(item.below(below, &body), kind.namespaced, true)));
    }
    out.retain(|(_, item)| item.as_object().is_some_and(|item| item.keys().any(|key| key != "parameters")));
    out
}

struct Items<'k> {
    kind: &'k Kind,
    dialect: Dialect,
    name: String,
    list: Option<String>,
}

impl Items<'_> {
    fn gvk(&self) -> Value {
        schema::gvk(self.kind.group(), self.kind.version(), &self.kind.kind)
    }

    /// `AppsV1NamespacedDeployment`: what operation ids end with.
    fn id(&self, verb: &str, tail: &str) -> String {
        let scope = if self.kind.namespaced && tail != "ForAllNamespaces" { "Namespaced" } else { "" };
        format!("{verb}{}{scope}{}{tail}", self.group_id(), self.kind.kind)
    }

    fn group_id(&self) -> String {
        let group = self.kind.group().split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
        let upper = |word: &str| word[..1].to_uppercase() + &word[1..];
        upper(group) + &upper(self.kind.version())
    }

    fn list(&self, tail: &str) -> Option<Operation<'_>> {
        let list = self.list.as_deref().filter(|_| self.kind.has_verb("list"))?;
        Some(Operation {
            method: "get",
            action: "list",
            description: format!("list or watch objects of kind {}", self.kind.kind),
            id: self.id("list", tail),
            parameters: LIST.to_vec(),
            body: None,
            answer: list,
            gvk: self.gvk(),
        })
    }

    fn collection(&self) -> Vec<Operation<'_>> {
        let mut out: Vec<Operation<'_>> = self.list("").into_iter().collect();
        if self.kind.has_verb("create") {
            let told = format!("create a {}", self.kind.kind);
            let write = self.operation("post", "post", told, self.id("create", ""), &WRITE);
            out.push(Operation { body: Some(&self.name), ..write });
        }
        if self.kind.has_verb("deletecollection") {
            let told = format!("delete collection of {}", self.kind.kind);
            let parameters: Vec<Parameter> = DELETE.iter().chain(&LIST[1..9]).copied().collect();
            let id = self.id("deleteCollection", "");
            let delete = self.operation("delete", "deletecollection", told, id, &parameters);
            out.push(Operation { body: Some(DELETE_OPTIONS), answer: STATUS, ..delete });
        }
        out
    }

    fn one(&self) -> Vec<Operation<'_>> {
        let kind = &self.kind.kind;
        let mut out = Vec::new();
        if self.kind.has_verb("get") {
            out.push(self.operation("get", "get", format!("read the specified {kind}"), self.id("read", ""), &[]));
        }
        if self.kind.has_verb("update") {
            let put =
                self.operation("put", "put", format!("replace the specified {kind}"), self.id("replace", ""), &WRITE);
            out.push(Operation { body: Some(&self.name), ..put });
        }
        if self.kind.has_verb("patch") {
            let told = format!("partially update the specified {kind}");
            let parameters = [DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE];
            let patch = self.operation("patch", "patch", told, self.id("patch", ""), &parameters);
            out.push(Operation { body: Some(PATCH), ..patch });
        }
        if self.kind.has_verb("delete") {
            let delete = self.operation("delete", "delete", format!("delete a {kind}"), self.id("delete", ""), &DELETE);
            out.push(Operation { body: Some(DELETE_OPTIONS), answer: STATUS, ..delete });
        }
        out
    }

    fn below<'a>(&'a self, below: &'a Subresource, body: &'a str) -> Vec<Operation<'a>> {
        let gvk = schema::gvk(&below.group, &below.version, &below.kind);
        let is_connection = below.kind.ends_with("Options") || below.name == "log";
        let one = |verb: &String| {
            let (method, word) = match verb.as_str() {
                "create" => ("post", "create"),
                "update" => ("put", "replace"),
                "patch" => ("patch", "patch"),
                "delete" => ("delete", "delete"),
                _ => ("get", "read"),
            };
            let described = format!("{word} {} of the specified {}", below.name, self.kind.kind);
            let tail = below.name[..1].to_uppercase() + &below.name[1..];
            let parameters: &[Parameter] = match method {
                "get" | "delete" => &[],
                "patch" => &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE],
                _ => &WRITE,
            };
            let base = self.operation(method, method, described, self.id(word, &tail), parameters);
            let sent = match method {
                "patch" => Some(PATCH),
                "post" | "put" => Some(body),
                _ => None,
            };
            let gvk = gvk.clone();
            if is_connection {
                return Operation { action: "connect", answer: "", body: None, parameters: Vec::new(), gvk, ..base };
            }
            Operation { body: sent, answer: body, gvk, ..base }
        };
        below.verbs.iter().map(one).collect()
    }

    fn operation(
        &self,
        method: &'static str,
        action: &'static str,
        description: String,
        id: String,
        parameters: &[Parameter],
    ) -> Operation<'_> {
        let (parameters, answer, gvk) = (parameters.to_vec(), &*self.name, self.gvk());
        Operation { method, action, description, id, parameters, body: None, answer, gvk }
    }

    fn item(&self, operations: Vec<Operation<'_>>, namespaced: bool, named: bool) -> Value {
        let mut out = Map::new();
        for operation in operations {
            out.insert(operation.method.to_owned(), self.written(operation));
        }
        let mut parameters = Vec::new();
        let string = |mut parameter: Value| {
            match self.dialect {
                Dialect::V2 => parameter["type"] = "string".into(),
                Dialect::V3 => parameter["schema"] = json!({"type": "string", "uniqueItems": true}),
            }
            parameter["uniqueItems"] = true.into();
            if self.dialect == Dialect::V3 {
                parameter.as_object_mut().map(|parameter| parameter.remove("uniqueItems"));
            }
            parameter
        };
        if named {
            let told = format!("name of the {}", self.kind.kind);
            parameters.push(string(json!({"name": "name", "in": "path", "description": told, "required": true})));
        }
        if namespaced {
            let told = "object name and auth scope, such as for teams and projects";
            parameters.push(string(json!({"name": "namespace", "in": "path", "description": told, "required": true})));
        }
        if !parameters.is_empty() {
            out.insert("parameters".to_owned(), parameters.into());
        }
        Value::Object(out)
    }

    fn written(&self, operation: Operation<'_>) -> Value {
        let tag = self.kind.api_version().replace(['/', '.'], "_");
        let mut out = json!({
            "tags": [if self.kind.group().is_empty() { format!("core_{tag}") } else { tag }],
            "description": operation.description,
            "operationId": operation.id,
        });
        let mut parameters: Vec<Value> = operation.parameters.iter().map(|one| self.query(one)).collect();
        let consumes = consumes(operation.method, self.kind.is_custom());
        if self.dialect == Dialect::V2 {
            if let Some(body) = operation.body {
                let is_required = operation.body != Some(DELETE_OPTIONS);
                let schema = json!({"$ref": self.dialect.reference(body)});
                parameters.push(json!({"name": "body", "in": "body", "required": is_required, "schema": schema}));
            }
            out["consumes"] = json!(consumes);
            out["produces"] = json!(PRODUCES);
            out["schemes"] = json!(["https"]);
        } else if let Some(body) = operation.body {
            let schema = json!({"schema": {"$ref": self.dialect.reference(body)}});
            let content: Map<String, Value> = consumes.iter().map(|one| ((*one).to_owned(), schema.clone())).collect();
            out["requestBody"] = json!({"content": content});
            if body != DELETE_OPTIONS {
                out["requestBody"]["required"] = true.into();
            }
        }
        if !parameters.is_empty() {
            out["parameters"] = parameters.into();
        }
        out["responses"] = self.answers(&operation);
        out["x-kubernetes-action"] = operation.action.into();
        out["x-kubernetes-group-version-kind"] = operation.gvk;
        out
    }

    fn query(&self, (name, kind, description): &Parameter) -> Value {
        match self.dialect {
            Dialect::V2 => {
                json!({"name": name, "in": "query", "description": description, "type": kind, "uniqueItems": true})
            }
            Dialect::V3 => {
                let schema = json!({"type": kind, "uniqueItems": true});
                json!({"name": name, "in": "query", "description": description, "schema": schema})
            }
        }
    }

    fn answers(&self, operation: &Operation<'_>) -> Value {
        let answer = |told: &str| {
            if operation.answer.is_empty() {
                return json!({"description": told});
            }
            let schema = json!({"$ref": self.dialect.reference(operation.answer)});
            match self.dialect {
                Dialect::V2 => json!({"description": told, "schema": schema}),
                Dialect::V3 => {
                    let content: Map<String, Value> =
                        PRODUCES.iter().map(|one| ((*one).to_owned(), json!({"schema": schema}))).collect();
                    json!({"description": told, "content": content})
                }
            }
        };
        let mut out = json!({"200": answer("OK")});
        if operation.action != "connect" && matches!(operation.method, "post" | "put" | "patch") {
            out["201"] = answer("Created");
        }
        if operation.action != "connect" && matches!(operation.method, "post" | "delete") {
            out["202"] = answer("Accepted");
        }
        out["401"] = json!({"description": "Unauthorized"});
        out
    }
}

/// Custom resources take no strategic merge patch.
fn consumes(method: &str, is_custom: bool) -> &'static [&'static str] {
    match (method, is_custom) {
        ("patch", true) => {
            &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"]
        }
        ("patch", false) => &[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
            "application/apply-patch+yaml",
        ],
        _ => &["*/*"],
    }
}
