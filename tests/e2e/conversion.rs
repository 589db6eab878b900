//! Custom resources whose versions a webhook makes of each other, and webhooks that fail in every way.

use crate::https::{Handler, Https, full, json, own_address};
use crate::kube_rs::client_of;
use crate::process::Server;
use futures::{FutureExt, StreamExt};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kube::Client;
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json as tree};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

const LIMIT: Duration = Duration::from_secs(60);
const GROUP: &str = "hooks.e2e.coracle.dev";

/// How the webhook behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Good,
    /// It answers when it is told to.
    Slow,
    Garbled,
    WrongUid,
    TooBig,
    Refusing,
    Broken,
}

/// `spec.length` (v1: a number) is `spec.size` (v2: a text with its unit).
struct Hook {
    mood: Mutex<Mood>,
    go: Notify,
    asked: Notify,
    /// How many objects each review had.
    reviews: Mutex<Vec<usize>>,
}

impl Hook {
    fn new() -> Arc<Hook> {
        let (mood, reviews) = (Mutex::new(Mood::Good), Mutex::default());
        Arc::new(Hook { mood, go: Notify::new(), asked: Notify::new(), reviews })
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock().expect("nobody panicked") = mood;
    }

    fn reviews(&self) -> Vec<usize> {
        std::mem::take(&mut *self.reviews.lock().expect("nobody panicked"))
    }

    fn handler(self: &Arc<Hook>) -> Handler {
        let hook = Arc::clone(self);
        Arc::new(move |request| {
            let hook = Arc::clone(&hook);
            async move { hook.answer(request).await }.boxed()
        })
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<crate::https::Body> {
        assert_eq!(request.uri().to_string(), "/convert?timeout=30s");
        let body = request.into_body().collect().await.expect("a body").to_bytes();
        let review: Value = serde_json::from_slice(&body).expect("JSON");
        let (uid, version) =
            (&review["request"]["uid"], review["request"]["desiredAPIVersion"].as_str().expect("as expected"));
        let objects: Vec<Value> = review["request"]["objects"]
            .as_array()
            .expect("as expected")
            .iter()
            .map(|one| converted(one, version))
            .collect();
        self.reviews.lock().expect("nobody panicked").push(objects.len());
        self.asked.notify_one();
        let mood = *self.mood.lock().expect("nobody panicked");
        if mood == Mood::Slow {
            self.go.notified().await;
        }
        let other = tree!("other");
        let uid = if mood == Mood::WrongUid { &other } else { uid };
        let result = match mood {
            Mood::Refusing => tree!({"status": "Failure", "message": "no such length"}),
            _ => tree!({"status": "Success"}),
        };
        match mood {
            Mood::Garbled => Response::new(full("{\"kind\":")),
            Mood::TooBig => Response::new(full(vec![b' '; 9 * 1024 * 1024])),
            Mood::Broken => Response::builder().status(503).body(full("out of order\n")).expect("as expected"),
            _ => json(&tree!({
                "apiVersion": review["apiVersion"], "kind": "ConversionReview",
                "response": {"uid": uid, "result": result, "convertedObjects": objects},
            })),
        }
    }
}

fn converted(object: &Value, version: &str) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = version.into();
    let spec = object["spec"].as_object_mut().expect("as expected");
    if version.ends_with("/v2") {
        if let Some(length) = spec.remove("length") {
            spec.insert("size".to_owned(), format!("{length} cm").into());
        }
    } else if let Some(size) = spec.remove("size") {
        let length: i64 = size.as_str().expect("as expected").trim_end_matches(" cm").parse().expect("as expected");
        spec.insert("length".to_owned(), length.into());
    }
    object
}

fn definition(plural: &str, client: &Value) -> Value {
    let version = |name: &str, is_stored: bool, spec: Value| {
        let schema = tree!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": spec}, "status": {"type": "object", "properties": {"told": {"type": "string"}}},
        }});
        tree!({
            "name": name, "served": true, "storage": is_stored, "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}},
        })
    };
    let kind = format!("K{plural}");
    tree!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{GROUP}")},
        "spec": {
            "group": GROUP, "scope": "Namespaced", "names": {"plural": plural, "singular": plural, "kind": kind},
            "versions": [
                version("v1", true, tree!({"length": {"type": "integer"}, "color": {"type": "string"}})),
                version("v2", false, tree!({"size": {"type": "string"}, "color": {"type": "string"}})),
            ],
            "conversion": {"strategy": "Webhook", "webhook": {
                "clientConfig": client, "conversionReviewVersions": ["v1"],
            }},
        },
    })
}

