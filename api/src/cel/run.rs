//! Runs a checked expression.
//!
//! Each step takes from a budget, and so does every letter that is read and every element that is made: whatever an
//! expression asks for, it ends. Deeper than the parser allows it cannot go.

use super::same::{contains, same};
use super::syntax::{Access, Call, Entry, Item, Kind, Loop, Node, What};
use super::value::{Failure, Key, List, Map, Outcome, Text, Value};
use super::{library, pattern};
use regex::Regex;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// What making a pattern costs: about as long as that many steps take.
const PATTERN_COST: u64 = 5_000;

/// What is left to spend, and the patterns that are ready.
pub(super) struct Work<'p> {
    pub(super) left: u64,
    /// Those that are written out in the expression.
    pub(super) known: &'p HashMap<String, Regex>,
    pub(super) made: HashMap<String, Regex>,
}

pub(super) struct Run<'r, 't> {
    pub(super) work: Work<'r>,
    /// The variables, outer ones first.
    pub(super) slots: Vec<Value<'t>>,
}

// === impl Work ===

impl Work<'_> {
    pub(super) fn take(&mut self, cost: u64) -> Result<(), Failure> {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Failure::Spent)
            }
        }
    }

    /// Looks at so many bytes: ten for a step.
    pub(super) fn read(&mut self, bytes: usize) -> Result<(), Failure> {
        self.take((bytes as u64).div_ceil(10))
    }

    /// A pattern that is looked for in a text; four of its letters are taken for one step of the matcher.
    pub(super) fn pattern(&mut self, written: &str, text: &str) -> Result<&Regex, Failure> {
        self.take((1 + text.len() as u64).div_ceil(10).saturating_mul((written.len() as u64).div_ceil(4).max(1)))?;
        if let Some(known) = self.known.get(written) {
            return Ok(known);
        }
        if !self.made.contains_key(written) {
            self.take(PATTERN_COST + written.len() as u64)?;
            let made = pattern::compile(written).map_err(Failure::of)?;
            self.made.insert(written.to_owned(), made);
        }
        self.made.get(written).ok_or_else(Failure::no_overload)
    }
}

// === impl Run ===

