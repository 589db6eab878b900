//! Which form of an answer a client accepts (`Accept`), and which form of body it sent (`Content-Type`); pure.
//!
//! Upstream asks twice: its router (go-restful) looks at bare media types, its serializers at the parameters, too. Both
//! refuse in words of their own, and only the first says it of resources that are built in.

use api::Rejected;
use api::rejected::Reason;

/// The encoding of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

/// What objects are shown as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Whole,
    Table,
    /// `PartialObjectMetadata` of one object, or of each in a watch.
    Metadata,
    /// `PartialObjectMetadataList`.
    MetadataList,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) encoding: Encoding,
    pub(super) shape: Shape,
    /// Tables and metadata as `meta.k8s.io/v1beta1`, which old clients ask for.
    pub(super) beta: bool,
    pub(super) pretty: bool,
}

/// What a place can answer with, beside JSON and YAML of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) protobuf: bool,
    pub(super) table: bool,
    pub(super) metadata: bool,
}

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
pub(super) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const ALL: [&str; 3] = [JSON, YAML, PROTOBUF];
/// What a list may be asked for as besides: it shares its route with watches.
const STREAMS: [&str; 2] = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

/// One entry of an Accept header.
struct Clause<'a> {
    main: &'a str,
    sub: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    weight: f32,
}

impl Offer {
    /// Documents and refusals come whole.
    pub(super) const DOCUMENT: Offer = Offer { protobuf: true, table: false, metadata: false };
}

impl Accepted {
    /// JSON for people, which is what they get whose wish cannot be met.
    pub(super) const FALLBACK: Accepted =
        Accepted { encoding: Encoding::Json, shape: Shape::Whole, beta: false, pretty: true };
}

/// The first clause that can be answered, the weightiest first. Of JSON and protobuf that weigh the same JSON is
/// taken, whichever comes first: it is what objects are kept as, so it costs nothing to make.
pub(super) fn accepted(accept: &str, pretty: bool, offer: Offer) -> Result<Accepted, Rejected> {
    if accept.is_empty() {
        return Ok(Accepted { encoding: Encoding::Json, shape: Shape::Whole, beta: false, pretty });
    }
    let clauses = clauses(accept);
    let mut found = clauses.iter().filter_map(|clause| Some((clause.weight, clause.accepted(pretty, offer)?)));
    let first = found.next().ok_or_else(|| not_acceptable(&ALL))?;
    if first.1.encoding != Encoding::Protobuf {
        return Ok(first.1);
    }
    let is_alike = |(weight, other): &(f32, Accepted)| {
        weight.total_cmp(&first.0).is_eq() && other.encoding == Encoding::Json && other.shape == first.1.shape
    };
    Ok(found.find(is_alike).map_or(first.1, |(_, json)| json))
}

/// Whether upstream's router would let the header pass.
pub(super) fn check_routable(accept: &str, is_list: bool) -> Result<(), Rejected> {
    let mut bare = accept.split(',').map(|clause| clause.split(';').next().unwrap_or_default().trim());
    if accept.is_empty() || bare.any(|media| media == "*/*" || ALL.contains(&media)) {
        return Ok(());
    }
    let mut produced = ALL.to_vec();
    if is_list {
        produced.extend(STREAMS);
    }
    let message = format!("406: Not Acceptable\n\nAvailable representations: {}", produced.join(", "));
    Err(Rejected::unroutable(Reason::NotAcceptable, message))
}

/// Watches are not written in every encoding.
pub(super) fn check_stream(accepted: Accepted) -> Result<(), Rejected> {
    if accepted.encoding == Encoding::Yaml { Err(not_acceptable(&STREAMS)) } else { Ok(()) }
}

fn not_acceptable(offered: &[&str]) -> Rejected {
    let message = format!("only the following media types are accepted: {}", offered.join(", "));
    Rejected::new(Reason::NotAcceptable, message)
}

