//! Types as OpenAPI schemas: properties, references, and the extensions that patches and apply are driven by.

use super::Dialect;
use super::describe::Descriptions;
use api::Kind;
use api::fields::{self, Container, Field, ListType, MapType, TypeRef, Value as Type};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// The definition's name of a kind's objects; for custom resources the group is reversed, as upstream does.
pub(super) fn name_of(kind: &Kind) -> String {
    match kind.schema() {
        Some(schema) => schema.definition(),
        None => {
            let reversed: Vec<&str> = kind.group().rsplit('.').collect();
            format!("{}.{}.{}", reversed.join("."), kind.version(), kind.kind)
        }
    }
}

/// The name of the list's definition; `None` if the kind cannot be listed.
pub(super) fn list_name_of(kind: &Kind) -> Option<String> {
    match kind.schema() {
        Some(_) => kind.list_schema().map(TypeRef::definition),
        None => Some(format!("{}List", name_of(kind))),
    }
}

/// Everything that the paths of `kinds` refer to. `all` are the kinds of the whole server: options carry the
/// group and version of each.
pub(super) fn definitions(kinds: &[Arc<Kind>], all: &[Arc<Kind>], dialect: Dialect) -> Map<String, Value> {
    let mut writer = Writer { dialect, texts: Descriptions::read(), all, done: BTreeMap::new(), waiting: Vec::new() };
    for name in ["DeleteOptions", "Status", "WatchEvent", "ListMeta", "ObjectMeta", "APIResourceList"] {
        writer.waiting.extend(fields::type_of("meta/v1", name));
    }
    writer.done.insert(format!("{META}.Patch"), json!({"description": "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.", "type": "object"}));
    for kind in kinds {
        match kind.schema() {
            Some(schema) => writer.waiting.extend([Some(schema), kind.list_schema()].into_iter().flatten()),
            None => writer.custom(kind, kind.custom.as_ref().map(|custom| &custom.source)),
        }
        writer.waiting.extend(kind.subresources.iter().filter_map(api::kinds::Subresource::schema));
    }
    while let Some(next) = writer.waiting.pop() {
        writer.define(next);
    }
    writer.done.into_iter().collect()
}

struct Writer<'k> {
    dialect: Dialect,
    texts: Descriptions,
    all: &'k [Arc<Kind>],
    done: BTreeMap<String, Value>,
    waiting: Vec<TypeRef>,
}

