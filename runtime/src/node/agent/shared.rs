//! What the agent shares with its tasks: the configuration, the disk, the addresses, and the way to the API.

use super::Uid;
use crate::node::disk::Disk;
use crate::node::events::Recorder;
use crate::node::ips::Ips;
use crate::node::log::Logs;
use crate::node::sources::{Reader, Sources};
use crate::node::tokens::Tokens;
use crate::node::{Config, Error, link};
use api::time::Timestamp;
use api::{Object, Tree, object, view};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// Writes to the API about pods that are under way at one time.
const WRITES_MAX: usize = 32;

pub(super) struct Shared {
    pub(super) config: Arc<Config>,
    pub(super) disk: Disk,
    pub(super) logs: Logs,
    pub(super) events: Recorder,
    pub(super) sources: Reader,
    pub(super) writes: Semaphore,
    pub(super) cidr: watch::Sender<Option<String>>,
    /// What pods referred to when they were prepared, for the first start of their containers.
    pub(super) prepared: Mutex<HashMap<Uid, Sources>>,
    pub(super) tokens: Tokens,
    addresses: Mutex<Addresses>,
    /// The newest version of each pod that the API told.
    objects: Arc<Mutex<BTreeMap<Uid, Known>>>,
}

/// A pod from the disk: as the API last told it, and as this node last knew it.
pub(super) type Recalled = (Arc<Object>, view::Pod);

struct Known {
    object: Arc<Object>,
    pod: Arc<view::Pod>,
}

#[derive(Default)]
struct Addresses {
    cidr: String,
    free: Option<Ips>,
    of: HashMap<Uid, IpAddr>,
}

// === impl Shared ===

