//! A CustomResourceDefinition, as it is read: its kinds, one for each version that is served.

use super::columns::Column;
use super::conversion::Webhook;
use super::json_path::Path;
use super::rules::Rules;
use super::schema::Schema;
use crate::kinds::{self, Kind, Subresource};
use crate::walk::{at, list, text};
use crate::{Resource, Tree};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// In the order in which upstream's discovery prints them.
const VERBS: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
const BELOW: [&str; 3] = ["get", "patch", "update"];

/// A definition that is stored.
#[derive(Debug, Clone)]
pub struct Definition {
    /// What it serves; empty until it is established.
    pub kinds: Vec<Arc<Kind>>,
}

/// What a kind that somebody defined has beyond the built-in ones.
pub struct Custom {
    pub schema: Schema,
    /// The schema as it was written: what OpenAPI shows.
    pub source: Tree,
    pub columns: Vec<Column>,
    pub scale: Option<Scale>,
    /// Fields that a field selector may name.
    pub selectable: Vec<Path>,
    /// The kind whose version is stored, where that is another one.
    pub stored: Option<Arc<Kind>>,
    /// Who makes one version of another; `None`: they differ in their name alone.
    pub webhook: Option<Webhook>,
    /// The store's revision from which on objects are stored as this schema has them.
    pub since: u64,
    /// The definition is being deleted: nothing new is created.
    pub is_ending: bool,
    /// What users of a deprecated version are warned with.
    pub warning: Option<String>,
    /// The schema's rules, compiled when the first object comes.
    rules: OnceLock<Option<Rules>>,
}

/// Where an object keeps what its `scale` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    pub wanted: Vec<String>,
    pub running: Vec<String>,
    pub selector: Option<Vec<String>>,
}

// === impl Definition ===

impl Definition {
    /// Reads a definition that was written at `revision`.
    #[must_use]
    pub fn read(tree: &Tree, revision: u64) -> Definition {
        let versions = list(tree, &["spec", "versions"]);
        if !is_true(tree, "Established") {
            return Definition { kinds: Vec::new() };
        }
        let is_stored = |version: &&Tree| version.get("storage").and_then(Tree::as_bool) == Some(true);
        let stored = versions.iter().find(is_stored).map(|version| Arc::new(kind(tree, version, None, revision)));
        let served = versions.iter().filter(|version| version.get("served").and_then(Tree::as_bool) == Some(true));
        let one = |version: &Tree| match &stored {
            Some(stored) if *stored.version() == *text(version, &["name"]) => Arc::clone(stored),
            stored => Arc::new(kind(tree, version, stored.clone(), revision)),
        };
        Definition { kinds: served.map(one).collect() }
    }

    /// Notes what is as it was before, so that objects stored since then need no second look.
    pub fn inherit(&mut self, before: &Definition) {
        for kind in &mut self.kinds {
            if let Some(same) = before.kinds.iter().find(|before| before == &kind) {
                *kind = Arc::clone(same);
            }
        }
    }
}

/// Whether a condition of the definition is true.
#[must_use]
pub fn is_true(tree: &Tree, condition: &str) -> bool {
    list(tree, &["status", "conditions"])
        .iter()
        .any(|one| text(one, &["type"]) == condition && text(one, &["status"]) == "True")
}

fn kind(tree: &Tree, version: &Tree, stored: Option<Arc<Kind>>, revision: u64) -> Kind {
    let name = |key: &str| text(tree, &["status", "acceptedNames", key]).to_owned();
    let names = |key: &str| {
        let all = list(tree, &["status", "acceptedNames", key]).iter();
        all.filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let (group, version_name) = (text(tree, &["spec", "group"]), text(version, &["name"]));
    let mut subresources = Vec::new();
    let below = |name: &str, group: &str, version: &str, kind: String| Subresource {
        name: name.to_owned(),
        group: group.to_owned(),
        version: version.to_owned(),
        kind,
        verbs: BELOW.map(str::to_owned).to_vec(),
    };
    if at(version, &["subresources", "status"]).is_some() {
        subresources.push(below("status", group, version_name, name("kind")));
    }
    let scale = at(version, &["subresources", "scale"]).and_then(Scale::read);
    if scale.is_some() {
        subresources.push(below("scale", "autoscaling", "v1", "Scale".to_owned()));
    }
    let stored_version = stored.as_ref().map_or(version_name, |stored| stored.version()).to_owned();
    let custom = Custom::read(tree, version, scale, stored, revision);
    Kind {
        resource: Resource::new(group.to_owned(), version_name.to_owned(), name("plural")),
        storage_version_hash: kinds::storage_version_hash(group, &stored_version, &name("kind")),
        kind: name("kind"),
        list_kind: name("listKind"),
        singular: name("singular"),
        namespaced: text(tree, &["spec", "scope"]) == "Namespaced",
        short_names: names("shortNames"),
        categories: names("categories"),
        verbs: VERBS.map(str::to_owned).to_vec(),
        subresources,
        schema: None,
        custom: Some(Arc::new(custom)),
    }
}

// === impl Custom ===

impl Custom {
    fn read(tree: &Tree, version: &Tree, scale: Option<Scale>, stored: Option<Arc<Kind>>, since: u64) -> Custom {
        let source = at(version, &["schema", "openAPIV3Schema"]).cloned().unwrap_or_default();
        let columns = list(version, &["additionalPrinterColumns"]);
        let selectable = list(version, &["selectableFields"]).iter();
        let is_deprecated = version.get("deprecated").and_then(Tree::as_bool) == Some(true);
        let told = || match text(version, &["deprecationWarning"]) {
            "" => {
                let (group, version) = (text(tree, &["spec", "group"]), text(version, &["name"]));
                format!("{group}/{version} {} is deprecated", text(tree, &["spec", "names", "kind"]))
            }
            told => told.to_owned(),
        };
        Custom {
            schema: Schema::read(&source),
            source,
            columns: match columns {
                [] => vec![Column::age()],
                columns => columns.iter().filter_map(Column::read).collect(),
            },
            scale,
            selectable: selectable.filter_map(|one| Path::parse(text(one, &["jsonPath"])).ok()).collect(),
            stored,
            webhook: Webhook::read(tree),
            since,
            is_ending: is_true(tree, "Terminating"),
            warning: is_deprecated.then(told),
            rules: OnceLock::new(),
        }
    }

    /// What `x-kubernetes-validations` ask of objects; none if they ask nothing.
    pub(super) fn rules(&self) -> Option<&Rules> {
        self.rules.get_or_init(|| Rules::compile(&self.schema)).as_ref()
    }
}

/// Equal if they make the same of every object.
impl PartialEq for Custom {
    fn eq(&self, other: &Custom) -> bool {
        self.source == other.source
            && self.columns == other.columns
            && self.scale == other.scale
            && self.stored == other.stored
            && self.webhook == other.webhook
            && self.selectable == other.selectable
            && self.is_ending == other.is_ending
            && self.warning == other.warning
    }
}

impl Eq for Custom {}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Custom({})", self.source)
    }
}

// === impl Scale ===

impl Scale {
    fn read(tree: &Tree) -> Option<Scale> {
        let members = |key: &str| -> Option<Vec<String>> {
            let path = Path::parse(text(tree, &[key])).ok()?;
            Some(path.members()?.into_iter().map(str::to_owned).collect())
        };
        Some(Scale {
            wanted: members("specReplicasPath")?,
            running: members("statusReplicasPath")?,
            selector: members("labelSelectorPath"),
        })
    }
}
