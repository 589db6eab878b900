//! The ConfigMaps and Secrets that pods refer to: asked from the API, remembered on the disk for when it is away.

use super::disk::Disk;
use api::{Object, Resource, resource, view};
use base64::Engine as _;
use bytes::Bytes;
use client::{Error, Handle, Target};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Key to value, decoded.
pub(super) type Data = BTreeMap<String, Bytes>;

/// What one pod refers to, as it is now.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources {
    config_maps: BTreeMap<String, Arc<Data>>,
    secrets: BTreeMap<String, Arc<Data>>,
}

/// The names that a pod refers to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) config_maps: BTreeSet<String>,
    pub(super) secrets: BTreeSet<String>,
}

/// Asks for them.
#[derive(Clone)]
pub(super) struct Reader {
    cluster: Handle,
    disk: Disk,
    /// What the disk held at the start, and what was read since.
    known: Arc<parking_lot::Mutex<BTreeMap<String, Bytes>>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Holder {
    data: Option<BTreeMap<String, String>>,
    binary_data: Option<BTreeMap<String, String>>,
}

// === impl Sources ===

impl Sources {
    pub(super) fn config_map(&self, name: &str) -> Option<&Data> {
        self.config_maps.get(name).map(|data| &**data)
    }

    pub(super) fn secret(&self, name: &str) -> Option<&Data> {
        self.secrets.get(name).map(|data| &**data)
    }

    #[cfg(test)]
    pub(super) fn of(config_maps: &[(&str, &Data)], secrets: &[(&str, &Data)]) -> Sources {
        let map = |all: &[(&str, &Data)]| {
            all.iter().map(|(name, data)| ((*name).to_owned(), Arc::new((*data).clone()))).collect()
        };
        Sources { config_maps: map(config_maps), secrets: map(secrets) }
    }
}

// === impl Names ===

impl Names {
    pub(super) fn of(pod: &view::Pod) -> Names {
        let mut names = Names::default();
        for container in pod.spec.containers.iter().chain(&pod.spec.init_containers) {
            for from in &container.env_from {
                names.config_maps.extend(from.config_map_ref.iter().map(|one| one.name.clone()));
                names.secrets.extend(from.secret_ref.iter().map(|one| one.name.clone()));
            }
            for source in container.env.iter().filter_map(|var| var.value_from.as_ref()) {
                names.config_maps.extend(source.config_map_key_ref.iter().map(|one| one.name.clone()));
                names.secrets.extend(source.secret_key_ref.iter().map(|one| one.name.clone()));
            }
        }
        for volume in &pod.spec.volumes {
            names.config_maps.extend(volume.config_map.iter().map(|one| one.name.clone()));
            names.secrets.extend(volume.secret.iter().map(|one| one.secret_name.clone()));
            for part in volume.projected.iter().flat_map(|projected| &projected.sources) {
                names.config_maps.extend(part.config_map.iter().map(|one| one.name.clone()));
                names.secrets.extend(part.secret.iter().map(|one| one.secret_name.clone()));
            }
        }
        names.secrets.extend(pod.spec.image_pull_secrets.iter().map(|one| one.name.clone()));
        names
    }
}

// === impl Reader ===

impl Reader {
    pub(super) fn new(cluster: Handle, disk: Disk, known: BTreeMap<String, Bytes>) -> Reader {
        Reader { cluster, disk, known: Arc::new(parking_lot::Mutex::new(known)) }
    }

    /// Everything that a pod refers to and that exists. An API that is away is no error: then the disk speaks.
    pub(super) async fn read(&self, pod: &view::Pod) -> Result<Sources, String> {
        let names = Names::of(pod);
        let namespace = &pod.metadata.namespace;
        let mut sources = Sources::default();
        for name in names.config_maps {
            if let Some(data) = self.one(&resource::CONFIG_MAPS, namespace, &name).await? {
                sources.config_maps.insert(name, Arc::new(data));
            }
        }
        for name in names.secrets {
            if let Some(data) = self.one(&resource::SECRETS, namespace, &name).await? {
                sources.secrets.insert(name, Arc::new(data));
            }
        }
        Ok(sources)
    }

    async fn one(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Option<Data>, String> {
        let key = format!("{}/{namespace}/{name}", resource.plural);
        match self.cluster.get(Target::namespaced(resource, namespace, name)).await {
            Ok(object) => {
                let json = object.json().clone();
                self.known.lock().insert(key.clone(), json.clone());
                self.disk.put(key, json);
                decode(&object, *resource == resource::SECRETS).map(Some)
            }
            Err(error) if error.is_not_found() => {
                self.known.lock().remove(&key);
                self.disk.remove(key);
                Ok(None)
            }
            Err(error @ Error::Rejected(_)) => Err(format!("{} {name:?} cannot be read: {error}", resource.plural)),
            Err(error) => {
                let known = self.known.lock().get(&key).cloned();
                let Some(json) = known else {
                    return Err(format!("{} {name:?} cannot be read: {error}", resource.plural));
                };
                let object = Object::from_json(json).map_err(|error| error.to_string())?;
                decode(&object, *resource == resource::SECRETS).map(Some)
            }
        }
    }
}

fn decode(object: &Object, is_secret: bool) -> Result<Data, String> {
    let holder: Holder = object.read().map_err(|error| error.to_string())?;
    let binary = |text: String| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text);
        bytes.map(Bytes::from).map_err(|error| format!("{} holds broken base64: {error}", object.name()))
    };
    let mut data = Data::new();
    for (key, text) in holder.data.unwrap_or_default() {
        data.insert(key, if is_secret { binary(text)? } else { Bytes::from(text) });
    }
    for (key, text) in holder.binary_data.unwrap_or_default() {
        data.insert(key, binary(text)?);
    }
    Ok(data)
}
