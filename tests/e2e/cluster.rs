//! One process: the whole path, and what survives a SIGKILL.

use crate::connection::Connection;
use crate::process::{Process, Server, eventually, get};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn hello(server: &Server) -> u16 {
    server.push("hello", "hello:v1");
    server.ok("coracle", &["apply", "--wait", "-f", "examples/hello/hello.yaml"]);
    server.node_port("hello")
}

#[test]
fn a_service_answers_from_several_pods_and_replaces_one_that_is_deleted() {
    let server = Server::up();
    let port = hello(&server);
    let mut names = BTreeSet::new();
    eventually("answers from three pods", || {
        let (status, text) = get(HERE, port, "/")?;
        assert_eq!(status, 200, "{text}");
        names.insert(text);
        (names.len() == 3).then_some(())
    });
    let pods = server.ok("coracle", &["get", "pods", "-l", "app=hello", "-o", "name"]);
    let first = pods.lines().next().expect("there are three").trim_start_matches("pod/").to_owned();
    assert!(names.iter().any(|answer| answer.contains(&first)), "{first} is among {names:?}");
    server.ok("coracle", &["delete", "pod", &first]);
    eventually("a replacement", || {
        let (status, text) = get(HERE, port, "/")?;
        assert_eq!(status, 200, "{text}");
        (!names.contains(&text)).then_some(())
    });
}

#[test]
fn services_call_each_other_by_name() {
    let server = Server::up();
    server.push("counter", "counter:v1");
    server.ok("coracle", &["apply", "--wait", "-f", "examples/counter/counter.yaml"]);
    let port = server.node_port("counter-front");
    let answer = eventually("an answer through both", || {
        let (status, text) = get(HERE, port, "/?n=40")?;
        (status == 200).then_some(text)
    });
    assert!(answer.starts_with("42 from counter-back-"), "{answer}");
    assert!(answer.contains(" via counter-front-"), "{answer}");
}

#[test]
fn a_command_reads_its_config_map_and_ends() {
    let server = Server::up();
    server.push("batch", "batch:v1");
    server.ok("coracle", &["apply", "-f", "examples/batch/batch.yaml"]);
    eventually("the Job's end", || (server.field("job", "batch", "/status/succeeded") == "1").then_some(()));
    let pods = server.ok("coracle", &["get", "pods", "-l", "batch.kubernetes.io/job-name=batch", "-o", "name"]);
    let pod = pods.lines().next().expect("the Job has a pod").trim_start_matches("pod/").to_owned();
    assert_eq!(server.ok("coracle", &["logs", &pod]), "good morning from the ConfigMap\n");
}

#[test]
fn after_a_sigkill_everything_acknowledged_is_there_and_the_pods_run_again() {
    let mut server = Server::up();
    let port = hello(&server);
    let listen = server.url.trim_start_matches("https://").to_owned();
    let name = server.ok("coracle", &["get", "service", "hello", "-o", "name"]);
    server.process.kill();
    assert!(get(HERE, port, "/").is_none(), "nobody answers for a dead process");
    let node = format!("127.0.0.1:{}", crate::process::free_port("127.0.0.1"));
    let arguments = ["up", "--listen", &listen, "--node-listen", &node, "--node-name", "here"];
    let folder = server.process.folder.clone();
    server.process = Process::start(&folder, &arguments);
    assert_eq!(server.ok("coracle", &["get", "service", "hello", "-o", "name"]), name);
    eventually("the Service answers again", || get(HERE, port, "/").filter(|(status, _)| *status == 200));
    let before = server.process.log().len();
    assert_eq!(server.process.terminate(), Some(0));
    let said = server.process.log().split_off(before);
    assert!(!said.contains(" WARN ") && !said.contains(" ERROR "), "a clean stop is no trouble: {said}");
}

/// Asks again and again, on kept and on new connections, until `done`; how many answers came. Each must be a 200.
fn ask_without_a_pause(port: u16, done: &AtomicBool) -> usize {
    let mut kept = Connection::open(port);
    let mut answers = 0;
    while !done.load(Ordering::Relaxed) {
        let (status, text) = get(HERE, port, "/").expect("a new connection is answered");
        assert_eq!(status, 200, "{text}");
        assert_eq!(kept.get(), 200);
        answers += 2;
    }
    answers
}

#[test]
fn a_new_version_more_pods_fewer_pods_and_deleted_pods_fail_no_request() {
    let server = Server::up();
    server.push("hello", "hello:v2");
    let port = hello(&server);
    let yaml = std::fs::read_to_string("examples/hello/hello.yaml").expect("it is there");
    let roll_out = |from: &str, to: &str| {
        let file = server.process.folder.join("hello.yaml");
        std::fs::write(&file, yaml.replace(from, to)).expect("written");
        server.ok("coracle", &["apply", "--wait", "-f", file.to_str().expect("utf-8")]);
    };
    eventually("the first answer", || get(HERE, port, "/").filter(|(status, _)| *status == 200));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| ask_without_a_pause(port, &done))).collect();
        roll_out("hello:v1", "hello:v2");
        roll_out("replicas: 3", "replicas: 12");
        roll_out("replicas: 3", "replicas: 2");
        let pods = || server.ok("coracle", &["get", "pods", "-l", "app=hello", "-o", "name"]);
        let left = eventually("the end of the other ten", || Some(pods()).filter(|pods| pods.lines().count() == 2));
        for pod in left.lines() {
            server.ok("coracle", &["delete", "pod", pod.trim_start_matches("pod/")]);
            // Whoever deletes the other one before there is a new one has none.
            eventually("two that are ready, without it", || {
                let ready = server.field("deployment", "hello", "/status/readyReplicas");
                let now = pods();
                (ready == "2" && now.lines().count() == 2 && !now.contains(pod)).then_some(())
            });
        }
        done.store(true, Ordering::Relaxed);
        let answers: usize = clients.into_iter().map(|client| client.join().expect("no request failed")).sum();
        assert!(answers > 0);
    });
}
