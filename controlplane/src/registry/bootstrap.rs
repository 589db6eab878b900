//! The objects that every cluster has from its first second: namespaces, roles, priority classes, the API's own
//! Service. Made where they are missing, at every start; a change that somebody made to one is left alone.

use super::escalation::GROUP;
use super::{Call, Registry, User, roles, services};
use api::{Rejected, Tree};
use serde_json::json;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

impl Registry {
    /// Makes what is missing.
    pub(super) async fn bootstrap(&self) -> Result<(), Rejected> {
        for name in NAMESPACES {
            self.ensure("", "v1", "Namespace", None, json!({"metadata": {"name": name}})).await?;
        }
        for role in roles::cluster_roles() {
            self.ensure(GROUP, "v1", "ClusterRole", None, role).await?;
        }
        for binding in roles::cluster_role_bindings() {
            self.ensure(GROUP, "v1", "ClusterRoleBinding", None, binding).await?;
        }
        for role in roles::roles() {
            self.ensure(GROUP, "v1", "Role", Some("kube-system"), role).await?;
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
