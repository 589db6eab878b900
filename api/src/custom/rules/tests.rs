use super::*;
use serde_json::json;

/// What rules have against `s`, whose schema this is.
fn told(schema: &Tree, tree: &Tree, old: Option<&Tree>) -> Vec<String> {
    let whole = json!({"type": "object", "properties": {"s": schema}});
    let schema = Schema::read(&whole);
    let rules = Rules::compile(&schema).expect("it has rules");
    let within = |value: &Tree| json!({"apiVersion": "e.com/v1", "kind": "T", "metadata": {"name": "n"}, "s": value});
    let old = old.map(within);
    let causes = check(&schema, &rules, &within(tree), old.as_ref());
    causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

fn object(rule: Tree) -> Tree {
    let integer = json!({"type": "integer"});
    json!({
        "type": "object", "x-kubernetes-validations": [rule],
        "properties": {
            "a": integer, "b": integer, "x-y": {"type": "string"}, "namespace": {"type": "string"},
            "l": {"type": "array", "items": integer},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "either": {"x-kubernetes-int-or-string": true},
            "at": {"type": "string", "format": "date-time"}, "day": {"type": "string", "format": "date"},
            "for": {"type": "string", "format": "duration"}, "raw": {"type": "string", "format": "byte"},
            "ratio": {"type": "number"}, "null": {"type": "object", "nullable": true},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
            "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        },
    })
}

#[test]
fn what_rules_say() {
    let (a1, a3) = (json!({"a": 1, "b": 2}), json!({"a": 3, "b": 2}));
    let said = r#"s: Invalid value: "object": "#;
    let missing = format!("{said}no such key: a evaluating rule: self.a > 0");
    for (rule, value, expect) in [
        (json!({"rule": "self.a <= self.b"}), &a1, String::new()),
        (json!({"rule": " self.a <= self.b "}), &a3, format!("{said}failed rule: self.a <= self.b")),
        (json!({"rule": "self.a <= self.b", "message": " a is too large "}), &a3, format!("{said}a is too large")),
        (
            json!({"rule": "self.a <= self.b", "messageExpression": "'not ' + string(self.a)", "message": "m"}),
            &a3,
            format!("{said}not 3"),
        ),
        // What makes no message leaves it to the other.
        (json!({"rule": "false", "messageExpression": "string(self.l[9])", "message": "m"}), &a3, format!("{said}m")),
        (json!({"rule": "false", "messageExpression": "' '"}), &a3, format!("{said}failed rule: false")),
        (json!({"rule": "false", "messageExpression": "'a\\nb'"}), &a3, format!("{said}failed rule: false")),
        (json!({"rule": "self.a > 0"}), &json!({}), missing),
        (
            json!({"rule": "false", "reason": "FieldValueRequired", "fieldPath": ".a"}),
            &a3,
            "s.a: Required value: failed rule: false".to_owned(),
        ),
        (json!({"rule": "false", "reason": "FieldValueForbidden"}), &a3, "s: Forbidden: failed rule: false".to_owned()),
        (json!({"rule": "false", "reason": "FieldValueDuplicate"}), &a3, r#"s: Duplicate value: "object""#.to_owned()),
        (
            json!({"rule": "false", "fieldPath": ".labels['a.b']"}),
            &a3,
            r#"s.labels[a.b]: Invalid value: "object": failed rule: false"#.to_owned(),
        ),
    ] {
        let found = told(&object(rule.clone()), value, None);
        assert_eq!(found.concat(), expect, "{rule} on {value}");
    }
}

#[test]
fn what_rules_see() {
    for (rule, value) in [
        ("self.x__dash__y == 'v' && self.__namespace__ == 'n'", json!({"x-y": "v", "namespace": "n"})),
        ("type(self.either) == int ? self.either < 5 : self.either.endsWith('%')", json!({"either": "5%"})),
        ("type(self.either) == int ? self.either < 5 : self.either.endsWith('%')", json!({"either": 4})),
        ("self.at < timestamp('2027-01-01T00:00:00Z')", json!({"at": "2026-01-01T00:00:00Z"})),
        ("self.day.getMonth() == 1", json!({"day": "2026-02-03"})),
        ("self.__for__ == duration('36h')", json!({"for": "1d 12h"})),
        ("self.raw == b'hi' && size(self.raw) == 2", json!({"raw": "aGk="})),
        ("self.ratio == 2.0 && self.ratio / 4.0 == 0.5", json!({"ratio": 2})),
        ("self.__null__ == null && has(self.__null__)", json!({"null": null})),
        ("!has(self.a) && self.?a.orValue(7) == 7", json!({})),
        ("self.labels.all(k, k.startsWith('app') && self.labels[k] != '')", json!({"labels": {"app/x": "y"}})),
        (
            "self.labels['app'] == 'y' && self.labels.app == 'y' && 'app' in self.labels",
            json!({"labels": {"app": "y"}}),
        ),
        (
            "self.pod.kind == 'Pod' && self.pod.metadata.name == 'p'",
            json!({"pod": {"kind": "Pod", "metadata": {"name": "p"}}}),
        ),
        ("self.set == ['b', 'a'] && self.l != [2, 1]", json!({"set": ["a", "b"], "l": [1, 2]})),
        ("(self.set + ['a', 'c']).size() == 3", json!({"set": ["a", "b"]})),
    ] {
        assert_eq!(told(&object(json!({"rule": rule})), &value, None), Vec::<String>::new(), "{rule} on {value}");
    }
}

#[test]
fn the_root_is_an_object_with_a_name() {
    let rule = json!([{"rule": "self.metadata.name == 'n' && self.kind == 'T' && self.apiVersion == 'x'"}]);
    let schema = Schema::read(&json!({"type": "object", "x-kubernetes-validations": rule}));
    let rules = Rules::compile(&schema).expect("it has rules");
    let found =
        check(&schema, &rules, &json!({"apiVersion": "e.com/v1", "kind": "T", "metadata": {"name": "n"}}), None);
    assert_eq!((found.len(), found[0].field.as_str()), (1, "<nil>"));
}

#[test]
fn transitions_need_something_before() {
    let rule = object(json!({"rule": "self.a == oldSelf.a", "message": "immutable"}));
    let (old, new) = (json!({"a": 1}), json!({"a": 2}));
    assert!(told(&rule, &new, None).is_empty());
    assert_eq!(told(&rule, &new, Some(&old)), [r#"s: Invalid value: "object": immutable"#]);
    assert!(told(&rule, &old, Some(&old)).is_empty());
    let optional = "!oldSelf.hasValue() || oldSelf.value().a <= self.a";
    let rule = object(json!({"rule": optional, "optionalOldSelf": true}));
    assert!(told(&rule, &json!({"a": 1}), None).is_empty());
    assert!(told(&rule, &json!({"a": 2}), Some(&old)).is_empty());
    assert_eq!(told(&rule, &json!({"a": 0}), Some(&old)).len(), 1);
    let born = object(json!({"rule": "oldSelf.hasValue() || self.a == 0", "optionalOldSelf": true}));
    assert_eq!(told(&born, &json!({"a": 1}), None).len(), 1);
}

#[test]
fn elements_are_known_by_their_keys() {
    let items = json!({
        "type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.v >= oldSelf.v"}],
    });
    let keyed =
        json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": items});
    let old = json!([{"k": "a", "v": 5}, {"k": "b", "v": 1}]);
    let found = told(&keyed, &json!([{"k": "c", "v": 0}, {"k": "a", "v": 4}, {"k": "b", "v": 1}]), Some(&old));
    assert_eq!(found, [r#"s[1]: Invalid value: "object": failed rule: self.v >= oldSelf.v"#]);
    let values = json!({"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]});
    let map = json!({"type": "object", "additionalProperties": values});
    let found = told(&map, &json!({"a.b": "2", "c": "new"}), Some(&json!({"a.b": "1"})));
    assert_eq!(found, [r#"s[a.b]: Invalid value: "string": failed rule: self == oldSelf"#]);
}

#[test]
fn what_did_not_change_hinders_nobody() {
    let rule = json!([{"rule": "self < 5"}]);
    let schema = json!({
        "type": "object", "properties": {
            "a": {"type": "integer", "x-kubernetes-validations": rule},
            "b": {"type": "integer"},
            "l": {"type": "array", "items": {"type": "integer", "x-kubernetes-validations": rule}},
        },
    });
    let old = json!({"a": 9, "b": 1, "l": [9]});
    assert!(told(&schema, &json!({"a": 9, "b": 2, "l": [9]}), Some(&old)).is_empty());
    assert_eq!(told(&schema, &json!({"a": 8, "b": 1, "l": [9]}), Some(&old)).len(), 1);
    // Elements of such a list are not told from each other.
    assert_eq!(told(&schema, &json!({"a": 9, "b": 1, "l": [9, 1]}), Some(&old)).len(), 1);
}

#[test]
fn a_rule_that_does_not_compile_refuses() {
    let found = told(&object(json!({"rule": "self.a > unknown(1)"})), &json!({"a": 1}), None);
    let said = r#"s: Invalid value: "object": rule compile error: compilation failed: ERROR: <input>:1:17: undeclared reference to 'unknown' (in container '')"#;
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with(said) && found[0].contains("self.a > unknown(1)"), "{found:?}");
    let anything =
        json!({"x-kubernetes-preserve-unknown-fields": true, "x-kubernetes-validations": [{"rule": "true"}]});
    let found = told(&anything, &json!(1), None);
    assert!(found[0].contains("rule compiler initialization error"), "{found:?}");
}

#[test]
fn costs_are_bounded() {
    let deep = object(json!({"rule": "self.l.all(a, self.l.all(b, self.l.all(c, a + b + c >= 0)))"}));
    let long: Vec<i32> = (0..2000).collect();
    let found = told(&deep, &json!({ "l": long }), None);
    assert!(found[0].contains("no further validation rules will be run due to call cost exceeds limit"), "{found:?}");
    let each = json!({"type": "integer", "x-kubernetes-validations": [{"rule": "lists.range(900000).size() > self"}]});
    let found = told(&json!({"type": "array", "items": each}), &json!((0..100).collect::<Vec<i32>>()), None);
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("running out of cost budget, no further validation rules will be run"), "{found:?}");
}

#[test]
fn paths_of_fields() {
    let schema = Schema::read(&object(json!({"rule": "true"})));
    for (written, expect) in [
        (".a", Ok("a")),
        (".labels.x", Ok("labels[x]")),
        (".labels['x.y']", Ok("labels[x.y]")),
        ("['a']", Ok("a")),
        (".labels['it\\'s']", Ok("labels[it's]")),
        (".z", Err(())),
        ("a", Err(())),
        (".a.b", Err(())),
        (".labels[x]", Err(())),
        (".", Err(())),
        ("['a'", Err(())),
    ] {
        assert_eq!(path(written, &schema).as_deref().map_err(|_| ()), expect, "{written}");
    }
}
