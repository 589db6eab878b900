//! Pods and pod templates: the spec as a whole, and what it says about its place on a node.

use super::findings::{Findings, Test};
use super::meta::{annotations, labels};
use super::place::Place;
use super::{affinity, container, security, values, volume};
use crate::{Tree, names};
use std::collections::HashSet;

const RESTART: &[&str] = &["Always", "OnFailure", "Never"];
const DNS: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
pub(super) const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const SECONDS_MAX: i64 = i32::MAX as i64;

/// What a spec is part of.
#[derive(Clone, Copy)]
pub(super) struct Owner<'t> {
    /// A pod, not a template.
    pub(super) is_pod: bool,
    /// Volumes that are made for each pod of the template.
    pub(super) claims: &'t [Tree],
}

impl Owner<'_> {
    pub(super) const POD: Owner<'static> = Owner { is_pod: true, claims: &[] };
    pub(super) const TEMPLATE: Owner<'static> = Owner { is_pod: false, claims: &[] };
}

/// A pod of its own.
pub(super) fn pod(root: &Place<'_, '_>, found: &mut Findings) {
    let at = root.get("spec");
    mirror(&root.get("metadata").get("annotations"), &at, found);
    spec(&at, Owner::POD, found);
    if at.get("serviceAccountName").is_empty() {
        no_tokens(&at.get("volumes"), found);
    }
    for key in ["containers", "initContainers"] {
        at.get(key).each().for_each(|one| container::trimmed_image(&one, found));
    }
}

