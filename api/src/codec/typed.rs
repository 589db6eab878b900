//! Decoding against the field table from any serde source: JSON bytes, YAML, or a tree.
//!
//! The table leads: a key is looked up once, its value is read as what the table says, and members are put into Go's
//! order on the way. Errors and problems are worded as sigs.k8s.io/json words them, because clients print them.

mod times;
mod words;

use super::{DEPTH_MAX, DecodeError, Problem, Strictness};
use crate::Tree;
use crate::fields::{self, Container, Field, TypeRef, Value};
use crate::quantity::Quantity;
use base64::Engine as _;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number};
use std::borrow::Cow;
use std::fmt;

/// Reads one object. Nulls are dropped: to Go they are the zero value.
pub(super) fn decode<'de, D: Deserializer<'de>>(
    source: D,
    schema: Option<TypeRef>,
    strictness: Strictness,
) -> Result<(Tree, Vec<Problem>), DecodeError> {
    let mut state = State { path: Vec::new(), problems: Vec::new(), strictness, failure: None };
    let what = schema.map_or(What::Custom, |schema| What::One(Value::Object(schema)));
    match (Seed { state: &mut state, what }).deserialize(source) {
        Ok(Some(tree)) => Ok((tree, state.problems)),
        Ok(None) => Ok((Tree::Object(Map::new()), state.problems)),
        Err(error) => Err(state.failure.unwrap_or_else(|| malformed(error.to_string()))),
    }
}

fn malformed(text: String) -> DecodeError {
    if text.contains("recursion limit") { DecodeError::TooDeep } else { DecodeError::Malformed(text) }
}

/// What happened so far, and where we are.
struct State {
    path: Vec<Step>,
    problems: Vec<Problem>,
    strictness: Strictness,
    /// The error in upstream's words; serde's own error then only ends the parse.
    failure: Option<DecodeError>,
}

enum Step {
    /// The struct and the member in it.
    Member(&'static str, &'static str),
    Key(Box<str>),
    Index(usize),
}

/// What the next value has to be.
#[derive(Clone, Copy)]
enum What {
    One(Value),
    List(Value),
    Map(Value),
    /// Anything, as it is.
    Raw,
    /// An object of a custom resource: typed metadata, the rest as it is.
    Custom,
    /// A part of one: anything, but no key twice.
    Loose,
}

struct Seed<'s> {
    state: &'s mut State,
    what: What,
}

// === impl What ===

impl What {
    fn of(field: &Field) -> What {
        match field.container {
            Container::List => What::List(field.value),
            Container::Map => What::Map(field.value),
            Container::Single => What::One(field.value).settled(),
        }
    }

    /// A bare type that is always a list becomes that list; free-form values become raw.
    fn settled(self) -> What {
        match self {
            What::One(Value::RawExtension | Value::Json | Value::Any | Value::FieldsV1) => What::Raw,
            What::One(Value::Object(inner)) if inner.is_bare() && inner.declared().len() == 1 => {
                What::of(&inner.declared()[0])
            }
            other => other,
        }
    }
}

// === impl State ===

impl State {
    fn problem(&mut self, what: &str, key: &str) {
        if self.strictness != Strictness::Ignore {
            let text = format!("{what} field \"{}\"", words::path(&self.path, key));
            self.problems.push(Problem { text });
        }
    }

    fn fail<E: serde::de::Error>(&mut self, failure: DecodeError) -> E {
        let error = E::custom(&failure);
        self.failure.get_or_insert(failure);
        error
    }

    fn wrong<E: serde::de::Error>(&mut self, found: &str, what: What) -> E {
        let text = words::wrong_type(&self.path, found, what);
        self.fail(DecodeError::WrongType(text))
    }
}

