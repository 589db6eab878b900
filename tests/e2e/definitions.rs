//! Custom resources as an operator made with kube-rs sees them: its kind is served from the moment that the definition is
//! established, and nothing is tried twice.

use crate::kube_rs::client_of;
use crate::process::Server;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const NAME: &str = "gadgets.e2e.coracle.dev";
const RULED: &str = "spans.e2e.coracle.dev";

/// As kube-rs derives it from a Rust type.
fn definition() -> Value {
    let spec = json!({
        "type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "format": "int32", "minimum": 1.0, "maximum": 10.0},
            "replicas": {"type": "integer", "format": "int32", "default": 1},
        },
    });
    let status = json!({
        "type": "object", "nullable": true, "properties": {"replicas": {"type": "integer", "format": "int32", "default": 0}},
    });
    let schema = json!({
        "title": "Gadget", "type": "object", "required": ["spec"], "properties": {"spec": spec, "status": status},
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": NAME},
        "spec": {
            "group": "e2e.coracle.dev", "scope": "Namespaced",
            "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "shortNames": [], "categories": []},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                },
            }],
        },
    })
}

fn gadget(name: &str, size: i32) -> DynamicObject {
    let tree = json!({
        "apiVersion": "e2e.coracle.dev/v1", "kind": "Gadget", "metadata": {"name": name}, "spec": {"size": size},
    });
    serde_json::from_value(tree).expect("an object")
}

/// One whose schema has rules.
fn ruled() -> Value {
    let rules = json!([
        {"rule": "self.least <= self.most", "message": "least must not pass most"},
        {"rule": "self.kind == oldSelf.kind", "reason": "FieldValueForbidden", "fieldPath": ".kind"},
        {"rule": "!has(self.limit) || quantity(self.limit).isLessThan(quantity('1Gi'))",
            "messageExpression": "'%s is too much'.format([self.limit])"},
    ]);
    let integer = json!({"type": "integer"});
    let spec = json!({
        "type": "object", "required": ["least", "most", "kind"], "x-kubernetes-validations": rules,
        "properties": {"least": integer, "most": integer, "kind": {"type": "string"}, "limit": {"type": "string"}},
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": RULED},
        "spec": {
            "group": "e2e.coracle.dev", "scope": "Namespaced",
            "names": {"plural": "spans", "singular": "span", "kind": "Span"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
            }],
        },
    })
}

async fn until(
    what: &str,
    name: &str,
    definitions: &Api<CustomResourceDefinition>,
    is_so: fn(Option<&CustomResourceDefinition>) -> bool,
) {
    let began = tokio::time::Instant::now();
    while !is_so(definitions.get_opt(name).await.expect("an answer").as_ref()) {
        assert!(began.elapsed() < LIMIT, "{what} takes too long");
        tokio::task::yield_now().await;
    }
}

