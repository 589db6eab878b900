//! The control plane, wired: store, registry, API server, controllers, scheduler.

use crate::args::{Control, Data, Part};
use crate::etcd;
use crate::folder;
use crate::keep::{Beginning, Keeper, Post};
use crate::member::Credentials;
use anyhow::{Context, Result, bail};
use api::rejected::Reason;
use client::{Clock, Handle};
use controlplane::apiserver::members::Joining;
use controlplane::apiserver::{self, Authentication, Backing, Links, aggregator};
use controlplane::images::Images;
use controlplane::pki::{Names, Pki, Signer, certificate};
use controlplane::registry::{self, Local, Registry, User};
use controlplane::remote::compactor;
use controlplane::store::Kv;
use controlplane::store::kv::Error as StoreError;
use controlplane::{controllers, scheduler};
use futures::FutureExt;
use futures::future::BoxFuture;
use proxy::tunnel;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The administrator's, in the data folder.
const KUBECONFIG: &str = "admin.kubeconfig";
/// Where the pods of all nodes have their addresses.
const CLUSTER_CIDR: &str = "10.64.0.0/10";
/// How often certificates are looked after and dead uploads swept.
const CHORES_EVERY: Duration = Duration::from_secs(12 * 3600);

/// A shorter one would take a node for silent between two of its leases.
const NODE_GRACE_MIN: Duration = Duration::from_secs(15);
/// A shorter one would have nodes ask for certificates all the time.
const SIGNING_MIN: Duration = Duration::from_secs(15);

/// Between two attempts to read from a store that has no leader.
const READ_RETRY: Duration = Duration::from_secs(1);

/// How a server becomes a member of a cluster.
pub(crate) struct JoinAs<'a> {
    pub(crate) server: &'a str,
    pub(crate) token: Option<&'a str>,
}

/// A running control plane.
pub(crate) struct ControlPlane {
    pub(crate) pki: Arc<Pki>,
    pub(crate) registry: Registry,
    /// Where the API is reached from this machine.
    pub(crate) url: String,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) folder: PathBuf,
    links: Links,
    keeper: Keeper,
    tasks: JoinSet<Result<()>>,
}

// === impl ControlPlane ===

