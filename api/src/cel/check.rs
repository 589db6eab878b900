//! What an expression means: which variables and functions its names stand for, of which type each part is, and what it
//! may cost at most. All that is wrong is told, in the words of cel-go.
//!
//! The estimate is that of cel-go in outline: a step for each name, selection and call, a tenth of one for each letter
//! that is read, ten and thirty for a list and a map that is made, and for a loop its body as often as its range is long,
//! by the sizes that the schema allows.

use super::library::{self, times};
use super::syntax::{Access, Call, Kind, Literal, Loop, Node, TypeName, What};
use super::types::{Bindings, Type};
use super::{Issue, pattern};
use crate::time;
use regex::Regex;
use std::collections::HashMap;

/// Patterns that one expression may have written out.
const PATTERNS_MAX: usize = 64;
/// The longest text that a function makes of something that is none.
const MADE_TEXT_BYTES: u64 = 256;

pub(super) struct Checker {
    /// The variables that are known here, outer ones first.
    pub(super) scope: Vec<(String, Type)>,
    /// Which of the outermost are used.
    pub(super) is_used: Vec<bool>,
    pub(super) patterns: HashMap<String, Regex>,
    pub(super) issues: Vec<Issue>,
}

/// What is known of a part.
pub(super) struct Known {
    pub(super) of: Type,
    pub(super) cost: u64,
}

// === impl Checker ===

impl Checker {
    pub(super) fn new(variables: &[(&str, Type)]) -> Checker {
        Checker {
            scope: variables.iter().map(|(name, of)| ((*name).to_owned(), of.clone())).collect(),
            is_used: vec![false; variables.len()],
            patterns: HashMap::new(),
            issues: Vec::new(),
        }
    }

    pub(super) fn node(&mut self, node: &mut Node) -> Known {
        if let Some(name) = self.type_name(node) {
            node.kind = Kind::Literal(Literal::Type(name));
        }
        let at = node.at;
        match &mut node.kind {
            Kind::Literal(literal) => Known { of: literal.kind(), cost: 0 },
            Kind::Name { text, slot } => self.name(at, text, slot),
            Kind::Select { of, field, form } => {
                let of = self.node(of);
                let (field, form) = (field.clone(), *form);
                self.select(at, of, &field, form)
            }
            Kind::Index { of, key, is_optional } => {
                let (of, key) = (self.node(of), self.node(key));
                self.index(at, of, &key, *is_optional)
            }
            Kind::And(all) => self.connected(at, all, "_&&_"),
            Kind::Or(all) => self.connected(at, all, "_||_"),
            Kind::If(parts) => self.choice(at, parts),
            Kind::Call(call) => self.call(at, call),
            Kind::List(items) => {
                let (mut of, mut cost) = (None, 10);
                let size = items.len() as u64;
                for item in items {
                    let at = item.value.at;
                    let known = self.node(&mut item.value);
                    cost = known.cost.saturating_add(cost);
                    of = Some(self.alike(at, of, self.present(known.of, item.is_optional)));
                }
                Known { of: Type::list(of.unwrap_or(Type::ANY), size), cost }
            }
            Kind::Map(entries) => {
                let (mut key, mut value, mut cost) = (None, None, 30);
                let size = entries.len() as u64;
                for entry in entries {
                    let (key_at, value_at) = (entry.key.at, entry.value.at);
                    let (one, two) = (self.node(&mut entry.key), self.node(&mut entry.value));
                    cost = one.cost.saturating_add(two.cost).saturating_add(cost);
                    key = Some(self.alike(key_at, key, one.of));
                    value = Some(self.alike(value_at, value, self.present(two.of, entry.is_optional)));
                }
                Known { of: Type::map(key.unwrap_or(Type::ANY), value.unwrap_or(Type::ANY), size), cost }
            }
            Kind::Loop(one) => self.repeat(at, one),
        }
    }

    fn wrong(&mut self, at: u32, message: String) -> Type {
        self.issues.push(Issue { at, message });
        Type::ANY
    }

    /// A type, unless a variable has its name.
    fn type_name(&self, node: &Node) -> Option<TypeName> {
        let name = match &node.kind {
            Kind::Name { .. } | Kind::Select { form: Access::Plain, .. } => node.dotted()?,
            _ => return None,
        };
        let root = name.split('.').next().unwrap_or_default();
        TypeName::of(&name).filter(|_| self.find(root).is_none())
    }

