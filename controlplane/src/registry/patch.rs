//! patch, server-side apply included: what a client changes of an object, whatever it was before.

use super::write::{Owners, writer};
use super::{Call, Registry, Written, scale};
use api::codec::{self, named};
use api::kinds::Kind;
use api::object::edit;
use api::rejected::{Cause, Reason};
use api::{Rejected, Tree, managed_fields, patch};
use client::Patch;
use std::sync::{Mutex, PoisonError};

impl Registry {
    pub async fn patch(&self, call: Call<'_>, patch: Patch) -> Result<Written, Rejected> {
        if let Patch::Apply { body, force } = &patch {
            return self.apply(&call, body, *force).await;
        }
        // What the last try was warned of; a patch is tried again if somebody else changed the object meanwhile.
        let warnings = Mutex::new(Vec::new());
        let warn = |problems: &[codec::Problem]| {
            *warnings.lock().unwrap_or_else(PoisonError::into_inner) =
                problems.iter().map(ToString::to_string).collect();
        };
        let done = if call.subresource == Some("scale") {
            let schema = call.kind.subresource("scale").and_then(api::kinds::Subresource::schema);
            let change = |scale: &Tree| {
                let (new, problems) = patched(scale, schema, None, &patch, call.strictness)?;
                warn(&problems);
                Ok(new)
            };
            self.update_scale(&call, change).await
        } else {
            let change = |old: &Tree| {
                let (new, problems) = patched(old, call.kind.schema(), Some(call.kind), &patch, call.strictness)?;
                warn(&problems);
                check_name(&call, &new)?;
                Ok(new)
            };
            self.change(&call, change, Owners::Record).await
        };
        let warnings = warnings.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.map(|written| with_warnings(written, warnings))
    }

    /// Server-side apply.
    async fn apply(&self, call: &Call<'_>, body: &[u8], force: bool) -> Result<Written, Rejected> {
        let (mut applied, warnings) = read_applied(call, body)?;
        if call.subresource == Some("scale") {
            applied = scale::into_applied(call, &applied)?;
        }
        api::custom::typed::check(call.kind, &applied)?;
        let now = self.clock().now();
        let version = call.kind.api_version();
        let merge = |live: Option<&Tree>| {
            let merged = managed_fields::apply(call.kind, live, &applied, writer(call, &version), force, now)?;
            let (new, _) = codec::conform(merged, call.kind, codec::Strictness::Ignore)
                .map_err(|error| Rejected::bad_request(format!("failed to convert new object: {error}")))?;
            check_name(call, &new)?;
            Ok(new)
        };
        if self.stored(call).is_none() && call.subresource.is_none() {
            self.refresh().await?;
        }
        if self.stored(call).is_none() && call.subresource.is_none() {
            let new = merge(None)?;
            let uid = edit::text(&new, &["metadata", "uid"]);
            if !uid.is_empty() {
                let why =
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return Err(Rejected::conflict(&call.kind.resource, call.name, why));
            }
            match self.create_missing(call, new, Owners::Recorded).await {
                Err(rejected) if rejected.is_already_exists() => {}
                done => return done.map(|written| with_warnings(written, warnings)),
            }
        }
        let mut written = self.change(call, |old| merge(Some(old)), Owners::Recorded).await?;
        if call.subresource == Some("scale") {
            written.object = scale::object(call.kind, &written.object)?;
        }
        Ok(with_warnings(written, warnings))
    }

    pub(super) async fn update_scale(
        &self,
        call: &Call<'_>,
        new: impl Fn(&Tree) -> Result<Tree, Rejected>,
    ) -> Result<Written, Rejected> {
        let changed = |old: &Tree| {
            let wanted = new(&scale::of(call.kind, old))?;
            check_name(call, &wanted)?;
            scale::put(call.kind, old, &wanted)
        };
        let written = self.change(call, changed, Owners::Record).await?;
        Ok(Written { object: scale::object(call.kind, &written.object)?, ..written })
    }
}

fn with_warnings(mut written: Written, warnings: Vec<String>) -> Written {
    written.warnings.extend(warnings);
    written
}

/// The patched tree, which is of the schema again.
fn patched(
    old: &Tree,
    schema: Option<api::fields::TypeRef>,
    kind: Option<&Kind>,
    patch: &Patch,
    strictness: codec::Strictness,
) -> Result<(Tree, Vec<codec::Problem>), Rejected> {
    let apply = || {
        Ok(match patch {
            Patch::Json(patch) => patch::json::apply(old, patch)?,
            Patch::Merge(patch) => patch::merge::apply(old, object(patch)?),
            Patch::Strategic(patch) => patch::strategic::apply(schema, old, patch)?,
            Patch::Apply { .. } => old.clone(),
        })
    };
    // What is told as the invalid value: the whole document of a patch to JSON, else what was sent.
    let invalid = |new: &Tree, why: &str| {
        let shown = match patch {
            Patch::Strategic(patch) => patch::shown(patch),
            _ => new.to_string(),
        };
        no_patch(shown, why)
    };
    let new = apply()?;
    // The other patches are to JSON, which upstream reads again; a strategic merge patch is to an object.
    if let (Some(kind), Patch::Json(_) | Patch::Merge(_)) = (kind, patch) {
        check_kind(kind, &new)?;
    }
    let (mut new, mut problems) = match codec::conform_as(new, schema, strictness) {
        Ok(conformed) => conformed,
        Err(error) => {
            let new = apply()?;
            let why = match (patch, schema) {
                (Patch::Strategic(_), Some(schema)) => patch::strategic::why_not(schema, &new),
                _ => None,
            };
            return Err(invalid(&new, &why.unwrap_or_else(|| error.to_string())));
        }
    };
    if let Some(kind) = kind {
        codec::prune(&mut new, kind, strictness, &mut problems);
    }
    if strictness == codec::Strictness::Strict && !problems.is_empty() {
        return Err(invalid(&apply()?, &codec::strict_error(&problems)));
    }
    Ok((new, problems))
}

