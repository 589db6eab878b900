//! The whole agent against an API in memory and a scripted sandbox: no socket, no Wasm, and the time of the machine.

use super::*;
use crate::node::{Capacity, Exit, Handler, Image, Pods, Pull, PullError, Sandbox, Start, Started};
use crate::{Body, BoxError};
use api::rejected::Rejected;
use api::{Resource, Tree};
use bytes::Bytes;
use client::{Clock, Cluster, DeleteOptions, Events, List, ListOptions, Patch, Target, WatchOptions, WriteOptions};
use futures::StreamExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{broadcast, watch};

/// Objects by path, with merge patches (good enough for strategic ones here) and one stream of events.
struct Memory {
    objects: Mutex<(u64, BTreeMap<String, Tree>)>,
    events: broadcast::Sender<(String, client::Event)>,
    is_away: AtomicBool,
}

impl Memory {
    fn new() -> Arc<Memory> {
        let memory = Arc::new(Memory {
            objects: Mutex::default(),
            events: broadcast::Sender::new(100_000),
            is_away: AtomicBool::new(false),
        });
        memory.put(
            "/api/v1/nodes/a",
            json!({ "kind": "Node", "metadata": { "name": "a" }, "spec": { "podCIDR": "10.64.0.0/20" } }),
        );
        memory
    }

    fn put(&self, path: &str, mut tree: Tree) -> Arc<Object> {
        let mut objects = self.objects.lock();
        objects.0 += 1;
        tree["metadata"]["resourceVersion"] = objects.0.to_string().into();
        let is_new = objects.1.insert(path.to_owned(), tree.clone()).is_none();
        let object = Arc::new(Object::from_tree(&tree).unwrap());
        let event = if is_new { client::Event::Added } else { client::Event::Modified };
        let _ = self.events.send((path.to_owned(), event(Arc::clone(&object))));
        object
    }

    fn remove(&self, path: &str) {
        let mut objects = self.objects.lock();
        objects.0 += 1;
        let Some(mut tree) = objects.1.remove(path) else { return };
        tree["metadata"]["resourceVersion"] = objects.0.to_string().into();
        let object = Arc::new(Object::from_tree(&tree).unwrap());
        let _ = self.events.send((path.to_owned(), client::Event::Deleted(object)));
    }

    fn get(&self, path: &str) -> Option<Tree> {
        self.objects.lock().1.get(path).cloned()
    }

    fn pod(&self, name: &str, container: Tree) {
        self.pod_with(name, container, json!([]));
    }

    fn pod_with(&self, name: &str, container: Tree, volumes: Tree) {
        let pod = json!({ "kind": "Pod", "apiVersion": "v1",
            "metadata": { "name": name, "namespace": "n", "uid": format!("uid-{name}"), "generation": 1 },
            "spec": { "nodeName": "a", "restartPolicy": "Always", "containers": [container], "volumes": volumes } });
        self.put(&path(name), pod);
    }

    /// Waits for a pod to be as wanted.
    async fn until(&self, name: &str, is_so: impl Fn(Option<&Tree>) -> bool) {
        let mut events = self.events.subscribe();
        let look = async {
            while !is_so(self.get(&path(name)).as_ref()) {
                let _ = events.recv().await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(20), look).await;
        assert!(found.is_ok(), "pod {name} is {:#?}", self.get(&path(name)));
    }

    fn check(&self) -> Result<(), client::Error> {
        if self.is_away.load(Ordering::SeqCst) { Err(client::Error::Unreachable("cut".to_owned())) } else { Ok(()) }
    }
}

fn path(name: &str) -> String {
    format!("/api/v1/namespaces/n/pods/{name}")
}

fn merge(into: &mut Tree, patch: &Tree) {
    let Some(patch) = patch.as_object() else { return *into = patch.clone() };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key.as_str()], value);
        }
    }
}

impl Cluster for Memory {
    fn get<'a>(&'a self, target: Target<'a>) -> BoxFuture<'a, Result<Arc<Object>, client::Error>> {
        Box::pin(async move {
            self.check()?;
            let tree = Memory::get(self, &target.path());
            let tree = tree.ok_or_else(|| Rejected::not_found(target.resource, target.name))?;
            Ok(Arc::new(Object::from_tree(&tree).unwrap()))
        })
    }

