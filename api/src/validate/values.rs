//! Checks of single values that many kinds share: enumerations, ports, amounts, percentages, label selectors.

use super::Findings;
use super::meta::labels;
use crate::fields::{Container, Field, TypeRef, Value};
use crate::quantity::Quantity;
use crate::walk::{integer, list, members, text};
use crate::{Tree, names};

/// Every string below `path` that the field table gives a fixed set of values.
pub(super) fn enumerations(schema: TypeRef, path: &str, tree: &Tree, found: &mut Findings) {
    if let Some(field) = schema.field(path) {
        under(field, path, tree, found);
    }
}

fn under(field: &Field, path: &str, tree: &Tree, found: &mut Findings) {
    match (field.container, tree) {
        (Container::List, Tree::Array(all)) => {
            for (at, one) in all.iter().enumerate() {
                single(field, &format!("{path}[{at}]"), one, found);
            }
        }
        (Container::Map, Tree::Object(all)) => {
            for (key, one) in all {
                single(field, &format!("{path}[{key}]"), one, found);
            }
        }
        (Container::Single, one) => single(field, path, one, found),
        _ => {}
    }
}

fn single(field: &Field, path: &str, tree: &Tree, found: &mut Findings) {
    match (field.value, tree) {
        (Value::Object(schema), Tree::Object(all)) => {
            for (key, value) in all {
                if let Some(field) = schema.field(key) {
                    under(field, &format!("{path}.{key}"), value, found);
                }
            }
        }
        (Value::String, Tree::String(text))
            if !field.enumeration.is_empty() && !field.enumeration.contains(&text.as_str())
            // An empty value is one that was not given: whether it must be is another check's question.
            && !text.is_empty() =>
        {
            found.unsupported(path, tree, field.enumeration);
        }
        _ => {}
    }
}

/// A port number.
pub(super) fn port(field: &str, value: &Tree, found: &mut Findings) {
    if !value.as_i64().is_some_and(|number| (1..=65_535).contains(&number)) {
        found.invalid(field, value, "must be between 1 and 65535, inclusive");
    }
}

/// A port number, or the name of one.
pub(super) fn port_or_name(field: &str, value: &Tree, found: &mut Findings) {
    match value.as_str() {
        Some(name) => {
            for why in names::port_name(name) {
                found.invalid(field, value, why);
            }
        }
        None => port(field, value, found),
    }
}

/// A count, or a percentage.
pub(super) fn count_or_percent(field: &str, value: Option<&Tree>, found: &mut Findings) {
    let Some(value) = value else { return };
    let Some(text) = value.as_str() else { return found.natural(field, Some(value)) };
    let is_percent = text.strip_suffix('%').is_some_and(|digits| {
        !digits.is_empty() && digits.len() < 10 && digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    if !is_percent {
        let words = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', \
                     regex used for validation is '[0-9]+%')";
        found.invalid(field, value, words);
    }
}

/// `limits` and `requests`: amounts that parse, are not negative, and do not ask for more than they allow.
pub(super) fn resources(path: &str, tree: &Tree, found: &mut Findings) {
    for kind in ["limits", "requests"] {
        for (name, amount) in members(tree, &[kind]) {
            let field = format!("{path}.{kind}[{name}]");
            if !matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") && !name.contains('/') {
                let is_huge_pages = name.starts_with("hugepages-");
                if !is_huge_pages {
                    let value = Tree::from(name.as_str());
                    found.invalid(&field, &value, "must be a standard resource for containers");
                }
            }
            match quantity(amount) {
                Err(why) => found.invalid(&field, amount, why),
                Ok(parsed) if parsed.is_negative() => {
                    found.invalid(&field, amount, "must be greater than or equal to 0");
                }
                Ok(_) => {}
            }
        }
    }
    for (name, limit) in members(tree, &["limits"]) {
        let Some(request) = tree.get("requests").and_then(|all| all.get(name)) else { continue };
        if let (Ok(wanted), Ok(allowed)) = (quantity(request), quantity(limit))
            && wanted > allowed
        {
            let why = format!("must be less than or equal to {name} limit of {allowed}");
            found.invalid(format!("{path}.requests"), &Tree::from(wanted.to_string()), why);
        }
    }
}

pub(super) fn quantity(amount: &Tree) -> Result<Quantity, String> {
    let parsed = match amount {
        Tree::String(text) => Quantity::parse(text),
        other => Quantity::parse(&other.to_string()),
    };
    parsed.map_err(|why| why.to_string())
}

/// A `metav1.LabelSelector`.
pub(super) fn selector(path: &str, tree: &Tree, found: &mut Findings) {
    if let Some(map) = tree.get("matchLabels") {
        labels(&format!("{path}.matchLabels"), map, found);
    }
    for (at, one) in list(tree, &["matchExpressions"]).iter().enumerate() {
        let path = format!("{path}.matchExpressions[{at}]");
        let has_values = !list(one, &["values"]).is_empty();
        match text(one, &["operator"]) {
            "In" | "NotIn" if !has_values => {
                found.required(format!("{path}.values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if has_values => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                found.forbidden(format!("{path}.values"), why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => found.invalid(format!("{path}.operator"), &other.into(), "not a valid selector operator"),
        }
        let key = text(one, &["key"]);
        for why in names::qualified_name(key) {
            found.invalid(format!("{path}.key"), &key.into(), why);
        }
        for (at, value) in list(one, &["values"]).iter().enumerate() {
            for why in names::label_value(value.as_str().unwrap_or_default()) {
                found.invalid(format!("{path}.values[{at}]"), value, why);
            }
        }
    }
}

/// A number from `least` on, where there is one.
pub(super) fn at_least(field: &str, tree: &Tree, path: &[&str], least: i64, found: &mut Findings) {
    if let Some(number) = integer(tree, path).filter(|number| *number < least) {
        let why = if least == 1 {
            "must be greater than 0".to_owned()
        } else {
            format!("must be greater than or equal to {least}")
        };
        found.invalid(field, &number.into(), why);
    }
}
