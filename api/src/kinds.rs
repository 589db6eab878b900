//! What is served: one `Kind` a resource, with its names, scope, verbs, subresources and table columns.
//!
//! Knows the built-in kinds from `generated/kinds.txt` (made by `cargo xtask facts`); custom resources make their own
//! `Kind`s at run time, which is why a `Kind` owns its strings.

use crate::Resource;
use crate::custom::Custom;
use crate::fields::{self, TypeRef};
use base64::Engine as _;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// A served collection and the objects in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    pub resource: Resource,
    /// `Pod`.
    pub kind: String,
    /// `PodList`; empty if the resource cannot be listed.
    pub list_kind: String,
    pub singular: String,
    pub namespaced: bool,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    /// Sorted; empty for a kind that exists only as the body of a subresource.
    pub verbs: Vec<String>,
    pub subresources: Vec<Subresource>,
    /// `None` for custom resources.
    pub schema: Option<TypeRef>,
    /// What a definition says of its kind; `None` for built-in kinds.
    pub custom: Option<Arc<Custom>>,
    /// Empty if nothing of the kind is stored.
    pub storage_version_hash: String,
}

/// A path below an object, with a kind of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subresource {
    /// `status`, `scale`, `eviction`, …
    pub name: String,
    pub group: String,
    pub version: String,
    pub kind: String,
    pub verbs: Vec<String>,
}

/// A column of the server-side table that kubectl prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `date`, …
    pub value_type: &'static str,
    /// `name` for the name column, else empty.
    pub format: &'static str,
    /// 1: only with `-o wide`.
    pub priority: i32,
}

struct Builtin {
    /// First the built-in kinds, then those in versions that are gone upstream.
    kinds: Vec<Arc<Kind>>,
    legacy_from: usize,
    /// What clients of the legacy ones are warned of.
    deprecations: HashMap<Resource, String>,
    by_resource: HashMap<Resource, usize>,
    /// By kind, then group.
    columns: HashMap<&'static str, HashMap<&'static str, Vec<Column>>>,
}

static BUILTIN: LazyLock<Builtin> = LazyLock::new(|| {
    let lines = include_str!("generated/kinds.txt").lines();
    let legacy_from = lines.clone().count();
    let legacy = include_str!("generated/legacy.txt").lines();
    let kinds: Vec<_> = lines.chain(legacy.clone()).map(|line| Arc::new(parse(line))).collect();
    let old = kinds[legacy_from..].iter().zip(legacy);
    let deprecations = old.map(|(kind, line)| (kind.resource.clone(), parse_deprecation(kind, line))).collect();
    let by_resource = kinds.iter().enumerate().map(|(at, kind)| (kind.resource.clone(), at)).collect();
    let mut columns: HashMap<_, HashMap<_, Vec<Column>>> = HashMap::new();
    for line in include_str!("generated/columns.txt").lines() {
        let (group, kind, column) = parse_column(line);
        columns.entry(kind).or_default().entry(group).or_default().push(column);
    }
    Builtin { kinds, legacy_from, deprecations, by_resource, columns }
});

/// The built-in kinds, in the order of discovery.
#[must_use]
pub fn builtin() -> &'static [Arc<Kind>] {
    &BUILTIN.kinds[..BUILTIN.legacy_from]
}

/// Kinds in versions that upstream no longer serves, for kubectl 1.20: never preferred, and stored as `convert` says.
#[must_use]
pub fn legacy() -> &'static [Arc<Kind>] {
    &BUILTIN.kinds[BUILTIN.legacy_from..]
}

/// What a client of a legacy kind is warned of; `None` for all others.
#[must_use]
pub fn deprecation(resource: &Resource) -> Option<&'static str> {
    BUILTIN.deprecations.get(resource).map(String::as_str)
}

/// The built-in kinds and the legacy ones, in the order of discovery.
#[must_use]
pub fn served() -> &'static [Arc<Kind>] {
    &BUILTIN.kinds
}

