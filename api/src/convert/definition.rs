//! CustomResourceDefinitions: what `v1beta1` says once for all versions, `v1` says in each.

use super::{Way, rename};
use crate::Tree;
use crate::walk::{Members, child, each, make, put, word};
use serde_json::json;

/// Below the spec in `v1beta1`, and in a version of `v1`.
const SHARED: [(&str, &str); 4] = [
    ("validation", "schema"),
    ("subresources", "subresources"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];

pub(super) fn change(object: &mut Members, way: Way) {
    let Some(spec) = child(object, "spec") else { return };
    match way {
        Way::In => into_v1(spec),
        Way::Out => out_of_v1(spec),
    }
}

fn into_v1(spec: &mut Members) {
    let version = word(spec, "version").to_owned();
    spec.shift_remove("version");
    put(spec, "versions", json!([{"name": version, "served": true, "storage": true}]));
    // Unknown fields are kept unless it says otherwise; `v1` says that in the schema alone.
    let keeps = spec.shift_remove("preserveUnknownFields") != Some(Tree::Bool(false));
    let shared = SHARED.map(|(above, below)| (below, spec.shift_remove(above)));
    for version in each(spec, "versions") {
        for (key, value) in &shared {
            value.iter().for_each(|value| put(version, key, value.clone()));
        }
        let schema = make(version, "schema").and_then(|schema| make(schema, "openAPIV3Schema"));
        if let Some(schema) = schema {
            put(schema, "type", "object");
            if keeps {
                put(schema, "x-kubernetes-preserve-unknown-fields", true);
            }
        }
        each(version, "additionalPrinterColumns").for_each(|column| rename(column, "JSONPath", "jsonPath"));
    }
    let Some(conversion) = child(spec, "conversion") else { return };
    let review = "conversionReviewVersions";
    for (above, below) in [("webhookClientConfig", "clientConfig"), (review, review)] {
        if let Some(value) = conversion.shift_remove(above)
            && let Some(webhook) = make(conversion, "webhook")
        {
            webhook.insert(below.to_owned(), value);
        }
    }
}

fn out_of_v1(spec: &mut Members) {
    for version in each(spec, "versions") {
        each(version, "additionalPrinterColumns").for_each(|column| rename(column, "jsonPath", "JSONPath"));
    }
    let first = each(spec, "versions").next().map(|version| version.clone());
    if let Some(first) = first {
        spec.insert("version".to_owned(), word(&first, "name").into());
        for (above, below) in SHARED {
            let Some(value) = first.get(below) else { continue };
            if each(spec, "versions").all(|version| version.get(below) == Some(value)) {
                each(spec, "versions").for_each(|version| {
                    version.shift_remove(below);
                });
                spec.insert(above.to_owned(), value.clone());
            }
        }
    }
    put(spec, "preserveUnknownFields", false);
    let Some(conversion) = child(spec, "conversion") else { return };
    if let Some(Tree::Object(webhook)) = conversion.shift_remove("webhook") {
        for (key, value) in webhook {
            let key = if key == "clientConfig" { "webhookClientConfig".to_owned() } else { key };
            conversion.insert(key, value);
        }
    }
}
