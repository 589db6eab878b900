//! From the POST of a pod to the first 200 through its Service.

use crate::connection::Connection;
use crate::load::percentile;
use crate::process::{Server, eventually};
use crate::row;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::time::Instant;

/// How many pods are made, one after the other.
pub(crate) const PODS: usize = 200;

pub(crate) fn answers(server: &Server) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let client = runtime.block_on(async {
        let file = Kubeconfig::read_from(server.kubeconfig()).expect("the kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("a config");
        kube::Client::try_from(config).expect("a client")
    });
    let post = |path: &str, body: &Value| {
        let request = http::Request::post(path).header("content-type", "application/json");
        let request = request.body(body.to_string().into_bytes()).expect("a request");
        runtime.block_on(client.request::<Value>(request)).expect("it is created")
    };
    let mut times = Vec::new();
    for index in 0..PODS {
        let labels = json!({ "bench": index.to_string() });
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("bench-{index}")},
            "spec": {"type": "NodePort", "selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}});
        let made = post("/api/v1/namespaces/default/services", &service);
        let port =
            made["spec"]["ports"][0]["nodePort"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
        eventually("the listener", || TcpStream::connect(("127.0.0.1", port)).ok());
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("bench-{index}"), "labels": labels},
            "spec": {"containers": [{"name": "c", "image": "hello:v1", "ports": [{"containerPort": 8080}]}]}});
        let mut connection = Connection::open(port);
        let began = Instant::now();
        post("/api/v1/namespaces/default/pods", &pod);
        while connection.get() != 200 {
            std::thread::yield_now();
        }
        times.push(began.elapsed());
    }
    times.sort();
    let ms = |part| percentile(&times, part).as_secs_f64() * 1000.0;
    let text = format!("p50 {:.1} ms, p99 {:.1} ms", ms(50), ms(99));
    row("POST of a pod to the first 200 through its Service (200 times)", &text);
}
