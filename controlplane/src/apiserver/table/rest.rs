//! Cells of policy, storage, autoscaling, admission and network kinds, and the rule for kinds that nobody knows.

use super::{Now, age, containers, count, labels, name, number, or_none};
use api::Tree;
use api::kinds::{Column, Kind};
use api::object::edit;
use api::resource::CUSTOM_RESOURCE_DEFINITIONS;

const UNSET: &str = "<unset>";

pub(super) fn cells(kind: &Kind, tree: &Tree, now: &Now) -> Option<Vec<Tree>> {
    if kind.resource == CUSTOM_RESOURCE_DEFINITIONS {
        return Some(definition(tree));
    }
    let middle = match kind.group() {
        "" => core(kind, tree),
        "policy" => disruption_budget(tree),
        "autoscaling" => autoscaler(tree),
        "apps" => revision(tree),
        "storage.k8s.io" => storage(kind, tree),
        "admissionregistration.k8s.io" => admission(kind, tree),
        "networking.k8s.io" => network(kind, tree),
        "flowcontrol.apiserver.k8s.io" => flow(kind, tree),
        "apiregistration.k8s.io" => service(tree),
        "resource.k8s.io" => device(kind, tree),
        "node.k8s.io" => Some(vec![text(tree, &["handler"])]),
        _ => None,
    }?;
    let mut row = vec![if is_default_class(kind, tree) {
        format!("{} (default)", edit::text(tree, &["metadata", "name"])).into()
    } else {
        name(tree)
    }];
    row.extend(middle);
    match kind.kind.as_str() {
        "IPAddress" | "CSIStorageCapacity" | "PodTemplate" => {}
        // The condition of its level stands after the age.
        "FlowSchema" => row.extend([age(tree, now), dangling(tree)]),
        "PersistentVolume" | "PersistentVolumeClaim" => {
            row.extend([age(tree, now), or_unset(tree, &["spec", "volumeMode"])]);
        }
        _ => row.push(age(tree, now)),
    }
    Some(row)
}

fn is_default_class(kind: &Kind, tree: &Tree) -> bool {
    const OF_STORAGE: &str = "storageclass.kubernetes.io/is-default-class";
    kind.kind == "StorageClass" && edit::text(tree, &["metadata", "annotations", OF_STORAGE]) == "true"
}

/// A CustomResourceDefinition.
fn definition(tree: &Tree) -> Vec<Tree> {
    let names = |path: &[&str], key: Option<&str>| {
        let all = edit::list(tree, path).iter();
        let all = all.filter_map(|one| key.map_or(Some(one), |key| one.get(key)).and_then(Tree::as_str));
        Tree::from(all.collect::<Vec<_>>().join(","))
    };
    vec![
        name(tree),
        text(tree, &["spec", "scope"]),
        names(&["spec", "versions"], Some("name")),
        text(tree, &["metadata", "creationTimestamp"]),
        text(tree, &["spec", "group"]),
        text(tree, &["spec", "names", "kind"]),
        names(&["spec", "names", "shortNames"], None),
        api::custom::definition::is_true(tree, "Established").into(),
    ]
}

/// What can be said by a column's name alone.
pub(super) fn by_name(columns: &[Column], tree: &Tree, now: &Now) -> Vec<Tree> {
    let cell = |column: &Column| match column.name {
        "Name" => name(tree),
        "Age" => age(tree, now),
        "Created At" => text(tree, &["metadata", "creationTimestamp"]),
        _ => "<none>".into(),
    };
    columns.iter().map(cell).collect()
}

fn core(kind: &Kind, tree: &Tree) -> Option<Vec<Tree>> {
    Some(match kind.kind.as_str() {
        "PodTemplate" => {
            let (names, images) = containers(tree, &["template", "spec", "containers"]);
            vec![names.into(), images.into(), labels(tree, &["template", "metadata", "labels"]).into()]
        }
        "ResourceQuota" => quota(tree),
        "PersistentVolumeClaim" => {
            let is_bound = !edit::text(tree, &["spec", "volumeName"]).is_empty();
            let capacity = if is_bound { edit::text(tree, &["status", "capacity", "storage"]) } else { "" };
            let modes = if is_bound { modes(tree, &["status", "accessModes"]) } else { "".into() };
            vec![
                phase(tree),
                text(tree, &["spec", "volumeName"]),
                capacity.into(),
                modes,
                text(tree, &["spec", "storageClassName"]),
                or_unset(tree, &["spec", "volumeAttributesClassName"]),
            ]
        }
        "PersistentVolume" => {
            let claim = edit::at(tree, &["spec", "claimRef"])
                .map(|claim| format!("{}/{}", edit::text(claim, &["namespace"]), edit::text(claim, &["name"])));
            vec![
                text(tree, &["spec", "capacity", "storage"]),
                modes(tree, &["spec", "accessModes"]),
                text(tree, &["spec", "persistentVolumeReclaimPolicy"]),
                phase(tree),
                claim.unwrap_or_default().into(),
                text(tree, &["spec", "storageClassName"]),
                or_unset(tree, &["spec", "volumeAttributesClassName"]),
                text(tree, &["status", "reason"]),
            ]
        }
        _ => return None,
    })
}