    fn list<'a>(
        &'a self,
        resource: &'a Resource,
        _: Option<&'a str>,
        _: ListOptions,
    ) -> BoxFuture<'a, Result<List, client::Error>> {
        Box::pin(async move {
            self.check()?;
            let part = format!("/{}/", resource.plural);
            let objects = self.objects.lock();
            let all = objects.1.iter().filter(|(path, _)| path.contains(&part));
            let items = all.map(|(_, tree)| Arc::new(Object::from_tree(tree).unwrap())).collect();
            Ok(List { items, revision: objects.0, next: None })
        })
    }

    fn watch<'a>(
        &'a self,
        resource: &'a Resource,
        _: Option<&'a str>,
        options: WatchOptions,
    ) -> BoxFuture<'a, Result<Events, client::Error>> {
        Box::pin(async move {
            self.check()?;
            let part = format!("/{}/", resource.plural);
            let rx = self.events.subscribe();
            if self.objects.lock().0 > options.revision {
                // Something was missed between list and watch: list again.
                return Err(Rejected::new(api::rejected::Reason::Expired, "old").into());
            }
            let stream = futures::stream::unfold(rx, |mut rx| async { rx.recv().await.ok().map(|event| (event, rx)) });
            let stream = stream.filter_map(move |(path, event)| {
                let is_one = path.contains(&part) && event.revision() > options.revision;
                async move { is_one.then_some(Ok(event)) }
            });
            Ok(stream.boxed())
        })
    }

    fn create<'a>(
        &'a self,
        target: Target<'a>,
        object: Tree,
        _: WriteOptions,
    ) -> BoxFuture<'a, Result<Arc<Object>, client::Error>> {
        Box::pin(async move {
            self.check()?;
            if target.path().ends_with("/token") {
                return Ok(Arc::new(Object::from_tree(&json!({ "status": { "token": "a token" } })).unwrap()));
            }
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            Ok(self.put(&format!("{}/{name}", target.path()), object))
        })
    }

    fn update<'a>(
        &'a self,
        target: Target<'a>,
        object: Tree,
        _: WriteOptions,
    ) -> BoxFuture<'a, Result<Arc<Object>, client::Error>> {
        Box::pin(async move { Ok(self.put(&target.path(), object)) })
    }

    fn patch<'a>(
        &'a self,
        target: Target<'a>,
        patch: Patch,
        _: WriteOptions,
    ) -> BoxFuture<'a, Result<Arc<Object>, client::Error>> {
        Box::pin(async move {
            self.check()?;
            let path = Target { subresource: None, ..target }.path();
            let tree = Memory::get(self, &path);
            let mut tree = tree.ok_or_else(|| Rejected::not_found(target.resource, target.name))?;
            let (Patch::Merge(patch) | Patch::Strategic(patch) | Patch::Json(patch)) = patch else { unreachable!() };
            merge(&mut tree, &patch);
            Ok(self.put(&path, tree))
        })
    }

    fn delete<'a>(
        &'a self,
        target: Target<'a>,
        _: DeleteOptions,
    ) -> BoxFuture<'a, Result<Option<Arc<Object>>, client::Error>> {
        Box::pin(async move {
            self.check()?;
            self.remove(&target.path());
            Ok(None)
        })
    }
}

/// Images `server…` answer with their pod's name after printing a line; `exit-N` ends with N; others do not exist.
struct Script;

impl Sandbox for Script {
    fn pull(&self, pull: Pull) -> BoxFuture<'static, Result<Image, PullError>> {
        Box::pin(async move {
            if !pull.reference.starts_with("server") && !pull.reference.starts_with("exit") {
                return Err(PullError::Failed("not found".to_owned()));
            }
            Ok(Image { reference: pull.reference, digest: "sha256:1".to_owned(), bytes: 1, cached: true })
        })
    }

    fn start(&self, start: Start) -> BoxFuture<'static, Result<Started, String>> {
        Box::pin(async move {
            start.stdout.write(b"hello\n");
            let code = start.image.reference.strip_prefix("exit-").and_then(|code| code.parse().ok());
            let (exit, mut exited) = watch::channel(code.map(Exit::Code));
            let name = start.pod.clone();
            let http: crate::node::HttpHandler = Arc::new(move |_| {
                let body = Full::new(Bytes::from(name.clone())).map_err(|never| match never {});
                Box::pin(async move { Ok(Response::new(body.boxed_unsync())) })
            });
            let wait = async move { exited.wait_for(Option::is_some).await.unwrap().clone().unwrap() };
            let stop = move |_| drop(exit.send(Some(Exit::Stopped)));
            Ok(Started { http: code.is_none().then_some(http), exit: Box::pin(wait), stop: Arc::new(stop) })
        })
    }
}

#[derive(Default)]
struct Net(Mutex<BTreeMap<IpAddr, Handler>>);

