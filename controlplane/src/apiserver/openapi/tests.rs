use super::*;

fn builtin() -> OpenApi {
    OpenApi::new(Arc::new(Served::of(api::kinds::builtin().to_vec())))
}

fn read(document: &Document) -> Value {
    serde_json::from_slice(&document.plain()).unwrap()
}

/// Every `$ref` in a document leads somewhere.
fn check_references(value: &Value, known: &Map<String, Value>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(target)) = map.get("$ref") {
                let name = target.rsplit('/').next().unwrap();
                assert!(known.contains_key(name), "{target} is not defined");
            }
            map.values().for_each(|value| check_references(value, known));
        }
        Value::Array(all) => all.iter().for_each(|value| check_references(value, known)),
        _ => {}
    }
}

#[test]
fn the_v2_document_says_what_kubectl_reads() {
    let document = read(builtin().v2());
    check_references(&document, document["definitions"].as_object().unwrap());
    let deployment = &document["definitions"]["io.k8s.api.apps.v1.Deployment"];
    let gvk = json!({"group": "apps", "kind": "Deployment", "version": "v1"});
    assert_eq!(deployment["x-kubernetes-group-version-kind"], json!([gvk]));
    let containers = &document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert_eq!(containers["items"]["$ref"], "#/definitions/io.k8s.api.core.v1.Container");
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"], gvk);
    let names: Vec<&str> =
        patch["parameters"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force", "body"]);
    assert!(document["paths"]["/api/v1/pods"]["get"]["x-kubernetes-action"] == "list");
    assert!(document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/eviction"]["post"].is_object());
}

#[test]
fn v3_documents_stand_alone() {
    let all = builtin();
    let index = all.v3_index();
    let paths = index["paths"].as_object().unwrap();
    assert!(paths.contains_key("api/v1") && paths.contains_key("apis/apps/v1"));
    for path in paths.keys() {
        let (hash, document) = all.v3(path).unwrap();
        assert!(paths[path]["serverRelativeURL"].as_str().unwrap().ends_with(hash));
        let document = read(document);
        check_references(&document, document["components"]["schemas"].as_object().unwrap());
    }
    let apps = read(all.v3("apis/apps/v1").unwrap().1);
    let patch = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
    let spec = &apps["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"]["properties"]["spec"];
    assert_eq!(spec["allOf"][0]["$ref"], "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec");
    assert!(spec["description"].as_str().is_some_and(|text| text.contains("desired behavior")));
    assert!(all.v3("apis/none/v1").is_none());
}

#[test]
fn custom_resources_are_published_with_their_schema() {
    let definition = json!({
        "spec": {"group": "stable.example.com", "scope": "Namespaced", "versions": [{
            "name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "nullable": true}}}},
        }]},
        "status": {
            "acceptedNames": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "listKind": "CronTabList"},
            "conditions": [{"type": "Established", "status": "True"}],
        },
    });
    let all = OpenApi::new(Arc::new(Served::of(api::custom::Definition::read(&definition, 1).kinds)));
    let document = read(all.v3("apis/stable.example.com/v1").unwrap().1);
    let own = &document["components"]["schemas"]["com.example.stable.v1.CronTab"];
    assert_eq!(own["properties"]["spec"], json!({"type": "object", "nullable": true}));
    assert!(own["properties"]["metadata"]["allOf"].is_array());
    let patch = &document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"]["patch"];
    assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_none());
    let v2 = read(all.v2());
    assert_eq!(v2["definitions"]["com.example.stable.v1.CronTab"]["properties"]["spec"], json!({"type": "object"}));
    check_references(&v2, v2["definitions"].as_object().unwrap());
}

#[test]
fn the_protobuf_form_is_made() {
    let bytes = builtin().v2_protobuf().plain();
    assert!(bytes.starts_with(b"\x0a\x032.0"));
    assert!(bytes.len() > 500_000, "only {} bytes", bytes.len());
}
