//! The proxy's table, kept from the API: follows Services, EndpointSlices and Nodes, and leaves each new state on the
//! node's disk, so that a node that starts with no server in reach serves from the last one.

use api::Object;
use api::view::{EndpointSlice, Node, Service};
use client::{Cache, Change, Followed, Handle};
use proxy::{Inputs, Table};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The label that names a slice's Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Flash wears: the picture on disk may be this old.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// What may be taken up before a new table is made, so that a burst of changes costs one.
const BATCH_MAX: usize = 4096;

struct Follower {
    services: Cache<Service>,
    slices: Cache<EndpointSlice>,
    nodes: Cache<Node>,
    inputs: Inputs,
}

/// Where the state is kept on disk.
struct Picture {
    path: PathBuf,
    stale_since: Option<Instant>,
}

/// Follows the API until `shutdown`. The receiver has the table of the last run at once, if `folder` holds one.
pub(crate) fn follow(cluster: &Handle, folder: &Path, shutdown: CancellationToken) -> watch::Receiver<Arc<Table>> {
    let picture = Picture { path: folder.join("services.json"), stale_since: None };
    let mut follower = Follower::new();
    picture.load(&mut follower);
    let (tables, receiver) = watch::channel(follower.inputs.table());
    let services = client::follow(cluster.clone(), client::follow::Selection::all(api::resource::SERVICES));
    let slices = client::follow(cluster.clone(), client::follow::Selection::all(api::resource::ENDPOINT_SLICES));
    let nodes = client::follow(cluster.clone(), client::follow::Selection::all(api::resource::NODES));
    tokio::spawn(run(follower, picture, [services, slices, nodes], tables, shutdown));
    receiver
}

async fn run(
    mut follower: Follower,
    mut picture: Picture,
    [mut services, mut slices, mut nodes]: [mpsc::Receiver<Followed>; 3],
    tables: watch::Sender<Arc<Table>>,
    shutdown: CancellationToken,
) {
    loop {
        let save_at = picture.stale_since.map(|since| since + SAVE_EVERY);
        let mut changed = tokio::select! {
            () = shutdown.cancelled() => break,
            () = async { tokio::time::sleep_until(save_at.unwrap_or_else(Instant::now)).await }, if save_at.is_some() => {
                picture.save(&follower);
                false
            }
            Some(told) = services.recv() => follower.service(&told),
            Some(told) = slices.recv() => follower.slice(&told),
            Some(told) = nodes.recv() => follower.node(&told),
            else => break,
        };
        // What has arrived meanwhile goes into the same table.
        for _ in 0..BATCH_MAX {
            let more = if let Ok(told) = slices.try_recv() {
                follower.slice(&told)
            } else if let Ok(told) = services.try_recv() {
                follower.service(&told)
            } else if let Ok(told) = nodes.try_recv() {
                follower.node(&told)
            } else {
                break;
            };
            changed |= more;
        }
        if changed {
            tables.send_replace(follower.inputs.table());
            picture.stale_since.get_or_insert_with(Instant::now);
        }
    }
    if picture.stale_since.is_some() {
        picture.save(&follower);
    }
}

// === impl Follower ===

impl Follower {
    fn new() -> Follower {
        Follower {
            services: Cache::new(|object| object.view().ok()),
            slices: Cache::new(|object| object.view().ok()),
            nodes: Cache::new(|object| object.view().ok()),
            inputs: Inputs::default(),
        }
    }

    fn service(&mut self, told: &Followed) -> bool {
        let changes = changes(&mut self.services, told);
        for change in &changes {
            let new = change.new.as_deref().cloned();
            self.inputs.service(&change.key.namespace, &change.key.name, new);
        }
        !changes.is_empty()
    }

    fn slice(&mut self, told: &Followed) -> bool {
        let changes = changes(&mut self.slices, told);
        for change in &changes {
            let key = &change.key;
            let of = |slice: &EndpointSlice| slice.metadata.labels.get(SERVICE_NAME).cloned().unwrap_or_default();
            let (old, new) = (change.old.as_deref().map(of), change.new.as_deref().map(of));
            if let Some(old) = old.filter(|old| new.as_ref() != Some(old)) {
                self.inputs.slice(&key.namespace, &old, &key.name, None);
            }
            if let Some(new) = new {
                self.inputs.slice(&key.namespace, &new, &key.name, change.new.as_deref().cloned());
            }
        }
        !changes.is_empty()
    }

