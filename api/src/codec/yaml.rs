//! YAML bodies: one document, resolved as YAML 1.2 core types and checked against the field table.

use super::{DEPTH_MAX, DecodeError, Problem, Strictness, check_length, typed};
use crate::fields::TypeRef;
use crate::{Kind, Tree};
use granit_parser::{ErrorKind, Event, Parser};
use serde::Deserialize;

/// Values in one document. The YAML reader holds them all before the first is looked at, each at a hundred times the
/// bytes that it may have been sent as.
const NODES_MAX: usize = 250_000;

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
    check(bytes)?;
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
    check(bytes)?;
    let source = serde_yaml::Deserializer::from_slice(bytes);
    Tree::deserialize(source).map_err(|error| DecodeError::Malformed(error.to_string()))
}

/// A tree as YAML text.
pub fn encode(tree: &Tree) -> Result<String, DecodeError> {
    serde_yaml::to_string(tree).map_err(|error| DecodeError::Malformed(error.to_string()))
}

/// Refuses what would cost more than its bytes: nesting, of which the YAML reader's time is the square, and values
/// beyond number. This parser stops at its limits and keeps nothing.
fn check(bytes: &[u8]) -> Result<(), DecodeError> {
    check_length(bytes)?;
    let text = std::str::from_utf8(bytes).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    let mut options = granit_parser::Options::default();
    options.flow_nesting_limit = DEPTH_MAX;
    options.block_nesting_limit = DEPTH_MAX;
    let mut nodes = 0;
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, _) = event.map_err(|error| match error.kind() {
            ErrorKind::RecursionLimitExceeded => DecodeError::TooDeep,
            _ => DecodeError::Malformed(error.to_string()),
        })?;
        nodes += usize::from(matches!(event, Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..)));
        if nodes > NODES_MAX {
            return Err(DecodeError::TooMany);
        }
    }
    Ok(())
}