impl ControlPlane {
    /// Opens the data folder and starts all parts; the API answers when this returns. With other members, that is when
    /// most of them can be reached.
    pub(crate) async fn start(
        args: &Control,
        data: &Data,
        listen: SocketAddr,
        join: Option<JoinAs<'_>>,
        clock: Clock,
        stop: &CancellationToken,
    ) -> Result<ControlPlane> {
        let folder = folder::open(data.data_dir.as_deref())?;
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen}: choose another address with --listen"))?;
        let address = listener.local_addr()?;
        let advertise =
            SocketAddr::new(args.advertise_address.unwrap_or_else(|| own_address(address.ip())), address.port());
        let etcd = etcd::Port::bind(args).await?;
        let own = Joining { name: crate::host::host_name(), url: format!("https://{advertise}") };
        let client_urls = etcd.iter().map(|port| port.url.clone()).collect();
        let beginning = Beginning { join, own, client_urls, names: names(args, advertise)? };
        let (keeper, pki) = Keeper::open(args, &folder, beginning, &clock).await?;
        let mut tasks = JoinSet::new();
        let links = Links::new();
        let started =
            Starting { args, pki: &pki, keeper: &keeper, links: &links, folder: &folder, clock: &clock, stop };
        let (images, registry, url) = match started.serve(listener, etcd, advertise, &mut tasks).await {
            Ok(serving) => serving,
            Err(error) => {
                // The store's threads must not run into the end of the process.
                tasks.shutdown().await;
                keeper.close().await;
                return Err(error);
            }
        };
        let kubeconfig = folder.join(KUBECONFIG);
        let mut control = ControlPlane { pki, registry, url, kubeconfig, folder, links, keeper, tasks };
        control.run_components(args, &clock, stop);
        control.run_chores(images, clock, stop.clone());
        Ok(control)
    }

    /// Controllers and scheduler, at the member that leads: two that act on the same objects would undo each other's
    /// work.
    fn run_components(&mut self, args: &Control, clock: &Clock, stop: &CancellationToken) {
        let handle = |name: &str| -> Handle {
            let user = User::new(name, &[registry::AUTHENTICATED, registry::MASTERS]);
            Arc::new(Local::new(self.registry.clone(), user))
        };
        let mut parts: Vec<Component> = Vec::new();
        if !args.disable.contains(&Part::Controllers) {
            let (pki, lifetime) = (self.pki.clone(), args.cluster_signing_duration);
            let sign = move |request: &str, signer: &str, user: &str| {
                let signer =
                    Signer::from_name(signer).ok_or_else(|| format!("{signer} is no signer of this cluster"))?;
                check_request(request, signer, user)?;
                pki.sign_csr(request, signer, lifetime).map_err(|error| error.to_string())
            };
            let config = controllers::Config {
                cluster: handle("system:kube-controller-manager"),
                clock: clock.clone(),
                sign: Some(Arc::new(sign)),
                ca_pem: self.pki.ca_pem().to_owned(),
                node_grace: args.node_monitor_grace_period,
                cluster_cidr: CLUSTER_CIDR.to_owned(),
            };
            parts.push(Box::new(move |stop| controllers::run(config.clone(), stop).boxed()));
        }
        if !args.disable.contains(&Part::Scheduler) {
            let (cluster, clock) = (handle("system:kube-scheduler"), clock.clone());
            parts.push(Box::new(move |stop| scheduler::run(cluster.clone(), clock.clone(), stop).boxed()));
        }
        let (registry, links, pki) = (self.registry.clone(), self.links.clone(), self.pki.clone());
        parts
            .push(Box::new(move |stop| aggregator::settle(registry.clone(), links.clone(), pki.clone(), stop).boxed()));
        if let Keeper::Etcd(_) = self.keeper {
            let kv = self.keeper.kv();
            parts.push(Box::new(move |stop| compactor::run(Arc::clone(&kv), stop).boxed()));
        }
        self.tasks.spawn(lead(self.keeper.post(), parts, stop.clone()));
    }

    fn run_chores(&mut self, images: Arc<Images>, clock: Clock, stop: CancellationToken) {
        let (pki, credentials) = (self.pki.clone(), self.keeper.credentials());
        let renew =
            move |pki: &Pki| credentials.as_ref().map_or(Ok(()), |credentials| Credentials::renew(credentials, pki));
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(CHORES_EVERY) => {}
                }
                if let Err(error) = pki.renew() {
                    tracing::warn!(%error, "the serving certificate is not renewed");
                }
                if let Err(error) = renew(&pki) {
                    tracing::warn!(error = format!("{error:#}"), "the member's certificate is not renewed");
                }
                if let Err(error) = images.sweep(clock.now().into()) {
                    tracing::warn!(%error, "dead uploads are not swept");
                }
            }
        });
    }

    /// Waits until a part ends by itself, which none should.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => anyhow::anyhow!(error).context("a part of the control plane broke"),
            Some(Ok(Ok(()))) | None => anyhow::anyhow!("a part of the control plane ended"),
        }
    }

    /// Before a stop: lets another member lead, so that nobody has to wait for an election.
    pub(crate) async fn resign(&self) {
        self.keeper.resign().await;
    }

    /// Waits for all parts to end after a stop, then closes the store.
    pub(crate) async fn finish(mut self) {
        while self.tasks.join_next().await.is_some() {}
        self.registry.close();
        self.keeper.close().await;
    }
}

/// What the parts of a control plane are made from, once its store is open.
struct Starting<'a> {
    args: &'a Control,
    pki: &'a Arc<Pki>,
    keeper: &'a Keeper,
    links: &'a Links,
    folder: &'a Path,
    clock: &'a Clock,
    stop: &'a CancellationToken,
}

// === impl Starting ===

impl Starting<'_> {
    /// Starts what answers requests, as `tasks`; the images, the registry, and where the API is reached from this machine.
    async fn serve(
        &self,
        listener: TcpListener,
        etcd: Option<etcd::Port>,
        advertise: SocketAddr,
        tasks: &mut JoinSet<Result<()>>,
    ) -> Result<(Arc<Images>, Registry, String)> {
        let (args, pki, keeper, clock) = (self.args, self.pki, self.keeper, self.clock);
        let address = listener.local_addr()?;
        let images = Images::open(self.folder.join("images"))?;
        if let (Some(port), Keeper::Own(own)) = (etcd, keeper) {
            let (store, membership, stop) = (own.store.clone(), own.membership.clone(), self.stop.clone());
            tasks.spawn(port.serve(store, membership, pki, self.folder, clock.clone(), stop)?);
        }
        tasks.spawn(keeper.post().leave(self.stop.clone()));
        let (opened, registry) = oneshot::channel();
        let links = self.links.clone();
        let config = apiserver::Config { links, ..api_config(args, listener, pki, &images, keeper.backing(), clock)? };
        let served = apiserver::serve(config, registry, self.stop.clone());
        tasks.spawn(async move { served.await.context("the API server failed") });
        let registry = open_registry(keeper, registry_config(args, advertise)?, clock).await?;
        let _ = opened.send(registry.clone());
        let local = if address.ip().is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { address.ip() };
        let url = format!("https://{}", SocketAddr::new(local, address.port()));
        pki.write_admin_kubeconfig(&self.folder.join(KUBECONFIG), &url)?;
        Ok((images, registry, url))
    }
}

