use super::*;
use serde_json::json;

fn told(change: impl Fn(&mut Tree)) -> Vec<String> {
    let mut tree = json!({
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "conversion": {"strategy": "None"},
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}},
            }],
        },
        "status": {"storedVersions": ["v1"]},
    });
    change(&mut tree);
    definition(&tree, None).into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

#[test]
fn a_good_definition_is_taken() {
    assert!(told(|_| {}).is_empty());
}

#[test]
fn what_is_wrong_with_a_definition() {
    for (path, value, expect) in [
        ("/spec/scope", json!("X"), r#"spec.scope: Unsupported value: "X": supported values: "Cluster", "Namespaced""#),
        (
            "/metadata/name",
            json!("x"),
            r#"metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group"#,
        ),
        (
            "/spec/names/listKind",
            json!("Thing"),
            r#"spec.names.listKind: Invalid value: "Thing": kind and listKind may not be the same"#,
        ),
        (
            "/spec/versions/0/schema",
            Tree::Null,
            "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
        ),
        (
            "/spec/conversion/strategy",
            json!("X"),
            r#"spec.conversion.strategy: Unsupported value: "X": supported values: "None", "Webhook""#,
        ),
        (
            "/status/storedVersions",
            json!(["v0"]),
            r#"status.storedVersions[0]: Invalid value: "v0": must appear in spec.versions"#,
        ),
    ] {
        let found = told(|tree| *tree.pointer_mut(path).expect("a place") = value.clone());
        assert_eq!(found, [expect], "{path}");
    }
}

#[test]
fn schemas_are_structural() {
    let root = "spec.validation.openAPIV3Schema";
    for (schema, expect) in [
        (
            json!({"type": "bogus"}),
            r#".type: Unsupported value: "bogus": supported values: "array", "boolean", "integer", "number", "object", "string""#,
        ),
        (json!({"type": "array"}), ".items: Required value: must be specified"),
        (json!({"properties": {}}), ".type: Required value: must not be empty for specified object fields"),
        (json!({"type": "object", "$ref": "x"}), ".$ref: Forbidden: $ref is not supported"),
        (
            json!({"type": "string", "default": 5}),
            r#".default: Invalid value: "integer":  in body must be of type string: "integer""#,
        ),
        (
            json!({"type": "string", "anyOf": [{"type": "string"}]}),
            ".anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "object", "not": {"properties": {"b": {}}}}),
            ".properties[b]: Required value: because it is defined in spec.validation.openAPIV3Schema.properties[spec].not.properties[b]",
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}}}}),
            ".items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
    ] {
        let found = told(|tree| {
            *tree.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec").expect("a place") =
                schema.clone();
        });
        assert_eq!(found, [format!("{root}.properties[spec]{expect}")], "{schema}");
    }
    let either = json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]});
    let place = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    assert!(told(|tree| *tree.pointer_mut(place).expect("a place") = either.clone()).is_empty());
}
