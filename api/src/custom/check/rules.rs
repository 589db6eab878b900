//! Whether the rules of a schema may be stored: what they say beside the expression, whether it compiles, and whether it
//! can be afforded by the sizes that the schema allows.

use crate::cel::types::REQUEST_BYTES_MAX;
use crate::cel::{self, Program};
use crate::custom::rules::{Validation, declared, path};
use crate::custom::schema::{Additional, Schema};
use crate::fields::ListType;
use crate::rejected::Cause;
use serde_json::json;

const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
const MESSAGE_BYTES_MAX: usize = 2048;
/// The rules that one schema may have.
const RULES_MAX: usize = 1000;
/// What one rule may cost, by estimate, for one object.
const RULE_COST_MAX: u64 = 10_000_000;
/// What all of them may cost.
const SCHEMA_COST_MAX: u64 = 100_000_000;
/// As many of the most expensive rules are named.
const NAMED_MAX: usize = 4;

/// What is wrong with the rules of a schema that is well formed otherwise.
pub(super) fn wrong(schema: &Schema, path: &str) -> Vec<Cause> {
    let (mut causes, mut count) = (Vec::new(), 0);
    if !schema.has_validations {
        return causes;
    }
    written(schema, path, &mut count, &mut causes);
    if count > RULES_MAX {
        let why = format!("x-kubernetes-validations: must have at most {RULES_MAX} rules in a schema, not {count}");
        causes.push(Cause::forbidden(path, why));
    }
    // What is not well written is not compiled.
    if !causes.is_empty() {
        return causes;
    }
    let mut judge = Judge { costs: Vec::new(), causes };
    judge.value(schema, declared::declared(schema, true).as_ref(), path, &Place { times: Some(1), cut: None });
    let Judge { costs, mut causes } = judge;
    total(costs, path, &mut causes);
    causes
}

fn each_part<'s>(schema: &'s Schema, path: &str) -> Vec<(String, &'s Schema)> {
    let properties = schema.properties.iter().map(|(key, part)| (format!("{path}.properties[{key}]"), part));
    let additional = match &schema.additional {
        Some(Additional::Values(values)) => Some((format!("{path}.additionalProperties"), &**values)),
        _ => None,
    };
    let items = schema.items.as_deref().map(|items| (format!("{path}.items"), items));
    let all = items.into_iter().chain(additional).chain(properties);
    all.filter(|(_, part)| part.has_validations).collect()
}

/// What can be seen without compiling.
fn written(schema: &Schema, here: &str, count: &mut usize, causes: &mut Vec<Cause>) {
    for (path, part) in each_part(schema, here) {
        written(part, &path, count, causes);
    }
    *count += schema.validations.len();
    for (at, one) in schema.validations.iter().enumerate() {
        let field = |name: &str| format!("{here}.x-kubernetes-validations[{at}].{name}");
        let (rule, message) = (one.rule.trim(), one.message.trim());
        let invalid = |name: &str, given: &str, why: &str| Cause::invalid(field(name), &given.into(), why);
        if rule.is_empty() {
            causes.push(Cause::required(field("rule"), "rule is not specified"));
        } else if !one.message.is_empty() && message.is_empty() {
            causes.push(invalid("message", &one.message, "message must be non-empty if specified"));
        } else if one.message.len() > MESSAGE_BYTES_MAX {
            let begin: String = one.message.chars().take(10).collect();
            let why = format!("message must have a maximum length of {MESSAGE_BYTES_MAX} characters");
            causes.push(invalid("message", &format!("{begin}..."), &why));
        } else if has_line_breaks(message) {
            causes.push(invalid("message", &one.message, "message must not contain line breaks"));
        } else if has_line_breaks(rule) && message.is_empty() {
            let why = "message must be specified if rule contains line breaks";
            causes.push(Cause::required(field("message"), why));
        }
        if !one.message_expression.is_empty() && one.message_expression.trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            causes.push(Cause::required(field("messageExpression"), why));
        }
        if let Some(reason) = one.reason.as_deref().filter(|reason| !REASONS.contains(reason)) {
            causes.push(Cause::unsupported(field("reason"), &reason.into(), &REASONS));
        }
        if !one.field_path.is_empty() {
            if one.field_path.trim().is_empty() {
                causes.push(invalid("fieldPath", &one.field_path, "fieldPath must be non-empty if specified"));
            }
            if has_line_breaks(&one.field_path) {
                causes.push(invalid("fieldPath", &one.field_path, "fieldPath must not contain line breaks"));
            }
            if path(&one.field_path, schema).is_err() {
                causes.push(invalid("fieldPath", &one.field_path, "fieldPath must be a valid path"));
            }
        }
    }
}

fn has_line_breaks(text: &str) -> bool {
    text.contains(['\n', '\r'])
}

/// Where a schema stands.
#[derive(Clone)]
struct Place {
    /// How often its value may be in one object; `None`: nothing bounds it.
    times: Option<u64>,
    /// The outermost schema whose elements have no past.
    cut: Option<String>,
}

/// Judges the rules of a schema, level by level.
struct Judge {
    /// What each expression costs, and where it stands.
    costs: Vec<(u64, String)>,
    causes: Vec<Cause>,
}

