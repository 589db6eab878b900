//! One process: the whole path, and what survives a SIGKILL.

use crate::process::{Process, Server, eventually, get};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

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
    assert_eq!(server.process.terminate(), Some(0));
}