/// Something that runs until it is stopped, and may be run again.
type Component = Box<dyn Fn(CancellationToken) -> BoxFuture<'static, ()> + Send + Sync>;

/// Runs the components while this member leads, or this server is elected.
async fn lead(post: Post, parts: Vec<Component>, stop: CancellationToken) -> Result<()> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = post.leads(true) => {}
        }
        let term = stop.child_token();
        let running: Vec<_> = parts.iter().map(|part| tokio::spawn(part(term.clone()))).collect();
        tokio::select! {
            () = stop.cancelled() => {}
            () = post.leads(false) => tracing::info!("this server leads no more: controllers and scheduler stop here"),
        }
        term.cancel();
        for part in running {
            part.await.context("a part of the control plane broke")?;
        }
    }
}

/// Waits for a store that does not answer yet; an etcd says by itself that it is away.
async fn open_registry(keeper: &Keeper, config: registry::Config, clock: &Clock) -> Result<Registry> {
    let kv: Arc<dyn Kv> = keeper.kv();
    loop {
        let error = match Registry::open(Arc::clone(&kv), config.clone(), clock.clone()).await {
            Ok(registry) => return Ok(registry),
            Err(error) => error,
        };
        match (&error, keeper) {
            (registry::OpenError::Store(StoreError::Unavailable(why)), Keeper::Own(_)) => {
                tracing::info!(why, "waiting for other members of the store");
            }
            (error, Keeper::Etcd(_)) if is_passing(error) => {}
            _ => return Err(error.into()),
        }
        tokio::time::sleep(READ_RETRY).await;
    }
}

/// Worth another try.
fn is_passing(error: &registry::OpenError) -> bool {
    match error {
        registry::OpenError::Store(error) => matches!(error, StoreError::Unavailable(_) | StoreError::Unknown(_)),
        registry::OpenError::Bootstrap(rejected) => {
            matches!(rejected.reason, Reason::ServiceUnavailable | Reason::Timeout)
        }
    }
}

fn api_config(
    args: &Control,
    listener: TcpListener,
    pki: &Arc<Pki>,
    images: &Arc<Images>,
    backing: Backing,
    clock: &Clock,
) -> Result<apiserver::Config> {
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let token_file = args.token_auth_file.as_ref().map(read).transpose()?;
    let authentication = Authentication {
        token_file: token_file.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        client_cas: args.client_ca_file.as_ref().map(read).transpose()?,
        anonymous: args.anonymous_auth,
        ..Authentication::default()
    };
    Ok(apiserver::Config {
        listener,
        pki: Arc::clone(pki),
        authentication,
        images: Arc::clone(images),
        links: Links::new(),
        backing,
        clock: clock.clone(),
    })
}

/// A node's certificate names a node, and a node asks for none but its own: anything else would make whoever holds a
/// join token, or a node's key, whomever they like.
fn check_request(request: &str, signer: Signer, user: &str) -> Result<(), String> {
    let asked = certificate::requested(request).ok_or("the request is malformed")?;
    let (name, groups) = (&asked.user, &asked.groups);
    if signer == Signer::Client && !name.starts_with("system:node:") {
        // Whoever approved it vouches for the name; upstream's CertificateSubjectRestriction keeps one group back.
        return match groups.iter().any(|group| group == registry::MASTERS) {
            true => Err(format!("a certificate of the group {:?} is not signed", registry::MASTERS)),
            false => Ok(()),
        };
    }
    let node = name.strip_prefix("system:node:").filter(|node| !node.is_empty() && *groups == ["system:nodes"]);
    let node = node.ok_or_else(|| format!("the subject {name:?} of {groups:?} is not that of a node"))?;
    if user.starts_with("system:node:") && user != name {
        return Err(format!("{user:?} asks for the certificate of {name:?}"));
    }
    let own = match signer {
        Signer::KubeletServing => vec![tunnel::server_name(node)],
        Signer::Client | Signer::KubeletClient => Vec::new(),
    };
    match asked.names.iter().find(|name| !own.contains(name)) {
        Some(other) => Err(format!("the certificate of {name:?} cannot be for {other:?}")),
        None => Ok(()),
    }
}

