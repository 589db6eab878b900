//! Stock kubectl against the real binary: each command as a user types it, and what it prints.

#[path = "kubectl/apply.rs"]
mod apply;
#[path = "kubectl/batch.rs"]
mod batch;
#[path = "kubectl/change.rs"]
mod change;
#[path = "kubectl/create.rs"]
mod create;
#[path = "kubectl/describe.rs"]
mod describe;
#[path = "kubectl/discover.rs"]
mod discover;
#[path = "kubectl/get.rs"]
mod get;
#[path = "kubectl/logs.rs"]
mod logs;
#[path = "kubectl/node.rs"]
mod node;
#[path = "kubectl/rollout.rs"]
mod rollout;
#[path = "kubectl/yaml.rs"]
mod yaml;

use crate::process::{Server, eventually, text};
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// A cluster of one process, and kubectl with its kubeconfig.
struct Kubectl {
    server: Server,
    version: u32,
}

/// The kubectl under test: `CORACLE_KUBECTL`, or the one on PATH.
fn program() -> String {
    std::env::var("CORACLE_KUBECTL").unwrap_or_else(|_| "kubectl".to_owned())
}

/// The second number of its version: what a command prints, and which there are, depends on it. `None`, and said so, where
/// there is no kubectl.
fn version() -> Option<u32> {
    let output = Command::new(program()).args(["version", "--client", "-o", "json"]).output().ok();
    let Some(output) = output.filter(|output| output.status.success()) else {
        eprintln!("skipped: {} does not start", program());
        return None;
    };
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let minor = told["clientVersion"]["minor"].as_str().expect("a version");
    Some(minor.trim_end_matches('+').parse().expect("a number"))
}

impl Kubectl {
    /// `None`, and said so, where there is no kubectl.
    fn up() -> Option<Kubectl> {
        version().map(|version| Kubectl { server: Server::up(), version })
    }

    /// With `examples/hello` rolled out.
    fn with_hello() -> Option<Kubectl> {
        let kubectl = Kubectl::up()?;
        kubectl.server.push("hello", "hello:v1");
        kubectl.server.push("hello", "hello:v2");
        kubectl.ok("apply -f examples/hello/hello.yaml");
        kubectl.ok("rollout status deployment/hello --timeout=60s");
        Some(kubectl)
    }

    /// Is it 1.`minor` or newer?
    fn since(&self, minor: u32) -> bool {
        self.version >= minor
    }

    /// What it prints; a panic with what it said unless it succeeds.
    fn ok(&self, line: &str) -> String {
        self.fed(line, "")
    }

    /// The same with something on standard input.
    fn fed(&self, line: &str, input: &str) -> String {
        let output = self.run(line, input);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "kubectl {line}: {out}{err}");
        out
    }

    /// What it says on standard error as it fails.
    fn fails(&self, line: &str) -> String {
        let output = self.run(line, "");
        assert!(!output.status.success(), "kubectl {line} succeeded: {}", text(&output.stdout));
        text(&output.stderr).trim_end().to_owned()
    }

    fn run(&self, line: &str, input: &str) -> Output {
        let mut command = Command::new(program());
        command.args(words(line)).env("KUBECONFIG", self.server.kubeconfig());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("it has an input");
        // It may end without reading.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("it ends")
    }
}

/// The words of a command line; single quotes hold blanks together.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for letter in line.chars() {
        match letter {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            _ => words.last_mut().expect("there is one").push(letter),
        }
    }
    words
}

