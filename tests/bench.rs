//! Measurements of the release binary, run by `cargo xtask bench`. Nothing here passes or fails by speed.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement prints what it measured, by the real clock"
)]

#[allow(dead_code, reason = "shared with the end-to-end tests, which use the rest")]
#[path = "e2e/process.rs"]
mod process;

use kube::config::{KubeConfigOptions, Kubeconfig};
use process::{Server, eventually};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const PODS: usize = 200;
const CLIENTS: usize = 16;
const LOAD: Duration = Duration::from_secs(5);
const TICKS_PER_SECOND: f64 = 100.0;

/// One keep-alive connection to a node port.
struct Connection(TcpStream);

impl Connection {
    fn open(port: u16) -> Connection {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the node port listens");
        stream.set_nodelay(true).expect("a socket option");
        Connection(stream)
    }

    /// The status of one GET.
    fn get(&mut self) -> u16 {
        self.0.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n").expect("it takes the request");
        let mut buffer = [0; 4096];
        let mut text = Vec::new();
        loop {
            let count = self.0.read(&mut buffer).expect("it answers");
            assert!(count > 0, "the connection ended");
            text.extend_from_slice(&buffer[..count]);
            if is_whole(&text) {
                let status = std::str::from_utf8(&text[9..12]).expect("a status line");
                return status.parse().expect("a number");
            }
        }
    }
}

/// Whether a response is there to its end, by its length or its last chunk.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    length.map_or_else(|| body.ends_with("0\r\n\r\n"), |length| body.len() >= length)
}

fn status(server: &Server, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", server.process.id())).expect("it runs");
    let line = text.lines().find(|line| line.starts_with(field)).expect("the kernel tells it");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

/// Processor seconds so far.
fn cpu(server: &Server) -> f64 {
    let text = fs::read_to_string(format!("/proc/{}/stat", server.process.id())).expect("it runs");
    let fields: Vec<&str> = text.rsplit(')').next().expect("a name").split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

fn row(what: &str, value: &str) {
    println!("| {what} | {value} |");
}

fn percentile(sorted: &[Duration], part: usize) -> f64 {
    let index = (sorted.len() * part / 100).min(sorted.len() - 1);
    sorted[index].as_secs_f64() * 1000.0
}

fn scaled(server: &Server, replicas: usize) -> Duration {
    let began = Instant::now();
    server.ok("kubectl", &["scale", "deployment", "hello", &format!("--replicas={replicas}")]);
    // A watch: asking again and again would take the processors from what is measured.
    let ready = format!("--for=jsonpath={{.status.readyReplicas}}={replicas}");
    server.ok("kubectl", &["wait", &ready, "deployment/hello", "--timeout=120s"]);
    began.elapsed()
}

#[test]
#[ignore = "a measurement; cargo xtask bench runs it"]
fn measure() {
    let size = fs::metadata(env!("CARGO_BIN_EXE_coracle")).expect("the binary").len();
    row("binary", &format!("{:.1} MB", size as f64 / 1e6));
    let server = Server::up();
    server.push("hello", "hello:v1");
    let idle = status(&server, "VmRSS");
    row("resident, idle", &format!("{:.1} MB", idle as f64 / 1e3));
    server.ok("coracle", &["apply", "--wait", "-f", "examples/hello/hello.yaml"]);
    load(&server);
    first_answer(&server);
    let took = scaled(&server, 500);
    row("scale 3 to 500, all Ready", &format!("{:.2} s", took.as_secs_f64()));
    scaled(&server, 3);
    eventually("the pods' end", || {
        (server.ok("coracle", &["get", "pods", "-o", "name"]).lines().count() <= 3 + PODS).then_some(())
    });
    let before = status(&server, "VmRSS");
    scaled(&server, 1003);
    let after = status(&server, "VmRSS");
    row("resident, for each of 1,000 idle pods", &format!("{:.0} KiB", (after.saturating_sub(before)) as f64 / 1000.0));
}

/// Requests through the node port, keep-alive.
fn load(server: &Server) {
    let port = server.node_port("hello");
    let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let before = cpu(server);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut connection = Connection::open(port);
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(connection.get(), 200);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        eventually("the end of the load", || (began.elapsed() >= LOAD).then_some(()));
        stop.store(true, Ordering::Relaxed);
    });
    let (count, seconds) = (done.load(Ordering::Relaxed) as f64, began.elapsed().as_secs_f64());
    row("hello through the node port, 16 clients on the same cores", &format!("{:.0} requests/s", count / seconds));
    row("the same, for each CPU-second of coracle", &format!("{:.0} requests", count / (cpu(server) - before)));
}

/// From the POST of a pod to the first 200 through its Service.
fn first_answer(server: &Server) {
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
    let text = format!("p50 {:.1} ms, p99 {:.1} ms", percentile(&times, 50), percentile(&times, 99));
    row("POST of a pod to the first 200 through its Service (200 times)", &text);
}
