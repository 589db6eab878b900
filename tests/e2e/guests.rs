//! Guests of every kind, good and bad: what each does, what its neighbours notice, and what is told of it.

use crate::process::{Server, eventually, get};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const STATUS: &str = "/status/containerStatuses/0";

impl Server {
    /// Runs a file of manifests.
    fn apply(&self, yaml: &str) {
        let file = self.process.folder.join("manifest.yaml");
        std::fs::write(&file, yaml).expect("written");
        self.ok("coracle", &["apply", "--wait", "-f", file.to_str().expect("utf-8")]);
    }

    /// One pod of an HTTP guest behind a Service of the same name; its node port.
    fn serve(&self, guest: &str, annotations: &str, limits: &str) -> u16 {
        self.push(guest, &format!("{guest}:v1"));
        self.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {guest}, labels: {{app: {guest}}}, annotations: \
             {{{annotations}}}}}\nspec: {{containers: [{{name: c, image: '{guest}:v1', resources: {{limits: \
             {{{limits}}}}}}}]}}\n---\napiVersion: v1\nkind: Service\nmetadata: {{name: {guest}}}\nspec: {{type: \
             NodePort, selector: {{app: {guest}}}, ports: [{{port: 80, targetPort: 8080}}]}}\n"
        ));
        let port = self.node_port(guest);
        eventually("the first answer", || get(HERE, port, "/").filter(|(status, _)| *status == 200));
        port
    }

    /// What the only pod of a Job printed, once the Job is complete.
    fn printed(&self, job: &str) -> String {
        eventually("the Job's end", || (self.field("job", job, "/status/succeeded") == "1").then_some(()));
        let pods =
            self.ok("coracle", &["get", "pods", "-l", &format!("batch.kubernetes.io/job-name={job}"), "-o", "name"]);
        self.ok("coracle", &["logs", pods.trim().trim_start_matches("pod/")])
    }
}

