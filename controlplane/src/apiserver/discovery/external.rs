//! The groups that other API servers serve, put among our own. Pure.
//!
//! A plain document names what can be used now. An aggregated one also tells what was known of a server that is away,
//! as stale.

use super::{External, group_version, priority};
use crate::registry::group_priority;
use serde_json::{Value, json};
use std::cmp::Reverse;

/// Aggregated groups.
pub(super) fn groups(own: &[Value], others: &[External]) -> Vec<Value> {
    let shown: Vec<&External> = others.iter().filter(|one| one.is_available || !one.resources.is_empty()).collect();
    let name = |group: &Value| group["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let entry = |one: &External| {
        let freshness = if one.is_fresh { "Current" } else { "Stale" };
        json!({"version": one.version, "resources": one.resources, "freshness": freshness})
    };
    merged(own, &shown, name, entry, |group| json!({"metadata": {"name": group}, "versions": []}))
}

/// Plain groups.
pub(super) fn plain_groups(own: &[Value], others: &[External]) -> Vec<Value> {
    let shown: Vec<&External> = others.iter().filter(|one| one.is_available).collect();
    let name = |group: &Value| group["name"].as_str().unwrap_or_default().to_owned();
    let entry =
        |one: &External| json!({"groupVersion": group_version(&one.group, &one.version), "version": one.version});
    let mut all = merged(own, &shown, name, entry, |group| json!({"name": group, "versions": []}));
    for group in all.iter_mut().filter(|group| shown.iter().any(|one| group["name"] == *one.group)) {
        group["preferredVersion"] = group["versions"][0].clone();
    }
    all
}

fn merged(
    own: &[Value],
    others: &[&External],
    name: impl Fn(&Value) -> String,
    entry: impl Fn(&External) -> Value,
    empty: impl Fn(&str) -> Value,
) -> Vec<Value> {
    let mut all: Vec<(i64, String, Value)> =
        own.iter().map(|group| (group_priority(&name(group)), name(group), group.clone())).collect();
    let mut sorted = others.to_vec();
    sorted.sort_by_key(|one| (Reverse(one.group_priority), one.group.clone()));
    for one in sorted {
        let place = all.iter().position(|(_, group, _)| *group == one.group).unwrap_or_else(|| {
            let lower = all.iter().position(|(priority, ..)| *priority < one.group_priority);
            let place = lower.unwrap_or(all.len());
            all.insert(place, (one.group_priority, one.group.clone(), empty(&one.group)));
            place
        });
        let group = &mut all[place].2;
        let mut versions = group["versions"].as_array().cloned().unwrap_or_default();
        versions.push(entry(one));
        // What is ours comes before what others have, unless that says how it is to be ordered.
        versions.sort_by_key(|version| {
            let version = version["version"].as_str().unwrap_or_default();
            let of_others = others.iter().find(|other| other.group == one.group && other.version == version);
            (Reverse(of_others.map_or(OWN_VERSION, |other| other.version_priority)), Reverse(priority(version)))
        });
        group["versions"] = versions.into();
    }
    all.into_iter().map(|(.., group)| group).collect()
}

/// The priority of the versions of a group that somebody defined here.
const OWN_VERSION: i64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn external(group: &str, version: &str, priorities: (i64, i64), is_available: bool) -> External {
        let resources = vec![json!({"resource": "things"})];
        let (group, version) = (group.to_owned(), version.to_owned());
        let (group_priority, version_priority) = priorities;
        External { group, version, group_priority, version_priority, resources, is_fresh: is_available, is_available }
    }

    fn names(groups: &[Value]) -> Vec<String> {
        let versions = |group: &Value| -> Vec<String> {
            let all = group["versions"].as_array().expect("a list");
            all.iter().map(|one| one["version"].as_str().expect("a name").to_owned()).collect()
        };
        groups
            .iter()
            .map(|group| format!("{}: {}", group["name"].as_str().unwrap(), versions(group).join(" ")))
            .collect()
    }

    #[test]
    fn groups_come_where_their_priority_puts_them() {
        let group = |name: &str| json!({"name": name, "versions": [{"version": "v1"}]});
        let own = [group("apps"), group("batch"), group("e.com")];
        let others = [
            external("z.com", "v1", (17450, 10), true),
            external("e.com", "v2", (100, 200), true),
            external("y.com", "v1", (10, 10), false),
            external("z.com", "v2", (17450, 20), true),
        ];
        let all = plain_groups(&own, &others);
        assert_eq!(names(&all), ["apps: v1", "z.com: v2 v1", "batch: v1", "e.com: v2 v1"]);
        assert_eq!(all[1]["preferredVersion"]["groupVersion"], "z.com/v2");
        assert_eq!(plain_groups(&own, &[]), own);
    }

    #[test]
    fn what_was_known_of_a_server_that_is_away_is_stale() {
        let own = [json!({"metadata": {"name": "apps"}, "versions": []})];
        let away = external("y.com", "v1", (10, 10), false);
        let unknown = External { resources: Vec::new(), ..external("x.com", "v1", (10, 10), false) };
        let all = groups(&own, &[away, unknown]);
        assert_eq!((all.len(), &all[1]["metadata"]["name"]), (2, &json!("y.com")));
        assert_eq!((&all[1]["versions"][0]["freshness"], &all[0]), (&json!("Stale"), &own[0]));
    }
}
