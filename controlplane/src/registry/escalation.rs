//! Nobody grants more than he holds: roles and bindings are written only by who has all their rules already, or may
//! `escalate` or `bind` outright.

use super::rbac::{RoleRef, Rule, covers_path};
use super::{Attributes, Call, MASTERS, Registry, User};
use api::kinds::Kind;
use api::object::{self, edit};
use api::rejected::Reason;
use api::{Rejected, Tree};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const GROUP: &str = "rbac.authorization.k8s.io";

/// What of a role or binding gives somebody something.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Granting {
    #[serde(deserialize_with = "api::view::empty_if_null")]
    rules: Vec<Rule>,
    role_ref: RoleRef,
    aggregation_rule: Option<Tree>,
}

impl Registry {
    /// Refuses a role or a binding that would give what its writer lacks.
    pub(super) fn check_escalation(
        &self,
        call: &Call<'_>,
        kind: &Kind,
        old: Option<&Tree>,
        new: &Tree,
    ) -> Result<(), Rejected> {
        if kind.group() != GROUP || call.user.is_in(MASTERS) || old.is_some_and(|old| is_only_for_collector(old, new)) {
            return Ok(());
        }
        let granting: Granting = object::read_tree(new).unwrap_or_default();
        let name = edit::text(new, &["metadata", "name"]);
        let forbidden = |why: String| Rejected::forbidden(&call.kind.resource, name, why);
        if kind.kind.ends_with("Binding") {
            return self.check_binding(call, &granting.role_ref).map_err(|why| match why {
                Unbound::Missing(why) => Rejected::new(Reason::NotFound, why),
                Unbound::Lacking(why) => forbidden(why),
            });
        }
        let escalate = attributes(call, "escalate", &kind.resource.plural, call.name);
        if self.authorize(call.user, &escalate).allowed {
            return Ok(());
        }
        let is_aggregated = |tree: &Tree| edit::at(tree, &["aggregationRule"]).is_some_and(|rule| !rule.is_null());
        if granting.aggregation_rule.is_some() || old.is_some_and(is_aggregated) {
            let all = || vec!["*".to_owned()];
            let whole = [
                Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
                Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
            ];
            self.confirm(call, &whole)
                .map_err(|_| forbidden("must have cluster-admin privileges to use the aggregationRule".to_owned()))?;
        }
        self.confirm(call, &granting.rules).map_err(forbidden)
    }

    fn check_binding(&self, call: &Call<'_>, role: &RoleRef) -> Result<(), Unbound> {
        let plural = if role.kind == "ClusterRole" { "clusterroles" } else { "roles" };
        let bind = Attributes { group: &role.api_group, ..attributes(call, "bind", plural, &role.name) };
        if self.authorize(call.user, &bind).allowed {
            return Ok(());
        }
        let rules = self.rbac().role(role, call.namespace.unwrap_or_default()).map_err(Unbound::Missing)?;
        self.confirm(call, &rules).map_err(Unbound::Lacking)
    }

    /// Whether the caller holds the rules; else what upstream says, with all that is missing.
    fn confirm(&self, call: &Call<'_>, rules: &[Rule]) -> Result<(), String> {
        let held = self.rules(call.user, call.namespace.unwrap_or_default());
        let missing = missing(&held, rules);
        if missing.is_empty() { Ok(()) } else { Err(told(call.user, missing)) }
    }
}

/// Why a binding is refused.
enum Unbound {
    /// Its role is not there.
    Missing(String),
    Lacking(String),
}

fn attributes<'a>(call: &Call<'a>, verb: &'a str, resource: &'a str, name: &'a str) -> Attributes<'a> {
    let namespace = call.namespace.unwrap_or_default();
    Attributes { verb, group: GROUP, resource, namespace, name, ..Attributes::default() }
}

/// A write that changes only what the garbage collector needs to, to let the object go.
fn is_only_for_collector(old: &Tree, new: &Tree) -> bool {
    let stripped = |tree: &Tree| {
        let mut tree = tree.clone();
        for key in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
            edit::remove(&mut tree, &["metadata", key]);
        }
        tree
    };
    stripped(old) == stripped(new)
}

/// What `wanted` allows and `held` does not, each as a rule of single words.
pub(super) fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let single = wanted.iter().flat_map(broken_down);
    single.filter(|rule| !held.iter().any(|held| covers(held, rule))).collect()
}

