//! Values while an expression runs. What comes from an object is looked at where it lies: nothing is copied before it is
//! read, and then no more than that.

use super::library::{Address, Format, Network, Url, Version, times};
use super::syntax::{Literal, TypeName};
use super::types::{ListType, MapType, ObjectType, Type};
use crate::quantity::Quantity;
use crate::{Tree, time};
use base64::Engine as _;
use serde_json::Map as Members;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::LazyLock;

/// What is in an object that nobody declared.
static ANY: Type = Type::ANY;
static ANY_LIST: LazyLock<ListType> = LazyLock::new(|| ListType {
    items: Type::ANY,
    most: super::types::REQUEST_BYTES_MAX,
    like: super::types::Likeness::Ordered,
});
static ANY_MAP: LazyLock<MapType> =
    LazyLock::new(|| MapType { key: Type::TEXT, value: Type::ANY, most: super::types::REQUEST_BYTES_MAX });

#[derive(Debug, Clone)]
pub enum Value<'t> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'t>),
    Bytes(Rc<[u8]>),
    Timestamp(time::Timestamp),
    /// Billionths of a second.
    Duration(i64),
    List(List<'t>),
    Map(Map<'t>),
    Type(&'static str),
    Optional(Option<Rc<Value<'t>>>),
    Quantity(Quantity),
    Url(Rc<Url>),
    Ip(Address),
    Cidr(Network),
    Format(&'static Format),
    Semver(Rc<Version>),
}

#[derive(Debug, Clone)]
pub enum Text<'t> {
    Lent(&'t str),
    Made(Rc<str>),
}

#[derive(Debug, Clone)]
pub enum List<'t> {
    Seen(&'t [Tree], &'t ListType),
    /// With the type that says when it is the same as another, if there is one.
    Made(Rc<Vec<Value<'t>>>, Option<&'t ListType>),
}

#[derive(Debug, Clone)]
pub enum Map<'t> {
    Seen(&'t Members<String, Tree>, Declared<'t>),
    Made(Rc<BTreeMap<Key<'t>, (Value<'t>, Value<'t>)>>),
}

/// How an object's members are read.
#[derive(Debug, Clone, Copy)]
pub enum Declared<'t> {
    Fields(&'t ObjectType),
    Values(&'t MapType),
}

/// What a map is asked for. Numbers are the same if they are as numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key<'t> {
    Bool(bool),
    Number(i128),
    Text(Text<'t>),
}

/// Why there is no value.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// What upstream says about it.
    Error(Cow<'static, str>),
    /// It has cost as much as it may.
    Spent,
}

pub(super) type Outcome<'t> = Result<Value<'t>, Failure>;

// === impl Value ===

impl<'t> Value<'t> {
    /// A value of an object, by its type.
    pub fn seen(tree: &'t Tree, of: &'t Type) -> Outcome<'t> {
        Ok(match (tree, of) {
            (Tree::Null, _) => Value::Null,
            (Tree::String(text), of) => return Value::seen_text(text, of),
            (Tree::Bool(value), _) => Value::Bool(*value),
            (Tree::Number(number), Type::Double) => Value::Double(number.as_f64().unwrap_or_default()),
            (Tree::Number(number), _) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Value::Int(whole),
                (None, Some(value)) if matches!(of, Type::Int) => Value::Int(whole(value)?),
                (None, value) => Value::Double(value.unwrap_or_default()),
            },
            (Tree::Array(all), Type::List(list)) => Value::List(List::Seen(all, list)),
            (Tree::Array(all), _) => Value::List(List::Seen(all, &ANY_LIST)),
            (Tree::Object(all), Type::Object(object)) => Value::Map(Map::Seen(all, Declared::Fields(object))),
            (Tree::Object(all), Type::Map(map)) => Value::Map(Map::Seen(all, Declared::Values(map))),
            (Tree::Object(all), _) => Value::Map(Map::Seen(all, Declared::Values(&ANY_MAP))),
        })
    }

    fn seen_text(text: &'t str, of: &Type) -> Outcome<'t> {
        match of {
            Type::Timestamp => {
                let read = time::parse(text).or_else(|| time::parse(&format!("{text}T00:00:00Z")));
                read.map(Value::Timestamp).ok_or_else(|| Failure::of(format!("invalid date or time {text:?}")))
            }
            Type::Duration => times::parse_duration(text)
                .or_else(|| times::parse_days(text))
                .map(Value::Duration)
                .ok_or_else(|| Failure::of(format!("unable to parse {text} as duration"))),
            Type::Bytes(_) => {
                let decoded = base64::engine::general_purpose::STANDARD.decode(text.replace(['\r', '\n'], ""));
                decoded.map(|bytes| Value::Bytes(bytes.into())).map_err(|_| Failure::of("invalid base64"))
            }
            _ => Ok(Value::String(Text::Lent(text))),
        }
    }

    pub(super) fn literal(literal: &'t Literal) -> Value<'t> {
        match literal {
            Literal::Null => Value::Null,
            Literal::Bool(value) => Value::Bool(*value),
            Literal::Int(value) => Value::Int(*value),
            Literal::Uint(value) => Value::Uint(*value),
            Literal::Double(value) => Value::Double(*value),
            Literal::String(text) => Value::String(Text::Lent(text)),
            Literal::Bytes(bytes) => Value::Bytes(Rc::from(&**bytes)),
            Literal::Type(TypeName(name)) => Value::Type(name),
        }
    }

    pub(super) fn text(text: impl Into<Rc<str>>) -> Value<'t> {
        Value::String(Text::Made(text.into()))
    }

    pub(super) fn list(all: Vec<Value<'t>>) -> Value<'t> {
        Value::List(List::Made(Rc::new(all), None))
    }

    pub(super) fn some(value: Value<'t>) -> Value<'t> {
        Value::Optional(Some(Rc::new(value)))
    }

    /// How many: letters, bytes, elements, members; 1 for what cannot be counted.
    pub(super) fn size(&self) -> u64 {
        let size = match self {
            Value::String(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::List(list) => list.len(),
            Value::Map(map) => map.len(),
            Value::Optional(Some(value)) => return value.size(),
            _ => 1,
        };
        size as u64
    }

    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Type(_) => "type",
            Value::Optional(_) => "optional_type",
            Value::Quantity(_) => "kubernetes.Quantity",
            Value::Url(_) => "kubernetes.URL",
            Value::Ip(_) => "net.IP",
            Value::Cidr(_) => "net.CIDR",
            Value::Format(_) => "kubernetes.NamedFormat",
            Value::Semver(_) => "kubernetes.Semver",
        }
    }

    /// Whether a function that asks for the type may have it; what is inside of lists and maps is the function's matter.
    pub(super) fn is(&self, of: &Type) -> bool {
        match of {
            Type::Dyn(_) | Type::Param(_) => true,
            Type::Null => matches!(self, Value::Null),
            Type::Bool => matches!(self, Value::Bool(_)),
            Type::Int => matches!(self, Value::Int(_)),
            Type::Uint => matches!(self, Value::Uint(_)),
            Type::Double => matches!(self, Value::Double(_)),
            Type::String(_) => matches!(self, Value::String(_)),
            Type::Bytes(_) => matches!(self, Value::Bytes(_)),
            Type::Timestamp => matches!(self, Value::Timestamp(_)),
            Type::Duration => matches!(self, Value::Duration(_)),
            Type::Type => matches!(self, Value::Type(_)),
            Type::List(_) => matches!(self, Value::List(_)),
            Type::Map(_) | Type::Object(_) => matches!(self, Value::Map(_)),
            Type::Optional(_) => matches!(self, Value::Optional(_)),
            Type::Opaque(opaque) => self.type_name() == opaque.name(),
        }
    }

    /// Which of two comes first; `None` if they cannot be compared.
    pub(super) fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Value::Bool(one), Value::Bool(two)) => Some(one.cmp(two)),
            (Value::String(one), Value::String(two)) => Some(one.as_bytes().cmp(two.as_bytes())),
            (Value::Bytes(one), Value::Bytes(two)) => Some(one.cmp(two)),
            (Value::Timestamp(one), Value::Timestamp(two)) => Some(one.cmp(two)),
            (Value::Duration(one), Value::Duration(two)) => Some(one.cmp(two)),
            (Value::Double(one), Value::Double(two)) => one.partial_cmp(two),
            (Value::Double(one), other) => other.number().and_then(|two| with_double(two, *one)).map(Ordering::reverse),
            (one, Value::Double(two)) => one.number().and_then(|one| with_double(one, *two)),
            (one, two) => Some(one.number()?.cmp(&two.number()?)),
        }
    }

    /// A whole number.
    pub(super) fn number(&self) -> Option<i128> {
        match self {
            Value::Int(value) => Some(i128::from(*value)),
            Value::Uint(value) => Some(i128::from(*value)),
            _ => None,
        }
    }

    pub(super) fn key(&self) -> Option<Key<'t>> {
        match self {
            Value::Bool(value) => Some(Key::Bool(*value)),
            Value::Int(_) | Value::Uint(_) => self.number().map(Key::Number),
            Value::Double(value) => whole(*value).ok().map(|whole| Key::Number(i128::from(whole))),
            Value::String(text) => Some(Key::Text(text.clone())),
            _ => None,
        }
    }
}

