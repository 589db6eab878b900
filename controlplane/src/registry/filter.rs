//! What a list or a watch selects.

use super::fields::Place;
use super::index::{By, Exact};
use super::shelf::Stored;
use super::{Call, fields, keys};
use api::kinds::Kind;
use api::selector::{Fields, Labels};
use api::{Object, Rejected};
use std::borrow::Cow;
use std::sync::Arc;

#[derive(Debug, Clone)]
pub(super) struct Filter {
    kind: Arc<Kind>,
    pub(super) collection: String,
    /// `<namespace>/`, or nothing for all.
    pub(super) prefix: String,
    /// Set where the selector names one node's pods: an index answers that.
    pub(super) node: Option<String>,
    /// One value of all that it selects, that tells few from many: an index of it may answer.
    pub(super) exact: Option<Exact>,
    labels: Labels,
    fields: Fields,
}

/// The field or label that tells the most.
fn exact(kind: &Kind, labels: &Labels, fields: &Fields) -> Option<Exact> {
    let fields = fields.requirements().iter().filter(|one| one.equal);
    let fields = fields.map(|one| (Place::of(kind, &one.path), &one.value));
    let best = fields
        .filter(|(place, _)| place.rank() > 0)
        .reduce(|best, other| if other.0.rank() > best.0.rank() { other } else { best });
    if let Some((place, value)) = best {
        return Some(Exact { by: By::Field(place), value: value.as_str().into() });
    }
    let (key, value) = labels.exact()?;
    Some(Exact { by: By::Label(key.into()), value: value.into() })
}

impl Filter {
    pub(super) fn parse(call: &Call<'_>, labels: &str, fields: &str) -> Result<Filter, Rejected> {
        let labels = Labels::parse(labels).map_err(Rejected::bad_request)?;
        let mut parsed = Fields::parse(fields).map_err(Rejected::bad_request)?;
        parsed = parsed.renamed(|path| fields::current(call.kind, path));
        for requirement in parsed.requirements() {
            fields::check(call.kind, &requirement.path)?;
        }
        if !call.name.is_empty() {
            parsed = parsed.and("metadata.name", call.name);
        }
        let collection = keys::collection(&call.kind.resource);
        let node = (collection == "core/pods").then(|| parsed.exact("spec.nodeName")).flatten();
        let node = node.filter(|node| !node.is_empty()).map(str::to_owned);
        let prefix = call.namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default();
        let kind = Arc::clone(call.kind);
        let exact = exact(&kind, &labels, &parsed);
        let filter = Filter { kind, collection, prefix, node, exact, labels, fields: parsed };
        filter.check_node(call)?;
        Ok(filter)
    }

    /// A node sees its own pods only (Kubernetes' node authorizer).
    fn check_node(&self, call: &Call<'_>) -> Result<(), Rejected> {
        let Some(node) = call.user.as_node().filter(|_| self.is_of_pods()) else { return Ok(()) };
        if self.node.as_deref() == Some(node) {
            return Ok(());
        }
        let why = format!("node {node:?} may list and watch pods only with the field selector spec.nodeName={node}");
        Err(Rejected::forbidden(&call.kind.resource, "", why))
    }

    pub(super) fn selects(&self, stored: &Stored) -> bool {
        let object = &stored.object;
        self.is_in_prefix(object)
            && self.labels.matches(|key| object.label(key))
            && self.fields.matches(|path| Some(fields::value(&self.kind, path, stored)))
    }

    pub(super) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(super) fn is_of_pods(&self) -> bool {
        self.collection == "core/pods"
    }

    fn is_in_prefix(&self, object: &Object) -> bool {
        let namespace: Cow<'_, str> = self.prefix.trim_end_matches('/').into();
        namespace.is_empty() || *namespace == *object.namespace()
    }
}
