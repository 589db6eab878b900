use super::*;
use crate::custom::Definition;
use std::sync::Arc;

fn definition(reviews: &Tree) -> Tree {
    let version = |name: &str| json!({"name": name, "served": true, "storage": name == "v1"});
    json!({
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "versions": [version("v1"), version("v2")],
            "conversion": {"strategy": "Webhook", "webhook": {
                "conversionReviewVersions": reviews, "clientConfig": {"url": "https://127.0.0.1/convert", "caBundle": "Y2E="},
            }},
        },
        "status": {
            "acceptedNames": {"plural": "things", "kind": "Thing"}, "conditions": [{"type": "Established", "status": "True"}],
        },
    })
}

fn v2() -> Arc<Kind> {
    Arc::clone(&Definition::read(&definition(&json!(["v1"])), 1).kinds[1])
}

fn thing(version: &str, name: &str) -> Tree {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "Thing", "metadata": {
        "name": name, "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}, "managedFields": [{"manager": "m"}],
    }})
}

/// What comes of an answer to the review `id` of things `a` and `b`, or of `a` alone.
fn came(count: usize, answer: &Tree) -> Result<Vec<Tree>, String> {
    let webhook = Webhook::read(&definition(&json!(["v9", "v1", "v1beta1"]))).expect("it has one");
    let originals = [thing("v1", "a"), thing("v1", "b")];
    webhook.converted("id", &v2(), &originals[..count], answer.to_string().as_bytes())
}

fn answer(objects: &Tree) -> Tree {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": {
        "uid": "id", "result": {"status": "Success"}, "convertedObjects": objects,
    }})
}

#[test]
fn a_review_has_the_objects_as_they_are() {
    let webhook = Webhook::read(&definition(&json!(["v1beta1", "v1"]))).expect("it has one");
    let review = webhook.review("id", "example.com/v2", [&b"{\"a\":1}"[..], b"{}"].into_iter());
    let read: Tree = serde_json::from_slice(&review).expect("JSON");
    let request = json!({"uid": "id", "desiredAPIVersion": "example.com/v2", "objects": [{"a": 1}, {}]});
    let whole = json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1beta1", "request": request});
    assert_eq!(read, whole);
    assert_eq!(Webhook::read(&json!({"spec": {"conversion": {"strategy": "None"}}})), None);
}

#[test]
fn metadata_stays_but_for_labels_and_annotations() {
    let mut changed = thing("v2", "a");
    edit::set(&mut changed, &["spec", "new"], 1);
    edit::set(&mut changed, &["metadata", "resourceVersion"], "8");
    edit::set(&mut changed, &["metadata", "finalizers"], json!(["mine"]));
    edit::set(&mut changed, &["metadata", "annotations", "c"], "d");
    edit::remove(&mut changed, &["metadata", "labels"]);
    edit::remove(&mut changed, &["metadata", "managedFields"]);
    let made = came(1, &answer(&json!([changed]))).expect("it fits").remove(0);
    let meta = json!({
        "name": "a", "uid": "u", "resourceVersion": "7", "managedFields": [{"manager": "m"}], "annotations": {"c": "d"},
    });
    assert_eq!((&made["metadata"], &made["spec"]["new"]), (&meta, &json!(1)));
}

#[test]
fn what_is_wrong_with_an_answer() {
    let good = |name: &str| thing("v2", name);
    let changed = |path: &[&str], value: Tree| {
        let mut all = answer(&json!([good("a")]));
        edit::set(&mut all, path, value);
        all
    };
    let object = |path: &[&str], value: Tree| {
        let mut one = good("a");
        edit::set(&mut one, path, value);
        answer(&json!([one]))
    };
    let refused = json!({"status": "Failure", "message": "no such field"});
    for (answer, expect) in [
        (
            json!({}),
            "failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got /, Kind=",
        ),
        (changed(&["response", "uid"], "x".into()), r#"failed: expected response.uid="id", got "x""#),
        (changed(&["response", "result"], refused), "failed: no such field"),
        (changed(&["response", "result"], json!({})), "failed: response.result.status was '', not 'Success'"),
        (changed(&["response"], Tree::Null), "failed: no response provided"),
        (changed(&["response", "convertedObjects"], json!([])), "returned 0 objects, expected 1"),
        (
            object(&["apiVersion"], "example.com/v1".into()),
            "returned invalid object at index 0: invalid groupVersion (expected example.com/v2, received example.com/v1)",
        ),
        (
            object(&["kind"], "Other".into()),
            "returned invalid object at index 0: invalid kind (expected Thing, received Other)",
        ),
        (object(&["metadata", "name"], "b".into()), "returned invalid object: must have the same name: a != b"),
        (object(&["metadata", "uid"], "v".into()), "returned invalid object: must have the same UID: u != v"),
        (
            object(&["metadata", "labels"], json!({"a": 1})),
            "returned invalid metadata: metadata.labels: must be a map of strings, and \"a\" is none",
        ),
    ] {
        let why = came(1, &answer).expect_err(expect);
        assert_eq!(why, format!("conversion webhook for example.com/v1, Kind=Thing {expect}"));
    }
}

#[test]
fn objects_keep_their_order() {
    let both = came(2, &answer(&json!([thing("v2", "a"), thing("v2", "b")]))).expect("they fit");
    assert_eq!(both.len(), 2);
    let why = came(2, &answer(&json!([thing("v2", "b"), thing("v2", "a")]))).expect_err("they are swapped");
    let expect = "returned invalid converted object at index 0: must have the same name: a != b";
    assert_eq!(why, format!("conversion webhook for example.com/v1, Kind=Thing {expect}"));
}
