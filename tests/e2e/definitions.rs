//! Custom resources as an operator made with kube-rs sees them: its kind is served from the moment that the definition is
//! established, and nothing is tried twice.

use crate::process::Server;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const NAME: &str = "gadgets.e2e.coracle.dev";

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

async fn until(
    what: &str,
    definitions: &Api<CustomResourceDefinition>,
    is_so: fn(Option<&CustomResourceDefinition>) -> bool,
) {
    let began = tokio::time::Instant::now();
    while !is_so(definitions.get_opt(NAME).await.expect("an answer").as_ref()) {
        assert!(began.elapsed() < LIMIT, "{what} takes too long");
        tokio::task::yield_now().await;
    }
}

fn is_established(definition: Option<&CustomResourceDefinition>) -> bool {
    let conditions = definition.and_then(|one| one.status.as_ref()?.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Established" && one.status == "True"))
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_of_an_operator_are_served_from_the_moment_they_are_established() {
    let server = Server::up();
    let file = Kubeconfig::read_from(server.kubeconfig()).expect("the kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("a config");
    let client = Client::try_from(config).expect("a client");
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("e2e.coracle.dev", "v1", "Gadget"));
    let gadgets: Api<DynamicObject> = Api::default_namespaced_with(client, &kind);

    let manager = PatchParams::apply("operator");
    definitions.patch(NAME, &manager, &Patch::Apply(definition())).await.expect("the definition is taken");
    until("the definition", &definitions, is_established).await;

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
    until("the end", &definitions, |definition| definition.is_none()).await;
    let missing = gadgets.list(&ListParams::default()).await.expect_err("nothing is served there");
    assert!(matches!(missing, kube::Error::Api(status) if status.code == 404));
}
