//! Names and amounts of resources: what containers ask for, what quotas and ranges limit.

use super::findings::Findings;
use super::place::Place;
use super::values::quantity;
use crate::names;
use crate::quantity::Quantity;

/// Resources of a container.
const CONTAINER: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// Resources that are counted.
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
/// Amounts that a quota may limit beside what is counted.
const AMOUNTS: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

pub(super) fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Without a domain, or of Kubernetes' own.
pub(super) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

pub(super) fn is_quota_resource(name: &str) -> bool {
    COUNTED.contains(&name) || AMOUNTS.contains(&name) || is_huge_page(name) || name.starts_with("requests.hugepages-")
}

/// Native resources but huge pages may be promised more often than they are there.
pub(super) fn is_overcommitted(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// A name that is known, or has a domain.
pub(super) fn name(at: &Place<'_, '_>, name: &str, found: &mut Findings) {
    let wrong = names::qualified_name(name);
    if wrong.is_empty() && !name.contains('/') && !is_quota_resource(name) && name != "storage" {
        found.invalid_as(at, name, "must be a standard resource type or fully qualified");
    }
    for why in wrong {
        found.invalid_as(at, name, why);
    }
}

pub(super) fn container_name(at: &Place<'_, '_>, name: &str, found: &mut Findings) {
    self::name(at, name, found);
    if !name.contains('/') {
        if !CONTAINER.contains(&name) && !is_huge_page(name) {
            found.invalid_as(at, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        found.invalid_as(at, name, "doesn't follow extended resource name standard");
    }
}

/// An amount of a resource: not negative, and whole if the resource is counted.
pub(super) fn amount(at: &Place<'_, '_>, name: &str, found: &mut Findings) {
    match quantity(at.value()) {
        Err(why) => found.invalid(at, why),
        Ok(amount) => {
            if amount.is_negative() {
                found.invalid_as(at, amount.to_string(), "must be greater than or equal to 0");
            }
            if (COUNTED.contains(&name) || is_extended(name)) && amount.milli() % 1000 != 0 {
                found.invalid_as(at, amount.to_string(), "must be an integer");
            }
        }
    }
}

/// `limits` and `requests`.
pub(super) fn requirements(at: &Place<'_, '_>, found: &mut Findings) {
    let (limits, requests) = (at.get("limits"), at.get("requests"));
    let (mut has_pages, mut has_base) = (false, false);
    for (name, limit) in limits.entries() {
        requirement(&limit, name, found);
        has_pages |= is_huge_page(name);
        has_base |= matches!(name, "cpu" | "memory");
    }
    for (name, request) in requests.entries() {
        requirement(&request, name, found);
        has_pages |= is_huge_page(name);
        has_base |= matches!(name, "cpu" | "memory");
        if limits.has(name) {
            below_limit(&requests, name, &request, &limits.entry(name), found);
        } else if !is_overcommitted(name) {
            found.required(&limits, "Limit must be set for non overcommitable resources");
        }
    }
    if has_pages && !has_base {
        found.forbidden(at, "HugePages require cpu or memory");
    }
}

fn requirement(at: &Place<'_, '_>, name: &str, found: &mut Findings) {
    container_name(at, name, found);
    amount(at, name, found);
    let size = name.strip_prefix("hugepages-").and_then(|size| Quantity::parse(size).ok()).map(|size| size.value());
    if let (Some(size), Ok(amount)) = (size, quantity(at.value()))
        && (size <= 0 || amount.value() % size != 0)
    {
        let why = format!("{amount} is not positive integer multiple of {name}");
        found.invalid_as(at, amount.to_string(), why);
    }
}

fn below_limit(
    requests: &Place<'_, '_>,
    name: &str,
    request: &Place<'_, '_>,
    limit: &Place<'_, '_>,
    found: &mut Findings,
) {
    let (Ok(wanted), Ok(allowed)) = (quantity(request.value()), quantity(limit.value())) else { return };
    if wanted != allowed && !is_overcommitted(name) {
        let why = format!("must be equal to {name} limit of {allowed}");
        found.invalid_as(requests, wanted.to_string(), why);
    } else if wanted > allowed {
        let why = format!("must be less than or equal to {name} limit of {allowed}");
        found.invalid_as(requests, wanted.to_string(), why);
    }
}
