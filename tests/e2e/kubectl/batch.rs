//! Jobs and CronJobs: made, listed and described.

use super::{Kubectl, rows};
use crate::process::eventually;

#[test]
fn a_job_is_made_from_a_cron_job() {
    let Some(kubectl) = Kubectl::up() else { return };
    kubectl.server.push("batch", "batch:v1");
    let line = "create cronjob yearly --image=batch:v1 --schedule='0 0 1 1 *' --restart=Never";
    assert_eq!(kubectl.ok(line), "cronjob.batch/yearly created\n");
    let patch = "'{\"spec\":{\"timeZone\":\"Europe/Berlin\",\"jobTemplate\":{\"spec\":{\"backoffLimit\":0}}}}'";
    kubectl.ok(&format!("patch cronjob yearly --type=merge -p {patch}"));
    let listed = rows(&kubectl.ok("get cronjobs"));
    assert_eq!(listed[0], "NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST SCHEDULE AGE");
    assert!(listed[1].starts_with("yearly 0 0 1 1 * Europe/Berlin False 0 <none> "), "{listed:?}");
    // Old ones know CronJobs in their first version alone.
    let from = if kubectl.since(21) { "cronjob/yearly" } else { "cronjob.v1beta1.batch/yearly" };
    assert_eq!(kubectl.ok(&format!("create job now --from={from}")), "job.batch/now created\n");
    kubectl.ok("wait --for=condition=failed job/now --timeout=60s");
    let listed = rows(&kubectl.ok("get jobs"));
    assert_eq!(listed[0], "NAME STATUS COMPLETIONS DURATION AGE");
    assert!(listed[1].starts_with("now Failed 0/1 "), "{listed:?}");
    let described = eventually("the events of its end", || {
        let text = rows(&kubectl.ok("describe job now")).join("\n");
        text.contains("BackoffLimitExceeded").then_some(text)
    });
    let pods = if kubectl.since(23) { "0 Active (0 Ready)" } else { "0 Running" };
    let pods = format!("Pods Statuses: {pods} / 0 Succeeded / 1 Failed");
    for part in [
        &*pods,
        "Annotations: cronjob.kubernetes.io/instantiate: manual",
        "Normal SuccessfulCreate",
        "Created pod: now-",
        "Job has reached the specified backoff limit",
    ] {
        assert!(described.contains(part), "{part:?}:\n{described}");
    }
    // Old ones make a Job that nobody controls.
    if !kubectl.since(28) {
        return;
    }
    assert!(described.contains("Controlled By: CronJob/yearly"), "{described}");
    let described = eventually("the event about a Job that it did not make", || {
        let text = rows(&kubectl.ok("describe cronjob yearly")).join("\n");
        text.contains("UnexpectedJob").then_some(text)
    });
    for part in ["Schedule: 0 0 1 1 *", "Concurrency Policy: Allow", "Suspend: False"] {
        assert!(described.contains(part), "{part:?}:\n{described}");
    }
    let refused = kubectl.fails("create cronjob wrong --image=batch:v1 --schedule='61 * * * *'");
    assert!(
        refused.contains("spec.schedule: Invalid value: \"61 * * * *\": end of range (61) above maximum (59): 61"),
        "{refused}"
    );
}
