//! The bodies of writes: from bytes to a tree of the kind that belongs where they were sent, or why not, in upstream's
//! words.

use super::media::{self, Sent};
use api::codec::named::{self, Named};
use api::codec::{self, DecodeError, Problem, Strictness};
use api::fields::TypeRef;
use api::object::edit;
use api::rejected::Reason;
use api::{Kind, Rejected, Tree};
use std::fmt::Write as _;

/// How much of a body that is not understood is shown to its sender, bytes.
const SHOWN_BYTES_MAX: usize = 30;

/// What belongs where a body was sent.
pub(super) struct Wanted<'w> {
    pub(super) kind: &'w str,
    pub(super) api_version: &'w str,
    /// `None` for custom resources.
    pub(super) schema: Option<TypeRef>,
    /// The kind of a custom resource, whose schema says which fields there are.
    pub(super) custom: Option<&'w Kind>,
}

/// An object, and the problems that are to be warned of.
pub(super) fn object(
    sent: Sent,
    bytes: &[u8],
    wanted: &Wanted<'_>,
    strictness: Strictness,
) -> Result<(Tree, Vec<Problem>), Rejected> {
    let (mut tree, mut problems) = body(sent, bytes, wanted.schema, strictness).map_err(|error| match error {
        DecodeError::TooLarge { .. } => Rejected::new(Reason::RequestEntityTooLarge, error.to_string()),
        DecodeError::NoProtobuf(_) => media::no_protobuf(),
        _ => malformed(&error, sent, bytes, wanted),
    })?;
    if let Some(kind) = wanted.custom {
        check_says_kind(&tree, sent, bytes, wanted)?;
        check_kind(&mut tree, wanted)?;
        codec::prune(&mut tree, kind, strictness, &mut problems);
    } else {
        check_kind(&mut tree, wanted)?;
    }
    if strictness == Strictness::Strict && !problems.is_empty() {
        return Err(unfit(wanted.kind, wanted.version(), wanted, &codec::strict_error(&problems)));
    }
    Ok((tree, problems))
}

/// The bytes as a type, whatever they say that they are.
pub(super) fn body(
    sent: Sent,
    bytes: &[u8],
    schema: Option<TypeRef>,
    strictness: Strictness,
) -> Result<(Tree, Vec<Problem>), DecodeError> {
    match sent {
        Sent::Json => codec::json::decode_as(bytes, schema, strictness),
        Sent::Yaml => codec::yaml::decode_as(bytes, schema, strictness),
        Sent::Protobuf => codec::protobuf::decode_as(bytes, schema).map(|tree| (tree, Vec::new())),
    }
}

/// Why bytes were not decoded. Upstream reads `apiVersion` and `kind` first, and may fail there already.
pub(super) fn why(error: &DecodeError, sent: Sent, bytes: &[u8], wanted: &Wanted<'_>) -> String {
    said(sent, bytes, wanted).map_or_else(|why| why, |_| error.to_string())
}

fn malformed(error: &DecodeError, sent: Sent, bytes: &[u8], wanted: &Wanted<'_>) -> Rejected {
    match said(sent, bytes, wanted) {
        Ok(named) => check_named(&named, wanted)
            .err()
            .unwrap_or_else(|| unfit(&named.kind, &named.version, wanted, &error.to_string())),
        Err(why) => Rejected::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why} ({})",
            wanted.kind,
            shown(bytes)
        )),
    }
}

fn said(sent: Sent, bytes: &[u8], wanted: &Wanted<'_>) -> Result<Named, String> {
    let tree = match sent {
        Sent::Json => codec::json::parse(bytes).map_err(|error| named::parse_error(&error.to_string()))?,
        Sent::Yaml => codec::yaml::parse(bytes).map_err(|error| error.to_string())?,
        Sent::Protobuf => codec::protobuf::open(bytes).map(|_| Tree::Null).map_err(|error| error.to_string())?,
    };
    named::named(&tree, (wanted.api_version, wanted.kind))
}

/// The beginning of a body: of JSON as it is, of anything else in hexadecimal.
fn shown(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    let mut out = match bytes.first() {
        None => return "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(head).into_owned(),
        Some(_) => hex::encode(head),
    };
    if bytes.len() > SHOWN_BYTES_MAX {
        let _ = write!(out, " ...");
    }
    out
}

fn unfit(kind: &str, version: &str, wanted: &Wanted<'_>, why: &str) -> Rejected {
    Rejected::bad_request(format!("{kind} in version {version:?} cannot be handled as a {}: {why}", wanted.kind))
}