fn object(patch: &Tree) -> Result<&Tree, Rejected> {
    let found = match patch {
        Tree::Object(_) => return Ok(patch),
        Tree::Null => return Err(Rejected::bad_request("Invalid JSON Patch")),
        Tree::Array(_) => "array",
        Tree::String(_) => "string",
        Tree::Number(_) => "number",
        Tree::Bool(_) => "bool",
    };
    Err(Rejected::bad_request(format!(
        "error decoding patch: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
    )))
}

/// A patch may not make another kind of the object.
fn check_kind(kind: &Kind, new: &Tree) -> Result<(), Rejected> {
    let no_patch = |why: &str| no_patch(new.to_string(), why);
    let named = named::named(new, (&kind.api_version(), &kind.kind)).map_err(|why| no_patch(&why))?;
    let is_version = named.api_version() == kind.api_version();
    if is_version && named.kind == kind.kind {
        return Ok(());
    }
    if kind.is_custom() {
        let (said, version) = (&named.kind, named.api_version());
        return Err(no_patch(&match is_version {
            true => format!("{said} in version {:?} cannot be handled as a {}", named.version, kind.kind),
            false => format!("no kind {said:?} is registered for version {version:?}"),
        }));
    }
    // Upstream reads it as what it says it is, before it finds that this is not what is wanted.
    let unread = api::fields::type_of_kind(&named.group, &named.version, &named.kind)
        .and_then(|schema| codec::conform_as(new.clone(), Some(schema), codec::Strictness::Ignore).err());
    Err(no_patch(&unread.map_or_else(|| named.unfit(kind.group(), &kind.kind), |error| error.to_string())))
}

/// A patch whose outcome is no object of the kind; `shown` is what upstream shows of it.
fn no_patch(shown: String, why: &str) -> Rejected {
    Rejected::invalid("", "", "", vec![Cause::invalid("patch", &Tree::String(shown), why)])
}

/// What is written has to be what the URL names.
pub(super) fn check_name(call: &Call<'_>, object: &Tree) -> Result<(), Rejected> {
    let name = edit::text(object, &["metadata", "name"]);
    let namespace = edit::text(object, &["metadata", "namespace"]);
    if !namespace.is_empty() && call.namespace.is_some_and(|wanted| wanted != namespace) {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Rejected::bad_request(why));
    }
    if name.is_empty() {
        let message =
            format!("the name of the object ({} based on URL) was undeterminable: name must be provided", call.name);
        return Err(Rejected::bad_request(message));
    }
    if name != call.name {
        let message = format!("the name of the object ({name}) does not match the name on the URL ({})", call.name);
        return Err(Rejected::bad_request(message));
    }
    Ok(())
}

/// The configuration as it was sent, and what is to be warned of.
fn read_applied(call: &Call<'_>, body: &[u8]) -> Result<(Tree, Vec<String>), Rejected> {
    if body.trim_ascii().is_empty() {
        return Ok((Tree::Object(serde_json::Map::new()), Vec::new()));
    }
    let applied = codec::yaml::parse(body).map_err(|error| match error {
        codec::DecodeError::TooLarge { .. } => Rejected::new(Reason::RequestEntityTooLarge, error.to_string()),
        error => Rejected::bad_request(format!("error encoding patch: error converting YAML to JSON: yaml: {error}")),
    })?;
    let applied = match applied {
        Tree::Null => Tree::Object(serde_json::Map::new()),
        applied => applied,
    };
    object(&applied).map_err(|rejected| {
        let why = rejected.message.trim_start_matches("error decoding patch: ");
        Rejected::bad_request(format!("error decoding patch: error unmarshaling JSON: while decoding JSON: {why}"))
    })?;
    // Only twice-written keys are a problem of the text; what the fields are is checked against the types.
    let mut warnings: Vec<String> = match codec::yaml::decode(body, call.kind, call.strictness) {
        Ok((_, problems)) => problems.iter().map(ToString::to_string).collect(),
        Err(_) => Vec::new(),
    };
    warnings.retain(|problem| problem.starts_with("duplicate"));
    if call.strictness == codec::Strictness::Strict && !warnings.is_empty() {
        return Err(Rejected::bad_request(format!("error strict decoding patch: {}", warnings.join(", "))));
    }
    Ok((applied, warnings))
}