impl<'t> Run<'_, 't> {
    pub(super) fn value(&mut self, node: &'t Node) -> Outcome<'t> {
        match &node.kind {
            Kind::Literal(literal) => Ok(Value::literal(literal)),
            Kind::Name { text, slot } => {
                self.work.take(1)?;
                let known = self.slots.get(*slot).cloned();
                known.ok_or_else(|| Failure::of(format!("no such attribute(s): {text}")))
            }
            Kind::Select { of, field, form } => {
                self.work.take(1)?;
                let of = self.value(of)?;
                select(of, field, *form)
            }
            Kind::Index { of, key, is_optional } => {
                self.work.take(1)?;
                let of = self.value(of)?;
                let key = self.value(key)?;
                index(of, &key, *is_optional)
            }
            Kind::And(all) => self.connected(all, false),
            Kind::Or(all) => self.connected(all, true),
            Kind::If(parts) => {
                let [condition, yes, no] = &**parts;
                match self.value(condition)? {
                    Value::Bool(true) => self.value(yes),
                    Value::Bool(false) => self.value(no),
                    _ => Err(Failure::no_overload()),
                }
            }
            Kind::Call(call) => self.call(call),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Loop(one) => self.repeat(one),
        }
    }

    /// `&&` and `||`: an error is one only if nothing else decides.
    fn connected(&mut self, all: &'t [Node], decides: bool) -> Outcome<'t> {
        let mut error = None;
        for node in all {
            match self.value(node) {
                Ok(Value::Bool(value)) if value == decides => return Ok(Value::Bool(decides)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => error = error.or(Some(Failure::no_overload())),
                Err(Failure::Spent) => return Err(Failure::Spent),
                Err(other) => error = error.or(Some(other)),
            }
        }
        error.map_or(Ok(Value::Bool(!decides)), Err)
    }

    fn call(&mut self, call: &'t Call) -> Outcome<'t> {
        self.work.take(1)?;
        let mut args = Vec::with_capacity(call.args.len() + 1);
        for arg in call.target.iter().chain(&call.args) {
            args.push(self.value(arg)?);
        }
        let found = call.found.iter().find(|one| one.takes(&args)).ok_or_else(Failure::no_overload)?;
        (found.run)(&mut self.work, &args)
    }

    fn list(&mut self, items: &'t [Item]) -> Outcome<'t> {
        self.work.take(10)?;
        let mut all = Vec::with_capacity(items.len());
        for item in items {
            match (self.value(&item.value)?, item.is_optional) {
                (Value::Optional(value), true) => all.extend(value.map(|value| (*value).clone())),
                (_, true) => return Err(Failure::no_overload()),
                (value, false) => all.push(value),
            }
        }
        Ok(Value::list(all))
    }

    fn map(&mut self, entries: &'t [Entry]) -> Outcome<'t> {
        self.work.take(30)?;
        let mut all = BTreeMap::new();
        for entry in entries {
            let key = self.value(&entry.key)?;
            match (self.value(&entry.value)?, entry.is_optional) {
                (Value::Optional(None), true) => {}
                (Value::Optional(Some(value)), true) => insert(&mut all, key, (*value).clone())?,
                (_, true) => return Err(Failure::no_overload()),
                (value, false) => insert(&mut all, key, value)?,
            }
        }
        Ok(Value::Map(Map::Made(Rc::new(all))))
    }

    fn repeat(&mut self, one: &'t Loop) -> Outcome<'t> {
        self.work.take(1)?;
        let range = self.value(&one.range)?;
        if let What::OptMap | What::OptFlatMap = one.what {
            return self.optional(one, range);
        }
        // Paid for before they are gathered.
        self.work.take(range.size())?;
        // With one name, a list's elements or a map's keys; with two, the places or the keys, and the values.
        let pairs: Vec<(Value<'t>, Option<Value<'t>>)> = match (&range, &one.second) {
            (Value::List(list), None) => list.all()?.into_iter().map(|value| (value, None)).collect(),
            (Value::Map(map), None) => map.keys().into_iter().map(|key| (key, None)).collect(),
            (Value::List(list), Some(_)) => {
                let places = (0..).map(Value::Int);
                places.zip(list.all()?).map(|(at, value)| (at, Some(value))).collect()
            }
            (Value::Map(map), Some(_)) => map.entries()?.into_iter().map(|(key, value)| (key, Some(value))).collect(),
            _ => return Err(Failure::no_overload()),
        };
        match one.what {
            What::All => self.until(one, pairs, false),
            What::Exists => self.until(one, pairs, true),
            What::ExistsOne => self.exactly_one(one, pairs),
            What::Filter => self.filtered(one, pairs),
            What::SortBy => self.sorted(one, pairs),
            What::TransformMap | What::TransformMapEntry => self.transformed(one, pairs),
            What::Map | What::TransformList | What::OptMap | What::OptFlatMap => self.mapped(one, pairs),
        }
    }

    /// The body, or the filter, for one element.
    fn with(&mut self, node: &'t Node, pair: &(Value<'t>, Option<Value<'t>>)) -> Outcome<'t> {
        let before = self.slots.len();
        self.slots.push(pair.0.clone());
        self.slots.extend(pair.1.clone());
        let outcome = self.value(node);
        self.slots.truncate(before);
        self.work.take(2)?;
        outcome
    }

    fn holds(&mut self, node: &'t Node, pair: &(Value<'t>, Option<Value<'t>>)) -> Result<bool, Failure> {
        match self.with(node, pair)? {
            Value::Bool(value) => Ok(value),
            _ => Err(Failure::no_overload()),
        }
    }

    fn passes(&mut self, one: &'t Loop, pair: &(Value<'t>, Option<Value<'t>>)) -> Result<bool, Failure> {
        one.filter.as_ref().map_or(Ok(true), |filter| self.holds(filter, pair))
    }

    /// `all` ends with the first that does not hold, `exists` with the first that does; errors count if there is none.
    fn until(&mut self, one: &'t Loop, pairs: Vec<(Value<'t>, Option<Value<'t>>)>, decides: bool) -> Outcome<'t> {
        let mut error = None;
        for pair in &pairs {
            match self.holds(&one.body, pair) {
                Ok(value) if value == decides => return Ok(Value::Bool(decides)),
                Ok(_) => {}
                Err(Failure::Spent) => return Err(Failure::Spent),
                Err(other) => error = error.or(Some(other)),
            }
        }
        error.map_or(Ok(Value::Bool(!decides)), Err)
    }

    fn exactly_one(&mut self, one: &'t Loop, pairs: Vec<(Value<'t>, Option<Value<'t>>)>) -> Outcome<'t> {
        let mut count = 0_u64;
        for pair in &pairs {
            count += u64::from(self.holds(&one.body, pair)?);
        }
        Ok(Value::Bool(count == 1))
    }

    fn filtered(&mut self, one: &'t Loop, pairs: Vec<(Value<'t>, Option<Value<'t>>)>) -> Outcome<'t> {
        let mut all = Vec::new();
        for pair in pairs {
            if self.holds(&one.body, &pair)? {
                all.push(pair.0);
            }
        }
        Ok(Value::list(all))
    }

    fn mapped(&mut self, one: &'t Loop, pairs: Vec<(Value<'t>, Option<Value<'t>>)>) -> Outcome<'t> {
        let mut all = Vec::new();
        for pair in &pairs {
            if self.passes(one, pair)? {
                all.push(self.with(&one.body, pair)?);
            }
        }
        Ok(Value::list(all))
    }

    fn transformed(&mut self, one: &'t Loop, pairs: Vec<(Value<'t>, Option<Value<'t>>)>) -> Outcome<'t> {
        let mut all = BTreeMap::new();
        for pair in &pairs {
            if !self.passes(one, pair)? {
                continue;
            }
            match (self.with(&one.body, pair)?, one.what) {
                (Value::Map(map), What::TransformMapEntry) => {
                    for (key, value) in map.entries()? {
                        self.work.take(1)?;
                        insert(&mut all, key, value)?;
                    }
                }
                (_, What::TransformMapEntry) => return Err(Failure::no_overload()),
                (value, _) => insert(&mut all, pair.0.clone(), value)?,
            }
        }
        Ok(Value::Map(Map::Made(Rc::new(all))))
    }

    fn sorted(&mut self, one: &'t Loop, pairs: Vec<(Value<'t>, Option<Value<'t>>)>) -> Outcome<'t> {
        let mut keyed = Vec::with_capacity(pairs.len());
        for pair in pairs {
            keyed.push((self.with(&one.body, &pair)?, pair.0));
        }
        library::sort(&mut self.work, keyed).map(Value::list)
    }

    fn optional(&mut self, one: &'t Loop, range: Value<'t>) -> Outcome<'t> {
        let Value::Optional(value) = range else { return Err(Failure::no_overload()) };
        let Some(value) = value else { return Ok(Value::Optional(None)) };
        let made = self.with(&one.body, &((*value).clone(), None))?;
        match (made, one.what) {
            (made @ Value::Optional(_), What::OptFlatMap) => Ok(made),
            (_, What::OptFlatMap) => Err(Failure::no_overload()),
            (made, _) => Ok(Value::some(made)),
        }
    }
}

fn insert<'t>(
    all: &mut BTreeMap<Key<'t>, (Value<'t>, Value<'t>)>,
    key: Value<'t>,
    value: Value<'t>,
) -> Result<(), Failure> {
    let place = key.key().ok_or_else(|| Failure::of(format!("unsupported key type: {}", key.type_name())))?;
    if all.contains_key(&place) {
        return Err(Failure::of(format!("insert failed: key {} already exists", library::shown(&key))));
    }
    all.insert(place, (key, value));
    Ok(())
}

fn select<'t>(of: Value<'t>, field: &'t str, form: Access) -> Outcome<'t> {
    let key = Key::Text(Text::Lent(field));
    match (of, form) {
        (Value::Map(map), Access::Test) => Ok(Value::Bool(map.has(&key))),
        (Value::Map(map), Access::Plain) => {
            map.get(&key).unwrap_or_else(|| Err(Failure::of(format!("no such key: {field}"))))
        }
        (Value::Map(map), Access::Optional) => optional(map.get(&key)),
        // What is asked of something that may not be there may not be there.
        (Value::Optional(None), Access::Test) => Ok(Value::Bool(false)),
        (Value::Optional(None), _) => Ok(Value::Optional(None)),
        (Value::Optional(Some(value)), Access::Test) => select((*value).clone(), field, Access::Test),
        (Value::Optional(Some(value)), _) => select((*value).clone(), field, Access::Optional),
        _ => Err(Failure::no_overload()),
    }
}

fn optional<'t>(found: Option<Outcome<'t>>) -> Outcome<'t> {
    found.map_or(Ok(Value::Optional(None)), |found| found.map(Value::some))
}

fn index<'t>(of: Value<'t>, key: &Value<'t>, is_optional: bool) -> Outcome<'t> {
    let (found, missing) = match of {
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(value)) => return index((*value).clone(), key, true),
        Value::List(list) => {
            let Some(Key::Number(at)) = key.key() else { return Err(Failure::no_overload()) };
            (usize::try_from(at).ok().and_then(|at| list.get(at)), format!("index out of bounds: {at}"))
        }
        Value::Map(map) => {
            let Some(place) = key.key() else { return Err(Failure::no_overload()) };
            (map.get(&place), format!("no such key: {}", library::shown(key)))
        }
        _ => return Err(Failure::no_overload()),
    };
    if is_optional { optional(found) } else { found.unwrap_or_else(|| Err(Failure::of(missing))) }
}

/// `in`.
pub(super) fn is_in<'t>(work: &mut Work<'_>, args: &[Value<'t>]) -> Outcome<'t> {
    match args {
        [wanted, Value::List(list)] => contains_lazily(work, list, wanted).map(Value::Bool),
        [wanted, Value::Map(map)] => Ok(Value::Bool(wanted.key().is_some_and(|key| map.has(&key)))),
        _ => Err(Failure::no_overload()),
    }
}

fn contains_lazily(work: &mut Work<'_>, list: &List<'_>, wanted: &Value<'_>) -> Result<bool, Failure> {
    match list {
        List::Made(all, _) => contains(work, all, wanted),
        List::Seen(..) => {
            for one in list.iter() {
                work.take(1)?;
                if same(work, &one?, wanted)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}