    /// A node's status changes often and says little to the proxy.
    fn node(&mut self, told: &Followed) -> bool {
        let mut matters = false;
        for change in changes(&mut self.nodes, told) {
            let place = |node: &Node| {
                let status = &node.status;
                (node.spec.pod_cidr.clone(), status.addresses.clone(), status.daemon_endpoints.clone())
            };
            if change.old.as_deref().map(place) != change.new.as_deref().map(place) {
                self.inputs.node(&change.key.name, change.new.as_deref());
                matters = true;
            }
        }
        matters
    }
}

fn changes<V>(cache: &mut Cache<V>, told: &Followed) -> Vec<Change<V>> {
    match told {
        Followed::Listed(items) => cache.replace(items),
        Followed::Event(event) => cache.apply(event).into_iter().collect(),
    }
}

// === impl Picture ===

impl Picture {
    /// One encoded object a line, services first; a missing or torn file is an empty one.
    fn load(&self, follower: &mut Follower) {
        let Ok(text) = std::fs::read_to_string(&self.path) else { return };
        let mut parts = text.split("\n\n").map(|part| {
            let lines = part.lines().filter(|line| !line.is_empty());
            lines.filter_map(|line| Object::from_json(line.to_owned().into()).ok()).map(Arc::new).collect::<Vec<_>>()
        });
        let mut next = || Followed::Listed(parts.next().unwrap_or_default());
        follower.service(&next());
        follower.slice(&next());
        follower.node(&next());
    }

    fn save(&mut self, follower: &Follower) {
        self.stale_since = None;
        let services = follower.services.iter().map(|(_, entry)| &entry.object).collect();
        let slices = follower.slices.iter().map(|(_, entry)| &entry.object).collect();
        let nodes = follower.nodes.iter().map(|(_, entry)| &entry.object).collect();
        let parts: [Vec<&Arc<Object>>; 3] = [services, slices, nodes];
        let lines = |part: &Vec<&Arc<Object>>| -> String {
            part.iter().map(|object| format!("{}\n", String::from_utf8_lossy(object.json()))).collect()
        };
        let text = parts.iter().map(lines).collect::<Vec<_>>().join("\n");
        let staged = self.path.with_extension("new");
        let written = std::fs::write(&staged, text).and_then(|()| std::fs::rename(&staged, &self.path));
        if let Err(error) = written {
            tracing::warn!(path = %self.path.display(), %error, "the Service table is not kept on disk");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(json: &str) -> Arc<Object> {
        Arc::new(Object::from_json(json.to_owned().into()).expect("an object"))
    }

    #[test]
    fn the_table_of_the_last_run_is_there_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("services.json");
        let mut follower = Follower::new();
        let service = r#"{"metadata":{"namespace":"shop","name":"hello","resourceVersion":"3"},
            "spec":{"clusterIP":"10.96.0.9","ports":[{"port":80,"nodePort":30001}]}}"#;
        let slice = r#"{"metadata":{"namespace":"shop","name":"hello-1","resourceVersion":"4",
            "labels":{"kubernetes.io/service-name":"hello"}},"ports":[{"port":8080}],
            "endpoints":[{"addresses":["10.64.0.1"],"nodeName":"a"}]}"#;
        follower.service(&Followed::Listed(vec![object(&service.replace('\n', ""))]));
        follower.slice(&Followed::Listed(vec![object(&slice.replace('\n', ""))]));
        Picture { path: path.clone(), stale_since: None }.save(&follower);
        let mut again = Follower::new();
        Picture { path, stale_since: None }.load(&mut again);
        let table = again.inputs.table();
        let (_, port) = table.node_port(30001).expect("it was kept");
        assert_eq!(port.endpoints.len(), 1);
    }
}
