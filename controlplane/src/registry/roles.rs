//! The roles and bindings that every cluster has: names and rules are upstream's, as far as there is something here
//! for them.

use super::escalation::GROUP;
use api::Tree;
use serde_json::{Value, json};

/// ClusterRoles: name, and rules as `verbs|groups|resources` (or `verbs||/paths`), lists joined by commas, `core` for
/// the empty group.
const ROLES: &[(&str, &[&str])] = &[
    ("cluster-admin", &["*|*|*", "*||*"]),
    (
        "system:discovery",
        &["get||/api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/"],
    ),
    ("system:public-info-viewer", &["get||/healthz,/livez,/readyz,/version,/version/"]),
    ("system:monitoring", &["get||/healthz,/healthz/*,/livez,/livez/*,/metrics,/readyz,/readyz/*"]),
    (
        "system:basic-user",
        &[
            "create|authorization.k8s.io|selfsubjectaccessreviews,selfsubjectrulesreviews",
            "create|authentication.k8s.io|selfsubjectreviews",
        ],
    ),
    ("system:service-account-issuer-discovery", &["get||/.well-known/openid-configuration,/openid/v1/jwks"]),
    ("system:node", &[]),
    ("system:node-bootstrapper", &["create,get,list,watch|certificates.k8s.io|certificatesigningrequests"]),
    (
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &["create|certificates.k8s.io|certificatesigningrequests/nodeclient"],
    ),
    (
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &["create|certificates.k8s.io|certificatesigningrequests/selfnodeclient"],
    ),
    ("system:kube-scheduler", SCHEDULER),
    ("system:kube-controller-manager", &["*|*|*"]),
    (
        "system:auth-delegator",
        &["create|authentication.k8s.io|tokenreviews", "create|authorization.k8s.io|subjectaccessreviews"],
    ),
    (
        "system:kubelet-api-admin",
        &["get,list,watch|core|nodes", "proxy|core|nodes", "*|core|nodes/log,nodes/metrics,nodes/proxy,nodes/stats"],
    ),
    (
        "system:node-proxier",
        &[
            "list,watch|core|services,endpoints",
            "get,list,watch|core|nodes",
            "create,patch,update|core,events.k8s.io|events",
            "list,watch|discovery.k8s.io|endpointslices",
        ],
    ),
    (
        "system:node-problem-detector",
        &["get|core|nodes", "patch|core|nodes/status", "create,patch,update|core,events.k8s.io|events"],
    ),
    (
        "system:persistent-volume-provisioner",
        &[
            "create,delete,get,list,watch|core|persistentvolumes",
            "get,list,update,watch|core|persistentvolumeclaims",
            "get,list,watch|storage.k8s.io|storageclasses",
            "watch|core|events",
            "create,patch,update|core,events.k8s.io|events",
        ],
    ),
];

/// Parts of which the three roles for users are made up; who adds a kind adds a part of his own, with the label.
const PARTS: &[(&str, &[&str])] = &[
    ("view", &[VIEW_CORE, VIEW_APPS, VIEW_REST]),
    ("edit", &[READ_EDIT, EDIT_CORE, EDIT_TOKENS, EDIT_APPS, EDIT_REST, EDIT_LEASES, EDIT_SECRETS, EDIT_IMPERSONATE]),
    (
        "admin",
        &[
            "create|authorization.k8s.io|localsubjectaccessreviews",
            "create,delete,deletecollection,get,list,patch,update,watch|rbac.authorization.k8s.io|rolebindings,roles",
        ],
    ),
];

/// The roles for users: each is all that bears its label, the one before it too.
const AGGREGATED: [&str; 3] = ["view", "edit", "admin"];

const SCHEDULER: &[&str] = &[
    "create,patch,update|core,events.k8s.io|events",
    "create,get,list,update,watch|coordination.k8s.io|leases",
    "get,list,watch|core|nodes,namespaces,persistentvolumeclaims,persistentvolumes,replicationcontrollers,services",
    "delete,get,list,watch|core|pods",
    "create|core|bindings,pods/binding",
    "patch,update|core|pods/status",
    "get,list,watch|apps|replicasets,statefulsets",
    "get,list,watch|policy|poddisruptionbudgets",
    "get,list,watch|storage.k8s.io|csinodes,csidrivers,csistoragecapacities,storageclasses",
];
const VIEW_CORE: &str = "get,list,watch|core|bindings,configmaps,endpoints,events,limitranges,namespaces,\
    namespaces/status,persistentvolumeclaims,persistentvolumeclaims/status,pods,pods/log,pods/status,\
    replicationcontrollers,replicationcontrollers/scale,replicationcontrollers/status,resourcequotas,\
    resourcequotas/status,serviceaccounts,services,services/status";
const VIEW_APPS: &str = "get,list,watch|apps|controllerrevisions,daemonsets,daemonsets/status,deployments,\
    deployments/scale,deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,\
    statefulsets/scale,statefulsets/status";
const VIEW_REST: &str = "get,list,watch|autoscaling,batch,policy,networking.k8s.io,discovery.k8s.io|\
    horizontalpodautoscalers,horizontalpodautoscalers/status,cronjobs,cronjobs/status,jobs,jobs/status,\
    poddisruptionbudgets,poddisruptionbudgets/status,ingresses,ingresses/status,networkpolicies,endpointslices";
const EDIT_CORE: &str = "create,delete,deletecollection,patch,update|core|configmaps,events,persistentvolumeclaims,pods,\
    pods/attach,pods/exec,pods/portforward,pods/proxy,pods/eviction,replicationcontrollers,\
    replicationcontrollers/scale,services,services/proxy,serviceaccounts";
