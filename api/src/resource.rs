//! Which collection of objects a request is about: group, version and plural name.

use std::borrow::Cow;
use std::fmt;

/// A served collection, as in `/apis/<group>/<version>/<plural>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// Empty for the core group.
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    pub plural: Cow<'static, str>,
}

macro_rules! resources {
    ($($name:ident = $group:literal / $version:literal / $plural:literal;)*) => {
        $(pub const $name: Resource = Resource {
            group: Cow::Borrowed($group),
            version: Cow::Borrowed($version),
            plural: Cow::Borrowed($plural),
        };)*
    };
}

resources! {
    CONFIG_MAPS = "" / "v1" / "configmaps";
    ENDPOINTS = "" / "v1" / "endpoints";
    EVENTS = "" / "v1" / "events";
    LIMIT_RANGES = "" / "v1" / "limitranges";
    NAMESPACES = "" / "v1" / "namespaces";
    NODES = "" / "v1" / "nodes";
    PERSISTENT_VOLUME_CLAIMS = "" / "v1" / "persistentvolumeclaims";
    PERSISTENT_VOLUMES = "" / "v1" / "persistentvolumes";
    PODS = "" / "v1" / "pods";
    REPLICATION_CONTROLLERS = "" / "v1" / "replicationcontrollers";
    RESOURCE_QUOTAS = "" / "v1" / "resourcequotas";
    SECRETS = "" / "v1" / "secrets";
    SERVICE_ACCOUNTS = "" / "v1" / "serviceaccounts";
    SERVICES = "" / "v1" / "services";
    CONTROLLER_REVISIONS = "apps" / "v1" / "controllerrevisions";
    DAEMON_SETS = "apps" / "v1" / "daemonsets";
    DEPLOYMENTS = "apps" / "v1" / "deployments";
    REPLICA_SETS = "apps" / "v1" / "replicasets";
    STATEFUL_SETS = "apps" / "v1" / "statefulsets";
    JOBS = "batch" / "v1" / "jobs";
    CRON_JOBS = "batch" / "v1" / "cronjobs";
    CERTIFICATE_SIGNING_REQUESTS = "certificates.k8s.io" / "v1" / "certificatesigningrequests";
    LEASES = "coordination.k8s.io" / "v1" / "leases";
    ENDPOINT_SLICES = "discovery.k8s.io" / "v1" / "endpointslices";
    POD_DISRUPTION_BUDGETS = "policy" / "v1" / "poddisruptionbudgets";
    CLUSTER_ROLES = "rbac.authorization.k8s.io" / "v1" / "clusterroles";
    CLUSTER_ROLE_BINDINGS = "rbac.authorization.k8s.io" / "v1" / "clusterrolebindings";
    ROLES = "rbac.authorization.k8s.io" / "v1" / "roles";
    ROLE_BINDINGS = "rbac.authorization.k8s.io" / "v1" / "rolebindings";
    RUNTIME_CLASSES = "node.k8s.io" / "v1" / "runtimeclasses";
    PRIORITY_CLASSES = "scheduling.k8s.io" / "v1" / "priorityclasses";
    CUSTOM_RESOURCE_DEFINITIONS = "apiextensions.k8s.io" / "v1" / "customresourcedefinitions";
}

// === impl Resource ===

impl Resource {
    #[must_use]
    pub fn new(group: impl Into<String>, version: impl Into<String>, plural: impl Into<String>) -> Resource {
        Resource {
            group: Cow::Owned(group.into()),
            version: Cow::Owned(version.into()),
            plural: Cow::Owned(plural.into()),
        }
    }

    /// `v1` or `apps/v1`: what an object's `apiVersion` says.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The URL path of the collection, of one object in it, or of a subresource.
    #[must_use]
    pub fn path(&self, namespace: Option<&str>, name: Option<&str>, subresource: Option<&str>) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if let Some(namespace) = namespace {
            path.push_str("/namespaces/");
            path.push_str(namespace);
        }
        for part in [Some(&*self.plural), name, subresource].into_iter().flatten() {
            path.push('/');
            path.push_str(part);
        }
        path
    }
}

impl fmt::Display for Resource {
    /// `pods`, or `deployments.apps`: how kubectl and RBAC messages name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.plural) } else { write!(f, "{}.{}", self.plural, self.group) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(PODS.path(Some("a"), Some("b"), Some("log")), "/api/v1/namespaces/a/pods/b/log");
        assert_eq!(DEPLOYMENTS.path(None, None, None), "/apis/apps/v1/deployments");
        assert_eq!(DEPLOYMENTS.to_string(), "deployments.apps");
    }
}
