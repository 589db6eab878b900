//! The kinds of `storage.k8s.io`.

use super::findings::Findings;
use super::meta::IMMUTABLE;
use super::place::Place;
use super::volume;
use crate::names;

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;

pub(super) fn class(root: &Place<'_, '_>, found: &mut Findings) {
    let provisioner = root.get("provisioner");
    if provisioner.is_empty() {
        found.required(&provisioner, "");
    } else {
        let lower = provisioner.text().to_lowercase();
        names::qualified_name(&lower).into_iter().for_each(|why| found.invalid(&provisioner, why));
    }
    let parameters = root.get("parameters");
    if parameters.len() > PARAMETERS_MAX {
        found.too_long(&parameters, PARAMETERS_MAX);
    }
    let mut bytes = 0;
    for (key, value) in parameters.entries() {
        if key.is_empty() {
            found.invalid_as(&parameters, "", "field can not be empty.");
        }
        bytes += key.len() + value.len();
    }
    if bytes > PARAMETERS_BYTES_MAX {
        found.too_long(&parameters, PARAMETERS_BYTES_MAX);
    }
    if !root.get("reclaimPolicy").is_empty() {
        found.member(&root.get("reclaimPolicy"), &["Delete", "Retain"]);
    }
    let mode = root.get("volumeBindingMode");
    if mode.is_given() {
        found.member(&mode, &["Immediate", "WaitForFirstConsumer"]);
    } else {
        found.required(&mode, "");
    }
}

pub(super) fn class_update(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    for key in ["parameters", "provisioner", "reclaimPolicy"] {
        let (at, before) = (new.get(key), old.get(key));
        if at.value() != before.value() && !(at.is_empty() && before.is_empty()) {
            found.forbidden(&at, format!("updates to {key} are forbidden."));
        }
    }
    let mode = new.get("volumeBindingMode");
    if mode.value() != old.get("volumeBindingMode").value() {
        found.invalid(&mode, IMMUTABLE);
    }
}

pub(super) fn driver(root: &Place<'_, '_>, found: &mut Findings) {
    volume::driver(&root.get("metadata").get("name"), found);
    let spec = root.get("spec");
    for key in ["attachRequired", "podInfoOnMount", "storageCapacity"].iter().filter(|key| !spec.has(key)) {
        found.required(&spec.get(key), "");
    }
    found.optional_one_of(&spec.get("fsGroupPolicy"), &["File", "None", "ReadWriteOnceWithFSType"]);
    for mode in spec.get("volumeLifecycleModes").each() {
        found.member(&mode, &["Persistent", "Ephemeral"]);
    }
}

pub(super) fn attachment(root: &Place<'_, '_>, found: &mut Findings) {
    let spec = root.get("spec");
    volume::driver(&spec.get("attacher"), found);
    let source = spec.get("source");
    let name = source.get("persistentVolumeName");
    match (name.is_given(), source.has("inlineVolumeSpec")) {
        (false, false) => {
            found.required(&source, "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
        }
        (true, true) => {
            found.forbidden(&source, "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
        }
        (true, false) if name.is_empty() => found.required(&name, "must specify non empty persistentVolumeName"),
        (true, false) => found.test(&name, names::dns_subdomain),
        (false, true) => {}
    }
    found.test(&spec.get("nodeName"), names::dns_subdomain);
}
