//! All semantics of objects: what the verbs mean, what a write changes by itself, who may do what.
//!
//! Knows no HTTP, and of the store only the trait `Kv`. The objects are held in memory as their encoded bytes, fed by
//! the store's watch alone, so a follower serves reads and watches just as the leader does; a write returns after the
//! own memory shows it. Verbs do not authorize: `Local` and `apiserver` do that before.

mod admission;
mod api_services;
mod bootstrap;
mod convert;
mod definitions;
mod delete;
mod destination;
mod eviction;
mod encoded;
mod escalation;
mod fields;
mod filter;
mod index;
mod keys;
mod limit_range;
mod local;
mod memory;
mod namespace;
mod node_authorizer;
mod node_restriction;
mod pods;
mod prepare;
mod quota;
mod rbac;
mod read;
mod review;
mod roles;
mod scale;
mod served;
mod services;
mod shelf;
mod token;
mod user;
mod watch;
mod write;
mod patch;

pub use api_services::group_priority;
pub use convert::{Ask, WEBHOOK_LIMIT};
pub use destination::{Destination, Nowhere, Trust, Way, trust};
pub use local::Local;
pub use served::Served;
pub use user::{AUTHENTICATED, Attributes, Decision, MASTERS, UNAUTHENTICATED, User};

use crate::store::{Kv, kv};
use api::codec::Strictness;
use api::kinds::Kind;
use api::rejected::Reason;
use api::{Object, Rejected, Resource};
use arc_swap::ArcSwap;
use client::Clock;
use memory::{Memory, SHOWN_MAX};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long a store may take that is ready; kube-apiserver's.
const READY_LIMIT: Duration = Duration::from_secs(2);

/// A handle on the registry; clones share it.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

struct Shared {
    kv: Arc<dyn Kv>,
    memory: Arc<Memory>,
    rbac: ArcSwap<rbac::Index>,
    config: Config,
    clock: Clock,
    /// Held by the one write that is charged to quotas.
    charging: tokio::sync::Mutex<()>,
    ask: OnceLock<Ask>,
    together: convert::Together,
}

/// Validated settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where clusterIPs come from: address and prefix length. The first address is the API's own.
    pub service_cidr: (IpAddr, u8),
    pub node_port_range: RangeInclusive<u16>,
    /// Where pods and nodes reach the API: the endpoint of Service `default/kubernetes`.
    pub advertise: SocketAddr,
    /// Admission plugins that are off, by their upstream names: `ServiceAccount`, `DefaultTolerationSeconds`,
    /// `Priority`, `NodeRestriction`, `TaintNodesByCondition`, `NamespaceLifecycle`, `LimitRanger`, `ResourceQuota`,
    /// `StorageObjectInUseProtection`.
    pub disabled_admission: Vec<String>,
    /// `Node`, `RBAC`, `AlwaysAllow`, `AlwaysDeny`: the first that has an opinion decides.
    pub authorization_modes: Vec<String>,
}

/// The registry could not be filled from the store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the objects could not be read from the store")]
    Store(#[source] crate::store::kv::Error),
    #[error("the objects that every cluster has could not be made: {0}")]
    Bootstrap(Rejected),
}

/// What a request is about, and who asks.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub user: &'a User,
    pub kind: &'a Arc<Kind>,
    /// `None` for cluster-scoped kinds, and for lists over all namespaces.
    pub namespace: Option<&'a str>,
    /// Empty for collections.
    pub name: &'a str,
    pub subresource: Option<&'a str>,
    pub dry_run: bool,
    pub field_manager: &'a str,
    /// What unknown and duplicate fields in patches are.
    pub strictness: Strictness,
}

/// The result of a write.
#[derive(Debug, Clone)]
pub struct Written {
    pub object: Arc<Object>,
    /// True: HTTP 201.
    pub created: bool,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

/// The result of a delete.
#[derive(Debug, Clone)]
pub enum Deleted {
    /// It is gone; its last state.
    Gone(Arc<Object>),
    /// It waits for finalizers, or for its node.
    Stays(Arc<Object>),
}

/// One page of a list.
#[derive(Debug, Clone)]
pub struct Page {
    pub items: Vec<Arc<Object>>,
    /// The state that the list shows; a watch from here misses nothing.
    pub revision: u64,
    /// The continue token of the next page.
    pub next: Option<String>,
    /// How many objects are left; told only where no selector is in the way.
    pub remaining: Option<u64>,
}

// === impl Registry ===

impl Registry {
    /// Fills the memory from the store, follows the store from there on, and makes what every cluster has:
    /// namespaces, roles, priority classes, the Service `kubernetes`.
    pub async fn open(kv: Arc<dyn Kv>, config: Config, clock: Clock) -> Result<Registry, OpenError> {
        let memory = Memory::open(&kv, clock.clone()).await.map_err(OpenError::Store)?;
        let rbac = ArcSwap::from_pointee(rbac::Index::default());
        let (charging, ask) = (tokio::sync::Mutex::default(), OnceLock::new());
        let together = convert::Together::default();
        let registry = Registry(Arc::new(Shared { kv, memory, rbac, config, clock, charging, ask, together }));
        registry.bootstrap().await.map_err(OpenError::Bootstrap)?;
        registry.keep_definitions().await;
        Ok(registry)
    }

    /// For the time before the store closes, when nobody asks any more.
    pub fn close(&self) {
        self.0.memory.close();
    }