/// `pods: 2/10`, limits apart from the rest.
fn quota(tree: &Tree) -> Vec<Tree> {
    let hard = edit::at(tree, &["status", "hard"]).and_then(Tree::as_object);
    let mut all: Vec<(&str, String)> = hard
        .into_iter()
        .flatten()
        .map(|(resource, hard)| {
            let used = edit::at(tree, &["status", "used", resource]).unwrap_or(&Tree::Null);
            (resource.as_str(), format!("{resource}: {}/{}", quantity(used), quantity(hard)))
        })
        .collect();
    all.sort();
    let joined = |of_limits: bool| {
        let some = all.iter().filter(|(resource, _)| resource.contains("limits") == of_limits);
        Tree::from(some.map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(", "))
    };
    vec![joined(false), joined(true)]
}

fn quantity(value: &Tree) -> String {
    match value {
        Tree::Null => "0".to_owned(),
        Tree::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn disruption_budget(tree: &Tree) -> Option<Vec<Tree>> {
    let limit = |key: &str| match edit::at(tree, &["spec", key]) {
        None | Some(Tree::Null) => "N/A".into(),
        Some(Tree::Number(number)) => number.to_string().into(),
        Some(percent) => percent.clone(),
    };
    let allowed = number(tree, &["status", "disruptionsAllowed"]);
    Some(vec![limit("minAvailable"), limit("maxUnavailable"), allowed.into()])
}

/// Metrics that a row names before it says how many more there are.
const METRICS_MAX: usize = 2;

fn autoscaler(tree: &Tree) -> Option<Vec<Tree>> {
    let of = edit::at(tree, &["spec", "scaleTargetRef"])?;
    let target = format!("{}/{}", edit::text(of, &["kind"]), edit::text(of, &["name"]));
    let current = edit::list(tree, &["status", "currentMetrics"]);
    let metrics = edit::list(tree, &["spec", "metrics"]).iter().enumerate();
    let mut metrics: Vec<String> = metrics.map(|(index, metric)| self::metric(metric, current.get(index))).collect();
    // The first version knows one metric alone, and not by this name.
    if let Some(goal) = edit::integer(tree, &["spec", "targetCPUUtilizationPercentage"]) {
        metrics.push(format!("cpu: {}/{goal}%", percent(tree, &["status", "currentCPUUtilizationPercentage"])));
    }
    let metrics = match metrics.len() {
        0 => "<none>".to_owned(),
        1..=METRICS_MAX => metrics.join(", "),
        all => format!("{} + {} more...", metrics[..METRICS_MAX].join(", "), all - METRICS_MAX),
    };
    let least = match edit::integer(tree, &["spec", "minReplicas"]) {
        Some(number) => number.to_string().into(),
        None => Tree::from(UNSET),
    };
    let most = number(tree, &["spec", "maxReplicas"]);
    Some(vec![target.into(), metrics.into(), least, most.into(), number(tree, &["status", "currentReplicas"]).into()])
}

fn percent(tree: &Tree, path: &[&str]) -> String {
    edit::integer(tree, path).map_or_else(|| "<unknown>".to_owned(), |percent| format!("{percent}%"))
}

/// `cpu: 12%/80%`, `7/10`, `3/5 (avg)`: the state of a metric and its goal.
fn metric(wanted: &Tree, current: Option<&Tree>) -> String {
    let current = current.unwrap_or(&Tree::Null);
    let source = match edit::text(wanted, &["type"]) {
        "ContainerResource" => "containerResource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        _ => "resource",
    };
    let is_average = edit::at(wanted, &[source, "target", "averageValue"]).is_some();
    let value = if is_average || source == "pods" { "averageValue" } else { "value" };
    let is_resource = matches!(source, "resource" | "containerResource");
    if is_resource && !is_average {
        let name = edit::text(wanted, &[source, "name"]);
        let now = percent(current, &[source, "current", "averageUtilization"]);
        let goal = edit::integer(wanted, &[source, "target", "averageUtilization"]);
        let goal = goal.map_or_else(|| "<auto>".to_owned(), |goal| format!("{goal}%"));
        return format!("{name}: {now}/{goal}");
    }
    let now = edit::at(current, &[source, "current", value]).map_or_else(|| "<unknown>".to_owned(), quantity);
    let goal = quantity(edit::at(wanted, &[source, "target", value]).unwrap_or(&Tree::Null));
    match source {
        "resource" | "containerResource" => format!("{}: {now}/{goal}", edit::text(wanted, &[source, "name"])),
        "object" | "external" if is_average => format!("{now}/{goal} (avg)"),
        _ => format!("{now}/{goal}"),
    }
}

fn revision(tree: &Tree) -> Option<Vec<Tree>> {
    let owners = edit::list(tree, &["metadata", "ownerReferences"]);
    let owner = owners.iter().find(|owner| edit::is_true(owner, &["controller"])).map(|owner| {
        let group = edit::text(owner, &["apiVersion"]).split_once('/').map(|(group, _)| format!(".{group}"));
        let kind = edit::text(owner, &["kind"]).to_lowercase();
        format!("{kind}{}/{}", group.unwrap_or_default(), edit::text(owner, &["name"]))
    });
    Some(vec![owner.unwrap_or_else(|| "<none>".to_owned()).into(), number(tree, &["revision"]).into()])
}

fn storage(kind: &Kind, tree: &Tree) -> Option<Vec<Tree>> {
    let flag = |path: &[&str]| Tree::from(edit::is_true(tree, path));
    Some(match kind.kind.as_str() {
        "StorageClass" => vec![
            text(tree, &["provisioner"]),
            or(tree, &["reclaimPolicy"], "Delete"),
            or(tree, &["volumeBindingMode"], "Immediate"),
            flag(&["allowVolumeExpansion"]),
        ],
        "CSIDriver" => {
            let audiences =
                edit::list(tree, &["spec", "tokenRequests"]).iter().map(|one| edit::text(one, &["audience"]));
            let audiences = audiences.collect::<Vec<_>>().join(",");
            vec![
                flag(&["spec", "attachRequired"]),
                flag(&["spec", "podInfoOnMount"]),
                flag(&["spec", "storageCapacity"]),
                if audiences.is_empty() { UNSET.into() } else { audiences.into() },
                flag(&["spec", "requiresRepublish"]),
                joined(tree, &["spec", "volumeLifecycleModes"]),
            ]
        }
        "CSINode" => vec![count(tree, &["spec", "drivers"]).into()],
        "CSIStorageCapacity" => vec![text(tree, &["storageClassName"]), or_unset(tree, &["capacity"])],
        "VolumeAttachment" => vec![
            text(tree, &["spec", "attacher"]),
            text(tree, &["spec", "source", "persistentVolumeName"]),
            text(tree, &["spec", "nodeName"]),
            flag(&["status", "attached"]),
        ],
        "VolumeAttributesClass" => vec![text(tree, &["driverName"])],
        _ => return None,
    })
}

fn admission(kind: &Kind, tree: &Tree) -> Option<Vec<Tree>> {
    let parameter_kind = || match edit::at(tree, &["spec", "paramKind"]).filter(|kind| !kind.is_null()) {
        Some(kind) => format!("{}/{}", edit::text(kind, &["apiVersion"]), edit::text(kind, &["kind"])).into(),
        None => Tree::from(UNSET),
    };
    Some(match kind.kind.as_str() {
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => vec![count(tree, &["webhooks"]).into()],
        "ValidatingAdmissionPolicy" => vec![count(tree, &["spec", "validations"]).into(), parameter_kind()],
        "MutatingAdmissionPolicy" => vec![count(tree, &["spec", "mutations"]).into(), parameter_kind()],
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => {
            let parameter = edit::at(tree, &["spec", "paramRef"]).filter(|parameter| !parameter.is_null());
            let parameter = parameter.map(|one| match (edit::text(one, &["namespace"]), edit::text(one, &["name"])) {
                ("", name) => name.to_owned(),
                (namespace, name) => format!("{namespace}/{name}"),
            });
            vec![text(tree, &["spec", "policyName"]), parameter.unwrap_or_else(|| UNSET.to_owned()).into()]
        }
        _ => return None,
    })
}

fn network(kind: &Kind, tree: &Tree) -> Option<Vec<Tree>> {
    Some(match kind.kind.as_str() {
        "IngressClass" => {
            let parameters = edit::at(tree, &["spec", "parameters"]).filter(|parameters| !parameters.is_null());
            let parameters = parameters.map(|one| {
                let group = Some(edit::text(one, &["apiGroup"])).filter(|group| !group.is_empty());
                let group = group.map(|group| format!(".{group}")).unwrap_or_default();
                format!("{}{group}/{}", edit::text(one, &["kind"]), edit::text(one, &["name"]))
            });
            vec![text(tree, &["spec", "controller"]), parameters.unwrap_or_else(|| "<none>".to_owned()).into()]
        }
        "NetworkPolicy" => vec![labels(tree, &["spec", "podSelector", "matchLabels"]).into()],
        "ServiceCIDR" => vec![joined(tree, &["spec", "cidrs"])],
        "IPAddress" => {
            let of = |key: &str| edit::text(tree, &["spec", "parentRef", key]);
            let parts = [of("group"), of("resource"), of("namespace"), of("name")];
            vec![parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/").into()]
        }
        _ => return None,
    })
}

fn flow(kind: &Kind, tree: &Tree) -> Option<Vec<Tree>> {
    let limited = |path: &[&str]| {
        let path: Vec<&str> = ["spec", "limited"].iter().chain(path).copied().collect();
        edit::integer(tree, &path).map_or_else(|| Tree::from("<none>"), |number| number.to_string().into())
    };
    Some(match kind.kind.as_str() {
        "FlowSchema" => vec![
            text(tree, &["spec", "priorityLevelConfiguration", "name"]),
            number(tree, &["spec", "matchingPrecedence"]).into(),
            or_none(tree, &["spec", "distinguisherMethod", "type"]),
        ],
        "PriorityLevelConfiguration" => vec![
            text(tree, &["spec", "type"]),
            limited(&["nominalConcurrencyShares"]),
            limited(&["limitResponse", "queuing", "queues"]),
            limited(&["limitResponse", "queuing", "handSize"]),
            limited(&["limitResponse", "queuing", "queueLengthLimit"]),
        ],
        _ => return None,
    })
}

fn dangling(tree: &Tree) -> Tree {
    let all = edit::list(tree, &["status", "conditions"]).iter();
    let found =
        all.filter(|one| edit::text(one, &["type"]) == "Dangling").map(|one| edit::text(one, &["status"])).next();
    found.unwrap_or("?").into()
}

/// An aggregated API, and whether it answers.
fn service(tree: &Tree) -> Option<Vec<Tree>> {
    let service = edit::at(tree, &["spec", "service"]).filter(|service| !service.is_null());
    let service = service.map(|of| format!("{}/{}", edit::text(of, &["namespace"]), edit::text(of, &["name"])));
    let conditions = edit::list(tree, &["status", "conditions"]);
    let available = conditions.iter().find(|one| edit::text(one, &["type"]) == "Available");
    let available = available.map_or_else(
        || "Unknown".to_owned(),
        |one| match edit::text(one, &["status"]) {
            "True" => "True".to_owned(),
            status => format!("{status} ({})", edit::text(one, &["reason"])),
        },
    );
    Some(vec![service.unwrap_or_else(|| "Local".to_owned()).into(), available.into()])
}

fn device(kind: &Kind, tree: &Tree) -> Option<Vec<Tree>> {
    Some(match kind.kind.as_str() {
        "ResourceClaim" => {
            let mut state = Vec::new();
            if !edit::text(tree, &["metadata", "deletionTimestamp"]).is_empty() {
                state.push("deleted");
            }
            if edit::at(tree, &["status", "allocation"]).is_some_and(|allocation| !allocation.is_null()) {
                state.push("allocated");
            } else if state.is_empty() {
                state.push("pending");
            }
            if !edit::list(tree, &["status", "reservedFor"]).is_empty() {
                state.push("reserved");
            }
            vec![state.join(",").into()]
        }
        "ResourceSlice" => vec![
            or_none(tree, &["spec", "nodeName"]),
            text(tree, &["spec", "driver"]),
            text(tree, &["spec", "pool", "name"]),
        ],
        "DeviceClass" | "ResourceClaimTemplate" => Vec::new(),
        _ => return None,
    })
}

fn text(tree: &Tree, path: &[&str]) -> Tree {
    edit::text(tree, path).into()
}

fn or(tree: &Tree, path: &[&str], otherwise: &str) -> Tree {
    let text = edit::text(tree, path);
    if text.is_empty() { otherwise.into() } else { text.into() }
}

fn or_unset(tree: &Tree, path: &[&str]) -> Tree {
    or(tree, path, UNSET)
}

fn joined(tree: &Tree, path: &[&str]) -> Tree {
    let all: Vec<&str> = edit::list(tree, path).iter().filter_map(Tree::as_str).collect();
    all.join(",").into()
}

fn phase(tree: &Tree) -> Tree {
    if edit::text(tree, &["metadata", "deletionTimestamp"]).is_empty() {
        text(tree, &["status", "phase"])
    } else {
        "Terminating".into()
    }
}

/// Access modes by their usual abbreviations.
fn modes(tree: &Tree, path: &[&str]) -> Tree {
    let short = |mode: &Tree| match mode.as_str().unwrap_or_default() {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        _ => "",
    };
    edit::list(tree, path).iter().map(short).collect::<Vec<_>>().join(",").into()
}
