//! kube-rs as any operator in Rust uses it: lists in pages, watches with bookmarks and streaming lists, reflectors, every
//! patch, discovery, definitions of its own kinds, certificates, evictions, events and logs.

use crate::process::Server;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, ObjectReference, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, DeleteParams, EvictParams, ListParams, LogParams, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent,
    WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{PartialObjectMetaExt as _, Status};
use kube::discovery::{Discovery, verbs};
use kube::runtime::events::{Event as NewEvent, EventType, Recorder};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Client, CustomResource, CustomResourceExt as _, Resource as _, ResourceExt};
use serde_json::json;
use std::time::Duration;

/// For what is told by another task of the server: as long as every other wait of these tests.
const LIMIT: Duration = crate::process::LIMIT;

#[derive(CustomResource, Clone, Debug, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[kube(group = "sea.example.com", version = "v1", kind = "Boat", namespaced, status = "BoatStatus", shortname = "bo")]
#[kube(scale(spec_replicas_path = ".spec.seats", status_replicas_path = ".status.taken"))]
#[kube(printcolumn(name = "Seats", type_ = "integer", json_path = ".spec.seats"))]
struct BoatSpec {
    #[schemars(range(min = 1, max = 8))]
    seats: i32,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Clone, Debug, Default, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
struct BoatStatus {
    taken: i32,
}

/// kube-rs with the kubeconfig of a server.
pub(crate) async fn client_of(server: &Server) -> Client {
    let file = Kubeconfig::read_from(server.kubeconfig()).expect("the kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("a config");
    Client::try_from(config).expect("a client")
}

/// A server, and kube-rs with its kubeconfig.
fn with_kube(test: impl AsyncFnOnce(Client, &Server)) {
    let server = Server::up();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        test(client_of(&server).await, &server).await;
    });
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name }, "data": { "key": value } })).expect("a ConfigMap")
}

fn refusal(error: kube::Error) -> Status {
    match error {
        kube::Error::Api(status) => *status,
        other => panic!("no answer of the API: {other}"),
    }
}

#[test]
fn objects_are_written_read_and_patched() {
    with_kube(async |client, _| {
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let made = maps.create(&PostParams::default(), &config_map("a", "1")).await.expect("it is created");
        assert!(made.uid().is_some() && made.resource_version().is_some());
        let again = maps.create(&PostParams::default(), &config_map("a", "1")).await.expect_err("the name is taken");
        let again = refusal(again);
        assert_eq!((again.code, again.reason.as_str()), (409, "AlreadyExists"));
        assert!(maps.get_opt("nobody").await.expect("an answer").is_none());

        let patch = |patch: serde_json::Value| Patch::Merge(patch);
        let merged = maps.patch("a", &PatchParams::default(), &patch(json!({ "data": { "more": "2" } }))).await;
        assert_eq!(merged.expect("merged").data.expect("data").len(), 2);
        let strategic = Patch::Strategic(json!({ "data": { "more": null } }));
        let strategic = maps.patch("a", &PatchParams::default(), &strategic).await.expect("patched");
        assert_eq!(strategic.data.expect("data").len(), 1);
        let operations = serde_json::from_value(json!([{ "op": "test", "path": "/data/key", "value": "1" },
            { "op": "replace", "path": "/data/key", "value": "3" }]));
        let json = maps.patch("a", &PatchParams::default(), &Patch::Json::<()>(operations.expect("a patch"))).await;
        assert_eq!(json.expect("patched").data.expect("data")["key"], "3");

        let apply = |manager: &str| PatchParams::apply(manager);
        let wanted = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "owned": "1" } });
        maps.patch("a", &apply("one"), &Patch::Apply(&wanted)).await.expect("applied");
        let other = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "owned": "2" } });
        let conflict = refusal(maps.patch("a", &apply("two"), &Patch::Apply(&other)).await.expect_err("a conflict"));
        assert_eq!((conflict.code, conflict.reason.as_str()), (409, "Conflict"));
        assert!(conflict.message.contains("conflict with \"one\": .data.owned"), "{}", conflict.message);
        let forced = maps.patch("a", &apply("two").force(), &Patch::Apply(&other)).await.expect("applied");
        assert_eq!(forced.data.expect("data")["owned"], "2");

        let dry = maps.delete("a", &DeleteParams { dry_run: true, ..DeleteParams::default() }).await;
        dry.expect("nothing is deleted");
        let entry = maps.entry("a").await.expect("an answer").and_modify(|map| {
            map.data.get_or_insert_default().insert("entered".to_owned(), "yes".to_owned());
        });
        let mut entry = entry.or_insert(ConfigMap::default);
        entry.commit(&PostParams::default()).await.expect("committed");
        assert_eq!(maps.get("a").await.expect("it is there").data.expect("data")["entered"], "yes");
        let meta = maps.get_metadata("a").await.expect("its metadata");
        assert_eq!(meta.name_any(), "a");
        let labelled =
            ObjectMeta { labels: Some([("tier".to_owned(), "web".to_owned())].into()), ..ObjectMeta::default() };
        let labelled = labelled.into_request_partial::<ConfigMap>();
        maps.patch_metadata("a", &PatchParams::apply("three"), &Patch::Apply(&labelled)).await.expect("patched");
        let found = maps.list(&ListParams::default().labels("tier in (web,db)")).await.expect("a list");
        assert_eq!(found.items.len(), 1);
        maps.delete("a", &DeleteParams::default()).await.expect("deleted");
    });
}