// === impl Seed ===

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Option<Tree>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Option<Tree>, D::Error> {
        if self.state.path.len() > DEPTH_MAX {
            return Err(self.state.fail(DecodeError::TooDeep));
        }
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Option<Tree>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Option<Tree>, E> {
        Ok(matches!(self.what, What::Raw | What::Loose).then_some(Tree::Null))
    }

    /// A YAML document with nothing in it.
    fn visit_none<E: serde::de::Error>(self) -> Result<Option<Tree>, E> {
        self.visit_unit()
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Option<Tree>, E> {
        match self.what {
            What::Raw | What::Loose | What::One(Value::Bool) => Ok(Some(Tree::Bool(value))),
            What::One(Value::Object(bare))
                if bare.declared().iter().any(|own| own.json == "=" && own.value == Value::Bool) =>
            {
                Ok(Some(Tree::Bool(value)))
            }
            what => Err(self.state.wrong("bool", what)),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Option<Tree>, E> {
        let fits = match self.what {
            What::Raw | What::Loose | What::One(Value::Int64 | Value::Float64) => true,
            What::One(Value::Int32 | Value::IntOrString) => i32::try_from(value).is_ok(),
            What::One(Value::Quantity) => return Ok(Some(Tree::String(value.to_string()))),
            what => return Err(self.state.wrong("number", what)),
        };
        if fits { Ok(Some(value.into())) } else { Err(self.state.wrong(&format!("number {value}"), self.what)) }
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Option<Tree>, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) if matches!(self.what, What::Raw | What::Loose) => Ok(Some(value.into())),
            Err(_) => Err(self.state.wrong(&format!("number {value}"), self.what)),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Option<Tree>, E> {
        match self.what {
            What::Raw | What::Loose | What::One(Value::Float64) => {
                let number = Number::from_f64(value).ok_or_else(|| E::custom("a number is not finite"))?;
                Ok(Some(Tree::Number(number)))
            }
            What::One(Value::Quantity) => Ok(Some(Tree::String(value.to_string()))),
            What::One(Value::Int32 | Value::Int64 | Value::IntOrString) => {
                Err(self.state.wrong(&format!("number {value:?}"), self.what))
            }
            what => Err(self.state.wrong("number", what)),
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Option<Tree>, E> {
        self.text(Cow::Borrowed(text))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Option<Tree>, E> {
        self.text(Cow::Owned(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<Tree>, A::Error> {
        let item = match self.what {
            What::Raw => What::Raw,
            What::Loose => What::Loose,
            What::List(value) => What::One(value).settled(),
            What::One(Value::Object(bare)) => match bare.declared().iter().find(|own| own.container == Container::List)
            {
                Some(own) if own.json == "=" => What::One(own.value).settled(),
                _ => return Err(self.state.wrong("array", self.what)),
            },
            what => return Err(self.state.wrong("array", what)),
        };
        let mut all = Vec::with_capacity(items.size_hint().unwrap_or(0).min(1024));
        loop {
            self.state.path.push(Step::Index(all.len()));
            let next = items.next_element_seed(Seed { state: self.state, what: item })?;
            self.state.path.pop();
            match next {
                Some(value) => all.push(value.unwrap_or_else(|| zero(item))),
                None => return Ok(Some(Tree::Array(all))),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<Tree>, A::Error> {
        match self.what {
            What::Raw => self.raw(map),
            What::Loose => self.loose(map),
            What::Custom => self.custom(map),
            What::Map(value) => self.keyed(map, value),
            What::One(Value::Object(schema)) if schema.is_bare() => {
                let own = schema.declared().iter().find(|own| matches!(own.value, Value::Object(_)));
                match own.map(|own| own.value) {
                    Some(Value::Object(inner)) => self.members(map, inner),
                    _ => Err(self.state.wrong("object", self.what)),
                }
            }
            What::One(Value::Object(schema)) => self.members(map, schema),
            what => Err(self.state.wrong("object", what)),
        }
    }
}

impl Seed<'_> {
    fn text<E: serde::de::Error>(self, text: Cow<'_, str>) -> Result<Option<Tree>, E> {
        let check = match self.what {
            What::Raw | What::Loose | What::One(Value::String | Value::IntOrString | Value::Duration) => Ok(()),
            What::One(Value::Quantity) => Quantity::parse(&text).map(|_| ()).map_err(|error| error.to_string()),
            What::One(Value::Time) => times::check(&text, times::SECONDS),
            What::One(Value::MicroTime) => times::check(&text, times::MICROSECONDS),
            What::One(Value::Bytes) => check_base64(&text),
            what => return Err(self.state.wrong("string", what)),
        };
        match check {
            Ok(()) => Ok(Some(Tree::String(text.into_owned()))),
            Err(why) => Err(self.state.fail(DecodeError::WrongType(why))),
        }
    }

    fn raw<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Tree>, A::Error> {
        let mut all = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            self.state.path.push(Step::Index(0));
            let value = map.next_value_seed(Seed { state: self.state, what: What::Raw })?;
            self.state.path.pop();
            all.insert(key, value.unwrap_or(Tree::Null));
        }
        Ok(Some(Tree::Object(all)))
    }

    fn loose<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Tree>, A::Error> {
        let mut all = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if all.contains_key(&key) {
                self.state.problem("duplicate", &key);
            }
            self.state.path.push(Step::Key(key.as_str().into()));
            let value = map.next_value_seed(Seed { state: self.state, what: What::Loose })?;
            self.state.path.pop();
            all.insert(key, value.unwrap_or(Tree::Null));
        }
        Ok(Some(Tree::Object(all)))
    }

    fn keyed<'de, A: MapAccess<'de>>(self, mut map: A, value: Value) -> Result<Option<Tree>, A::Error> {
        let what = What::One(value).settled();
        let mut all = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if all.contains_key(&key) {
                self.state.problem("duplicate", &key);
            }
            self.state.path.push(Step::Key(key.as_str().into()));
            let value = map.next_value_seed(Seed { state: self.state, what })?;
            self.state.path.pop();
            all.insert(key, value.unwrap_or_else(|| zero(what)));
        }
        Ok(Some(Tree::Object(all)))
    }

    fn custom<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Tree>, A::Error> {
        let mut first: [Option<Tree>; 3] = [None, None, None];
        let mut rest = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let (at, what, member) = match key.as_str() {
                "apiVersion" => (Some(0), What::One(Value::String), "apiVersion"),
                "kind" => (Some(1), What::One(Value::String), "kind"),
                "metadata" => (Some(2), What::One(Value::Object(fields::object_meta())), "metadata"),
                _ => (None, What::Loose, ""),
            };
            if at.is_some_and(|at: usize| first[at].is_some()) || rest.contains_key(&key) {
                self.state.problem("duplicate", &key);
            }
            self.state.path.push(if at.is_some() { Step::Member("", member) } else { Step::Key(key.as_str().into()) });
            let value = map.next_value_seed(Seed { state: self.state, what })?;
            self.state.path.pop();
            match at {
                Some(at) => first[at] = value,
                None => _ = rest.insert(key, value.unwrap_or(Tree::Null)),
            }
        }
        let mut all = Map::with_capacity(rest.len() + first.len());
        for (key, value) in ["apiVersion", "kind", "metadata"].into_iter().zip(first) {
            if let Some(value) = value {
                all.insert(key.to_owned(), value);
            }
        }
        all.extend(rest);
        Ok(Some(Tree::Object(all)))
    }

    fn members<'de, A: MapAccess<'de>>(self, mut map: A, schema: TypeRef) -> Result<Option<Tree>, A::Error> {
        let state = self.state;
        let fields = schema.fields();
        // Most bodies come in Go's order already, so a sort is the exception.
        let mut found: Vec<(usize, Option<Tree>)> = Vec::with_capacity(fields.len().min(16));
        let mut seen: u128 = 0;
        let mut is_sorted = true;
        loop {
            let key = map.next_key_seed(Key { schema })?;
            let at = match key {
                None => break,
                Some(Found::Field(at)) => at,
                Some(Found::Unknown(key)) => {
                    state.problem("unknown", &key);
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            let field = fields[at];
            let is_duplicate = seen & (1 << at) != 0;
            if is_duplicate {
                state.problem("duplicate", field.json);
            }
            state.path.push(Step::Member(schema.name(), field.json));
            let value = map.next_value_seed(Seed { state, what: What::of(field) })?;
            state.path.pop();
            if is_duplicate {
                found.retain(|(have, _)| *have != at);
            }
            seen |= 1 << at;
            is_sorted &= found.last().is_none_or(|(last, _)| *last < at);
            found.push((at, value));
        }
        if !is_sorted {
            found.sort_by_key(|(at, _)| *at);
        }
        let mut all = Map::with_capacity(found.len());
        all.extend(found.into_iter().filter_map(|(at, value)| Some((fields[at].json.to_owned(), value?))));
        Ok(Some(Tree::Object(all)))
    }
}

/// Reads a key without keeping its text, unless it is unknown.
struct Key {
    schema: TypeRef,
}

enum Found {
    Field(usize),
    Unknown(String),
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Found, D::Error> {
        source.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Found, E> {
        Ok(self.schema.position(key).map_or_else(|| Found::Unknown(key.to_owned()), Found::Field))
    }
}

/// What Go makes of a null inside a list or a map.
fn zero(what: What) -> Tree {
    match what {
        What::One(Value::String) => Tree::String(String::new()),
        What::One(Value::Quantity) => Tree::String("0".to_owned()),
        What::One(Value::Int32 | Value::Int64 | Value::Float64 | Value::IntOrString) => 0.into(),
        What::One(Value::Bool) => false.into(),
        What::One(Value::Object(_)) => Tree::Object(Map::new()),
        _ => Tree::Null,
    }
}

/// Line breaks are allowed, as in Go.
fn check_base64(text: &str) -> Result<(), String> {
    let standard = &base64::engine::general_purpose::STANDARD;
    if standard.decode(text).is_ok() || standard.decode(text.replace(['\r', '\n'], "")).is_ok() {
        return Ok(());
    }
    Err(format!("illegal base64 data at input byte {}", base64_fault(text.as_bytes()).unwrap_or(text.len())))
}

/// Where Go stops reading base64.
fn base64_fault(text: &[u8]) -> Option<usize> {
    let mut of_four = 0;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'\r' | b'\n' => {}
            b'=' if of_four < 2 => return Some(at),
            b'=' => {
                let mut rest = (at + 1..text.len()).filter(|at| !b"\r\n".contains(&text[*at]));
                // Two digits of four want two signs.
                let second = if of_four == 2 { Some(rest.next().unwrap_or(text.len())) } else { None };
                return second.filter(|at| text.get(*at) != Some(&b'=')).or_else(|| rest.next());
            }
            byte if byte.is_ascii_alphanumeric() || b"+/".contains(byte) => of_four = (of_four + 1) % 4,
            _ => return Some(at),
        }
    }
    (of_four > 0).then(|| text.len() - of_four)
}
