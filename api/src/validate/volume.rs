//! Volumes of pods and persistent volumes: a name, and exactly one source.

use super::findings::Findings;
use super::place::Place;
use super::{claim, environment, meta, values};
use crate::names;
use std::collections::{HashMap, HashSet};

/// What a volume is, for those who mount it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A claim, which may be a block device.
    Claim,
    Other,
}

/// The volumes that containers may mount.
pub(super) type Volumes<'t> = HashMap<&'t str, Source>;

/// The sources, in the order in which upstream looks for the one that counts, and the texts that each must have.
const SOURCES: &[(&str, &[&str])] = &[
    ("emptyDir", &[]),
    ("hostPath", &[]),
    ("gitRepo", &["repository"]),
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("secret", &["secretName"]),
    ("nfs", &["server", "path"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("glusterfs", &["endpoints", "path"]),
    ("flocker", &[]),
    ("persistentVolumeClaim", &["claimName"]),
    ("rbd", &["monitors", "image"]),
    ("cinder", &["volumeID"]),
    ("cephfs", &["monitors"]),
    ("quobyte", &["registry", "volume"]),
    ("downwardAPI", &[]),
    ("fc", &[]),
    ("flexVolume", &["driver"]),
    ("configMap", &["name"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("storageos", &[]),
    ("projected", &[]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("csi", &[]),
    ("local", &["path"]),
    ("ephemeral", &[]),
    ("image", &[]),
];
/// The fields of a pod that a file may show.
const SHOWN: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// Checks them all, and gives those that can be mounted.
pub(super) fn all<'t>(volumes: &Place<'_, 't>, found: &mut Findings) -> Volumes<'t> {
    let mut good = Volumes::new();
    for one in volumes.each() {
        let before = found.causes.len();
        source(&one, found);
        let name = one.get("name");
        found.name(&name, names::dns_label);
        if good.contains_key(name.text()) {
            found.duplicate_as(&name, name.text());
        }
        if found.causes.len() == before {
            let is_claim = one.has("persistentVolumeClaim") || one.has("ephemeral");
            good.insert(name.text(), if is_claim { Source::Claim } else { Source::Other });
        }
    }
    good
}

/// Exactly one source, here or in the spec of a persistent volume.
pub(super) fn source(at: &Place<'_, '_>, found: &mut Findings) {
    let mut given = SOURCES.iter().filter(|(kind, _)| at.has(kind));
    let Some((kind, required)) = given.next() else { return found.required(at, "must specify a volume type") };
    let one = at.get(kind);
    for key in required.iter().filter(|key| one.get(key).is_empty()) {
        found.required(&one.get(key), "");
    }
    match *kind {
        "hostPath" => host_path(&one, found),
        "emptyDir" => {
            let size = one.get("sizeLimit");
            if values::quantity(size.value()).is_ok_and(|size| size.is_negative()) {
                found.forbidden(&size, "SizeLimit field must be a valid resource quantity");
            }
        }
        "nfs" if !one.get("path").is_empty() && !one.get("path").text().starts_with('/') => {
            found.invalid(&one.get("path"), "must be an absolute path");
        }
        "secret" | "configMap" => {
            values::mode(&one.get("defaultMode"), found);
            one.get("items").each().for_each(|item| key_to_path(&item, found));
        }
        "downwardAPI" => {
            values::mode(&one.get("defaultMode"), found);
            one.get("items").each().for_each(|item| pod_file(&item, found));
        }
        "projected" => projected(&one, found),
        "csi" => csi(&one, found),
        "local" => values::no_steps_back(&one.get("path"), found),
        "ephemeral" => ephemeral(&one, found),
        "image" => {
            if one.get("reference").is_empty() {
                found.required(&one.get("reference"), "");
            }
            found.optional_one_of(&one.get("pullPolicy"), &["Always", "IfNotPresent", "Never"]);
        }
        _ => {}
    }
    for (extra, _) in given {
        // Two sources have another name here upstream.
        let name = match *extra {
            "cephfs" => "cephFS",
            "downwardAPI" => "downwarAPI",
            other => other,
        };
        found.forbidden(&at.get(name), "may not specify more than 1 volume type");
    }
}

fn host_path(at: &Place<'_, '_>, found: &mut Findings) {
    const TYPES: &[&str] =
        &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    if at.get("path").is_empty() {
        return found.required(&at.get("path"), "");
    }
    values::no_steps_back(&at.get("path"), found);
    found.optional_one_of(&at.get("type"), TYPES);
}

fn key_to_path(at: &Place<'_, '_>, found: &mut Findings) {
    for key in ["key", "path"].iter().filter(|key| at.get(key).is_empty()) {
        found.required(&at.get(key), "");
    }
    file(&at.get("path"), found);
    values::mode(&at.get("mode"), found);
}

/// A file stays in the volume, and leaves the names alone that the node uses itself.
fn file(at: &Place<'_, '_>, found: &mut Findings) {
    values::path_below(at, found);
    if at.text().starts_with("..") && !at.text().starts_with("../") {
        found.invalid(at, "must not start with '..'");
    }
}

/// A file that shows something of the pod.
fn pod_file(at: &Place<'_, '_>, found: &mut Findings) {
    if at.get("path").is_empty() {
        found.required(&at.get("path"), "");
    }
    file(&at.get("path"), found);
    match (at.has("fieldRef"), at.has("resourceFieldRef")) {
        (true, both) => {
            environment::field(&at.get("fieldRef"), SHOWN, found);
            if both {
                found.invalid_as(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
            }
        }
        (false, true) => environment::resource(&at.get("resourceFieldRef"), true, found),
        (false, false) => found.required(at, "one of fieldRef and resourceFieldRef is required"),
    }
    values::mode(&at.get("mode"), found);
}

fn projected(at: &Place<'_, '_>, found: &mut Findings) {
    values::mode(&at.get("defaultMode"), found);
    let mut paths = HashSet::new();
    for one in at.get("sources").each() {
        let mut given = 0;
        for kind in ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle"] {
            if !one.has(kind) {
                continue;
            }
            given += 1;
            let part = one.get(kind);
            match kind {
                "secret" | "configMap" => {
                    if part.get("name").is_empty() {
                        found.required(&part.get("name"), "");
                    }
                    part.get("items").each().for_each(|item| key_to_path(&item, found));
                }
                "downwardAPI" => part.get("items").each().for_each(|item| pod_file(&item, found)),
                "serviceAccountToken" => token(&part, found),
                _ => {}
            }
            for item in part.get("items").each().filter(|item| !item.get("path").is_empty()) {
                if !paths.insert(item.get("path").text()) {
                    found.invalid_as(at, part.get("name").text(), "conflicting duplicate paths");
                }
            }
        }
        if given > 1 {
            found.forbidden(&one, "may not specify more than 1 volume type");
        }
    }
}

fn token(at: &Place<'_, '_>, found: &mut Findings) {
    let seconds = at.get("expirationSeconds");
    if seconds.integer().is_some_and(|seconds| seconds < 600) {
        found.invalid(&seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds.number() > 1 << 32 {
        found.invalid(&seconds, "may not specify a duration larger than 2^32 seconds");
    }
    let path = at.get("path");
    if path.is_empty() { found.required(&path, "") } else { file(&path, found) }
}

fn csi(at: &Place<'_, '_>, found: &mut Findings) {
    driver(&at.get("driver"), found);
    let secret = at.get("nodePublishSecretRef");
    if secret.is_given() && secret.get("name").is_empty() {
        found.required(&secret.get("name"), "");
    }
}

/// The name of a CSI driver.
pub(super) fn driver(at: &Place<'_, '_>, found: &mut Findings) {
    if at.is_empty() {
        return found.required(at, "");
    }
    if at.len() > 63 {
        found.too_long(at, 63);
    }
    for why in names::dns_subdomain(&at.text().to_lowercase()) {
        found.invalid(at, why);
    }
}

fn ephemeral(at: &Place<'_, '_>, found: &mut Findings) {
    let template = at.get("volumeClaimTemplate");
    if !template.is_given() {
        return found.required(&template, "");
    }
    meta::labels(&template.get("metadata").get("labels"), found);
    meta::annotations(&template.get("metadata").get("annotations"), found);
    claim::spec(&template.get("spec"), found);
}