    /// The innermost variable of a name.
    fn find(&self, name: &str) -> Option<usize> {
        self.scope.iter().rposition(|(known, _)| known == name)
    }

    fn name(&mut self, at: u32, text: &str, slot: &mut usize) -> Known {
        let Some(found) = self.find(text) else {
            let of = self.wrong(at, format!("undeclared reference to '{text}' (in container '')"));
            return Known { of, cost: 1 };
        };
        if let Some(is_used) = self.is_used.get_mut(found) {
            *is_used = true;
        }
        *slot = found;
        Known { of: self.scope[found].1.clone(), cost: 1 }
    }

    fn select(&mut self, at: u32, of: Known, field: &str, form: Access) -> Known {
        let (inner, is_optional) = match &of.of {
            Type::Optional(inner) => ((**inner).clone(), true),
            other => (other.clone(), false),
        };
        let found = match &inner {
            Type::Dyn(_) => Type::ANY,
            Type::Map(map) if matches!(map.key, Type::String(_) | Type::Dyn(_)) => map.value.clone(),
            Type::Object(object) => match object.fields.get(field) {
                Some(field) => field.of.clone(),
                None => self.wrong(at, format!("undefined field '{field}'")),
            },
            other => self.wrong(at, format!("type '{other}' does not support field selection")),
        };
        match form {
            Access::Test => Known { of: Type::Bool, cost: of.cost },
            Access::Plain if !is_optional => Known { of: found, cost: of.cost.saturating_add(1) },
            Access::Plain | Access::Optional => Known { of: Type::optional(found), cost: of.cost.saturating_add(1) },
        }
    }

    fn index(&mut self, at: u32, of: Known, key: &Known, is_optional: bool) -> Known {
        let cost = of.cost.saturating_add(key.cost).saturating_add(1);
        let (inner, is_maybe) = match &of.of {
            Type::Optional(inner) => ((**inner).clone(), true),
            other => (other.clone(), is_optional),
        };
        let is_number = matches!(key.of, Type::Int | Type::Dyn(_));
        let found = match &inner {
            Type::Dyn(_) => Type::ANY,
            Type::List(list) if is_number => list.items.clone(),
            Type::Map(map) if Bindings::default().fits(&map.key, &key.of) => map.value.clone(),
            _ => self.no_overload(at, "_[_]", None, &[of.of, key.of.clone()]),
        };
        Known { of: if is_maybe { Type::optional(found) } else { found }, cost }
    }

    fn no_overload(&mut self, at: u32, name: &str, target: Option<&Type>, args: &[Type]) -> Type {
        let args: Vec<String> = args.iter().map(Type::to_string).collect();
        let target = target.map(|of| format!("{of}.")).unwrap_or_default();
        let applied = format!("{target}({})", args.join(", "));
        self.wrong(at, format!("found no matching overload for '{name}' applied to '{applied}'"))
    }

    fn connected(&mut self, at: u32, all: &mut [Node], name: &str) -> Known {
        let known: Vec<Known> = all.iter_mut().map(|node| self.node(node)).collect();
        let cost = known.iter().fold(0_u64, |cost, one| cost.saturating_add(one.cost));
        if !known.iter().all(|one| matches!(one.of, Type::Bool | Type::Dyn(_))) {
            let types: Vec<Type> = known.into_iter().map(|one| one.of).collect();
            self.no_overload(at, name, None, &types);
        }
        Known { of: Type::Bool, cost }
    }

    fn choice(&mut self, at: u32, parts: &mut [Node; 3]) -> Known {
        let [condition, yes, no] = parts.each_mut().map(|node| self.node(node));
        let cost = condition.cost.saturating_add(yes.cost.max(no.cost));
        let mut bindings = Bindings::default();
        let both = Type::Param(b'A');
        let is_good = matches!(condition.of, Type::Bool | Type::Dyn(_))
            && bindings.fits(&both, &yes.of)
            && bindings.fits(&both, &no.of);
        let of = if is_good {
            bindings.filled(&both)
        } else {
            self.no_overload(at, "_?_:_", None, &[condition.of, yes.of, no.of])
        };
        Known { of, cost }
    }