/// Reads until the text is there.
fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 1024]);
    while !text.contains(wanted) {
        let count = stream.read(&mut buffer).expect("it answers");
        assert!(count > 0, "the connection ended after {text:?}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    text
}

#[test]
fn a_wasi_0_3_service_streams_and_looks_names_up() {
    let server = Server::up();
    server.push("echo", "echo:v1");
    server.ok("coracle", &["apply", "--wait", "-f", "examples/echo/echo.yaml"]);
    let port = server.node_port("echo");
    eventually("the first answer", || get(HERE, port, "/").filter(|(status, _)| *status == 200));
    let mut stream = TcpStream::connect((HERE, port)).expect("the node port listens");
    let send = |stream: &mut TcpStream, piece: &str| {
        write!(stream, "{:x}\r\n{piece}\r\n", piece.len()).expect("it takes the piece");
    };
    write!(stream, "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n").expect("it takes the head");
    send(&mut stream, "first");
    // The answer to the first piece is here before the second is sent.
    assert!(read_until(&mut stream, "first").starts_with("HTTP/1.1 200"));
    send(&mut stream, "second");
    read_until(&mut stream, "second");
    send(&mut stream, "");
    read_until(&mut stream, "0\r\n\r\n");
    let ip = server.field("service", "echo", "/spec/clusterIP");
    let look_up = |name: &str| get(HERE, port, &format!("/lookup/{name}")).expect("an answer").1;
    assert_eq!(look_up("echo"), ip);
    assert_eq!(look_up("echo.default.svc.cluster.local"), ip);
    assert_eq!(look_up("nothing.default.svc"), "nothing.default.svc: ErrorCode::NameUnresolvable");
}

#[test]
fn commands_of_both_wasi_versions_run_to_their_end() {
    let server = Server::up();
    server.push("countdown", "countdown:v1");
    server.push("lookup", "lookup:v1");
    server.ok("coracle", &["apply", "-f", "examples/countdown", "-f", "examples/lookup"]);
    let ip = server.field("service", "kubernetes", "/spec/clusterIP");
    let printed = server.printed("lookup");
    let names: Vec<&str> = printed.lines().collect();
    assert_eq!(names[0], format!("kubernetes.default.svc {ip}"));
    assert_eq!(names[1], format!("kubernetes.default.svc.cluster.local {ip}"));
    assert!(names[2].starts_with("localhost 10.64."), "a pod's loopback is its own address: {}", names[2]);
    assert_eq!(server.printed("countdown"), "5\n4\n3\n2\n1\nlift-off\n");
}

#[test]
fn a_guest_that_takes_too_much_memory_is_oom_killed_and_starts_again() {
    let server = Server::up();
    let port = server.serve("grow", "", "memory: 16Mi");
    let (status, text) = get(HERE, port, "/grow").expect("an answer");
    assert_eq!(status, 502, "{text}");
    let last = format!("{STATUS}/lastState/terminated");
    eventually("OOMKilled", || (server.field("pod", "grow", &format!("{last}/reason")) == "OOMKilled").then_some(()));
    assert_eq!(server.field("pod", "grow", &format!("{last}/exitCode")), "137");
    assert_eq!(server.field("pod", "grow", &format!("{STATUS}/restartCount")), "1");
    eventually("an answer of the next one", || get(HERE, port, "/").filter(|(status, _)| *status == 200));
}

#[test]
fn guests_that_loop_for_ever_leave_their_neighbours_alone_and_end_at_their_deadline() {
    let server = Server::up();
    let spin = server.serve("spin", "coracle.dev/request-timeout: 5s", "cpu: 1");
    let hello = server.serve("hello", "", "cpu: 1");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let spinning: Vec<_> = (0..8).map(|_| scope.spawn(|| get(HERE, spin, "/spin"))).collect();
        let neighbour = scope.spawn(|| {
            let mut answers = 0;
            while !done.load(Ordering::Relaxed) {
                let (status, text) = get(HERE, hello, "/").expect("the neighbour answers");
                assert_eq!(status, 200, "{text}");
                answers += 1;
            }
            answers
        });
        for one in spinning {
            let (status, text) = one.join().expect("it asked").expect("an answer");
            assert_eq!(status, 504, "{text}");
        }
        done.store(true, Ordering::Relaxed);
        assert!(neighbour.join().expect("it asked") > 0);
    });
    assert_eq!(get(HERE, spin, "/").expect("an answer").0, 200, "the guest itself is well");
    assert_eq!(server.field("pod", "spin", &format!("{STATUS}/restartCount")), "0");
}

#[test]
fn a_wrong_request_timeout_is_told() {
    let server = Server::up();
    server.push("hello", "hello:v1");
    server.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: late, annotations: {coracle.dev/request-timeout: soon}}\nspec: \
         {containers: [{name: c, image: 'hello:v1'}]}\n",
    );
    let waiting = |field: &str| server.field("pod", "late", &format!("{STATUS}/state/waiting/{field}"));
    eventually("the reason", || (waiting("reason") == "CreateContainerConfigError").then_some(()));
    assert!(waiting("message").contains("coracle.dev/request-timeout is \"soon\""), "{}", waiting("message"));
}

#[test]
fn a_component_whose_imports_nobody_grants_names_them() {
    let server = Server::up();
    let file = server.process.folder.join("stranger.wasm");
    let text = r#"(component (import "acme:gps/position" (instance (export "where" (func (result u32))))))"#;
    std::fs::write(&file, wat::parse_str(text).expect("a component")).expect("written");
    server.ok("coracle", &["image", "push", file.to_str().expect("utf-8"), "stranger:v1"]);
    server.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: stranger}\nspec: {containers: [{name: c, image: 'stranger:v1'}]}\n",
    );
    let reason = format!("{STATUS}/state/waiting/reason");
    eventually("the reason", || (server.field("pod", "stranger", &reason) == "CreateContainerError").then_some(()));
    eventually("the event", || {
        let events = server.ok("coracle", &["get", "events"]);
        events.contains("does not grant: acme:gps/position").then_some(())
    });
}