#[test]
fn lists_come_in_pages_and_watches_miss_nothing() {
    with_kube(async |client, _| {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-public");
        for index in 0..10 {
            maps.create(&PostParams::default(), &config_map(&format!("m{index}"), "1")).await.expect("created");
        }
        let (mut names, mut next) = (Vec::new(), None::<String>);
        loop {
            let mut page = ListParams::default().limit(4).fields("metadata.name!=kube-root-ca.crt");
            page.continue_token.clone_from(&next);
            let page = maps.list(&page).await.expect("a page");
            names.extend(page.items.iter().map(ResourceExt::name_any));
            next = page.metadata.continue_.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
        assert_eq!(names, (0..10).map(|index| format!("m{index}")).collect::<Vec<_>>());

        // A streaming list: what is there, a bookmark that says so, then what happens.
        let params = WatchParams::default().initial_events();
        let mut stream = maps.watch(&params, "0").await.expect("a watch").boxed();
        let (mut added, mut revision) = (0, String::new());
        while let Some(event) = stream.try_next().await.expect("the watch goes on") {
            match event {
                WatchEvent::Added(_) => added += 1,
                WatchEvent::Bookmark(mark) => {
                    let notes = mark.metadata.annotations;
                    assert_eq!(notes.get("k8s.io/initial-events-end").map(String::as_str), Some("true"));
                    revision.clone_from(&mark.metadata.resource_version);
                    break;
                }
                other => panic!("not at the start of a watch: {other:?}"),
            }
        }
        assert!(added >= 10 && !revision.is_empty(), "{added}");
        maps.delete("m0", &DeleteParams::default()).await.expect("deleted");
        let event = stream.try_next().await.expect("the watch goes on").expect("an event");
        let WatchEvent::Deleted(gone) = event else { panic!("not a deletion: {event:?}") };
        assert_eq!(gone.name_any(), "m0");
    });
}

#[test]
fn a_reflector_follows_in_both_ways_of_listing() {
    with_kube(async |client, _| {
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        for (index, config) in
            [watcher::Config::default(), watcher::Config::default().streaming_lists()].into_iter().enumerate()
        {
            let (reader, writer) = reflector::store::<ConfigMap>();
            let stream = watcher(maps.clone(), config.labels(&format!("way=w{index}")));
            let following = tokio::spawn(stream.default_backoff().reflect(writer).for_each(async |_| ()));
            tokio::time::timeout(LIMIT, reader.wait_until_ready()).await.expect("it lists").expect("it lives");
            assert_eq!(reader.len(), 0);
            let mut map = config_map(&format!("followed-{index}"), "1");
            map.labels_mut().insert("way".to_owned(), format!("w{index}"));
            let made = maps.create(&PostParams::default(), &map).await.expect("created");
            let key = reflector::ObjectRef::from_obj(&made);
            let seen = async || {
                let mut changes = watcher(maps.clone(), watcher::Config::default()).applied_objects().boxed();
                while reader.get(&key).is_none() {
                    changes.next().await;
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(LIMIT, seen()).await.expect("the reflector sees it");
            following.abort();
        }
    });
}

#[test]
fn discovery_finds_every_kind() {
    with_kube(async |client, _| {
        let plain = Discovery::new(client.clone()).run().await.expect("plain discovery");
        let aggregated = Discovery::new(client.clone()).run_aggregated().await.expect("aggregated discovery");
        for found in [plain, aggregated] {
            assert!(found.has_group("apps") && found.has_group(""));
            let (resource, capabilities) =
                found.resolve_gvk(&kube::core::GroupVersionKind::gvk("apps", "v1", "Deployment")).expect("Deployments");
            assert_eq!(resource.plural, "deployments");
            assert!(capabilities.supports_operation(verbs::WATCH));
            assert!(
                capabilities
                    .subresources
                    .iter()
                    .any(|(below, _)| below.plural == "status" || below.plural.ends_with("/status"))
            );
        }
        let version = client.apiserver_version().await.expect("a version");
        assert!(version.minor.trim_end_matches('+').parse::<u32>().is_ok_and(|minor| minor >= 30), "{version:?}");
    });
}

#[test]
fn kinds_of_ones_own_are_defined_and_used() {
    with_kube(async |client, _| {
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        let applying = PatchParams::apply("boats");
        definitions.patch("boats.sea.example.com", &applying, &Patch::Apply(Boat::crd())).await.expect("defined");
        let established =
            await_condition(definitions.clone(), "boats.sea.example.com", conditions::is_crd_established());
        tokio::time::timeout(LIMIT, established).await.expect("it is established").expect("the watch goes on");

        let boats: Api<Boat> = Api::default_namespaced(client.clone());
        let boat = Boat::new("curach", BoatSpec { seats: 3, name: Some("Curach".to_owned()) });
        let made = boats.create(&PostParams::default(), &boat).await.expect("created");
        assert_eq!(made.meta().generation, Some(1));
        let huge = Boat::new("ark", BoatSpec { seats: 9, name: None });
        let refused = refusal(boats.create(&PostParams::default(), &huge).await.expect_err("too many seats"));
        assert_eq!(refused.reason, "Invalid");
        assert!(refused.message.contains("spec.seats"), "{}", refused.message);
        let status = json!({ "status": { "taken": 2 } });
        let after =
            boats.patch_status("curach", &PatchParams::default(), &Patch::Merge(&status)).await.expect("patched");
        assert_eq!(after.status.expect("a status").taken, 2);
        assert_eq!(after.metadata.generation, Some(1));
        let scale = boats.get_scale("curach").await.expect("a scale");
        assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(3));
        let scaled = json!({ "spec": { "replicas": 4 } });
        boats.patch_scale("curach", &PatchParams::default(), &Patch::Merge(&scaled)).await.expect("scaled");
        let now = boats.get("curach").await.expect("it is there");
        assert_eq!((now.spec.seats, now.metadata.generation), (4, Some(2)));
        definitions.delete("boats.sea.example.com", &DeleteParams::default()).await.expect("deleted");
        let uid = made.meta().uid.clone().expect("a uid");
        let gone = await_condition(definitions, "boats.sea.example.com", conditions::is_deleted(""));
        drop((gone, uid));
    });
}

#[test]
fn pods_are_logged_and_evicted_and_events_are_told() {
    with_kube(async |client, server| {
        server.push("hello", "hello:v1");
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "hello" },
            "spec": { "containers": [{ "name": "hello", "image": "hello:v1", "ports": [{ "containerPort": 8080 }] }] },
        }))
        .expect("a pod");
        let made = pods.create(&PostParams::default(), &pod).await.expect("created");
        let running = await_condition(pods.clone(), "hello", conditions::is_pod_running());
        tokio::time::timeout(LIMIT, running).await.expect("it runs").expect("the watch goes on");
        pods.logs("hello", &LogParams::default()).await.expect("its log");

        let recorder = Recorder::new(client.clone(), "tester".into());
        let event = NewEvent {
            type_: EventType::Normal,
            reason: "Tested".to_owned(),
            note: Some("as an operator would".to_owned()),
            action: "Testing".to_owned(),
            secondary: None,
        };
        let about: ObjectReference = made.object_ref(&());
        recorder.publish(&event, &about).await.expect("it is told");
        let events: Api<Event> = Api::default_namespaced(client.clone());
        let told = events.list(&ListParams::default().fields("reason=Tested")).await.expect("a list");
        assert_eq!(told.items.len(), 1);
        assert_eq!(told.items[0].involved_object.name.as_deref(), Some("hello"));

        pods.evict("hello", &EvictParams::default()).await.expect("it may be evicted");
        let uid = made.metadata.uid.as_deref().expect("a uid");
        let gone = await_condition(pods.clone(), "hello", conditions::is_deleted(uid));
        tokio::time::timeout(LIMIT, gone).await.expect("it goes").expect("the watch goes on");
    });
}

