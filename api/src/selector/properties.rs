//! Properties of selectors, on drawn cases.

use super::*;
use crate::view::{LabelSelector, LabelSelectorRequirement};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() }
}

fn words() -> impl Strategy<Value = String> {
    "[a-d]{1,2}"
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(words(), words(), 0..4)
}

/// A requirement as a client writes it in an object.
fn requirements() -> impl Strategy<Value = LabelSelectorRequirement> {
    // The query form tells a value once.
    let values = prop::collection::btree_set(words(), 1..4);
    let with_values = (words(), prop::bool::ANY, values).prop_map(|(key, is_in, values)| {
        let operator = if is_in { "In" } else { "NotIn" }.to_owned();
        LabelSelectorRequirement { key, operator, values: values.into_iter().collect() }
    });
    let without = (words(), prop::bool::ANY).prop_map(|(key, exists)| {
        let operator = if exists { "Exists" } else { "DoesNotExist" }.to_owned();
        LabelSelectorRequirement { key, operator, values: Vec::new() }
    });
    prop_oneof![with_values, without]
}

fn matches(selector: &Labels, labels: &BTreeMap<String, String>) -> bool {
    selector.matches(|key| labels.get(key).map(String::as_str))
}

/// What a requirement means, said in another way.
fn holds(one: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&one.key);
    match one.operator.as_str() {
        "In" => value.is_some_and(|value| one.values.contains(value)),
        "NotIn" => !value.is_some_and(|value| one.values.contains(value)),
        "Exists" => value.is_some(),
        _ => value.is_none(),
    }
}

proptest! {
    #![proptest_config(cases())]

    /// A selector matches what all its requirements hold for.
    #[test]
    fn all_requirements_hold(
        exact in labels(), more in prop::collection::vec(requirements(), 0..4), labels in labels()
    ) {
        let expect = exact.iter().all(|(key, value)| labels.get(key) == Some(value))
            && more.iter().all(|one| holds(one, &labels));
        let view = LabelSelector { match_labels: exact.into_iter().collect(), match_expressions: more };
        prop_assert_eq!(matches(&Labels::from_view(&view), &labels), expect);
    }

    /// The query form of a selector reads back as the same selector.
    #[test]
    fn the_query_form_reads_back(
        exact in labels(), more in prop::collection::vec(requirements(), 0..4), labels in labels()
    ) {
        let view = LabelSelector { match_labels: exact.into_iter().collect(), match_expressions: more };
        let selector = Labels::from_view(&view);
        let shown = selector.to_string();
        let again = Labels::parse(&shown).map_err(|why| TestCaseError::fail(format!("{shown}: {why}")))?;
        prop_assert_eq!(again.to_string(), shown);
        prop_assert_eq!(matches(&again, &labels), matches(&selector, &labels));
    }

    /// A requirement and its opposite never hold together, and one of them always does.
    #[test]
    fn opposites(key in words(), values in prop::collection::vec(words(), 1..4), labels in labels()) {
        let list = values.join(",");
        for (one, other) in [
            (format!("{key} in ({list})"), format!("{key} notin ({list})")),
            (key.clone(), format!("!{key}")),
            (format!("{key}={}", values[0]), format!("{key}!={}", values[0])),
        ] {
            let [one, other] = [one, other].map(|text| matches(&Labels::parse(&text).unwrap(), &labels));
            prop_assert_ne!(one, other);
        }
    }

    /// Whatever comes in, nothing breaks.
    #[test]
    fn any_text(text in "[a-c,!=<>() ]{0,24}", labels in labels()) {
        if let Ok(selector) = Labels::parse(&text) {
            let again = Labels::parse(&selector.to_string());
            let again = again.map_err(|why| TestCaseError::fail(format!("{text}: {selector}: {why}")))?;
            prop_assert_eq!(matches(&again, &labels), matches(&selector, &labels), "{} {}", text, selector);
        }
    }
}
