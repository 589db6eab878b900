//! Which fields of which kinds a field selector may name, and what an object has there.
//!
//! The table is upstream's (1.36). Node and phase are in each object's head; all else is read from its bytes.

use super::shelf::Stored;
use api::custom::json_path::Path;
use api::kinds::Kind;
use api::{Rejected, Tree};
use std::borrow::Cow;

/// Label, place in the stored tree, and what an absent value counts as.
type Row = (&'static str, &'static [&'static str], &'static str);

const PODS: &[Row] = &[
    ("spec.nodeName", &["spec", "nodeName"], ""),
    ("spec.restartPolicy", &["spec", "restartPolicy"], ""),
    ("spec.schedulerName", &["spec", "schedulerName"], ""),
    ("spec.serviceAccountName", &["spec", "serviceAccountName"], ""),
    ("spec.hostNetwork", &["spec", "hostNetwork"], "false"),
    ("status.phase", &["status", "phase"], ""),
    ("status.podIP", &["status", "podIP"], ""),
    ("status.podIPs", &["status", "podIP"], ""),
    ("status.nominatedNodeName", &["status", "nominatedNodeName"], ""),
];
const EVENTS: &[Row] = &[
    ("involvedObject.kind", &["involvedObject", "kind"], ""),
    ("involvedObject.namespace", &["involvedObject", "namespace"], ""),
    ("involvedObject.name", &["involvedObject", "name"], ""),
    ("involvedObject.uid", &["involvedObject", "uid"], ""),
    ("involvedObject.apiVersion", &["involvedObject", "apiVersion"], ""),
    ("involvedObject.resourceVersion", &["involvedObject", "resourceVersion"], ""),
    ("involvedObject.fieldPath", &["involvedObject", "fieldPath"], ""),
    ("reason", &["reason"], ""),
    ("reportingComponent", &["reportingComponent"], ""),
    ("source", &["source", "component"], ""),
    ("type", &["type"], ""),
];
/// The same objects, as `events.k8s.io` names their fields.
const NEW_EVENTS: &[Row] = &[
    ("regarding.kind", &["involvedObject", "kind"], ""),
    ("regarding.namespace", &["involvedObject", "namespace"], ""),
    ("regarding.name", &["involvedObject", "name"], ""),
    ("regarding.uid", &["involvedObject", "uid"], ""),
    ("regarding.apiVersion", &["involvedObject", "apiVersion"], ""),
    ("regarding.resourceVersion", &["involvedObject", "resourceVersion"], ""),
    ("regarding.fieldPath", &["involvedObject", "fieldPath"], ""),
    ("reason", &["reason"], ""),
    ("reportingController", &["reportingComponent"], ""),
    ("type", &["type"], ""),
];

/// Where an object has what a field selector names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Name,
    Namespace,
    /// Of a pod.
    Node,
    /// Of a pod.
    Phase,
    /// In the stored tree, and what an absent value counts as.
    Path(&'static [&'static str], &'static str),
    Custom(Path),
    Nowhere,
}

/// The kind's labels beside name and namespace. `None` for a kind that upstream gives no rules of its own.
fn rows(kind: &Kind) -> Option<&'static [Row]> {
    Some(match (kind.group(), kind.kind.as_str()) {
        ("", "Pod") => PODS,
        ("", "Event") => EVENTS,
        ("events.k8s.io", "Event") => NEW_EVENTS,
        ("", "Node") => &[("spec.unschedulable", &["spec", "unschedulable"], "false")],
        ("", "Namespace") => &[("status.phase", &["status", "phase"], "")],
        ("", "Secret") => &[("type", &["type"], "")],
        ("", "Service") => &[("spec.clusterIP", &["spec", "clusterIP"], ""), ("spec.type", &["spec", "type"], "")],
        ("", "ReplicationController") => &[("status.replicas", &["status", "replicas"], "0")],
        ("batch", "Job") => &[("status.successful", &["status", "succeeded"], "0")],
        ("certificates.k8s.io", "CertificateSigningRequest" | "ClusterTrustBundle") => {
            &[("spec.signerName", &["spec", "signerName"], "")]
        }
        ("certificates.k8s.io", "PodCertificateRequest") => &[
            ("spec.signerName", &["spec", "signerName"], ""),
            ("spec.podName", &["spec", "podName"], ""),
            ("spec.nodeName", &["spec", "nodeName"], ""),
        ],
        ("resource.k8s.io", "ResourceSlice") => {
            &[("spec.nodeName", &["spec", "nodeName"], ""), ("spec.driver", &["spec", "driver"], "")]
        }
        _ => return None,
    })
}

/// The path of a custom resource's field that its definition lets a selector name.
fn selectable<'k>(kind: &'k Kind, label: &str) -> Option<&'k Path> {
    let custom = kind.custom.as_ref()?;
    custom.selectable.iter().find(|path| path.text().strip_prefix('.') == Some(label))
}