struct Cluster {
    server: Server,
    client: Client,
}

impl Cluster {
    async fn up() -> Cluster {
        let server = Server::up();
        Cluster { client: client_of(&server).await, server }
    }

    fn api(&self, group: &str, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        let mut kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        plural.clone_into(&mut kind.plural);
        Api::default_namespaced_with(self.client.clone(), &kind)
    }

    fn things(&self, version: &str, plural: &str) -> Api<DynamicObject> {
        self.api(GROUP, version, &format!("K{plural}"), plural)
    }

    /// Makes it, and waits until its kinds are served.
    async fn define(&self, plural: &str, client: &Value) {
        let kind =
            ApiResource::from_gvk(&GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"));
        let all: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind);
        all.create(&PostParams::default(), &object(definition(plural, client))).await.expect("it is taken");
        let things = self.things("v1", plural);
        let served = async {
            while things.list(&ListParams::default()).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, served).await.expect("its kinds are served");
    }
}

fn object(tree: Value) -> DynamicObject {
    serde_json::from_value(tree).expect("an object")
}

fn thing(plural: &str, version: &str, name: &str, spec: &Value) -> DynamicObject {
    let kind = format!("K{plural}");
    object(tree!({
        "apiVersion": format!("{GROUP}/{version}"), "kind": kind, "metadata": {"name": name}, "spec": spec,
    }))
}