    /// The same type as before, as those in one list and one map must be.
    fn alike(&mut self, at: u32, before: Option<Type>, of: Type) -> Type {
        let Some(before) = before else { return of };
        if Bindings::default().fits(&before, &of) || Bindings::default().fits(&of, &before) {
            return before.joined(&of);
        }
        self.wrong(at, format!("expected type '{before}' but found '{of}'"));
        before
    }

    fn present(&self, of: Type, is_optional: bool) -> Type {
        match of {
            Type::Optional(inner) if is_optional => (*inner).clone(),
            other => other,
        }
    }

    fn call(&mut self, at: u32, call: &mut Call) -> Known {
        // `sets.contains(…)`: no value stands before the dot.
        let qualified = call.target.as_ref().and_then(Node::dotted).filter(|name| {
            let root = name.split('.').next().unwrap_or_default();
            self.find(root).is_none()
        });
        if let Some(name) = qualified.map(|target| format!("{target}.{}", call.name))
            && library::named(&name).is_some()
        {
            call.name = name;
            call.target = None;
        }
        let is_member = call.target.is_some();
        let known: Vec<Known> = call.target.iter_mut().chain(&mut call.args).map(|node| self.node(node)).collect();
        let mut cost = known.iter().fold(0_u64, |cost, one| cost.saturating_add(one.cost));
        let args: Vec<Type> = known.into_iter().map(|one| one.of).collect();
        let Some(all) = library::named(&call.name) else {
            let of = self.wrong(at, format!("undeclared reference to '{}' (in container '')", call.name));
            return Known { of, cost };
        };
        let mut result: Option<Type> = None;
        let mut most = 0;
        for one in all.iter().filter(|one| one.is_member == is_member && one.args.len() == args.len()) {
            let mut bindings = Bindings::default();
            if !one.args.iter().zip(&args).all(|(wanted, given)| bindings.fits(wanted, given)) {
                continue;
            }
            call.found.push(one);
            let (cost, size) = one.cost.of(&args);
            most = most.max(cost);
            let of = sized(&bindings.filled(&one.result), &one.result, size);
            result = Some(result.map_or(of.clone(), |before| before.or_dyn(&of)));
        }
        cost = cost.saturating_add(most.max(1));
        let of = match result {
            Some(of) => of,
            None if is_member => self.no_overload(at, &call.name, args.first(), &args[1..]),
            None => self.no_overload(at, &call.name, None, &args),
        };
        self.written_out(call);
        Known { of, cost }
    }

    /// Arguments that are written out can be judged before anything runs.
    fn written_out(&mut self, call: &Call) {
        let pattern_at = usize::from(call.target.is_none());
        let arg = |at: usize| call.args.get(at).and_then(|arg| Some((arg.at, arg.text()?)));
        if library::regex::NAMES.contains(&call.name.as_str())
            && let Some((at, written)) = arg(pattern_at)
        {
            if self.patterns.len() >= PATTERNS_MAX {
                self.wrong(at, format!("more than {PATTERNS_MAX} patterns"));
                return;
            }
            match pattern::compile(written) {
                Ok(pattern) => _ = self.patterns.insert(written.to_owned(), pattern),
                Err(why) => _ = self.wrong(at, format!("invalid {} argument: {why}", call.name)),
            }
        }
        match (call.name.as_str(), arg(0)) {
            ("duration", Some((at, text))) if times::parse_duration(text).is_none() => {
                self.wrong(at, "invalid duration argument".to_owned());
            }
            ("timestamp", Some((at, text))) if time::parse(text).is_none() => {
                self.wrong(at, "invalid timestamp argument".to_owned());
            }
            (name, Some((at, zone))) if is_of_clock(name) && times::zone(zone).is_none() => {
                let why = format!("time zone '{zone}' is not supported: only 'UTC' and offsets such as '-08:00' are");
                self.wrong(at, why);
            }
            _ => {}
        }
    }

