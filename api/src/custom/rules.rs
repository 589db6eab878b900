//! `x-kubernetes-validations`: rules about a value, and about what it was before, at every level of a schema.
//!
//! A definition's rules are compiled once, when the first object comes; `check/rules.rs` judges them before the definition
//! is stored. One that does not compile all the same (it was stored by another version) refuses each object, and says so.

pub(super) mod declared;
mod path;

pub(super) use path::path;

use super::schema::{Additional, Schema};
use crate::Tree;
use crate::cel::{self, Failure, OBJECT_COST_MAX, Program, Value};
use crate::rejected::Cause;
use std::collections::BTreeMap;

/// The longest text that a `messageExpression` may make.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;
const SPENT: &str = "validation failed due to running out of cost budget, no further validation rules will be run";

/// One of `x-kubernetes-validations`, as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validation {
    pub rule: String,
    pub message: String,
    pub message_expression: String,
    pub reason: Option<String>,
    pub field_path: String,
    pub optional_old_self: Option<bool>,
}

/// The rules of a schema, for one level and those below.
#[derive(Debug)]
pub struct Rules {
    /// What `self` is; none for a value that nothing is said of.
    of: Option<cel::Type>,
    here: Vec<Rule>,
    properties: BTreeMap<String, Rules>,
    additional: Option<Box<Rules>>,
    items: Option<Box<Rules>>,
}

#[derive(Debug)]
struct Rule {
    as_written: Validation,
    /// Else, why it cannot be evaluated.
    program: Result<Program, String>,
    message: Option<Program>,
    /// Where a failure is told, below the value.
    path: String,
}

/// What an object was before.
#[derive(Clone, Copy, Default)]
struct Before<'t> {
    /// The value that this one takes the place of.
    value: Option<&'t Tree>,
    /// The nearest value around that is known to have taken the place of another, with that other.
    around: Option<(&'t Tree, &'t Tree)>,
}

struct Walk {
    left: u64,
    is_spent: bool,
    causes: Vec<Cause>,
}

/// What breaks the rules of a schema.
#[must_use]
pub fn check(schema: &Schema, rules: &Rules, tree: &Tree, old: Option<&Tree>) -> Vec<Cause> {
    let mut walk = Walk { left: OBJECT_COST_MAX, is_spent: false, causes: Vec::new() };
    walk.value(schema, rules, tree, Before { value: old, around: None }, "");
    walk.causes
}

// === impl Validation ===

impl Validation {
    pub(super) fn read(tree: &Tree) -> Validation {
        let text = |key: &str| tree.get(key).and_then(Tree::as_str).unwrap_or_default().to_owned();
        Validation {
            rule: text("rule"),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: tree.get("reason").and_then(Tree::as_str).map(str::to_owned),
            field_path: text("fieldPath"),
            optional_old_self: tree.get("optionalOldSelf").and_then(Tree::as_bool),
        }
    }

    /// The rule as a program: `self`, and `oldSelf`, which may be nothing.
    pub(super) fn compile(&self, of: &cel::Type) -> Result<Program, String> {
        let program = self.program(&self.rule, of).map_err(|why| format!("compilation failed: {why}"))?;
        match program.of {
            cel::Type::Bool => Ok(program),
            _ => Err("cel expression must evaluate to a bool".to_owned()),
        }
    }

    pub(super) fn compile_message(&self, of: &cel::Type) -> Result<Program, String> {
        let program = self.program(&self.message_expression, of);
        let program = program.map_err(|why| format!("messageExpression compilation failed: {why}"))?;
        match program.of {
            cel::Type::String(_) => Ok(program),
            _ => Err("messageExpression must evaluate to a string".to_owned()),
        }
    }

    fn program(&self, text: &str, of: &cel::Type) -> Result<Program, String> {
        let old = if self.is_optional() { cel::Type::optional(of.clone()) } else { of.clone() };
        Program::compile(text, &[("self", of.clone()), ("oldSelf", old)])
    }

    fn is_optional(&self) -> bool {
        self.optional_old_self == Some(true)
    }

    /// How a message names the rule.
    fn named(&self) -> &str {
        if self.message.is_empty() { self.rule.trim() } else { self.message.trim() }
    }

    fn message(&self) -> String {
        if self.message.is_empty() { format!("failed rule: {}", self.rule.trim()) } else { self.named().to_owned() }
    }
}

// === impl Rules ===

impl Rules {
    /// The rules of a whole object's schema; none if it has none.
    #[must_use]
    pub fn compile(schema: &Schema) -> Option<Rules> {
        Rules::of_value(schema, true)
    }

