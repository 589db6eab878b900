//! Role-based access control: roles and bindings in memory, and whether they allow an action.
//!
//! The index is made anew when one of the four collections has changed; a decision walks the caller's rules only.

use super::memory::Memory;
use super::user::{Attributes, User};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;

/// One `PolicyRule`.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Rule {
    #[serde(deserialize_with = "api::view::empty_if_null")]
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
    #[serde(deserialize_with = "api::view::empty_if_null")]
    rules: Vec<Rule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Binding {
    role_ref: RoleRef,
    subjects: Vec<Subject>,
}

/// What a binding binds to.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RoleRef {
    pub(super) api_group: String,
    pub(super) kind: String,
    pub(super) name: String,
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
    /// The rules of all roles, by name.
    cluster_roles: HashMap<String, Arc<Vec<Rule>>>,
    /// The same, by `<namespace>/<name>`.
    roles: HashMap<String, Arc<Vec<Rule>>>,
}

#[derive(Debug)]
struct Grant {
    namespace: String,
    /// `ClusterRoleBinding "cluster-admins" of ClusterRole "cluster-admin" to Group "admins"`.
    origin: String,
    /// Else what is said of a role that is not there.
    rules: Result<Arc<Vec<Rule>>, String>,
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
        let roles = |collection: &str| -> HashMap<String, Arc<Vec<Rule>>> {
            let (all, _) = memory.shelf(collection).range("", || 0);
            let rules = |stored: &super::shelf::Stored| stored.object.read::<Role>().unwrap_or_default().rules;
            all.iter().map(|stored| (place(stored), Arc::new(rules(stored)))).collect()
        };
        let (cluster_roles, roles) = (roles(COLLECTIONS[0]), roles(COLLECTIONS[2]));
        let mut index = Index { made_from, grants: HashMap::new(), cluster_roles, roles };
        for (collection, kind) in [(COLLECTIONS[1], "ClusterRoleBinding"), (COLLECTIONS[3], "RoleBinding")] {
            for stored in memory.shelf(collection).range("", || 0).0 {
                if let Ok(binding) = stored.object.read::<Binding>() {
                    index.bind(kind, stored.object.name(), stored.object.namespace(), &binding);
                }
            }
        }
        index
    }

    fn bind(&mut self, kind: &str, name: &str, namespace: &str, binding: &Binding) {
        let role = &binding.role_ref;
        let rules = self.role(role, namespace);
        let name = if namespace.is_empty() { name.to_owned() } else { format!("{name}/{namespace}") };
        for subject in &binding.subjects {
            let origin =
                format!("{kind} {name:?} of {} {:?} to {}", role.kind, role.name, subject.described(namespace));
            let grant = Grant { namespace: namespace.to_owned(), origin, rules: rules.clone() };
            self.grants.entry(subject.key(namespace)).or_default().push(grant);
        }
    }

    /// The rules that a binding in a namespace (or in none) refers to.
    pub(super) fn role(&self, role: &RoleRef, namespace: &str) -> Result<Arc<Vec<Rule>>, String> {
        let (found, kind) = match role.kind.as_str() {
            "ClusterRole" => (self.cluster_roles.get(&role.name), "clusterrole"),
            _ => (self.roles.get(&format!("{namespace}/{}", role.name)), "role"),
        };
        found.cloned().ok_or_else(|| format!("{kind}.rbac.authorization.k8s.io {:?} not found", role.name))
    }

    /// Why the action is allowed; else what is to be said about it, which may be nothing.
    pub(super) fn allows(&self, user: &User, wanted: &Attributes<'_>) -> Result<String, String> {
        let mut missing = Vec::new();
        for grant in self.of(user, wanted.namespace) {
            match &grant.rules {
                Ok(rules) if rules.iter().any(|rule| rule.allows(wanted)) => {
                    return Ok(format!("RBAC: allowed by {}", grant.origin));
                }
                Ok(_) => {}
                Err(why) if missing.contains(why) => {}
                Err(why) => missing.push(why.clone()),
            }
        }
        match missing.as_slice() {
            [] => Err(String::new()),
            [one] => Err(format!("RBAC: {one}")),
            several => Err(format!("RBAC: [{}]", several.join(", "))),
        }
    }

    /// The rules that hold for a user in a namespace.
    pub(super) fn rules(&self, user: &User, namespace: &str) -> Vec<Rule> {
        self.of(user, namespace).filter_map(|grant| grant.rules.as_deref().ok()).flatten().cloned().collect()
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
    /// `User "alice"`, as reviews tell it.
    fn described(&self, namespace: &str) -> String {
        match self.kind.as_str() {
            "ServiceAccount" => {
                let namespace = if self.namespace.is_empty() { namespace } else { &self.namespace };
                format!("{} {:?}", self.kind, format!("{}/{namespace}", self.name))
            }
            kind => format!("{kind} {:?}", self.name),
        }
    }

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
            return self.non_resource_urls.iter().any(|url| covers_path(url, path));
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

/// Whether a path of a rule, which may end in `*`, covers another.
pub(super) fn covers_path(rule: &str, path: &str) -> bool {
    if rule.ends_with('*') { path.starts_with(rule.trim_end_matches('*')) } else { rule == path }
}

fn has(words: &[String], wanted: &str) -> bool {
    words.iter().any(|word| word == "*" || word == wanted)
}

#[cfg(test)]
mod tests;
