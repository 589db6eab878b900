//! Whether a CustomResourceDefinition may be stored, in the words of upstream's validation.
//!
//! Upstream keeps what all versions have in common (schema, subresources, columns) as one and names it so: paths begin
//! with `spec.validation`, `spec.subresources` or `spec.additionalPrinterColumns` then, and with the version otherwise.

mod rules;
mod schema;

use super::json_path::Path;
use super::names::{APPROVED, UNAPPROVED, is_protected};
use crate::rejected::Cause;
use crate::walk::{at, list, text};
use crate::{Tree, names};

const SCOPES: [&str; 2] = ["Cluster", "Namespaced"];
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 9] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "name", "password"];
/// The most fields of one version that a selector may name.
const SELECTABLE_MAX: usize = 8;

/// What is wrong with a definition; `old` is what it replaces.
#[must_use]
pub fn definition(tree: &Tree, old: Option<&Tree>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (group, plural) = (text(tree, &["spec", "group"]), text(tree, &["spec", "names", "plural"]));
    if old.is_none() && text(tree, &["metadata", "name"]) != format!("{plural}.{group}") {
        let name = text(tree, &["metadata", "name"]).into();
        causes.push(Cause::invalid("metadata.name", &name, "must be spec.names.plural+\".\"+spec.group"));
    }
    group_name(group, &mut causes);
    match text(tree, &["spec", "scope"]) {
        "" => causes.push(Cause::required("spec.scope", "")),
        scope if SCOPES.contains(&scope) => {}
        scope => causes.push(Cause::unsupported("spec.scope", &scope.into(), &SCOPES)),
    }
    versions(tree, &mut causes);
    required_names(tree, &mut causes);
    well_formed_names(tree, &mut causes);
    conversion(tree, &mut causes);
    if at(tree, &["spec", "preserveUnknownFields"]).and_then(Tree::as_bool) == Some(true) {
        keeps_unknown(tree, &mut causes);
    }
    stored_versions(tree, &mut causes);
    if old.is_none() {
        approval(tree, group, &mut causes);
    }
    causes
}

fn group_name(group: &str, causes: &mut Vec<Cause>) {
    let field = "spec.group";
    if group.is_empty() {
        return causes.push(Cause::required(field, ""));
    }
    let wrong = names::dns_subdomain(group);
    if !wrong.is_empty() {
        causes.push(Cause::invalid(field, &group.into(), wrong.join(",")));
    } else if !group.contains('.') {
        causes.push(Cause::invalid(field, &group.into(), "should be a domain with at least one dot"));
    }
}

fn is_true(tree: &Tree, key: &str) -> bool {
    tree.get(key).and_then(Tree::as_bool) == Some(true)
}

/// Where a part of a version is, to upstream: a place of all versions if they have the same there.
fn place(all: &[Tree], at: usize, key: &str, common: &str) -> String {
    let is_common = all.iter().all(|version| version.get(key) == all[0].get(key));
    if is_common { format!("spec.{common}") } else { format!("spec.versions[{at}].{key}") }
}

