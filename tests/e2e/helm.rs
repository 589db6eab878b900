//! Stock Helm with a chart that has what charts have: a definition and its object, hooks and a test that are Wasm pods, a
//! look into the cluster. Its versions 3 and 4 reach the same by different ways: patches of their own, and apply.

use crate::process::{Server, coracle, eventually, get, text};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Output};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const CHART: &str = "tests/e2e/helm/shop";

/// A cluster of one process, and Helm with its kubeconfig.
struct Helm {
    server: Server,
    /// 3 or 4.
    major: u32,
}

/// The Helm under test: `CORACLE_HELM`, or the one on PATH.
fn program() -> String {
    std::env::var("CORACLE_HELM").unwrap_or_else(|_| "helm".to_owned())
}

impl Helm {
    /// `None`, and said so, where there is no Helm.
    fn up() -> Option<Helm> {
        let told = Command::new(program()).args(["version", "--template", "{{.Version}}"]).output();
        let Some(told) = told.ok().filter(|output| output.status.success()) else {
            eprintln!("skipped: {} does not start", program());
            return None;
        };
        let version = text(&told.stdout);
        let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
        let server = Server::up();
        server.push("hello", "hello:v1");
        server.push("batch", "batch:v1");
        Some(Helm { server, major: major.expect("a version") })
    }

    fn run(&self, line: &str) -> Output {
        let mut command = Command::new(program());
        // A user's own settings have no part in it.
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(name, self.server.process.folder.join("helm"));
        }
        self.server.run(command.args(line.split(' ').map(|word| word.replace("CHART", CHART))))
    }

    /// What it prints; a panic with what it said unless it succeeds.
    fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "helm {line}: {out}{err}");
        out
    }

    /// What it says on standard error as it fails.
    fn fails(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(!output.status.success(), "helm {line} succeeded: {}", text(&output.stdout));
        text(&output.stderr)
    }

    /// Each revision's status, the oldest first, and what is said of the newest.
    fn history(&self) -> (Vec<String>, String) {
        let told: Value = serde_json::from_str(&self.ok("history shop -o json")).expect("JSON");
        let all = told.as_array().expect("a list");
        let word = |one: &Value, field: &str| one[field].as_str().expect("a text").to_owned();
        let last = all.last().map(|last| word(last, "description")).unwrap_or_default();
        (all.iter().map(|one| word(one, "status")).collect(), last)
    }

    fn greeting(&self) -> String {
        self.server.field("configmap", "shop-words", "/data/greeting")
    }

    fn deployment(&self, path: &str) -> String {
        self.server.field("deployment", "shop", path)
    }

    fn has(&self, kind: &str, name: &str) -> bool {
        self.server.run(coracle().args(["get", kind, name])).status.success()
    }
}

#[test]
fn a_chart_is_installed_tested_and_removed() {
    let Some(helm) = Helm::up() else { return };
    let told = helm.ok("install shop CHART --wait --timeout 60s");
    assert!(told.contains("shop is open, for the 1. time, beside kubernetes"), "{told}");
    assert_eq!((helm.greeting().as_str(), helm.deployment("/status/readyReplicas").as_str()), ("first", "1"));
    // The definition came before its object, which has the schema's default.
    assert_eq!(helm.server.field("flavour", "shop", "/spec/strength"), "5");
    let port = helm.server.node_port("shop");
    eventually("an answer", || get(HERE, port, "/").filter(|(status, _)| *status == 200));
    // Helm takes away the one of the hooks that asks for it.
    assert_eq!(helm.server.field("job", "shop-pre-install", "/status/succeeded"), "1");
    eventually("the end of a hook", || (!helm.has("job", "shop-post-install")).then_some(()));
    let tested = helm.ok("test shop --logs --timeout 60s");
    assert!(tested.contains("Phase:          Succeeded") && tested.contains("\nfirst\n"), "{tested}");
    let manifest = helm.ok("get manifest shop");
    assert!(manifest.contains("kind: Flavour") && !manifest.contains("kind: Job"), "{manifest}");
    assert!(helm.ok("get hooks shop").contains("helm.sh/hook: post-install"));
    let listed: Value = serde_json::from_str(&helm.ok("list -o json")).expect("JSON");
    assert_eq!((&listed[0]["status"], &listed[0]["chart"]), (&"deployed".into(), &"shop-0.1.0".into()));
    assert!(helm.fails("install shop CHART").contains("still in use"));
    helm.ok("uninstall shop --wait --timeout 60s");
    for (kind, name) in [("deployment", "shop"), ("service", "shop"), ("configmap", "shop-words"), ("flavour", "shop")]
    {
        assert!(!helm.has(kind, name), "{kind} {name}");
    }
    // Helm leaves definitions, since all objects would go with them.
    assert!(helm.has("crd", "flavours.shop.example.com"));
    eventually("the pods' end", || helm.server.ok("coracle", &["get", "pods"]).lines().all(is_hook).then_some(()));
    assert_eq!(helm.ok("list -q"), "");
}