    /// The rules of a value's schema; `is_object` if the value has `apiVersion`, `kind` and `metadata`.
    pub(super) fn of_value(schema: &Schema, is_object: bool) -> Option<Rules> {
        let of = schema.has_validations.then(|| declared::declared(schema, is_object));
        of.map(|of| Rules::read(schema, of))
    }

    fn read(schema: &Schema, of: Option<cel::Type>) -> Rules {
        let below = |part: &Schema, of: Option<cel::Type>| part.has_validations.then(|| Rules::read(part, of));
        let properties = schema.properties.iter().filter_map(|(key, part)| {
            let of = declared::member(of.as_ref(), key, part);
            Some((key.clone(), below(part, of)?))
        });
        let additional = match &schema.additional {
            Some(Additional::Values(values)) => below(values, declared::element(of.as_ref())),
            _ => None,
        };
        let items = schema.items.as_ref().and_then(|items| below(items, declared::element(of.as_ref())));
        Rules {
            here: schema.validations.iter().map(|one| Rule::read(one, schema, of.as_ref())).collect(),
            properties: properties.collect(),
            additional: additional.map(Box::new),
            items: items.map(Box::new),
            of,
        }
    }
}

// === impl Rule ===

impl Rule {
    fn read(as_written: &Validation, schema: &Schema, of: Option<&cel::Type>) -> Rule {
        let program = match of {
            Some(of) => as_written.compile(of).map_err(|why| format!("rule compile error: {why}")),
            None => Err(format!(
                "rule compiler initialization error: rule declared on schema that does not support validation rules type: \
                 '{}' x-kubernetes-preserve-unknown-fields: '{}'",
                type_name(schema),
                schema.preserves_unknown
            )),
        };
        let has_message = !as_written.message_expression.is_empty();
        Rule {
            program,
            message: of.filter(|_| has_message).and_then(|of| as_written.compile_message(of).ok()),
            path: path(&as_written.field_path, schema).unwrap_or_default(),
            as_written: as_written.clone(),
        }
    }

    fn uses_old(&self) -> bool {
        let uses = |program: &Program| program.uses(1);
        self.program.as_ref().is_ok_and(uses) || self.message.as_ref().is_some_and(uses)
    }

    fn cause(&self, path: &str, kind: &Tree, message: String) -> Cause {
        let path = match (path, self.path.as_str()) {
            (path, "") => path.to_owned(),
            ("<nil>", below) => below.to_owned(),
            (path, below) => format!("{path}.{below}"),
        };
        match self.as_written.reason.as_deref() {
            Some("FieldValueForbidden") => Cause::forbidden(path, message),
            Some("FieldValueRequired") => Cause::required(path, message),
            Some("FieldValueDuplicate") => Cause::duplicate(path, kind),
            _ => Cause::invalid(path, kind, message),
        }
    }
}

fn type_name(schema: &Schema) -> &'static str {
    match schema.types.as_slice() {
        [only] => only.name(),
        _ => "",
    }
}

// === impl Before ===

impl<'t> Before<'t> {
    fn below(self, here: &'t Tree, value: Option<&'t Tree>) -> Before<'t> {
        Before { value, around: self.value.map(|old| (here, old)).or(self.around) }
    }

    /// Nothing changed here: what is wrong was wrong before, and hinders nobody.
    fn is_same(self, here: &Tree) -> bool {
        match (self.value, self.around) {
            (Some(old), _) => old == here,
            (None, Some((new, old))) => new == old,
            (None, None) => false,
        }
    }
}

// === impl Walk ===

impl Walk {
    fn value(&mut self, schema: &Schema, rules: &Rules, tree: &Tree, before: Before<'_>, path: &str) {
        if tree.is_null() || self.is_spent {
            return;
        }
        self.rules(schema, rules, tree, before, path);
        match tree {
            Tree::Object(map) => {
                // A map that is one value has no members with a past.
                let old = before.value.filter(|_| !schema.is_atomic_map);
                let was = |key: &str| old.and_then(|old| old.get(key));
                for (key, child) in map {
                    let here = if let Some(below) = rules.properties.get(key) {
                        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                        schema.properties.get(key).map(|part| (part, below, path))
                    } else if let (Some(below), Some(Additional::Values(part))) =
                        (&rules.additional, &schema.additional)
                        && !schema.properties.contains_key(key)
                    {
                        Some((&**part, &**below, format!("{path}[{key}]")))
                    } else {
                        None
                    };
                    if let Some((part, below, path)) = here {
                        self.value(part, below, child, before.below(tree, was(key)), &path);
                    }
                }
            }
            Tree::Array(all) => {
                let (Some(part), Some(below)) = (&schema.items, &rules.items) else { return };
                for (at, item) in all.iter().enumerate() {
                    let was = before.value.and_then(|old| super::validate::counterpart(schema, item, old));
                    self.value(part, below, item, before.below(tree, was), &format!("{path}[{at}]"));
                }
            }
            _ => {}
        }
    }

