//! Kinds that are questions: created to be answered, never stored.

use super::rbac::Rule;
use super::write::writer;
use super::{Attributes, Call, Registry, User, encoded};
use api::kinds::Kind;
use api::object::edit;
use api::rejected::Cause;
use api::{Object, Rejected, Resource, Tree, codec, managed_fields, time};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

const GROUP: &str = "authorization.k8s.io";

impl Registry {
    /// The answer, if the kind is a question that authorization can answer.
    pub(super) fn review(&self, call: &Call<'_>, body: &Tree) -> Result<Option<Arc<Object>>, Rejected> {
        let status = match (call.kind.group(), call.kind.kind.as_str()) {
            (GROUP, "SelfSubjectAccessReview") => self.answer(call, body, call.user)?,
            (GROUP, "SubjectAccessReview" | "LocalSubjectAccessReview") => self.answer(call, body, &subject(body))?,
            // These two answer with an object of their own.
            (GROUP, "SelfSubjectRulesReview") => {
                let status = self.list_rules(edit::text(body, &["spec", "namespace"]), call.user)?;
                return own(call, json!({ "metadata": {}, "spec": {}, "status": status })).map(Some);
            }
            ("authentication.k8s.io", "SelfSubjectReview") => {
                let created = time::seconds(self.clock().now());
                let status = json!({ "userInfo": described(call.user) });
                return own(call, json!({ "metadata": { "creationTimestamp": created }, "status": status })).map(Some);
            }
            _ => return Ok(None),
        };
        let mut tree = body.clone();
        if let Some(namespace) = call.namespace {
            edit::set(&mut tree, &["metadata", "namespace"], namespace);
        }
        self.answered(call, tree, status).map(Some)
    }

    /// What was asked, with the answer: the asker owns his fields, and nobody the answer.
    pub(crate) fn answered(&self, call: &Call<'_>, asked: Tree, status: Tree) -> Result<Arc<Object>, Rejected> {
        let below = call.subresource.and_then(|name| call.kind.subresource(name));
        let kind = below.map_or_else(
            || Kind::clone(call.kind),
            |below| Kind {
                resource: Resource::new(below.group.clone(), below.version.clone(), ""),
                kind: below.kind.clone(),
                schema: below.schema(),
                ..Kind::clone(call.kind)
            },
        );
        let mut tree = asked;
        edit::set(&mut tree, &["kind"], kind.kind.as_str());
        edit::set(&mut tree, &["apiVersion"], kind.api_version());
        edit::remove(&mut tree, &["status"]);
        let mut tree = codec::canonical(tree, &kind);
        let version = kind.api_version();
        let writer = managed_fields::Writer { subresource: "", ..writer(call, &version) };
        managed_fields::update(&kind, None, &mut tree, None, writer, self.clock().now());
        edit::set(&mut tree, &["status"], status);
        encoded::unstored(tree, &kind)
    }

    fn answer(&self, call: &Call<'_>, body: &Tree, user: &User) -> Result<Tree, Rejected> {
        let causes = check(call, body);
        if !causes.is_empty() {
            return Err(Rejected::invalid(GROUP, "", "", causes));
        }
        let spec = edit::at(body, &["spec"]).unwrap_or(&Tree::Null);
        let of = |key: &str| edit::text(spec, &["resourceAttributes", key]);
        let attributes = match edit::at(spec, &["nonResourceAttributes"]).filter(|path| !path.is_null()) {
            Some(path) => Attributes {
                verb: edit::text(path, &["verb"]),
                path: Some(edit::text(path, &["path"])),
                ..Attributes::default()
            },
            None => Attributes {
                verb: of("verb"),
                group: of("group"),
                resource: of("resource"),
                subresource: of("subresource"),
                namespace: of("namespace"),
                name: of("name"),
                path: None,
            },
        };
        let decision = self.authorize(user, &attributes);
        let mut status = json!({ "allowed": decision.allowed });
        if !decision.reason.is_empty() {
            edit::set(&mut status, &["reason"], decision.reason);
        }
        Ok(status)
    }

    fn list_rules(&self, namespace: &str, user: &User) -> Result<Tree, Rejected> {
        if namespace.is_empty() {
            return Err(Rejected::bad_request("no namespace on request"));
        }
        let rules = self.rules(user, namespace);
        let resource = |rule: &&Rule| rule.non_resource_urls.is_empty();
        let resources: Vec<Tree> = rules.iter().filter(resource).map(resource_rule).collect();
        let paths = rules.iter().filter(|rule| !rule.non_resource_urls.is_empty());
        let paths: Vec<Tree> =
            paths.map(|rule| json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls})).collect();
        Ok(json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false}))
    }
}

fn own(call: &Call<'_>, mut tree: Tree) -> Result<Arc<Object>, Rejected> {
    edit::set(&mut tree, &["kind"], call.kind.kind.as_str());
    edit::set(&mut tree, &["apiVersion"], call.kind.api_version());
    encoded::unstored(tree, call.kind)
}

