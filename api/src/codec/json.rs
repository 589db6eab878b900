//! JSON bodies: checked against the field table while they are parsed, in one pass.

use super::{DecodeError, Problem, Strictness, check_length, syntax, typed};
use crate::fields::TypeRef;
use crate::{Kind, Tree};

/// Decodes an object of a kind.
pub fn decode(bytes: &[u8], kind: &Kind, strictness: Strictness) -> Result<(Tree, Vec<Problem>), DecodeError> {
    decode_as(bytes, kind.schema(), strictness)
}

/// Decodes a body whose type is no served kind (`DeleteOptions`, a subresource). Without a schema only the metadata
/// is checked.
pub fn decode_as(
    bytes: &[u8],
    schema: Option<TypeRef>,
    strictness: Strictness,
) -> Result<(Tree, Vec<Problem>), DecodeError> {
    check_length(bytes)?;
    let mut source = serde_json::Deserializer::from_slice(bytes);
    let decoded = typed::decode(&mut source, schema, strictness)
        .and_then(|decoded| source.end().map(|()| decoded).map_err(|error| DecodeError::Malformed(error.to_string())));
    // Go looks at the whole text before it decodes any of it.
    decoded.map_err(|error| syntax::error(bytes).map_or(error, DecodeError::Malformed))
}

/// Any JSON value as a tree, unchecked (patches are read so); the error is in Go's words.
pub fn parse(bytes: &[u8]) -> Result<Tree, DecodeError> {
    serde_json::from_slice(bytes)
        .map_err(|error| DecodeError::Malformed(syntax::error(bytes).unwrap_or_else(|| error.to_string())))
}