#[test]
fn subresources_certificates_and_collections() {
    with_kube(async |client, _| {
        let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": { "name": "web" },
            "spec": {
                "replicas": 0, "selector": { "matchLabels": { "app": "web" } },
                "template": {
                    "metadata": { "labels": { "app": "web" } },
                    "spec": { "containers": [{ "name": "web", "image": "nowhere:v1" }] },
                },
            },
        }))
        .expect("a Deployment");
        deployments.create(&PostParams::default(), &deployment).await.expect("created");
        deployments.restart("web").await.expect("restarted");
        let restarted = deployments.get("web").await.expect("it is there");
        let template = restarted.spec.expect("a spec").template.metadata.expect("metadata");
        assert!(template.annotations.expect("annotations").contains_key("kube.kubernetes.io/restartedAt"));

        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "somebody");
        let pem = params.serialize_request(&key).expect("a request").pem().expect("as PEM");
        let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
        let request: CertificateSigningRequest = serde_json::from_value(json!({
            "metadata": { "name": "somebody" },
            "spec": {
                "request": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem),
                "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"],
            },
        }))
        .expect("a request");
        requests.create(&PostParams::default(), &request).await.expect("created");
        let approved = json!({ "status": { "conditions": [
            { "type": "Approved", "status": "True", "reason": "Tested", "message": "as an administrator would" },
        ] } });
        requests.patch_approval("somebody", &PatchParams::default(), &Patch::Merge(&approved)).await.expect("approved");
        let signed = |request: Option<&CertificateSigningRequest>| {
            request.and_then(|request| request.status.as_ref()).is_some_and(|status| status.certificate.is_some())
        };
        let issued = await_condition(requests, "somebody", signed);
        tokio::time::timeout(LIMIT, issued).await.expect("it is signed").expect("the watch goes on");

        let namespaces: Api<Namespace> = Api::all(client.clone());
        let space: Namespace = serde_json::from_value(json!({ "metadata": { "name": "short" } })).expect("a namespace");
        namespaces.create(&PostParams::default(), &space).await.expect("created");
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "short");
        for name in ["a", "b"] {
            maps.create(&PostParams::default(), &config_map(name, "1")).await.expect("created");
        }
        let all = ListParams::default().fields("metadata.name!=kube-root-ca.crt");
        maps.delete_collection(&DeleteParams::default(), &all).await.expect("deleted");
        assert!(maps.list(&all).await.expect("a list").items.is_empty());
        namespaces.delete("short", &DeleteParams::default()).await.expect("it begins to end");
        let ended = |space: Option<&Namespace>| space.is_none();
        let ended = await_condition(namespaces, "short", ended);
        tokio::time::timeout(LIMIT, ended).await.expect("it ends").expect("the watch goes on");
    });
}
