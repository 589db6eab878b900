//! What an expression may evaluate to, as far as that is known before it runs, and how large it may get.
//!
//! A type carries the sizes that its schema allows: the checker reckons with them what an expression may cost. Types are
//! compared without them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What a request may hold at most, and so any one value that nothing else bounds.
pub const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;

#[derive(Debug, Clone)]
pub enum Type {
    /// Known only when it is there; the largest size that it may have.
    Dyn(u64),
    Null,
    Bool,
    Int,
    Uint,
    Double,
    /// The longest it may be, in bytes.
    String(u64),
    Bytes(u64),
    Timestamp,
    Duration,
    /// The type of types.
    Type,
    List(Arc<ListType>),
    Map(Arc<MapType>),
    /// Members that are declared one by one.
    Object(Arc<ObjectType>),
    Optional(Arc<Type>),
    Opaque(Opaque),
    /// In signatures: any type, the same wherever the letter stands.
    Param(u8),
}

#[derive(Debug, Clone)]
pub struct ListType {
    pub items: Type,
    pub most: u64,
    pub like: Likeness,
}

/// When two lists are the same, and what adding to one does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Likeness {
    /// The same elements in the same order.
    Ordered,
    /// `x-kubernetes-list-type: set`.
    Set,
    /// `x-kubernetes-list-type: map`, with its keys.
    Map(Vec<String>),
}

#[derive(Debug, Clone)]
pub struct MapType {
    pub key: Type,
    pub value: Type,
    pub most: u64,
}

#[derive(Debug, Clone, Default)]
pub struct ObjectType {
    /// By the name that an expression writes.
    pub fields: BTreeMap<String, Field>,
}

#[derive(Debug, Clone)]
pub struct Field {
    /// The name in the object.
    pub key: String,
    pub of: Type,
}

/// Types that only functions make and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opaque {
    Quantity,
    Url,
    Ip,
    Cidr,
    Format,
    Semver,
}

// === impl Type ===

impl Type {
    pub(super) const TEXT: Type = Type::String(REQUEST_BYTES_MAX);
    /// Whatever comes.
    pub const ANY: Type = Type::Dyn(REQUEST_BYTES_MAX);

    #[must_use]
    pub fn list(items: Type, most: u64) -> Type {
        Type::List(Arc::new(ListType { items, most, like: Likeness::Ordered }))
    }

    #[must_use]
    pub fn map(key: Type, value: Type, most: u64) -> Type {
        Type::Map(Arc::new(MapType { key, value, most }))
    }

    #[must_use]
    pub fn object(fields: impl IntoIterator<Item = (String, Field)>) -> Type {
        Type::Object(Arc::new(ObjectType { fields: fields.into_iter().collect() }))
    }

    #[must_use]
    pub fn optional(of: Type) -> Type {
        Type::Optional(Arc::new(of))
    }

    /// The largest size: bytes of a text, elements of a list; 1 for what has none.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Type::Dyn(most) | Type::String(most) | Type::Bytes(most) => *most,
            Type::List(list) => list.most,
            Type::Map(map) => map.most,
            Type::Object(object) => object.fields.len().max(1) as u64,
            Type::Optional(of) => of.size(),
            _ => 1,
        }
    }

    /// The same type, at most so large.
    #[must_use]
    pub(super) fn sized(&self, most: u64) -> Type {
        match self {
            Type::Dyn(_) => Type::Dyn(most),
            Type::String(_) => Type::String(most),
            Type::Bytes(_) => Type::Bytes(most),
            Type::List(list) => Type::List(Arc::new(ListType { most, ..(**list).clone() })),
            Type::Map(map) => Type::Map(Arc::new(MapType { most, ..(**map).clone() })),
            other => other.clone(),
        }
    }

    /// The first type if the other is the same, else any.
    pub(super) fn or_dyn(&self, other: &Type) -> Type {
        let is_same = Bindings::default().fits(self, other) && Bindings::default().fits(other, self);
        if is_same { self.joined(other) } else { Type::Dyn(self.size().max(other.size())) }
    }

    /// What holds values of either type: the first, as large as the larger.
    pub(super) fn joined(&self, other: &Type) -> Type {
        let most = self.size().max(other.size());
        match (self, other) {
            (Type::Null, other) => other.clone(),
            (Type::Dyn(_), _) | (_, Type::Dyn(_)) => Type::Dyn(most),
            (Type::List(one), Type::List(two)) => {
                let items = one.items.joined(&two.items);
                Type::List(Arc::new(ListType { items, most, like: one.like.clone() }))
            }
            (Type::Map(one), Type::Map(two)) => Type::map(one.key.joined(&two.key), one.value.joined(&two.value), most),
            (Type::Optional(one), Type::Optional(two)) => Type::optional(one.joined(two)),
            _ => self.sized(most),
        }
    }
}