impl Writer<'_> {
    fn define(&mut self, schema: TypeRef) {
        let name = schema.definition();
        if self.done.contains_key(&name) {
            return;
        }
        // Reserved first: types refer to themselves.
        self.done.insert(name.clone(), Value::Null);
        let mut out = Map::new();
        described(&mut out, self.texts.of(&name, ""));
        if !schema.is_bare() {
            out.insert("type".to_owned(), "object".into());
            let properties: BTreeMap<&str, Value> =
                schema.fields().iter().map(|field| (field.json, self.property(&name, field))).collect();
            let required: Vec<&str> =
                schema.fields().iter().filter(|field| !field.optional).map(|field| field.json).collect();
            if !required.is_empty() {
                out.insert("required".to_owned(), json!(required));
            }
            if !properties.is_empty() {
                out.insert(
                    "properties".to_owned(),
                    properties.into_iter().map(|(key, one)| (key.to_owned(), one)).collect(),
                );
            }
        }
        let own = self.kinds_of(schema);
        if !own.is_empty() {
            out.insert("x-kubernetes-group-version-kind".to_owned(), own.into());
        }
        self.done.insert(name, Value::Object(out));
    }

    /// The kinds that a type is the body of.
    fn kinds_of(&self, schema: TypeRef) -> Vec<Value> {
        let is_kind = schema.declared().first().is_some_and(|first| first.inline && first.proto == 0);
        let name = schema.name();
        if !is_kind && name != "WatchEvent" {
            return Vec::new();
        }
        if matches!(name, "DeleteOptions" | "WatchEvent") && schema.package() == "meta/v1" {
            let builtin = self.all.iter().filter(|kind| !kind.is_custom());
            let mut versions: Vec<(&str, &str)> = builtin.map(|kind| (kind.group(), kind.version())).collect();
            versions.sort_unstable();
            versions.dedup();
            return versions.into_iter().map(|(group, version)| gvk(group, version, name)).collect();
        }
        let (group, version) = match schema.package() {
            "meta/v1" => ("", "v1"),
            package => fields::group_version_of(package).unwrap_or(("", "v1")),
        };
        vec![gvk(group, version, name)]
    }

    fn property(&mut self, definition: &str, field: &'static Field) -> Value {
        let mut out = Map::new();
        described(&mut out, self.texts.of(definition, field.json));
        match field.container {
            Container::Single => self.value(field.value, field.pointer, &mut out),
            Container::List => {
                out.insert("type".to_owned(), "array".into());
                out.insert("items".to_owned(), self.item(field.value));
            }
            Container::Map => {
                out.insert("type".to_owned(), "object".into());
                out.insert("additionalProperties".to_owned(), self.item(field.value));
            }
        }
        if self.dialect == Dialect::V3 {
            if let Some(default) = field.default.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
                out.insert("default".to_owned(), default);
            }
            if !field.enumeration.is_empty() {
                out.insert("enum".to_owned(), json!(field.enumeration));
            }
        }
        extend(&mut out, field);
        Value::Object(out)
    }

    fn item(&mut self, value: Type) -> Value {
        let mut out = Map::new();
        self.value(value, false, &mut out);
        Value::Object(out)
    }

    fn value(&mut self, value: Type, pointer: bool, out: &mut Map<String, Value>) {
        let (kind, format) = match value {
            Type::String | Type::Duration => ("string", ""),
            Type::Int32 => ("integer", "int32"),
            Type::Int64 => ("integer", "int64"),
            Type::Bool => ("boolean", ""),
            Type::Float64 => ("number", "double"),
            Type::Bytes => ("string", "byte"),
            Type::Any => ("", ""),
            Type::Object(inner) if inner.is_bare() && inner.declared().len() == 1 => {
                out.insert("items".to_owned(), self.item(inner.declared()[0].value));
                ("array", "")
            }
            Type::Object(inner) => {
                self.waiting.push(inner);
                return self.refer(&inner.definition(), !pointer, out);
            }
            _ => {
                let name = self.special(value);
                return self.refer(&name, false, out);
            }
        };
        if !kind.is_empty() {
            out.insert("type".to_owned(), kind.into());
        }
        if !format.is_empty() {
            out.insert("format".to_owned(), format.into());
        }
    }

    /// OpenAPI v3 ignores what stands beside a `$ref`, hence `allOf`.
    fn refer(&self, name: &str, has_default: bool, out: &mut Map<String, Value>) {
        let reference = self.dialect.reference(name);
        match self.dialect {
            Dialect::V2 => _ = out.insert("$ref".to_owned(), reference),
            Dialect::V3 => {
                out.insert("allOf".to_owned(), json!([{"$ref": reference}]));
                if has_default {
                    out.insert("default".to_owned(), json!({}));
                }
            }
        }
    }

    /// The types with a JSON form of their own are definitions too.
    fn special(&mut self, value: Type) -> String {
        let is_v3 = self.dialect == Dialect::V3;
        let (name, schema) = match value {
            Type::Quantity if is_v3 => (
                "io.k8s.apimachinery.pkg.api.resource.Quantity".to_owned(),
                json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            ),
            Type::Quantity => ("io.k8s.apimachinery.pkg.api.resource.Quantity".to_owned(), json!({"type": "string"})),
            Type::IntOrString if is_v3 => (
                "io.k8s.apimachinery.pkg.util.intstr.IntOrString".to_owned(),
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
            ),
            Type::IntOrString => (
                "io.k8s.apimachinery.pkg.util.intstr.IntOrString".to_owned(),
                json!({"format": "int-or-string", "type": "string"}),
            ),
            Type::Time => (format!("{META}.Time"), json!({"format": "date-time", "type": "string"})),
            Type::MicroTime => (format!("{META}.MicroTime"), json!({"format": "date-time", "type": "string"})),
            Type::FieldsV1 => (format!("{META}.FieldsV1"), json!({"type": "object"})),
            Type::RawExtension => {
                ("io.k8s.apimachinery.pkg.runtime.RawExtension".to_owned(), json!({"type": "object"}))
            }
            _ => ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON".to_owned(), json!({})),
        };
        if !self.done.contains_key(&name) {
            let mut out = Map::new();
            described(&mut out, self.texts.of(&name, ""));
            if let Value::Object(schema) = schema {
                out.extend(schema);
            }
            self.done.insert(name.clone(), Value::Object(out));
        }
        name
    }

    /// A custom resource: its own schema, with the members that every object has.
    fn custom(&mut self, kind: &Kind, schema: Option<&Value>) {
        let mut out = match schema {
            Some(Value::Object(schema)) => schema.clone(),
            _ => Map::from_iter([("x-kubernetes-preserve-unknown-fields".to_owned(), true.into())]),
        };
        if self.dialect == Dialect::V2 {
            prune(&mut out);
        }
        out.insert("type".to_owned(), "object".into());
        let properties = out.entry("properties").or_insert_with(|| json!({}));
        let meta = fields::object_meta().definition();
        properties["apiVersion"] =
            json!({"type": "string", "description": self.texts.of(&format!("{META}.Status"), "apiVersion")});
        properties["kind"] = json!({"type": "string", "description": self.texts.of(&format!("{META}.Status"), "kind")});
        let about = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
        let mut metadata = Map::from_iter([("description".to_owned(), about.into())]);
        self.refer(&meta, false, &mut metadata);
        properties["metadata"] = Value::Object(metadata);
        let own = gvk(kind.group(), kind.version(), &kind.kind);
        out.insert("x-kubernetes-group-version-kind".to_owned(), json!([own]));
        let name = name_of(kind);
        let item = json!({"$ref": self.dialect.reference(&name)});
        let list_meta = json!({"$ref": self.dialect.reference(&fields::list_meta().definition())});
        let list = json!({
            "description": format!("{} is a list of {}", kind.list_kind, kind.kind), "type": "object", "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": list_meta,
                "items": {"description": format!("List of {}.", kind.resource.plural), "type": "array", "items": item},
            },
            "x-kubernetes-group-version-kind": [gvk(kind.group(), kind.version(), &kind.list_kind)],
        });
        self.done.insert(format!("{name}List"), list);
        self.done.insert(name, Value::Object(out));
    }
}

