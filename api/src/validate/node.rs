//! Nodes.

use super::findings::Findings;
use super::place::Place;
use super::{pod, resources, shown, values};
use crate::names;
use std::collections::HashSet;

pub(super) fn node(root: &Place<'_, '_>, found: &mut Findings) {
    let spec = root.get("spec");
    // Upstream looks for taints in metadata, where they were once.
    taints(&root.get("metadata").alias("taints", &spec.get("taints")), found);
    amounts(root, found);
    let listed = spec.get("podCIDRs");
    let first = spec.get("podCIDR");
    if first.is_empty() || listed.list().first().is_some_and(|one| one == first.value()) {
        listed.each().for_each(|one| values::cidr(&one, found));
        if listed.len() > 2 {
            found.invalid(&listed, "may specify no more than one CIDR for each IP family");
        }
    } else {
        // The older field counts where the two differ.
        values::cidr(&listed.index(0).holding(first.value()), found);
    }
}

fn amounts(root: &Place<'_, '_>, found: &mut Findings) {
    let status = root.get("status");
    for kind in ["capacity", "allocatable"] {
        let all = status.get(kind);
        for (name, amount) in all.entries() {
            resources::amount(&all.get(name).holding(amount.value()), name, found);
        }
    }
}

fn taints(all: &Place<'_, '_>, found: &mut Findings) {
    let mut seen = HashSet::new();
    for taint in all.each() {
        let (key, value, effect) = (taint.get("key"), taint.get("value"), taint.get("effect"));
        found.test(&key, names::qualified_name);
        let wrong = names::label_value(value.text());
        if !wrong.is_empty() {
            found.invalid_as(&value, value.text(), wrong.join(";"));
        }
        found.one_of(&effect, pod::EFFECTS);
        if !seen.insert((key.text(), effect.text())) {
            found.duplicate_as(&taint, shown::internal("core/v1", "Taint", taint.value()));
            if let Some(last) = found.causes.last_mut() {
                last.message.push_str(": taints must be unique by key and effect pair");
            }
        }
    }
}

pub(super) fn update(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    amounts(new, found);
    let mut seen = Vec::new();
    let status = new.get("status");
    for address in status.get("addresses").each() {
        if seen.contains(&address.value()) {
            found.duplicate_as(&address, shown::internal("core/v1", "NodeAddress", address.value()));
        }
        seen.push(address.value());
    }
    let (spec, before) = (new.get("spec"), old.get("spec"));
    let fixed = |key: &str, shown: &str, name: &str, found: &mut Findings| {
        if !before.get(key).is_empty() && spec.get(key).value() != before.get(key).value() {
            let why = format!("node updates may not change {name} except from \"\" to valid");
            found.forbidden(&spec.get(shown), why);
        }
    };
    fixed("podCIDR", "podCIDRs", "podCIDR", found);
    fixed("providerID", "providerID", "providerID", found);
    taints(&new.get("metadata").alias("taints", &spec.get("taints")), found);
}