/// As cel-go names types in its messages.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dyn(_) => f.write_str("dyn"),
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Uint => f.write_str("uint"),
            Type::Double => f.write_str("double"),
            Type::String(_) => f.write_str("string"),
            Type::Bytes(_) => f.write_str("bytes"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::Type => f.write_str("type"),
            Type::List(list) => write!(f, "list({})", list.items),
            Type::Map(map) => write!(f, "map({}, {})", map.key, map.value),
            Type::Object(_) => f.write_str("object"),
            Type::Optional(of) => write!(f, "optional_type({of})"),
            Type::Opaque(opaque) => f.write_str(opaque.name()),
            Type::Param(letter) => write!(f, "{}", char::from(*letter)),
        }
    }
}

// === impl Opaque ===

impl Opaque {
    pub(super) const ALL: [Opaque; 6] =
        [Opaque::Quantity, Opaque::Url, Opaque::Ip, Opaque::Cidr, Opaque::Format, Opaque::Semver];

    #[must_use]
    pub(super) fn name(self) -> &'static str {
        match self {
            Opaque::Quantity => "kubernetes.Quantity",
            Opaque::Url => "kubernetes.URL",
            Opaque::Ip => "net.IP",
            Opaque::Cidr => "net.CIDR",
            Opaque::Format => "kubernetes.NamedFormat",
            Opaque::Semver => "kubernetes.Semver",
        }
    }
}

/// What the letters of a signature stand for.
#[derive(Debug, Clone, Default)]
pub(super) struct Bindings {
    bound: Vec<(u8, Type)>,
}

// === impl Bindings ===

impl Bindings {
    /// Whether a value of the type `given` may stand where `wanted` is asked for.
    pub(super) fn fits(&mut self, wanted: &Type, given: &Type) -> bool {
        match (wanted, given) {
            (Type::Param(letter), given) => self.bind(*letter, given),
            (Type::Dyn(_), _) | (_, Type::Dyn(_)) => {
                self.loosen(wanted);
                true
            }
            (Type::Null, Type::Null)
            | (Type::Bool, Type::Bool)
            | (Type::Int, Type::Int)
            | (Type::Uint, Type::Uint)
            | (Type::Double, Type::Double)
            | (Type::String(_), Type::String(_))
            | (Type::Bytes(_), Type::Bytes(_))
            | (Type::Timestamp, Type::Timestamp)
            | (Type::Duration, Type::Duration)
            | (Type::Type, Type::Type) => true,
            (Type::Timestamp | Type::Duration | Type::Object(_) | Type::Opaque(_), Type::Null) => true,
            (Type::List(one), Type::List(two)) => self.fits(&one.items, &two.items),
            (Type::Map(one), Type::Map(two)) => self.fits(&one.key, &two.key) && self.fits(&one.value, &two.value),
            (Type::Optional(one), Type::Optional(two)) => self.fits(one, two),
            (Type::Object(one), Type::Object(two)) => Arc::ptr_eq(one, two) || is_alike(one, two),
            (Type::Opaque(one), Type::Opaque(two)) => one == two,
            _ => false,
        }
    }

    fn bind(&mut self, letter: u8, given: &Type) -> bool {
        let Some(at) = self.bound.iter().position(|(known, _)| *known == letter) else {
            self.bound.push((letter, given.clone()));
            return true;
        };
        let known = self.bound[at].1.clone();
        if self.fits(&known, given) || self.fits(given, &known) {
            self.bound[at].1 = known.joined(given);
            return true;
        }
        false
    }

    /// Letters of which nothing can be known.
    fn loosen(&mut self, wanted: &Type) {
        match wanted {
            Type::Param(letter) => _ = self.bind(*letter, &Type::ANY),
            Type::List(list) => self.loosen(&list.items),
            Type::Map(map) => {
                self.loosen(&map.key);
                self.loosen(&map.value);
            }
            Type::Optional(of) => self.loosen(of),
            _ => {}
        }
    }

    /// A type of a signature, with what its letters stand for.
    pub(super) fn filled(&self, of: &Type) -> Type {
        match of {
            Type::Param(letter) => {
                let known = self.bound.iter().find(|(known, _)| known == letter);
                known.map_or(Type::ANY, |(_, known)| known.clone())
            }
            Type::List(list) => Type::list(self.filled(&list.items), list.most),
            Type::Map(map) => Type::map(self.filled(&map.key), self.filled(&map.value), map.most),
            Type::Optional(of) => Type::optional(self.filled(of)),
            other => other.clone(),
        }
    }
}

/// Types that are made of the same schema twice are the same.
fn is_alike(one: &ObjectType, two: &ObjectType) -> bool {
    let mut pairs = one.fields.iter().zip(&two.fields);
    one.fields.len() == two.fields.len()
        && pairs.all(|((name, field), (other_name, other))| {
            name == other_name && Bindings::default().fits(&field.of, &other.of)
        })
}
