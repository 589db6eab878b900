use super::*;
use api::resource::{DEPLOYMENTS, NODES, PODS, SERVICES};
use bytes::Bytes;

fn row(resource: &api::Resource, tree: Tree) -> Vec<Tree> {
    shown(resource, false, tree)
}

fn shown(resource: &api::Resource, scale: bool, tree: Tree) -> Vec<Tree> {
    let kind = kinds::find(resource).expect("built in");
    let object = Arc::new(Object::from_json(Bytes::from(tree.to_string())).expect("an object"));
    let now = time::parse("2026-01-01T00:10:00Z").expect("a time");
    let view = View { made: &Made::default(), kind, scale, include: Include::Metadata, beta: false, now };
    let table: Tree = serde_json::from_slice(&view.table(&[object], &json!({}), true)).expect("JSON");
    let columns = table["columnDefinitions"].as_array().map(Vec::len);
    let cells = table["rows"][0]["cells"].as_array().cloned().unwrap_or_default();
    assert_eq!(columns, Some(cells.len()));
    cells
}

fn pod(status: Tree) -> Vec<Tree> {
    row(
        &PODS,
        json!({"metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:05:00Z"},
        "spec": {"nodeName": "n", "containers": [{"name": "c"}]}, "status": status}),
    )
}

#[test]
fn a_pods_row_says_how_it_is() {
    let running = pod(json!({"phase": "Running", "podIP": "10.64.0.1",
        "containerStatuses": [{"ready": true, "restartCount": 0, "state": {"running": {}}}]}));
    let expected = ["a", "1/1", "Running", "0", "5m", "10.64.0.1", "n", "<none>", "<none>"];
    assert_eq!(running, expected.map(Tree::from));
    let crashing = pod(json!({"phase": "Running", "containerStatuses": [{"ready": false, "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"finishedAt": "2026-01-01T00:09:30Z"}}}]}));
    assert_eq!(
        (&crashing[1], &crashing[2], &crashing[3]),
        (&json!("0/1"), &json!("CrashLoopBackOff"), &json!("3 (30s ago)"))
    );
    let init = pod(json!({"phase": "Pending", "initContainerStatuses": [{"state": {"running": {}}}]}));
    assert_eq!(init[2], "Init:0/0");
    let crashing = json!([{"name": "i", "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]);
    let init = pod(json!({"phase": "Pending", "initContainerStatuses": crashing}));
    assert_eq!((&init[2], &init[3]), (&json!("Init:CrashLoopBackOff"), &json!("1")));
    let ended = pod(json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 2}}}]}));
    assert_eq!(ended[2], "ExitCode:2");
}

#[test]
fn a_scale_has_columns_of_its_own() {
    let scale = json!({"metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:05:00Z"},
        "spec": {"replicas": 3}, "status": {"replicas": 2}});
    assert_eq!(shown(&DEPLOYMENTS, true, scale), [json!("a"), json!(3), json!(2), json!("5m")]);
}

#[test]
fn sidecars_count_as_containers() {
    let tree = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c"}],
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]},
        "status": {"phase": "Running",
            "initContainerStatuses": [
                {"name": "i", "restartCount": 5, "state": {"terminated": {"exitCode": 0}}},
                {"name": "s", "restartCount": 2, "ready": true, "started": true, "state": {"running": {}}}],
            "containerStatuses": [{"name": "c", "restartCount": 1, "ready": true, "state": {"running": {}}}]}});
    assert_eq!(row(&PODS, tree)[1..4], ["2/2", "Running", "3"].map(Tree::from));
}

