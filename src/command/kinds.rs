//! Which kinds a command may name: the built-in ones, and those that the server's definitions add, which are asked for only
//! where no built-in one is meant.

use crate::remote::{JSON, Remote};
use anyhow::{Context, Result};
use api::custom::Definition;
use api::kinds::{self, Kind};
use http::Method;
use std::sync::Arc;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// The kind that a user means by `pods`, `pod`, `po` or `Pod`.
pub(super) async fn named(remote: &Remote, word: &str) -> Result<Arc<Kind>> {
    let means = |kind: &&Arc<Kind>| is_meant(kind, word);
    if let Some(kind) = kinds::builtin().iter().find(means) {
        return Ok(Arc::clone(kind));
    }
    let custom = custom(remote).await?;
    let found = custom.iter().find(means).cloned();
    found.with_context(|| format!("there is no resource type {word:?}; `kubectl api-resources` lists them"))
}

/// The kind of an object.
pub(super) async fn of(remote: &Remote, group: &str, version: &str, kind: &str) -> Result<Arc<Kind>> {
    if let Some(known) = kinds::find_kind(group, version, kind) {
        return Ok(Arc::clone(known));
    }
    let custom = custom(remote).await?;
    let found =
        custom.into_iter().find(|known| known.group() == group && known.version() == version && known.kind == kind);
    found.with_context(|| format!("the server has no kind {kind} in {group}/{version}"))
}

fn is_meant(kind: &Kind, word: &str) -> bool {
    let names = [kind.resource.plural.as_ref(), kind.singular.as_str()];
    let short = kind.short_names.iter().map(String::as_str);
    kind.has_verb("get") && names.into_iter().chain(short).any(|name| name.eq_ignore_ascii_case(word))
}

async fn custom(remote: &Remote) -> Result<Vec<Arc<Kind>>> {
    let list = remote.json(Method::GET, DEFINITIONS, JSON, None).await?;
    let definitions = list["items"].as_array().into_iter().flatten();
    Ok(definitions.flat_map(|definition| Definition::read(definition, 0).kinds).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_several_names() {
        let deployment = kinds::find_kind("apps", "v1", "Deployment").expect("built in");
        for word in ["deployments", "deployment", "deploy", "Deployment"] {
            assert!(is_meant(deployment, word), "{word}");
        }
        for word in ["deploys", "pods", ""] {
            assert!(!is_meant(deployment, word), "{word}");
        }
    }
}
