//! Conversion of custom resources by a webhook: the review that it is sent, and what of its answer holds.
//!
//! A webhook changes the fields of objects, their labels and their annotations. What else it says of their metadata is
//! not taken over. The words are upstream's (1.36).

use crate::kinds::Kind;
use crate::object::edit;
use crate::view::ClientConfig;
use crate::walk::{at, list, text};
use crate::{Tree, names};
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::json;

const GROUP: &str = "apiextensions.k8s.io";

/// What a webhook may change of an object's metadata.
const CHANGEABLE: [&str; 2] = ["labels", "annotations"];

/// The webhook of a definition whose strategy is `Webhook`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    pub client: ClientConfig,
    /// Of the reviews that it takes, the first that we know.
    review: Review,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Review {
    V1,
    V1beta1,
}

// === impl Webhook ===

impl Webhook {
    /// `None` for a definition with another strategy.
    #[must_use]
    pub fn read(definition: &Tree) -> Option<Webhook> {
        let conversion = at(definition, &["spec", "conversion"])?;
        if text(conversion, &["strategy"]) != "Webhook" {
            return None;
        }
        // Of what cannot be read, nothing may pass for a conversion: there is a webhook, and it is nowhere.
        let client = at(conversion, &["webhook", "clientConfig"]);
        let client = client.and_then(|client| crate::object::read_tree(client).ok()).unwrap_or_default();
        let known = |version: &Tree| match version.as_str()? {
            "v1" => Some(Review::V1),
            "v1beta1" => Some(Review::V1beta1),
            _ => None,
        };
        let review = list(conversion, &["webhook", "conversionReviewVersions"]).iter().find_map(known);
        Some(Webhook { client, review: review.unwrap_or(Review::V1) })
    }

    /// The body of a review: objects as JSON, to be made ones of `version`.
    #[must_use]
    pub fn review<'o>(&self, uid: &str, version: &str, objects: impl Iterator<Item = &'o [u8]>) -> Bytes {
        let (open, request) = (json!({"kind": "ConversionReview", "apiVersion": self.review.api_version()}), "request");
        let begun = json!({"uid": uid, "desiredAPIVersion": version});
        let mut body = BytesMut::new();
        body.put_slice(open.to_string().trim_end_matches('}').as_bytes());
        body.put_slice(format!(",\"{request}\":{},\"objects\":[", begun.to_string().trim_end_matches('}')).as_bytes());
        for (at, object) in objects.enumerate() {
            if at > 0 {
                body.put_u8(b',');
            }
            body.put_slice(object);
        }
        body.put_slice(b"]}}");
        body.freeze()
    }

    /// The objects of an answer, as ones of `kind`; the refusal says what failed.
    ///
    /// # Errors
    /// When the answer is none, or does not fit what was asked.
    pub fn converted(&self, uid: &str, kind: &Kind, originals: &[Tree], answer: &[u8]) -> Result<Vec<Tree>, String> {
        let of = originals.first().map(gvk).unwrap_or_default();
        let failed = |why: String| format!("conversion webhook for {of} failed: {why}");
        let mut answer: Tree = serde_json::from_slice(answer).map_err(|why| failed(why.to_string()))?;
        self.check(uid, &answer).map_err(failed)?;
        let objects = edit::at_mut(&mut answer, &["response", "convertedObjects"]).map(Tree::take);
        let Tree::Array(objects) = objects.unwrap_or(Tree::Array(Vec::new())) else {
            return Err(failed("response.convertedObjects is no list".to_owned()));
        };
        if objects.len() != originals.len() {
            let (got, expected) = (objects.len(), originals.len());
            return Err(format!("conversion webhook for {of} returned {got} objects, expected {expected}"));
        }
        let pairs = originals.iter().zip(objects).enumerate();
        let is_alone = originals.len() == 1;
        let one = |(at, (original, object)): (usize, (&Tree, Tree))| {
            let invalid = |of_one: &str, of_many: &str, why: String| match is_alone {
                true => format!("conversion webhook for {of} returned invalid {of_one}: {why}"),
                false => format!("conversion webhook for {of} returned invalid {of_many} at index {at}: {why}"),
            };
            check_kind(original, &object, kind).map_err(|why| invalid("object at index 0", "converted object", why))?;
            check_object(original, &object).map_err(|why| invalid("object", "converted object", why))?;
            with_own_meta(original, object).map_err(|why| invalid("metadata", "metadata in object", why))
        };
        pairs.map(one).collect()
    }

    fn check(&self, uid: &str, answer: &Tree) -> Result<(), String> {
        let got = shown(text(answer, &["apiVersion"]), text(answer, &["kind"]));
        let expected = shown(&self.review.api_version(), "ConversionReview");
        // Answers of v1beta1 may leave out what they are, and whom they answer.
        let is_strict = self.review == Review::V1;
        if is_strict && got != expected {
            return Err(format!("expected webhook response of {expected}, got {got}"));
        }
        let response = at(answer, &["response"]).ok_or("no response provided")?;
        let answered = text(response, &["uid"]);
        if is_strict && answered != uid {
            return Err(format!("expected response.uid={uid:?}, got {answered:?}"));
        }
        match (text(response, &["result", "status"]), text(response, &["result", "message"])) {
            ("Success", _) => Ok(()),
            (status, "") => Err(format!("response.result.status was '{status}', not 'Success'")),
            (_, message) => Err(message.to_owned()),
        }
    }
}