fn message(error: kube::Error) -> (u16, String) {
    let kube::Error::Api(status) = error else { panic!("an answer of the API: {error}") };
    (status.code, status.message)
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_read_and_written_in_either_version() {
    let (cluster, hook) = (Cluster::up().await, Hook::new());
    let https = Https::serve(&[], None, hook.handler()).await;
    let url = format!("https://127.0.0.1:{}/convert", https.port);
    cluster.define("rods", &tree!({"url": url, "caBundle": https.bundle})).await;
    let (v1, v2) = (cluster.things("v1", "rods"), cluster.things("v2", "rods"));
    let from =
        v2.list(&ListParams::default()).await.expect("nothing yet").metadata.resource_version.expect("as expected");

    let made = v2.create(&PostParams::default(), &thing("rods", "v2", "a", &tree!({"size": "7 cm"}))).await;
    assert_eq!(made.expect("made").data["spec"], tree!({"size": "7 cm"}));
    assert_eq!(v1.get("a").await.expect("it is there").data["spec"], tree!({"length": 7}));
    hook.reviews();
    for (name, length) in [("b", 1), ("c", 2), ("d", 3)] {
        let spec = tree!({"length": length});
        v1.create(&PostParams::default(), &thing("rods", "v1", name, &spec)).await.expect("made");
    }
    assert!(hook.reviews().is_empty(), "nobody is asked about what is stored");
    let all = v2.list(&ListParams::default()).await.expect("a list");
    let sizes: Vec<&str> =
        all.items.iter().map(|one| one.data["spec"]["size"].as_str().expect("as expected")).collect();
    assert_eq!((sizes, hook.reviews()), (vec!["7 cm", "1 cm", "2 cm", "3 cm"], vec![4]), "one review for a page");

    let told = Patch::Merge(tree!({"spec": {"size": "9 cm"}}));
    let patched = v2.patch("b", &PatchParams::default(), &told).await.expect("patched");
    assert_eq!((patched.metadata.generation, &patched.data["spec"]), (Some(2), &tree!({"size": "9 cm"})));
    let applied = thing("rods", "v2", "c", &tree!({"color": "red"}));
    let applied = v2.patch("c", &PatchParams::apply("me"), &Patch::Apply(applied)).await.expect("applied");
    assert_eq!(applied.data["spec"], tree!({"size": "2 cm", "color": "red"}));
    let told = Patch::Merge(tree!({"status": {"told": "yes"}}));
    v2.patch_status("c", &PatchParams::default(), &told).await.expect("its status");
    let stored = v1.get("c").await.expect("it is there");
    assert_eq!(
        (&stored.data["spec"], &stored.data["status"]),
        (&tree!({"length": 2, "color": "red"}), &tree!({"told": "yes"}))
    );
    v2.delete("d", &DeleteParams::default()).await.expect("it goes");

    // A watch tells all that happened, in order and in its version.
    let mut events = v2.watch(&WatchParams::default(), &from).await.expect("a watch").boxed();
    let mut seen = Vec::new();
    while seen.len() < 8 {
        let event = tokio::time::timeout(LIMIT, events.next()).await.expect("an event in time").expect("one more");
        let (what, object) = match event.expect("no error") {
            WatchEvent::Added(object) => ("+", object),
            WatchEvent::Modified(object) => ("~", object),
            WatchEvent::Deleted(object) => ("-", object),
            other => panic!("{other:?}"),
        };
        assert_eq!(object.types.expect("its type").api_version, format!("{GROUP}/v2"));
        seen.push(format!(
            "{what}{} {}",
            object.metadata.name.expect("as expected"),
            object.data["spec"]["size"].as_str().expect("as expected")
        ));
    }
    assert_eq!(seen, ["+a 7 cm", "+b 1 cm", "+c 2 cm", "+d 3 cm", "~b 9 cm", "~c 2 cm", "~c 2 cm", "-d 3 cm"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_fails_harms_nobody_else() {
    let (cluster, hook) = (Cluster::up().await, Hook::new());
    let https = Https::serve(&[], None, hook.handler()).await;
    let url = format!("https://127.0.0.1:{}/convert", https.port);
    cluster.define("bars", &tree!({"url": url, "caBundle": https.bundle})).await;
    let (v1, v2) = (cluster.things("v1", "bars"), cluster.things("v2", "bars"));
    v1.create(&PostParams::default(), &thing("bars", "v1", "a", &tree!({"length": 1}))).await.expect("made");
    let prefix = format!("conversion webhook for {GROUP}/v1, Kind=Kbars failed: ");
    let post = format!("{prefix}Post \"{url}?timeout=30s\": ");
    let broken = r#"an error on the server ("out of order") has prevented the request from succeeding"#;
    for (mood, expect) in [
        (Mood::Garbled, prefix.clone()),
        (Mood::WrongUid, format!("{prefix}expected response.uid=")),
        (Mood::TooBig, format!("{post}the answer has more than 8388608 bytes")),
        (Mood::Refusing, format!("{prefix}no such length")),
        (Mood::Broken, format!("{prefix}{broken}")),
    ] {
        hook.is(mood);
        let (code, told) = message(v2.get("a").await.expect_err("it fails"));
        assert!(code == 500 && told.starts_with(&expect), "{mood:?}: {code} {told}");
        let (code, _) = message(v2.list(&ListParams::default()).await.expect_err("it fails"));
        assert_eq!(code, 500, "{mood:?}");
        let made = v2.create(&PostParams::default(), &thing("bars", "v2", "b", &tree!({"size": "2 cm"}))).await;
        assert_eq!(message(made.expect_err("it fails")).0, 500, "{mood:?}");
        assert_eq!(v1.list(&ListParams::default()).await.expect("v1 is as it was").items.len(), 1);
    }

    // A watch says so and ends.
    let mut events = v2.watch(&WatchParams::default(), "0").await.expect("it begins").boxed();
    let first = tokio::time::timeout(LIMIT, events.next()).await.expect("in time").expect("an event");
    assert!(matches!(&first, Ok(WatchEvent::Error(status)) if status.code == 500), "{first:?}");

    // While it is slow, others are served, and what waits for it is answered in the end.
    hook.is(Mood::Slow);
    hook.asked.notified().now_or_never();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let v2 = v2.clone();
                async move { v2.get("a").await }
            })
        })
        .collect();
    tokio::time::timeout(LIMIT, hook.asked.notified()).await.expect("it is asked");
    let maps = cluster.api("", "v1", "ConfigMap", "configmaps");
    let map = object(tree!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}}));
    maps.create(&PostParams::default(), &map).await.expect("others are served");
    v1.patch("a", &PatchParams::default(), &Patch::Merge(tree!({"spec": {"color": "red"}}))).await.expect("so is v1");
    hook.is(Mood::Good);
    let answered = AtomicUsize::new(0);
    let all = futures::future::join_all(waiting.into_iter().map(|one| {
        let answered = &answered;
        async move {
            one.await.expect("no panic").expect("an answer");
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let mut all = std::pin::pin!(all);
    let released = async {
        while (&mut all).now_or_never().is_none() {
            hook.go.notify_waiters();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, released).await.expect("all are answered");
    assert_eq!(answered.load(Ordering::Relaxed), 20);

    // Deletions need it no more than they need to.
    drop(https);
    let (code, told) = message(v2.get("a").await.expect_err("nobody is there"));
    assert!(code == 500 && told.starts_with(&post), "{told}");
    v2.delete("a", &DeleteParams::default()).await.expect("it goes all the same");
    assert!(v1.list(&ListParams::default()).await.expect("a list").items.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_behind_a_service_is_found() {
    let (cluster, hook) = (Cluster::up().await, Hook::new());
    let https = Https::serve(&["hook.default.svc"], None, hook.handler()).await;
    let service = tree!({"namespace": "default", "name": "hook", "path": "/convert", "port": 8443});
    cluster.define("pegs", &tree!({"service": service, "caBundle": https.bundle})).await;
    let (v1, v2) = (cluster.things("v1", "pegs"), cluster.things("v2", "pegs"));
    v1.create(&PostParams::default(), &thing("pegs", "v1", "a", &tree!({"length": 1}))).await.expect("made");
    let fails = || async { message(v2.get("a").await.expect_err("it fails")).1 };
    let told = fails().await;
    assert!(
        told.ends_with(r#"Post "https://hook.default.svc:8443/convert?timeout=30s": service "hook" not found"#),
        "{told}"
    );

    let services = cluster.api("", "v1", "Service", "services");
    let service = object(tree!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"}, "spec": {"ports": [{"port": 8443}]},
    }));
    services.create(&PostParams::default(), &service).await.expect("made");
    let told = fails().await;
    assert!(told.ends_with(r#"no endpoints available for service "hook""#), "{told}");

    let slices = cluster.api("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices");
    let slice = object(tree!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
        "endpoints": [{"addresses": [own_address().to_string()]}], "ports": [{"port": https.port, "name": ""}],
    }));
    slices.create(&PostParams::default(), &slice).await.expect("made");
    assert_eq!(v2.get("a").await.expect("it is found").data["spec"], tree!({"size": "1 cm"}));

    // Somebody else with the same name is not believed.
    let other = Https::serve(&["hook.default.svc"], None, hook.handler()).await;
    let moved = Patch::Merge(tree!({"ports": [{"port": other.port, "name": ""}]}));
    slices.patch("hook-1", &PatchParams::default(), &moved).await.expect("moved");
    let told = fails().await;
    assert!(told.contains("tls: "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_a_pod_is_asked_over_its_nodes_link() {
    let cluster = Cluster::up().await;
    cluster.server.push("echo", "echo:v1");
    let pods = cluster.api("", "v1", "Pod", "pods");
    let pod = object(tree!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "hook", "labels": {"app": "hook"}},
        "spec": {"containers": [{"name": "echo", "image": "echo:v1", "ports": [{"containerPort": 8080}]}]},
    }));
    pods.create(&PostParams::default(), &pod).await.expect("made");
    let services = cluster.api("", "v1", "Service", "services");
    let service = object(tree!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"},
        "spec": {"selector": {"app": "hook"}, "ports": [{"port": 443, "targetPort": 8080}]},
    }));
    services.create(&PostParams::default(), &service).await.expect("made");
    let service = tree!({"namespace": "default", "name": "hook", "path": "/convert"});
    cluster.define("pins", &tree!({"service": service})).await;
    let (v1, v2) = (cluster.things("v1", "pins"), cluster.things("v2", "pins"));
    v1.create(&PostParams::default(), &thing("pins", "v1", "a", &tree!({"length": 1}))).await.expect("made");
    // What it says back is the question, which is no answer: the question has come to it.
    let asked = async {
        loop {
            let told = message(v2.get("a").await.expect_err("it does not convert")).1;
            if told.ends_with("failed: no response provided") {
                return;
            }
            assert!(told.contains("hook"), "{told}");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, asked).await.expect("it is asked");
}
