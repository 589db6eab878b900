//! What a list or a watch selects.

use super::shelf::Stored;
use super::{Call, fields, keys};
use api::selector::{Fields, Labels};
use api::{Object, Rejected};
use std::borrow::Cow;

#[derive(Debug, Clone)]
pub(super) struct Filter {
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
        let bad = |error: String| Rejected::bad_request(format!("unable to parse requirement: {error}"));
        let labels = Labels::parse(labels).map_err(bad)?;
        let mut parsed = Fields::parse(fields).map_err(Rejected::bad_request)?;
        if !call.name.is_empty() {
            parsed = parsed.and("metadata.name", call.name);
        }
        let collection = keys::collection(&call.kind.resource);
        for requirement in parsed.requirements() {
            fields::check(&collection, &requirement.path)?;
        }
        let node = (collection == "core/pods").then(|| parsed.exact("spec.nodeName")).flatten();
        let node = node.filter(|node| !node.is_empty()).map(str::to_owned);
        let prefix = call.namespace.map(|namespace| format!("{namespace}/")).unwrap_or_default();
        let filter = Filter { collection, prefix, node, labels, fields: parsed };
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
            && self.fields.matches(|path| Some(fields::value(&self.collection, path, stored)))
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
