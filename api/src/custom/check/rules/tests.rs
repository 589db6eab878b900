use super::*;
use crate::Tree;
use serde_json::json;

fn told(schema: &Tree) -> Vec<String> {
    let whole = json!({"type": "object", "properties": {"s": schema}});
    let causes = wrong(&Schema::read(&whole), "root");
    let short = |cause: Cause| format!("{}: {}", cause.field, cause.message).replace("root.properties[s].", "");
    causes.into_iter().map(short).collect()
}

fn with(rule: Tree) -> Tree {
    json!({
        "type": "object", "x-kubernetes-validations": [rule],
        "properties": {"a": {"type": "integer"}, "t": {"type": "string"}, "open": {"x-kubernetes-preserve-unknown-fields": true}},
    })
}

#[test]
fn what_is_wrong_with_a_rule() {
    let shown = |rule: &str| {
        let all = json!({"Rule": rule, "Message": "", "MessageExpression": "", "Reason": null, "FieldPath": "", "OptionalOldSelf": null});
        all.to_string()
    };
    let wrong =
        |rule: &str, why: &str| format!("x-kubernetes-validations[0].rule: Invalid value: {}: {why}", shown(rule));
    for (rule, expect) in [
        (json!({"rule": "self.a > 0"}), String::new()),
        (json!({"rule": " "}), "x-kubernetes-validations[0].rule: Required value: rule is not specified".to_owned()),
        (
            json!({"rule": "self.z == 0"}),
            wrong("self.z == 0", "compilation failed: ERROR: <input>:1:5: undefined field 'z'\n | self.z == 0\n | ....^"),
        ),
        (
            json!({"rule": "self.open == 0"}),
            wrong(
                "self.open == 0",
                "compilation failed: ERROR: <input>:1:5: undefined field 'open'\n | self.open == 0\n | ....^",
            ),
        ),
        (json!({"rule": "self.a"}), wrong("self.a", "cel expression must evaluate to a bool")),
        (
            json!({"rule": "true", "message": " "}),
            r#"x-kubernetes-validations[0].message: Invalid value: " ": message must be non-empty if specified"#.to_owned(),
        ),
        (
            json!({"rule": "true", "message": "a\nb"}),
            r#"x-kubernetes-validations[0].message: Invalid value: "a\nb": message must not contain line breaks"#.to_owned(),
        ),
        (
            json!({"rule": "true\n&& true"}),
            "x-kubernetes-validations[0].message: Required value: message must be specified if rule contains line breaks"
                .to_owned(),
        ),
        (
            json!({"rule": "true", "reason": "Because"}),
            "x-kubernetes-validations[0].reason: Unsupported value: \"Because\": supported values: \"FieldValueDuplicate\", \
             \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\""
                .to_owned(),
        ),
        (
            json!({"rule": "true", "fieldPath": ".z"}),
            r#"x-kubernetes-validations[0].fieldPath: Invalid value: ".z": fieldPath must be a valid path"#.to_owned(),
        ),
        (
            json!({"rule": "true", "optionalOldSelf": true}),
            "x-kubernetes-validations[0].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"
                .to_owned(),
        ),
    ] {
        assert_eq!(told(&with(rule.clone())).concat(), expect, "{rule}");
    }
    let found = told(&with(json!({"rule": "true", "messageExpression": "self.a"}))).concat();
    assert!(found.starts_with("x-kubernetes-validations[0].messageExpression: Invalid value: {"), "{found}");
    assert!(found.ends_with(": messageExpression must evaluate to a string"), "{found}");
}

#[test]
fn the_past_needs_keys() {
    let items = json!({"type": "object", "properties": {"k": {"type": "string"}},
        "x-kubernetes-validations": [{"rule": "self == oldSelf"}]});
    let list = json!({"type": "array", "items": items, "maxItems": 10});
    assert_eq!(
        told(&list),
        ["items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on the \
          uncorrelatable portion of the schema within root.properties[s]"]
    );
    let keyed = json!({"type": "array", "items": items, "maxItems": 10,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]});
    assert!(told(&keyed).is_empty());
}

#[test]
fn loops_are_affordable_if_something_bounds_them() {
    let list = |most: Option<u64>, rule: &str| {
        let mut schema = json!({"type": "array", "items": {"type": "string", "maxLength": 10},
            "x-kubernetes-validations": [{ "rule": rule }]});
        if let Some(most) = most {
            schema["maxItems"] = most.into();
        }
        schema
    };
    let nested = "self.all(x, self.exists_one(y, x == y))";
    assert!(told(&list(Some(100), nested)).is_empty());
    let found = told(&list(None, nested));
    assert_eq!(
        found[0],
        "x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try \
         simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    );
    assert!(told(&list(None, "self.all(x, x != '')")).is_empty());
    let inner =
        json!({"type": "string", "maxLength": 1000, "x-kubernetes-validations": [{"rule": "self.matches('a{1,9}b')"}]});
    assert!(told(&json!({"type": "array", "maxItems": 100, "items": inner})).is_empty());
    assert!(!told(&json!({"type": "array", "items": inner})).is_empty());
}

#[test]
fn rules_are_counted() {
    let many: Vec<Tree> = (0..=RULES_MAX).map(|_| json!({"rule": "true"})).collect();
    let found = told(&json!({"type": "object", "x-kubernetes-validations": many}));
    assert!(found[0].contains("must have at most 1000 rules"), "{found:?}");
}
