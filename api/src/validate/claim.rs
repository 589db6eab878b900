//! Persistent volumes and the claims on them.

use super::findings::Findings;
use super::meta::IMMUTABLE;
use super::place::Place;
use super::{affinity, shown, values, volume};
use crate::walk::members;
use crate::{Tree, names};

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];
const FIXED: &str =
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

/// A `PersistentVolumeClaimSpec`.
pub(super) fn spec(at: &Place<'_, '_>, found: &mut Findings) {
    let modes = at.get("accessModes");
    if modes.is_empty() {
        found.required(&modes, "at least 1 access mode is required");
    }
    values::selector(&at.get("selector"), found);
    access_modes(&modes, found);
    // Upstream leaves `requests` out of the path.
    let shown = at.get("resources");
    let requests = shown.get("requests");
    let size = shown.entry("storage").holding(requests.get("storage").value());
    if !size.is_given() {
        found.required(&size, "");
    } else if let Some(amount) = amount(&size, found).filter(|amount| amount.is_zero() || amount.is_negative()) {
        found.invalid_as(&size, amount.to_string(), "must be greater than zero");
    }
    found.optional_name(&at.get("storageClassName"), names::dns_subdomain);
    found.optional_one_of(&at.get("volumeMode"), VOLUME_MODES);
    for key in ["dataSource", "dataSourceRef"].iter().filter(|key| at.has(key)) {
        data_source(&at.get(key), found);
    }
    found.optional_name(&at.get("volumeAttributesClassName"), names::dns_subdomain);
}

fn amount(at: &Place<'_, '_>, found: &mut Findings) -> Option<crate::quantity::Quantity> {
    values::quantity(at.value()).map_err(|why| found.invalid(at, why)).ok()
}

fn access_modes(modes: &Place<'_, '_>, found: &mut Findings) {
    for mode in modes.texts().filter(|mode| !MODES.contains(mode)) {
        found.unsupported_as(modes, mode, MODES);
    }
    let is_single = |mode: &&str| *mode == "ReadWriteOncePod";
    if modes.texts().any(|mode| is_single(&mode))
        && modes.texts().any(|mode| MODES.contains(&mode) && !is_single(&mode))
    {
        found.forbidden(modes, "may not use ReadWriteOncePod with other access modes");
    }
}

fn data_source(at: &Place<'_, '_>, found: &mut Findings) {
    for key in ["name", "kind"].iter().filter(|key| at.get(key).is_empty()) {
        found.required(&at.get(key), "");
    }
    let (group, kind) = (at.get("apiGroup"), at.get("kind"));
    if group.is_empty() && kind.text() != "PersistentVolumeClaim" {
        let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        found.invalid_as(at, kind.text(), why);
    }
    found.optional_name(&group, names::dns_subdomain);
}

/// A claim is bound once, may grow while it is bound, and else stays as it is.
pub(super) fn spec_update(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    let is_bound = new.get("status").get("phase").text() == "Bound";
    let (new, old) = (new.get("spec"), old.get("spec"));
    let mut free: Vec<&str> = Vec::new();
    if old.get("volumeName").is_empty() {
        free.push("volumeName");
    }
    if !old.has("storageClassName") {
        free.push("storageClassName");
    }
    if is_bound {
        free.push("volumeAttributesClassName");
    }
    let rest = |spec: &Place<'_, '_>| -> Tree {
        let kept = members(spec.value(), &[]).filter(|(key, _)| !free.contains(&key.as_str()) && *key != "resources");
        let kept = kept.map(|(key, value)| (key.clone(), value.clone()));
        let resources = (!is_bound).then(|| ("resources".to_owned(), spec.get("resources").value().clone()));
        kept.chain(resources).collect::<serde_json::Map<_, _>>().into()
    };
    if rest(&new) != rest(&old) {
        found.forbidden(&new, FIXED);
    }
    let size = |spec: &Place<'_, '_>| values::quantity(spec.get("resources").get("requests").get("storage").value());
    if let (Ok(new_size), Ok(old_size)) = (size(&new), size(&old))
        && new_size < old_size
    {
        let at = new.get("resources");
        let at = at.get("requests");
        found.forbidden(&at.get("storage"), "field can not be less than status.capacity");
    }
    if new.get("volumeMode").value() != old.get("volumeMode").value() {
        found.invalid(&Place::root(&Tree::Null).alias("volumeMode", &new.get("volumeMode")), IMMUTABLE);
    }
}

pub(super) fn volume(root: &Place<'_, '_>, found: &mut Findings) {
    let at = root.get("spec");
    let (modes, capacity) = (at.get("accessModes"), at.get("capacity"));
    if modes.is_empty() {
        found.required(&modes, "");
    }
    access_modes(&modes, found);
    if capacity.is_empty() {
        found.required(&capacity, "");
    }
    if !capacity.has("storage") || capacity.len() > 1 {
        let all = capacity.value().as_object();
        let value = all.map(|all| shown::sorted(all.iter().map(|(key, value)| (key, value.clone()))));
        found.unsupported_as(&capacity, value.unwrap_or_default(), &["storage"]);
    }
    for (_, size) in capacity.entries() {
        if let Some(amount) = amount(&size, found).filter(|amount| amount.is_zero() || amount.is_negative()) {
            found.invalid_as(&size, amount.to_string(), "must be greater than zero");
        }
    }
    found.optional_one_of(&at.get("persistentVolumeReclaimPolicy"), &["Delete", "Recycle", "Retain"]);
    let affinity = at.get("nodeAffinity");
    if affinity.has("required") {
        affinity::node_selector(&affinity.get("required"), found);
    } else if affinity.is_given() {
        found.required(&affinity.get("required"), "must specify required node constraints");
    }
    volume::source(&at, found);
    if at.has("local") && !affinity.is_given() {
        found.required(&affinity, "Local volume requires node affinity");
    }
    found.optional_name(&at.get("storageClassName"), names::dns_subdomain);
    found.optional_one_of(&at.get("volumeMode"), VOLUME_MODES);
}

/// The fields of a volume that say what may happen to it; all others say where its data are.
const NOT_SOURCE: [&str; 9] = [
    "capacity",
    "accessModes",
    "claimRef",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "mountOptions",
    "volumeMode",
    "nodeAffinity",
    "volumeAttributesClassName",
];

pub(super) fn volume_update(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    let (new, old) = (new.get("spec"), old.get("spec"));
    let source = |spec: &Place<'_, '_>| -> Vec<(String, Tree)> {
        let all = members(spec.value(), &[]).filter(|(key, _)| !NOT_SOURCE.contains(&key.as_str()));
        let mut all: Vec<_> = all.map(|(key, value)| (key.clone(), value.clone())).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    };
    if source(&new) != source(&old) {
        found.forbidden(&new.get("persistentvolumesource"), "spec.persistentvolumesource is immutable after creation");
    }
    let nothing = Tree::Null;
    let root = Place::root(&nothing);
    if new.get("volumeMode").value() != old.get("volumeMode").value() {
        found.invalid(&root.alias("volumeMode", &new.get("volumeMode")), IMMUTABLE);
    }
    if old.has("nodeAffinity") && new.get("nodeAffinity").value() != old.get("nodeAffinity").value() {
        let value = shown::internal("core/v1", "VolumeNodeAffinity", new.get("nodeAffinity").value());
        found.invalid_as(&root.get("nodeAffinity"), value, IMMUTABLE);
    }
}
