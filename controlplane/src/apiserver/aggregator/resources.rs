//! What another API server serves, as this one's discovery tells it. Pure.

use api::object::edit;
use api::view::ApiService;
use serde_json::{Value, json};

/// A version of a group that another API server serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct External {
    pub group: String,
    pub version: String,
    pub group_priority: i64,
    pub version_priority: i64,
    /// As aggregated discovery has them.
    pub resources: Vec<Value>,
    /// Whether that is what its server said when it was asked last.
    pub is_fresh: bool,
    pub is_available: bool,
}

// === impl External ===

impl External {
    /// As an APIService has it, with what is `known` of its resources.
    pub(super) fn new(service: &ApiService, known: Option<&External>) -> External {
        let spec = &service.spec;
        let is_available = service.is_available();
        External {
            group: spec.group.clone(),
            version: spec.version.clone(),
            group_priority: spec.group_priority_minimum.into(),
            version_priority: spec.version_priority.into(),
            resources: known.map(|known| known.resources.clone()).unwrap_or_default(),
            is_fresh: is_available && known.is_some_and(|known| known.is_fresh),
            is_available,
        }
    }

    pub(super) fn is_of(&self, service: &ApiService) -> bool {
        self.group == service.spec.group && self.version == service.spec.version
    }
}

/// The resources of an `APIResourceList`, as aggregated discovery has them.
pub(super) fn aggregated(list: &Value, group: &str, version: &str) -> Vec<Value> {
    let all = edit::list(list, &["resources"]);
    let name = |one: &Value| edit::text(one, &["name"]).to_owned();
    let own = all.iter().filter(|one| !name(one).contains('/'));
    let whole = |one: &Value| {
        let mut entry = json!({
            "resource": name(one), "responseKind": response_kind(one, group, version),
            "scope": if edit::is_true(one, &["namespaced"]) { "Namespaced" } else { "Cluster" },
            "singularResource": edit::text(one, &["singularName"]), "verbs": edit::list(one, &["verbs"]),
        });
        for key in ["shortNames", "categories"] {
            let values = edit::list(one, &[key]);
            if !values.is_empty() {
                edit::set(&mut entry, &[key], json!(values));
            }
        }
        let prefix = format!("{}/", name(one));
        let below = all.iter().filter_map(|below| {
            let subresource = name(below).strip_prefix(&prefix)?.to_owned();
            let (kind, verbs) = (response_kind(below, group, version), edit::list(below, &["verbs"]));
            Some(json!({"subresource": subresource, "responseKind": kind, "verbs": verbs}))
        });
        let below: Vec<Value> = below.collect();
        if !below.is_empty() {
            edit::set(&mut entry, &["subresources"], below);
        }
        entry
    };
    own.map(whole).collect()
}

/// The kind of a resource, in the version of the list unless it says another.
fn response_kind(one: &Value, group: &str, version: &str) -> Value {
    let or = |key: &str, own: &str| match edit::text(one, &[key]) {
        "" => own.to_owned(),
        other => other.to_owned(),
    };
    let has_own = !edit::text(one, &["version"]).is_empty();
    let group = if has_own { edit::text(one, &["group"]).to_owned() } else { or("group", group) };
    json!({"group": group, "version": or("version", version), "kind": edit::text(one, &["kind"])})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subresources_go_below_their_resource() {
        let list = json!({"kind": "APIResourceList", "groupVersion": "e.com/v1", "resources": [
            {"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing", "verbs": ["get", "list"],
                "shortNames": ["th"]},
            {"name": "things/scale", "singularName": "", "namespaced": true, "group": "autoscaling", "version": "v1",
                "kind": "Scale", "verbs": ["get"]},
            {"name": "others", "singularName": "", "namespaced": false, "kind": "Other", "verbs": []},
        ]});
        let told = aggregated(&list, "e.com", "v1");
        assert_eq!(told.len(), 2);
        assert_eq!(told[0]["responseKind"], json!({"group": "e.com", "version": "v1", "kind": "Thing"}));
        assert_eq!((&told[0]["scope"], &told[0]["shortNames"]), (&json!("Namespaced"), &json!(["th"])));
        let kind = json!({"group": "autoscaling", "version": "v1", "kind": "Scale"});
        assert_eq!(told[0]["subresources"], json!([{"subresource": "scale", "responseKind": kind, "verbs": ["get"]}]));
        assert_eq!(told[1]["scope"], "Cluster");
        assert!(aggregated(&json!([]), "e.com", "v1").is_empty(), "what is no list lists nothing");
    }
}
