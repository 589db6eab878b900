//! An API server that extends the cluster's: found, asked as a front proxy asks, and missed by nobody when it is away.

use crate::https::{Body, Handler, Https, full, json, own_address};
use crate::kube_rs::client_of;
use crate::process::Server;
use crate::wire::{Identity, address, name, tls_as};
use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use kube::Client;
use serde_json::{Value, json as tree};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const LIMIT: Duration = Duration::from_secs(60);
const GROUP: &str = "extension.e2e.coracle.dev";
const NAME: &str = "v1.extension.e2e.coracle.dev";

/// The server that extends the cluster's: it answers with the headers that it was asked with.
#[derive(Default)]
struct Extension {
    /// Requests for objects.
    requests: AtomicUsize,
    /// What a watch is told; taken by the first.
    events: Mutex<Option<mpsc::Receiver<Bytes>>>,
}

impl Extension {
    fn handler(self: &Arc<Extension>) -> Handler {
        let extension = Arc::clone(self);
        Arc::new(move |request| {
            let extension = Arc::clone(&extension);
            async move { extension.answer(request).await }.boxed()
        })
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if path == format!("/apis/{GROUP}/v1") {
            let verbs = ["get", "list", "watch"];
            return json(&tree!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/v1"),
                "resources": [{"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing", "verbs": verbs}]}));
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        if request.headers().contains_key("upgrade") {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(echo(upgrade));
            let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
            return answer
                .header("connection", "Upgrade")
                .header("upgrade", "echo")
                .body(full(""))
                .expect("as expected");
        }
        if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
            let events = self.events.lock().expect("nobody panicked").take().expect("one watch");
            let events = futures::stream::unfold(events, |mut events| async move {
                let event = events.recv().await?;
                Some((Ok::<_, Infallible>(Frame::data(event)), events))
            });
            return Response::new(StreamBody::new(events).boxed_unsync());
        }
        let headers: serde_json::Map<String, Value> = request
            .headers()
            .keys()
            .map(|name| {
                let all = request.headers().get_all(name).iter().map(|value| value.to_str().expect("as expected"));
                (name.to_string(), all.collect::<Vec<_>>().join(",").into())
            })
            .collect();
        let (method, uri) = (request.method().to_string(), request.uri().to_string());
        let body = request.into_body().collect().await.expect("a body").to_bytes();
        let body = String::from_utf8_lossy(&body);
        json(&tree!({"method": method, "uri": uri, "headers": headers, "body": body}))
    }
}

