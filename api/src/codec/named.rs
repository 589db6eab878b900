//! What a body says it is, read as kube-apiserver reads it before it decodes the rest, and what is said of one that
//! says something else.

use crate::Tree;
use crate::fields;

/// The group, version and kind of a body, completed from those of the place that it was sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub group: String,
    pub version: String,
    pub kind: String,
}

/// The Go struct that `apiVersion` and `kind` are read into.
const TYPE_META: &str =
    r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

/// How upstream's scheme calls itself.
const SCHEME: &str = "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30";

/// Reads `apiVersion` and `kind`; what is missing is taken from `wanted` (`apps/v1`, `Deployment`). Null says nothing.
///
/// # Errors
/// In Go's words, if they cannot be read.
pub fn named(tree: &Tree, wanted: (&str, &str)) -> Result<Named, String> {
    let text = |key: &str| match tree.get(key) {
        None | Some(Tree::Null) => Ok(""),
        Some(Tree::String(text)) => Ok(text.as_str()),
        Some(other) => {
            let found = found(other);
            Err(parse_error(&format!("json: cannot unmarshal {found} into Go struct field .{key} of type string")))
        }
    };
    if !matches!(tree, Tree::Object(_) | Tree::Null) {
        let found = found(tree);
        return Err(parse_error(&format!("json: cannot unmarshal {found} into Go value of type {TYPE_META}")));
    }
    let (api_version, kind) = (text("apiVersion")?, text("kind")?);
    let split = |api_version: &str| match api_version.split_once('/') {
        Some((group, version)) => (group.to_owned(), version.to_owned()),
        None => (String::new(), api_version.to_owned()),
    };
    if api_version.matches('/').count() > 1 {
        return Err(format!("unexpected GroupVersion string: {api_version}"));
    }
    let (wanted_group, wanted_version) = split(wanted.0);
    let (mut group, mut version) = split(api_version);
    if group.is_empty() && version.is_empty() {
        (group, version) = (wanted_group, wanted_version);
    } else if version.is_empty() && group == wanted_group {
        version = wanted_version;
    }
    let kind = if kind.is_empty() { wanted.1 } else { kind };
    Ok(Named { group, version, kind: kind.to_owned() })
}

/// What is said where `apiVersion` and `kind` cannot be read.
#[must_use]
pub fn parse_error(why: &str) -> String {
    format!("couldn't get version/kind; json parse error: {why}")
}

/// What Go calls a JSON value of the wrong type.
#[must_use]
pub fn found(tree: &Tree) -> &'static str {
    match tree {
        Tree::Null => "null",
        Tree::Bool(_) => "bool",
        Tree::Number(_) => "number",
        Tree::String(_) => "string",
        Tree::Array(_) => "array",
        Tree::Object(_) => "object",
    }
}

/// The last part of the Go package that holds the internal types of a group; kube-apiserver names it to clients.
#[must_use]
pub fn internal_package(group: &str) -> &str {
    match group {
        // Events of both groups are one type inside.
        "" | "events.k8s.io" => "core",
        "internal.apiserver.k8s.io" => "apiserverinternal",
        "extensions" => "networking",
        group => group.split('.').next().unwrap_or(group),
    }
}

impl Named {
    /// `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whether upstream knows such a kind.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        let package = fields::package_of(&self.group, &self.version);
        package.is_some_and(|package| fields::type_of(package, &self.kind).is_some())
    }

    /// Why upstream's scheme makes nothing of a kind of that group out of it.
    #[must_use]
    pub fn unfit(&self, group: &str, kind: &str) -> String {
        if self.is_registered() {
            return self.unconvertible(internal_package(group), kind);
        }
        format!("no kind {:?} is registered for version {:?} in scheme {SCHEME:?}", self.kind, self.api_version())
    }

    /// The same of what is known to be another kind; `package` is Go's for the wanted one.
    #[must_use]
    pub fn unconvertible(&self, package: &str, kind: &str) -> String {
        format!("converting ({}.{}) to ({package}.{kind}): unknown conversion", self.version, self.kind)
    }

    /// Whether it is the same thing inside kube-apiserver as a kind of that group.
    #[must_use]
    pub fn is_internally(&self, group: &str, kind: &str) -> bool {
        self.kind == kind && internal_package(&self.group) == internal_package(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_missing_is_taken_from_the_place() {
        let of = |tree: Tree| {
            let named = named(&tree, ("apps/v1", "Deployment"))?;
            Ok::<_, String>(format!("{} {}", named.api_version(), named.kind))
        };
        for (tree, expected) in [
            (json!({}), Ok("apps/v1 Deployment")),
            (json!(null), Ok("apps/v1 Deployment")),
            (json!({"kind": "Pod"}), Ok("apps/v1 Pod")),
            (json!({"apiVersion": "v1"}), Ok("v1 Deployment")),
            (json!({"apiVersion": "apps/"}), Ok("apps/v1 Deployment")),
            (json!({"apiVersion": "a/b/c"}), Err("unexpected GroupVersion string: a/b/c")),
            (
                json!({"kind": 5}),
                Err(
                    "couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string",
                ),
            ),
        ] {
            assert_eq!(of(tree).as_deref().map_err(String::as_str), expected);
        }
        assert!(named(&json!([]), ("v1", "Pod")).is_err_and(|why| why.ends_with(TYPE_META)));
    }

    #[test]
    fn kinds_that_upstream_knows() {
        let of =
            |api_version: &str, kind: &str| named(&json!({"apiVersion": api_version, "kind": kind}), ("", "")).unwrap();
        assert!(of("v1", "Pod").is_registered() && of("v1", "PodList").is_registered());
        assert!(!of("v2", "Pod").is_registered() && !of("apps/v1", "ConfigMap").is_registered());
        assert!(of("v1", "Event").is_internally("events.k8s.io", "Event"));
    }
}