fn registry_config(args: &Control, advertise: SocketAddr) -> Result<registry::Config> {
    let cidr = &args.service_cluster_ip_range;
    let parsed = cidr.split_once('/').and_then(|(base, bits)| Some((base.parse().ok()?, bits.parse().ok()?)));
    let service_cidr: (IpAddr, u8) =
        parsed.with_context(|| format!("--service-cluster-ip-range {cidr:?} is not of the form 10.96.0.0/12"))?;
    let most = if service_cidr.0.is_ipv4() { 32 } else { 128 };
    if service_cidr.1 > most {
        bail!("--service-cluster-ip-range {cidr:?} has a prefix longer than {most}");
    }
    let range = &args.service_node_port_range;
    let parsed = range.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    let (first, last): (u16, u16) =
        parsed.with_context(|| format!("--service-node-port-range {range:?} is not of the form 30000-32767"))?;
    if first == 0 || first > last {
        bail!("--service-node-port-range {range:?} is empty");
    }
    const MODES: [&str; 4] = ["Node", "RBAC", "AlwaysAllow", "AlwaysDeny"];
    if let Some(mode) = args.authorization_mode.iter().find(|mode| !MODES.contains(&mode.as_str())) {
        bail!("--authorization-mode {mode:?} is not one of {}", MODES.join(", "));
    }
    if args.node_monitor_grace_period < NODE_GRACE_MIN {
        bail!("--node-monitor-grace-period must be at least {NODE_GRACE_MIN:?}: nodes renew their leases every 10 s");
    }
    if args.cluster_signing_duration < SIGNING_MIN {
        bail!("--cluster-signing-duration must be at least {SIGNING_MIN:?}");
    }
    Ok(registry::Config {
        service_cidr,
        node_port_range: first..=last,
        advertise,
        disabled_admission: args.disable_admission_plugins.clone(),
        authorization_modes: args.authorization_mode.clone(),
    })
}

/// What the serving certificate covers besides the usual names.
fn names(args: &Control, advertise: SocketAddr) -> Result<Names> {
    let mut names = Names { dns: vec![crate::host::host_name()], ips: vec![advertise.ip()] };
    let (base, _) = args.service_cluster_ip_range.split_once('/').unwrap_or_default();
    if let Ok(IpAddr::V4(base)) = base.parse() {
        // The first address of the range is the API's own Service.
        names.ips.push(std::net::Ipv4Addr::from(u32::from(base).wrapping_add(1)).into());
    }
    for name in &args.tls_san {
        match name.parse::<IpAddr>() {
            Ok(ip) => names.ips.push(ip),
            Err(_) if name.is_empty() => bail!("--tls-san has an empty name"),
            Err(_) => names.dns.push(name.clone()),
        }
    }
    Ok(names)
}

/// The address that others reach this host at: the one it listens on, or the one it would use to go out.
pub(crate) fn own_address(listening: IpAddr) -> IpAddr {
    if !listening.is_unspecified() {
        return listening;
    }
    // Connecting a UDP socket sends nothing; it only asks the routing table.
    let asked = UdpSocket::bind(("0.0.0.0", 0)).and_then(|socket| {
        socket.connect(("192.0.2.1", 9))?;
        socket.local_addr()
    });
    asked.map_or(IpAddr::from([127, 0, 0, 1]), |address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn request(user: &str, group: &str, names: &[&str]) -> String {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
    }

    #[test]
    fn a_node_gets_certificates_for_itself_alone() {
        let (node, nodes) = ("system:node:a", "system:nodes");
        let (client, serving) = (Signer::KubeletClient, Signer::KubeletServing);
        let check = |request: &str, signer: Signer| check_request(request, signer, node).is_ok();
        let own = tunnel::server_name("a");
        assert!(check(&request(node, nodes, &[]), client));
        assert!(check(&request(node, nodes, &[&own]), serving));
        assert!(check_request(&request(node, nodes, &[]), client, "system:bootstrap:abcdef").is_ok(), "it joins");
        assert!(!check(&request("system:node:b", nodes, &[]), client), "another node");
        assert!(!check(&request("system:node:", nodes, &[]), client), "nobody");
        assert!(!check(&request("kubernetes-admin", "system:masters", &[]), client));
        assert!(!check(&request(node, "system:masters", &[]), client));
        // Whoever trusts the CA would take the node for the API server, or for another node.
        for other in ["kubernetes.default.svc", "a", "192.0.2.1", &tunnel::server_name("b")] {
            assert!(!check(&request(node, nodes, &[other]), serving), "{other}");
            assert!(!check(&request(node, nodes, &[&own, other]), serving), "{other} besides");
        }
        assert!(!check(&request(node, nodes, &[&own]), client), "a client has no name to serve");
        assert!(!check("rubbish", client));
    }
}
