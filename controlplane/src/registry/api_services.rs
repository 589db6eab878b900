//! APIServices: one for each group version that this server serves itself, as upstream's aggregator keeps them, beside
//! those of servers that extend this one.

use super::definitions::MANAGER;
use super::write::Owners;
use super::{Call, Registry, Served, User, keys, served};
use api::custom::names;
use api::object::edit;
use api::view::ApiService;
use api::{Rejected, Resource, Tree};
use client::DeleteOptions;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Marks those that come and go with what is served.
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// The aggregator's own group has none.
const OWN: &str = "apiregistration.k8s.io";
/// Priorities of built-in groups, as upstream orders them; kubectl prefers the greater.
const PRIORITIES: &[(&str, i64)] = &[
    ("", 18000),
    ("apps", 17800),
    ("events.k8s.io", 17750),
    ("authentication.k8s.io", 17700),
    ("authorization.k8s.io", 17600),
    ("autoscaling", 17500),
    ("batch", 17400),
    ("certificates.k8s.io", 17300),
    ("networking.k8s.io", 17200),
    ("policy", 17100),
    ("rbac.authorization.k8s.io", 17000),
    ("storage.k8s.io", 16800),
    ("apiextensions.k8s.io", 16700),
    ("admissionregistration.k8s.io", 16700),
    ("scheduling.k8s.io", 16600),
    ("coordination.k8s.io", 16500),
    ("node.k8s.io", 16300),
    ("discovery.k8s.io", 16200),
    ("flowcontrol.apiserver.k8s.io", 16100),
    ("internal.apiserver.k8s.io", 16000),
    ("resource.k8s.io", 15900),
];
/// Of groups that somebody defined.
const CUSTOM: (i64, i64) = (1000, 100);
/// Of the versions of a built-in group, newest first.
const VERSION: i64 = 15;

impl Registry {
    /// Makes what is missing, and deletes what is served no more.
    pub(super) async fn settle_api_services(&self, user: &User) -> Result<(), Rejected> {
        let resource = Resource::new(OWN, "v1", "apiservices");
        let Some(kind) = api::kinds::find(&resource) else { return Ok(()) };
        let wanted = wanted(&self.served());
        let (have, _) = self.0.memory.shelf(&keys::collection(&resource)).range("", || 0);
        for stored in &have {
            let object = &stored.object;
            let is_ours = object.label(AUTOMANAGED).is_some_and(|value| value == "true");
            if is_ours && !wanted.contains_key(object.name()) {
                let call = Call { name: object.name(), ..Call::new(user, kind) };
                match self.delete(call, DeleteOptions::default()).await {
                    Err(rejected) if !rejected.is_not_found() => return Err(rejected),
                    _ => {}
                }
            }
        }
        for (name, tree) in wanted {
            if have.iter().any(|stored| stored.object.name() == name) {
                continue;
            }
            let condition = json!({
                "type": "Available", "status": "True", "lastTransitionTime": api::time::seconds(self.clock().now()),
                "reason": "Local", "message": "Local APIServices are always available",
            });
            let call = Call { name: &name, field_manager: MANAGER, ..Call::new(user, kind) };
            let mut tree = match self.create(Call { name: "", ..call }, tree).await {
                Ok(written) => written.object.tree(),
                Err(rejected) if rejected.is_already_exists() => continue,
                Err(rejected) => return Err(rejected),
            };
            edit::set(&mut tree, &["status", "conditions"], json!([condition]));
            self.update(Call { subresource: Some("status"), ..call }, tree).await?;
        }
        Ok(())
    }

    /// The servers that extend this one, one for each group version.
    #[must_use]
    pub fn extensions(&self) -> Vec<Arc<ApiService>> {
        let (all, _) = self.0.memory.shelf(&collection()).range("", || 0);
        let read = all.iter().filter_map(|stored| stored.object.view::<ApiService>().ok());
        read.filter(|one| one.spec.service.is_some()).collect()
    }

    /// The server that serves a group version in our place.
    #[must_use]
    pub fn extension(&self, group: &str, version: &str) -> Option<Arc<ApiService>> {
        let stored = self.0.memory.shelf(&collection()).get(&format!("{version}.{group}"))?;
        stored.object.view::<ApiService>().ok().filter(|one| one.spec.service.is_some())
    }

    /// Tells whether an APIService can be used, if that is news.
    ///
    /// # Errors
    /// As of any write.
    pub async fn tell_available(&self, name: &str, is_so: bool, reason: &str, message: &str) -> Result<(), Rejected> {
        let resource = Resource::new(OWN, "v1", "apiservices");
        let Some(kind) = api::kinds::find(&resource) else { return Ok(()) };
        let user = User::system_admin();
        let call = Call { name, subresource: Some("status"), field_manager: MANAGER, ..Call::new(&user, kind) };
        let now = self.clock().now();
        let told = |old: &Tree| {
            let mut new = old.clone();
            let mut status = old.get("status").cloned().unwrap_or_default();
            names::put(&mut status, names::condition("Available", is_so, reason, message), now);
            edit::set(&mut new, &["status"], status);
            Ok(new)
        };
        self.change(&call, told, Owners::Record).await.map(|_| ())
    }

    /// The definitions' collection has a shelf of its own to wait on.
    pub(super) fn definitions(&self) -> Arc<super::shelf::Shelf> {
        self.0.memory.shelf(&served::collection())
    }
}

fn collection() -> String {
    keys::collection(&Resource::new(OWN, "v1", "apiservices"))
}

/// How early discovery tells of a group that this server serves.
#[must_use]
pub fn group_priority(group: &str) -> i64 {
    PRIORITIES.iter().find(|(known, _)| *known == group).map_or(CUSTOM.0, |(_, priority)| *priority)
}

/// The APIServices of what is served, by name.
fn wanted(served: &Served) -> BTreeMap<String, Tree> {
    let mut wanted = BTreeMap::new();
    for kind in served.kinds.iter().filter(|kind| kind.group() != OWN) {
        let (group, version) = (kind.group(), kind.version());
        let name = format!("{version}.{group}");
        let priority = PRIORITIES.iter().find(|(known, _)| *known == group);
        let (group_priority, version_priority) = match (kind.is_custom(), priority) {
            (true, _) => CUSTOM,
            (false, Some((_, priority))) => (*priority, if version == "v2" { 2 * VERSION } else { VERSION }),
            (false, None) => (CUSTOM.0, VERSION),
        };
        let managed = if kind.is_custom() { "true" } else { "onstart" };
        let mut spec = json!({
            "version": version, "groupPriorityMinimum": group_priority,
            "versionPriority": if group.is_empty() { 1 } else { version_priority },
        });
        if !group.is_empty() {
            edit::set(&mut spec, &["group"], group);
        }
        wanted.entry(name.clone()).or_insert_with(|| {
            json!({
                "kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1",
                "metadata": {"name": name, "labels": {AUTOMANAGED: managed}}, "spec": spec,
            })
        });
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_for_each_group_version() {
        let wanted = wanted(&Served::of(api::kinds::builtin().to_vec()));
        assert_eq!(edit::integer(&wanted["v1."], &["spec", "groupPriorityMinimum"]), Some(18000));
        assert_eq!(edit::text(&wanted["v1.apps"], &["spec", "group"]), "apps");
        assert!(!wanted.contains_key("v1.apiregistration.k8s.io"));
    }
}
