//! Which form of an answer a client accepts (`Accept`), and which form of body it sent (`Content-Type`); pure.

use api::Rejected;
use api::rejected::Reason;

/// The encoding of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Json,
    Yaml,
}

/// What objects are shown as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Whole,
    Table,
    /// `PartialObjectMetadata`, or the list of them.
    Metadata,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) encoding: Encoding,
    pub(super) shape: Shape,
    pub(super) pretty: bool,
}

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
pub(super) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The first clause that this server can answer.
pub(super) fn accepted(accept: &str, pretty: bool) -> Result<Accepted, Rejected> {
    if accept.trim().is_empty() {
        return Ok(Accepted { encoding: Encoding::Json, shape: Shape::Whole, pretty });
    }
    accept.split(',').find_map(|clause| clause_of(clause, pretty)).ok_or_else(|| {
        let message = format!("only the following media types are accepted: {JSON}, {YAML}, {PROTOBUF}");
        Rejected::new(Reason::NotAcceptable, message)
    })
}

fn clause_of(clause: &str, pretty: bool) -> Option<Accepted> {
    let mut parts = clause.split(';').map(str::trim);
    let encoding = match parts.next()? {
        JSON | "*/*" | "application/*" => Encoding::Json,
        YAML | "text/yaml" => Encoding::Yaml,
        _ => return None,
    };
    let mut accepted = Accepted { encoding, shape: Shape::Whole, pretty };
    let (mut group, mut version) = ("meta.k8s.io", "v1");
    for parameter in parts {
        match parameter.split_once('=') {
            Some(("as", "Table")) => accepted.shape = Shape::Table,
            Some(("as", "PartialObjectMetadata" | "PartialObjectMetadataList")) => accepted.shape = Shape::Metadata,
            Some(("as", _)) => return None,
            Some(("g", value)) => group = value,
            Some(("v", value)) => version = value,
            Some(("pretty", value)) => accepted.pretty = value != "0",
            _ => {}
        }
    }
    let known = group == "meta.k8s.io" && matches!(version, "v1" | "v1beta1");
    (known || accepted.shape == Shape::Whole).then_some(accepted)
}

/// The form of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Json,
    Yaml,
    Protobuf,
}

/// No content type means JSON.
pub(super) fn sent(content_type: &str) -> Result<Sent, Rejected> {
    match content_type.split(';').next().unwrap_or_default().trim() {
        "" | JSON => Ok(Sent::Json),
        YAML | "text/yaml" | "application/x-yaml" => Ok(Sent::Yaml),
        PROTOBUF => Ok(Sent::Protobuf),
        _ => {
            let message = format!(
                "the body of the request was in an unknown format - accepted media types include: {JSON}, {YAML}, {PROTOBUF}"
            );
            Err(Rejected::new(Reason::UnsupportedMediaType, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_clause_that_can_be_answered_wins() {
        let shape = |accept: &str| accepted(accept, false).map(|accepted| accepted.shape);
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(shape(kubectl), Ok(Shape::Table));
        assert_eq!(shape("application/vnd.kubernetes.protobuf,application/json"), Ok(Shape::Whole));
        assert_eq!(shape("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"), Ok(Shape::Metadata));
        assert_eq!(shape("application/json;as=Table;g=other;v=v1,*/*"), Ok(Shape::Whole));
        assert_eq!(shape("text/html").map_err(|rejected| rejected.code), Err(406));
        assert_eq!(accepted("application/yaml", false).map(|a| a.encoding), Ok(Encoding::Yaml));
    }

    #[test]
    fn bodies_are_json_unless_said_otherwise() {
        assert_eq!(sent(""), Ok(Sent::Json));
        assert_eq!(sent("application/json; charset=utf-8"), Ok(Sent::Json));
        assert_eq!(sent("application/vnd.kubernetes.protobuf"), Ok(Sent::Protobuf));
        assert_eq!(sent("text/plain").map_err(|rejected| rejected.code), Err(415));
    }
}
