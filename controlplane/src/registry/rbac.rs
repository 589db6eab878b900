//! Role-based access control: roles and bindings in memory, and whether they allow an action.
//!
//! The index is made anew when one of the four collections has changed; a decision walks the caller's rules only.

use super::memory::Memory;
use super::user::{Attributes, User};
use serde::Deserialize;
use std::collections::HashMap;

/// One `PolicyRule`.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Rule {
    pub(super) verbs: Vec<String>,
    pub(super) api_groups: Vec<String>,
    pub(super) resources: Vec<String>,
    pub(super) resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    pub(super) non_resource_urls: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Role {
    rules: Vec<Rule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Binding {
    role_ref: RoleRef,
    subjects: Vec<Subject>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RoleRef {
    kind: String,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Subject {
    kind: String,
    name: String,
    namespace: String,
}

/// Who is bound to which rules, ready to ask.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The revisions of the four collections that this was made from.
    made_from: [u64; 4],
    /// By `User:NAME` or `Group:NAME`; the namespace is empty for rules of the whole cluster.
    grants: HashMap<String, Vec<Grant>>,
}

#[derive(Debug)]
struct Grant {
    namespace: String,
    /// `ClusterRoleBinding "cluster-admins" of ClusterRole "cluster-admin"`.
    origin: String,
    rules: Vec<Rule>,
}

const COLLECTIONS: [&str; 4] = [
    "rbac.authorization.k8s.io/clusterroles",
    "rbac.authorization.k8s.io/clusterrolebindings",
    "rbac.authorization.k8s.io/roles",
    "rbac.authorization.k8s.io/rolebindings",
];

// === impl Index ===

impl Index {
    pub(super) fn is_current(&self, memory: &Memory) -> bool {
        self.made_from == revisions(memory)
    }

    pub(super) fn build(memory: &Memory) -> Index {
        let made_from = revisions(memory);
        let roles = |collection: &str| -> HashMap<String, Vec<Rule>> {
            let (all, _) = memory.shelf(collection).range("", || 0);
            let rules = |stored: &super::shelf::Stored| stored.object.read::<Role>().unwrap_or_default().rules;
            all.iter().map(|stored| (place(stored), rules(stored))).collect()
        };
        let (cluster_roles, own_roles) = (roles(COLLECTIONS[0]), roles(COLLECTIONS[2]));
        let mut index = Index { made_from, grants: HashMap::new() };
        for (collection, kind) in [(COLLECTIONS[1], "ClusterRoleBinding"), (COLLECTIONS[3], "RoleBinding")] {
            for stored in memory.shelf(collection).range("", || 0).0 {
                let Ok(binding) = stored.object.read::<Binding>() else { continue };
                let namespace = stored.object.namespace();
                let (name, role) = (stored.object.name(), &binding.role_ref);
                let rules = match role.kind.as_str() {
                    "ClusterRole" => cluster_roles.get(&role.name),
                    _ => own_roles.get(&format!("{namespace}/{}", role.name)),
                };
                let Some(rules) = rules else { continue };
                for subject in &binding.subjects {
                    let origin = format!("{kind} {name:?} of {} {:?} to {}", role.kind, role.name, subject.kind);
                    let grant = Grant { namespace: namespace.to_owned(), origin, rules: rules.clone() };
                    index.grants.entry(subject.key(namespace)).or_default().push(grant);
                }
            }
        }
        index
    }

    /// Why the action is allowed, if it is.
    pub(super) fn allows(&self, user: &User, wanted: &Attributes<'_>) -> Option<String> {
        self.of(user, wanted.namespace)
            .find(|grant| grant.rules.iter().any(|rule| rule.allows(wanted)))
            .map(|grant| format!("RBAC: allowed by {}", grant.origin))
    }

    /// The rules that hold for a user in a namespace.
    pub(super) fn rules(&self, user: &User, namespace: &str) -> Vec<Rule> {
        self.of(user, namespace).flat_map(|grant| grant.rules.clone()).collect()
    }

    fn of<'a>(&'a self, user: &'a User, namespace: &'a str) -> impl Iterator<Item = &'a Grant> {
        let groups = user.groups.iter().map(|group| format!("Group:{group}"));
        let keys = std::iter::once(format!("User:{}", user.name)).chain(groups);
        let grants = keys.filter_map(|key| self.grants.get(&key)).flatten();
        grants.filter(move |grant| grant.namespace.is_empty() || grant.namespace == namespace)
    }
}

fn revisions(memory: &Memory) -> [u64; 4] {
    COLLECTIONS.map(|collection| memory.shelf(collection).revision())
}

fn place(stored: &super::shelf::Stored) -> String {
    let namespace = Some(stored.object.namespace()).filter(|namespace| !namespace.is_empty());
    super::keys::place(namespace, stored.object.name())
}

impl Subject {
    fn key(&self, namespace: &str) -> String {
        match self.kind.as_str() {
            "ServiceAccount" => {
                let namespace = if self.namespace.is_empty() { namespace } else { &self.namespace };
                format!("User:system:serviceaccount:{namespace}:{}", self.name)
            }
            kind => format!("{kind}:{}", self.name),
        }
    }
}

// === impl Rule ===

impl Rule {
    pub(super) fn allows(&self, wanted: &Attributes<'_>) -> bool {
        if !has(&self.verbs, wanted.verb) {
            return false;
        }
        if let Some(path) = wanted.path {
            return self.non_resource_urls.iter().any(|url| match url.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => url == path,
            });
        }
        has(&self.api_groups, wanted.group) && self.has_resource(wanted) && self.has_name(wanted.name)
    }

    fn has_resource(&self, wanted: &Attributes<'_>) -> bool {
        if wanted.subresource.is_empty() {
            return has(&self.resources, wanted.resource);
        }
        self.resources.iter().any(|known| match known.split_once('/') {
            Some(("*", sub)) => sub == wanted.subresource,
            Some((resource, sub)) => resource == wanted.resource && sub == wanted.subresource,
            None => known == "*",
        })
    }

    fn has_name(&self, name: &str) -> bool {
        self.resource_names.is_empty() || self.resource_names.iter().any(|known| known == name)
    }
}

fn has(words: &[String], wanted: &str) -> bool {
    words.iter().any(|word| word == "*" || word == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: serde_json::Value) -> Rule {
        serde_json::from_value(json).expect("a rule")
    }

    #[test]
    fn a_rule_allows_what_it_names() {
        let pods = rule(serde_json::json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "pods/log"]}));
        let wanted = Attributes { verb: "get", resource: "pods", ..Attributes::default() };
        assert!(pods.allows(&wanted));
        assert!(pods.allows(&Attributes { subresource: "log", ..wanted }));
        assert!(!pods.allows(&Attributes { subresource: "exec", ..wanted }));
        assert!(!pods.allows(&Attributes { verb: "delete", ..wanted }));
        assert!(!pods.allows(&Attributes { group: "apps", ..wanted }));
        let named =
            rule(serde_json::json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "resourceNames": ["a"]}));
        assert!(named.allows(&Attributes { name: "a", ..wanted }));
        assert!(!named.allows(&Attributes { name: "b", ..wanted }));
        let path = rule(serde_json::json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/api/*"]}));
        assert!(path.allows(&Attributes { verb: "get", path: Some("/api/v1"), ..Attributes::default() }));
        assert!(!path.allows(&Attributes { verb: "get", path: Some("/metrics"), ..Attributes::default() }));
    }
}
