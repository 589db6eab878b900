use super::*;
use crate::kinds;
use serde_json::json;

fn deployment() -> &'static Kind {
    kinds::find_kind("apps", "v1", "Deployment").unwrap()
}

fn problems(body: &str) -> Vec<String> {
    let (_, problems) = json::decode(body.as_bytes(), deployment(), Strictness::Strict).unwrap();
    problems.iter().map(ToString::to_string).collect()
}

fn failure(body: &str) -> String {
    json::decode(body.as_bytes(), deployment(), Strictness::Strict).unwrap_err().to_string()
}

#[test]
fn problems_are_worded_as_upstream_does() {
    assert_eq!(problems(r#"{"spec":{"replicas":1,"x":{"y":[1]}}}"#), [r#"unknown field "spec.x""#]);
    assert_eq!(problems(r#"{"spec":{"replicas":1,"replicas":2}}"#), [r#"duplicate field "spec.replicas""#]);
    assert_eq!(problems(r#"{"metadata":{"labels":{"a":"1","a":"2"}}}"#), [r#"duplicate field "metadata.labels.a""#]);
    assert_eq!(
        problems(r#"{"spec":{"template":{"spec":{"containers":[{"name":"a"},{"nam":"b"}]}}}}"#),
        [r#"unknown field "spec.template.spec.containers[1].nam""#]
    );
    assert_eq!(problems(r#"{"foo":1}"#), [r#"unknown field "foo""#]);
}

#[test]
fn wrong_types_are_refused() {
    assert_eq!(
        failure(r#"{"spec":{"replicas":"3"}}"#),
        "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
    );
    assert_eq!(
        failure(r#"{"spec":{"template":{"spec":{"containers":[{"env":[{"value":5}]}]}}}}"#),
        "json: cannot unmarshal number into Go struct field EnvVar.spec.template.spec.containers.env.value of type string"
    );
    assert_eq!(
        failure(r#"{"spec":{"replicas":3000000000}}"#),
        "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32"
    );
    assert_eq!(
        failure(r#"{"metadata":{"labels":["a"]}}"#),
        "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string"
    );
}

#[test]
fn limits_hold() {
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let body = format!(r#"{{"metadata":{{"managedFields":[{{"fieldsV1":{deep}}}]}}}}"#);
    assert_eq!(json::decode(body.as_bytes(), deployment(), Strictness::Warn), Err(DecodeError::TooDeep));
    let large = vec![b' '; BYTES_MAX + 1];
    assert!(matches!(json::decode(&large, deployment(), Strictness::Warn), Err(DecodeError::TooLarge { .. })));
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (from, to) in "abcdefghij".chars().zip("bcdefghijk".chars()) {
        bomb += &format!("{to}: &{to} [{}]\n", vec![format!("*{from}"); 9].join(","));
    }
    assert!(yaml::parse(bomb.as_bytes()).is_err());
    // The YAML reader alone would take minutes for these.
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", "")] {
        let deep = format!("{}x{}", open.repeat(100_000), close.repeat(100_000));
        assert_eq!(yaml::parse(deep.as_bytes()), Err(DecodeError::TooDeep), "{open}");
    }
    let many = format!("[{}]", "a,".repeat(300_000));
    assert_eq!(yaml::parse(many.as_bytes()), Err(DecodeError::TooMany));
    let custom = Kind { schema: None, ..deployment().clone() };
    assert!(yaml::decode(bomb.as_bytes(), &custom, Strictness::Warn).is_err());
}

#[test]
fn keys_come_in_the_order_of_the_table_and_nulls_go() {
    let body = br#"{"spec":{"template":{},"replicas":0,"paused":null},"metadata":{"name":"a"},"apiVersion":"apps/v1","kind":"Deployment"}"#;
    let (tree, _) = json::decode(body, deployment(), Strictness::Strict).unwrap();
    let expect =
        r#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"a"},"spec":{"replicas":0,"template":{}}}"#;
    assert_eq!(tree.to_string(), expect);
    let (again, problems) = conform(tree.clone(), deployment(), Strictness::Strict).unwrap();
    assert_eq!((again, problems), (tree, vec![]));
}

#[test]
fn what_is_no_base64_is_told_where_go_stops() {
    let secret = kinds::find(&crate::resource::SECRETS).unwrap();
    for (text, at) in
        [("1", 0), ("!!!", 0), ("YQ", 0), ("YWJjYQ", 4), ("YW*=", 2), ("YQ=", 3), ("YQ=x", 3), ("YQ==x", 4), ("=", 0)]
    {
        let body = json!({"data": {"a": text}}).to_string();
        let error = json::decode(body.as_bytes(), secret, Strictness::Warn).unwrap_err();
        assert_eq!(error.to_string(), format!("illegal base64 data at input byte {at}"), "{text}");
    }
}

#[test]
fn what_is_empty_is_not_set_once_it_is_stored() {
    let mut tree = json!({"metadata": {"name": "a", "labels": {}},
        "spec": {"template": {"spec": {"containers": [], "volumes": []}}}});
    unset_empty(&mut tree, deployment());
    let expect = json!({"metadata": {"name": "a", "labels": {}},
        "spec": {"template": {"spec": {"containers": null, "volumes": []}}}});
    assert_eq!(tree, expect);
}

#[test]
fn zero_values_are_printed_as_go_does() {
    let tree = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "labels": {}},
        "spec": {"replicas": 0, "paused": false, "minReadySeconds": 0}});
    let expect = r#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"a"},"spec":{"replicas":0,"selector":null,"template":{"metadata":{},"spec":{"containers":null}},"strategy":{}},"status":{}}"#;
    let tree = canonical(tree, deployment());
    assert_eq!(tree.to_string(), expect);
    let wire = protobuf::encode(&tree, deployment()).unwrap();
    assert_eq!(protobuf::decode(&wire, deployment()).unwrap().to_string(), expect);
}

#[test]
fn a_custom_resource_keeps_what_it_has() {
    // The YAML reader alone would take minutes for these.
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", "")] {
        let deep = format!("{}x{}", open.repeat(100_000), close.repeat(100_000));
        assert_eq!(yaml::parse(deep.as_bytes()), Err(DecodeError::TooDeep), "{open}");
    }
    let many = format!("[{}]", "a,".repeat(300_000));
    assert_eq!(yaml::parse(many.as_bytes()), Err(DecodeError::TooMany));
    let custom = Kind { schema: None, ..deployment().clone() };
    let body = br#"{"spec":{"b":null,"a":[1.5]},"kind":"Foo","metadata":{"namespace":"n","name":"x","bad":1},"apiVersion":"x/v1"}"#;
    let (tree, problems) = json::decode(body, &custom, Strictness::Strict).unwrap();
    assert_eq!(problems[0].to_string(), r#"unknown field "metadata.bad""#);
    let expect =
        r#"{"apiVersion":"x/v1","kind":"Foo","metadata":{"name":"x","namespace":"n"},"spec":{"a":[1.5],"b":null}}"#;
    assert_eq!(canonical(tree, &custom).to_string(), expect);
}

#[test]
fn malformed_protobuf_is_refused() {
    let wire = protobuf::encode(&json!({"kind": "Deployment", "apiVersion": "apps/v1"}), deployment()).unwrap();
    for length in 0..wire.len() {
        // Cut between two fields it is still a message; anywhere else it is not. It never panics.
        let _ = protobuf::decode(&wire[..length], deployment());
    }
    assert!(protobuf::decode(b"{}", deployment()).is_err());
    assert!(protobuf::decode(b"k8s\0\x12\x05\x0a\xff\xff\xff\xff", deployment()).is_err());
}

#[test]
fn quantities_and_times_are_canonical() {
    let pod = kinds::find_kind("", "v1", "Pod").unwrap();
    let body = br#"{"metadata":{"deletionTimestamp":"2026-01-02T04:04:05.5+01:00"},"spec":{"containers":[{"name":"a",
        "resources":{"requests":{"memory":"1024Mi","cpu":0.1}}}]}}"#;
    let (tree, problems) = json::decode(body, pod, Strictness::Strict).unwrap();
    assert_eq!(problems, []);
    let tree = canonical(tree, pod);
    assert_eq!(tree["metadata"]["deletionTimestamp"], "2026-01-02T03:04:05Z");
    let requests = &tree["spec"]["containers"][0]["resources"]["requests"];
    assert_eq!(requests.to_string(), r#"{"cpu":"100m","memory":"1Gi"}"#);
    let body = br#"{"spec":{"containers":[{"resources":{"requests":{"cpu":"1x"}}}]}}"#;
    let error = json::decode(body, pod, Strictness::Strict).unwrap_err().to_string();
    assert!(error.contains("quantit"), "{error}");
}
