//! Work that ends: Jobs in all their ways, and the CronJobs that make them.

use crate::process::{Server, eventually};
use serde_json::Value;

/// `coracle up` with the guest `batch`, which prints `/config/greeting` and ends, or fails if there is none.
fn up() -> Server {
    let server = Server::up();
    server.push("batch", "batch:v1");
    server
}

/// A pod's spec whose guest prints the index that its Job gave it.
const PRINTS_ITS_INDEX: &str = "
      restartPolicy: Never
      containers:
        - {name: batch, image: 'batch:v1', volumeMounts: [{name: config, mountPath: /config, readOnly: true}]}
      volumes:
        - name: config
          downwardAPI:
            items:
              - path: greeting
                fieldRef: {fieldPath: \"metadata.annotations['batch.kubernetes.io/job-completion-index']\"}
";
/// One whose guest fails.
const FAILS: &str = "
      restartPolicy: Never
      containers: [{name: batch, image: 'batch:v1'}]
";

fn job(name: &str, spec: &str, pod: &str) -> String {
    format!("apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n{spec}\n  template:\n    spec:{pod}")
}

fn apply(server: &Server, yaml: &str) {
    let file = server.process.folder.join("applied.yaml");
    std::fs::write(&file, yaml).expect("written");
    server.ok("coracle", &["apply", "-f", file.to_str().expect("utf-8")]);
}

fn list(server: &Server, kind: &str, selector: &str) -> Vec<Value> {
    let json = server.ok("coracle", &["get", kind, "-l", selector, "-o", "json"]);
    let tree: Value = serde_json::from_str(&json).expect("JSON");
    tree["items"].as_array().cloned().unwrap_or_else(|| vec![tree])
}

/// The types of the conditions that hold.
fn conditions(server: &Server, job: &str) -> Vec<String> {
    let all: Value = serde_json::from_str(&server.field("job", job, "/status/conditions")).expect("JSON");
    let hold = all.as_array().into_iter().flatten().filter(|one| one["status"] == "True");
    hold.map(|one| one["type"].as_str().unwrap_or_default().to_owned()).collect()
}

fn ends(server: &Server, job: &str, how: &[&str]) {
    eventually("the Job's end", || (conditions(server, job) == how).then_some(()));
}

#[test]
fn an_indexed_job_has_a_pod_for_each_index() {
    let server = up();
    let spec = "  completions: 3\n  parallelism: 2\n  completionMode: Indexed";
    apply(&server, &job("indexed", spec, PRINTS_ITS_INDEX));
    ends(&server, "indexed", &["SuccessCriteriaMet", "Complete"]);
    assert_eq!(server.field("job", "indexed", "/status/completedIndexes"), "0-2");
    assert_eq!(server.field("job", "indexed", "/status/uncountedTerminatedPods"), "{}");
    for index in 0..3 {
        let pods = list(&server, "pods", &format!("batch.kubernetes.io/job-completion-index={index}"));
        let [pod] = &*pods else { panic!("one pod for {index}: {pods:?}") };
        let name = pod["metadata"]["name"].as_str().expect("it has a name");
        assert!(name.starts_with(&format!("indexed-{index}-")), "{name}");
        assert_eq!(pod["spec"]["hostname"], format!("indexed-{index}"));
        assert_eq!(pod["metadata"]["finalizers"], Value::Null, "it is counted");
        assert_eq!(server.ok("coracle", &["logs", name]), format!("{index}\n"));
    }
}

#[test]
fn a_suspended_job_waits_until_it_is_resumed() {
    let server = up();
    apply(&server, &job("later", "  suspend: true\n  completions: 1\n  completionMode: Indexed", PRINTS_ITS_INDEX));
    ends(&server, "later", &["Suspended"]);
    assert_eq!(server.field("job", "later", "/status/startTime"), "null");
    apply(&server, &job("later", "  suspend: false\n  completions: 1\n  completionMode: Indexed", PRINTS_ITS_INDEX));
    ends(&server, "later", &["SuccessCriteriaMet", "Complete"]);
    assert_eq!(server.field("job", "later", "/status/succeeded"), "1");
}

#[test]
fn a_failure_that_cannot_be_mended_ends_the_job() {
    let server = up();
    let policy = "  backoffLimit: 6
  podFailurePolicy:
    rules: [{action: FailJob, onExitCodes: {operator: NotIn, values: [42]}}]";
    apply(&server, &job("broken", policy, FAILS));
    ends(&server, "broken", &["FailureTarget", "Failed"]);
    assert_eq!(server.field("job", "broken", "/status/conditions/1/reason"), "PodFailurePolicy");
    assert_eq!(server.field("job", "broken", "/status/failed"), "1");
    let limited = "  backoffLimit: 0\n  ttlSecondsAfterFinished: 100000";
    apply(&server, &job("limited", limited, FAILS));
    ends(&server, "limited", &["FailureTarget", "Failed"]);
    assert_eq!(server.field("job", "limited", "/status/conditions/1/reason"), "BackoffLimitExceeded");
}

#[test]
fn a_job_that_ended_goes_in_time_and_its_pods_with_it() {
    let server = up();
    apply(&server, &job("short", "  backoffLimit: 0\n  ttlSecondsAfterFinished: 0", FAILS));
    eventually("the Job's pod", || {
        let events = server.ok("coracle", &["get", "events"]);
        events.contains("BackoffLimitExceeded").then_some(())
    });
    eventually("the end of all", || {
        let left = ["jobs", "pods"].map(|kind| server.ok("coracle", &["get", kind, "-o", "name"]));
        left.iter().all(String::is_empty).then_some(())
    });
}

#[test]
fn a_cron_job_makes_jobs_in_time_and_by_hand() {
    let server = up();
    let pod = FAILS.replace("\n    ", "\n            ");
    // A pause of a second is as short as they come.
    let cron = format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: often}}\nspec:\n  schedule: '@every 1s'\n  \
         timeZone: Asia/Tokyo\n  concurrencyPolicy: Forbid\n  jobTemplate:\n    spec:\n      backoffLimit: 0\n      \
         template:\n        spec:{pod}"
    );
    apply(&server, &cron);
    eventually("the first Job", || {
        (server.field("cronjob", "often", "/status/lastScheduleTime") != "null").then_some(())
    });
    let jobs = list(&server, "jobs", "");
    let first = jobs.first().expect("there is one");
    let name = first["metadata"]["name"].as_str().expect("it has a name");
    let minute = name.trim_start_matches("often-");
    assert!(minute.parse::<u64>().is_ok(), "{name}");
    let scheduled = first["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"].as_str();
    assert!(scheduled.is_some_and(|at| at.ends_with("+09:00")), "{scheduled:?}");
    assert_eq!(first["metadata"]["ownerReferences"][0]["kind"], "CronJob");
    ends(&server, name, &["FailureTarget", "Failed"]);
    eventually("the event of its end", || {
        server.ok("coracle", &["get", "events"]).contains("Saw completed job").then_some(())
    });
    server.ok("coracle", &["delete", "cronjob", "often"]);
    eventually("the end of its Jobs", || server.ok("coracle", &["get", "jobs", "-o", "name"]).is_empty().then_some(()));
}

#[test]
fn a_replication_controller_keeps_its_pods() {
    let server = Server::up();
    server.push("hello", "hello:v1");
    let yaml = "apiVersion: v1\nkind: ReplicationController\nmetadata: {name: old}\nspec:\n  replicas: 2\n  template:\n    \
                metadata: {labels: {app: old}}\n    spec:\n      containers: [{name: hello, image: 'hello:v1'}]\n";
    apply(&server, yaml);
    eventually("two ready pods", || {
        (server.field("replicationcontroller", "old", "/status/readyReplicas") == "2").then_some(())
    });
    assert_eq!(list(&server, "pods", "app=old").len(), 2);
}