    /// All kinds that are served now.
    #[must_use]
    pub fn served(&self) -> Arc<Served> {
        self.0.memory.served()
    }

    #[must_use]
    pub fn find(&self, resource: &Resource) -> Option<Arc<Kind>> {
        api::kinds::find(resource).cloned().or_else(|| self.served().find(resource).cloned())
    }

    /// `find`, after a look at what other members may have defined meanwhile.
    pub async fn look_up(&self, resource: &Resource) -> Option<Arc<Kind>> {
        if let Some(kind) = self.find(resource) {
            return Some(kind);
        }
        self.refresh().await.ok()?;
        self.find(resource)
    }

    /// Whether somebody may do something: the first of the configured modes that has an opinion decides.
    #[must_use]
    pub fn authorize(&self, user: &User, attributes: &Attributes<'_>) -> Decision {
        if user.is_in(MASTERS) {
            return Decision::allow("");
        }
        let mut why = String::new();
        for mode in &self.0.config.authorization_modes {
            match mode.as_str() {
                "AlwaysAllow" => return Decision::allow(""),
                "AlwaysDeny" => return Decision::deny("Everything is forbidden."),
                "Node" => {
                    if let Some(reason) =
                        user.as_node().and_then(|node| node_authorizer::allows(&self.0.memory, node, attributes))
                    {
                        return Decision::allow(reason);
                    }
                }
                _ => match self.rbac().allows(user, attributes) {
                    Ok(reason) => return Decision::allow(reason),
                    Err(reason) => why = reason,
                },
            }
        }
        Decision::deny(why)
    }

    /// `authorize`, and the refusal in Kubernetes' words.
    pub fn check(&self, user: &User, attributes: &Attributes<'_>) -> Result<(), Rejected> {
        let decision = self.authorize(user, attributes);
        if decision.allowed { Ok(()) } else { Err(attributes.refusal(user, &decision.reason)) }
    }

    fn rules(&self, user: &User, namespace: &str) -> Vec<rbac::Rule> {
        self.rbac().rules(user, namespace)
    }

    fn rbac(&self) -> Arc<rbac::Index> {
        let index = self.0.rbac.load_full();
        if index.is_current(&self.0.memory) {
            return index;
        }
        let index = Arc::new(rbac::Index::build(&self.0.memory));
        self.0.rbac.store(Arc::clone(&index));
        index
    }

    /// What a get shows below an object: `scale` is made of it, `status` is the object itself.
    async fn view(&self, call: &Call<'_>) -> Result<Option<Arc<Object>>, Rejected> {
        match call.subresource {
            Some("scale") => {
                let stored = self.stored(call).ok_or_else(|| {
                    let resource = &call.kind.resource;
                    let below = format!("{}/scale", resource.plural);
                    Rejected::not_found(&Resource { plural: below.into(), ..resource.clone() }, call.name)
                })?;
                scale::object(call.kind, &*self.out(call.kind, &stored.object).await?).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The newest revision that the memory shows.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.0.memory.applied()
    }

    /// Whether the store answers and the memory follows it.
    pub async fn is_ready(&self) -> bool {
        tokio::time::timeout(READY_LIMIT, self.refresh()).await.is_ok_and(|done| done.is_ok())
    }

    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }
}

/// A store's error, as a client is told.
pub(crate) fn failed(error: &kv::Error) -> Rejected {
    match error {
        kv::Error::TooLarge(_) => Rejected::new(Reason::RequestEntityTooLarge, error.to_string()),
        kv::Error::Unavailable(_) | kv::Error::NoSpace => Rejected::new(Reason::ServiceUnavailable, error.to_string()),
        kv::Error::NotReady(_) => Rejected::new(Reason::Conflict, error.to_string()),
        kv::Error::Unknown(_) => Rejected::new(Reason::Timeout, error.to_string()),
        kv::Error::Compacted { .. }
        | kv::Error::Future { .. }
        | kv::Error::Invalid(_)
        | kv::Error::Twice
        | kv::Error::NoKey(_)
        | kv::Error::NoLease(_)
        | kv::Error::LeaseExists(_)
        | kv::Error::Damaged(_) => Rejected::internal(error),
    }
}

// === impl Call ===

impl<'a> Call<'a> {
    /// A call about a collection; set the rest with struct update.
    #[must_use]
    pub fn new(user: &'a User, kind: &'a Arc<Kind>) -> Call<'a> {
        Call {
            user,
            kind,
            namespace: None,
            name: "",
            subresource: None,
            dry_run: false,
            field_manager: &user.name,
            strictness: Strictness::Ignore,
        }
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registry(revision {})", self.revision())
    }
}

// === impl Config ===

impl Default for Config {
    fn default() -> Config {
        Config {
            service_cidr: (IpAddr::V4(Ipv4Addr::new(10, 96, 0, 0)), 12),
            node_port_range: 30000..=32767,
            advertise: SocketAddr::from(([127, 0, 0, 1], 6443)),
            disabled_admission: Vec::new(),
            authorization_modes: vec!["Node".to_owned(), "RBAC".to_owned()],
        }
    }
}

// === impl Deleted ===

impl Deleted {
    #[must_use]
    pub fn object(&self) -> &Arc<Object> {
        match self {
            Deleted::Gone(object) | Deleted::Stays(object) => object,
        }
    }
}

#[cfg(test)]
mod tests;
