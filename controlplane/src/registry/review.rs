//! Kinds that are questions: created to be answered, never stored.

use super::rbac::Rule;
use super::{Attributes, Call, Registry, User, encoded};
use api::object::edit;
use api::{Object, Rejected, Tree};
use serde_json::json;
use std::sync::Arc;

impl Registry {
    /// The answer, if the kind is a question that authorization can answer.
    pub(super) fn review(&self, call: &Call<'_>, body: &Tree) -> Result<Option<Arc<Object>>, Rejected> {
        let mut tree = body.clone();
        match (call.kind.group(), call.kind.kind.as_str()) {
            ("authorization.k8s.io", "SelfSubjectAccessReview") => self.answer(&mut tree, call.user, None),
            ("authorization.k8s.io", "SubjectAccessReview") => self.answer(&mut tree, &subject(body), None),
            ("authorization.k8s.io", "LocalSubjectAccessReview") => {
                self.answer(&mut tree, &subject(body), call.namespace)
            }
            ("authorization.k8s.io", "SelfSubjectRulesReview") => self.list_rules(&mut tree, call.user),
            ("authentication.k8s.io", "SelfSubjectReview") => {
                let user = call.user;
                let mut info = json!({"username": user.name, "groups": user.groups});
                if !user.uid.is_empty() {
                    edit::set(&mut info, &["uid"], user.uid.as_str());
                }
                if !user.extra.is_empty() {
                    edit::set(&mut info, &["extra"], json!(user.extra));
                }
                edit::set(&mut tree, &["status", "userInfo"], info);
            }
            _ => return Ok(None),
        }
        edit::set(&mut tree, &["kind"], call.kind.kind.as_str());
        edit::set(&mut tree, &["apiVersion"], call.kind.api_version());
        encoded::unstored(tree, call.kind).map(Some)
    }

    fn answer(&self, tree: &mut Tree, user: &User, namespace: Option<&str>) {
        let spec = edit::at(tree, &["spec"]).cloned().unwrap_or_default();
        let of = |path: &[&str]| edit::text(&spec, path).to_owned();
        let resource = |key: &str| of(&["resourceAttributes", key]);
        let (verb, group, plural) = (resource("verb"), resource("group"), resource("resource"));
        let (sub, name, own) = (resource("subresource"), resource("name"), resource("namespace"));
        let (path, path_verb) = (of(&["nonResourceAttributes", "path"]), of(&["nonResourceAttributes", "verb"]));
        let attributes = if path.is_empty() {
            let namespace = namespace.unwrap_or(&own);
            Attributes {
                verb: &verb,
                group: &group,
                resource: &plural,
                subresource: &sub,
                namespace,
                name: &name,
                path: None,
            }
        } else {
            Attributes { verb: &path_verb, path: Some(&path), ..Attributes::default() }
        };
        let decision = self.authorize(user, &attributes);
        let mut status = json!({ "allowed": decision.allowed });
        if !decision.reason.is_empty() {
            edit::set(&mut status, &["reason"], decision.reason);
        }
        edit::set(tree, &["status"], status);
    }

    fn list_rules(&self, tree: &mut Tree, user: &User) {
        let namespace = edit::text(tree, &["spec", "namespace"]).to_owned();
        let rules = self.rules(user, &namespace);
        let resource = |rule: &&Rule| rule.non_resource_urls.is_empty();
        let resources: Vec<Tree> = rules.iter().filter(resource).map(resource_rule).collect();
        let paths = rules.iter().filter(|rule| !rule.non_resource_urls.is_empty());
        let paths: Vec<Tree> =
            paths.map(|rule| json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls})).collect();
        let status = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false});
        edit::set(tree, &["status"], status);
    }
}

fn resource_rule(rule: &Rule) -> Tree {
    let mut tree = json!({"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources});
    if !rule.resource_names.is_empty() {
        edit::set(&mut tree, &["resourceNames"], json!(rule.resource_names));
    }
    tree
}

fn subject(body: &Tree) -> User {
    let groups = edit::list(body, &["spec", "groups"]).iter().filter_map(|group| group.as_str().map(str::to_owned));
    User { name: edit::text(body, &["spec", "user"]).to_owned(), groups: groups.collect(), ..User::default() }
}
