//! `create`, `run` and `expose`: objects from the command line alone.

use super::Kubectl;

#[test]
fn objects_are_made_from_the_command_line() {
    let Some(kubectl) = Kubectl::up() else { return };
    for (line, printed) in [
        ("create deployment web --image=hello:v1 --port=8080", "deployment.apps/web created"),
        ("expose deployment web --port=80 --target-port=8080 --type=NodePort", "service/web exposed"),
        ("create service clusterip plain --tcp=80:8080", "service/plain created"),
        ("create configmap conf --from-literal=a=b", "configmap/conf created"),
        ("create secret generic word --from-literal=a=b", "secret/word created"),
        (
            "create secret docker-registry hub --docker-server=x --docker-username=u --docker-password=p",
            "secret/hub created",
        ),
        ("create namespace shop", "namespace/shop created"),
        ("create serviceaccount bob", "serviceaccount/bob created"),
        ("create role reader --verb=get,list --resource=pods", "role.rbac.authorization.k8s.io/reader created"),
        (
            "create rolebinding bob-reads --role=reader --serviceaccount=default:bob",
            "rolebinding.rbac.authorization.k8s.io/bob-reads created",
        ),
        (
            "create clusterrole watcher --verb=watch --resource=nodes",
            "clusterrole.rbac.authorization.k8s.io/watcher created",
        ),
        (
            "create clusterrolebinding jane-watches --clusterrole=watcher --user=jane",
            "clusterrolebinding.rbac.authorization.k8s.io/jane-watches created",
        ),
        ("create job once --image=hello:v1", "job.batch/once created"),
        ("create cronjob often --image=hello:v1 --schedule='*/5 * * * *'", "cronjob.batch/often created"),
        ("create quota few --hard=pods=10", "resourcequota/few created"),
        (
            "create poddisruptionbudget some --selector=app=web --min-available=1",
            "poddisruptionbudget.policy/some created",
        ),
        ("create ingress door --rule=example.com/=web:80", "ingress.networking.k8s.io/door created"),
        ("create priorityclass high --value=1000", "priorityclass.scheduling.k8s.io/high created"),
        ("run one --image=hello:v1 --port=8080 --env=A=b", "pod/one created"),
    ] {
        assert_eq!(kubectl.ok(line), format!("{printed}\n"), "{line}");
    }
    assert_eq!(
        kubectl.fails("run one --image=hello:v1"),
        "Error from server (AlreadyExists): pods \"one\" already exists"
    );
    assert_eq!(kubectl.ok("auth can-i list pods --as=system:serviceaccount:default:bob"), "yes\n");
    assert_eq!(kubectl.ok("auth can-i watch nodes --as=jane"), "yes\n");
    let refused = kubectl.run("auth can-i delete pods --as=jane", "");
    assert_eq!((refused.status.code(), crate::process::text(&refused.stdout)), (Some(1), "no\n".to_owned()));
    let forbidden = kubectl.fails("delete pod one --as=jane");
    assert_eq!(
        forbidden,
        "Error from server (Forbidden): pods \"one\" is forbidden: User \"jane\" cannot delete resource \"pods\" in API \
         group \"\" in the namespace \"default\""
    );
    if !kubectl.since(24) {
        return;
    }
    let token = kubectl.ok("create token bob");
    assert_eq!(token.trim().split('.').count(), 3, "a JSON web token: {token}");
    // 1.27 asks in versions of then.
    if !kubectl.since(28) {
        return;
    }
    assert!(kubectl.ok(&format!("auth whoami --token={}", token.trim())).contains("kubernetes-admin"));
}