/// The lines of a table, each with one blank between its cells.
fn rows(table: &str) -> Vec<String> {
    table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// What a delete prints: since 1.34 with the namespace.
fn deleted(kubectl: &Kubectl, kind: &str, name: &str) -> String {
    let place = if kubectl.since(34) { " from default namespace" } else { "" };
    format!("{kind} \"{name}\" deleted{place}\n")
}

#[test]
fn the_daily_commands_work() {
    let Some(Kubectl { server, version }) = Kubectl::up() else { return };
    server.push("hello", "hello:v1");
    server.push("hello", "hello:v2");
    let kubectl = |line: &str| server.ok(&program(), &line.split(' ').collect::<Vec<_>>());
    let applied = kubectl("apply -f examples/hello/hello.yaml");
    assert_eq!(applied, "deployment.apps/hello created\nservice/hello created\n");
    assert_eq!(
        kubectl("apply -f examples/hello/hello.yaml"),
        "deployment.apps/hello unchanged\nservice/hello unchanged\n"
    );
    assert!(kubectl("rollout status deployment/hello --timeout=60s").contains("successfully rolled out"));
    let pods = kubectl("get pods -o wide -l app=hello");
    assert_eq!(pods.lines().count(), 4, "{pods}");
    assert!(pods.lines().skip(1).all(|line| line.contains("1/1") && line.contains("Running")), "{pods}");
    assert_eq!(kubectl("get deployment hello -o jsonpath={.status.readyReplicas}"), "3");
    assert!(kubectl("get pods -A --field-selector spec.nodeName=here -o name").lines().count() >= 3);
    let described = eventually("the event of the first scaling", || {
        Some(kubectl("describe deployment hello")).filter(|text| text.contains("ScalingReplicaSet"))
    });
    assert!(described.contains("NewReplicaSetAvailable"), "{described}");
    assert!(described.contains("deployment-controller  Scaled up replica set hello-"), "{described}");
    if version >= 26 {
        assert!(kubectl("events --for deployment/hello").contains("from 0 to 3"));
    }
    assert!(kubectl("api-resources").contains("deployments"));
    assert!(kubectl("explain deployment.spec.replicas").contains("Number of desired pods"));
    assert!(kubectl("cluster-info").contains("is running at"));
    kubectl("label deployment hello tier=web");
    kubectl("annotate deployment hello note=tested");
    assert_eq!(kubectl("get deployment -l tier=web -o name"), "deployment.apps/hello\n");
    kubectl("scale deployment hello --replicas=2");
    kubectl("rollout status deployment/hello --timeout=60s");
    kubectl("set image deployment/hello hello=hello:v2");
    kubectl("rollout status deployment/hello --timeout=60s");
    assert_eq!(kubectl("rollout history deployment/hello").lines().filter(|line| line.contains("<none>")).count(), 2);
    kubectl("rollout undo deployment/hello");
    kubectl("rollout status deployment/hello --timeout=60s");
    assert_eq!(kubectl("get deployment hello -o jsonpath={.spec.template.spec.containers[0].image}"), "hello:v1");
    kubectl("apply --server-side --force-conflicts -f examples/hello/hello.yaml");
    kubectl("delete deployment hello --wait");
    eventually("the pods' end", || kubectl("get pods -o name").is_empty().then_some(()));
}

#[test]
fn a_misspelt_field_is_refused_by_the_server() {
    let Some(Kubectl { server, version }) = Kubectl::up() else { return };
    let file = server.process.folder.join("bad.yaml");
    let yaml =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec: {containers: [{name: a, image: b, imagee: c}]}\n";
    std::fs::write(&file, yaml).expect("written");
    let output = server.run(Command::new(program()).args(["apply", "-f"]).arg(&file));
    let said = text(&output.stderr);
    // Before 1.24, kubectl found out itself, from the OpenAPI document.
    let field = if version >= 24 { "\"spec.containers[0].imagee\"" } else { "\"imagee\"" };
    assert!(!output.status.success() && said.contains(&format!("unknown field {field}")), "{said}");
}

#[test]
fn logs_of_a_container_that_crashed_are_kept() {
    let Some(Kubectl { server, .. }) = Kubectl::up() else { return };
    server.push("crash", "crash:v1");
    server.ok(&program(), &["run", "crash", "--image=crash:v1"]);
    let state = "/status/containerStatuses/0/state/waiting/reason";
    eventually("CrashLoopBackOff", || (server.field("pod", "crash", state) == "CrashLoopBackOff").then_some(()));
    let logs = server.ok(&program(), &["logs", "crash", "--previous"]);
    assert!(logs.contains("about to break") && logs.contains("this guest always breaks"), "{logs}");
}

#[test]
fn a_missing_image_says_so() {
    let Some(Kubectl { server, .. }) = Kubectl::up() else { return };
    server.ok(&program(), &["run", "nope", "--image=nowhere:v1"]);
    let reason = "/status/containerStatuses/0/state/waiting/reason";
    eventually("ImagePullBackOff", || {
        let reason = server.field("pod", "nope", reason);
        matches!(reason.as_str(), "ErrImagePull" | "ImagePullBackOff").then_some(())
    });
    let events = eventually("the event", || {
        let events = server.ok(&program(), &["get", "events", "--field-selector", "involvedObject.name=nope"]);
        events.contains("not found").then_some(events)
    });
    assert!(events.contains("nowhere:v1"), "{events}");
}