/// The kind of a resource, built in or legacy.
#[must_use]
pub fn find(resource: &Resource) -> Option<&'static Arc<Kind>> {
    BUILTIN.by_resource.get(resource).map(|at| &BUILTIN.kinds[*at])
}

/// The kind that an object's `apiVersion` and `kind` name, built in or legacy.
#[must_use]
pub fn find_kind(group: &str, version: &str, kind: &str) -> Option<&'static Arc<Kind>> {
    let mut all = BUILTIN.kinds.iter();
    all.find(|have| have.kind == kind && have.resource.group == group && have.resource.version == version)
}

/// The table columns of a kind, or `Name` and `Age` for one that has none of its own.
#[must_use]
pub fn columns(group: &str, kind: &str) -> &'static [Column] {
    let all = &BUILTIN.columns;
    let of = |group, kind| all.get(kind)?.get(group);
    of(group, kind).or_else(|| of("*", "*")).map(Vec::as_slice).unwrap_or_default()
}

/// The hash that discovery shows for the version in which objects are stored.
#[must_use]
pub fn storage_version_hash(group: &str, version: &str, kind: &str) -> String {
    let digest = Sha256::digest(format!("{group}/{version}/{kind}"));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

// === impl Kind ===

impl Kind {
    /// The field table's type; `None` for custom resources.
    #[must_use]
    pub fn schema(&self) -> Option<TypeRef> {
        self.schema
    }

    /// The type of a list of this kind; `None` for custom resources and for what cannot be listed.
    #[must_use]
    pub fn list_schema(&self) -> Option<TypeRef> {
        let package = self.schema?.package();
        fields::type_of(package, &self.list_kind)
    }

    #[must_use]
    pub fn group(&self) -> &str {
        &self.resource.group
    }

    #[must_use]
    pub fn version(&self) -> &str {
        &self.resource.version
    }

    /// `v1` or `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        self.resource.api_version()
    }

    #[must_use]
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|have| have == verb)
    }

    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|have| have.name == name)
    }

    /// True for custom resources, whose objects carry no field table.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        self.custom.is_some()
    }
}

// === impl Subresource ===

impl Subresource {
    /// The `apiVersion` of the subresource's own kind.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The type of its body; `None` where it has none in the table.
    #[must_use]
    pub fn schema(&self) -> Option<TypeRef> {
        fields::type_of_kind(&self.group, &self.version, &self.kind)
    }

    #[must_use]
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|have| have == verb)
    }
}