    fn rules(&mut self, schema: &Schema, rules: &Rules, tree: &Tree, before: Before<'_>, path: &str) {
        let kind = Tree::from(type_name(schema));
        let path = if path.is_empty() { "<nil>" } else { path };
        for rule in &rules.here {
            if self.is_spent {
                return;
            }
            let program = match &rule.program {
                Ok(program) => program,
                Err(why) => {
                    self.causes.push(Cause::invalid(path, &kind, format!("{why} (rule: {})", rule.as_written.named())));
                    continue;
                }
            };
            let Some(of) = &rules.of else { continue };
            if rule.uses_old() && before.value.is_none() && !rule.as_written.is_optional() {
                continue;
            }
            if let Err(cause) = self.rule(rule, program, of, (tree, before), path, &kind) {
                self.causes.push(cause);
            }
        }
    }

    fn rule(
        &mut self,
        rule: &Rule,
        program: &Program,
        of: &cel::Type,
        (tree, before): (&Tree, Before<'_>),
        path: &str,
        kind: &Tree,
    ) -> Result<(), Cause> {
        let told = |why: String| Err(Cause::invalid(path, kind, why));
        let named = rule.as_written.named();
        let variables = match variables(tree, before.value, of, rule.as_written.is_optional()) {
            Ok(variables) => variables,
            Err(failure) => return told(format!("{} evaluating rule: {named}", reason(&failure))),
        };
        match program.run(&variables, &mut self.left) {
            Ok(Value::Bool(true)) => Ok(()),
            Ok(_) => {
                let message = self.message(rule, &variables);
                if !rule.uses_old() && before.is_same(tree) {
                    return Ok(());
                }
                Err(rule.cause(path, kind, message))
            }
            Err(Failure::Spent) => {
                self.is_spent = true;
                told(if self.left == 0 {
                    SPENT.to_owned()
                } else {
                    format!(
                        "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to \
                         call cost exceeds limit for rule: {named}"
                    )
                })
            }
            Err(Failure::Error(why)) if why.starts_with("no such overload") => told(format!(
                "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {named}"
            )),
            Err(Failure::Error(why)) => told(format!("{why} evaluating rule: {named}")),
        }
    }

    /// What the rule says about its failure; an expression that does not make a message leaves it to the other words.
    fn message(&mut self, rule: &Rule, variables: &[Value<'_>]) -> String {
        let Some(program) = &rule.message else { return rule.as_written.message() };
        match program.run(variables, &mut self.left) {
            Ok(Value::String(text)) => {
                let text = text.trim();
                let is_good = !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n');
                if is_good { text.to_owned() } else { rule.as_written.message() }
            }
            Err(Failure::Spent) => {
                self.is_spent = true;
                if self.left == 0 {
                    "messageExpression evaluation failed due to running out of cost budget, no further validation rules \
                     will be run"
                        .to_owned()
                } else {
                    let expression = &rule.as_written.message_expression;
                    format!(
                        "no further validation rules will be run due to call cost exceeds limit for messageExpression: \
                         {expression:?}"
                    )
                }
            }
            _ => rule.as_written.message(),
        }
    }
}

fn reason(failure: &Failure) -> String {
    match failure {
        Failure::Error(why) => why.to_string(),
        Failure::Spent => SPENT.to_owned(),
    }
}

/// `self` and `oldSelf`. The latter is not looked at if there is nothing before.
fn variables<'t>(
    tree: &'t Tree,
    old: Option<&'t Tree>,
    of: &'t cel::Type,
    is_optional: bool,
) -> Result<[Value<'t>; 2], Failure> {
    let old = old.map(|old| Value::seen(old, of)).transpose()?;
    let old = match (old, is_optional) {
        (old, true) => Value::Optional(old.map(Into::into)),
        (old, false) => old.unwrap_or(Value::Null),
    };
    Ok([Value::seen(tree, of)?, old])
}

#[cfg(test)]
mod tests;