    fn repeat(&mut self, at: u32, one: &mut Loop) -> Known {
        let range_at = one.range.at;
        let range = self.node(&mut one.range);
        let size = range.of.size();
        let is_optional = matches!(one.what, What::OptMap | What::OptFlatMap);
        let (first, second) = match &range.of {
            Type::Dyn(_) => (Type::ANY, Type::ANY),
            Type::Optional(inner) if is_optional => ((**inner).clone(), Type::ANY),
            Type::List(list) if !is_optional => match one.second {
                Some(_) => (Type::Int, list.items.clone()),
                None => (list.items.clone(), Type::ANY),
            },
            Type::Map(map) if !is_optional => (map.key.clone(), map.value.clone()),
            other if is_optional => {
                let name = if one.what == What::OptMap { "optMap" } else { "optFlatMap" };
                let other = other.clone();
                (self.no_overload(at, name, Some(&other), &[]), Type::ANY)
            }
            other => {
                let why = "cannot be range of a comprehension (must be list, map, or dynamic)";
                (self.wrong(range_at, format!("expression of type '{other}' {why}")), Type::ANY)
            }
        };
        let before = self.scope.len();
        self.scope.push((one.name.clone(), first.clone()));
        self.scope.extend(one.second.clone().map(|name| (name, second)));
        let filter = one.filter.as_mut().map(|filter| (filter.at, self.node(filter)));
        let (body_at, body) = (one.body.at, self.node(&mut one.body));
        self.scope.truncate(before);
        let mut each = body.cost.saturating_add(each_cost(one.what));
        if let Some((at, filter)) = filter {
            self.wants_bool(at, &filter.of);
            each = each.saturating_add(filter.cost);
        }
        if matches!(one.what, What::All | What::Exists | What::ExistsOne | What::Filter) {
            self.wants_bool(body_at, &body.of);
        }
        let times = if is_optional { 1 } else { size };
        let cost = range.cost.saturating_add(each.saturating_mul(times)).saturating_add(1);
        Known { of: self.made(one, body_at, size, first, body.of), cost }
    }

    fn wants_bool(&mut self, at: u32, of: &Type) {
        if !matches!(of, Type::Bool | Type::Dyn(_)) {
            self.wrong(at, format!("expected type 'bool' but found '{of}'"));
        }
    }

    /// What a loop makes.
    fn made(&mut self, one: &Loop, at: u32, size: u64, first: Type, body: Type) -> Type {
        match one.what {
            What::All | What::Exists | What::ExistsOne => Type::Bool,
            What::Map | What::TransformList => Type::list(body, size),
            What::Filter | What::SortBy => Type::list(first, size),
            What::TransformMap => Type::map(first, body, size),
            What::OptMap => Type::optional(body),
            What::OptFlatMap if matches!(body, Type::Optional(_) | Type::Dyn(_)) => body,
            What::OptFlatMap => self.wrong(at, format!("expected type 'optional_type(dyn)' but found '{body}'")),
            What::TransformMapEntry => match body {
                Type::Map(map) => Type::map(map.key.clone(), map.value.clone(), size.saturating_mul(map.most)),
                Type::Dyn(_) => body,
                other => self.wrong(at, format!("expected type 'map(dyn, dyn)' but found '{other}'")),
            },
        }
    }
}

fn is_of_clock(name: &str) -> bool {
    name.starts_with("getFull")
        || name.starts_with("getMonth")
        || name.starts_with("getD")
        || matches!(name, "getHours" | "getMinutes" | "getSeconds" | "getMilliseconds")
}

/// What is done for each element besides the body.
fn each_cost(what: What) -> u64 {
    match what {
        What::All | What::ExistsOne | What::OptMap | What::OptFlatMap => 3,
        What::Exists => 4,
        What::Map | What::TransformList | What::TransformMap => 12,
        What::Filter | What::TransformMapEntry => 14,
        What::SortBy => 20,
    }
}

/// A result as large as its function makes it at most. What stands for a letter is as large as what it came from.
fn sized(of: &Type, declared: &Type, size: Option<u64>) -> Type {
    match (declared, size) {
        (Type::Param(_), _) => of.clone(),
        (Type::String(_), None) => of.sized(MADE_TEXT_BYTES),
        (Type::List(list), Some(size)) if matches!(list.items, Type::String(_)) => Type::list(Type::String(size), size),
        (_, Some(size)) => of.sized(size),
        (_, None) => of.clone(),
    }
}