fn words(cell: &str, separator: char) -> Vec<String> {
    cell.split(separator).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// How many cells of a line say what a kind is.
const CELLS: usize = 13;

fn parse(line: &'static str) -> Kind {
    let cells: Vec<&'static str> = line.split('\t').take(CELLS).collect();
    let [
        group,
        version,
        kind,
        list_kind,
        plural,
        singular,
        scope,
        short,
        categories,
        verbs,
        below,
        below_verbs,
        package,
    ] = cells[..]
    else {
        panic!("the kind table has a line of {} cells: {line}", cells.len());
    };
    let verbs = words(verbs, ',');
    let is_stored = verbs.iter().any(|verb| verb == "create") && verbs.iter().any(|verb| verb == "get");
    let hash = || storage_version_hash(storage_group(group, kind), storage_version(group, version), kind);
    Kind {
        resource: Resource { group: group.into(), version: version.into(), plural: plural.into() },
        kind: kind.to_owned(),
        list_kind: list_kind.to_owned(),
        singular: singular.to_owned(),
        namespaced: scope == "y",
        short_names: words(short, ','),
        categories: words(categories, ','),
        verbs,
        subresources: words(below, ';').iter().map(|one| parse_subresource(one, below_verbs)).collect(),
        schema: fields::type_of(package, kind),
        custom: None,
        storage_version_hash: if is_stored { hash() } else { String::new() },
    }
}

/// The words of upstream's `Warning`, from the cells after those of the kind: since when, until when, and what instead.
fn parse_deprecation(kind: &Kind, line: &str) -> String {
    let mut cells = line.split('\t').skip(CELLS);
    let mut next = || cells.next().unwrap_or_default();
    let (since, until, instead) = (next(), next(), next());
    let mut text = format!("{} {} is deprecated in v{since}+, unavailable in v{until}+", kind.api_version(), kind.kind);
    if let Some((version, kind)) = instead.split_once(':') {
        text += &format!("; use {version} {kind}");
    }
    text
}

/// Events of both groups are stored as core events, and Ingresses of old as those of now.
fn storage_group(group: &'static str, kind: &str) -> &'static str {
    match (group, kind) {
        ("events.k8s.io", "Event") => "",
        ("extensions", _) => "networking.k8s.io",
        _ => group,
    }
}

/// All versions of a HorizontalPodAutoscaler are stored as v2 (since 1.30), and versions of old as v1.
fn storage_version(group: &str, version: &'static str) -> &'static str {
    match (group, version) {
        ("autoscaling", _) => "v2",
        (_, "v1beta1") => "v1",
        _ => version,
    }
}

/// `name:Kind:group/version`, with its verbs from `name=verb,verb;…`.
fn parse_subresource(text: &str, verbs: &str) -> Subresource {
    let mut parts = text.splitn(3, ':');
    let mut next = || parts.next().unwrap_or_default();
    let (name, kind, api_version) = (next(), next(), next());
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let own = verbs.split(';').find_map(|one| one.strip_prefix(name)?.strip_prefix('='));
    Subresource {
        name: name.to_owned(),
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        verbs: words(own.unwrap_or_default(), ','),
    }
}

fn parse_column(line: &'static str) -> (&'static str, &'static str, Column) {
    let mut cells = line.split('\t');
    let mut next = || cells.next().unwrap_or_default();
    let (group, kind) = (next(), next());
    let (name, value_type, format) = (next(), next(), next());
    (group, kind, Column { name, value_type, format, priority: next().parse().unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{DEPLOYMENTS, PODS};

    #[test]
    fn builtin_kinds() {
        let pods = find(&PODS).unwrap();
        assert_eq!((pods.kind.as_str(), pods.list_kind.as_str(), pods.namespaced), ("Pod", "PodList", true));
        assert_eq!(pods.short_names, ["po"]);
        assert_eq!(pods.subresource("eviction").unwrap().api_version(), "policy/v1");
        assert_eq!(pods.storage_version_hash, "xPOwRZ+Yhw8=");
        assert!(pods.has_verb("deletecollection") && !pods.has_verb("log"));
        assert!(find_kind("apps", "v1", "Deployment").unwrap().subresource("scale").unwrap().has_verb("patch"));
        for kind in builtin() {
            assert!(kind.schema().is_some(), "{} has no field table", kind.resource);
            assert!(kind.list_kind.is_empty() || kind.list_schema().is_some(), "{} has no list", kind.resource);
            for below in &kind.subresources {
                assert!(below.schema().is_some(), "{}/{} has no field table", kind.resource, below.name);
                assert!(!below.verbs.is_empty());
            }
        }
    }

    #[test]
    fn legacy_kinds_are_deprecated() {
        let roles = Resource::new("rbac.authorization.k8s.io", "v1beta1", "roles");
        let text = "rbac.authorization.k8s.io/v1beta1 Role is deprecated in v1.17+, unavailable in v1.22+; \
                    use rbac.authorization.k8s.io/v1 Role";
        assert_eq!(deprecation(&roles), Some(text));
        assert_eq!(find(&roles).unwrap().storage_version_hash, "7FuwZcIIItM=");
        assert_eq!(deprecation(&PODS), None);
    }

    #[test]
    fn printed_columns() {
        let names = |group, kind| columns(group, kind).iter().map(|column| column.name).collect::<Vec<_>>();
        assert_eq!(names("", "Pod")[..5], ["Name", "Ready", "Status", "Restarts", "Age"]);
        assert_eq!(names("none", "None"), ["Name", "Created At"]);
        assert_eq!(find(&DEPLOYMENTS).unwrap().storage_version_hash, "8aSe+NMegvE=");
    }
}
