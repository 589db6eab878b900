//! Definitions of custom resources.

use super::findings::Findings;
use super::place::Place;
use crate::{Tree, names};

pub(super) fn definition(root: &Place<'_, '_>, found: &mut Findings) {
    let spec = root.get("spec");
    let (group, called) = (spec.get("group"), spec.get("names"));
    let plural = called.get("plural");
    found.name(&group, names::dns_subdomain);
    found.name(&plural, names::dns_label_1035);
    if called.get("kind").is_empty() {
        found.required(&called.get("kind"), "");
    }
    let meta = root.get("metadata");
    let name = meta.get("name");
    if name.text() != format!("{}.{}", plural.text(), group.text()) {
        found.invalid(&name, "must be spec.names.plural+\".\"+spec.group");
    }
    found.member(&spec.get("scope"), &["Cluster", "Namespaced"]);
    let versions = spec.get("versions");
    let stored = versions.each().filter(|version| version.get("storage").is_true()).count();
    if stored != 1 {
        let shown: Tree = versions.list().iter().filter_map(|one| one.get("name").cloned()).collect();
        found.invalid_as(&versions, shown, "must have exactly one version marked as storage version");
    }
    for version in versions.each() {
        found.name(&version.get("name"), names::dns_label_1035);
        let schema = version.get("schema");
        if !schema.has("openAPIV3Schema") {
            found.required(&schema.get("openAPIV3Schema"), "schemas are required");
        }
    }
}