/// What is wrong with a question about access.
fn check(call: &Call<'_>, body: &Tree) -> Vec<Cause> {
    let present = |path: &[&str]| edit::at(body, path).filter(|value| !value.is_null());
    let (resource, path) = (present(&["spec", "resourceAttributes"]), present(&["spec", "nonResourceAttributes"]));
    let mut causes = Vec::new();
    let mut invalid = |field: &str, value: &Tree, why: &str| causes.push(Cause::invalid(field, value, why));
    match (resource, path) {
        (Some(_), Some(path)) => {
            let why = "cannot be specified in combination with resourceAttributes";
            invalid("spec.nonResourceAttributes", &in_go(path), why);
        }
        (None, None) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            invalid("spec.resourceAttributes", &Tree::Null, why);
        }
        _ => {}
    }
    let kind = call.kind.kind.as_str();
    let is_of_nobody =
        edit::text(body, &["spec", "user"]).is_empty() && edit::list(body, &["spec", "groups"]).is_empty();
    if kind != "SelfSubjectAccessReview" && is_of_nobody {
        invalid("spec.user", &json!(""), "at least one of user or group must be specified");
    }
    let is_local = kind == "LocalSubjectAccessReview";
    let meta = edit::at(body, &["metadata"]).cloned().unwrap_or_default();
    let may_have = |key: &String| key == "managedFields" || is_local && key == "namespace";
    let is_empty =
        |value: &Tree| value.is_null() || value == "" || value.as_object().is_some_and(serde_json::Map::is_empty);
    if meta.as_object().is_some_and(|meta| meta.iter().any(|(key, value)| !may_have(key) && !is_empty(value))) {
        let why = if is_local { "must be empty except for namespace" } else { "must be empty" };
        invalid("metadata", &meta, why);
    }
    if is_local {
        let namespace = resource.map(|resource| edit::text(resource, &["namespace"]));
        if let Some(namespace) = namespace.filter(|namespace| Some(*namespace) != call.namespace) {
            invalid("spec.resourceAttributes.namespace", &json!(namespace), "must match metadata.namespace");
        }
        if let Some(path) = path {
            invalid("spec.nonResourceAttributes", &in_go(path), "disallowed on this kind of request");
        }
    }
    causes
}

/// The attributes as upstream prints its own struct for them.
fn in_go(path: &Tree) -> Tree {
    json!({ "Path": edit::text(path, &["path"]), "Verb": edit::text(path, &["verb"]) })
}

fn resource_rule(rule: &Rule) -> Tree {
    let mut tree = json!({"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources});
    if !rule.resource_names.is_empty() {
        edit::set(&mut tree, &["resourceNames"], json!(rule.resource_names));
    }
    tree
}

fn subject(body: &Tree) -> User {
    let text = |key: &str| edit::text(body, &["spec", key]).to_owned();
    let words = |all: &[Tree]| all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect::<Vec<_>>();
    let extra = edit::at(body, &["spec", "extra"]).and_then(Tree::as_object);
    let extra = extra
        .into_iter()
        .flatten()
        .map(|(key, values)| (key.clone(), words(values.as_array().map(Vec::as_slice).unwrap_or_default())));
    User {
        name: text("user"),
        uid: text("uid"),
        groups: words(edit::list(body, &["spec", "groups"])),
        extra: extra.collect::<BTreeMap<_, _>>(),
    }
}

/// A `UserInfo`.
fn described(user: &User) -> Tree {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        edit::set(&mut info, &["uid"], user.uid.as_str());
    }
    if !user.extra.is_empty() {
        edit::set(&mut info, &["extra"], json!(user.extra));
    }
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_about_access_has_its_form() {
        let fields = |plural: &'static str, body: Tree| {
            let kind = api::kinds::find(&Resource::new(GROUP, "v1", plural)).expect("built in");
            let user = User::anonymous();
            let call = Call { namespace: Some("a"), ..Call::new(&user, kind) };
            check(&call, &body).into_iter().map(|cause| cause.field).collect::<Vec<_>>()
        };
        let pods = json!({"namespace": "a", "verb": "get", "resource": "pods"});
        let path = json!({"path": "/", "verb": "get"});
        let none: [&str; 0] = [];
        let asked = |spec: Tree| json!({ "spec": spec });
        let both = json!({"user": "u", "resourceAttributes": pods, "nonResourceAttributes": path});
        for (plural, body, expected) in [
            ("subjectaccessreviews", asked(json!({"user": "u", "resourceAttributes": pods})), &none[..]),
            ("subjectaccessreviews", asked(json!({})), &["spec.resourceAttributes", "spec.user"]),
            ("subjectaccessreviews", asked(both), &["spec.nonResourceAttributes"]),
            ("selfsubjectaccessreviews", asked(json!({"resourceAttributes": pods})), &none[..]),
            (
                "selfsubjectaccessreviews",
                json!({"metadata": {"name": "n"}, "spec": {"resourceAttributes": pods}}),
                &["metadata"],
            ),
            (
                "localsubjectaccessreviews",
                json!({"metadata": {"namespace": "a"}, "spec": {"user": "u", "resourceAttributes": {"namespace": "b"}}}),
                &["spec.resourceAttributes.namespace"],
            ),
            (
                "localsubjectaccessreviews",
                asked(json!({"user": "u", "nonResourceAttributes": path})),
                &["spec.nonResourceAttributes"],
            ),
        ] {
            assert_eq!(fields(plural, body.clone()), expected, "{plural} {body}");
        }
    }
}
