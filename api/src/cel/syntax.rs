//! An expression as a tree. The parser makes it, the checker fills in what names and calls mean.

use super::library::Overload;
use super::types::{Opaque, Type};
use std::sync::Arc;

/// Part of an expression.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Where it stands, in bytes from the beginning.
    pub(super) at: u32,
    /// How many nodes are inside of each other, counted from the deepest.
    pub(super) depth: u16,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Literal(Literal),
    /// A variable; `slot` is its place among those that are known there.
    Name {
        text: String,
        slot: usize,
    },
    /// `of.field`, `has(of.field)`, `of.?field`.
    Select {
        of: Box<Node>,
        field: String,
        form: Access,
    },
    /// `of[key]`, `of[?key]`.
    Index {
        of: Box<Node>,
        key: Box<Node>,
        is_optional: bool,
    },
    And(Vec<Node>),
    Or(Vec<Node>),
    If(Box<[Node; 3]>),
    Call(Box<Call>),
    List(Vec<Item>),
    Map(Vec<Entry>),
    Loop(Box<Loop>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Plain,
    /// Is it there?
    Test,
    /// Nothing, if it is not there.
    Optional,
}

#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) name: String,
    /// What stands before the dot.
    pub(super) target: Option<Node>,
    pub(super) args: Vec<Node>,
    /// The functions that it may mean.
    pub(super) found: Vec<&'static Overload>,
}

#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) value: Node,
    /// Left out if there is none.
    pub(super) is_optional: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Node,
    pub(super) value: Node,
    pub(super) is_optional: bool,
}

/// What a macro does with each element.
#[derive(Debug, Clone)]
pub(super) struct Loop {
    pub(super) what: What,
    pub(super) range: Node,
    pub(super) name: String,
    /// With two names, the first is the index or the key.
    pub(super) second: Option<String>,
    pub(super) filter: Option<Node>,
    pub(super) body: Node,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
    TransformList,
    TransformMap,
    TransformMapEntry,
    /// `optMap`: a loop through what is there.
    OptMap,
    OptFlatMap,
    SortBy,
}

#[derive(Debug, Clone)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Arc<[u8]>),
    Type(TypeName),
}

/// A type as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TypeName(pub(super) &'static str);

// === impl Node ===

impl Node {
    /// `a.b.c` as a name.
    pub(super) fn dotted(&self) -> Option<String> {
        match &self.kind {
            Kind::Name { text, .. } => Some(text.clone()),
            Kind::Select { of, field, form: Access::Plain } => Some(format!("{}.{field}", of.dotted()?)),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Literal(Literal::String(text)) => Some(text),
            _ => None,
        }
    }
}

// === impl TypeName ===

impl TypeName {
    /// The types that a name stands for, if there is no variable of that name.
    pub(super) fn of(name: &str) -> Option<TypeName> {
        const NAMES: [&str; 14] = [
            "bool",
            "int",
            "uint",
            "double",
            "string",
            "bytes",
            "list",
            "map",
            "type",
            "null_type",
            "dyn",
            "optional_type",
            "google.protobuf.Timestamp",
            "google.protobuf.Duration",
        ];
        let opaque = Opaque::ALL.into_iter().map(Opaque::name);
        NAMES.into_iter().chain(opaque).find(|known| *known == name).map(TypeName)
    }
}

// === impl Literal ===

impl Literal {
    pub(super) fn kind(&self) -> Type {
        match self {
            Literal::Null => Type::Null,
            Literal::Bool(_) => Type::Bool,
            Literal::Int(_) => Type::Int,
            Literal::Uint(_) => Type::Uint,
            Literal::Double(_) => Type::Double,
            Literal::String(text) => Type::String(text.len() as u64),
            Literal::Bytes(bytes) => Type::Bytes(bytes.len() as u64),
            Literal::Type(_) => Type::Type,
        }
    }
}
