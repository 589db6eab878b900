//! The objects that every cluster has from its first second: namespaces, roles, priority classes, the API's own
//! Service. Made where they are missing, at every start; a change that somebody made to one is left alone.

use super::{Call, Registry, User, services};
use api::{Rejected, Tree};
use serde_json::{Value, json};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

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
    ("view", &[VIEW_CORE, VIEW_APPS, VIEW_REST]),
    ("edit", &[VIEW_CORE, VIEW_APPS, VIEW_REST, EDIT_CORE, EDIT_APPS, EDIT_REST, EDIT_SECRETS, EDIT_IMPERSONATE]),
    (
        "admin",
        &[
            VIEW_CORE,
            VIEW_APPS,
            VIEW_REST,
            EDIT_CORE,
            EDIT_APPS,
            EDIT_REST,
            EDIT_SECRETS,
            EDIT_IMPERSONATE,
            "create|authorization.k8s.io|localsubjectaccessreviews",
            "create,delete,deletecollection,get,list,patch,update,watch|rbac.authorization.k8s.io|rolebindings,roles",
        ],
    ),
];

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

impl Registry {
    /// Makes what is missing.
    pub(super) async fn bootstrap(&self) -> Result<(), Rejected> {
        for name in NAMESPACES {
            self.ensure("", "v1", "Namespace", None, json!({"metadata": {"name": name}})).await?;
        }
        let rbac = "rbac.authorization.k8s.io";
        for (name, rules) in ROLES {
            let rules: Vec<Value> = rules.iter().map(|rule| parse(rule)).collect();
            let role = json!({"metadata": labelled(name), "rules": rules});
            self.ensure(rbac, "v1", "ClusterRole", None, role).await?;
        }
        for (name, role, subjects) in BINDINGS {
            let subjects: Vec<Value> = subjects.iter().map(|subject| parse_subject(subject)).collect();
            let role = json!({"apiGroup": rbac, "kind": "ClusterRole", "name": role});
            let binding = json!({"metadata": labelled(name), "roleRef": role, "subjects": subjects});
            self.ensure(rbac, "v1", "ClusterRoleBinding", None, binding).await?;
        }
        for (name, value) in [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)] {
            let class = json!({"metadata": {"name": name}, "value": value, "globalDefault": false});
            self.ensure("scheduling.k8s.io", "v1", "PriorityClass", None, class).await?;
        }
        self.own_service().await
    }

    /// `default/kubernetes`: the first address of the Service range, and this server behind it.
    async fn own_service(&self) -> Result<(), Rejected> {
        let config = self.config();
        let at = config.advertise;
        let labels = json!({"component": "apiserver", "provider": "kubernetes"});
        let ip = services::nth(config.service_cidr.0, 1).to_string();
        let port = json!({"name": "https", "protocol": "TCP", "port": 443, "targetPort": at.port()});
        let service = json!({
            "metadata": {"name": "kubernetes", "labels": labels},
            "spec": {"type": "ClusterIP", "clusterIP": ip, "ports": [port], "sessionAffinity": "None"},
        });
        self.ensure("", "v1", "Service", Some("default"), service).await?;
        let port = json!({"name": "https", "port": at.port(), "protocol": "TCP"});
        let endpoints = json!({
            "metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
            "subsets": [{"addresses": [{"ip": at.ip().to_string()}], "ports": [port]}],
        });
        self.renew("", "Endpoints", endpoints).await?;
        let slice = json!({
            "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": if at.is_ipv6() { "IPv6" } else { "IPv4" },
            "endpoints": [{"addresses": [at.ip().to_string()], "conditions": {"ready": true}}],
            "ports": [port],
        });
        self.renew("discovery.k8s.io", "EndpointSlice", slice).await
    }

    async fn ensure(
        &self,
        group: &str,
        version: &str,
        kind: &str,
        namespace: Option<&str>,
        tree: Tree,
    ) -> Result<(), Rejected> {
        let Some(kind) = api::kinds::find_kind(group, version, kind) else {
            return Err(Rejected::internal(format!("the kind table lacks {kind}")));
        };
        let user = User::system_admin();
        let name = api::object::edit::text(&tree, &["metadata", "name"]).to_owned();
        let call = Call { namespace, name: &name, ..Call::new(&user, kind) };
        if self.stored(&call).is_some() {
            return Ok(());
        }
        match self.create(Call { name: "", ..call }, tree).await {
            Err(rejected) if !rejected.is_already_exists() => Err(rejected),
            _ => Ok(()),
        }
    }

    /// The address may have changed since the last start.
    async fn renew(&self, group: &str, kind: &str, tree: Tree) -> Result<(), Rejected> {
        self.ensure(group, "v1", kind, Some("default"), tree.clone()).await?;
        let Some(kind) = api::kinds::find_kind(group, "v1", kind) else { return Ok(()) };
        let user = User::system_admin();
        let call = Call { namespace: Some("default"), name: "kubernetes", ..Call::new(&user, kind) };
        self.patch(call, client::Patch::Merge(tree)).await.map(|_| ())
    }
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