impl Pods for Net {
    fn attach(&self, ip: IpAddr, _: &[u16], handler: Handler) {
        self.0.lock().insert(ip, handler);
    }

    fn detach(&self, ip: IpAddr) {
        self.0.lock().remove(&ip);
    }

    fn call(&self, to: SocketAddr, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
        match self.0.lock().get(&to.ip()).cloned() {
            Some(handler) => handler(request, to.port()),
            None => Box::pin(async { Err("nobody there".into()) }),
        }
    }
}

impl Net {
    async fn ask(&self, ip: &str) -> Result<String, BoxError> {
        let handler = self.0.lock().get(&ip.parse::<IpAddr>()?).cloned().ok_or("nobody there")?;
        let body: Body = Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync();
        let response = handler(Request::new(body), 80).await?;
        Ok(String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?)
    }
}

struct Node {
    net: Arc<Net>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), Error>>,
}

impl Node {
    fn start(memory: &Arc<Memory>, dir: &std::path::Path) -> Node {
        Node::with(memory, dir, Arc::new(Script))
    }

    fn with(memory: &Arc<Memory>, dir: &std::path::Path, sandbox: Arc<dyn Sandbox>) -> Node {
        let (net, shutdown) = (Arc::new(Net::default()), CancellationToken::new());
        let config = Config {
            cluster: Arc::clone(memory) as client::Handle,
            clock: Clock::system(),
            name: "a".to_owned(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            data_dir: dir.to_owned(),
            sandbox,
            pods: Arc::clone(&net) as Arc<dyn Pods>,
            address: "127.0.0.1".parse().unwrap(),
            port: 10250,
            capacity: Capacity { cpu_millis: 2000, memory_bytes: 1 << 30, pods: 1000 },
            drain_min: Duration::from_millis(50),
            link: None,
        };
        Node { net, task: tokio::spawn(run(config, shutdown.clone())), shutdown }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn server() -> Tree {
    json!({ "name": "c", "image": "server", "ports": [{ "containerPort": 80 }],
        "readinessProbe": { "httpGet": { "path": "/", "port": 80 } } })
}

fn is_ready(pod: Option<&Tree>) -> bool {
    let conditions = pod.and_then(|pod| pod["status"]["conditions"].as_array());
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

#[tokio::test]
async fn a_pod_lives_answers_and_goes() {
    let (memory, dir) = (Memory::new(), tempfile::tempdir().unwrap());
    let node = Node::start(&memory, dir.path());
    memory.pod("p", server());
    memory.until("p", is_ready).await;
    let pod = memory.get(&path("p")).unwrap();
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(pod["status"]["podIP"], "10.64.0.2");
    assert_eq!(pod["status"]["containerStatuses"][0]["containerID"], "wasmtime://uid-p.c.0");
    assert_eq!(node.net.ask("10.64.0.2").await.unwrap(), "p");
    let log = std::fs::read_to_string(dir.path().join("logs/n_p_uid-p/c/0.log")).unwrap();
    assert!(log.ends_with("stdout F hello\n"), "{log}");
    let mut pod = pod;
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    pod["metadata"]["deletionGracePeriodSeconds"] = 30.into();
    memory.put(&path("p"), pod);
    memory.until("p", |pod| pod.is_some() && !is_ready(pod)).await;
    assert_eq!(node.net.ask("10.64.0.2").await.unwrap(), "p", "it answers while it drains");
    memory.until("p", |pod| pod.is_none()).await;
    assert!(node.net.ask("10.64.0.2").await.is_err());
    node.stop().await;
}

#[tokio::test]
async fn a_pod_that_others_took_for_lost_is_told_of_again() {
    let (memory, dir) = (Memory::new(), tempfile::tempdir().unwrap());
    let node = Node::start(&memory, dir.path());
    memory.pod("p", server());
    memory.until("p", is_ready).await;
    let mut pod = memory.get(&path("p")).unwrap();
    let conditions = pod["status"]["conditions"].as_array_mut().unwrap();
    let ready = conditions.iter_mut().find(|one| one["type"] == "Ready").unwrap();
    (ready["status"], ready["reason"]) = ("False".into(), "NodeNotReady".into());
    memory.put(&path("p"), pod);
    memory.until("p", is_ready).await;
    node.stop().await;
}

#[tokio::test]
async fn five_hundred_pods_become_ready() {
    let (memory, dir) = (Memory::new(), tempfile::tempdir().unwrap());
    let node = Node::start(&memory, dir.path());
    for number in 0..500 {
        memory.pod(&format!("p{number}"), server());
    }
    for number in 0..500 {
        memory.until(&format!("p{number}"), is_ready).await;
    }
    node.stop().await;
}

#[tokio::test]
async fn what_goes_wrong_is_told() {
    let (memory, dir) = (Memory::new(), tempfile::tempdir().unwrap());
    let node = Node::start(&memory, dir.path());
    memory.pod("crash", json!({ "name": "c", "image": "exit-3" }));
    memory.pod("missing", json!({ "name": "c", "image": "nothing" }));
    let env = json!([{ "name": "X", "valueFrom": { "configMapKeyRef": { "name": "no", "key": "k" } } }]);
    memory.pod("config", json!({ "name": "c", "image": "server", "env": env }));
    let reason = |reason: &'static str| {
        move |pod: Option<&Tree>| {
            pod.is_some_and(|pod| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == reason)
        }
    };
    memory.until("crash", reason("CrashLoopBackOff")).await;
    let crash = memory.get(&path("crash")).unwrap();
    assert_eq!(crash["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 3);
    memory.until("missing", reason("ErrImagePull")).await;
    memory.until("missing", reason("ImagePullBackOff")).await;
    memory.until("config", reason("CreateContainerConfigError")).await;
    node.stop().await;
}

#[tokio::test]
async fn without_the_server_pods_start_from_the_disk_and_the_truth_is_told_later() {
    let (memory, dir) = (Memory::new(), tempfile::tempdir().unwrap());
    let node = Node::start(&memory, dir.path());
    let token = json!({ "serviceAccountToken": { "path": "token" } });
    memory.pod_with("keep", server(), json!([{ "name": "v", "projected": { "sources": [token] } }]));
    memory.pod("gone", server());
    memory.until("keep", is_ready).await;
    memory.until("gone", is_ready).await;
    let ip = memory.get(&path("keep")).unwrap()["status"]["podIP"].as_str().unwrap().to_owned();
    let gone_ip = memory.get(&path("gone")).unwrap()["status"]["podIP"].as_str().unwrap().to_owned();
    node.stop().await;
    memory.is_away.store(true, Ordering::SeqCst);
    let node = Node::start(&memory, dir.path());
    let serves = async {
        while node.net.ask(&ip).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), serves).await.expect("it answers from the disk alone");
    let token = dir.path().join("pods/uid-keep/volumes/v/token");
    assert_eq!(std::fs::read_to_string(token).unwrap(), "a token");
    memory.remove(&path("gone"));
    memory.is_away.store(false, Ordering::SeqCst);
    let restarted =
        |pod: Option<&Tree>| pod.is_some_and(|pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1);
    memory.until("keep", |pod| restarted(pod) && is_ready(pod)).await;
    let stops = async {
        while node.net.ask(&gone_ip).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), stops).await.expect("a pod deleted meanwhile is stopped");
    node.stop().await;
}

#[tokio::test]
async fn a_wasm_guest_runs_to_its_end() {
    let (memory, dir) = (Memory::new(), tempfile::tempdir().unwrap());
    let engine = crate::engine::EngineConfig { cache_dir: dir.path().join("code"), instances_max: 16 };
    let engine = crate::engine::Engine::new(&engine).unwrap();
    let images = crate::image::Images::open(dir.path().join("images"), None).unwrap();
    let module = wat::parse_str(
        r#"(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1) (data (i32.const 0) "\10\00\00\00\03\00\00\00") (data (i32.const 16) "hi\n")
            (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#,
    );
    images.add("hi:v1", module.unwrap().into()).await.unwrap();
    let networks: crate::node::Networks = Arc::new(|_| crate::engine::Network {
        send: Arc::new(|_| Box::pin(async { Err("no network in this test".into()) })),
        look_up: Arc::new(|_| Box::pin(async { Err("no names in this test".into()) })),
    });
    let sandbox = crate::node::Wasm::new(engine, images, networks);
    let node = Node::with(&memory, &dir.path().join("node"), Arc::new(sandbox));
    let mut pod =
        json!({ "kind": "Pod", "apiVersion": "v1", "metadata": { "name": "hi", "namespace": "n", "uid": "u" } });
    pod["spec"] =
        json!({ "nodeName": "a", "restartPolicy": "Never", "containers": [{ "name": "c", "image": "hi:v1" }] });
    memory.put(&path("hi"), pod);
    memory.until("hi", |pod| pod.is_some_and(|pod| pod["status"]["phase"] == "Succeeded")).await;
    let log = std::fs::read_to_string(dir.path().join("node/logs/n_hi_u/c/0.log")).unwrap();
    assert!(log.ends_with("stdout F hi\n"), "{log}");
    node.stop().await;
}