// === impl Place ===

impl Place {
    fn below(&self, schema: &Schema, part: &Schema, path: &str) -> Place {
        let is_items = schema.items.as_deref().is_some_and(|items| std::ptr::eq(items, part));
        let is_additional =
            matches!(&schema.additional, Some(Additional::Values(values)) if std::ptr::eq(&**values, part));
        let most = match (is_items, is_additional) {
            (true, _) => schema.rules.items.most,
            (_, true) => schema.rules.properties.most,
            _ => Some(1),
        };
        let has_past = if is_items { schema.list_type == Some(ListType::Map) } else { !schema.is_atomic_map };
        let cut = self.cut.clone().or_else(|| (!has_past).then(|| path.to_owned()));
        Place { times: self.times.zip(most).map(|(times, most)| times.saturating_mul(most)), cut }
    }
}

// === impl Judge ===

impl Judge {
    fn value(&mut self, schema: &Schema, of: Option<&cel::Type>, path: &str, place: &Place) {
        for (below, part) in each_part(schema, path) {
            let key = schema.properties.iter().find(|(_, property)| std::ptr::eq(*property, part));
            let of = match key {
                Some((key, _)) => declared::member(of, key, part),
                None => declared::element(of),
            };
            self.value(part, of.as_ref(), &below, &place.below(schema, part, path));
        }
        if schema.validations.is_empty() {
            return;
        }
        let Some(of) = of else {
            let why = "internal error: failed to retrieve type information for x-kubernetes-validations";
            let (reason, message) = ("InternalError".to_owned(), format!("Internal error: {why}"));
            return self.causes.push(Cause { reason, message, field: format!("{path}.x-kubernetes-validations") });
        };
        // Where nothing bounds them, there are as many as fit into a request.
        let times = place.times.unwrap_or_else(|| REQUEST_BYTES_MAX / (declared::least_bytes(schema) + 1));
        for (at, one) in schema.validations.iter().enumerate() {
            self.rule(one, of, &format!("{path}.x-kubernetes-validations[{at}]"), times, place);
        }
    }

    fn rule(&mut self, one: &Validation, of: &cel::Type, path: &str, times: u64, place: &Place) {
        let mut uses_old = false;
        match one.compile(of) {
            Ok(program) => {
                uses_old = program.uses(1);
                self.afford(&program, times, "estimated rule cost", format!("{path}.rule"));
            }
            Err(why) => self.causes.push(whole(format!("{path}.rule"), one, &why)),
        }
        if !one.message_expression.trim().is_empty() {
            match one.compile_message(of) {
                Ok(program) => {
                    uses_old |= program.uses(1);
                    let field = format!("{path}.messageExpression");
                    self.afford(&program, 1, "estimated messageExpression cost", field);
                }
                Err(why) => self.causes.push(whole(format!("{path}.messageExpression"), one, &why)),
            }
        }
        match (uses_old, &place.cut, one.optional_old_self) {
            (true, Some(cut), _) => {
                let why = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {cut}");
                self.causes.push(Cause::invalid(format!("{path}.rule"), &one.rule.as_str().into(), why));
            }
            (false, _, Some(given)) => {
                let why = "may not be set if oldSelf is not used in rule";
                self.causes.push(Cause::invalid(format!("{path}.optionalOldSelf"), &given.into(), why));
            }
            _ => {}
        }
    }

    fn afford(&mut self, program: &Program, times: u64, what: &str, field: String) {
        let cost = program.cost.saturating_mul(times);
        if cost > RULE_COST_MAX {
            self.causes.push(Cause::forbidden(field.as_str(), exceeds(what, cost, RULE_COST_MAX)));
        }
        self.costs.push((cost, field));
    }
}

fn total(mut costs: Vec<(u64, String)>, path: &str, causes: &mut Vec<Cause>) {
    let total = costs.iter().fold(0_u64, |total, (cost, _)| total.saturating_add(*cost));
    if total <= SCHEMA_COST_MAX {
        return;
    }
    costs.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
    for (_, field) in costs.into_iter().take(NAMED_MAX) {
        let why = "contributed to estimated rule & messageExpression cost total exceeding cost limit for entire \
                   OpenAPIv3 schema";
        causes.push(Cause::forbidden(field, why));
    }
    let what = "x-kubernetes-validations estimated rule & messageExpression cost total for entire OpenAPIv3 schema";
    causes.push(Cause::forbidden(path, exceeds(what, total, SCHEMA_COST_MAX)));
}

fn exceeds(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}

/// Upstream shows the whole rule as its internal type, in Go's JSON.
fn whole(field: String, one: &Validation, why: &str) -> Cause {
    let shown = json!({
        "Rule": one.rule, "Message": one.message, "MessageExpression": one.message_expression, "Reason": one.reason,
        "FieldPath": one.field_path, "OptionalOldSelf": one.optional_old_self,
    });
    let shown = shown.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let message = format!("Invalid value: {shown}: {why}");
    Cause { reason: "FieldValueInvalid".to_owned(), message, field }
}

#[cfg(test)]
mod tests;
