//! A control plane and two nodes: pods spread, call each other across nodes, and outlive the server and a node.

use crate::calls::{Calls, answered};
use crate::fleet::{Fleet, hello_on, hello_that_leaves};
use crate::process::{eventually, get};
use std::collections::BTreeSet;
use std::net::TcpStream;

#[test]
fn pods_spread_call_each_other_across_nodes_and_outlive_the_server() {
    let mut fleet = Fleet::start(&[]);
    let (one, mut two) = (fleet.join("one"), fleet.join("two"));
    fleet.server.push("hello", "hello:v1");
    fleet.server.push("counter", "counter:v1");
    let (hello, counter) = ("examples/hello/hello.yaml", "examples/counter/counter.yaml");
    fleet.server.ok("coracle", &["apply", "--wait", "-f", hello, "-f", counter]);
    let (hello, counter) = (fleet.server.node_port("hello"), fleet.server.node_port("counter-front"));
    for member in [&one, &two] {
        let mut names = BTreeSet::new();
        eventually("answers from all three pods on each node's port", || {
            let (status, text) = get(member.host.address, hello, "/")?;
            (status == 200).then(|| names.insert(text));
            (names.len() == 3).then_some(())
        });
    }
    let mut pairs = BTreeSet::new();
    eventually("a call from a pod of one node to a pod of the other", || {
        let (status, text) = get(one.host.address, counter, "/?n=40")?;
        (status == 200).then(|| pairs.insert(text));
        // Two front pods on two nodes, two back pods on two nodes: all four ways.
        (pairs.len() == 4).then_some(())
    });
    let pods = fleet.server.ok("coracle", &["get", "pods", "-o", "name"]);
    eventually("the Service table on the node's disk", || {
        let table = std::fs::read_to_string(two.process.folder.join("node/services.json")).ok()?;
        // It may be a second old, and tell of pods that were not ready then.
        let is_new = pods.lines().all(|pod| table.contains(pod.trim_start_matches("pod/")));
        (is_new && !table.contains(r#""ready":false"#)).then_some(())
    });
    let own: Vec<_> = fleet.pods("hello").into_iter().filter(|pod| pod.node == "two").collect();
    assert!(!own.is_empty(), "three pods on two nodes leave none without");
    fleet.server.process.kill();
    two.process.kill();
    two.restart();
    eventually("a node that starts without its server serves from its own disk", || {
        let (status, text) = get(two.host.address, hello, "/")?;
        // The other node's pods could answer too, and do.
        (status == 200 && own.iter().any(|pod| text.contains(&pod.name))).then_some(())
    });
}

#[test]
fn a_node_that_dies_is_unknown_its_pods_are_replaced_and_it_comes_back() {
    let fleet = Fleet::start(&["--node-monitor-grace-period", "15"]);
    let (one, mut two) = (fleet.join("one"), fleet.join("two"));
    fleet.server.push("hello", "hello:v1");
    fleet.apply(&hello_that_leaves());
    let port = fleet.server.node_port("hello");
    let here = one.host.address;
    eventually("an answer on the node that stays", || get(here, port, "/").filter(|(status, _)| *status == 200));
    let calls = Calls::begin(here, port, "/");
    two.process.kill();
    eventually("Unknown", || (fleet.ready("two") == "Unknown").then_some(()));
    assert_eq!(fleet.ready("one"), "True");
    eventually("three pods on the node that is left", || {
        let running = fleet.pods("hello").iter().filter(|pod| pod.is_running && pod.node == "one").count();
        (running == 3).then_some(())
    });
    two.restart();
    eventually("Ready again", || (fleet.ready("two") == "True").then_some(()));
    eventually("the end of the pods that were replaced", || (fleet.pods("hello").len() == 3).then_some(()));
    // No request fails for good, also while the other node's pods are still in the table.
    answered(calls.end());
}

#[test]
fn logs_come_over_the_nodes_own_connection() {
    let fleet = Fleet::start(&[]);
    let (one, two) = (fleet.join("one"), fleet.join("two"));
    fleet.server.push("hello", "hello:v1");
    fleet.apply(&(hello_on("one", "first", "") + &hello_on("two", "second", "")));
    if fleet.lab.can_cut("that the server cannot dial the nodes") {
        for member in [&one, &two] {
            fleet.host.only_answers(&member.host, 6443);
            let dialled = fleet.host.within(|| TcpStream::connect((member.host.address, 10250)));
            assert!(dialled.is_err(), "the server dials {dialled:?}");
        }
    }
    for (member, app) in [(&one, "first"), (&two, "second")] {
        fleet.eventually_logs(app, member.host.address);
    }
}
