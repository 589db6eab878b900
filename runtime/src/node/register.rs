//! The node itself in the API: its Node object, its status, and the lease that says it lives.

use super::Config;
use api::resource::{LEASES, NODES};
use api::time::{self, SignedDuration, Timestamp};
use api::{Tree, view};
use client::{Error, Patch, Target, WriteOptions};
use serde_json::{Map, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// As the kubelet: a lease of 40 s, renewed each 10 s; the status each 5 min, or when it changed.
const LEASE_SECONDS: u32 = 40;
const LEASE_PERIOD: Duration = Duration::from_secs(10);
const LEASE_PERIOD_MIN: SignedDuration = SignedDuration::from_secs(9);
const STATUS_PERIOD: SignedDuration = SignedDuration::from_secs(300);
/// While the node has no object or no podCIDR yet, it looks so often.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(7);
const LEASE_NAMESPACE: &str = "kube-node-lease";
const MANAGER: &str = "kubelet";

/// Registers the node and keeps it alive until `shutdown`; tells the node's `podCIDR` when it is known.
pub(super) async fn run(config: Arc<Config>, cidr: watch::Sender<Option<String>>, shutdown: CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = keep(&config, &cidr) => {}
    }
}

/// What was told, and when.
struct Told {
    status_at: Option<Timestamp>,
    lease_at: Option<Timestamp>,
    /// Since when the node is ready.
    since: Timestamp,
    uid: String,
}

async fn keep(config: &Config, cidr: &watch::Sender<Option<String>>) {
    let mut told = Told { status_at: None, lease_at: None, since: config.clock.now(), uid: String::new() };
    let mut wait = RETRY_MIN;
    loop {
        let outcome = round(config, cidr, &mut told).await;
        match &outcome {
            Ok(()) if cidr.borrow().is_some() => wait = RETRY_MIN,
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "the node could not tell that it lives"),
        }
        let is_settled = outcome.is_ok() && cidr.borrow().is_some();
        let pause = if is_settled { LEASE_PERIOD } else { wait };
        if !is_settled {
            wait = (wait * 2).min(if outcome.is_ok() { Duration::from_secs(1) } else { RETRY_MAX });
        }
        tokio::time::sleep(pause).await;
    }
}

async fn round(config: &Config, cidr: &watch::Sender<Option<String>>, told: &mut Told) -> Result<(), Error> {
    let now = config.clock.now();
    let mut is_due = told.status_at.is_none_or(|at| now.duration_since(at) >= STATUS_PERIOD);
    let node = ensure(config).await?;
    let view: view::Node = node.read().map_err(|error| Error::Unknown(error.to_string()))?;
    // Somebody took this node for silent: the lease first, or the same would be concluded from it again.
    if !is_due && !view.is_ready() {
        is_due = true;
    }
    if told.status_at.is_none() {
        renew(config, node.uid(), now).await?;
        told.lease_at = Some(now);
    }
    node.uid().clone_into(&mut told.uid);
    if !view.spec.pod_cidr.is_empty() {
        cidr.send_if_modified(|known| {
            let changed = known.as_deref() != Some(&view.spec.pod_cidr);
            *known = Some(view.spec.pod_cidr.clone());
            changed
        });
    }
    if is_due {
        // The time of the last change survives the agent if the node was ready all along.
        if let Some(ready) = view.condition("Ready").filter(|ready| ready.status == "True") {
            told.since = ready.last_transition_time.unwrap_or(told.since);
        }
        let target = Target::cluster(&NODES, &config.name).subresource("status");
        let patch = Patch::Strategic(status(config, now, told.since));
        config.cluster.patch(target, patch, WriteOptions::by(MANAGER)).await?;
        told.status_at = Some(now);
    }
    // While the node waits for its podCIDR it comes here more often than the lease needs.
    if told.lease_at.is_some_and(|at| now.duration_since(at) < LEASE_PERIOD_MIN) {
        return Ok(());
    }
    match renew(config, &told.uid, now).await {
        Ok(()) => {
            told.lease_at = Some(now);
            Ok(())
        }
        // Without a node object the lease has no owner, and the status goes nowhere: it was deleted. Made again.
        Err(error) if error.is_not_found() => {
            told.status_at = None;
            Err(error)
        }
        Err(error) => Err(error),
    }
}