fn versions(tree: &Tree, causes: &mut Vec<Cause>) {
    let all = list(tree, &["spec", "versions"]);
    for (at, version) in all.iter().enumerate() {
        let name = text(version, &["name"]);
        let wrong = names::dns_label_1035(name);
        if !wrong.is_empty() {
            causes.push(Cause::invalid(format!("spec.versions[{at}].name"), &name.into(), wrong.join(",")));
        }
        if version.get("deprecationWarning").is_some() && !is_true(version, "deprecated") {
            let why = "can only be set for deprecated versions";
            let given = version.get("deprecationWarning").cloned().unwrap_or_default();
            causes.push(Cause::invalid(format!("spec.versions[{at}].deprecationWarning"), &given, why));
        }
    }
    let shown = at(tree, &["spec", "versions"]).cloned().unwrap_or_default();
    let is_twice =
        |(at, version): (usize, &Tree)| all[..at].iter().any(|other| other.get("name") == version.get("name"));
    if all.iter().enumerate().any(is_twice) {
        causes.push(Cause::invalid("spec.versions", &shown, "must contain unique version names"));
    }
    if all.iter().filter(|version| is_true(version, "storage")).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", &shown, why));
    }
    let first = all.first().map(|version| text(version, &["name"])).unwrap_or_default();
    let wrong = if all.is_empty() { Vec::new() } else { names::dns_label_1035(first) };
    if !wrong.is_empty() {
        causes.push(Cause::invalid("spec.version", &first.into(), wrong.join(",")));
    }
    for (at, version) in all.iter().enumerate() {
        let (schema, below, columns) = (
            place(all, at, "schema", "validation"),
            place(all, at, "subresources", "subresources"),
            place(all, at, "additionalPrinterColumns", "additionalPrinterColumns"),
        );
        // What they have in common is told once.
        let is_first = |path: &str| at == 0 || path.starts_with("spec.versions[");
        if is_first(&schema) {
            self::schema(version, at, &schema, causes);
        }
        if is_first(&below) {
            scale(version, &below, causes);
        }
        if is_first(&columns) {
            printer_columns(version, &columns, causes);
        }
        selectable(version, &format!("spec.versions[{at}].selectableFields"), causes);
    }
}

fn schema(version: &Tree, number: usize, path: &str, causes: &mut Vec<Cause>) {
    let Some(schema) = at(version, &["schema", "openAPIV3Schema"]) else {
        let field = format!("spec.versions[{number}].schema.openAPIV3Schema");
        return causes.push(Cause::required(field, "schemas are required"));
    };
    let has_status = at(version, &["subresources", "status"]).is_some();
    schema::check(schema, has_status, &format!("{path}.openAPIV3Schema"), causes);
}

fn scale(version: &Tree, path: &str, causes: &mut Vec<Cause>) {
    let Some(scale) = at(version, &["subresources", "scale"]) else { return };
    for (key, roots, told) in [
        ("specReplicasPath", &[".spec."][..], ".spec"),
        ("statusReplicasPath", &[".status."], ".status"),
        ("labelSelectorPath", &[".status.", ".spec."], "either .spec or .status"),
    ] {
        let (field, given) = (format!("{path}.scale.{key}"), text(scale, &[key]));
        if given.is_empty() {
            if key != "labelSelectorPath" {
                causes.push(Cause::required(field, ""));
            }
        } else if let Some(why) = simple_path(given) {
            causes.push(Cause::invalid(field, &given.into(), why));
        } else if !roots.iter().any(|root| given.starts_with(root)) {
            causes.push(Cause::invalid(field, &given.into(), format!("should be a json path under {told}")));
        }
    }
}

/// What is wrong with a path of members alone.
fn simple_path(path: &str) -> Option<&'static str> {
    if !path.starts_with('.') {
        return Some("must be a simple json path starting with .");
    }
    let is_simple = Path::parse(path).is_ok_and(|path| path.members().is_some());
    if is_simple { None } else { Some("must be a simple json path with only member access") }
}

fn printer_columns(version: &Tree, path: &str, causes: &mut Vec<Cause>) {
    for (at, column) in list(version, &["additionalPrinterColumns"]).iter().enumerate() {
        let told = |key: &str| format!("{path}[{at}].{key}");
        if text(column, &["name"]).is_empty() {
            causes.push(Cause::required(told("name"), ""));
        }
        let allowed = format!("must be one of {}", COLUMN_TYPES.join(","));
        match text(column, &["type"]) {
            "" => causes.push(Cause::required(told("type"), allowed)),
            known if COLUMN_TYPES.contains(&known) => {}
            other => causes.push(Cause::invalid(told("type"), &other.into(), allowed)),
        }
        let format = text(column, &["format"]);
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let allowed = format!("must be one of {}", COLUMN_FORMATS.join(","));
            causes.push(Cause::invalid(told("format"), &format.into(), allowed));
        }
        let given = text(column, &["jsonPath"]);
        if given.is_empty() {
            causes.push(Cause::required(told("jsonPath"), ""));
        } else if let Err(why) = Path::parse(given) {
            causes.push(Cause::invalid(told("jsonPath"), &given.into(), why));
        }
    }
}

