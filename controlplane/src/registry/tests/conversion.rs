//! Conversion by a webhook that is a function of the test.

use super::*;
use api::resource::{CUSTOM_RESOURCE_DEFINITIONS, RESOURCE_QUOTAS};
use bytes::Bytes;
use futures::FutureExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

const LIMIT: Duration = Duration::from_secs(30);

/// A webhook that changes the version alone, once it may.
#[derive(Default)]
struct Hook {
    is_slow: bool,
    asked: Notify,
    go: Notify,
    reviews: AtomicUsize,
}

impl Hook {
    async fn answer(&self, to: Destination, review: Bytes) -> Result<Bytes, String> {
        assert_eq!((to.host.as_str(), to.path.as_str()), ("192.0.2.1", "/convert"));
        self.reviews.fetch_add(1, Ordering::Relaxed);
        self.asked.notify_one();
        if self.is_slow {
            self.go.notified().await;
        }
        let review: Value = serde_json::from_slice(&review).expect("JSON");
        let (version, mut objects) = (&review["request"]["desiredAPIVersion"], review["request"]["objects"].clone());
        for object in objects.as_array_mut().expect("a list") {
            object["apiVersion"] = version.clone();
        }
        let response = json!({
            "uid": review["request"]["uid"], "result": {"status": "Success"}, "convertedObjects": objects,
        });
        let answer = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response});
        Ok(answer.to_string().into())
    }
}

fn things(version: &'static str) -> Resource {
    Resource::new("example.com", version, "things")
}

fn thing(version: &str, name: &str) -> Value {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "Thing", "metadata": {"name": name}})
}

/// A registry that has things, which the webhook converts.
async fn defined(hook: &Arc<Hook>) -> Local {
    let registry = registry().await;
    let hook = Arc::clone(hook);
    registry.ask_by(Arc::new(move |to, review| {
        let hook = Arc::clone(&hook);
        async move { hook.answer(to, review).await }.boxed()
    }));
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let version = |name: &str| json!({"name": name, "served": true, "storage": name == "v1", "schema": schema});
    let webhook = json!({"conversionReviewVersions": ["v1"], "clientConfig": {"url": "https://192.0.2.1/convert"}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [version("v1"), version("v2")], "conversion": {"strategy": "Webhook", "webhook": webhook},
        },
    });
    let local = Local::new(registry.clone(), User::system_admin());
    let target = Target::cluster(&CUSTOM_RESOURCE_DEFINITIONS, "");
    local.create(target, definition, WriteOptions::default()).await.expect("it is taken");
    let served = async {
        while registry.find(&things("v2")).is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, served).await.expect("its kinds are served");
    local
}

#[tokio::test]
async fn who_needs_no_other_version_asks_nobody() {
    let hook = Arc::new(Hook::default());
    let local = defined(&hook).await;
    let asked = || hook.reviews.swap(0, Ordering::Relaxed);
    let (v1, v2) = (things("v1"), things("v2"));
    for name in ["a", "b", "c"] {
        create(&local, &v1, thing("v1", name)).await;
    }
    local.list(&v1, None, ListOptions::default()).await.expect("a list");
    assert_eq!(asked(), 0);
    let list = local.list(&v2, None, ListOptions::default()).await.expect("a list");
    assert_eq!((list.items.len(), &*list.items[2].head().api_version, asked()), (3, "example.com/v2", 1));
    let mut events = local.watch(&v2, None, WatchOptions::default()).await.expect("a watch");
    for name in ["a", "b", "c"] {
        let event = events.next().await.expect("an event").expect("no error");
        assert!(matches!(&event, Event::Added(object) if object.name() == name), "{event:?}");
    }
    assert_eq!(asked(), 1, "what a watch begins with goes into one review");
    local.delete(at(&v2, "a"), DeleteOptions::default()).await.expect("it goes");
    assert_eq!(asked(), 0, "a deletion asks nobody");
    let event = events.next().await.expect("an event").expect("no error");
    assert!(matches!(&event, Event::Deleted(object) if &*object.head().api_version == "example.com/v2"), "{event:?}");
}

#[tokio::test]
async fn a_slow_webhook_keeps_nobody_waiting_but_who_needs_it() {
    let hook = Arc::new(Hook { is_slow: true, ..Hook::default() });
    let local = defined(&hook).await;
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"},
        "spec": {"hard": {"count/things.example.com": "5"}}});
    create(&local, &RESOURCE_QUOTAS, quota).await;
    let status =
        json!({"status": {"hard": {"count/things.example.com": "5"}, "used": {"count/things.example.com": "0"}}});
    let below = Target { subresource: Some("status"), ..at(&RESOURCE_QUOTAS, "q") };
    local.patch(below, Patch::Merge(status), WriteOptions::default()).await.expect("its status");
    let slow = tokio::spawn({
        let local = local.clone();
        async move { local.create(at(&things("v2"), ""), thing("v2", "a"), WriteOptions::default()).await }
    });
    tokio::time::timeout(LIMIT, hook.asked.notified()).await.expect("it is asked");
    let v1 = things("v1");
    let other = create(&local, &v1, thing("v1", "b"));
    tokio::time::timeout(LIMIT, other).await.expect("what is charged to the same quota does not wait");
    let released = async {
        while !slow.is_finished() {
            hook.go.notify_waiters();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, released).await.expect("it is answered");
    assert_eq!(&*slow.await.expect("no panic").expect("made").head().api_version, "example.com/v2");
}