/// The Node object, made if there is none; labels are put right.
async fn ensure(config: &Config) -> Result<Arc<api::Object>, Error> {
    let target = Target::cluster(&NODES, &config.name);
    match config.cluster.get(target).await {
        Ok(node) => {
            let has = |(key, value): (&String, &Tree)| node.label(key) == value.as_str();
            let labels = labels(config);
            if labels.iter().all(has) {
                return Ok(node);
            }
            let patch = Patch::Strategic(json!({ "metadata": { "labels": labels } }));
            config.cluster.patch(target, patch, WriteOptions::by(MANAGER)).await
        }
        Err(error) if error.is_not_found() => {
            let created =
                config.cluster.create(Target { name: "", ..target }, node(config), WriteOptions::by(MANAGER)).await;
            match created {
                Err(error) if error.is_already_exists() => config.cluster.get(target).await,
                other => other,
            }
        }
        Err(error) => Err(error),
    }
}

async fn renew(config: &Config, uid: &str, now: Timestamp) -> Result<(), Error> {
    let spec = json!({
        "holderIdentity": config.name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": time::micros(now),
    });
    let target = Target::namespaced(&LEASES, LEASE_NAMESPACE, &config.name);
    let patch = Patch::Merge(json!({ "spec": spec }));
    match config.cluster.patch(target, patch, WriteOptions::by(MANAGER)).await {
        Err(error) if error.is_not_found() => {
            let owner = json!([{ "apiVersion": "v1", "kind": "Node", "name": config.name, "uid": uid }]);
            let lease = json!({
                "kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
                "metadata": { "name": config.name, "namespace": LEASE_NAMESPACE, "ownerReferences": owner },
                "spec": spec,
            });
            config.cluster.create(Target { name: "", ..target }, lease, WriteOptions::by(MANAGER)).await.map(|_| ())
        }
        other => other.map(|_| ()),
    }
}

fn labels(config: &Config) -> Map<String, Tree> {
    let arch = architecture();
    let mut labels = Map::new();
    for (key, value) in [
        ("beta.kubernetes.io/arch", arch),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
        ("kubernetes.io/hostname", config.name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("coracle.dev/runtime", "wasmtime"),
    ] {
        labels.insert(key.to_owned(), value.into());
    }
    labels.extend(config.labels.iter().map(|(key, value)| (key.clone(), value.as_str().into())));
    labels
}

fn node(config: &Config) -> Tree {
    let taint = |taint: &view::Taint| json!({ "key": taint.key, "value": taint.value, "effect": taint.effect });
    let taints: Vec<Tree> = config.taints.iter().map(taint).collect();
    json!({
        "kind": "Node", "apiVersion": "v1",
        "metadata": {
            "name": config.name,
            "labels": labels(config),
            "annotations": { "volumes.kubernetes.io/controller-managed-attach-detach": "true" },
        },
        "spec": { "taints": taints },
        "status": status(config, config.clock.now(), config.clock.now()).get("status"),
    })
}

fn status(config: &Config, now: Timestamp, since: Timestamp) -> Tree {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({ "type": kind, "status": status, "lastHeartbeatTime": time::seconds(now),
            "lastTransitionTime": time::seconds(since), "reason": reason, "message": message })
    };
    let cpu = config.capacity.cpu_millis;
    let resources = json!({
        "cpu": if cpu.is_multiple_of(1000) { (cpu / 1000).to_string() } else { format!("{cpu}m") },
        "memory": format!("{}Ki", config.capacity.memory_bytes >> 10),
        "ephemeral-storage": format!("{}Ki", disk_bytes(config) >> 10),
        "pods": config.capacity.pods.to_string(),
    });
    let machine = machine_id();
    let kernel = rustix::system::uname();
    json!({ "status": {
        "capacity": resources,
        "allocatable": resources,
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ],
        "addresses": [
            { "type": "InternalIP", "address": config.address.to_string() },
            { "type": "Hostname", "address": config.name },
        ],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": config.port } },
        "nodeInfo": {
            "machineID": machine,
            "systemUUID": machine,
            "bootID": read("/proc/sys/kernel/random/boot_id"),
            "kernelVersion": kernel.release().to_string_lossy(),
            "osImage": os_image(),
            "containerRuntimeVersion": format!("wasmtime://{}", crate::engine::WASMTIME_VERSION),
            "kubeletVersion": format!("v{}+coracle.{}", api::KUBERNETES_VERSION, env!("CARGO_PKG_VERSION")),
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": architecture(),
        },
    } })
}

/// The size of the file system that pods' volumes are on; 0 where it is not to be had.
fn disk_bytes(config: &Config) -> u64 {
    rustix::fs::statvfs(&config.data_dir).map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize))
}

/// As Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "riscv64" => "riscv64",
        other => other,
    }
}

fn machine_id() -> String {
    read("/etc/machine-id")
}

fn os_image() -> String {
    let release = read("/etc/os-release");
    let line = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}
