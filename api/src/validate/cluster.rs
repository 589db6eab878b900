//! Small kinds of the cluster: namespaces, leases, classes of priority and runtime, certificate requests, API services.

use super::findings::Findings;
use super::meta::{self, IMMUTABLE};
use super::place::Place;
use super::{pod, resources};
use crate::names;

/// The highest priority that a user may give.
const PRIORITY_MAX: i64 = 1_000_000_000;
const SYSTEM: [(&str, i64); 2] = [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];
pub(super) const PREEMPTION: &[&str] = &["PreemptLowerPriority", "Never"];

pub(super) fn namespace(root: &Place<'_, '_>, found: &mut Findings) {
    let all = root.get("spec");
    let all = all.get("finalizers");
    for finalizer in all.list() {
        let at = all.holding(finalizer);
        found.test(&at, names::qualified_name);
        meta::known_finalizer(&at, found);
    }
}

pub(super) fn lease(root: &Place<'_, '_>, found: &mut Findings) {
    let spec = root.get("spec");
    let (seconds, transitions) = (spec.get("leaseDurationSeconds"), spec.get("leaseTransitions"));
    if seconds.integer().is_some_and(|seconds| seconds <= 0) {
        found.invalid(&seconds, "must be greater than 0");
    }
    found.natural(&transitions);
}

pub(super) fn priority(root: &Place<'_, '_>, found: &mut Findings) {
    let meta = root.get("metadata");
    let (name, value) = (meta.get("name"), root.get("value"));
    if name.text().starts_with("system-") {
        if let Some(why) = system_fault(root, name.text()) {
            let why =
                format!("priority class names with 'system-' prefix are reserved for system use only. error: {why}");
            found.forbidden(&name, why);
        }
    } else if value.number() > PRIORITY_MAX {
        found.forbidden(&value, format!("maximum allowed value of a user defined priority is {PRIORITY_MAX}"));
    }
    found.optional_one_of(&root.get("preemptionPolicy"), PREEMPTION);
}

fn system_fault(root: &Place<'_, '_>, name: &str) -> Option<String> {
    let Some((_, value)) = SYSTEM.iter().find(|(system, _)| *system == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if root.get("value").number() != *value {
        return Some(format!("value of {name} PriorityClass must be {value}"));
    }
    root.get("globalDefault").is_true().then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

pub(super) fn priority_update(new: &Place<'_, '_>, old: &Place<'_, '_>, found: &mut Findings) {
    if new.get("value").number() != old.get("value").number() {
        // With a capital upstream.
        found.forbidden(&new.get("Value"), "may not be changed in an update.");
    }
    let policy = new.get("preemptionPolicy");
    if policy.value() != old.get("preemptionPolicy").value() {
        found.invalid(&policy, IMMUTABLE);
    }
}

pub(super) fn runtime_class(root: &Place<'_, '_>, found: &mut Findings) {
    found.test(&root.get("handler"), names::dns_label);
    let overhead = root.get("overhead");
    for (name, amount) in overhead.get("podFixed").entries() {
        resources::container_name(&amount, name, found);
        resources::amount(&amount, name, found);
    }
    let scheduling = root.get("scheduling");
    meta::labels(&scheduling.get("nodeSelector"), found);
    pod::tolerations(&scheduling.get("tolerations"), found);
}

pub(super) fn certificate_request(root: &Place<'_, '_>, found: &mut Findings) {
    const EXPIRY_MIN: i64 = 600;
    let spec = root.get("spec");
    if spec.get("usages").is_empty() {
        found.required(&spec.get("usages"), "");
    }
    let signer = spec.get("signerName");
    match signer.text().split_once('/') {
        _ if signer.is_empty() => found.required(&signer, ""),
        Some((domain, path)) if !path.is_empty() => {
            names::dns_subdomain(domain).into_iter().for_each(|why| {
                found.invalid(&signer, format!("validating label {domain:?}: {why}"));
            });
            if !domain.contains('.') {
                found.invalid(&signer, "should be a domain with at least two segments separated by dots");
            }
        }
        _ => found.invalid(&signer, "must be a fully qualified domain and path of the form 'example.com/signer-name'"),
    }
    let expiry = spec.get("expirationSeconds");
    if expiry.integer().is_some_and(|seconds| seconds < EXPIRY_MIN) {
        found.invalid(&expiry, format!("may not specify a duration less than {EXPIRY_MIN} seconds (10 minutes)"));
    }
}

pub(super) fn api_service(root: &Place<'_, '_>, found: &mut Findings) {
    const GROUP_MAX: i64 = 20_000;
    const VERSION_MAX: i64 = 1000;
    let spec = root.get("spec");
    let (group, version) = (spec.get("group"), spec.get("version"));
    let meta = root.get("metadata");
    let name = meta.get("name");
    let expected = format!("{}.{}", version.text(), group.text());
    if !name.is_empty() && name.text() != expected {
        found.invalid(&name, format!("must be `spec.version+\".\"+spec.group`: {expected:?}"));
    }
    if group.is_empty() && version.text() != "v1" {
        found.required(&group, "only v1 may have an empty group and it better be legacy kube");
    }
    found.optional_name(&group, names::dns_subdomain);
    found.test(&version, names::dns_label_1035);
    for (key, most) in [("groupPriorityMinimum", GROUP_MAX), ("versionPriority", VERSION_MAX)] {
        let at = spec.get(key);
        if !(1..=most).contains(&at.number()) {
            found.invalid_as(&at, at.number(), format!("must be positive and less than {most}"));
        }
    }
    let service = spec.get("service");
    if !service.is_given() {
        let (bundle, insecure) = (spec.get("caBundle"), spec.get("insecureSkipTLSVerify"));
        if !bundle.is_empty() {
            let bytes = format!("{} bytes", bundle.len() / 4 * 3);
            found.invalid_as(&bundle, bytes, "local APIServices may not have a caBundle");
        }
        if insecure.is_true() {
            found.invalid(&insecure, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    for key in ["namespace", "name"].iter().filter(|key| service.get(key).is_empty()) {
        found.required(&service.get(key), "");
    }
}
