//! The embedded field table: every type of the Kubernetes API, its fields, and how each is written.
//!
//! Knows what upstream's Go types and markers say; knows no kinds, no verbs and no rules in code. Parsed once, on
//! first use, from `generated/fields.txt` (made by `cargo xtask facts`).

mod table;

use std::fmt;

/// A type of the API, such as `core/v1.PodSpec`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TypeRef(u16);

/// One field of a type.
#[derive(Debug, Clone)]
pub struct Field {
    /// The JSON key; empty for an inlined struct, `=` if the JSON value of the type is the value of this member.
    pub json: &'static str,
    /// The protobuf field number; 0 if the field is not in protobuf.
    pub proto: u32,
    pub form: Form,
    pub value: Value,
    pub container: Container,
    /// A Go pointer: absent and zero are different things.
    pub pointer: bool,
    pub omitempty: bool,
    pub omitzero: bool,
    /// The members of `value` appear in place of this field in JSON.
    pub inline: bool,
    /// Not among the `required` fields of OpenAPI.
    pub optional: bool,
    pub patch_strategy: Option<PatchStrategy>,
    pub patch_merge_key: Option<&'static str>,
    /// `None` for a list means atomic.
    pub list_type: Option<ListType>,
    pub list_map_keys: &'static [&'static str],
    /// Of a map or a struct; `None` means granular.
    pub map_type: Option<MapType>,
    /// A JSON literal.
    pub default: Option<&'static str>,
    /// The allowed values of a string; empty if any is.
    pub enumeration: &'static [&'static str],
}

/// A declared field that protobuf carries, and where its value stands in `TypeRef::fields()`; of an inlined struct,
/// where its first member stands.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub field: &'static Field,
    pub position: usize,
}

/// The wire form of a field in protobuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Not in protobuf.
    Absent,
    Varint,
    Fixed64,
    Bytes,
}

/// What a field, or each element of its list or map, holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    String,
    Int32,
    Int64,
    Bool,
    Float64,
    /// Base64 in JSON.
    Bytes,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    Duration,
    FieldsV1,
    RawExtension,
    /// apiextensions' `JSON`: any value, kept as it is.
    Json,
    /// Any value, never in protobuf.
    Any,
    Object(TypeRef),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    Single,
    List,
    /// Keys are strings.
    Map,
}

/// `patchStrategy` of a strategic merge patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatchStrategy {
    pub merge: bool,
    pub replace: bool,
    pub retain_keys: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListType {
    Atomic,
    Set,
    Map,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapType {
    Atomic,
    Granular,
}

/// The type called `name` in a package such as `core/v1` or `meta/v1`.
#[must_use]
pub fn type_of(package: &str, name: &str) -> Option<TypeRef> {
    table::get().by_name.get(&(package, name)).copied()
}

/// Every type, package by package.
pub fn types() -> impl Iterator<Item = TypeRef> {
    (0..=u16::MAX).map(TypeRef).take(table::get().types.len())
}

/// The package that holds the types of an API group's version: `apps`, `v1` is `apps/v1`.
#[must_use]
pub fn package_of(group: &str, version: &str) -> Option<&'static str> {
    let mut all = table::get().packages.iter();
    all.find(|package| package.group == group && package.version == version).map(|package| package.name)
}

/// The API group and version whose types a package holds.
#[must_use]
pub fn group_version_of(package: &str) -> Option<(&'static str, &'static str)> {
    let found = table::get().packages.iter().find(|have| have.name == package)?;
    Some((found.group, found.version))
}

/// The type of a kind as a request names it; kinds that live in every group (`Status`, `DeleteOptions`) included.
#[must_use]
pub fn type_of_kind(group: &str, version: &str, kind: &str) -> Option<TypeRef> {
    package_of(group, version).and_then(|package| type_of(package, kind)).or_else(|| type_of("meta/v1", kind))
}

/// `metadata` of every object.
#[must_use]
pub fn object_meta() -> TypeRef {
    type_of("meta/v1", "ObjectMeta").expect("the table has ObjectMeta")
}

/// `metadata` of every list.
#[must_use]
pub fn list_meta() -> TypeRef {
    type_of("meta/v1", "ListMeta").expect("the table has ListMeta")
}

// === impl TypeRef ===

impl TypeRef {
    fn row(self) -> &'static table::Type {
        &table::get().types[usize::from(self.0)]
    }

    /// The Go name: `PodSpec`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// `core/v1`.
    #[must_use]
    pub fn package(self) -> &'static str {
        self.row().package.name
    }

    /// The name of its OpenAPI definition: `io.k8s.api.core.v1.PodSpec`.
    #[must_use]
    pub fn definition(self) -> String {
        format!("{}.{}", self.row().package.prefix, self.row().name)
    }

    /// The fields as JSON shows them, in Go's order: inlined structs are replaced by their members.
    #[must_use]
    pub fn fields(self) -> &'static [&'static Field] {
        &self.row().flat
    }

    /// The fields as declared: inlined structs are one row, which is a message of its own in protobuf.
    #[must_use]
    pub fn declared(self) -> &'static [Field] {
        self.row().declared
    }

    /// The field with this JSON key, also among inlined members.
    #[must_use]
    pub fn field(self, json: &str) -> Option<&'static Field> {
        self.position(json).map(|at| self.row().flat[at])
    }

    /// Where the field stands in `fields()`.
    #[must_use]
    pub fn position(self, json: &str) -> Option<usize> {
        let row = self.row();
        let at = row.sorted.binary_search_by(|(name, _)| (*name).cmp(json)).ok()?;
        Some(usize::from(row.sorted[at].1))
    }

    /// What protobuf carries, by ascending field number.
    #[must_use]
    pub fn routes(self) -> &'static [Route] {
        &self.row().routes
    }

    /// True if the JSON value is not an object but the value of one of the `declared()` members (`Verbs`).
    #[must_use]
    pub fn is_bare(self) -> bool {
        !self.declared().is_empty() && self.declared().iter().all(|field| field.json == "=")
    }
}

impl fmt::Debug for TypeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.package(), self.name())
    }
}

impl fmt::Display for TypeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inlined_members_are_found() {
        let volume = type_of("core/v1", "Volume").unwrap();
        assert_eq!(volume.field("emptyDir").unwrap().json, "emptyDir");
        assert_eq!(volume.fields()[0].json, "name");
        assert!(volume.declared().iter().any(|field| field.inline && field.proto == 2));
        let pod = type_of("core/v1", "Pod").unwrap();
        let keys: Vec<_> = pod.fields().iter().map(|field| field.json).collect();
        assert_eq!(keys, ["kind", "apiVersion", "metadata", "spec", "status"]);
        assert_eq!(pod.definition(), "io.k8s.api.core.v1.Pod");
    }

    #[test]
    fn merge_facts() {
        let spec = type_of("core/v1", "PodSpec").unwrap();
        let containers = spec.field("containers").unwrap();
        assert_eq!(containers.patch_merge_key, Some("name"));
        assert_eq!((containers.list_type, containers.list_map_keys), (Some(ListType::Map), &["name"][..]));
        assert!(containers.patch_strategy.is_some_and(|strategy| strategy.merge && !strategy.retain_keys));
        assert!(type_of("meta/v1", "Verbs").unwrap().is_bare());
        assert_eq!(type_of_kind("policy", "v1", "DeleteOptions"), type_of("meta/v1", "DeleteOptions"));
    }
}