/// What a custom resource has there; absent is empty.
fn custom(path: &Path, stored: &Stored) -> String {
    let tree = stored.object.tree();
    match path.find(&tree).first() {
        None | Some(Tree::Null) => String::new(),
        Some(Tree::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Refuses a label that the kind does not know, in upstream's words, which are not the same for all kinds.
pub(super) fn check(kind: &Kind, label: &str) -> Result<(), Rejected> {
    let rows = rows(kind);
    let is_known = match label {
        "metadata.name" => true,
        "metadata.namespace" => kind.namespaced || rows.is_none(),
        label => {
            rows.unwrap_or_default().iter().any(|(known, ..)| *known == label) || selectable(kind, label).is_some()
        }
    };
    if is_known {
        return Ok(());
    }
    Err(Rejected::bad_request(match (rows, kind.group(), kind.kind.as_str()) {
        (None, ..) if kind.is_custom() => format!("field label not supported: {label}"),
        (None, ..) => {
            format!("{label:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        }
        (Some(_), "batch", "Job") => format!("field label {label:?} not supported for batchv1.Job"),
        (Some(_), "resource.k8s.io", name) => {
            format!("field label not supported for {}, Kind={name}: {label}", kind.api_version())
        }
        (Some(_), ..) => format!("field label not supported: {label}"),
    }))
}

/// The label that stands for one that only old clients send.
pub(super) fn current<'a>(kind: &Kind, label: &'a str) -> &'a str {
    match (kind.group(), kind.kind.as_str(), label) {
        ("", "Pod", "spec.host") => "spec.nodeName",
        _ => label,
    }
}

/// What the object has at a label that passed `check`.
pub(super) fn value<'a>(kind: &Kind, label: &str, stored: &'a Stored) -> Cow<'a, str> {
    Place::of(kind, label).value(stored)
}

// === impl Place ===

impl Place {
    /// Of a label that passed `check`.
    pub(super) fn of(kind: &Kind, label: &str) -> Place {
        let is_pod = kind.group().is_empty() && kind.kind == "Pod";
        match label {
            "metadata.name" => return Place::Name,
            "metadata.namespace" => return Place::Namespace,
            "spec.nodeName" if is_pod => return Place::Node,
            "status.phase" if is_pod => return Place::Phase,
            _ => {}
        }
        if let Some(path) = selectable(kind, label) {
            return Place::Custom(path.clone());
        }
        let row = rows(kind).unwrap_or_default().iter().find(|(known, ..)| *known == label);
        row.map_or(Place::Nowhere, |(_, path, absent)| Place::Path(path, absent))
    }

    pub(super) fn value<'a>(&self, stored: &'a Stored) -> Cow<'a, str> {
        let (path, absent) = match self {
            Place::Name => return Cow::Borrowed(stored.object.name()),
            Place::Namespace => return Cow::Borrowed(stored.object.namespace()),
            Place::Node => return Cow::Borrowed(&stored.object.head().node),
            Place::Phase => return Cow::Borrowed(&stored.object.head().phase),
            Place::Custom(path) => return Cow::Owned(custom(path, stored)),
            Place::Nowhere => return Cow::Borrowed(""),
            Place::Path(path, absent) => (path, absent),
        };
        match stored.object.at(path) {
            None | Some(Tree::Null) => Cow::Borrowed(absent),
            Some(Tree::String(text)) => Cow::Owned(text),
            Some(other) => Cow::Owned(other.to_string()),
        }
    }

    /// Tells few objects of many: of several, a list is looked up by the first of the highest.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Place::Path(path, _) => match path.last() {
                Some(&"uid") => 3,
                Some(&"name") => 2,
                Some(&("kind" | "namespace" | "apiVersion" | "type")) => 0,
                _ => 1,
            },
            Place::Custom(_) => 1,
            // Name and namespace are the order of the shelf, and nodes have an index that is always there.
            Place::Name | Place::Namespace | Place::Node | Place::Phase | Place::Nowhere => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_knows_its_labels_and_refuses_others_in_its_own_words() {
        let told = |group: &str, plural: &str, label: &str| {
            let all = api::kinds::builtin().iter();
            let kind = all.clone().find(|kind| kind.group() == group && &*kind.resource.plural == plural);
            check(kind.expect("built in"), label).err().map(|rejected| rejected.message)
        };
        for (group, plural, label) in [
            ("", "pods", "spec.hostNetwork"),
            ("", "services", "spec.clusterIP"),
            ("", "configmaps", "metadata.namespace"),
            ("events.k8s.io", "events", "regarding.kind"),
            ("", "events", "involvedObject.kind"),
            ("batch", "jobs", "status.successful"),
        ] {
            assert_eq!(told(group, plural, label), None, "{plural} {label}");
        }
        let unknown =
            "\"status.replicas\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
        for (group, plural, label, why) in [
            ("", "pods", "spec.x", "field label not supported: spec.x"),
            ("", "nodes", "metadata.namespace", "field label not supported: metadata.namespace"),
            ("", "events", "regarding.kind", "field label not supported: regarding.kind"),
            ("batch", "jobs", "a", "field label \"a\" not supported for batchv1.Job"),
            ("apps", "replicasets", "status.replicas", unknown),
        ] {
            assert_eq!(told(group, plural, label).as_deref(), Some(why), "{plural} {label}");
        }
    }
}
