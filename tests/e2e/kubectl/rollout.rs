//! Scale, set and rollout: a Deployment from version to version.

use super::Kubectl;

#[test]
fn a_deployment_is_scaled_set_paused_and_rolled_back() {
    let Some(kubectl) = Kubectl::with_hello() else { return };
    let field = |path: &str| kubectl.ok(&format!("get deployment hello -o 'jsonpath={path}'"));
    let rolled_out = || {
        let said = kubectl.ok("rollout status deployment/hello --timeout=60s");
        assert!(said.ends_with("deployment \"hello\" successfully rolled out\n"), "{said}");
    };
    assert_eq!(kubectl.ok("scale deployment hello --replicas=2"), "deployment.apps/hello scaled\n");
    rolled_out();
    let refused = kubectl.fails("scale deployment hello --current-replicas=5 --replicas=1");
    assert_eq!(refused, "error: Expected replicas to be 5, was 2");
    assert_eq!(kubectl.ok("set image deployment/hello hello=hello:v2"), "deployment.apps/hello image updated\n");
    rolled_out();
    assert_eq!(kubectl.ok("set env deployment/hello VERSION=v2"), "deployment.apps/hello env updated\n");
    assert!(kubectl.ok("set env deployment/hello --list").contains("VERSION=v2"));
    let limits = kubectl.ok("set resources deployment/hello -c hello --limits=memory=64Mi");
    assert_eq!(limits, "deployment.apps/hello resource requirements updated\n");
    rolled_out();
    assert_eq!(field("{.spec.template.spec.containers[0].resources.limits.memory}"), "64Mi");
    let history = kubectl.ok("rollout history deployment/hello");
    assert_eq!(
        super::rows(&history)[..6],
        ["deployment.apps/hello", "REVISION CHANGE-CAUSE", "1 <none>", "2 <none>", "3 <none>", "4 <none>",]
    );
    assert!(kubectl.ok("rollout history deployment/hello --revision=2").contains("Image:\thello:v2"));
    assert_eq!(kubectl.ok("rollout undo deployment/hello --to-revision=1"), "deployment.apps/hello rolled back\n");
    rolled_out();
    assert_eq!(field("{.spec.template.spec.containers[0].image}"), "hello:v1");
    assert_eq!(kubectl.ok("rollout pause deployment/hello"), "deployment.apps/hello paused\n");
    assert_eq!(kubectl.fails("rollout pause deployment/hello"), "error: deployments.apps \"hello\" is already paused");
    kubectl.ok("set image deployment/hello hello=hello:v2");
    let waits = kubectl.fails("rollout status deployment/hello --timeout=1s");
    assert_eq!(waits, "error: timed out waiting for the condition");
    assert_eq!(kubectl.ok("rollout resume deployment/hello"), "deployment.apps/hello resumed\n");
    rolled_out();
    assert_eq!(kubectl.ok("rollout restart deployment/hello"), "deployment.apps/hello restarted\n");
    rolled_out();
}

/// Each rollout makes a new ReplicaSet, whose size changes while its status is written.
#[test]
fn rollouts_one_after_the_other_all_end() {
    let Some(kubectl) = Kubectl::with_hello() else { return };
    kubectl.ok("scale deployment hello --replicas=5");
    for round in 0..10 {
        kubectl.ok(&format!("set env deployment/hello ROUND={round}"));
        kubectl.ok("rollout status deployment/hello --timeout=30s");
    }
}