// === impl Review ===

impl Review {
    fn api_version(self) -> String {
        let version = if self == Review::V1 { "v1" } else { "v1beta1" };
        format!("{GROUP}/{version}")
    }
}

/// An object's kind, as Go prints it.
#[must_use]
pub fn gvk(object: &Tree) -> String {
    shown(text(object, &["apiVersion"]), text(object, &["kind"]))
}

fn shown(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

/// Whether it is of the version that was wanted.
fn check_kind(original: &Tree, object: &Tree, kind: &Kind) -> Result<(), String> {
    if !object.is_object() {
        return Err("it is no object".to_owned());
    }
    let (expected, version) = (kind.api_version(), text(object, &["apiVersion"]));
    if version != expected {
        return Err(format!("invalid groupVersion (expected {expected}, received {version})"));
    }
    let (expected, received) = (text(original, &["kind"]), text(object, &["kind"]));
    if received != expected {
        return Err(format!("invalid kind (expected {expected}, received {received})"));
    }
    Ok(())
}

/// Whether it is the object that was sent.
fn check_object(original: &Tree, object: &Tree) -> Result<(), String> {
    for (what, key) in [("name", "name"), ("namespace", "namespace"), ("UID", "uid")] {
        let (was, is) = (text(original, &["metadata", key]), text(object, &["metadata", key]));
        if was != is {
            return Err(format!("must have the same {what}: {was} != {is}"));
        }
    }
    Ok(())
}

/// The converted object with the metadata that it had, but for what a webhook may change.
fn with_own_meta(original: &Tree, mut object: Tree) -> Result<Tree, String> {
    let told = match object.get_mut("metadata").map(Tree::take) {
        Some(Tree::Object(told)) => told,
        Some(Tree::Null) | None => return Err("missing metadata in converted object".to_owned()),
        Some(_) => return Err("invalid metadata of type other than object in converted object".to_owned()),
    };
    let mut meta = original.get("metadata").cloned().unwrap_or_else(|| json!({}));
    for key in CHANGEABLE {
        match told.get(key) {
            None | Some(Tree::Null) => _ = edit::remove(&mut meta, &[key]),
            Some(value) => {
                check_texts(key, value)?;
                edit::set(&mut meta, &[key], value.clone());
            }
        }
    }
    edit::set(&mut object, &["metadata"], meta);
    Ok(object)
}

fn check_texts(key: &str, value: &Tree) -> Result<(), String> {
    let map = value.as_object().ok_or_else(|| format!("metadata.{key}: must be a map of strings"))?;
    for (name, value) in map {
        let Some(text) = value.as_str() else {
            return Err(format!("metadata.{key}: must be a map of strings, and {name:?} is none"));
        };
        let wrong = |what: &str, why: &[String]| format!("metadata.{key}: Invalid value: {what:?}: {}", why.join("; "));
        let why = names::qualified_name(name);
        if !why.is_empty() {
            return Err(wrong(name, &why));
        }
        let why = if key == "labels" { names::label_value(text) } else { Vec::new() };
        if !why.is_empty() {
            return Err(wrong(text, &why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
