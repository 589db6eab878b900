//! What a walk through a tree knows about the value at hand: the field table's view, or none for custom resources.
//!
//! Patches and server-side apply step down a tree with it, so that neither asks what kind of object it walks.

use crate::fields::{self, Container, Field, ListType, MapType, TypeRef, Value};

/// What is known about one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// A struct of the field table.
    Struct(TypeRef),
    /// A map from strings to values.
    Map(Value),
    List(Value),
    /// A value that is replaced as a whole: a scalar, or something free-form.
    Leaf,
    /// A custom resource: its metadata is typed, the rest is not.
    Custom,
    /// Anything: objects are maps, lists are replaced as a whole.
    Untyped,
}

/// How a value under a key is merged with another, by server-side apply's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// Member by member.
    Granular,
    /// As a whole.
    Atomic,
    /// A list of distinct scalars.
    Set,
    /// A list of objects told apart by these members.
    Keyed(&'static [&'static str]),
}

/// The value under a key of an object.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    pub schema: Schema,
    /// The row of the table, where there is one.
    pub field: Option<&'static Field>,
}

// === impl Schema ===

impl Schema {
    /// The schema of an object of a kind: `kind.schema()`.
    #[must_use]
    pub fn root(schema: Option<TypeRef>) -> Schema {
        schema.map_or(Schema::Custom, Schema::Struct)
    }

    /// What is under a key of this object.
    #[must_use]
    pub fn member(self, key: &str) -> Member {
        let untyped = Member { schema: Schema::Untyped, field: None };
        match self {
            Schema::Struct(schema) => match schema.field(key) {
                Some(field) => Member { schema: Schema::of(field), field: Some(field) },
                None => untyped,
            },
            Schema::Map(value) => Member { schema: Schema::single(value), field: None },
            Schema::Custom if key == "metadata" => {
                Member { schema: Schema::Struct(fields::object_meta()), field: None }
            }
            _ => untyped,
        }
    }

    /// The elements of this list.
    #[must_use]
    pub fn element(self) -> Schema {
        match self {
            Schema::List(value) => Schema::single(value),
            _ => Schema::Untyped,
        }
    }

    fn of(field: &Field) -> Schema {
        match field.container {
            Container::List => Schema::List(field.value),
            Container::Map => Schema::Map(field.value),
            Container::Single => Schema::single(field.value),
        }
    }

    fn single(value: Value) -> Schema {
        match value {
            Value::Object(inner) if !inner.is_bare() => Schema::Struct(inner),
            _ => Schema::Leaf,
        }
    }
}

// === impl Member ===

impl Member {
    /// How server-side apply merges it.
    #[must_use]
    pub fn merge(self) -> Merge {
        let Some(field) = self.field else {
            return match self.schema {
                Schema::Leaf | Schema::List(_) => Merge::Atomic,
                _ => Merge::Granular,
            };
        };
        match self.schema {
            Schema::List(_) => match field.list_type {
                Some(ListType::Map) if !field.list_map_keys.is_empty() => Merge::Keyed(field.list_map_keys),
                Some(ListType::Set) => Merge::Set,
                _ => Merge::Atomic,
            },
            Schema::Leaf => Merge::Atomic,
            _ if field.map_type == Some(MapType::Atomic) => Merge::Atomic,
            _ => Merge::Granular,
        }
    }
}