/// Sorted as goautoneg sorts them: by weight, then what is named before what is not.
fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut all: Vec<Clause<'_>> = accept.split(',').filter_map(Clause::parse).collect();
    let wildness = |clause: &Clause<'_>| (clause.main == "*", clause.sub == "*");
    all.sort_by(|a, b| b.weight.total_cmp(&a.weight).then(wildness(a).cmp(&wildness(b))));
    all
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Clause<'a>> {
        let mut parts = text.split(';').map(str::trim);
        let (main, sub) = match parts.next()? {
            "*" => ("*", "*"),
            media => media.split_once('/')?,
        };
        let mut clause = Clause { main: main.trim(), sub: sub.trim(), parameters: Vec::new(), weight: 1.0 };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key.trim() {
                "q" => clause.weight = value.trim().parse().unwrap_or(1.0),
                key => clause.parameters.push((key, value.trim())),
            }
        }
        Some(clause)
    }

    fn accepted(&self, pretty: bool, offer: Offer) -> Option<Accepted> {
        let encodings =
            [(Encoding::Json, "json"), (Encoding::Yaml, "yaml"), (Encoding::Protobuf, "vnd.kubernetes.protobuf")];
        let fits = |sub: &str| match (self.main, self.sub) {
            ("*", "*") | ("application", "*") => true,
            (main, own) => main == "application" && own == sub,
        };
        let mut fitting = encodings.into_iter().filter(|(_, sub)| fits(sub));
        fitting.find_map(|(encoding, _)| self.shaped(encoding, pretty, offer))
    }

    fn shaped(&self, encoding: Encoding, pretty: bool, offer: Offer) -> Option<Accepted> {
        let beta = self.parameters.contains(&("v", "v1beta1"));
        let mut accepted = Accepted { encoding, shape: Shape::Whole, beta, pretty };
        let (mut kind, mut group, mut version) = (None, None, None);
        for (key, value) in &self.parameters {
            match *key {
                "as" => kind = Some(*value),
                "g" => group = Some(*value),
                "v" => version = Some(*value),
                "pretty" => accepted.pretty |= *value == "1",
                "stream" if !value.is_empty() && (*value != "watch" || encoding == Encoding::Yaml) => return None,
                "sv" if !value.is_empty() => return None,
                _ => {}
            }
        }
        let is_protobuf = encoding == Encoding::Protobuf;
        let is_offered = match (kind, group, version) {
            (None, None, None) => offer.protobuf || !is_protobuf,
            (Some(kind), Some("meta.k8s.io"), Some("v1" | "v1beta1")) => {
                accepted.shape = match kind {
                    "Table" => Shape::Table,
                    "PartialObjectMetadata" => Shape::Metadata,
                    "PartialObjectMetadataList" => Shape::MetadataList,
                    _ => return None,
                };
                if kind == "Table" { offer.table && !is_protobuf } else { offer.metadata }
            }
            _ => false,
        };
        is_offered.then_some(accepted)
    }
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
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media.as_str() {
        "" | JSON => Ok(Sent::Json),
        YAML => Ok(Sent::Yaml),
        PROTOBUF => Ok(Sent::Protobuf),
        _ => Err(unsupported(&ALL)),
    }
}

/// Custom resources have no protobuf form.
pub(super) fn no_protobuf() -> Rejected {
    unsupported(&[JSON, YAML])
}

/// A body of none of these types.
pub(super) fn unsupported(taken: &[&str]) -> Rejected {
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {}",
        taken.join(", ")
    );
    Rejected::new(Reason::UnsupportedMediaType, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTS: Offer = Offer { protobuf: true, table: true, metadata: true };

    fn of(accept: &str) -> Result<(Encoding, Shape), u16> {
        let accepted = accepted(accept, false, OBJECTS);
        accepted.map(|accepted| (accepted.encoding, accepted.shape)).map_err(|rejected| rejected.code)
    }

    #[test]
    fn the_weightiest_clause_that_can_be_answered_wins() {
        use Encoding::{Json, Protobuf, Yaml};
        for (accept, expected) in [
            ("", Ok((Json, Shape::Whole))),
            ("*/*", Ok((Json, Shape::Whole))),
            ("application/*", Ok((Json, Shape::Whole))),
            ("application/json;q=0.1,application/yaml", Ok((Yaml, Shape::Whole))),
            ("*/*,application/yaml", Ok((Yaml, Shape::Whole))),
            ("text/html,application/json", Ok((Json, Shape::Whole))),
            ("text/html", Err(406)),
            // kubectl.
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                Ok((Json, Shape::Table)),
            ),
            ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Ok((Json, Shape::MetadataList))),
            ("application/json;as=Table;g=other;v=v1,*/*", Ok((Json, Shape::Whole))),
            ("application/json;as=Table;g=meta.k8s.io;v=v9", Err(406)),
            ("application/json;as=Table", Err(406)),
            ("application/json;stream=other", Err(406)),
            // Typed clients of Go.
            ("application/vnd.kubernetes.protobuf,application/json", Ok((Json, Shape::Whole))),
            ("application/vnd.kubernetes.protobuf;q=0.9,application/json;q=0.8", Ok((Protobuf, Shape::Whole))),
            ("application/vnd.kubernetes.protobuf", Ok((Protobuf, Shape::Whole))),
            ("application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1", Err(406)),
        ] {
            assert_eq!(of(accept), expected, "{accept}");
        }
        assert!(accepted(PROTOBUF, false, Offer { protobuf: false, ..OBJECTS }).is_err());
        let table = "application/json;as=Table;g=meta.k8s.io;v=v1beta1";
        assert!(accepted(table, false, OBJECTS).is_ok_and(|accepted| accepted.beta));
        assert!(accepted("application/json;pretty=1", false, OBJECTS).is_ok_and(|accepted| accepted.pretty));
    }

    #[test]
    fn the_router_looks_at_bare_types() {
        for (accept, passes) in
            [("", true), ("a/b, */*", true), ("application/json;as=Table", true), ("application/*", false)]
        {
            assert_eq!(check_routable(accept, false).is_ok(), passes, "{accept}");
        }
        let list = check_routable("text/html", true).unwrap_err();
        assert!(
            list.message
                .ends_with("protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch")
        );
        assert!(list.details.even_empty);
    }

    #[test]
    fn bodies_are_json_unless_said_otherwise() {
        assert_eq!(sent(""), Ok(Sent::Json));
        assert_eq!(sent("application/json; charset=utf-8"), Ok(Sent::Json));
        assert_eq!(sent("application/vnd.kubernetes.protobuf"), Ok(Sent::Protobuf));
        assert_eq!(sent("text/plain").map_err(|rejected| rejected.code), Err(415));
    }
}
