//! YAML bodies: one document, resolved as YAML 1.2 core types and checked against the field table.

mod write;

use super::{DEPTH_MAX, DecodeError, Problem, Strictness, check_length, typed};
use crate::fields::TypeRef;
use crate::{Kind, Tree};
use granit_parser::{ErrorKind, Event, Parser};
use serde::Deserialize;
use serde_json::Map;

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
    // Nothing is null, and null is an object with nothing in it.
    let Some(first) = documents.next() else { return Ok((Tree::Object(Map::new()), Vec::new())) };
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

/// A tree as YAML text, laid out as kube-apiserver's.
#[must_use]
pub fn encode(tree: &Tree) -> String {
    write::document(tree)
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
            _ => DecodeError::Malformed(upstreams_words(text, error.marker().line(), &error.info())),
        })?;
        nodes += usize::from(matches!(event, Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..)));
        if nodes > NODES_MAX {
            return Err(DecodeError::TooMany);
        }
    }
    Ok(())
}

/// What upstream's reader would say. The other reader here descends from the same library as it does, and has its
/// words; but it is shown no more of the text than was looked at, up to the end of the line that is wrong.
fn upstreams_words(text: &str, line: usize, otherwise: &str) -> String {
    let looked_at = text.split_inclusive('\n').take(line).map(str::len).sum::<usize>();
    let error = Tree::deserialize(serde_yaml::Deserializer::from_str(&text[..looked_at])).err();
    let said = error.map(|error| error.to_string());
    // `PROBLEM at line N column M, while CONTEXT`; a scanner has gone on to the line already, a parser not yet.
    let parts = said.as_deref().and_then(|said| said.split_once(" at line "));
    let (problem, line) = parts.map_or((otherwise, line), |(problem, place)| {
        let digits = place.split(' ').next().unwrap_or_default();
        let is_parsers = problem.starts_with("did not find expected");
        (problem, digits.parse::<usize>().unwrap_or(line).saturating_sub(usize::from(is_parsers)))
    });
    if line == 0 { format!("yaml: {problem}") } else { format!("yaml: line {line}: {problem}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_yaml_is_said_in_upstreams_words() {
        for (text, expected) in [
            ("a: [\n", "yaml: line 1: did not find expected node content"),
            ("a: b: c\n", "yaml: line 1: mapping values are not allowed in this context"),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(DecodeError::Malformed(expected.to_owned())), "{text}");
        }
    }
}
