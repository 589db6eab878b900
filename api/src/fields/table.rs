//! The lines of `generated/fields.txt` as the structures that live as long as the program.

use super::{Container, Field, Form, ListType, MapType, PatchStrategy, Route, TypeRef, Value};
use std::collections::HashMap;
use std::sync::LazyLock;

pub(super) struct Table {
    pub(super) packages: Vec<&'static Package>,
    pub(super) types: Vec<Type>,
    pub(super) by_name: HashMap<(&'static str, &'static str), TypeRef>,
}

pub(super) struct Package {
    pub(super) name: &'static str,
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    /// Of the names of OpenAPI definitions.
    pub(super) prefix: &'static str,
}

pub(super) struct Type {
    pub(super) package: &'static Package,
    pub(super) name: &'static str,
    pub(super) declared: &'static [Field],
    pub(super) flat: Vec<&'static Field>,
    /// JSON keys in order, with the position in `flat`.
    pub(super) sorted: Vec<(&'static str, u16)>,
    pub(super) routes: Vec<Route>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| parse(include_str!("../generated/fields.txt")));

pub(super) fn get() -> &'static Table {
    &TABLE
}

/// Panics on a malformed line: the text is part of the program.
fn parse(text: &'static str) -> Table {
    let (packages, types, by_name) = names(text);
    let mut declared: Vec<Vec<Field>> = Vec::with_capacity(types.len());
    let mut package = "";
    for line in text.lines() {
        match line.split_once('\t') {
            Some(("P", rest)) => package = rest.split('\t').next().unwrap_or_default(),
            Some(("T", _)) => declared.push(Vec::new()),
            _ => {
                let fields = declared.last_mut().expect("a type precedes its fields");
                fields.push(field(line, package, &by_name));
            }
        }
    }
    // The table lives as long as the program, and its types point into each other.
    let declared: Vec<&'static [Field]> = declared.into_iter().map(|fields| &*fields.leak()).collect();
    let finish = |((package, name), own): ((&'static Package, &'static str), &&'static [Field])| {
        let mut flat = Vec::with_capacity(own.len());
        flatten(own, &declared, &mut flat);
        let mut sorted: Vec<_> = flat.iter().zip(0..).map(|(field, at)| (field.json, at)).collect();
        sorted.sort_unstable();
        let routes = routes(own, &declared);
        Type { package, name, declared: own, flat, sorted, routes }
    };
    let types = types.into_iter().zip(&declared).map(finish).collect();
    Table { packages, types, by_name }
}

type Names =
    (Vec<&'static Package>, Vec<(&'static Package, &'static str)>, HashMap<(&'static str, &'static str), TypeRef>);

/// The first pass: what types there are, so that fields can refer to later ones.
fn names(text: &'static str) -> Names {
    let (mut packages, mut types, mut by_name) = (Vec::new(), Vec::new(), HashMap::new());
    for line in text.lines() {
        let mut cells = line.split('\t');
        let mut next = || cells.next().unwrap_or_default();
        match next() {
            "P" => {
                let package = Package { name: next(), group: next(), version: next(), prefix: next() };
                packages.push(&*Box::leak(Box::new(package)));
            }
            "T" => {
                let package: &'static Package = packages.last().expect("a package precedes its types");
                let name = next();
                let at = u16::try_from(types.len()).expect("fewer types than 65536");
                types.push((package, name));
                by_name.insert((package.name, name), TypeRef(at));
            }
            _ => {}
        }
    }
    (packages, types, by_name)
}

fn flatten(own: &'static [Field], all: &[&'static [Field]], flat: &mut Vec<&'static Field>) {
    for field in own {
        match field.value {
            Value::Object(inner) if field.inline => flatten(all[usize::from(inner.0)], all, flat),
            _ if field.json != "=" => flat.push(field),
            _ => {}
        }
    }
}

/// The members that protobuf carries, by ascending field number.
fn routes(own: &'static [Field], all: &[&'static [Field]]) -> Vec<Route> {
    let mut routes = Vec::with_capacity(own.len());
    let mut position = 0;
    for field in own {
        if field.proto > 0 {
            routes.push(Route { field, position });
        }
        let mut members = Vec::new();
        flatten(std::slice::from_ref(field), all, &mut members);
        position += members.len();
    }
    routes.sort_by_key(|route| route.field.proto);
    routes
}

fn field(line: &'static str, package: &'static str, types: &HashMap<(&'static str, &'static str), TypeRef>) -> Field {
    let mut cells = line.split('\t');
    let mut next = || cells.next().expect("a field has four cells");
    let (json, wire, value, flags) = (next(), next(), next(), next());
    let digits = wire.trim_end_matches(char::is_alphabetic);
    let mut field = Field {
        json,
        proto: digits.parse().unwrap_or(0),
        form: match &wire[digits.len()..] {
            "v" => Form::Varint,
            "f" => Form::Fixed64,
            "b" => Form::Bytes,
            _ => Form::Absent,
        },
        value: self::value(value, package, types),
        container: match flags {
            _ if flags.contains('l') => Container::List,
            _ if flags.contains('m') => Container::Map,
            _ => Container::Single,
        },
        pointer: flags.contains('p'),
        omitempty: flags.contains('e'),
        omitzero: flags.contains('z'),
        inline: flags.contains('i'),
        optional: flags.contains('o'),
        patch_strategy: None,
        patch_merge_key: None,
        list_type: None,
        list_map_keys: &[],
        map_type: None,
        default: None,
        enumeration: &[],
    };
    cells.for_each(|extra| more(&mut field, extra));
    field
}

fn more(field: &mut Field, extra: &'static str) {
    let (letter, rest) = extra.split_at(1);
    match letter {
        "S" => {
            let has = |word| rest.split(',').any(|one| one == word);
            let (merge, replace, retain_keys) = (has("merge"), has("replace"), has("retainKeys"));
            field.patch_strategy = Some(PatchStrategy { merge, replace, retain_keys });
        }
        "K" => field.patch_merge_key = Some(rest),
        "L" => {
            field.list_type = Some(match rest {
                "map" => ListType::Map,
                "set" => ListType::Set,
                _ => ListType::Atomic,
            });
        }
        "k" => field.list_map_keys = rest.split(',').collect::<Vec<_>>().leak(),
        "M" => field.map_type = Some(if rest == "atomic" { MapType::Atomic } else { MapType::Granular }),
        "D" => field.default = Some(rest),
        "E" => field.enumeration = rest.split('|').collect::<Vec<_>>().leak(),
        other => panic!("the field table has an unknown mark {other:?}"),
    }
}

fn value(name: &'static str, package: &'static str, types: &HashMap<(&'static str, &'static str), TypeRef>) -> Value {
    match name {
        "string" => Value::String,
        "int32" => Value::Int32,
        "int64" => Value::Int64,
        "bool" => Value::Bool,
        "float64" => Value::Float64,
        "bytes" => Value::Bytes,
        "Quantity" => Value::Quantity,
        "IntOrString" => Value::IntOrString,
        "Time" => Value::Time,
        "MicroTime" => Value::MicroTime,
        "Duration" => Value::Duration,
        "FieldsV1" => Value::FieldsV1,
        "RawExtension" => Value::RawExtension,
        "JSON" => Value::Json,
        "Any" => Value::Any,
        _ => {
            let (at, name) = name.rsplit_once('.').expect("a type is named with its package");
            let package = if at.is_empty() { package } else { at };
            let found = types.get(&(package, name)).copied();
            Value::Object(found.unwrap_or_else(|| panic!("the field table lacks {package}.{name}")))
        }
    }
}