#[test]
fn rows_carry_what_was_asked_for() {
    let kind = kinds::find(&PODS).expect("built in");
    let tree = json!({"metadata": {"name": "a"}, "status": {"phase": "Succeeded"}});
    let object = Arc::new(Object::from_tree(&tree).expect("an object"));
    let now = time::parse("2026-01-01T00:10:00Z").expect("a time");
    let made = Made::default();
    let shown = |include: Include, beta: bool| {
        let view = View { made: &made, kind, scale: false, include, beta, now };
        let table = view.table(std::slice::from_ref(&object), &json!({}), false);
        serde_json::from_slice::<Tree>(&table).expect("JSON")
    };
    let bare = shown(Include::None, true);
    assert_eq!((&bare["apiVersion"], &bare["columnDefinitions"]), (&json!("meta.k8s.io/v1beta1"), &Tree::Null));
    assert_eq!(
        (&bare["rows"][0]["object"], &bare["rows"][0]["conditions"][0]["reason"]),
        (&Tree::Null, &json!("Succeeded"))
    );
    assert_eq!(shown(Include::Metadata, true)["rows"][0]["object"]["apiVersion"], "meta.k8s.io/v1beta1");
    assert_eq!(shown(Include::Object, false)["rows"][0]["object"]["status"]["phase"], "Succeeded");
    assert_eq!(Include::parse("Bogus").map_err(|rejected| rejected.code), Err(400));
}

#[test]
fn a_daemon_sets_count_of_templates_is_no_metadata() {
    let kind = kinds::find(&api::resource::DAEMON_SETS).expect("built in");
    let shown = |annotations: Tree| metadata_of(kind, json!({"metadata": {"name": "a", "annotations": annotations}}));
    let count = "deprecated.daemonset.template.generation";
    assert_eq!(shown(json!({count: "1"})), json!({"name": "a"}));
    assert_eq!(shown(json!({count: "1", "b": "c"}))["annotations"], json!({"b": "c"}));
}

#[test]
fn services_and_nodes_have_their_own_cells() {
    let service = row(
        &SERVICES,
        json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort",
        "clusterIP": "10.96.0.9", "selector": {"app": "web"}, "ports": [{"port": 80, "nodePort": 30001, "protocol": "TCP"}]}}),
    );
    assert_eq!(service[1..5], ["NodePort", "10.96.0.9", "<none>", "80:30001/TCP"].map(Tree::from));
    let node = row(
        &NODES,
        json!({"metadata": {"name": "n"}, "spec": {"unschedulable": true},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    assert_eq!(node[1], "Ready,SchedulingDisabled");
}

#[test]
fn every_kind_fills_its_columns() {
    for kind in kinds::builtin() {
        let cells =
            row(&kind.resource, json!({"metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"}}));
        let columns = kinds::columns(kind.group(), &kind.kind);
        for (column, cell) in columns.iter().zip(&cells) {
            match column.name {
                "Name" => assert_eq!(cell, "x", "{}", kind.kind),
                "Age" => assert_eq!(cell, "10m", "{}", kind.kind),
                "Created At" => assert_eq!(cell, "2026-01-01T00:00:00Z", "{}", kind.kind),
                _ => {}
            }
        }
    }
}

#[test]
fn a_quota_and_a_disruption_budget_say_what_is_left() {
    let quota = json!({"metadata": {"name": "q"}, "status": {"hard": {"pods": "10", "limits.cpu": "2"}, "used": {"pods": "3"}}});
    assert_eq!(row(&resource("", "resourcequotas"), quota)[1..3], ["pods: 3/10", "limits.cpu: 0/2"].map(Tree::from));
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1}, "status": {"disruptionsAllowed": 2}});
    assert_eq!(row(&resource("policy", "poddisruptionbudgets"), budget)[1..4], [json!("1"), json!("N/A"), json!(2)]);
}

#[test]
fn an_autoscaler_shows_its_goal() {
    let tree = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 5, "minReplicas": 2,
        "scaleTargetRef": {"kind": "Deployment", "name": "web"},
        "metrics": [{"resource": {"name": "cpu", "target": {"averageUtilization": 80}}}]}});
    let cells = row(&resource("autoscaling", "horizontalpodautoscalers"), tree);
    assert_eq!(cells[1..6], [json!("Deployment/web"), json!("cpu: <unknown>/80%"), json!("2"), json!(5), json!(0)]);
}

fn resource(group: &str, plural: &str) -> api::Resource {
    let found = kinds::builtin().iter().find(|kind| kind.group() == group && &*kind.resource.plural == plural);
    found.expect("built in").resource.clone()
}
