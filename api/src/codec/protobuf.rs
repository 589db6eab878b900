//! Kubernetes' protobuf form: an envelope of four magic bytes and `runtime.Unknown`, and the kind's message in it.
//!
//! No code per kind: the field table has every number and wire form. Decoding yields a canonical tree, since the
//! wire carries the zero values that Go's JSON leaves out.

mod decode;
mod duration;
mod encode;
mod wire;

use super::{DecodeError, check_length, json};
use crate::fields::{self, TypeRef};
use crate::{Kind, Tree};

/// What every body begins with.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// What an envelope says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'b> {
    pub api_version: &'b str,
    pub kind: &'b str,
    /// The message, or whatever `content_type` says.
    pub raw: &'b [u8],
    pub content_type: &'b str,
}

/// True if the bytes claim to be Kubernetes protobuf.
#[must_use]
pub fn is_protobuf(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Opens the envelope.
pub fn open(bytes: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    check_length(bytes)?;
    let malformed = |why: &str| DecodeError::Malformed(why.to_owned());
    if bytes.is_empty() {
        return Err(malformed("empty data"));
    }
    let body = bytes.strip_prefix(&MAGIC).ok_or_else(|| {
        malformed("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    })?;
    if body.is_empty() {
        return Err(malformed("empty body"));
    }
    let mut envelope = Envelope { api_version: "", kind: "", raw: &[], content_type: "" };
    for part in wire::parts(body) {
        match part? {
            (1, wire::Part::Bytes(meta)) => {
                for part in wire::parts(meta) {
                    match part? {
                        (1, wire::Part::Bytes(text)) => envelope.api_version = wire::text(text)?,
                        (2, wire::Part::Bytes(text)) => envelope.kind = wire::text(text)?,
                        _ => {}
                    }
                }
            }
            (2, wire::Part::Bytes(raw)) => envelope.raw = raw,
            (4, wire::Part::Bytes(text)) => envelope.content_type = wire::text(text)?,
            _ => {}
        }
    }
    Ok(envelope)
}

/// Decodes an object. The envelope's own kind decides (an Eviction may come as `policy/v1beta1`); `kind` is taken
/// where the envelope names none.
pub fn decode(bytes: &[u8], kind: &Kind) -> Result<Tree, DecodeError> {
    decode_as(bytes, kind.schema())
}

/// Decodes a body whose type is no served kind; `schema` is taken where the envelope names no known type.
pub fn decode_as(bytes: &[u8], schema: Option<TypeRef>) -> Result<Tree, DecodeError> {
    let envelope = open(bytes)?;
    let named = envelope.schema().or(schema);
    if envelope.content_type == "application/json" {
        return json::decode_as(envelope.raw, named, super::Strictness::Ignore).map(|(tree, _)| tree);
    }
    let schema = named.ok_or_else(|| DecodeError::NoProtobuf(format!("{} {}", envelope.api_version, envelope.kind)))?;
    decode::message(envelope.raw, schema, &envelope)
}

/// Encodes an object with its envelope. Fails for kinds without a field table.
pub fn encode(tree: &Tree, kind: &Kind) -> Result<Vec<u8>, DecodeError> {
    let schema = kind.schema().ok_or_else(|| DecodeError::NoProtobuf(kind.kind.clone()))?;
    Ok(encode_as(tree, schema))
}

/// Encodes a tree of a type with its envelope; values of the wrong type are left out.
#[must_use]
pub fn encode_as(tree: &Tree, schema: TypeRef) -> Vec<u8> {
    encode::envelope(tree, schema)
}

/// A watch event (`meta/v1.WatchEvent`) of an encoded object, framed by its length as the streams of protobuf are.
#[must_use]
pub fn event(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(object.len() + 32);
    wire::put_bytes(&mut message, 1, kind.as_bytes());
    wire::put_message(&mut message, 2, |extension| wire::put_bytes(extension, 1, object));
    let length = u32::try_from(message.len()).expect("an object is not that large");
    let mut frame = length.to_be_bytes().to_vec();
    frame.append(&mut message);
    frame
}

// === impl Envelope ===

impl Envelope<'_> {
    /// The type that the envelope names.
    #[must_use]
    pub fn schema(&self) -> Option<TypeRef> {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", self.api_version));
        fields::type_of_kind(group, version, self.kind)
    }
}
