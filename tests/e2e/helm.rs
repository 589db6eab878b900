//! Helm, where it is on PATH: a chart is installed, upgraded, rolled back and removed.

use crate::process::{Server, eventually, text};
use std::fs;
use std::process::Command;

const CHART: &str = "apiVersion: v2\nname: web\nversion: 0.1.0\n";
const VALUES: &str = "replicas: 1\nword: first\n";
const MAP: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-words}\ndata: {word: {{ .Values.word }}}\n";
const DEPLOYMENT: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec: {containers: [{name: hello, image: "hello:v1"}]}
"#;

#[test]
fn a_chart_is_installed_upgraded_rolled_back_and_removed() {
    if !Command::new("helm").arg("version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: helm is not on PATH");
        return;
    }
    let server = Server::up();
    server.push("hello", "hello:v1");
    let chart = server.process.folder.join("chart");
    fs::create_dir_all(chart.join("templates")).expect("made");
    for (name, content) in [
        ("Chart.yaml", CHART),
        ("values.yaml", VALUES),
        ("templates/words.yaml", MAP),
        ("templates/deployment.yaml", DEPLOYMENT),
    ] {
        fs::write(chart.join(name), content).expect("written");
    }
    let chart = chart.to_str().expect("utf-8");
    let helm = |arguments: &[&str]| {
        let output = server.run(Command::new("helm").args(arguments));
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "helm {arguments:?}: {out}{err}");
        out
    };
    let word = || server.field("configmap", "web-words", "/data/word");
    let ready = || server.field("deployment", "web", "/status/readyReplicas");
    helm(&["install", "web", chart, "--wait", "--timeout", "60s"]);
    assert_eq!((word().as_str(), ready().as_str()), ("first", "1"));
    helm(&["upgrade", "web", chart, "--set", "replicas=2,word=second", "--wait", "--timeout", "60s"]);
    assert_eq!((word().as_str(), ready().as_str()), ("second", "2"));
    helm(&["rollback", "web", "1", "--wait", "--timeout", "60s"]);
    assert_eq!(word(), "first");
    assert!(helm(&["list"]).contains("web-0.1.0"));
    helm(&["uninstall", "web"]);
    eventually("the end of the Deployment", || {
        let output = server.run(crate::process::coracle().args(["get", "deployment", "web"]));
        (!output.status.success()).then_some(())
    });
}
