//! JSON bodies: checked against the field table while they are parsed, in one pass.

use super::{DecodeError, Problem, Strictness, check_length, typed};
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
    let decoded = typed::decode(&mut source, schema, strictness)?;
    source.end().map_err(|error| DecodeError::Malformed(error.to_string()))?;
    Ok(decoded)
}