fn selectable(version: &Tree, path: &str, causes: &mut Vec<Cause>) {
    let all = list(version, &["selectableFields"]);
    for (number, one) in all.iter().enumerate() {
        let (field, given) = (format!("{path}[{number}].jsonPath"), text(one, &["jsonPath"]));
        if given.is_empty() {
            causes.push(Cause::required(field, ""));
        } else if let Some(why) = simple_path(given) {
            causes.push(Cause::invalid(field, &given.into(), why));
        } else if given.starts_with(".metadata.") {
            causes.push(Cause::invalid(field, &given.into(), "must not point to fields in metadata"));
        } else if all[..number].iter().any(|other| text(other, &["jsonPath"]) == given) {
            causes.push(Cause::duplicate(field, &given.into()));
        } else if let Some(why) = unselectable(version, given) {
            causes.push(Cause::invalid(field, &given.into(), why));
        }
    }
    if all.len() > SELECTABLE_MAX {
        let message = format!("Too many: {}: must have at most {SELECTABLE_MAX} items", all.len());
        causes.push(Cause { reason: "FieldValueTooMany".to_owned(), message, field: path.to_owned() });
    }
}

/// Why a selector cannot name a field: it must be a string, a boolean or a whole number.
fn unselectable(version: &Tree, given: &str) -> Option<&'static str> {
    let path = Path::parse(given).ok()?;
    let mut schema = at(version, &["schema", "openAPIV3Schema"])?;
    for member in path.members()? {
        match at(schema, &["properties", member]) {
            Some(below) => schema = below,
            None => return Some("is an invalid path: does not refer to a valid field"),
        }
    }
    match text(schema, &["type"]) {
        "string" | "boolean" | "integer" => None,
        _ => Some(
            "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
        ),
    }
}

fn required_names(tree: &Tree, causes: &mut Vec<Cause>) {
    for key in ["plural", "singular", "kind", "listKind"] {
        // What is made of the kind is missing for the kind's sake.
        let is_made = matches!(key, "singular" | "listKind") && text(tree, &["spec", "names", "kind"]).is_empty();
        if text(tree, &["spec", "names", key]).is_empty() && !is_made {
            causes.push(Cause::required(format!("spec.names.{key}"), ""));
        }
    }
}

fn well_formed_names(tree: &Tree, causes: &mut Vec<Cause>) {
    let mut label = |field: String, given: &str, any_case: bool| {
        if given.is_empty() {
            return;
        }
        let lower = if any_case { given.to_lowercase() } else { given.to_owned() };
        let wrong = names::dns_label_1035(&lower).join(",");
        if !wrong.is_empty() {
            let words = if any_case { "may have mixed case, but should otherwise match: " } else { "" };
            causes.push(Cause::invalid(field, &given.into(), format!("{words}{wrong}")));
        }
    };
    let name = |key: &str| text(tree, &["spec", "names", key]);
    label("spec.names.plural".to_owned(), name("plural"), false);
    label("spec.names.singular".to_owned(), name("singular"), false);
    for (at, short) in list(tree, &["spec", "names", "shortNames"]).iter().enumerate() {
        label(format!("spec.names.shortNames[{at}]"), short.as_str().unwrap_or_default(), false);
    }
    label("spec.names.kind".to_owned(), name("kind"), true);
    label("spec.names.listKind".to_owned(), name("listKind"), true);
    for (at, category) in list(tree, &["spec", "names", "categories"]).iter().enumerate() {
        label(format!("spec.names.categories[{at}]"), category.as_str().unwrap_or_default(), false);
    }
    if !name("kind").is_empty() && name("kind") == name("listKind") {
        let why = "kind and listKind may not be the same";
        causes.push(Cause::invalid("spec.names.listKind", &name("listKind").into(), why));
    }
}