/// A custom resource has to say what it is: its fields do not tell.
fn check_says_kind(tree: &Tree, sent: Sent, bytes: &[u8], wanted: &Wanted<'_>) -> Result<(), Rejected> {
    if !tree.is_object() || !edit::text(tree, &["kind"]).is_empty() {
        return Ok(());
    }
    // Upstream reads JSON, which it has made of YAML.
    let body = if sent == Sent::Json { String::from_utf8_lossy(bytes).into_owned() } else { tree.to_string() };
    Err(unfit(wanted.kind, wanted.version(), wanted, &format!("Object 'Kind' is missing in '{body}'")))
}

/// What a body says it is has to be what belongs here; a body that says nothing is taken for it.
fn check_kind(tree: &mut Tree, wanted: &Wanted<'_>) -> Result<(), Rejected> {
    if !tree.is_object() {
        return Err(Rejected::bad_request("the body is not an object"));
    }
    // What was decoded has texts, if anything.
    let named = named::named(tree, (wanted.api_version, wanted.kind)).map_err(Rejected::bad_request)?;
    check_named(&named, wanted)?;
    // drain of kubectl 1.20 evicts in this version, which upstream goes on to take.
    if wanted.kind == "Eviction" && edit::text(tree, &["apiVersion"]) == "policy/v1beta1" {
        edit::set(tree, &["apiVersion"], wanted.api_version);
    }
    Ok(())
}

fn check_named(named: &Named, wanted: &Wanted<'_>) -> Result<(), Rejected> {
    let given = named.api_version();
    let (group, version) = wanted.api_version.split_once('/').unwrap_or(("", wanted.api_version));
    if named.kind == wanted.kind
        && (given == wanted.api_version || given == "policy/v1beta1" && named.kind == "Eviction")
    {
        return Ok(());
    }
    let other_version = || {
        let wanted = wanted.api_version;
        Rejected::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version ({wanted})"
        ))
    };
    let is_custom = wanted.schema.is_none();
    if is_custom && given != wanted.api_version {
        return Err(other_version());
    }
    // Of another kind it is told by validation.
    if wanted.custom.is_some() {
        return Ok(());
    }
    if !is_custom && named.is_registered() && named.is_internally(group, wanted.kind) {
        return Err(other_version());
    }
    let why = if is_custom { named.unconvertible(version, wanted.kind) } else { named.unfit(group, wanted.kind) };
    Err(unfit(&named.kind, &named.version, wanted, &why))
}

impl Wanted<'_> {
    fn version(&self) -> &str {
        self.api_version.rsplit('/').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::fields::type_of_kind;

    fn refusal(sent: Sent, body: &str) -> String {
        let wanted =
            Wanted { kind: "ConfigMap", api_version: "v1", schema: type_of_kind("", "v1", "ConfigMap"), custom: None };
        let decoded = object(sent, body.as_bytes(), &wanted, Strictness::Strict);
        decoded.map_or_else(|rejected| rejected.message, |(tree, _)| tree.to_string())
    }

    #[test]
    fn bodies_are_refused_in_upstreams_words() {
        let unrecognized = "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: ";
        let unfit = r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: "#;
        for (body, start, end) in [
            ("", unrecognized, "unexpected end of JSON input (<empty>)"),
            ("{", unrecognized, "unexpected end of JSON input ({)"),
            (
                "[]",
                unrecognized,
                r#"json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } (5b5d)"#,
            ),
            (
                r#"{"metadata":{"name":"x2"}} trailing"#,
                unrecognized,
                r#"invalid character 't' after top-level value ({"metadata":{"name":"x2"}} tra ...)"#,
            ),
            (
                r#"{"data":"s"}"#,
                unfit,
                "json: cannot unmarshal string into Go struct field ConfigMap.data of type map[string]string",
            ),
            (r#"{"foo":1}"#, unfit, r#"strict decoding error: unknown field "foo""#),
            (
                r#"{"kind":"ConfigMap","apiVersion":"apps/v1"}"#,
                unfit,
                r#"no kind "ConfigMap" is registered for version "apps/v1" in scheme "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30""#,
            ),
            (
                r#"{"kind":"Pod","apiVersion":"v1","data":5}"#,
                r#"Pod in version "v1" cannot be handled as a ConfigMap: "#,
                "converting (v1.Pod) to (core.ConfigMap): unknown conversion",
            ),
        ] {
            assert_eq!(refusal(Sent::Json, body), format!("{start}{end}"));
        }
        let unrecognized = "the object provided is unrecognized (must be of type ConfigMap): ";
        for (body, why) in [
            ("", "empty data (<empty>)"),
            ("k8s\0", "empty body (6b387300)"),
            ("x", "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] (78)"),
        ] {
            assert_eq!(refusal(Sent::Protobuf, body), format!("{unrecognized}{why}"));
        }
        assert_eq!(refusal(Sent::Json, "null"), "{}");
        assert_eq!(refusal(Sent::Yaml, ""), "{}");
        assert!(
            refusal(Sent::Yaml, "a: [\n")
                .starts_with("the object provided is unrecognized (must be of type ConfigMap): ")
        );
    }
}
