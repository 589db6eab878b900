//! YAML bodies: one document, resolved as YAML 1.2 core types and checked against the field table.

use super::{DecodeError, Problem, Strictness, check_length, typed};
use crate::fields::TypeRef;
use crate::{Kind, Tree};
use serde::Deserialize;

/// Decodes an object of a kind. Aliases that would multiply the document are refused.
pub fn decode(bytes: &[u8], kind: &Kind, strictness: Strictness) -> Result<(Tree, Vec<Problem>), DecodeError> {
    decode_as(bytes, kind.schema(), strictness)
}

/// Decodes a body whose type is no served kind.
pub fn decode_as(
    bytes: &[u8],
    schema: Option<TypeRef>,
    strictness: Strictness,
) -> Result<(Tree, Vec<Problem>), DecodeError> {
    check_length(bytes)?;
    let mut documents = serde_yaml::Deserializer::from_slice(bytes);
    let first = documents.next().ok_or_else(|| DecodeError::Malformed("the body is empty".to_owned()))?;
    let decoded = typed::decode(first, schema, strictness)?;
    if documents.next().is_some() {
        return Err(DecodeError::Malformed("the body has more than one YAML document".to_owned()));
    }
    Ok(decoded)
}

/// Any YAML value as a tree, unchecked (server-side apply reads its patches so).
pub fn parse(bytes: &[u8]) -> Result<Tree, DecodeError> {
    check_length(bytes)?;
    let source = serde_yaml::Deserializer::from_slice(bytes);
    Tree::deserialize(source).map_err(|error| DecodeError::Malformed(error.to_string()))
}

/// A tree as YAML text.
pub fn encode(tree: &Tree) -> Result<String, DecodeError> {
    serde_yaml::to_string(tree).map_err(|error| DecodeError::Malformed(error.to_string()))
}
