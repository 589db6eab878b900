//! `logs` in its forms.

use super::{Kubectl, program};
use crate::process::{eventually, get};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LINE: &str = "asked for /log\n";

#[test]
fn logs_are_selected_counted_stamped_and_followed() {
    let Some(kubectl) = Kubectl::with_hello() else { return };
    // A probe that is given up on a machine with much else to do leaves lines of its own.
    let unprobed = "[{\"op\":\"remove\",\"path\":\"/spec/template/spec/containers/0/readinessProbe\"}]";
    kubectl.ok(&format!("patch deployment hello --type=json -p {unprobed}"));
    kubectl.ok("scale deployment hello --replicas=1");
    kubectl.ok("rollout status deployment/hello --timeout=60s");
    let one = eventually("one pod to be left", || {
        Some(kubectl.ok("get pods -l app=hello -o name")).filter(|pods| pods.lines().count() == 1)
    });
    let pod = one.trim_end();
    let port = kubectl.server.node_port("hello");
    let ask = || eventually("an answer", || get(HERE, port, "/log").filter(|(status, _)| *status == 200));
    ask();
    ask();
    let all = || kubectl.ok(&format!("logs {pod}"));
    eventually("both lines", || (all() == LINE.repeat(2)).then_some(()));
    assert_eq!(kubectl.ok(&format!("logs {pod} --tail=1")), LINE);
    assert_eq!(kubectl.ok(&format!("logs {pod} -c hello --since=1h")), LINE.repeat(2));
    let stamped = kubectl.ok(&format!("logs {pod} --timestamps --tail=1"));
    let (stamp, rest) = stamped.split_once(' ').expect("a time and a line");
    assert!(stamp.starts_with("20") && stamp.ends_with('Z') && rest == LINE, "{stamped}");
    let named = kubectl.ok("logs -l app=hello --prefix --tail=1");
    assert!(named.starts_with(&format!("[{pod}/hello] ")), "{named}");
    assert!(kubectl.ok("logs deployment/hello").ends_with(LINE));
    let name = pod.trim_start_matches("pod/");
    // Newer ones go on: "out of: hello".
    let refused = kubectl.fails(&format!("logs {pod} -c other"));
    assert!(refused.starts_with(&format!("error: container other is not valid for pod {name}")), "{refused}");
    let previous = kubectl.fails(&format!("logs {pod} --previous"));
    let gone = format!("previous terminated container \"hello\" in pod \"{name}\" not found");
    assert_eq!(previous, format!("Error from server (BadRequest): {gone}"));
    let mut command = Command::new(program());
    command.args(["logs", "-f", pod, "--tail=0"]).env("KUBECONFIG", kubectl.server.kubeconfig());
    let mut follower = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(follower.stdout.take().expect("it has an output")).lines();
    // Until it follows, a line may be written before its time.
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(lines.next()));
    let line = eventually("a followed line", || {
        ask();
        told.try_recv().ok()
    });
    assert_eq!(line.expect("a line").expect("it can be read"), "asked for /log");
    follower.kill().expect("it runs");
    follower.wait().expect("it is ours");
}

#[test]
fn a_jobs_logs_are_found_by_its_name() {
    let Some(kubectl) = Kubectl::up() else { return };
    kubectl.server.push("batch", "batch:v1");
    kubectl.ok("apply -f examples/batch/batch.yaml");
    kubectl.ok("wait --for=condition=complete job/batch --timeout=60s");
    assert_eq!(kubectl.ok("logs job/batch"), "good morning from the ConfigMap\n");
}