/// Of the pods' table: what hooks and tests leave behind.
fn is_hook(line: &str) -> bool {
    ["NAME", "shop-pre-", "shop-greeting"].iter().any(|start| line.starts_with(start))
}

#[test]
fn a_release_is_upgraded_and_rolled_back() {
    let Some(helm) = Helm::up() else { return };
    helm.ok("upgrade --install shop CHART --wait --timeout 60s");
    helm.ok("upgrade shop CHART --set replicas=2,greeting=second --wait --timeout 60s");
    assert_eq!((helm.greeting().as_str(), helm.deployment("/status/readyReplicas").as_str()), ("second", "2"));
    assert_eq!(helm.server.field("job", "shop-pre-upgrade", "/status/succeeded"), "1");
    helm.ok("upgrade shop CHART --reuse-values --set replicas=1 --wait --timeout 60s");
    assert_eq!((helm.greeting().as_str(), helm.deployment("/spec/replicas").as_str()), ("second", "1"));
    // What is no longer in the chart goes: here a key of a map.
    helm.ok("upgrade shop CHART --set key=other --no-hooks");
    assert_eq!(helm.greeting(), "null");
    helm.ok("rollback shop 1 --wait --timeout 60s");
    assert_eq!(
        (helm.greeting().as_str(), helm.server.field("configmap", "shop-words", "/data/other").as_str()),
        ("first", "null")
    );
    let (statuses, last) = helm.history();
    assert_eq!(statuses, ["superseded", "superseded", "superseded", "superseded", "deployed"]);
    assert_eq!(last, "Rollback to 1");
    assert!(helm.ok("get values shop --revision 2").contains("greeting: second"));
}

#[test]
fn what_fails_is_said_and_taken_back() {
    let Some(helm) = Helm::up() else { return };
    let back = if helm.major < 4 { "--atomic" } else { "--rollback-on-failure" };
    // The server's words reach the user.
    let wrong = helm.fails("install shop CHART --no-hooks --set replicas=-1");
    let words =
        "Deployment.apps \"shop\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0";
    assert!(wrong.contains(words), "{wrong}");
    assert_eq!(helm.history().0, ["failed"]);
    helm.ok("upgrade shop CHART --reset-values --wait --timeout 60s");
    // A hook that fails ends an upgrade before anything is changed.
    let hook = helm.fails(&format!("upgrade shop CHART --set key=other {back} --timeout 60s"));
    assert!(hook.contains("has been rolled back"), "{hook}");
    assert_eq!(helm.greeting(), "first");
    // Pods that do not become ready are waited for.
    let image = helm.fails(&format!("upgrade shop CHART --set image=nowhere:v1,greeting=second {back} --timeout 10s"));
    assert!(image.contains("has been rolled back"), "{image}");
    assert_eq!(helm.deployment("/spec/template/spec/containers/0/image"), "hello:v1");
    assert_eq!(helm.greeting(), "first");
    let (statuses, last) = helm.history();
    assert_eq!(statuses, ["superseded", "superseded", "failed", "superseded", "failed", "deployed"]);
    assert_eq!(last, "Rollback to 4");
    // A test that fails says what its pod said.
    helm.ok("upgrade shop CHART --set key=other --no-hooks");
    let test = helm.run("test shop --logs --timeout 60s");
    assert!(!test.status.success() && text(&test.stdout).contains("cannot read /config/greeting"), "{test:?}");
}

#[test]
fn fields_have_their_owners() {
    let Some(helm) = Helm::up() else { return };
    helm.ok("install shop CHART --no-hooks");
    let managers = helm.deployment("/metadata/managedFields");
    let managers: Value = serde_json::from_str(&managers).expect("JSON");
    let own = managers.as_array().and_then(|all| all.iter().find(|entry| entry["manager"] == "helm"));
    let operation = if helm.major < 4 { "Update" } else { "Apply" };
    assert_eq!(own.expect("Helm is named")["operation"], operation);
    // Somebody else takes the number of replicas over.
    let file = helm.server.process.folder.join("replicas.yaml");
    let yaml = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: shop}\nspec: {replicas: 3}\n";
    std::fs::write(&file, yaml).expect("written");
    helm.server.ok("coracle", &["apply", "--force-conflicts", "-f", file.to_str().expect("utf-8")]);
    if helm.major < 4 {
        // It asks nobody: what is not as the chart has it is patched.
        helm.ok("upgrade shop CHART --no-hooks --set replicas=2");
    } else {
        let refused = helm.fails("upgrade shop CHART --no-hooks --set replicas=2");
        assert!(refused.contains("conflict with \"coracle\"") && refused.contains(".spec.replicas"), "{refused}");
        helm.ok("upgrade shop CHART --no-hooks --set replicas=2 --force-conflicts");
    }
    assert_eq!(helm.deployment("/spec/replicas"), "2");
}