impl Shared {
    /// Opens the disk, and returns the pods that it remembers.
    pub(super) fn open(config: Config) -> Result<(Arc<Shared>, Vec<Recalled>), Error> {
        // Pods' secrets are below: the folder is for its owner alone.
        let private = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.data_dir);
        let (disk, known) = private
            .and_then(|()| Disk::open(&config.data_dir))
            .map_err(|source| Error::Disk { path: config.data_dir.clone(), source })?;
        let config = Arc::new(config);
        let mut addresses = Addresses::default();
        let mut recalled = Vec::new();
        let mut objects = BTreeMap::new();
        for (name, value) in &known {
            if let Some(uid) = name.strip_prefix("ip/") {
                let ip = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                addresses.of.extend(ip.map(|ip| (Uid::from(uid), ip)));
            } else if let Some(uid) = name.strip_prefix("pod/") {
                let status = known.get(&format!("status/{uid}"));
                if let Some((object, pod)) = recall(value, status) {
                    let known = Known { object: Arc::clone(&object), pod: Arc::new(pod.clone()) };
                    objects.insert(Uid::from(uid), known);
                    recalled.push((object, pod));
                }
            }
        }
        let cidr = known.get("cidr").and_then(|value| String::from_utf8(value.to_vec()).ok());
        let shared = Shared {
            logs: Logs::new(config.data_dir.join("logs"), config.clock.clone()),
            events: Recorder::start(Arc::clone(&config.cluster), config.clock.clone(), config.name.clone()),
            tokens: Tokens::new(Arc::clone(&config.cluster), config.clock.clone(), disk.clone(), &known),
            sources: Reader::new(Arc::clone(&config.cluster), disk.clone(), known),
            writes: Semaphore::new(WRITES_MAX),
            cidr: watch::Sender::new(cidr),
            prepared: Mutex::default(),
            addresses: Mutex::new(addresses),
            objects: Arc::new(Mutex::new(objects)),
            disk,
            config,
        };
        Ok((Arc::new(shared), recalled))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.config.clock.now()
    }

    /// The pod's address: the one it has, or a free one as soon as the node knows its range.
    pub(super) async fn address(&self, uid: &Uid) -> Result<IpAddr, String> {
        let cidr = {
            let mut known = self.cidr.subscribe();
            let cidr = known.wait_for(Option::is_some).await;
            cidr.ok().and_then(|cidr| cidr.clone()).unwrap_or_default()
        };
        let mut addresses = self.addresses.lock();
        if addresses.cidr != cidr {
            let mut free = Ips::parse(&cidr).ok_or_else(|| format!("the node's podCIDR {cidr:?} cannot be used"))?;
            // Pods of another range keep no address: nobody would route to it.
            addresses.of.retain(|_, ip| free.keep(*ip));
            addresses.free = Some(free);
            self.disk.put("cidr".to_owned(), Bytes::from(cidr.clone()));
            addresses.cidr = cidr;
        }
        if let Some(ip) = addresses.of.get(uid) {
            return Ok(*ip);
        }
        let free = addresses.free.as_mut().and_then(Ips::take);
        let ip = free.ok_or_else(|| format!("all addresses of {} are taken", addresses.cidr))?;
        addresses.of.insert(Arc::clone(uid), ip);
        self.disk.put(format!("ip/{uid}"), Bytes::from(ip.to_string()));
        Ok(ip)
    }

    pub(super) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.config.data_dir.join("pods").join(uid)
    }

    /// Keeps a pod for a start without the API. Versions that differ in the status alone are not written.
    pub(super) fn remember(&self, object: &Arc<Object>, pod: &Arc<view::Pod>) {
        let meta = &pod.metadata;
        let known = Known { object: Arc::clone(object), pod: Arc::clone(pod) };
        let before = self.objects.lock().insert(Uid::from(object.uid()), known);
        let is_new = before.is_none_or(|before| {
            let before = &before.pod.metadata;
            before.generation != meta.generation
                || before.labels != meta.labels
                || before.annotations != meta.annotations
                || before.deletion_timestamp != meta.deletion_timestamp
        });
        if is_new {
            self.disk.put(format!("pod/{}", object.uid()), object.json().clone());
        }
    }

    pub(super) fn remember_status(&self, uid: &Uid, status: Bytes) {
        self.disk.put(format!("status/{uid}"), status);
    }

    /// Nobody knows the pod any more: nor does the node.
    pub(super) fn forget(&self, pod: &view::Pod) {
        let meta = &pod.metadata;
        self.forget_unseen(&meta.uid);
        let (logs, meta, dir) = (self.logs.clone(), meta.clone(), self.pod_dir(&meta.uid));
        tokio::task::spawn_blocking(move || {
            logs.remove(&meta.namespace, &meta.name, &meta.uid);
            match std::fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(%error, path = %dir.display(), "a pod's volumes could not be removed");
                }
                Ok(()) | Err(_) => {}
            }
        });
    }

    /// As `forget`, for a pod that this process never took up.
    pub(super) fn forget_unseen(&self, uid: &str) {
        self.objects.lock().remove(uid);
        self.prepared.lock().remove(uid);
        self.tokens.forget(uid);
        let mut addresses = self.addresses.lock();
        if let (Some(ip), Some(free)) = (addresses.of.remove(uid), addresses.free.as_mut()) {
            free.give_back(ip);
        }
        for kind in ["pod", "status", "ip"] {
            self.disk.remove(format!("{kind}/{uid}"));
        }
    }

    /// What the link serves.
    pub(super) fn served(&self) -> link::Served {
        let objects = Arc::clone(&self.objects);
        link::Served {
            node: self.config.name.clone(),
            clock: self.config.clock.clone(),
            logs: self.logs.clone(),
            pods: Arc::new(move || objects.lock().values().map(|known| Arc::clone(&known.object)).collect()),
            network: Arc::clone(&self.config.pods),
        }
    }
}

/// A pod from the disk, with the status that this node last had for it.
fn recall(json: &Bytes, status: Option<&Bytes>) -> Option<Recalled> {
    #[derive(serde::Deserialize)]
    struct Status {
        status: view::PodStatus,
    }
    let object = Object::from_json(json.clone()).ok()?;
    let mut pod: view::Pod = object.read().ok()?;
    let tree: Option<Tree> = status.and_then(|status| serde_json::from_slice(status).ok());
    // Nulls, which take fields away on the wire, are nothing here.
    let tree = tree.map(|tree| without_nulls(&tree));
    if let Some(Status { status }) = tree.as_ref().and_then(|tree| object::read_tree(tree).ok()) {
        pod.status = status;
    }
    Some((Arc::new(object), pod))
}

fn without_nulls(tree: &Tree) -> Tree {
    match tree {
        Tree::Object(all) => {
            let kept = all.iter().filter(|(_, value)| !value.is_null());
            kept.map(|(key, value)| (key.clone(), without_nulls(value))).collect()
        }
        Tree::Array(all) => all.iter().map(without_nulls).collect(),
        Tree::Null | Tree::Bool(_) | Tree::Number(_) | Tree::String(_) => tree.clone(),
    }
}