const EDIT_APPS: &str = "create,delete,deletecollection,patch,update|apps|daemonsets,deployments,deployments/rollback,\
    deployments/scale,replicasets,replicasets/scale,statefulsets,statefulsets/scale";
const EDIT_REST: &str = "create,delete,deletecollection,patch,update|autoscaling,batch,policy,networking.k8s.io|\
    horizontalpodautoscalers,cronjobs,jobs,poddisruptionbudgets,ingresses,networkpolicies";
const EDIT_SECRETS: &str = "create,delete,deletecollection,get,list,patch,update,watch|core|secrets";
const EDIT_IMPERSONATE: &str = "impersonate|core|serviceaccounts";
const READ_EDIT: &str = "get,list,watch|core|pods/attach,pods/exec,pods/portforward,pods/proxy,services/proxy";
const EDIT_TOKENS: &str = "create|core|serviceaccounts/token";
const EDIT_LEASES: &str = "create,delete,deletecollection,get,list,patch,update,watch|coordination.k8s.io|leases";

/// ClusterRoleBindings: role, and groups (or `user:NAME`).
const BINDINGS: &[(&str, &str, &[&str])] = &[
    ("cluster-admin", "cluster-admin", &["system:masters"]),
    ("system:discovery", "system:discovery", &["system:authenticated"]),
    ("system:basic-user", "system:basic-user", &["system:authenticated"]),
    ("system:public-info-viewer", "system:public-info-viewer", &["system:authenticated", "system:unauthenticated"]),
    ("system:monitoring", "system:monitoring", &["system:monitoring"]),
    ("system:service-account-issuer-discovery", "system:service-account-issuer-discovery", &["system:serviceaccounts"]),
    ("system:kube-scheduler", "system:kube-scheduler", &["user:system:kube-scheduler"]),
    ("system:kube-controller-manager", "system:kube-controller-manager", &["user:system:kube-controller-manager"]),
    ("coracle:node-bootstrapper", "system:node-bootstrapper", &["system:bootstrappers"]),
    (
        "coracle:node-approve-bootstrap",
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &["system:bootstrappers"],
    ),
    (
        "coracle:node-approve-renewal",
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &["system:nodes"],
    ),
];

/// All ClusterRoles.
pub(super) fn cluster_roles() -> Vec<Tree> {
    let plain = ROLES.iter().map(|(name, rules)| json!({"metadata": labelled(name), "rules": parsed(rules)}));
    let part = |(name, rules): &(&str, &[&str])| {
        let mut meta = labelled(&format!("system:aggregate-to-{name}"));
        meta["labels"][label(name)] = "true".into();
        json!({"metadata": meta, "rules": parsed(rules)})
    };
    plain.chain(PARTS.iter().map(part)).chain((0..AGGREGATED.len()).map(aggregated)).collect()
}

/// One of the roles for users. It has its rules from the first second on; later a controller sees to them.
fn aggregated(level: usize) -> Tree {
    let name = AGGREGATED[level];
    let mut meta = labelled(name);
    if let Some(next) = AGGREGATED.get(level + 1) {
        meta["labels"][label(next)] = "true".into();
    }
    let parts = AGGREGATED[..=level].iter().filter_map(|name| PARTS.iter().find(|(part, _)| part == name));
    let rules: Vec<Value> = parts.flat_map(|(_, rules)| parsed(rules)).collect();
    let selector = json!({"matchLabels": {label(name): "true"}});
    json!({"metadata": meta, "aggregationRule": {"clusterRoleSelectors": [selector]}, "rules": rules})
}

fn label(role: &str) -> String {
    format!("{GROUP}/aggregate-to-{role}")
}

pub(super) fn cluster_role_bindings() -> Vec<Tree> {
    let binding = |(name, role, subjects): &(&str, &str, &[&str])| {
        let subjects: Vec<Value> = subjects.iter().map(|subject| parse_subject(subject)).collect();
        let role = json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": role});
        json!({"metadata": labelled(name), "roleRef": role, "subjects": subjects})
    };
    BINDINGS.iter().map(binding).collect()
}

/// Roles of the namespace `kube-system`.
pub(super) fn roles() -> Vec<Tree> {
    let rule = json!({
        "verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["configmaps"],
        "resourceNames": ["extension-apiserver-authentication"],
    });
    vec![json!({"metadata": labelled("extension-apiserver-authentication-reader"), "rules": [rule]})]
}

fn parsed(rules: &[&str]) -> Vec<Value> {
    rules.iter().map(|rule| parse(rule)).collect()
}

fn labelled(name: &str) -> Value {
    json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    })
}

fn parse(rule: &str) -> Value {
    let words = |text: &str| -> Vec<String> {
        text.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
    };
    let mut parts = rule.splitn(3, '|');
    let mut next = || parts.next().unwrap_or_default();
    let (verbs, groups, what) = (next(), next(), next());
    if groups.is_empty() {
        return json!({"verbs": words(verbs), "nonResourceURLs": words(what)});
    }
    let groups: Vec<String> =
        words(groups).into_iter().map(|group| if group == "core" { String::new() } else { group }).collect();
    json!({"verbs": words(verbs), "apiGroups": groups, "resources": words(what)})
}

fn parse_subject(subject: &str) -> Value {
    let (kind, name) = match subject.strip_prefix("user:") {
        Some(name) => ("User", name),
        None => ("Group", subject),
    };
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name})
}