fn conversion(tree: &Tree, causes: &mut Vec<Cause>) {
    let Some(conversion) = at(tree, &["spec", "conversion"]) else { return };
    let client = at(conversion, &["webhook", "clientConfig"]);
    let reviews = list(conversion, &["webhook", "conversionReviewVersions"]);
    let (client_field, reviews_field) =
        ("spec.conversion.webhookClientConfig", "spec.conversion.conversionReviewVersions");
    match text(conversion, &["strategy"]) {
        "Webhook" => {
            match client {
                None => causes.push(Cause::required(client_field, "required when strategy is set to Webhook")),
                Some(client) => {
                    let url = client.get("url").filter(|url| !url.is_null());
                    if url.is_some() == at(client, &["service"]).is_some() {
                        causes.push(Cause::required(client_field, "exactly one of url or service is required"));
                    }
                    if let Some(url) = url.filter(|url| !url.as_str().is_some_and(|url| url.starts_with("https://"))) {
                        let why = "'https' is the only allowed URL scheme";
                        causes.push(Cause::invalid(format!("{client_field}.url"), url, why));
                    }
                }
            }
            if reviews.is_empty() {
                causes.push(Cause::required(reviews_field, ""));
            } else if !reviews.iter().any(|one| matches!(one.as_str(), Some("v1" | "v1beta1"))) {
                let why = "must include at least one of v1, v1beta1";
                causes.push(Cause::invalid(reviews_field, &Tree::from(reviews), why));
            }
        }
        "None" => {
            let why = "should not be set when strategy is not set to Webhook";
            if client.is_some() {
                causes.push(Cause::forbidden(client_field, why));
            }
            if !reviews.is_empty() {
                causes.push(Cause::forbidden(reviews_field, why));
            }
        }
        "" => causes.push(Cause::required("spec.conversion.strategy", "")),
        other => causes.push(Cause::unsupported("spec.conversion.strategy", &other.into(), &["None", "Webhook"])),
    }
}

/// Definitions of `v1` prune always.
fn keeps_unknown(tree: &Tree, causes: &mut Vec<Cause>) {
    let field = "spec.preserveUnknownFields";
    let has_default = |version: &Tree| at(version, &["schema", "openAPIV3Schema"]).is_some_and(schema::has_default);
    if list(tree, &["spec", "versions"]).iter().any(has_default) {
        causes.push(Cause::invalid(field, &true.into(), "must be false in order to use defaults in the schema"));
    }
    let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
    causes.push(Cause::invalid(field, &true.into(), why));
}

fn stored_versions(tree: &Tree, causes: &mut Vec<Cause>) {
    let field = "status.storedVersions";
    let stored = list(tree, &["status", "storedVersions"]);
    if stored.is_empty() {
        return causes.push(Cause::invalid(field, &Tree::Null, "must have at least one stored version"));
    }
    let versions = list(tree, &["spec", "versions"]);
    for (at, name) in stored.iter().enumerate() {
        if !versions.iter().any(|version| version.get("name") == Some(name)) {
            causes.push(Cause::invalid(format!("{field}[{at}]"), name, "must appear in spec.versions"));
        }
    }
}

fn approval(tree: &Tree, group: &str, causes: &mut Vec<Cause>) {
    let told = text(tree, &["metadata", "annotations", APPROVED]);
    let is_told = told.starts_with("https://") || told.starts_with("http://") || told.starts_with("unapproved");
    if is_protected(group) && !is_told {
        let field = format!("metadata.annotations[{APPROVED}]");
        causes.push(match told {
            "" => Cause::required(field, UNAPPROVED),
            told => Cause::invalid(field, &told.into(), "must be a url or start with \"unapproved\""),
        });
    }
}

#[cfg(test)]
mod tests;