async fn echo(upgrade: hyper::upgrade::OnUpgrade) {
    let mut stream = TokioIo::new(upgrade.await.expect("it is upgraded"));
    let mut bytes = [0; 64];
    while let Ok(count @ 1..) = stream.read(&mut bytes).await {
        stream.write_all(&bytes[..count]).await.expect("it is written");
    }
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

    async fn send(&self, request: http::request::Builder, body: &Value) -> (u16, String) {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = request.body(kube::client::Body::from(bytes)).expect("a request");
        let response = self.client.send(request).await.expect("an answer");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let (status, text) = self.send(Request::get(path), &Value::Null).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// What is below the version, asked for by a client that does not try again.
    async fn get_once(&self, below: &str) -> (u16, String) {
        let request =
            Request::get(format!("/apis/{GROUP}/v1{below}")).header("host", "api").body(full("")).expect("as expected");
        let response = connected(&self.server).await.send_request(request).await.expect("an answer");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    async fn create(&self, path: &str, object: &Value) {
        let request = Request::post(path).header("content-type", "application/json");
        let (status, text) = self.send(request, object).await;
        assert_eq!(status, 201, "{text}");
    }

    async fn patch(&self, path: &str, patch: &Value) {
        let request = Request::patch(path).header("content-type", "application/merge-patch+json");
        let (status, text) = self.send(request, patch).await;
        assert_eq!(status, 200, "{text}");
    }

    /// Waits until the APIService says so.
    async fn until(&self, status: &str, reason: &str) {
        let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/{NAME}");
        let told = async {
            loop {
                let (_, service) = self.get(&path).await;
                let condition = &service["status"]["conditions"][0];
                if (condition["status"].as_str(), condition["reason"].as_str()) == (Some(status), Some(reason)) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let told = tokio::time::timeout(LIMIT, told).await;
        assert!(told.is_ok(), "{status} {reason}: {:?}", self.get(&path).await);
    }

    /// What aggregated discovery says of the group.
    async fn discovered(&self) -> Option<Value> {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let (status, text) = self.send(Request::get("/apis").header("accept", accept), &Value::Null).await;
        assert_eq!(status, 200);
        let all: Value = serde_json::from_str(&text).expect("JSON");
        let all = all["items"].as_array().expect("a list");
        assert!(all.len() > 10, "the others are there");
        all.iter().find(|group| group["metadata"]["name"] == GROUP).map(|group| group["versions"][0].clone())
    }

    async fn is_listed(&self) -> bool {
        let (_, all) = self.get("/apis").await;
        all["groups"].as_array().expect("a list").iter().any(|group| group["name"] == GROUP)
    }

    /// The Service `ext` at a port of this host, and the APIService that names it.
    async fn extend(&self, https: &Https) {
        let service = tree!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": NAME},
            "spec": {
                "group": GROUP, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10,
                "service": {"namespace": "default", "name": "ext"}, "caBundle": https.bundle,
            },
        });
        self.create("/apis/apiregistration.k8s.io/v1/apiservices", &service).await;
        self.until("False", "ServiceNotFound").await;
        let service = tree!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "ext"},
            "spec": {"ports": [{"name": "https", "port": 443}]},
        });
        self.create("/api/v1/namespaces/default/services", &service).await;
        self.until("False", "MissingEndpoints").await;
        assert_eq!(self.get_once("/things").await, (503, "service unavailable\n".to_owned()));
        let slice = tree!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "ext-1", "labels": {"kubernetes.io/service-name": "ext"}},
            "endpoints": [{"addresses": [own_address().to_string()]}], "ports": [{"name": "https", "port": https.port}],
        });
        self.create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await;
        self.until("True", "Passed").await;
    }

    /// What extension servers are told to believe.
    async fn front_proxy_ca(&self) -> String {
        let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
        let found = async {
            loop {
                let (status, map) = self.get(path).await;
                if status == 200 {
                    return map["data"].clone();
                }
                tokio::task::yield_now().await;
            }
        };
        let data = tokio::time::timeout(LIMIT, found).await.expect("it is published");
        assert_eq!(data["requestheader-allowed-names"], r#"["front-proxy-client"]"#);
        assert!(data["client-ca-file"].as_str().expect("as expected").contains("BEGIN CERTIFICATE"));
        data["requestheader-client-ca-file"].as_str().expect("as expected").to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_on_to_the_server_that_has_them() {
    let (cluster, extension) = (Cluster::up().await, Arc::new(Extension::default()));
    let ca = cluster.front_proxy_ca().await;
    let https = Https::serve(&["ext.default.svc"], Some(&ca), extension.handler()).await;
    cluster.extend(&https).await;
    assert!(cluster.is_listed().await);

    // As a front proxy asks, whatever the client says of itself.
    let path = format!("/apis/{GROUP}/v1/namespaces/a/things/b?x=y%2Fz");
    let request = Request::put(&path).header("x-remote-user", "root").header("x-remote-extra-a", "b");
    let (status, text) = cluster.send(request.header("x-mine", "m"), &tree!({"a": 1})).await;
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (status, &told["method"], &told["uri"], &told["body"]),
        (200, &tree!("PUT"), &tree!(path), &tree!("{\"a\":1}"))
    );
    let headers = &told["headers"];
    assert_eq!((&headers["x-remote-user"], &headers["x-mine"]), (&tree!("kubernetes-admin"), &tree!("m")));
    assert_eq!(headers["x-remote-group"], "system:masters,system:authenticated");
    assert_eq!((&headers["host"], headers.get("x-remote-extra-a")), (&tree!("ext.default.svc:443"), None));

    // Nobody gets there who may not.
    let before = extension.requests.load(Ordering::Relaxed);
    let request = Request::get(format!("/apis/{GROUP}/v1/things")).header("impersonate-user", "nobody");
    let (status, text) = cluster.send(request, &Value::Null).await;
    assert_eq!((status, extension.requests.load(Ordering::Relaxed)), (403, before), "{text}");
    assert!(text.contains(&format!("cannot list resource \\\"things\\\" in API group \\\"{GROUP}\\\"")), "{text}");

    // Each event of a watch comes as it is told.
    let (tell, events) = mpsc::channel(1);
    *extension.events.lock().expect("nobody panicked") = Some(events);
    let request = Request::get(format!("/apis/{GROUP}/v1/things?watch=true"));
    let request = request.body(kube::client::Body::empty()).expect("a request");
    let mut watch = cluster.client.send(request).await.expect("an answer").into_body();
    for event in ["{\"type\":\"ADDED\"}\n", "{\"type\":\"DELETED\"}\n"] {
        tell.send(event.into()).await.expect("somebody listens");
        let frame = tokio::time::timeout(LIMIT, watch.frame()).await.expect("in time").expect("more").expect("good");
        assert_eq!(frame.into_data().expect("data"), event);
    }
    drop(tell);
    assert!(watch.frame().await.is_none(), "it ends with its server's");
    upgraded(&cluster.server).await;
}

/// A connection of the administrator's.
async fn connected(server: &Server) -> SendRequest<Body> {
    let tls = tls_as(server, Some(Identity::admin(server)), &["http/1.1"]);
    let stream = TcpStream::connect(address(server)).await.expect("it listens");
    let stream = tokio_rustls::TlsConnector::from(tls).connect(name(server), stream).await.expect("TLS");
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
    tokio::spawn(connection.with_upgrades());
    sender
}

/// Bytes go both ways once a connection has become one of another protocol.
async fn upgraded(server: &Server) {
    let mut sender = connected(server).await;
    let request = Request::get(format!("/apis/{GROUP}/v1/namespaces/a/things/b/connect")).header("host", "api");
    let request =
        request.header("connection", "Upgrade").header("upgrade", "echo").body(full("")).expect("as expected");
    let response = sender.send_request(request).await.expect("an answer");
    assert_eq!(
        (response.status(), &response.headers()["upgrade"]),
        (StatusCode::SWITCHING_PROTOCOLS, &"echo".parse().expect("as expected"))
    );
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.expect("it is upgraded"));
    for text in ["hello", "again"] {
        stream.write_all(text.as_bytes()).await.expect("written");
        let mut back = [0; 5];
        tokio::time::timeout(LIMIT, stream.read_exact(&mut back)).await.expect("in time").expect("read");
        assert_eq!(back, text.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_is_stale_and_disturbs_nothing() {
    let (cluster, extension) = (Cluster::up().await, Arc::new(Extension::default()));
    let https = Https::serve(&["ext.default.svc"], None, extension.handler()).await;
    cluster.extend(&https).await;
    let fresh = async {
        loop {
            let version = cluster.discovered().await.expect("it is available");
            if version["freshness"] == "Current" {
                return version;
            }
            tokio::task::yield_now().await;
        }
    };
    let version = tokio::time::timeout(LIMIT, fresh).await.expect("it is learnt");
    assert_eq!((&version["resources"][0]["resource"], &version["version"]), (&tree!("things"), &tree!("v1")));
    let (status, group) = cluster.get(&format!("/apis/{GROUP}")).await;
    assert_eq!((status, &group["preferredVersion"]["groupVersion"]), (200, &tree!(format!("{GROUP}/v1"))));

    drop(https);
    // A change of the APIService has it looked at.
    let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/{NAME}");
    cluster.patch(&path, &tree!({"spec": {"versionPriority": 11}})).await;
    cluster.until("False", "FailedDiscoveryCheck").await;
    let version = cluster.discovered().await.expect("it is remembered");
    assert_eq!((&version["freshness"], &version["resources"][0]["resource"]), (&tree!("Stale"), &tree!("things")));
    assert!(!cluster.is_listed().await);
    assert_eq!(cluster.get_once("").await, (503, "service unavailable\n".to_owned()));
    let (status, _) = cluster.send(Request::delete(&path), &Value::Null).await;
    assert_eq!(status, 200);
    assert!(cluster.discovered().await.is_none());
}