fn is_established(definition: Option<&CustomResourceDefinition>) -> bool {
    let conditions = definition.and_then(|one| one.status.as_ref()?.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Established" && one.status == "True"))
}

/// What the API says against it.
fn refusal(outcome: Result<impl std::fmt::Debug, kube::Error>) -> String {
    let kube::Error::Api(status) = outcome.expect_err("it breaks a rule") else { panic!("an answer of the API") };
    assert_eq!(status.code, 422, "{}", status.message);
    status.message.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_of_an_operator_are_served_from_the_moment_they_are_established() {
    let server = Server::up();
    let client = client_of(&server).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("e2e.coracle.dev", "v1", "Gadget"));
    let gadgets: Api<DynamicObject> = Api::default_namespaced_with(client, &kind);

    let manager = PatchParams::apply("operator");
    definitions.patch(NAME, &manager, &Patch::Apply(definition())).await.expect("the definition is taken");
    until("the definition", NAME, &definitions, is_established).await;

    // At once: nothing is tried twice.
    let made = gadgets.create(&PostParams::default(), &gadget("a", 3)).await.expect("it is served");
    assert_eq!((made.metadata.generation, &made.data["spec"]["replicas"]), (Some(1), &json!(1)));
    let refused = gadgets.create(&PostParams::default(), &gadget("b", 11)).await.expect_err("it is too large");
    let kube::Error::Api(status) = refused else { panic!("an answer of the API") };
    assert_eq!((status.code, &*status.reason), (422, "Invalid"));
    assert!(status.message.contains("spec.size in body should be less than or equal to 10"), "{}", status.message);

    let scale =
        gadgets.patch_scale("a", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 5}}))).await;
    assert_eq!(scale.expect("it scales").spec.and_then(|spec| spec.replicas), Some(5));
    let told = Patch::Merge(json!({"status": {"replicas": 5}}));
    let told = gadgets.patch_status("a", &PatchParams::default(), &told).await.expect("its status");
    assert_eq!((told.metadata.generation, &told.data["status"]["replicas"]), (Some(2), &json!(5)));
    gadgets.patch("c", &manager, &Patch::Apply(gadget("c", 4))).await.expect("apply makes it");
    assert_eq!(gadgets.list(&ListParams::default()).await.expect("a list").items.len(), 2);

    definitions.delete(NAME, &DeleteParams::default()).await.expect("it is deleted");
    until("the end", NAME, &definitions, |definition| definition.is_none()).await;
    let missing = gadgets.list(&ListParams::default()).await.expect_err("nothing is served there");
    assert!(matches!(missing, kube::Error::Api(status) if status.code == 404));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_of_a_definition_are_kept() {
    let server = Server::up();
    let client = client_of(&server).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("e2e.coracle.dev", "v1", "Span"));
    let spans: Api<DynamicObject> = Api::default_namespaced_with(client, &kind);
    let manager = PatchParams::apply("operator");

    let mut wrong = ruled();
    wrong["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"][0]["rule"] =
        "self.lest <= self.most".into();
    let told = refusal(definitions.patch(RULED, &manager, &Patch::Apply(wrong)).await);
    assert!(told.contains("compilation failed: ERROR: <input>:1:5: undefined field 'lest'"), "{told}");

    definitions.patch(RULED, &manager, &Patch::Apply(ruled())).await.expect("the definition is taken");
    until("the definition", RULED, &definitions, is_established).await;
    let span = |spec: Value| -> DynamicObject {
        let tree = json!({
            "apiVersion": "e2e.coracle.dev/v1", "kind": "Span", "metadata": {"name": "a"}, "spec": spec,
        });
        serde_json::from_value(tree).expect("an object")
    };
    let post = PostParams::default();
    let told = refusal(spans.create(&post, &span(json!({"least": 3, "most": 2, "kind": "x"}))).await);
    assert!(told.ends_with(r#"spec: Invalid value: "object": least must not pass most"#), "{told}");
    let told = refusal(spans.create(&post, &span(json!({"least": 1, "most": 2, "kind": "x", "limit": "2Gi"}))).await);
    assert!(told.ends_with(r#"spec: Invalid value: "object": 2Gi is too much"#), "{told}");
    spans.create(&post, &span(json!({"least": 1, "most": 2, "kind": "x", "limit": "1M"}))).await.expect("all is well");

    let changed = Patch::Merge(json!({"spec": {"kind": "y"}}));
    let told = refusal(spans.patch("a", &PatchParams::default(), &changed).await);
    assert!(told.ends_with("spec.kind: Forbidden: failed rule: self.kind == oldSelf.kind"), "{told}");
    let told = refusal(
        spans
            .patch("a", &manager.clone().force(), &Patch::Apply(span(json!({"least": 9, "most": 2, "kind": "x"}))))
            .await,
    );
    assert!(told.contains("least must not pass most"), "{told}");
    let grown = Patch::Merge(json!({"spec": {"most": 7}}));
    spans.patch("a", &PatchParams::default(), &grown).await.expect("it may grow");
}
