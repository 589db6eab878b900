use super::*;
use serde_json::json;

fn told(schema: Tree, tree: &Tree, old: Option<&Tree>) -> Vec<String> {
    let schema = Schema::read(&json!({"type": "object", "properties": {"s": schema}}));
    let mut causes = Vec::new();
    value(&schema, tree, old, "", &mut causes);
    shape::check(&schema, tree, "", &mut causes);
    causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

#[test]
fn what_is_wrong_is_told_in_upstreams_words() {
    let keyed = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"]});
    for (schema, value, expect) in [
        (
            json!({"type": "integer"}),
            json!("x"),
            r#"s: Invalid value: "string": s in body must be of type integer: "string""#,
        ),
        (
            json!({"type": "integer", "minimum": 1}),
            json!(0),
            "s: Invalid value: 0: s in body should be greater than or equal to 1",
        ),
        (
            json!({"type": "number", "maximum": 1, "exclusiveMaximum": true}),
            json!(1),
            "s: Invalid value: 1: s in body should be less than 1",
        ),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            r#"s: Unsupported value: "c": supported values: "a", "b""#,
        ),
        (
            json!({"type": "string", "pattern": "^[a-z]+$"}),
            json!("UP"),
            r#"s: Invalid value: "UP": s in body should match '^[a-z]+$'"#,
        ),
        (json!({"type": "string", "maxLength": 2}), json!("abc"), "s: Too long: may not be more than 2 bytes"),
        (json!({"type": "array", "maxItems": 1}), json!([1, 2]), "s: Too many: 2: must have at most 1 items"),
        (json!({"type": "object", "required": ["a"]}), json!({}), "s.a: Required value"),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(1.5),
            r#"s: Invalid value: "number": s in body must be of type integer,string: "number""#,
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("yesterday"),
            r#"s: Invalid value: "yesterday": s in body must be of type date-time: "yesterday""#,
        ),
        (
            json!({"type": "array", "items": {"type": "object", "properties": {"p": {"type": "integer"}}}}),
            json!([{"p": 1}, {"p": "x"}]),
            r#"s[1].p: Invalid value: "string": s[1].p in body must be of type integer: "string""#,
        ),
        (json!({"type": "array", "x-kubernetes-list-type": "set"}), json!(["a", "a"]), r#"s[1]: Duplicate value: "a""#),
        (keyed, json!([{"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}]), r#"s[1]: Duplicate value: {"a":1,"b":2}"#),
        (
            json!({"oneOf": [{"required": ["l"]}, {"required": ["r"]}]}),
            json!({"l": 1, "r": 1}),
            r#"<nil>: Invalid value: "": "s" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
        ),
    ] {
        assert_eq!(told(schema.clone(), &json!({ "s": value }), None), [expect], "{schema}");
    }
    assert!(told(json!({"type": "string", "nullable": true}), &json!({"s": null}), None).is_empty());
    assert!(told(json!({"type": "integer"}), &json!({"s": 2.0}), None).is_empty());
}

#[test]
fn what_did_not_change_is_not_looked_at_again() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}});
    let old = json!({"s": {"a": "x"}});
    assert!(told(schema.clone(), &json!({"s": {"a": "x", "b": 1}}), Some(&old)).is_empty());
    assert_eq!(told(schema, &json!({"s": {"a": "y"}}), Some(&old)).len(), 1);
}
