//! The v2 document as gnostic's `openapi.v2.Document`, which kubectl up to 1.26 reads instead of JSON.
//!
//! Knows the numbers of gnostic's `OpenAPIv2.proto` for what our documents contain, and no others.

use serde_json::Value;

/// Encodes a v2 document.
pub(super) fn encode(swagger: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, swagger.get("swagger"));
    out.nested(2, swagger.get("info"), |info, value| {
        info.text(1, value.get("title"));
        info.text(2, value.get("version"));
    });
    out.nested(8, swagger.get("paths"), |paths, value| paths.named(2, value, path_item));
    out.nested(9, swagger.get("definitions"), |all, value| all.named(1, value, schema));
    out.bytes
}

#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value > 127 {
            self.bytes.push(value.to_le_bytes()[0] | 128);
            value >>= 7;
        }
        self.bytes.push(value.to_le_bytes()[0]);
    }

    fn put(&mut self, number: u64, bytes: &[u8]) {
        self.varint(number << 3 | 2);
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn text(&mut self, number: u64, value: Option<&Value>) {
        if let Some(text) = value.and_then(Value::as_str) {
            self.put(number, text.as_bytes());
        }
    }

    fn texts(&mut self, number: u64, value: Option<&Value>) {
        for one in value.and_then(Value::as_array).into_iter().flatten() {
            self.text(number, Some(one));
        }
    }

    fn flag(&mut self, number: u64, value: Option<&Value>) {
        if value.and_then(Value::as_bool) == Some(true) {
            self.varint(number << 3);
            self.varint(1);
        }
    }

    fn nested(&mut self, number: u64, value: Option<&Value>, write: impl FnOnce(&mut Message, &Value)) {
        if let Some(value) = value {
            let mut inner = Message::default();
            write(&mut inner, value);
            self.put(number, &inner.bytes);
        }
    }

    /// A map as gnostic has it: repeated messages of name and value, in order.
    fn named(&mut self, number: u64, map: &Value, write: impl Fn(&mut Message, &Value)) {
        for (name, value) in map.as_object().into_iter().flatten() {
            self.nested(number, Some(value), |entry, value| {
                entry.put(1, name.as_bytes());
                entry.nested(2, Some(value), &write);
            });
        }
    }

    /// `x-…` members; their values are YAML text, which JSON is.
    fn extensions(&mut self, number: u64, owner: &Value) {
        for (name, value) in owner.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-")) {
            self.nested(number, Some(value), |entry, value| {
                entry.put(1, name.as_bytes());
                entry.nested(2, Some(value), any);
            });
        }
    }
}

fn any(out: &mut Message, value: &Value) {
    out.put(2, value.to_string().as_bytes());
}

fn path_item(out: &mut Message, value: &Value) {
    for (number, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        out.nested(number, value.get(method), operation);
    }
    parameters(out, 9, value);
}

fn operation(out: &mut Message, value: &Value) {
    out.texts(1, value.get("tags"));
    out.text(3, value.get("description"));
    out.text(5, value.get("operationId"));
    out.texts(6, value.get("produces"));
    out.texts(7, value.get("consumes"));
    parameters(out, 8, value);
    out.nested(9, value.get("responses"), |all, value| {
        all.named(1, value, |value_message, response| {
            value_message.nested(1, Some(response), |out, response| {
                out.text(1, response.get("description"));
                out.nested(2, response.get("schema"), |item, value| item.nested(1, Some(value), schema));
            });
        });
    });
    out.texts(10, value.get("schemes"));
    out.extensions(13, value);
}

fn parameters(out: &mut Message, number: u64, owner: &Value) {
    for one in owner.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        out.nested(number, Some(one), |item, value| item.nested(1, Some(value), parameter));
    }
}

fn parameter(out: &mut Message, value: &Value) {
    let place = value.get("in").and_then(Value::as_str);
    if place == Some("body") {
        return out.nested(1, Some(value), |body, value| {
            body.text(1, value.get("description"));
            body.text(2, value.get("name"));
            body.text(3, value.get("in"));
            body.flag(4, value.get("required"));
            body.nested(5, value.get("schema"), schema);
        });
    }
    // A query parameter may be empty, hence its numbers are one further.
    let (place, kind) = if place == Some("path") { (4, 5) } else { (3, 6) };
    out.nested(2, Some(value), |plain, value| {
        plain.nested(place, Some(value), |own, value| {
            own.flag(1, value.get("required"));
            own.text(2, value.get("in"));
            own.text(3, value.get("description"));
            own.text(4, value.get("name"));
            own.text(kind, value.get("type"));
        });
    });
}

fn schema(out: &mut Message, value: &Value) {
    out.text(1, value.get("$ref"));
    out.text(2, value.get("format"));
    out.text(3, value.get("title"));
    out.text(4, value.get("description"));
    out.nested(5, value.get("default"), any);
    out.text(13, value.get("pattern"));
    out.texts(19, value.get("required"));
    for one in value.get("enum").and_then(Value::as_array).into_iter().flatten() {
        out.nested(20, Some(one), any);
    }
    match value.get("additionalProperties") {
        Some(Value::Bool(allowed)) => {
            let allowed = Value::Bool(*allowed);
            out.nested(21, Some(&allowed), |item, allowed| item.flag(2, Some(allowed)));
        }
        Some(inner) => out.nested(21, Some(inner), |item, inner| item.nested(1, Some(inner), schema)),
        None => {}
    }
    out.nested(22, value.get("type"), |item, kind| match kind {
        Value::Array(_) => item.texts(1, Some(kind)),
        _ => item.text(1, Some(kind)),
    });
    out.nested(23, value.get("items"), |item, inner| item.nested(1, Some(inner), schema));
    out.nested(25, value.get("properties"), |all, value| all.named(1, value, schema));
    out.extensions(31, value);
}
