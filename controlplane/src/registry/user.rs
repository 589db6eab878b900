//! Who asks, and what for: what authentication found out, and what authorization decides about.

use api::rejected::Reason;
use api::{Rejected, Resource};
use std::collections::BTreeMap;

/// An authenticated user; `apiserver` makes one from a certificate or a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

/// One action that somebody wants to do. Empty strings where a part does not apply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, …; for a path the HTTP
    /// method in lower case.
    pub verb: &'a str,
    pub group: &'a str,
    /// Plural name.
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    /// `Some` for a request that is about no resource, such as `/healthz`.
    pub path: Option<&'a str>,
}

/// The answer of an authorizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    /// Why, for reviews and audit; may be empty.
    pub reason: String,
}

/// Whoever has this group may do everything.
pub const MASTERS: &str = "system:masters";
pub const AUTHENTICATED: &str = "system:authenticated";
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";

// === impl User ===

impl User {
    #[must_use]
    pub fn new(name: impl Into<String>, groups: &[&str]) -> User {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        User { name: name.into(), groups, ..User::default() }
    }

    /// The server itself.
    #[must_use]
    pub fn system_admin() -> User {
        User::new("system:apiserver", &[MASTERS, AUTHENTICATED])
    }

    /// A request without credentials.
    #[must_use]
    pub fn anonymous() -> User {
        User::new("system:anonymous", &[UNAUTHENTICATED])
    }

    #[must_use]
    pub fn node(node: &str) -> User {
        User::new(format!("{NODE_PREFIX}{node}"), &[NODES, AUTHENTICATED])
    }

    #[must_use]
    pub fn service_account(namespace: &str, name: &str) -> User {
        let group = format!("system:serviceaccounts:{namespace}");
        let groups = ["system:serviceaccounts", group.as_str(), AUTHENTICATED];
        User::new(format!("system:serviceaccount:{namespace}:{name}"), &groups)
    }

    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|have| have == group)
    }

    /// The node that this user is, if it is one.
    #[must_use]
    pub fn as_node(&self) -> Option<&str> {
        self.name.strip_prefix(NODE_PREFIX).filter(|_| self.is_in(NODES))
    }
}

// === impl Decision ===

impl Decision {
    #[must_use]
    pub fn allow(reason: impl Into<String>) -> Decision {
        Decision { allowed: true, reason: reason.into() }
    }

    #[must_use]
    pub fn deny(reason: impl Into<String>) -> Decision {
        Decision { allowed: false, reason: reason.into() }
    }
}

// === impl Attributes ===

impl Attributes<'_> {
    /// The 403 of kube-apiserver, to the letter.
    pub(crate) fn refusal(&self, user: &User, reason: &str) -> Rejected {
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let who = &user.name;
        if let Some(path) = self.path {
            let message = format!("forbidden: User {who:?} cannot {} path {path:?}{reason}", self.verb);
            return Rejected::unroutable(Reason::Forbidden, message);
        }
        let resource = Resource::new(self.group, "", self.resource);
        let sub = if self.subresource.is_empty() { String::new() } else { format!("/{}", self.subresource) };
        let scope = if self.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {:?}", self.namespace)
        };
        let (verb, group, plural) = (self.verb, self.group, self.resource);
        let why =
            format!("User {who:?} cannot {verb} resource \"{plural}{sub}\" in API group {group:?} {scope}{reason}");
        Rejected::forbidden(&resource, self.name, why)
    }
}