fn broken_down(rule: &Rule) -> Vec<Rule> {
    let mut all = Vec::new();
    let names: Vec<Vec<String>> = match rule.resource_names.as_slice() {
        [] => vec![Vec::new()],
        names => names.iter().map(|name| vec![name.clone()]).collect(),
    };
    for verb in &rule.verbs {
        let verbs = vec![verb.clone()];
        for (group, resource) in rule.api_groups.iter().flat_map(|group| rule.resources.iter().map(move |r| (group, r)))
        {
            for resource_names in names.iter().cloned() {
                all.push(Rule {
                    verbs: verbs.clone(),
                    api_groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    resource_names,
                    non_resource_urls: Vec::new(),
                });
            }
        }
        for url in &rule.non_resource_urls {
            all.push(Rule { verbs: verbs.clone(), non_resource_urls: vec![url.clone()], ..Rule::default() });
        }
    }
    all
}

/// Whether a rule allows all that a rule of single words does. A word is literal on the right side: `*` is covered by
/// `*` alone.
fn covers(held: &Rule, single: &Rule) -> bool {
    let has = |words: &[String], word: &str| words.iter().any(|have| have == "*" || have == word);
    let has_all = |words: &[String], wanted: &[String]| wanted.iter().all(|word| has(words, word));
    let has_resource = |resource: &String| {
        let below = resource.split_once('/').map(|(_, below)| format!("*/{below}"));
        has(&held.resources, resource) || below.is_some_and(|below| held.resources.contains(&below))
    };
    let has_url = |url: &String| held.non_resource_urls.iter().any(|rule| rule == "*" || covers_path(rule, url));
    let has_names = held.resource_names.is_empty()
        || !single.resource_names.is_empty()
            && single.resource_names.iter().all(|name| held.resource_names.contains(name));
    has_all(&held.verbs, &single.verbs)
        && has_all(&held.api_groups, &single.api_groups)
        && single.resources.iter().all(has_resource)
        && single.non_resource_urls.iter().all(has_url)
        && has_names
}

/// Upstream's words; verbs of the same resource stand together.
fn told(user: &User, missing: Vec<Rule>) -> String {
    let mut together: BTreeMap<Rule, Vec<String>> = BTreeMap::new();
    for rule in missing {
        let verbs = together.entry(Rule { verbs: Vec::new(), ..rule.clone() }).or_default();
        verbs.extend(rule.verbs.into_iter().filter(|verb| !verbs.contains(verb)).collect::<Vec<_>>());
    }
    let lines: BTreeSet<String> =
        together.into_iter().map(|(rule, verbs)| described(&Rule { verbs, ..rule })).collect();
    let lines: Vec<String> = lines.into_iter().collect();
    format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        quoted(&user.groups),
        lines.join("\n")
    )
}

fn described(rule: &Rule) -> String {
    let parts = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let parts = parts.iter().filter(|(_, words)| !words.is_empty());
    let parts: Vec<String> = parts.map(|(key, words)| format!("{key}:{}", quoted(words))).collect();
    format!("{{{}}}", parts.join(", "))
}

/// `["a" "b"]`, as Go prints it.
fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(json: Tree) -> Vec<Rule> {
        serde_json::from_value(json).expect("rules")
    }

    #[test]
    fn what_is_missing_is_told_as_upstream_does() {
        let held = rules(json!([
            {"apiGroups": [""], "resources": ["pods", "*/status"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["*"]},
            {"nonResourceURLs": ["/api/*"], "verbs": ["get"]},
        ]));
        let lacks = |wanted: Tree| missing(&held, &rules(wanted)).iter().map(described).collect::<Vec<_>>();
        let none: [&str; 0] = [];
        for covered in [
            json!([{"apiGroups": [""], "resources": ["pods", "pods/status"], "verbs": ["get"]}]),
            json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["get", "delete"]}]),
            json!([{"nonResourceURLs": ["/api/v1", "/api/*"], "verbs": ["get"]}]),
        ] {
            assert_eq!(lacks(covered.clone()), none, "{covered}");
        }
        let verbs = r#"{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}"#;
        assert_eq!(lacks(json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "delete"]}])), [verbs]);
        assert_eq!(
            lacks(json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}])),
            [r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#]
        );
        assert_eq!(lacks(json!([{"nonResourceURLs": ["*"], "verbs": ["get"]}])).len(), 1);
        let user = User::new("alice", &["dev", "system:authenticated"]);
        let wanted = rules(
            json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]}]),
        );
        let words = "user \"alice\" (groups=[\"dev\" \"system:authenticated\"]) is attempting to grant RBAC permissions not \
                     currently held:\n{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}\n{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}";
        assert_eq!(told(&user, missing(&held, &wanted)), words);
    }
}
