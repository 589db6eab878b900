//! What a list or a watch selects.

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
    labels: Labels,
    fields: Fields,
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
        let filter = Filter { kind, collection, prefix, node, labels, fields: parsed };
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