/// OpenAPI v2 cannot say some things; what is left must not say the opposite.
fn prune(schema: &mut Map<String, Value>) {
    for key in ["oneOf", "anyOf", "allOf", "not", "nullable"] {
        schema.remove(key);
    }
    let is_open = schema.get("x-kubernetes-preserve-unknown-fields").is_some_and(|value| value == &Value::Bool(true));
    if is_open {
        schema.remove("properties");
        schema.remove("items");
    }
    if schema.get("x-kubernetes-int-or-string").is_some() {
        schema.remove("type");
    }
    for key in ["items", "additionalProperties"] {
        if let Some(Value::Object(inner)) = schema.get_mut(key) {
            prune(inner);
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for property in properties.values_mut().filter_map(Value::as_object_mut) {
            prune(property);
        }
    }
}

fn described(out: &mut Map<String, Value>, text: &str) {
    if !text.is_empty() {
        out.insert("description".to_owned(), text.into());
    }
}

pub(super) fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "kind": kind, "version": version})
}

fn extend(out: &mut Map<String, Value>, field: &Field) {
    let mut put = |key: &str, value: Value| _ = out.insert(format!("x-kubernetes-{key}"), value);
    if let Some(strategy) = field.patch_strategy {
        let words = [(strategy.merge, "merge"), (strategy.replace, "replace"), (strategy.retain_keys, "retainKeys")];
        let words: Vec<&str> = words.into_iter().filter(|(is_set, _)| *is_set).map(|(_, word)| word).collect();
        put("patch-strategy", words.join(",").into());
    }
    if let Some(key) = field.patch_merge_key {
        put("patch-merge-key", key.into());
    }
    if let Some(list_type) = field.list_type {
        let word = match list_type {
            ListType::Atomic => "atomic",
            ListType::Set => "set",
            ListType::Map => "map",
        };
        put("list-type", word.into());
    }
    if !field.list_map_keys.is_empty() {
        put("list-map-keys", json!(field.list_map_keys));
    }
    if let Some(map_type) = field.map_type {
        put("map-type", if map_type == MapType::Atomic { "atomic" } else { "granular" }.into());
    }
}
