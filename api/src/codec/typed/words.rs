//! The words of upstream's decoding errors: paths as strict decoding prints them, types as Go names them.

use super::{Step, What};
use crate::fields::{TypeRef, Value};
use crate::quantity::ParseError;
use std::fmt::Write as _;

/// `spec.containers[0].x`.
pub(super) fn path(steps: &[Step], last: &str) -> String {
    let mut out = String::new();
    for step in steps {
        match step {
            Step::Member(_, name) => dotted(&mut out, name),
            Step::Key(name) => dotted(&mut out, name),
            Step::Index(at) => _ = write!(out, "[{at}]"),
        }
    }
    dotted(&mut out, last);
    out
}

fn dotted(out: &mut String, name: &str) {
    if !out.is_empty() {
        out.push('.');
    }
    out.push_str(name);
}

/// `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`: the innermost
/// struct, then the members from the root, without list positions and map keys.
pub(super) fn wrong_type(steps: &[Step], found: &str, what: What) -> String {
    if matches!(what, What::One(Value::Quantity)) {
        // A quantity reads its own text, whatever that is.
        return ParseError::Format.to_string();
    }
    let wanted = go_type(what);
    let mut members = steps.iter().filter_map(|step| match step {
        Step::Member(owner, name) => Some((*owner, *name)),
        Step::Key(_) | Step::Index(_) => None,
    });
    let names: Vec<&str> = members.clone().map(|(_, name)| name).collect();
    match members.next_back() {
        Some((owner, _)) => {
            let names = names.join(".");
            format!("json: cannot unmarshal {found} into Go struct field {owner}.{names} of type {wanted}")
        }
        None => format!("json: cannot unmarshal {found} into Go value of type {wanted}"),
    }
}

fn go_type(what: What) -> String {
    match what {
        What::One(value) => scalar(value),
        What::List(value) => format!("[]{}", scalar(value)),
        What::Map(value) => format!("map[string]{}", scalar(value)),
        What::Raw | What::Loose => "interface {}".to_owned(),
        What::Custom => "map[string]interface {}".to_owned(),
    }
}

fn scalar(value: Value) -> String {
    let name = match value {
        Value::String | Value::Duration | Value::Quantity | Value::Time | Value::MicroTime => "string",
        // What is no string is decoded as a number, by the standard library.
        Value::Int32 | Value::IntOrString => "int32",
        Value::Int64 => "int64",
        Value::Bool => "bool",
        Value::Float64 => "float64",
        Value::Bytes => "[]uint8",
        Value::FieldsV1 => "v1.FieldsV1",
        Value::RawExtension => "runtime.RawExtension",
        Value::Json => "v1.JSON",
        Value::Any => "interface {}",
        Value::Object(schema) => return go_struct(schema),
    };
    name.to_owned()
}

/// Go names a type by the last part of its package: `v1.PodSpec`.
fn go_struct(schema: TypeRef) -> String {
    let package = schema.package();
    let package = package.rsplit_once('/').map_or(package, |(_, last)| last);
    format!("{package}.{}", schema.name())
}
