//! Whether a pod may be on a node: tolerations, node selectors and required node affinity (kube-scheduler's filters).

use super::meta::LabelSelectorRequirement;
use super::node::{Node, Taint};
use super::pod::{NodeSelectorTerm, PodSpec, Toleration};
use std::collections::BTreeMap;

impl Toleration {
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        let key = self.key.is_empty() || self.key == taint.key;
        let value = self.operator == "Exists" || (!self.key.is_empty() && self.value == taint.value);
        let effect = self.effect.is_empty() || self.effect == taint.effect;
        key && value && effect
    }
}

impl PodSpec {
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.tolerations.iter().any(|toleration| toleration.tolerates(taint))
    }

    /// The node selector and the required node affinity; taints are another matter.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>, name: &str) -> bool {
        let selected = self.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value));
        let affinity = self.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        let required = affinity.and_then(|affinity| affinity.required.as_ref());
        selected
            && required.is_none_or(|required| required.node_selector_terms.iter().any(|term| term.meets(labels, name)))
    }

    /// The one node that the required affinity names, as pods of DaemonSets have it before they are bound.
    #[must_use]
    pub fn destined(&self) -> Option<&str> {
        let required = self.affinity.as_ref()?.node_affinity.as_ref()?.required.as_ref()?;
        let mut fields = required.node_selector_terms.iter().flat_map(|term| &term.match_fields);
        let named = fields.find(|field| field.key == "metadata.name" && field.operator == "In")?;
        named.values.first().map(String::as_str)
    }
}

impl NodeSelectorTerm {
    /// An empty term meets nothing.
    #[must_use]
    pub fn meets(&self, labels: &BTreeMap<String, String>, name: &str) -> bool {
        let has_any = !self.match_expressions.is_empty() || !self.match_fields.is_empty();
        let fits = self.match_expressions.iter().all(|one| holds(one, labels.get(&one.key).map(String::as_str)));
        let fields = self.match_fields.iter().all(|one| holds(one, (one.key == "metadata.name").then_some(name)));
        has_any && fits && fields
    }
}

impl Node {
    /// The taints that keep a pod away, or drive it out, and that it does not tolerate.
    pub fn untolerated<'a>(&'a self, spec: &'a PodSpec) -> impl Iterator<Item = &'a Taint> {
        self.spec.taints.iter().filter(|taint| taint.effect != "PreferNoSchedule" && !spec.tolerates(taint))
    }
}

fn holds(requirement: &LabelSelectorRequirement, value: Option<&str>) -> bool {
    let has = |value: &str| requirement.values.iter().any(|known| known == value);
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let bound = number(requirement.values.first().map(String::as_str));
    match requirement.operator.as_str() {
        "In" => value.is_some_and(has),
        "NotIn" => !value.is_some_and(has),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(value).zip(bound).is_some_and(|(value, bound)| value > bound),
        "Lt" => number(value).zip(bound).is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}