/// The whole number that a fraction is.
#[allow(clippy::cast_possible_truncation, reason = "it is compared with what it was made of")]
fn whole(value: f64) -> Result<i64, Failure> {
    let whole = value as i64;
    let is_same = value.fract() == 0.0 && value.abs() < 9.3e18 && (whole as f64) == value && whole != i64::MAX;
    if is_same { Ok(whole) } else { Err(Failure::of("no such overload")) }
}

#[allow(clippy::cast_possible_truncation, reason = "the range is looked at first")]
fn with_double(one: i128, two: f64) -> Option<Ordering> {
    if two.is_nan() {
        return None;
    }
    if two.abs() > 1e20 {
        return Some(if two > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    let whole = two.floor();
    Some(one.cmp(&(whole as i128)).then(if two > whole { Ordering::Less } else { Ordering::Equal }))
}

// === impl Text ===

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Text::Lent(text) => text,
            Text::Made(text) => text,
        }
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text<'_> {}

impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

// === impl List ===

impl<'t> List<'t> {
    pub(super) fn len(&self) -> usize {
        match self {
            List::Seen(all, _) => all.len(),
            List::Made(all, _) => all.len(),
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<Outcome<'t>> {
        match self {
            List::Seen(all, of) => all.get(at).map(|tree| Value::seen(tree, &of.items)),
            List::Made(all, _) => all.get(at).cloned().map(Ok),
        }
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Outcome<'t>> + use<'t, '_> {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    pub(super) fn all(&self) -> Result<Vec<Value<'t>>, Failure> {
        self.iter().collect()
    }

    pub(super) fn of(&self) -> Option<&'t ListType> {
        match self {
            List::Seen(_, of) => Some(of),
            List::Made(_, of) => *of,
        }
    }
}

// === impl Map ===

impl<'t> Map<'t> {
    pub(super) fn len(&self) -> usize {
        match self {
            Map::Seen(all, _) => all.len(),
            Map::Made(all) => all.len(),
        }
    }

    pub(super) fn get(&self, key: &Key<'t>) -> Option<Outcome<'t>> {
        match (self, key) {
            (Map::Seen(all, declared), Key::Text(name)) => {
                let (key, of) = declared.member(name)?;
                all.get(key).map(|tree| Value::seen(tree, of))
            }
            (Map::Seen(..), _) => None,
            (Map::Made(all), key) => all.get(key).map(|(_, value)| Ok(value.clone())),
        }
    }

    pub(super) fn has(&self, key: &Key<'t>) -> bool {
        match (self, key) {
            (Map::Seen(all, declared), Key::Text(name)) => {
                declared.member(name).is_some_and(|(key, _)| all.contains_key(key))
            }
            (Map::Seen(..), _) => false,
            (Map::Made(all), key) => all.contains_key(key),
        }
    }

    /// The member by its name in the object.
    pub(super) fn by_key(&self, key: &str) -> Option<Outcome<'t>> {
        match self {
            Map::Seen(all, declared) => all.get(key).map(|tree| Value::seen(tree, declared.by_key(key))),
            Map::Made(all) => all.get(&Key::Text(Text::Made(key.into()))).map(|(_, value)| Ok(value.clone())),
        }
    }

    pub(super) fn keys(&self) -> Vec<Value<'t>> {
        match self {
            Map::Seen(all, _) => all.keys().map(|key| Value::String(Text::Lent(key))).collect(),
            Map::Made(all) => all.values().map(|(key, _)| key.clone()).collect(),
        }
    }

    pub(super) fn entries(&self) -> Result<Vec<(Value<'t>, Value<'t>)>, Failure> {
        match self {
            Map::Seen(all, declared) => {
                let known = all.iter().map(|(key, tree)| {
                    let of = declared.by_key(key);
                    Ok((Value::String(Text::Lent(key)), Value::seen(tree, of)?))
                });
                known.collect()
            }
            Map::Made(all) => Ok(all.values().cloned().collect()),
        }
    }
}

// === impl Declared ===

impl<'t> Declared<'t> {
    /// By the name that an expression writes.
    fn member<'n>(self, name: &'n str) -> Option<(&'n str, &'t Type)>
    where
        't: 'n,
    {
        match self {
            Declared::Fields(object) => object.fields.get(name).map(|field| (field.key.as_str(), &field.of)),
            Declared::Values(map) => Some((name, &map.value)),
        }
    }

    /// By the name in the object; what is not declared can be anything.
    pub(super) fn by_key(self, key: &str) -> &'t Type {
        match self {
            Declared::Fields(object) => {
                object.fields.values().find(|field| field.key == key).map_or(&ANY, |field| &field.of)
            }
            Declared::Values(map) => &map.value,
        }
    }
}

// === impl Failure ===

impl Failure {
    pub(super) fn of(message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::Error(message.into())
    }

    pub(super) fn no_overload() -> Failure {
        Failure::Error(Cow::Borrowed("no such overload"))
    }
}