/// What a pod may not be created with.
pub(super) fn created(root: &Place<'_, '_>, found: &mut Findings) {
    let at = root.get("spec");
    if !at.get("ephemeralContainers").is_empty() {
        found.forbidden(&at.get("ephemeralContainers"), "cannot be set on create");
    }
    if !at.get("nodeName").is_empty() && !at.get("schedulingGates").is_empty() {
        found.forbidden(&at.get("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
}

/// Nobody can be given a token of no account.
fn no_tokens(volumes: &Place<'_, '_>, found: &mut Findings) {
    for volume in volumes.each() {
        for source in volume.get("projected").get("sources").each() {
            let token = source.get("serviceAccountToken");
            if token.is_given() {
                found.forbidden(&token, "must not be specified when serviceAccountName is not set");
            }
        }
    }
}

fn mirror(annotations: &Place<'_, '_>, spec: &Place<'_, '_>, found: &mut Findings) {
    let mirror = annotations.entry("kubernetes.io/config.mirror");
    if mirror.is_given() && spec.get("nodeName").is_empty() {
        found.invalid(&mirror, "must set spec.nodeName if mirror pod annotation is set");
    }
}

/// A pod template.
pub(super) fn template(at: &Place<'_, '_>, owner: Owner<'_>, found: &mut Findings) {
    let meta = at.get("metadata");
    labels(&at.alias("labels", &meta.get("labels")), found);
    annotations(&at.alias("annotations", &meta.get("annotations")), found);
    let below = at.get("spec");
    spec(&below, owner, found);
    if !below.get("ephemeralContainers").is_empty() {
        found.forbidden(&below.get("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

fn spec(at: &Place<'_, '_>, owner: Owner<'_>, found: &mut Findings) {
    let mut volumes = volume::all(&at.get("volumes"), found);
    volumes.extend(owner.claims.iter().map(|claim| {
        let name = Place::root(claim).get("metadata").get("name").text();
        (name, volume::Source::Claim)
    }));
    claims(&at.get("resourceClaims"), found);
    containers(at, &volumes, found);
    host_network(at, owner, found);
    found.one_of(&at.get("restartPolicy"), RESTART);
    found.one_of(&at.get("dnsPolicy"), DNS);
    labels(&at.get("nodeSelector"), found);
    security::pod(at, found);
    affinity::all(&at.get("affinity"), found);
    dns(&at.get("dnsConfig"), at.get("dnsPolicy").text() == "None", found);
    for gate in at.get("readinessGates").each() {
        found.test(&gate.get("conditionType"), names::qualified_name);
    }
    gates(&at.get("schedulingGates"), found);
    affinity::spread(&at.get("topologySpreadConstraints"), found);
    let optional = |key: &str, test: Test, found: &mut Findings| found.optional_name(&at.get(key), test);
    optional("serviceAccountName", names::dns_subdomain, found);
    optional("nodeName", names::dns_subdomain, found);
    found.within(&at.get("activeDeadlineSeconds"), 1, SECONDS_MAX);
    optional("hostname", names::dns_label, found);
    optional("subdomain", names::dns_label, found);
    tolerations(&at.get("tolerations"), found);
    for alias in at.get("hostAliases").each() {
        values::address(&alias.get("ip"), found);
        alias.get("hostnames").each().for_each(|one| found.test(&one, names::dns_subdomain));
    }
    optional("priorityClassName", names::dns_subdomain, found);
    optional("runtimeClassName", names::dns_subdomain, found);
    found.optional_one_of(&at.get("preemptionPolicy"), &["PreemptLowerPriority", "Never"]);
    for (name, amount) in at.get("overhead").entries() {
        super::resources::container_name(&amount, name, found);
        super::resources::amount(&amount, name, found);
    }
    let system = at.get("os");
    if system.is_given() {
        match system.get("name").text() {
            "" => found.required(&system.get("name"), "cannot be empty"),
            "linux" | "windows" => {}
            other => found.unsupported_as(&system, other, &["linux", "windows"]),
        }
    }
}

fn containers(spec: &Place<'_, '_>, volumes: &volume::Volumes<'_>, found: &mut Findings) {
    let all = spec.get("containers");
    if all.is_empty() {
        found.required(&all, "");
    }
    let grace = spec.get("terminationGracePeriodSeconds").integer();
    let context = container::Context { volumes, grace };
    let (mut seen, mut ports) = (HashSet::new(), HashSet::new());
    for one in all.each() {
        container::common(&one, &context, found);
        if !seen.insert(one.get("name").text()) {
            found.duplicate_as(&one.get("name"), one.get("name").text());
        }
        container::lifecycle_and_probes(&one, &context, found);
    }
    all.each().for_each(|one| container::host_ports(&one, &mut ports, found));
    for one in spec.get("initContainers").each() {
        container::common(&one, &context, found);
        let name = one.get("name");
        if !name.is_empty() && !seen.insert(name.text()) {
            found.duplicate(&name);
        }
        // Each of them has the ports for itself while it runs.
        container::host_ports(&one, &mut HashSet::new(), found);
        container::of_start(&one, &context, found);
    }
    let others = seen.clone();
    for one in spec.get("ephemeralContainers").each() {
        container::common(&one, &context, found);
        container::trimmed_image(&one, found);
        if !seen.insert(one.get("name").text()) {
            found.duplicate_as(&one.get("name"), one.get("name").text());
        }
        let target = one.get("targetContainerName");
        if !target.is_empty() && !others.contains(target.text()) {
            found.not_found(&target, "");
        }
        container::ephemeral(&one, found);
    }
}

fn host_network(spec: &Place<'_, '_>, owner: Owner<'_>, found: &mut Findings) {
    if !spec.get("hostNetwork").is_true() {
        return;
    }
    for container in spec.get("containers").each() {
        for port in container.get("ports").each() {
            let (host, own) = (port.get("hostPort"), port.get("containerPort").number());
            // A template may leave it out: the pod gets it.
            if (owner.is_pod || host.number() != 0) && host.number() != own {
                let why = "must match `containerPort` when `hostNetwork` is true";
                found.invalid_as(&host, host.number(), why);
            }
        }
    }
}

fn claims(all: &Place<'_, '_>, found: &mut Findings) {
    let mut seen = HashSet::new();
    for claim in all.each() {
        let name = claim.get("name");
        if name.is_empty() {
            found.required(&name, "");
        } else if !seen.insert(name.text()) {
            found.duplicate(&name);
        } else {
            found.test(&name, names::dns_label);
        }
    }
}

fn gates(all: &Place<'_, '_>, found: &mut Findings) {
    let mut seen = HashSet::new();
    for gate in all.each() {
        let name = gate.get("name").text();
        for why in names::qualified_name(name) {
            found.invalid_as(&gate, name, why);
        }
        if !seen.insert(name) {
            found.duplicate_as(&gate, name);
        }
    }
}

fn dns(config: &Place<'_, '_>, is_required: bool, found: &mut Findings) {
    const SERVERS_MAX: usize = 3;
    const PATHS_MAX: usize = 32;
    let servers = config.get("nameservers");
    if is_required && !config.is_given() {
        return found.required(config, "must provide `dnsConfig` when `dnsPolicy` is None");
    }
    if is_required && servers.is_empty() {
        return found.required(&servers, "must provide at least one DNS nameserver when `dnsPolicy` is None");
    }
    if servers.len() > SERVERS_MAX {
        found.invalid(&servers, format!("must not have more than {SERVERS_MAX} nameservers"));
    }
    servers.each().for_each(|one| values::address(&one, found));
    let searches = config.get("searches");
    if searches.len() > PATHS_MAX {
        found.invalid(&searches, format!("must not have more than {PATHS_MAX} search paths"));
    }
    for search in searches.each().filter(|search| search.text() != ".") {
        let text = search.text().strip_suffix('.').unwrap_or(search.text());
        for why in names::dns_subdomain_with_underscores(text) {
            found.invalid_as(&search, text, why);
        }
    }
    for option in config.get("options").each().filter(|option| option.get("name").is_empty()) {
        found.required(&option, "must not be empty");
    }
}

pub(super) fn tolerations(all: &Place<'_, '_>, found: &mut Findings) {
    for one in all.each() {
        let (key, operator, value, effect) = (one.get("key"), one.get("operator"), one.get("value"), one.get("effect"));
        found.optional_name(&key, names::qualified_name);
        if key.is_empty() && operator.text() != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            found.invalid_as(&operator, operator.text(), why);
        }
        if one.has("tolerationSeconds") && effect.text() != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            found.invalid_as(&effect, effect.text(), why);
        }
        match operator.text() {
            "" | "Equal" => {
                let wrong = names::label_value(value.text());
                if !wrong.is_empty() {
                    found.invalid_as(&operator, value.text(), wrong.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                found.invalid_as(&operator, value.text(), "value must be empty when `operator` is 'Exists'");
            }
            "Exists" => {}
            _ => found.unsupported(&operator, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            found.member(&effect, EFFECTS);
        }
    }
}
